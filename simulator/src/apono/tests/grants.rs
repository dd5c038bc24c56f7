//! The desired grants.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Bench, INTEGRATION, ONE, at, origin, seconds};
use crate::apono::Grant;

impl Bench {
    async fn grants(&self, query: &str) -> super::Reply {
        let path = format!("/api/connector/v1/integrations/{INTEGRATION}/grants?status=active{query}");
        self.call("GET", &path, None).await
    }
}

fn ids(items: &Value) -> Vec<&str> {
    items.as_array().unwrap().iter().map(|item| item["grant_id"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_a_task_and_a_desired_state() {
    let bench = Bench::new();
    let request = json!({"id": "req-1", "friendly_id": "AR-1", "justification": "incident"});
    let mut grant = Grant::new(INTEGRATION, "ada@example.com", &["00g1"])
        .until(origin() + SignedDuration::from_secs(3600));
    grant.request = Some(request.clone());
    let given = bench.apono.grant(grant);
    let task = bench.lease(ONE, 0).await.remove(0);
    assert_eq!(task["task_id"], json!(given.task_id));
    let params = json!({
        "grant_id": given.grant_id, "revision": 1, "username": "ada@example.com", "resource_type": "okta-group",
        "resources": ["00g1"], "permission": "member", "custom_parameters": {}, "expires_at": at(3600),
        "request": request,
    });
    assert_eq!(task["params"], params);
    assert_eq!(bench.apono.grant_params(&given.grant_id), Some(params));
    let listed = json!({"items": [{
        "grant_id": given.grant_id, "revision": 1, "username": "ada@example.com", "resources": ["00g1"],
        "permission": "member", "expires_at": at(3600), "request": request,
    }], "pagination": {"next_page_token": null}});
    assert_eq!(bench.grants("").await.body, listed);
}

#[tokio::test(start_paused = true)]
async fn a_grant_leaves_the_listing_at_its_expiry_or_revoke() {
    let bench = Bench::new();
    let until = |sec| {
        Grant::new(INTEGRATION, "ada@example.com", &["00g1"]).until(origin() + SignedDuration::from_secs(sec))
    };
    let short = bench.apono.grant(until(60)).grant_id;
    let long = bench.apono.grant(until(600)).grant_id;
    let forever = bench.apono.grant(Grant::new(INTEGRATION, "bob@example.com", &["00g1"])).grant_id;
    tokio::time::advance(seconds(59)).await;
    assert_eq!(ids(&bench.grants("").await.body["items"]), [&short, &long, &forever]);
    tokio::time::advance(seconds(1)).await;
    assert_eq!(ids(&bench.grants("").await.body["items"]), [&long, &forever]);
    bench.apono.revoke(&long);
    assert_eq!(ids(&bench.grants("").await.body["items"]), [&forever]);
    assert_eq!(bench.apono.desired_grants(INTEGRATION).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_extension_replaces_the_grant_in_its_place() {
    let bench = Bench::new();
    let grant = Grant::new(INTEGRATION, "ada@example.com", &["00g1"]);
    let first = bench.apono.grant(grant.clone()).grant_id;
    let other = bench.apono.grant(grant.clone()).grant_id;
    let longer = Grant { grant_id: Some(first.clone()), revision: 2, ..grant };
    let again = bench.apono.grant(longer);
    assert_eq!(again.grant_id, first);
    let items = bench.grants("").await.body["items"].clone();
    assert_eq!(ids(&items), [&first, &other]);
    assert_eq!(items[0]["revision"], 2);
    assert_eq!(bench.apono.pending_tasks(), 3);
}

#[tokio::test(start_paused = true)]
async fn pages_continue_where_they_stopped_though_grants_come_and_go() {
    let bench = Bench::new();
    let given: Vec<String> = (0..5)
        .map(|number| {
            let grant = Grant::new(INTEGRATION, &format!("user{number}@example.com"), &["00g1"]);
            bench.apono.desire_grant(grant)
        })
        .collect();
    let page = bench.grants("&limit=2").await.body;
    assert_eq!(ids(&page["items"]), [&given[0], &given[1]]);
    let next = page["pagination"]["next_page_token"].as_str().unwrap().to_owned();
    bench.apono.drop_desired_grant(&given[1]);
    bench.apono.drop_desired_grant(&given[2]);
    let page = bench.grants(&format!("&limit=2&page_token={next}")).await.body;
    assert_eq!(ids(&page["items"]), [&given[3], &given[4]]);
    assert_eq!(page["pagination"]["next_page_token"], Value::Null);
    assert_eq!(bench.apono.pending_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_listing_takes_its_own_parameters_only() {
    let bench = Bench::new();
    let base = format!("/api/connector/v1/integrations/{INTEGRATION}/grants");
    for query in
        ["", "?status=all", "?status=active&limit=0", "?status=active&page_token=x", "?status=active&a=b"]
    {
        assert_eq!(bench.call("GET", &format!("{base}{query}"), None).await.status, 400, "{query}");
    }
    assert_eq!(bench.apono.violations().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_desired_grants_can_be_set_to_anything() {
    let bench = Bench::new();
    bench.apono.desire_grant(Grant::new(INTEGRATION, "ada@example.com", &["00g1"]));
    let set = vec![json!({"grant_id": "grt_x", "expires_at": null}), json!({"surprise": true})];
    bench.apono.set_desired_grants(INTEGRATION, set.clone());
    assert_eq!(bench.grants("").await.body["items"], json!(set));
    bench.apono.drop_desired_grant("grt_x");
    assert_eq!(bench.apono.desired_grants(INTEGRATION), set[1..]);
}

#[tokio::test(start_paused = true)]
async fn revoking_an_unknown_grant_makes_a_malformed_task() {
    let bench = Bench::new();
    bench.apono.revoke("grt_unknown");
    let task = bench.lease(ONE, 0).await.remove(0);
    assert_eq!(
        (&task["event_type"], &task["params"]),
        (&json!("revoke-access"), &json!({"grant_id": "grt_unknown"}))
    );
}
