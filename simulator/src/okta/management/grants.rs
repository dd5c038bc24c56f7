//! # Purpose
//! Scope grants of a service app: `GET|POST /api/v1/apps/{id}/grants`.
//!
//! # Invariants kept here
//! - A grant names the org as its issuer, and a scope that Okta knows.
//!
//! # Not here
//! Taking a grant away.

use axum::response::Response;
use serde_json::{Value, json};

use super::super::answer::{Refusal, json_response};
use super::super::json::instant;
use super::keys::no_app;
use super::{Desk, paging};

pub(super) fn list(desk: &Desk<'_>, app: &str) -> Result<Response, Refusal> {
    let client = desk.registry.clients.get(app).ok_or_else(|| no_app(app))?;
    let grants: Vec<Value> =
        client.scopes.iter().map(|scope| show(desk, app, scope, client.created)).collect();
    Ok(paging::array(desk, grants))
}

pub(super) fn grant(desk: &mut Desk<'_>, app: &str) -> Result<Response, Refusal> {
    if desk.input.required("issuer")? != desk.origin() {
        return Err(Refusal::validation("issuer", "issuer: must be the org authorization server"));
    }
    let scope = desk.input.required("scopeId")?.to_owned();
    let is_known = scope.starts_with("okta.")
        && scope.split('.').count() == 3
        && scope.rsplit('.').next().is_some_and(|verb| ["read", "manage"].contains(&verb));
    if !is_known {
        return Err(Refusal::validation("scopeId", "scopeId: Invalid scope"));
    }
    let now = desk.now_ms;
    let client = desk.registry.clients.get_mut(app).ok_or_else(|| no_app(app))?;
    client.scopes.insert(scope.clone());
    Ok(json_response(201, show(desk, app, &scope, now).to_string()))
}

fn show(desk: &Desk<'_>, app: &str, scope: &str, created: i64) -> Value {
    json!({
        "id": format!("oag{app}{scope}").chars().filter(char::is_ascii_alphanumeric).collect::<String>(),
        "status": "ACTIVE",
        "created": instant(created),
        "lastUpdated": instant(created),
        "issuer": desk.origin(),
        "clientId": app,
        "scopeId": scope,
        "source": "ADMIN",
        "_links": { "app": { "href": format!("{}/api/v1/apps/{app}", desk.origin()) } },
    })
}
