//! # Purpose
//! All open grants and tasks, as the journal's entries have made them, who holds which membership, and what the audit
//! trail was not told yet.
//!
//! # Invariants kept here
//! - Pure: entries in, state out; the same at replay as live.
//! - An answer to a task is recorded with the event that decides it, never later.
//! - A membership that another grant's holding owes is held by it (invariant 4).
//!
//! # Not here
//! The disk: `ledger`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::audited;
use super::journal::{Entry, Record, Standing, Subject};
use super::machine::{self, Event, GrantState, IllegalEvent};
use super::tasks::{self, IllegalTaskEvent, TaskEvent, TaskState};
use super::untold::{Before, Untold};
use crate::audit::AuditRecord;
use crate::domain::{GrantId, IntegrationId, Membership, OktaGroupId, OktaUserId, TaskId};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    grants: BTreeMap<GrantId, Arc<GrantState>>,
    tasks: BTreeMap<TaskId, TaskState>,
    holders: BTreeMap<(IntegrationId, Membership), BTreeSet<GrantId>>,
    askers: BTreeMap<GrantId, BTreeSet<TaskId>>,
    untold: Untold,
}

/// A record that the book does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllegalRecord {
    /// Of a grant.
    #[error("illegal for {id}")]
    Grant {
        /// Which.
        id: GrantId,
        /// Why.
        #[source]
        source: IllegalEvent,
    },
    /// Of a task.
    #[error("illegal for {id}")]
    Task {
        /// Which.
        id: TaskId,
        /// Why.
        #[source]
        source: IllegalTaskEvent,
    },
}

impl Book {
    /// A grant that is open, or was looked up.
    pub fn grant(&self, id: &GrantId) -> Option<&Arc<GrantState>> {
        self.grants.get(id)
    }

    /// All grants at hand.
    pub fn grants(&self) -> impl Iterator<Item = (&GrantId, &GrantState)> {
        self.grants.iter().map(|(id, state)| (id, state.as_ref()))
    }

    /// A task that is open, or was looked up.
    pub fn task(&self, id: &TaskId) -> Option<&TaskState> {
        self.tasks.get(id)
    }

    /// All tasks at hand.
    pub fn tasks(&self) -> impl Iterator<Item = (&TaskId, &TaskState)> {
        self.tasks.iter()
    }

    /// What the audit trail was not told yet.
    pub fn untold(&self) -> &Untold {
        &self.untold
    }

    /// The trail was told all of it: what is to be recorded of that, and is in force here already.
    pub fn all_told(&mut self) -> Vec<Record> {
        self.untold.all_told()
    }

