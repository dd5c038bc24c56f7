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
    open: BTreeMap<Subject, bool>,
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
        kept.entries.extend(entries);
        kept.open.extend(standing.into_iter().map(|standing| (standing.subject, standing.open)));
        ready(Ok(())).boxed()
    }

    fn prove(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        ready(self.writable()).boxed()
    }

    fn open_entries(&self) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        let kept = self.lock();
        let is_open = |entry: &&Entry| kept.open.get(&entry.record.subject()) == Some(&true);
        let entries = kept.entries.iter().filter(is_open).cloned().collect();
        ready(Ok(entries)).boxed()
    }

    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        let kept = self.lock();
        let entries =
            kept.entries.iter().filter(|entry| entry.record.subject() == *subject).cloned().collect();
        ready(Ok(entries)).boxed()
    }

    fn about<'a>(&'a self, grant: &'a GrantId) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        let kept = self.lock();
        let about = kept.entries.iter().filter(|entry| entry.record.is_about(grant));
        let subjects: BTreeSet<_> = about.map(|entry| entry.record.subject()).collect();
        let is_about = |entry: &&Entry| subjects.contains(&entry.record.subject());
        let entries = kept.entries.iter().filter(is_about).cloned().collect();
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
        contract::check(&|| Arc::clone(&journal) as Arc<dyn Journal>).await;
    }
}
