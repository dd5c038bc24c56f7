//! What goes wrong around a grant, one thing at a time; access ends all the same, and nothing is believed too early.

use std::time::Duration;

use apono_connector::audit::Kind;
use apono_connector::server::readiness;
use serde_json::json;
use simulator::apono::Grant;
use simulator::fault::Fault;
use simulator::okta::faults::error;

use crate::scene::Scene;
use crate::world::INTEGRATION;

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

fn not_found() -> Fault {
    error(404, "E0000007", "Not found: Resource not found")
}

#[tokio::test(start_paused = true)]
async fn access_ends_on_time_while_the_disk_fails_and_is_recorded_when_it_works_again() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let granted = scene.given(10 * MINUTE).await;
    scene.world.pass(2 * MINUTE).await;
    scene.world.journal.break_writes(true);
    let written = scene.world.journal.entries().len();
    scene.world.pass(9 * MINUTE).await;
    assert!(!scene.is_member(), "a minute after the expiry");
    assert!(!connector.facts().journal_writable);
    assert_eq!(scene.world.journal.entries().len(), written);

    scene.world.journal.break_writes(false);
    scene.world.pass(MINUTE).await;
    assert!(connector.facts().journal_writable);
    connector.crash().await;
    let restarted = scene.world.start().await;
    scene.world.pass(MINUTE).await;
    assert_eq!(restarted.facts().organizations[0].removals_due, 0, "the end is on disk");
    assert_eq!(scene.world.okta.call_count("remove_member"), 1);
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "revoked");
    scene.nothing_is_left(restarted).await;
}

#[tokio::test(start_paused = true)]
async fn a_revoke_is_carried_out_while_the_disk_fails_and_reported_when_a_crash_cannot_take_it_back() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    scene.world.journal.break_writes(true);
    let task = scene.world.apono.revoke(&granted.grant_id);
    scene.world.until_member(&scene.group, &scene.user, false).await;
    scene.world.pass(10 * MINUTE).await;
    assert_eq!(scene.world.apono.result_posts(&task), 0, "nothing is told that is not on disk");
    scene.world.journal.break_writes(false);
    assert_eq!(scene.world.result(&task).await["code"], "revoked");
    assert_eq!(scene.world.okta.call_count("remove_member"), 1);
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_the_disk_fails_forgets_no_duty() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    scene.world.journal.break_writes(true);
    let task = scene.world.apono.revoke(&granted.grant_id);
    scene.world.until_member(&scene.group, &scene.user, false).await;
    connector.crash().await;
    scene.world.journal.break_writes(false);
    let connector = scene.world.start().await;
    let code = scene.world.result(&task).await["code"].clone();
    assert!(["revoked", "not_member"].contains(&code.as_str().unwrap()), "{code}");
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_given_while_the_disk_fails() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    scene.world.journal.break_writes(true);
    let refused = scene.grant(HOUR);
    let result = scene.world.result(&refused.task_id).await;
    assert_eq!(
        (&result["status"], &result["code"]),
        (&json!("Failure"), &json!("refused_degraded")),
        "{result}"
    );
    assert_eq!(scene.world.okta.call_count("add_member"), 0);
    scene.world.journal.break_writes(false);
    scene.world.pass(Duration::from_secs(5)).await;
    scene.given(HOUR).await;
    scene.nothing_is_left(connector).await;
}

