//! Tokens at the API: empty refusals, scopes, admin role; paths and methods that do not exist.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::json;

use super::super::{NewGroup, Seed};
use super::{CLIENT, World, body, header};

#[tokio::test(start_paused = true)]
async fn okta_refuses_tokens_without_a_body() {
    let world = World::new();
    let token = world.token().await;
    assert_eq!(world.get("/api/v1/users", &token).await.status(), 200);

    let nobody = world.send(Request::get("/api/v1/users").body(Bytes::new()).unwrap()).await;
    let unknown = world.get("/api/v1/users", "eyJunknown").await;
    tokio::time::advance(Duration::from_hours(1)).await;
    let expired = world.get("/api/v1/users", &token).await;
    for response in [nobody, unknown, expired] {
        assert_eq!(response.status(), 401);
        assert!(response.body().is_empty());
        assert!(header(&response, "www-authenticate").contains("error=\"invalid_token\""));
        assert!(!header(&response, "x-okta-request-id").is_empty());
        assert!(!header(&response, "date").is_empty());
    }
    let fresh = world.token().await;
    world.okta.revoke_tokens();
    assert_eq!(world.get("/api/v1/users", &fresh).await.status(), 401);
    let fresh = world.token().await;
    world.okta.deactivate_client(CLIENT);
    assert_eq!(world.get("/api/v1/users", &fresh).await.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn okta_refuses_missing_scopes_without_a_body_and_lets_manage_read() {
    let world = World::new();
    world.okta.set_granted_scopes(CLIENT, &["okta.groups.manage"]);
    let token = world.token().await;
    assert_eq!(world.get("/api/v1/groups", &token).await.status(), 200);
    for target in ["/api/v1/users", "/api/v1/logs", "/api/v1/org", "/api/v1/groups/00gx/roles"] {
        let refused = world.get(target, &token).await;
        assert_eq!(refused.status(), 403, "{target}");
        assert!(refused.body().is_empty());
        let challenge = header(&refused, "www-authenticate");
        assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
        assert!(challenge.contains(&format!("resource=\"{target}\"")), "{challenge}");
    }
    world.okta.set_granted_scopes(CLIENT, &["okta.groups.read"]);
    let assertion = super::rsa_key().sign(&json!({ "alg": "RS256" }), &world.claims());
    let response = world.post_form(World::form(&assertion, "okta.groups.read"), &[]).await;
    let reader = body(&response)["access_token"].as_str().unwrap().to_owned();
    assert_eq!(world.get("/api/v1/groups", &reader).await.status(), 200);
    let write = world.call(Method::PUT, "/api/v1/groups/00gx/users/00ux", &reader).await;
    assert_eq!(write.status(), 403);
}

#[tokio::test(start_paused = true)]
async fn okta_shows_empty_lists_to_an_app_without_an_admin_role() {
    let world = World::new();
    let seeded = world.okta.seed(Seed { users: 3, groups: 2, members_per_group: 1, ..Seed::default() });
    let token = world.token().await;
    world.okta.set_admin_role(CLIENT, false);
    for target in ["/api/v1/users", "/api/v1/groups"] {
        let list = world.get(target, &token).await;
        assert_eq!((list.status().as_u16(), body(&list)), (200, json!([])));
    }
    let group = &seeded.groups[0];
    for target in [
        format!("/api/v1/groups/{group}"),
        format!("/api/v1/groups/{group}/users"),
        format!("/api/v1/users/{}", seeded.users[0]),
    ] {
        let refused = world.get(&target, &token).await;
        assert_eq!(refused.status(), 403);
        let error = body(&refused);
        assert_eq!(error["errorCode"], "E0000006");
        assert_eq!(error["errorLink"], "E0000006");
        assert_eq!(error["errorCauses"], json!([]));
        assert!(error["errorId"].as_str().unwrap().starts_with("oae"));
    }
    world.okta.set_admin_role(CLIENT, true);
    assert_eq!(super::ids(&world.get("/api/v1/users", &token).await).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn okta_tells_unknown_paths_and_methods_apart_and_answers_about_itself() {
    let world = World::new();
    let token = world.token().await;
    let unknown = world.get("/api/v1/zones", &token).await;
    assert_eq!((unknown.status().as_u16(), &body(&unknown)["errorCode"]), (404, &json!("E0000008")));
    let wrong = world.call(Method::DELETE, "/api/v1/users", &token).await;
    assert_eq!((wrong.status().as_u16(), &body(&wrong)["errorCode"]), (405, &json!("E0000022")));

    assert_eq!(body(&world.get("/api/v1/org", &token).await)["subdomain"], "example");
    let known = world.send(Request::get("/.well-known/okta-organization").body(Bytes::new()).unwrap()).await;
    assert_eq!(body(&known)["_links"]["organization"]["href"], super::ORIGIN);
    assert_eq!(header(&known, "x-rate-limit-limit"), "");
    let keys = world.send(Request::get("/oauth2/v1/keys").body(Bytes::new()).unwrap()).await;
    assert_eq!(body(&keys)["keys"][0]["kty"], "RSA");

    let plain = world.okta.add_group(NewGroup::named("Plain"));
    let admins = world.okta.add_group(NewGroup { admin_privilege: true, ..NewGroup::named("Admins") });
    let roles = |group: &str| format!("/api/v1/groups/{group}/roles");
    assert_eq!(body(&world.get(&roles(&plain), &token).await), json!([]));
    assert_eq!(body(&world.get(&roles(&admins), &token).await)[0]["type"], "HELP_DESK_ADMIN");
}
