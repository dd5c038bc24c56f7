//! # Purpose
//! A trail that lives as long as its owner, for tests.
//!
//! # Invariants kept here
//! - The trail's contract, and failures on demand.
//!
//! # Not here
//! Durability, and the chain.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;

use super::{Audit, AuditError, AuditRecord, LogLevel};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryAudit {
    records: Mutex<Vec<(Timestamp, AuditRecord)>>,
    broken: AtomicBool,
}

impl MemoryAudit {
    /// From now on writes fail (`true`) or work again.
    pub fn break_writes(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// Everything that was ever appended.
    pub fn records(&self) -> Vec<(Timestamp, AuditRecord)> {
        self.lock().clone()
    }

    fn writable(&self) -> Result<(), AuditError> {
        if self.broken.load(Ordering::SeqCst) {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return Err(AuditError::Write { path: "memory".into(), source });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Timestamp, AuditRecord)>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit for MemoryAudit {
    fn append(&self, records: Vec<(Timestamp, AuditRecord)>) -> BoxFuture<'_, Result<(), AuditError>> {
        let written = self.writable().map(|()| self.lock().extend(records));
        ready(written).boxed()
    }

    fn prove(&self, _at: Timestamp) -> BoxFuture<'_, Result<(), AuditError>> {
        ready(self.writable()).boxed()
    }

    fn log_level(&self, _at: Timestamp, _change: LogLevel) -> BoxFuture<'_, Result<(), AuditError>> {
        ready(self.writable()).boxed()
    }

    fn close(&self, _at: Timestamp) -> BoxFuture<'_, Result<(), AuditError>> {
        ready(self.writable()).boxed()
    }
}
