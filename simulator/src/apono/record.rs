//! # Purpose
//! What went over the wire: exact counters, the last exchanges, and every breach of the contract.
//!
//! # Invariants kept here
//! - A call is counted when it arrives, whatever becomes of it; counters are never capped.
//! - The log keeps the bytes as they were sent and parses them only when somebody asks.
//!
//! # Not here
//! Credentials: the `Authorization` header is never kept.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

/// How many exchanges are kept unless told otherwise.
pub(super) const EXCHANGES_KEPT: usize = 4096;
const VIOLATIONS_KEPT: usize = 1000;

/// One request and what was answered.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The operation's name, or `unknown`.
    pub operation: String,
    /// HTTP method.
    pub method: String,
    /// Path as it was sent.
    pub path: String,
    /// Query as it was sent.
    pub query: Option<String>,
    /// The caller's `User-Agent`.
    pub user_agent: Option<String>,
    /// The version that the caller named as `If-Match`.
    pub if_match: Option<String>,
    /// The request's body; a string when it was not JSON.
    pub request_body: Option<Value>,
    /// HTTP status; 0 when the connection was broken on purpose.
    pub status: u16,
    /// The body sent; a string when it was not JSON.
    pub response_body: Option<Value>,
    /// True when a scripted fault changed the status or the body: such a response proves nothing about the contract.
    pub faulted: bool,
    /// When the answer was complete.
    pub at: Timestamp,
}

/// An exchange as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) operation: &'static str,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) if_match: Option<String>,
    pub(super) request_body: Bytes,
    pub(super) status: u16,
    pub(super) response_body: Bytes,
    pub(super) faulted: bool,
    pub(super) at: Timestamp,
}

impl Raw {
    fn read(&self) -> Exchange {
        Exchange {
            operation: self.operation.into(),
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            user_agent: self.user_agent.clone(),
            if_match: self.if_match.clone(),
            request_body: readable(&self.request_body),
            status: self.status,
            response_body: readable(&self.response_body),
            faulted: self.faulted,
            at: self.at,
        }
    }
}

fn readable(bytes: &Bytes) -> Option<Value> {
    if bytes.is_empty() {
        return None;
    }
    let text = || Value::String(String::from_utf8_lossy(bytes).into_owned());
    Some(serde_json::from_slice(bytes).unwrap_or_else(|_| text()))
}

/// The log of one control plane.
#[derive(Debug)]
pub(super) struct Log {
    counts: BTreeMap<&'static str, u64>,
    exchanges: VecDeque<Raw>,
    kept: usize,
    violations: Vec<String>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            counts: BTreeMap::new(),
            exchanges: VecDeque::new(),
            kept: EXCHANGES_KEPT,
            violations: Vec::new(),
        }
    }

    pub(super) fn count(&mut self, operation: &'static str) {
        *self.counts.entry(operation).or_default() += 1;
    }

    pub(super) fn counted(&self, operation: &str) -> u64 {
        self.counts.get(operation).copied().unwrap_or_default()
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn push(&mut self, raw: Raw) {
        if self.kept == 0 {
            return;
        }
        if self.exchanges.len() >= self.kept {
            self.exchanges.pop_front();
        }
        self.exchanges.push_back(raw);
    }

    pub(super) fn keep(&mut self, kept: usize) {
        self.kept = kept;
        let surplus = self.exchanges.len().saturating_sub(kept);
        self.exchanges.drain(..surplus);
    }

    pub(super) fn read(&self) -> Vec<Exchange> {
        self.exchanges.iter().map(Raw::read).collect()
    }

    pub(super) fn violation(&mut self, operation: &str, what: &str) {
        if self.violations.len() < VIOLATIONS_KEPT {
            self.violations.push(format!("{operation}: {what}"));
        }
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.clone()
    }
}
