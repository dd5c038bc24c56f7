//! DPoP: the nonce dance, bound tokens, and refused proofs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};

use super::super::hash::sha256;
use super::super::settings::DpopRule;
use super::{ALL_SCOPES, ORIGIN, TestKey, World, body, header, new_ec_key, rsa_key};

/// Spoils header or claims of a proof; gets the time.
type Edit = fn(&mut Value, &mut Value, i64);

fn proof(world: &World, key: &TestKey, edit: impl FnOnce(&mut Value, &mut Value)) -> String {
    let mut head = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": key.jwk });
    let mut claims = json!({
        "jti": format!("proof-{}", world.serial()), "iat": world.now(),
        "htm": "POST", "htu": format!("{ORIGIN}/oauth2/v1/token"),
    });
    edit(&mut head, &mut claims);
    key.sign(&head, &claims)
}

async fn ask(world: &World, proofs: &[&str]) -> Response<Bytes> {
    let assertion = rsa_key().sign(&json!({ "alg": "RS256" }), &world.claims());
    let headers: Vec<(&str, &str)> = proofs.iter().map(|proof| ("dpop", *proof)).collect();
    world.post_form(World::form(&assertion, &ALL_SCOPES.join(" ")), &headers).await
}

async fn bound_token(world: &World, key: &TestKey) -> String {
    let challenge = ask(world, &[&proof(world, key, |_, _| ())]).await;
    let nonce = header(&challenge, "dpop-nonce").to_owned();
    let granted = ask(world, &[&proof(world, key, |_, claims| claims["nonce"] = json!(nonce))]).await;
    assert_eq!(body(&granted)["token_type"], "DPoP");
    body(&granted)["access_token"].as_str().unwrap().to_owned()
}

async fn get(world: &World, target: &str, authorization: &str, proof: Option<&str>) -> Response<Bytes> {
    let mut request = Request::get(target).header("authorization", authorization);
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    world.send(request.body(Bytes::new()).unwrap()).await
}

fn api_proof(world: &World, key: &TestKey, token: &str, edit: impl FnOnce(&mut Value, &mut Value)) -> String {
    proof(world, key, |head, claims| {
        claims["htm"] = json!("GET");
        claims["htu"] = json!(format!("{ORIGIN}/api/v1/users"));
        claims["ath"] = json!(URL_SAFE_NO_PAD.encode(sha256(token.as_bytes())));
        edit(head, claims);
    })
}

#[tokio::test(start_paused = true)]
async fn okta_dpop_asks_for_a_nonce_and_then_binds_the_token() {
    let world = World::new();
    world.okta.configure(|settings| settings.dpop = DpopRule::Required);
    let key = new_ec_key();
    let without = ask(&world, &[]).await;
    assert_eq!(without.status(), 400);
    assert_eq!(
        body(&without),
        json!({ "error": "invalid_dpop_proof", "error_description": "The DPoP proof JWT header is missing." })
    );
    let challenge = ask(&world, &[&proof(&world, &key, |_, _| ())]).await;
    assert_eq!(challenge.status(), 400);
    assert_eq!(body(&challenge)["error"], "use_dpop_nonce");
    let token = bound_token(&world, &key).await;

    let authorization = format!("DPoP {token}");
    let good = api_proof(&world, &key, &token, |_, _| ());
    let listed = get(&world, "/api/v1/users?limit=5", &authorization, Some(&good)).await;
    assert_eq!(listed.status(), 200);

    let cases = [
        (authorization.clone(), Some(good), "The DPoP proof JWT has already been used."),
        (authorization.clone(), None, "The resource request requires a DPoP proof."),
        (
            format!("Bearer {token}"),
            Some(api_proof(&world, &key, &token, |_, _| ())),
            "The resource request must use the DPoP authentication scheme when using a DPoP bound token.",
        ),
        (
            authorization.clone(),
            Some(api_proof(&world, &key, "another token", |_, _| ())),
            "'ath' claim in the DPoP proof does not match the presented access_token.",
        ),
        (
            authorization.clone(),
            Some(api_proof(&world, &key, &token, |_, claims| {
                claims["htu"] = json!(format!("{ORIGIN}/api/v1/users?limit=5"));
            })),
            "'htu' claim in the DPoP proof JWT is invalid.",
        ),
        (
            authorization,
            Some(api_proof(&world, &new_ec_key(), &token, |_, _| ())),
            "The access_token is not bound to the provided DPoP proof.",
        ),
    ];
    for (authorization, proof, description) in cases {
        let refused = get(&world, "/api/v1/users?limit=5", &authorization, proof.as_deref()).await;
        assert_eq!(refused.status(), 400, "{description}");
        assert!(refused.body().is_empty());
        assert!(header(&refused, "www-authenticate").contains(description), "{description}");
    }

    let bearer = {
        world.okta.configure(|settings| settings.dpop = DpopRule::Optional);
        world.token().await
    };
    let refused = get(&world, "/api/v1/users", &format!("DPoP {bearer}"), None).await;
    assert_eq!(refused.status(), 401);
    assert!(header(&refused, "www-authenticate").starts_with("DPoP algs=\"RS256 RS384"));
}

