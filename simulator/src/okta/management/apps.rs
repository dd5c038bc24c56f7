//! # Purpose
//! `GET|POST /api/v1/apps` and `GET /api/v1/apps/{id}`.
//!
//! # Invariants kept here
//! - A service app can be made only as Okta makes them: `client_credentials`, `token`, keys that are public.
//! - The client id is the app's id.
//!
//! # Not here
//! Sign-in apps: of them only name and label are known.

use axum::response::Response;
use http::{HeaderValue, header};
use serde_json::{Value, json};

use super::super::answer::{Refusal, json_response};
use super::super::json::instant;
use super::super::oauth::Client;
use super::super::settings::DpopRule;
use super::keys::{self, check_jwk};
use super::{Desk, OtherApp};

pub(super) fn list(desk: &Desk<'_>) -> Result<Response, Refusal> {
    let query = &desk.exchange.query;
    let prefix = query.get("q").map(str::to_lowercase);
    let filter = query.get("filter").map(wanted).transpose()?;
    let limit = query.get("limit").map_or(Ok(20), str::parse::<usize>);
    let limit = limit
        .ok()
        .filter(|limit| (1..=200).contains(limit))
        .ok_or_else(|| Refusal::validation("limit", "limit: must be between 1 and 200"))?;
    let clients = desk.registry.clients.iter().map(|(id, client)| (id.clone(), show(desk, id, client)));
    let others = desk.registry.management.other_apps.iter().map(|app| (app.id.clone(), show_other(app)));
    let mut apps: Vec<(String, Value)> = clients
        .chain(others)
        .filter(|(_, app)| {
            let text = |name: &str| app[name].as_str().unwrap_or_default();
            prefix.as_ref().is_none_or(|prefix| {
                text("label").to_lowercase().starts_with(prefix) || text("name").starts_with(prefix)
            }) && filter.as_ref().is_none_or(|(name, value)| text(name) == value)
        })
        .collect();
    apps.sort_by(|one, other| one.0.cmp(&other.0));
    apps.retain(|(id, _)| query.get("after").is_none_or(|after| id.as_str() > after));
    let more = apps.len() > limit;
    apps.truncate(limit);
    let last = apps.last().map(|(id, _)| id.clone());
    let body: Vec<Value> = apps.into_iter().map(|(_, app)| app).collect();
    let mut response = json_response(200, Value::Array(body).to_string());
    if let Some(last) = last.filter(|_| more) {
        let query = query.with("after", &last).with("limit", &limit.to_string()).encoded();
        let link = format!("<{}{}?{query}>; rel=\"next\"", desk.origin(), desk.exchange.path());
        if let Ok(link) = HeaderValue::try_from(link) {
            response.headers_mut().append(header::LINK, link);
        }
    }
    Ok(response)
}

/// `status eq "ACTIVE"` and `name eq "oidc_client"`: the filters on an app's own members that Okta has.
fn wanted(filter: &str) -> Result<(String, String), Refusal> {
    let mut words = filter.splitn(3, ' ');
    let (name, operator, value) = (words.next(), words.next(), words.next());
    match (name, operator, value.map(|value| value.trim_matches('"'))) {
        (Some(name @ ("status" | "name")), Some("eq"), Some(value)) => Ok((name.into(), value.into())),
        _ => Err(Refusal::search()),
    }
}

pub(super) fn get(desk: &Desk<'_>, app: &str) -> Result<Response, Refusal> {
    let others = &desk.registry.management.other_apps;
    let shown = match (desk.registry.clients.get(app), others.iter().find(|other| other.id == app)) {
        (Some(client), _) => show(desk, app, client),
        (None, Some(other)) => show_other(other),
        (None, None) => return Err(Refusal::not_found(app, "AppInstance")),
    };
    Ok(json_response(200, shown.to_string()))
}

pub(super) fn create(desk: &mut Desk<'_>) -> Result<Response, Refusal> {
    let input = &desk.input;
    let label = input.required("label")?.to_owned();
    let refused = |member: &str, cause: &str| Err(Refusal::validation(member, &format!("{member}: {cause}")));
    if input.required("signOnMode")? != "OPENID_CONNECT" || input.required("name")? != "oidc_client" {
        return refused("name", "only oidc_client with OPENID_CONNECT can be made here");
    }
    if input.text("settings/oauthClient/application_type") != Some("service") {
        return refused("application_type", "only a service app can be made here");
    }
    if input.texts("settings/oauthClient/grant_types") != ["client_credentials"] {
        return refused("grant_types", "a service app needs client_credentials, and nothing else here");
    }
    if input.texts("settings/oauthClient/response_types") != ["token"] {
        return refused("response_types", "'response_types' must be token for client_credentials");
    }
    let method = input.text("credentials/oauthClient/token_endpoint_auth_method");
    if method != Some("private_key_jwt") {
        return refused("token_endpoint_auth_method", "only private_key_jwt is known here");
    }
    let given = input.0.pointer("/settings/oauthClient/jwks/keys").and_then(Value::as_array).cloned();
    let given = given.unwrap_or_default();
    if given.is_empty() {
        return refused("jwks", "private_key_jwt needs 'jwks' or 'jwks_uri'");
    }
    if given.len() > 1 && given.iter().any(|jwk| jwk.get("kid").is_none()) {
        return refused("jwks", "several keys need a 'kid' each");
    }
    given.iter().try_for_each(check_jwk)?;
    let mut client = Client { label, created: desk.now_ms, admin_role: false, ..Client::default() };
    for jwk in given {
        let id = desk.fresh_id("pks");
        client.keys.push(keys::new(id, jwk, desk.now_ms));
    }
    let id = desk.fresh_id("0oa");
    let shown = show(desk, &id, &client);
    desk.registry.clients.insert(id, client);
    Ok(json_response(200, shown.to_string()))
}

fn show(desk: &Desk<'_>, id: &str, client: &Client) -> Value {
    let created = instant(client.created);
    let jwks: Vec<Value> = client.keys.iter().map(|key| key.jwk.clone()).collect();
    json!({
        "id": id,
        "name": "oidc_client",
        "label": client.label,
        "status": if client.active { "ACTIVE" } else { "INACTIVE" },
        "created": created,
        "lastUpdated": created,
        "signOnMode": "OPENID_CONNECT",
        "features": [],
        "visibility": { "autoSubmitToolbar": false, "hide": { "iOS": true, "web": true } },
        "credentials": { "oauthClient": {
            "autoKeyRotation": true,
            "client_id": id,
            "token_endpoint_auth_method": "private_key_jwt",
            "pkce_required": false,
        } },
        "settings": { "oauthClient": {
            "application_type": "service",
            "grant_types": ["client_credentials"],
            "response_types": ["token"],
            "dpop_bound_access_tokens": desk.exchange.settings.dpop == DpopRule::Required,
            "jwks": { "keys": jwks },
        } },
        "_links": { "self": { "href": format!("{}/api/v1/apps/{id}", desk.origin()) } },
    })
}

fn show_other(app: &OtherApp) -> Value {
    json!({
        "id": app.id,
        "name": "template_saml_2_0",
        "label": app.label,
        "status": "ACTIVE",
        "signOnMode": app.sign_on_mode,
        "credentials": { "userNameTemplate": { "template": "${source.login}", "type": "BUILT_IN" } },
        "settings": { "app": {} },
    })
}
