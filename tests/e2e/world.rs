//! Simulators on loopback ports, a folder with secrets and state, and the real binary.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use apono_connector::secrets::generate_rsa;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use simulator::apono::{self, AponoSimulator, Grant, Granted};
use simulator::clock::SimClock;
use simulator::net::{Server, serve};
use simulator::okta::{self, NewGroup, NewUser, OktaSimulator};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::checker::Contract;

pub const INTEGRATION: &str = "069cf551-c124-43f6";
pub const CLIENT: &str = "0oaconnector00000001";
/// Nothing in these tests may take longer; generous, because CI machines are slow and this is not a measurement.
pub const LIMIT: Duration = Duration::from_mins(2);

pub struct World {
    pub okta: OktaSimulator,
    pub apono: AponoSimulator,
    pub folder: TempDir,
    pub okta_server: Server,
    /// Counts the requests that have arrived, at either peer.
    pub requests: watch::Receiver<u64>,
    apono_server: Server,
    logs: usize,
}

/// The binary, running.
pub struct Connector {
    child: Child,
    log: PathBuf,
    /// Of another version, it logs as that version's document says, which its own tests have held it to.
    is_of_this_version: bool,
}

impl World {
    pub fn new() -> Self {
        let clock = SimClock::system();
        let okta = OktaSimulator::new(okta::Settings::default(), clock.clone());
        let apono = AponoSimulator::new(apono::Settings::default(), clock);
        apono.set_exchange_log(100_000);
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let arrived = watch::Sender::new(0);
        let requests = arrived.subscribe();
        let counted = |router: Router| {
            let arrived = arrived.clone();
            let count = move |request: Request, next: Next| {
                arrived.send_modify(|count| *count += 1);
                next.run(request)
            };
            router.layer(from_fn(count))
        };
        let okta_server = serve(counted(okta.router()), any_port).unwrap();
        okta.set_origin(okta_server.url());
        let apono_server = serve(counted(apono.router()), any_port).unwrap();
        let (private, public) = key();
        okta.register_client(CLIENT, public, &["okta.users.read", "okta.groups.manage"]);
        let folder = tempfile::tempdir().unwrap();
        let world = Self { okta, apono, folder, okta_server, requests, apono_server, logs: 0 };
        fs::write(world.path("token"), apono::Settings::default().token).unwrap();
        let secret = json!({ "client_id": CLIENT, "private_key": private });
        fs::write(world.path("okta.json"), secret.to_string()).unwrap();
        fs::write(world.path("connector.toml"), world.configuration("")).unwrap();
        world
    }

    /// Ada, and a group that she is not in.
    pub fn with_ada() -> (Self, String, String) {
        let world = Self::new();
        let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
        let group = world.okta.add_group(NewGroup::named("oncall"));
        (world, user, group)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The file, with more of the organization's keys.
    pub fn configuration(&self, more: &str) -> String {
        let at = |name: &str| self.path(name).display().to_string();
        format!(
            r#"
[apono]
url = "{}"
connector_id = "okta-connector"
token_file = "{}"
grants_interval = "1m"
[[okta]]
integration_id = "{INTEGRATION}"
organization_url = "{}"
credentials_file = "{}"
{more}
[state]
url = "sqlite:{}"
[audit]
file = "{}"
[admin]
listen = "127.0.0.1:0"
[log]
level = "debug"
format = "json"
"#,
            self.apono_server.url(),
            at("token"),
            self.okta_server.url(),
            at("okta.json"),
            at("state/state.db"),
            at("state/audit.jsonl"),
        )
    }

    pub fn write_configuration(&self, text: &str) {
        fs::write(self.path("connector.toml"), text).unwrap();
    }

    /// Starts `run`; its log goes to a file of its own.
    pub fn start(&mut self) -> Connector {
        let command = self.command(&["run"]);
        self.start_command(command)
    }

    /// The same, of a command that was written otherwise.
    pub fn start_command(&mut self, mut command: Command) -> Connector {
        self.logs += 1;
        let log = self.path(&format!("connector-{}.log", self.logs));
        let is_of_this_version = command.as_std().get_program() == Self::program();
        let child = command.stderr(fs::File::create(&log).unwrap()).kill_on_drop(true).spawn().unwrap();
        Connector { child, log, is_of_this_version }
    }

    /// Runs a command to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        in_time("the command ends", output).await.unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Self::bare_command(arguments);
        command.arg("--config").arg(self.path("connector.toml"));
        command
    }

