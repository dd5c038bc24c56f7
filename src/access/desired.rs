//! # Purpose
//! Reads which grants Apono wants live, and makes up for tasks that never arrived.
//!
//! # Invariants kept here
//! - A listing that broke off, or that holds something unreadable, ends nothing.
//! - A grant is ended for its absence only when it is absent from two complete listings in a row, and only when the
//!   listing could name it: what came by a call of the published protocol is not in it.
//!
//! # Not here
//! What taking a grant on means: `intake`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::book::Book;
use super::intake;
use super::journal::Subject;
use super::ledger::{Ledger, LedgerError};
use super::watch::Admission;
use crate::apono::{AponoError, ControlPlane};
use crate::catalogue::ErrorCode;
use crate::clock::{self, SharedClock};
use crate::domain::{GrantId, IntegrationId};
use crate::telemetry::chain;

/// Reconciles one organization's grants with Apono's listing.
#[derive(Debug)]
pub struct DesiredGrants {
    /// The organization.
    pub integration: IntegrationId,
    /// Apono.
    pub control: Arc<ControlPlane>,
    /// Where grants are kept.
    pub ledger: Arc<Ledger>,
    /// Reviews grants that are taken on.
    pub admission: Admission,
    /// Time.
    pub clock: SharedClock,
    /// Between listings.
    pub interval: Duration,
    /// Grants that were absent from the last complete listing.
    pub absent: BTreeSet<GrantId>,
}

/// A listing was not used.
#[derive(Debug, thiserror::Error)]
enum ListingError {
    #[error("the listing of desired grants broke off")]
    Call(#[source] AponoError),
    #[error("the listing of desired grants holds a grant that cannot be read ({0}) [{code}]", code = ErrorCode::AponoUnreadable)]
    Unreadable(String),
    #[error("the listing of desired grants does not end [{code}]", code = ErrorCode::AponoUnreadable)]
    Endless,
    #[error("the connector stops")]
    Stopped,
    #[error("the desired grants could not be recorded")]
    Ledger(#[source] LedgerError),
}

/// More pages than this are a mistake of the listing.
const MOST_PAGES: usize = 1000;
/// Between looks whether the organization has become this daemon's.
const NOT_OURS: Duration = Duration::from_secs(1);

impl DesiredGrants {
    /// Reads the listing again and again until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if !self.ledger.fleet().owns(&self.integration) {
                // What was absent once for this daemon may be long ago when it looks again.
                self.absent.clear();
                let _ = stop.run_until_cancelled(clock::sleep(NOT_OURS)).await;
                continue;
            }
            match self.reconcile(&stop).await {
                Ok(()) | Err(ListingError::Stopped) => {}
                Err(error) => {
                    info!(integration.id = %self.integration, error = %chain(&error),
                        "nothing is concluded from Apono's desired grants: {}", chain(&error));
                }
            }
            let _ = stop.run_until_cancelled(clock::sleep(self.interval)).await;
        }
    }

    async fn reconcile(&mut self, stop: &CancellationToken) -> Result<(), ListingError> {
        // Only what was known before the listing began can be missing from it.
        let known = self.live();
        let mut listed = BTreeSet::new();
        let mut unreadable = None;
        let mut page = None;
        for _ in 0..MOST_PAGES {
            // Only the network is left in the lurch at a stop, never a record.
            let read =
                stop.run_until_cancelled(self.control.desired_grants(&self.integration, page.as_deref()));
            let read = read.await.ok_or(ListingError::Stopped)?.map_err(ListingError::Call)?;
            for grant in read.grants {
                listed.insert(grant.id.clone());
                let (subject, policy) = (Subject::Grant(grant.id.clone()), &self.admission.policy);
                let conditions = self.admission.watch.conditions();
                let decide = |book: &Book| intake::adopt(book, &grant, policy, &conditions);
                self.ledger.record(&[subject], decide).await.map_err(ListingError::Ledger)?;
            }
            unreadable = unreadable.or_else(|| read.unreadable.into_iter().next());
            page = read.next;
            if page.is_none() {
                if let Some(problem) = unreadable {
                    return Err(ListingError::Unreadable(problem));
                }
                return self.end_absent(&known, &listed).await;
            }
        }
        Err(ListingError::Endless)
    }

    async fn end_absent(
        &mut self,
        known: &BTreeSet<GrantId>,
        listed: &BTreeSet<GrantId>,
    ) -> Result<(), ListingError> {
        let absent: BTreeSet<_> = known.difference(listed).cloned().collect();
        let twice: Vec<_> = absent.intersection(&self.absent).cloned().collect();
        self.absent = absent;
        for id in twice {
            let now = self.clock.now();
            let decide = |book: &Book| intake::withdraw(book, &id, now);
            self.ledger.record(&[], decide).await.map_err(ListingError::Ledger)?;
            warn!(event = "grant_withdrawn", grant.id = %id, "Apono no longer lists grant {id}; it is ended");
        }
        Ok(())
    }

    fn live(&self) -> BTreeSet<GrantId> {
        self.ledger.read(|book| {
            book.grants()
                .filter(|(_, state)| state.terms.integration == self.integration)
                .filter(|(_, state)| state.end.is_none() && state.by.is_listed())
                .map(|(id, _)| id.clone())
                .collect()
        })
    }
}
