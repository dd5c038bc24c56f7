//! Calls while something is wrong: at the caller's, at Okta's, with the disk, with the power.

use std::time::Duration;

use futures_util::FutureExt;
use simulator::fault::Fault;

use super::{HOUR, MINUTE, about, done, failed, grant, post, revoke, scene};

/// Everything that a step needs from Okta.
const OKTA: [&str; 6] =
    ["add_member", "remove_member", "list_user_groups", "list_group_rules", "token", "get_user"];

#[tokio::test(start_paused = true)]
async fn a_caller_who_hangs_up_takes_nothing_back() {
    let mut scene = scene();
    scene.world.okta.configure(|settings| settings.visibility_lag = Duration::from_secs(2));
    let connector = scene.world.start().await;
    // Polled once: the call is handed over, and nobody waits for the answer.
    assert!(grant(&scene, &connector).now_or_never().is_none());
    scene.world.until_member(&scene.group, &scene.user, true).await;
    assert_eq!(grant(&scene, &connector).await, done(), "the same grant, renewed");
    assert!(revoke(&scene, &connector).now_or_never().is_none());
    scene.world.until_member(&scene.group, &scene.user, false).await;
    assert_eq!(scene.world.okta.call_count("add_member"), 1);
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_in_the_middle_the_grant_goes_on_and_ends_on_time() {
    let mut scene = scene();
    scene.world.okta.configure(|settings| settings.visibility_lag = Duration::from_secs(3));
    let connector = scene.world.start().await;
    assert!(grant(&scene, &connector).now_or_never().is_none());
    scene.world.until("the addition", |world| (world.okta.call_count("add_member") == 1).then_some(())).await;
    connector.crash().await;

    let connector = scene.world.start().await;
    assert_eq!(grant(&scene, &connector).await, done(), "Apono asks again");
    let expiry = scene.world.after(HOUR);
    assert!(revoke(&scene, &connector).now_or_never().is_none());
    scene
        .world
        .until("the removal", |world| (world.okta.call_count("remove_member") == 1).then_some(()))
        .await;
    connector.crash().await;

    let connector = scene.world.start().await;
    assert_eq!(revoke(&scene, &connector).await, done());
    assert!(!scene.is_member());
    assert_eq!(grant(&scene, &connector).await, done());
    connector.crash().await;
    scene.world.pass(3 * HOUR).await;
    assert!(scene.is_member(), "nobody is there to end it");
    let started = scene.world.clock.now();
    assert!(started > expiry);
    let connector = scene.world.start().await;
    scene.world.until_member(&scene.group, &scene.user, false).await;
    assert!(scene.world.since(started).as_secs_f64() < 10.0, "what ran out comes first");
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_wait_any_longer_says_that_the_work_goes_on() {
    let mut scene = scene();
    let connector = scene.world.start().await;
    for operation in OKTA {
        scene.world.okta.faults().always(operation, Fault::status(503));
    }
    let limit = scene.world.elapsed() + MINUTE;
    let answer = grant(&scene, &connector).await;
    failed(&answer, 503, "unavailable");
    assert!(answer.1["error"].as_str().unwrap().contains("goes on"), "{answer:?}");
    assert!(scene.world.elapsed() < limit, "bounded");
    scene.world.okta.faults().clear();
    assert_eq!(grant(&scene, &connector).await, done());
    assert!(scene.is_member());

    for operation in OKTA {
        scene.world.okta.faults().always(operation, Fault::status(503));
    }
    for _ in 0..2 {
        failed(&revoke(&scene, &connector).await, 503, "unavailable");
    }
    assert!(scene.is_member());
    scene.world.okta.faults().clear();
    scene.world.until_member(&scene.group, &scene.user, false).await;
    assert_eq!(revoke(&scene, &connector).await, done());
    assert_eq!(scene.world.okta.call_count("add_member"), 1);
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn while_the_disk_fails_calls_give_nothing_and_take_away_all_the_same() {
    let mut scene = scene();
    let second = scene.another_group("second");
    let connector = scene.world.start().await;
    assert_eq!(grant(&scene, &connector).await, done());
    scene.world.journal.break_writes(true);
    // The first to notice, and those after it.
    for _ in 0..2 {
        let answer = about(&connector, "grant-access", &scene.login, &[&second]).await;
        failed(&answer, 503, "refused_degraded");
    }
    failed(&grant(&scene, &connector).await, 503, "refused_degraded");
    let answer = revoke(&scene, &connector).await;
    failed(&answer, 503, "unavailable");
    assert!(answer.1["error"].as_str().unwrap().contains("could not be written down yet"), "{answer:?}");
    assert!(!scene.is_member(), "removed all the same");
    failed(&revoke(&scene, &connector).await, 503, "unavailable");

    scene.world.journal.break_writes(false);
    assert_eq!(revoke(&scene, &connector).await, done());
    scene.world.until("grants again", |_| (connector.facts().journal_writable).then_some(())).await;
    assert_eq!(grant(&scene, &connector).await, done());
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn while_the_audit_trail_or_the_clock_is_wrong_calls_give_nothing_and_take_away() {
    let mut scene = scene();
    let second = scene.another_group("second");
    let connector = scene.world.start().await;
    assert_eq!(grant(&scene, &connector).await, done());
    scene.world.audit.break_writes(true);
    failed(&about(&connector, "grant-access", &scene.login, &[&second]).await, 503, "refused_degraded");
    assert_eq!(revoke(&scene, &connector).await, done());
    assert!(!scene.is_member());
    scene.world.audit.break_writes(false);
    scene.world.pass(5 * MINUTE).await;
    assert_eq!(grant(&scene, &connector).await, done());

    scene.world.skew_peers(5 * MINUTE, true);
    // Any answer of Okta's shows the difference.
    about(&connector, "grant-access", "nobody@example.com", &[&second]).await;
    failed(&about(&connector, "grant-access", &scene.login, &[&second]).await, 503, "refused_degraded");
    assert_eq!(revoke(&scene, &connector).await, done());
    scene.world.skew_peers(Duration::ZERO, true);
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_who_still_waits() {
    let mut scene = scene();
    let connector = scene.world.start().await;
    for operation in OKTA {
        scene.world.okta.faults().always(operation, Fault::status(503));
    }
    let limit = scene.world.elapsed() + Duration::from_secs(10);
    let asking = grant(&scene, &connector);
    let stopping = async {
        scene.world.pass(Duration::from_secs(5)).await;
        connector.stop().await
    };
    let (answer, _) = futures_util::join!(asking, stopping);
    failed(&answer, 503, "unavailable");
    assert!(scene.world.elapsed() < limit, "a stop waits for no answer");
    scene.world.okta.faults().clear();
    let connector = scene.world.start().await;
    scene.world.until_member(&scene.group, &scene.user, true).await;
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn calls_are_small_and_few_at_a_time() {
    let mut scene = scene();
    let connector = scene.world.start().await;
    let (status, answer) = post(&connector, vec![b' '; 300 * 1024]).await;
    assert_eq!(status, 413, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("256 KiB"), "{answer}");

    // Nobody waits for these. They keep their places until they are recorded.
    let polled: Vec<_> = (0..40).map(|_| grant(&scene, &connector).now_or_never()).collect();
    let refused: Vec<_> = polled.into_iter().flatten().collect();
    assert_eq!(refused.len(), 8, "{refused:?}");
    for answer in &refused {
        failed(answer, 503, "unavailable");
    }
    scene.world.pass(MINUTE).await;
    assert_eq!(grant(&scene, &connector).await, done());
    assert_eq!(scene.world.okta.call_count("add_member"), 1);
    assert_eq!(revoke(&scene, &connector).await, done());
    scene.nothing_is_left(connector).await;
}
