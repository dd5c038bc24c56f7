//! # Purpose
//! The book and the journal as one: what is decided is durable before it is known.
//!
//! # Invariants kept here
//! - Records are decided, checked by the machine, made durable, and only then visible, one batch after the other: a
//!   duty never rests on a state that a crash could take back (invariant 1).
//! - While the disk fails, what only ends duties goes ahead in memory and is written as soon as the disk works again
//!   (invariant 12); everything else is refused. See [`Record::goes_ahead`].
//!
//! # Not here
//! What to record: `intake`, `executor`, `outbox`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::book::{Book, IllegalRecord};
use super::journal::{Entry, Journal, JournalError, Record, Standing, Subject};
use super::telling::{Telling, tell_operators};
use crate::audit::{Audit, AuditError};
use crate::clock::{self, SharedClock};

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    journal: Arc<dyn Journal>,
    clock: SharedClock,
    book: Mutex<Book>,
    writing: tokio::sync::Mutex<Writing>,
    version: watch::Sender<u64>,
    health: watch::Sender<Health>,
}

/// What the writer of the moment has in hand.
#[derive(Debug)]
struct Writing {
    backlog: Backlog,
    telling: Telling,
}

/// What is in force already and not on disk yet. Bounded by the duties at hand: each can end once.
#[derive(Debug, Default)]
struct Backlog {
    entries: Vec<Entry>,
    standing: BTreeMap<Subject, bool>,
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
    /// The state has moved on since the decision, or a bug.
    #[error("the record does not fit the state")]
    Illegal(#[source] IllegalRecord),
}

impl Ledger {
    /// Replays the open subjects of `journal`.
    pub async fn open(
        journal: Arc<dyn Journal>,
        audit: Arc<dyn Audit>,
        clock: SharedClock,
    ) -> Result<Self, LedgerError> {
        let entries = journal.open_entries().await.map_err(LedgerError::Journal)?;
        let mut book = Book::default();
        for entry in &entries {
            book.apply(std::slice::from_ref(&entry.record)).map_err(LedgerError::Illegal)?;
        }
        let mut telling = Telling::new(audit);
        // A trail that fails keeps grants from beginning, and nothing from ending.
        telling.check(clock.now()).await;
        let health = Health { works: true, complete: true, audited: telling.works() };
        Ok(Self {
            journal,
            clock,
            book: Mutex::new(book),
            writing: tokio::sync::Mutex::new(Writing { backlog: Backlog::default(), telling }),
            version: watch::Sender::new(0),
            health: watch::Sender::new(health),
        })
    }

