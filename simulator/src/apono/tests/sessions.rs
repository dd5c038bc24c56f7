//! Sessions: who is connected, and what a heartbeat must say.

use serde_json::{Value, json};

use super::{Bench, ONE, TWO, at, seconds, session_body, session_path};

#[tokio::test(start_paused = true)]
async fn a_session_lives_from_its_first_heartbeat_to_its_goodbye() {
    let bench = Bench::new();
    let reply = bench.connect(ONE).await;
    assert_eq!(reply.body, json!({"heartbeat_interval_sec": 30, "server_time": at(0)}));
    bench.connect(TWO).await;
    let live: Vec<Value> =
        bench.apono.sessions().iter().map(|session| session["session_id"].clone()).collect();
    assert_eq!(live, [ONE, TWO]);
    assert_eq!(bench.call("DELETE", &session_path(ONE), None).await.status, 204);
    assert_eq!(bench.call("DELETE", &session_path(ONE), None).await.status, 204);
    assert_eq!(bench.apono.sessions().len(), 1);
    assert_eq!(bench.apono.ended_sessions()[0]["session_id"], ONE);
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_silent_session_is_not_live() {
    let bench = Bench::new();
    bench.connect(ONE).await;
    tokio::time::advance(seconds(90)).await;
    assert_eq!(bench.apono.sessions().len(), 1);
    tokio::time::advance(seconds(1)).await;
    assert!(bench.apono.sessions().is_empty());
    assert!(bench.apono.ended_sessions().is_empty());
    bench.connect(ONE).await;
    assert_eq!(bench.apono.sessions()[0]["last_seen_at"], json!(at(91)));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_said_goodbye_should_not_come_back() {
    let bench = Bench::new();
    bench.connect(ONE).await;
    bench.call("DELETE", &session_path(ONE), None).await;
    bench.apono.enqueue("get-status", super::INTEGRATION, json!({}));
    assert!(bench.lease(ONE, 5).await.is_empty());
    bench.connect(ONE).await;
    assert_eq!(bench.apono.violations().len(), 2, "{:?}", bench.apono.violations());
}

#[tokio::test(start_paused = true)]
async fn every_breach_is_named() {
    let bench = Bench::new();
    let broken = |pointer: &str, value: Value| {
        let mut body = session_body();
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let mut unknown_field = session_body();
    unknown_field["extra"] = json!(1);
    let mut no_version = session_body();
    no_version.as_object_mut().unwrap().remove("connector_version");
    let cases = [
        (unknown_field, "extra"),
        (no_version, "connector_version"),
        (broken("/started_at", json!("2026-03-01T12:00:00+01:00")), "started_at"),
        (broken("/metadata", json!([])), "metadata"),
        (broken("/capabilities", json!(["fly"])), "capabilities"),
        (broken("/integrations/0/status", json!("Active")), "integrations[0].status"),
        (broken("/integrations/0/last_sync_time", json!("yesterday")), "integrations[0].last_sync_time"),
        (json!("text"), "the body"),
    ];
    let expected = cases.len() + 1;
    for (body, field) in cases {
        let reply = bench.call("PUT", &session_path(ONE), Some(body)).await;
        assert_eq!((reply.status, reply.body["code"].as_str()), (400, Some("malformed")));
        let message = reply.body["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(field), "{message}");
    }
    assert_eq!(bench.call("PUT", &session_path("one"), Some(session_body())).await.status, 400);
    assert!(bench.apono.sessions().is_empty());
    assert_eq!(bench.apono.violations().len(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_server_tells_its_own_time() {
    let bench = Bench::new();
    bench.clock.set_skew(seconds(600), false);
    assert_eq!(bench.connect(ONE).await.body["server_time"], at(-600));
}
