//! What breaks elsewhere and only the real process can show. The table with the sources is `docs/field-failures.md`.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::world::World;

/// Elsewhere the process ended within milliseconds, and nobody was told what it had done.
#[tokio::test]
async fn an_interrupt_in_the_middle_of_a_revoke_finishes_and_reports_it() {
    let (mut world, user, group) = World::with_ada();
    let connector = world.start();
    let granted = world.grant(&group, Duration::from_mins(5));
    assert_eq!(world.result(&granted.task_id).await["code"], "granted");
    // The removal shows only after a while, so that the signal comes in the middle of it.
    world.okta.configure(|settings| settings.visibility_lag = Duration::from_millis(700));
    let task = world.apono.revoke(&granted.grant_id);
    world.until_member(&group, &user, false).await;
    assert!(connector.stop_by(Signal::SIGINT).await.success());
    let result = world.apono.result(&task).expect("reported before the end");
    assert_eq!(result["code"], "revoked");
    assert_eq!(world.apono.result_posts(&task), 1);
    world.check_contract();
}

/// Elsewhere a hangup was ignored, or ended the process.
#[tokio::test]
async fn hangups_end_nothing() {
    let (mut world, user, group) = World::with_ada();
    let mut connector = world.start();
    connector.admin().await;
    connector.signal(Signal::SIGHUP);
    connector
        .until_logged("the hangup", |line| line["message"].as_str().unwrap().starts_with("SIGHUP"))
        .await;
    let granted = world.grant(&group, Duration::from_mins(5));
    world.until_member(&group, &user, true).await;
    connector.signal(Signal::SIGHUP);
    assert_eq!(world.result(&granted.task_id).await["code"], "granted");
    assert!(connector.is_running());
    connector.signal(Signal::SIGHUP);
    assert!(connector.stop().await.success());
}
