//! # Purpose
//! One turn at the book: what is decided is told to the audit trail, written, and then in force.
//!
//! # Invariants kept here
//! - See `ledger`: a turn holds the right to write from its beginning to its end.
//!
//! # Not here
//! Whose turn it is: `ledger`.

use tracing::warn;

use super::{Batch, LedgerError, MOST_TRIES, ReadAnew, Turn, Waits, Writing};
use crate::access::book::{Book, Rehearsal};
use crate::access::journal::{Found, JournalError, Record, Standing, Subject};
use crate::access::tasks::TaskEvent;
use crate::catalogue::ErrorCode;

impl Turn {
    /// Brings closed subjects back into the book.
    pub(super) async fn recall(&self) -> Result<(), LedgerError> {
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

    /// Takes in what others have written. Where the book is ahead of the journal that is not added to it but laid under it,
    /// by [`Self::write_what_waits`].
    pub(super) async fn catch_up(&self) -> Result<(), LedgerError> {
        let shared = &self.shared;
        if !shared.health().works && !self.writing.backlog.is_empty() {
            return Ok(());
        }
        let known = |subject: &Subject| shared.lock().knows(subject);
        let Found { entries, last } = shared.journal.news(&known).await.map_err(LedgerError::Journal)?;
        if entries.is_empty() {
            return Ok(());
        }
        let records: Vec<_> = entries.into_iter().map(|entry| entry.record).collect();
        let mut book = shared.lock();
        // What does not follow from what this daemon knows it does not understand: it stays where it is.
        book.apply(&records).map_err(|error| LedgerError::Journal(JournalError::Read(error.into())))?;
        book.forget_closed(records.iter().map(Record::subject));
        drop(book);
        shared.journal.go_on_from(last);
        shared.version.send_modify(|version| *version += 1);
        Ok(())
    }

    /// Notes that the journal does not answer: who needs it does not wait to find that out.
    pub(super) fn note_outage(&self, error: &LedgerError) {
        if let LedgerError::Journal(error) = error
            && error.is_an_outage()
        {
            self.shared.note(&self.writing.backlog, Some(Err(error)));
        }
    }

    /// What is to be written, if anything.
    pub(super) fn decide(
        &self,
        decide: &mut impl FnMut(&Book) -> Vec<Record>,
    ) -> Result<Option<Batch>, LedgerError> {
        let at = self.shared.clock.now();
        let mut book = self.shared.lock();
        let mut records = decide(&book);
        if records.is_empty() {
            return Ok(None);
        }
        for record in &mut records {
            if let Record::Task { event: TaskEvent::Taken { by, .. }, .. } = record {
                *by = self.shared.fleet.me();
            }
        }
        let mut rehearsal = book.rehearse(&records, at).map_err(LedgerError::Illegal)?;
        records.append(&mut rehearsal.answers);
        Ok(Some(Batch { at, records, rehearsal }))
    }

    pub(super) async fn carry_out(
        &mut self,
        Batch { at, mut records, rehearsal }: Batch,
    ) -> Result<(), LedgerError> {
        let Self { shared, writing, told: told_before, .. } = self;
        let Writing { backlog, telling } = &mut **writing;
        let Rehearsal { mut standing, mut told, .. } = rehearsal;
        told.retain(|record| !told_before.contains(record));
        let goes_ahead = records.iter().all(Record::goes_ahead);
        // Before the journal: an intent that is told and then not recorded has no effect; the other way round an effect
        // could go untold.
        let untold = if told.is_empty() {
            None
        } else if telling.works() {
            let now = told.iter().map(|record| (at, record.clone())).collect();
            let failed = telling.tell(now).await.err().map(LedgerError::Audit);
            if failed.is_none() {
                told_before.append(&mut told);
            }
            failed
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
                && !(goes_ahead && error.is_an_outage())
            {
                backlog.take_back(before);
                shared.note(backlog, error.is_an_outage().then_some(Err(&error)));
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

    pub(super) async fn check(&mut self, read: Option<ReadAnew>) -> Waits {
        self.tell_what_waits().await;
        if self.writing.backlog.is_empty() {
            let mut proven = self.shared.journal.prove().await;
            if proven.is_ok()
                && let Err(LedgerError::Journal(error)) = self.catch_up().await
            {
                // It can be written, and not be understood.
                proven = Err(error);
            }
            self.shared.note(&self.writing.backlog, Some(proven.as_ref().copied()));
            Waits::No
        } else {
            self.write_what_waits(read).await
        }
    }

    /// Tells the audit trail what waits, if it takes it. That it did goes ahead, as the ends did.
    pub(super) async fn tell_what_waits(&mut self) {
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

    /// Writes what waits, if anything does; `read` is what others have written, where that has to be known.
    pub(super) async fn write_what_waits(&mut self, mut read: Option<ReadAnew>) -> Waits {
        if let Some(read) = &mut read
            && let Err(waits) = self.begin_from(read)
        {
            return waits;
        }
        for _ in 0..MOST_TRIES {
            let Self { shared, writing, .. } = self;
            if writing.backlog.is_empty() {
                shared.settle(&mut writing.backlog);
                return Waits::No;
            }
            let outcome = match shared.write_late(&mut writing.backlog).await {
                Ok(()) => {
                    shared.version.send_modify(|version| *version += 1);
                    continue;
                }
                Err(JournalError::Behind) => match &mut read {
                    Some(read) => self.take_in(read).await,
                    // Only that the trail was told waits then, which fits whatever others have written.
                    None if shared.health().works => self.catch_up().await,
                    None => return Waits::ForWhatOthersWrote,
                },
                Err(error) => Err(LedgerError::Journal(error)),
            };
            if let Err(error) = outcome {
                self.note_outage(&error);
                return Waits::No;
            }
        }
        Waits::No
    }

    /// Goes on from what was read, unless something has come to wait meanwhile of which too little was read.
    fn begin_from(&mut self, read: &mut ReadAnew) -> Result<(), Waits> {
        let Self { shared, writing, .. } = self;
        if writing.backlog.subjects().iter().any(|subject| !read.subjects.contains(subject)) {
            return Err(Waits::ForWhatOthersWrote);
        }
        match shared.lay_over(read, &mut writing.backlog) {
            Ok(()) => {
                shared.journal.go_on_from(read.last.take());
                Ok(())
            }
            Err(error) => {
                self.note_outage(&LedgerError::Journal(error));
                Err(Waits::No)
            }
        }
    }

    /// Adds what others have written since to what was read of them.
    async fn take_in(&mut self, read: &mut ReadAnew) -> Result<(), LedgerError> {
        let Self { shared, writing, .. } = self;
        let known = |subject: &Subject| read.subjects.contains(subject);
        let Found { entries, last } = shared.journal.news(&known).await.map_err(LedgerError::Journal)?;
        read.add(entries);
        shared.lay_over(read, &mut writing.backlog).map_err(LedgerError::Journal)?;
        shared.journal.go_on_from(last);
        Ok(())
    }

    /// The last word of this process in the audit trail.
    pub(super) async fn close(&self) {
        let untold = self.shared.lock().untold().records().len();
        if untold > 0 {
            let rest = if self.writing.backlog.is_empty() {
                "the next start tells them"
            } else {
                "nor are all of them in the journal: the next start looks again, and tells what it finds"
            };
            warn!(
                untold,
                "the audit trail was not told of {untold} events [{}]; {rest}",
                ErrorCode::AuditFails
            );
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
