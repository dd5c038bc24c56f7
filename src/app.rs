//! # Purpose
//! The composition root: the only file that knows everybody.
//!
//! # Invariants kept here
//! - Everything that can fail at the start fails before the first task runs: secrets, state, listener.
//! - The order of a stop: no new work, finish what was begun, send what is ready, say goodbye to Apono.
//!
//! # Not here
//! Any decision.

mod build;
mod custom;
mod desk;
mod detail;
mod directory;
pub mod doctor;
mod facts;
mod live;
mod questions;
mod reach;
mod secrets;
mod state;
mod storage;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::access::journal::{Journal, OpenError, SharedOpenError};
use crate::access::ledger::{Ledger, LedgerError};
use crate::access::outbox::Outbox;
use crate::apono::custom::EndpointError;
use crate::apono::{Connection, ControlPlane};
use crate::audit::Audit;
use crate::catalogue::ErrorCode;
use crate::clock::{self, SharedClock, SystemClock};
use crate::config::{ConfigError, Settings};
use crate::directory::progress::Progress;
use crate::directory::store::{Failing, PlannedOperation, Store, StoreError};
use crate::directory::{ApplyRefusal, DirectoryRun};
use crate::domain::IntegrationId;
use crate::entropy::{SharedEntropy, SystemEntropy};
use crate::fleet::Members;
use crate::http::Transport;
use crate::http::address::Address;
use crate::http::transport::{HttpsError, HttpsSettings, HttpsTransport};
use crate::runtime::{Ending, Manager, Pulse, Signals, Supervisor};
use crate::server;
use crate::telemetry::log::Log;
use crate::telemetry::{Metrics, chain};
use build::Builder;
use custom::Reachable;
use desk::directory::Directories;
use directory::Asker;
use facts::FactSource;

pub use secrets::{Secrets, read_secrets};
pub use state::owner;

/// The outside world. A test hands in its own.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The network.
    pub transport: Arc<dyn Transport>,
    /// The same without `http.ca_bundle_file`, where `doctor` is to tell by it whose certificates there are.
    pub without_bundle: Option<Arc<dyn Transport>>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// Where grants are kept, instead of the configured file.
    pub journal: Option<Arc<dyn Journal>>,
    /// Where they are told of, instead of the configured file.
    pub audit: Option<Arc<dyn Audit>>,
    /// The log of this process, where it has one.
    pub log: Option<Log>,
}

impl Outside {
    /// The real one.
    pub fn real(settings: &Settings) -> Result<Self, StartError> {
        Ok(Self {
            transport: Arc::new(HttpsTransport::new(&settings.http.connection).map_err(StartError::Https)?),
            without_bundle: None,
            clock: SystemClock::shared(),
            entropy: SystemEntropy::shared(),
            journal: None,
            audit: None,
            log: None,
        })
    }

    /// The real one for [`doctor`].
    pub fn real_for_doctor(settings: &Settings) -> Result<Self, StartError> {
        let without = HttpsSettings { ca_bundle: None, ..settings.http.connection.clone() };
        let is_other = settings.http.connection.ca_bundle.is_some();
        let without =
            is_other.then(|| HttpsTransport::new(&without)).transpose().map_err(StartError::Https)?;
        Ok(Self { without_bundle: without.map(|it| Arc::new(it) as _), ..Self::real(settings)? })
    }
}

