//! The token endpoint: every refusal with its text, used assertions, and scopes.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::{ALL_SCOPES, CLIENT, World, body, header, new_ec_key, other_rsa_key, rsa_key};

async fn refusal(world: &World, form: String) -> (u16, String, String) {
    let response = world.post_form(form, &[]).await;
    let body = body(&response);
    (
        response.status().as_u16(),
        body["error"].as_str().unwrap().to_owned(),
        body["error_description"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test(start_paused = true)]
async fn okta_token_success_has_the_shape_of_a_token_response() {
    let world = World::new();
    let response = world.ask(&world.claims()).await;
    let body = body(&response);
    assert_eq!(response.status(), 200);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 3600);
    assert_eq!(body["scope"].as_str().unwrap().split(' ').count(), ALL_SCOPES.len());
    assert_eq!(header(&response, "date"), "Thu, 01 Jan 2026 00:00:00 GMT");
    assert_eq!(header(&response, "x-okta-request-id").len(), 32);
    assert_eq!((world.okta.assertions_seen(), world.okta.tokens_issued()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn okta_token_refuses_bad_claims_each_with_its_own_text() {
    let world = World::new();
    let now = world.now();
    let cases: [(&str, Value, &str); 15] = [
        ("exp", json!(now), "The client_assertion token is expired."),
        ("exp", json!(now - 10), "The client_assertion token is expired."),
        ("exp", json!(now + 3601), "The client_assertion token has an expiration too far into the future."),
        ("exp", json!(now + 3600), "The client_assertion token has an expiration too far into the future."),
        (
            "exp",
            json!(format!("{}", now + 60)),
            "The client_assertion must contain the 'exp' claim as seconds since epoch.",
        ),
        ("exp", Value::Null, "The client_assertion must contain the 'exp' claim as seconds since epoch."),
        ("iat", json!(now + 1), "The client_assertion token must be issued before the current time."),
        ("iat", json!("now"), "The parsing of the client_assertion failed."),
        (
            "aud",
            json!("https://example.okta.com/oauth2/v1/token/"),
            "The audience claim for client_assertion must be the endpoint invoked for the request.",
        ),
        (
            "aud",
            json!("https://example.okta.com//oauth2/v1/token"),
            "The audience claim for client_assertion must be the endpoint invoked for the request.",
        ),
        (
            "aud",
            json!(["https://example.okta.com/oauth2/v1/token"]),
            "The audience claim for client_assertion must be the endpoint invoked for the request.",
        ),
        ("iss", json!("0oasomebodyelse"), "The issuer claim for client_assertion is not a valid client_id."),
        ("iss", Value::Null, "The issuer claim for client_assertion is not a valid client_id."),
        ("sub", json!(17), "The subject claim for client_assertion is not a valid client_id."),
        ("sub", json!("0oasomebodyelse"), "Invalid value for 'client_id' parameter."),
    ];
    for (claim, value, description) in cases {
        let mut claims = world.claims();
        claims[claim] = value.clone();
        let response = world.ask(&claims).await;
        assert_eq!(response.status(), 401, "{claim} {value}");
        assert_eq!(body(&response)["error"], "invalid_client");
        assert_eq!(body(&response)["error_description"], description, "{claim} {value}");
    }
    let mut claims = world.claims();
    claims["exp"] = json!(now + 3599);
    claims["iat"] = json!(now);
    assert_eq!(world.ask(&claims).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn okta_token_refuses_bad_headers_and_signatures_each_with_its_own_text() {
    let world = World::new();
    let unparsable = "The parsing of the client_assertion failed.";
    let bad_algorithm = "The client_assertion JWT signature algorithm is invalid.";
    let bad_signature = "The client_assertion signature is invalid.";
    let bad_kid = "The client_assertion JWT kid is invalid.";
    let good = json!({ "alg": "RS256", "kid": "first" });
    let elliptic = new_ec_key();
    let tampered = {
        let signed = rsa_key().sign(&good, &world.claims());
        let (message, signature) = signed.rsplit_once('.').unwrap();
        let (head, _) = message.split_once('.').unwrap();
        format!("{head}.{}.{signature}", super::segment(&world.claims()))
    };
    let cases = [
        ("not.a-jwt".to_owned(), unparsable),
        ("a.b.c".to_owned(), unparsable),
        (rsa_key().sign(&json!({ "alg": "HS256", "kid": "first" }), &world.claims()), bad_algorithm),
        (rsa_key().sign(&json!({ "alg": "none" }), &world.claims()), bad_algorithm),
        (rsa_key().sign(&json!({ "kid": "first" }), &world.claims()), bad_algorithm),
        (rsa_key().sign(&json!({ "alg": "RS512", "kid": "first" }), &world.claims()), bad_signature),
        (elliptic.sign(&json!({ "alg": "ES256", "kid": "first" }), &world.claims()), bad_signature),
        (other_rsa_key().sign(&good, &world.claims()), bad_signature),
        (tampered, bad_signature),
        (rsa_key().sign(&json!({ "alg": "RS256", "kid": "nobody" }), &world.claims()), bad_kid),
    ];
    for (assertion, description) in cases {
        let (status, error, text) = refusal(&world, World::form(&assertion, "okta.users.read")).await;
        assert_eq!(
            (status, error.as_str(), text.as_str()),
            (401, "invalid_client", description),
            "{assertion}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn okta_token_needs_a_kid_only_when_there_are_several_keys() {
    let world = World::new();
    let ask = async |key: &super::TestKey, header: Value| {
        let assertion = key.sign(&header, &world.claims());
        world.post_form(World::form(&assertion, "okta.users.read"), &[]).await.status().as_u16()
    };
    assert_eq!(ask(rsa_key(), json!({ "alg": "RS256" })).await, 200);
    world.okta.register_client(CLIENT, other_rsa_key().jwk.clone(), &ALL_SCOPES);
    assert_eq!(ask(rsa_key(), json!({ "alg": "RS256" })).await, 401);
    assert_eq!(ask(rsa_key(), json!({ "alg": "RS256", "kid": "first" })).await, 200);
    assert_eq!(ask(other_rsa_key(), json!({ "alg": "RS256", "kid": "second" })).await, 200);
    world.okta.deactivate_key(CLIENT, "first");
    assert_eq!(ask(rsa_key(), json!({ "alg": "RS256", "kid": "first" })).await, 401);
    assert_eq!(ask(other_rsa_key(), json!({ "alg": "RS256" })).await, 200);
}

#[tokio::test(start_paused = true)]
async fn okta_token_uses_up_a_jti_even_when_the_request_fails() {
    let world = World::new();
    let used = "The client_assertion token has already been used.";

    let claims = world.claims();
    assert_eq!(world.ask(&claims).await.status(), 200);
    let again = world.ask(&claims).await;
    assert_eq!((again.status().as_u16(), &body(&again)["error_description"]), (401, &json!(used)));

    let claims = world.claims();
    let assertion = rsa_key().sign(&json!({ "alg": "RS256" }), &claims);
    let (status, ..) = refusal(&world, World::form(&assertion, "")).await;
    assert_eq!(status, 400);
    let (status, _, description) = refusal(&world, World::form(&assertion, "okta.users.read")).await;
    assert_eq!((status, description.as_str()), (401, used));

    let mut without = world.claims();
    without.as_object_mut().unwrap().remove("jti");
    assert_eq!(world.ask(&without).await.status(), 200);
    assert_eq!(world.ask(&without).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn okta_token_trims_scopes_to_what_is_granted() {
    let world = World::new();
    world.okta.set_granted_scopes(CLIENT, &["okta.users.read", "okta.groups.manage"]);
    let ask = async |scope: &str| {
        let assertion = rsa_key().sign(&json!({ "alg": "RS256" }), &world.claims());
        let response = world.post_form(World::form(&assertion, scope), &[]).await;
        let body = body(&response);
        let text = body["scope"].as_str().or(body["error_description"].as_str()).unwrap().to_owned();
        (response.status().as_u16(), body["error"].as_str().unwrap_or_default().to_owned(), text)
    };
    let outcome = |status: u16, error: &str, text: &str| (status, error.to_owned(), text.to_owned());
    assert_eq!(ask("okta.logs.read okta.users.read").await, outcome(200, "", "okta.users.read"));
    let consent = "You are not allowed any of the requested scopes.";
    assert_eq!(ask("okta.logs.read").await, outcome(400, "consent_required", consent));
    assert_eq!(ask("").await, outcome(400, "invalid_scope", "No scopes were requested."));
    let openid = "Cannot request 'openid' scopes using client credentials.";
    assert_eq!(ask("openid okta.users.read").await, outcome(400, "invalid_scope", openid));
    let unknown = "One or more scopes are not configured for the authorization server resource.";
    assert_eq!(ask("okta.users.read files:read").await, outcome(400, "invalid_scope", unknown));
    assert_eq!(ask("okta.users.read.self").await.1, "client_credentials_self_scope_requested");
}

#[tokio::test(start_paused = true)]
async fn okta_token_refuses_requests_that_are_not_its_own_kind() {
    let world = World::new();
    let assertion = rsa_key().sign(&json!({ "alg": "RS256" }), &world.claims());
    let form = World::form(&assertion, "okta.users.read");
    let cases = [
        (
            form.replace("jwt-bearer", "saml2-bearer"),
            400,
            "invalid_request",
            "The client_assertion_type is invalid.",
        ),
        (
            "grant_type=client_credentials&scope=okta.users.read".into(),
            401,
            "invalid_client",
            "No client credentials found.",
        ),
        (
            "grant_type=client_credentials&scope=okta.users.read&client_secret=x".into(),
            401,
            "invalid_client",
            "Client Credentials requests to the Org Authorization Server must use the private_key_jwt token_endpoint_auth_method.",
        ),
        (
            form.replace("client_credentials", "password"),
            400,
            "unsupported_grant_type",
            "The authorization grant type is not supported.",
        ),
    ];
    for (form, status, error, description) in cases {
        assert_eq!(refusal(&world, form).await, (status, error.to_owned(), description.to_owned()));
    }
    let both = world.post_form(form.clone(), &[("authorization", "Basic eDp5")]).await;
    assert_eq!(both.status(), 400);
    assert!(body(&both)["error_description"].as_str().unwrap().starts_with("Cannot supply multiple"));

    let json = Request::post("/oauth2/v1/token").header("content-type", "application/json");
    let response = world.send(json.body(Bytes::from("{}")).unwrap()).await;
    assert_eq!((response.status().as_u16(), &body(&response)["errorCode"]), (400, &json!("E0000021")));
}

#[tokio::test(start_paused = true)]
async fn okta_token_depends_on_the_state_of_the_client() {
    let world = World::new();
    let description = async || {
        let response = world.ask(&world.claims()).await;
        (response.status().as_u16(), body(&response)["error_description"].clone())
    };
    world.okta.deactivate_client(CLIENT);
    assert_eq!(description().await, (401, json!("Invalid value for 'client_id' parameter.")));
    world.okta.activate_client(CLIENT);
    world.okta.configure(|settings| settings.outside_network_zone = true);
    let zone = "The request is made from outside the client's permitted network zones.";
    assert_eq!(description().await, (403, json!(zone)));
    world.okta.configure(|settings| settings.outside_network_zone = false);

    world.okta.register_client("0oakeyless", Value::Null, &["okta.users.read"]);
    let mut claims = world.claims();
    claims["iss"] = json!("0oakeyless");
    claims["sub"] = json!("0oakeyless");
    let keyless = world.ask(&claims).await;
    let text = "The client does not have a JWKSet configured, but the client_assertion requires one.";
    assert_eq!(body(&keyless)["error_description"], text);
}

#[tokio::test(start_paused = true)]
async fn okta_token_is_judged_by_the_clock_of_the_org() {
    let world = World::new();
    let claims = world.claims();
    world.okta.clock().set_skew(Duration::from_mins(10), true);
    let ahead = world.ask(&claims).await;
    assert_eq!(body(&ahead)["error_description"], "The client_assertion token is expired.");
    assert_eq!(header(&ahead, "date"), "Thu, 01 Jan 2026 00:10:00 GMT");
    world.okta.clock().set_skew(Duration::from_mins(10), false);
    let mut claims = claims;
    claims["jti"] = json!("another");
    let behind = world.ask(&claims).await;
    let text = "The client_assertion token must be issued before the current time.";
    assert_eq!(body(&behind)["error_description"], text);
}
