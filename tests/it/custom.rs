//! Apono's published protocol for custom integrations, answered by the same connector.

mod mishaps;

use std::time::Duration;

use apono_connector::audit::Kind;
use bytes::Bytes;
use serde_json::{Value, json};
use simulator::fault::Fault;
use simulator::net::dispatch;
use simulator::okta::NewGroup;

use crate::scene::Scene;
use crate::world::{Running, World};

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);
const TOKEN: &str = "caller-token-of-the-tests";

/// A scene whose connector listens for calls. The policy's `max_duration` is an hour.
pub(super) fn scene() -> Scene {
    with_policy("")
}

pub(super) fn with_policy(policy: &str) -> Scene {
    let mut scene = Scene::new().with_policy(&format!("max_duration = \"1h\"\n{policy}"));
    let file = scene.world.folder.path().join("caller-token");
    std::fs::write(&file, TOKEN).unwrap();
    let table = format!(
        "[custom_integration]\nenabled = true\nlisten = \"127.0.0.1:0\"\ntoken_file = \"{}\"\n[state]",
        file.display()
    );
    scene.world.settings = scene.world.settings.replace("[state]", &table);
    scene
}

/// Status and body.
pub(super) type Answer = (u16, Value);

/// Posts a body. Owns all that it needs: the connector may be stopped meanwhile.
pub(super) fn post(connector: &Running, body: Vec<u8>) -> impl Future<Output = Answer> + use<> {
    let router = connector.custom.clone().unwrap();
    let request = http::Request::post("/").header("authorization", format!("Bearer {TOKEN}"));
    let request = request.body(Bytes::from(body)).unwrap();
    async move {
        let response = dispatch(router, request).await.unwrap();
        (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or(Value::Null))
    }
}

fn call(connector: &Running, event_type: &str, params: &Value) -> impl Future<Output = Answer> + use<> {
    post(connector, json!({ "event_type": event_type, "params": params }).to_string().into_bytes())
}

pub(super) fn about(
    connector: &Running,
    event_type: &str,
    user: &str,
    groups: &[&str],
) -> impl Future<Output = Answer> + use<> {
    let params = json!({
        "grant_id": "3f2a", "username": user, "resource_type": "okta-group", "resources": groups,
        "permission": "member", "custom_parameters": {}
    });
    call(connector, event_type, &params)
}

pub(super) fn grant(scene: &Scene, connector: &Running) -> impl Future<Output = Answer> + use<> {
    about(connector, "grant-access", &scene.login, &[&scene.group])
}

pub(super) fn revoke(scene: &Scene, connector: &Running) -> impl Future<Output = Answer> + use<> {
    about(connector, "revoke-access", &scene.login, &[&scene.group])
}

pub(super) fn done() -> Answer {
    (200, json!({ "status": "ok" }))
}

/// Asserts a status and the end of the sentence.
pub(super) fn failed(answer: &Answer, status: u16, code: &str) {
    let sentence = answer.1["error"].as_str().unwrap_or_else(|| panic!("no error in {answer:?}"));
    assert_eq!(answer.0, status, "{sentence}");
    assert!(sentence.ends_with(&format!("({code})")), "{sentence}");
}

