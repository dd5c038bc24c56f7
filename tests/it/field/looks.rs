//! What Okta shows late, in part, or not at all: nothing is concluded from it too early.

use serde_json::{Value, json};
use simulator::apono::Grant;
use simulator::fault::Fault;
use simulator::okta::faults::empty_unauthorized;
use simulator::okta::{NewUser, PageSizes};

use super::{HOUR, MINUTE};
use crate::scene::Scene;
use crate::world::INTEGRATION;

/// Okta shows a user's groups page by page, whatever limit is asked for.
fn in_many_groups(scene: &Scene) {
    scene.world.okta.configure(|settings| {
        settings.page_sizes =
            PageSizes { groups_of_user: 10, rules: 10, rules_max: 10, ..PageSizes::default() };
    });
    for number in 0..25 {
        let group = scene.another_group(&format!("team-{number}"));
        scene.world.okta.add_member(&group, &scene.user);
    }
}

#[tokio::test(start_paused = true)]
async fn a_membership_on_a_later_page_is_seen() {
    let mut scene = Scene::quiet();
    in_many_groups(&scene);
    let standing = scene.another_group("standing");
    scene.world.okta.add_member(&standing, &scene.user);
    let empty = scene.another_group("empty");
    let connector = scene.world.start().await;
    let kept = scene.grant_revision("grt_kept", 1, &[&standing], 10 * MINUTE);
    assert_eq!(scene.world.result(&kept.task_id).await["code"], "already_member");
    let given = scene.grant_revision("grt_given", 1, &[&empty], 10 * MINUTE);
    let result = scene.world.result(&given.task_id).await;
    assert_eq!(result["code"], "granted", "seen where it is: {result}");
    scene.world.until_member(&empty, &scene.user, false).await;
    scene.world.pass(MINUTE).await;
    assert_eq!(connector.facts().organizations[0].removals_due, 0);
    assert!(scene.world.okta.is_member(&standing, &scene.user));
    assert_eq!(scene.world.okta.call_count("remove_member"), 1);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_rule_on_a_later_page_counts() {
    let mut scene = Scene::quiet();
    in_many_groups(&scene);
    let other = scene.another_group("other");
    for number in 0..25 {
        scene.world.okta.add_group_rule(&format!("rule-{number}"), &[&other], "ACTIVE");
    }
    scene.world.okta.add_group_rule("the last", &[&scene.group], "ACTIVE");
    let connector = scene.world.start().await;
    let granted = scene.grant(HOUR);
    assert_eq!(scene.world.result(&granted.task_id).await["code"], "refused_rule_managed");
    assert_eq!(scene.world.okta.call_count("add_member"), 0);
    connector.stop().await;
}

/// `search` reads an index that lags; a user who was created for this very grant is not in it yet.
#[tokio::test(start_paused = true)]
async fn a_user_who_was_created_a_moment_ago_is_found() {
    let mut scene = Scene::quiet();
    scene.world.okta.configure(|settings| settings.search_lag = HOUR);
    let connector = scene.world.start().await;
    let newcomer =
        NewUser { email: "new@mail.example.com".to_owned(), ..NewUser::active("new@example.com", "N", "C") };
    let id = scene.world.okta.add_user(newcomer);
    for name in ["new@example.com", "new@mail.example.com"] {
        let grant = Grant::new(INTEGRATION, name, &[&scene.group]).until(scene.world.after(10 * MINUTE));
        let granted = scene.world.apono.grant(grant);
        assert_eq!(scene.world.result(&granted.task_id).await["code"], "granted", "{name}");
        assert!(scene.world.okta.is_member(&scene.group, &id));
        assert_eq!(scene.revoked(&granted.grant_id).await["code"], "revoked", "{name}");
    }
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_membership_that_does_not_show_is_not_called_given_and_still_ends() {
    let mut scene = Scene::quiet();
    scene.world.okta.configure(|settings| settings.visibility_lag = MINUTE);
    let connector = scene.world.start().await;
    let granted = scene.grant(10 * MINUTE);
    let expiry = scene.world.after(10 * MINUTE);
    let result = scene.world.result(&granted.task_id).await;
    assert_eq!((&result["status"], &result["code"]), (&json!("Warning"), &json!("unverified")), "{result}");
    scene.world.until_member(&scene.group, &scene.user, false).await;
    assert!((0.0..3.0).contains(&scene.world.since(expiry).as_secs_f64()));
    scene.all_is_over(connector).await;
}

/// A grant that ends before its addition shows: the absence that is seen is not the end of the duty.
#[tokio::test(start_paused = true)]
async fn what_is_revoked_before_it_ever_showed_is_removed_all_the_same() {
    let mut scene = Scene::quiet();
    scene.world.okta.configure(|settings| settings.visibility_lag = MINUTE);
    let connector = scene.world.start().await;
    let granted = scene.grant(HOUR);
    scene.world.until_member(&scene.group, &scene.user, true).await;
    let result = scene.revoked(&granted.grant_id).await;
    assert_eq!(result["status"], "Success", "{result}");
    assert!(!scene.is_member());
    scene.all_is_over(connector).await;
}

/// Accepted is not done.
#[tokio::test(start_paused = true)]
async fn a_204_that_did_nothing_is_not_believed() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    scene.world.okta.faults().times("remove_member", 2, Fault::status(204));
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "revoked");
    assert!(!scene.is_member(), "told only when it is so");
    assert_eq!(scene.world.okta.call_count("remove_member"), 3);

    scene.world.okta.faults().once("add_member", Fault::status(204));
    let granted = scene.grant(MINUTE);
    assert_eq!(scene.world.result(&granted.task_id).await["code"], "unverified");
    scene.all_is_over(connector).await;
}

