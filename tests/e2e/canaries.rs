//! No secret is ever seen: not in logs at the most talkative level, results, files, the process's surroundings, or what
//! commands print, whatever goes wrong.

mod birds;
mod ear;

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use apono_connector::http::transport::{HttpsSettings, HttpsTransport, Request, Transport};
use apono_connector::secrets::{Curve, GeneratedKey, generate_ec, generate_rsa};
use bytes::Bytes;
use http::Method;
use nix::sys::signal::Signal;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use simulator::fault::Fault;
use simulator::okta::DpopRule;
use tokio::process::Command;

use super::authority::{Authority, Clients};
use super::tunnels::Tunnels;
use super::world::{CLIENT, Connector, INTEGRATION, World};
use birds::Canaries;
use ear::Ear;

const OKTA: &str = "okta.invalid";
const APONO: &str = "apono.invalid";
const SCOPES: [&str; 2] = ["okta.users.read", "okta.groups.manage"];
const LIMIT: Duration = Duration::from_mins(2);

/// Everything between the connector and its peers, and everything that is a secret there.
struct Aviary {
    world: World,
    group: String,
    canaries: Canaries,
    okta: Ear,
    apono: Ear,
    proxy: Tunnels,
    gateway: Authority,
    /// `connector token`, `SCIM token`, …: what each file holds now.
    now: Secrets,
    /// What was written where it can be seen.
    places: Vec<(String, Vec<u8>)>,
}

struct Secrets {
    connector: String,
    scim: String,
    caller: String,
    proxy: String,
}

impl Aviary {
    async fn new() -> Self {
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
        let now = Secrets {
            connector: canaries.fresh("connector token"),
            scim: canaries.fresh("SCIM token"),
            caller: canaries.fresh("caller's token"),
            proxy: canaries.fresh("proxy's password"),
        };
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

    fn configuration(&self, level: &str, format: &str) -> String {
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
listen = "127.0.0.1:0"
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
            at("ca.pem"),
            at("proxy"),
        )
    }

    fn write_tokens(&self) {
        let write = |name: &str, text: &str| fs::write(self.world.path(name), text).unwrap();
        write("token", &self.now.connector);
        write("scim-token", &self.now.scim);
        write("caller-token", &self.now.caller);
        write("proxy", &format!("user:{}", self.now.proxy));
    }

    fn new_client_certificate(&self) {
        let (certificate, key) = self.gateway.issue("connector", 2999);
        let pem = key.serialize_pem();
        // A line in the middle of the PEM.
        self.canaries.add("client key", pem.lines().nth(1).unwrap());
        fs::write(self.world.path("client.pem"), certificate.pem()).unwrap();
        fs::write(self.world.path("client.key"), pem).unwrap();
    }

    fn mount(&self, key: &GeneratedKey) {
        let private: Value = serde_json::from_str(key.private_jwk.expose_secret()).unwrap();
        self.canaries.add_key(&private);
        self.world.okta.register_client(CLIENT, key.public_jwk.clone(), &SCOPES);
        let secret = json!({ "client_id": CLIENT, "private_key": private.to_string() });
        fs::write(self.world.path("okta.json"), secret.to_string()).unwrap();
    }

    /// Every secret anew, while the old ones are still taken.
    fn rotate(&mut self) {
        let former = std::mem::replace(
            &mut self.now,
            Secrets {
                connector: self.canaries.fresh("connector token"),
                scim: self.canaries.fresh("SCIM token"),
                caller: self.canaries.fresh("caller's token"),
                proxy: self.canaries.fresh("proxy's password"),
            },
        );
        self.world.apono.set_tokens(&[&former.connector, &self.now.connector]);
        self.proxy.want(&[&format!("user:{}", former.proxy), &format!("user:{}", self.now.proxy)]);
        self.write_tokens();
        self.world.apono.set_scim_token(Some(&self.now.scim));
        self.new_client_certificate();
        self.mount(&generate_ec(Curve::P256).unwrap());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.world.command(arguments);
        command.env("HTTPS_PROXY", format!("http://{}", self.proxy.address));
        command.current_dir(self.world.folder.path());
        command
    }

    /// Runs a command to its end and keeps what it says.
    async fn run(&mut self, arguments: &[&str]) -> Output {
        let command = self.command(arguments);
        self.run_command(&arguments.join(" "), command).await
    }

    async fn run_command(&mut self, called: &str, mut command: Command) -> Output {
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        let output = tokio::time::timeout(LIMIT, output).await.expect("the command ends").unwrap();
        self.places.push((format!("standard output of {called}"), output.stdout.clone()));
        self.places.push((format!("standard error of {called}"), output.stderr.clone()));
        output
    }

