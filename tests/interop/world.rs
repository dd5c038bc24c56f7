//! A simulated Okta, the real binary, and somebody else's SCIM server.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use apono_connector::secrets::generate_rsa;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use simulator::apono::{self, AponoSimulator};
use simulator::clock::SimClock;
use simulator::net::{Server, serve};
use simulator::okta::{self, OktaSimulator};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::service::{Make, Service, TOKEN};

const INTEGRATION: &str = "069cf551-c124-43f6";
const CLIENT: &str = "0oaconnector00000001";
/// Nothing here may take longer; generous, because this is not a measurement.
const LIMIT: Duration = Duration::from_mins(3);

pub struct World {
    pub okta: OktaSimulator,
    pub service: Service,
    apono: AponoSimulator,
    folder: TempDir,
    connector: Option<Child>,
    _servers: [Server; 2],
}

impl World {
    pub async fn new(make: Make) -> Self {
        let clock = SimClock::system();
        let okta = OktaSimulator::new(okta::Settings::default(), clock.clone());
        let apono = AponoSimulator::new(apono::Settings::default(), clock);
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let okta_server = serve(okta.router(), any_port).unwrap();
        okta.set_origin(okta_server.url());
        let apono_server = serve(apono.router(), any_port).unwrap();
        let key = generate_rsa(2048).unwrap();
        okta.register_client(CLIENT, key.public_jwk, &["okta.users.read", "okta.groups.manage"]);
        let service = Service::start(make).await;

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let private: Value = serde_json::from_str(key.private_jwk.expose_secret()).unwrap();
        fs::write(at("okta.json"), json!({ "client_id": CLIENT, "private_key": private }).to_string())
            .unwrap();
        fs::write(at("token"), apono::Settings::default().token).unwrap();
        fs::write(at("scim-token"), TOKEN).unwrap();
        let configuration = format!(
            r#"
[apono]
url = "{apono}"
connector_id = "okta-connector"
token_file = "{token}"
[[okta]]
integration_id = "{INTEGRATION}"
organization_url = "{okta}"
credentials_file = "{secret}"
[okta.directory]
groups = ["team-*"]
users = "all"
interval = "24h"
[okta.scim]
base_url = "{scim}"
token_file = "{scim_token}"
[state]
url = "sqlite:{state}"
[audit]
file = "{audit}"
[admin]
listen = "127.0.0.1:0"
[log]
level = "debug"
format = "json"
"#,
            apono = apono_server.url(),
            token = at("token"),
            okta = okta_server.url(),
            secret = at("okta.json"),
            scim = service.door,
            scim_token = at("scim-token"),
            state = at("state/state.db"),
            audit = at("state/audit.jsonl"),
        );
        fs::write(at("connector.toml"), configuration).unwrap();
        Self { okta, service, apono, folder, connector: None, _servers: [okta_server, apono_server] }
    }

    /// A whole directory run by the real binary, which starts with the first; its result.
    pub async fn sync(&mut self) -> Value {
        if self.connector.is_none() {
            let log = fs::File::create(self.folder.path().join("connector.log")).unwrap();
            let child = Command::new(env!("CARGO_BIN_EXE_apono-connector"))
                .arg("run")
                .arg("--config")
                .arg(self.folder.path().join("connector.toml"))
                .env_clear()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            self.connector = Some(child);
        }
        let task = self.apono.enqueue("sync-directory", INTEGRATION, json!({}));
        let result = tokio::time::timeout(LIMIT, self.apono.wait_for_result(&task)).await;
        result.unwrap_or_else(|_| panic!("no result\n{}\n{}", self.log(), self.service.output()))
    }

    /// A run that does everything there is to do, and another one that finds nothing to write.
    pub async fn settle(&mut self) {
        let first = self.sync().await;
        self.completed(&first);
        let before = self.service.writes();
        let second = self.sync().await;
        self.completed(&second);
        assert_eq!(second["output"]["planned"]["operations"], json!({}), "{second}");
        assert_eq!(self.service.writes(), before, "the second run writes nothing: {second}");
    }

    fn completed(&self, run: &Value) {
        let told = || format!("{run:#}\n{}\n{}", self.log(), self.service.output());
        assert_eq!(run["output"]["outcome"], "completed", "{}", told());
    }

    fn log(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("connector.log")).unwrap_or_default();
        let lines: Vec<_> =
            text.lines().filter(|line| line.contains("scim_") || line.contains("WARN")).collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// The server's people by user name.
    pub async fn people(&self) -> BTreeMap<String, Value> {
        let named = |user: Value| (user["userName"].as_str().unwrap().to_owned(), user);
        self.service.all("Users").await.into_iter().map(named).collect()
    }

    /// The server's groups by name, with the user names of their members.
    pub async fn teams(&self) -> BTreeMap<String, Vec<String>> {
        let people = self.service.all("Users").await;
        let name_of = |id: &Value| {
            let found = people.iter().find(|user| user["id"] == *id);
            found.unwrap_or_else(|| panic!("{id} is nobody"))["userName"].as_str().unwrap().to_owned()
        };
        let one = |group: Value| {
            let members = group["members"].as_array().cloned().unwrap_or_default();
            let mut members: Vec<_> = members.iter().map(|member| name_of(&member["value"])).collect();
            members.sort();
            (group["displayName"].as_str().unwrap().to_owned(), members)
        };
        self.service.all("Groups").await.into_iter().map(one).collect()
    }

    /// SIGTERM, and a clean end.
    pub async fn stop(mut self) {
        use nix::sys::signal::{Signal, kill};
        use nix::unistd::Pid;
        let mut connector = self.connector.take().expect("it has run");
        let pid = Pid::from_raw(i32::try_from(connector.id().unwrap()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let status = tokio::time::timeout(LIMIT, connector.wait()).await.expect("it stops").unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
        assert_eq!(self.apono.violations(), Vec::<String>::new());
    }
}
