//! # Purpose
//! The life of a grant: events, the states they lead to, and what a state still asks for.
//!
//! # Invariants kept here
//! - One total transition function serves the live path and the replay; an event that a state does not allow is an
//!   error.
//! - A holding owes a removal from the moment its addition is intended (invariant 1) until its end, or the proof that
//!   nothing was added, is recorded (invariant 2). [`Holding::owes_removal`] matches exhaustively.
//! - A standing membership has no way to [`Holding::Removing`] (invariant 4).
//! - The end of a grant is final; nothing brings it back (invariant 5). An addition that came to be after it is a duty again.
//!
//! # Not here
//! Who is due when: `schedule`. Doing it: `executor`. Overlaps of grants: `book`.
//!
//! The states and events as a diagram, checked against the code: `docs/grants.md`.

mod event;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use event::{EndReason, Ending, Event, Source};

use crate::apono::Code;
use crate::domain::{Grant, OktaGroupId, OktaUserId, Revision};

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
    Standing {
        /// Whether somebody else was seen to have removed it since.
        missing: bool,
    },
    /// The addition is intended; it may have happened.
    Granting,
    /// Added.
    Active {
        /// What looks have shown.
        seen: Seen,
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

/// What looks have shown of a membership that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Okta has accepted it, and does not show it yet.
    NotYet,
    /// It was there.
    There,
    /// It was there, and somebody else has removed it since. The duty stays: one look is no proof for ever.
    Missing,
    /// It is there, and somebody else has added it since we did. It ends with the grant all the same.
    ByOthers,
}

impl Holding {
    /// Whether a membership may exist because of it, which must be removed or handed on.
    pub fn owes_removal(&self) -> bool {
        match self {
            Self::Granting | Self::Active { .. } | Self::Removing => true,
            Self::Wanted | Self::Refused { .. } | Self::Standing { .. } | Self::Ended { .. } => false,
        }
    }

