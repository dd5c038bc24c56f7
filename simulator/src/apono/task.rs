//! # Purpose
//! The tasks: which wait, who holds which, and which results stand. Pure but for its counters: time is an argument.
//!
//! # Invariants kept here
//! - A task without a result is waiting, leased, or both; a lease that ran out puts it back.
//! - Every lease token is issued once and remembered, so that a late result is told from a forged one.
//! - The first result of a task stands.
//!
//! # Not here
//! Waiting for a task, and what bodies must look like: see [`super::lease`] and [`super::result`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

#[derive(Debug, Default)]
pub(super) struct Tasks {
    records: BTreeMap<String, Record>,
    waiting: VecDeque<Delivery>,
    /// (end, task, token) of every lease that is running.
    running: BTreeSet<(Timestamp, String, String)>,
    last_task: u64,
    last_lease: u64,
    unfinished: usize,
}

/// What is known of one task id.
#[derive(Debug)]
struct Record {
    body: Value,
    attempts: u64,
    holders: Vec<Lease>,
    /// The lease that ran out last, until somebody else gets the task.
    lapsed: Option<Lease>,
    /// Session by token, of every lease there ever was.
    issued: BTreeMap<String, String>,
    result: Option<Value>,
    posts: usize,
    conflicts: usize,
}

#[derive(Clone, Debug)]
struct Lease {
    token: String,
    ends: Timestamp,
}

/// A task in the queue.
#[derive(Debug)]
struct Delivery {
    /// `None` for a body without a usable `task_id`, which is handed out once.
    task: Option<String>,
    body: Value,
    /// Meant for this session alone.
    only: Option<String>,
    /// Handed out although the task has a result.
    forced: bool,
}

/// What became of an attempt to extend a lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Extension {
    Until(Timestamp),
    Lost,
    UnknownTask,
}

/// What became of a result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reception {
    Stored,
    SameAgain,
    Conflict,
    UnknownToken,
    UnknownTask,
}

impl Tasks {
    /// Queues a new task under the next id.
    pub(super) fn enqueue(&mut self, event_type: &str, integration_id: &str, params: Value) -> String {
        self.last_task += 1;
        let id = format!("tsk_{:06}", self.last_task);
        let mut body = Map::new();
        body.insert("task_id".into(), id.clone().into());
        body.insert("event_type".into(), event_type.into());
        body.insert("integration_id".into(), integration_id.into());
        body.insert("params".into(), params);
        self.enqueue_raw(Value::Object(body));
        id
    }

    /// Queues whatever this is. An id that is known already is delivered again, with this body.
    pub(super) fn enqueue_raw(&mut self, body: Value) {
        let task = body.get("task_id").and_then(Value::as_str).map(str::to_owned);
        let mut forced = false;
        if let Some(id) = &task {
            forced = self.records.contains_key(id);
            if !forced {
                self.unfinished += 1;
            }
            let record = self.records.entry(id.clone()).or_insert_with(Record::new);
            record.body = body.clone();
        }
        self.waiting.push_back(Delivery { task, body, only: None, forced });
    }

    /// Queues a known task again, for `only` or for anybody. True if there is such a task.
    pub(super) fn deliver_again(&mut self, id: &str, only: Option<&str>) -> bool {
        let Some(record) = self.records.get(id) else { return false };
        let body = record.body.clone();
        let only = only.map(Into::into);
        self.waiting.push_back(Delivery { task: Some(id.into()), body, only, forced: true });
        true
    }

    /// Queues a known task for each of these sessions that has not had it yet, and for nobody else.
    pub(super) fn deliver_to_each(&mut self, id: &str, sessions: &[String]) {
        let Some(record) = self.records.get(id) else { return };
        let had: BTreeSet<String> = record.issued.values().cloned().collect();
        self.withdraw(id);
        for session in sessions.iter().filter(|session| !had.contains(*session)) {
            self.deliver_again(id, Some(session));
        }
    }

    /// Hands out up to `max` tasks.
    pub(super) fn hand_out(
        &mut self,
        session: &str,
        max: usize,
        lease_for: SignedDuration,
        now: Timestamp,
    ) -> Vec<Value> {
        self.expire(now);
        let mut handed = Vec::new();
        let mut passed_over = Vec::new();
        while handed.len() < max {
            let Some(delivery) = self.waiting.pop_front() else { break };
            let finished = delivery.task.as_ref().is_some_and(|id| self.result(id).is_some());
            if delivery.only.as_deref().is_some_and(|only| only != session) {
                passed_over.push(delivery);
            } else if delivery.forced || !finished {
                handed.push(self.lease(delivery, session, lease_for, now));
            }
        }
        for delivery in passed_over.into_iter().rev() {
            self.waiting.push_front(delivery);
        }
        handed
    }

