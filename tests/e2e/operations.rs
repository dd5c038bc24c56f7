//! docs/operations.md, followed to the letter: copies and what they give back, and states of other versions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use rusqlite::Connection;
use serde_json::{Value, json};
use simulator::okta::{NewGroup, NewUser};
use tokio::process::Command;

use crate::fresh::{err, out};
use crate::world::{Connector, INTEGRATION, LIMIT, World, in_time, read};

/// What is said about copying and about restoring, each known by a part of its commands.
const COPY: &str = "-czf ";
const RESTORE: &str = "-xzf ";
const STOP: &str = "systemctl stop apono-connector\n";
const START: &str = "systemctl start apono-connector\n";
/// As `grants list` says it.
const STANDING: &str = "standing before the grant";
/// How long the grants last that are to end here: they live while a copy is made.
const LASTS: Duration = Duration::from_secs(20);
/// They do not end here.
const LASTS_LONG: Duration = Duration::from_mins(5);

/// A world with people and groups that are pushed, and Ada in a group for good.
struct Place {
    world: World,
    ada: String,
    group: String,
    standing: String,
    leaver: String,
}

impl Place {
    fn new() -> Self {
        let (world, ada, group) = World::with_ada();
        let standing = world.okta.add_group(NewGroup::named("standing"));
        let leaver = world.okta.add_user(NewUser::active("bob@example.com", "Bob", "Leaver"));
        world.okta.add_member(&standing, &ada);
        Self { world, ada, group, standing, leaver }
    }

    fn state(&self, name: &str) -> PathBuf {
        self.world.path("state").join(name)
    }

    /// The one file of what is ours at the SCIM service.
    fn directory(&self) -> PathBuf {
        self.state(&format!("directory-{INTEGRATION}.db"))
    }

    /// Does what the text says, with this world's folder in the place of the host's; the connector is stopped and started
    /// where it says so.
    async fn follow(&mut self, known_by: &str, connector: Option<Connector>) -> Connector {
        let text = commands(known_by);
        let (before, rest) = text.split_once(STOP).unwrap();
        let stopped = rest.strip_suffix(START).expect("it is started at the end");
        self.shell(before).await;
        if let Some(connector) = connector {
            assert!(connector.stop().await.success());
        }
        self.shell(stopped).await;
        self.start().await
    }

    /// A connector that can be asked, and stopped.
    async fn start(&mut self) -> Connector {
        let mut connector = self.world.start();
        connector.admin().await;
        connector
    }

    async fn shell(&self, script: &str) {
        let at = |name: &str| self.world.path(name).display().to_string();
        let script = script
            .replace("/var/lib/apono-connector", &at("state"))
            .replace("/var/backups/apono-connector", &at("backups"));
        let mut command = Command::new("bash");
        command.args(["-euxc", &script]).current_dir(self.world.folder.path()).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{}", err(&output));
    }

    /// A grant of Ada's that is given; returns its id.
    async fn give(&self, group: &str, lasts: Duration) -> String {
        let granted = self.world.grant(group, lasts);
        let result = self.world.result(&granted.task_id).await;
        assert_eq!(result["status"], "Success", "{result}");
        granted.grant_id
    }

    /// A directory run; returns how much was written to the SCIM service since `before`.
    async fn synced(&self, before: u64) -> u64 {
        let task = self.world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
        assert_eq!(self.world.result(&task).await["code"], "ok");
        self.world.apono.scim_writes() - before
    }

    fn leaver_is_inactive(&self) -> bool {
        let users = self.world.apono.scim_users(INTEGRATION);
        let leaver = users.iter().find(|user| user["userName"] == "bob@example.com").unwrap();
        leaver["active"] == json!(false)
    }

    /// Waits until nothing of the grant is left, which must not be too early.
    async fn ends(&self, grant: &str) {
        self.world.until_member(&self.group, &self.ada, false).await;
        self.until_listed(grant, None).await;
        let expiry = self.world.apono.grant_params(grant).unwrap()["expires_at"].as_str().unwrap().to_owned();
        let ended = self.world.okta.membership_writes().last().unwrap().at;
        assert!(ended >= expiry.parse().unwrap(), "ended at {ended}, before {expiry}");
        assert!(self.world.okta.is_member(&self.standing, &self.ada), "what was there before stays");
    }

