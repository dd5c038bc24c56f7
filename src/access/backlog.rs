//! # Purpose
//! What is in force already and not on disk yet.
//!
//! # Invariants kept here
//! - Pure. What waits is in the order in which it came into force.
//! - It is bounded by the duties at hand: each can end once, with what the audit trail was not told of it, and a task
//!   that is handed out again and again takes the place of its former lease.
//!
//! # Not here
//! When it is written: `ledger`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::journal::{Entry, Record, Standing, Subject};
use super::tasks::TaskEvent;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    entries: Vec<Entry>,
    standing: BTreeMap<Subject, bool>,
}

/// How far the backlog went before something was added.
#[derive(Debug)]
pub(super) struct Mark {
    entries: usize,
    standing: BTreeMap<Subject, bool>,
}

impl Backlog {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What waits.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Which subjects will be open then.
    pub(super) fn standing(&self) -> Vec<Standing> {
        let standing =
            |(subject, open): (&Subject, &bool)| Standing { subject: subject.clone(), open: *open };
        self.standing.iter().map(standing).collect()
    }

    /// What it is about.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        self.standing.keys().cloned().collect()
    }

    /// Whether something of `subject` waits, or was just written.
    pub(super) fn holds(&self, subject: &Subject) -> bool {
        self.standing.contains_key(subject)
    }

    /// Adds records.
    pub(super) fn push(&mut self, at: Timestamp, records: &[Record], standing: Vec<Standing>) {
        for record in records {
            let entry = Entry { at, record: record.clone() };
            match self.former_lease(record) {
                Some(former) => *former = entry,
                None => self.entries.push(entry),
            }
        }
        self.standing.extend(standing.into_iter().map(|standing| (standing.subject, standing.open)));
    }

    /// The lease that nothing has followed yet, and that `record` makes void.
    fn former_lease(&mut self, record: &Record) -> Option<&mut Entry> {
        let Record::Task { event: TaskEvent::Taken { .. }, .. } = record else {
            return None;
        };
        let subject = record.subject();
        if !self.standing.contains_key(&subject) {
            return None;
        }
        let latest = self.entries.iter_mut().rev().find(|entry| entry.record.subject() == subject)?;
        match latest.record {
            Record::Task { event: TaskEvent::Taken { .. }, .. } => Some(latest),
            Record::Task {
                event: TaskEvent::Answered { .. } | TaskEvent::LeaseLost | TaskEvent::Closed { .. },
                ..
            }
            | Record::Grant { .. }
            | Record::Trail { .. } => None,
        }
    }

    /// How far it goes now.
    pub(super) fn mark(&self) -> Mark {
        Mark { entries: self.entries.len(), standing: self.standing.clone() }
    }

    /// Takes back what was added since to a backlog that was empty.
    pub(super) fn take_back(&mut self, Mark { entries, standing }: Mark) {
        self.entries.truncate(entries);
        self.standing = standing;
    }

    /// This waits, and nothing else; `standing` says so of the subjects of what no longer does, too.
    pub(super) fn replace(&mut self, entries: Vec<Entry>, standing: Vec<Standing>) {
        self.entries = entries;
        self.standing = standing.into_iter().map(|standing| (standing.subject, standing.open)).collect();
    }

    /// All of it is on disk.
    pub(super) fn written(&mut self) {
        self.entries.clear();
    }

    /// The subjects of what was written.
    pub(super) fn settled(&mut self) -> impl Iterator<Item = Subject> + use<> {
        std::mem::take(&mut self.standing).into_keys()
    }
}
