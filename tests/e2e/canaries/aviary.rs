//! Everything between the connector and its peers, and everything that is a secret there.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Output, Stdio};

use apono_connector::http::transport::{HttpsSettings, HttpsTransport, Request, Transport};
use apono_connector::secrets::{GeneratedKey, generate_rsa};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use simulator::okta::DpopRule;
use tokio::process::Command;

use super::birds::{Canaries, Place};
use super::ear::Ear;
use crate::authority::{Authority, Clients};
use crate::page;
use crate::tunnels::Tunnels;
use crate::world::{CLIENT, Connector, INTEGRATION, LIMIT, World, in_time};

pub const OKTA: &str = "okta.invalid";
pub const APONO: &str = "apono.invalid";
const SCOPES: [&str; 2] = ["okta.users.read", "okta.groups.manage"];
/// See the module.
pub struct Aviary {
    pub world: World,
    group: String,
    pub canaries: Canaries,
    pub okta: Ear,
    pub apono: Ear,
    proxy: Tunnels,
    gateway: Authority,
    /// What each file holds now.
    pub now: Secrets,
    /// What was written where it can be seen.
    places: Vec<Place>,
}

pub struct Secrets {
    pub connector: String,
    pub scim: String,
    pub caller: String,
    pub admin: String,
    pub proxy: String,
}

impl Secrets {
    fn new(canaries: &Canaries) -> Self {
        Self {
            connector: canaries.token("connector token"),
            scim: canaries.token("SCIM token"),
            caller: canaries.awkward("caller's token"),
            admin: canaries.awkward("admin token"),
            proxy: canaries.awkward("proxy's password"),
        }
    }
}

impl Aviary {
    pub async fn new() -> Self {
        let (world, _, group) = World::with_ada();
        world.okta.configure(|settings| {
            settings.dpop = DpopRule::Required;
            settings.dpop_nonce_on_api = true;
        });
        world.okta.set_origin(format!("https://{OKTA}"));
        let canaries = Canaries::default();
        let (okta, apono) = (Ear::new(&canaries), Ear::new(&canaries));
        let mut gateway = Authority::new("Example Corp");
        fs::write(world.path("ca.pem"), &gateway.pem).unwrap();
        let okta_at = gateway.serve_router(Clients::Any, OKTA, okta.at(world.okta.router())).await;
        let apono_at = gateway.serve_router(Clients::Known, APONO, apono.at(world.apono.router())).await;
        let now = Secrets::new(&canaries);
        let proxy =
            Tunnels::to(&[(OKTA, okta_at), (APONO, apono_at)], &[&format!("user:{}", now.proxy)]).await;
        let aviary = Self { world, group, canaries, okta, apono, proxy, gateway, now, places: Vec::new() };
        aviary.world.apono.set_scim_token(Some(&aviary.now.scim));
        aviary.world.apono.set_tokens(&[&aviary.now.connector]);
        aviary.write_tokens();
        aviary.new_client_certificate();
        aviary.mount(&generate_rsa(2048).unwrap());
        let configuration = aviary.configuration("trace,apono_connector=trace", "json");
        aviary.world.write_configuration(&configuration);
        aviary
    }

    pub fn configuration(&self, level: &str, format: &str) -> String {
        let at = |name: &str| self.world.path(name).display().to_string();
        format!(
            r#"
[apono]
url = "https://{APONO}"
connector_id = "okta-connector"
token_file = "{}"
client_certificate_file = "{}"
client_key_file = "{}"
[[okta]]
integration_id = "{INTEGRATION}"
organization_url = "https://{OKTA}"
credentials_file = "{}"
[okta.scim]
token_file = "{}"
[custom_integration]
enabled = true
listen = "127.0.0.1:0"
token_file = "{}"
[state]
url = "sqlite:{}"
[audit]
file = "{}"
[admin]
listen = "0.0.0.0:0"
token_file = "{}"
[log]
level = "{level}"
format = "{format}"
[http]
ca_bundle_file = "{}"
proxy_credentials_file = "{}"
"#,
            at("token"),
            at("client.pem"),
            at("client.key"),
            at("okta.json"),
            at("scim-token"),
            at("caller-token"),
            at("state/state.db"),
            at("state/audit.jsonl"),
            at("admin-token"),
            at("ca.pem"),
            at("proxy"),
        )
    }

    pub fn write_tokens(&self) {
        let write = |name: &str, text: &str| fs::write(self.world.path(name), text).unwrap();
        write("token", &self.now.connector);
        write("scim-token", &self.now.scim);
        write("caller-token", &self.now.caller);
        write("admin-token", &self.now.admin);
        write("proxy", &format!("user:{}", self.now.proxy));
    }

    pub fn new_client_certificate(&self) {
        let (certificate, key) = self.gateway.issue("connector", 2999);
        let pem = key.serialize_pem();
        // A line in the middle of the PEM.
        self.canaries.give("client key", pem.lines().nth(1).unwrap());
        fs::write(self.world.path("client.pem"), certificate.pem()).unwrap();
        fs::write(self.world.path("client.key"), pem).unwrap();
    }

    pub fn mount(&self, key: &GeneratedKey) {
        let private: Value = serde_json::from_str(key.private_jwk.expose_secret()).unwrap();
        self.canaries.give_key(&private);
        self.world.okta.register_client(CLIENT, key.public_jwk.clone(), &SCOPES);
        let secret = json!({ "client_id": CLIENT, "private_key": private.to_string() });
        fs::write(self.world.path("okta.json"), secret.to_string()).unwrap();
    }

