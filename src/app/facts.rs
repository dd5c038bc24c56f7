//! # Purpose
//! Gathers what is so now from the parts, for readiness, status, the session and `get-status`.
//!
//! # Invariants kept here
//! - Looking asks nobody: every fact is at hand.
//!
//! # Not here
//! Verdicts: `server::readiness`.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::access::ledger::Ledger;
use crate::access::reconciler::Progress;
use crate::access::watch::Watch;
use crate::apono::{Connection, IntegrationState, IntegrationStatus, Session};
use crate::clock::{self, SharedClock};
use crate::directory::store::Failing;
use crate::directory::{DirectoryRun, Outcome, Tracker};
use crate::domain::{ConnectorId, IntegrationId};
use crate::fleet::{Companion, Members, Ownership, State};
use crate::http::contact::{Contact, Contacts};
use crate::http::{Budget, Class};
use crate::okta::{TokenStatus, Tokens};
use crate::server::{
    DaemonFacts, DirectoryFacts, Facts, FleetFacts, OrganizationFacts, OwnerFacts, PeerFact, Reached,
    Stopped, TokenFact,
};
use crate::telemetry::chain;

/// Where facts come from.
pub(super) struct FactSource {
    pub(super) connector: ConnectorId,
    pub(super) started_at: Timestamp,
    pub(super) clock: SharedClock,
    pub(super) ledger: Arc<Ledger>,
    pub(super) connection: watch::Receiver<Connection>,
    pub(super) contacts: Contacts,
    /// Apono's origin.
    pub(super) apono: String,
    pub(super) organizations: Vec<OrganizationView>,
    pub(super) metadata: Value,
    pub(super) members: Option<Arc<Members>>,
}

/// One organization's parts.
pub(super) struct OrganizationView {
    pub(super) integration: IntegrationId,
    pub(super) url: String,
    pub(super) tokens: Arc<Tokens>,
    pub(super) budget: Arc<Budget>,
    pub(super) access: watch::Receiver<Progress>,
    pub(super) watch: Arc<Watch>,
    pub(super) last_run: watch::Receiver<Option<DirectoryRun>>,
    pub(super) directory: Option<DirectoryView>,
}

/// What goes on in one organization's directory.
pub(super) struct DirectoryView {
    pub(super) tracker: Arc<Tracker>,
    pub(super) failing: watch::Receiver<Failing>,
}

impl FactSource {
    pub(super) fn facts(&self) -> Facts {
        let now = self.clock.elapsed();
        let views = self.organizations.iter();
        let slowest = views.map(|view| now.saturating_sub(view.access.borrow().looked)).max();
        Facts {
            version: env!("CARGO_PKG_VERSION"),
            connector_id: self.connector.as_str().to_owned(),
            started_at: self.started_at,
            journal_writable: self.ledger.health().works,
            journal_checked: now.saturating_sub(self.ledger.checked_at()),
            audit_failures: self.ledger.audit_failures(),
            slowest_loop: slowest.unwrap_or(Duration::ZERO),
            apono: match &*self.connection.borrow() {
                Connection::Unknown => PeerFact::Unknown,
                Connection::Connected => PeerFact::Connected,
                Connection::Unreachable(reason) => PeerFact::Unreachable { reason: reason.clone() },
                Connection::Refused(reason) => PeerFact::Refused { reason: reason.clone() },
            },
            apono_reached: self.reached(&self.apono, now),
            results_pending: self
                .ledger
                .read(|book| book.tasks().filter(|(_, task)| task.is_ready()).count()),
            organizations: self.organizations.iter().map(|view| self.organization(view)).collect(),
            fleet: self.members.as_ref().map(|members| fleet(members, &self.ledger, now)),
        }
    }

    fn organization(&self, view: &OrganizationView) -> OrganizationFacts {
        let now = self.clock.elapsed();
        let left = view.tokens.expires_at().map(|at| at.saturating_sub(now));
        let expires_at = left.map(|left| clock::after(self.clock.now(), left));
        let mut facts = view.facts(expires_at, self.reached(&view.url, now));
        facts.owner = self.members.as_ref().and_then(|members| owner(members, &view.integration));
        facts
    }

    fn reached(&self, origin: &str, now: Duration) -> Option<Reached> {
        let Contact { answered, at } = self.contacts.last(origin)?;
        Some(Reached { answered, age: now.saturating_sub(at) })
    }

    /// What the session says.
    pub(super) fn session(&self) -> Session {
        Session {
            started_at: self.started_at,
            metadata: self.metadata.clone(),
            integrations: self.organizations.iter().map(OrganizationView::state).collect(),
        }
    }

