//! # Purpose
//! When the directory runs: at the start, every interval, and when asked to.
//!
//! # Invariants kept here
//! - One run at a time; whoever asks during a run gets the next one, which sees everything that was there before.
//!
//! # Not here
//! What a run does: `directory`.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::directory::{DirectoryRun, Outcome, Reconciler};

/// The loop of one organization.
pub(super) struct DirectoryLoop {
    reconciler: Reconciler,
    interval: Duration,
    asked: mpsc::Receiver<Waiter>,
}

type Waiter = oneshot::Sender<DirectoryRun>;

/// Asks for a run.
#[derive(Clone, Debug)]
pub(super) struct Asker(mpsc::Sender<Waiter>);

/// After a run that got nowhere for a reason that passes, the next one comes sooner.
const SOON: Duration = Duration::from_mins(1);
/// After one that a person must mend, a little sooner: a crawl that cannot succeed costs the organization's limits.
const LATER: Duration = Duration::from_mins(10);
/// Who asks while so many wait already is told so.
const WAITERS: usize = 16;

impl DirectoryLoop {
    pub(super) fn new(reconciler: Reconciler, interval: Duration) -> (Self, Asker) {
        let (ask, asked) = mpsc::channel(WAITERS);
        (Self { reconciler, interval, asked }, Asker(ask))
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut waiters = Vec::new();
        while !stop.is_cancelled() {
            while let Ok(waiter) = self.asked.try_recv() {
                waiters.push(waiter);
            }
            // Cut off by a stop: every write of a run stands for itself, and the next run begins anew.
            let run = tokio::select! {
                () = stop.cancelled() => return,
                run = self.reconciler.run(!waiters.is_empty()) => run,
            };
            let wait = match run.outcome {
                Outcome::Incomplete if run.needs_a_person => self.interval.min(LATER),
                Outcome::Incomplete => self.interval.min(SOON),
                Outcome::Completed | Outcome::Held | Outcome::Partial if run.resumed => {
                    self.interval.min(SOON)
                }
                Outcome::Completed | Outcome::Held | Outcome::Partial => self.interval,
            };
            for waiter in waiters.drain(..) {
                // Whoever asked may have gone.
                let _ = waiter.send(run.clone());
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock::sleep(wait) => {}
                Some(waiter) = self.asked.recv() => waiters.push(waiter),
            }
        }
    }
}

impl Asker {
    /// A run that begins after this call. `None` when too many wait, or the process stops.
    pub(super) async fn run(&self) -> Option<DirectoryRun> {
        let (waiter, answer) = oneshot::channel();
        self.0.try_send(waiter).ok()?;
        answer.await.ok()
    }
}
