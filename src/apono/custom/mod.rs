//! # Purpose
//! Apono's published protocol for custom integrations: its calls, its answers, and a listener for them.
//!
//! # Invariants kept here
//! - This is the published protocol; everything else in `apono` is the project's own contract (docs/adr/0001, 0010).
//! - Nothing is looked at before the caller has shown the bearer token.
//! - An answer that is not `ok` names the reason and its code in one sentence.
//!
//! # Not here
//! What a call means for grants: `access::calls`. Waiting for what becomes of them: `access::published`.

mod endpoint;
mod router;

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

pub use endpoint::{Endpoint, EndpointError};
pub use router::router;

use super::result::Code;
use super::task::{check_access, check_resource_type};
use crate::domain::OktaGroupId;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// How is the integration?
    GetStatus,
    /// Which groups can be granted?
    ListResources,
    /// Give access.
    GrantAccess(Access),
    /// Take it away.
    RevokeAccess(Access),
    /// Something that this connector does not know; the published protocol answers it with ok.
    Unknown(String),
}

/// Who, and which groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Okta login or email, as Apono wrote it.
    pub username: String,
    /// The groups.
    pub groups: BTreeSet<OktaGroupId>,
    /// What Apono calls it. Nothing published says what it stands for, so it is told to the auditor and decides nothing.
    pub grant_id: Option<String>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Done, or nothing was to be done.
    Done,
    /// What can be granted.
    Listed(Value),
    /// It did not work, or not yet.
    Failed {
        /// Whether asking again can help.
        again: bool,
        /// One sentence, with the code.
        message: String,
    },
}

impl Answer {
    /// It did not work, for one reason.
    pub fn failed(code: Code, message: &str) -> Self {
        Self::Failed { again: code.retry_helps(), message: format!("{message} ({})", code.as_str()) }
    }
}

/// A place among the calls that are answered at the same time; given back when it is dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held, never read")] OwnedSemaphorePermit);

/// Answers calls.
pub trait CustomIntegration: Send + Sync {
    /// Answers `call`. Whoever stops waiting takes nothing back: what was begun goes on, and keeps its place.
    fn answer(&self, call: Call, place: Place) -> BoxFuture<'_, Answer>;
}

/// Why a body is no call.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The published protocol has a word for this one.
    #[error("the body is not JSON (malformed_task)")]
    NotJson(#[source] serde_json::Error),
    /// It has none for this.
    #[error("{0} (malformed_task)")]
    NoCall(String),
}

#[derive(Deserialize)]
struct CallBody {
    event_type: String,
    #[serde(default)]
    params: Value,
}

#[derive(Deserialize)]
struct AccessBody {
    grant_id: Option<Value>,
    username: String,
    resource_type: Option<String>,
    resources: Vec<OktaGroupId>,
    permission: Option<String>,
}

impl Call {
    /// The event type for logs: a closed set.
    pub fn label(&self) -> &'static str {
        match self {
            Self::GetStatus => "get-status",
            Self::ListResources => "list-resources",
            Self::GrantAccess(_) => "grant-access",
            Self::RevokeAccess(_) => "revoke-access",
            Self::Unknown(_) => "other",
        }
    }

    /// Reads the body of a request. Unknown fields are ignored.
    pub fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let body: Value = serde_json::from_slice(body).map_err(Unreadable::NotJson)?;
        if !body.is_object() {
            return Err(Unreadable::NoCall(
                "the call is not an object with event_type and params".to_owned(),
            ));
        }
        let CallBody { event_type, params } =
            serde_json::from_value(body).map_err(|error| Unreadable::NoCall(format!("the call: {error}")))?;
        let access = || read_access(&params).map_err(Unreadable::NoCall);
        Ok(match event_type.as_str() {
            "get-status" => Self::GetStatus,
            "list-resources" => {
                let kind = params.get("resource_type").and_then(Value::as_str);
                check_resource_type(kind).map_err(Unreadable::NoCall)?;
                Self::ListResources
            }
            "grant-access" => Self::GrantAccess(access()?),
            "revoke-access" => Self::RevokeAccess(access()?),
            _ => Self::Unknown(event_type),
        })
    }
}

