//! # Purpose
//! The life of a grant: events, the states they lead to, and what a state still asks for.
//!
//! # Invariants kept here
//! - One total transition function serves the live path and the replay; an event that a state does not allow is an
//!   error.
//! - A holding owes a removal from the moment its addition is intended (invariant 1) until its end, or the proof that
//!   nothing was added, is recorded (invariant 2). [`Holding::owes_removal`] matches exhaustively.
//! - A standing membership has no way to [`Holding::Removing`] (invariant 4).
//! - The end of a grant is final; nothing brings it back (invariant 5).
//!
//! # Not here
//! Who is due when: `schedule`. Doing it: `executor`. Overlaps of grants: `book`.
//!
//! ```text
//!           Refused                          (a later revision: Wanted again)
//!              ▲
//!   Wanted ────┼──► Granting ──► Active ──► Removing ──► Ended
//!      │       └───────┘   └───────────────────▲
//!      ├──► Standing ─────────────────────────────────► Ended (kept)
//!      └──────────────────────────────────────────────► Ended (nothing was done)
//! ```

use std::collections::BTreeMap;

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
    /// The grant is over.
    EndRequested {
        /// Why.
        reason: EndReason,
        /// Since when the removals are due.
        due: Timestamp,
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

/// One grant's claim on one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Asked for; nothing done yet.
    Wanted,
    /// Will not be done.
    Refused {
        /// Why.
        code: Code,
        /// One sentence for a person.
        message: String,
    },
    /// The user was a member before; there is nothing of ours to remove.
    Standing,
    /// The addition is intended; it may have happened.
    Granting,
    /// Added.
    Active {
        /// Whether the membership was seen.
        verified: bool,
        /// Okta's ids of the requests.
        okta_request_ids: Vec<String>,
    },
    /// The removal is intended; it may have happened.
    Removing,
    /// Over.
    Ended {
        /// How.
        how: Ending,
        /// Okta's ids of the requests.
        okta_request_ids: Vec<String>,
    },
}

impl Holding {
    /// Whether a membership may exist because of it, which must be removed or handed on.
    pub fn owes_removal(&self) -> bool {
        match self {
            Self::Granting | Self::Active { .. } | Self::Removing => true,
            Self::Wanted | Self::Refused { .. } | Self::Standing | Self::Ended { .. } => false,
        }
    }

    /// Whether nothing can happen to it any more, unless a later revision begins it anew.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Ended { .. } => true,
            Self::Wanted | Self::Standing | Self::Granting | Self::Active { .. } | Self::Removing => false,
        }
    }
}

/// All that is known of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantState {
    /// The latest revision.
    pub terms: Grant,
    /// How it came.
    pub by: Source,
    /// The latest revision that was refused.
    pub declined: Option<Revision>,
    /// Whom the name means, once it is known.
    pub user: Option<OktaUserId>,
    /// Why and since when it is over.
    pub end: Option<(EndReason, Timestamp)>,
    /// Group by group; groups of earlier revisions stay until they are ended.
    pub holdings: BTreeMap<OktaGroupId, Holding>,
}

/// What a holding asks for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Take the membership away, or prove that it need not be.
    Remove,
    /// Record that nothing is owed.
    Release,
    /// Add the membership.
    Grant,
}

impl GrantState {
    /// Whether this grant lets go of `group`: it is over, or its latest terms leave the group out.
    pub fn releases(&self, group: &OktaGroupId) -> bool {
        self.end.is_some() || !self.terms.groups.contains(group)
    }

    /// The latest revision that was heard of.
    pub fn heard_of(&self) -> Revision {
        self.declined.map_or(self.terms.revision, |declined| declined.max(self.terms.revision))
    }

