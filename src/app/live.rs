//! # Purpose
//! Shows the directory which memberships grants hold.
//!
//! # Invariants kept here
//! - The directory sees them and nothing else of the book.
//!
//! # Not here
//! Whose they are: `access`.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::access::ledger::Ledger;
use crate::domain::{IntegrationId, LiveMemberships, Membership, OktaGroupId, OktaUserId};

/// The memberships that grants hold in one organization, for the directory.
pub(super) struct LiveGrants {
    pub(super) ledger: Arc<Ledger>,
    pub(super) integration: IntegrationId,
}

impl LiveMemberships for LiveGrants {
    fn live(&self) -> BTreeSet<Membership> {
        self.ledger.read(|book| book.live(&self.integration))
    }

    fn live_in(&self, group: &OktaGroupId) -> BTreeSet<OktaUserId> {
        self.ledger.read(|book| book.live_in(&self.integration, group))
    }
}
