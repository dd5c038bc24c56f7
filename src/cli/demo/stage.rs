//! # Purpose
//! Sets up the simulated world and the connector in it.
//!
//! # Invariants kept here
//! - Every secret is made for this run, written to files of mode 0600 in a temporary folder, and gone with it.
//!
//! # Not here
//! What is done with it: `story`.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use simulator::apono::{self, AponoSimulator};
use simulator::clock::SimClock;
use simulator::net::{Server, serve};
use simulator::okta::{self, OktaSimulator};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::clock;
use crate::entropy::{Entropy, SystemEntropy};
use crate::http::transport::{HttpsSettings, HttpsTransport, Request, Transport};
use crate::secrets::generate_rsa;

/// The integration's id in the demonstration.
pub(super) const INTEGRATION: &str = "demo-okta-groups";
const CLIENT: &str = "0oademoconnector0001";

/// The simulated world and the connector.
pub(super) struct Stage {
    pub(super) okta: OktaSimulator,
    pub(super) apono: AponoSimulator,
    pub(super) seeded: okta::Seeded,
    okta_server: Server,
    apono_server: Option<Server>,
    apono_address: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
    connector: Child,
    transport: HttpsTransport,
}

impl Stage {
    /// Simulators on loopback ports, people in them, and the connector started against them.
    pub(super) async fn set(users: usize, groups: usize, seed: u64) -> Result<Self> {
        let clock = SimClock::system();
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let okta = OktaSimulator::new(
            okta::Settings {
                limits: okta::Limits::workforce_app(),
                // Okta's reads lag behind its writes; so do these.
                visibility_lag: Duration::from_millis(300),
                ..okta::Settings::default()
            },
            clock.clone(),
        );
        let okta_server = serve(okta.router(), any_port).context("the simulated Okta has no port")?;
        okta.set_origin(okta_server.url());
        let seeded =
            okta.seed(okta::Seed { users, groups, members_per_group: 12, seed, ..okta::Seed::default() });

        let token = SystemEntropy.uuid().to_string();
        let apono = AponoSimulator::new(
            apono::Settings {
                connector_id: "demo-connector".to_owned(),
                token: token.clone(),
                integrations: vec![INTEGRATION.to_owned()],
                ..apono::Settings::default()
            },
            clock,
        );
        let apono_server = serve(apono.router(), any_port).context("the simulated Apono has no port")?;
        let apono_address = apono_server.address();

        let key = tokio::task::spawn_blocking(|| generate_rsa(2048)).await??;
        okta.register_client(CLIENT, key.public_jwk.clone(), &["okta.users.read", "okta.groups.manage"]);
        let folder = tempfile::Builder::new().prefix("apono-connector-demo-").tempdir()?;
        let private: Value = serde_json::from_str(key.private_jwk.expose_secret())?;
        let secret = json!({ "client_id": CLIENT, "private_key": private }).to_string();
        write_private(&folder.path().join("apono-token"), &token)?;
        write_private(&folder.path().join("okta-credentials.json"), &secret)?;
        let admin = free_port().await?;
        let config = folder.path().join("connector.toml");
        fs::write(&config, configuration(folder.path(), &apono_server, &okta_server, admin))?;
        let connector = start(&config, &folder.path().join("connector.log"))?;
        let https = HttpsSettings::plain(Duration::from_secs(2));
        Ok(Self {
            okta,
            apono,
            seeded,
            okta_server,
            apono_server: Some(apono_server),
            apono_address,
            admin,
            folder,
            connector,
            transport: HttpsTransport::new(&https)?,
        })
    }

    /// The connector's status; `None` while it does not answer.
    pub(super) async fn status(&self) -> Option<Value> {
        let url = format!("http://{}/status", self.admin).parse().ok()?;
        let request = Request::new(http::Method::GET, url);
        let response = self.transport.send(request, Duration::from_secs(2)).await.ok()?;
        serde_json::from_slice(&response.body).ok()
    }

    /// Fails when the connector's process has ended.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        match self.connector.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("the connector has ended ({status}); its last lines:\n{}", self.last_lines())
            }
        }
    }

    /// Apono's machine loses power.
    pub(super) async fn switch_apono_off(&mut self) {
        if let Some(server) = self.apono_server.take() {
            server.stop().await;
        }
    }

    /// And is back on the same address.
    pub(super) fn switch_apono_on(&mut self) -> Result<()> {
        if self.apono_server.is_none() {
            self.apono_server = Some(serve(self.apono.router(), self.apono_address)?);
        }
        Ok(())
    }

    /// SIGTERM, and the exit status.
    pub(super) async fn stop_connector(&mut self) -> Result<ExitStatus> {
        if let Some(pid) = self.connector.id() {
            kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
        }
        let ended = clock::timeout(Duration::from_secs(30), self.connector.wait()).await;
        Ok(ended.context("the connector did not stop within 30 s of SIGTERM")??)
    }

    /// Where a curious person can look.
    pub(super) fn addresses(&self) -> Vec<(&'static str, String)> {
        vec![
            ("simulated Okta", self.okta_server.url()),
            ("simulated Apono", format!("http://{}", self.apono_address)),
            ("connector", format!("http://{}/", self.admin)),
            ("log", self.folder.path().join("connector.log").display().to_string()),
            ("configuration", self.folder.path().join("connector.toml").display().to_string()),
        ]
    }

    /// Leaves the folder behind for a look; returns its path.
    pub(super) fn keep_folder(&mut self) -> String {
        self.folder.disable_cleanup(true);
        self.folder.path().display().to_string()
    }

    fn last_lines(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("connector.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

fn start(config: &Path, log: &Path) -> Result<Child> {
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let log = File::create(log)?;
    let connector = Command::new(program)
        .arg("run")
        .arg("--config")
        .arg(config)
        // The demonstration does not depend on what the person at the terminal has set.
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn();
    connector.context("the connector cannot be started")
}

fn configuration(folder: &Path, apono: &Server, okta: &Server, admin: SocketAddr) -> String {
    let at = |name: &str| Value::from(folder.join(name).display().to_string());
    format!(
        r#"[apono]
url = "{apono_url}"
connector_id = "demo-connector"
token_file = {token}

[[okta]]
integration_id = "{INTEGRATION}"
organization_url = "{okta_url}"
credentials_file = {secret}

[state]
url = {state}

[audit]
file = {audit}

[admin]
listen = "{admin}"

[log]
level = "debug"
format = "json"
"#,
        apono_url = apono.url(),
        okta_url = okta.url(),
        token = at("apono-token"),
        secret = at("okta-credentials.json"),
        audit = at("audit.jsonl"),
        state = Value::from(format!("sqlite:{}", folder.join("state.db").display())),
    )
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

/// A port that was free a moment ago; the connector is told it beforehand.
async fn free_port() -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    Ok(listener.local_addr()?)
}
