//! Setting up a service app by an administrator's API token, and what the app then is.

use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};

use super::super::{AdminRole, NewGroup, NewUser};
use super::{ORIGIN, World, body, ids, next, other_rsa_key, rsa_key};

async fn ask(world: &World, token: &str, method: Method, path: &str, with: Value) -> Response<Bytes> {
    let mut request =
        Request::builder().method(method).uri(path).header("authorization", format!("SSWS {token}"));
    if !with.is_null() {
        request = request.header("content-type", "application/json");
    }
    let content = if with.is_null() { Bytes::new() } else { Bytes::from(with.to_string()) };
    world.send(request.body(content).unwrap()).await
}

async fn post(world: &World, token: &str, path: &str, with: Value) -> (u16, Value) {
    let response = ask(world, token, Method::POST, path, with).await;
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default())
}

async fn get(world: &World, token: &str, path: &str) -> Value {
    let response = ask(world, token, Method::GET, path, Value::Null).await;
    assert_eq!(response.status(), 200, "{path}: {:?}", response.body());
    body(&response)
}

fn app(jwk: &Value) -> Value {
    json!({
        "name": "oidc_client", "label": "Connector", "signOnMode": "OPENID_CONNECT",
        "credentials": { "oauthClient": { "token_endpoint_auth_method": "private_key_jwt" } },
        "settings": { "oauthClient": {
            "application_type": "service", "grant_types": ["client_credentials"],
            "response_types": ["token"], "jwks": { "keys": [jwk] },
        } },
    })
}

/// A token for a client that was made through the API.
async fn token_of(world: &World, client: &str, scope: &str) -> Result<String, Value> {
    let mut claims = world.claims();
    claims["iss"] = json!(client);
    claims["sub"] = json!(client);
    let assertion = rsa_key().sign(&json!({ "alg": "RS256", "kid": "first" }), &claims);
    let response = world.post_form(World::form(&assertion, scope), &[]).await;
    let body = body(&response);
    body["access_token"].as_str().map(str::to_owned).ok_or(body)
}

