//! # Purpose
//! Documents about the org itself: settings, discovery, signing keys.
//!
//! # Invariants kept here
//! - Discovery needs no token and spends no budget.
//!
//! # Not here
//! Anything that changes.

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::super::answer::json_response;
use super::super::exchange::Exchange;
use super::super::hash::sha256;

const ORG_ID: &str = "00o1a2b3c4D5e6F7g0g7";

/// `GET /api/v1/org`.
pub(in super::super) fn get(exchange: &Exchange) -> Response {
    let origin = &exchange.settings.origin;
    let body = json!({
        "id": ORG_ID,
        "companyName": "Example Corp",
        "subdomain": "example",
        "website": "https://www.example.com",
        "status": "ACTIVE",
        "created": "2024-01-15T09:00:00.000Z",
        "lastUpdated": "2024-01-15T09:00:00.000Z",
        "expiresAt": null,
        "address1": null,
        "address2": null,
        "city": null,
        "state": null,
        "country": null,
        "postalCode": null,
        "phoneNumber": null,
        "supportPhoneNumber": null,
        "endUserSupportHelpURL": null,
        "_links": { "preferences": { "href": format!("{origin}/api/v1/org/preferences") }, "logo": null },
    });
    json_response(200, body.to_string())
}

/// `GET /.well-known/okta-organization`.
pub(in super::super) fn well_known(exchange: &Exchange) -> Response {
    let origin = &exchange.settings.origin;
    let mut links = json!({ "organization": { "href": origin } });
    if let Some(domain) = &exchange.settings.custom_domain {
        links["alternate"] = json!({ "href": domain });
    }
    let body = json!({
        "id": ORG_ID,
        "_links": links,
        "pipeline": "idx",
        "settings": { "analyticsCollectionEnabled": false, "bugReportingEnabled": false, "omEnabled": false },
    });
    json_response(200, body.to_string())
}

/// `GET /oauth2/v1/keys`: a key of the right shape. Tokens here are opaque, so it verifies nothing.
pub(in super::super) fn keys(exchange: &Exchange) -> Response {
    let modulus: Vec<u8> = (0..8_u64)
        .flat_map(|part| sha256(format!("modulus {} {part}", exchange.settings.seed).as_bytes()))
        .collect();
    let body = json!({ "keys": [{
        "kty": "RSA",
        "alg": "RS256",
        "kid": "simulated",
        "use": "sig",
        "e": "AQAB",
        "n": URL_SAFE_NO_PAD.encode(modulus),
    }] });
    json_response(200, body.to_string())
}
