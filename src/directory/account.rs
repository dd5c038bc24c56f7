//! # Purpose
//! Keeps account of the objects that a run's operations fail for.
//!
//! # Invariants kept here
//! - What cannot be noted stops no operation, and what was noted before stays.
//! - While nothing fails, nothing is written.
//!
//! # Not here
//! The account itself: `store::failing`. What was done: `apply`.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::warn;

use super::apply::ApplyError;
use super::plan::Operation;
use super::store::{Store, StoreError};
use crate::clock::SharedClock;
use crate::telemetry::chain;

/// See the module.
pub(super) struct Account<'a> {
    store: &'a Store,
    clock: &'a SharedClock,
    run: i64,
    any: AtomicBool,
}

impl<'a> Account<'a> {
    /// Of a run that begins to write.
    pub(super) async fn open(store: &'a Store, clock: &'a SharedClock) -> Result<Self, StoreError> {
        let run = store.next_account().await?;
        // The first of the numbers is that of an empty account.
        Ok(Self { store, clock, run, any: AtomicBool::new(run > 1) })
    }

    /// These are planned, whatever comes of them.
    pub(super) async fn planned(
        &self,
        operations: impl Iterator<Item = &Operation>,
    ) -> Result<(), StoreError> {
        if self.any() { self.store.note_planned(self.run, operations).await } else { Ok(()) }
    }

    /// This has come of one of them.
    pub(super) async fn note(&self, operation: &Operation, outcome: &Result<(), ApplyError>) {
        let noted = match outcome {
            Ok(()) if self.any() => self.store.note_recovered(self.run, operation).await,
            Ok(()) => Ok(()),
            Err(error) => {
                self.any.store(true, Ordering::Relaxed);
                let error = chain(error).to_string();
                self.store.note_failing(self.run, self.clock.now(), operation, &error).await
            }
        };
        if let Err(error) = noted {
            let error = chain(&error).to_string();
            warn!(error, "what came of a directory operation could not be noted: {error}");
        }
    }

    /// All of the plan was gone through.
    pub(super) async fn settle(&self) -> Result<(), StoreError> {
        if self.any() { self.store.settle_failing(self.run).await } else { Ok(()) }
    }

    fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }
}
