//! # Purpose
//! The book and the journal as one: what is decided is durable before it is known.
//!
//! # Invariants kept here
//! - Records are decided, checked by the machine, made durable, and only then visible, one batch after the other: a
//!   duty never rests on a state that a crash could take back (invariant 1).
//! - While the disk fails, what only ends duties goes ahead in memory and is written as soon as the disk works again
//!   (invariant 12); everything else is refused. See [`Record::goes_ahead`].
//! - What begins or adds is told to the audit trail before it is done, or is not done. What only ends duties is done
//!   (invariant 12); while the trail fails, what there is to tell of it is recorded in the same batch, and the trail is
//!   told by this process or by the next, once it works. A crash right after that may tell it twice.
//!
//! # Not here
//! What to record: `intake`, `executor`, `outbox`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedMutexGuard, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::backlog::Backlog;
use super::book::{Book, IllegalRecord, Rehearsal};
use super::conditions::Obstacle;
use super::journal::{Entry, Journal, JournalError, Record, Standing, Subject};
use super::telling::{Telling, tell_operators};
use crate::audit::{Audit, AuditError};
use crate::clock::{self, SharedClock};
use crate::domain::GrantId;

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    writing: Arc<tokio::sync::Mutex<Writing>>,
    /// What is being written belongs to the ledger, not to whoever waits for it. Ends with the ledger.
    under_way: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Shared {
    journal: Arc<dyn Journal>,
    clock: SharedClock,
    book: Mutex<Book>,
    version: watch::Sender<u64>,
    health: watch::Sender<Health>,
    /// When the disk was last seen to work, or not.
    checked: Mutex<Duration>,
    /// Writes that the audit trail has not taken.
    untaken: Arc<AtomicU64>,
}

/// What the writer of the moment has in hand.
#[derive(Debug)]
struct Writing {
    backlog: Backlog,
    telling: Telling,
}

/// The right to write, until it is dropped.
#[derive(Debug)]
struct Turn {
    shared: Arc<Shared>,
    writing: OwnedMutexGuard<Writing>,
    /// Subjects that may be in the book for this turn alone.
    about: Vec<Subject>,
}

/// What a turn will write.
#[derive(Debug)]
struct Batch {
    at: Timestamp,
    records: Vec<Record>,
    rehearsal: Rehearsal,
}

/// Between looks at a disk that works. A grant should not be the first to find out that it does not.
const CHECK: Duration = Duration::from_secs(30);
/// Between looks at a disk that fails.
const CHECK_AFTER_A_FAILURE: Duration = Duration::from_secs(1);

/// How the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether the last write worked.
    pub works: bool,
    /// Whether everything that is in force is on disk.
    pub complete: bool,
    /// Whether the audit trail took what it was told last.
    pub audited: bool,
}

/// Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk.
    #[error("the journal failed")]
    Journal(#[source] JournalError),
    /// The audit trail.
    #[error("the audit trail failed")]
    Audit(#[source] AuditError),
    /// The disk has failed before; this was not even tried.
    #[error("the journal fails, and is tried again every second")]
    JournalFails,
    /// The audit trail has failed before; this was not even tried.
    #[error("the audit trail fails, and is tried again every second")]
    AuditFails,
    /// The state has moved on since the decision, or a bug.
    #[error("the record does not fit the state")]
    Illegal(#[source] IllegalRecord),
}

impl LedgerError {
    /// What keeps grants from beginning, as this error shows.
    pub fn obstacle(&self) -> Option<Obstacle> {
        match self {
            Self::Journal(_) | Self::JournalFails => Some(Obstacle::Journal),
            Self::Audit(_) | Self::AuditFails => Some(Obstacle::AuditTrail),
            Self::Illegal(_) => None,
        }
    }
}

impl Ledger {
    /// Replays the open subjects of `journal`.
    pub async fn open(
        journal: Arc<dyn Journal>,
        audit: Arc<dyn Audit>,
        clock: SharedClock,
    ) -> Result<Self, LedgerError> {
        let entries = journal.open_entries().await.map_err(LedgerError::Journal)?;
        let book = Book::replay(entries).map_err(LedgerError::Illegal)?;
        let health = Health { works: true, complete: true, audited: true };
        let (version, health) = (watch::Sender::new(0), watch::Sender::new(health));
        let checked = Mutex::new(clock.elapsed());
        let untaken = Arc::default();
        let writing =
            Writing { backlog: Backlog::default(), telling: Telling::new(audit, Arc::clone(&untaken)) };
        let ledger = Self {
            shared: Arc::new(Shared {
                journal,
                clock,
                book: Mutex::new(book),
                version,
                health,
                checked,
                untaken,
            }),
            writing: Arc::new(tokio::sync::Mutex::new(writing)),
            under_way: Mutex::default(),
        };
        let mut turn = ledger.turn(&[]).await;
        // A trail that fails keeps grants from beginning, and nothing from ending.
        turn.tell_what_waits().await;
        turn.write_what_waits().await;
        drop(turn);
        Ok(ledger)
    }

    /// Looks at the book.
    pub fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.shared.lock())
    }

    /// Decides on the present state what to record, and records it. Nothing is recorded when nothing was decided.
    ///
    /// `about` names subjects that may be closed: they are in the book while `decide` looks at it.
    /// Whoever stops waiting for it changes nothing: what was decided is recorded all the same.
    pub async fn record(
        &self,
        about: &[Subject],
        decide: impl FnOnce(&Book) -> Vec<Record> + Send,
    ) -> Result<(), LedgerError> {
        let mut turn = self.turn(about).await;
        turn.recall().await?;
        match turn.decide(decide)? {
            None => Ok(()),
            Some(batch) => self.to_its_end(async move { turn.carry_out(batch).await }).await,
        }
    }

    /// Checks until `stop`: often while the disk fails, so that it is noticed when it works again.
    pub async fn keep_checking(&self, stop: CancellationToken) {
        let mut health = self.watch_health();
        loop {
            let now = *health.borrow_and_update();
            let wait = if now.works && now.audited { CHECK } else { CHECK_AFTER_A_FAILURE };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = health.changed() => continue,
                () = clock::sleep(wait) => {}
            }
            self.check().await;
        }
    }

    /// Looks whether the disk works (again), and writes what has waited for it. Cheap while all is well.
    pub async fn check(&self) {
        let mut turn = self.turn(&[]).await;
        self.to_its_end(async move { turn.check().await }).await;
        *self.shared.checked.lock().unwrap_or_else(PoisonError::into_inner) = self.shared.clock.elapsed();
    }

    /// When the disk was last looked at, on the monotonic clock.
    pub fn checked_at(&self) -> Duration {
        *self.shared.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the audit trail did not take what it was told.
    pub fn audit_failures(&self) -> u64 {
        self.shared.untaken.load(Ordering::Relaxed)
    }

    /// The last word of this process in the audit trail. Recording after it is allowed.
    pub async fn close(&self) {
        let mut turn = self.turn(&[]).await;
        let close = async move {
            turn.check().await;
            turn.close().await;
        };
        self.to_its_end(close).await;
    }

    /// Lets go of the files of journal and audit trail; nothing is recorded after it.
    pub async fn release(&self) {
        let turn = self.turn(&[]).await;
        turn.writing.telling.release().await;
        self.shared.journal.close().await;
    }

    /// What was recorded of a grant, open or not, and of the tasks that have asked about it.
    pub async fn about(&self, grant: &GrantId) -> Result<Vec<Entry>, LedgerError> {
        // First what waits: it may be on disk, too, by the time that is read.
        let waiting = self.writing.lock().await.backlog.entries().to_vec();
        let mut entries = self.shared.journal.about(grant).await.map_err(LedgerError::Journal)?;
        let known = entries.iter().chain(waiting.iter().filter(|entry| entry.record.is_about(grant)));
        let subjects: BTreeSet<_> = known.map(|entry| entry.record.subject()).collect();
        let waiting = waiting.into_iter().filter(|entry| subjects.contains(&entry.record.subject()));
        let only_waiting: Vec<_> = waiting.filter(|entry| !entries.contains(entry)).collect();
        entries.extend(only_waiting);
        Ok(entries)
    }

    /// Counts the batches that were recorded.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// How the disk does.
    pub fn health(&self) -> Health {
        *self.shared.health.borrow()
    }

    /// Tells of changes of [`Self::health`].
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    async fn turn(&self, about: &[Subject]) -> Turn {
        let writing = Arc::clone(&self.writing).lock_owned().await;
        Turn { shared: Arc::clone(&self.shared), writing, about: about.to_vec() }
    }

    /// Does `work` whole, even when nobody waits for it any more: a disk that was told to write cannot be told to stop,
    /// and what it has written without our knowing would be written twice.
    async fn to_its_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (done, outcome) = oneshot::channel();
        {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            while under_way.try_join_next().is_some() {}
            under_way.spawn(async move {
                // Nobody may be waiting.
                let _ = done.send(work.await);
            });
        }
        if let Ok(outcome) = outcome.await {
            return outcome;
        }
        let mut under_way = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *under_way)
        };
        while let Some(ended) = under_way.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        // Cut off by the end of the runtime, which is ours too.
        std::future::pending().await
    }
}

