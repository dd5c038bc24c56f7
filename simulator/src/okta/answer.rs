//! # Purpose
//! The shapes of Okta's answers: JSON pages, its two kinds of error bodies, and refusals that have no body at all.
//!
//! # Invariants kept here
//! - Management errors have exactly the five members of Okta's error object, OAuth errors exactly two.
//! - A refused bearer token never gets a body: the reason is only in `WWW-Authenticate`.
//!
//! # Not here
//! Headers that every answer carries (`exchange`).

use axum::body::Body;
use axum::response::Response;
use http::{HeaderName, HeaderValue, header};
use serde_json::{Value, json};

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An error of the management API.
    Api { status: u16, code: &'static str, summary: String, causes: Vec<String> },
    /// An error of the token endpoint.
    OAuth { status: u16, error: &'static str, description: String, nonce: Option<String> },
    /// A refused token or proof: no body.
    Challenge { status: u16, challenge: String, nonce: Option<String> },
    /// Only a status.
    Bare { status: u16 },
}

impl Refusal {
    pub(super) fn api(status: u16, code: &'static str, summary: &str) -> Self {
        Self::Api { status, code, summary: summary.into(), causes: Vec::new() }
    }

    pub(super) fn oauth(status: u16, error: &'static str, description: &str) -> Self {
        Self::OAuth { status, error, description: description.into(), nonce: None }
    }

    /// 400 `E0000001` for one parameter.
    pub(super) fn validation(parameter: &str, cause: &str) -> Self {
        Self::Api {
            status: 400,
            code: "E0000001",
            summary: format!("Api validation failed: {parameter}"),
            causes: vec![cause.into()],
        }
    }

    /// 404 `E0000007` for an object that cannot be found.
    pub(super) fn not_found(id: &str, kind: &str) -> Self {
        Self::api(404, "E0000007", &format!("Not found: Resource not found: {id} ({kind})"))
    }

    /// 403 `E0000006`.
    pub(super) fn forbidden() -> Self {
        Self::api(403, "E0000006", "You do not have permission to perform the requested action")
    }

    /// 400 for a search or filter expression that cannot be read.
    pub(super) fn search() -> Self {
        Self::api(400, "E0000031", "Invalid search criteria.")
    }

    /// 429, for whichever reason: the headers tell.
    pub(super) fn too_many_requests() -> Self {
        Self::api(429, "E0000047", "API call exceeded rate limit due to too many requests.")
    }

    /// The answer on the wire.
    pub(super) fn into_response(self, error_id: &str) -> Response {
        match self {
            Self::Api { status, code, summary, causes } => {
                json_response(status, api_error(code, &summary, error_id, &causes).to_string())
            }
            Self::OAuth { status, error, description, nonce } => {
                let body = json!({ "error": error, "error_description": description });
                with_nonce(json_response(status, body.to_string()), nonce)
            }
            Self::Challenge { status, challenge, nonce } => {
                let mut response = bare(status);
                if let Ok(value) = HeaderValue::try_from(challenge) {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
                }
                with_nonce(response, nonce)
            }
            Self::Bare { status } => bare(status),
        }
    }
}

/// The error object of the management API.
pub(super) fn api_error(code: &str, summary: &str, error_id: &str, causes: &[String]) -> Value {
    let causes: Vec<Value> = causes.iter().map(|cause| json!({ "errorSummary": cause })).collect();
    json!({
        "errorCode": code,
        "errorSummary": summary,
        "errorLink": code,
        "errorId": error_id,
        "errorCauses": causes,
    })
}

/// An answer with a JSON body.
pub(super) fn json_response(status: u16, body: impl Into<Body>) -> Response {
    let mut response = bare(status);
    *response.body_mut() = body.into();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer without a body.
pub(super) fn bare(status: u16) -> Response {
    let mut response = Response::new(Body::empty());
    if let Ok(status) = http::StatusCode::from_u16(status) {
        *response.status_mut() = status;
    }
    response
}

fn with_nonce(mut response: Response, nonce: Option<String>) -> Response {
    if let Some(Ok(value)) = nonce.map(HeaderValue::try_from) {
        response.headers_mut().insert(HeaderName::from_static("dpop-nonce"), value);
    }
    response
}
