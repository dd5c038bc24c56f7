//! # Purpose
//! The composition root: the only file that knows everybody.
//!
//! # Invariants kept here
//! - Everything that can fail at the start fails before the first task runs: secrets, state, listener.
//! - The order of a stop: no new work, finish what was begun, send what is ready, say goodbye to Apono.
//!
//! # Not here
//! Any decision.

mod directory;
mod facts;
mod questions;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::access::desired::DesiredGrants;
use crate::access::executor::Executor;
use crate::access::journal::{Journal, OpenError, Owner, SqliteJournal};
use crate::access::leasing::Leasing;
use crate::access::ledger::{Ledger, LedgerError};
use crate::access::outbox::Outbox;
use crate::access::policy::Policy;
use crate::access::reconciler::Reconciler as AccessReconciler;
use crate::apono::{Connection, ControlPlane, SessionKeeper};
use crate::clock::{self, SharedClock, SystemClock};
use crate::config::{AponoToken, ConfigError, Organization, Problem, Settings};
use crate::directory::mapping::Mapping;
use crate::directory::store::{Store, StoreError};
use crate::directory::{DirectoryRun, Reconciler as DirectoryReconciler};
use crate::domain::{IntegrationId, LiveMemberships, Membership, SessionId};
use crate::entropy::{SharedEntropy, SystemEntropy};
use crate::http::bearer::MountedToken;
use crate::http::budget::BudgetSettings;
use crate::http::classify::by_status;
use crate::http::transport::{HttpsError, HttpsSettings, HttpsTransport};
use crate::http::{Authorize, Budget, Exchange, Transport};
use crate::okta::{self, Surroundings};
use crate::runtime::{Ending, Signals, Supervisor, whoami};
use crate::scim::Provider;
use crate::scim::attributes::PathError;
use crate::secrets::{Reloading, SecretSource, SecretValue};
use crate::server;
use crate::telemetry::{Metrics, chain};
use directory::DirectoryLoop;
use facts::{FactSource, OrganizationView};
use questions::Answers;

/// The outside world. A test hands in its own.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The network.
    pub transport: Arc<dyn Transport>,
    /// Time.
    pub clock: SharedClock,
    /// Randomness.
    pub entropy: SharedEntropy,
    /// Where grants are kept, instead of the configured file.
    pub journal: Option<Arc<dyn Journal>>,
}

impl Outside {
    /// The real one.
    pub fn real(settings: &Settings) -> Result<Self, StartError> {
        let extra_roots = match &settings.http.ca_bundle {
            None => None,
            Some(file) => {
                let read = std::fs::read(file.path());
                Some(read.map_err(|source| StartError::Bundle { path: file.path().to_owned(), source })?)
            }
        };
        let https = HttpsSettings { connect_timeout: settings.http.connect_timeout, extra_roots };
        Ok(Self {
            transport: Arc::new(HttpsTransport::new(&https).map_err(StartError::Https)?),
            clock: SystemClock::shared(),
            entropy: SystemEntropy::shared(),
            journal: None,
        })
    }
}

