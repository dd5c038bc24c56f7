//! # Purpose
//! Brings Okta to what the book says, for as long as the process runs.
//!
//! # Invariants kept here
//! - It takes no input: whatever woke it, it looks at the whole book and does what is due. After a restart the same
//!   loop does what was left.
//! - A grant ends at its expiry by this loop alone, with or without Apono (invariant 3).
//! - Removals have places of their own; additions cannot fill them.
//! - A step that was begun is never cut off: a stop waits for it.
//!
//! # Not here
//! What a step does: `executor`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::book::Book;
use super::deadlines::{Deadlines, Reading};
use super::executor::{Executor, StepError};
use super::gate::Gate;
use super::intake;
use super::journal::Record;
use super::ledger::Ledger;
use super::machine::{EndReason, Event, Step};
use super::schedule::{self, Due};
use crate::clock::{self, SharedClock};
use crate::domain::{GrantId, OktaGroupId};
use crate::http::Class;
use crate::http::retry::doubling;
use crate::telemetry::metrics::IntegrationLabels;
use crate::telemetry::{Metrics, chain};

/// The loop of one organization.
#[derive(Debug)]
pub struct Reconciler {
    executor: Arc<Executor>,
    ledger: Arc<Ledger>,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    parallelism: usize,
    running: JoinSet<Result<(), StepError>>,
    steps: BTreeMap<Key, (Id, Step)>,
    pauses: BTreeMap<Key, Pause>,
    gate: Gate,
    deadlines: Deadlines,
    progress: watch::Sender<Progress>,
}

type Key = (GrantId, OktaGroupId);

/// What the loop says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// When it last looked, on the monotonic clock.
    pub looked: Duration,
    /// Removals that are due and not proven done.
    pub removals_due: usize,
    /// Memberships that grants hold.
    pub live: usize,
    /// Why a removal waits for a person, if one does.
    pub stuck: Option<String>,
}

/// What a step that failed waits for.
#[derive(Clone, Debug)]
struct Pause {
    failures: u32,
    until: Duration,
    /// Whether an outage may be the reason: then it may be the probe that finds the end of it.
    outage: bool,
    tried: Duration,
    /// Why a removal waits for a person, if it does.
    stuck: Option<String>,
}

