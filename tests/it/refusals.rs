//! Every refusal of Okta's token endpoint has its own code, says what to do, and is asked again as fast as that can help.

use std::collections::BTreeSet;
use std::time::Duration;

use apono_connector::catalogue::ErrorCode;
use apono_connector::server::TokenFact;
use serde_json::json;
use simulator::fault::Fault;
use simulator::okta::DpopRule;

use crate::world::{CLIENT, Running, World};

use ErrorCode::{
    AssertionMalformed, KeyNotRegistered, NetworkZone, NoKeyRegistered, NoScopeGranted, NonceDemanded,
    OktaThrottled, ProofDemanded, ProofRefused, SeenBefore, TokenRefused, TokenTrouble, UnknownClient,
    UnknownScope, WrongAddress, WrongAppType, WrongClientId, WrongClock, WrongKey,
};

fn reason(connector: &Running) -> Option<String> {
    match connector.facts().organizations[0].token.clone() {
        TokenFact::Refused { reason } | TokenFact::Unreachable { reason, .. } => Some(reason),
        TokenFact::Unknown | TokenFact::Held | TokenFact::ScopesMissing { .. } => None,
    }
}

/// What Okta says in its own words, and the code that a person sees.
const REFUSALS: &[(u16, &str, &str, ErrorCode)] = &[
    (401, "invalid_client", "The client_assertion token is expired.", WrongClock),
    (
        401,
        "invalid_client",
        "The client_assertion token has an expiration too far into the future.",
        WrongClock,
    ),
    (401, "invalid_client", "The client_assertion token must be issued before the current time.", WrongClock),
    (401, "invalid_client", "The client_assertion token has already been used.", SeenBefore),
    (
        401,
        "invalid_client",
        "The audience claim for client_assertion must be the endpoint invoked for the request.",
        WrongAddress,
    ),
    (401, "invalid_client", "The issuer claim for client_assertion is not a valid client_id.", WrongClientId),
    (
        401,
        "invalid_client",
        "The subject claim for client_assertion is not a valid client_id.",
        WrongClientId,
    ),
    (401, "invalid_client", "Invalid value for 'client_id' parameter.", UnknownClient),
    (401, "invalid_client", "The client_assertion JWT kid is invalid.", KeyNotRegistered),
    (401, "invalid_client", "The client_assertion signature is invalid.", WrongKey),
    (401, "invalid_client", "The client_assertion JWT signature algorithm is invalid.", AssertionMalformed),
    (401, "invalid_client", "The parsing of the client_assertion failed.", AssertionMalformed),
    (
        401,
        "invalid_client",
        "The client_assertion must contain the 'exp' claim as seconds since epoch.",
        AssertionMalformed,
    ),
    (
        401,
        "invalid_client",
        "The client does not have a JWKSet configured, but the client_assertion requires one.",
        NoKeyRegistered,
    ),
    (
        401,
        "invalid_client",
        "Client Credentials requests to the Org Authorization Server must use the private_key_jwt token_endpoint_auth_method.",
        NoKeyRegistered,
    ),
    (
        401,
        "invalid_client",
        "Only clients with 'application_type' of 'service' may use the client_credentials 'grant_type' with the Org Authorization Server.",
        WrongAppType,
    ),
    (401, "invalid_client", "No client credentials found.", NoKeyRegistered),
    (400, "invalid_request", "The client_assertion_type is invalid.", AssertionMalformed),
    (400, "consent_required", "You are not allowed any of the requested scopes.", NoScopeGranted),
    (
        400,
        "invalid_scope",
        "One or more scopes are not configured for the authorization server resource.",
        UnknownScope,
    ),
    (
        400,
        "invalid_scope",
        "The requested scope is invalid, unknown, malformed, or exceeds the scope granted by the resource owner.",
        UnknownScope,
    ),
    (
        403,
        "access_denied",
        "The request is made from outside the client's permitted network zones.",
        NetworkZone,
    ),
    (400, "invalid_dpop_proof", "The DPoP proof JWT header is missing.", ProofDemanded),
    (400, "invalid_dpop_proof", "The DPoP proof JWT signature is invalid.", ProofRefused),
    (400, "invalid_dpop_proof", "'htu' claim in the DPoP proof JWT is invalid.", WrongAddress),
    (400, "invalid_dpop_proof", "The DPoP proof JWT is issued in the future.", WrongClock),
    (
        400,
        "invalid_dpop_proof",
        "The DPoP proof JWT is issued more than five minutes in the past.",
        WrongClock,
    ),
    (400, "invalid_dpop_proof", "The DPoP proof JWT has already been used.", SeenBefore),
    (400, "use_dpop_nonce", "Authorization server requires nonce in DPoP proof.", NonceDemanded),
    (
        400,
        "temporarily_unavailable",
        "The authorization server is currently unable to handle the request.",
        TokenTrouble,
    ),
    (500, "server_error", "The authorization server encountered an unexpected condition.", TokenTrouble),
    (400, "something_new", "Nobody has seen this yet.", TokenRefused),
];