    /// Waits until `grants list` says this of the grant, or does not know it.
    async fn until_listed(&self, grant: &str, state: Option<&str>) {
        let look = async { while self.listed(grant).await.as_deref() != state {} };
        tokio::time::timeout(LIMIT, look).await.unwrap_or_else(|_| panic!("{grant} never became {state:?}"));
    }

    async fn listed(&self, grant: &str) -> Option<String> {
        let output = self.world.run(&["grants", "list", "--json"]).await;
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        let grants = out(&output);
        let mut grants = grants.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let found = grants.find(|one| one["grant_id"] == grant)?;
        Some(found["groups"][0]["state"].as_str().unwrap().to_owned())
    }

    /// Grants of which the audit trail tells `added` and not `removed`.
    fn added_and_not_removed(&self) -> BTreeSet<String> {
        let trail = read(&self.state("audit.jsonl"));
        let mut grants = BTreeSet::new();
        for line in trail.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let of = || line["unmapped"]["grant"]["id"].as_str().unwrap().to_owned();
            match line["unmapped"]["kind"].as_str().unwrap() {
                "added" => grants.insert(of()),
                "removed" => grants.remove(&of()),
                _ => continue,
            };
        }
        grants
    }

    /// What the files of the state hold, but for the lock, into which every process writes its name.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs::read_dir(self.world.path("state")).unwrap().map(|file| file.unwrap().path());
        let files = files.filter(|file| file.is_file() && !file.ends_with("state.db.lock"));
        let files = files.map(|file| (file.clone(), fs::read(file).unwrap()));
        files.filter(|(_, bytes)| !bytes.is_empty()).collect()
    }

    async fn trail_is_whole(&self) {
        let verified = self.world.run(&["audit", "verify"]).await;
        assert_eq!(verified.status.code(), Some(0), "{}{}", out(&verified), err(&verified));
    }

    /// A start that is refused with this exit code and these words.
    async fn refused(&mut self, exit: i32, words: &[&str]) {
        let (status, log) = self.world.start().wait().await;
        assert_eq!(status.code(), Some(exit), "{log}");
        for said in words {
            assert!(log.contains(said), "{said} is not in\n{log}");
        }
    }
}