/// The process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Secrets that cannot be used.
    #[error("{0}")]
    Config(ConfigError),
    /// TLS.
    #[error("the HTTPS client cannot start")]
    Https(#[source] HttpsError),
    /// The state in a database.
    #[error("the state cannot be opened")]
    Shared(#[source] SharedOpenError),
    /// The state file.
    #[error("the state cannot be opened")]
    State(#[source] OpenError),
    /// What is in it.
    #[error("the state cannot be read back")]
    Ledger(#[source] LedgerError),
    /// Duties that nobody could fulfil.
    #[error(
        "grants hold {memberships} memberships in integration {integration}, which is not configured any more, and nobody could end them; put its [[okta]] table back (access.enabled = false lets nothing new begin) until they have ended [{}]",
        ErrorCode::StrandedGrants
    )]
    Stranded {
        /// Which.
        integration: IntegrationId,
        /// How many.
        memberships: usize,
    },
    /// The directory's local store.
    #[error("the directory's local store cannot be opened")]
    Store(#[source] StoreError),
    /// The admin listener.
    #[error(
        "admin.listen: cannot listen on {address}; choose another address, or stop what listens there [{}]",
        ErrorCode::CannotListen
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The listener for custom integrations.
    #[error(transparent)]
    Endpoint(EndpointError),
    /// Signals.
    #[error("signals cannot be taken over [{code}]", code = ErrorCode::ProcessLimits)]
    Signals(#[source] io::Error),
}

/// After the tasks have ended, the goodbye may take this long.
const GOODBYE: Duration = Duration::from_secs(4);

/// The connector, ready to run.
pub struct App {
    supervisor: Supervisor,
    control: Arc<ControlPlane>,
    ledger: Arc<Ledger>,
    stores: Vec<Store>,
    metrics: Arc<Metrics>,
    clock: SharedClock,
    connection: watch::Receiver<Connection>,
    facts: Arc<FactSource>,
    admin: server::Source,
    listening: Option<SocketAddr>,
    custom: Option<Reachable>,
    directories: Directories,
    members: Option<Arc<Members>>,
}

impl App {
    /// Opens everything and starts nothing.
    pub async fn build(settings: Settings, outside: Outside) -> Result<Self, StartError> {
        let mut builder = Builder::new(settings, outside).await?;
        builder.listen().await?;
        builder.organizations()?;
        Ok(builder.finish())
    }

    /// Tells the service manager that everything is ready, and then how it goes on; `again` says whether a stop is one for
    /// good.
    pub fn keep_telling(&mut self, manager: &Manager, again: impl Fn() -> bool + Send + 'static) {
        let facts = Arc::clone(&self.facts);
        let look = move || {
            let facts = facts.facts();
            Pulse { is_live: server::is_live(&facts), status: server::one_line(&facts) }
        };
        manager.ready(&look());
        let stop = self.supervisor.stop_token();
        self.supervisor.add("service manager", manager.clone().keep_telling(look, again, stop));
    }

    /// Where the admin listener is.
    pub fn listening(&self) -> Option<SocketAddr> {
        self.listening
    }

    /// Where the listener for custom integrations is.
    pub fn custom_listening(&self) -> Option<&Address> {
        self.custom.as_ref().map(|custom| &custom.address)
    }

    /// What that listener answers with, for whoever is in the same process.
    pub fn custom_router(&self) -> Option<Router> {
        self.custom.as_ref().map(|custom| custom.router.clone())
    }

    /// What the admin listener answers with, for whoever is in the same process.
    pub fn admin_router(&self) -> Router {
        server::router(self.admin.clone())
    }

    /// The integrations whose directory is reconciled.
    pub fn directories(&self) -> impl Iterator<Item = IntegrationId> {
        self.directories.keys().cloned()
    }

    /// What a directory run would do, as JSON, found out here and now. An error is a sentence for a person.
    pub async fn plan(&self, integration: &IntegrationId) -> Result<serde_json::Value, String> {
        let plan = self.here(integration, Box::pin(self.asker(integration)?.plan_here())).await?;
        let plan = plan.map_err(|error| chain(&error).to_string())?;
        serde_json::to_value(plan).map_err(|error| unwritten(&error))
    }

    /// Operations of that plan, from the `skip`th on.
    pub async fn operations(
        &self,
        integration: &IntegrationId,
        skip: i64,
    ) -> Result<Vec<PlannedOperation>, String> {
        let operations = self.asker(integration)?.operations(skip).await;
        operations.map_err(|error| chain(&error).to_string())
    }

    /// Carries out the plan with this hash and no other. The outer error is a sentence for a person.
    pub async fn apply(
        &self,
        integration: &IntegrationId,
        hash: &str,
    ) -> Result<Result<DirectoryRun, ApplyRefusal>, String> {
        self.here(integration, Box::pin(self.asker(integration)?.apply_here(hash))).await
    }

    /// Agrees to the held removals with this hash, and runs.
    pub async fn approve(
        &self,
        integration: &IntegrationId,
        hash: &str,
    ) -> Result<serde_json::Value, String> {
        let run = self.here(integration, Box::pin(self.asker(integration)?.approve_here(hash))).await?;
        let run = run.map_err(|error| chain(&error).to_string())?;
        serde_json::to_value(run).map_err(|error| unwritten(&error))
    }

    /// How far the run is that goes on here.
    pub fn progress(&self, integration: &IntegrationId) -> Option<Progress> {
        self.directories.get(integration)?.progress()
    }

    /// The objects of a directory that an operation fails for.
    pub async fn failing(&self, integration: &IntegrationId) -> Result<Failing, String> {
        self.asker(integration)?.failing().await.map_err(|error| chain(&error).to_string())
    }

    /// Does `work` on a directory where no loop runs. Where daemons share the state, this is one of them meanwhile, and
    /// whoever owns the organization comes first.
    async fn here<T>(&self, integration: &IntegrationId, work: impl Future<Output = T>) -> Result<T, String> {
        let work = self.asker(integration)?.as_owner(work);
        let Some(members) = &self.members else {
            return work.await.map_err(|error| chain(&error).to_string());
        };
        // What it says is seen by what follows.
        let _ = members.beat().await;
        let silence = CancellationToken::new();
        let (done, ()) = tokio::join!(
            async {
                let done = work.await;
                silence.cancel();
                done
            },
            members.run(silence.clone())
        );
        members.leave().await;
        done.map_err(|error| chain(&error).to_string())
    }

    fn asker(&self, integration: &IntegrationId) -> Result<&Asker, String> {
        let asker = self.directories.get(integration);
        asker.ok_or_else(|| {
            format!(
                "no directory of integration {integration} is reconciled [{}]",
                ErrorCode::WhichOrganization
            )
        })
    }

    /// Cancelling it stops the connector.
    pub fn stop_token(&self) -> CancellationToken {
        self.supervisor.stop_token()
    }

    /// What is so now, as `/status` shows it.
    pub fn facts(&self) -> Arc<dyn Fn() -> server::Facts + Send + Sync> {
        let facts = Arc::clone(&self.facts);
        Arc::new(move || facts.facts())
    }

    /// Runs until a signal, a cancelled stop token, or the death of a task.
    pub async fn run(self, signals: Option<&mut Signals>) -> Ending {
        let Self { supervisor, control, ledger, stores, metrics, connection, clock, members, .. } = self;
        // Beside the others' tasks: while these finish, the daemon lives.
        let (mut speaking, silence) = (JoinSet::new(), CancellationToken::new());
        if let Some(members) = members.clone() {
            let silence = silence.clone();
            speaking.spawn(async move { members.run(silence).await });
        }
        let ending = supervisor.run(signals).await;
        let was_connected = *connection.borrow() == Connection::Connected;
        ledger.close().await;
        let outbox = Outbox { control: Arc::clone(&control), ledger: Arc::clone(&ledger), metrics, clock };
        let goodbye = async {
            outbox.flush().await;
            if let Err(error) = control.leave().await {
                info!(error = %chain(&error), "Apono was not told of the end: {}", chain(&error));
            }
        };
        // A peer that was away a moment ago would only cost the time limit.
        if was_connected && clock::timeout(GOODBYE, goodbye).await.is_none() {
            warn!(
                "Apono did not take the goodbye in time; what it has not accepted is on disk [{}]",
                ErrorCode::NoAnswerInTime
            );
        }
        // A connection that somebody leaves open holds all of this, and whoever comes next wants the files.
        ledger.release().await;
        silence.cancel();
        while speaking.join_next().await.is_some() {}
        if let Some(members) = members {
            members.leave().await;
        }
        for store in stores {
            store.close().await;
        }
        info!(event = "stopped", ending = ?ending, "stopped");
        ending
    }
}

/// What was found cannot be written as JSON.
fn unwritten(error: &serde_json::Error) -> String {
    format!("it cannot be written as JSON: {error} [{}]", ErrorCode::PlanFile)
}
