//! # Purpose
//! The token endpoint: from a form to an access token.
//!
//! # Invariants kept here
//! - A token holds the scopes that were asked for *and* are granted; what is not granted is dropped silently.
//! - Nothing of a refused request has an effect, except that its assertion and proof are used up.
//!
//! # Not here
//! Checks of the assertion and of the proof.

use std::collections::BTreeSet;

use http::{HeaderMap, header};
use serde_json::json;

use super::super::answer::Refusal;
use super::super::query::Query;
use super::super::settings::{DpopRule, Settings};
use super::assertion::authenticate;
use super::dpop::{self, ProofContext, ProofRefusal};
use super::registry::{Registry, Token};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const OPENID_SCOPES: [&str; 7] =
    ["openid", "profile", "email", "address", "phone", "offline_access", "device_sso"];

/// Answers a token request with the body of a success.
pub(in super::super) fn grant(
    registry: &mut Registry,
    settings: &Settings,
    headers: &HeaderMap,
    body: &[u8],
    now_ms: i64,
) -> Result<String, Refusal> {
    let form = form_of(headers, body)?;
    if form.get("grant_type") != Some("client_credentials") {
        let (error, description) = match form.get("grant_type") {
            None => ("invalid_request", "The 'grant_type' parameter is required."),
            Some(_) => ("unsupported_grant_type", "The authorization grant type is not supported."),
        };
        return Err(Refusal::oauth(400, error, description));
    }
    let assertion = assertion_of(headers, &form)?;
    let client = authenticate(registry, assertion, form.get("client_id"), &settings.token_urls(), now_ms)?;
    if settings.outside_network_zone {
        let description = "The request is made from outside the client's permitted network zones.";
        return Err(Refusal::oauth(403, "access_denied", description));
    }
    let bound_to = bound_key(registry, settings, headers, now_ms.div_euclid(1000))?;
    let granted = registry.clients.get(&client).map(|client| client.scopes.clone()).unwrap_or_default();
    let scopes = granted_scopes(form.get("scope").unwrap_or_default(), &granted, &settings.unknown_scopes)?;

    let lifetime = settings.token_lifetime;
    let body_scope = settings.tells_scopes.then(|| scopes.join(" "));
    let token_type = if bound_to.is_some() { "DPoP" } else { "Bearer" };
    let token = Token {
        client,
        scopes: scopes.into_iter().collect(),
        expires: now_ms.saturating_add(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX)),
        bound_to,
    };
    let access_token = registry.issue(token, now_ms);
    let mut body = json!({
        "token_type": token_type,
        "expires_in": lifetime.as_secs(),
        "access_token": access_token,
    });
    if let Some(scope) = body_scope {
        body["scope"] = json!(scope);
    }
    Ok(body.to_string())
}

fn form_of(headers: &HeaderMap, body: &[u8]) -> Result<Query, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/x-www-form-urlencoded")) {
        let summary =
            "Bad request.  Accept and/or Content-Type headers likely do not match supported values.";
        return Err(Refusal::api(400, "E0000021", summary));
    }
    Ok(Query::parse(&String::from_utf8_lossy(body)))
}

fn assertion_of<'f>(headers: &HeaderMap, form: &'f Query) -> Result<&'f str, Refusal> {
    let has_secret = headers.contains_key(header::AUTHORIZATION) || form.get("client_secret").is_some();
    match (form.get("client_assertion"), has_secret) {
        (Some(_), true) => Err(Refusal::oauth(
            400,
            "invalid_request",
            "Cannot supply multiple client credentials. Use one of the following: credentials in the \
             Authorization header, credentials in the post body, or a client_assertion in the post body.",
        )),
        (None, true) => Err(Refusal::oauth(
            401,
            "invalid_client",
            "Client Credentials requests to the Org Authorization Server must use the private_key_jwt \
             token_endpoint_auth_method.",
        )),
        (None, false) => Err(Refusal::oauth(401, "invalid_client", "No client credentials found.")),
        (Some(_), false) if form.get("client_assertion_type") != Some(ASSERTION_TYPE) => {
            Err(Refusal::oauth(400, "invalid_request", "The client_assertion_type is invalid."))
        }
        (Some(assertion), false) => Ok(assertion),
    }
}

fn bound_key(
    registry: &mut Registry,
    settings: &Settings,
    headers: &HeaderMap,
    now: i64,
) -> Result<Option<String>, Refusal> {
    if settings.dpop == DpopRule::Unknown {
        return Ok(None);
    }
    let checked = match dpop::proof_of(headers) {
        Ok(None) if settings.dpop == DpopRule::Required => {
            Err(ProofRefusal::Invalid("The DPoP proof JWT header is missing."))
        }
        Ok(None) => return Ok(None),
        Ok(Some(proof)) => {
            let url = settings.token_url();
            let context = ProofContext { method: "POST", url: &url, token: None, needs_nonce: true, now };
            dpop::check(registry, proof, &context)
        }
        Err(refusal) => Err(refusal),
    };
    checked.map(Some).map_err(|refusal| match refusal {
        ProofRefusal::Invalid(description) => Refusal::oauth(400, "invalid_dpop_proof", description),
        ProofRefusal::NonceNeeded => Refusal::OAuth {
            status: 400,
            error: "use_dpop_nonce",
            description: "Authorization server requires nonce in DPoP proof.".into(),
            nonce: Some(registry.nonce(now)),
        },
    })
}

fn granted_scopes(
    requested: &str,
    granted: &BTreeSet<String>,
    unknown: &[&str],
) -> Result<Vec<String>, Refusal> {
    let mut requested: Vec<&str> = requested.split_whitespace().collect();
    requested.sort_unstable();
    requested.dedup();
    if requested.is_empty() {
        return Err(Refusal::oauth(400, "invalid_scope", "No scopes were requested."));
    }
    if requested.iter().any(|scope| OPENID_SCOPES.contains(scope)) {
        let description = "Cannot request 'openid' scopes using client credentials.";
        return Err(Refusal::oauth(400, "invalid_scope", description));
    }
    if requested.iter().any(|scope| last_part(scope) == "self") {
        let description = "Cannot request '.self' scopes using client credentials.";
        return Err(Refusal::oauth(400, "client_credentials_self_scope_requested", description));
    }
    let is_known = |scope: &&str| {
        scope.starts_with("okta.")
            && ["read", "manage"].contains(&last_part(scope))
            && !unknown.contains(scope)
    };
    if !requested.iter().all(is_known) {
        let description = "One or more scopes are not configured for the authorization server resource.";
        return Err(Refusal::oauth(400, "invalid_scope", description));
    }
    let allowed: Vec<String> =
        requested.into_iter().filter(|scope| granted.contains(*scope)).map(str::to_owned).collect();
    if allowed.is_empty() {
        let description = "You are not allowed any of the requested scopes.";
        return Err(Refusal::oauth(400, "consent_required", description));
    }
    Ok(allowed)
}

fn last_part(scope: &str) -> &str {
    scope.rsplit('.').next().unwrap_or_default()
}