#[tokio::test(start_paused = true)]
async fn every_refusal_has_its_code_and_its_cure() {
    for (status, error, description, code) in REFUSALS {
        let mut world = World::quiet();
        world.set_dpop("on");
        let fault = Fault::Answer {
            status: *status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: json!({ "error": error, "error_description": description }).to_string(),
        };
        world.okta.faults().always("token", fault);
        let connector = world.start().await;
        let reason = world.until("the refusal is known", |_| reason(&connector)).await;
        assert!(reason.contains(&format!("[{code}, request ")), "{error}: {description}\n{reason}");
        assert!(reason.contains(code.cure()) && reason.contains(description), "{reason}");
        let before = world.okta.call_count("token");
        world.pass(Duration::from_mins(10)).await;
        let asked = world.okta.call_count("token") - before;
        assert!((1..=300).contains(&asked), "{description}: asked {asked} times in ten minutes");
        world.okta.faults().clear();
        world.pass(Duration::from_mins(6)).await;
        assert_eq!(connector.facts().organizations[0].token, TokenFact::Held, "{description}");
        connector.stop().await;
    }
    let codes: BTreeSet<_> = REFUSALS.iter().map(|(.., code)| code.number()).collect();
    assert!(codes.len() >= 18, "told apart: {codes:?}");
}

/// The same out of what administrators, clocks and networks do, and not out of a script.
#[tokio::test(start_paused = true)]
async fn what_is_wrong_in_okta_has_its_code() {
    type Spoil = fn(&mut World);
    let cases: [(ErrorCode, Spoil); 7] = [
        (UnknownClient, |world| world.okta.deactivate_client(CLIENT)),
        (NoKeyRegistered, |world| {
            world.okta.deactivate_key(CLIENT, crate::world::key().1["kid"].as_str().unwrap());
        }),
        (NoScopeGranted, |world| world.okta.set_granted_scopes(CLIENT, &[])),
        (NetworkZone, |world| world.okta.configure(|settings| settings.outside_network_zone = true)),
        (WrongAddress, |world| {
            world.okta.configure(|settings| settings.origin = "https://other.okta.com".into());
        }),
        (ProofDemanded, |world| {
            world.set_dpop("off");
            world.okta.configure(|settings| settings.dpop = DpopRule::Required);
        }),
        (OktaThrottled, |world| world.okta.faults().always("token", Fault::status(429))),
    ];
    for (code, spoil) in cases {
        let mut world = World::quiet();
        spoil(&mut world);
        let connector = world.start().await;
        let reason = world.until("the refusal is known", |_| reason(&connector)).await;
        assert!(reason.contains(&format!("[{code}")), "{code}: {reason}");
        connector.stop().await;
    }
}
