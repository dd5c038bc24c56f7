//! The power goes: the real process, killed, and started again on the same disk.

use std::time::Duration;

use simulator::fault::Fault;

use crate::world::World;

#[tokio::test]
async fn killed_between_oktas_204_and_the_report_the_grant_is_reported_once_and_ends_on_time() {
    let (mut world, user, group) = World::with_ada();
    world.apono.faults().always("put_result", Fault::Disconnect);
    let connector = world.start();
    let lasts = Duration::from_secs(8);
    let granted = world.grant(&group, lasts);
    let expiry =
        world.apono.grant_params(&granted.grant_id).unwrap()["expires_at"].as_str().unwrap().to_owned();
    world.until_member(&group, &user, true).await;
    connector.kill().await;
    assert_eq!(world.apono.result(&granted.task_id), None);

    world.apono.faults().clear();
    let connector = world.start();
    let result = world.result(&granted.task_id).await;
    assert_eq!(result["code"], "granted", "{result}");
    world.until_member(&group, &user, false).await;
    let ended = world.okta.membership_writes().last().unwrap().at;
    let lag = ended.duration_since(expiry.parse().unwrap()).as_secs_f64();
    assert!(lag >= 0.0, "ended {lag} s before its expiry");
    assert!(connector.stop().await.success());
    assert_eq!(world.apono.result_posts(&granted.task_id), 1);
    world.check_contract();
}

#[tokio::test]
async fn killed_before_the_report_of_a_revoke_it_is_done_and_reported_after_the_restart() {
    let (mut world, user, group) = World::with_ada();
    let connector = world.start();
    let granted = world.grant(&group, Duration::from_mins(5));
    world.result(&granted.task_id).await;
    world.apono.faults().always("put_result", Fault::Disconnect);
    let task = world.apono.revoke(&granted.grant_id);
    world.until_member(&group, &user, false).await;
    connector.kill().await;
    world.apono.faults().clear();
    let connector = world.start();
    let result = world.result(&task).await;
    assert!(["revoked", "not_member"].contains(&result["code"].as_str().unwrap()), "{result}");
    assert!(connector.stop().await.success());
    assert!(!world.okta.is_member(&group, &user));
}

#[tokio::test]
async fn what_ran_out_while_it_was_dead_is_ended_at_the_start() {
    let (mut world, user, group) = World::with_ada();
    let connector = world.start();
    let granted = world.grant(&group, Duration::from_secs(3));
    world.until_member(&group, &user, true).await;
    connector.kill().await;
    let expiry =
        world.apono.grant_params(&granted.grant_id).unwrap()["expires_at"].as_str().unwrap().to_owned();
    let expiry: jiff::Timestamp = expiry.parse().unwrap();
    while World::now() <= expiry {
        tokio::task::yield_now().await;
    }
    // Apono is not needed for this.
    world.apono.faults().always("lease_tasks", Fault::Disconnect);
    world.apono.faults().always("put_session", Fault::Disconnect);
    let connector = world.start();
    world.until_member(&group, &user, false).await;
    assert!(connector.stop().await.success());
}
