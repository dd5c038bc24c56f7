//! # Purpose
//! Decides what a call of Apono's published protocol for custom integrations means for what is known: the records that
//! take it on, what to wait for, and what to answer.
//!
//! # Invariants kept here
//! - Pure. Such a call knows no expiry, no revision, and no id that this connector relies on: each group of a call is a
//!   grant of its own, under an id that the connector makes up, and ends by the local policy's `max_duration`.
//! - As long as one of these grants lives for a name and a group, the next call gives it a later end; there is never a
//!   second one.
//! - A revoke ends every live grant of this origin for the name and the group, and no grant of another origin. Where
//!   none is left, that is what was asked for.
//!
//! # Not here
//! The shapes on the wire: `apono::custom`. Recording and waiting: `published`.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::book::Book;
use super::conditions::Conditions;
use super::intake::{Review, refused_at_once, review};
use super::journal::Record;
use super::machine::{EndReason, Event, GrantState, Source};
use super::policy::Policy;
use super::tasks::{self, Ask};
use crate::apono::custom::{Access, Answer};
use crate::apono::{Code, ResourceResult, Status, TaskResult};
use crate::clock;
use crate::domain::{Grant, GrantId, IntegrationId, OktaGroupId, RequestContext, Revision};

/// What a call comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// What to record.
    pub records: Vec<Record>,
    /// What is answered at once.
    pub answered: Vec<ResourceResult>,
    /// What the rest of the answer waits for; one grant and one group each.
    pub waits: Vec<Ask>,
}

/// In front of the ids that the connector makes up for these grants.
pub const ID_PREFIX: &str = "call_";

/// Takes on a `grant-access` call. `fresh` makes up an id.
pub fn give(
    book: &Book,
    integration: &IntegrationId,
    access: &Access,
    policy: &Policy,
    conditions: &Conditions,
    mut fresh: impl FnMut() -> GrantId,
) -> Decision {
    let mut decision = Decision::default();
    let mut begun = 0;
    for group in &access.groups {
        let live = of_calls(book, integration, access, group)
            .find(|(_, state)| state.end.is_none() && !state.is_overdue(conditions.now));
        let (id, revision) = match live {
            Some((id, state)) => (id.clone(), Revision(state.heard_of().0.saturating_add(1))),
            None => (fresh(), Revision(1)),
        };
        let grant = Grant {
            id: id.clone(),
            revision,
            integration: integration.clone(),
            username: access.username.clone(),
            groups: [group.clone()].into(),
            expires_at: Some(clock::after(conditions.now, policy.max_duration)),
            request: access
                .grant_id
                .clone()
                .map(|id| RequestContext { id: Some(id), ..RequestContext::default() }),
        };
        let record = |event: Event| Record::Grant { id: id.clone(), event };
        let wait =
            Ask::Grant { grant: id.clone(), revision: Revision(u64::MAX), groups: vec![group.clone()] };
        match review(book, &grant, Source::Call, begun, policy, conditions) {
            Review::Begin => {
                begun += 1;
                decision.records.push(record(Event::Accepted { grant, by: Source::Call }));
                decision.waits.push(wait);
            }
            Review::Revise => {
                decision.records.push(record(Event::Revised { grant, by: Source::Call }));
                decision.waits.push(wait);
            }
            Review::Known => decision.waits.push(wait),
            Review::EndNow => {
                let event = Event::EndRequested { reason: EndReason::Expired, due: conditions.now, by: None };
                decision.records.push(record(event));
                decision.waits.push(wait);
            }
            Review::Refuse(code, message) => {
                decision.records.extend(if live.is_some() {
                    vec![record(Event::Declined { revision })]
                } else {
                    refused_at_once(&grant, Source::Call, code, &message)
                });
                decision.answered.push(result(group, code, message));
            }
            Review::Answer(code, message) => decision.answered.push(result(group, code, message)),
        }
    }
    decision
}

/// Takes on a `revoke-access` call. It waits for removals that were begun before, too.
pub fn take(book: &Book, integration: &IntegrationId, access: &Access, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    for group in &access.groups {
        for (id, state) in of_calls(book, integration, access, group) {
            if state.end.is_none() {
                let event = Event::EndRequested { reason: EndReason::Revoked, due: now, by: None };
                decision.records.push(Record::Grant { id: id.clone(), event });
            }
            decision.waits.push(Ask::Revoke { grant: id.clone(), groups: vec![group.clone()] });
        }
    }
    decision
}

/// The open grants of this origin for a name and a group.
fn of_calls<'a>(
    book: &'a Book,
    integration: &'a IntegrationId,
    access: &Access,
    group: &'a OktaGroupId,
) -> impl Iterator<Item = (&'a GrantId, &'a GrantState)> {
    let name = access.username.to_lowercase();
    book.grants().filter(move |(_, state)| {
        state.by == Source::Call
            && state.terms.integration == *integration
            && state.is_open()
            && state.terms.groups.contains(group)
            && state.terms.username.to_lowercase() == name
    })
}

/// What has become of one wait.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is being worked on.
    Pending,
    /// Known.
    Known(TaskResult),
    /// It is over, and only the journal remembers how.
    Forgotten,
}

/// Looks what has become of one wait.
pub fn outcome(book: &Book, wait: &Ask, now: Timestamp) -> Outcome {
    match wait.grant().and_then(|id| book.grant(id)) {
        Some(state) => tasks::answer(wait, state, now).map_or(Outcome::Pending, Outcome::Known),
        None => Outcome::Forgotten,
    }
}

/// What is said of a wait that nobody waits for any longer.
pub fn unfinished(wait: &Ask) -> Vec<ResourceResult> {
    let (groups, message) = match wait {
        Ask::Grant { groups, .. } => {
            (groups.as_slice(), "the access is still being given, and that goes on; ask again")
        }
        Ask::Revoke { groups, .. } => {
            (groups.as_slice(), "the removal is not done yet, and goes on until it is; ask again")
        }
        Ask::Other => (&[][..], ""),
    };
    groups.iter().map(|group| result(group, Code::Unavailable, message.to_owned())).collect()
}

/// The answer from what became of each group.
pub fn answer(results: &[ResourceResult]) -> Answer {
    let (done, failed): (Vec<_>, Vec<_>) =
        results.iter().partition(|result| result.status == Status::Success);
    if failed.is_empty() {
        return Answer::Done;
    }
    let again = failed.iter().any(|result| result.code.retry_helps());
    let reason = |result: &ResourceResult| format!("{} ({})", result.message, result.code.as_str());
    let reasons: BTreeSet<_> = failed.iter().map(|result| reason(result)).collect();
    if done.is_empty() && reasons.len() == 1 {
        return Answer::Failed { again, message: reasons.into_iter().collect() };
    }
    let named = failed.iter().take(MOST_NAMED);
    let mut parts: Vec<_> =
        named.map(|result| format!("group {}: {}", result.source_id, reason(result))).collect();
    if failed.len() > MOST_NAMED {
        parts.push(format!("and {} more", failed.len() - MOST_NAMED));
    }
    let (as_asked, all) = (done.len(), results.len());
    Answer::Failed {
        again,
        message: format!("{as_asked} of {all} groups are as asked; {}", parts.join("; ")),
    }
}

/// Groups that failed and are named in an answer.
const MOST_NAMED: usize = 5;

fn result(group: &OktaGroupId, code: Code, message: String) -> ResourceResult {
    ResourceResult::new(group.as_str(), code, message, Vec::new())
}

#[cfg(test)]
mod tests;
