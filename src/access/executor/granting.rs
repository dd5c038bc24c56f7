//! # Purpose
//! Gives access: looks, records the intent, writes, looks again, records what is so.
//!
//! # Invariants kept here
//! - The addition is sent only after its intent is durable (invariant 1).
//! - Group, rules, policy, the user's status and the present membership are looked at before the intent (invariants 6
//!   and 7).
//! - A membership becomes ours only when it was twice seen not to be there (invariant 4).
//! - An addition that may have happened is given up only for proof that it did not (invariant 2).
//!
//! # Not here
//! Ending it: `removing`.

use tracing::{debug, info};

use super::super::book::Book;
use super::super::journal::{Record, Subject};
use super::super::machine::{Event, GrantState, Holding, Step};
use super::super::policy::review_conditions;
use super::super::sight::Shown;
use super::super::telling::tell_late;
use super::{Executor, StepError};
use crate::apono::Code;
use crate::domain::{GrantId, Membership, OktaGroupId, OktaUserId};
use crate::http::{Class, Lane};
use crate::okta::{Look, OktaError, Presence, UserMatch};
use crate::telemetry::chain;

impl Executor {
    pub(super) async fn grant(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        state: &GrantState,
    ) -> Result<(), StepError> {
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
        let rule_fed = match self.sight.is_rule_fed(&membership.group, Lane::Grant).await {
            Ok(rule_fed) => rule_fed,
            Err(error) => {
                self.refuse_if_final(id, &membership.group, "list the group rules", error).await?;
                return Ok(false);
            }
        };
        let reviewed = review_conditions(&self.admission.watch.conditions())
            .and_then(|()| self.admission.policy.review_group(&group, rule_fed));
        if let Err(refusal) = reviewed {
            self.refuse(id, &membership.group, refusal.code, refusal.message).await?;
            return Ok(false);
        }
        let look = match self.presence_before_adding(membership).await {
            Ok(Some(look)) => look,
            Ok(None) => return Err(StepError::Contradiction),
            Err(error) => {
                self.refuse_if_final(id, &membership.group, "look up the membership", error).await?;
                return Ok(false);
            }
        };
        let group = membership.group.clone();
        match look.presence {
            Presence::Unknown => {
                let message = "Okta no longer has the user".to_owned();
                self.refuse(id, &group, Code::UserNotFound, message).await?;
                Ok(false)
            }
            Presence::Member if !self.is_held_by_another(id, membership) => {
                let event = Event::StandingFound { group: group.clone(), okta_request_ids: look.request_ids };
                info!(event = "standing_noticed", grant.id = %id, okta.group_id = %group, okta.user_id = %membership.user,
                    "{} was in group {group} before grant {id}; the membership will be kept", membership.user);
                self.record("the standing membership", id, move |_| Some(event.clone())).await?;
                Ok(false)
            }
            // In by one of ours, or not in.
            Presence::Member | Presence::NotMember => {
                let still_wanted = |state: &GrantState| {
                    let wanted =
                        state.step(&group) == Some(Step::Grant) && !state.is_overdue(self.clock.now());
                    wanted.then(|| Event::GrantIntended { group: group.clone() })
                };
                self.record("the intent to add", id, still_wanted).await
            }
        }
    }

    /// One answer can be wrong; believed, it would make a membership ours to remove, or refuse a user who is there. Only
    /// two looks that agree count.
    async fn presence_before_adding(&self, membership: &Membership) -> Result<Option<Look>, OktaError> {
        let first = self.memberships.look(membership, Lane::Grant).await?;
        if first.presence == Presence::Member {
            return Ok(Some(first));
        }
        let second = self.memberships.look(membership, Lane::Grant).await?;
        let counts = second.presence == first.presence || second.presence == Presence::Member;
        Ok(counts.then_some(second))
    }

    /// The intent is durable: write, and look until the membership shows.
    async fn add(&self, id: &GrantId, membership: &Membership) -> Result<(), StepError> {
        let group = membership.group.clone();
        self.may_act(id, &group, Step::Grant).await?;
        let written = match self.memberships.add(membership).await {
            Ok(written) => written,
            Err(source) if source.class() == Class::Transient || source.may_have_happened() => {
                return Err(StepError::Okta { doing: "add the user to the group", source });
            }
            Err(source) => return self.refused_by_okta(id, membership, source).await,
        };
        // A grant that ends meanwhile must not wait for this.
        let still_wanted = || self.state(id).is_some_and(|state| !state.releases(&group));
        let verified = match self.sight.shows(membership, &still_wanted).await {
            Ok(shown) => shown,
            Err(error) if error.is_outage() => return Err(error),
            Err(error) => {
                debug!(grant.id = %id, error = %chain(&error), "the addition cannot be verified");
                false
            }
        };
        let ids: Vec<_> = written.request_id.iter().cloned().collect();
        info!(event = "membership_given",
            grant.id = %id, okta.group_id = %group, okta.user_id = %membership.user, verified,
            okta.request_id = written.request_id,
            "added {} to group {group} for grant {id}{}",
            membership.user,
            if verified { "" } else { ", though Okta does not show it yet" }
        );
        let event = Event::Granted { group, verified, okta_request_ids: ids.clone() };
        let recorded = self.record("the addition", id, move |_| Some(event.clone())).await;
        if !matches!(recorded, Ok(true)) {
            self.take_back_if_late(id, &membership.group, &ids).await?;
        }
        recorded.map(|_| ())
    }

