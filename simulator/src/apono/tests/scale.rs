//! Sizes at which anything quadratic would be felt: this stays a matter of seconds in a debug build.

use serde_json::json;

use super::{Bench, INTEGRATION};
use crate::apono::Grant;

const USERS: usize = 20_000;

#[tokio::test(start_paused = true)]
async fn a_large_directory_is_walked_searched_and_changed() {
    let bench = Bench::new();
    bench.apono.set_exchange_log(0);
    let ids: Vec<String> = (0..USERS)
        .map(|number| {
            let user = json!({"userName": format!("user{number}"), "externalId": format!("00u{number}")});
            bench.apono.add_scim_user(INTEGRATION, user)
        })
        .collect();
    let everyone =
        bench.apono.add_scim_group(INTEGRATION, json!({"displayName": "Everyone", "members": ids}));
    for id in ids.iter().take(2000) {
        let group = json!({"displayName": format!("Team of {id}"), "members": [id]});
        bench.apono.add_scim_group(INTEGRATION, group);
    }
    let mut seen = 0;
    while seen < USERS {
        let page = bench.scim("GET", &format!("/Users?startIndex={}&count=200", seen + 1), None).await.body;
        assert_eq!(page["Resources"][0]["userName"], format!("user{seen}"));
        seen += page["Resources"].as_array().unwrap().len();
    }
    let path = format!("/Groups/{everyone}");
    for number in (0..USERS).step_by(20) {
        let query = format!("/Users?filter=externalId%20eq%20%2200u{number}%22");
        assert_eq!(bench.scim("GET", &query, None).await.body["totalResults"], 1);
        let remove = json!([{"op": "remove", "path": format!("members[value eq \"{}\"]", ids[number])}]);
        assert_eq!(bench.patch(&path, remove).await.status, 204);
    }
    for id in ids.iter().take(500) {
        assert_eq!(bench.scim("DELETE", &format!("/Users/{id}"), None).await.status, 204);
    }
    assert_eq!(bench.apono.scim_size(INTEGRATION), (USERS - 500, 2001));
    let everyone = bench.members(&everyone).await;
    assert_eq!(everyone.len(), USERS - USERS / 20 - 500 + 500 / 20);
}

#[tokio::test(start_paused = true)]
async fn many_grants_are_handed_out_listed_and_revoked() {
    let bench = Bench::new();
    let given: Vec<String> = (0..5000)
        .map(|number| {
            let name = format!("user{number}");
            bench.apono.grant(Grant::new(INTEGRATION, &name, &["00g1"])).grant_id
        })
        .collect();
    let mut handed = 0;
    while handed < given.len() {
        handed += bench.lease_many(super::ONE, 0, 1000).await.len();
    }
    for id in &given {
        bench.apono.revoke(id);
    }
    assert!(bench.apono.desired_grants(INTEGRATION).is_empty());
    assert_eq!(bench.apono.pending_tasks(), 10_000);
}