/// A task of the loop panicked.
#[derive(Debug, thiserror::Error)]
#[error("a step died")]
pub struct StepDied(#[source] JoinError);

/// The loop looks at the clock at least this often: the wall clock may be set while it waits.
const LOOK: Duration = Duration::from_secs(1);

impl Reconciler {
    /// Begins with what the ledger holds.
    pub fn new(
        executor: Arc<Executor>,
        ledger: Arc<Ledger>,
        clock: SharedClock,
        metrics: Arc<Metrics>,
        parallelism: usize,
    ) -> Self {
        Self {
            executor,
            ledger,
            clock,
            metrics,
            parallelism: parallelism.max(1),
            running: JoinSet::new(),
            steps: BTreeMap::new(),
            pauses: BTreeMap::new(),
            gate: Gate::default(),
            deadlines: Deadlines::default(),
            progress: watch::Sender::default(),
        }
    }

    /// What the loop says of itself.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Runs until `stop`, then finishes the steps that were begun.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), StepDied> {
        let mut changes = self.ledger.changes();
        while !stop.is_cancelled() {
            changes.borrow_and_update();
            self.executor.watch().look().await;
            self.end_what_ran_out().await;
            self.start_what_is_due();
            let wait = self.wait();
            tokio::select! {
                () = stop.cancelled() => {}
                _ = changes.changed() => {}
                () = clock::sleep(wait) => {}
                Some(finished) = self.running.join_next_with_id() => self.finish(finished)?,
            }
        }
        while let Some(finished) = self.running.join_next_with_id().await {
            self.finish(finished)?;
        }
        Ok(())
    }

    fn reading(&self) -> Reading {
        Reading { wall: self.executor.watch().latest(), elapsed: self.clock.elapsed() }
    }

    async fn end_what_ran_out(&mut self) {
        let now = self.reading();
        let integration = self.executor.integration().clone();
        let switched_off = self.executor.watch().is_switched_off();
        let deadlines = &mut self.deadlines;
        let decide = |book: &Book| {
            let expired = |due| Event::EndRequested { reason: EndReason::Expired, due };
            let over = deadlines.run_out(book, &integration, now);
            if switched_off {
                return intake::switch_off(book, &integration, now.wall);
            }
            over.into_iter().map(|(id, due)| Record::Grant { id, event: expired(due) }).collect()
        };
        // A disk that fails does not make it fail: ends go ahead.
        if let Err(error) = self.ledger.record(&[], decide).await {
            warn!(error = %chain(&error), "cannot end the grants that ran out: {}", chain(&error));
        }
    }

    fn start_what_is_due(&mut self) {
        let now = self.clock.elapsed();
        let integration = self.executor.integration().clone();
        let (due, (live, removals_due)) = self
            .ledger
            .read(|book| (schedule::due(book, &integration), schedule::counts(book, &integration)));
        let labels = IntegrationLabels { integration: integration.as_str().to_owned() };
        self.metrics.access_live.get_or_create(&labels).set(i64::try_from(live).unwrap_or(i64::MAX));
        self.metrics
            .access_overdue
            .get_or_create(&labels)
            .set(i64::try_from(removals_due).unwrap_or(i64::MAX));
        let waiting: BTreeSet<Key> = due.iter().map(|due| (due.grant.clone(), due.group.clone())).collect();
        self.pauses.retain(|key, _| waiting.contains(key));
        let stuck = self.pauses.values().find_map(|pause| pause.stuck.clone());
        self.progress.send_replace(Progress { looked: now, removals_due, live, stuck });

        for due in self.in_order(due) {
            let key = (due.grant.clone(), due.group.clone());
            if self.waits(&key, now) || self.steps.contains_key(&key) || self.places(due.step) == 0 {
                continue;
            }
            if !self.gate.admits(self.steps.len(), now) {
                break;
            }
            self.start(key, due);
        }
    }

    /// While Okta is not to be had, the probe is the step that was tried the longest ago: one that can never succeed
    /// does not stand in the way of the others.
    fn in_order(&self, mut due: Vec<Due>) -> Vec<Due> {
        if !self.gate.is_open() {
            due.sort_by_key(|due| {
                let pause = self.pauses.get(&(due.grant.clone(), due.group.clone()));
                pause.map(|pause| pause.tried)
            });
        }
        due
    }

    fn waits(&self, key: &Key, now: Duration) -> bool {
        self.pauses.get(key).is_some_and(|pause| {
            let probes = pause.outage && !self.gate.is_open();
            !probes && now < pause.until
        })
    }

    fn start(&mut self, key: Key, due: Due) {
        let executor = Arc::clone(&self.executor);
        let step = due.step;
        let handle = self.running.spawn(async move { executor.perform(&due).await });
        self.steps.insert(key, (handle.id(), step));
    }

    /// Free places: as many for removals as for everything else.
    fn places(&self, step: Step) -> usize {
        let removes = |step: Step| match step {
            Step::Remove => true,
            Step::Release | Step::Grant => false,
        };
        let taken = self.steps.values().filter(|(_, running)| removes(*running) == removes(step)).count();
        self.parallelism.saturating_sub(taken)
    }

    fn finish(&mut self, finished: Result<(Id, Result<(), StepError>), JoinError>) -> Result<(), StepDied> {
        let (id, outcome) = finished.map_err(StepDied)?;
        let Some(key) =
            self.steps.iter().find(|(_, (running, _))| *running == id).map(|(key, _)| key.clone())
        else {
            return Ok(());
        };
        self.steps.remove(&key);
        let now = self.clock.elapsed();
        match outcome {
            Ok(()) => {
                self.pauses.remove(&key);
                self.answered();
            }
            Err(error) => self.failed(key, &error, now),
        }
        Ok(())
    }

    fn answered(&mut self) {
        if self.gate.succeeded() {
            info!(integration.id = %self.executor.integration(), "Okta answers again");
        }
    }

    fn failed(&mut self, key: Key, error: &StepError, now: Duration) {
        let (grant, group) = &key;
        let outage = error.is_outage();
        let before = self.pauses.get(&key).map_or(0, |pause| pause.failures);
        // While Okta is not to be had, the failures are not the step's.
        let failures = if outage && !self.gate.is_open() { before.max(1) } else { before + 1 };
        let wait = pause(error.class(), failures);
        if outage {
            if self.gate.failed(now) {
                warn!(grant.id = %grant, okta.group_id = %group, error = %chain(error),
                    "Okta is not to be had; trying again until it is: {}", chain(error));
            } else {
                debug!(grant.id = %grant, error = %chain(error), "Okta is still not to be had");
            }
        } else {
            warn!(grant.id = %grant, okta.group_id = %group, failures, retry_seconds = wait.as_secs(),
                error = %chain(error), "grant {grant}, group {group}: {}", chain(error));
            if error.is_answer() {
                self.answered();
            }
        }
        let removal = self.ledger.read(|book| book.grant(&key.0).and_then(|state| state.step(&key.1)));
        let waits_for_a_person = removal == Some(Step::Remove) && error.class() != Class::Transient;
        let stuck = waits_for_a_person.then(|| format!("grant {grant}, group {group}: {}", chain(error)));
        self.pauses.insert(key, Pause { failures, until: now + wait, outage, tried: now, stuck });
    }

    fn wait(&self) -> Duration {
        let now = self.clock.elapsed();
        let expiry = self.deadlines.next(self.reading());
        let pauses = self.pauses.values().map(|pause| pause.until.saturating_sub(now));
        let gate = self.gate.opens_at().map(|opens| opens.saturating_sub(now));
        let next = expiry.into_iter().chain(pauses).chain(gate).filter(|wait| !wait.is_zero()).min();
        next.unwrap_or(LOOK).min(LOOK)
    }
}

/// The pause after the `failures`th failure of one step. Never longer than a minute: a removal is tried for ever.
fn pause(class: Class, failures: u32) -> Duration {
    let first = match class {
        Class::Transient => Duration::from_secs(1),
        Class::Permanent | Class::Misconfigured => Duration::from_secs(5),
    };
    doubling(first, Duration::from_mins(1), failures)
}
