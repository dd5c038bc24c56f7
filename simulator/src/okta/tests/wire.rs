//! Over a real socket: what only a server and a client between them can get wrong.

use http::Method;
use serde_json::json;

use super::super::{NewGroup, NewUser};
use super::{ALL_SCOPES, World, rsa_key};
use crate::net;

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test plays the client")]
async fn okta_over_tcp_keeps_its_own_date_and_takes_an_empty_put() {
    let world = World::new();
    let server = net::serve(world.okta.router(), "127.0.0.1:0".parse().unwrap()).unwrap();
    world.okta.set_origin(format!("{}/", server.url()));
    let group = world.okta.add_group(NewGroup::named("Production"));
    let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));

    let mut claims = world.claims();
    claims["aud"] = json!(format!("{}/oauth2/v1/token", server.url()));
    let assertion = rsa_key().sign(&json!({ "alg": "RS256" }), &claims);
    let client = reqwest::Client::new();
    let response = client
        .post(claims["aud"].as_str().unwrap())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(World::form(&assertion, &ALL_SCOPES.join(" ")))
        .send()
        .await
        .unwrap();
    let dates: Vec<_> = response.headers().get_all("date").iter().collect();
    assert_eq!(dates.len(), 1);
    assert!(dates[0].to_str().unwrap().starts_with("Thu, 01 Jan 2026 00:0"), "{dates:?}");
    let granted: serde_json::Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let token = granted["access_token"].as_str().unwrap();

    let target = format!("{}/api/v1/groups/{group}/users/{user}", server.url());
    let written = client
        .request(Method::PUT, target)
        .bearer_auth(token)
        .header("content-length", "0")
        .send()
        .await
        .unwrap();
    assert_eq!(written.status(), 204);
    assert!(world.okta.is_member(&group, &user));
    let refused = client.get(format!("{}/api/v1/users", server.url())).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.content_length()), (401, Some(0)));
    server.stop().await;
}
