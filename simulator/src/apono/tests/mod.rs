//! # Purpose
//! Tests of the control plane through its door, in virtual time.
//!
//! # Invariants kept here
//! - A test of correct behavior ends without violations; helpers send what the contract asks for.
//!
//! # Not here
//! Whether this agrees with `docs/connector-api.yaml`: see `simulator/tests/contract.rs`.

mod door;
mod grants;
mod scale;
mod scim_filter;
mod scim_life;
mod scim_patch;
mod scim_quirks;
mod sessions;
mod tasks;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AponoSimulator, ScimSettings, Settings};
use crate::clock::SimClock;
use crate::net::dispatch;

pub(super) const INTEGRATION: &str = "069cf551-c124-43f6";
pub(super) const ONE: &str = "11111111-1111-4111-8111-111111111111";
pub(super) const TWO: &str = "22222222-2222-4222-8222-222222222222";
pub(super) const TOKEN: &str = "placeholder-connector-token";
pub(super) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(super) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
pub(super) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
pub(super) const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";

/// A control plane and a caller.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) apono: AponoSimulator,
    pub(super) clock: SimClock,
}

/// What came back.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

pub(super) fn origin() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// The instant `seconds` after the tests' origin, as the wire has it.
pub(super) fn at(seconds: i64) -> String {
    (origin() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(super) fn with_scim(scim: ScimSettings) -> Self {
        Self::with(Settings { scim, ..Settings::default() })
    }

    pub(super) fn with(settings: Settings) -> Self {
        let clock = SimClock::virtual_from(origin());
        Self { apono: AponoSimulator::new(settings, clock.clone()), clock }
    }

    pub(super) fn request(method: &str, path: &str, body: Option<&Value>) -> Request<Bytes> {
        let media_type =
            if path.starts_with("/scim/") { "application/scim+json" } else { "application/json" };
        let mut builder = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("user-agent", "apono-connector/0.0.0");
        if body.is_some() {
            builder = builder.header("content-type", media_type);
        }
        builder.body(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()).unwrap()
    }

    /// What comes of any request; `None` when the connection broke.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Option<Reply> {
        let (parts, body) = dispatch(self.apono.router(), request).await.ok()?.into_parts();
        let status = parts.status.as_u16();
        Some(Reply {
            status,
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        })
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.send(Self::request(method, path, body.as_ref())).await.expect("the connection broke")
    }

    pub(super) async fn connect(&self, session: &str) -> Reply {
        self.call("PUT", &session_path(session), Some(session_body())).await
    }

    pub(super) async fn lease(&self, session: &str, wait_sec: u64) -> Vec<Value> {
        self.lease_many(session, wait_sec, 16).await
    }

    pub(super) async fn lease_many(&self, session: &str, wait_sec: u64, max_tasks: u64) -> Vec<Value> {
        let body =
            json!({"session_id": session, "max_tasks": max_tasks, "wait_sec": wait_sec, "lease_sec": 60});
        let path = "/api/connector/v1/connectors/okta-connector/task-leases";
        let reply = self.call("POST", path, Some(body)).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body["items"].as_array().unwrap().clone()
    }

    pub(super) async fn extend(&self, task: &str, token: &str) -> Reply {
        let path = format!("/api/connector/v1/tasks/{task}/lease");
        self.call("PUT", &path, Some(json!({"lease_token": token, "lease_sec": 60}))).await
    }

    pub(super) async fn finish(&self, task: &str, result: Value) -> Reply {
        self.call("PUT", &format!("/api/connector/v1/tasks/{task}/result"), Some(result)).await
    }

    pub(super) async fn scim(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        self.call(method, &format!("/scim/v2/{INTEGRATION}{path}"), body).await
    }

    pub(super) async fn make_user(&self, user_name: &str) -> String {
        let body =
            json!({"schemas": [USER], "userName": user_name, "externalId": format!("00u-{user_name}")});
        let reply = self.scim("POST", "/Users", Some(body)).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        reply.body["id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn make_group(&self, name: &str, members: &[&str]) -> String {
        let members: Vec<Value> = members.iter().map(|id| json!({"value": id})).collect();
        let body = json!({"schemas": [GROUP], "displayName": name, "members": members});
        let reply = self.scim("POST", "/Groups", Some(body)).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
        reply.body["id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn patch(&self, path: &str, operations: Value) -> Reply {
        self.scim("PATCH", path, Some(json!({"schemas": [PATCH], "Operations": operations}))).await
    }

    /// The ids of a group's members.
    pub(super) async fn members(&self, group: &str) -> Vec<String> {
        let reply = self.scim("GET", &format!("/Groups/{group}"), None).await;
        let members = reply.body["members"].as_array().cloned().unwrap_or_default();
        members.iter().map(|member| member["value"].as_str().unwrap().to_owned()).collect()
    }

    pub(super) fn assert_no_violations(&self) {
        assert_eq!(self.apono.violations(), Vec::<String>::new());
    }
}

pub(super) fn session_path(session: &str) -> String {
    format!("/api/connector/v1/connectors/okta-connector/sessions/{session}")
}

pub(super) fn session_body() -> Value {
    json!({
        "connector_version": "0.1.0",
        "started_at": at(0),
        "metadata": {"cloud_provider_metadata": {}},
        "integrations": [{
            "id": INTEGRATION, "type": "okta-group", "status": "ACTIVE", "message": null, "last_sync_time": null,
        }],
        "capabilities": ["grant-access", "revoke-access", "list-resources", "get-status", "sync-directory"],
    })
}

pub(super) fn token(task: &Value) -> String {
    task["lease"]["token"].as_str().unwrap().to_owned()
}

/// A result with these resources: (id, status, code).
pub(super) fn result(token: &str, status: &str, code: &str, resources: &[(&str, &str, &str)]) -> Value {
    let resources: Vec<Value> = resources
        .iter()
        .map(|(id, status, code)| {
            json!({
                "source_id": id, "status": status, "code": code, "message": "said so", "okta_request_ids": ["req1"],
            })
        })
        .collect();
    json!({
        "lease_token": token, "status": status, "code": code, "message": "It is done.", "finished_at": at(1),
        "output": {}, "resources": resources,
    })
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}
