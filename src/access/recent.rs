//! # Purpose
//! The last memberships that ended, for whoever looks at the connector now.
//!
//! # Invariants kept here
//! - No more than [`MOST`] are kept. What is older is in the journal and in the audit trail.
//!
//! # Not here
//! Ending them: `executor`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{GrantId, IntegrationId, OktaGroupId, OktaUserId};

/// A membership that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// When that was proven.
    pub at: Timestamp,
    /// The Okta organization.
    pub integration_id: IntegrationId,
    /// The grant that it was because of.
    pub grant_id: GrantId,
    /// In which group.
    pub group_id: OktaGroupId,
    /// Whose.
    pub user_id: Option<OktaUserId>,
    /// The result code: `revoked`, `kept_standing` and so on.
    pub how: String,
    /// From the instant it was due to its proof.
    pub late_seconds: Option<f64>,
    /// To find it in Okta's System Log.
    pub okta_request_ids: Vec<String>,
}

/// How many are kept.
pub const MOST: usize = 25;

/// The last ones, the newest first. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<VecDeque<Ended>>>);

impl Recent {
    /// One more.
    pub fn add(&self, ended: Ended) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front(ended);
        kept.truncate(MOST);
    }

    /// All that are kept.
    pub fn all(&self) -> Vec<Ended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