    /// Where others have ended the grant while this daemon was stopped between its last look and Okta's answer, what it has
    /// added is a duty again.
    async fn take_back_if_late(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        okta_request_ids: &[String],
    ) -> Result<(), StepError> {
        let mut is_late = false;
        let late = |book: &Book| {
            let ended = book.grant(id).and_then(|state| state.holdings.get(group));
            is_late = matches!(ended, Some(Holding::Ended { .. }));
            let event =
                || Event::AddedLate { group: group.clone(), okta_request_ids: okta_request_ids.to_vec() };
            is_late.then(|| Record::Grant { id: id.clone(), event: event() }).into_iter().collect()
        };
        let recorded = self.ledger.record(&[Subject::Grant(id.clone())], late).await;
        if is_late {
            tell_late(id, group);
        }
        recorded.map_err(|source| StepError::Ledger { what: "a late addition", source })
    }

    /// Okta said no. That is final only once the user is proven not to be a member: an earlier try may have landed.
    async fn refused_by_okta(
        &self,
        id: &GrantId,
        membership: &Membership,
        source: OktaError,
    ) -> Result<(), StepError> {
        const DOING: &str = "add the user to the group";
        let group = membership.group.clone();
        let absent = match self.sight.watch(membership, Lane::Verification).await? {
            Shown::Member => {
                let event = Event::Granted { group, verified: true, okta_request_ids: Vec::new() };
                return self.record("the addition", id, move |_| Some(event.clone())).await.map(|_| ());
            }
            // User and group were there a moment ago; one that is new is not known to all of Okta at once.
            Shown::Absent if source.is_not_found() => {
                if !self.sight.is_gone(membership, Lane::Verification).await? {
                    return Err(StepError::Contradiction);
                }
                true
            }
            Shown::Absent => true,
            Shown::Nothing => self.sight.is_gone(membership, Lane::Verification).await?,
        };
        match refusal(DOING, &source) {
            Some((code, message)) if absent => self.refuse_for(id, &group, code, message, true).await,
            Some(_) | None => Err(StepError::Okta { doing: DOING, source }),
        }
    }

    /// Records a refusal for an error that no further try can mend, and returns the others. Before the intent only.
    async fn refuse_if_final(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        doing: &'static str,
        source: OktaError,
    ) -> Result<(), StepError> {
        match refusal(doing, &source) {
            Some((code, message)) => self.refuse(id, group, code, message).await,
            None => Err(StepError::Okta { doing, source }),
        }
    }

    async fn refuse(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        code: Code,
        message: String,
    ) -> Result<(), StepError> {
        self.refuse_for(id, group, code, message, false).await
    }

    async fn refuse_for(
        &self,
        id: &GrantId,
        group: &OktaGroupId,
        code: Code,
        message: String,
        proven_absent: bool,
    ) -> Result<(), StepError> {
        // The sentence names people and groups; it goes to Apono and not into the log.
        info!(event = "membership_refused", grant.id = %id, okta.group_id = %group, result.code = code.as_str(), "refused grant {id}: {}", code.as_str());
        let event = Event::Refused { group: group.clone(), code, message, proven_absent };
        self.record("the refusal", id, move |_| Some(event.clone())).await.map(|_| ())
    }
}

/// What an error means for the grant, where no further try can mend it.
fn refusal(doing: &'static str, error: &OktaError) -> Option<(Code, String)> {
    let answer = error.answer()?;
    let code = match (error.class(), answer.status.as_u16()) {
        (Class::Transient, _) | (Class::Misconfigured | Class::Permanent, 401) => return None,
        (Class::Misconfigured | Class::Permanent, 404) => Code::GroupNotFound,
        (Class::Misconfigured | Class::Permanent, _) => Code::NotPermitted,
    };
    Some((code, format!("cannot {doing}: {answer}")))
}