    /// The program that is tested.
    pub fn program() -> &'static Path {
        Path::new(env!("CARGO_BIN_EXE_apono-connector"))
    }

    /// A command without a configuration.
    pub fn bare_command(arguments: &[&str]) -> Command {
        Self::command_of(Self::program(), arguments)
    }

    /// The same, of another program.
    pub fn command_of(program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Where Apono is.
    pub fn apono_url(&self) -> String {
        self.apono_server.url()
    }

    pub fn grant(&self, group: &str, lasts: Duration) -> Granted {
        let lasts = SignedDuration::try_from(lasts).unwrap();
        let expiry = SimClock::system().now().checked_add(lasts).unwrap();
        self.apono.grant(Grant::new(INTEGRATION, "ada@example.com", &[group]).until(expiry))
    }

    pub async fn result(&self, task: &str) -> Value {
        let result = tokio::time::timeout(LIMIT, self.apono.wait_for_result(task)).await;
        result.unwrap_or_else(|_| panic!("no result of {task}; {:?}", self.apono.violations()))
    }

    /// Waits until Okta has the membership, or has it no more.
    pub async fn until_member(&self, group: &str, user: &str, member: bool) {
        let reached = self.okta.until(|okta| okta.is_member(group, user) == member);
        in_time("the membership changes", reached).await;
    }

    pub fn now() -> Timestamp {
        SimClock::system().now()
    }

    /// Holds every exchange with Apono against the published document.
    pub fn check_contract(&self) {
        let contract = contract();
        let exchanges = self.apono.exchanges();
        assert!(!exchanges.is_empty());
        for exchange in exchanges {
            contract.check(&exchange).unwrap_or_else(|problem| panic!("{problem}\n{exchange:?}"));
        }
        assert_eq!(self.apono.violations(), Vec::<String>::new());
    }
}

impl Connector {
    /// Waits until the log holds a line that fits; returns it.
    pub async fn until_logged(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            loop {
                if let Some(line) = self.lines().into_iter().find(|line| fits(line)) {
                    return line;
                }
                if let Some(status) = self.child.try_wait().unwrap() {
                    panic!("ended with {status} before it logged {what}:\n{}", self.text());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = tokio::time::timeout(LIMIT, look).await;
        found.unwrap_or_else(|_| panic!("{what} was not logged:\n{}", fs::read_to_string(&self.log).unwrap()))
    }

    /// Where the admin listener is.
    pub async fn admin(&mut self) -> String {
        let line = self.until_logged("where it listens", |line| line.get("admin.listen").is_some()).await;
        format!("http://{}", line["admin.listen"].as_str().unwrap())
    }

    /// Status and body of an admin path.
    pub async fn ask(&mut self, path: &str) -> (u16, String) {
        let url = format!("{}{path}", self.admin().await);
        get(&url).await
    }

    /// SIGTERM, and how it ended.
    pub async fn stop(self) -> ExitStatus {
        self.stop_by(Signal::SIGTERM).await
    }

    /// A signal that asks for the end, and how it ended.
    pub async fn stop_by(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let status = in_time("it stops", self.child.wait()).await.unwrap();
        self.check_log();
        status
    }

    /// Any signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// kill -9.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
        self.check_log();
    }

    pub fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub async fn wait(mut self) -> (ExitStatus, String) {
        let status = in_time("it ends", self.child.wait()).await.unwrap();
        (status, self.text())
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Every line is as docs/log.schema.json describes it, no line is an error, and no secret is in any.
    fn check_log(&self) {
        let text = self.text();
        let lines: Vec<_> = text.lines().collect();
        for (n, text) in lines.iter().enumerate() {
            let Ok(line) = serde_json::from_str::<Value>(text) else {
                // What a command says before there is a log; and the last line of a killed process may be cut.
                assert!(text.starts_with("apono-connector: ") || n + 1 == lines.len(), "{text}");
                continue;
            };
            if self.is_of_this_version
                && let Err(error) = log_schema().validate(&line)
            {
                panic!("{line} is not as docs/log.schema.json describes: {error}");
            }
            assert_ne!(line["level"], "ERROR", "{line}");
        }
        let (private, _) = key();
        for secret in [private["d"].as_str().unwrap(), &apono::Settings::default().token] {
            assert!(!text.contains(secret), "a secret is in the log");
        }
    }
}

/// What docs/log.schema.json says.
pub fn log_schema() -> &'static jsonschema::Validator {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/log.schema.json");
        let schema = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    })
}

/// The published document.
pub fn contract() -> Contract {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/connector-api.yaml");
    Contract::parse(&fs::read_to_string(path).unwrap())
}

/// Waits for what comes soon unless something is broken: a test that hangs fails, and says where.
pub async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(LIMIT, wait).await;
    waited.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

/// A plain HTTP GET.
pub async fn get(url: &str) -> (u16, String) {
    use apono_connector::http::transport::{HttpsSettings, HttpsTransport, Request, Transport};
    let settings = HttpsSettings::plain(LIMIT);
    let transport = HttpsTransport::new(&settings).unwrap();
    let request = Request::new(http::Method::GET, url.parse().unwrap());
    let response = transport.send(request, LIMIT).await.unwrap();
    (response.status.as_u16(), String::from_utf8(response.body.to_vec()).unwrap())
}

/// One key for the whole test process; making one takes a while.
pub fn key() -> (Value, Value) {
    static KEY: OnceLock<(Value, Value)> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = generate_rsa(2048).unwrap();
        (serde_json::from_str(key.private_jwk.expose_secret()).unwrap(), key.public_jwk)
    })
    .clone()
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}