    /// The tasks whose answer waits for `grant`.
    fn asked_of<'a>(&'a self, grant: &'a GrantId) -> impl Iterator<Item = (&'a TaskId, &'a TaskState)> {
        let askers = self.askers.get(grant).into_iter().flatten();
        askers.filter_map(|id| Some((id, self.tasks.get(id)?))).filter(|(_, task)| task.result.is_none())
    }

    /// Whether a grant other than `but` owes the removal of this membership.
    pub fn is_held_by_another(
        &self,
        integration: &IntegrationId,
        membership: &Membership,
        but: &GrantId,
    ) -> bool {
        self.holders(integration, membership).any(|holder| holder != but)
    }

    /// Whether somebody else has the task that asked for the present terms of `grant`: then nothing new is begun.
    pub fn is_elsewhere(&self, grant: &GrantId, state: &GrantState) -> bool {
        self.asked_of(grant).any(|(_, task)| match &task.ask {
            tasks::Ask::Grant { revision, .. } => task.lease_lost && *revision == state.terms.revision,
            tasks::Ask::Revoke { .. } | tasks::Ask::Other => false,
        })
    }

    /// How many memberships of each organization grants hold.
    pub fn held(&self) -> BTreeMap<IntegrationId, usize> {
        let mut held = BTreeMap::new();
        for (integration, _) in self.holders.keys() {
            *held.entry(integration.clone()).or_default() += 1;
        }
        held
    }

    /// The memberships of an organization that exist, or may exist, because of a grant.
    pub fn live(&self, integration: &IntegrationId) -> BTreeSet<Membership> {
        let of_integration = self.holders.keys().filter(|(holder, _)| holder == integration);
        of_integration.map(|(_, membership)| membership.clone()).collect()
    }

    /// The users who are, or may be, in a group because of a grant.
    pub fn live_in(&self, integration: &IntegrationId, group: &OktaGroupId) -> BTreeSet<OktaUserId> {
        let first = Membership { group: group.clone(), user: OktaUserId::from("") };
        let from = self.holders.range((integration.clone(), first)..);
        let of_group =
            from.take_while(|((holder, membership), _)| holder == integration && membership.group == *group);
        of_group.map(|((_, membership), _)| membership.user.clone()).collect()
    }

    /// Whether a subject is at hand.
    pub fn knows(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Grant(id) => self.grants.contains_key(id),
            Subject::Task(id) => self.tasks.contains_key(id),
            Subject::Trail(since) => self.untold.is_open(*since),
        }
    }

    /// The grants that owe the removal of this membership.
    pub fn holders(
        &self,
        integration: &IntegrationId,
        membership: &Membership,
    ) -> impl Iterator<Item = &GrantId> {
        self.holders.get(&(integration.clone(), membership.clone())).into_iter().flatten()
    }

    /// What the journal's entries, in order, have made. The states in between are nobody's concern.
    pub fn replay(entries: impl IntoIterator<Item = Entry>) -> Result<Self, IllegalRecord> {
        let mut grants: HashMap<GrantId, Option<GrantState>> = HashMap::new();
        let mut book = Self::default();
        for Entry { record, .. } in entries {
            match record {
                Record::Grant { id, event } => {
                    let illegal = |source| IllegalRecord::Grant { id: id.clone(), source };
                    machine::advance(grants.entry(id.clone()).or_default(), &event).map_err(illegal)?;
                }
                Record::Task { id, event } => {
                    let next = tasks::apply(book.tasks.get(&id), &event)
                        .map_err(|source| IllegalRecord::Task { id: id.clone(), source })?;
                    book.put_task(&id, Some(next));
                }
                Record::Trail { since, event } => {
                    book.untold.apply(since, &event);
                }
            }
        }
        for (id, state) in grants {
            book.put_grant(&id, state.map(Arc::new));
        }
        Ok(book)
    }

    /// Takes in records, all or none.
    pub fn apply(&mut self, records: &[Record]) -> Result<(), IllegalRecord> {
        self.apply_all(records, &mut |_, _, _, _| {}).map(|_| ())
    }

    /// What follows from `records`: the answers to tasks that they decide, and which subjects are open then. The book
    /// stays as it is.
    pub fn rehearse(&mut self, records: &[Record], now: Timestamp) -> Result<Rehearsal, IllegalRecord> {
        let mut told = Vec::new();
        let mut changed = self.apply_all(records, &mut |id, before, after, event| {
            told.extend(audited::project(id, before, after, event));
        })?;
        let answers = self.answers(records, now);
        let applied = self.apply_all(&answers, &mut |_, _, _, _| {});
        let subjects: BTreeSet<_> = records.iter().chain(&answers).map(Record::subject).collect();
        let standing =
            subjects.into_iter().map(|subject| Standing { open: self.is_open(&subject), subject }).collect();
        let applied = applied.map(|more| changed.extend(more));
        self.undo(changed);
        applied.map(|()| Rehearsal { answers, standing, told })
    }

    /// The answers to the tasks that wait for a grant which `records` touch.
    fn answers(&self, records: &[Record], now: Timestamp) -> Vec<Record> {
        let mut touched = BTreeSet::new();
        for record in records {
            match record {
                Record::Grant { id, .. } => {
                    touched.insert(id.clone());
                }
                Record::Task { id, .. } => {
                    touched.extend(self.tasks.get(id).and_then(|task| task.ask.grant()).cloned());
                }
                Record::Trail { .. } => {}
            }
        }
        let of_grant = |id: &GrantId| -> Vec<Record> {
            let Some(grant) = self.grants.get(id) else {
                return Vec::new();
            };
            let answer = |(task, state): (&TaskId, &TaskState)| {
                let result = tasks::answer(&state.ask, grant, now)?;
                Some(Record::Task { id: task.clone(), event: TaskEvent::Answered { result } })
            };
            self.asked_of(id).filter_map(answer).collect()
        };
        touched.iter().flat_map(of_grant).collect()
    }

    /// `seen` is shown each event of a grant between the states around it.
    fn apply_all(&mut self, records: &[Record], seen: &mut Seen<'_>) -> Result<Vec<Undo>, IllegalRecord> {
        let mut changed = Vec::with_capacity(records.len());
        for record in records {
            match self.apply_one(record, seen) {
                Ok(undo) => changed.push(undo),
                Err(error) => {
                    self.undo(changed);
                    return Err(error);
                }
            }
        }
        Ok(changed)
    }

    fn undo(&mut self, changed: Vec<Undo>) {
        for undo in changed.into_iter().rev() {
            self.restore(undo);
        }
    }

    /// Forgets subjects that are closed; the journal still knows them.
    pub fn forget_closed(&mut self, subjects: impl IntoIterator<Item = Subject>) {
        for subject in subjects {
            if !self.is_open(&subject) {
                match subject {
                    Subject::Grant(id) => {
                        self.grants.remove(&id);
                    }
                    Subject::Task(id) => {
                        self.put_task(&id, None);
                    }
                    // Nothing is kept of what is closed.
                    Subject::Trail(_) => {}
                }
            }
        }
    }

    /// Whether something is left to do about a subject.
    pub fn is_open(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Grant(id) => self.grants.get(id).is_some_and(|state| state.is_open()),
            Subject::Task(id) => self.tasks.get(id).is_some_and(TaskState::is_open),
            Subject::Trail(since) => self.untold.is_open(*since),
        }
    }

    fn apply_one(&mut self, record: &Record, seen: &mut Seen<'_>) -> Result<Undo, IllegalRecord> {
        match record {
            Record::Grant { id, event } => {
                let next = machine::apply(self.grants.get(id).map(Arc::as_ref), event)
                    .map_err(|source| IllegalRecord::Grant { id: id.clone(), source })?;
                seen(id, self.grants.get(id).map(Arc::as_ref), &next, event);
                Ok(Undo::Grant(id.clone(), self.put_grant(id, Some(Arc::new(next)))))
            }
            Record::Task { id, event } => {
                let next = tasks::apply(self.tasks.get(id), event)
                    .map_err(|source| IllegalRecord::Task { id: id.clone(), source })?;
                Ok(Undo::Task(id.clone(), self.put_task(id, Some(next)).map(Box::new)))
            }
            Record::Trail { since, event } => Ok(Undo::Trail(*since, self.untold.apply(*since, event))),
        }
    }

    fn restore(&mut self, undo: Undo) {
        match undo {
            Undo::Grant(id, before) => {
                self.put_grant(&id, before);
            }
            Undo::Task(id, before) => {
                self.put_task(&id, before.map(|before| *before));
            }
            Undo::Trail(since, before) => self.untold.restore(since, before),
        }
    }

    /// Puts a grant's state in place and keeps the index of holders true.
    fn put_grant(&mut self, id: &GrantId, state: Option<Arc<GrantState>>) -> Option<Arc<GrantState>> {
        let before = self.grants.remove(id);
        for key in owed_by_the_first_alone(before.as_deref(), state.as_deref()) {
            if let Some(holders) = self.holders.get_mut(&key) {
                holders.remove(id);
                if holders.is_empty() {
                    self.holders.remove(&key);
                }
            }
        }
        for key in owed_by_the_first_alone(state.as_deref(), before.as_deref()) {
            self.holders.entry(key).or_default().insert(id.clone());
        }
        if let Some(state) = state {
            self.grants.insert(id.clone(), state);
        }
        before
    }

    /// Puts a task's state in place and keeps the index of askers true. What a task asks never changes.
    fn put_task(&mut self, id: &TaskId, state: Option<TaskState>) -> Option<TaskState> {
        let before = self.tasks.remove(id);
        if let Some(grant) = before.as_ref().and_then(|task| task.ask.grant())
            && let Some(askers) = self.askers.get_mut(grant)
        {
            askers.remove(id);
            if askers.is_empty() {
                self.askers.remove(grant);
            }
        }
        if let Some(grant) = state.as_ref().and_then(|task| task.ask.grant()) {
            self.askers.entry(grant.clone()).or_default().insert(id.clone());
        }
        if let Some(state) = state {
            self.tasks.insert(id.clone(), state);
        }
        before
    }
}

