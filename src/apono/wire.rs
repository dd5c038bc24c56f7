//! # Purpose
//! The JSON of the control plane, both ways.
//!
//! # Invariants kept here
//! - `snake_case`; instants are RFC 3339 in UTC; unknown fields from Apono are ignored.
//!
//! # Not here
//! Tasks, whose parameters need more care: `task`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::result::TaskResult;
use crate::domain::{GrantId, OktaGroupId, RequestContext};

/// How an integration is doing. The words are those of Apono's integrations API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum IntegrationStatus {
    /// Nothing is known yet.
    Initializing,
    /// Works.
    Active,
    /// Works, with something to look at.
    Warning,
    /// Does not work.
    Error,
}

/// One integration in the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IntegrationState {
    /// Apono's id.
    pub id: String,
    /// `okta-group`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// How it is doing.
    pub status: IntegrationStatus,
    /// One sentence for a person.
    pub message: String,
    /// End of the last directory run that completed.
    pub last_sync_time: Option<Timestamp>,
}

#[derive(Serialize)]
pub(super) struct SessionBody<'a> {
    pub(super) connector_version: &'static str,
    pub(super) started_at: Timestamp,
    pub(super) metadata: &'a Value,
    pub(super) integrations: &'a [IntegrationState],
    pub(super) capabilities: &'a [&'static str],
}

#[derive(Deserialize)]
pub(super) struct SessionAnswerBody {
    pub(super) heartbeat_interval_sec: Option<u64>,
    pub(super) server_time: Option<Timestamp>,
}

#[derive(Serialize)]
pub(super) struct LeaseBody<'a> {
    pub(super) session_id: &'a str,
    pub(super) max_tasks: usize,
    pub(super) wait_sec: u64,
    pub(super) lease_sec: u64,
}

#[derive(Deserialize)]
pub(super) struct LeasedBody {
    pub(super) items: Vec<Value>,
}

#[derive(Serialize)]
pub(super) struct ExtendBody<'a> {
    pub(super) lease_token: &'a str,
    pub(super) lease_sec: u64,
}

#[derive(Deserialize)]
pub(super) struct ExtendedBody {
    pub(super) expires_at: Timestamp,
}

#[derive(Serialize)]
pub(super) struct ResultBody<'a> {
    pub(super) lease_token: &'a str,
    #[serde(flatten)]
    pub(super) result: &'a TaskResult,
}

#[derive(Deserialize)]
pub(super) struct GrantsBody {
    pub(super) items: Vec<Value>,
    pub(super) pagination: Option<Pagination>,
}

#[derive(Deserialize)]
pub(super) struct Pagination {
    pub(super) next_page_token: Option<String>,
}

/// The parameters of a grant, in a task and in the listing of desired grants.
#[derive(Deserialize)]
pub(super) struct GrantBody {
    pub(super) grant_id: GrantId,
    pub(super) revision: Option<u64>,
    pub(super) username: String,
    pub(super) resource_type: Option<String>,
    pub(super) resources: Vec<OktaGroupId>,
    pub(super) permission: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) request: Option<RequestContext>,
}
