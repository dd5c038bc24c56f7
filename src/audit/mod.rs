//! # Purpose
//! The audit trail: who was given which membership, when, why and by what request; who was refused; who was removed.
//! For people who do not trust this program and check it (`docs/audit.md`).
//!
//! # Invariants kept here
//! - What [`Audit::append`] has accepted survives a loss of power. What it refused is taken back at once, or before
//!   anything else is written; only if the process ends in between, whole lines of it may stay.
//! - Every line is bound to the one before it, over all files of the trail; nothing here changes or deletes a line.
//! - A login is written as Apono asked for it, into the trail only; no log line of this module names a person.
//!
//! # Not here
//! Which events of a grant are told: `access::audited`. Sending the trail elsewhere: whatever follows the file.

mod chain;
mod error;
mod files;
mod head;
mod lock;
mod memory;
mod note;
pub mod ocsf;
mod record;
mod trail;
mod verify;

use std::fmt;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

pub use chain::Link;
pub use error::AuditError;
pub use memory::MemoryAudit;
pub use note::{LogLevel, RaisedLevel};
pub use record::{AuditRecord, Kind, MemberState};
pub use trail::AuditTrail;
pub use verify::{Finding, MOST_FINDINGS, Report, VerifyError, What, verify};

/// The seam to the trail: the file, or a test's memory.
pub trait Audit: Send + Sync + fmt::Debug {
    /// Makes `records` durable, in this order, or takes back all of them; each with the instant at which it happened.
    fn append(&self, records: Vec<(Timestamp, AuditRecord)>) -> BoxFuture<'_, Result<(), AuditError>>;

    /// Proves that the trail takes records, by writing something of no meaning, as much as it has refused last; opens
    /// it where it is not open yet.
    fn prove(&self, at: Timestamp) -> BoxFuture<'_, Result<(), AuditError>>;

    /// Tells that an operator of this host has changed what the log tells.
    fn log_level(&self, at: Timestamp, change: LogLevel) -> BoxFuture<'_, Result<(), AuditError>>;

    /// The last word of this process: a checkpoint. Appending after it is allowed.
    fn close(&self, at: Timestamp) -> BoxFuture<'_, Result<(), AuditError>>;

    /// Lets go of file and lock, whoever still holds the trail, for the next connector of this process.
    fn release(&self) -> BoxFuture<'_, Result<(), AuditError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests;
