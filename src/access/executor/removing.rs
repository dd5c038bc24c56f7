//! # Purpose
//! Ends access: looks, records the intent, writes, looks again, records what is proven.
//!
//! # Invariants kept here
//! - "Removed" is recorded only when the membership was seen to be gone, "gone" only when the user or the group is
//!   proven not to exist (invariant 2).
//! - What cannot be looked at is removed all the same: only an outage, a group rule and another holder put it off.
//! - A removal does not wait for the disk (invariant 12): its records go ahead.
//!
//! # Not here
//! Giving access: `granting`.

use tracing::{info, warn};

use super::super::machine::{Ending, Event, GrantState, Holding, Seen, Step};
use super::super::policy::RuleManaged;
use super::super::sight::Shown;
use super::{Executor, StepError};
use crate::domain::{GrantId, Membership, OktaGroupId};
use crate::http::Lane;
use crate::okta::Presence;
use crate::telemetry::chain;

impl Executor {
    pub(super) async fn remove(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        state: &GrantState,
    ) -> Result<(), StepError> {
        let Some(user) = state.user.clone() else {
            // An addition cannot have been intended without a user; nothing can be there.
            return self.end(id, group, Ending::NotMember, Vec::new()).await;
        };
        let membership = Membership { group: group.clone(), user };
        let _turn = self.locks.lock(&membership).await;
        let Some((state, Step::Remove)) = self.step(id, group) else {
            return Ok(());
        };
        if self.is_held_by_another(id, &membership) {
            info!(event = "membership_kept", grant.id = %id, okta.group_id = %group, okta.user_id = %membership.user,
                "another live grant keeps {} in group {group}", membership.user);
            return self.end(id, group, Ending::KeptOtherGrant, Vec::new()).await;
        }
        let before = self.look_before_removing(&membership).await?;
        if before == Some(Presence::Unknown) && self.sight.is_gone(&membership, Lane::Removal).await? {
            return self.end(id, group, Ending::Gone, Vec::new()).await;
        }
        let rule_managed = self.admission.policy.rule_managed;
        if rule_managed != RuleManaged::Remove && self.may_be_rule_managed(group).await? {
            return match (self.sight.watch(&membership, Lane::Removal).await?, rule_managed) {
                (Shown::Absent, _) => self.end(id, group, Ending::NotMember, Vec::new()).await,
                (Shown::Member, RuleManaged::Leave) => {
                    self.end(id, group, Ending::LeftToRule, Vec::new()).await
                }
                (
                    Shown::Member | Shown::Nothing,
                    RuleManaged::Wait | RuleManaged::Leave | RuleManaged::Remove,
                ) => Err(StepError::RuleManaged),
            };
        }
        let still_due = |state: &GrantState| {
            let due = state.step(group) == Some(Step::Remove);
            due.then(|| Event::RevokeIntended { group: group.clone() })
        };
        if !self.record("the intent to remove", id, still_due).await? {
            // Wanted again while we looked.
            return Ok(());
        }
        self.may_act(id, group, Step::Remove).await?;
        let written = match self.memberships.remove(&membership).await {
            Ok(written) => written,
            Err(error) if error.is_not_found() => return self.not_found(id, &membership, before).await,
            Err(source) => return Err(StepError::Okta { doing: "remove the user from the group", source }),
        };
        if !self.sight.is_removed(&membership).await? {
            return Err(StepError::StillMember);
        }
        info!(event = "membership_ended",
            grant.id = %id, okta.group_id = %group, okta.user_id = %membership.user,
            okta.request_id = written.request_id,
            "removed {} from group {group}: grant {id} is over", membership.user
        );
        let how = match (state.holdings.get(group), before) {
            // Seen to be there once, and not before our removal: somebody else had removed it.
            (
                Some(Holding::Active { seen: Seen::There | Seen::Missing | Seen::ByOthers, .. }),
                Some(Presence::NotMember),
            ) => Ending::NotMember,
            _ => Ending::Revoked,
        };
        self.end(id, group, how, written.request_id.into_iter().collect()).await
    }

    /// What is there now; `None` where that cannot be known.
    async fn look_before_removing(&self, membership: &Membership) -> Result<Option<Presence>, StepError> {
        match self.sight.presence(membership, Lane::Removal).await {
            Ok(presence) => Ok(Some(presence)),
            Err(error) if error.is_outage() => Err(error),
            Err(error) => {
                warn!(okta.group_id = %membership.group, okta.user_id = %membership.user, error = %chain(&error),
                    "removing {} from {} without having looked: {}", membership.user, membership.group, chain(&error));
                Ok(None)
            }
        }
    }

    /// Okta knows the user or the group no longer, or says so.
    async fn not_found(
        &self,
        id: &GrantId,
        membership: &Membership,
        before: Option<Presence>,
    ) -> Result<(), StepError> {
        if before == Some(Presence::Member) {
            // A moment ago both were there. The next try begins with a new look.
            return Err(StepError::Contradiction);
        }
        if self.sight.is_gone(membership, Lane::Removal).await? {
            return self.end(id, &membership.group, Ending::Gone, Vec::new()).await;
        }
        match self.sight.watch(membership, Lane::Removal).await? {
            Shown::Absent => self.end(id, &membership.group, Ending::NotMember, Vec::new()).await,
            Shown::Member | Shown::Nothing => Err(StepError::Contradiction),
        }
    }

    /// Whether a removal might poison a group rule. The group was not fed by one when access was given; where Okta
    /// lets the connector list rules no longer, that is the last word, because access must end.
    async fn may_be_rule_managed(&self, group: &OktaGroupId) -> Result<bool, StepError> {
        match self.sight.is_rule_fed(group, Lane::Removal).await {
            Ok(fed) => Ok(fed),
            Err(source) if source.is_outage() => {
                Err(StepError::Okta { doing: "list the group rules", source })
            }
            Err(error) => {
                warn!(okta.group_id = %group, error = %chain(&error),
                    "removing from {group} although the group rules cannot be listed: {}", chain(&error));
                Ok(false)
            }
        }
    }
}
