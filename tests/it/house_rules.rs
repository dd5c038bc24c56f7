//! What the operator of this host has the last word on.

use std::time::Duration;

use serde_json::json;
use simulator::apono::Granted;

use crate::scene::Scene;
use crate::world::Running;

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn the_kill_switch_ends_everything_and_lets_nothing_begin_until_it_is_gone() {
    let scene = Scene::new();
    let switch = scene.world.folder.path().join("stop-access");
    let mut scene = scene.with_policy(&format!("kill_switch_file = \"{}\"", switch.display()));
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    let standing = scene.another_group("standing");
    scene.world.okta.add_member(&standing, &scene.user);
    let kept = scene.grant_revision("grt_standing", 1, &[&standing], HOUR);
    assert_eq!(scene.world.result(&kept.task_id).await["code"], "already_member");

    std::fs::write(&switch, "").unwrap();
    scene.world.until_member(&scene.group, &scene.user, false).await;
    let refused = scene.grant(HOUR);
    let result = scene.world.result(&refused.task_id).await;
    assert_eq!(result["code"], json!("refused_policy"), "{result}");
    assert!(result["resources"][0]["message"].as_str().unwrap().contains("kill_switch_file"), "{result}");
    assert!(scene.world.okta.is_member(&standing, &scene.user), "a standing membership stays");

    std::fs::remove_file(&switch).unwrap();
    scene.world.pass(20 * MINUTE).await;
    assert!(!scene.is_member(), "what was ended stays ended, though Apono still lists it");
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "revoked");
    scene.given(HOUR).await;
    scene.nothing_is_left(connector).await;
}

/// The world begins on a Thursday at midnight UTC, which is one in the morning in Berlin.
#[tokio::test(start_paused = true)]
async fn grants_begin_in_business_hours_and_end_at_any_time() {
    let mut scene =
        Scene::new().with_policy("business_hours = [\"mon-fri 08:00-18:00\"]\ntime_zone = \"Europe/Berlin\"");
    let connector = scene.world.start().await;
    let early = scene.grant(HOUR);
    let result = scene.world.result(&early.task_id).await;
    assert_eq!(result["code"], json!("refused_policy"), "{result}");
    assert!(result["resources"][0]["message"].as_str().unwrap().contains("business_hours"), "{result}");
    scene.world.pass(Duration::from_mins(16 * 60 + 30)).await;
    let granted = scene.given(HOUR).await;
    scene.world.pass(45 * MINUTE).await;
    let longer = scene.grant_revision(&granted.grant_id, 2, &[&scene.group], 2 * HOUR);
    assert_eq!(scene.world.result(&longer.task_id).await["code"], "refused_policy", "out of hours by now");
    let shorter = scene.grant_revision(&granted.grant_id, 3, &[&scene.group], 5 * MINUTE);
    assert_eq!(scene.world.result(&shorter.task_id).await["code"], "granted");
    scene.nothing_is_left(connector).await;
}

/// A group that a rule has come to fill during the grant.
async fn rule_managed(policy: &str) -> (Scene, Running, Granted, String) {
    let mut scene = Scene::new().with_policy(&format!("rule_managed = \"{policy}\""));
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    let rule = scene.world.okta.add_group_rule("everybody", &[&scene.group], "ACTIVE");
    scene.world.pass(2 * MINUTE).await;
    (scene, connector, granted, rule)
}

#[tokio::test(start_paused = true)]
async fn a_group_that_became_rule_managed_waits_for_a_person() {
    let (scene, connector, granted, rule) = rule_managed("wait").await;
    let task = scene.world.apono.revoke(&granted.grant_id);
    scene.world.pass(HOUR).await;
    assert_eq!(scene.world.apono.result_posts(&task), 0);
    assert_eq!(scene.world.okta.call_count("remove_member"), 0, "no blind removal");
    let stuck = connector.facts().organizations[0].removal_stuck.clone();
    assert!(stuck.is_some_and(|reason| reason.contains("group rule")));
    scene.world.okta.set_group_rule_status(&rule, "INACTIVE");
    assert_eq!(scene.world.result(&task).await["code"], "revoked");
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_became_rule_managed_can_be_left_to_its_rule() {
    let (scene, connector, granted, _) = rule_managed("leave").await;
    let result = scene.revoked(&granted.grant_id).await;
    assert_eq!(result["code"], "kept_standing", "{result}");
    assert!(result["resources"][0]["message"].as_str().unwrap().contains("group rule"), "{result}");
    assert_eq!(scene.world.okta.call_count("remove_member"), 0);
    assert_eq!(connector.facts().organizations[0].removals_due, 0);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_became_rule_managed_can_be_cleared_all_the_same() {
    let (scene, connector, granted, _) = rule_managed("remove").await;
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "revoked");
    scene.nothing_is_left(connector).await;
}