/// The commands of docs/operations.md with `known_by` in them.
fn commands(known_by: &str) -> String {
    let text = read(&PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")));
    let mut blocks = text.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    blocks.find(|block| block.contains(known_by)).expect("docs/operations.md says how").to_owned()
}

#[tokio::test]
async fn a_copy_gives_back_a_lost_disk_and_its_grant_ends_on_time() {
    let mut place = Place::new();
    let connector = place.start().await;
    let grant = place.give(&place.group, LASTS).await;
    place.synced(0).await;
    let connector = place.follow(COPY, Some(connector)).await;
    assert!(place.world.okta.is_member(&place.group, &place.ada), "the grant lives on");
    connector.kill().await;
    fs::remove_dir_all(place.world.path("state")).unwrap();
    // Who leaves now can be told only by who knows that they were ours.
    place.world.okta.delete_user(&place.leaver);

    let before = place.world.apono.scim_writes();
    let connector = place.follow(RESTORE, None).await;
    assert_eq!(place.synced(before).await, 1, "one has left, and nothing else is new");
    assert!(place.leaver_is_inactive());
    place.ends(&grant).await;
    assert_eq!(place.world.okta.call_count("remove_member"), 1);
    assert!(connector.stop().await.success());
    assert_eq!(place.added_and_not_removed(), BTreeSet::new());
    place.trail_is_whole().await;
    place.world.check_contract();
}

#[tokio::test]
async fn a_copy_in_the_place_of_a_damaged_state_leaves_to_a_person_what_came_after_it() {
    let mut place = Place::new();
    let over = place.world.okta.add_group(NewGroup::named("over"));
    let connector = place.start().await;
    let known = place.give(&place.group, LASTS).await;
    let ended = place.give(&over, LASTS).await;
    place.synced(0).await;
    let connector = place.follow(COPY, Some(connector)).await;
    // The service has this group from then on, and the copy does not know it.
    let later = place.world.okta.add_group(NewGroup::named("later"));
    place.synced(0).await;
    let unknown = place.give(&later, LASTS_LONG).await;
    let revoked = place.world.apono.revoke(&ended);
    place.world.result(&revoked).await;
    place.world.okta.add_member(&over, &place.ada);
    assert!(connector.stop().await.success());

    // What is older than what was confirmed is not believed, and neither is what is damaged.
    let copied = place.world.path("backups").join("alone");
    fs::create_dir(&copied).unwrap();
    place.shell(&format!("tar -C {} -xzf /var/backups/apono-connector/state.tar.gz", copied.display())).await;
    fs::copy(copied.join("state.db"), place.state("state.db")).unwrap();
    place.refused(74, &["AOC-0704", "older"]).await;
    fs::write(place.state("state.db"), vec![b'x'; 4096]).unwrap();
    place.refused(74, &["AOC-0704", "put all of these back from a backup"]).await;

    let before = place.world.apono.scim_writes();
    let connector = place.follow(RESTORE, None).await;
    // It cannot be told from a membership of Okta's own, and is pushed as one.
    assert_eq!(place.synced(before).await, 1, "the membership that nobody knows, and nothing else");
    place.ends(&known).await;
    // What had ended is ended once more, although somebody has made it a membership for good.
    place.until_listed(&ended, None).await;
    assert!(!place.world.okta.is_member(&over, &place.ada));
    // What Apono lists is taken on again, and looks as if it had been there before.
    place.until_listed(&unknown, Some(STANDING)).await;
    // The trail was not restored: it is the newer one, and knows.
    assert_eq!(place.added_and_not_removed(), BTreeSet::from([unknown.clone()]));
    let revoked = place.world.apono.revoke(&unknown);
    place.world.result(&revoked).await;
    assert!(place.world.okta.is_member(&later, &place.ada), "this is for a person to take away");
    assert!(connector.stop().await.success());
    place.trail_is_whole().await;
}

#[tokio::test]
async fn a_snapshot_of_a_running_connector_is_a_copy() {
    let mut place = Place::new();
    let connector = place.start().await;
    let grant = place.give(&place.group, LASTS).await;
    place.synced(0).await;
    // What a snapshot does to a process, a stop of all its threads does: nothing is written meanwhile.
    connector.signal(Signal::SIGSTOP);
    until_stopped(&connector).await;
    place.shell("cp -a /var/lib/apono-connector snapshot-of-the-volume").await;
    connector.signal(Signal::SIGCONT);
    connector.kill().await;
    let state = place.world.path("state");
    fs::remove_dir_all(&state).unwrap();
    fs::rename(place.world.path("snapshot-of-the-volume"), state).unwrap();

    let before = place.world.apono.scim_writes();
    let connector = place.start().await;
    assert_eq!(place.synced(before).await, 0);
    place.ends(&grant).await;
    assert!(connector.stop().await.success());
    assert_eq!(place.added_and_not_removed(), BTreeSet::new());
    place.trail_is_whole().await;
}

/// Waits until no thread of it runs.
async fn until_stopped(connector: &Connector) {
    let is_stopped = |thread: &PathBuf| {
        let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    };
    let threads = PathBuf::from(format!("/proc/{}/task", connector.pid()));
    let stopped = async {
        while !fs::read_dir(&threads).unwrap().all(|thread| is_stopped(&thread.unwrap().path())) {
            tokio::task::yield_now().await;
        }
    };
    in_time("it stands still", stopped).await;
}

#[tokio::test]
async fn without_a_copy_what_apono_lists_is_taken_on_and_the_trail_says_what_to_take_out_by_hand() {
    let mut place = Place::new();
    let connector = place.start().await;
    let grant = place.give(&place.group, LASTS_LONG).await;
    let kept = place.give(&place.standing, LASTS_LONG).await;
    place.synced(0).await;
    assert!(connector.stop().await.success());
    fs::write(place.state("state.db"), vec![b'x'; 4096]).unwrap();
    place.refused(74, &["AOC-0704", "grants list --salvage"]).await;
    let moved = commands(RESTORE);
    let (_, moved) = moved.split_once(STOP).unwrap();
    let (moved, _) = moved.split_once("tar ").unwrap();
    place.shell(moved).await;
    let left = fs::read_dir(place.world.path("state")).unwrap().map(|file| file.unwrap().file_name());
    assert!(left.into_iter().all(|name| name.to_str().unwrap().starts_with("audit.jsonl")));

    let connector = place.start().await;
    for known in [&grant, &kept] {
        place.until_listed(known, Some(STANDING)).await;
    }
    let added = place.added_and_not_removed();
    assert_eq!(added, BTreeSet::from([grant.clone()]), "and not the one that was there before");
    for known in [&grant, &kept] {
        let revoked = place.world.apono.revoke(known);
        place.world.result(&revoked).await;
    }
    assert!(place.world.okta.is_member(&place.group, &place.ada), "this is for a person to take away");
    assert!(place.world.okta.is_member(&place.standing, &place.ada));
    assert_eq!(place.world.okta.call_count("remove_member"), 0);
    assert!(connector.stop().await.success());
    place.trail_is_whole().await;
}

/// What a newer version would have written, as far as an older one looks.
fn written_by_a_newer(file: &Path) {
    let database = Connection::open(file).unwrap();
    let known: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    database.pragma_update(None, "user_version", known + 1).unwrap();
}

#[tokio::test]
async fn a_state_of_a_newer_version_is_refused_and_left_as_it_is_and_the_copy_from_before_goes_on() {
    let mut place = Place::new();
    let connector = place.start().await;
    let grant = place.give(&place.group, LASTS).await;
    place.synced(0).await;
    let connector = place.follow(COPY, Some(connector)).await;
    assert!(connector.stop().await.success());

    for file in [place.state("state.db"), place.directory()] {
        let former = fs::read(&file).unwrap();
        written_by_a_newer(&file);
        let before = place.files();
        place.refused(74, &["AOC-0703", "version of the connector"]).await;
        let after = place.files();
        let touched: Vec<_> = after.keys().filter(|file| after.get(*file) != before.get(*file)).collect();
        assert!(touched.is_empty() && after.len() == before.len(), "{touched:?}");
        fs::write(&file, former).unwrap();
    }
    assert!(place.world.okta.is_member(&place.group, &place.ada), "nothing was done about it");

    let before = place.world.apono.scim_writes();
    let connector = place.follow(RESTORE, None).await;
    assert_eq!(place.synced(before).await, 0);
    place.ends(&grant).await;
    assert!(connector.stop().await.success());
    place.trail_is_whole().await;
}

#[tokio::test]
async fn a_newer_version_carries_the_state_of_an_older_one_over_and_its_grants_go_on() {
    let mut place = Place::new();
    let connector = place.start().await;
    let grant = place.give(&place.group, LASTS).await;
    place.synced(0).await;
    assert!(connector.stop().await.success());
    // As the version before left it.
    let database = Connection::open(place.directory()).unwrap();
    let newer = "SELECT 'DROP ' || type || ' ' || name || ';' FROM sqlite_schema WHERE type = 'trigger'
                 OR name IN ('unsettled_users', 'unsettled_groups', 'group_sizes', 'leavers')
                 ORDER BY type DESC";
    let mut statement = database.prepare(newer).unwrap();
    let drops = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let drops: String = drops.map(Result::unwrap).collect();
    drop(statement);
    database.execute_batch(&drops).unwrap();
    database.pragma_update(None, "user_version", 2).unwrap();
    drop(database);

    // Who leaves now can be told only by who knows that they were ours.
    place.world.okta.delete_user(&place.leaver);
    let before = place.world.apono.scim_writes();
    let connector = place.start().await;
    assert_eq!(place.synced(before).await, 1, "one has left, and nothing else is new");
    assert!(place.leaver_is_inactive());
    place.ends(&grant).await;
    assert!(connector.stop().await.success());
    let database = Connection::open(place.directory()).unwrap();
    let format: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert!(format > 2, "{format}");
}
