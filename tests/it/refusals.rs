//! Every refusal of Okta's token endpoint has its own code, says what to do, and is asked again as fast as that can help.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apono_connector::catalogue::ErrorCode;
use apono_connector::entropy::SeededEntropy;
use apono_connector::http::Budget;
use apono_connector::http::budget::BudgetSettings;
use apono_connector::http::transport::{Request, Response, Transport, TransportError};
use apono_connector::okta;
use apono_connector::secrets::{Curve, Reloading, generate_ec};
use apono_connector::server::TokenFact;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use secrecy::ExposeSecret;
use serde_json::json;
use simulator::fault::Fault;
use simulator::okta::DpopRule;

use crate::world::{CLIENT, INTEGRATION, Running, World};

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
    (401, "invalid_client", "No client credentials found.", AssertionMalformed),
    (401, "invalid_client", "The client_assertion is not to Okta's taste any more.", TokenRefused),
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
    (400, "invalid_dpop_proof", "Multiple DPoP proof JWT headers are not allowed.", ProofRefused),
    (400, "invalid_dpop_proof", "'typ' must be 'dpop+jwt' in the DPoP proof JWT.", ProofRefused),
    (400, "invalid_dpop_proof", "The DPoP proof JWT signature algorithm is invalid.", ProofRefused),
    (400, "invalid_dpop_proof", "The DPoP proof JWT cannot be parsed.", ProofRefused),
    (400, "invalid_dpop_proof", "The DPoP proof JWT signature is invalid.", ProofRefused),
    (400, "invalid_dpop_proof", "'htm' claim in the DPoP proof JWT is invalid.", ProofRefused),
    (400, "invalid_dpop_proof", "'iat' claim in the DPoP proof JWT is invalid.", ProofRefused),
    (400, "invalid_dpop_proof", "'jti' claim in the DPoP proof JWT is invalid.", ProofRefused),
    (
        400,
        "invalid_dpop_proof",
        "'ath' claim in the DPoP proof does not match the presented access_token.",
        ProofRefused,
    ),
    (400, "invalid_dpop_proof", "The access_token is not bound to the provided DPoP proof.", ProofRefused),
    (400, "invalid_dpop_proof", "'htu' claim in the DPoP proof JWT is invalid.", WrongAddress),
    (400, "invalid_dpop_proof", "The DPoP proof JWT is issued in the future.", WrongClock),
    (
        400,
        "invalid_dpop_proof",
        "The DPoP proof JWT is issued more than five minutes in the past.",
        WrongClock,
    ),
    (400, "invalid_dpop_proof", "The DPoP proof JWT is expired.", WrongClock),
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

