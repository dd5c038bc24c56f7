//! # Purpose
//! Okta's own error answers, to be scripted with [`crate::fault::Faults`].
//!
//! # Invariants kept here
//! - Shapes are the same as those of the simulator's genuine errors.
//!
//! # Not here
//! Faults that no peer has a say in (disconnects, delays, HTML pages): see [`crate::fault`].

use serde_json::json;

use super::answer::api_error;
use crate::fault::Fault;

/// An error of the management API, for instance `error(500, "E0000009", "Internal Server Error")`.
#[must_use]
pub fn error(status: u16, code: &str, summary: &str) -> Fault {
    with_headers(status, Vec::new(), &api_error(code, summary, "oaeScriptedFault0000000", &[]).to_string())
}

/// An error of the token endpoint.
#[must_use]
pub fn oauth_error(status: u16, error: &str, description: &str) -> Fault {
    let body = json!({ "error": error, "error_description": description });
    with_headers(status, Vec::new(), &body.to_string())
}

/// 429 because a budget is spent; the window ends in `reset_in_secs` seconds by the simulator's clock.
#[must_use]
pub fn rate_limited(reset_in_secs: u64) -> Fault {
    too_many_requests("250", &format!("+{reset_in_secs}"))
}

/// 429 because too many calls are in flight: a limit of zero, and a reset that is only a guess.
#[must_use]
pub fn concurrency() -> Fault {
    too_many_requests("0", "+110")
}

/// 401 with nothing but `WWW-Authenticate`, as for an expired token.
#[must_use]
pub fn empty_unauthorized() -> Fault {
    challenge(401, "invalid_token", "The access token is invalid.")
}

/// 403 with nothing but `WWW-Authenticate`, as for a token without the scope.
#[must_use]
pub fn insufficient_scope() -> Fault {
    challenge(403, "insufficient_scope", "The access token provided does not contain the required scopes.")
}

fn too_many_requests(limit: &str, reset: &str) -> Fault {
    let headers = [("limit", limit), ("remaining", "0"), ("reset", reset)];
    let headers =
        headers.map(|(name, value)| (format!("x-rate-limit-{name}"), value.to_owned())).into_iter().collect();
    let summary = "API call exceeded rate limit due to too many requests.";
    with_headers(429, headers, &api_error("E0000047", summary, "oaeScriptedFault0000000", &[]).to_string())
}

fn challenge(status: u16, error: &str, description: &str) -> Fault {
    let challenge = format!("Bearer error=\"{error}\", error_description=\"{description}\"");
    Fault::Answer { status, headers: vec![("www-authenticate".into(), challenge)], body: String::new() }
}

fn with_headers(status: u16, mut headers: Vec<(String, String)>, body: &str) -> Fault {
    headers.push(("content-type".into(), "application/json".into()));
    Fault::Answer { status, headers, body: body.into() }
}