impl Turn {
    /// Brings closed subjects back into the book.
    async fn recall(&self) -> Result<(), LedgerError> {
        for subject in &self.about {
            let known = {
                let book = self.shared.lock();
                match subject {
                    Subject::Grant(id) => book.grant(id).is_some(),
                    Subject::Task(id) => book.task(id).is_some(),
                    // What is closed is told, and of no use to any decision.
                    Subject::Trail(_) => true,
                }
            };
            if !known {
                let entries = self.shared.journal.history(subject).await.map_err(LedgerError::Journal)?;
                let records: Vec<_> = entries.into_iter().map(|entry| entry.record).collect();
                self.shared.lock().apply(&records).map_err(LedgerError::Illegal)?;
            }
        }
        Ok(())
    }

    /// What is to be written, if anything.
    fn decide(&self, decide: impl FnOnce(&Book) -> Vec<Record>) -> Result<Option<Batch>, LedgerError> {
        let at = self.shared.clock.now();
        let mut book = self.shared.lock();
        let mut records = decide(&book);
        if records.is_empty() {
            return Ok(None);
        }
        let mut rehearsal = book.rehearse(&records, at).map_err(LedgerError::Illegal)?;
        records.append(&mut rehearsal.answers);
        Ok(Some(Batch { at, records, rehearsal }))
    }

    async fn carry_out(&mut self, Batch { at, mut records, rehearsal }: Batch) -> Result<(), LedgerError> {
        let Self { shared, writing, .. } = self;
        let Writing { backlog, telling } = &mut **writing;
        let Rehearsal { mut standing, told, .. } = rehearsal;
        let goes_ahead = records.iter().all(Record::goes_ahead);
        // Before the journal: an intent that is told and then not recorded has no effect; the other way round an effect
        // could go untold.
        let untold = if told.is_empty() {
            None
        } else if telling.works() {
            let told = told.iter().map(|record| (at, record.clone())).collect();
            telling.tell(told).await.err().map(LedgerError::Audit)
        } else {
            Some(LedgerError::AuditFails)
        };
        shared.note_audited(telling.works());
        match untold {
            Some(error) if !goes_ahead => return Err(error),
            Some(_) => {
                let waits = shared.lock().untold().more(at, told);
                standing.push(Standing { subject: waits.subject(), open: true });
                records.push(waits);
            }
            None => {}
        }
        if shared.health().works {
            let before = backlog.mark();
            backlog.push(at, &records, standing);
            if let Err(error) = shared.write(backlog).await
                && !goes_ahead
            {
                backlog.take_back(before);
                shared.note(backlog, Some(Err(&error)));
                return Err(LedgerError::Journal(error));
            }
        } else if goes_ahead {
            // `check` alone tries again: every end would carry everything that waits to a disk that fails.
            backlog.push(at, &records, standing);
            shared.note(backlog, None);
        } else {
            return Err(LedgerError::JournalFails);
        }
        shared.lock().apply(&records).map_err(LedgerError::Illegal)?;
        shared.settle(backlog);
        shared.version.send_modify(|version| *version += 1);
        Ok(())
    }

