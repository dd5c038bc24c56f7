//! # Purpose
//! The audit trail: who was given which membership, when, why and by what request; who was refused; who was removed.
//! For people who do not trust this program and check it (`docs/audit.md`).
//!
//! # Invariants kept here
//! - What [`Audit::append`] has accepted survives a loss of power; of what it refused, nothing stays.
//! - Every line is bound to the one before it, over all files of the trail; nothing here changes or deletes a line.
//! - A login is written as Apono asked for it, into the trail only; no log line of this module names a person.
//!
//! # Not here
//! Which events of a grant are told: `access::audited`. Sending the trail elsewhere: whatever follows the file.

mod chain;
mod files;
mod head;
mod memory;
mod note;
pub mod ocsf;
mod record;
mod trail;
mod verify;

use std::fmt;
use std::io;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

pub use chain::Link;
pub use memory::MemoryAudit;
pub use record::{AuditRecord, Kind, MemberState};
pub use trail::AuditTrail;
pub use verify::{Finding, MOST_FINDINGS, Report, VerifyError, What, verify};

/// The seam to the trail: the file, or a test's memory.
pub trait Audit: Send + Sync + fmt::Debug {
    /// Makes `records` durable, all or none, in this order; each with the instant at which it happened.
    fn append(&self, records: Vec<(Timestamp, AuditRecord)>) -> BoxFuture<'_, Result<(), AuditError>>;

    /// Proves that the trail takes records, by writing something of no meaning; opens it where it is not open yet.
    fn prove(&self, at: Timestamp) -> BoxFuture<'_, Result<(), AuditError>>;

    /// The last word of this process: a checkpoint. Appending after it is allowed.
    fn close(&self, at: Timestamp) -> BoxFuture<'_, Result<(), AuditError>>;
}

/// The trail failed; nothing was written. Grants stop until it works; removals go on and are told afterwards.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// What is there cannot be opened or read, so that it is not known where to go on.
    #[error(
        "cannot open the audit trail {}; its folder must exist on a disk that works and belong to the connector's user",
        path.display()
    )]
    Open {
        /// The trail, or a file of it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk did not take the records.
    #[error("cannot write the audit trail {}; look for a full or failing disk", path.display())]
    Write {
        /// The trail.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file that remembers the end of the trail cannot be replaced.
    #[error("cannot write {}, which proves the end of the audit trail; look for a full or failing disk", path.display())]
    Head {
        /// The sidecar.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread that writes has died.
    #[error("the audit trail's writer has died; restart the connector and report this")]
    Worker(#[source] tokio::task::JoinError),
}

#[cfg(test)]
mod tests;
