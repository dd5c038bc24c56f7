//! # Purpose
//! What an operation answers, before it becomes an HTTP response.
//!
//! # Invariants kept here
//! - An answer that blames the caller carries the breach, so that it is counted wherever it arose.
//!
//! # Not here
//! SCIM's error bodies: see [`super::scim`].

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::fault::broken;

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
    /// What in the request broke the contract, if something did.
    pub(super) violation: Option<String>,
}

impl Answer {
    pub(super) fn text(status: u16, content_type: &'static str, body: String) -> Self {
        Self { status, content_type, headers: Vec::new(), body: Bytes::from(body), violation: None }
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, content_type: "", headers: Vec::new(), body: Bytes::new(), violation: None }
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, &json!({"code": code, "message": message}))
    }

    /// 400 for a request that breaks the contract.
    pub(super) fn malformed(message: &str) -> Self {
        Self::error(400, "malformed", message).blaming(message)
    }

    pub(super) fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn blaming(mut self, violation: &str) -> Self {
        self.violation = Some(violation.into());
        self
    }

    pub(super) fn into_response(self) -> Response {
        let mut builder = Response::builder().status(self.status);
        if !self.content_type.is_empty() {
            builder = builder.header(http::header::CONTENT_TYPE, self.content_type);
        }
        for (name, value) in self.headers {
            builder = builder.header(name, value);
        }
        builder.body(Body::from(self.body)).unwrap_or_else(|_| broken())
    }
}
