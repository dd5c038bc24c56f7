//! A state is copied from a file to a database and back, by the real binary, which is killed on the way.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use apono_connector::access::journal::{Journal, Owner, SqliteJournal, Subject};
use apono_connector::clock;
use apono_connector::domain::GrantId;

use super::contract::{accepted, ended, entry, standing};
use super::postgres::{Admin, Base, shared};
use super::world::{INTEGRATION, LIMIT, World, in_time};

/// Nothing may take longer.
const MANY: usize = 300;

struct Move {
    world: World,
    base: Base,
}

impl Move {
    async fn new() -> Self {
        Self { world: World::new(), base: shared().new_database().await }
    }

    fn file(&self) -> PathBuf {
        self.world.path("state/state.db")
    }

    /// The configuration, with the state in the database.
    fn shared_configuration(&self) -> String {
        let text = self.world.configuration("");
        let file = format!("url = \"sqlite:{}\"", self.file().display());
        let base = format!(
            "url = \"{}\"\npassword_file = \"{}\"\ndirectory = \"{}\"",
            self.base.url,
            self.base.password_file.display(),
            self.world.path("local").display()
        );
        assert!(text.contains(&file));
        text.replace(&file, &base)
    }

    fn arguments(&self, file: &Path, there: bool, page: &str) -> Vec<String> {
        let (file, base) = (format!("sqlite:{}", file.display()), self.base.url.clone());
        let password = self.base.password_file.display().to_string();
        let (from, to, flag) =
            if there { (file, base, "--to-password-file") } else { (base, file, "--from-password-file") };
        ["state", "migrate", "--from", &from, "--to", &to, flag, &password, "--page", page]
            .map(ToOwned::to_owned)
            .to_vec()
    }