    /// What `group` asks for now.
    pub fn step(&self, group: &OktaGroupId) -> Option<Step> {
        let released = self.releases(group);
        match (self.holdings.get(group)?, released) {
            (Holding::Wanted | Holding::Granting, false) => Some(Step::Grant),
            (Holding::Granting | Holding::Active { .. } | Holding::Removing, true) => Some(Step::Remove),
            (Holding::Wanted | Holding::Standing, true) => Some(Step::Release),
            (Holding::Standing | Holding::Active { .. } | Holding::Removing, false)
            | (Holding::Refused { .. } | Holding::Ended { .. }, _) => None,
        }
    }

    /// Whether anything is left to do or to wait for.
    pub fn is_open(&self) -> bool {
        self.holdings.values().any(|holding| !holding.is_terminal())
    }

    /// Whether its time has run out and nobody has said so yet.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.end.is_none() && self.is_open() && self.terms.expires_at.is_some_and(|expiry| expiry <= now)
    }

    /// Since when removals are due.
    pub fn due(&self) -> Option<Timestamp> {
        self.end.map(|(_, due)| due)
    }

    fn begin(grant: &Grant, by: Source) -> Self {
        Self {
            terms: grant.clone(),
            by,
            declined: None,
            user: None,
            end: None,
            holdings: grant.groups.iter().map(|group| (group.clone(), Holding::Wanted)).collect(),
        }
    }

    fn revise(&mut self, grant: &Grant, by: Source) {
        self.terms = grant.clone();
        self.by = by;
        for group in &grant.groups {
            let holding = self.holdings.entry(group.clone()).or_insert(Holding::Wanted);
            match holding {
                // A later revision is a new chance.
                Holding::Refused { .. } | Holding::Ended { .. } => *holding = Holding::Wanted,
                // Let go by an earlier revision and wanted again: the removal may have happened, the duty stays.
                Holding::Removing => *holding = Holding::Granting,
                Holding::Wanted | Holding::Standing | Holding::Granting | Holding::Active { .. } => {}
            }
        }
    }
}

/// An event that the state does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} does not follow {after}")]
pub struct IllegalEvent {
    what: &'static str,
    after: String,
}

/// The state after `event`. Used live and at replay.
pub fn apply(state: Option<&GrantState>, event: &Event) -> Result<GrantState, IllegalEvent> {
    let Some(before) = state else {
        return match event {
            Event::Accepted { grant, by } => Ok(GrantState::begin(grant, *by)),
            Event::Revised { .. }
            | Event::Declined { .. }
            | Event::UserResolved { .. }
            | Event::Refused { .. }
            | Event::StandingFound { .. }
            | Event::GrantIntended { .. }
            | Event::Granted { .. }
            | Event::EndRequested { .. }
            | Event::RevokeIntended { .. }
            | Event::Ended { .. } => Err(IllegalEvent { what: name(event), after: "nothing".to_owned() }),
        };
    };
    let illegal =
        |after: &dyn std::fmt::Debug| IllegalEvent { what: name(event), after: format!("{after:?}") };
    let mut next = before.clone();
    match event {
        Event::Accepted { .. } => return Err(illegal(&"a grant that is known")),
        Event::Revised { grant, by } => {
            if before.end.is_some() || grant.revision <= before.heard_of() {
                return Err(illegal(&before.heard_of()));
            }
            next.revise(grant, *by);
        }
        Event::Declined { revision } => {
            if before.end.is_some() || *revision <= before.heard_of() {
                return Err(illegal(&before.heard_of()));
            }
            next.declined = Some(*revision);
        }
        Event::UserResolved { user } => {
            if before.user.as_ref().is_some_and(|known| known != user) {
                return Err(illegal(&before.user));
            }
            next.user = Some(user.clone());
        }
        Event::EndRequested { reason, due } => {
            if before.end.is_some() {
                return Err(illegal(&before.end));
            }
            next.end = Some((*reason, *due));
        }
        Event::Refused { group, .. }
        | Event::StandingFound { group }
        | Event::GrantIntended { group }
        | Event::Granted { group, .. }
        | Event::RevokeIntended { group }
        | Event::Ended { group, .. } => {
            let holding = before.holdings.get(group).ok_or_else(|| illegal(&"no holding of this group"))?;
            let after = follow(holding, event, before.releases(group)).ok_or_else(|| illegal(holding))?;
            next.holdings.insert(group.clone(), after);
        }
    }
    Ok(next)
}

