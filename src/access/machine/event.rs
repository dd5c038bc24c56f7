//! # Purpose
//! What can happen to a grant, as the journal keeps it.
//!
//! # Invariants kept here
//! - The form on disk only grows: what an older version wrote is read.
//!
//! # Not here
//! What follows from an event: `machine`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::apono::Code;
use crate::domain::{Grant, OktaGroupId, OktaUserId, Revision};

/// Something that has happened to a grant. Past tense; an intent says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Apono asked for it. The duty to look after it begins.
    Accepted {
        /// Its first revision that was seen.
        grant: Grant,
        /// How it came.
        by: Source,
    },
    /// Apono asked for something else under the same id.
    Revised {
        /// The new terms.
        grant: Grant,
        /// How they came.
        by: Source,
    },
    /// Apono asked for something else under the same id, and it was refused: the terms stay what they were.
    Declined {
        /// Which revision.
        revision: Revision,
    },
    /// The name was found to mean this user.
    UserResolved {
        /// Okta's id.
        user: OktaUserId,
    },
    /// It will not be done.
    Refused {
        /// For which group.
        group: OktaGroupId,
        /// Why.
        code: Code,
        /// One sentence for a person.
        message: String,
        /// Whether the user was seen, beyond the lag of Okta's reads, not to be a member.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        proven_absent: bool,
    },
    /// The user is a member by another right.
    StandingFound {
        /// Of which group.
        group: OktaGroupId,
        /// Okta's ids of the requests that showed it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        okta_request_ids: Vec<String>,
    },
    /// The user will be added next.
    GrantIntended {
        /// To which group.
        group: OktaGroupId,
    },
    /// The user was added.
    Granted {
        /// To which group.
        group: OktaGroupId,
        /// Whether the membership was seen.
        verified: bool,
        /// Okta's ids of the requests.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        okta_request_ids: Vec<String>,
    },
    /// The user was seen not to be a member any more, though nothing of ours has removed it.
    FoundMissing {
        /// Of which group.
        group: OktaGroupId,
        /// Okta's ids of the requests that showed it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        okta_request_ids: Vec<String>,
    },
    /// Somebody else was seen to have added the user while the grant lives.
    AddedByOthers {
        /// To which group.
        group: OktaGroupId,
        /// Who, as Okta's System Log names the actor, where it was read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// Okta's ids: of the request that added, where the System Log tells it, else of the look that showed it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        okta_request_ids: Vec<String>,
    },
    /// An addition of ours came to be after the grant was over: a daemon was stopped in the middle of it, and others have
    /// ended the grant meanwhile.
    AddedLate {
        /// To which group.
        group: OktaGroupId,
        /// Okta's ids of the requests.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        okta_request_ids: Vec<String>,
    },
    /// The grant is over.
    EndRequested {
        /// Why.
        reason: EndReason,
        /// Since when the removals are due.
        due: Timestamp,
        /// Who asked for it and why, where a person on this host did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// The user will be removed next.
    RevokeIntended {
        /// From which group.
        group: OktaGroupId,
    },
    /// Nothing of this grant is left in this group.
    Ended {
        /// In which group.
        group: OktaGroupId,
        /// How.
        how: Ending,
        /// Okta's ids of the requests.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        okta_request_ids: Vec<String>,
    },
}

/// How terms came to the connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// By a task, which is answered.
    Task,
    /// By the listing of desired grants; its task may still be to come.
    Listing,
    /// By a call of Apono's published protocol for custom integrations, which knows nothing of the other two.
    Call,
}

impl Source {
    /// Whether Apono's listing of desired grants could name it. What it could not name is not over for its absence.
    pub fn is_listed(self) -> bool {
        match self {
            Self::Task | Self::Listing => true,
            Self::Call => false,
        }
    }
}

/// Why a grant is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its time ran out.
    Expired,
    /// Apono revoked it.
    Revoked,
    /// Apono no longer lists it.
    Withdrawn,
    /// The operator has switched grants off (`kill_switch_file`).
    SwitchedOff,
    /// A person on this host ended it (`grants revoke`).
    Operator,
}

/// How a holding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Removed, and seen to be gone.
    Revoked,
    /// The membership stood before the grant and stands.
    KeptStanding,
    /// A group rule has come to fill the group; the policy leaves the membership to it.
    LeftToRule,
    /// Another live grant holds the membership and now owes its removal.
    KeptOtherGrant,
    /// There was no membership to remove.
    NotMember,
    /// The user or the group no longer exists.
    Gone,
}

impl Ending {
    /// The code that is reported.
    pub fn code(self) -> Code {
        match self {
            Self::Revoked => Code::Revoked,
            Self::KeptStanding | Self::LeftToRule => Code::KeptStanding,
            Self::KeptOtherGrant => Code::KeptOtherGrant,
            Self::NotMember => Code::NotMember,
            Self::Gone => Code::Gone,
        }
    }
}

impl Event {
    /// Its name, for messages.
    pub(in super::super) fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "Accepted",
            Self::Revised { .. } => "Revised",
            Self::Declined { .. } => "Declined",
            Self::UserResolved { .. } => "UserResolved",
            Self::Refused { .. } => "Refused",
            Self::StandingFound { .. } => "StandingFound",
            Self::GrantIntended { .. } => "GrantIntended",
            Self::Granted { .. } => "Granted",
            Self::FoundMissing { .. } => "FoundMissing",
            Self::AddedByOthers { .. } => "AddedByOthers",
            Self::AddedLate { .. } => "AddedLate",
            Self::EndRequested { .. } => "EndRequested",
            Self::RevokeIntended { .. } => "RevokeIntended",
            Self::Ended { .. } => "Ended",
        }
    }
}
