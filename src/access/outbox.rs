//! # Purpose
//! Sends the results that are on disk until Apono has them.
//!
//! # Invariants kept here
//! - A result leaves the disk only when Apono has it, or has another session's.
//! - Sending never stops for good; after a failure it comes back, slowly for what a person must mend.
//!
//! # Not here
//! What the results say: `tasks`.

use std::sync::Arc;
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
use crate::clock;
use crate::domain::TaskId;
use crate::http::Class;
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
}

/// Results that are sent at the same time.
const AT_ONCE: usize = 4;
/// How many are picked up before looking again.
const BATCH: usize = 64;

impl Outbox {
    /// Sends until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut changes = self.ledger.changes();
        let mut failures = 0_u32;
        while !stop.is_cancelled() {
            changes.borrow_and_update();
            let wait = match self.send_ready().await {
                Sent::All => {
                    failures = 0;
                    None
                }
                Sent::More => continue,
                Sent::Failed(class) => {
                    failures += 1;
                    Some(pause(class, failures))
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = clock::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {}
                _ = changes.changed(), if wait.is_none() => {}
            }
        }
    }

    /// One last try, when the process stops.
    pub async fn flush(&self) {
        while let Sent::More = self.send_ready().await {}
    }

    async fn send_ready(&self) -> Sent {
        let (batch, pending) = self.ledger.read(|book| {
            let ready = || book.tasks().filter(|(_, task)| task.is_ready());
            let batch: Vec<(TaskId, TaskState)> =
                ready().take(BATCH).map(|(id, task)| (id.clone(), task.clone())).collect();
            (batch, ready().count())
        });
        self.metrics.results_pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        let more = pending > batch.len();
        let mut sending = stream::iter(batch).map(|(id, task)| self.send(id, task)).buffer_unordered(AT_ONCE);
        let mut failed = None;
        while let Some(sent) = sending.next().await {
            failed = failed.or(sent.err());
        }
        match failed {
            Some(class) => Sent::Failed(class),
            None if more => Sent::More,
            None => Sent::All,
        }
    }

    async fn send(&self, id: TaskId, task: TaskState) -> Result<(), Class> {
        let Some(result) = &task.result else {
            return Ok(());
        };
        let why = match self.control.report(&id, &task.lease.token, result).await {
            Ok(Reported::Stored) => Closure::Delivered,
            Ok(Reported::AlreadyFinished) => Closure::FinishedElsewhere,
            Err(error) => {
                log(&id, &error);
                return Err(error.class());
            }
        };
        info!(task.id = %id, status = result.status.as_str(), code = result.code.as_str(),
            "task {id}: {} {}{}", result.status.as_str(), result.code.as_str(),
            if why == Closure::FinishedElsewhere { ", answered by another session already" } else { "" });
        let labels = TaskLabels { event_type: label(&task), status: result.status.as_str() };
        self.metrics.tasks.get_or_create(&labels).inc();
        self.close(id, result, why).await
    }

    async fn close(&self, id: TaskId, sent: &TaskResult, why: Closure) -> Result<(), Class> {
        let decide = |book: &Book| {
            let same = book.task(&id).is_some_and(|task| task.result.as_ref() == Some(sent));
            let event = TaskEvent::Closed { why };
            same.then(|| Record::Task { id: id.clone(), event }).into_iter().collect()
        };
        self.ledger.record(&[], decide).await.map_err(|error| {
            warn!(task.id = %id, error = %chain(&error), "cannot record that task {id} is done: {}", chain(&error));
            Class::Transient
        })?;
        Ok(())
    }
}

enum Sent {
    All,
    More,
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

fn pause(class: Class, failures: u32) -> Duration {
    let (first, longest) = match class {
        Class::Transient => (Duration::from_millis(500), Duration::from_secs(15)),
        Class::Permanent | Class::Misconfigured => (Duration::from_secs(15), Duration::from_mins(5)),
    };
    first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(10))).min(longest)
}

fn label(task: &TaskState) -> &'static str {
    match task.ask {
        super::tasks::Ask::Grant { .. } => "grant-access",
        super::tasks::Ask::Revoke { .. } => "revoke-access",
        super::tasks::Ask::Other => "other",
    }
}
