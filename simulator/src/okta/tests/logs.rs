//! The System Log.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::super::{NewGroup, NewUser};
use super::{World, body, next};

fn kinds(events: &Value) -> Vec<&str> {
    events.as_array().unwrap().iter().map(|event| event["eventType"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn okta_log_tells_changes_to_a_poller_without_loss_or_repetition() {
    let world = World::new();
    let token = world.token().await;
    let group = world.okta.add_group(NewGroup::named("Production"));
    let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    tokio::time::advance(Duration::from_secs(1)).await;
    let member = format!("/api/v1/groups/{group}/users/{user}");
    world.call(Method::PUT, &member, &token).await;

    let first = world.get("/api/v1/logs?since=2025-12-31T00:00:00Z&limit=2", &token).await;
    assert_eq!(kinds(&body(&first)), ["group.lifecycle.create", "user.lifecycle.create"]);
    let second = world.get(&next(&first).unwrap(), &token).await;
    let event = &body(&second)[0];
    assert_eq!(event["eventType"], "group.user_membership.add");
    assert_eq!(event["actor"]["id"], super::CLIENT);
    assert_eq!(event["published"], "2026-01-01T00:00:01.000Z");
    let target = |kind: &str| {
        let targets = event["target"].as_array().unwrap();
        targets.iter().find(|target| target["type"] == kind).unwrap()["id"].clone()
    };
    assert_eq!((target("User"), target("UserGroup")), (user.clone().into(), group.clone().into()));

    let nothing = world.get(&next(&second).unwrap(), &token).await;
    assert!(body(&nothing).as_array().unwrap().is_empty());
    world.call(Method::DELETE, &member, &token).await;
    let more = world.get(&next(&nothing).unwrap(), &token).await;
    assert_eq!(kinds(&body(&more)), ["group.user_membership.remove"]);
    assert!(next(&more).is_some());
}

#[tokio::test(start_paused = true)]
async fn okta_log_filters_bounds_and_sorts() {
    let world = World::new();
    let token = world.token().await;
    let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    tokio::time::advance(Duration::from_secs(10)).await;
    world.okta.set_status(&user, "SUSPENDED");
    world.okta.set_status(&user, "ACTIVE");
    tokio::time::advance(Duration::from_secs(10)).await;
    world.okta.set_status(&user, "DEPROVISIONED");
    let read = async |query: &str| {
        let response = world.get(&format!("/api/v1/logs?{query}"), &token).await;
        assert_eq!(response.status(), 200, "{query}");
        (body(&response), next(&response).is_some())
    };
    let filter = "filter=eventType%20eq%20%22user.lifecycle.suspend%22%20or%20eventType%20eq%20%22user.lifecycle.deactivate%22";
    let (events, polls) = read(filter).await;
    assert_eq!(kinds(&events), ["user.lifecycle.suspend", "user.lifecycle.deactivate"]);
    assert!(polls);
    let (events, _) = read(&format!("filter=target.id%20eq%20%22{user}%22")).await;
    assert_eq!(events.as_array().unwrap().len(), 4);
    let (events, more) = read("since=2026-01-01T00:00:05Z&until=2026-01-01T00:00:15Z").await;
    assert_eq!(kinds(&events), ["user.lifecycle.suspend", "user.lifecycle.unsuspend"]);
    assert!(!more);
    let (events, more) = read("sortOrder=DESCENDING&limit=1").await;
    assert_eq!(kinds(&events), ["user.lifecycle.deactivate"]);
    assert!(more);
    assert_eq!(read("q=SUSPEND%20ada").await.0.as_array().unwrap().len(), 2);

    world.okta.configure(|settings| settings.log_lag = Duration::from_secs(5));
    assert_eq!(read("limit=1000").await.0.as_array().unwrap().len(), 3);
    for query in ["since=2020-01-01T00:00:00Z", "limit=1001", "since=yesterday", "filter=eventType"] {
        assert_eq!(world.get(&format!("/api/v1/logs?{query}"), &token).await.status(), 400, "{query}");
    }
}
