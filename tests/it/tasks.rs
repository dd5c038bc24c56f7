//! Tasks arrive twice, late, out of order, and in shapes nobody expected; each gets one result.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::apono::{Grant, Granted};
use simulator::fault::Fault;
use simulator::okta::{NewGroup, NewUser};

use crate::world::{INTEGRATION, World};

/// Ada, and a group that she is not in.
fn scene() -> (World, String, String) {
    let world = World::new();
    let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let group = world.okta.add_group(NewGroup::named("oncall"));
    (world, user, group)
}

fn grant(world: &World, group: &str, id: Option<&str>, revision: u64, lasts: Duration) -> Granted {
    let grant = Grant {
        grant_id: id.map(ToOwned::to_owned),
        revision,
        ..Grant::new(INTEGRATION, "ada@example.com", &[group]).until(world.after(lasts))
    };
    world.apono.grant(grant)
}

async fn code(world: &World, task: &str) -> Value {
    world.result(task).await["code"].clone()
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn questions_are_answered() {
    let (mut world, _, group) = scene();
    world.okta.add_group(NewGroup::named("ad").of_kind("APP_GROUP"));
    world.okta.add_group(NewGroup { admin_privilege: true, ..NewGroup::named("admins") });
    let fed = world.okta.add_group(NewGroup::named("fed"));
    world.okta.add_group_rule("rule", &[&fed], "ACTIVE");
    let connector = world.start().await;
    let resources =
        world.apono.enqueue("list-resources", INTEGRATION, json!({ "resource_type": "okta-group" }));
    let result = world.result(&resources).await;
    assert_eq!(
        result["output"]["resources"],
        json!([{ "id": group, "name": "oncall", "type": "okta-group", "metadata": {} }])
    );
    assert_eq!(result["output"]["permissions"], json!([{ "id": "member", "name": "Member" }]));
    let status = world.apono.enqueue("get-status", INTEGRATION, json!({}));
    assert_eq!(world.result(&status).await["output"]["status"], "ok");
    world.okta.faults().always("list_groups", Fault::status(403));
    let resources =
        world.apono.enqueue("list-resources", INTEGRATION, json!({ "resource_type": "okta-group" }));
    assert_eq!(code(&world, &resources).await, "unavailable");
    world.okta.faults().clear();
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_is_answered_with_its_code() {
    let (mut world, _, group) = scene();
    let connector = world.start().await;
    let coffee = world.apono.enqueue("make-coffee", INTEGRATION, json!({}));
    assert_eq!(code(&world, &coffee).await, "unsupported_task");
    let params = json!({ "grant_id": "g", "username": "ada@example.com", "resources": [group] });
    world.apono.add_integration("elsewhere");
    let foreign = world.apono.enqueue("grant-access", "elsewhere", params);
    assert_eq!(code(&world, &foreign).await, "unknown_integration");
    for params in [
        json!({}),
        json!({ "grant_id": "g", "username": "", "resources": [group] }),
        json!({ "grant_id": "g", "username": "ada@example.com", "resources": "00g" }),
        json!({ "grant_id": "g", "username": "ada@example.com", "resources": [group], "expires_at": "soon" }),
        json!({ "grant_id": "g", "username": "ada@example.com", "resources": [] }),
    ] {
        let task = world.apono.enqueue("grant-access", INTEGRATION, params.clone());
        assert_eq!(code(&world, &task).await, "malformed_task", "{params}");
    }
    connector.stop().await;
    assert_eq!(world.okta.membership_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_delivered_twice_has_one_effect_and_one_result() {
    let (mut world, user, group) = scene();
    let connector = world.start().await;
    let granted = grant(&world, &group, None, 1, HOUR);
    world.apono.redeliver(&granted.task_id);
    let first = world.result(&granted.task_id).await;
    world.apono.redeliver(&granted.task_id);
    world.pass(Duration::from_mins(3)).await;
    assert_eq!(world.apono.result(&granted.task_id), Some(first));
    assert_eq!(world.apono.result_posts(&granted.task_id), 1);
    assert_eq!(world.okta.call_count("add_member"), 1);
    assert!(world.okta.is_member(&group, &user));
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoke_before_its_grant_is_final() {
    let (mut world, user, group) = scene();
    let connector = world.start().await;
    let params = json!({
        "grant_id": "grt_x", "revision": 1, "username": "ada@example.com", "resource_type": "okta-group",
        "resources": [group], "permission": "member", "custom_parameters": {}, "expires_at": world.after(HOUR),
    });
    let revoke = world.apono.enqueue("revoke-access", INTEGRATION, params.clone());
    assert_eq!(code(&world, &revoke).await, "not_member");
    let late = world.apono.enqueue("grant-access", INTEGRATION, params);
    assert_eq!(code(&world, &late).await, "superseded");
    assert!(!world.okta.is_member(&group, &user));
    connector.stop().await;
    assert_eq!(world.okta.call_count("add_member"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_extended_shortened_and_never_moved_back() {
    let (mut world, user, group) = scene();
    let connector = world.start().await;
    let first = grant(&world, &group, Some("grt_x"), 1, Duration::from_mins(10));
    assert_eq!(code(&world, &first.task_id).await, "granted");
    let extended = grant(&world, &group, Some("grt_x"), 3, Duration::from_mins(40));
    assert_eq!(code(&world, &extended.task_id).await, "granted");
    // A task that was overtaken; Apono's listing has the latest revision.
    let older = world.apono.enqueue(
        "grant-access",
        INTEGRATION,
        json!({
            "grant_id": "grt_x", "revision": 2, "username": "ada@example.com", "resources": [group],
            "expires_at": world.after(Duration::from_mins(5)),
        }),
    );
    assert_eq!(code(&world, &older).await, "superseded");
    world.pass(Duration::from_mins(30)).await;
    assert!(world.okta.is_member(&group, &user), "the extension holds");
    let shortened = grant(&world, &group, Some("grt_x"), 4, Duration::from_mins(2));
    assert_eq!(code(&world, &shortened.task_id).await, "granted");
    let end = world.after(Duration::from_mins(2));
    world.until_member(&group, &user, false).await;
    assert!(world.since(end).as_secs_f64().abs() < 30.0);
    let too_late = grant(&world, &group, Some("grt_x"), 5, HOUR);
    assert_eq!(code(&world, &too_late.task_id).await, "superseded", "what is over is over");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_came_too_late_or_lasts_too_long_is_not_given() {
    let (mut world, user, group) = scene();
    let connector = world.start().await;
    let params = |expires_at: Value| {
        json!({ "grant_id": format!("g{expires_at}"), "username": "ada@example.com", "resources": [group],
                "expires_at": expires_at })
    };
    for (expires_at, expected) in [
        (json!("2025-12-31T23:59:59Z"), "expired"),
        (json!("2026-01-03T00:00:00Z"), "refused_policy"),
        (Value::Null, "refused_policy"),
    ] {
        let task = world.apono.enqueue("grant-access", INTEGRATION, params(expires_at));
        assert_eq!(code(&world, &task).await, expected);
    }
    assert!(!world.okta.is_member(&group, &user));
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn results_wait_on_disk_until_apono_takes_them() {
    let (mut world, _, group) = scene();
    world.apono.faults().always("put_result", Fault::status(500));
    let connector = world.start().await;
    let granted = grant(&world, &group, None, 1, HOUR);
    let question = world.apono.enqueue("get-status", INTEGRATION, json!({}));
    world.until("both are answered", |_| (connector.facts().results_pending == 2).then_some(())).await;
    world.pass(Duration::from_mins(30)).await;
    connector.crash().await;
    let connector = world.start().await;
    assert_eq!(connector.facts().results_pending, 2);
    world.apono.faults().clear();
    assert_eq!(code(&world, &granted.task_id).await, "granted");
    assert_eq!(code(&world, &question).await, "ok");
    world.until("nothing waits", |_| (connector.facts().results_pending == 0).then_some(())).await;
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_nothing_is_given_and_removals_go_on() {
    let (mut world, user, group) = scene();
    let second = world.okta.add_group(NewGroup::named("second"));
    let connector = world.start().await;
    let granted = grant(&world, &group, None, 1, Duration::from_mins(10));
    assert_eq!(code(&world, &granted.task_id).await, "granted");
    world.journal.break_writes(true);
    grant(&world, &second, None, 1, HOUR);
    world.pass(Duration::from_mins(5)).await;
    assert!(!world.okta.is_member(&second, &user), "the duty could not be recorded");
    assert!(!connector.facts().journal_writable);
    world.journal.break_writes(false);
    world.until_member(&second, &user, true).await;
    world.until_member(&group, &user, false).await;
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn desired_grants_make_up_for_lost_tasks() {
    let (mut world, user, group) = scene();
    let connector = world.start().await;
    let desired =
        Grant::new(INTEGRATION, "ada@example.com", &[&group]).until(world.after(Duration::from_hours(5)));
    let id = world.apono.desire_grant(desired);
    world.until_member(&group, &user, true).await;

    world.apono.drop_desired_grant(&id);
    // Listings that break off conclude nothing, however many there are.
    world.apono.faults().always("list_grants", Fault::status(500));
    world.pass(Duration::from_mins(40)).await;
    assert!(world.okta.is_member(&group, &user));
    world.apono.faults().clear();
    world.until_member(&group, &user, false).await;
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_while_the_work_lasts() {
    let (mut world, user, group) = scene();
    for operation in ["get_user", "list_users"] {
        world.okta.faults().always(operation, Fault::status(503));
    }
    let connector = world.start().await;
    let granted = grant(&world, &group, None, 1, HOUR);
    world.pass(Duration::from_mins(10)).await;
    assert_eq!(world.apono.attempts(&granted.task_id), 1, "nobody else got it");
    assert!(world.apono.call_count("extend_lease") > 5);
    world.okta.faults().clear();
    assert_eq!(code(&world, &granted.task_id).await, "granted");
    assert!(world.okta.is_member(&group, &user));
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_apono_token_makes_unready_and_a_rotated_one_mends_it() {
    let (mut world, _, group) = scene();
    world.apono.set_token("another-placeholder");
    let connector = world.start().await;
    let refused = |facts: apono_connector::server::Facts| {
        matches!(facts.apono, apono_connector::server::PeerFact::Refused { .. })
    };
    world.until("it is refused", |_| refused(connector.facts()).then_some(())).await;
    std::fs::write(world.folder.path().join("token"), "another-placeholder\n").unwrap();
    let granted = grant(&world, &group, None, 1, HOUR);
    assert_eq!(code(&world, &granted.task_id).await, "granted");
    assert!(!refused(connector.facts()));
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn switched_off_grants_are_refused_and_what_was_given_still_ends() {
    let (mut world, user, group) = scene();
    let connector = world.start().await;
    let granted = grant(&world, &group, None, 1, Duration::from_mins(30));
    assert_eq!(code(&world, &granted.task_id).await, "granted");
    connector.stop().await;
    world.settings = world.settings.replace("[state]", "[okta.access]\nenabled = false\n[state]");
    let connector = world.start().await;
    let refused = grant(&world, &group, None, 1, HOUR);
    let result = world.result(&refused.task_id).await;
    assert_eq!(
        (&result["code"], &result["resources"][0]["code"]),
        (&json!("refused_policy"), &json!("refused_policy"))
    );
    world.until_member(&group, &user, false).await;
    connector.stop().await;
}
