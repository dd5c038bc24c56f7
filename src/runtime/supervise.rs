//! # Purpose
//! Owns every long-lived task and decides when and how the process ends.
//!
//! # Invariants kept here
//! - A task that ends unasked, by error, panic or by itself, stops all others and makes a failure of the end.
//! - A stop is asked for once, waited for within a limit, and forced by a second signal.
//! - A hangup asks for another configuration; where there is none that can be used, nothing ends.
//!
//! # Not here
//! What is done after the tasks have ended: `app`.

use std::fmt;
use std::io;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::catalogue::ErrorCode;
use crate::clock;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Outcome = (&'static str, Result<(), BoxError>);

/// Owns the tasks.
pub struct Supervisor {
    /// Nothing runs before everything was opened.
    waiting: Vec<BoxFuture<'static, Outcome>>,
    tasks: JoinSet<Outcome>,
    stop: CancellationToken,
    limit: Duration,
}

/// How the tasks end.
#[derive(Debug)]
pub enum Ending {
    /// They were asked to, and every one has ended.
    Stopped,
    /// The same, to begin again with another configuration.
    Again,
    /// They were asked to, and some did not end in time.
    Cut,
    /// A task has died.
    Died {
        /// Which; unknown after a panic.
        task: &'static str,
        /// Why.
        reason: String,
    },
}

/// SIGTERM and SIGINT, and SIGHUP, which would end the process if it were left alone.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Whether a hangup finds another configuration that can be used.
    is_changed: Box<dyn FnMut() -> bool + Send>,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The end, by this signal.
    Stop(&'static str),
    /// To begin again with another configuration.
    Again,
}

impl Signals {
    /// Takes over all three; `is_changed` is asked at each hangup.
    pub fn install(is_changed: impl FnMut() -> bool + Send + 'static) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            is_changed: Box::new(is_changed),
        })
    }

    /// Waits for one that asks for something.
    async fn next(&mut self) -> Asked {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Asked::Stop("SIGTERM"),
                _ = self.interrupt.recv() => return Asked::Stop("SIGINT"),
                _ = self.hangup.recv() => {
                    if (self.is_changed)() {
                        return Asked::Again;
                    }
                }
            }
        }
    }

    /// Waits for one that asks for the end.
    async fn stop(&mut self) -> &'static str {
        loop {
            if let Asked::Stop(name) = self.next().await {
                return name;
            }
        }
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}

impl Supervisor {
    /// `limit` bounds how long a stop waits for the tasks.
    pub fn new(limit: Duration) -> Self {
        Self { waiting: Vec::new(), tasks: JoinSet::new(), stop: CancellationToken::new(), limit }
    }

    /// Cancelled when the tasks are to end.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Takes a task on. It begins with [`Supervisor::run`] and runs until the stop token is cancelled.
    pub fn add<F, E>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let outcome = async move { (name, task.await.map_err(|error| Box::new(error) as BoxError)) };
        self.waiting.push(outcome.boxed());
    }

    /// Runs until a signal, a cancelled stop token, or the death of a task.
    pub async fn run(mut self, mut signals: Option<&mut Signals>) -> Ending {
        for task in std::mem::take(&mut self.waiting) {
            self.tasks.spawn(task);
        }
        let mut wished = Ending::Stopped;
        let died = tokio::select! {
            // Tasks that end because they were asked to must not be taken for dead.
            biased;
            () = self.stop.cancelled() => None,
            asked = next_signal(&mut signals) => {
                match asked {
                    Asked::Stop(name) => {
                        info!(event = "stopping", signal = name, "{name}: stopping; what was begun is finished first");
                    }
                    Asked::Again => wished = Ending::Again,
                }
                None
            }
            Some(ended) = self.tasks.join_next() => Some(death(ended)),
        };
        if let Some(Ending::Died { task, reason }) = &died {
            error!(
                event = "task_died",
                task,
                reason,
                "the task {task} has died [{}]: {reason}; the process ends",
                ErrorCode::TaskDied
            );
        }
        self.stop.cancel();
        let drained = {
            let mut draining = std::pin::pin!(clock::timeout(self.limit, drain(&mut self.tasks)));
            loop {
                tokio::select! {
                    drained = &mut draining => break drained,
                    name = next_stop(&mut signals) => {
                        if matches!(wished, Ending::Again) {
                            info!(event = "stopping", signal = name, "{name}: stopping; what was begun is finished first");
                            wished = Ending::Stopped;
                            continue;
                        }
                        warn!(signal = name, "{name} again: ending at once [{}]", ErrorCode::StopCut);
                        wished = Ending::Cut;
                        break None;
                    }
                }
            }
        };
        match (died, drained) {
            (Some(died), _) | (None, Some(Some(died))) => died,
            (None, Some(None)) => wished,
            (None, None) => {
                warn!(
                    tasks = self.tasks.len(),
                    "{} tasks did not end in time [{}]",
                    self.tasks.len(),
                    ErrorCode::StopCut
                );
                self.tasks.shutdown().await;
                // Whoever begins again can do so without those.
                if matches!(wished, Ending::Again) { wished } else { Ending::Cut }
            }
        }
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("tasks", &(self.waiting.len() + self.tasks.len()))
            .finish_non_exhaustive()
    }
}

