//! # Purpose
//! Puts the parts together, one organization after the other.
//!
//! # Invariants kept here
//! - Every long-lived task belongs to the supervisor, which begins none before everything was opened.
//!
//! # Not here
//! Running and stopping: `app`.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::custom::Custom;
use super::desk::Door;
use super::desk::log::Logging;
use super::detail::Details;
use super::directory::{DirectoryLoop, Seat};
use super::facts::{DirectoryView, FactSource, OrganizationView};
use super::live::LiveGrants;
use super::questions::Answers;
use super::reach::Reaching;
use super::secrets::{OrganizationSecrets, Secrets, read_secrets};
use super::state::{open_journal, store_path};
use super::storage::Places;
use super::{App, Outside, StartError};
use crate::access::book::Book;
use crate::access::desired::DesiredGrants;
use crate::access::desk::Desk;
use crate::access::executor::Executor;
use crate::access::leases::Leases;
use crate::access::leasing::{Leasing, Questions};
use crate::access::ledger::Ledger;
use crate::access::outbox::Outbox;
use crate::access::patrol::Patrol;
use crate::access::policy::Policy;
use crate::access::recent::Recent;
use crate::access::reconciler::{Progress, Reconciler as AccessReconciler};
use crate::access::watch::{Admission, Watch};
use crate::apono::{Connection, ControlPlane, SessionKeeper};
use crate::audit::{Audit, AuditTrail};
use crate::catalogue::ErrorCode;
use crate::clock;
use crate::config::{self, Organization, Settings};
use crate::directory::mirror::Mirror;
use crate::directory::store::{Between, Store, StoreError};
use crate::directory::{DirectoryRun, Reconciler as DirectoryReconciler, Tracker};
use crate::domain::{IntegrationId, SessionId};
use crate::fleet::{Members, Slices};
use crate::http::bearer::ExpectedToken;
use crate::http::budget::BudgetSettings;
use crate::http::classify::by_status;
use crate::http::contact::{Contacts, Watched};
use crate::http::mounted_token::MountedToken;
use crate::http::{Authorize, Budget, Exchange};
use crate::okta::{self, Reach, Surroundings};
use crate::runtime::Supervisor;
use crate::scim::Provider;
use crate::secrets::{Credentials, Reloading};
use crate::server;
use crate::telemetry::{Metrics, chain};

/// A stop waits this long for what was begun; with the goodbye it stays below `TimeoutStopSec` and the pod's grace
/// period.
const DRAIN: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct Builder {
    settings: Settings,
    outside: Outside,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    control: Arc<ControlPlane>,
    token: Arc<Reloading<SecretString>>,
    secrets: Vec<OrganizationSecrets>,
    supervisor: Supervisor,
    connection: watch::Sender<Connection>,
    answers: Answers,
    admissions: BTreeMap<IntegrationId, Admission>,
    views: Vec<OrganizationView>,
    stores: Vec<Store>,
    listener: Option<TcpListener>,
    door: Option<Door>,
    custom_token: Option<Reloading<SecretString>>,
    custom: Option<Custom>,
    logging: Option<Logging>,
    contacts: Contacts,
    reaches: Vec<Reach>,
    recent: Recent,
    admin_token: Option<Reloading<SecretString>>,
    members: Option<Arc<Members>>,
}