    /// Looks at the book.
    pub fn read<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.lock())
    }

    /// Decides on the present state what to record, and records it. Nothing is recorded when nothing was decided.
    ///
    /// `about` names subjects that may be closed: they are in the book while `decide` looks at it.
    /// Not to be cancelled: run it in a task that is waited for.
    pub async fn record(
        &self,
        about: &[Subject],
        decide: impl FnOnce(&Book) -> Vec<Record> + Send,
    ) -> Result<(), LedgerError> {
        let mut writing = self.writing.lock().await;
        let result = self.recall_decide_and_write(&mut writing, about, decide).await;
        // What is still to be written must not be read back from the disk.
        let waits = &writing.backlog.standing;
        let forgettable = about.iter().filter(|subject| !waits.contains_key(*subject)).cloned();
        self.lock().forget_closed(forgettable);
        result
    }

    async fn recall_decide_and_write(
        &self,
        Writing { backlog, telling }: &mut Writing,
        about: &[Subject],
        decide: impl FnOnce(&Book) -> Vec<Record> + Send,
    ) -> Result<(), LedgerError> {
        for subject in about {
            self.recall(subject).await?;
        }
        let at = self.clock.now();
        let (records, standing, told) = {
            let mut book = self.lock();
            let mut records = decide(&book);
            if records.is_empty() {
                return Ok(());
            }
            let rehearsal = book.rehearse(&records, at).map_err(LedgerError::Illegal)?;
            records.extend(rehearsal.answers);
            (records, rehearsal.standing, rehearsal.told)
        };
        let goes_ahead = records.iter().all(Record::goes_ahead);
        // Before the journal: an intent that is told and then not recorded has no effect; the other way round an effect
        // could go untold.
        let told = telling.tell(told.into_iter().map(|record| (at, record)).collect(), goes_ahead).await;
        self.health.send_if_modified(|health| {
            std::mem::replace(&mut health.audited, telling.works()) != telling.works()
        });
        told.map_err(LedgerError::Audit)?;
        let waiting = (backlog.entries.len(), backlog.standing.clone());
        backlog.entries.extend(records.iter().map(|record| Entry { at, record: record.clone() }));
        backlog.standing.extend(standing.into_iter().map(|standing| (standing.subject, standing.open)));
        let written = self.write(backlog).await;
        if let Err(error) = written
            && !goes_ahead
        {
            backlog.entries.truncate(waiting.0);
            backlog.standing = waiting.1;
            self.note(backlog, Some(&error));
            return Err(LedgerError::Journal(error));
        }
        self.lock().apply(&records).map_err(LedgerError::Illegal)?;
        self.settle(backlog);
        self.version.send_modify(|version| *version += 1);
        Ok(())
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
    ///
    /// Not to be cancelled.
    pub async fn check(&self) {
        let mut writing = self.writing.lock().await;
        let Writing { backlog, telling } = &mut *writing;
        telling.check(self.clock.now()).await;
        let audited = telling.works();
        self.health.send_if_modified(|health| std::mem::replace(&mut health.audited, audited) != audited);
        if backlog.entries.is_empty() {
            let proven = self.journal.prove().await;
            self.note(backlog, proven.as_ref().err());
        } else if self.write(backlog).await.is_ok() {
            self.settle(backlog);
            self.version.send_modify(|version| *version += 1);
        }
    }

    /// The last word of this process in the audit trail. Recording after it is allowed.
    pub async fn close(&self) {
        self.writing.lock().await.telling.close(self.clock.now()).await;
    }

    /// Writes what waits, and notes how that went. What was written stays in the backlog until [`Self::settle`].
    async fn write(&self, backlog: &mut Backlog) -> Result<(), JournalError> {
        let standing =
            |(subject, open): (&Subject, &bool)| Standing { subject: subject.clone(), open: *open };
        let standings = backlog.standing.iter().map(standing).collect();
        let written = self.journal.append(backlog.entries.clone(), standings).await;
        if written.is_ok() {
            backlog.entries.clear();
        }
        self.note(backlog, written.as_ref().err());
        written
    }

    /// Forgets what is closed, once it is on disk.
    fn settle(&self, backlog: &mut Backlog) {
        if backlog.entries.is_empty() {
            let settled = std::mem::take(&mut backlog.standing);
            self.lock().forget_closed(settled.into_keys());
        }
    }

    fn note(&self, backlog: &Backlog, failure: Option<&JournalError>) {
        let before = *self.health.borrow();
        let (works, complete) = (failure.is_none(), backlog.entries.is_empty());
        let now = Health { works, complete, ..before };
        self.health.send_if_modified(|health| std::mem::replace(health, now) != now);
        tell_operators("the journal", before.works, failure);
    }

    /// Brings a closed subject back into the book. Only under the `writing` lock.
    async fn recall(&self, subject: &Subject) -> Result<(), LedgerError> {
        let known = self.read(|book| match subject {
            Subject::Grant(id) => book.grant(id).is_some(),
            Subject::Task(id) => book.task(id).is_some(),
        });
        if known {
            return Ok(());
        }
        let entries = self.journal.history(subject).await.map_err(LedgerError::Journal)?;
        let records: Vec<_> = entries.into_iter().map(|entry| entry.record).collect();
        self.lock().apply(&records).map_err(LedgerError::Illegal)?;
        Ok(())
    }

    /// Counts the batches that were recorded.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// How the disk does.
    pub fn health(&self) -> Health {
        *self.health.borrow()
    }

    /// Tells of changes of [`Self::health`].
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