    fn lease(
        &mut self,
        delivery: Delivery,
        session: &str,
        lease_for: SignedDuration,
        now: Timestamp,
    ) -> Value {
        self.last_lease += 1;
        let mut lease = Lease { token: format!("lse_{:08}", self.last_lease), ends: after(now, lease_for) };
        let Delivery { task, mut body, only, .. } = delivery;
        // A body that brings its own lease was made to be wrong in some way; its token is honored.
        let own = body.get("lease").cloned();
        if let Some(token) = own.as_ref().and_then(|own| own.get("token")).and_then(Value::as_str) {
            lease.token = token.into();
        }
        let mut attempt = 1;
        if let Some((id, record)) = task.and_then(|id| self.records.get_mut(&id).map(|record| (id, record))) {
            record.attempts += 1;
            attempt = record.attempts;
            record.issued.insert(lease.token.clone(), session.into());
            record.lapsed = None;
            // A delivery that is meant for one session leaves the others what they hold.
            if only.is_none() {
                for old in record.holders.drain(..) {
                    self.running.remove(&(old.ends, id.clone(), old.token));
                }
            }
            record.holders.push(lease.clone());
            self.running.insert((lease.ends, id, lease.token.clone()));
        }
        if own.is_none()
            && let Some(fields) = body.as_object_mut()
        {
            let shown =
                json!({"token": lease.token, "expires_at": lease.ends.to_string(), "attempt": attempt});
            fields.insert("lease".into(), shown);
        }
        body
    }

    /// Puts back the tasks whose lease has run out.
    fn expire(&mut self, now: Timestamp) {
        while self.running.first().is_some_and(|(ends, _, _)| *ends <= now) {
            let Some((_, id, token)) = self.running.pop_first() else { return };
            let Some(record) = self.records.get_mut(&id) else { continue };
            let Some(index) = record.holders.iter().position(|lease| lease.token == token) else { continue };
            let lease = record.holders.remove(index);
            if record.holders.is_empty() {
                record.lapsed = Some(lease);
                if record.result.is_none() {
                    let body = record.body.clone();
                    self.waiting.push_back(Delivery { task: Some(id), body, only: None, forced: false });
                }
            }
        }
    }

    /// When the next lease runs out.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.running.first().map(|(ends, _, _)| *ends)
    }

    pub(super) fn extend(
        &mut self,
        id: &str,
        token: &str,
        lease_for: SignedDuration,
        now: Timestamp,
    ) -> Extension {
        self.expire(now);
        let ends = after(now, lease_for);
        let Some(record) = self.records.get_mut(id) else { return Extension::UnknownTask };
        if let Some(lease) = record.holders.iter_mut().find(|lease| lease.token == token) {
            self.running.remove(&(lease.ends, id.into(), token.into()));
            lease.ends = ends;
            self.running.insert((ends, id.into(), token.into()));
            return Extension::Until(ends);
        }
        // It ran out, but nobody else has got the task yet: it may be taken up again.
        if record.result.is_none() && record.lapsed.as_ref().is_some_and(|lease| lease.token == token) {
            record.lapsed = None;
            record.holders.push(Lease { token: token.into(), ends });
            self.running.insert((ends, id.into(), token.into()));
            self.withdraw(id);
            return Extension::Until(ends);
        }
        Extension::Lost
    }

    pub(super) fn receive(&mut self, id: &str, token: &str, body: &Value) -> Reception {
        let Some(record) = self.records.get_mut(id) else { return Reception::UnknownTask };
        if !record.issued.contains_key(token) {
            return Reception::UnknownToken;
        }
        if let Some(stands) = &record.result {
            if stands == body {
                record.posts += 1;
                return Reception::SameAgain;
            }
            record.conflicts += 1;
            return Reception::Conflict;
        }
        record.result = Some(body.clone());
        record.posts += 1;
        for lease in record.holders.drain(..) {
            self.running.remove(&(lease.ends, id.into(), lease.token));
        }
        record.lapsed = None;
        self.unfinished -= 1;
        Reception::Stored
    }

    /// Takes a task out of the queue, except where it was asked for on top.
    fn withdraw(&mut self, id: &str) {
        self.waiting.retain(|delivery| delivery.forced || delivery.task.as_deref() != Some(id));
    }

    pub(super) fn body(&self, id: &str) -> Option<&Value> {
        self.records.get(id).map(|record| &record.body)
    }

    pub(super) fn result(&self, id: &str) -> Option<&Value> {
        self.records.get(id).and_then(|record| record.result.as_ref())
    }

    pub(super) fn posts(&self, id: &str) -> usize {
        self.records.get(id).map_or(0, |record| record.posts)
    }

    pub(super) fn conflicts(&self, id: &str) -> usize {
        self.records.get(id).map_or(0, |record| record.conflicts)
    }

    pub(super) fn attempts(&self, id: &str) -> u64 {
        self.records.get(id).map_or(0, |record| record.attempts)
    }

    pub(super) fn unfinished(&self) -> usize {
        self.unfinished
    }

    pub(super) fn waiting(&self) -> usize {
        let due = |delivery: &&Delivery| {
            delivery.forced || delivery.task.as_ref().is_none_or(|id| self.result(id).is_none())
        };
        self.waiting.iter().filter(due).count()
    }
}

impl Record {
    fn new() -> Self {
        Self {
            body: Value::Null,
            attempts: 0,
            holders: Vec::new(),
            lapsed: None,
            issued: BTreeMap::new(),
            result: None,
            posts: 0,
            conflicts: 0,
        }
    }
}

fn after(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}