    async fn migrate(&self, file: &Path, there: bool) -> Output {
        let arguments = self.arguments(file, there, "500");
        self.world.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    async fn migrated(&self, file: &Path, there: bool) -> String {
        let output = self.migrate(file, there).await;
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{err}");
        out
    }

    async fn refused(&self, file: &Path, there: bool, exit: i32, expected: &[&str]) {
        let output = self.migrate(file, there).await;
        let (_, err) = texts(&output);
        assert_eq!(output.status.code(), Some(exit), "{err}");
        for expected in expected {
            assert!(err.contains(expected), "{expected}: {err}");
        }
    }

    /// Copies one entry at a time, and is killed when `enough` says so.
    async fn kill_when(&self, file: &Path, there: bool, mut enough: impl AsyncFnMut() -> bool) {
        let arguments = self.arguments(file, there, "1");
        let mut command = self.world.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let mut child = command.stderr(Stdio::inherit()).kill_on_drop(true).spawn().unwrap();
        let killed = async {
            while !enough().await {
                assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
                clock::sleep(Duration::from_millis(1)).await;
            }
            child.kill().await.unwrap();
        };
        clock::timeout(LIMIT, killed).await.unwrap();
    }

    fn owner(&self) -> Owner {
        let text = self.world.configuration("");
        let url = text.lines().find_map(|line| line.strip_prefix("organization_url = \"")).unwrap();
        Owner {
            connector: "okta-connector".to_owned(),
            organizations: vec![(INTEGRATION.to_owned(), url.trim_end_matches(['"', '/']).to_owned())],
        }
    }

    /// A state with many grants, each other of which is over.
    async fn fill(&self, file: &Path) {
        let journal = SqliteJournal::open(file, &self.owner(), "test").unwrap();
        journal.open_entries().await.unwrap();
        let mut entries = Vec::new();
        let mut standings = Vec::new();
        for n in 0..MANY / 2 {
            // Subjects of which nothing else is known: nobody acts on them here.
            let id = GrantId::from(format!("grt_{n}\0").as_str());
            entries.extend([entry(0, accepted(&id)), entry(1, ended(&id))]);
            standings.push(standing(Subject::Grant(id), n % 2 == 0));
        }
        journal.append(entries, standings).await.unwrap();
        journal.close().await;
    }
}

fn texts(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

async fn number(admin: &Admin, sql: &str) -> i64 {
    // Before there are tables, there is nothing.
    admin.query_one(sql, &[]).await.map_or(0, |row| row.get(0))
}

async fn live(admin: &Admin) {
    let sql = "INSERT INTO apono_connector.daemons VALUES ('d-1', 'host-a', '1', now(), now(), now() + interval '1 h')";
    admin.execute(sql, &[]).await.unwrap();
}

#[tokio::test]
async fn a_live_grant_is_carried_over_and_ends_on_time() {
    let mut moving = Move::new().await;
    let user = moving.world.okta.add_user(simulator::okta::NewUser::active("ada@example.com", "A", "L"));
    let group = |name: &str| moving.world.okta.add_group(simulator::okta::NewGroup::named(name));
    let (short, long) = (group("short"), group("long"));
    let file = moving.file();
    let mut daemon = moving.world.start();
    daemon.admin().await;
    let granted = [
        moving.world.grant(&short, Duration::from_secs(20)),
        moving.world.grant(&long, Duration::from_secs(40)),
    ];
    for grant in &granted {
        assert_eq!(moving.world.result(&grant.task_id).await["status"], "Success");
    }
    moving.refused(&file, true, 75, &["is in use by another process", "AOC-0701"]).await;
    assert!(daemon.stop().await.success());
    let before = std::fs::read(&file).unwrap();
    let told = moving.migrated(&file, true).await;
    assert!(told.contains("2 grants are open") && told.contains(&moving.base.url), "{told}");
    assert!(told.contains("directory's store") && !told.contains("placeholder"), "{told}");
    assert_eq!(std::fs::read(&file).unwrap(), before, "the source is as it was");
    let admin = shared().admin(&moving.base.name).await;
    assert_eq!(number(&admin, "SELECT count(*) FROM apono_connector.duties WHERE due IS NOT NULL").await, 2);

    moving.world.write_configuration(&moving.shared_configuration());
    let mut daemon = moving.world.start();
    daemon.admin().await;
    assert!(moving.world.okta.is_member(&short, &user));
    moving.refused(&moving.world.path("back/state.db"), false, 75, &["AOC-0701"]).await;
    moving.world.until_member(&short, &user, false).await;
    assert!(moving.world.okta.is_member(&long, &user), "which has its time");
    assert!(daemon.stop().await.success());

    // And back, to another file: what was there is too old.
    moving.refused(&file, false, 2, &["holds a state of its own", "AOC-0717"]).await;
    let back = moving.world.path("back/state.db");
    assert!(moving.migrated(&back, false).await.contains("1 grants are open"));
    let text = moving.world.configuration("").replace("state/state.db", "back/state.db");
    moving.world.write_configuration(&text);
    let mut daemon = moving.world.start();
    daemon.admin().await;
    moving.world.until_member(&long, &user, false).await;
    assert!(daemon.stop().await.success());
    let removed: Vec<_> = moving.world.okta.membership_writes();
    let removed: Vec<_> =
        removed.iter().filter(|write| write.effect == simulator::okta::WriteEffect::Removed).collect();
    assert_eq!(removed.len(), 2, "{removed:?}");
    moving.world.check_contract();
}

#[tokio::test]
async fn whoever_was_killed_goes_on_where_that_was() {
    let moving = Move::new().await;
    let file = moving.file();
    moving.fill(&file).await;
    let admin = shared().admin(&moving.base.name).await;
    let count = "SELECT seq FROM apono_connector.head";
    let mut there = 0;
    for part in [1, 2] {
        moving.kill_when(&file, true, async || number(&admin, count).await > part * 40).await;
        // What was sent arrives.
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'apono-connector'";
        in_time("what was sent arrives", async { while number(&admin, waiting).await > 0 {} }).await;
        let now = number(&admin, count).await;
        assert!((there + 1..i64::try_from(MANY).unwrap()).contains(&now), "{there} {now}");
        there = now;
    }
    // No daemon begins with half of it, and it is not copied back.
    moving.world.write_configuration(&moving.shared_configuration());
    let output = moving.world.run(&["run"]).await;
    let told = format!("{}{}", texts(&output).0, texts(&output).1);
    assert_eq!(output.status.code(), Some(75), "{told}");
    assert!(told.contains("AOC-0716"), "{told}");
    // It left a row for a moment.
    admin.execute("DELETE FROM apono_connector.daemons", &[]).await.unwrap();
    let back = moving.world.path("back/state.db");
    moving.refused(&back, false, 75, &["AOC-0716"]).await;

    let told = moving.migrated(&file, true).await;
    assert!(told.contains(&format!("{MANY} entries are there, {there} of them from before")), "{told}");
    let told = moving.migrated(&file, true).await;
    assert!(told.contains(&format!("{MANY} entries are there, {MANY} of them from before")), "{told}");
    let open = i64::try_from(MANY / 4).unwrap();
    assert_eq!(number(&admin, "SELECT count(*) FROM apono_connector.duties").await, open);
    assert_eq!(number(&admin, "SELECT count(*) FROM apono_connector.subjects WHERE open").await, open);

    let wal = moving.world.path("back/state.db.copying-wal");
    for _ in 0..2 {
        let written = async || std::fs::metadata(&wal).is_ok_and(|wal| wal.len() > 60_000);
        moving.kill_when(&back, false, written).await;
        assert!(!back.exists(), "not before it is whole");
    }
    let told = moving.migrated(&back, false).await;
    assert!(told.contains("entries are there") && !told.contains(" 0 of them"), "{told}");
    assert!(moving.migrated(&back, false).await.contains(&format!("{MANY} of them from before")));
    // The same as where it all began.
    let journals = [&file, &back].map(|file| SqliteJournal::open(file, &moving.owner(), "test").unwrap());
    assert_eq!(journals[0].open_entries().await.unwrap(), journals[1].open_entries().await.unwrap());
    for suffix in ["", ".lock", ".mark", ".reserve", "-wal"] {
        let left = moving.world.path(&format!("back/state.db.copying{suffix}"));
        assert!(!left.exists(), "{}", left.display());
    }
}

#[tokio::test]
async fn what_is_in_use_or_anothers_is_left_as_it_is() {
    let moving = Move::new().await;
    let (file, admin) = (moving.file(), shared().admin(&moving.base.name).await);
    moving.refused(&file, true, 74, &["there is no state in", "AOC-0718"]).await;
    moving.refused(&file, false, 74, &["there is no state in", "AOC-0718"]).await;
    let both = moving.world.run(&["state", "migrate", "--from", "sqlite:/a", "--to", "sqlite:/b"]).await;
    assert_eq!(both.status.code(), Some(64), "{}", texts(&both).1);
    moving.fill(&file).await;

    // A daemon lives where it is to be copied to.
    apono_connector::database::Database::new(&moving.base.settings()).unwrap().migrate().await.unwrap();
    live(&admin).await;
    moving.refused(&file, true, 75, &["host-a (d-1)", "AOC-0701"]).await;
    let half = "SELECT count(*) FROM apono_connector.owner WHERE what = 'copying'";
    assert_eq!(number(&admin, half).await, 0, "which would keep that one from starting again");
    admin.execute("DELETE FROM apono_connector.daemons", &[]).await.unwrap();

    // The file or the database is another connector's.
    let text = moving.world.configuration("").replace("\"okta-connector\"", "\"another\"");
    moving.world.write_configuration(&text);
    moving.refused(&file, true, 77, &["connector okta-connector", "connector another", "AOC-0702"]).await;
    moving.world.write_configuration(&moving.world.configuration(""));
    admin
        .execute("UPDATE apono_connector.owner SET value = 'theirs' WHERE what = 'connector'", &[])
        .await
        .unwrap();
    moving.refused(&file, true, 77, &["connector theirs", "AOC-0702"]).await;
    admin.execute("DELETE FROM apono_connector.owner", &[]).await.unwrap();

    // There is another history.
    moving.migrated(&file, true).await;
    admin
        .execute("UPDATE apono_connector.entries SET at = '2026-01-01T00:00:09Z' WHERE seq = 7", &[])
        .await
        .unwrap();
    moving.refused(&file, true, 2, &["differs from entry 7 on", "AOC-0717"]).await;
    // A subject that is not open any more is no copy of one that is.
    let other = shared().new_database().await;
    let moving = Move { world: moving.world, base: other };
    moving.migrated(&file, true).await;
    let admin = shared().admin(&moving.base.name).await;
    admin
        .execute("UPDATE apono_connector.subjects SET open = NOT open WHERE subject LIKE 'grant:grt_1%'", &[])
        .await
        .unwrap();
    moving.refused(&file, true, 74, &["which subjects are open", "AOC-0704"]).await;
}

/// Commands on a host where no connector runs.
#[tokio::test]
async fn commands_look_into_the_database_and_join_nothing() {
    let mut moving = Move::new().await;
    moving.world.okta.add_user(simulator::okta::NewUser::active("ada@example.com", "A", "L"));
    let group = moving.world.okta.add_group(simulator::okta::NewGroup::named("oncall"));
    let admin = shared().admin(&moving.base.name).await;
    moving.world.write_configuration(&moving.shared_configuration());
    let before = moving.world.run(&["grants", "list"]).await;
    assert_eq!(before.status.code(), Some(74), "{}", texts(&before).1);
    let mut daemon = moving.world.start();
    daemon.admin().await;
    let granted = moving.world.grant(&group, Duration::from_hours(1));
    moving.world.result(&granted.task_id).await;
    let id = granted.grant_id.as_str();
    let list = ["grants", "list", "--json"];
    let (running, told) = texts(&moving.world.run(&list).await);
    assert!(running.contains(id) && told.is_empty(), "{running} {told}");
    assert!(moving.world.run(&["status"]).await.status.success());
    assert!(daemon.stop().await.success());

    let (stopped, told) = texts(&moving.world.run(&list).await);
    assert_eq!(stopped, running);
    assert!(told.contains("no connector runs on this host, nor on another one"), "{told}");
    assert!(told.contains(&format!("the database {}", moving.base.name)), "{told}");
    let (shown, told) = texts(&moving.world.run(&["grants", "show", id, "--json"]).await);
    assert!(shown.contains(id), "{told}");
    assert_eq!(moving.world.run(&["grants", "show", "grt_none"]).await.status.code(), Some(64));
    assert_eq!(number(&admin, "SELECT count(*) FROM apono_connector.daemons").await, 0);

    live(&admin).await;
    let revoke = ["grants", "revoke", id, "--reason", "x"];
    for command in [&["status"][..], &["log-level", "show"], &["sync", "--plan"], &revoke] {
        let output = moving.world.run(command).await;
        let (_, told) = texts(&output);
        assert_eq!(output.status.code(), Some(69), "{command:?}: {told}");
        assert!(told.contains("run on host-a (d-1): ask there") && told.contains("AOC-0901"), "{told}");
    }
    let salvage = moving.world.run(&["grants", "list", "--salvage"]).await;
    assert_eq!(salvage.status.code(), Some(64), "{}", texts(&salvage).1);
    let (parts, told) = texts(&moving.world.run(&["support-bundle", "--dry-run"]).await);
    assert!(parts.contains("grants.json") && parts.contains("run on host-a"), "{parts} {told}");
    assert_eq!(number(&admin, "SELECT count(*) FROM apono_connector.daemons").await, 1);
}
