//! # Purpose
//! Remembers what the org was asked and what it did, for tests and benchmarks to look at.
//!
//! # Invariants kept here
//! - Counters are exact; the detailed lists keep the latest entries only.
//!
//! # Not here
//! The System Log, which the org's own clients can read.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use super::settings::Bucket;

const CALLS_KEPT: usize = 100_000;
const WRITES_KEPT: usize = 1_000_000;

/// One call, as it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Operation name; `unknown_path` and `unknown_method` for calls that fit none.
    pub operation: &'static str,
    /// The budget that it spent from.
    pub bucket: Option<Bucket>,
    /// HTTP method.
    pub method: String,
    /// Path, still encoded.
    pub path: String,
    /// Query string, still encoded, possibly empty.
    pub query: String,
    /// HTTP status; 0 when the connection was broken instead of an answer.
    pub status: u16,
    /// When it arrived.
    pub at: Timestamp,
    /// `x-okta-request-id`.
    pub request_id: String,
}

/// What a membership write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEffect {
    /// The user was not a member and now is.
    Added,
    /// The user was a member and no longer is.
    Removed,
    /// It was so already.
    Unchanged,
}

/// One successful `PUT` or `DELETE` of a membership through the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipWrite {
    /// When.
    pub at: Timestamp,
    /// `add_member` or `remove_member`.
    pub operation: &'static str,
    /// Group id.
    pub group: String,
    /// User id.
    pub user: String,
    /// What came of it.
    pub effect: WriteEffect,
    /// `x-okta-request-id` of the call.
    pub request_id: String,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(super) struct Journal {
    calls: VecDeque<Call>,
    counts: HashMap<&'static str, u64>,
    total: u64,
    throttled: u64,
    writes: VecDeque<MembershipWrite>,
}

impl Journal {
    pub(super) fn note_call(&mut self, call: Call) {
        self.total += 1;
        *self.counts.entry(call.operation).or_default() += 1;
        self.throttled += u64::from(call.status == 429);
        if self.calls.len() >= CALLS_KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    pub(super) fn note_write(&mut self, write: MembershipWrite) {
        if self.writes.len() >= WRITES_KEPT {
            self.writes.pop_front();
        }
        self.writes.push_back(write);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.iter().cloned().collect()
    }

    pub(super) fn writes(&self) -> Vec<MembershipWrite> {
        self.writes.iter().cloned().collect()
    }

    pub(super) fn count(&self, operation: &str) -> u64 {
        self.counts.get(operation).copied().unwrap_or(0)
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn throttled(&self) -> u64 {
        self.throttled
    }
}
