//! # Purpose
//! Notices what others do in Okta to memberships that live grants count on.
//!
//! # Invariants kept here
//! - It only looks and records: it neither gives nor takes, whatever it sees.
//! - "Somebody has removed it" is recorded only after two looks, further apart than Okta's reads lag.
//!
//! # Not here
//! When to look: `patrol`. What follows for the holding: `machine`.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::super::machine::{Event, GrantState, Holding, Seen};
use super::{Executor, StepError};
use crate::clock;
use crate::domain::{GrantId, Membership, OktaGroupId, OktaUserId, Revision};
use crate::http::Lane;
use crate::okta::{GroupsOf, Look, Presence};
use crate::telemetry::metrics::OutcomeLabels;

/// Between the two looks; well beyond the lag of Okta's reads.
const SECOND_LOOK: Duration = Duration::from_secs(5);

impl Executor {
    /// Looks at one user's groups, where these holdings count on them. At a stop it leaves the network in the lurch, and
    /// no record.
    pub async fn notice(
        &self,
        user: &OktaUserId,
        holdings: &[(GrantId, OktaGroupId)],
        stop: &CancellationToken,
    ) -> Result<(), StepError> {
        let looking = stop.run_until_cancelled(self.memberships.groups_of(user, Lane::Verification));
        let found = looking.await.transpose();
        let found = found.map_err(|source| StepError::Okta { doing: "look up the user's groups", source })?;
        let Some(seen) = found.flatten() else {
            return Ok(());
        };
        let (there, missing): (Vec<_>, Vec<_>) =
            holdings.iter().partition(|(_, group)| seen.groups.contains(group));
        for (id, group) in there {
            self.seen(id, group, user, &seen).await?;
        }
        if missing.is_empty() || stop.run_until_cancelled(clock::sleep(SECOND_LOOK)).await.is_none() {
            return Ok(());
        }
        for (id, group) in missing {
            let membership = Membership { group: group.clone(), user: user.clone() };
            let Some(revision) = self.state(id).map(|state| state.terms.revision) else {
                continue;
            };
            // This look knows what an empty list and one with gaps are worth.
            let looking = self.memberships.look(&membership, Lane::Verification);
            let Some(found) = stop.run_until_cancelled(looking).await else {
                return Ok(());
            };
            let look = found.map_err(|source| StepError::Okta { doing: "look up the membership", source })?;
            if look.presence == Presence::NotMember {
                self.missing(id, revision, &membership, &look).await?;
            }
        }
        Ok(())
    }

    async fn seen(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        user: &OktaUserId,
        seen: &GroupsOf,
    ) -> Result<(), StepError> {
        let mut shown = None;
        let look = |state: &GrantState| {
            shown = awaited(state, group);
            let (group, okta_request_ids) = (group.clone(), seen.request_ids.clone());
            match shown? {
                Awaited::Proof => Some(Event::Granted { group, verified: true, okta_request_ids }),
                Awaited::Return => Some(Event::AddedByOthers { group, by: None, okta_request_ids }),
                Awaited::LossOfGiven | Awaited::LossOfStanding => None,
            }
        };
        if !self.record("what the look has shown", id, look).await? {
            return Ok(());
        }
        if shown == Some(Awaited::Return) {
            self.report_addition(id, &Membership { group: group.clone(), user: user.clone() }, None);
        } else {
            info!(grant.id = %id, okta.group_id = %group, okta.user_id = %user,
                "Okta shows {user} in group {group} now, for grant {id}");
        }
        Ok(())
    }

    /// Notes that somebody else, `by` Okta's id, has added the user while the grant lives.
    pub async fn added_by_others(
        &self,
        id: &GrantId,
        membership: &Membership,
        by: Option<&str>,
        request_id: Option<&str>,
    ) -> Result<(), StepError> {
        let group = &membership.group;
        let added = |state: &GrantState| {
            let holds = matches!(state.holdings.get(group), Some(Holding::Active { seen: Seen::There, .. }));
            let event = || Event::AddedByOthers {
                group: group.clone(),
                by: by.map(ToOwned::to_owned),
                okta_request_ids: request_id.map(ToOwned::to_owned).into_iter().collect(),
            };
            (holds && !state.releases(group)).then(event)
        };
        if self.record("that somebody else has added the user", id, added).await? {
            self.report_addition(id, membership, by);
        }
        Ok(())
    }