async fn next_signal(signals: &mut Option<&mut Signals>) -> Asked {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

async fn next_stop(signals: &mut Option<&mut Signals>) -> &'static str {
    match signals {
        Some(signals) => signals.stop().await,
        None => std::future::pending().await,
    }
}

/// Waits for every task; the first that failed on its way out.
async fn drain(tasks: &mut JoinSet<Outcome>) -> Option<Ending> {
    let mut failed = None;
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok((_, Ok(()))) => {}
            failure => failed = failed.or_else(|| Some(death(failure))),
        }
    }
    failed
}

fn death(ended: Result<Outcome, JoinError>) -> Ending {
    match ended {
        Ok((task, Ok(()))) => Ending::Died { task, reason: "it ended without being asked to".to_owned() },
        Ok((task, Err(error))) => {
            Ending::Died { task, reason: crate::telemetry::chain(error.as_ref()).to_string() }
        }
        Err(error) => Ending::Died { task: "(panicked)", reason: Panic(error).to_string() },
    }
}

struct Panic(JoinError);

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the disk is on fire")]
    struct Fire;

    fn supervisor() -> Supervisor {
        let mut supervisor = Supervisor::new(Duration::from_secs(25));
        let stop = supervisor.stop_token();
        supervisor.add("faithful", async move {
            stop.cancelled().await;
            Ok::<(), Infallible>(())
        });
        supervisor
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_every_task() {
        let supervisor = supervisor();
        supervisor.stop_token().cancel();
        assert!(matches!(supervisor.run(None).await, Ending::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_dies_takes_the_others_with_it() {
        let mut with_error = supervisor();
        with_error.add("burning", async { Err(Fire) });
        let ending = with_error.run(None).await;
        assert!(
            matches!(&ending, Ending::Died { task: "burning", reason } if reason == "the disk is on fire"),
            "{ending:?}"
        );

        let mut by_itself = supervisor();
        by_itself.add("lazy", async { Ok::<(), Infallible>(()) });
        assert!(matches!(by_itself.run(None).await, Ending::Died { task: "lazy", .. }));

        let mut panicking = supervisor();
        panicking.add("shaky", async {
            assert!(!Duration::ZERO.is_zero(), "boom");
            Ok::<(), Infallible>(())
        });
        let ending = panicking.run(None).await;
        assert!(matches!(&ending, Ending::Died { reason, .. } if reason.contains("boom")), "{ending:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_cut() {
        let mut supervisor = supervisor();
        supervisor.add("deaf", std::future::pending::<Result<(), Infallible>>());
        supervisor.stop_token().cancel();
        assert!(matches!(supervisor.run(None).await, Ending::Cut));
    }
}
