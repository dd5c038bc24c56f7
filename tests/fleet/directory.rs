//! One organization's directory, run by one of several daemons, and what is carried on when that one is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use apono_connector::clock;
use apono_connector::database::Database;
use apono_connector::directory::mirror::{Mirror, Stand};
use apono_connector::directory::plan::Origin;
use apono_connector::directory::store::{Between, Store};
use apono_connector::domain::{IntegrationId, OktaUserId, ScimId, SessionId};
use apono_connector::http::transport::{self as http, HttpsTransport, Transport};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use simulator::clock::SimClock;
use simulator::net::{Server, serve};
use simulator::okta::{self, Limits, NewGroup, NewUser, OktaSimulator};

use super::postgres::{Admin, Base, shared};
use super::world::{CLIENT, Connector, INTEGRATION, World, key};

/// Nothing may take longer; generous, because CI machines are slow and this is not a measurement.
const LIMIT: Duration = Duration::from_mins(1);
/// Requests that a daemon has under way at the SCIM service; those that had left it when it was stopped arrive.
const UNDER_WAY: usize = 8;

const HOST0: &str = "apono-connector/0";
const HOST1: &str = "apono-connector/1";

/// Hosts whose requests Apono can tell apart by their `User-Agent`.
struct Hosts {
    world: World,
    admin: Admin,
    daemons: BTreeMap<usize, Connector>,
    /// Organizations beside the world's own, by their integration.
    others: Vec<(String, OktaSimulator)>,
    _servers: Vec<Server>,
}

impl Hosts {
    /// Nobody runs yet.
    async fn new(base: &Base, others: usize) -> Self {
        let world = World::new();
        world.okta.configure(|settings| settings.limits = Limits::unlimited());
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut servers = Vec::new();
        let mut organizations = String::new();
        let others: Vec<_> = (0..others)
            .map(|n| {
                let okta = OktaSimulator::new(okta::Settings::default(), SimClock::system());
                okta.configure(|settings| settings.limits = Limits::unlimited());
                let server = serve(okta.router(), any_port).unwrap();
                okta.set_origin(server.url());
                okta.register_client(CLIENT, key().1, &["okta.users.read", "okta.groups.manage"]);
                okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
                let integration = format!("integration-{n}");
                world.apono.add_integration(&integration);
                write!(
                    organizations,
                    "[[okta]]\nintegration_id = \"{integration}\"\norganization_url = \"{}\"\n\
                     credentials_file = \"{}\"\n[okta.directory]\ninterval = \"1s\"\n",
                    server.url(),
                    world.path("okta.json").display()
                )
                .unwrap();
                servers.push(server);
                (integration, okta)
            })
            .collect();
        let text = world.configuration("[okta.directory]\ninterval = \"1s\"\n");
        let (before, after) = text.split_once("[state]").unwrap();
        let after = after.split_once("[audit]").unwrap().1;
        for n in 0..3 {
            let tell = move |mut request: Request, next: Next| {
                let host = HeaderValue::from_str(&format!("apono-connector/{n}")).unwrap();
                request.headers_mut().insert(header::USER_AGENT, host);
                next.run(request)
            };
            let server = serve(world.apono.router().layer(from_fn(tell)), any_port).unwrap();
            let folder = world.path(&format!("host{n}"));
            fs::create_dir_all(&folder).unwrap();
            let text = format!(
                "{}{organizations}[state]\nurl = \"{}\"\npassword_file = \"{}\"\ndirectory = \"{}\"\n[audit]{}",
                before.replace(&world.apono_url(), &server.url()),
                base.url,
                base.password_file.display(),
                folder.display(),
                after.replacen("state/audit.jsonl", &format!("host{n}/audit.jsonl"), 1),
            );
            fs::write(world.path(&format!("host{n}.toml")), text).unwrap();
            servers.push(server);
        }
        let admin = shared().admin(&base.name).await;
        Self { world, admin, daemons: BTreeMap::new(), others, _servers: servers }
    }

