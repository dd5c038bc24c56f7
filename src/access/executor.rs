//! # Purpose
//! Carries out one step of one holding. The steps themselves: `granting`, `removing`; here is what they share.
//!
//! # Invariants kept here
//! - Steps on one (user, group) run one after the other, whatever grants they belong to (invariant 4).
//!
//! # Not here
//! When a step is due: `schedule`. Trying again: `reconciler`. What a look proves: `sight`.

mod granting;
mod noticing;
mod removing;

use std::sync::Arc;

use super::book::Book;
use super::journal::Record;
use super::ledger::Ledger;
use super::locks::Locks;
use super::machine::{Ending, Event, GrantState, Holding, Step};
use super::recent::{Ended, Recent};
use super::schedule::Due;
use super::sight::Sight;
pub use super::step::StepError;
use super::watch::{Admission, Watch};
use crate::clock::{self, SharedClock};
use crate::domain::{GrantId, IntegrationId, Membership, OktaGroupId};
use crate::http::Lane;
use crate::okta::{Memberships, Presence, UserMatch};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{IntegrationLabels, OutcomeLabels};
pub(super) use noticing::is_worth_a_look;

/// Carries out steps in one organization.
#[derive(Debug)]
pub struct Executor {
    integration: IntegrationId,
    memberships: Memberships,
    ledger: Arc<Ledger>,
    admission: Admission,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    recent: Recent,
    locks: Locks<Membership>,
    sight: Sight,
}

impl Executor {
    /// For one organization.
    pub fn new(
        integration: IntegrationId,
        memberships: Memberships,
        ledger: Arc<Ledger>,
        admission: Admission,
        clock: SharedClock,
        metrics: Arc<Metrics>,
        recent: Recent,
    ) -> Self {
        let (locks, sight) = (Locks::default(), Sight::new(memberships.clone(), Arc::clone(&clock)));
        Self { integration, memberships, ledger, admission, clock, metrics, recent, locks, sight }
    }

    /// What is so now in the organization.
    pub(super) fn watch(&self) -> &Watch {
        &self.admission.watch
    }

    /// The organization's integration.
    pub fn integration(&self) -> &IntegrationId {
        &self.integration
    }

    /// Carries out `due`. Not to be cancelled half-way: run it in a task that is waited for.
    pub async fn perform(&self, due: &Due) -> Result<(), StepError> {
        let key = (due.grant.clone(), due.group.clone());
        let fleet = self.ledger.fleet();
        let must_end = match due.step {
            Step::Remove | Step::Release => true,
            Step::Grant => false,
        };
        // Without a database: what must end, ends.
        if !must_end || self.ledger.health().works {
            match fleet.claim(&key).await {
                Ok(true) => {}
                Ok(false) => return Err(StepError::Elsewhere),
                Err(_) if must_end => {}
                Err(source) => return Err(StepError::Claim { source }),
            }
        }
        // Whoever had the claim before may have done it.
        self.ledger.catch_up().await;
        let done = self.carry_out(due).await;
        fleet.give_back(&key).await;
        done
    }

    async fn carry_out(&self, due: &Due) -> Result<(), StepError> {
        let Some(state) = self.state(&due.grant) else {
            return Ok(());
        };
        match due.step {
            Step::Grant => self.grant(&due.grant, &due.group, &state).await,
            Step::Release => self.release(&due.grant, &due.group, &state).await,
            Step::Remove => self.remove(&due.grant, &due.group, &state).await,
        }
    }

    /// Nothing of this grant is in the group; say why.
    async fn release(&self, id: &GrantId, group: &OktaGroupId, state: &GrantState) -> Result<(), StepError> {
        let how = match state.holdings.get(group) {
            Some(Holding::Standing { missing: false }) => Ending::KeptStanding,
            // What stood may have been removed by somebody else since, and given back.
            Some(Holding::Wanted | Holding::Standing { missing: true }) => {
                self.what_stands(id, group, state).await?
            }
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
        Ok(match self.sight.presence(&membership, Lane::Verification).await? {
            Presence::Member if self.is_held_by_another(id, &membership) => Ending::KeptOtherGrant,
            Presence::Member => Ending::KeptStanding,
            Presence::NotMember | Presence::Unknown => Ending::NotMember,
        })
    }

    async fn end(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        how: Ending,
        okta_request_ids: Vec<String>,
    ) -> Result<(), StepError> {
        let before = self.state(id);
        let due = before.as_ref().and_then(|state| state.due());
        let request_ids = okta_request_ids.clone();
        let event = Event::Ended { group: group.clone(), how, okta_request_ids };
        let ends = move |state: &GrantState| state.releases(group).then(|| event.clone());
        if !self.record("the end", id, ends).await? {
            // Wanted again in the meantime; the next step gives it back.
            return Ok(());
        }
        let now = self.clock.now();
        let lag = due.map(|due| clock::until(due, now).as_secs_f64());
        self.recent.add(Ended {
            at: now,
            integration_id: self.integration.clone(),
            grant_id: id.clone(),
            group_id: group.clone(),
            user_id: before.and_then(|state| state.user.clone()),
            how: how.code().as_str().to_owned(),
            late_seconds: lag,
            okta_request_ids: request_ids,
        });
        let integration = self.integration.as_str().to_owned();
        let labels = OutcomeLabels { integration: integration.clone(), outcome: how.code().as_str() };
        self.metrics.access_endings.get_or_create(&labels).inc();
        if let (Ending::Revoked, Some(lag)) = (how, lag) {
            self.metrics.access_removal_lag.get_or_create(&IntegrationLabels { integration }).observe(lag);
        }
        Ok(())
    }

    /// Records what `decide` makes of the present state; whether it was anything.
    async fn record(
        &self,
        what: &'static str,
        id: &GrantId,
        mut decide: impl FnMut(&GrantState) -> Option<Event> + Send,
    ) -> Result<bool, StepError> {
        let mut decided = false;
        let record = |book: &Book| {
            let event = book.grant(id).and_then(|state| decide(state));
            decided = event.is_some();
            event.map(|event| Record::Grant { id: id.clone(), event }).into_iter().collect()
        };
        let recorded = self.ledger.record(&[], record).await;
        recorded.map(|()| decided).map_err(|source| StepError::Ledger { what, source })
    }

    /// Asked right before something is changed in Okta.
    async fn may_act(&self, id: &GrantId, group: &OktaGroupId, step: Step) -> Result<(), StepError> {
        let key = (id.clone(), group.clone());
        self.ledger.fleet().may_act(&key, step).await.map_err(|source| StepError::Claim { source })
    }

    fn state(&self, id: &GrantId) -> Option<Arc<GrantState>> {
        self.ledger.read(|book| book.grant(id).cloned())
    }

    fn step(&self, id: &GrantId, group: &OktaGroupId) -> Option<(Arc<GrantState>, Step)> {
        let state = self.state(id)?;
        let step = state.step(group)?;
        Some((state, step))
    }

    fn is_held_by_another(&self, id: &GrantId, membership: &Membership) -> bool {
        self.ledger.read(|book| book.is_held_by_another(&self.integration, membership, id))
    }
}