type Seen<'a> = dyn FnMut(&GrantId, Option<&GrantState>, &GrantState, &Event) + 'a;

enum Undo {
    Grant(GrantId, Option<Arc<GrantState>>),
    Task(TaskId, Option<Box<TaskState>>),
    Trail(Timestamp, Before),
}

/// The memberships whose removal a grant owes in one state and not in the other. Most events change one group of what
/// may be a thousand.
fn owed_by_the_first_alone(
    first: Option<&GrantState>,
    second: Option<&GrantState>,
) -> Vec<(IntegrationId, Membership)> {
    let Some((state, user)) = first.and_then(|state| Some((state, state.user.as_ref()?))) else {
        return Vec::new();
    };
    let mut others = second
        .filter(|other| other.user.as_ref() == Some(user))
        .map(|other| other.holdings.iter().peekable());
    let mut owed_there = |group: &OktaGroupId| {
        let others = others.as_mut()?;
        // Both are sorted by group.
        while others.next_if(|(other, _)| *other < group).is_some() {}
        let (_, holding) = others.next_if(|(other, _)| *other == group)?;
        holding.owes_removal().then_some(())
    };
    let owing = state.holdings.iter().filter(|(_, holding)| holding.owes_removal());
    let alone = owing.filter(|(group, _)| owed_there(group).is_none());
    let membership = |group: &OktaGroupId| Membership { group: group.clone(), user: user.clone() };
    alone.map(|(group, _)| (state.terms.integration.clone(), membership(group))).collect()
}

/// See [`Book::rehearse`].
#[derive(Clone, Debug, PartialEq)]
pub struct Rehearsal {
    /// To be recorded together with the records.
    pub answers: Vec<Record>,
    /// Of all subjects touched.
    pub standing: Vec<Standing>,
    /// For the audit trail.
    pub told: Vec<AuditRecord>,
}
