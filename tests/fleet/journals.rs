//! The journal that several daemons share: what every journal does, and what two daemons on one database count on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apono_connector::access::fleet::{Fleet, Key};
use apono_connector::access::journal::{
    Entry, Journal, JournalError, Owner, PostgresJournal, Record, SharedOpenError, Subject,
};
use apono_connector::access::machine::{Event, Step};
use apono_connector::clock::Clock;
use apono_connector::database::Database;
use apono_connector::domain::{GrantId, IntegrationId, OktaGroupId, SessionId};
use apono_connector::fleet::{Itself, Members};
use apono_connector::telemetry::chain;
use futures_util::FutureExt;
use futures_util::future::join_all;
use jiff::Timestamp;

use super::contract::{self, accepted, ended, entry, standing};
use super::postgres::{Admin, Base, shared};
use super::world::in_time;

/// A monotonic clock that a test sets forward.
#[derive(Debug, Default)]
pub struct HandClock(Mutex<Duration>);

impl HandClock {
    pub fn forward(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

/// A daemon's part in it.
struct Daemon {
    clock: Arc<HandClock>,
    members: Arc<Members>,
    journal: Arc<PostgresJournal>,
    fleet: Arc<dyn Fleet>,
}

fn owner() -> Owner {
    Owner {
        connector: "okta-connector".to_owned(),
        organizations: vec![("int".to_owned(), "https://example.okta.com".to_owned())],
    }
}

async fn try_open(base: &Base, id: &str, owner: &Owner) -> Result<Daemon, SharedOpenError> {
    let database = Database::new(&base.settings()).unwrap();
    let itself = Itself {
        id: SessionId::from(id),
        host: "host".to_owned(),
        version: "1".to_owned(),
        started_at: Timestamp::UNIX_EPOCH,
    };
    let clock = Arc::new(HandClock::default());
    let organizations = vec![IntegrationId::from("int")];
    let members =
        Arc::new(Members::new(database.clone(), itself, organizations, Arc::clone(&clock) as Arc<dyn Clock>));
    let journal = Arc::new(
        PostgresJournal::open(database, owner, Arc::clone(&members), tempfile::tempfile().unwrap()).await?,
    );
    let fleet = journal.fleet();
    Ok(Daemon { clock, members, journal, fleet })
}

/// A daemon that knows all that was written.
async fn open(base: &Base, id: &str) -> Daemon {
    let daemon = try_open(base, id, &owner()).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
    daemon.journal.open_entries().await.unwrap();
    daemon
}

fn grant(id: &str) -> Subject {
    Subject::Grant(GrantId::from(id))
}

fn group() -> OktaGroupId {
    OktaGroupId::from("00g1")
}

fn key(id: &str) -> Key {
    (GrantId::from(id), group())
}

/// What a daemon that acts on the grant records.
fn revoking(id: &str) -> Entry {
    entry(7, Record::Grant { id: GrantId::from(id), event: Event::RevokeIntended { group: group() } })
}

impl Daemon {
    /// The beginning of a grant.
    async fn accept(&self, second: i64, id: &str) -> Result<(), JournalError> {
        let entries = vec![entry(second, accepted(&GrantId::from(id)))];
        self.journal.append(entries, vec![standing(grant(id), true)]).await
    }

    async fn news(&self, known: &[&str]) -> Vec<Entry> {
        let known: BTreeSet<_> = known.iter().map(|id| grant(id)).collect();
        let found = self.journal.news(&|subject: &Subject| known.contains(subject)).await.unwrap();
        self.journal.go_on_from(found.last);
        found.entries
    }

    async fn may(&self, id: &str, step: Step) -> Result<(), JournalError> {
        self.fleet.may_act(&key(id), step).await
    }
}

/// As if the daemon had been silent for longer than it counts as living.
async fn silence(admin: &Admin, id: &str) {
    let past =
        "UPDATE apono_connector.daemons SET alive_until = clock_timestamp() - interval '1 s' WHERE id = $1";
    assert_eq!(admin.execute(past, &[&id]).await.unwrap(), 1);
}

async fn numbers(admin: &Admin) -> Vec<i64> {
    let rows = admin.query("SELECT seq FROM apono_connector.entries ORDER BY seq", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn keeps_the_contract() {
    let base = Arc::new(shared().new_database().await);
    contract::check(&|| {
        let base = Arc::clone(&base);
        async move { Arc::clone(&open(&base, "a").await.journal) as Arc<dyn Journal> }.boxed()
    })
    .await;
}

#[tokio::test]
async fn what_others_write_is_told_once_and_in_order() {
    let base = shared().new_database().await;
    let (a, b) = (open(&base, "a").await, open(&base, "b").await);
    assert!(b.news(&[]).await.is_empty());
    for (second, id) in [(0, "g1"), (1, "g2")] {
        a.accept(second, id).await.unwrap();
    }
    let (first, second) = (GrantId::from("g1"), GrantId::from("g2"));
    let begun = [entry(0, accepted(&first)), entry(1, accepted(&second))];
    assert_eq!(b.news(&[]).await, begun);
    assert!(b.news(&["g1", "g2"]).await.is_empty(), "it was told");
    assert!(a.news(&["g1", "g2"]).await.is_empty(), "what one wrote itself is no news");

    let closed = vec![standing(grant("g1"), false)];
    a.journal.append(vec![entry(2, ended(&first)), entry(3, ended(&second))], closed).await.unwrap();
    assert_eq!(
        b.news(&["g2"]).await,
        [entry(0, accepted(&first)), entry(2, ended(&first)), entry(3, ended(&second))],
        "what is new of what is known, and the whole of what is not"
    );
    assert!(b.news(&["g2"]).await.is_empty());

    // What is not known is told up to what else was told, and no further.
    a.accept(4, "g3").await.unwrap();
    b.news(&["g3"]).await;
    b.accept(5, "g4").await.unwrap();
    assert_eq!(a.news(&[]).await, [entry(5, accepted(&GrantId::from("g4")))]);
}

#[tokio::test]
async fn who_does_not_know_all_writes_nothing() {
    let base = shared().new_database().await;
    let (a, b) = (open(&base, "a").await, open(&base, "b").await);
    a.accept(0, "g1").await.unwrap();
    for _ in 0..2 {
        let behind = b.accept(1, "g2").await;
        assert!(matches!(behind, Err(JournalError::Behind)), "{behind:?}");
    }
    let admin = shared().admin(&base.name).await;
    assert_eq!(numbers(&admin).await, [1]);
    for (table, rows) in [("subjects", 1), ("duties", 1)] {
        let count = format!("SELECT count(*) FROM apono_connector.{table}");
        assert_eq!(admin.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), rows, "{table}");
    }
    assert!(b.journal.history(&grant("g1")).await.unwrap().is_empty(), "what is news is no history yet");
    assert_eq!(b.news(&[]).await.len(), 1);
    b.accept(1, "g2").await.unwrap();
    assert_eq!(b.journal.history(&grant("g1")).await.unwrap().len(), 1);
    assert_eq!(a.journal.open_entries().await.unwrap().len(), 2);
    a.accept(2, "g3").await.unwrap();
    assert_eq!(numbers(&admin).await, [1, 2, 3]);
}

#[tokio::test]
async fn writers_at_once_leave_no_gap_and_lose_nothing() {
    const EACH: usize = 100;
    let base = shared().new_database().await;
    let mut daemons = Vec::new();
    for n in 0..4 {
        daemons.push(open(&base, &format!("daemon{n}")).await);
    }
    let write = async |n: usize, daemon: &Daemon| {
        let mut told = 0;
        for m in 0..EACH {
            let id = format!("g{n}-{m}");
            loop {
                match daemon.accept(0, &id).await {
                    Ok(()) => break,
                    Err(JournalError::Behind) => told += daemon.news(&[]).await.len(),
                    Err(error) => panic!("{}", chain(&error)),
                }
            }
        }
        // Until all have written.
        while told < 3 * EACH {
            told += daemon.news(&[]).await.len();
        }
        told
    };
    let all = join_all(daemons.iter().enumerate().map(|(n, daemon)| write(n, daemon)));
    let told = in_time("all have written", all).await;
    assert_eq!(told, [3 * EACH; 4], "each was told what the others wrote, once");
    let admin = shared().admin(&base.name).await;
    let expected: Vec<i64> = (1..).take(4 * EACH).collect();
    assert_eq!(numbers(&admin).await, expected);
    let open = daemons[0].journal.open_entries().await.unwrap();
    let subjects: BTreeSet<_> = open.iter().map(|entry| entry.record.subject()).collect();
    assert_eq!((open.len(), subjects.len()), (4 * EACH, 4 * EACH));
}

#[tokio::test]
async fn a_step_is_one_daemons_at_a_time() {
    let base = shared().new_database().await;
    let admin = shared().admin(&base.name).await;
    let (a, b) = (open(&base, "a").await, open(&base, "b").await);
    a.accept(0, "g1").await.unwrap();
    let key = key("g1");
    let (one, other) = tokio::join!(a.fleet.claim(&key), b.fleet.claim(&key));
    let (holder, loser) = match (one.unwrap(), other.unwrap()) {
        (true, false) => (&a, &b),
        (false, true) => (&b, &a),
        both => panic!("{both:?}"),
    };
    assert!(!loser.fleet.claim(&key).await.unwrap());
    holder.fleet.give_back(&key).await;
    assert!(loser.fleet.claim(&key).await.unwrap(), "what was given back is free");
    assert!(loser.fleet.claim(&key).await.unwrap(), "one's own is had again");
    assert!(!holder.fleet.claim(&key).await.unwrap());
    silence(&admin, loser.members.itself().id.as_str()).await;
    assert!(holder.fleet.claim(&key).await.unwrap(), "what the dead had is free");
    loser.fleet.give_back(&key).await;
    loser.members.beat().await.unwrap();
    assert!(!loser.fleet.claim(&key).await.unwrap(), "what was taken over is not given back");

    // Who leaves in order leaves everything at once.
    holder.members.leave().await;
    assert!(loser.fleet.claim(&key).await.unwrap());

    // A duty whose row was lost is claimed at the second try; what is over is not.
    loser.fleet.give_back(&key).await;
    admin.execute("DELETE FROM apono_connector.duties", &[]).await.unwrap();
    assert!(!loser.fleet.claim(&key).await.unwrap() && loser.fleet.claim(&key).await.unwrap());
    loser.journal.open_entries().await.unwrap();
    let over = vec![standing(grant("g1"), false)];
    loser.journal.append(vec![entry(1, ended(&key.0))], over).await.unwrap();
    for _ in 0..2 {
        assert!(!loser.fleet.claim(&key).await.unwrap());
    }
}

#[tokio::test]
async fn nothing_is_written_under_a_claim_that_was_taken_over() {
    let base = shared().new_database().await;
    let admin = shared().admin(&base.name).await;
    let (a, b) = (open(&base, "a").await, open(&base, "b").await);
    for id in ["g1", "g2"] {
        a.accept(0, id).await.unwrap();
    }
    assert!(a.fleet.claim(&key("g1")).await.unwrap());
    silence(&admin, "a").await;
    assert!(b.fleet.claim(&key("g1")).await.unwrap());
    for _ in 0..2 {
        let refused =
            a.journal.append(vec![entry(3, accepted(&GrantId::from("g3"))), revoking("g1")], vec![]);
        let refused = refused.await;
        assert!(matches!(refused, Err(JournalError::TakenOver)), "{refused:?}");
    }
    assert_eq!(numbers(&admin).await, [1, 2]);
    assert!(matches!(a.may("g1", Step::Remove).await, Err(JournalError::TakenOver)));
    // What is seen of it, and what is about others, may be written; and what came into force without the database.
    a.journal.append(vec![entry(4, ended(&GrantId::from("g1"))), revoking("g2")], vec![]).await.unwrap();
    a.journal.append_late(vec![revoking("g1")], vec![]).await.unwrap();
    assert_eq!(numbers(&admin).await, [1, 2, 3, 4, 5]);
    let behind = b.journal.append(vec![revoking("g1")], vec![]).await;
    assert!(
        matches!(behind, Err(JournalError::Behind)),
        "the claim stands, and others have written: {behind:?}"
    );
    b.news(&["g1", "g2"]).await;
    b.journal.append(vec![revoking("g1")], vec![]).await.unwrap();
}

/// It wakes up, says that it lives before it does anything else, and has lost its claim all the same.
#[tokio::test]
async fn a_daemon_that_was_taken_for_gone_asks_before_it_acts() {
    let base = shared().new_database().await;
    let admin = shared().admin(&base.name).await;
    let (a, b) = (open(&base, "a").await, open(&base, "b").await);
    for id in ["g1", "g2", "g3"] {
        a.accept(0, id).await.unwrap();
        assert!(a.fleet.claim(&key(id)).await.unwrap());
        a.may(id, Step::Grant).await.unwrap();
    }
    a.clock.forward(Duration::from_secs(10));
    silence(&admin, "a").await;
    assert!(b.fleet.claim(&key("g1")).await.unwrap());
    assert!(matches!(a.may("g1", Step::Remove).await, Err(JournalError::TakenOver)));
    assert!(b.fleet.claim(&key("g2")).await.unwrap());
    a.members.beat().await.unwrap();
    for step in [Step::Grant, Step::Remove, Step::Release] {
        assert!(matches!(a.may("g2", step).await, Err(JournalError::TakenOver)), "{step:?}");
    }
    a.may("g3", Step::Remove).await.unwrap();
    a.may("g3", Step::Grant).await.unwrap();
    // Nobody could take it from then on.
    admin.execute("UPDATE apono_connector.duties SET epoch = epoch + 100", &[]).await.unwrap();
    a.may("g3", Step::Grant).await.unwrap();
    a.clock.forward(Duration::from_secs(10));
    assert!(matches!(a.may("g3", Step::Grant).await, Err(JournalError::TakenOver)));
    assert!(a.may("never claimed", Step::Grant).await.is_err());
    a.may("never claimed", Step::Remove).await.unwrap();
}

/// One appends about a step that it has claimed, while the other writes to the same duty.
#[tokio::test]
async fn two_who_write_about_one_grant_do_not_wait_for_each_other() {
    let base = shared().new_database().await;
    let (admin, watcher) = (shared().admin(&base.name).await, shared().admin(&base.name).await);
    let (a, b) = (open(&base, "a").await, open(&base, "b").await);
    a.accept(0, "g1").await.unwrap();
    b.news(&[]).await;
    assert!(a.fleet.claim(&key("g1")).await.unwrap());
    admin.batch_execute("BEGIN; SELECT seq FROM apono_connector.head FOR UPDATE").await.unwrap();
    let waiting = async |many: i64| {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let wait = async { while watcher.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) < many {} };
        in_time("they wait", wait).await;
    };
    let over = vec![standing(grant("g1"), false)];
    let end = b.journal.append(vec![entry(1, ended(&GrantId::from("g1")))], over);
    let act = async {
        waiting(1).await;
        a.journal.append(vec![revoking("g1")], vec![]).await
    };
    let release = async {
        waiting(2).await;
        admin.batch_execute("COMMIT").await.unwrap();
    };
    let (ended, acted, ()) = tokio::join!(end, act, release);
    ended.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(matches!(acted, Err(JournalError::Behind)), "{acted:?}");
}

#[tokio::test]
async fn what_is_open_is_read_anew_with_whatever_is_named() {
    let base = shared().new_database().await;
    let (a, b) = (open(&base, "a").await, open(&base, "b").await);
    for id in ["g1", "g2", "g3"] {
        a.accept(0, id).await.unwrap();
    }
    for id in ["g2", "g3"] {
        let over = vec![standing(grant(id), false)];
        a.journal.append(vec![entry(1, ended(&GrantId::from(id)))], over).await.unwrap();
    }
    assert!(b.journal.history(&grant("g2")).await.unwrap().is_empty());
    let again = b.journal.read_anew(&[grant("g3"), grant("never heard of")]).await.unwrap();
    let third = GrantId::from("g3");
    assert_eq!(
        again.entries,
        [entry(0, accepted(&GrantId::from("g1"))), entry(0, accepted(&third)), entry(1, ended(&third))]
    );
    assert_eq!(b.journal.position(), Some(0), "it has looked, and not taken it in");
    assert!(matches!(b.accept(2, "g4").await, Err(JournalError::Behind)));
    b.journal.go_on_from(again.last);
    assert!(b.news(&[]).await.is_empty(), "it knows all now");
    assert_eq!(b.journal.history(&grant("g2")).await.unwrap().len(), 2);
    b.accept(2, "g4").await.unwrap();
    assert_eq!(b.journal.about(&third).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_was_seen_and_is_lost_is_not_read_over() {
    let base = shared().new_database().await;
    let daemons = ["a", "b", "c"].map(|id| open(&base, id));
    let [a, b, c] = <[Daemon; 3]>::try_from(join_all(daemons).await).ok().unwrap();
    a.accept(0, "g1").await.unwrap();
    let late = open(&base, "d").await;
    a.accept(0, "g2").await.unwrap();
    for daemon in [&b, &c] {
        daemon.news(&[]).await;
    }
    let back = "DELETE FROM apono_connector.entries WHERE seq = 2; UPDATE apono_connector.head SET seq = 1";
    shared().admin(&base.name).await.batch_execute(back).await.unwrap();
    // What only these daemons know would be forgotten, and with it whose access must end.
    for _ in 0..2 {
        assert!(matches!(a.journal.read_anew(&[]).await, Err(JournalError::Rewound)));
        assert!(matches!(a.journal.prove().await, Err(JournalError::Rewound)));
    }
    assert!(matches!(b.accept(1, "g3").await, Err(JournalError::Rewound)));

    // Who had not seen it goes on, and the log is as long as it was.
    late.accept(0, "g3").await.unwrap();
    assert!(matches!(c.journal.news(&|_: &Subject| true).await, Err(JournalError::Rewound)));
}

#[tokio::test]
async fn every_character_is_kept_and_no_two_names_become_one() {
    let base = shared().new_database().await;
    let (a, b) = (open(&base, "a").await, open(&base, "b").await);
    let names = ["g\0", "g\u{fffd}", "g\u{fffd}0", "g", "g'\"\\%_\u{1F600}\n"];
    let mut entries = Vec::new();
    let mut standings = Vec::new();
    for name in names {
        let id = GrantId::from(name);
        let mut record = accepted(&id);
        if let Record::Grant { event: Event::Accepted { grant, .. }, .. } = &mut record {
            grant.groups = [OktaGroupId::from(name)].into();
            grant.username = format!("user {name}");
        }
        entries.push(entry(0, record));
        // Twice: the last word counts.
        standings.extend([standing(grant(name), false), standing(grant(name), true)]);
    }
    a.journal.append(entries.clone(), standings).await.unwrap();
    assert_eq!(b.news(&[]).await, entries);
    for (name, expected) in names.iter().zip(&entries) {
        assert_eq!(
            b.journal.history(&grant(name)).await.unwrap(),
            std::slice::from_ref(expected),
            "{name:?}"
        );
        let (id, key) = (GrantId::from(*name), (GrantId::from(*name), OktaGroupId::from(*name)));
        assert_eq!(b.journal.about(&id).await.unwrap(), std::slice::from_ref(expected), "{name:?}");
        assert!(b.fleet.claim(&key).await.unwrap(), "{name:?}");
        assert!(!a.fleet.claim(&key).await.unwrap(), "{name:?}");
    }
    b.journal
        .append(vec![entry(1, ended(&GrantId::from(names[0])))], vec![standing(grant(names[0]), false)])
        .await
        .unwrap();
    assert_eq!(a.journal.open_entries().await.unwrap(), entries[1..]);
}

#[tokio::test]
async fn anothers_state_is_refused() {
    let base = shared().new_database().await;
    drop(open(&base, "a").await);
    let mut other = owner();
    other.organizations[0].1 = "https://other.okta.com".to_owned();
    let mut renamed = owner();
    renamed.connector = "another".to_owned();
    for (stranger, (theirs, ours)) in [
        (other, ("https://example.okta.com", "https://other.okta.com")),
        (renamed, ("connector okta-connector", "connector another")),
    ] {
        let error = try_open(&base, "b", &stranger).await.err().unwrap();
        let told = chain(&error).to_string();
        assert!(matches!(error, SharedOpenError::Foreign { .. }) && !error.may_pass(), "{told}");
        assert!(told.contains(theirs) && told.contains(ours) && told.contains(&base.name), "{told}");
    }
    let admin = shared().admin(&base.name).await;
    let daemons = admin.query("SELECT id FROM apono_connector.daemons", &[]).await.unwrap();
    assert_eq!(daemons.len(), 1, "who is refused has not joined");
    let mut more = owner();
    more.organizations.push(("int2".to_owned(), "https://second.okta.com".to_owned()));
    assert!(try_open(&base, "c", &more).await.is_ok(), "an organization may be added");
    assert!(try_open(&base, "d", &owner()).await.is_ok(), "and be left out again");
}

#[tokio::test]
async fn all_who_open_it_at_once_find_one_state() {
    let base = shared().new_database().await;
    let names: Vec<_> = (0..4).map(|n| format!("daemon{n}")).collect();
    let daemons = join_all(names.iter().map(|name| open(&base, name))).await;
    for (n, daemon) in daemons.iter().enumerate() {
        daemon.news(&[]).await;
        daemon.accept(0, &format!("g{n}")).await.unwrap();
        daemon.members.beat().await.unwrap();
    }
    let integration = IntegrationId::from("int");
    for daemon in &daemons {
        daemon.members.beat().await.unwrap();
        assert_eq!(daemon.members.state().companions.len(), 4);
        assert_eq!(daemon.members.owner(&integration), daemons[0].members.owner(&integration));
    }
    assert_eq!(daemons.iter().filter(|daemon| daemon.members.owns(&integration)).count(), 1);
    let two =
        ["x", "y"].map(|connector| Owner { connector: connector.to_owned(), organizations: Vec::new() });
    let base = shared().new_database().await;
    let (one, other) = tokio::join!(try_open(&base, "a", &two[0]), try_open(&base, "b", &two[1]));
    assert_eq!(usize::from(one.is_ok()) + usize::from(other.is_ok()), 1, "of two owners one is refused");
}
