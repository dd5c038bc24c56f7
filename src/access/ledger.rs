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
//! - Where others write the same journal, what is recorded was decided knowing all that they had written. What came into
//!   force here while the journal was away is laid over what they have written since, and what no longer fits is left out.
//! - Nobody's turn waits for more than one answer of the journal at a time: what takes long to read is read in no turn.
//!
//! # Not here
//! What to record: `intake`, `executor`, `outbox`.

mod turn;

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
use super::fleet::Fleet;
use super::journal::{Entry, Found, Journal, JournalError, Last, Record, Subject};
use super::overlay::{self, Overlay};
use super::telling::{Telling, tell_late, tell_operators};
use crate::audit::{Audit, AuditError, AuditRecord};
use crate::catalogue::ErrorCode;
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
    fleet: Arc<dyn Fleet>,
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
    /// What the audit trail was told in this turn: deciding anew does not tell it again.
    told: Vec<AuditRecord>,
}

/// What others have written, all that is needed of it.
#[derive(Debug)]
struct ReadAnew {
    entries: Vec<Entry>,
    /// All of what there is about these is among the entries.
    subjects: BTreeSet<Subject>,
    last: Option<Last>,
}

impl ReadAnew {
    fn new(Found { entries, last }: Found, asked_for: Vec<Subject>) -> Self {
        let mut read = Self { entries: Vec::new(), subjects: asked_for.into_iter().collect(), last };
        read.add(entries);
        read
    }

    fn add(&mut self, entries: Vec<Entry>) {
        self.subjects.extend(entries.iter().map(|entry| entry.record.subject()));
        self.entries.extend(entries);
    }
}

/// Why something is not written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// Nothing waits, or the disk does not work.
    No,
    /// Others have written meanwhile: that has to be known first.
    ForWhatOthersWrote,
}

/// What a turn will write.
#[derive(Debug)]
struct Batch {
    at: Timestamp,
    records: Vec<Record>,
    rehearsal: Rehearsal,
}

/// Times that others may be faster in one turn. Each time somebody got on; so often shows that something is wrong.
const MOST_TRIES: usize = 200;
/// Between looks at what others have written.
const NEWS: Duration = Duration::from_millis(250);
/// Between looks at a disk that works. A grant should not be the first to find out that it does not.
const CHECK: Duration = Duration::from_secs(30);
/// What the last look before a stop may take.
const LAST_CHECK: Duration = Duration::from_secs(5);
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
    #[error("the journal fails, and is tried again every second [{}]", ErrorCode::JournalFails)]
    JournalFails,
    /// The audit trail has failed before; this was not even tried.
    #[error("the audit trail fails, and is tried again every second [{}]", ErrorCode::AuditFails)]
    AuditFails,
    /// The state has moved on since the decision, or a bug.
    #[error("the record does not fit the state [{}]", ErrorCode::RecordUnfit)]
    Illegal(#[source] IllegalRecord),
}

