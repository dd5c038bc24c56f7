//! # Purpose
//! The guard over a plan: how much one run may take away.
//!
//! # Invariants kept here
//! - Pure. Each kind of removal is held by itself; additions and updates are never held.
//! - A source with nothing in it always holds (invariant 8).
//!
//! # Not here
//! Ending grants: access that has run out is never held (invariant 9); it does not come by here.

use std::fmt;

use serde::Serialize;

/// `okta.directory.breaker`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Of what there is, `0.0..=1.0`.
    pub max_share: f64,
    /// In number.
    pub max_count: u64,
    /// Below this many the share is not applied.
    pub floor: u64,
}

/// What a plan would take away, and from how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Removed.
    pub removed: u64,
    /// There now, as far as it is ours.
    pub present: u64,
    /// In the source.
    pub wanted: u64,
}

/// A kind of removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Users that are deactivated.
    Users,
    /// Groups that are deleted or emptied.
    Groups,
    /// Members of one group.
    GroupMembers,
    /// Members of all groups together.
    Members,
}

impl Kind {
    /// What is counted, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Users => "users deactivated",
            Self::Groups => "groups deleted",
            Self::GroupMembers => "members removed from one group",
            Self::Members => "members removed",
        }
    }
}

/// Why removals of a kind are held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Which kind.
    pub kind: Kind,
    /// The counts.
    pub tally: Tally,
    /// Which limit.
    pub reason: Reason,
}

/// Which limit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The source has none at all.
    NothingWanted,
    /// `max_count`.
    Count,
    /// `max_share`.
    Share,
    /// Okta's own side has lost more than that since the breaker last let everything through.
    Shrunk,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { removed, present, .. } = self.tally;
        write!(f, "{removed} of {present} {}", self.kind.as_str())?;
        f.write_str(match self.reason {
            Reason::NothingWanted => ", because Okta shows none at all",
            Reason::Count => ", more than breaker.max_count",
            Reason::Share => ", more than breaker.max_share",
            Reason::Shrunk => ", because so many have gone from Okta since everything was last let through",
        })
    }
}

/// Reviews one kind. `None` lets it pass.
pub fn review(kind: Kind, tally: Tally, limits: &Limits) -> Option<Held> {
    let held = |reason| Some(Held { kind, tally, reason });
    if tally.removed == 0 {
        return None;
    }
    let empties = match kind {
        Kind::Users | Kind::Groups | Kind::Members => tally.wanted == 0,
        // One group may well become empty; its size decides.
        Kind::GroupMembers => false,
    };
    if empties {
        return held(Reason::NothingWanted);
    }
    if tally.removed > limits.max_count {
        return held(Reason::Count);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of people and groups are far below 2^52")]
    let over_share = tally.removed as f64 > limits.max_share * tally.present as f64;
    if tally.removed >= limits.floor && over_share {
        return held(Reason::Share);
    }
    None
}

/// Reviews what of a kind has gone from the source itself, whatever of it is at the provider.
pub fn review_source(kind: Kind, tally: Tally, limits: &Limits) -> Option<Held> {
    review(kind, tally, limits).map(|held| Held { reason: Reason::Shrunk, ..held })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_share: 0.10, max_count: 500, floor: 10 };

    fn reason(kind: Kind, removed: u64, present: u64, wanted: u64) -> Option<Reason> {
        review(kind, Tally { removed, present, wanted }, &LIMITS).map(|held| held.reason)
    }

    #[test]
    fn each_limit_holds_at_its_border() {
        let table = [
            (Kind::Users, 0, 100, 0, None),
            (Kind::Users, 1, 100, 0, Some(Reason::NothingWanted)),
            (Kind::Members, 1, 1, 0, Some(Reason::NothingWanted)),
            (Kind::GroupMembers, 3, 3, 0, None),
            (Kind::GroupMembers, 12, 12, 0, Some(Reason::Share)),
            (Kind::Users, 9, 20, 11, None),
            (Kind::Users, 10, 20, 10, Some(Reason::Share)),
            (Kind::Users, 10, 100, 90, None),
            (Kind::Users, 11, 100, 89, Some(Reason::Share)),
            (Kind::Users, 500, 100_000, 99_500, None),
            (Kind::Users, 501, 100_000, 99_499, Some(Reason::Count)),
            (Kind::Groups, 2, 3, 1, None),
        ];
        for (kind, removed, present, wanted, expected) in table {
            assert_eq!(reason(kind, removed, present, wanted), expected, "{removed} of {present} {kind:?}");
        }
    }

    #[test]
    fn what_is_held_says_why() {
        let held = review(Kind::Users, Tally { removed: 50, present: 100, wanted: 50 }, &LIMITS).unwrap();
        assert_eq!(held.to_string(), "50 of 100 users deactivated, more than breaker.max_share");
    }
}
