//! # Purpose
//! Sends the results that are on disk until Apono has them.
//!
//! # Invariants kept here
//! - A result leaves the disk only when Apono has it, or has another session's.
//! - A result is sent only when a crash cannot take it back.
//! - Sending never stops for good; a result that Apono does not take holds up no other.
//!
//! # Not here
//! What the results say: `tasks`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::book::Book;
use super::journal::Record;
use super::ledger::Ledger;
use super::tasks::{Closure, TaskEvent, TaskState};
use crate::apono::{AponoError, ControlPlane, Reported, TaskResult};
use crate::clock::{self, SharedClock};
use crate::domain::TaskId;
use crate::http::Class;
use crate::http::retry::doubling;
use crate::telemetry::metrics::TaskLabels;
use crate::telemetry::{Metrics, chain};

/// The loop.
#[derive(Debug)]
pub struct Outbox {
    /// Apono.
    pub control: Arc<ControlPlane>,
    /// Where the results are.
    pub ledger: Arc<Ledger>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Time.
    pub clock: SharedClock,
}

/// What the loop remembers of failures.
#[derive(Debug, Default)]
struct Pauses {
    /// Apono is not to be had: nothing is sent before this instant.
    all: (u32, Duration),
    /// Apono does not take this result.
    one: BTreeMap<TaskId, (u32, Duration)>,
}

/// Results that are sent at the same time.
const AT_ONCE: usize = 4;
/// How many are picked up before looking again.
const BATCH: usize = 64;

impl Outbox {
    /// Sends until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut changes = self.ledger.changes();
        let mut pauses = Pauses::default();
        while !stop.is_cancelled() {
            changes.borrow_and_update();
            let again = self.send_ready(&mut pauses, &stop).await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = clock::sleep(again.unwrap_or(Duration::MAX)), if again.is_some() => {}
                _ = changes.changed() => {}
            }
        }
    }

    /// One last try, when the process stops.
    pub async fn flush(&self) {
        let mut pauses = Pauses::default();
        while self.send_ready(&mut pauses, &CancellationToken::new()).await == Some(Duration::ZERO) {}
    }

    /// Sends what may be sent now; returns when to come back, if nothing changes before.
    async fn send_ready(&self, pauses: &mut Pauses, stop: &CancellationToken) -> Option<Duration> {
        let now = self.clock.elapsed();
        // What a crash could take back is not told; the ledger's next change is the end of that.
        let complete = self.ledger.health().complete;
        let fleet = self.ledger.fleet();
        let (batch, pending) = self.ledger.read(|book| {
            pauses.one.retain(|id, _| book.task(id).is_some_and(TaskState::is_ready));
            let mine = |id: &TaskId, task: &TaskState| fleet.is_mine(task.by.as_ref(), id.as_str());
            let ready = || book.tasks().filter(|(id, task)| task.is_ready() && mine(id, task));
            let free = ready().filter(|(id, _)| pauses.one.get(*id).is_none_or(|(_, until)| *until <= now));
            let batch: Vec<_> = free.take(BATCH).map(|(id, task)| (id.clone(), task.clone())).collect();
            (batch, ready().count())
        });
        self.metrics.results_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        if !complete {
            return None;
        }
        if now < pauses.all.1 {
            return Some(pauses.all.1.saturating_sub(now));
        }
        let is_full = batch.len() == BATCH;
        // Those that were begun are finished, because they end in a record; the others are left for later.
        let away = AtomicBool::new(false);
        let send = |(id, task): (TaskId, TaskState)| {
            let away = &away;
            async move {
                if away.load(Ordering::Relaxed) || stop.is_cancelled() {
                    return (id, Sent::Left);
                }
                let sent = self.send(&id, &task, stop).await;
                away.fetch_or(matches!(sent, Sent::Failed(Class::Transient)), Ordering::Relaxed);
                (id, sent)
            }
        };
        let mut sending = stream::iter(batch).map(send).buffer_unordered(AT_ONCE);
        while let Some((id, sent)) = sending.next().await {
            let now = self.clock.elapsed();
            match sent {
                Sent::Taken => {
                    pauses.all.0 = 0;
                    pauses.one.remove(&id);
                }
                Sent::Left => {}
                Sent::Failed(Class::Transient) => {
                    pauses.all.0 += 1;
                    pauses.all.1 =
                        now + doubling(Duration::from_millis(500), Duration::from_secs(15), pauses.all.0);
                }
                Sent::Failed(Class::Permanent | Class::Misconfigured) => {
                    let (failures, until) = pauses.one.entry(id).or_default();
                    *failures += 1;
                    *until = now + doubling(Duration::from_secs(15), Duration::from_mins(5), *failures);
                }
            }
        }
        let now = self.clock.elapsed();
        if pauses.all.1 > now {
            return Some(pauses.all.1.saturating_sub(now));
        }
        if is_full {
            return Some(Duration::ZERO);
        }
        let waits = pauses.one.values().map(|(_, until)| until.saturating_sub(self.clock.elapsed()));
        waits.min().map(|wait| wait.max(Duration::from_millis(1)))
    }

    async fn send(&self, id: &TaskId, task: &TaskState, stop: &CancellationToken) -> Sent {
        let Some(result) = &task.result else {
            return Sent::Left;
        };
        let report = self.control.report(id, &task.lease.token, result);
        let why = match stop.run_until_cancelled(report).await {
            None => return Sent::Left,
            Some(Ok(Reported::Stored)) => Closure::Delivered,
            Some(Ok(Reported::AlreadyFinished)) => Closure::FinishedElsewhere,
            Some(Err(error)) => {
                log(id, &error);
                return Sent::Failed(error.class());
            }
        };
        info!(event = "task_answered", task.id = %id, result.status = result.status.as_str(), result.code = result.code.as_str(),
            "task {id}: {} {}{}", result.status.as_str(), result.code.as_str(),
            if why == Closure::FinishedElsewhere { ", answered by another session already" } else { "" });
        let labels = TaskLabels { event_type: label(task), status: result.status.as_str() };
        self.metrics.tasks.get_or_create(&labels).inc();
        self.close(id, result, why).await;
        Sent::Taken
    }

    async fn close(&self, id: &TaskId, sent: &TaskResult, why: Closure) {
        let decide = |book: &Book| {
            let same = book.task(id).is_some_and(|task| task.result.as_ref() == Some(sent));
            let event = TaskEvent::Closed { why };
            same.then(|| Record::Task { id: id.clone(), event }).into_iter().collect()
        };
        // A disk that fails does not make it fail: the end of a task goes ahead.
        if let Err(error) = self.ledger.record(&[], decide).await {
            warn!(task.id = %id, error = %chain(&error), "cannot record that task {id} is done: {}", chain(&error));
        }
    }
}

enum Sent {
    Taken,
    Left,
    Failed(Class),
}

fn log(id: &TaskId, error: &AponoError) {
    match error.class() {
        Class::Transient => {
            debug!(task.id = %id, error = %chain(error), "the result of {id} waits: {}", chain(error));
        }
        Class::Permanent | Class::Misconfigured => {
            warn!(task.id = %id, error = %chain(error), "Apono does not take the result of {id}: {}", chain(error));
        }
    }
}

fn label(task: &TaskState) -> &'static str {
    match task.ask {
        super::tasks::Ask::Grant { .. } => "grant-access",
        super::tasks::Ask::Revoke { .. } => "revoke-access",
        super::tasks::Ask::Other => "other",
    }
}