    /// One sentence about an organization, and whether it is good.
    pub(super) fn status(&self, integration: &IntegrationId) -> Option<(bool, String)> {
        let view = self.organizations.iter().find(|view| view.integration == *integration)?;
        let state = view.state();
        let good = match state.status {
            IntegrationStatus::Active | IntegrationStatus::Warning => true,
            IntegrationStatus::Initializing | IntegrationStatus::Error => false,
        };
        Some((good, state.message))
    }
}

fn fleet(members: &Members, ledger: &Ledger, now: Duration) -> FleetFacts {
    let State { answers, heard_at, last_entry, companions } = members.state();
    let known = ledger.position().unwrap_or(last_entry);
    let daemon = |companion: Companion| DaemonFacts {
        id: companion.id.as_str().to_owned(),
        host: companion.host,
        version: companion.version,
        started_at: companion.started_at,
        silent: companion.silent,
        lives: companion.lives,
    };
    FleetFacts {
        database: members.place(),
        answers,
        heard: now.saturating_sub(heard_at),
        entries_behind: u64::try_from(last_entry.saturating_sub(known)).unwrap_or(0),
        entries_known: known,
        this_daemon: members.itself().id.as_str().to_owned(),
        daemons: companions.into_iter().map(daemon).collect(),
    }
}

fn owner(members: &Members, integration: &IntegrationId) -> Option<OwnerFacts> {
    let Ownership { daemon, epoch } = members.owner(integration)?;
    let companion = members.state().companions.into_iter().find(|companion| companion.id == daemon);
    let is_this = daemon == members.itself().id;
    let lives = companion.as_ref().is_some_and(|companion| companion.lives);
    Some(OwnerFacts {
        host: companion.map(|companion| companion.host),
        is_this,
        lives: if is_this { members.owns(integration) } else { lives },
        daemon: daemon.as_str().to_owned(),
        epoch,
    })
}

impl OrganizationView {
    fn facts(&self, token_expires_at: Option<Timestamp>, reached: Option<Reached>) -> OrganizationFacts {
        let access = self.access.borrow().clone();
        OrganizationFacts {
            integration_id: self.integration.as_str().to_owned(),
            organization_url: self.url.clone(),
            token: self.token(),
            token_expires_at,
            reached,
            clock_skew_seconds: self.budget.skew_seconds().map(|ours| -ours),
            live_memberships: access.live,
            removals_due: access.removals_due,
            removal_stuck: access.stuck,
            grants_stopped: self
                .watch
                .conditions()
                .obstacle
                .map(|obstacle| Stopped { message: obstacle.message(), wanted: obstacle.is_wanted() }),
            budget: self.budget.known(),
            owner: None,
            last_directory_run: self.last_run.borrow().clone(),
            directory: self.directory.as_ref().map(|directory| DirectoryFacts {
                progress: directory.tracker.look(),
                failing: directory.failing.borrow().clone(),
            }),
        }
    }

    fn token(&self) -> TokenFact {
        match self.tokens.status() {
            TokenStatus::Unknown => TokenFact::Unknown,
            TokenStatus::Held { missing_scopes } if missing_scopes.is_empty() => TokenFact::Held,
            TokenStatus::Held { missing_scopes } => TokenFact::ScopesMissing { scopes: missing_scopes },
            TokenStatus::Failing(error) => {
                let reason = chain(error.as_ref()).to_string();
                match error.class() {
                    Class::Transient => {
                        TokenFact::Unreachable { reason, worked_before: self.tokens.has_ever_held() }
                    }
                    Class::Permanent | Class::Misconfigured => TokenFact::Refused { reason },
                }
            }
        }
    }

    /// The organization in the words of the session.
    fn state(&self) -> IntegrationState {
        let last_run = self.last_run.borrow().clone();
        let (status, message) = match (self.token(), &last_run) {
            (TokenFact::Unknown, _) => {
                (IntegrationStatus::Initializing, "no token was asked for yet".to_owned())
            }
            (TokenFact::Refused { reason } | TokenFact::Unreachable { reason, .. }, _) => {
                (IntegrationStatus::Error, reason)
            }
            (TokenFact::ScopesMissing { scopes }, _) => {
                (IntegrationStatus::Error, format!("Okta did not grant {}", scopes.join(", ")))
            }
            (TokenFact::Held, Some(run)) if run.outcome != Outcome::Completed => {
                (IntegrationStatus::Warning, run.message.clone())
            }
            (TokenFact::Held, Some(run)) => (IntegrationStatus::Active, run.message.clone()),
            (TokenFact::Held, None) => (IntegrationStatus::Active, "connected".to_owned()),
        };
        let completed = last_run.filter(|run| run.outcome == Outcome::Completed);
        let last_sync_time =
            completed.map(|run| clock::after(run.started_at, Duration::from_secs_f64(run.seconds)));
        let id = self.integration.as_str().to_owned();
        IntegrationState { id, kind: "okta-group", status, message, last_sync_time }
    }
}