impl LedgerError {
    /// What keeps grants from beginning, as this error shows.
    pub fn obstacle(&self) -> Option<Obstacle> {
        match self {
            Self::Audit(_) | Self::AuditFails => Some(Obstacle::AuditTrail),
            // It may have been taken on after all.
            Self::Journal(JournalError::Unsure(_)) | Self::Illegal(_) => None,
            Self::Journal(_) | Self::JournalFails => Some(Obstacle::Journal),
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
                fleet: journal.fleet(),
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
        turn.write_what_waits(None).await;
        drop(turn);
        Ok(ledger)
    }

    /// The daemons that share the journal.
    pub fn fleet(&self) -> &Arc<dyn Fleet> {
        &self.shared.fleet
    }

    /// Whether other daemons may write to the journal too.
    pub fn is_shared(&self) -> bool {
        self.shared.journal.is_shared()
    }

    /// The last entry of a shared journal that the book knows of.
    pub fn position(&self) -> Option<i64> {
        self.shared.journal.position()
    }

    /// Looks at the book.
    pub fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.shared.lock())
    }

    /// Decides on the present state what to record, and records it. Nothing is recorded when nothing was decided.
    ///
    /// `about` names subjects that may be closed: they are in the book while `decide` looks at it.
    /// Whoever stops waiting for it changes nothing: what was decided is recorded all the same. Where others write the
    /// same journal and were faster, it is decided anew.
    pub async fn record(
        &self,
        about: &[Subject],
        mut decide: impl FnMut(&Book) -> Vec<Record> + Send,
    ) -> Result<(), LedgerError> {
        let mut turn = self.turn(about).await;
        for _ in 0..MOST_TRIES {
            turn.recall().await?;
            let Some(batch) = turn.decide(&mut decide)? else {
                return Ok(());
            };
            let carried = async move {
                let outcome = turn.carry_out(batch).await;
                (turn, outcome)
            };
            let (again, outcome) = self.to_its_end(carried).await;
            match outcome {
                Err(LedgerError::Journal(JournalError::Behind)) => {
                    if let Err(error) = again.catch_up().await {
                        // What ends goes ahead without knowing what others wrote.
                        again.note_outage(&error);
                        if !matches!(&error, LedgerError::Journal(_)) {
                            return Err(error);
                        }
                    }
                }
                outcome => return outcome,
            }
            turn = again;
        }
        Err(LedgerError::Journal(JournalError::Behind))
    }

    /// Takes in what others have written until now, where that can be read.
    pub async fn catch_up(&self) {
        if self.is_shared() && self.health().works {
            let turn = self.turn(&[]).await;
            if let Err(error) = turn.catch_up().await {
                turn.note_outage(&error);
            }
        }
    }

    /// Takes in until `stop` what others write to the same journal.
    pub async fn keep_up(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(clock::sleep(NEWS)).await.is_some() {
            self.catch_up().await;
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
        // Nobody's turn is held up by a database that says nothing.
        if self.is_shared() && !self.health().works && self.shared.journal.prove().await.is_err() {
            return;
        }
        self.check_once().await;
        *self.shared.checked.lock().unwrap_or_else(PoisonError::into_inner) = self.shared.clock.elapsed();
    }

    async fn check_once(&self) {
        let mut turn = self.turn(&[]).await;
        let waits = self.to_its_end(async move { turn.check(None).await }).await;
        if waits == Waits::ForWhatOthersWrote {
            // Nobody's turn is held up while that is read.
            let subjects = self.writing.lock().await.backlog.subjects();
            let anew = self.shared.journal.read_anew(&subjects).await;
            let mut turn = self.turn(&[]).await;
            match anew {
                Ok(anew) => {
                    let anew = ReadAnew::new(anew, subjects);
                    self.to_its_end(async move { turn.check(Some(anew)).await }).await;
                }
                Err(error) => turn.note_outage(&LedgerError::Journal(error)),
            }
        }
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
        // What nobody answers is written by the next start, or not at all; the stop does not wait for it.
        if clock::timeout(LAST_CHECK, self.check_once()).await.is_none() {
            warn!("the journal did not answer in {LAST_CHECK:?} [{}]", ErrorCode::JournalFails);
        }
        let turn = self.turn(&[]).await;
        self.to_its_end(async move { turn.close().await }).await;
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
        Turn { shared: Arc::clone(&self.shared), writing, about: about.to_vec(), told: Vec::new() }
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

impl Shared {
    /// Writes what waits, and notes how that went. What was written stays in the backlog until [`Self::settle`].
    async fn write(&self, backlog: &mut Backlog) -> Result<(), JournalError> {
        let written = self.journal.append(backlog.entries().to_vec(), backlog.standing()).await;
        self.noted(backlog, written)
    }

    async fn write_late(&self, backlog: &mut Backlog) -> Result<(), JournalError> {
        let written = self.journal.append_late(backlog.entries().to_vec(), backlog.standing()).await;
        self.noted(backlog, written)
    }

    fn noted(&self, backlog: &mut Backlog, written: Result<(), JournalError>) -> Result<(), JournalError> {
        if written.is_ok() {
            backlog.written();
        }
        let tried = written.as_ref().copied();
        self.note(backlog, tried.err().is_none_or(JournalError::is_an_outage).then_some(tried));
        written
    }

    /// Where others have written while the journal was away: the book is made anew from it, and what waits is laid over
    /// that. What is there already, by us or by others, waits no longer.
    fn lay_over(&self, read: &ReadAnew, backlog: &mut Backlog) -> Result<(), JournalError> {
        let laid = overlay::lay_over(read.entries.clone(), backlog.entries(), self.clock.now());
        let Overlay { book, entries, standing, left_out, late } =
            laid.map_err(|error| JournalError::Read(error.into()))?;
        for record in left_out {
            warn!(
                "what was recorded of {} while the journal was away is left out: others were there before [{}]",
                record.subject(),
                ErrorCode::OthersWereFaster
            );
        }
        for (grant, group) in &late {
            tell_late(grant, group);
        }
        backlog.replace(entries, standing);
        *self.lock() = book;
        self.version.send_modify(|version| *version += 1);
        Ok(())
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