#[tokio::test(start_paused = true)]
async fn a_call_gives_access_another_takes_it_away_and_both_may_come_again() {
    let mut scene = scene();
    scene.world.okta.configure(|settings| settings.visibility_lag = Duration::from_secs(2));
    let connector = scene.world.start().await;
    let told =
        |world: &World| world.audit.records().pop().map(|(_, told)| (told.kind, told.verified)).unwrap();
    assert_eq!(grant(&scene, &connector).await, done());
    assert_eq!(told(&scene.world), (Kind::Added, Some(true)), "ok is said of what was seen");
    assert!(scene.is_member());
    assert_eq!(grant(&scene, &connector).await, done());
    assert_eq!(revoke(&scene, &connector).await, done());
    assert_eq!(told(&scene.world), (Kind::Removed, Some(true)));
    assert!(!scene.is_member());
    assert_eq!(revoke(&scene, &connector).await, done(), "nothing is left to do");
    let writes = ["add_member", "remove_member"].map(|operation| scene.world.okta.call_count(operation));
    assert_eq!(writes, [1, 1]);
    let told: Vec<_> = scene.world.audit.records().into_iter().map(|(_, record)| record).collect();
    assert!(
        told.iter().all(|record| record.request.id.as_deref() == Some("3f2a")),
        "Apono's id for the auditor"
    );
    assert!(told.iter().all(|record| record.grant.as_str().starts_with("call_")));
    assert_eq!(scene.world.apono.pending_tasks(), 0);
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_again_renews_the_end_which_comes_without_apono() {
    let mut scene = scene();
    let connector = scene.world.start().await;
    assert_eq!(grant(&scene, &connector).await, done());
    scene.world.pass(50 * MINUTE).await;
    assert_eq!(grant(&scene, &connector).await, done());
    let expiry = scene.world.after(HOUR);
    for operation in ["put_session", "lease_tasks", "put_result", "list_grants", "extend_lease"] {
        scene.world.apono.faults().always(operation, Fault::Disconnect);
    }
    scene.world.pass(30 * MINUTE).await;
    assert!(scene.is_member(), "beyond the first end");
    scene.world.until_member(&scene.group, &scene.user, false).await;
    let lag = scene.world.since(expiry).as_secs_f64();
    assert!((-5.0..5.0).contains(&lag), "ended {lag} s after its expiry");
    assert_eq!(scene.world.okta.call_count("add_member"), 1);
    scene.world.apono.faults().clear();
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_grant_by_a_call_lives_on_though_apono_does_not_list_it() {
    let mut scene = scene();
    let connector = scene.world.start().await;
    assert_eq!(grant(&scene, &connector).await, done());
    scene.world.pass(40 * MINUTE).await;
    assert!(scene.world.apono.call_count("list_grants") > 5, "complete listings without it");
    assert!(scene.is_member());
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_revoke_by_a_call_does_not_touch_what_a_task_gave_and_the_other_way_round() {
    let mut scene = scene();
    let connector = scene.world.start().await;
    let by_task = scene.given(HOUR).await;
    assert_eq!(revoke(&scene, &connector).await, done(), "nothing of this origin lives");
    assert!(scene.is_member());
    assert_eq!(grant(&scene, &connector).await, done());
    assert_eq!(revoke(&scene, &connector).await, done());
    assert!(scene.is_member(), "the task's grant holds it");
    assert_eq!(scene.world.okta.call_count("remove_member"), 0);

    assert_eq!(grant(&scene, &connector).await, done());
    assert_eq!(scene.revoked(&by_task.grant_id).await["code"], "kept_other_grant");
    assert!(scene.is_member(), "the call's grant holds it");
    assert_eq!(revoke(&scene, &connector).await, done());
    assert!(!scene.is_member());
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_standing_membership_is_kept_through_calls_too() {
    let mut scene = scene();
    scene.world.okta.add_member(&scene.group, &scene.user);
    let connector = scene.world.start().await;
    assert_eq!(grant(&scene, &connector).await, done());
    assert_eq!(revoke(&scene, &connector).await, done());
    assert!(scene.is_member());
    connector.stop().await;
    assert_eq!(scene.world.okta.call_count("remove_member"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_policy_does_not_allow_is_refused_with_its_reason() {
    let mut scene = with_policy("deny_groups = [\"root*\"]\nmax_live_grants = 2");
    let root = scene.another_group("root-shell");
    let admins = scene.world.okta.add_group(NewGroup { admin_privilege: true, ..NewGroup::named("admins") });
    let (second, third) = (scene.another_group("second"), scene.another_group("third"));
    let connector = scene.world.start().await;
    for (user, group, code) in [
        (scene.login.as_str(), root.as_str(), "refused_policy"),
        (&scene.login, &admins, "refused_admin_group"),
        (&scene.login, "00gnone0000000000000", "group_not_found"),
        ("nobody@example.com", &scene.group, "user_not_found"),
    ] {
        failed(&about(&connector, "grant-access", user, &[group]).await, 422, code);
    }
    assert_eq!(scene.world.okta.call_count("add_member"), 0, "refused before any write");

    let groups = [scene.group.as_str(), &second, &third];
    let answer = about(&connector, "grant-access", &scene.login, &groups).await;
    failed(&answer, 422, "refused_policy");
    let sentence = answer.1["error"].as_str().unwrap();
    assert!(sentence.starts_with("2 of 3 groups are as asked; group "), "{sentence}");
    assert!(sentence.contains("max_live_grants"), "{sentence}");
    assert_eq!(scene.world.okta.membership_count(), 2, "what was given stays until its revoke or its end");
    assert_eq!(about(&connector, "revoke-access", &scene.login, &groups).await, done());
    assert_eq!(scene.world.okta.membership_count(), 0);
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn the_kill_switch_ends_what_calls_gave_and_refuses_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let switch = folder.path().join("stop-access");
    let mut scene = with_policy(&format!("kill_switch_file = \"{}\"", switch.display()));
    let connector = scene.world.start().await;
    assert_eq!(grant(&scene, &connector).await, done());
    std::fs::write(&switch, "").unwrap();
    scene.world.until_member(&scene.group, &scene.user, false).await;
    failed(&grant(&scene, &connector).await, 422, "refused_policy");
    assert_eq!(revoke(&scene, &connector).await, done());
    std::fs::remove_file(&switch).unwrap();
    scene.world.pass(MINUTE).await;
    assert!(!scene.is_member());
    assert_eq!(grant(&scene, &connector).await, done());
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn questions_are_answered_as_published() {
    let mut scene = with_policy("deny_groups = [\"root*\"]");
    scene.another_group("root-shell");
    let connector = scene.world.start().await;
    scene.given(HOUR).await;
    assert_eq!(call(&connector, "get-status", &json!({ "custom_parameters": {} })).await, done());
    let (status, listed) =
        call(&connector, "list-resources", &json!({ "resource_type": "okta-group" })).await;
    let resources = json!([{ "id": scene.group, "name": "oncall", "type": "okta-group", "metadata": {} }]);
    let permissions = json!([{ "id": "member", "name": "Member" }]);
    assert_eq!((status, listed), (200, json!({ "resources": resources, "permissions": permissions })));
    assert_eq!(call(&connector, "list-resources-tags", &json!({})).await, done(), "not known here");

    for operation in ["list_groups", "list_group_rules"] {
        scene.world.okta.faults().always(operation, Fault::status(400));
    }
    failed(&call(&connector, "list-resources", &json!({})).await, 503, "unavailable");
    scene.nothing_is_left(connector).await;
}