/// In other words than OAuth's: Okta's API speaks, or a gateway in front of it. What the status says of itself must not be
/// taken for something that a person has to mend.
const OUTAGES: &[(u16, &str, ErrorCode)] = &[
    (500, r#"{"errorCode":"E0000009","errorSummary":"Internal Server Error"}"#, TokenTrouble),
    (503, r#"{"errorCode":"E0000010","errorSummary":"Service is in read only mode"}"#, TokenTrouble),
    (503, r#"{"status":503,"error":"Service Unavailable"}"#, TokenTrouble),
    (502, r#"{"message":"no healthy upstream"}"#, TokenTrouble),
    (504, "upstream request timeout", TokenTrouble),
    (408, r#"{"error":"Request Timeout"}"#, TokenTrouble),
    (500, r#"{"error":"invalid_client","error_description":"Something is odd here."}"#, TokenTrouble),
    (429, r#"{"errorCode":"E0000047","errorSummary":"API call exceeded rate limit."}"#, OktaThrottled),
    (429, r#"{"error":"too_many_requests"}"#, OktaThrottled),
    (429, "slow down", OktaThrottled),
];

/// What no person has to do anything about.
const PASSING: [ErrorCode; 5] = [WrongClock, SeenBefore, NonceDemanded, TokenTrouble, OktaThrottled];

/// What the connector makes of this answer, and how often it asks; once it is over there is a token again.
async fn meets(status: u16, body: &str, text: &str, code: ErrorCode) {
    let mut world = World::quiet();
    world.set_dpop("on");
    let headers = vec![("content-type".into(), "application/json".into())];
    world.okta.faults().always("token", Fault::Answer { status, headers, body: body.into() });
    let connector = world.start().await;
    let reason = world.until("the refusal is known", |_| reason(&connector)).await;
    assert!(reason.contains(&format!("[{code}, request ")), "{body}\n{reason}");
    assert!(reason.contains(code.cure()) && reason.contains(text), "{reason}");
    let before = world.okta.call_count("token");
    world.pass(Duration::from_mins(10)).await;
    let asked = world.okta.call_count("token") - before;
    let fact = connector.facts().organizations[0].token.clone();
    let is_passing = matches!(fact, TokenFact::Unreachable { worked_before: false, .. });
    assert_eq!(is_passing, PASSING.contains(&code), "{body}\n{fact:?}");
    // Pauses of seconds, or of half a minute that become five.
    let expected = if is_passing { 18..=300 } else { 3..=6 };
    assert!(expected.contains(&asked), "{body}: asked {asked} times in ten minutes");
    world.okta.faults().clear();
    world.pass(Duration::from_mins(6)).await;
    assert_eq!(connector.facts().organizations[0].token, TokenFact::Held, "{body}");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_refusal_has_its_code_and_its_cure() {
    for (status, error, description, code) in REFUSALS {
        let body = json!({ "error": error, "error_description": description }).to_string();
        meets(*status, &body, description, *code).await;
    }
    let codes: BTreeSet<_> = REFUSALS.iter().map(|(.., code)| code.number()).collect();
    assert!(codes.len() >= 18, "told apart: {codes:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_in_any_words_is_an_outage() {
    for (status, body, code) in OUTAGES {
        meets(*status, body, "", *code).await;
    }
}

/// A proxy that changes requests for tokens.
#[derive(Debug)]
struct Meddling {
    network: Arc<dyn Transport>,
    meddle: fn(&mut Request),
}

impl Transport for Meddling {
    fn send(&self, mut request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        if request.url.path().ends_with("/token") {
            (self.meddle)(&mut request);
        }
        self.network.send(request, limit)
    }
}

fn change_form(request: &mut Request, change: impl Fn(&str, &str) -> Option<String>) {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in url::form_urlencoded::parse(&request.body) {
        if let Some(value) = change(&name, &value) {
            form.append_pair(&name, &value);
        }
    }
    request.body = form.finish().into();
}

#[tokio::test(start_paused = true)]
async fn what_is_changed_on_the_way_has_its_code() {
    type Meddle = fn(&mut Request);
    let cases: [(ErrorCode, &str, Meddle); 8] = [
        (ProofRefused, "Multiple DPoP proof JWT headers", |request| {
            let proof = request.headers["dpop"].clone();
            request.headers.append("dpop", proof);
        }),
        (ProofRefused, "cannot be parsed", |request| {
            request.headers.insert("dpop", HeaderValue::from_static("[removed]"));
        }),
        (ProofDemanded, "header is missing", |request| drop(request.headers.remove("dpop"))),
        (AssertionMalformed, "No client credentials found", |request| {
            change_form(request, |name, value| (name != "client_assertion").then(|| value.to_owned()));
        }),
        (AssertionMalformed, "parsing of the client_assertion failed", |request| {
            change_form(request, |name, value| {
                Some(if name == "client_assertion" { &value[..60] } else { value }.to_owned())
            });
        }),
        (AssertionMalformed, "client_assertion_type is invalid", |request| {
            change_form(request, |name, value| {
                Some(if name == "client_assertion_type" { value.to_uppercase() } else { value.to_owned() })
            });
        }),
        (AssertionMalformed, "grant type is not supported", |request| {
            change_form(request, |name, value| {
                Some(if name == "grant_type" { "password" } else { value }.to_owned())
            });
        }),
        (TokenRefused, "Accept and/or Content-Type headers", |request| {
            request.headers.insert("content-type", HeaderValue::from_static("application/json"));
        }),
    ];
    for (code, text, meddle) in cases {
        let mut world = World::quiet();
        world.set_dpop("on");
        world.okta.configure(|settings| settings.dpop = DpopRule::Required);
        let (network, disk) = (Arc::new(Meddling { network: world.network(), meddle }), world.disk());
        let connector = world.start_between(network, disk, "").await.unwrap();
        let reason = world.until("the refusal is known", |_| reason(&connector)).await;
        assert!(reason.contains(&format!("[{code}, request ")) && reason.contains(text), "{code}: {reason}");
        connector.stop().await;
    }
}

/// Whoever calls and has no token is told why there is none, and not that there is none.
#[tokio::test(start_paused = true)]
async fn a_call_without_a_token_has_the_code_of_what_is_wrong_with_the_token() {
    let world = World::quiet();
    let organization = world.loaded("").okta.remove(0);
    let source = organization.credentials.clone();
    let credentials = Reloading::new("Okta credentials", None, move || source.load()).unwrap();
    let settings = okta::Settings {
        integration: INTEGRATION.to_owned(),
        organization: organization.url,
        credentials: Arc::new(credentials),
        dpop: okta::Dpop::Off,
        scopes: vec!["okta.users.read", "okta.groups.manage"],
        optional_scopes: Vec::new(),
        timeout: Duration::from_secs(5),
    };
    let surroundings = okta::Surroundings {
        transport: world.network(),
        clock: Arc::clone(&world.clock),
        entropy: SeededEntropy::shared(1),
        metrics: Arc::default(),
    };
    let budget = Budget::new(BudgetSettings::default(), INTEGRATION, world.clock.clone(), Arc::default());
    let okta = okta::connect(settings, &surroundings, &Arc::new(budget));
    world.okta.deactivate_client(CLIENT);
    assert_eq!(okta.directory.rights().await.unwrap_err().code(), UnknownClient);
    world.okta.activate_client(CLIENT);
    world.okta.faults().always("token", Fault::status(503));
    world.pass(Duration::from_mins(1)).await;
    assert_eq!(okta.directory.rights().await.unwrap_err().code(), TokenTrouble);
    world.okta.faults().clear();
    world.pass(Duration::from_mins(1)).await;
    assert!(okta.directory.rights().await.is_ok());
}

/// The same out of what administrators, clocks and networks do, and not out of a script.
#[tokio::test(start_paused = true)]
async fn what_is_wrong_in_okta_has_its_code() {
    type Spoil = fn(&mut World);
    let cases: [(ErrorCode, Spoil); 8] = [
        (KeyNotRegistered, |world| {
            // Another one is mounted than those that are registered.
            let mounted = generate_ec(Curve::P256).unwrap();
            world.mount_key(mounted.private_jwk.expose_secret());
        }),
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
