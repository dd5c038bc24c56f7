//! # Purpose
//! The client assertion (`private_key_jwt`): Okta's checks, in an order that tells as much as possible.
//!
//! # Invariants kept here
//! - The `jti` is used up by any request whose client can be told, whatever comes of it.
//!
//! # Not here
//! What the client may then have.

use serde_json::Value;

use super::super::answer::Refusal;
use super::jwt::Jwt;
use super::registry::{Key, Registry};

/// Okta refuses assertions that live an hour or longer.
const MAX_LIFETIME: i64 = 3600;

/// Checks an assertion. Returns the client it proves.
pub(super) fn authenticate(
    registry: &mut Registry,
    assertion: &str,
    client_id: Option<&str>,
    token_urls: &[String],
    now_ms: i64,
) -> Result<String, Refusal> {
    registry.assertions_seen += 1;
    let jwt = Jwt::parse(assertion).ok_or_else(|| refused("The parsing of the client_assertion failed."))?;
    if !jwt.has_known_algorithm() {
        return Err(refused("The client_assertion JWT signature algorithm is invalid."));
    }
    let subject = jwt.text("sub");
    let client_id = client_id
        .or(subject)
        .ok_or_else(|| refused("The subject claim for client_assertion is not a valid client_id."))?;
    let Some(client) = registry.clients.get(client_id).filter(|client| client.active) else {
        return Err(refused("Invalid value for 'client_id' parameter."));
    };
    let keys: Vec<Key> = client.keys.iter().filter(|key| key.active).cloned().collect();
    let is_new = jwt.text("jti").is_none_or(|jti| registry.burn_assertion(client_id, jti));
    if keys.is_empty() {
        return Err(refused(
            "The client does not have a JWKSet configured, but the client_assertion requires one.",
        ));
    }
    let key = key_of(&keys, &jwt).ok_or_else(|| refused("The client_assertion JWT kid is invalid."))?;
    if !jwt.is_signed_by(&key.jwk) {
        return Err(refused("The client_assertion signature is invalid."));
    }
    if jwt.text("iss") != Some(client_id) {
        return Err(refused("The issuer claim for client_assertion is not a valid client_id."));
    }
    if subject != Some(client_id) {
        return Err(refused("The subject claim for client_assertion is not a valid client_id."));
    }
    if !jwt.text("aud").is_some_and(|audience| token_urls.iter().any(|url| url == audience)) {
        return Err(refused(
            "The audience claim for client_assertion must be the endpoint invoked for the request.",
        ));
    }
    check_times(&jwt, now_ms)?;
    if !is_new {
        return Err(refused("The client_assertion token has already been used."));
    }
    Ok(client_id.to_owned())
}

fn check_times(jwt: &Jwt<'_>, now_ms: i64) -> Result<(), Refusal> {
    let expires = jwt.seconds("exp").ok_or_else(|| {
        refused("The client_assertion must contain the 'exp' claim as seconds since epoch.")
    })?;
    let left_ms = expires.saturating_mul(1000).saturating_sub(now_ms);
    if left_ms <= 0 {
        return Err(refused("The client_assertion token is expired."));
    }
    if left_ms >= MAX_LIFETIME * 1000 {
        return Err(refused("The client_assertion token has an expiration too far into the future."));
    }
    match jwt.claims.get("iat").map(Value::as_i64) {
        Some(Some(issued)) if issued.saturating_mul(1000) > now_ms => {
            Err(refused("The client_assertion token must be issued before the current time."))
        }
        Some(None) => Err(refused("The parsing of the client_assertion failed.")),
        Some(Some(_)) | None => Ok(()),
    }
}

/// The key that the header names; it need not name one when there is only one.
fn key_of<'k>(keys: &'k [Key], jwt: &Jwt<'_>) -> Option<&'k Key> {
    match (jwt.header_text("kid"), keys) {
        (Some(kid), _) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

fn refused(description: &str) -> Refusal {
    Refusal::oauth(401, "invalid_client", description)
}
