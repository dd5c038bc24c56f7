//! Grants begin, end by themselves, end on revoke, and never take what was there before.

use std::time::Duration;

use apono_connector::runtime::Ending;
use serde_json::json;
use simulator::apono::Grant;
use simulator::fault::Fault;
use simulator::okta::NewGroup;

use crate::scene::Scene;
use crate::world::INTEGRATION;

#[tokio::test(start_paused = true)]
async fn a_grant_is_given_reported_and_ends_at_its_expiry_while_apono_is_away() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let granted = scene.grant(Duration::from_mins(10));
    let expiry = scene.world.after(Duration::from_mins(10));
    let result = scene.world.result(&granted.task_id).await;
    assert_eq!(
        (result["status"].as_str(), result["code"].as_str()),
        (Some("Success"), Some("granted")),
        "{result}"
    );
    assert_eq!(result["resources"][0]["okta_request_ids"].as_array().unwrap().len(), 1);
    assert!(scene.is_member());

    for operation in ["put_session", "lease_tasks", "put_result", "list_grants", "extend_lease"] {
        scene.world.apono.faults().always(operation, Fault::Disconnect);
    }
    scene.world.until_member(&scene.group, &scene.user, false).await;
    let lag = scene.world.since(expiry).as_secs_f64();
    assert!((0.0..2.0).contains(&lag), "ended {lag} s after its expiry");
    scene.world.apono.faults().clear();
    assert!(matches!(connector.stop().await, Ending::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_revoke_ends_a_grant_and_is_reported_when_it_is_done() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let granted = scene.grant(Duration::from_hours(1));
    scene.world.result(&granted.task_id).await;
    let task = scene.world.apono.revoke(&granted.grant_id);
    let result = scene.world.result(&task).await;
    assert_eq!(result["code"], "revoked", "{result}");
    assert!(!scene.world.okta.is_member(&scene.group, &scene.user));
    connector.stop().await;
    assert_eq!(scene.world.okta.call_count("remove_member"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_standing_membership_is_recognized_and_kept() {
    let mut scene = Scene::new();
    scene.world.okta.add_member(&scene.group, &scene.user);
    let connector = scene.world.start().await;
    let granted = scene.grant(Duration::from_mins(5));
    let result = scene.world.result(&granted.task_id).await;
    assert_eq!(result["code"], "already_member", "{result}");
    scene.world.pass(Duration::from_mins(20)).await;
    assert!(scene.world.okta.is_member(&scene.group, &scene.user));

    let second = scene.grant(Duration::from_hours(1));
    scene.world.result(&second.task_id).await;
    let task = scene.world.apono.revoke(&second.grant_id);
    assert_eq!(scene.world.result(&task).await["code"], "kept_standing");
    assert!(scene.world.okta.is_member(&scene.group, &scene.user));
    connector.stop().await;
    assert_eq!(scene.world.okta.call_count("remove_member"), 0);
}

#[tokio::test(start_paused = true)]
async fn overlapping_grants_share_one_membership_and_the_last_one_ends_it() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let short = scene.grant(Duration::from_mins(5));
    let long = scene.grant(Duration::from_mins(15));
    for task in [&short.task_id, &long.task_id] {
        assert_eq!(scene.world.result(task).await["code"], "granted");
    }
    scene.world.pass(Duration::from_mins(8)).await;
    assert!(scene.world.okta.is_member(&scene.group, &scene.user), "the longer grant holds it");
    let expiry = scene.world.after(Duration::from_mins(7));
    scene.world.until_member(&scene.group, &scene.user, false).await;
    assert!(scene.world.since(expiry).as_secs_f64().abs() < 20.0);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_between_the_write_and_the_report_the_grant_is_reported_once_and_ends() {
    let mut scene = Scene::new();
    // Apono cannot be told: the result stays on disk.
    scene.world.apono.faults().always("put_result", Fault::Disconnect);
    let connector = scene.world.start().await;
    let granted = scene.grant(Duration::from_mins(30));
    scene.world.until_member(&scene.group, &scene.user, true).await;
    connector.crash().await;

    scene.world.apono.faults().clear();
    let connector = scene.world.start().await;
    let result = scene.world.result(&granted.task_id).await;
    assert_eq!(result["code"], "granted", "{result}");
    scene.world.until_member(&scene.group, &scene.user, false).await;
    assert_eq!(scene.world.apono.result_posts(&granted.task_id), 1);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_ran_out_while_the_connector_was_down_is_ended_first_of_all() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let granted = scene.grant(Duration::from_mins(5));
    scene.world.result(&granted.task_id).await;
    connector.crash().await;
    scene.world.pass(Duration::from_mins(30)).await;
    assert!(scene.world.okta.is_member(&scene.group, &scene.user));

    let started = scene.world.clock.now();
    let connector = scene.world.start().await;
    scene.world.until_member(&scene.group, &scene.user, false).await;
    assert!(scene.world.since(started).as_secs_f64() < 5.0);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_removal_is_tried_until_okta_is_back() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let granted = scene.grant(Duration::from_mins(5));
    scene.world.result(&granted.task_id).await;
    for operation in ["remove_member", "list_user_groups", "list_group_rules", "token", "get_user"] {
        scene.world.okta.faults().always(operation, Fault::status(503));
    }
    scene.world.pass(Duration::from_mins(40)).await;
    assert!(scene.world.okta.is_member(&scene.group, &scene.user));
    assert!(connector.facts().organizations[0].removals_due > 0);
    scene.world.okta.faults().clear();
    let back = scene.world.clock.now();
    scene.world.until_member(&scene.group, &scene.user, false).await;
    assert!(scene.world.since(back).as_secs_f64() < 6.0);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_cannot_be_given_says_why() {
    let mut scene = Scene::new().with_policy("deny_groups = [\"root*\"]");
    let okta = &scene.world.okta;
    let app_group = okta.add_group(NewGroup::named("ad").of_kind("APP_GROUP"));
    let everyone = okta.add_group(NewGroup::named("Everyone").of_kind("BUILT_IN"));
    let admins = okta.add_group(NewGroup { admin_privilege: true, ..NewGroup::named("admins") });
    let fed = okta.add_group(NewGroup::named("fed"));
    okta.add_group_rule("rule", &[&fed], "ACTIVE");
    let root = okta.add_group(NewGroup::named("root-shell"));
    let suspended = okta.add_user(simulator::okta::NewUser::active("sue@example.com", "Sue", "Spend"));
    okta.set_status(&suspended, "SUSPENDED");
    let group = scene.group.clone();
    let connector = scene.world.start().await;
    let cases = [
        ("ada@example.com", app_group, "refused_group_type"),
        ("ada@example.com", everyone, "refused_group_type"),
        ("ada@example.com", admins, "refused_admin_group"),
        ("ada@example.com", fed, "refused_rule_managed"),
        ("ada@example.com", root, "refused_policy"),
        ("ada@example.com", "00gnone0000000000000".to_owned(), "group_not_found"),
        ("nobody@example.com", group.clone(), "user_not_found"),
        ("sue@example.com", group, "user_inactive"),
    ];
    for (user, group, code) in cases {
        let grant =
            Grant::new(INTEGRATION, user, &[&group]).until(scene.world.after(Duration::from_hours(1)));
        let granted = scene.world.apono.grant(grant);
        let result = scene.world.result(&granted.task_id).await;
        assert_eq!((&result["status"], &result["code"]), (&json!("Failure"), &json!(code)), "{result}");
    }
    connector.stop().await;
    assert_eq!(scene.world.okta.membership_count(), 0);
    assert_eq!(scene.world.okta.call_count("add_member"), 0, "refused before any write");
}

#[tokio::test(start_paused = true)]
async fn one_task_over_several_groups_succeeds_in_part() {
    let mut scene = Scene::new();
    let second = scene.world.okta.add_group(NewGroup::named("second"));
    let connector = scene.world.start().await;
    let grant = Grant::new(INTEGRATION, "ADA@example.com", &[&scene.group, &second, "00gnone0000000000000"]);
    let granted = scene.world.apono.grant(grant.until(scene.world.after(Duration::from_mins(5))));
    let result = scene.world.result(&granted.task_id).await;
    assert_eq!((&result["status"], &result["code"]), (&json!("Warning"), &json!("partial")), "{result}");
    assert_eq!(scene.world.okta.membership_count(), 2);
    scene.world.until("all removed", |world| (world.okta.membership_count() == 0).then_some(())).await;
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_shows_late_is_verified_and_removed_all_the_same() {
    let mut scene = Scene::new();
    scene.world.okta.configure(|settings| settings.visibility_lag = Duration::from_secs(2));
    let connector = scene.world.start().await;
    let granted = scene.grant(Duration::from_mins(5));
    let result = scene.world.result(&granted.task_id).await;
    assert_eq!(result["code"], "granted", "{result}");
    scene.world.until_member(&scene.group, &scene.user, false).await;
    scene.world.pass(Duration::from_secs(30)).await;
    assert_eq!(connector.facts().organizations[0].removals_due, 0);
    connector.stop().await;
}