#[tokio::test(start_paused = true)]
async fn okta_dpop_refuses_bad_proofs_each_with_its_own_text() {
    let world = World::new();
    let key = new_ec_key();
    let now = world.now();
    let cases: [(Edit, &str); 11] = [
        (|head, _, _| head["typ"] = json!("JWT"), "'typ' must be 'dpop+jwt' in the DPoP proof JWT."),
        (|head, _, _| head["alg"] = json!("HS256"), "The DPoP proof JWT signature algorithm is invalid."),
        (|head, _, _| head["alg"] = json!("RS256"), "The DPoP proof JWT signature is invalid."),
        (|head, _, _| head["jwk"] = json!("key"), "The DPoP proof JWT cannot be parsed."),
        (|head, _, _| head["jwk"]["d"] = json!("AQAB"), "The DPoP proof JWT cannot be parsed."),
        (|_, claims, _| claims["htm"] = json!("post"), "'htm' claim in the DPoP proof JWT is invalid."),
        (
            |_, claims, _| claims["htu"] = json!("/oauth2/v1/token"),
            "'htu' claim in the DPoP proof JWT is invalid.",
        ),
        (|_, claims, _| claims["iat"] = json!("now"), "'iat' claim in the DPoP proof JWT is invalid."),
        (|_, claims, now| claims["iat"] = json!(now + 1), "The DPoP proof JWT is issued in the future."),
        (
            |_, claims, now| claims["iat"] = json!(now - 301),
            "The DPoP proof JWT is issued more than five minutes in the past.",
        ),
        (|_, claims, _| claims["jti"] = json!(""), "'jti' claim in the DPoP proof JWT is invalid."),
    ];
    for (edit, description) in cases {
        let response = ask(&world, &[&proof(&world, &key, |head, claims| edit(head, claims, now))]).await;
        assert_eq!(response.status(), 400, "{description}");
        assert_eq!(body(&response)["error"], "invalid_dpop_proof");
        assert_eq!(body(&response)["error_description"], description);
    }
    let (first, second) = (proof(&world, &key, |_, _| ()), proof(&world, &key, |_, _| ()));
    let twice = ask(&world, &[&first, &second]).await;
    assert_eq!(body(&twice)["error_description"], "Multiple DPoP proof JWT headers are not allowed.");
    assert_eq!(ask(&world, &[&first]).await.status(), 400);
    let replayed = ask(&world, &[&first]).await;
    assert_eq!(body(&replayed)["error_description"], "The DPoP proof JWT has already been used.");
}

#[tokio::test(start_paused = true)]
async fn okta_dpop_nonces_last_three_days_and_can_be_asked_for_at_the_api() {
    let world = World::new();
    let key = new_ec_key();
    let challenge = ask(&world, &[&proof(&world, &key, |_, _| ())]).await;
    let nonce = header(&challenge, "dpop-nonce").to_owned();
    let with_nonce = |world: &World| proof(world, &key, |_, claims| claims["nonce"] = json!(nonce));
    tokio::time::advance(std::time::Duration::from_hours(71)).await;
    assert_eq!(ask(&world, &[&with_nonce(&world)]).await.status(), 200);
    tokio::time::advance(std::time::Duration::from_hours(2)).await;
    assert_eq!(body(&ask(&world, &[&with_nonce(&world)]).await)["error"], "use_dpop_nonce");

    let token = bound_token(&world, &key).await;
    world.okta.configure(|settings| settings.dpop_nonce_on_api = true);
    let authorization = format!("DPoP {token}");
    let plain = api_proof(&world, &key, &token, |_, _| ());
    let asked = get(&world, "/api/v1/users", &authorization, Some(&plain)).await;
    assert!(header(&asked, "www-authenticate").contains("use_dpop_nonce"));
    let nonce = header(&asked, "dpop-nonce").to_owned();
    let answer = api_proof(&world, &key, &token, |_, claims| claims["nonce"] = json!(nonce));
    assert_eq!(get(&world, "/api/v1/users", &authorization, Some(&answer)).await.status(), 200);
    world.okta.rotate_dpop_nonce();
    let stale = api_proof(&world, &key, &token, |_, claims| claims["nonce"] = json!(nonce));
    assert_eq!(get(&world, "/api/v1/users", &authorization, Some(&stale)).await.status(), 400);
}