    async fn start(&mut self, host: usize) {
        let mut command = World::bare_command(&["run"]);
        command.arg("--config").arg(self.world.path(&format!("host{host}.toml")));
        let mut daemon = self.world.start_command(command);
        daemon.admin().await;
        self.daemons.insert(host, daemon);
    }

    fn daemon(&mut self, host: usize) -> &mut Connector {
        self.daemons.get_mut(&host).unwrap()
    }

    fn people(&self, count: usize) -> Vec<String> {
        let user = |n| NewUser::active(&format!("user{n}@example.com"), "User", "Number");
        (0..count).map(|n| self.world.okta.add_user(user(n))).collect()
    }

    fn is_active(&self, okta: &str) -> Option<bool> {
        is_active(&self.world, okta)
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let reached = async {
            loop {
                let changed = self.world.apono.changed();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(LIMIT, reached).await.unwrap_or_else(|_| {
            let logs: Vec<_> =
                self.daemons.iter().map(|(host, daemon)| format!("{host}: {}", daemon.text())).collect();
            panic!("{what} does not come about\n{}", logs.join("\n"))
        });
    }

    /// Asks the database again and again.
    async fn until_rows(
        &self,
        what: &str,
        sql: &str,
        fits: impl Fn(&[Vec<String>]) -> bool,
    ) -> Vec<Vec<String>> {
        let reached = async {
            loop {
                let rows = self.rows(sql).await;
                if fits(&rows) {
                    return rows;
                }
                clock::sleep(Duration::from_millis(50)).await;
            }
        };
        if let Ok(rows) = tokio::time::timeout(LIMIT, reached).await {
            return rows;
        }
        panic!("{what} does not come about: {:?}", self.rows(sql).await)
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let rows = self.admin.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| (0..row.len()).map(|n| row.get(n)).collect()).collect()
    }

    async fn belongings(&self) -> Vec<Vec<String>> {
        self.rows("SELECT kind, id, part, value, origin FROM apono_connector.belongings WHERE kind <> 'mark' ORDER BY 1, 2, 3").await
    }

    async fn until_shipped(&self, users: usize) {
        let sql = "SELECT id FROM apono_connector.belongings WHERE kind = 'user'";
        self.until_rows("that what is ours is in the database", sql, |rows| rows.len() == users).await;
    }

    /// Which hosts have spoken SCIM, one after the other, and how often; `writes` alone or everything.
    fn turns(&self, since: Timestamp, writes: bool) -> Vec<(String, usize)> {
        let mut turns: Vec<(String, usize)> = Vec::new();
        let mut exchanges = self.world.apono.exchanges();
        exchanges.sort_by_key(|exchange| exchange.at);
        for exchange in exchanges {
            let is_scim = exchange.path.starts_with("/scim/") && (!writes || exchange.method != "GET");
            if !is_scim || exchange.at < since {
                continue;
            }
            let host = exchange.user_agent.unwrap_or_default();
            match turns.last_mut() {
                Some((last, count)) if *last == host => *count += 1,
                Some(_) | None => turns.push((host, 1)),
            }
        }
        turns
    }

    /// Asks a daemon for a plan at its socket.
    async fn plan(&self, host: usize) -> (u16, String) {
        let folder = fs::read_dir(self.world.path(&format!("host{host}"))).unwrap();
        let socket =
            folder.map(|entry| entry.unwrap().path()).find(|path| path.extension() == Some("sock".as_ref()));
        let transport = HttpsTransport::through(&socket.unwrap()).unwrap();
        let url = format!("http://localhost/directories/{INTEGRATION}/plan").parse().unwrap();
        let answer = transport.send(http::Request::new(Method::POST, url), LIMIT).await.unwrap();
        (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
    }

    async fn stop(mut self) {
        assert_eq!(self.world.apono.violations(), Vec::<String>::new());
        for (_, daemon) in std::mem::take(&mut self.daemons) {
            assert!(daemon.stop().await.success());
        }
    }
}

/// Whether the person at Apono is active who has Okta's id as externalId.
pub fn is_active(world: &World, okta: &str) -> Option<bool> {
    let users = world.apono.scim_users(INTEGRATION);
    users.into_iter().find(|user| user["externalId"] == okta)?["active"].as_bool()
}

fn run_ends(line: &Value) -> bool {
    line["event"] == "directory_run_ends" && line["outcome"] == "completed"
}

#[tokio::test]
async fn what_is_ours_stays_ours_when_the_owner_is_lost() {
    let base = shared().new_database().await;
    let mut hosts = Hosts::new(&base, 0).await;
    let people = hosts.people(6);
    let group = hosts.world.okta.add_group(NewGroup::named("team"));
    let stays = hosts.world.okta.add_group(NewGroup::named("stays"));
    hosts.world.okta.add_member(&stays, &people[5]);
    for user in &people {
        hosts.world.okta.add_member(&group, user);
    }
    let stranger = json!({ "userName": "stranger@example.com", "active": true });
    hosts.world.apono.add_scim_user(INTEGRATION, stranger);
    let strangers_group = hosts.world.apono.add_scim_group(INTEGRATION, json!({ "displayName": "theirs" }));
    hosts.start(0).await;
    hosts.start(1).await;
    hosts.daemon(0).until_logged("a run", run_ends).await;
    hosts.until_shipped(6).await;
    hosts
        .until_rows(
            "that members are in the database",
            "SELECT id FROM apono_connector.belongings WHERE kind = 'member'",
            |rows| rows.len() == 7,
        )
        .await;

    // With nobody there to see it, one is deactivated, and one is there no more.
    hosts.daemons.remove(&0).unwrap().kill().await;
    let (killed_at, writes) = (World::now(), hosts.world.apono.scim_writes());
    hosts.world.okta.set_status(&people[0], "SUSPENDED");
    hosts.world.okta.delete_user(&people[1]);
    hosts
        .until("that both are deactivated", |hosts| {
            hosts.is_active(&people[0]) == Some(false) && hosts.is_active(&people[1]) == Some(false)
        })
        .await;
    hosts.daemon(1).until_logged("a new store", |line| line["event"] == "directory_anew").await;
    hosts.daemon(1).until_logged("a run", run_ends).await;
    // Two deactivations, and who is gone is taken out of the group.
    assert_eq!(hosts.world.apono.scim_writes() - writes, 3, "nothing that was not needed");
    // Later too.
    hosts.world.okta.set_status(&people[2], "DEPROVISIONED");
    hosts.until("that a third is deactivated", |hosts| hosts.is_active(&people[2]) == Some(false)).await;
    hosts.world.okta.delete_group(&group);
    hosts
        .until("that a group which was created is deleted", |hosts| {
            hosts.world.apono.scim_groups(INTEGRATION).len() == 2
        })
        .await;
    let groups = hosts.world.apono.scim_groups(INTEGRATION);
    assert!(groups.iter().any(|group| group["id"] == strangers_group.as_str()));
    let users = hosts.world.apono.scim_users(INTEGRATION);
    let stranger = users.iter().find(|user| user["userName"] == "stranger@example.com").unwrap();
    assert_eq!((&stranger["active"], stranger.get("externalId")), (&json!(true), None));
    assert!(people[3..].iter().all(|user| hosts.is_active(user) == Some(true)));

    // The host comes back, and finds that another has run the directory since; then it is its turn again.
    hosts.start(0).await;
    let leaving = hosts.daemons.remove(&1).unwrap();
    assert!(leaving.stop().await.success());
    hosts.world.okta.set_status(&people[3], "DEPROVISIONED");
    hosts.until("that a fourth is deactivated", |hosts| hosts.is_active(&people[3]) == Some(false)).await;
    hosts.daemon(0).until_logged("a new store", |line| line["event"] == "directory_anew").await;
    let turns: Vec<_> = hosts.turns(killed_at, false).into_iter().map(|(host, _)| host).collect();
    assert_eq!(turns, [HOST1, HOST0], "one after the other");
    hosts.stop().await;
}

/// One daemon, started again: its store is the last that ran, and goes on.
#[tokio::test]
async fn a_daemon_that_is_started_again_goes_on_with_its_store() {
    let base = shared().new_database().await;
    let mut hosts = Hosts::new(&base, 0).await;
    let people = hosts.people(4);
    hosts.start(0).await;
    hosts.until_shipped(4).await;
    hosts.daemons.remove(&0).unwrap().kill().await;
    hosts.world.okta.set_status(&people[0], "DEPROVISIONED");
    let killed_at = World::now();
    hosts.start(0).await;
    hosts.until("that who left is deactivated", |hosts| hosts.is_active(&people[0]) == Some(false)).await;
    let anew = hosts.daemon(0).text().contains("directory_anew");
    assert!(!anew, "{}", hosts.daemon(0).text());
    let reads = hosts.world.apono.exchanges();
    let lists = |exchange: &&simulator::apono::Exchange| {
        exchange.at > killed_at && exchange.operation == "scim_list_users"
    };
    assert_eq!(reads.iter().filter(lists).count(), 0, "what it has read it knows");
    hosts.stop().await;
}

/// Created and not shipped, for the database does not take it: the next owner recognizes it by its externalId, and takes
/// it on.
#[tokio::test]
async fn what_was_not_shipped_is_taken_on_by_the_next_owner_and_deactivated_when_it_leaves() {
    let base = shared().new_database().await;
    let mut hosts = Hosts::new(&base, 0).await;
    hosts.start(0).await;
    hosts
        .until_rows("the store's row", "SELECT store FROM apono_connector.stores", |rows| rows.len() == 1)
        .await;
    let close = "
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'full'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON apono_connector.belongings EXECUTE FUNCTION public.refuse();";
    hosts.admin.batch_execute(close).await.unwrap();
    let people = hosts.people(3);
    hosts
        .until("that they are created", |hosts| people.iter().all(|user| hosts.is_active(user) == Some(true)))
        .await;
    hosts.daemons.remove(&0).unwrap().kill().await;
    hosts.admin.batch_execute("DROP TRIGGER refuse ON apono_connector.belongings").await.unwrap();
    assert_eq!(hosts.belongings().await, Vec::<Vec<String>>::new());
    hosts.start(1).await;
    hosts.until_shipped(3).await;
    assert!(hosts.belongings().await.iter().all(|row| row[4] == "adopted"));
    hosts.world.okta.set_status(&people[0], "DEPROVISIONED");
    hosts.until("that who left is deactivated", |hosts| hosts.is_active(&people[0]) == Some(false)).await;
    hosts.stop().await;
}

#[tokio::test]
async fn an_owner_that_sleeps_through_its_takeover_writes_nothing_more() {
    let base = shared().new_database().await;
    let mut hosts = Hosts::new(&base, 0).await;
    let people = hosts.people(400);
    hosts.start(0).await;
    hosts.start(1).await;
    // In the middle of its first run, with some of it not shipped.
    hosts.until("that some are created", |hosts| hosts.world.apono.scim_size(INTEGRATION).0 > 60).await;
    hosts.daemon(0).signal(Signal::SIGSTOP);
    assert!(hosts.world.apono.scim_size(INTEGRATION).0 < people.len(), "it was stopped in the middle");
    hosts.daemon(1).until_logged("a run", run_ends).await;
    hosts.until_shipped(people.len()).await;
    let before = hosts.belongings().await;
    let owner = "SELECT daemon, epoch::text FROM apono_connector.organizations";
    let (owners, stores) =
        (hosts.rows(owner).await, hosts.rows("SELECT store FROM apono_connector.stores").await);

    let woken_at = World::now();
    hosts.daemon(0).signal(Signal::SIGCONT);
    hosts.daemon(0).until_logged("that it is not its turn", |line| line["event"] == "directory_left").await;
    // A while in which the other runs on.
    hosts.world.okta.set_status(&people[0], "DEPROVISIONED");
    hosts.until("that who left is deactivated", |hosts| hosts.is_active(&people[0]) == Some(false)).await;
    let by_the_paused = |(host, count): &(String, usize)| if host == HOST0 { *count } else { 0 };
    let late: usize = hosts.turns(woken_at, true).iter().map(by_the_paused).sum();
    assert!(late <= UNDER_WAY, "{late} writes of one who has lost the organization");
    assert_eq!(hosts.belongings().await, before);
    assert_eq!(hosts.rows(owner).await, owners);
    assert_eq!(hosts.rows("SELECT store FROM apono_connector.stores").await, stores);
    assert_eq!(hosts.world.apono.scim_size(INTEGRATION).0, people.len());
    hosts.stop().await;
}

#[tokio::test]
async fn whoever_asks_another_is_told_which_one_it_is_and_apono_is_answered_all_the_same() {
    let base = shared().new_database().await;
    let mut hosts = Hosts::new(&base, 0).await;
    let people = hosts.people(2);
    hosts.start(0).await;
    hosts.start(1).await;
    hosts.daemon(0).until_logged("a run", run_ends).await;
    let owner = hosts.rows("SELECT daemon FROM apono_connector.organizations").await[0][0].clone();
    let (status, said) = hosts.plan(1).await;
    assert_eq!(status, 503, "{said}");
    assert!(said.contains("AOC-0808") && said.contains(&owner) && said.contains("on host "), "{said}");
    assert_eq!(hosts.plan(0).await.0, 200);
    // Where no daemon runs.
    let mut command = World::bare_command(&["sync", "--plan"]);
    command.arg("--config").arg(hosts.world.path("host2.toml"));
    let refused = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().await.unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(69) && said.contains(&owner), "{said}");

    let sessions = hosts.world.apono.sessions();
    let ids: Vec<&str> = sessions.iter().filter_map(|session| session["session_id"].as_str()).collect();
    let other = ids.iter().find(|id| **id != owner).unwrap_or_else(|| panic!("{sessions:?}"));
    let writes = hosts.turns(Timestamp::UNIX_EPOCH, true);
    let task = hosts.world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
    hosts.world.apono.deliver_to(&task, other);
    let result = hosts.world.result(&task).await;
    assert_eq!(result["code"], "ok", "{result}");
    assert_eq!(result["output"]["outcome"], "completed", "{result}");
    assert_eq!(hosts.turns(Timestamp::UNIX_EPOCH, true), writes, "the owner has run it");
    assert_eq!(hosts.world.apono.scim_size(INTEGRATION).0, people.len());
    let open = "SELECT n::text FROM apono_connector.asked_runs";
    hosts.until_rows("that nobody asks any more", open, <[_]>::is_empty).await;
    hosts.stop().await;
}

/// What falls to whom, as the daemons see it.
fn falls_to<'a>(daemons: &BTreeSet<&'a str>, integration: &str) -> &'a str {
    let weight = |daemon: &&&str| {
        let mut hash = Sha256::new();
        hash.update(daemon.as_bytes());
        hash.update([0]);
        hash.update(format!("organization:{integration}").as_bytes());
        hash.finalize()
    };
    daemons.iter().max_by_key(weight).unwrap()
}

