//! # Purpose
//! When the directory runs: at the start, every interval, and when asked to. And what operators ask of it.
//!
//! # Invariants kept here
//! - One run at a time; whoever asks during a run gets the next one, which sees everything that was there before.
//! - What a plan shows is what the same values would carry out; between a plan and its approval nothing is remembered but
//!   hashes.
//! - Of several daemons, the one that owns the organization runs its directory.
//!
//! # Not here
//! What a run does: `directory`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use tracing::info;

use crate::access::fleet::Fleet;
use crate::clock;
use crate::directory::progress::Progress;
use crate::directory::store::{Failing, PlannedOperation, StoreError};
use crate::directory::{ApplyRefusal, DirectoryRun, Outcome, Plan, Reconciler, RunError};
use crate::domain::IntegrationId;

/// The loop of one organization.
pub(super) struct DirectoryLoop {
    reconciler: Arc<Reconciler>,
    interval: Duration,
    asked: mpsc::Receiver<Wish>,
    integration: IntegrationId,
    fleet: Arc<dyn Fleet>,
}

/// What somebody wants.
enum Wish {
    Run(oneshot::Sender<DirectoryRun>),
    Plan(oneshot::Sender<Result<Plan, RunError>>),
    Apply(String, oneshot::Sender<Result<DirectoryRun, ApplyRefusal>>),
}

/// Asks for runs and plans.
#[derive(Clone)]
pub(super) struct Asker {
    wishes: mpsc::Sender<Wish>,
    reconciler: Arc<Reconciler>,
}

/// After a run that got nowhere for a reason that passes, the next one comes sooner.
const SOON: Duration = Duration::from_mins(1);
/// After one that a person must mend, a little sooner: a crawl that cannot succeed costs the organization's limits.
const LATER: Duration = Duration::from_mins(10);
/// Between looks whose the organization is.
const LOOK: Duration = Duration::from_millis(500);
/// Who asks while so many wait already is told so.
const WAITERS: usize = 16;

impl DirectoryLoop {
    pub(super) fn new(
        reconciler: Reconciler,
        interval: Duration,
        integration: IntegrationId,
        fleet: Arc<dyn Fleet>,
    ) -> (Self, Asker) {
        let (wishes, asked) = mpsc::channel(WAITERS);
        let reconciler = Arc::new(reconciler);
        (
            Self { reconciler: Arc::clone(&reconciler), interval, asked, integration, fleet },
            Asker { wishes, reconciler },
        )
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if !self.fleet.owns(&self.integration) {
                // Nobody is answered here: the daemon that owns the organization does.
                while self.asked.try_recv().is_ok() {}
                let _ = stop.run_until_cancelled(clock::sleep(LOOK)).await;
                continue;
            }
            let lost = lost(Arc::clone(&self.fleet), self.integration.clone());
            tokio::select! {
                () = stop.cancelled() => {}
                () = lost => info!(integration.id = %self.integration, "another daemon owns the organization now; its directory is left to that one"),
                // Cut off: every write of a run stands for itself, and the next run goes on.
                () = self.run_on() => {}
            }
        }
    }

    async fn run_on(&mut self) {
        let mut waiters = Vec::new();
        loop {
            while let Ok(wish) = self.asked.try_recv() {
                self.grant(wish, &mut waiters).await;
            }
            let run = self.reconciler.run(!waiters.is_empty()).await;
            let wait = self.wait_after(&run);
            for waiter in waiters.drain(..) {
                // Whoever asked may have gone.
                let _ = waiter.send(run.clone());
            }
            let mut pause = std::pin::pin!(clock::sleep(wait));
            while waiters.is_empty() {
                tokio::select! {
                    () = &mut pause => break,
                    Some(wish) = self.asked.recv() => self.grant(wish, &mut waiters).await,
                }
            }
        }
    }

    /// Does what is wanted; who wants a run waits for the next one.
    async fn grant(&self, wish: Wish, waiters: &mut Vec<oneshot::Sender<DirectoryRun>>) {
        // Whoever asked may have gone.
        match wish {
            Wish::Run(waiter) => waiters.push(waiter),
            Wish::Plan(waiter) => {
                let _ = waiter.send(self.reconciler.plan().await);
            }
            Wish::Apply(hash, waiter) => {
                let _ = waiter.send(self.reconciler.apply(&hash).await);
            }
        }
    }

    fn wait_after(&self, run: &DirectoryRun) -> Duration {
        match run.outcome {
            Outcome::Incomplete if run.needs_a_person => self.interval.min(LATER),
            Outcome::Incomplete => self.interval.min(SOON),
            Outcome::Completed | Outcome::Held | Outcome::Partial if run.resumed => self.interval.min(SOON),
            Outcome::Completed | Outcome::Held | Outcome::Partial => self.interval,
        }
    }
}

/// Until the organization is another daemon's.
async fn lost(fleet: Arc<dyn Fleet>, integration: IntegrationId) {
    if fleet.me().is_none() {
        std::future::pending::<()>().await;
    }
    while fleet.owns(&integration) {
        clock::sleep(LOOK).await;
    }
}

impl Asker {
    /// A run that begins after this call. `None` when too many wait, or the process stops.
    pub(super) async fn run(&self) -> Option<DirectoryRun> {
        let (waiter, answer) = oneshot::channel();
        self.wishes.try_send(Wish::Run(waiter)).ok()?;
        answer.await.ok()
    }

    /// What a run would do. `None` as above.
    pub(super) async fn plan(&self) -> Option<Result<Plan, RunError>> {
        let (waiter, answer) = oneshot::channel();
        self.wishes.try_send(Wish::Plan(waiter)).ok()?;
        answer.await.ok()
    }

    /// Carries out the plan with this hash and no other. `None` as above.
    pub(super) async fn apply(&self, hash: String) -> Option<Result<DirectoryRun, ApplyRefusal>> {
        let (waiter, answer) = oneshot::channel();
        self.wishes.try_send(Wish::Apply(hash, waiter)).ok()?;
        answer.await.ok()
    }

    /// The same where no loop runs.
    pub(super) async fn plan_here(&self) -> Result<Plan, RunError> {
        self.reconciler.plan().await
    }

    /// The same where no loop runs.
    pub(super) async fn apply_here(&self, hash: &str) -> Result<DirectoryRun, ApplyRefusal> {
        self.reconciler.apply(hash).await
    }

    /// Agrees to the held removals with this hash, and runs, where no loop does.
    pub(super) async fn approve_here(&self, hash: &str) -> Result<DirectoryRun, StoreError> {
        self.reconciler.approve(hash.to_owned()).await?;
        Ok(self.reconciler.run(true).await)
    }

    /// Agrees to the held removals with this hash; the next run does them, if they are still what is held.
    pub(super) async fn approve(&self, hash: String) -> Result<(), StoreError> {
        self.reconciler.approve(hash).await
    }

    /// Operations of the last plan, from the `skip`th on; nothing past the last one.
    pub(super) async fn operations(&self, skip: i64) -> Result<Vec<PlannedOperation>, StoreError> {
        self.reconciler.operations(skip).await
    }

    /// How far the run is that goes on.
    pub(super) fn progress(&self) -> Option<Progress> {
        self.reconciler.tracker.look()
    }

    /// The objects that an operation fails for.
    pub(super) async fn failing(&self) -> Result<Failing, StoreError> {
        self.reconciler.tell_failing().await
    }
}