/// The disk fails between the intent and the addition: the loop must neither spin nor forget.
#[tokio::test(start_paused = true)]
async fn a_grant_that_the_disk_loses_sight_of_half_way_ends_without_a_storm() {
    let mut scene = Scene::new();
    scene.world.okta.configure(|settings| settings.visibility_lag = Duration::from_secs(3));
    let connector = scene.world.start().await;
    scene.grant(10 * MINUTE);
    scene.world.until("put", |world| (world.okta.call_count("add_member") == 1).then_some(())).await;
    scene.world.journal.break_writes(true);
    scene.world.pass(15 * MINUTE).await;
    assert!(!scene.is_member());
    let calls = scene.world.okta.calls().len();
    assert!(calls < 100, "{calls} calls to Okta");
    scene.world.journal.break_writes(false);
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_step_that_never_succeeds_does_not_hold_up_the_others() {
    let mut scene = Scene::new();
    let poisoned = scene.another_group("poisoned");
    let operation = "add_member";
    let connector = scene.world.start().await;
    scene.world.okta.faults().on_path(operation, &poisoned, Fault::status(503));
    scene.grant_revision("grt_poisoned", 1, &[&poisoned], HOUR);
    scene.world.pass(MINUTE).await;
    let started = scene.world.clock.now();
    scene.given(HOUR).await;
    assert!(scene.world.since(started).as_secs_f64() < 10.0);
    assert!(scene.world.okta.call_count(operation) < 100, "{}", scene.world.okta.call_count(operation));
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn one_wrong_answer_does_not_end_a_duty() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    scene.world.okta.faults().once("list_user_groups", Fault::ReplaceBody("[]".into()));
    assert_eq!(scene.revoked(&granted.grant_id).await["status"], "Success");
    assert!(!scene.is_member());
    scene.nothing_is_left(connector).await;
}

/// An empty list where the membership stands: believed, it would make the membership ours to remove.
#[tokio::test(start_paused = true)]
async fn one_empty_list_of_groups_does_not_make_a_standing_membership_ours() {
    let mut scene = Scene::new();
    scene.world.okta.add_member(&scene.group, &scene.user);
    let connector = scene.world.start().await;
    scene.world.okta.faults().once("list_user_groups", Fault::ReplaceBody("[]".into()));
    let granted = scene.grant(10 * MINUTE);
    assert_eq!(scene.world.result(&granted.task_id).await["code"], "already_member");
    scene.world.pass(HOUR).await;
    assert!(scene.is_member());
    assert_eq!(scene.world.okta.call_count("remove_member"), 0);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn not_found_for_a_membership_that_was_just_shown_ends_no_duty() {
    for wrong in [Fault::status(404), not_found()] {
        let mut scene = Scene::new();
        let connector = scene.world.start().await;
        let granted = scene.given(HOUR).await;
        scene.world.okta.faults().once("remove_member", wrong);
        assert_eq!(scene.revoked(&granted.grant_id).await["code"], "revoked");
        assert!(!scene.is_member());
        scene.nothing_is_left(connector).await;
    }
}

/// The role is taken away while a grant lives: Okta answers "not found" and shows empty lists.
#[tokio::test(start_paused = true)]
async fn nothing_is_proven_gone_while_the_connectors_role_is_missing() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    for operation in ["list_user_groups", "get_user", "get_group", "remove_member"] {
        scene.world.okta.faults().always(operation, not_found());
    }
    for operation in ["list_users", "list_groups"] {
        scene.world.okta.faults().always(operation, Fault::ReplaceBody("[]".into()));
    }
    let task = scene.world.apono.revoke(&granted.grant_id);
    scene.world.pass(HOUR).await;
    assert_eq!(scene.world.apono.result_posts(&task), 0);
    assert!(scene.is_member());
    let stuck = connector.facts().organizations[0].removal_stuck.clone();
    assert!(stuck.is_some_and(|reason| reason.contains("role is missing")));
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_user_ends_the_duty() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    scene.world.okta.add_user(simulator::okta::NewUser::active("eve@example.com", "Eve", "Else"));
    scene.world.okta.set_status(&scene.user, "DEPROVISIONED");
    scene.world.okta.delete_user(&scene.user);
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "gone");
    scene.nothing_is_left(connector).await;
}

/// The addition lands and its answer is lost; the repetition is refused, and Okta denies knowing the user.
#[tokio::test(start_paused = true)]
async fn an_addition_in_doubt_is_not_given_up_for_a_refusal() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let faults = scene.world.okta.faults();
    faults.once("add_member", Fault::DisconnectAfterEffect);
    faults.always("add_member", error(403, "E0000006", "You do not have permission"));
    faults.after("list_user_groups", 2, 100, not_found());
    scene.grant(30 * MINUTE);
    scene.world.pass(20 * MINUTE).await;
    assert!(scene.is_member());
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn an_addition_that_okta_refuses_is_given_up_once_it_is_seen_not_to_be() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let refusal = error(403, "E0000006", "You do not have permission");
    scene.world.okta.faults().always("add_member", refusal);
    let granted = scene.grant(30 * MINUTE);
    assert_eq!(scene.world.result(&granted.task_id).await["code"], "not_permitted");
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_dropped_and_wanted_again_stays() {
    let mut scene = Scene::new();
    let second = scene.another_group("second");
    let connector = scene.world.start().await;
    let both = [scene.group.as_str(), second.as_str()];
    let granted = scene.grant_revision("grt_a", 1, &both, HOUR);
    assert_eq!(scene.world.result(&granted.task_id).await["code"], "granted");
    scene.world.okta.faults().once("list_user_groups", Fault::Delay(Duration::from_secs(5)));
    let granted = scene.grant_revision("grt_a", 2, &[&second], HOUR);
    scene.world.result(&granted.task_id).await;
    scene.world.pass(Duration::from_secs(1)).await;
    let granted = scene.grant_revision("grt_a", 3, &both, HOUR);
    assert_eq!(scene.world.result(&granted.task_id).await["code"], "granted");
    scene.world.pass(20 * MINUTE).await;
    assert!(scene.is_member());
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_grant_found_in_the_listing_first_is_answered_when_its_task_comes() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let grant = Grant::new(INTEGRATION, &scene.login, &[&scene.group]).until(scene.world.after(HOUR));
    let id = scene.world.apono.desire_grant(grant);
    scene.world.until_member(&scene.group, &scene.user, true).await;
    let mut params = scene.world.apono.grant_params(&id).unwrap();
    params["request"] = json!({"id": "r1", "friendly_id": "AR-1"});
    let task = scene.world.apono.enqueue("grant-access", INTEGRATION, params);
    assert_eq!(scene.world.result(&task).await["code"], "granted");
    scene.nothing_is_left(connector).await;
}

