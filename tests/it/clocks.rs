//! Clocks that are wrong, set, suspended: access ends on time by whichever is right.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;

use crate::scene::Scene;

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// How long after its expiry by a clock that is right a grant of an hour ended, when `disturb` happens in its middle.
async fn ended_after(disturb: impl FnOnce(&Scene)) -> f64 {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    scene.given(HOUR).await;
    let begun = scene.world.elapsed();
    scene.world.pass(30 * MINUTE).await;
    disturb(&scene);
    scene.world.until_member(&scene.group, &scene.user, false).await;
    let lasted = scene.world.elapsed().saturating_sub(begun);
    connector.stop().await;
    lasted.as_secs_f64() - HOUR.as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_lets_no_grant_last_longer() {
    for hours in [-1, -24] {
        let late = ended_after(|scene| scene.world.wall.step(SignedDuration::from_hours(hours))).await;
        assert!((-2.0..2.0).contains(&late), "{late} s late after a step of {hours} h");
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspended_machine_ends_what_ran_out_in_its_sleep_when_it_wakes() {
    let late = ended_after(|scene| scene.world.wall.step(SignedDuration::from_hours(8))).await;
    assert!((-1800.0..-1795.0).contains(&late), "{late} s: at once on waking");
}

/// Forwards and back again: what was ended stays ended, and nothing else is.
#[tokio::test(start_paused = true)]
async fn nothing_brings_back_what_a_leap_has_ended() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    let granted = scene.given(HOUR).await;
    scene.world.wall.step(SignedDuration::from_hours(2));
    scene.world.until_member(&scene.group, &scene.user, false).await;
    scene.world.wall.step(SignedDuration::from_hours(-2));
    scene.world.pass(10 * MINUTE).await;
    assert!(!scene.is_member(), "the end is final");
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "revoked");
    scene.given(HOUR).await;
    scene.nothing_is_left(connector).await;
}

/// A process that starts with a clock that is behind has no memory of the right time; Okta's `Date` has.
#[tokio::test(start_paused = true)]
async fn oktas_clock_ends_what_a_restarted_connector_with_a_slow_clock_would_keep() {
    let mut scene = Scene::new();
    let connector = scene.world.start().await;
    scene.given(HOUR).await;
    connector.crash().await;
    scene.world.pass(70 * MINUTE).await;
    scene.world.wall.step(SignedDuration::from_hours(-5));
    let connector = scene.world.start().await;
    let started = scene.world.elapsed();
    scene.world.until_member(&scene.group, &scene.user, false).await;
    let took = scene.world.elapsed().saturating_sub(started);
    assert!(took < 15 * MINUTE, "{took:?}");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_stops_new_grants_and_no_removal() {
    for (step, word) in [(-120, "120 s behind"), (300, "300 s ahead of")] {
        let mut scene = Scene::new();
        let connector = scene.world.start().await;
        let live = scene.given(HOUR).await;
        scene.world.wall.step(SignedDuration::from_secs(step));
        let refused = scene.grant(HOUR);
        let result = scene.world.result(&refused.task_id).await;
        assert_eq!(result["code"], json!("refused_degraded"), "{result}");
        let message = result["resources"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(word) && message.contains("NTP"), "{message}");
        assert_eq!(scene.revoked(&live.grant_id).await["code"], "revoked");
        scene.world.wall.step(SignedDuration::from_secs(-step));
        scene.given(HOUR).await;
        scene.nothing_is_left(connector).await;
    }
}
