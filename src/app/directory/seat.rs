//! # Purpose
//! An organization's directory where several daemons could run it: whether it is this one's turn, what the turn begins with,
//! and what is shared while it lasts.
//!
//! # Invariants kept here
//! - Every step of a turn begins with a look whether the organization is still this daemon's, under the same epoch: one that
//!   was stopped for a while does nothing more.
//! - No run begins before the store was made one that it may begin with.
//! - An organization is not let go of in the middle of a run.
//!
//! # Not here
//! Who owns what: [`crate::fleet`]. What is shared: `directory::mirror`.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::{NotRun, Wish};
use crate::clock;
use crate::database::DatabaseError;
use crate::directory::mirror::{Mirror, MirrorError, Stand};
use crate::directory::{DirectoryRun, asked};
use crate::fleet::{Hold, Members};
use crate::telemetry::chain;

/// Between looks whose the organization is, where nothing else happens.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// Between two shipments, and looks at what others ask.
const SHIP: Duration = Duration::from_secs(1);
/// At the end of a turn, for what was not shipped.
const REST: Duration = Duration::from_secs(3);
/// After a store could not be made ready.
const AGAIN: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(in crate::app) struct Seat {
    members: Arc<Members>,
    mirror: Mirror,
    /// Whether the last shipment failed.
    fails: AtomicBool,
}

/// What another daemon has asked for, while it is waited for.
enum Asked {
    Running(oneshot::Receiver<DirectoryRun>),
    Answered(Value),
}

impl Seat {
    pub(in crate::app) fn new(members: Arc<Members>, mirror: Mirror) -> Self {
        Self { members, mirror, fails: AtomicBool::new(false) }
    }

    /// The epoch under which the organization is this daemon's, if it is.
    pub(super) fn epoch(&self) -> Option<i64> {
        let owner = self.members.owner(&self.mirror.integration)?;
        let is_mine = owner.daemon == self.members.itself().id && self.members.owns(&self.mirror.integration);
        is_mine.then_some(owner.epoch)
    }

    /// Until it is not. Whoever polls this before anything else does nothing without having looked.
    pub(super) async fn lost(&self, epoch: i64) {
        let mut looks = pin!(async {
            loop {
                clock::sleep(LOOK).await;
            }
        });
        poll_fn(|context| {
            if self.epoch() != Some(epoch) {
                return Poll::Ready(());
            }
            let _: Poll<()> = looks.as_mut().poll(context);
            Poll::Pending
        })
        .await;
    }

    /// Keeps the organization from being let go of; nothing where it is not this daemon's.
    pub(super) fn hold(&self) -> Option<Hold> {
        self.members.hold(&self.mirror.integration)
    }