#[tokio::test]
async fn organizations_spread_over_daemons_that_come_later() {
    let base = shared().new_database().await;
    let mut hosts = Hosts::new(&base, 5).await;
    hosts.people(1);
    hosts.start(0).await;
    let all = "SELECT integration, coalesce(daemon, '') FROM apono_connector.organizations ORDER BY 1";
    let first = hosts
        .until_rows("that the first owns all", all, |rows| rows.iter().all(|row| !row[1].is_empty()))
        .await;
    hosts
        .until("that all organizations are at Apono", |hosts| {
            hosts.others.iter().all(|(integration, _)| hosts.world.apono.scim_size(integration).0 == 1)
        })
        .await;
    hosts.start(1).await;
    hosts.start(2).await;
    let living = "SELECT id FROM apono_connector.daemons WHERE alive_until > clock_timestamp()";
    let living = hosts.until_rows("that three live", living, |rows| rows.len() == 3).await;
    let living: BTreeSet<&str> = living.iter().map(|row| row[0].as_str()).collect();
    let spread = |rows: &[Vec<String>]| {
        let of = |daemon: &str| -> Vec<&str> {
            rows.iter().filter(|row| row[1] == daemon).map(|row| row[0].as_str()).collect()
        };
        rows.iter().all(|row| !row[1].is_empty())
            && living.iter().all(|daemon| {
                let mine = of(daemon);
                let stay = mine.iter().filter(|integration| falls_to(&living, integration) == *daemon);
                mine.len() <= 2.max(stay.count())
            })
    };
    let last = hosts.until_rows("that organizations spread", all, spread).await;
    let moved: Vec<_> = first.iter().zip(&last).filter(|(a, b)| a != b).map(|(_, b)| b[0].clone()).collect();
    println!("{} of 6 moved", moved.len());
    for (integration, okta) in &hosts.others {
        let user = okta.add_user(NewUser::active("grace@example.com", "Grace", "Hopper"));
        hosts
            .until("that each goes on", |hosts| {
                let users = hosts.world.apono.scim_users(integration);
                users.iter().any(|one| one["externalId"] == user.as_str())
            })
            .await;
    }
    hosts.stop().await;
}

