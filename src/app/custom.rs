//! # Purpose
//! Puts the listener for custom integrations together, where it is switched on.
//!
//! # Invariants kept here
//! - It listens before any task runs, and answers only while they do.
//!
//! # Not here
//! What calls mean: `access::calls`. How they look: `apono::custom`.

use std::sync::Arc;

use axum::Router;
use secrecy::SecretString;

use super::StartError;
use crate::access::calls::ID_PREFIX;
use crate::access::leasing::Questions;
use crate::access::ledger::Ledger;
use crate::access::published::{Answering, Published};
use crate::access::watch::Admission;
use crate::apono::custom::{Endpoint, router};
use crate::clock::SharedClock;
use crate::config;
use crate::domain::{GrantId, IntegrationId};
use crate::entropy::SharedEntropy;
use crate::http::address::Address;
use crate::secrets::Reloading;

/// A listener that is open and not served yet.
pub(super) struct Custom {
    pub(super) endpoint: Endpoint,
    pub(super) integration: IntegrationId,
    token: Arc<Reloading<SecretString>>,
}

/// The listener as the outside of the process sees it.
#[derive(Clone, Debug)]
pub(super) struct Reachable {
    pub(super) address: Address,
    pub(super) router: Router,
}

impl Custom {
    pub(super) async fn open(
        settings: &config::CustomIntegration,
        token: Reloading<SecretString>,
    ) -> Result<Self, StartError> {
        let endpoint = Endpoint::open(&settings.listen).await.map_err(StartError::Endpoint)?;
        Ok(Self { endpoint, integration: settings.integration.clone(), token: Arc::new(token) })
    }

    /// What is to be run, and what it can be reached by.
    pub(super) fn assemble(
        self,
        admission: Admission,
        ledger: Arc<Ledger>,
        clock: SharedClock,
        questions: Arc<dyn Questions>,
        entropy: SharedEntropy,
    ) -> (Endpoint, Answering, Reachable) {
        let fresh = Arc::new(move || GrantId::from(format!("{ID_PREFIX}{}", entropy.uuid())));
        let published =
            Published { integration: self.integration, ledger, admission, clock, questions, fresh };
        let (desk, calls) = published.answering();
        let reachable = Reachable {
            address: self.endpoint.address().clone(),
            router: router(self.token, Arc::new(calls)),
        };
        (self.endpoint, desk, reachable)
    }
}
