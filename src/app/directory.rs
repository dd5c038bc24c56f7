//! # Purpose
//! When the directory runs: at the start, every interval, and when asked to. And what operators ask of it.
//!
//! # Invariants kept here
//! - One run at a time; whoever asks during a run gets the next one, which sees everything that was there before.
//! - What a plan shows is what the same values would carry out; between a plan and its approval nothing is remembered but
//!   hashes.
//! - Of several daemons, the one that owns the organization runs its directory; whoever asks another is told which one it is.
//!
//! # Not here
//! What a run does: `directory`. Whose turn it is: `seat`.

mod seat;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use serde_json::Value;
use tracing::info;

use crate::catalogue::ErrorCode;
use crate::clock;
use crate::database::DatabaseError;
use crate::directory::mirror::Stand;
use crate::directory::progress::Progress;
use crate::directory::store::{Failing, PlannedOperation, StoreError};
use crate::directory::{ApplyRefusal, DirectoryRun, Outcome, Plan, Reconciler, RunError};
use crate::domain::{IntegrationId, SessionId};
use crate::fleet::Hold;
use seat::LOOK;

pub(super) use seat::Seat;

/// The loop of one organization.
pub(super) struct DirectoryLoop {
    reconciler: Arc<Reconciler>,
    interval: Duration,
    asked: mpsc::Receiver<Wish>,
    wishes: mpsc::Sender<Wish>,
    seat: Option<Arc<Seat>>,
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
    seat: Option<Arc<Seat>>,
}

/// Nothing was run or planned.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotRun {
    #[error("too many ask already, or the connector stops; try again [{code}]", code = ErrorCode::DirectoryBusy)]
    Busy,
    #[error("the directory of integration {integration} is run by daemon {daemon} on host {host}; ask there [{code}]", code = ErrorCode::DirectoryElsewhere)]
    Elsewhere { integration: IntegrationId, host: String, daemon: SessionId },
    #[error("no daemon has taken over the directory of integration {integration} yet; try again in a few seconds [{code}]", code = ErrorCode::DirectoryElsewhere)]
    Nobody { integration: IntegrationId },
    #[error("the daemon that runs the directory cannot be asked")]
    Unasked(#[source] DatabaseError),
}

/// What a run is made under: the epoch of the owner, where there may be others.
struct Turn(Option<(Arc<Seat>, i64)>);

/// While it is there, a run may begin and end.
enum Held {
    /// There is nobody else.
    Alone,
    /// The organization is not let go of.
    Owned(#[expect(dead_code, reason = "it is held, not looked at")] Hold),
}

/// After a run that got nowhere for a reason that passes, the next one comes sooner.
const SOON: Duration = Duration::from_mins(1);
/// After one that a person must mend, a little sooner: a crawl that cannot succeed costs the organization's limits.
const LATER: Duration = Duration::from_mins(10);
/// Who asks while so many wait already is told so.
const WAITERS: usize = 16;

impl DirectoryLoop {
    pub(super) fn new(reconciler: Reconciler, interval: Duration, seat: Option<Arc<Seat>>) -> (Self, Asker) {
        let (wishes, asked) = mpsc::channel(WAITERS);
        let reconciler = Arc::new(reconciler);
        let door = Asker { wishes: wishes.clone(), reconciler: Arc::clone(&reconciler), seat: seat.clone() };
        (Self { reconciler, interval, asked, wishes, seat }, door)
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let Some(seat) = self.seat.clone() else {
            // Cut off at a stop: every write of a run stands for itself, and the next run goes on.
            let _ = stop.run_until_cancelled(self.run_on(&Turn(None))).await;
            return;
        };
        while !stop.is_cancelled() {
            let Some(epoch) = seat.epoch() else {
                // Nobody is answered here: the daemon that owns the organization does.
                while self.asked.try_recv().is_ok() {}
                let _ = stop.run_until_cancelled(clock::sleep(LOOK)).await;
                continue;
            };
            tokio::select! {
                biased;
                () = seat.lost(epoch) => {
                    info!(event = "directory_left", "this daemon does not own the organization any more, or cannot know: its directory is left to whoever does");
                }
                () = stop.cancelled() => {}
                () = self.turn(&seat, epoch) => {}
            }
            seat.ship_rest(epoch).await;
        }
    }

