//! No password of the database is ever seen: not in logs at the most talkative level, files, tables, the process's
//! surroundings, or what commands print, whatever it is replaced by.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::Signal;

use super::birds::{Canaries, Place};
use super::daemons::Fleet;
use super::postgres::{Admin, Base, Cluster};
use super::world::{Connector, World, get, in_time};

const HOUR: Duration = Duration::from_hours(1);

struct Watch {
    fleet: Fleet,
    canaries: Canaries,
    admin: Admin,
    base: Base,
    places: Vec<Place>,
}

impl Watch {
    fn keep(&mut self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.places.push(Place { name: name.to_owned(), bytes: bytes.into(), meant: Vec::new() });
    }

    fn password(&self) -> String {
        self.canaries.awkward("database password")
    }

    /// What the database takes from now on; whoever is connected has to connect anew.
    async fn tell_database(&self, password: &str) {
        let role = &self.base.name;
        self.admin.batch_execute(&format!("ALTER ROLE {role} PASSWORD '{password}'")).await.unwrap();
        self.end_connections().await;
    }

    async fn end_connections(&self) {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
        self.admin.query(end, &[&self.base.name]).await.unwrap();
    }

    /// The result of a grant, which has to be written into the database.
    async fn tried(&mut self) -> String {
        let task = self.fleet.grant(HOUR);
        self.fleet.world.result(&task).await["code"].as_str().unwrap().to_owned()
    }

    /// Tries until the daemon has found its way back into the database.
    async fn until_answered(&mut self) {
        let tries = async { while self.tried().await == "refused_degraded" {} };
        in_time("the database takes the daemon again", tries).await;
    }

    async fn run(&mut self, arguments: &[&str]) {
        let output = self.fleet.outcome(0, arguments).await;
        self.keep(&format!("standard output of {arguments:?}"), output.stdout);
        self.keep(&format!("standard error of {arguments:?}"), output.stderr);
    }

    async fn run_all(&mut self) {
        let bundle = self.fleet.world.path("bundle.tar.gz");
        let commands: &[&[&str]] = &[
            &["config", "show"],
            &["config", "check"],
            &["status", "--json"],
            &["grants", "list", "--json"],
            &["doctor"],
            &["doctor", "--json"],
            &["sync", "--plan", "--json"],
            &["support-bundle", "--out", bundle.to_str().unwrap()],
        ];
        for arguments in commands {
            self.run(arguments).await;
        }
        let mut archive = Vec::new();
        flate2::read::GzDecoder::new(fs::File::open(&bundle).unwrap()).read_to_end(&mut archive).unwrap();
        fs::remove_file(&bundle).unwrap();
        self.keep("support bundle", archive);
    }

    async fn keep_tables(&mut self) {
        let named = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'apono_connector'";
        let admin = &self.admin;
        let mut texts = Vec::new();
        for row in admin.query(named, &[]).await.unwrap() {
            let table: String = row.get(0);
            let all =
                format!("SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM apono_connector.{table} t");
            texts.push(admin.query_one(&all, &[]).await.unwrap().get::<_, String>(0));
        }
        assert!(texts.iter().any(|text| text.contains("grt_")), "the tables are read");
        self.keep("tables", texts.join("\n"));
    }

    fn keep_files(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                self.keep(&path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }

    fn keep_surroundings(&mut self, daemon: &Connector) {
        for name in ["cmdline", "environ", "comm"] {
            let bytes = fs::read(format!("/proc/{}/{name}", daemon.pid())).unwrap();
            self.keep(&format!("/proc/…/{name}"), bytes);
        }
    }
}

/// Whether a line of the log says this, later than `since`.
fn told(since: Timestamp, words: &str) -> impl Fn(&serde_json::Value) -> bool {
    move |line| {
        let at: Timestamp = line["timestamp"].as_str().unwrap().parse().unwrap();
        at > since && line["message"].as_str().is_some_and(|message| message.contains(words))
    }
}

#[tokio::test]
async fn no_database_password_is_seen_whatever_it_is_replaced_by() {
    let cluster = Cluster::start();
    let base = cluster.new_database().await;
    let (fleet, admin) = (Fleet::new(&base, 40, 2), cluster.admin(&base.name).await);
    let config = fleet.world.path("host0.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("level = \"info\"", "level = \"trace,apono_connector=trace\"")).unwrap();
    let mut watch = Watch { fleet, canaries: Canaries::default(), admin, base, places: Vec::new() };
    let first = watch.password();
    watch.tell_database(&first).await;
    watch.base.mount_password(&first);
    let mut command = World::bare_command(&["run"]);
    command.arg("--config").arg(&config);
    let mut daemon = watch.fleet.world.start_command(command);
    let admin_url = daemon.admin().await;
    watch.until_answered().await;

    // One that the database does not take is told while the former still serves, and so is that it does at last. (Later, the log
    // would count it among its repeats.)
    let tried_of_itself = async {
        loop {
            let (since, next) = (World::now(), watch.password());
            watch.base.mount_password(&next);
            let line =
                daemon.until_logged("the doubt", told(since, "does not take the new password yet")).await;
            assert_eq!((&line["level"], &line["code"]), (&"WARN".into(), &"AOC-0118".into()));
            // Else somebody wanted a new connection in this very moment.
            let text = daemon.text();
            let mut lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            if lines.any(|line| told(since, "is asked whether it takes the new password")(&line)) {
                break next;
            }
        }
    };
    let next = in_time("the daemon tries it although it is connected", tried_of_itself).await;
    assert_ne!(watch.tried().await, "refused_degraded");
    let since = World::now();
    watch.tell_database(&next).await;
    daemon.until_logged("the end of the doubt", told(since, "takes the new password")).await;

    for _ in 0..5 {
        // The file first: until the database is told, the former is used.
        let next = watch.password();
        watch.base.mount_password(&next);
        watch.end_connections().await;
        watch.until_answered().await;
        watch.tell_database(&next).await;
        watch.until_answered().await;
    }
    watch.run_all().await;

    // Nobody has told the connector; and then a file that is no better.
    let next = watch.password();
    watch.tell_database(&next).await;
    let refused = |line: &serde_json::Value| line.to_string().contains("password authentication failed");
    daemon.until_logged("that it is not let in", refused).await;
    watch.run_all().await;
    for wrong in [watch.password(), format!("{}\n{}", watch.password(), watch.password())] {
        watch.base.mount_password(&wrong);
        watch.run_all().await;
    }
    fs::remove_file(&watch.base.password_file).unwrap();
    watch.run_all().await;
    watch.run(&["run"]).await;
    watch.base.mount_password(&next);
    watch.until_answered().await;

    for path in ["metrics", "status", "", "readyz?verbose"] {
        let (_, body) = get(&format!("{admin_url}/{path}")).await;
        watch.keep(&format!("/{path}"), body);
    }
    watch.keep_surroundings(&daemon);
    watch.keep_tables().await;
    let log = daemon.text();
    assert!(log.contains("\"TRACE\"") && log.contains("hyper_util::"), "the libraries talk as well");
    daemon.signal(Signal::SIGTERM);
    daemon.wait().await;
    watch.keep("log", log);
    let folder = watch.fleet.world.path("host0");
    watch.keep_files(&folder);
    let [given, _] = watch.canaries.kinds();
    assert!(given["database password"] >= 9, "{given:?}");
    let found = watch.canaries.found_in(&watch.places);
    assert!(found.is_empty(), "{} secrets are seen: {:#?}", found.len(), &found[..found.len().min(5)]);
}
