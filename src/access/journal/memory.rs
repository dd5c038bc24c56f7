//! # Purpose
//! A journal that lives as long as its owner: for tests that crash the program and keep the disk.
//!
//! # Invariants kept here
//! - The journal's contract, and failures on demand.
//!
//! # Not here
//! Durability.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::{Entry, Journal, JournalError, Standing, Subject};
use crate::domain::GrantId;

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    kept: Mutex<Kept>,
    broken: AtomicBool,
}

#[derive(Debug, Default)]
struct Kept {
    entries: Vec<Entry>,
    subjects: BTreeMap<Subject, Known>,
}

#[derive(Debug, Default)]
struct Known {
    open: bool,
    /// Where its entries are, in order.
    places: Vec<usize>,
}

impl Kept {
    /// The entries of these subjects, in order.
    fn of<'a>(&self, subjects: impl Iterator<Item = &'a Known>) -> Vec<Entry> {
        let places: BTreeSet<usize> = subjects.flat_map(|known| known.places.iter().copied()).collect();
        places.into_iter().map(|place| self.entries[place].clone()).collect()
    }
}

impl MemoryJournal {
    /// From now on writes fail (`true`) or work again.
    pub fn break_writes(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// Everything that was ever appended.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    fn writable(&self) -> Result<(), JournalError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(JournalError::Write("no space left on device".into()));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn append(
        &self,
        entries: Vec<Entry>,
        standing: Vec<Standing>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        if let Err(error) = self.writable() {
            return ready(Err(error)).boxed();
        }
        let mut kept = self.lock();
        let Kept { entries: all, subjects } = &mut *kept;
        for entry in entries {
            subjects.entry(entry.record.subject()).or_default().places.push(all.len());
            all.push(entry);
        }
        for Standing { subject, open } in standing {
            subjects.entry(subject).or_default().open = open;
        }
        ready(Ok(())).boxed()
    }

    fn prove(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        ready(self.writable()).boxed()
    }

    fn open_entries(&self) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        let kept = self.lock();
        let entries = kept.of(kept.subjects.values().filter(|known| known.open));
        ready(Ok(entries)).boxed()
    }

    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        let kept = self.lock();
        let entries = kept.of(kept.subjects.get(subject).into_iter());
        ready(Ok(entries)).boxed()
    }

    fn about<'a>(&'a self, grant: &'a GrantId) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        let kept = self.lock();
        let asks =
            |known: &&Known| known.places.iter().any(|&place| kept.entries[place].record.is_about(grant));
        let entries = kept.of(kept.subjects.values().filter(asks));
        ready(Ok(entries)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::contract;
    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        let journal = Arc::new(MemoryJournal::default());
        contract::check(&|| ready(Arc::clone(&journal) as Arc<dyn Journal>).boxed()).await;
    }
}