    /// Every secret anew, while the old ones are still taken.
    pub fn rotate(&mut self, key: &GeneratedKey) {
        let former = std::mem::replace(&mut self.now, Secrets::new(&self.canaries));
        self.world.apono.set_tokens(&[&former.connector, &self.now.connector]);
        self.proxy.want(&[&format!("user:{}", former.proxy), &format!("user:{}", self.now.proxy)]);
        self.write_tokens();
        self.world.apono.set_scim_token(Some(&self.now.scim));
        self.new_client_certificate();
        self.mount(key);
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(arguments);
        command.env("HTTPS_PROXY", format!("http://{}", self.proxy.address));
        command.current_dir(self.world.folder.path());
        command
    }

    /// The proxy's address with user and password in it, as many write it.
    pub fn proxy_with_password(&self) -> String {
        let password = utf8_percent_encode(&self.now.proxy, NON_ALPHANUMERIC);
        format!("http://user:{password}@{}", self.proxy.address)
    }

    /// Runs a command to its end and keeps what it says.
    pub async fn run(&mut self, arguments: &[&str]) -> Output {
        let command = self.command(arguments);
        self.run_command(&arguments.join(" "), command).await
    }

    pub async fn run_command(&mut self, called: &str, mut command: Command) -> Output {
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let output = in_time("the command ends", output).await.unwrap();
        self.keep(&format!("standard output of {called}"), output.stdout.clone());
        self.keep(&format!("standard error of {called}"), output.stderr.clone());
        output
    }

    pub fn keep(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.places.push(Place { name: name.to_owned(), bytes: bytes.into(), meant: Vec::new() });
    }

    /// What the system shows of a process to its user; `meant` is in the environment by the operator's own wish.
    pub fn keep_surroundings(&mut self, connector: &Connector, meant: &[&str]) {
        for name in ["cmdline", "environ", "comm"] {
            let bytes = fs::read(format!("/proc/{}/{name}", connector.pid())).unwrap();
            let meant = meant.iter().filter(|_| name == "environ").map(|&text| text.to_owned()).collect();
            self.places.push(Place { name: format!("/proc/…/{name}"), bytes, meant });
        }
    }

    /// What the peers were sent, but for the headers and the body that secrets belong in.
    pub fn keep_requests(&mut self) {
        let (okta, apono) = (self.okta.asked(), self.apono.asked());
        for (name, asked, part) in [
            ("requests to Okta", okta, "/api/v1/groups/"),
            ("sessions and results", apono.clone(), "/result"),
            ("the directory", apono, "\"userName\""),
        ] {
            let text = String::from_utf8_lossy(&asked);
            assert!(text.contains(part), "there are {name}");
            self.keep(name, asked);
        }
    }

    /// What is in a support bundle, all of it.
    pub fn keep_bundle(&mut self, bundle: &Path) -> Vec<u8> {
        let mut archive = Vec::new();
        flate2::read::GzDecoder::new(fs::File::open(bundle).unwrap()).read_to_end(&mut archive).unwrap();
        self.keep("support bundle", archive.clone());
        archive
    }

    /// Every file that the connector has written.
    pub fn keep_files(&mut self) {
        for entry in fs::read_dir(self.world.path("state")).unwrap() {
            let path = entry.unwrap().path();
            if path.metadata().is_ok_and(|about| about.is_file()) {
                self.keep(&path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }

    pub fn assert_nothing_is_seen(&self) {
        let found = self.canaries.found_in(&self.places);
        let first: Vec<_> = found.iter().take(5).collect();
        assert!(found.is_empty(), "{} secrets are seen: {first:#?}", found.len());
    }

    pub async fn granted(&self) {
        assert_eq!(self.tried().await, "granted");
    }

    /// A grant and its end; what came of the grant.
    pub async fn tried(&self) -> Value {
        let granted = self.world.grant(&self.group, LIMIT);
        let result = self.world.result(&granted.task_id).await;
        self.world.apono.revoke(&granted.grant_id);
        let user = self.world.okta.user("ada@example.com")["id"].as_str().unwrap().to_owned();
        self.world.until_member(&self.group, &user, false).await;
        result["code"].clone()
    }

    /// Calls the custom integration as Apono does; keeps what is answered.
    pub async fn call(&mut self, url: &str, token: &str, body: &Value) -> u16 {
        let mut request = Request::new(Method::POST, url.parse().unwrap());
        request.headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        request.body = Bytes::from(body.to_string());
        let transport = HttpsTransport::new(&HttpsSettings::plain(LIMIT)).unwrap();
        let answer = transport.send(request, LIMIT).await.unwrap();
        self.keep("answer to a call", answer.body.to_vec());
        self.keep("headers of an answer to a call", format!("{:?}", answer.headers));
        answer.status.as_u16()
    }

    /// Looks at the status from another host, in both ways in which the token can be shown; keeps what is answered.
    pub async fn look_from_elsewhere(&mut self, port: &str, token: &str) -> [u16; 2] {
        let url = format!("http://{}:{port}/status", page::outer_address());
        let basic = STANDARD.encode(format!("somebody:{token}"));
        let mut statuses = [0; 2];
        let shown = [format!("Bearer {token}"), format!("Basic {basic}")];
        for (shown, status) in shown.iter().zip(&mut statuses) {
            let answer = page::ask(&url, &[(http::header::AUTHORIZATION, shown)]).await;
            self.keep("status from elsewhere", answer.body.to_vec());
            self.keep("headers of the status from elsewhere", format!("{:?}", answer.headers));
            *status = answer.status.as_u16();
        }
        statuses
    }
}