#[tokio::test(start_paused = true)]
async fn okta_an_app_that_an_administrator_makes_is_a_client_with_what_it_was_given() {
    let world = World::new();
    let group = world.okta.add_group(NewGroup::named("oncall"));
    let other = world.okta.add_group(NewGroup::named("payroll"));
    let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let admin = world.okta.create_admin_token(AdminRole::SuperAdmin);
    assert_eq!(get(&world, &admin, "/api/v1/users/me").await["status"], "ACTIVE");

    let (status, made) = post(&world, &admin, "/api/v1/apps", app(&rsa_key().jwk)).await;
    assert_eq!(status, 200, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!(made["credentials"]["oauthClient"]["client_id"], id);
    let found = get(&world, &admin, "/api/v1/apps?q=connec&limit=1").await;
    assert_eq!(found[0]["id"], id);
    assert_eq!(get(&world, &admin, &format!("/api/v1/apps/{id}")).await["label"], "Connector");

    let scopes = "okta.users.read okta.groups.manage";
    assert_eq!(token_of(&world, &id, scopes).await.unwrap_err()["error"], "consent_required");
    for scope in scopes.split(' ') {
        let grant = json!({ "issuer": ORIGIN, "scopeId": scope });
        let (status, granted) = post(&world, &admin, &format!("/api/v1/apps/{id}/grants"), grant).await;
        assert_eq!((status, granted["scopeId"].as_str()), (201, Some(scope)));
    }
    let token = token_of(&world, &id, scopes).await.unwrap();
    assert_eq!(ids(&world.get("/api/v1/users", &token).await), Vec::<String>::new(), "there is no role yet");

    let role = json!({ "label": "R", "description": "d", "permissions": ["okta.groups.read"] });
    let (status, role) = post(&world, &admin, "/api/v1/iam/roles", role).await;
    assert_eq!(status, 200, "{role}");
    let resources = json!([format!("{ORIGIN}/api/v1/users"), format!("{ORIGIN}/api/v1/groups/{group}")]);
    let set = json!({ "label": "S", "description": "d", "resources": resources });
    let (status, set) = post(&world, &admin, "/api/v1/iam/resource-sets", set).await;
    assert_eq!(status, 200, "{set}");
    let assignment = json!({ "type": "CUSTOM", "role": role["id"], "resource-set": set["id"] });
    let roles = format!("/oauth2/v1/clients/{id}/roles");
    assert_eq!(post(&world, &admin, &roles, assignment.clone()).await.0, 200);
    assert_eq!(post(&world, &admin, &roles, assignment).await.0, 409);
    assert_eq!(get(&world, &admin, &roles).await[0]["role"], role["id"]);

    // The role reads one group, until it gets more.
    assert_eq!(ids(&world.get("/api/v1/groups", &token).await), std::slice::from_ref(&group));
    assert_eq!(ids(&world.get("/api/v1/users", &token).await), Vec::<String>::new());
    let member = format!("/api/v1/groups/{group}/users/{user}");
    assert_eq!(world.call(Method::PUT, &member, &token).await.status(), 403);
    let role = role["id"].as_str().unwrap();
    for permission in ["okta.users.read", "okta.groups.members.manage"] {
        let path = format!("/api/v1/iam/roles/{role}/permissions/{permission}");
        assert_eq!(post(&world, &admin, &path, Value::Null).await.0, 204);
    }
    // A membership is the group's and the user's: each has its permission.
    assert_eq!(world.call(Method::PUT, &member, &token).await.status(), 403);
    let path = format!("/api/v1/iam/roles/{role}/permissions/okta.users.groupMembership.manage");
    assert_eq!(post(&world, &admin, &path, Value::Null).await.0, 204);
    let permissions = get(&world, &admin, &format!("/api/v1/iam/roles/{role}/permissions")).await;
    assert_eq!(permissions["permissions"].as_array().unwrap().len(), 4);
    assert_eq!(ids(&world.get("/api/v1/users", &token).await), std::slice::from_ref(&user));
    assert_eq!(world.call(Method::PUT, &member, &token).await.status(), 204);
    let elsewhere = format!("/api/v1/groups/{other}/users/{user}");
    assert_eq!(world.call(Method::PUT, &elsewhere, &token).await.status(), 403);
    let resources = format!("/api/v1/iam/resource-sets/{}/resources", set["id"].as_str().unwrap());
    let more = json!({ "additions": [format!("{ORIGIN}/api/v1/groups")] });
    assert_eq!(ask(&world, &admin, Method::PATCH, &resources, more).await.status(), 200);
    assert_eq!(get(&world, &admin, &resources).await["resources"].as_array().unwrap().len(), 3);
    assert_eq!(world.call(Method::PUT, &elsewhere, &token).await.status(), 204);

    let revoked = ask(&world, &admin, Method::DELETE, "/api/v1/api-tokens/current", Value::Null).await;
    assert_eq!(revoked.status(), 204);
    let after = ask(&world, &admin, Method::GET, "/api/v1/apps", Value::Null).await;
    assert_eq!((after.status().as_u16(), body(&after)["errorCode"].as_str()), (401, Some("E0000011")));
    assert_eq!(world.get("/api/v1/users", &token).await.status(), 200, "the app's own token is another");
}

#[tokio::test(start_paused = true)]
async fn okta_keys_are_added_deactivated_and_deleted_by_their_ids() {
    let world = World::new();
    let admin = world.okta.create_admin_token(AdminRole::AppAdmin);
    let (_, made) = post(&world, &admin, "/api/v1/apps", app(&other_rsa_key().jwk)).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let keys = format!("/api/v1/apps/{id}/credentials/jwks");
    world.okta.set_granted_scopes(&id, &["okta.users.read"]);
    assert_eq!(token_of(&world, &id, "okta.users.read").await.unwrap_err()["error"], "invalid_client");
    let (status, added) = post(&world, &admin, &keys, rsa_key().jwk.clone()).await;
    assert_eq!(
        (status, added["kid"].as_str(), added["status"].as_str()),
        (201, Some("first"), Some("ACTIVE"))
    );
    assert_ne!(added["id"], added["kid"]);
    assert_eq!(post(&world, &admin, &keys, rsa_key().jwk.clone()).await.0, 400, "the kid is taken");
    assert!(token_of(&world, &id, "okta.users.read").await.is_ok());
    assert_eq!(get(&world, &admin, &keys).await.as_array().unwrap().len(), 2);

    let key = format!("{keys}/{}", added["id"].as_str().unwrap());
    assert_eq!(ask(&world, &admin, Method::DELETE, &key, Value::Null).await.status(), 400, "it is active");
    let by_kid = format!("{keys}/first/lifecycle/deactivate");
    assert_eq!(post(&world, &admin, &by_kid, Value::Null).await.0, 404);
    let lifecycle = |what: &str| format!("{key}/lifecycle/{what}");
    assert_eq!(post(&world, &admin, &lifecycle("deactivate"), Value::Null).await.1["status"], "INACTIVE");
    assert_eq!(token_of(&world, &id, "okta.users.read").await.unwrap_err()["error"], "invalid_client");
    assert_eq!(post(&world, &admin, &lifecycle("activate"), Value::Null).await.0, 200);
    assert!(token_of(&world, &id, "okta.users.read").await.is_ok());
    post(&world, &admin, &lifecycle("deactivate"), Value::Null).await;
    assert_eq!(ask(&world, &admin, Method::DELETE, &key, Value::Null).await.status(), 204);
    assert_eq!(get(&world, &admin, &keys).await.as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn okta_a_key_without_a_kid_stands_beside_no_other() {
    let world = World::new();
    let admin = world.okta.create_admin_token(AdminRole::AppAdmin);
    let mut nameless = other_rsa_key().jwk.clone();
    nameless.as_object_mut().unwrap().remove("kid");
    let mut both = app(&nameless);
    both["settings"]["oauthClient"]["jwks"]["keys"] = json!([nameless, rsa_key().jwk]);
    assert_eq!(post(&world, &admin, "/api/v1/apps", both).await.0, 400);
    for (first, second) in [(&nameless, &rsa_key().jwk), (&rsa_key().jwk, &nameless)] {
        let (status, made) = post(&world, &admin, "/api/v1/apps", app(first)).await;
        assert_eq!(status, 200, "alone it may have none: {made}");
        let keys = format!("/api/v1/apps/{}/credentials/jwks", made["id"].as_str().unwrap());
        let (status, refusal) = post(&world, &admin, &keys, second.clone()).await;
        assert_eq!((status, &refusal["errorSummary"]), (400, &json!("Api validation failed: kid")));
        assert_eq!(get(&world, &admin, &keys).await.as_array().unwrap().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn okta_what_is_not_right_is_refused_with_its_member_and_what_is_not_allowed_with_403() {
    let world = World::new();
    let admin = world.okta.create_admin_token(AdminRole::SuperAdmin);
    let with = |path: &str, value: Value| {
        let mut app = app(&rsa_key().jwk);
        *app.pointer_mut(path).unwrap() = value;
        app
    };
    let mut private = rsa_key().jwk.clone();
    private["d"] = json!("AA");
    let mut short = rsa_key().jwk.clone();
    short["n"] = json!("AQAB");
    let at = "/settings/oauthClient";
    for (path, value, member) in [
        ("/label".to_owned(), json!(" "), "label"),
        ("/signOnMode".to_owned(), json!("SAML_2_0"), "name"),
        (format!("{at}/application_type"), json!("web"), "application_type"),
        (format!("{at}/grant_types"), json!(["authorization_code"]), "grant_types"),
        (format!("{at}/response_types"), json!(["code"]), "response_types"),
        (format!("{at}/jwks"), json!({ "keys": [] }), "jwks"),
        (format!("{at}/jwks"), json!({ "keys": [private] }), "jwks"),
        (format!("{at}/jwks"), json!({ "keys": [short] }), "jwks"),
        (
            "/credentials/oauthClient/token_endpoint_auth_method".to_owned(),
            json!("none"),
            "token_endpoint_auth_method",
        ),
    ] {
        let (status, refusal) = post(&world, &admin, "/api/v1/apps", with(&path, value)).await;
        assert_eq!((status, &refusal["errorCode"]), (400, &json!("E0000001")), "{path}");
        assert_eq!(refusal["errorSummary"], format!("Api validation failed: {member}"));
    }
    let id = post(&world, &admin, "/api/v1/apps", app(&rsa_key().jwk)).await.1["id"].clone();
    let id = id.as_str().unwrap();
    let grants = format!("/api/v1/apps/{id}/grants");
    for (path, wrong) in [
        (grants.as_str(), json!({ "issuer": "https://other.okta.com", "scopeId": "okta.users.read" })),
        (&grants, json!({ "issuer": ORIGIN, "scopeId": "openid" })),
        ("/api/v1/iam/roles", json!({ "label": "R", "description": "d", "permissions": ["okta.fly"] })),
        ("/api/v1/iam/roles", json!({ "label": "R", "description": "d", "permissions": [] })),
        ("/api/v1/iam/resource-sets", json!({ "label": "S", "description": "d", "resources": ["x"] })),
        (
            "/api/v1/iam/resource-sets",
            json!({ "label": "S", "description": "d", "resources": [format!("{ORIGIN}/api/v1/groups/00gnone")] }),
        ),
        ("/oauth2/v1/clients/0oanone/roles", json!({ "type": "GOD" })),
    ] {
        assert_eq!(post(&world, &admin, path, wrong).await.0, 400, "{path}");
    }
    let absent = json!({ "type": "CUSTOM", "role": "cr0none", "resource-set": "iamnone" });
    assert_eq!(post(&world, &admin, &format!("/oauth2/v1/clients/{id}/roles"), absent).await.0, 404);
    for path in ["/api/v1/apps/0oanone", "/api/v1/apps/0oanone/grants", "/api/v1/iam/roles/x/permissions"] {
        assert_eq!(ask(&world, &admin, Method::GET, path, Value::Null).await.status(), 404, "{path}");
    }
    let put = ask(&world, &admin, Method::PUT, "/api/v1/apps", Value::Null).await;
    assert_eq!(put.status(), 405);

    let reader = world.okta.create_admin_token(AdminRole::ReadOnlyAdmin);
    assert_eq!(post(&world, &reader, "/api/v1/apps", app(&rsa_key().jwk)).await.0, 403);
    let apps = world.okta.create_admin_token(AdminRole::AppAdmin);
    let grant = json!({ "issuer": ORIGIN, "scopeId": "okta.users.read" });
    let (status, refusal) = post(&world, &apps, &grants, grant).await;
    assert_eq!((status, refusal["errorCode"].as_str()), (403, Some("E0000006")));
    // The connector's own token is none of an administrator.
    let own = world.token().await;
    assert_eq!(world.get("/api/v1/apps", &own).await.status(), 403);
    assert_eq!(world.get("/api/v1/users/me", &own).await.status(), 404);
}

#[tokio::test(start_paused = true)]
async fn okta_lists_apps_page_by_page_with_those_that_are_no_clients() {
    let world = World::new();
    let admin = world.okta.create_admin_token(AdminRole::ReadOnlyAdmin);
    let saml = world.okta.add_other_app("Connector", "SAML_2_0");
    let mut seen = Vec::new();
    let mut path = Some("/api/v1/apps?limit=1".to_owned());
    while let Some(this) = path {
        let response = ask(&world, &admin, Method::GET, &this, Value::Null).await;
        seen.extend(ids(&response));
        path = next(&response);
    }
    assert_eq!(seen.len(), 2);
    assert!(seen.contains(&saml));
    let only = get(&world, &admin, "/api/v1/apps?filter=name+eq+%22oidc_client%22").await;
    assert_eq!(only.as_array().unwrap().len(), 1);
    let wrong = ask(&world, &admin, Method::GET, "/api/v1/apps?filter=label+co+%22x%22", Value::Null).await;
    assert_eq!(body(&wrong)["errorCode"], "E0000031");
}

#[tokio::test(start_paused = true)]
async fn okta_lists_what_administrators_made_page_by_page() {
    let world = World::new();
    world.okta.configure(|settings| settings.page_sizes.management = 2);
    let admin = world.okta.create_admin_token(AdminRole::SuperAdmin);
    let id = post(&world, &admin, "/api/v1/apps", app(&rsa_key().jwk)).await.1["id"].clone();
    let grants = format!("/api/v1/apps/{}/grants", id.as_str().unwrap());
    for scope in ["okta.users.read", "okta.groups.read", "okta.logs.read"] {
        post(&world, &admin, &grants, json!({ "issuer": ORIGIN, "scopeId": scope })).await;
    }
    let groups = ["a", "b"].map(|name| world.okta.add_group(NewGroup::named(name)));
    let mut resources = vec![format!("{ORIGIN}/api/v1/users")];
    resources.extend(groups.iter().map(|group| format!("{ORIGIN}/api/v1/groups/{group}")));
    let mut set = Value::Null;
    for label in ["A", "B", "C"] {
        let role = json!({ "label": label, "description": "d", "permissions": ["okta.users.read"] });
        assert_eq!(post(&world, &admin, "/api/v1/iam/roles", role).await.0, 200);
        let wanted = json!({ "label": label, "description": "d", "resources": resources });
        set = post(&world, &admin, "/api/v1/iam/resource-sets", wanted).await.1["id"].clone();
    }
    let inside = format!("/api/v1/iam/resource-sets/{}/resources", set.as_str().unwrap());
    for (path, member) in [
        ("/api/v1/iam/roles", "roles"),
        ("/api/v1/iam/resource-sets", "resource-sets"),
        (&inside, "resources"),
        (&grants, ""),
    ] {
        let (mut seen, mut sizes) = (std::collections::BTreeSet::new(), Vec::new());
        let mut at = Some(path.to_owned());
        while let Some(this) = at {
            let response = ask(&world, &admin, Method::GET, &this, Value::Null).await;
            let page = body(&response);
            let items = page.as_array().or_else(|| page[member].as_array()).unwrap();
            sizes.push(items.len());
            seen.extend(items.iter().map(|item| item["id"].to_string()));
            let link = page["_links"]["next"]["href"].as_str();
            at = link
                .and_then(|link| link.strip_prefix(ORIGIN))
                .map(str::to_owned)
                .or_else(|| next(&response));
        }
        assert_eq!((sizes, seen.len()), (vec![2, 1], 3), "{path}");
    }
}