fn read_access(params: &Value) -> Result<Access, String> {
    if !params.is_object() {
        return Err("its params are not an object".to_owned());
    }
    let body = serde_json::from_value::<AccessBody>(params.clone())
        .map_err(|error| format!("its params: {error}"))?;
    check_access(&body.username, &body.resources, body.permission.as_deref())?;
    check_resource_type(body.resource_type.as_deref())?;
    let grant_id = match body.grant_id {
        Some(Value::String(id)) => Some(id).filter(|id| !id.is_empty()),
        Some(Value::Number(id)) => Some(id.to_string()),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => None,
    };
    Ok(Access {
        username: body.username.trim().to_owned(),
        groups: body.resources.into_iter().collect(),
        grant_id,
    })
}

/// The one body of everything that did not work.
fn error_body(message: &str) -> Value {
    json!({ "error": message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &Value) -> Result<Call, String> {
        Call::read(body.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    fn grant(change: impl FnOnce(&mut Value)) -> Value {
        let mut body = json!({
            "event_type": "grant-access",
            "params": {
                "grant_id": "3f2a", "username": " ada@example.com ", "resource_type": "okta-group",
                "resources": ["00g1", "00g2", "00g1"], "permission": "member", "custom_parameters": {}, "new": 1
            }
        });
        change(&mut body["params"]);
        body
    }

    #[test]
    fn reads_the_published_calls_with_fields_it_does_not_know() {
        let Ok(Call::GrantAccess(access)) = read(&grant(|_| {})) else { panic!() };
        assert_eq!(access.username, "ada@example.com");
        assert_eq!(access.groups.len(), 2);
        assert_eq!(access.grant_id.as_deref(), Some("3f2a"));
        let bare =
            json!({ "event_type": "revoke-access", "params": { "username": "a", "resources": ["00g1"] } });
        assert!(matches!(read(&bare), Ok(Call::RevokeAccess(Access { grant_id: None, .. }))));
        assert_eq!(read(&json!({ "event_type": "get-status" })), Ok(Call::GetStatus));
        let list = json!({ "event_type": "list-resources", "params": { "resource_type": "okta-group" } });
        assert_eq!(read(&list), Ok(Call::ListResources));
        let other = json!({ "event_type": "reset-credentials", "params": {} });
        assert_eq!(read(&other), Ok(Call::Unknown("reset-credentials".to_owned())));
    }

    #[test]
    fn what_is_no_call_says_why() {
        assert_eq!(Call::read(b"{").unwrap_err().to_string(), "the body is not JSON (malformed_task)");
        assert_eq!(Call::read(b"").unwrap_err().to_string(), "the body is not JSON (malformed_task)");
        let cases = [
            (json!([]), "not an object"),
            (json!(["get-status", {}]), "not an object"),
            (json!({ "event_type": "grant-access", "params": [] }), "not an object"),
            (json!({ "params": {} }), "event_type"),
            (json!({ "event_type": "grant-access" }), "its params"),
            (grant(|params| params["username"] = json!(" ")), "username is empty"),
            (grant(|params| params["resources"] = json!([])), "at least one group id"),
            (grant(|params| params["resources"] = json!(["../users"])), "is not an id of an Okta group"),
            (grant(|params| params["resources"] = json!(vec!["00g"; 1001])), "at most 1000"),
            (grant(|params| params["permission"] = json!("owner")), "is not member"),
            (grant(|params| params["resource_type"] = json!("database")), "is not okta-group"),
            (
                json!({ "event_type": "list-resources", "params": { "resource_type": "database" } }),
                "is not okta-group",
            ),
        ];
        for (body, expected) in cases {
            let problem = read(&body).unwrap_err();
            assert!(problem.contains(expected) && problem.ends_with("(malformed_task)"), "{problem}");
        }
    }
}