    async fn check(&mut self) {
        self.tell_what_waits().await;
        if self.writing.backlog.is_empty() {
            let proven = self.shared.journal.prove().await;
            self.shared.note(&self.writing.backlog, Some(proven.as_ref().copied()));
        } else {
            self.write_what_waits().await;
        }
    }

    /// Tells the audit trail what waits, if it takes it. That it did goes ahead, as the ends did.
    async fn tell_what_waits(&mut self) {
        let Self { shared, writing, .. } = self;
        let Writing { backlog, telling } = &mut **writing;
        let now = shared.clock.now();
        let waiting = shared.lock().untold().records();
        telling.check(now, waiting).await;
        shared.note_audited(telling.works());
        if telling.works() {
            let told = shared.lock().all_told();
            let closed = |record: &Record| Standing { subject: record.subject(), open: false };
            backlog.push(now, &told, told.iter().map(closed).collect());
        }
    }

    /// Writes what waits, if anything does.
    async fn write_what_waits(&mut self) {
        let Self { shared, writing, .. } = self;
        let Writing { backlog, .. } = &mut **writing;
        if !backlog.is_empty() && shared.write(backlog).await.is_ok() {
            shared.settle(backlog);
            shared.version.send_modify(|version| *version += 1);
        }
    }

    /// The last word of this process in the audit trail.
    async fn close(&self) {
        let untold = self.shared.lock().untold().records().len();
        if untold > 0 {
            let rest = if self.writing.backlog.is_empty() {
                "the next start tells them"
            } else {
                "nor are all of them in the journal: the next start looks again, and tells what it finds"
            };
            warn!(untold, "the audit trail was not told of {untold} events; {rest}");
        }
        self.writing.telling.close(self.shared.clock.now()).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // What is still to be written must not be read back from the disk.
        let waits = &self.writing.backlog;
        let forgettable = self.about.iter().filter(|subject| !waits.holds(subject)).cloned();
        self.shared.lock().forget_closed(forgettable);
    }
}

impl Shared {
    /// Writes what waits, and notes how that went. What was written stays in the backlog until [`Self::settle`].
    async fn write(&self, backlog: &mut Backlog) -> Result<(), JournalError> {
        let written = self.journal.append(backlog.entries().to_vec(), backlog.standing()).await;
        if written.is_ok() {
            backlog.written();
        }
        self.note(backlog, Some(written.as_ref().copied()));
        written
    }

    /// Forgets what is closed, once it is on disk.
    fn settle(&self, backlog: &mut Backlog) {
        if backlog.is_empty() {
            self.lock().forget_closed(backlog.settled());
        }
    }

    /// Notes how the disk does, after a try or without one.
    fn note(&self, backlog: &Backlog, tried: Option<Result<(), &JournalError>>) {
        let before = self.health();
        let works = tried.map_or(before.works, |tried| tried.is_ok());
        let now = Health { works, complete: backlog.is_empty(), ..before };
        self.health.send_if_modified(|health| std::mem::replace(health, now) != now);
        if let Some(tried) = tried {
            tell_operators("the journal", before.works, tried.err());
        }
    }

    fn note_audited(&self, audited: bool) {
        self.health.send_if_modified(|health| std::mem::replace(&mut health.audited, audited) != audited);
    }

    fn health(&self) -> Health {
        *self.health.borrow()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
