//! # Purpose
//! Tells the audit trail what is recorded, and finds out whether it takes it.
//!
//! # Invariants kept here
//! - While the trail works, nothing waits: what waits is told first, so that the trail is in the order of events.
//!
//! # Not here
//! What is told of an event: `audited`. What waits, and what must not happen untold: `ledger`, `untold`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use tracing::{info, warn};

use crate::audit::{Audit, AuditError, AuditRecord};
use crate::domain::{GrantId, OktaGroupId};
use crate::telemetry::chain;

/// See the module. Only under the ledger's writing lock.
#[derive(Debug)]
pub(super) struct Telling {
    audit: Arc<dyn Audit>,
    works: bool,
    failures: Arc<AtomicU64>,
}

impl Telling {
    /// The trail counts as one that works until [`Self::check`] has looked.
    pub(super) fn new(audit: Arc<dyn Audit>, failures: Arc<AtomicU64>) -> Self {
        Self { audit, works: true, failures }
    }

    /// Whether the trail took what it was told last.
    pub(super) fn works(&self) -> bool {
        self.works
    }

    /// Tells `records`. For a trail that works: where it fails, `check` alone tries again, because every end would carry
    /// everything that waits to it.
    pub(super) async fn tell(&mut self, records: Vec<(Timestamp, AuditRecord)>) -> Result<(), AuditError> {
        let told = self.audit.append(records).await;
        self.note(told.as_ref().err());
        told
    }

    /// Looks whether the trail works (again), and tells it what waits. If it works then, all of that is told.
    pub(super) async fn check(&mut self, now: Timestamp, waiting: Vec<(Timestamp, AuditRecord)>) {
        let taken =
            if waiting.is_empty() { self.audit.prove(now).await } else { self.audit.append(waiting).await };
        // A failure is noted, and told apart from the journal's by readiness.
        self.note(taken.as_ref().err());
    }

    /// The last word of this process.
    pub(super) async fn close(&self, now: Timestamp) {
        if let Err(error) = self.audit.close(now).await {
            warn!(error = %chain(&error), "the audit trail could not be closed: {}", chain(&error));
        }
    }

    /// Lets go of the trail's files.
    pub(super) async fn release(&self) {
        if let Err(error) = self.audit.release().await {
            warn!(error = %chain(&error), "the audit trail could not be let go of: {}", chain(&error));
        }
    }

    fn note(&mut self, failure: Option<&AuditError>) {
        tell_operators("the audit trail", self.works, failure);
        if failure.is_some() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.works = failure.is_none();
    }
}

/// Logs that `what` cannot be written any more, or can be again.
pub(super) fn tell_operators<E: std::error::Error + 'static>(what: &str, worked: bool, failure: Option<&E>) {
    match failure {
        Some(error) if worked => warn!(
            error = %chain(error),
            "{what} cannot be written; grants end on time all the same, and nothing new is begun: {}",
            chain(error)
        ),
        None if !worked => info!("{what} can be written again"),
        Some(_) | None => {}
    }
}

/// Says that an addition came to be after the end of its grant.
pub(super) fn tell_late(grant: &GrantId, group: &OktaGroupId) {
    warn!(event = "membership_late", grant.id = %grant, okta.group_id = %group,
        "grant {grant} was over when what it gave in group {group} came to be; it is taken back");
}