    /// Until the organization is let go of.
    async fn turn(&mut self, seat: &Arc<Seat>, epoch: i64) {
        let Some(held) = seat.hold() else { return };
        if seat.take_over(epoch).await == Stand::Lost {
            // The next beat shows it.
            return clock::sleep(LOOK).await;
        }
        drop(held);
        let (turn, wishes) = (Turn(Some((Arc::clone(seat), epoch))), self.wishes.clone());
        tokio::select! {
            () = self.run_on(&turn) => {}
            () = seat.keep_up(epoch, &wishes) => {}
        }
    }

    async fn run_on(&mut self, turn: &Turn) {
        let mut waiters = Vec::new();
        loop {
            let Some(held) = turn.hold() else { return };
            while let Ok(wish) = self.asked.try_recv() {
                self.grant(wish, &mut waiters).await;
            }
            let run = self.reconciler.run(!waiters.is_empty()).await;
            turn.ship().await;
            drop(held);
            let wait = self.wait_after(&run);
            for waiter in waiters.drain(..) {
                // Whoever asked may have gone.
                let _ = waiter.send(run.clone());
            }
            let mut pause = std::pin::pin!(clock::sleep(wait));
            while waiters.is_empty() {
                tokio::select! {
                    () = &mut pause => break,
                    Some(wish) = self.asked.recv() => {
                        let Some(_held) = turn.hold() else { return };
                        self.grant(wish, &mut waiters).await;
                    }
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

impl Turn {
    /// Keeps the organization this daemon's; nothing where it is not.
    fn hold(&self) -> Option<Held> {
        match &self.0 {
            None => Some(Held::Alone),
            Some((seat, _)) => seat.hold().map(Held::Owned),
        }
    }

    async fn ship(&self) {
        if let Some((seat, epoch)) = &self.0 {
            seat.ship(*epoch).await;
        }
    }
}

impl Asker {
    /// A run that begins after this call.
    pub(super) async fn run(&self) -> Result<DirectoryRun, NotRun> {
        self.ask(Wish::Run).await
    }

    /// The same by whichever daemon runs the directory, as the run's own JSON.
    pub(super) async fn run_anywhere(&self) -> Result<Value, NotRun> {
        loop {
            let Some(seat) = self.seat.as_ref().filter(|seat| seat.epoch().is_none()) else {
                match self.run().await {
                    Ok(run) => return Ok(seat::as_json(&run)),
                    Err(NotRun::Elsewhere { .. } | NotRun::Nobody { .. }) => continue,
                    Err(error @ (NotRun::Busy | NotRun::Unasked(_))) => return Err(error),
                }
            };
            if let Some(run) = seat.ask_the_owner().await.map_err(NotRun::Unasked)? {
                return Ok(run);
            }
        }
    }

    /// What a run would do.
    pub(super) async fn plan(&self) -> Result<Result<Plan, RunError>, NotRun> {
        self.ask(Wish::Plan).await
    }

    /// Carries out the plan with this hash and no other.
    pub(super) async fn apply(&self, hash: String) -> Result<Result<DirectoryRun, ApplyRefusal>, NotRun> {
        self.ask(|waiter| Wish::Apply(hash, waiter)).await
    }

    async fn ask<T>(&self, wish: impl FnOnce(oneshot::Sender<T>) -> Wish) -> Result<T, NotRun> {
        self.is_here()?;
        let (waiter, answer) = oneshot::channel();
        self.wishes.try_send(wish(waiter)).map_err(|_| NotRun::Busy)?;
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(_) => self.is_here().and(Err(NotRun::Busy)),
        }
    }

    /// Whether the directory is run by this daemon.
    fn is_here(&self) -> Result<(), NotRun> {
        match &self.seat {
            Some(seat) if seat.epoch().is_none() => Err(seat.elsewhere()),
            Some(_) | None => Ok(()),
        }
    }

    /// Does `work` where no loop runs, as the owner where there may be others.
    pub(super) async fn as_owner<T>(&self, work: impl Future<Output = T>) -> Result<T, NotRun> {
        match &self.seat {
            Some(seat) => seat.as_owner(work).await,
            None => Ok(work.await),
        }
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
    pub(super) async fn approve(&self, hash: String) -> Result<Result<(), StoreError>, NotRun> {
        self.is_here()?;
        Ok(self.reconciler.approve(hash).await)
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
