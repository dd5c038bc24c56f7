//! # Purpose
//! Carries out one step of one holding: look, record the intent, write, look again, record what is so.
//!
//! # Invariants kept here
//! - An addition is sent only after its intent is durable (invariant 1); the record and the request are in one
//!   function, in that order.
//! - "Removed" is recorded only when the membership was seen to be gone, "gone" only while the connector's rights are
//!   proven to hold (invariant 2).
//! - Steps on one (user, group) run one after the other, whatever grants they belong to (invariant 4).
//! - A removal does not wait for the disk: where its intent cannot be recorded, it is sent all the same (invariant 12).
//!
//! # Not here
//! When a step is due: `schedule`. Trying again: `reconciler`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tracing::{info, warn};

use super::journal::Record;
use super::ledger::{Ledger, LedgerError};
use super::locks::Locks;
use super::machine::{Ending, Event, GrantState, Holding, Step};
use super::policy::Policy;
use super::schedule::Due;
use crate::apono::Code;
use crate::clock::{self, SharedClock};
use crate::domain::{GrantId, IntegrationId, Membership, OktaGroupId, OktaUserId};
use crate::http::{Class, Lane};
use crate::okta::{Memberships, OktaError, Presence, UserMatch};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{IntegrationLabels, OutcomeLabels};

/// Carries out steps in one organization.
#[derive(Debug)]
pub struct Executor {
    integration: IntegrationId,
    memberships: Memberships,
    ledger: Arc<Ledger>,
    policy: Policy,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    locks: Locks<Membership>,
    rules: Mutex<Option<(Duration, BTreeSet<OktaGroupId>)>>,
}

/// A step was not completed. It stays due.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Okta.
    #[error("cannot {doing}")]
    Okta {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: OktaError,
    },
    /// The journal.
    #[error("cannot record {what}")]
    Ledger {
        /// What was to be recorded.
        what: &'static str,
        /// Why not.
        #[source]
        source: LedgerError,
    },
    /// Okta accepted the removal and goes on showing the membership.
    #[error("Okta accepted the removal, but still shows the membership")]
    StillMember,
    /// Something is not found, and the connector's rights are in doubt.
    #[error(
        "Okta does not find the user or the group, and shows no users or groups at all: the connector's administrator role is missing, so nothing is proven"
    )]
    RightsInDoubt,
    /// The membership may belong to a group rule now.
    #[error(
        "a group rule has come to fill the group; a removal would put the user on the rule's exclusion list, so a person must decide (remove the group from the rule, or the user from the group)"
    )]
    RuleManaged,
}

impl StepError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Okta { source, .. } => source.class(),
            Self::Ledger { .. } | Self::StillMember => Class::Transient,
            Self::RightsInDoubt | Self::RuleManaged => Class::Misconfigured,
        }
    }

    /// Whether it says something about the organization as a whole, and not about this step.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Okta { source, .. } => source.class() == Class::Transient,
            Self::Ledger { .. } | Self::StillMember | Self::RightsInDoubt | Self::RuleManaged => false,
        }
    }
}

/// How long the rules that were listed are believed.
const RULES_AGE: Duration = Duration::from_mins(1);
/// Waits between looks after a write; reads lag about a second behind writes.
const LOOKS: [Duration; 8] = [
    Duration::from_millis(0),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(4),
    Duration::from_secs(5),
];

impl Executor {
    /// For one organization.
    pub fn new(
        integration: IntegrationId,
        memberships: Memberships,
        ledger: Arc<Ledger>,
        policy: Policy,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (locks, rules) = (Locks::default(), Mutex::default());
        Self { integration, memberships, ledger, policy, clock, metrics, locks, rules }
    }

    /// The organization's integration.
    pub fn integration(&self) -> &IntegrationId {
        &self.integration
    }

