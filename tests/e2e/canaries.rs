//! No secret is ever seen: not in logs at the most talkative level, results, files, the process's surroundings, or what
//! commands print, whatever goes wrong.

mod aviary;
mod birds;
mod cores;
mod ear;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use apono_connector::secrets::{Curve, generate_ec, generate_rsa};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use simulator::fault::Fault;
use simulator::okta::AdminRole;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::page;
use super::world::{INTEGRATION, World, get, read};
use aviary::{APONO, Aviary, OKTA};

#[tokio::test]
async fn no_secret_is_seen_from_the_start_through_rotations_and_failures_to_the_end() {
    let mut aviary = Aviary::new().await;
    let mut command = aviary.command(&["run"]);
    let in_environment = aviary.canaries.token("token in the environment");
    command.env("APONO_TOKEN", &in_environment);
    let mut connector = aviary.world.start_command(command);
    let listen = "custom_integration.listen";
    let line = connector.until_logged("where it listens", |line| line.get(listen).is_some()).await;
    let caller_url = format!("http://{}/", line[listen].as_str().unwrap());
    let port = page::port(&mut connector).await;
    aviary.granted().await;

    for n in 0..12 {
        let key = if n % 3 == 0 { generate_rsa(2048) } else { generate_ec(Curve::ALL[n % 3]) };
        aviary.rotate(&key.unwrap());
        aviary.granted().await;
        show_tokens(&mut aviary, &caller_url, &port).await;
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
    for name in ["token", "scim-token", "caller-token", "admin-token"] {
        fs::write(aviary.world.path(name), format!("{bad}\n{bad}")).unwrap();
    }
    for (name, text) in
        [("proxy", bad.clone()), ("client.key", pem_of(&bad)), ("okta.json", format!("{{\"{bad}"))]
    {
        fs::write(aviary.world.path(name), text).unwrap();
    }
    aviary.granted().await;
    let admin = aviary.now.admin.clone();
    assert_eq!(aviary.look_from_elsewhere(&port, &admin).await, [200; 2], "the last good one stays");
    aviary.write_tokens();
    aviary.new_client_certificate();
    aviary.mount(&generate_ec(Curve::P384).unwrap());
    aviary.granted().await;

    for path in ["metrics", "status", "", "readyz", "healthz"] {
        let (status, body) = get(&format!("http://127.0.0.1:{port}/{path}")).await;
        assert_ne!(status, 401, "{path}");
        aviary.keep(&format!("/{path}"), body);
    }
    run_every_command(&mut aviary).await;
    aviary.keep_surroundings(&connector, &[&in_environment]);

    let log = connector.text();
    assert!(log.contains("h2::"), "the libraries talk as well");
    connector.signal(Signal::SIGTERM);
    connector.wait().await;
    aviary.keep("log", log);
    aviary.keep_files();
    aviary.keep_requests();
    let [given, heard] = aviary.canaries.kinds();
    assert!(given.values().sum::<usize>() >= 100, "{given:?}");
    for (kinds, named) in [
        (
            &given,
            &[
                "private key",
                "client key",
                "connector token",
                "SCIM token",
                "caller's token",
                "admin token",
                "proxy's password",
            ][..],
        ),
        (&heard, &["access token", "client assertion", "DPoP proof"]),
    ] {
        assert!(named.iter().all(|kind| kinds[kind] >= 10), "{kinds:?}");
    }
    aviary.assert_nothing_is_seen();
}

/// Of callers and of those who look at the status, from who is not let in and from who is.
async fn show_tokens(aviary: &mut Aviary, caller_url: &str, port: &str) {
    let wrong = aviary.canaries.awkward("wrong token");
    let (types, known) =
        (json!({ "event_type": "get-types" }), json!({ "event_type": "grant-access", "params": {} }));
    assert_eq!(aviary.call(caller_url, &wrong, &types).await, 401);
    let (caller, admin) = (aviary.now.caller.clone(), aviary.now.admin.clone());
    assert_eq!(aviary.call(caller_url, &caller, &types).await, 200);
    assert_ne!(aviary.call(caller_url, &caller, &known).await, 401, "the new one is known");
    assert_eq!(aviary.look_from_elsewhere(port, &wrong).await, [401; 2]);
    assert_eq!(aviary.look_from_elsewhere(port, &admin).await, [200; 2], "the new one is known");
}

/// Every command that shows something, and what is in a support bundle.
async fn run_every_command(aviary: &mut Aviary) {
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
    let archive = aviary.keep_bundle(Path::new(&bundle));
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
        ("caller-token", format!("{canary} {canary}")),
        ("admin-token", format!("{canary} {canary}")),
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
        let bundle = aviary.world.path("bundle");
        aviary.run(&["support-bundle", "--out", bundle.to_str().unwrap()]).await;
        aviary.keep_bundle(&bundle);
        fs::remove_file(&bundle).unwrap();
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

/// In the other formats of a log, with the proxy's password in the address of the proxy, and without any file but
/// `APONO_TOKEN`.
#[tokio::test]
async fn no_secret_is_seen_in_other_formats_or_of_what_is_in_the_environment() {
    let mut aviary = Aviary::new().await;
    let token = aviary.now.connector.clone();
    let proxy = aviary.proxy_with_password();
    let journal = Journal::new(&aviary.world);
    for format in ["logfmt", "pretty", "journald"] {
        let configuration = aviary.configuration("trace,apono_connector=trace", format);
        let is_kept = |line: &&str| !line.contains("/token\"") && !line.starts_with("proxy_credentials_file");
        let without: Vec<_> = configuration.lines().filter(is_kept).collect();
        aviary.world.write_configuration(&without.join("\n"));
        let mut command = aviary.command(&["run"]);
        if format == "journald" {
            command = journal.shown_to(&command);
        }
        command.env("APONO_TOKEN", &token).env("HTTPS_PROXY", &proxy);
        let connector = aviary.world.start_command(command);
        aviary.granted().await;
        aviary.okta.echo(2);
        aviary.tried().await;
        aviary.keep_surroundings(&connector, &[&token, &aviary.now.proxy.clone()]);
        connector.signal(Signal::SIGTERM);
        let (status, log) = connector.wait().await;
        assert!(status.success(), "{log}");
        let told = if format == "journald" { journal.received() } else { log.clone().into_bytes() };
        assert!(told.len() > 10_000, "it has talked");
        aviary.keep(&format!("log as {format}"), told);
        aviary.keep("standard error", log);
    }
    for arguments in [&["config", "show"][..], &["config", "check"], &["doctor"], &["doctor", "--json"]] {
        let mut command = aviary.command(arguments);
        command.env("APONO_TOKEN", &token).env("HTTPS_PROXY", &proxy);
        aviary.run_command(&arguments.join(" "), command).await;
    }
    aviary.keep_files();
    aviary.keep_requests();
    aviary.assert_nothing_is_seen();
}

/// The socket of a journal, and what came there.
struct Journal {
    folder: PathBuf,
    received: Arc<Mutex<Vec<u8>>>,
    _receiving: JoinSet<()>,
}

impl Journal {
    fn new(world: &World) -> Self {
        let folder = world.path("journal");
        fs::create_dir(&folder).unwrap();
        let socket = UnixDatagram::bind(folder.join("socket")).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = tokio::net::UnixDatagram::from_std(socket).unwrap();
        let received = Arc::<Mutex<Vec<u8>>>::default();
        let mut receiving = JoinSet::new();
        let into = Arc::clone(&received);
        receiving.spawn(async move {
            let mut datagram = vec![0; 1 << 20];
            loop {
                let length = socket.recv(&mut datagram).await.unwrap();
                into.lock().unwrap().extend(&datagram[..length]);
            }
        });
        Self { folder, received, _receiving: receiving }
    }

    /// The same command with this journal where the system's would be, for it alone.
    fn shown_to(&self, command: &Command) -> Command {
        const SCRIPT: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && \
            mount --bind \"$0\" /run/systemd/journal && exec \"$@\"";
        let command = command.as_std();
        let mut within = Command::new("unshare");
        within.args(if rustix::process::geteuid().is_root() { "-m" } else { "-rm" }.split(' '));
        within
            .args(["sh", "-c", SCRIPT])
            .arg(&self.folder)
            .arg(command.get_program())
            .args(command.get_args());
        within.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        within.current_dir(command.get_current_dir().unwrap());
        within.stdin(Stdio::null()).stdout(Stdio::null());
        within
    }

    fn received(&self) -> Vec<u8> {
        self.received.lock().unwrap().clone()
    }
}

/// Where an administrator's token is used, and keys are made: before there is a daemon, and beside it.
#[tokio::test]
async fn no_secret_is_seen_while_a_connection_is_made_and_its_key_replaced() {
    let mut aviary = Aviary::new().await;
    let at = |name: &str| aviary.world.path(name).display().to_string();
    let (admin, credentials, config, ca) =
        (at("okta-admin"), at("fresh/okta-credentials.json"), at("fresh/connector.toml"), at("ca.pem"));
    fs::create_dir(aviary.world.path("fresh")).unwrap();
    let organization = format!("https://{OKTA}");
    let with = ["--organization-url", &organization, "--ca-bundle-file", &ca];
    let by_token = [&with[..], &["--admin-token-file", &admin]].concat();
    let setup = ["okta", "setup", "--non-interactive", "--config", &config, "--integration-id", INTEGRATION];
    let setup = [&setup[..], &by_token].concat();
    let of_file = [&["--credentials-file", &credentials][..], &by_token].concat();
    let good = |aviary: &Aviary| {
        let token = aviary.world.okta.create_admin_token(AdminRole::SuperAdmin);
        aviary.canaries.give("administrator's token", &token);
        fs::write(aviary.world.path("okta-admin"), token).unwrap();
    };

    // Tokens that are none, or nobody's; and a peer that repeats them.
    for wrong in
        [aviary.canaries.token("administrator's token"), aviary.canaries.awkward("bad file") + "\n\nx"]
    {
        fs::write(aviary.world.path("okta-admin"), wrong).unwrap();
        assert_ne!(aviary.set_up(&setup).await, Some(0));
    }
    good(&aviary);
    for echoes in [1, 2, 3, 4, 6, 9] {
        aviary.okta.echo(echoes);
        assert_ne!(aviary.set_up(&setup).await, Some(0), "Okta has repeated what it was sent");
    }
    aviary.okta.echo(0);
    assert_eq!(aviary.set_up(&[&setup[..], &["--dry-run"]].concat()).await, Some(2));
    assert_eq!(aviary.set_up(&[&setup[..], &["--write-config"]].concat()).await, Some(0));
    aviary.give_keys_in("fresh");
    assert_eq!(aviary.set_up(&setup).await, Some(0));

    let shown = [&["key", "verify", &credentials][..], &with].concat();
    assert_eq!(aviary.set_up(&["key", "jwk", &credentials]).await, Some(0));
    assert_eq!(aviary.set_up(&shown).await, Some(0));
    aviary.okta.echo(3);
    assert_ne!(aviary.set_up(&shown).await, Some(0));
    aviary.okta.echo(0);
    let rotate = [&["key", "rotate"][..], &of_file].concat();
    for curve in ["P-256", "P-384", "P-521"] {
        good(&aviary);
        aviary.okta.echo(1);
        let begin = [&rotate[..], &["--curve", curve]].concat();
        assert_ne!(aviary.set_up(&begin).await, Some(0), "Okta has repeated what it was sent");
        aviary.give_keys_in("fresh");
        assert_eq!(aviary.set_up(&begin).await, Some(0));
        aviary.give_keys_in("fresh");
        assert_eq!(aviary.set_up(&[&rotate[..], &["--finish"]].concat()).await, Some(0));
    }
    let made = aviary.world.path("fresh/made.json").display().to_string();
    assert_eq!(aviary.set_up(&["key", "generate", "--out", &made]).await, Some(0));
    aviary.give_keys_in("fresh");
    let config = read(Path::new(&config));
    aviary.keep("the configuration that was written", config);
    aviary.keep("requests to Okta", aviary.okta.asked());
    let [given, _] = aviary.canaries.kinds();
    assert!(given["private key"] >= 10 && given["administrator's token"] >= 5, "{given:?}");
    aviary.assert_nothing_is_seen();
}

impl Aviary {
    /// A command that needs no configuration of a daemon; its exit code.
    async fn set_up(&mut self, arguments: &[&str]) -> Option<i32> {
        let mut command = World::bare_command(arguments);
        command
            .env("HTTPS_PROXY", self.proxy_with_password())
            .env("APONO_URL", format!("https://{APONO}"))
            .env("APONO_CONNECTOR_ID", "okta-connector")
            .env("APONO_TOKEN_FILE", self.world.path("token"));
        self.run_command(&arguments[..2].join(" "), command).await.status.code()
    }

    /// The keys in the files that commands have made.
    fn give_keys_in(&self, folder: &str) {
        for file in fs::read_dir(self.world.path(folder)).unwrap() {
            let text = read(&file.unwrap().path());
            let Ok(value) = serde_json::from_str::<Value>(&text) else { continue };
            self.canaries.give_key(value.get("private_key").unwrap_or(&value));
        }
    }
}
