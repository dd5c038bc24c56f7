//! A world with one Okta organization, one Apono, and room for connectors that come and go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use apono_connector::access::journal::{Journal, MemoryJournal};
use apono_connector::app::{App, Outside};
use apono_connector::audit::{Audit, MemoryAudit};
use apono_connector::catalogue::ErrorCode;
use apono_connector::clock::{self, SharedClock, VirtualClock};
use apono_connector::config::{Settings, Sources, load};
use apono_connector::entropy::SeededEntropy;
use apono_connector::http::transport::{Request, Response, Transport, TransportError};
use apono_connector::runtime::Ending;
use apono_connector::secrets::generate_rsa;
use apono_connector::server::Facts;
use apono_connector::telemetry::chain;
use apono_connector::telemetry::log::fields::NOTICES;
use apono_connector::telemetry::log::json_line;
use axum::Router;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use simulator::apono::{self, AponoSimulator};
use simulator::clock::SimClock;
use simulator::net::dispatch;
use simulator::okta::{self, OktaSimulator};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Level;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

pub const INTEGRATION: &str = "069cf551-c124-43f6";
pub const CLIENT: &str = "0oaconnector00000001";
pub const START: &str = "2026-01-01T00:00:00Z";

/// Everything outside the connector, and its disk.
pub struct World {
    pub okta: OktaSimulator,
    pub apono: AponoSimulator,
    pub clock: SharedClock,
    /// The same clock, to be set.
    pub wall: Arc<VirtualClock>,
    pub journal: Arc<MemoryJournal>,
    pub audit: Arc<MemoryAudit>,
    pub folder: TempDir,
    pub settings: String,
    sim_clock: SimClock,
    errors: Messages,
    warnings: Messages,
    seed: u64,
    _log: DefaultGuard,
}

/// A connector that runs.
pub struct Running {
    pub facts: Arc<dyn Fn() -> Facts + Send + Sync>,
    /// What the admin listener answers with.
    pub admin: Router,
    /// What the listener for custom integrations answers with, where it is switched on.
    pub custom: Option<Router>,
    stop: CancellationToken,
    task: JoinSet<Ending>,
}

impl World {
    /// An organization with the connector's application, and nobody in it.
    pub fn new() -> Self {
        Self::logging(LevelFilter::TRACE)
    }

    /// The same without a log and without proofs of possession, for tests that live through many worlds. Error events are
    /// still collected.
    pub fn quiet() -> Self {
        let mut world = Self::logging(LevelFilter::OFF);
        world.set_dpop("off");
        world
    }

    fn logging(lines: LevelFilter) -> Self {
        let origin: Timestamp = START.parse().unwrap();
        let sim_clock = SimClock::virtual_from(origin);
        let okta = OktaSimulator::new(okta::Settings::default(), sim_clock.clone());
        let (private, public) = key();
        okta.register_client(CLIENT, public, &["okta.users.read", "okta.groups.manage"]);
        let apono = AponoSimulator::new(apono::Settings::default(), sim_clock.clone());

        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("token", &apono::Settings::default().token);
        let private: Value = serde_json::from_str(private).unwrap();
        write("okta.json", &json!({ "client_id": CLIENT, "private_key": private }).to_string());
        let at = |name: &str| folder.path().join(name).display().to_string();
        let settings = format!(
            r#"
[apono]
connector_id = "okta-connector"
token_file = "{token}"
[[okta]]
integration_id = "{INTEGRATION}"
organization_url = "https://example.okta.com"
credentials_file = "{secret}"
dpop = "auto"
[state]
url = "sqlite:{state}"
[admin]
listen = "127.0.0.1:0"
"#,
            token = at("token"),
            secret = at("okta.json"),
            state = at("state.db"),
        );
        let wall = VirtualClock::shared(origin);
        let (errors, warnings) = (Messages::of(Level::ERROR), Messages::of(Level::WARN));
        let log = tracing_subscriber::registry()
            .with(errors.clone().with_filter(LevelFilter::ERROR))
            .with(warnings.clone().with_filter(LevelFilter::WARN))
            .with(tracing_subscriber::fmt::layer().with_test_writer().without_time().with_filter(lines))
            .with(AsDescribed.with_filter(lines.max(LevelFilter::INFO)));
        Self {
            okta,
            apono,
            clock: wall.clone(),
            wall,
            journal: Arc::default(),
            audit: Arc::default(),
            folder,
            settings,
            sim_clock,
            errors,
            warnings,
            seed: 1,
            _log: tracing::subscriber::set_default(log),
        }
    }

    /// Against a SCIM service with these habits.
    pub fn with_scim(change: impl FnOnce(&mut apono::ScimSettings)) -> Self {
        let mut world = Self::new();
        let mut settings = apono::Settings::default();
        change(&mut settings.scim);
        world.apono = AponoSimulator::new(settings, world.sim_clock.clone());
        world
    }

