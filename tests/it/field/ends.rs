//! People and groups that changed, left or were gone before the grant was: its end finds the right ones, and ends.

use simulator::okta::{AbsentMember, NewUser};

use super::{HOUR, MINUTE};
use crate::scene::Scene;

#[tokio::test(start_paused = true)]
async fn a_revoke_of_what_somebody_else_removed_is_a_success() {
    for absent_member in [AbsentMember::NoContent, AbsentMember::NotFound] {
        let mut scene = Scene::quiet();
        scene.world.okta.configure(|settings| settings.absent_member = absent_member);
        let connector = scene.world.start().await;
        let granted = scene.given(HOUR).await;
        scene.world.okta.remove_member(&scene.group, &scene.user);
        let result = scene.revoked(&granted.grant_id).await;
        assert_eq!(
            (&result["status"], &result["code"]),
            (&"Success".into(), &"not_member".into()),
            "{result}"
        );
        assert_eq!(connector.facts().organizations[0].removals_due, 0);
        scene.all_is_over(connector).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_revoke_is_answered_like_the_first() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    let first = scene.revoked(&granted.grant_id).await;
    let second = scene.revoked(&granted.grant_id).await;
    assert_eq!((&first["status"], &second["status"]), (&"Success".into(), &"Success".into()), "{second}");
    assert_eq!(scene.world.okta.call_count("remove_member"), 1);
    scene.all_is_over(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_revoke_in_a_group_that_was_deleted_is_a_success() {
    let mut scene = Scene::quiet();
    scene.another_group("still there");
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    scene.world.okta.delete_group(&scene.group);
    let result = scene.revoked(&granted.grant_id).await;
    assert_eq!((&result["status"], &result["code"]), (&"Success".into(), &"gone".into()), "{result}");
    scene.all_is_over(connector).await;
}

#[tokio::test(start_paused = true)]
async fn the_access_of_a_deactivated_user_is_removed_and_then_there_is_nothing_left_to_say() {
    for status in ["SUSPENDED", "DEPROVISIONED", "LOCKED_OUT"] {
        let mut scene = Scene::quiet();
        let connector = scene.world.start().await;
        scene.given(MINUTE).await;
        scene.world.okta.set_status(&scene.user, status);
        scene.world.until_member(&scene.group, &scene.user, false).await;
        scene.world.pass(MINUTE).await;
        assert_eq!(connector.facts().organizations[0].removals_due, 0, "{status}");
        let calls = |scene: &Scene| scene.world.okta.total_calls() - scene.world.okta.call_count("token");
        let before = calls(&scene);
        scene.world.pass(10 * MINUTE).await;
        assert_eq!(calls(&scene), before, "{status}: nobody asks about it any more");
        scene.all_is_over(connector).await;
    }
}

/// Whose access it is, is found out once. Looked up by name at the end, it would be nobody's.
#[tokio::test(start_paused = true)]
async fn a_login_that_changed_during_the_grant_keeps_no_access() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    let renamed = serde_json::json!({ "login": "ada.king@example.com", "email": "ada.king@example.com" });
    scene.world.okta.update_profile(&scene.user, &renamed);
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "revoked");
    scene.all_is_over(connector).await;
}

/// Looked up by name at the end, it would be somebody else's.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_grant_takes_nothing_from_whoever_has_the_name_now() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    scene.world.okta.delete_user(&scene.user);
    let namesake = scene.world.okta.add_user(NewUser::active(&scene.login, "Adam", "Lovelace"));
    scene.world.okta.add_member(&scene.group, &namesake);
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "gone");
    assert!(scene.world.okta.is_member(&scene.group, &namesake));
    scene.all_is_over(connector).await;
}
