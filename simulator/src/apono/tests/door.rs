//! Who may come in, what is counted, and what the log shows.

use serde_json::json;

use super::{Bench, INTEGRATION, ONE, TOKEN, session_body, session_path};
use crate::fault::Fault;

fn with_token(token: &str, path: &str) -> http::Request<bytes::Bytes> {
    let mut request = Bench::request("GET", path, None);
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_is_refused_as_apono_does() {
    let bench = Bench::new();
    let path = format!("/api/connector/v1/integrations/{INTEGRATION}/grants?status=active");
    let reply = bench.send(with_token("nonsense", &path)).await.unwrap();
    assert_eq!((reply.status, reply.body), (401, json!({"status": "401", "code": "Unauthorized"})));
    let mut request = Bench::request("GET", &path, None);
    request.headers_mut().remove("authorization");
    assert_eq!(bench.send(request).await.unwrap().status, 401);
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn tokens_rotate_with_an_overlap() {
    let bench = Bench::new();
    let path = format!("/api/connector/v1/integrations/{INTEGRATION}/grants?status=active");
    let status = async |token: &str| bench.send(with_token(token, &path)).await.unwrap().status;
    bench.apono.set_tokens(&[TOKEN, "second"]);
    assert_eq!((status(TOKEN).await, status("second").await), (200, 200));
    bench.apono.set_token("second");
    assert_eq!((status(TOKEN).await, status("second").await), (401, 200));
}

#[tokio::test(start_paused = true)]
async fn scim_may_have_a_token_of_its_own() {
    let bench = Bench::new();
    bench.apono.set_scim_token(Some("directory"));
    let path = format!("/scim/v2/{INTEGRATION}/Users");
    let refused = bench.send(with_token(TOKEN, &path)).await.unwrap();
    assert_eq!((refused.status, refused.body["status"].as_str()), (401, Some("401")));
    assert_eq!(bench.send(with_token("directory", &path)).await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_unknown_is_told_apart() {
    let bench = Bench::new();
    let session = format!("/api/connector/v1/connectors/other/sessions/{ONE}");
    let reply = bench.call("PUT", &session, Some(session_body())).await;
    assert_eq!((reply.status, reply.body["code"].as_str()), (404, Some("unknown_connector")));
    let reply = bench.call("GET", "/api/connector/v1/integrations/other/grants?status=active", None).await;
    assert_eq!((reply.status, reply.body["code"].as_str()), (404, Some("unknown_integration")));
    assert_eq!(bench.call("GET", "/scim/v2/other/Users", None).await.status, 404);
    bench.assert_no_violations();
    assert_eq!(bench.call("GET", "/api/connector/v2/nothing", None).await.status, 404);
    assert_eq!(bench.call("GET", &session_path(ONE), None).await.status, 405);
    assert_eq!(bench.scim("PUT", "/Users", Some(json!({}))).await.status, 405);
    assert_eq!(bench.apono.violations().len(), 3);
    assert_eq!(bench.apono.call_count("unknown"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_nameless_caller_or_a_body_of_another_type_is_a_violation() {
    let bench = Bench::new();
    let mut request = Bench::request("PUT", &session_path(ONE), Some(&session_body()));
    request.headers_mut().remove("user-agent");
    assert_eq!(bench.send(request).await.unwrap().status, 400);
    let mut request = Bench::request("PUT", &session_path(ONE), Some(&session_body()));
    request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(bench.send(request).await.unwrap().status, 400);
    let violations = bench.apono.violations();
    assert!(violations[0].contains("user-agent"), "{violations:?}");
    assert!(violations[1].contains("content-type"), "{violations:?}");
}

#[tokio::test(start_paused = true)]
async fn exchanges_are_kept_and_faults_marked() {
    let bench = Bench::new();
    bench.connect(ONE).await;
    bench.apono.faults().once("put_session", Fault::html(502));
    bench.connect(ONE).await;
    bench.apono.faults().once("put_session", Fault::DisconnectAfterEffect);
    let broken = Bench::request("PUT", &session_path(ONE), Some(&session_body()));
    assert!(bench.send(broken).await.is_none());
    let exchanges = bench.apono.exchanges();
    let seen: Vec<_> = exchanges.iter().map(|exchange| (exchange.status, exchange.faulted)).collect();
    assert_eq!(seen, [(200, false), (502, true), (0, true)]);
    assert_eq!(exchanges[0].operation, "put_session");
    assert_eq!(exchanges[0].path, session_path(ONE));
    assert_eq!(exchanges[0].request_body, Some(session_body()));
    assert_eq!(exchanges[0].response_body.as_ref().unwrap()["heartbeat_interval_sec"], 30);
    assert!(exchanges[1].response_body.as_ref().unwrap().as_str().unwrap().contains("<html>"));
    assert_eq!(bench.apono.call_count("put_session"), 3);
}

#[tokio::test(start_paused = true)]
async fn the_log_is_capped_and_the_counters_are_not() {
    let bench = Bench::new();
    bench.apono.set_exchange_log(2);
    for _ in 0..5 {
        bench.connect(ONE).await;
    }
    assert_eq!(bench.apono.exchanges().len(), 2);
    assert_eq!((bench.apono.call_count("put_session"), bench.apono.total_calls()), (5, 5));
    bench.apono.set_exchange_log(0);
    bench.connect(ONE).await;
    assert!(bench.apono.exchanges().is_empty());
}

#[tokio::test(start_paused = true)]
async fn changed_counts_from_the_call_and_not_from_the_first_poll() {
    let bench = Bench::new();
    let changed = bench.apono.changed();
    bench.connect(ONE).await;
    changed.await;
    let (_, ()) =
        tokio::join!(bench.connect(super::TWO), bench.apono.wait_until(|apono| apono.sessions().len() == 2));
}
