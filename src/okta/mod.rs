//! # Purpose
//! One Okta organization: tokens, a handle that reads, a handle that changes memberships.
//!
//! # Invariants kept here
//! - [`Directory`] has no method that writes; whoever holds only it cannot change Okta. The client that could do both
//!   is private.
//! - An empty body, an error page or a broken listing is an error, never an empty list.
//!
//! # Not here
//! What to do with what was read: `directory`, `access`.

pub mod assertion;
pub(crate) mod bucket;
mod client;
mod directory;
pub mod errors;
mod lookup;
mod memberships;
pub mod page;
mod proof;
mod reach;
mod refusal;
mod system_log;
mod token_request;
mod tokens;
mod wire;

use std::sync::Arc;
use std::time::Duration;

pub use directory::{Directory, PageError};
pub use errors::{Answer, OktaError};
pub use lookup::{GroupsOf, Rights};
pub use memberships::{Look, Memberships, Presence, UserMatch, Written};
pub use page::{Cursor, Page, Skipped};
pub use proof::Dpop;
pub use reach::Reach;
pub use refusal::TokenError;
pub use system_log::{LogEvent, LogKind, SCOPE as LOG_SCOPE, SystemLog};
pub use tokens::{TokenStatus, Tokens};

use crate::clock::SharedClock;
use crate::entropy::SharedEntropy;
use crate::http::url::Base;
use crate::http::{Budget, Exchange, Transport};
use crate::secrets::{Credentials, Reloading};
use crate::telemetry::Metrics;
use client::Client;

/// What is needed to talk to an organization.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names the organization in logs and metrics.
    pub integration: String,
    /// `organization_url`.
    pub organization: Base,
    /// Client id and key.
    pub credentials: Arc<Reloading<Credentials>>,
    /// Proofs of possession.
    pub dpop: Dpop,
    /// OAuth scopes to ask for.
    pub scopes: Vec<&'static str>,
    /// Asked for too; their absence takes a comfort away and is no failure.
    pub optional_scopes: Vec<&'static str>,
    /// Limit for one request.
    pub timeout: Duration,
}

/// What every client of ours shares.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The network.
    pub transport: Arc<dyn Transport>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// The handles to one organization.
#[derive(Clone, Debug)]
pub struct Organization {
    /// Keeps a token fresh.
    pub tokens: Arc<Tokens>,
    /// Reads users, groups and members.
    pub directory: Directory,
    /// Looks up and changes single memberships.
    pub memberships: Memberships,
    /// Reads what has happened, where that was granted.
    pub log: SystemLog,
    /// Finds out whether it answers at all.
    pub reach: Reach,
    /// The rate budget that all of them share.
    pub budget: Arc<Budget>,
}

/// Connects the handles; sends nothing yet.
pub fn connect(settings: Settings, surroundings: &Surroundings, budget: &Arc<Budget>) -> Organization {
    let exchange = Exchange {
        peer: "okta",
        transport: Arc::clone(&surroundings.transport),
        clock: Arc::clone(&surroundings.clock),
        entropy: Arc::clone(&surroundings.entropy),
        metrics: Arc::clone(&surroundings.metrics),
        budget: Some(Arc::clone(budget)),
        authorize: None,
        classify: errors::classify,
    };
    let (organization, timeout) = (settings.organization.clone(), settings.timeout);
    let tokens = Arc::new(Tokens::new(settings, exchange.clone()));
    let reach = Reach::new(organization.clone(), exchange.clone());
    let exchange = Exchange { authorize: Some(Arc::clone(&tokens) as _), ..exchange };
    let client = Arc::new(Client::new(organization, exchange, timeout));
    Organization {
        log: SystemLog::new(Arc::clone(&client), Arc::clone(&tokens)),
        tokens,
        directory: Directory::new(Arc::clone(&client)),
        memberships: Memberships::new(client),
        reach,
        budget: Arc::clone(budget),
    }
}