/// Under the eyes of the database alone: whatever the others believe, who has lost the organization writes nothing.
#[tokio::test]
async fn who_has_lost_the_organization_writes_nothing_whatever_it_believes() {
    let base = shared().new_database().await;
    let database = Database::new(&base.settings()).unwrap();
    database.migrate().await.unwrap();
    let admin = shared().admin(&base.name).await;
    let own = |daemon: &'static str, epoch: i64| {
        let sql =
            "INSERT INTO apono_connector.organizations (integration, daemon, epoch) VALUES ('i', $1, $2)
                   ON CONFLICT (integration) DO UPDATE SET daemon = $1, epoch = $2";
        let admin = &admin;
        async move { admin.execute(sql, &[&daemon, &epoch]).await.unwrap() }
    };
    let count = async || -> i64 {
        let sql = "SELECT count(*) FROM apono_connector.belongings";
        admin.query_one(sql, &[]).await.unwrap().get(0)
    };
    let folder = tempfile::tempdir().unwrap();
    let mirror = |me: &str| {
        let between = Between { organization: "o".to_owned(), provider: "p".to_owned() };
        let store = Store::open(&folder.path().join(me), &between).unwrap();
        store.share_at_start(me).unwrap();
        let (integration, me) = (IntegrationId::from("i"), SessionId::from(me));
        Mirror { database: database.clone(), store, integration, me }
    };
    let (first, second) = (mirror("a"), mirror("b"));
    let take = async |mirror: &Mirror, n: usize| {
        let (okta, scim) = (OktaUserId::from(format!("00u{n}")), ScimId::from(format!("s{n}")));
        mirror.store.own_user(okta, scim, Origin::Created).await.unwrap();
    };

    own("a", 1).await;
    assert_eq!(first.take_over(1).await.unwrap(), Stand::Stands);
    // More than one batch.
    for n in 0..2500 {
        take(&first, n).await;
    }
    assert_eq!(first.ship(1).await.unwrap(), Stand::Stands);
    assert_eq!(count().await, 2500);
    own("b", 2).await;
    take(&first, 2500).await;
    assert_eq!(first.ship(1).await.unwrap(), Stand::Lost);
    assert_eq!(first.take_over(1).await.unwrap(), Stand::Lost);
    assert_eq!(count().await, 2500);
    assert_eq!(second.take_over(2).await.unwrap(), Stand::Stands);
    let all = (0..2500).map(|n| OktaUserId::from(format!("00u{n}"))).collect();
    assert_eq!(second.store.scim_users(all).await.unwrap().len(), 2500);
    assert_eq!(second.store.changes(10).await.unwrap(), []);
    // The same daemon, under a later epoch: what it knew under the former does not count.
    own("a", 3).await;
    assert_eq!(first.ship(1).await.unwrap(), Stand::Lost);
    assert_eq!(count().await, 2500);
    assert_eq!(first.take_over(3).await.unwrap(), Stand::Stands);
    assert_eq!(first.ship(3).await.unwrap(), Stand::Stands);
    assert_eq!(count().await, 2501, "what it had not shipped is still its own");
}