    /// Makes the store ready for a run; tries on until it is, or the organization is another's.
    pub(super) async fn take_over(&self, epoch: i64) -> Stand {
        let mut told = false;
        loop {
            match self.mirror.take_over(epoch).await {
                Ok(stand) => return stand,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        let error = chain(&error).to_string();
                        warn!(integration.id = %self.mirror.integration, error, "the directory waits for the fleet's database: {error}");
                    }
                    clock::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Ships what there is. What fails is shipped later.
    pub(super) async fn ship(&self, epoch: i64) {
        let integration = &self.mirror.integration;
        match self.mirror.ship(epoch).await {
            Ok(Stand::Stands) => {
                if self.fails.swap(false, Ordering::Relaxed) {
                    info!(integration.id = %integration, "what is ours at the SCIM service is in the fleet's database again");
                }
            }
            // The next look shows it.
            Ok(Stand::Lost) => {}
            Err(error) => {
                let is_known = self.fails.swap(true, Ordering::Relaxed);
                let text = chain(&error).to_string();
                match error {
                    MirrorError::Database(error) if error.is_away() => {
                        debug!(error = text, "what is ours is shipped later: {text}");
                    }
                    MirrorError::Database(_) | MirrorError::Store(_) if is_known => {}
                    MirrorError::Database(_) | MirrorError::Store(_) => {
                        warn!(integration.id = %integration, error = text, "what is ours at the SCIM service is not in the fleet's database; it is tried again: {text}");
                    }
                }
            }
        }
    }

    /// The last of it, at the end of a turn.
    pub(super) async fn ship_rest(&self, epoch: i64) {
        if self.epoch() == Some(epoch) && clock::timeout(REST, self.ship(epoch)).await.is_none() {
            debug!("what is ours was not shipped before the end; this host's store has it");
        }
    }

    /// Ships again and again, and has runs made that other daemons ask for.
    pub(super) async fn keep_up(&self, epoch: i64, wishes: &mpsc::Sender<Wish>) {
        let mut asked: Option<(Vec<i64>, Asked)> = None;
        loop {
            clock::sleep(SHIP).await;
            self.ship(epoch).await;
            asked = match asked {
                None => self.look_what_is_asked(wishes).await,
                Some((questions, Asked::Running(mut run))) => match run.try_recv() {
                    Ok(run) => self.answer(questions, as_json(&run)).await,
                    Err(oneshot::error::TryRecvError::Empty) => Some((questions, Asked::Running(run))),
                    Err(oneshot::error::TryRecvError::Closed) => None,
                },
                Some((questions, Asked::Answered(run))) => self.answer(questions, run).await,
            };
        }
    }

    async fn look_what_is_asked(&self, wishes: &mpsc::Sender<Wish>) -> Option<(Vec<i64>, Asked)> {
        let open = asked::open(&self.mirror.database, &self.mirror.integration).await;
        let questions = open.unwrap_or_default();
        if questions.is_empty() {
            return None;
        }
        let (waiter, run) = oneshot::channel();
        wishes.try_send(Wish::Run(waiter)).ok()?;
        Some((questions, Asked::Running(run)))
    }

    async fn answer(&self, questions: Vec<i64>, run: Value) -> Option<(Vec<i64>, Asked)> {
        let told = asked::answered(&self.mirror.database, &questions, run.clone()).await;
        told.is_err().then_some((questions, Asked::Answered(run)))
    }

    /// Has the owner make a run, and waits for it; nothing when this daemon has become the owner.
    pub(super) async fn ask_the_owner(&self) -> Result<Option<Value>, DatabaseError> {
        let Mirror { database, integration, .. } = &self.mirror;
        let question = asked::ask(database, integration).await?;
        let answer = loop {
            if self.epoch().is_some() {
                break None;
            }
            match asked::answer(database, question).await {
                Ok(Some(run)) => break Some(run),
                Ok(None) => {}
                Err(error) if error.is_away() => {}
                Err(error) => return Err(error),
            }
            clock::sleep(LOOK).await;
        };
        // What stays goes by itself.
        let _ = asked::forget(database, question).await;
        Ok(answer)
    }

    /// Why nothing is run here: it is somebody else's turn.
    pub(super) fn elsewhere(&self) -> NotRun {
        let integration = self.mirror.integration.clone();
        let owner = self.members.owner(&integration);
        let companions = self.members.companions();
        let owner = owner.and_then(|owner| {
            companions.into_iter().find(|companion| companion.id == owner.daemon && companion.lives)
        });
        match owner {
            Some(owner) if owner.id != self.members.itself().id => {
                NotRun::Elsewhere { integration, host: owner.host, daemon: owner.id }
            }
            Some(_) | None => NotRun::Nobody { integration },
        }
    }

    /// Does `work` as the owner, where no loop runs.
    pub(super) async fn as_owner<T>(&self, work: impl Future<Output = T>) -> Result<T, NotRun> {
        let epoch = self.epoch().ok_or_else(|| self.elsewhere())?;
        let done = async {
            if self.take_over(epoch).await == Stand::Lost {
                return None;
            }
            Some(work.await)
        };
        let done = tokio::select! {
            biased;
            () = self.lost(epoch) => None,
            done = done => done,
        };
        self.ship_rest(epoch).await;
        done.ok_or_else(|| self.elsewhere())
    }
}

/// A value of our own, which can always be written.
pub(super) fn as_json(run: &DirectoryRun) -> Value {
    serde_json::to_value(run).unwrap_or_else(|_| json!({}))
}
