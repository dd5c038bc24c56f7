//! # Purpose
//! Looks at Okta, and says what the looks prove.
//!
//! # Invariants kept here
//! - "Is not a member" is proven by more than one look: reads lag behind writes, and one answer can be wrong
//!   (invariant 2).
//! - "No longer exists" is proven by id, twice, and only while the connector's rights hold (invariant 2).
//! - Looking up rules for a removal waits for nobody else's listing (invariant 11).
//!
//! # Not here
//! What follows from it: `executor`, `removal`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::step::StepError;
use crate::clock::{self, SharedClock};
use crate::domain::{Membership, OktaGroupId};
use crate::http::Lane;
use crate::okta::{Memberships, OktaError, Presence};

/// Eyes on one organization.
#[derive(Debug)]
pub(super) struct Sight {
    memberships: Memberships,
    clock: SharedClock,
    rules: Mutex<Option<Rules>>,
    listing: [tokio::sync::Mutex<()>; 2],
}

#[derive(Clone, Debug)]
struct Rules {
    listed: Duration,
    fed: Arc<BTreeSet<OktaGroupId>>,
}

/// What a row of looks at one membership showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is there.
    Member,
    /// It was not there in any look.
    Absent,
    /// Neither.
    Nothing,
}

/// How long the rules that were listed are believed.
const RULES_AGE: Duration = Duration::from_mins(1);
/// Waits between looks after a write; reads lag about a second behind writes.
const AFTER_A_WRITE: [Duration; 7] = [
    Duration::from_millis(0),
    Duration::from_millis(1100),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(4),
    Duration::from_secs(5),
];
/// Waits between looks where no write of ours vouches for what they show: well beyond the lag.
const BY_ITSELF: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(3)];
/// Between two looks for something that does not seem to exist.
const SECOND_LOOK: Duration = Duration::from_secs(2);

impl Sight {
    pub(super) fn new(memberships: Memberships, clock: SharedClock) -> Self {
        Self { memberships, clock, rules: Mutex::default(), listing: Default::default() }
    }

    /// One look.
    pub(super) async fn presence(&self, membership: &Membership, lane: Lane) -> Result<Presence, StepError> {
        self.memberships
            .presence(membership, lane)
            .await
            .map_err(|source| StepError::Okta { doing: "look up the membership", source })
    }

    /// Looks after an addition was accepted, until it shows, patience ends, or `go_on` says that nobody waits for it.
    pub(super) async fn shows(
        &self,
        membership: &Membership,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, StepError> {
        for wait in AFTER_A_WRITE {
            clock::sleep(wait).await;
            if !go_on() {
                break;
            }
            if self.presence(membership, Lane::Verification).await? == Presence::Member {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks after a removal was accepted, until the membership is seen to be gone twice in a row.
    pub(super) async fn is_removed(&self, membership: &Membership) -> Result<bool, StepError> {
        let mut absences = 0;
        for wait in AFTER_A_WRITE {
            clock::sleep(wait).await;
            absences = match self.presence(membership, Lane::Removal).await? {
                Presence::NotMember => absences + 1,
                Presence::Member | Presence::Unknown => 0,
            };
            if absences == 2 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks several times, over longer than reads can lag.
    pub(super) async fn watch(&self, membership: &Membership, lane: Lane) -> Result<Shown, StepError> {
        for wait in BY_ITSELF {
            clock::sleep(wait).await;
            match self.presence(membership, lane).await? {
                Presence::Member => return Ok(Shown::Member),
                Presence::Unknown => return Ok(Shown::Nothing),
                Presence::NotMember => {}
            }
        }
        Ok(Shown::Absent)
    }

    /// Whether the user or the group is proven not to exist any more. An error where they are not found, and the
    /// connector's rights are in doubt.
    pub(super) async fn is_gone(&self, membership: &Membership, lane: Lane) -> Result<bool, StepError> {
        if self.both_exist(membership, lane).await? {
            return Ok(false);
        }
        clock::sleep(SECOND_LOOK).await;
        if self.both_exist(membership, lane).await? {
            return Ok(false);
        }
        let doubt = |source| StepError::Okta { doing: "check the connector's rights", source };
        if self.memberships.rights_hold(lane).await.map_err(doubt)? {
            return Ok(true);
        }
        Err(StepError::RightsInDoubt)
    }

    async fn both_exist(&self, membership: &Membership, lane: Lane) -> Result<bool, StepError> {
        let user = self.memberships.user(&membership.user, lane).await;
        if user.map_err(|source| StepError::Okta { doing: "look up the user", source })?.is_none() {
            return Ok(false);
        }
        let group = self.memberships.plain_group(&membership.group, lane).await;
        Ok(group.map_err(|source| StepError::Okta { doing: "look up the group", source })?.is_some())
    }

    /// Whether an active group rule fills the group, by a listing that is at most a minute old.
    pub(super) async fn is_rule_fed(&self, group: &OktaGroupId, lane: Lane) -> Result<bool, OktaError> {
        if let Some(fed) = self.known_rules() {
            return Ok(fed.contains(group));
        }
        // One listing at a time, but a removal never waits for one that was begun for less.
        let queue = match lane {
            Lane::Removal => &self.listing[0],
            Lane::Grant | Lane::Verification | Lane::Directory => &self.listing[1],
        };
        let _turn = queue.lock().await;
        if let Some(fed) = self.known_rules() {
            return Ok(fed.contains(group));
        }
        let listed = self.clock.elapsed();
        let fed = Arc::new(self.memberships.rule_fed_groups(lane).await?);
        let answer = fed.contains(group);
        *self.rules.lock().unwrap_or_else(PoisonError::into_inner) = Some(Rules { listed, fed });
        Ok(answer)
    }

    fn known_rules(&self) -> Option<Arc<BTreeSet<OktaGroupId>>> {
        let now = self.clock.elapsed();
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = rules.as_ref().filter(|rules| now.saturating_sub(rules.listed) < RULES_AGE);
        fresh.map(|rules| Arc::clone(&rules.fed))
    }
}