impl Builder {
    pub(super) async fn new(settings: Settings, mut outside: Outside) -> Result<Self, StartError> {
        let okta = settings.okta.iter().map(|organization| organization.url.origin());
        let contacts = Contacts::with(okta.chain([settings.apono.url.origin()]));
        outside.transport = Arc::new(Watched {
            inner: Arc::clone(&outside.transport),
            contacts: contacts.clone(),
            clock: Arc::clone(&outside.clock),
        });
        let Secrets { token, organizations: secrets, custom_integration: custom_token, admin: admin_token } =
            read_secrets(&settings)?;
        let metrics = Arc::new(Metrics::new());
        let session = SessionId::from(outside.entropy.uuid().to_string());
        let (journal, members) = open_journal(&settings, &outside, &session).await?;
        let audit: Arc<dyn Audit> = match &outside.audit {
            Some(audit) => Arc::clone(audit),
            None => Arc::new(AuditTrail::new(&settings.audit.file, settings.apono.connector_id.clone())),
        };
        let logging = outside.log.clone().map(|log| {
            let (audit, clock) = (Arc::clone(&audit), Arc::clone(&outside.clock));
            Logging { log, audit, clock }
        });
        let ledger = Ledger::open(journal, audit, Arc::clone(&outside.clock)).await;
        let ledger = ledger.map_err(StartError::Ledger)?;
        refuse_stranded_duties(&settings, &ledger)?;
        let token = Arc::new(token);
        let control = ControlPlane::new(
            settings.apono.url.clone(),
            exchange("apono", &outside, &metrics, None),
            Arc::clone(&token),
            settings.apono.connector_id.clone(),
            session,
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
            secrets,
            supervisor: Supervisor::new(DRAIN),
            connection: watch::Sender::default(),
            admissions: BTreeMap::new(),
            views: Vec::new(),
            stores: Vec::new(),
            listener: None,
            door: None,
            custom_token,
            custom: None,
            logging,
            contacts,
            reaches: Vec::new(),
            recent: Recent::default(),
            admin_token,
            members,
        })
    }

    pub(super) async fn listen(&mut self) -> Result<(), StartError> {
        let address = self.settings.admin.listen;
        let listener = TcpListener::bind(address).await;
        self.listener = Some(listener.map_err(|source| StartError::Listen { address, source })?);
        let socket = self.settings.state.socket();
        match Door::open(&socket).await {
            Ok(door) => self.door = Some(door),
            Err(error) => warn!(error = %chain(&error),
                "{}: no socket can be made there, so the grants commands cannot ask this process [{}]: {}",
                socket.display(), ErrorCode::CannotListen, chain(&error)),
        }
        if let (Some(settings), Some(token)) = (&self.settings.custom_integration, self.custom_token.take()) {
            self.custom = Some(Custom::open(settings, token).await?);
        }
        Ok(())
    }

    pub(super) fn organizations(&mut self) -> Result<(), StartError> {
        let secrets = std::mem::take(&mut self.secrets);
        for (settings, secrets) in self.settings.okta.clone().into_iter().zip(secrets) {
            self.organization(&settings, secrets)?;
        }
        Ok(())
    }

    fn organization(
        &mut self,
        settings: &Organization,
        secrets: OrganizationSecrets,
    ) -> Result<(), StartError> {
        let organization = self.connect(settings, secrets.okta);
        let integration = settings.integration_id.clone();
        let tokens = Arc::clone(&organization.tokens);
        self.every("token", move || {
            let tokens = Arc::clone(&tokens);
            async move { tokens.keep_fresh().await }
        });

        let admission = self.admission(settings.access.as_ref(), &organization);
        self.admissions.insert(integration.clone(), admission.clone());
        if settings.access.is_some() {
            self.desired_grants(&integration, admission.clone());
        }
        let watch = Arc::clone(&admission.watch);
        let access_progress = self.access(&integration, settings.access.as_ref(), admission, &organization);
        let (last_run, directory) = match &settings.directory {
            None => (watch::Sender::<Option<DirectoryRun>>::default().subscribe(), None),
            Some(directory) => {
                let (last, view) = self.directory(settings, directory, secrets.scim, &organization)?;
                (last, Some(view))
            }
        };
        self.answers.add(settings, &organization);
        self.reaches.push(organization.reach.clone());
        self.views.push(OrganizationView {
            integration,
            url: settings.url.origin(),
            tokens: organization.tokens,
            budget: organization.budget,
            access: access_progress,
            watch,
            last_run,
            directory,
        });
        Ok(())
    }

    fn connect(&self, settings: &Organization, credentials: Reloading<Credentials>) -> okta::Organization {
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
        // Writing memberships is asked for only where grants are executed, or still have to be ended.
        let owes = self.ledger.read(|book| book.held().contains_key(&settings.integration_id));
        let writes = settings.access.is_some() || owes;
        let okta_settings = okta_settings(settings, credentials, writes, self.settings.http.request_timeout);
        okta::connect(okta_settings, &surroundings, &Arc::new(budget))
    }

    /// Also where grants are switched off: what was given before must end all the same.
    fn admission(&self, settings: Option<&config::Access>, organization: &okta::Organization) -> Admission {
        let policy = settings.map_or_else(Policy::nothing, |settings| settings.policy.clone());
        let watch = Watch::new(
            Arc::clone(&self.ledger),
            Arc::clone(&organization.budget),
            Arc::clone(&self.outside.clock),
            settings.and_then(|settings| settings.kill_switch.clone()),
        );
        Admission { policy, watch: Arc::new(watch) }
    }

    fn access(
        &mut self,
        integration: &IntegrationId,
        settings: Option<&config::Access>,
        admission: Admission,
        organization: &okta::Organization,
    ) -> watch::Receiver<Progress> {
        let parallelism = settings.map_or(1, |settings| settings.parallelism);
        let (ledger, clock) = (Arc::clone(&self.ledger), Arc::clone(&self.outside.clock));
        let executor = Executor::new(
            integration.clone(),
            organization.memberships.clone(),
            Arc::clone(&ledger),
            admission,
            Arc::clone(&clock),
            Arc::clone(&self.metrics),
            self.recent.clone(),
        );
        let executor = Arc::new(executor);
        if let Some(settings) = settings {
            let (executor, ledger, clock) = (Arc::clone(&executor), Arc::clone(&ledger), Arc::clone(&clock));
            let log = organization.log.clone();
            let patrol = Patrol::new(executor, ledger, clock, settings.look_interval, log);
            self.runs("patrol", |stop| async move { patrol.run(stop).await });
        }
        let reconciler =
            AccessReconciler::new(executor, ledger, clock, Arc::clone(&self.metrics), parallelism);
        let progress = reconciler.progress();
        let stop = self.supervisor.stop_token();
        self.supervisor.add("access", reconciler.run(stop));
        progress
    }

    fn desired_grants(&mut self, integration: &IntegrationId, admission: Admission) {
        let desired = DesiredGrants {
            integration: integration.clone(),
            control: Arc::clone(&self.control),
            ledger: Arc::clone(&self.ledger),
            admission,
            clock: Arc::clone(&self.outside.clock),
            interval: self.settings.apono.grants_interval,
            absent: BTreeSet::new(),
        };
        self.runs("desired grants", |stop| async move { desired.run(stop).await });
    }

    fn directory(
        &mut self,
        whole: &Organization,
        settings: &config::Directory,
        scim_token: Option<Reloading<SecretString>>,
        organization: &okta::Organization,
    ) -> Result<(watch::Receiver<Option<DirectoryRun>>, DirectoryView), StartError> {
        let integration = &whole.integration_id;
        let store_path = store_path(&self.settings.state.file, integration);
        let between = Between { organization: whole.url.origin(), provider: settings.scim.base.to_string() };
        let store = Store::open(&store_path, &between).map_err(StartError::Store)?;
        self.stores.push(store.clone());
        let seat = self.seat(integration, &store).map_err(StartError::Store)?;
        let token = scim_token.map_or_else(|| Arc::clone(&self.token), Arc::new);
        let token: Arc<dyn Authorize> = Arc::new(MountedToken::new(token, Arc::clone(&self.outside.clock)));
        let provider = Provider::new(
            settings.scim.base.clone(),
            exchange("scim", &self.outside, &self.metrics, Some(token)),
            self.settings.http.request_timeout,
        );
        let last = watch::Sender::default();
        let runs = last.subscribe();
        let tracker =
            Arc::new(Tracker::new(Arc::clone(&self.outside.clock), Arc::clone(&organization.budget)));
        let failing = watch::Sender::new(store.failing_at_start().map_err(StartError::Store)?);
        let view = DirectoryView { tracker: Arc::clone(&tracker), failing: failing.subscribe() };
        let reconciler = DirectoryReconciler {
            integration: integration.clone(),
            directory: organization.directory.clone(),
            log: organization.log.clone(),
            provider,
            store,
            selection: settings.selection.clone(),
            mapping: settings.mapping.clone(),
            user_name_change: settings.scim.user_name_change,
            limits: settings.breaker,
            full_interval: settings.full_interval,
            live: Arc::new(LiveGrants { ledger: Arc::clone(&self.ledger), integration: integration.clone() }),
            clock: Arc::clone(&self.outside.clock),
            metrics: Arc::clone(&self.metrics),
            last,
            tracker,
            failing,
        };
        let (directory_loop, asker) = DirectoryLoop::new(reconciler, settings.interval, seat);
        self.answers.directory(integration.clone(), asker);
        self.runs("directory", |stop| async move { directory_loop.run(stop).await });
        Ok((runs, view))
    }

    /// Where other daemons could run the directory too, its store is shared with them.
    fn seat(&self, integration: &IntegrationId, store: &Store) -> Result<Option<Arc<Seat>>, StoreError> {
        let Some(members) = &self.members else {
            store.keep_to_itself_at_start()?;
            return Ok(None);
        };
        store.share_at_start(&self.outside.entropy.uuid().to_string())?;
        let mirror = Mirror {
            database: members.database().clone(),
            store: store.clone(),
            integration: integration.clone(),
            me: members.itself().id.clone(),
        };
        Ok(Some(Arc::new(Seat::new(Arc::clone(members), mirror))))
    }

    pub(super) fn finish(mut self) -> App {
        let directories = self.answers.directories();
        let (ledger, clock) = (Arc::clone(&self.ledger), Arc::clone(&self.outside.clock));
        let facts = Arc::new(FactSource {
            connector: self.settings.apono.connector_id.clone(),
            started_at: clock.now(),
            clock: Arc::clone(&clock),
            ledger: Arc::clone(&ledger),
            connection: self.connection.subscribe(),
            contacts: self.contacts.clone(),
            apono: self.settings.apono.url.origin(),
            organizations: std::mem::take(&mut self.views),
            metadata: self.settings.metadata.clone(),
            members: self.members.clone(),
        });
        self.answers.facts(Arc::clone(&facts));

        let reaching = Reaching {
            contacts: self.contacts.clone(),
            clock: Arc::clone(&clock),
            apono: self.settings.apono.url.origin(),
            organizations: std::mem::take(&mut self.reaches),
        };
        self.runs("reach", |stop| reaching.run(stop));

        self.share_the_state(&facts);
        let leases = Leases::new(Arc::clone(&self.control), Arc::clone(&ledger), Arc::clone(&clock));
        self.runs("leases", |stop| async move { leases.run(stop).await });
        let checked = Arc::clone(&ledger);
        self.runs("journal", |stop| async move { checked.keep_checking(stop).await });

        let outbox = Outbox {
            control: Arc::clone(&self.control),
            ledger: Arc::clone(&ledger),
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&clock),
        };
        self.runs("outbox", |stop| async move { outbox.run(stop).await });

        let describe = Arc::clone(&facts);
        let keeper = SessionKeeper {
            control: Arc::clone(&self.control),
            describe: Arc::new(move || describe.session()),
            connection: self.connection.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&self.metrics),
        };
        self.runs("session", |stop| async move { keeper.run(stop).await });

        let listening = self.listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let source = self.source(&facts);
        if let Some(listener) = self.listener.take() {
            let stop = self.supervisor.stop_token();
            self.supervisor.add("admin", server::serve(listener, source.clone(), stop));
        }
        if let Some(door) = self.door.take() {
            let desk = Desk::new(Arc::clone(&ledger), Arc::clone(&clock));
            let stop = self.supervisor.stop_token();
            let admin = server::router(source.clone());
            self.supervisor
                .add("desk", door.serve(desk, directories.clone(), self.logging.clone(), admin, stop));
        }
        if let Some(logging) = self.logging.take() {
            self.runs("log", |stop| logging.keep(stop));
        }
        let questions: Arc<dyn Questions> = Arc::new(self.answers);
        let custom = self.custom.take().and_then(|custom| {
            let admission = self.admissions.get(&custom.integration)?.clone();
            let (questions, entropy) = (Arc::clone(&questions), Arc::clone(&self.outside.entropy));
            Some(custom.assemble(admission, Arc::clone(&ledger), Arc::clone(&clock), questions, entropy))
        });
        let custom = custom.map(|(endpoint, answering, reachable)| {
            self.supervisor.add("custom integration", answering.run(self.supervisor.stop_token()));
            let serving = endpoint.serve(reachable.router.clone(), self.supervisor.stop_token());
            self.supervisor.add("custom integration listener", serving);
            reachable
        });
        let leasing = Leasing {
            control: Arc::clone(&self.control),
            ledger: Arc::clone(&ledger),
            clock: Arc::clone(&clock),
            organizations: self.admissions,
            questions,
        };
        let stop = self.supervisor.stop_token();
        self.supervisor.add("tasks", leasing.run(stop));
        App {
            connection: self.connection.subscribe(),
            supervisor: self.supervisor,
            control: self.control,
            clock,
            ledger,
            stores: self.stores,
            metrics: self.metrics,
            facts,
            admin: source,
            listening,
            custom,
            directories,
            members: self.members,
        }
    }

    /// Where several daemons share a state: takes in what the others write, divides Okta's limits among them, and keeps a
    /// way into the database.
    fn share_the_state(&mut self, facts: &FactSource) {
        if self.ledger.is_shared() {
            let kept_up = Arc::clone(&self.ledger);
            self.runs("fleet", |stop| async move { kept_up.keep_up(stop).await });
        }
        if let Some(members) = self.members.clone() {
            let budget = |view: &OrganizationView| (view.integration.clone(), Arc::clone(&view.budget));
            let budgets = facts.organizations.iter().map(budget).collect();
            let slices = Slices::new(Arc::clone(&members), Arc::clone(&self.outside.clock), budgets);
            self.runs("slices", |stop| slices.run(stop));
            self.runs(
                "database password",
                |stop| async move { members.database().follow_password(stop).await },
            );
        }
    }

    /// Where the admin listener's answers come from; the history is kept from now on.
    fn source(&mut self, facts: &Arc<FactSource>) -> server::Source {
        let of_server = Arc::clone(facts);
        let details = Details {
            facts: Arc::clone(facts),
            ledger: Arc::clone(&self.ledger),
            recent: self.recent.clone(),
            clock: Arc::clone(&self.outside.clock),
            history: Arc::default(),
        };
        let sampled = details.clone();
        self.every("history", move || std::future::ready(sampled.sample()));
        let places =
            Places { state: self.settings.state.file.clone(), audit: self.settings.audit.file.clone() };
        server::Source {
            facts: Arc::new(move || of_server.facts()),
            metrics: Arc::clone(&self.metrics),
            storage: Arc::new(move || places.look()),
            log: self.logging.as_ref().map(|logging| logging.log.counts()),
            detail: Arc::new(move || details.look()),
            token: self.admin_token.take().map(|token| Arc::new(ExpectedToken(Arc::new(token)))),
        }
    }

    /// Runs `work` again and again, each time after the pause that it asks for.
    fn every<W, F>(&mut self, name: &'static str, work: W)
    where
        W: Fn() -> F + Send + 'static,
        F: Future<Output = Duration> + Send,
    {
        self.runs(name, |stop| async move {
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
        });
    }

    /// Adds a task that ends only when it is told to stop.
    fn runs<F>(&mut self, name: &'static str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = task(self.supervisor.stop_token());
        self.supervisor.add(name, async move {
            running.await;
            Ok::<(), Infallible>(())
        });
    }
}

/// Memberships in an organization that is no longer configured could never be ended.
fn refuse_stranded_duties(settings: &Settings, ledger: &Ledger) -> Result<(), StartError> {
    let configured: BTreeSet<_> =
        settings.okta.iter().map(|organization| &organization.integration_id).collect();
    let held = ledger.read(Book::held);
    match held.into_iter().find(|(integration, _)| !configured.contains(integration)) {
        None => Ok(()),
        Some((integration, memberships)) => Err(StartError::Stranded { integration, memberships }),
    }
}

/// What is asked of Okta for one organization.
pub(super) fn okta_settings(
    settings: &Organization,
    credentials: Reloading<Credentials>,
    writes: bool,
    timeout: Duration,
) -> okta::Settings {
    let groups = if writes { "okta.groups.manage" } else { "okta.groups.read" };
    okta::Settings {
        integration: settings.integration_id.as_str().to_owned(),
        organization: settings.url.clone(),
        credentials: Arc::new(credentials),
        dpop: settings.dpop,
        scopes: vec!["okta.users.read", groups],
        optional_scopes: vec![okta::LOG_SCOPE],
        timeout,
    }
}

pub(super) fn exchange(
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
