//! # Purpose
//! The public keys of a service app: `/api/v1/apps/{id}/credentials/jwks`.
//!
//! # Invariants kept here
//! - A key is addressed by its id, which is not its `kid`.
//! - A key must be inactive before it can be deleted.
//! - A key without a `kid` is the only one of its app, unless a test has arranged it otherwise.
//!
//! # Not here
//! Encryption keys.

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::answer::{Refusal, bare, json_response};
use super::super::json::instant;
use super::super::oauth::{Client, Key};
use super::Desk;

/// Okta keeps no more for one app.
const MOST: usize = 50;
const LEAST_BITS: usize = 2048;

pub(super) fn list(desk: &Desk<'_>, app: &str) -> Result<Response, Refusal> {
    let client = desk.registry.clients.get(app).ok_or_else(|| no_app(app))?;
    let keys: Vec<Value> = client.keys.iter().map(|key| show(desk, app, key)).collect();
    Ok(json_response(200, Value::Array(keys).to_string()))
}

pub(super) fn add(desk: &mut Desk<'_>, app: &str) -> Result<Response, Refusal> {
    let jwk = desk.input.0.clone();
    check_jwk(&jwk)?;
    let id = desk.fresh_id("pks");
    let (key, now) = (new(id, jwk, desk.now_ms), desk.now_ms);
    let client = desk.registry.clients.get_mut(app).ok_or_else(|| no_app(app))?;
    if key.kid.is_some() && client.keys.iter().any(|other| other.kid == key.kid) {
        return Err(Refusal::validation("kid", "kid: A key with this kid exists already"));
    }
    if client.keys.iter().any(|other| other.kid.is_none() || key.kid.is_none()) {
        return Err(Refusal::validation("kid", "kid: A key without a kid can't stand beside another key"));
    }
    if client.keys.len() >= MOST {
        return Err(Refusal::validation("jwks", "jwks: A client can't have more than 50 keys"));
    }
    client.keys.push(Key { created: now, ..key.clone() });
    Ok(json_response(201, show(desk, app, &key).to_string()))
}

pub(super) fn set_active(
    desk: &mut Desk<'_>,
    app: &str,
    key: &str,
    active: bool,
) -> Result<Response, Refusal> {
    let client = desk.registry.clients.get_mut(app).ok_or_else(|| no_app(app))?;
    let found = position(client, key)?;
    client.keys[found].active = active;
    let key = client.keys[found].clone();
    Ok(json_response(200, show(desk, app, &key).to_string()))
}

pub(super) fn delete(desk: &mut Desk<'_>, app: &str, key: &str) -> Result<Response, Refusal> {
    let client = desk.registry.clients.get_mut(app).ok_or_else(|| no_app(app))?;
    let found = position(client, key)?;
    if client.keys[found].active {
        return Err(Refusal::validation("status", "status: An active key can't be deleted"));
    }
    client.keys.remove(found);
    Ok(bare(204))
}

fn position(client: &Client, key: &str) -> Result<usize, Refusal> {
    let found = client.keys.iter().position(|candidate| candidate.id == key);
    found.ok_or_else(|| Refusal::not_found(key, "OAuth2ClientJsonWebKey"))
}

pub(super) fn no_app(app: &str) -> Refusal {
    Refusal::not_found(app, "AppInstance")
}

pub(super) fn new(id: String, jwk: Value, created: i64) -> Key {
    let kid = jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
    Key { id, kid, jwk, active: true, created }
}

/// A public signing key that Okta takes.
pub(super) fn check_jwk(jwk: &Value) -> Result<(), Refusal> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let refused = |member: &str, cause: &str| Err(Refusal::validation(member, &format!("{member}: {cause}")));
    if ["d", "p", "q", "dp", "dq", "qi", "k"].iter().any(|private| jwk.get(private).is_some()) {
        return refused("jwks", "private key material must not be sent");
    }
    if text("use").is_some_and(|purpose| purpose != "sig") {
        return refused("use", "must be sig");
    }
    match text("kty") {
        Some("RSA") => {
            let modulus = text("n").and_then(|n| URL_SAFE_NO_PAD.decode(n).ok()).unwrap_or_default();
            let leading = modulus.iter().take_while(|byte| **byte == 0).count();
            let zeros = modulus.get(leading).map_or(0, |byte| byte.leading_zeros());
            let bits = ((modulus.len() - leading) * 8).saturating_sub(usize::try_from(zeros).unwrap_or(0));
            if text("e").is_none() || bits < LEAST_BITS {
                return refused("jwks", "an RSA key must have at least 2048 bits");
            }
            Ok(())
        }
        Some("EC") if text("crv").is_some() && text("x").is_some() && text("y").is_some() => Ok(()),
        Some(_) | None => refused("kty", "must be RSA or EC, with the members of its kind"),
    }
}

fn show(desk: &Desk<'_>, app: &str, key: &Key) -> Value {
    let mut shown = key.jwk.clone();
    let at = format!("{}/api/v1/apps/{app}/credentials/jwks/{}", desk.origin(), key.id);
    let links = if key.active {
        json!({ "deactivate": { "href": format!("{at}/lifecycle/deactivate"), "hints": { "allow": ["POST"] } } })
    } else {
        json!({
            "activate": { "href": format!("{at}/lifecycle/activate"), "hints": { "allow": ["POST"] } },
            "delete": { "href": at, "hints": { "allow": ["DELETE"] } },
        })
    };
    if let Some(members) = shown.as_object_mut() {
        members.insert("id".into(), key.id.clone().into());
        members.insert("status".into(), if key.active { "ACTIVE" } else { "INACTIVE" }.into());
        members.insert("created".into(), instant(key.created).into());
        members.insert("lastUpdated".into(), instant(key.created).into());
        members.insert("_links".into(), links);
    }
    shown
}