/// Refusing to shorten would leave the longer grant in force.
#[tokio::test(start_paused = true)]
async fn what_takes_access_away_is_never_refused_by_policy() {
    let mut scene = Scene::new().with_policy("max_live_grants = 2");
    let second = scene.another_group("second");
    let connector = scene.world.start().await;
    for (id, group) in [("grt_a", scene.group.clone()), ("grt_b", second)] {
        let granted = scene.grant_revision(id, 1, &[&group], 10 * HOUR);
        assert_eq!(scene.world.result(&granted.task_id).await["code"], "granted");
    }
    connector.stop().await;
    let settings = scene.world.settings.clone();
    scene.world.settings =
        settings.replace("max_live_grants = 2", "max_live_grants = 1\nmax_duration = \"5m\"");
    let connector = scene.world.start().await;
    let group = scene.group.clone();
    let granted = scene.grant_revision("grt_a", 2, &[&group], 10 * MINUTE);
    assert_eq!(scene.world.result(&granted.task_id).await["code"], "granted");
    scene.world.pass(11 * MINUTE).await;
    assert!(!scene.is_member());
    scene.nothing_is_left(connector).await;
}

/// One result that Apono never takes holds up no other.
#[tokio::test(start_paused = true)]
async fn a_result_that_apono_refuses_does_not_hold_up_the_others() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    scene.world.apono.faults().times("put_result", 1, Fault::status(400));
    let refused = scene.world.apono.enqueue("get-status", INTEGRATION, json!({}));
    scene.world.until("refused", |world| (world.apono.faults().fired("put_result") == 1).then_some(())).await;
    let started = scene.world.clock.now();
    scene.given(HOUR).await;
    assert!(scene.world.since(started).as_secs_f64() < 10.0);
    assert_eq!(scene.world.result(&refused).await["status"], "Success", "it is sent again");
    scene.nothing_is_left(connector).await;
}

/// Apono swallows every packet; a stop does not wait for it.
#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_an_apono_that_answers_nothing() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    scene.given(HOUR).await;
    for operation in ["list_grants", "put_result", "extend_lease", "lease_tasks", "put_session"] {
        scene.world.apono.faults().always(operation, Fault::Delay(HOUR));
    }
    scene.world.pass(10 * MINUTE).await;
    let started = scene.world.clock.now();
    connector.stop().await;
    assert!(scene.world.since(started).as_secs_f64() < 6.0, "{}", scene.world.since(started));
}

#[tokio::test(start_paused = true)]
async fn an_audit_trail_that_cannot_be_written_stops_grants_and_no_removal() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let live = scene.given(HOUR).await;
    let told = scene.world.audit.records().len();
    scene.world.audit.break_writes(true);
    let refused = scene.grant(HOUR);
    let result = scene.world.result(&refused.task_id).await;
    assert_eq!(result["code"], json!("refused_degraded"), "{result}");
    assert!(result["resources"][0]["message"].as_str().unwrap().contains("audit trail"), "{result}");
    assert_eq!(scene.world.okta.call_count("add_member"), 1);
    assert_eq!(scene.revoked(&live.grant_id).await["code"], "revoked");
    assert!(!scene.is_member());
    let verdict = readiness(&connector.facts());
    let check = verdict.checks.iter().find(|check| check.name.starts_with("grants of")).unwrap();
    assert!(!verdict.ready && check.message.contains("audit trail"), "{verdict:?}");
    assert_eq!(scene.world.audit.records().len(), told, "nothing could be told");

    scene.world.audit.break_writes(false);
    scene.world.pass(Duration::from_secs(5)).await;
    let since: Vec<_> =
        scene.world.audit.records().into_iter().skip(told).map(|(_, record)| record.kind).collect();
    assert_eq!(
        since,
        [Kind::EndRequested, Kind::RemovalIntended, Kind::Removed],
        "told afterwards, in order"
    );
    scene.given(HOUR).await;
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn every_step_of_a_grant_is_told_with_oktas_request_ids() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    scene.revoked(&granted.grant_id).await;
    let told = scene.world.audit.records();
    let kinds: Vec<_> = told.iter().map(|(_, record)| record.kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::Requested,
            Kind::AdditionIntended,
            Kind::Added,
            Kind::EndRequested,
            Kind::RemovalIntended,
            Kind::Removed
        ]
    );
    for (_, record) in told.iter().filter(|(_, record)| matches!(record.kind, Kind::Added | Kind::Removed)) {
        assert_eq!(record.okta_request_ids.len(), 1, "{record:?}");
    }
    scene.nothing_is_left(connector).await;
}