/// The holding after an event of its group, or `None` where the event is illegal.
fn follow(holding: &Holding, event: &Event, released: bool) -> Option<Holding> {
    let after = match (event, holding) {
        (Event::Refused { code, message, .. }, Holding::Wanted) if !released => {
            Holding::Refused { code: *code, message: message.clone() }
        }
        // The addition may have happened: only proof that it did not ends the duty.
        (Event::Refused { code, message, proven_absent: true, .. }, Holding::Granting) if !released => {
            Holding::Refused { code: *code, message: message.clone() }
        }
        (Event::StandingFound { .. }, Holding::Wanted) if !released => Holding::Standing,
        (Event::GrantIntended { .. }, Holding::Wanted | Holding::Granting) if !released => Holding::Granting,
        // The answer may come in after the grant was ended.
        (
            Event::Granted { verified, okta_request_ids, .. },
            Holding::Granting | Holding::Active { verified: false, .. },
        ) => Holding::Active { verified: *verified, okta_request_ids: okta_request_ids.clone() },
        (Event::RevokeIntended { .. }, Holding::Granting | Holding::Active { .. } | Holding::Removing)
            if released =>
        {
            Holding::Removing
        }
        (Event::Ended { how, okta_request_ids, .. }, _) if released && may_end(holding, *how) => {
            Holding::Ended { how: *how, okta_request_ids: okta_request_ids.clone() }
        }
        (
            Event::Accepted { .. }
            | Event::Revised { .. }
            | Event::Declined { .. }
            | Event::UserResolved { .. }
            | Event::EndRequested { .. }
            | Event::Refused { .. }
            | Event::StandingFound { .. }
            | Event::GrantIntended { .. }
            | Event::Granted { .. }
            | Event::RevokeIntended { .. }
            | Event::Ended { .. },
            _,
        ) => return None,
    };
    Some(after)
}

/// Which endings a holding can have.
fn may_end(holding: &Holding, how: Ending) -> bool {
    match (holding, how) {
        // A removal was intended before it was done.
        (
            Holding::Removing,
            Ending::Revoked | Ending::NotMember | Ending::Gone | Ending::KeptOtherGrant | Ending::LeftToRule,
        )
        | (
            Holding::Granting | Holding::Active { .. },
            Ending::NotMember | Ending::Gone | Ending::KeptOtherGrant | Ending::LeftToRule,
        )
        | (Holding::Standing, Ending::KeptStanding | Ending::NotMember | Ending::Gone)
        | (
            Holding::Wanted,
            Ending::KeptStanding | Ending::KeptOtherGrant | Ending::NotMember | Ending::Gone,
        ) => true,
        (
            Holding::Removing
            | Holding::Granting
            | Holding::Active { .. }
            | Holding::Standing
            | Holding::Wanted,
            Ending::Revoked | Ending::KeptStanding | Ending::KeptOtherGrant | Ending::LeftToRule,
        )
        | (Holding::Refused { .. } | Holding::Ended { .. }, _) => false,
    }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Accepted { .. } => "Accepted",
        Event::Revised { .. } => "Revised",
        Event::Declined { .. } => "Declined",
        Event::UserResolved { .. } => "UserResolved",
        Event::Refused { .. } => "Refused",
        Event::StandingFound { .. } => "StandingFound",
        Event::GrantIntended { .. } => "GrantIntended",
        Event::Granted { .. } => "Granted",
        Event::EndRequested { .. } => "EndRequested",
        Event::RevokeIntended { .. } => "RevokeIntended",
        Event::Ended { .. } => "Ended",
    }
}

#[cfg(test)]
mod tests;