    /// Whether nothing can happen to it any more, unless a later revision begins it anew.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Ended { .. } => true,
            Self::Wanted | Self::Standing { .. } | Self::Granting | Self::Active { .. } | Self::Removing => {
                false
            }
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
            (Holding::Wanted | Holding::Standing { .. }, true) => Some(Step::Release),
            (Holding::Standing { .. } | Holding::Active { .. } | Holding::Removing, false)
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
                Holding::Refused { .. } | Holding::Ended { .. } | Holding::Standing { missing: true } => {
                    *holding = Holding::Wanted;
                }
                // Let go by an earlier revision, or removed by somebody else, and wanted again: the duty stays.
                Holding::Removing | Holding::Active { seen: Seen::Missing, .. } => {
                    *holding = Holding::Granting;
                }
                Holding::Wanted
                | Holding::Standing { missing: false }
                | Holding::Granting
                | Holding::Active { seen: Seen::NotYet | Seen::There | Seen::ByOthers, .. } => {}
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

/// The state after `event`. Used live and, through [`advance`], at replay.
pub fn apply(state: Option<&GrantState>, event: &Event) -> Result<GrantState, IllegalEvent> {
    let mut next = state.cloned();
    advance(&mut next, event)?;
    next.ok_or_else(|| IllegalEvent { what: event.name(), after: "nothing".to_owned() })
}

/// Takes `state` through `event`. An event that is illegal leaves it as it is.
pub fn advance(state: &mut Option<GrantState>, event: &Event) -> Result<(), IllegalEvent> {
    let illegal =
        |after: &dyn std::fmt::Debug| IllegalEvent { what: event.name(), after: format!("{after:?}") };
    let Some(known) = state else {
        return match event {
            Event::Accepted { grant, by } => {
                *state = Some(GrantState::begin(grant, *by));
                Ok(())
            }
            Event::Revised { .. }
            | Event::Declined { .. }
            | Event::UserResolved { .. }
            | Event::Refused { .. }
            | Event::StandingFound { .. }
            | Event::FoundMissing { .. }
            | Event::AddedByOthers { .. }
            | Event::AddedLate { .. }
            | Event::GrantIntended { .. }
            | Event::Granted { .. }
            | Event::EndRequested { .. }
            | Event::RevokeIntended { .. }
            | Event::Ended { .. } => Err(illegal(&"nothing")),
        };
    };
    match event {
        Event::Accepted { .. } => return Err(illegal(&"a grant that is known")),
        Event::Revised { grant, by } => {
            if known.end.is_some() || grant.revision <= known.heard_of() {
                return Err(illegal(&known.heard_of()));
            }
            known.revise(grant, *by);
        }
        Event::Declined { revision } => {
            if known.end.is_some() || *revision <= known.heard_of() {
                return Err(illegal(&known.heard_of()));
            }
            known.declined = Some(*revision);
        }
        Event::UserResolved { user } => {
            if known.user.as_ref().is_some_and(|before| before != user) {
                return Err(illegal(&known.user));
            }
            known.user = Some(user.clone());
        }
        Event::EndRequested { reason, due, .. } => {
            if known.end.is_some() {
                return Err(illegal(&known.end));
            }
            known.end = Some((*reason, *due));
        }
        Event::Refused { group, .. }
        | Event::StandingFound { group, .. }
        | Event::FoundMissing { group, .. }
        | Event::AddedByOthers { group, .. }
        | Event::AddedLate { group, .. }
        | Event::GrantIntended { group }
        | Event::Granted { group, .. }
        | Event::RevokeIntended { group }
        | Event::Ended { group, .. } => {
            let released = known.releases(group);
            let holding =
                known.holdings.get_mut(group).ok_or_else(|| illegal(&"no holding of this group"))?;
            *holding = follow(holding, event, released).ok_or_else(|| illegal(holding))?;
        }
    }
    Ok(())
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
        (Event::StandingFound { .. }, Holding::Wanted) if !released => Holding::Standing { missing: false },
        // A membership that was given is given again when one of ours has taken it by mistake (`overlay`).
        (Event::GrantIntended { .. }, Holding::Wanted | Holding::Granting | Holding::Active { .. })
            if !released =>
        {
            Holding::Granting
        }
        // The answer may come in after the grant was ended.
        (
            Event::Granted { verified, okta_request_ids, .. },
            Holding::Granting | Holding::Active { seen: Seen::NotYet, .. },
        ) => Holding::Active {
            seen: if *verified { Seen::There } else { Seen::NotYet },
            okta_request_ids: okta_request_ids.clone(),
        },
        (Event::FoundMissing { .. }, Holding::Standing { missing: false }) if !released => {
            Holding::Standing { missing: true }
        }
        // What never showed, nobody has removed.
        (
            Event::FoundMissing { .. },
            Holding::Active { seen: Seen::There | Seen::ByOthers, okta_request_ids },
        ) if !released => Holding::Active { seen: Seen::Missing, okta_request_ids: okta_request_ids.clone() },
        (Event::AddedByOthers { .. }, Holding::Standing { missing: true }) if !released => {
            Holding::Standing { missing: false }
        }
        (
            Event::AddedByOthers { .. },
            Holding::Active { seen: Seen::There | Seen::Missing, okta_request_ids },
        ) if !released => {
            Holding::Active { seen: Seen::ByOthers, okta_request_ids: okta_request_ids.clone() }
        }
        (Event::AddedLate { .. }, Holding::Ended { .. }) if released => Holding::Removing,
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
            | Event::FoundMissing { .. }
            | Event::AddedByOthers { .. }
            | Event::AddedLate { .. }
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
        | (Holding::Standing { .. }, Ending::KeptStanding | Ending::NotMember | Ending::Gone)
        | (
            Holding::Wanted,
            Ending::KeptStanding | Ending::KeptOtherGrant | Ending::NotMember | Ending::Gone,
        ) => true,
        (
            Holding::Removing
            | Holding::Granting
            | Holding::Active { .. }
            | Holding::Standing { .. }
            | Holding::Wanted,
            Ending::Revoked | Ending::KeptStanding | Ending::KeptOtherGrant | Ending::LeftToRule,
        )
        | (Holding::Refused { .. } | Holding::Ended { .. }, _) => false,
    }
}

#[cfg(test)]
mod tests;
