//! # Purpose
//! What Apono asks for: the right of one user to be in some groups until an instant.
//!
//! # Invariants kept here
//! - A grant is identified by its id alone; revisions are versions of the same grant.
//!
//! # Not here
//! What has become of it: `access::machine`.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{GrantId, IntegrationId, OktaGroupId};

/// The version of a grant; a higher one replaces a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One revision of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The same over all revisions.
    pub id: GrantId,
    /// This version.
    pub revision: Revision,
    /// The Okta organization it is for.
    pub integration: IntegrationId,
    /// Okta login or email, as Apono wrote it.
    pub username: String,
    /// The groups it opens.
    pub groups: BTreeSet<OktaGroupId>,
    /// When it ends by itself; `None` ends by revocation alone.
    pub expires_at: Option<Timestamp>,
    /// Why it exists, for the audit trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestContext>,
}

/// The access request behind a grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestContext {
    /// Apono's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The id that people use, `AR-123`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub friendly_id: Option<String>,
    /// What the requester wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester: Option<String>,
    /// Who agreed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
}
