//! # Purpose
//! Decides what a task about access means for what is known: the records that take it on.
//!
//! # Invariants kept here
//! - Pure. The same task delivered again changes nothing but the lease (invariant 5).
//! - A lower or equal revision, or one of a grant that is over, changes nothing; a revoke is final.
//! - What came after its own expiry is never executed.
//! - A grant that came by a call of the published protocol gets other terms by such calls alone, and is never over for
//!   its absence from a listing that cannot name it. A revoke ends whatever it names.
//!
//! # Not here
//! Looking at Okta: `executor`. What a call of the published protocol means: `calls`.

use jiff::Timestamp;
use serde_json::json;

use super::book::Book;
use super::conditions::Conditions;
use super::journal::Record;
use super::machine::{EndReason, Event, GrantState, Source};
use super::policy::Policy;
use super::tasks::{Ask, TaskEvent};
use crate::apono::{Code, Lease, ResourceResult, TaskResult};
use crate::domain::{Grant, GrantId, IntegrationId, OktaGroupId, TaskId};

/// The records for a task that gives access. The grant and the task must be in the book if they are known at all.
pub fn grant(
    book: &Book,
    task: &TaskId,
    lease: &Lease,
    grant: &Grant,
    policy: &Policy,
    conditions: &Conditions,
) -> Vec<Record> {
    let now = conditions.now;
    let ask = Ask::Grant {
        grant: grant.id.clone(),
        revision: grant.revision,
        groups: grant.groups.iter().cloned().collect(),
    };
    let mut records = vec![taken(task, ask, lease)];
    if book.task(task).is_some() {
        return records;
    }
    let answered = |code: Code, message: &str| answer(task, grant, code, message, now);
    match review(book, grant, Source::Task, 0, policy, conditions) {
        Review::Begin => {
            records.push(event(grant, Event::Accepted { grant: grant.clone(), by: Source::Task }));
        }
        Review::Revise => {
            records.push(event(grant, Event::Revised { grant: grant.clone(), by: Source::Task }));
        }
        Review::Known => {}
        Review::EndNow => {
            records
                .push(event(grant, Event::EndRequested { reason: EndReason::Expired, due: now, by: None }));
            records.push(answered(Code::Expired, "the grant's time was over when it came; it is ended now"));
        }
        Review::Refuse(code, message) if book.grant(&grant.id).is_some() => {
            records.push(event(grant, Event::Declined { revision: grant.revision }));
            records.push(answered(code, &message));
        }
        // Remembered, so that the listing of desired grants does not bring back later what was refused now; the answer
        // follows from it.
        Review::Refuse(code, message) => {
            records.extend(refused_at_once(grant, Source::Task, code, &message));
        }
        Review::Answer(code, message) => records.push(answered(code, &message)),
    }
    records
}

/// The records for a task that takes access away.
pub fn revoke(book: &Book, task: &TaskId, lease: &Lease, grant: &Grant, now: Timestamp) -> Vec<Record> {
    let ask = Ask::Revoke { grant: grant.id.clone(), groups: grant.groups.iter().cloned().collect() };
    let mut records = vec![taken(task, ask, lease)];
    if book.task(task).is_some() {
        return records;
    }
    records.extend(end(book, grant, EndReason::Revoked, now));
    records
}

/// The records for a grant that Apono lists as desired.
pub fn adopt(book: &Book, grant: &Grant, policy: &Policy, conditions: &Conditions) -> Vec<Record> {
    match review(book, grant, Source::Listing, 0, policy, conditions) {
        Review::Begin => vec![event(grant, Event::Accepted { grant: grant.clone(), by: Source::Listing })],
        Review::Revise => vec![event(grant, Event::Revised { grant: grant.clone(), by: Source::Listing })],
        Review::Known | Review::EndNow | Review::Refuse(..) | Review::Answer(..) => Vec::new(),
    }
}

/// The records for a grant that Apono no longer lists.
pub fn withdraw(book: &Book, id: &GrantId, now: Timestamp) -> Vec<Record> {
    let live = book.grant(id).is_some_and(|known| known.end.is_none() && known.by.is_listed());
    let event = Event::EndRequested { reason: EndReason::Withdrawn, due: now, by: None };
    live.then(|| Record::Grant { id: id.clone(), event }).into_iter().collect()
}

/// The records that end every live grant of an organization, because its operator has switched grants off.
pub fn switch_off(book: &Book, integration: &IntegrationId, now: Timestamp) -> Vec<Record> {
    let live = book.grants().filter(|(_, known)| {
        known.terms.integration == *integration && known.end.is_none() && known.is_open()
    });
    let event = Event::EndRequested { reason: EndReason::SwitchedOff, due: now, by: None };
    live.map(|(id, _)| Record::Grant { id: id.clone(), event: event.clone() }).collect()
}

/// The records that end a grant because a person on this host wants it; `by` says who and why.
pub fn end_by_operator(book: &Book, id: &GrantId, by: &str, now: Timestamp) -> Vec<Record> {
    let live = book.grant(id).is_some_and(|known| known.end.is_none());
    let event = Event::EndRequested { reason: EndReason::Operator, due: now, by: Some(by.to_owned()) };
    live.then(|| Record::Grant { id: id.clone(), event }).into_iter().collect()
}

/// The records that end a grant, known or not. Nothing when it is over already.
fn end(book: &Book, grant: &Grant, reason: EndReason, now: Timestamp) -> Vec<Record> {
    let over = event(grant, Event::EndRequested { reason, due: now, by: None });
    match book.grant(&grant.id) {
        // The revoke came before its grant: what is remembered keeps the grant from ever beginning.
        None => vec![event(grant, Event::Accepted { grant: grant.clone(), by: Source::Task }), over],
        Some(known) if known.end.is_none() => vec![over],
        Some(_) => Vec::new(),
    }
}

