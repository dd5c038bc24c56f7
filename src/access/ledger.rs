//! # Purpose
//! The book and the journal as one: what is decided is durable before it is known.
//!
//! # Invariants kept here
//! - Records are decided, checked by the machine, made durable, and only then visible, one batch after the other: a
//!   decision never rests on a state that a crash could take back.
//! - A failed append leaves the book as it was.
//!
//! # Not here
//! What to record: `intake`, `executor`, `outbox`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::book::{Book, IllegalRecord};
use super::journal::{Entry, Journal, JournalError, Record, Subject};
use crate::clock::SharedClock;

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    journal: Arc<dyn Journal>,
    clock: SharedClock,
    book: Mutex<Book>,
    writing: tokio::sync::Mutex<()>,
    version: watch::Sender<u64>,
    healthy: watch::Sender<bool>,
}

/// Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk.
    #[error("the journal failed")]
    Journal(#[source] JournalError),
    /// The state has moved on since the decision, or a bug.
    #[error("the record does not fit the state")]
    Illegal(#[source] IllegalRecord),
}

impl Ledger {
    /// Replays the open subjects of `journal`.
    pub async fn open(journal: Arc<dyn Journal>, clock: SharedClock) -> Result<Self, LedgerError> {
        let entries = journal.open_entries().await.map_err(LedgerError::Journal)?;
        let mut book = Book::default();
        for entry in &entries {
            book.apply(std::slice::from_ref(&entry.record)).map_err(LedgerError::Illegal)?;
        }
        Ok(Self {
            journal,
            clock,
            book: Mutex::new(book),
            writing: tokio::sync::Mutex::default(),
            version: watch::Sender::new(0),
            healthy: watch::Sender::new(true),
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
        let _writing = self.writing.lock().await;
        for subject in about {
            self.recall(subject).await?;
        }
        let result = self.decide_and_write(decide).await;
        self.lock().forget_closed(about.iter().cloned());
        result
    }

    async fn decide_and_write(
        &self,
        decide: impl FnOnce(&Book) -> Vec<Record> + Send,
    ) -> Result<(), LedgerError> {
        let at = self.clock.now();
        let (records, standing) = {
            let mut book = self.lock();
            let mut records = decide(&book);
            if records.is_empty() {
                return Ok(());
            }
            let rehearsal = book.rehearse(&records, at).map_err(LedgerError::Illegal)?;
            records.extend(rehearsal.answers);
            (records, rehearsal.standing)
        };
        let entries = records.iter().map(|record| Entry { at, record: record.clone() }).collect();
        let written = self.journal.append(entries, standing).await;
        let works = written.is_ok();
        self.healthy.send_if_modified(|healthy| std::mem::replace(healthy, works) != works);
        written.map_err(LedgerError::Journal)?;
        {
            let mut book = self.lock();
            book.apply(&records).map_err(LedgerError::Illegal)?;
            book.forget_closed(records.iter().map(Record::subject));
        }
        self.version.send_modify(|version| *version += 1);
        Ok(())
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

    /// Whether the last append worked.
    pub fn is_healthy(&self) -> bool {
        *self.healthy.borrow()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