/// The process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Secrets that cannot be used.
    #[error("{0}")]
    Config(ConfigError),
    /// The CA bundle.
    #[error("http.ca_bundle_file: {} cannot be read", path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS.
    #[error("the HTTPS client cannot start")]
    Https(#[source] HttpsError),
    /// The state file.
    #[error("the state cannot be opened")]
    State(#[source] OpenError),
    /// What is in it.
    #[error("the state cannot be read back")]
    Ledger(#[source] LedgerError),
    /// The directory's local store.
    #[error("the directory's local store cannot be opened")]
    Store(#[source] StoreError),
    /// The admin listener.
    #[error("admin.listen: cannot listen on {address}; choose another address, or stop what listens there")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Our own mapping.
    #[error("the attribute mapping is wrong")]
    Mapping(#[source] PathError),
    /// Signals.
    #[error("signals cannot be taken over")]
    Signals(#[source] io::Error),
}

/// A stop waits this long for what was begun. `TimeoutStopSec` and the pod's grace period are above it.
const DRAIN: Duration = Duration::from_secs(20);
/// And this long for the goodbye.
const GOODBYE: Duration = Duration::from_secs(4);

/// The connector, ready to run.
pub struct App {
    supervisor: Supervisor,
    control: Arc<ControlPlane>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    connection: watch::Receiver<Connection>,
    facts: Arc<FactSource>,
    listening: Option<SocketAddr>,
}

impl App {
    /// Opens everything and starts nothing.
    pub async fn build(settings: Settings, outside: Outside) -> Result<Self, StartError> {
        let mut builder = Builder::new(settings, outside).await?;
        builder.listen().await?;
        for index in 0..builder.settings.okta.len() {
            builder.organization(index)?;
        }
        Ok(builder.finish())
    }

    /// Where the admin listener is.
    pub fn listening(&self) -> Option<SocketAddr> {
        self.listening
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
    pub async fn run(self, signals: Option<Signals>) -> Ending {
        let Self { supervisor, control, ledger, metrics, connection, .. } = self;
        let ending = supervisor.run(signals).await;
        let was_connected = *connection.borrow() == Connection::Connected;
        let outbox = Outbox { control: Arc::clone(&control), ledger, metrics };
        let goodbye = async {
            outbox.flush().await;
            if let Err(error) = control.leave().await {
                info!(error = %chain(&error), "Apono was not told of the end: {}", chain(&error));
            }
        };
        // A peer that was away a moment ago would only cost the time limit.
        if was_connected && clock::timeout(GOODBYE, goodbye).await.is_none() {
            warn!("Apono did not take the goodbye in time; what it has not accepted is on disk");
        }
        info!(ending = ?ending, "stopped");
        ending
    }
}

/// Puts the parts together, one organization after the other.
struct Builder {
    settings: Settings,
    outside: Outside,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    control: Arc<ControlPlane>,
    token: Arc<Reloading<secrecy::SecretString>>,
    credentials: Vec<Option<Reloading<crate::secrets::Credentials>>>,
    supervisor: Supervisor,
    connection: watch::Sender<Connection>,
    answers: Answers,
    policies: BTreeMap<IntegrationId, Policy>,
    views: Vec<OrganizationView>,
    listener: Option<TcpListener>,
}

impl Builder {
    async fn new(settings: Settings, outside: Outside) -> Result<Self, StartError> {
        let (token, credentials) = read_secrets(&settings)?;
        let metrics = Arc::new(Metrics::new());
        let journal: Arc<dyn Journal> = match &outside.journal {
            Some(journal) => Arc::clone(journal),
            None => Arc::new(open_state(&settings, &outside)?),
        };
        let ledger = Ledger::open(journal, Arc::clone(&outside.clock)).await.map_err(StartError::Ledger)?;
        let token = Arc::new(token);
        let control = ControlPlane::new(
            settings.apono.url.clone(),
            exchange("apono", &outside, &metrics, None),
            Arc::clone(&token),
            settings.apono.connector_id.clone(),
            SessionId::from(outside.entropy.uuid().to_string()),
            settings.http.request_timeout,
        );
        Ok(Self {
            answers: Answers::new(Arc::clone(&outside.clock)),
            settings,
            outside,
            metrics,
            ledger: Arc::new(ledger),
            control: Arc::new(control),
            token,
            credentials: credentials.into_iter().map(Some).collect(),
            supervisor: Supervisor::new(DRAIN),
            connection: watch::Sender::default(),
            policies: BTreeMap::new(),
            views: Vec::new(),
            listener: None,
        })
    }

    async fn listen(&mut self) -> Result<(), StartError> {
        let address = self.settings.admin.listen;
        let listener = TcpListener::bind(address).await;
        self.listener = Some(listener.map_err(|source| StartError::Listen { address, source })?);
        Ok(())
    }

    fn organization(&mut self, index: usize) -> Result<(), StartError> {
        let settings = self.settings.okta[index].clone();
        let Some(credentials) = self.credentials[index].take() else {
            return Ok(());
        };
        let organization = self.connect(&settings, credentials);
        let integration = settings.integration_id.clone();
        let tokens = Arc::clone(&organization.tokens);
        self.every("token", move || {
            let tokens = Arc::clone(&tokens);
            async move { tokens.keep_fresh().await }
        });

        let access_progress = match &settings.access {
            None => None,
            Some(access) => {
                self.policies.insert(integration.clone(), access.policy.clone());
                Some(self.access(&integration, access, &organization))
            }
        };
        let last_run = match &settings.directory {
            None => watch::Sender::<Option<DirectoryRun>>::default().subscribe(),
            Some(directory) => self.directory(&integration, directory, &organization)?,
        };
        self.answers.add(&settings, &organization);
        self.views.push(OrganizationView {
            integration,
            url: settings.url.origin(),
            tokens: organization.tokens,
            budget: organization.budget,
            access: access_progress,
            last_run,
        });
        Ok(())
    }

    fn connect(
        &self,
        settings: &Organization,
        credentials: Reloading<crate::secrets::Credentials>,
    ) -> okta::Organization {
        let budget = Budget::new(
            BudgetSettings { share: settings.rate_limit_share, ..BudgetSettings::default() },
            settings.integration_id.as_str(),
            Arc::clone(&self.outside.clock),
            Arc::clone(&self.metrics),
        );
        let surroundings = Surroundings {
            transport: Arc::clone(&self.outside.transport),
            clock: Arc::clone(&self.outside.clock),
            entropy: Arc::clone(&self.outside.entropy),
            metrics: Arc::clone(&self.metrics),
        };
        // Writing memberships is asked for only where grants are executed.
        let groups = if settings.access.is_some() { "okta.groups.manage" } else { "okta.groups.read" };
        let okta_settings = okta::Settings {
            integration: settings.integration_id.as_str().to_owned(),
            organization: settings.url.clone(),
            credentials,
            scopes: vec!["okta.users.read", groups],
            timeout: self.settings.http.request_timeout,
        };
        okta::connect(okta_settings, &surroundings, &Arc::new(budget))
    }

    fn access(
        &mut self,
        integration: &IntegrationId,
        settings: &crate::config::Access,
        organization: &okta::Organization,
    ) -> watch::Receiver<crate::access::reconciler::Progress> {
        let (ledger, clock) = (Arc::clone(&self.ledger), Arc::clone(&self.outside.clock));
        let executor = Executor::new(
            integration.clone(),
            organization.memberships.clone(),
            Arc::clone(&ledger),
            settings.policy.clone(),
            Arc::clone(&clock),
            Arc::clone(&self.metrics),
        );
        let reconciler = AccessReconciler::new(
            Arc::new(executor),
            Arc::clone(&ledger),
            Arc::clone(&clock),
            Arc::clone(&self.metrics),
            settings.parallelism,
        );
        let progress = reconciler.progress();
        let stop = self.supervisor.stop_token();
        self.supervisor.start("access", reconciler.run(stop));

        let mut desired = DesiredGrants {
            integration: integration.clone(),
            control: Arc::clone(&self.control),
            ledger,
            policy: settings.policy.clone(),
            clock,
            interval: self.settings.apono.grants_interval,
            absent: BTreeSet::new(),
        };
        let stop = self.supervisor.stop_token();
        self.supervisor.start("desired grants", async move {
            while !stop.is_cancelled() {
                // Not cut off half-way: it writes to the journal.
                let wait = desired.reconcile().await;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = clock::sleep(wait) => {}
                }
            }
            Ok::<(), Infallible>(())
        });
        progress
    }

    fn directory(
        &mut self,
        integration: &IntegrationId,
        settings: &crate::config::Directory,
        organization: &okta::Organization,
    ) -> Result<watch::Receiver<Option<DirectoryRun>>, StartError> {
        let store_path = store_path(&self.settings.state.file, integration);
        let store = Store::open(&store_path).map_err(StartError::Store)?;
        let token: Arc<dyn Authorize> = match &settings.scim.token {
            None => Arc::new(MountedToken(Arc::clone(&self.token))),
            Some(file) => {
                let file = file.clone();
                let key = format!("okta[].scim.token_file of {integration}");
                let token = Reloading::new("SCIM token", move || file.read());
                Arc::new(MountedToken(Arc::new(token.map_err(|error| problem(&key, &error))?)))
            }
        };
        let provider = Provider::new(
            settings.scim.base.clone(),
            exchange("scim", &self.outside, &self.metrics, Some(token)),
            self.settings.http.request_timeout,
        );
        let last = watch::Sender::default();
        let runs = last.subscribe();
        let reconciler = DirectoryReconciler {
            integration: integration.clone(),
            directory: organization.directory.clone(),
            provider,
            store,
            selection: settings.selection.clone(),
            mapping: Mapping::standard().map_err(StartError::Mapping)?,
            limits: settings.breaker,
            live: Arc::new(LiveGrants { ledger: Arc::clone(&self.ledger), integration: integration.clone() }),
            clock: Arc::clone(&self.outside.clock),
            metrics: Arc::clone(&self.metrics),
            last,
        };
        let (directory_loop, asker) = DirectoryLoop::new(reconciler, settings.interval);
        self.answers.directory(integration.clone(), asker);
        let stop = self.supervisor.stop_token();
        self.supervisor.start("directory", async move {
            directory_loop.run(stop).await;
            Ok::<(), Infallible>(())
        });
        Ok(runs)
    }

    fn finish(mut self) -> App {
        let (ledger, clock) = (Arc::clone(&self.ledger), Arc::clone(&self.outside.clock));
        let facts = Arc::new(FactSource {
            connector: self.settings.apono.connector_id.clone(),
            started_at: clock.now(),
            clock: Arc::clone(&clock),
            ledger: Arc::clone(&ledger),
            connection: self.connection.subscribe(),
            organizations: std::mem::take(&mut self.views),
            metadata: self.settings.metadata.clone(),
        });
        self.answers.facts(Arc::clone(&facts));

        let (control, leases_ledger, leases_clock) =
            (Arc::clone(&self.control), Arc::clone(&ledger), Arc::clone(&clock));
        let stop = self.supervisor.stop_token();
        self.supervisor.start("leases", async move {
            while !stop.is_cancelled() {
                // Not cut off half-way: it writes to the journal.
                let wait = Leasing::keep_leases(&control, &leases_ledger, &leases_clock).await;
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = clock::sleep(wait) => {}
                }
            }
            Ok::<(), Infallible>(())
        });

        let outbox = Outbox {
            control: Arc::clone(&self.control),
            ledger: Arc::clone(&ledger),
            metrics: Arc::clone(&self.metrics),
        };
        let stop = self.supervisor.stop_token();
        self.supervisor.start("outbox", async move {
            outbox.run(stop).await;
            Ok::<(), Infallible>(())
        });

        let leasing = Leasing {
            control: Arc::clone(&self.control),
            ledger: Arc::clone(&ledger),
            clock: Arc::clone(&clock),
            policies: self.policies,
            questions: Arc::new(self.answers),
        };
        let stop = self.supervisor.stop_token();
        self.supervisor.start("tasks", leasing.run(stop));

        let describe = Arc::clone(&facts);
        let keeper = SessionKeeper {
            control: Arc::clone(&self.control),
            describe: Arc::new(move || describe.session()),
            connection: self.connection.clone(),
            clock,
            metrics: Arc::clone(&self.metrics),
        };
        let stop = self.supervisor.stop_token();
        self.supervisor.start("session", async move {
            keeper.run(stop).await;
            Ok::<(), Infallible>(())
        });

        let listening = self.listener.as_ref().and_then(|listener| listener.local_addr().ok());
        if let Some(listener) = self.listener.take() {
            let of_server = Arc::clone(&facts);
            let source = server::Source {
                facts: Arc::new(move || of_server.facts()),
                metrics: Arc::clone(&self.metrics),
            };
            let stop = self.supervisor.stop_token();
            self.supervisor.start("admin", server::serve(listener, source, stop));
        }
        App {
            connection: self.connection.subscribe(),
            supervisor: self.supervisor,
            control: self.control,
            ledger,
            metrics: self.metrics,
            facts,
            listening,
        }
    }

    /// Runs `work` again and again, each time after the pause that it asks for.
    fn every<W, F>(&mut self, name: &'static str, work: W)
    where
        W: Fn() -> F + Send + 'static,
        F: Future<Output = Duration> + Send,
    {
        let stop = self.supervisor.stop_token();
        self.supervisor.start(name, async move {
            while !stop.is_cancelled() {
                let wait = tokio::select! {
                    () = stop.cancelled() => break,
                    wait = work() => wait,
                };
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = clock::sleep(wait) => {}
                }
            }
            Ok::<(), Infallible>(())
        });
    }
}

/// The memberships that grants hold in one organization, for the directory.
struct LiveGrants {
    ledger: Arc<Ledger>,
    integration: IntegrationId,
}

impl LiveMemberships for LiveGrants {
    fn live(&self) -> BTreeSet<Membership> {
        self.ledger.read(|book| book.live(&self.integration))
    }
}

type Secrets = (Reloading<secrecy::SecretString>, Vec<Reloading<crate::secrets::Credentials>>);

/// Reads every secret once; all that are wrong are reported together.
pub fn read_secrets(settings: &Settings) -> Result<Secrets, StartError> {
    let mut problems = Vec::new();
    let token = match settings.apono.token.clone() {
        AponoToken::File(file) => Reloading::new("connector token", move || file.read()),
        AponoToken::Value(value) => {
            let value = SecretValue::new(value);
            Reloading::new("connector token", move || value.read())
        }
    };
    let token = token.map_err(|error| problems.push(describe("apono.token_file", &error))).ok();
    let mut credentials = Vec::new();
    for organization in &settings.okta {
        let source = organization.credentials.clone();
        match Reloading::new("Okta credentials", move || source.load()) {
            Ok(loaded) => credentials.push(loaded),
            Err(error) => problems.push(describe(&organization.credentials_key, &error)),
        }
    }
    match token {
        Some(token) if problems.is_empty() => Ok((token, credentials)),
        _ => Err(StartError::Config(ConfigError { problems })),
    }
}

fn problem(key: &str, error: &(dyn std::error::Error + 'static)) -> StartError {
    StartError::Config(ConfigError { problems: vec![describe(key, error)] })
}

fn describe(key: &str, error: &(dyn std::error::Error + 'static)) -> Problem {
    Problem { key: key.to_owned(), place: String::new(), message: chain(error).to_string() }
}

fn open_state(settings: &Settings, outside: &Outside) -> Result<SqliteJournal, StartError> {
    let organizations = settings
        .okta
        .iter()
        .map(|organization| (organization.integration_id.as_str().to_owned(), organization.url.origin()))
        .collect();
    let owner = Owner { connector: settings.apono.connector_id.as_str().to_owned(), organizations };
    SqliteJournal::open(&settings.state.file, &owner, &whoami(outside.clock.now())).map_err(StartError::State)
}

/// Beside the state file, one file an organization.
fn store_path(state: &Path, integration: &IntegrationId) -> PathBuf {
    let safe: String = integration
        .as_str()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .collect();
    state.with_file_name(format!("directory-{safe}.db"))
}

fn exchange(
    peer: &'static str,
    outside: &Outside,
    metrics: &Arc<Metrics>,
    authorize: Option<Arc<dyn Authorize>>,
) -> Exchange {
    Exchange {
        peer,
        transport: Arc::clone(&outside.transport),
        clock: Arc::clone(&outside.clock),
        entropy: Arc::clone(&outside.entropy),
        metrics: Arc::clone(metrics),
        budget: None,
        authorize,
        classify: by_status,
    }
}