/// The record that takes on any other task.
pub fn taken(task: &TaskId, ask: Ask, lease: &Lease) -> Record {
    Record::Task { id: task.clone(), event: TaskEvent::Taken { ask, lease: lease.clone(), by: None } }
}

/// The records for a task that is answered at once.
pub fn answered_at_once(book: &Book, task: &TaskId, lease: &Lease, result: TaskResult) -> Vec<Record> {
    let mut records = vec![taken(task, Ask::Other, lease)];
    if book.task(task).is_none_or(|known| known.result.is_none()) {
        records.push(Record::Task { id: task.clone(), event: TaskEvent::Answered { result } });
    }
    records
}

/// The records of a grant that is refused before anything is done for it.
pub(super) fn refused_at_once(grant: &Grant, by: Source, code: Code, message: &str) -> Vec<Record> {
    let refused = |group: &OktaGroupId| Event::Refused {
        group: group.clone(),
        code,
        message: message.to_owned(),
        proven_absent: false,
    };
    let accepted = event(grant, Event::Accepted { grant: grant.clone(), by });
    let refusals = grant.groups.iter().map(|group| event(grant, refused(group)));
    std::iter::once(accepted).chain(refusals).collect()
}

/// What new terms mean for what is known.
pub(super) enum Review {
    Begin,
    Revise,
    /// Taken on from the listing already; the task is answered by what becomes of it.
    Known,
    EndNow,
    /// By the policy, or by what is so now.
    Refuse(Code, String),
    Answer(Code, String),
}

/// Reviews terms that came `by` this way; `beside` grants will begin with them.
pub(super) fn review(
    book: &Book,
    grant: &Grant,
    by: Source,
    beside: usize,
    policy: &Policy,
    conditions: &Conditions,
) -> Review {
    let now = conditions.now;
    let known = book.grant(&grant.id);
    let superseded = |message: String| Review::Answer(Code::Superseded, message);
    if let Some(known) = known {
        if known.by.is_listed() != by.is_listed() {
            let problem = "the grant came by another way than this, and is changed by that way alone";
            return Review::Answer(Code::MalformedTask, problem.to_owned());
        }
        if known.end.is_some() || known.is_overdue(now) {
            return superseded("the grant is over".to_owned());
        }
        if known.by == Source::Listing && is_same(&known.terms, grant) {
            return Review::Known;
        }
        if grant.revision <= known.heard_of() {
            return superseded(format!("revision {} of the grant is known already", known.heard_of()));
        }
        if let Some(problem) = changed_identity(known, grant) {
            return Review::Answer(Code::MalformedTask, problem);
        }
    }
    if grant.expires_at.is_some_and(|expiry| expiry <= now) {
        let live = known.is_some_and(|known| known.is_open());
        return if live {
            Review::EndNow
        } else {
            Review::Answer(Code::Expired, "the grant's time was over when it came".to_owned())
        };
    }
    let refused = match known {
        // What gives nothing more is never refused: refusing it would leave the longer grant in force.
        Some(known) if only_takes_away(&known.terms, grant) => None,
        Some(_) => policy.review_change(grant, conditions).err(),
        None => policy.review_new(grant, live(book, grant) + beside, conditions).err(),
    };
    if let Some(refusal) = refused {
        return Review::Refuse(refusal.code, refusal.message);
    }
    if known.is_some() { Review::Revise } else { Review::Begin }
}

/// The other grants in the same organization that are not over.
fn live(book: &Book, grant: &Grant) -> usize {
    let others =
        book.grants().filter(|(id, state)| **id != grant.id && state.end.is_none() && state.is_open());
    others.filter(|(_, state)| state.terms.integration == grant.integration).count()
}

/// Whether two descriptions mean the same access. What Apono says beside it may differ from listing to task.
fn is_same(known: &Grant, grant: &Grant) -> bool {
    (known.revision, &known.groups, known.expires_at) == (grant.revision, &grant.groups, grant.expires_at)
        && known.integration == grant.integration
        && known.username.to_lowercase() == grant.username.to_lowercase()
}

/// Whether `grant` gives nothing that `known` did not give.
fn only_takes_away(known: &Grant, grant: &Grant) -> bool {
    let not_longer = match (known.expires_at, grant.expires_at) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(known), Some(new)) => new <= known,
    };
    not_longer && grant.groups.is_subset(&known.groups)
}

/// Who and where are what the grant *is*; another user or organization is another grant.
fn changed_identity(known: &GrantState, grant: &Grant) -> Option<String> {
    if known.terms.integration != grant.integration {
        return Some(format!("the grant belongs to integration {}", known.terms.integration));
    }
    if known.terms.username.to_lowercase() != grant.username.to_lowercase() {
        return Some("a revision cannot change the user of a grant".to_owned());
    }
    None
}

fn event(grant: &Grant, event: Event) -> Record {
    Record::Grant { id: grant.id.clone(), event }
}

fn answer(task: &TaskId, grant: &Grant, code: Code, message: &str, now: Timestamp) -> Record {
    let result = refusal(grant, code, message, now);
    Record::Task { id: task.clone(), event: TaskEvent::Answered { result } }
}

/// The result of a task for which nothing is done, for one reason.
pub fn refusal(grant: &Grant, code: Code, message: &str, now: Timestamp) -> TaskResult {
    if code == Code::MalformedTask {
        return TaskResult::whole(code, message, json!({}), now);
    }
    let of = |group: &OktaGroupId| ResourceResult::new(group.as_str(), code, message, Vec::new());
    TaskResult::of_resources(grant.groups.iter().map(of).collect(), now)
}
