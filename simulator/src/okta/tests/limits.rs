//! Rate limits, concurrency, and the headers of every answer.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::super::{Bucket, Limits, RateHeaders, Seed, faults};
use super::{NOW, World, body, header};
use crate::fault::Fault;

#[tokio::test(start_paused = true)]
async fn okta_answers_429_exactly_at_the_limit_and_recovers_after_the_window() {
    let world = World::with(|settings| settings.limits = Limits::unlimited().with_budget(Bucket::Groups, 3));
    let seeded = world.okta.seed(Seed { users: 2, groups: 1, members_per_group: 1, ..Seed::default() });
    let token = world.token().await;
    tokio::time::advance(Duration::from_millis(12_300)).await;
    let group = &seeded.groups[0];
    let members = format!("/api/v1/groups/{group}/users");
    let remaining =
        |response: &http::Response<bytes::Bytes>| header(response, "x-rate-limit-remaining").to_owned();

    let first = world.get("/api/v1/groups", &token).await;
    assert_eq!((first.status().as_u16(), remaining(&first).as_str()), (200, "2"));
    assert_eq!(header(&first, "x-rate-limit-limit"), "3");
    assert_eq!(header(&first, "x-rate-limit-reset"), (NOW + 73).to_string());
    let second = world.get(&members, &token).await;
    assert_eq!((second.status().as_u16(), remaining(&second).as_str()), (200, "1"));
    let write = world.call(Method::PUT, &format!("{members}/{}", seeded.users[0]), &token).await;
    assert_eq!((write.status().as_u16(), remaining(&write).as_str()), (204, "0"));
    let refused = world.get("/api/v1/groups", &token).await;
    assert_eq!((refused.status().as_u16(), &body(&refused)["errorCode"]), (429, &json!("E0000047")));
    assert_eq!(header(&refused, "x-rate-limit-reset"), (NOW + 73).to_string());
    assert_eq!(header(&refused, "retry-after"), "");

    // Other buckets are not touched.
    assert_eq!(world.get(&format!("/api/v1/groups/{group}"), &token).await.status(), 200);
    assert_eq!(world.get("/api/v1/users", &token).await.status(), 200);

    tokio::time::advance(Duration::from_millis(60_699)).await;
    assert_eq!(world.get("/api/v1/groups", &token).await.status(), 429);
    tokio::time::advance(Duration::from_millis(1)).await;
    let recovered = world.get("/api/v1/groups", &token).await;
    assert_eq!((recovered.status().as_u16(), remaining(&recovered).as_str()), (200, "2"));
    assert_eq!(world.okta.throttled(), 2);
}

#[tokio::test(start_paused = true)]
async fn okta_token_endpoint_speaks_the_management_dialect_when_it_throttles() {
    let world = World::with(|settings| settings.limits = Limits::per_minute(1));
    assert_eq!(world.ask(&world.claims()).await.status(), 200);
    let refused = world.ask(&world.claims()).await;
    assert_eq!((refused.status().as_u16(), &body(&refused)["errorCode"]), (429, &json!("E0000047")));
}

#[tokio::test(start_paused = true)]
async fn okta_refuses_more_calls_in_flight_than_allowed_with_a_guessed_reset() {
    let world = World::with(|settings| settings.limits = Limits::unlimited().with_concurrency(2));
    let token = world.token().await;
    world.okta.faults().times("list_users", 2, Fault::Delay(Duration::from_secs(3)));
    let slow = || world.get("/api/v1/users", &token);
    let (first, second, third) = tokio::join!(slow(), slow(), slow());
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    assert_eq!(third.status(), 429);
    assert_eq!(header(&third, "x-rate-limit-limit"), "0");
    assert_eq!(header(&third, "x-rate-limit-remaining"), "0");
    assert_eq!(header(&third, "x-rate-limit-reset"), (NOW + 110).to_string());
    assert_eq!(world.get("/api/v1/users", &token).await.status(), 200);
    assert_eq!(world.okta.peak_concurrency(), 2);

    // A caller that hangs up gives its slot back.
    world.okta.faults().times("list_users", 2, Fault::Delay(Duration::from_secs(30)));
    for _ in 0..2 {
        assert!(tokio::time::timeout(Duration::from_secs(1), slow()).await.is_err());
    }
    assert_eq!(world.get("/api/v1/users", &token).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn okta_rate_headers_can_come_twice_or_not_at_all() {
    let world = World::with(|settings| settings.limits = Limits::per_minute(10));
    let token = world.token().await;
    let values = |response: &http::Response<bytes::Bytes>| {
        let all = response.headers().get_all("x-rate-limit-limit").iter();
        all.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    world.okta.configure(|settings| settings.rate_headers = RateHeaders::Twice);
    assert_eq!(values(&world.get("/api/v1/users", &token).await), ["10", "20"]);
    world.okta.configure(|settings| settings.rate_headers = RateHeaders::Absent);
    assert!(values(&world.get("/api/v1/users", &token).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn okta_scripted_errors_look_like_genuine_ones() {
    let world = World::new();
    let token = world.token().await;
    let script = world.okta.faults();
    script.once("list_users", faults::error(500, "E0000009", "Internal Server Error"));
    script.once("list_users", faults::rate_limited(20));
    script.once("list_users", faults::concurrency());
    script.once("list_users", faults::empty_unauthorized());
    script.once("list_users", faults::insufficient_scope());
    script.once("list_users", Fault::html(502));
    let list = async || world.get("/api/v1/users", &token).await;

    assert_eq!(body(&list().await)["errorCode"], "E0000009");
    let limited = list().await;
    assert_eq!(header(&limited, "x-rate-limit-reset"), (NOW + 20).to_string());
    assert_eq!(header(&list().await, "x-rate-limit-limit"), "0");
    let unauthorized = list().await;
    assert_eq!((unauthorized.status().as_u16(), unauthorized.body().len()), (401, 0));
    let forbidden = list().await;
    assert!(header(&forbidden, "www-authenticate").contains("insufficient_scope"));
    let page = list().await;
    assert_eq!(header(&page, "content-type"), "text/html");
    for response in [limited, unauthorized, forbidden, page] {
        assert_eq!(header(&response, "date"), "Thu, 01 Jan 2026 00:00:00 GMT");
        assert_eq!(header(&response, "x-okta-request-id").len(), 32);
    }
    assert_eq!((world.okta.call_count("list_users"), world.okta.throttled()), (6, 2));

    script.once("list_users", Fault::Disconnect);
    let request = http::Request::get("/api/v1/users").body(bytes::Bytes::new()).unwrap();
    assert!(crate::net::dispatch(world.okta.router(), request).await.is_err());
    let calls = world.okta.calls();
    assert_eq!(calls.last().map(|call| (call.operation, call.status)), Some(("list_users", 0)));
    world.okta.reset_counters();
    assert_eq!((world.okta.total_calls(), world.okta.calls().len()), (0, 0));
}
