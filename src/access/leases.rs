//! # Purpose
//! Keeps the leases of tasks that are worked on.
//!
//! # Invariants kept here
//! - A duty taken on stays ours when the lease is lost; only what was not begun is left to the other.
//! - Keeping leases costs no writes: how long a lease lasts is remembered, and after a restart asked again.
//!
//! # Not here
//! Taking tasks on: `leasing`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::book::Book;
use super::journal::Record;
use super::ledger::Ledger;
use super::tasks::{TaskEvent, TaskState};
use crate::apono::{ControlPlane, Extension};
use crate::clock::{self, SharedClock};
use crate::domain::TaskId;
use crate::telemetry::chain;

/// How long a task is ours without asking again.
pub(super) const TERM: Duration = Duration::from_mins(1);
/// A lease is extended when it has this long to run.
const EARLY: Duration = Duration::from_secs(30);
/// Between looks.
const LOOK: Duration = Duration::from_secs(10);
/// Extensions at the same time.
const AT_ONCE: usize = 4;

/// The loop.
#[derive(Debug)]
pub struct Leases {
    control: Arc<ControlPlane>,
    ledger: Arc<Ledger>,
    clock: SharedClock,
    /// By lease token: a task that is handed out again has another.
    until: BTreeMap<(TaskId, String), Timestamp>,
}

impl Leases {
    /// Nothing is remembered yet.
    pub fn new(control: Arc<ControlPlane>, ledger: Arc<Ledger>, clock: SharedClock) -> Self {
        Self { control, ledger, clock, until: BTreeMap::new() }
    }

    /// Keeps leases until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.keep(&stop).await;
            let _ = stop.run_until_cancelled(clock::sleep(LOOK)).await;
        }
    }

    async fn keep(&mut self, stop: &CancellationToken) {
        let soon = clock::after(self.clock.now(), EARLY);
        let mut working = BTreeMap::new();
        let fleet = self.ledger.fleet();
        let due: Vec<(TaskId, String)> = self.ledger.read(|book| {
            let mine = book
                .tasks()
                .filter(|(id, task)| is_worked_on(task) && fleet.is_mine(task.by.as_ref(), id.as_str()));
            let mut due = Vec::new();
            for (id, task) in mine {
                let key = (id.clone(), task.lease.token.clone());
                let until = self.until.get(&key).copied().or(task.lease.expires_at);
                if until.is_none_or(|until| until <= soon) {
                    due.push(key.clone());
                }
                working.extend(until.map(|until| (key, until)));
            }
            due
        });
        self.until = working;
        let control = &self.control;
        let extending = stream::iter(due).map(|(id, token)| async move {
            let answer = control.extend(&id, &token, TERM).await;
            (id, token, answer)
        });
        let mut extended = extending.buffer_unordered(AT_ONCE);
        // Only the network is left in the lurch at a stop, never a record.
        while let Some(Some((id, token, answer))) = stop.run_until_cancelled(extended.next()).await {
            match answer {
                Ok(Extension::Until(until)) => {
                    self.until.insert((id, token), until);
                }
                Ok(Extension::Lost) => lose(&self.ledger, &id, &token).await,
                Err(error) => {
                    debug!(task.id = %id, error = %chain(&error), "cannot extend the lease of {id}: {}", chain(&error));
                }
            }
        }
    }
}

fn is_worked_on(task: &TaskState) -> bool {
    task.result.is_none() && !task.closed && !task.lease_lost
}

async fn lose(ledger: &Ledger, id: &TaskId, token: &str) {
    info!(task.id = %id, "somebody else has task {id} now; nothing new is begun for it");
    let decide = |book: &Book| {
        // It may have been handed to us again meanwhile.
        let same = book.task(id).is_some_and(|task| is_worked_on(task) && task.lease.token == token);
        same.then(|| Record::Task { id: id.clone(), event: TaskEvent::LeaseLost }).into_iter().collect()
    };
    if let Err(error) = ledger.record(&[], decide).await {
        warn!(task.id = %id, error = %chain(&error), "cannot record that task {id} is lost: {}", chain(&error));
    }
}
