//! # Purpose
//! What an operator of this host can ask of the grants and do to them while the connector runs.
//!
//! # Invariants kept here
//! - Ending a grant goes the way of every other end: recorded, told to the audit trail with who and why, and carried out
//!   by the reconciler. Nothing here gives access.
//!
//! # Not here
//! Who may ask: `app::desk`. The words: `view`.

use std::sync::Arc;

use super::book::Book;
use super::intake;
use super::journal::Subject;
use super::ledger::{Ledger, LedgerError};
use super::view::{self, Filter, Listing, Story};
use crate::clock::SharedClock;
use crate::domain::GrantId;

/// See the module.
#[derive(Clone, Debug)]
pub struct Desk {
    ledger: Arc<Ledger>,
    clock: SharedClock,
}

impl Desk {
    /// Over this book and journal.
    pub fn new(ledger: Arc<Ledger>, clock: SharedClock) -> Self {
        Self { ledger, clock }
    }

    /// Open grants, a page of them.
    pub fn list(&self, filter: &Filter) -> Listing {
        self.ledger.read(|book| view::list(book, filter))
    }

    /// All that is known of a grant, open or not; nothing when it was never heard of.
    pub async fn story(&self, id: &GrantId) -> Result<Option<Story>, LedgerError> {
        let entries = self.ledger.about(id).await?;
        Ok(view::story(id, &entries))
    }

    /// Ends a grant, for good; `by` says who asked for it and why. A grant that is over already stays as it is. Whether
    /// there is such a grant.
    pub async fn end(&self, id: &GrantId, by: &str) -> Result<bool, LedgerError> {
        let now = self.clock.now();
        let mut known = false;
        let decide = |book: &Book| {
            known = book.grant(id).is_some();
            intake::end_by_operator(book, id, by, now)
        };
        self.ledger.record(&[Subject::Grant(id.clone())], decide).await?;
        Ok(known)
    }
}