    /// Carries out `due`. Not to be cancelled half-way: run it in a task that is waited for.
    pub async fn perform(&self, due: &Due) -> Result<(), StepError> {
        let Some(state) = self.state(&due.grant) else {
            return Ok(());
        };
        match due.step {
            Step::Grant => self.grant(&due.grant, &due.group, &state).await,
            Step::Release => self.release(&due.grant, &due.group, &state).await,
            Step::Remove => self.remove(&due.grant, &due.group, &state).await,
        }
    }

    async fn grant(&self, id: &GrantId, group: &OktaGroupId, state: &GrantState) -> Result<(), StepError> {
        let Some(user) = self.resolve(id, group, state).await? else {
            return Ok(());
        };
        let membership = Membership { group: group.clone(), user };
        let _turn = self.locks.lock(&membership).await;
        let Some((state, Step::Grant)) = self.step(id, group) else {
            return Ok(());
        };
        if state.holdings.get(group) == Some(&Holding::Wanted)
            && !self.look_before_adding(id, &membership).await?
        {
            return Ok(());
        }
        // Its time may have come while we looked; the schedule ends it then.
        if state.is_overdue(self.clock.now()) {
            return Ok(());
        }
        self.add(id, &membership).await
    }

    /// Finds whom the grant means. `None` after a refusal was recorded.
    async fn resolve(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        state: &GrantState,
    ) -> Result<Option<OktaUserId>, StepError> {
        if let (Some(user), Some(Holding::Granting)) = (&state.user, state.holdings.get(group)) {
            return Ok(Some(user.clone()));
        }
        let name = &state.terms.username;
        let found = match &state.user {
            Some(user) => self.memberships.user(user, Lane::Grant).await.map(|user| match user {
                Some(user) => UserMatch::One(Box::new(user)),
                None => UserMatch::None,
            }),
            None => self.memberships.find_user(name, Lane::Grant).await,
        };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.refuse_if_final(id, group, "look up the user", error).await?;
                return Ok(None);
            }
        };
        let (code, message) = match found {
            UserMatch::One(user) if user.status.can_be_granted() => {
                if state.user.is_none() {
                    let user = user.id.clone();
                    self.record("the user", id, |state| {
                        (state.user.is_none()).then_some(Event::UserResolved { user: user.clone() })
                    })
                    .await?;
                }
                return Ok(Some(user.id));
            }
            UserMatch::One(user) => {
                (Code::UserInactive, format!("the account of {name} is {} in Okta", user.status))
            }
            UserMatch::None => (Code::UserNotFound, format!("Okta has no user with login or email {name}")),
            UserMatch::Several => (Code::UserAmbiguous, format!("Okta has several users with email {name}")),
        };
        self.refuse(id, group, code, message).await?;
        Ok(None)
    }

    /// Looks at group, rules and present membership; records the intent, or why there will be no addition.
    async fn look_before_adding(&self, id: &GrantId, membership: &Membership) -> Result<bool, StepError> {
        let group = match self.memberships.group(&membership.group, Lane::Grant).await {
            Ok(group) => group,
            Err(error) => {
                self.refuse_if_final(id, &membership.group, "look up the group", error).await?;
                return Ok(false);
            }
        };
        let Some(group) = group else {
            let message = format!("Okta has no group {}", membership.group);
            self.refuse(id, &membership.group, Code::GroupNotFound, message).await?;
            return Ok(false);
        };
        let rule_fed = match self.is_rule_fed(&membership.group, Lane::Grant).await {
            Ok(rule_fed) => rule_fed,
            Err(error) => {
                self.refuse_if_final(id, &membership.group, "list the group rules", error).await?;
                return Ok(false);
            }
        };
        if let Err(refusal) = self.policy.review_group(&group, rule_fed) {
            self.refuse(id, &membership.group, refusal.code, refusal.message).await?;
            return Ok(false);
        }
        let presence = match self.memberships.presence(membership, Lane::Grant).await {
            Ok(presence) => presence,
            Err(error) => {
                self.refuse_if_final(id, &membership.group, "look up the membership", error).await?;
                return Ok(false);
            }
        };
        let group = membership.group.clone();
        match presence {
            Presence::UserUnknown => {
                let message = "Okta no longer has the user".to_owned();
                self.refuse(id, &group, Code::UserNotFound, message).await?;
                Ok(false)
            }
            Presence::Member if !self.is_held_by_another(id, membership) => {
                info!(grant.id = %id, okta.group_id = %group, okta.user_id = %membership.user,
                    "{} was in group {group} before grant {id}; the membership will be kept", membership.user);
                self.record("the standing membership", id, move |_| Some(Event::StandingFound { group }))
                    .await?;
                Ok(false)
            }
            // In by one of ours, or not in.
            Presence::Member | Presence::NotMember => {
                self.record("the intent to add", id, move |_| Some(Event::GrantIntended { group })).await?;
                Ok(true)
            }
        }
    }

    /// The intent is durable: write, and look until the membership shows.
    async fn add(&self, id: &GrantId, membership: &Membership) -> Result<(), StepError> {
        let group = membership.group.clone();
        let written = match self.memberships.add(membership).await {
            Ok(written) => written,
            Err(source) if source.class() == Class::Transient || source.may_have_happened() => {
                return Err(StepError::Okta { doing: "add the user to the group", source });
            }
            Err(source) => return self.refused_by_okta(id, membership, source).await,
        };
        // A grant that ends meanwhile must not wait for this.
        let still_wanted = || self.state(id).is_some_and(|state| !state.releases(&group));
        let verified =
            self.look_until(membership, Presence::Member, Lane::Verification, &still_wanted).await?;
        let ids: Vec<_> = written.request_id.iter().cloned().collect();
        info!(
            grant.id = %id, okta.group_id = %group, okta.user_id = %membership.user, verified,
            okta.request_id = written.request_id,
            "added {} to group {group} for grant {id}{}",
            membership.user,
            if verified { "" } else { ", though Okta does not show it yet" }
        );
        let event = Event::Granted { group, verified, okta_request_ids: ids };
        self.record("the addition", id, move |_| Some(event)).await
    }

    /// Okta said no. That is final only once the user is seen not to be a member: an earlier try may have landed.
    async fn refused_by_okta(
        &self,
        id: &GrantId,
        membership: &Membership,
        error: OktaError,
    ) -> Result<(), StepError> {
        if self.look_until(membership, Presence::Member, Lane::Verification, &|| true).await? {
            let group = membership.group.clone();
            let event = Event::Granted { group, verified: true, okta_request_ids: Vec::new() };
            return self.record("the addition", id, move |_| Some(event)).await;
        }
        self.refuse_if_final(id, &membership.group, "add the user to the group", error).await
    }

    /// Nothing of this grant is in the group; say why.
    async fn release(&self, id: &GrantId, group: &OktaGroupId, state: &GrantState) -> Result<(), StepError> {
        let how = match state.holdings.get(group) {
            Some(Holding::Wanted) => self.what_stands(id, group, state).await?,
            Some(Holding::Standing) => Ending::KeptStanding,
            Some(
                Holding::Refused { .. }
                | Holding::Granting
                | Holding::Active { .. }
                | Holding::Removing
                | Holding::Ended { .. },
            )
            | None => return Ok(()),
        };
        self.end(id, group, how, Vec::new()).await
    }

    /// For a grant that was ended before anything was done for it: what is there, by whatever right.
    async fn what_stands(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        state: &GrantState,
    ) -> Result<Ending, StepError> {
        let user = if let Some(user) = &state.user {
            Some(user.clone())
        } else {
            let found = self.memberships.find_user(&state.terms.username, Lane::Verification).await;
            match found.map_err(|source| StepError::Okta { doing: "look up the user", source })? {
                UserMatch::One(user) => Some(user.id),
                UserMatch::None | UserMatch::Several => None,
            }
        };
        let Some(user) = user else {
            return Ok(Ending::NotMember);
        };
        let membership = Membership { group: group.clone(), user };
        Ok(match self.presence(&membership, Lane::Verification).await? {
            Presence::Member if self.is_held_by_another(id, &membership) => Ending::KeptOtherGrant,
            Presence::Member => Ending::KeptStanding,
            Presence::NotMember | Presence::UserUnknown => Ending::NotMember,
        })
    }

    async fn remove(&self, id: &GrantId, group: &OktaGroupId, state: &GrantState) -> Result<(), StepError> {
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
            info!(grant.id = %id, okta.group_id = %group, okta.user_id = %membership.user,
                "another live grant keeps {} in group {group}", membership.user);
            return self.end(id, group, Ending::KeptOtherGrant, Vec::new()).await;
        }
        match self.presence(&membership, Lane::Removal).await? {
            Presence::UserUnknown => return self.end_gone(id, group).await,
            // Seen before and not there now: somebody else has removed it. What was never seen may still be to come.
            Presence::NotMember
                if matches!(state.holdings.get(group), Some(Holding::Active { verified: true, .. })) =>
            {
                return self.end(id, group, Ending::NotMember, Vec::new()).await;
            }
            Presence::NotMember => {}
            Presence::Member => {
                if self.may_be_rule_managed(group).await? {
                    return Err(StepError::RuleManaged);
                }
            }
        }
        let intent = group.clone();
        let recorded = self
            .record("the intent to remove", id, move |_| Some(Event::RevokeIntended { group: intent }))
            .await;
        if let Err(error) = recorded {
            warn!(grant.id = %id, error = %crate::telemetry::chain(&error),
                "removing without a record of the intent; the journal fails");
        }
        let written = match self.memberships.remove(&membership).await {
            Ok(written) => written,
            Err(error) if error.is_not_found() => return self.end_gone(id, group).await,
            Err(source) => return Err(StepError::Okta { doing: "remove the user from the group", source }),
        };
        if !self.look_until(&membership, Presence::NotMember, Lane::Removal, &|| true).await? {
            return Err(StepError::StillMember);
        }
        info!(
            grant.id = %id, okta.group_id = %group, okta.user_id = %membership.user,
            okta.request_id = written.request_id,
            "removed {} from group {group}: grant {id} is over", membership.user
        );
        self.end(id, group, Ending::Revoked, written.request_id.into_iter().collect()).await
    }

    /// Okta does not find the user or the group. That proves something only while the connector's rights hold.
    async fn end_gone(&self, id: &GrantId, group: &OktaGroupId) -> Result<(), StepError> {
        let doubt = |source| StepError::Okta { doing: "check the connector's rights", source };
        if !self.memberships.rights_hold(Lane::Removal).await.map_err(doubt)? {
            return Err(StepError::RightsInDoubt);
        }
        self.end(id, group, Ending::Gone, Vec::new()).await
    }

    async fn end(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        how: Ending,
        okta_request_ids: Vec<String>,
    ) -> Result<(), StepError> {
        let due = self.state(id).and_then(|state| state.due());
        let event = Event::Ended { group: group.clone(), how, okta_request_ids };
        self.record("the end", id, move |_| Some(event)).await?;
        let integration = self.integration.as_str().to_owned();
        let labels = OutcomeLabels { integration: integration.clone(), outcome: how.code().as_str() };
        self.metrics.access_endings.get_or_create(&labels).inc();
        if let (Ending::Revoked, Some(due)) = (how, due) {
            let lag = clock::until(due, self.clock.now()).as_secs_f64();
            self.metrics.access_removal_lag.get_or_create(&IntegrationLabels { integration }).observe(lag);
        }
        Ok(())
    }

    /// Looks until `wanted` is seen, or patience ends. Absence must be seen twice: one read may lag behind.
    async fn look_until(
        &self,
        membership: &Membership,
        wanted: Presence,
        lane: Lane,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, StepError> {
        let needed = if wanted == Presence::NotMember { 2 } else { 1 };
        let mut seen = 0;
        for wait in LOOKS {
            clock::sleep(wait).await;
            if !go_on() {
                break;
            }
            let present = self.presence(membership, lane).await?;
            let as_wanted = match present {
                Presence::UserUnknown => wanted == Presence::NotMember,
                Presence::Member | Presence::NotMember => present == wanted,
            };
            seen = if as_wanted { seen + 1 } else { 0 };
            if seen == needed {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn presence(&self, membership: &Membership, lane: Lane) -> Result<Presence, StepError> {
        self.memberships
            .presence(membership, lane)
            .await
            .map_err(|source| StepError::Okta { doing: "look up the membership", source })
    }

    async fn is_rule_fed(&self, group: &OktaGroupId, lane: Lane) -> Result<bool, OktaError> {
        let now = self.clock.elapsed();
        let mut rules = self.rules.lock().await;
        if let Some((listed, fed)) = rules.as_ref()
            && now.saturating_sub(*listed) < RULES_AGE
        {
            return Ok(fed.contains(group));
        }
        let fed = self.memberships.rule_fed_groups(lane).await?;
        let answer = fed.contains(group);
        *rules = Some((now, fed));
        Ok(answer)
    }

    /// Whether a removal might poison a group rule. The group was not fed by one when access was given; where Okta
    /// lets the connector list rules no longer, that is the last word, because access must end.
    async fn may_be_rule_managed(&self, group: &OktaGroupId) -> Result<bool, StepError> {
        match self.is_rule_fed(group, Lane::Removal).await {
            Ok(fed) => Ok(fed),
            Err(source) if source.class() == Class::Transient => {
                Err(StepError::Okta { doing: "list the group rules", source })
            }
            Err(error) => {
                warn!(okta.group_id = %group, error = %crate::telemetry::chain(&error),
                    "cannot list the group rules; removing from {group} all the same");
                Ok(false)
            }
        }
    }

    /// Records a refusal for an error that no further try can mend, and returns the others.
    async fn refuse_if_final(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        doing: &'static str,
        error: OktaError,
    ) -> Result<(), StepError> {
        let Some(answer) = error.answer() else {
            return Err(StepError::Okta { doing, source: error });
        };
        let code = match (error.class(), answer.status.as_u16()) {
            (Class::Transient, _) | (Class::Misconfigured | Class::Permanent, 401) => {
                return Err(StepError::Okta { doing, source: error });
            }
            (Class::Misconfigured | Class::Permanent, 404) => Code::GroupNotFound,
            (Class::Misconfigured | Class::Permanent, _) => Code::NotPermitted,
        };
        let message = format!("cannot {doing}: {answer}");
        self.refuse(id, group, code, message).await
    }

    async fn refuse(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        code: Code,
        message: String,
    ) -> Result<(), StepError> {
        info!(grant.id = %id, okta.group_id = %group, code = code.as_str(), "refused grant {id}: {message}");
        let event = Event::Refused { group: group.clone(), code, message };
        self.record("the refusal", id, move |_| Some(event)).await
    }

    async fn record(
        &self,
        what: &'static str,
        id: &GrantId,
        decide: impl FnOnce(&GrantState) -> Option<Event> + Send,
    ) -> Result<(), StepError> {
        let record = |book: &super::book::Book| {
            let event = book.grant(id).and_then(decide);
            event.map(|event| Record::Grant { id: id.clone(), event }).into_iter().collect()
        };
        self.ledger.record(&[], record).await.map_err(|source| StepError::Ledger { what, source })
    }

    fn state(&self, id: &GrantId) -> Option<GrantState> {
        self.ledger.read(|book| book.grant(id).cloned())
    }

    fn step(&self, id: &GrantId, group: &OktaGroupId) -> Option<(GrantState, Step)> {
        let state = self.state(id)?;
        let step = state.step(group)?;
        Some((state, step))
    }

    fn is_held_by_another(&self, id: &GrantId, membership: &Membership) -> bool {
        self.ledger.read(|book| book.is_held_by_another(&self.integration, membership, id))
    }
}