    fn keep(&mut self, place: &str, bytes: impl Into<Vec<u8>>) {
        self.places.push((place.to_owned(), bytes.into()));
    }

    /// What the system shows of a process to its user.
    fn keep_surroundings(&mut self, connector: &Connector) {
        for name in ["cmdline", "environ", "comm"] {
            let bytes = fs::read(format!("/proc/{}/{name}", connector.pid())).unwrap();
            self.keep(&format!("/proc/…/{name}"), bytes);
        }
    }

    /// Every file that the connector has written.
    fn keep_files(&mut self) {
        for entry in fs::read_dir(self.world.path("state")).unwrap() {
            let path = entry.unwrap().path();
            if path.metadata().is_ok_and(|about| about.is_file()) {
                self.keep(&path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }

    fn assert_nothing_is_seen(&self) {
        let found = self.canaries.found_in(&self.places);
        let first: Vec<_> = found.iter().take(5).collect();
        assert!(found.is_empty(), "{} secrets are seen: {first:#?}", found.len());
    }

    async fn granted(&self) {
        assert_eq!(self.tried().await, "granted");
    }

    /// A grant and its end; what came of the grant.
    async fn tried(&self) -> Value {
        let granted = self.world.grant(&self.group, LIMIT);
        let result = self.world.result(&granted.task_id).await;
        self.world.apono.revoke(&granted.grant_id);
        let user = self.world.okta.user("ada@example.com")["id"].as_str().unwrap().to_owned();
        self.world.until_member(&self.group, &user, false).await;
        result["code"].clone()
    }
}

async fn call(url: &str, token: &str, body: &Value) -> u16 {
    let mut request = Request::new(Method::POST, url.parse().unwrap());
    request.headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    request.body = Bytes::from(body.to_string());
    let transport = HttpsTransport::new(&HttpsSettings::plain(LIMIT)).unwrap();
    transport.send(request, LIMIT).await.unwrap().status.as_u16()
}

#[tokio::test]
async fn no_secret_is_seen_from_the_start_through_rotations_and_failures_to_the_end() {
    let mut aviary = Aviary::new().await;
    let mut command = aviary.command(&["run"]);
    command.env("APONO_TOKEN", aviary.canaries.fresh("token in the environment"));
    let mut connector = aviary.world.start_command(command);
    let listen = "custom_integration.listen";
    let line = connector.until_logged("where it listens", |line| line.get(listen).is_some()).await;
    let caller_url = format!("http://{}/", line[listen].as_str().unwrap());
    aviary.granted().await;

    for _ in 0..8 {
        aviary.rotate();
        aviary.granted().await;
        let wrong = aviary.canaries.fresh("wrong caller's token");
        assert_eq!(call(&caller_url, &wrong, &json!({ "event_type": "get-types" })).await, 401);
        let known = json!({ "event_type": "grant-access", "params": {} });
        assert_ne!(call(&caller_url, &aviary.now.caller, &known).await, 401, "the new one is known");
    }

    // Peers that repeat what they were sent, and peers that break off.
    // Few of them at a time: whom Apono refuses for good asks again after ten seconds, then twenty.
    for (of_okta, of_apono) in [(4, 0), (0, 2), (2, 0)] {
        aviary.okta.echo(of_okta);
        aviary.apono.echo(of_apono);
        aviary.world.okta.revoke_tokens();
        aviary.world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
        aviary.tried().await;
    }
    for operation in ["add_member", "token", "get_user"] {
        aviary.world.okta.faults().once(operation, Fault::html(502));
        aviary.world.okta.faults().once(operation, Fault::Disconnect);
    }
    aviary.world.okta.revoke_tokens();
    aviary.granted().await;

    // Files that are no secrets any more, though they hold one.
    let bad = aviary.canaries.fresh("bad file");
    for name in ["token", "scim-token", "caller-token"] {
        fs::write(aviary.world.path(name), format!("{bad}\n{bad}")).unwrap();
    }
    for (name, text) in
        [("proxy", bad.clone()), ("client.key", pem_of(&bad)), ("okta.json", format!("{{\"{bad}"))]
    {
        fs::write(aviary.world.path(name), text).unwrap();
    }
    aviary.granted().await;
    aviary.write_tokens();
    aviary.new_client_certificate();
    aviary.mount(&generate_ec(Curve::P384).unwrap());
    aviary.granted().await;

    for path in ["/metrics", "/status", "/", "/readyz", "/healthz"] {
        let (_, body) = connector.ask(path).await;
        aviary.keep(path, body);
    }
    let bundle = aviary.world.path("bundle.tar.gz").display().to_string();
    let commands: &[&[&str]] = &[
        &["config", "show"],
        &["config", "check"],
        &["status"],
        &["status", "--json"],
        &["grants", "list", "--json"],
        &["doctor", "--json"],
        &["doctor"],
        &["sync", "--plan", "--json"],
        &["audit", "verify"],
        &["support-bundle", "--out", &bundle],
    ];
    for arguments in commands {
        let ended = aviary.run(arguments).await.status.code();
        assert!(matches!(ended, Some(0 | 2)), "{arguments:?}: {ended:?}");
    }
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(&bundle).unwrap()).read_to_end(&mut archive).unwrap();
    for part in [
        "configuration.txt",
        "status.json",
        "metrics.txt",
        "log.jsonl",
        "journal.json",
        "grants.json",
        "doctor.json",
        "audit.txt",
        "manifest.json",
    ] {
        let name = format!("apono-connector-support/{part}");
        assert!(archive.windows(name.len()).any(|bytes| bytes == name.as_bytes()), "{part} is in the bundle");
    }
    aviary.keep("support bundle", archive);
    aviary.keep_surroundings(&connector);
    // The variable was the operator's to set.
    aviary.places.retain(|(place, _)| !place.ends_with("environ"));

    let log = connector.text();
    assert!(log.contains("h2::"), "the libraries talk as well");
    connector.signal(Signal::SIGTERM);
    connector.wait().await;
    aviary.keep("log", log);
    aviary.keep_files();
    let kinds = aviary.canaries.kinds();
    assert!(kinds.values().sum::<usize>() >= 100, "{kinds:?}");
    for kind in
        ["private key", "client key", "access token", "client assertion", "DPoP proof", "proxy's password"]
    {
        assert!(kinds[kind] >= 3, "{kinds:?}");
    }
    aviary.assert_nothing_is_seen();
}

/// Text that begins as a key does.
fn pem_of(text: &str) -> String {
    format!("-----BEGIN {0}-----\n{text}\n-----END {0}-----\n", "PRIVATE KEY")
}

/// What a person could write in the wrong place or in the wrong form.
#[tokio::test]
async fn no_secret_is_seen_where_the_start_fails() {
    let mut aviary = Aviary::new().await;
    let good = fs::read_to_string(aviary.world.path("connector.toml")).unwrap();
    let canary = aviary.canaries.fresh("misplaced secret");
    let jwk = |member: &str| json!({ "kty": "RSA", "n": canary, "e": "AQAB", member: canary });
    let files: Vec<(&str, String)> = vec![
        ("token", format!("{canary}\u{7}{canary}")),
        ("scim-token", format!("{canary}\n{canary}")),
        ("proxy", canary.clone()),
        ("client.key", canary.clone()),
        ("client.key", pem_of(&canary)),
        ("client.pem", canary.clone()),
        ("ca.pem", canary.clone()),
        ("okta.json", canary.clone()),
        ("okta.json", pem_of(&canary)),
        ("okta.json", json!(canary).to_string()),
        ("okta.json", json!([canary]).to_string()),
        ("okta.json", json!({ "client_id": { "a": canary }, "private_key": canary }).to_string()),
        ("okta.json", json!({ "client_id": "c", "private_key": canary }).to_string()),
        ("okta.json", json!({ "client_id": "c", "private_key": [canary] }).to_string()),
        ("okta.json", json!({ "client_id": "c", "private_key": pem_of(&canary) }).to_string()),
        ("okta.json", json!({ "client_id": "c", "private_key": jwk("d") }).to_string()),
        ("okta.json", json!({ "client_id": "c", "private_key": jwk("d").to_string() }).to_string()),
        (
            "okta.json",
            json!({ "client_id": "c", "private_key": { "keys": [jwk("p"), jwk("q")] } }).to_string(),
        ),
        ("okta.json", json!({ "client_id": "c", "private_key": { "kty": canary, "d": canary } }).to_string()),
        ("okta.json", format!("{{\"client_id\":\"c\",\"private_key\":\"{canary}")),
    ];
    for (name, text) in files {
        let before = fs::read(aviary.world.path(name)).unwrap();
        fs::write(aviary.world.path(name), &text).unwrap();
        for command in [&["config", "check"][..], &["run"], &["doctor"]] {
            let ended = aviary.run(command).await.status.code();
            assert!(command == ["doctor"] || ended == Some(78), "{command:?} with {name} {text}: {ended:?}");
        }
        fs::write(aviary.world.path(name), before).unwrap();
    }

    let lines = [
        good.replace("token_file =", &format!("token = \"{canary}\"\ntoken_file =")),
        good.replace("[apono]", &format!("[apono]\ntoken = \"{canary}")),
        good.replace("[apono]", &format!("[apono]\n{canary}==\n")),
        json!({ "client_id": "c", "private_key": pem_of(&format!("{canary}==")) }).to_string(),
        good.replace("[apono]", &format!("[apono]\nclient_key = '''{canary}'")),
        good.replace("[state]", &format!("[state]\npassword = \"{canary}\"")),
        good.replace("sqlite:", &format!("postgres://user:{canary}@db.example.com/")),
        good.replace(&format!("https://{APONO}"), &format!("https://user:{canary}@{APONO}")),
        good.replace(&format!("https://{OKTA}"), &format!("https://user:{canary}@{OKTA}")),
        good.replace(&format!("https://{OKTA}"), &format!("ftp://user:{canary}@{OKTA}")),
        good.replace("[http]", &format!("[http]\nproxy = \"http://user:{canary}@proxy.example.com\"")),
        good.replace(
            "[okta.scim]",
            &format!("[okta.scim]\nbase_url = \"https://user:{canary}@scim.example.com\""),
        ),
    ];
    for text in lines {
        aviary.world.write_configuration(&text);
        for command in [&["config", "check"][..], &["config", "show"], &["run"], &["doctor", "--json"]] {
            assert_eq!(aviary.run(command).await.status.code(), Some(78), "{command:?}: {text}");
        }
        let bundle: PathBuf = aviary.world.path("bundle");
        aviary.run(&["support-bundle", "--out", bundle.to_str().unwrap()]).await;
        let mut archive = Vec::new();
        flate2::read::GzDecoder::new(fs::File::open(&bundle).unwrap()).read_to_end(&mut archive).unwrap();
        fs::remove_file(&bundle).unwrap();
        aviary.keep("bundle of a bad configuration", archive);
    }
    aviary.world.write_configuration(&good);
    let variables = [
        ("HTTPS_PROXY", format!("socks5://user:{canary}@proxy.example.com")),
        ("APONO_URL", format!("https://user:{canary}@api.example.com")),
        ("APONO_CONNECTOR__APONO__TOKEN", canary.clone()),
        ("APONO_CONNECTOR__OKTA__0__PRIVATE_KEY", canary.clone()),
        ("CONNECTOR_METADATA", canary.clone()),
    ];
    for (name, value) in variables {
        for command in [&["config", "show"][..], &["run"]] {
            let mut command = aviary.command(command);
            command.env(name, &value);
            let ended = aviary.run_command(name, command).await.status.code();
            assert_eq!(ended, Some(78), "{name}");
        }
    }
    aviary.assert_nothing_is_seen();
}

/// In the other formats, without any file but `APONO_TOKEN`, and to an end that a system would write a core for.
#[tokio::test]
async fn no_secret_is_seen_in_other_formats_or_left_in_a_core() {
    let mut aviary = Aviary::new().await;
    let token = aviary.now.connector.clone();
    for format in ["logfmt", "pretty"] {
        let configuration = aviary.configuration("trace,apono_connector=trace", format);
        let without: Vec<_> = configuration.lines().filter(|line| !line.contains("/token\"")).collect();
        aviary.world.write_configuration(&without.join("\n"));
        fs::create_dir_all(aviary.world.path("cwd")).unwrap();
        let mut command = aviary.command(&["run"]);
        command.env("APONO_TOKEN", &token).current_dir(aviary.world.path("cwd"));
        let connector = aviary.world.start_command(command);
        aviary.granted().await;
        aviary.okta.echo(2);
        aviary.tried().await;
        connector.signal(Signal::SIGABRT);
        let (status, log) = connector.wait().await;
        assert!(!status.success());
        assert!(log.contains("waiting for tasks") || log.len() > 10_000, "it has talked");
        aviary.keep(&format!("log as {format}"), log);
    }
    assert_eq!(fs::read_dir(aviary.world.path("cwd")).unwrap().count(), 0, "no core");
    let mut command = aviary.command(&["config", "show"]);
    command.env("APONO_TOKEN", &token);
    aviary.run_command("config show", command).await;
    aviary.keep_files();
    aviary.assert_nothing_is_seen();
}