    fn report_addition(&self, id: &GrantId, membership: &Membership, by: Option<&str>) {
        let Membership { group, user } = membership;
        self.count("membership_added");
        warn!(event = "outside_change", grant.id = %id, okta.group_id = %group, okta.user_id = %user, okta.actor_id = by,
            "{} has added {user} to group {group} while grant {id} lives; what the grant gave ends with it all the same",
            by.unwrap_or("somebody else"));
    }

    async fn missing(
        &self,
        id: &GrantId,
        revision: Revision,
        membership: &Membership,
        look: &Look,
    ) -> Result<(), StepError> {
        let Membership { group, user } = membership;
        let _turn = self.locks.lock(membership).await;
        let mut change = None;
        let missing = |state: &GrantState| {
            // A later revision may have given it since the look.
            let is_of_the_look = state.terms.revision == revision;
            change = awaited(state, group).filter(|_| is_of_the_look).and_then(Awaited::change);
            let okta_request_ids = look.request_ids.clone();
            change.map(|_| Event::FoundMissing { group: group.clone(), okta_request_ids })
        };
        self.record("that the membership is missing", id, missing).await?;
        let Some(change) = change else {
            return Ok(());
        };
        self.count(change);
        warn!(event = "outside_change", grant.id = %id, okta.group_id = %group, okta.user_id = %user, change,
            "somebody else has removed {user} from group {group} while grant {id} lives; it is not given again");
        Ok(())
    }

    /// Whether an active group rule has come to fill the group.
    pub async fn is_rule_fed(
        &self,
        group: &OktaGroupId,
        stop: &CancellationToken,
    ) -> Result<bool, StepError> {
        let fed = stop.run_until_cancelled(self.sight.is_rule_fed(group, Lane::Verification)).await;
        let fed = fed.transpose().map(|fed| fed == Some(true));
        fed.map_err(|source| StepError::Okta { doing: "list the group rules", source })
    }

    /// Says that a grant's removal will meet a group rule.
    pub fn report_rule(&self, id: &GrantId, group: &OktaGroupId) {
        self.count("group_became_rule_managed");
        warn!(event = "outside_change", grant.id = %id, okta.group_id = %group,
            "a group rule has come to fill group {group} while grant {id} lives; its end goes by okta.access.policy.rule_managed");
    }

    fn count(&self, change: &'static str) {
        let labels = OutcomeLabels { integration: self.integration.as_str().to_owned(), outcome: change };
        self.metrics.access_outside_changes.get_or_create(&labels).inc();
    }
}

/// What a look can show anew of a holding that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// That an addition has come to be.
    Proof,
    /// That what was given is gone.
    LossOfGiven,
    /// That what stood before is gone.
    LossOfStanding,
    /// That what somebody else had removed is there again.
    Return,
}

impl Awaited {
    /// What it is called when the membership is gone. What never showed, nobody has removed.
    fn change(self) -> Option<&'static str> {
        match self {
            Self::Proof | Self::Return => None,
            Self::LossOfGiven => Some("granted_membership_removed"),
            Self::LossOfStanding => Some("standing_membership_removed"),
        }
    }
}

fn awaited(state: &GrantState, group: &OktaGroupId) -> Option<Awaited> {
    if state.releases(group) {
        return None;
    }
    match state.holdings.get(group)? {
        Holding::Active { seen: Seen::NotYet, .. } => Some(Awaited::Proof),
        Holding::Active { seen: Seen::There | Seen::ByOthers, .. } => Some(Awaited::LossOfGiven),
        Holding::Standing { missing: false } => Some(Awaited::LossOfStanding),
        Holding::Active { seen: Seen::Missing, .. } | Holding::Standing { missing: true } => {
            Some(Awaited::Return)
        }
        Holding::Wanted
        | Holding::Refused { .. }
        | Holding::Granting
        | Holding::Removing
        | Holding::Ended { .. } => None,
    }
}

/// Whether a look at this holding could show anything new.
pub(in super::super) fn is_worth_a_look(state: &GrantState, group: &OktaGroupId) -> bool {
    awaited(state, group).is_some()
}
