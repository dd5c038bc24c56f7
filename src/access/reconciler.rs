//! # Purpose
//! Brings Okta to what the book says, for as long as the process runs.
//!
//! # Invariants kept here
//! - It takes no input: whatever woke it, it looks at the whole book and does what is due. After a restart the same
//!   loop does what was left.
//! - A grant ends at its expiry by this loop alone, with or without Apono (invariant 3).
//! - Removals have places of their own; additions cannot fill them, and no setting makes them scarce: a removal waits
//!   between its looks most of the time, and what all of them ask is bounded by the budget.
//! - A step that was begun is never cut off: a stop waits for it.
//!
//! # Not here
//! What a step does: `executor`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
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

/// Removals at once. Each is seen to be gone twice, a second apart: so many end about a hundred memberships a second, where
/// Okta's limits allow that.
const REMOVALS: usize = 128;

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
        let mut news = true;
        while !stop.is_cancelled() {
            self.executor.watch().look().await;
            // Whatever woke the loop: what has changed until here is looked at now.
            news |= changes.has_changed().unwrap_or(false);
            changes.borrow_and_update();
            if news || self.has_something_to_do() {
                self.end_what_ran_out().await;
                // With every place taken, the end of a step is what matters next.
                if self.places(Step::Remove) > 0 || self.places(Step::Grant) > 0 {
                    self.start_what_is_due();
                }
            }
            self.progress.send_modify(|progress| progress.looked = self.clock.elapsed());
            let wait = self.wait();
            news = tokio::select! {
                () = stop.cancelled() => false,
                _ = changes.changed() => true,
                () = clock::sleep(wait) => false,
                Some(finished) = self.running.join_next_with_id() => {
                    self.finish(finished)?;
                    true
                }
            };
        }
        while let Some(finished) = self.running.join_next_with_id().await {
            self.finish(finished)?;
        }
        Ok(())
    }

    /// Whether time alone has brought something: between changes the whole book need not be looked at.
    fn has_something_to_do(&self) -> bool {
        let now = self.clock.elapsed();
        let ran_out = self.deadlines.next(self.reading()).is_some_and(|left| left.is_zero());
        let waited = self.pauses.values().any(|pause| pause.until <= now)
            || self.gate.opens_at().is_some_and(|opens| opens <= now);
        ran_out || waited || self.executor.watch().is_switched_off()
    }

    fn reading(&self) -> Reading {
        Reading { wall: self.executor.watch().latest(), elapsed: self.clock.elapsed() }
    }

    async fn end_what_ran_out(&mut self) {
        let now = self.reading();
        let integration = self.executor.integration().clone();
        let switched_off = self.executor.watch().is_switched_off();
        let deadlines = &mut self.deadlines;
        let fleet = Arc::clone(self.ledger.fleet());
        let decide = |book: &Book| {
            let expired = |due| Event::EndRequested { reason: EndReason::Expired, due, by: None };
            let over = deadlines.run_out(book, &integration, now);
            if switched_off {
                return intake::switch_off(book, &integration, now.wall);
            }
            let wall = now.wall;
            let over = over.into_iter().filter(|(id, due)| {
                fleet.is_mine(None, id.as_str()) || clock::until(*due, wall) >= fleet.grace()
            });
            over.map(|(id, due)| Record::Grant { id, event: expired(due) }).collect()
        };
        // A disk that fails does not make it fail: ends go ahead.
        if let Err(error) = self.ledger.record(&[], decide).await {
            warn!(error = %chain(&error), "cannot end the grants that ran out: {}", chain(&error));
        }
    }

    fn start_what_is_due(&mut self) {
        let now = self.clock.elapsed();
        let integration = self.executor.integration().clone();
        let ledger = Arc::clone(&self.ledger);
        let (live, removals_due) = ledger.read(|book| {
            let is_due = |(id, group): &Key| book.grant(id).is_some_and(|state| state.step(group).is_some());
            self.pauses.retain(|key, _| is_due(key));
            schedule::counts(book, &integration)
        });
        let labels = IntegrationLabels { integration: integration.as_str().to_owned() };
        self.metrics.access_live.get_or_create(&labels).set(i64::try_from(live).unwrap_or(i64::MAX));
        self.metrics
            .access_overdue
            .get_or_create(&labels)
            .set(i64::try_from(removals_due).unwrap_or(i64::MAX));
        let stuck = self.pauses.values().find_map(|pause| pause.stuck.clone());
        self.progress.send_replace(Progress { looked: now, removals_due, live, stuck });

        let mut running = self.steps.len();
        let mut places = (self.places(Step::Remove), self.places(Step::Grant));
        // While Okta is not to be had, the probe is the step that was tried the longest ago: one that can never succeed
        // does not stand in the way of the others.
        let rank = |grant: &GrantId, group: &OktaGroupId| {
            let closed = !self.gate.is_open();
            closed
                .then(|| self.pauses.get(&(grant.clone(), group.clone())).map(|pause| pause.tried))
                .flatten()
        };
        let fleet = Arc::clone(ledger.fleet());
        let wall = self.clock.now();
        let wanted = |step: Step, since: Timestamp, grant: &GrantId, group: &OktaGroupId| {
            if places == (0, 0) || !self.gate.admits(running, now) {
                return None;
            }
            let place = match step {
                Step::Remove => &mut places.0,
                Step::Release | Step::Grant => &mut places.1,
            };
            let key = (grant.clone(), group.clone());
            // Only what ends falls to one of several: what begins is begun by whoever hears of it.
            let left = step != Step::Grant
                && !fleet.is_mine(None, grant.as_str())
                && clock::until(since, wall) < fleet.grace();
            if *place == 0 || left || self.waits(&key, now) || self.steps.contains_key(&key) {
                return Some(false);
            }
            *place -= 1;
            running += 1;
            Some(true)
        };
        for due in ledger.read(|book| schedule::due(book, &integration, rank, wanted)) {
            self.start((due.grant.clone(), due.group.clone()), due);
        }
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

    /// Free places.
    fn places(&self, step: Step) -> usize {
        let removes = |step: Step| match step {
            Step::Remove => true,
            Step::Release | Step::Grant => false,
        };
        let taken = self.steps.values().filter(|(_, running)| removes(*running) == removes(step)).count();
        let all = if removes(step) { self.parallelism.max(REMOVALS) } else { self.parallelism };
        all.saturating_sub(taken)
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
            info!(event = "okta_back", integration.id = %self.executor.integration(), "Okta answers again");
        }
    }

    fn failed(&mut self, key: Key, error: &StepError, now: Duration) {
        let (grant, group) = &key;
        if error.is_elsewhere() {
            debug!(grant.id = %grant, okta.group_id = %group, "another daemon does it");
            let pause = Pause { failures: 0, until: now + LOOK, outage: false, tried: now, stuck: None };
            self.pauses.insert(key, pause);
            return;
        }
        let outage = error.is_outage();
        let before = self.pauses.get(&key).map_or(0, |pause| pause.failures);
        // While Okta is not to be had, the failures are not the step's.
        let failures = if outage && !self.gate.is_open() { before.max(1) } else { before + 1 };
        let wait = pause(error.class(), failures);
        if outage {
            if self.gate.failed(now) {
                warn!(event = "okta_lost", grant.id = %grant, okta.group_id = %group, error = %chain(error),
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