/// "You may not look" is not "there is nothing".
#[tokio::test(start_paused = true)]
async fn a_look_that_is_refused_is_not_an_empty_one() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    let granted = scene.given(5 * HOUR).await;
    scene.world.okta.faults().always("list_user_groups", empty_unauthorized());
    let task = scene.world.apono.revoke(&granted.grant_id);
    let other = scene.another_group("other");
    let waits = scene.grant_revision("grt_other", 1, &[&other], 5 * HOUR);
    assert_eq!(scene.result_after(&task, 10 * MINUTE).await, None, "its end cannot be seen");
    assert_eq!(scene.world.apono.result(&waits.task_id), None, "nothing is given blindly");
    assert_eq!(scene.world.okta.call_count("add_member"), 1);
    let asked = scene.world.okta.tokens_issued();
    assert!(asked < 60, "{asked} tokens in ten minutes");
    scene.world.okta.faults().clear();
    assert_eq!(scene.world.result(&task).await["status"], "Success");
    assert!(!scene.is_member());
    assert_eq!(scene.world.result(&waits.task_id).await["code"], "granted");
    scene.all_is_over(connector).await;
}

/// Apono's listing of grants is read every half minute.
fn often_listed() -> Scene {
    let mut scene = Scene::quiet();
    let settings = &scene.world.settings;
    scene.world.settings = settings.replace("[[okta]]", "grants_interval = \"30s\"\n[[okta]]");
    scene
}

/// Whatever comes instead of the listing says nothing about who has access.
#[tokio::test(start_paused = true)]
async fn a_listing_of_grants_that_is_not_one_ends_no_grant() {
    let answer = |body: &str| Fault::Answer { status: 200, headers: Vec::new(), body: body.to_owned() };
    let mut scene = often_listed();
    let connector = scene.world.start().await;
    scene.given(10 * HOUR).await;
    for wrong in [
        answer(""),
        answer("{}"),
        answer("[]"),
        answer("<html>please sign in</html>"),
        answer(r#"{"items": null}"#),
        answer(r#"{"items": [{"grant_id": "grt_x"}]}"#),
        Fault::html(200),
        Fault::status(204),
        Fault::status(404),
        Fault::status(500),
        Fault::CutBody(12),
        Fault::Disconnect,
    ] {
        scene.world.apono.faults().always("list_grants", wrong.clone());
        let before = scene.world.apono.faults().fired("list_grants");
        scene.world.pass(2 * MINUTE).await;
        assert!(scene.world.apono.faults().fired("list_grants") > before + 2, "{wrong:?}");
        assert!(scene.is_member(), "{wrong:?}");
        scene.world.apono.faults().clear();
    }
    scene.world.pass(2 * MINUTE).await;
    assert_eq!(scene.world.okta.call_count("remove_member"), 0);
    connector.stop().await;
}

/// The revoke is done, and the other side goes on listing the grant: with its old end, with a later one, for ever.
#[tokio::test(start_paused = true)]
async fn what_is_over_does_not_come_back_by_a_stale_listing() {
    let mut scene = often_listed();
    let connector = scene.world.start().await;
    let granted = scene.given(5 * HOUR).await;
    let stale = scene.world.apono.desired_grants(INTEGRATION);
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "revoked");
    let mut longer = stale[0].clone();
    longer["expires_at"] = Value::String(scene.world.after(10 * HOUR).to_string());
    for listed in [stale[0].clone(), longer] {
        scene.world.apono.set_desired_grants(INTEGRATION, vec![listed]);
        scene.world.pass(2 * MINUTE).await;
    }
    connector.crash().await;
    let connector = scene.world.start().await;
    scene.world.pass(2 * MINUTE).await;
    assert_eq!(scene.world.okta.call_count("add_member"), 1);
    scene.all_is_over(connector).await;
}
