//! # Purpose
//! Tells the audit trail what is recorded, and remembers what it could not be told yet.
//!
//! # Invariants kept here
//! - What begins or adds is told before it is done, or is not done; what ends a duty is done, and told as soon as the
//!   trail takes it (invariant 12).
//! - What waits is told first, so that the trail is in the order of events.
//!
//! # Not here
//! What is told of an event: `audited`.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::{info, warn};

use crate::audit::{Audit, AuditError, AuditRecord};
use crate::telemetry::chain;

/// See the module. Only under the ledger's writing lock.
#[derive(Debug)]
pub(super) struct Telling {
    audit: Arc<dyn Audit>,
    /// Bounded by the duties at hand: each can end once.
    waiting: Vec<(Timestamp, AuditRecord)>,
    works: bool,
}

impl Telling {
    pub(super) fn new(audit: Arc<dyn Audit>) -> Self {
        Self { audit, waiting: Vec::new(), works: true }
    }

    /// Whether the trail took what it was told last.
    pub(super) fn works(&self) -> bool {
        self.works
    }

    /// Tells `records`. Where they may wait, a trail that fails is no error.
    pub(super) async fn tell(
        &mut self,
        records: Vec<(Timestamp, AuditRecord)>,
        may_wait: bool,
    ) -> Result<(), AuditError> {
        if records.is_empty() {
            return Ok(());
        }
        let before = self.waiting.len();
        self.waiting.extend(records);
        let told = self.catch_up().await;
        if told.is_err() && !may_wait {
            self.waiting.truncate(before);
            return told;
        }
        Ok(())
    }

    /// Keeps `records` until the trail works again. `check` alone tries: every end would carry everything that waits to
    /// a trail that fails.
    pub(super) fn tell_later(&mut self, records: Vec<(Timestamp, AuditRecord)>) {
        self.waiting.extend(records);
    }

    /// Looks whether the trail works (again), and tells it what waits.
    pub(super) async fn check(&mut self, now: Timestamp) {
        // A failure is noted, and told apart from the journal's by readiness.
        if self.waiting.is_empty() {
            let proven = self.audit.prove(now).await;
            self.note(proven.as_ref().err());
        } else {
            let _ = self.catch_up().await;
        }
    }

    /// The last word of this process.
    pub(super) async fn close(&mut self, now: Timestamp) {
        self.check(now).await;
        if !self.waiting.is_empty() {
            warn!(
                untold = self.waiting.len(),
                "the audit trail was not told of {} ends; they are in the journal (`explain` tells them)",
                self.waiting.len()
            );
        }
        if let Err(error) = self.audit.close(now).await {
            warn!(error = %chain(&error), "the audit trail could not be closed: {}", chain(&error));
        }
    }

    async fn catch_up(&mut self) -> Result<(), AuditError> {
        let told = self.audit.append(self.waiting.clone()).await;
        if told.is_ok() {
            self.waiting.clear();
        }
        self.note(told.as_ref().err());
        told
    }

    fn note(&mut self, failure: Option<&AuditError>) {
        tell_operators("the audit trail", self.works, failure);
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
