//! # Purpose
//! What the trail tells, in the project's own words.
//!
//! # Invariants kept here
//! - A record can be read alone: it carries the terms under which it happened.
//! - A record that waits is kept in the journal; that form only grows: what an older version wrote is read.
//!
//! # Not here
//! Its form in the file: `ocsf`, `chain`.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{GrantId, IntegrationId, OktaGroupId, OktaUserId, RequestContext, Revision};

/// One thing that happened to one user in one group because of one grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// What.
    pub kind: Kind,
    /// Because of which grant.
    pub grant: GrantId,
    /// The revision whose terms were in force.
    pub revision: Revision,
    /// Apono's id of the Okta organization.
    pub integration: IntegrationId,
    /// The login or email that Apono asked for, as it wrote it.
    pub username: String,
    /// Whom the name means, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<OktaUserId>,
    /// In which group.
    pub group: OktaGroupId,
    /// When the grant ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The access request behind it: who asked, who agreed, what for.
    #[serde(default)]
    pub request: RequestContext,
    /// The result code, as it is reported to Apono; none for what has no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'static, str>>,
    /// Beyond the kind and the code: why, in a sentence or a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether the effect was seen in Okta; none where there is no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// The membership before this happened.
    pub before: MemberState,
    /// The membership after it.
    pub after: MemberState,
    /// Okta's ids of the requests (`X-Okta-Request-Id`), to find them in its System Log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub okta_request_ids: Vec<String>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Apono asked for the membership.
    Requested,
    /// Apono changed the terms.
    Revised,
    /// The grant is over, or was ended.
    EndRequested,
    /// The user will be added next.
    AdditionIntended,
    /// The user was added.
    Added,
    /// An addition that was told before was now seen in Okta.
    AdditionVerified,
    /// The user will be removed next.
    RemovalIntended,
    /// The user was removed, and seen to be gone.
    Removed,
    /// The grant let go without a removal.
    Released,
    /// The membership is not given.
    Refused,
    /// The user was a member by another right; nothing was given, and nothing will be taken.
    StandingNoticed,
    /// Somebody else has removed the membership while the grant lives.
    MissingNoticed,
    /// Somebody else has added the user while the grant lives.
    AdditionNoticed,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Requested,
        Self::Revised,
        Self::EndRequested,
        Self::AdditionIntended,
        Self::Added,
        Self::AdditionVerified,
        Self::RemovalIntended,
        Self::Removed,
        Self::Released,
        Self::Refused,
        Self::StandingNoticed,
        Self::MissingNoticed,
        Self::AdditionNoticed,
    ];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Revised => "revised",
            Self::EndRequested => "end_requested",
            Self::AdditionIntended => "addition_intended",
            Self::Added => "added",
            Self::AdditionVerified => "addition_verified",
            Self::RemovalIntended => "removal_intended",
            Self::Removed => "removed",
            Self::Released => "released",
            Self::Refused => "refused",
            Self::StandingNoticed => "standing_noticed",
            Self::MissingNoticed => "missing_noticed",
            Self::AdditionNoticed => "addition_noticed",
        }
    }
}

/// A membership, as far as the connector knew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// Seen to be a member.
    Member,
    /// Seen, or proven, not to be one.
    NotMember,
    /// Not a member by any right but those that this connector itself has given.
    NotStanding,
    /// Not looked at, or in doubt.
    Unknown,
}

impl MemberState {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::NotMember => "not_member",
            Self::NotStanding => "not_standing",
            Self::Unknown => "unknown",
        }
    }
}