    /// With people and groups: everybody is in some groups.
    pub fn peopled(users: usize, groups: usize) -> (Self, okta::Seeded) {
        let world = Self::new();
        let seed = okta::Seed { users, groups, members_per_group: 5, seed: 7, ..okta::Seed::default() };
        let seeded = world.okta.seed(seed);
        (world, seeded)
    }

    /// Starts a connector on this world's disk.
    pub async fn start(&mut self) -> Running {
        self.start_with("").await
    }

    /// The same with more configuration.
    pub async fn start_with(&mut self, more: &str) -> Running {
        let (network, disk) = (self.network(), self.disk());
        self.start_between(network, disk, more).await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The way to both simulators, to be wrapped.
    pub fn network(&self) -> Arc<dyn Transport> {
        Arc::new(InProcess { okta: self.okta.clone(), apono: self.apono.clone() })
    }

    /// This world's journal, to be wrapped.
    pub fn disk(&self) -> Arc<dyn Journal> {
        Arc::clone(&self.journal) as Arc<dyn Journal>
    }

    /// Starts a connector between this network and this disk; a start that fails is an answer.
    pub async fn start_between(
        &mut self,
        network: Arc<dyn Transport>,
        disk: Arc<dyn Journal>,
        more: &str,
    ) -> Result<Running, String> {
        let trail = Arc::clone(&self.audit) as Arc<dyn Audit>;
        self.launch(network, Some(disk), Some(trail), more).await
    }

    /// Starts a connector whose state and audit trail are files in this world's folder.
    pub async fn start_on_files(&mut self) -> Running {
        let trail = format!("[audit]\nfile = \"{}\"\n", self.trail().display());
        let started = self.launch(self.network(), None, None, &trail).await;
        started.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The audit trail that is a file: in a folder of its own, which can be taken away.
    pub fn trail(&self) -> PathBuf {
        self.folder.path().join("audit/audit.jsonl")
    }

    /// What a connector of this world would run with.
    pub fn loaded(&self, more: &str) -> Settings {
        let config = self.folder.path().join("connector.toml");
        std::fs::write(&config, format!("{}{more}", self.settings)).unwrap();
        let sources = Sources { file: Some(config), environment: BTreeMap::new(), flags: Vec::new() };
        load(&sources).unwrap_or_else(|error| panic!("{error}")).settings
    }

    async fn launch(
        &mut self,
        network: Arc<dyn Transport>,
        journal: Option<Arc<dyn Journal>>,
        audit: Option<Arc<dyn Audit>>,
        more: &str,
    ) -> Result<Running, String> {
        let settings = self.loaded(more);
        // Each start draws other ids: a session and a `jti` are never repeated.
        self.seed += 1;
        let outside = Outside {
            transport: network,
            without_bundle: None,
            clock: Arc::clone(&self.clock),
            entropy: SeededEntropy::shared(self.seed),
            journal,
            audit,
            log: None,
        };
        let app = App::build(settings, outside).await.map_err(|error| chain(&error).to_string())?;
        let (facts, admin, custom, stop) =
            (app.facts(), app.admin_router(), app.custom_router(), app.stop_token());
        let mut task = JoinSet::new();
        task.spawn(app.run(None));
        Ok(Running { facts, admin, custom, stop, task })
    }

    /// An instant from now.
    pub fn after(&self, duration: Duration) -> Timestamp {
        clock::after(self.clock.now(), duration)
    }

    /// Waits in virtual time until `look` shows what is waited for.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let limit = self.clock.elapsed() + Duration::from_hours(2);
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(self.clock.elapsed() < limit, "in two hours it did not happen: {what}");
            clock::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The result of a task; it must come within two hours of virtual time.
    pub async fn result(&self, task: &str) -> Value {
        let result = clock::timeout(Duration::from_hours(2), self.apono.wait_for_result(task)).await;
        result.unwrap_or_else(|| {
            panic!("in two hours there was no result of {task}; {:?}", self.apono.violations())
        })
    }

    /// Waits until the user is in the group, or not.
    pub async fn until_member(&self, group: &str, user: &str, member: bool) {
        let what = format!("{user} in {group}: {member}");
        self.until(&what, |world| (world.okta.is_member(group, user) == member).then_some(())).await;
    }

    /// Lets virtual time pass.
    pub async fn pass(&self, duration: Duration) {
        clock::sleep(duration).await;
    }

    /// Time that has passed, whatever the wall clock shows.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// How long after `instant` it is now.
    pub fn since(&self, instant: Timestamp) -> SignedDuration {
        self.clock.now().duration_since(instant)
    }

    /// Sets the peers' clocks ahead of ours, or behind.
    pub fn skew_peers(&self, by: Duration, ahead: bool) {
        self.sim_clock.set_skew(by, ahead);
    }

    /// Forgets error events so far; returns them.
    pub fn take_errors(&self) -> Vec<String> {
        std::mem::take(&mut self.errors.seen.lock().unwrap())
    }

    /// What people were warned of so far.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.seen.lock().unwrap().clone()
    }

    /// The secret file that holds the Okta credentials.
    pub fn secret(&self) -> PathBuf {
        self.folder.path().join("okta.json")
    }

    /// The secret file that holds the connector token.
    pub fn token(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// Mounts credentials with this private key.
    pub fn mount_key(&self, private_jwk: &str) {
        let key: Value = serde_json::from_str(private_jwk).unwrap();
        let secret = json!({ "client_id": CLIENT, "private_key": key });
        std::fs::write(self.secret(), secret.to_string()).unwrap();
    }

    /// Sets `okta[].dpop`.
    pub fn set_dpop(&mut self, mode: &str) {
        let set = |mode: &str| format!("dpop = \"{mode}\"");
        for former in ["auto", "on", "off"] {
            self.settings = self.settings.replace(&set(former), &set(mode));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert_eq!(self.take_errors(), Vec::<String>::new(), "unexpected error events");
        assert_eq!(self.apono.violations(), Vec::<String>::new(), "the contract was broken");
    }
}

impl Running {
    /// SIGTERM.
    pub async fn stop(mut self) -> Ending {
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap()
    }

    /// Whether it has ended by itself.
    pub fn is_over(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// The power goes: nothing is finished.
    pub async fn crash(mut self) {
        self.task.shutdown().await;
    }

    pub fn facts(&self) -> Facts {
        (self.facts)()
    }
}

/// One key for the whole test process; making one takes a while.
pub fn key() -> (&'static str, Value) {
    static KEY: OnceLock<(String, Value)> = OnceLock::new();
    let (private, public) = KEY.get_or_init(|| {
        let key = generate_rsa(2048).unwrap();
        (key.private_jwk.expose_secret().to_owned(), key.public_jwk)
    });
    (private, public.clone())
}

/// Calls the simulators without a socket.
#[derive(Debug)]
struct InProcess {
    okta: OktaSimulator,
    apono: AponoSimulator,
}

impl Transport for InProcess {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(async move {
            let host = request.url.host_str().unwrap_or_default().to_owned();
            let router = match host.as_str() {
                "example.okta.com" => self.okta.router(),
                "api.apono.io" => self.apono.router(),
                other => panic!("nobody is at {other}"),
            };
            let mut outgoing = http::Request::new(request.body);
            *outgoing.method_mut() = request.method;
            *outgoing.uri_mut() = request.url.as_str().parse().unwrap();
            *outgoing.headers_mut() = request.headers;
            let agent = http::HeaderValue::from_static("apono-connector/test");
            outgoing.headers_mut().insert(http::header::USER_AGENT, agent);
            let answered = clock::timeout(limit, dispatch(router, outgoing)).await;
            match answered {
                None => Err(TransportError::Timeout { host, limit }),
                Some(Err(error)) => Err(TransportError::Broken {
                    host,
                    code: ErrorCode::ConnectionBroken,
                    source: Box::new(error),
                }),
                Some(Ok(response)) => {
                    let (parts, body): (_, Bytes) = response.into_parts();
                    Ok(Response { status: parts.status, headers: parts.headers, body })
                }
            }
        })
    }
}

/// Collects the messages of one level. An error that nobody took fails the test.
#[derive(Clone)]
struct Messages {
    level: Level,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Messages {
    fn of(level: Level) -> Self {
        Self { level, seen: Arc::default() }
    }
}

/// Every line of the log is as docs/log.schema.json describes it, and what tells of a failure has its code.
struct AsDescribed;

impl<S: tracing::Subscriber> Layer<S> for AsDescribed {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
        let schema = SCHEMA.get_or_init(|| {
            let text = include_str!("../../docs/log.schema.json");
            jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
        });
        let line = json_line(event, Timestamp::UNIX_EPOCH);
        let value: Value = serde_json::from_str(&line).unwrap();
        if let Err(error) = schema.validate(&value) {
            panic!("{line} is not as docs/log.schema.json describes: {error}");
        }
        let is_ours = event.metadata().target().starts_with("apono_connector");
        let is_notice = value["event"].as_str().is_some_and(|event| NOTICES.contains(&event));
        if is_ours && *event.metadata().level() <= Level::WARN && !is_notice {
            assert!(value["code"].is_string(), "{line} has no code of the catalogue");
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        if *event.metadata().level() == self.level {
            let mut message = Message(String::new());
            event.record(&mut message);
            self.seen.lock().unwrap().push(message.0);
        }
    }
}
