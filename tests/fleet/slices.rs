//! The share of Okta's limits that daemons divide through the database. Time is set forward by hand.

use std::sync::Arc;
use std::time::Duration;

use apono_connector::clock::Clock;
use apono_connector::database::Database;
use apono_connector::domain::{IntegrationId, SessionId};
use apono_connector::fleet::{Itself, Members, Slices};
use apono_connector::http::Lane;
use apono_connector::http::budget::slices::floor;
use apono_connector::http::budget::{Budget, BudgetSettings, Permit};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use tokio::task::{unconstrained, yield_now};

use super::journals::HandClock;
use super::postgres::{Admin, Base, Cluster, shared};

const INTEGRATION: &str = "int";
const BUCKET: &str = "/api/v1/groups";
/// Nothing may take longer; generous, because CI machines are slow and this is not a measurement.
const LIMIT: Duration = Duration::from_mins(1);
/// How long a daemon counts on what it has written.
const SURE_FOR: Duration = Duration::from_secs(8);

/// What of a daemon has to do with Okta's limits.
struct Daemon {
    id: String,
    members: Arc<Members>,
    slices: Slices,
    budget: Arc<Budget>,
    clock: Arc<HandClock>,
    /// A request that waits for a window, and never goes on.
    waiting: Option<BoxFuture<'static, ()>>,
}

/// Daemons that share one database, and whoever looks into it.
struct Fleet {
    daemons: Vec<Daemon>,
    clock: Arc<HandClock>,
    admin: Admin,
}

impl Fleet {
    async fn new(cluster: &Cluster, base: &Base, daemons: usize) -> Self {
        let database = Database::new(&base.settings()).unwrap();
        database.migrate().await.unwrap();
        let admin = cluster.admin(&base.name).await;
        let organization = "INSERT INTO apono_connector.organizations (integration) VALUES ($1)";
        admin.execute(organization, &[&INTEGRATION]).await.unwrap();
        let clock = Arc::new(HandClock::default());
        let mut fleet = Self { daemons: Vec::new(), clock, admin };
        for n in 0..daemons {
            fleet.daemons.push(Daemon::new(base, n, &fleet.clock).await);
        }
        for daemon in &fleet.daemons {
            daemon.members.beat().await.unwrap();
        }
        // However slow the machine is, who is not said to be gone lives, and what is not said to have run out counts.
        fleet.set("daemons SET alive_until = clock_timestamp() + interval '1 hour'").await;
        let counts = "
            CREATE FUNCTION public.later() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN NEW.counts_until = NEW.counts_until + interval '1 hour'; RETURN NEW; END $$;
            CREATE TRIGGER later BEFORE INSERT OR UPDATE OF slice ON apono_connector.slices
                FOR EACH ROW EXECUTE FUNCTION public.later();";
        fleet.admin.batch_execute(counts).await.unwrap();
        fleet
    }

    async fn set(&self, what: &str) {
        self.admin.batch_execute(&format!("UPDATE apono_connector.{what}")).await.unwrap();
    }

    /// As if the daemon had said nothing for so long that it counts as gone, and what it holds counts still.
    async fn silence(&self, daemon: usize) {
        let id = &self.daemons[daemon].id;
        self.set(&format!("daemons SET alive_until = clock_timestamp() WHERE id = '{id}'")).await;
    }

    /// Each in its turn.
    async fn divide(&self) {
        for daemon in &self.daemons {
            daemon.slices.divide().await;
        }
    }

    /// Each in its turn, until they hold so many percent. Two rounds are enough where the database answers in time.
    async fn until_held(&self, percent: &[f64]) {
        self.until(|fleet| fleet.percent() == percent).await;
    }

    /// The same, until nothing is left.
    async fn until_all_is_held(&self) {
        self.until(|fleet| fleet.sum() > 0.99).await;
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let held = async {
            while !holds(self) {
                self.divide().await;
            }
        };
        assert!(tokio::time::timeout(LIMIT, held).await.is_ok(), "{:?}", self.slices());
    }

    fn slices(&self) -> Vec<f64> {
        self.daemons.iter().map(|daemon| daemon.budget.slice()).collect()
    }

    fn sum(&self) -> f64 {
        self.slices().iter().sum()
    }

    fn percent(&self) -> Vec<f64> {
        self.slices().iter().map(|slice| (slice * 100.0).round()).collect()
    }
}

impl Daemon {
    async fn new(base: &Base, n: usize, clock: &Arc<HandClock>) -> Self {
        let id = format!("daemon-{n}");
        let itself = Itself {
            id: SessionId::from(id.as_str()),
            host: "host".to_owned(),
            version: "1".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
        };
        let integration = IntegrationId::from(INTEGRATION);
        let monotonic = || Arc::clone(clock) as Arc<dyn Clock>;
        let database = Database::new(&base.settings()).unwrap();
        let members = Arc::new(Members::new(database, itself, vec![integration.clone()], monotonic()));
        members.beat().await.unwrap();
        let budget =
            Arc::new(Budget::new(BudgetSettings::default(), INTEGRATION, monotonic(), Arc::default()));
        let slices = Slices::new(Arc::clone(&members), monotonic(), vec![(integration, Arc::clone(&budget))]);
        Self { id, members, slices, budget, clock: Arc::clone(clock), waiting: None }
    }

    /// Knows a window of which nothing is left.
    fn has_spent_all(&self) {
        let permit = self.ask(Lane::Removal).unwrap();
        permit.observe(&window(50, 0, Duration::from_secs(30)));
    }

    /// From now on a request of this lane waits for the next window, or none.
    fn wants(&mut self, lane: Option<Lane>) {
        let budget = Arc::clone(&self.budget);
        self.waiting = lane.map(|lane| async move { drop(budget.admit(BUCKET, lane).await) }.boxed());
        let went = self.waiting.as_mut().and_then(FutureExt::now_or_never);
        assert_eq!(went, None, "there is a window to wait for");
    }

    fn ask(&self, lane: Lane) -> Option<Permit<'_>> {
        // Unconstrained: tokio would end a loop after so many polls without a pause.
        unconstrained(self.budget.admit(BUCKET, lane)).now_or_never()
    }

    /// How many requests it has on their way at once.
    fn slots(&self, lane: Lane) -> usize {
        std::iter::from_fn(|| unconstrained(self.budget.admit("/api/v1/rest", lane)).now_or_never())
            .collect::<Vec<_>>()
            .len()
    }

    /// Sends requests until one waits.
    fn spend(&self, lane: Lane, okta: &mut Okta) {
        let now = self.clock.elapsed();
        while let Some(permit) = self.ask(lane) {
            permit.observe(&okta.answer(now));
        }
    }
}

/// Okta's count of one bucket.
struct Okta {
    limit: u32,
    spent: u32,
    ends: Duration,
    /// What was spent of each window.
    windows: Vec<u32>,
}

impl Okta {
    fn new(limit: u32) -> Self {
        Self { limit, spent: 0, ends: Duration::ZERO, windows: Vec::new() }
    }

    fn answer(&mut self, now: Duration) -> HeaderMap {
        if now >= self.ends {
            (self.spent, self.ends) = (0, now + Duration::from_mins(1));
            self.windows.push(0);
        }
        self.spent += 1;
        *self.windows.last_mut().unwrap() = self.spent;
        window(self.limit, self.limit.saturating_sub(self.spent), self.ends.saturating_sub(now))
    }
}

fn window(limit: u32, remaining: u32, resets_in: Duration) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("date", HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
    headers.insert("x-rate-limit-limit", HeaderValue::from(limit));
    headers.insert("x-rate-limit-remaining", HeaderValue::from(remaining));
    headers.insert("x-rate-limit-reset", HeaderValue::from(784_111_777 + resets_in.as_secs()));
    headers
}

/// What falls to each daemon changes all the time, and all of them divide at once.
#[tokio::test]
async fn however_many_divide_at_once_they_never_hold_more_than_the_share() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(shared(), &base, 8).await;
    fleet.daemons.iter().for_each(Daemon::has_spent_all);
    // Until each is written down, it has the least.
    fleet.divide().await;
    let mut moved = 0.0;
    for round in 0..20 {
        for (n, daemon) in fleet.daemons.iter_mut().enumerate() {
            let lane = match (n + round) % 3 {
                0 => Some(Lane::Directory),
                1 => Some(Lane::Grant),
                _ => None,
            };
            daemon.wants(lane);
        }
        let before = fleet.slices();
        let mut most = fleet.sum();
        let all = join_all(fleet.daemons.iter().map(|daemon| daemon.slices.divide()));
        let watch = async {
            loop {
                most = most.max(fleet.sum());
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = all => {}
            () = watch => {}
        }
        let after = fleet.slices();
        most = most.max(after.iter().sum());
        assert!(most <= 1.0, "{most} in round {round}: {before:?} and then {after:?}");
        moved += before.iter().zip(&after).map(|(before, after)| (before - after).abs()).sum::<f64>();
    }
    assert!(moved > 1.0, "slices move: {moved}");
    fleet.until_all_is_held().await;
}

/// In the middle of windows too, with all of them at work.
#[tokio::test]
async fn however_a_share_is_divided_the_directory_never_spends_more_of_a_window() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(shared(), &base, 5).await;
    let mut okta = Okta::new(50);
    fleet.divide().await;
    for step in 0..84 {
        // Two of the five, and after fifty seconds one of them is another.
        let crawl = [step / 10 % 5, (step / 20 + 1) % 5];
        for daemon in &mut fleet.daemons {
            daemon.waiting = None;
        }
        // As many as may be on their way are, before any is answered.
        loop {
            let daemons = crawl.map(|n| &fleet.daemons[n]);
            let sent =
                daemons.into_iter().flat_map(|daemon| std::iter::from_fn(|| daemon.ask(Lane::Directory)));
            let sent: Vec<_> = sent.collect();
            if sent.is_empty() {
                break;
            }
            for permit in sent {
                permit.observe(&okta.answer(fleet.clock.elapsed()));
            }
        }
        for n in crawl {
            fleet.daemons[n].wants(Some(Lane::Directory));
        }
        join_all(fleet.daemons.iter().map(|daemon| daemon.slices.divide())).await;
        assert!(fleet.sum() <= 1.0, "{:?}", fleet.slices());
        fleet.clock.forward(Duration::from_secs(5));
    }
    println!("of windows of 50: {:?}", okta.windows);
    assert!(okta.windows.len() >= 6, "{:?}", okta.windows);
    assert!(okta.windows.iter().all(|spent| *spent <= 40), "{:?}", okta.windows);
    assert!(okta.windows[2..6].iter().sum::<u32>() > 80, "it goes on: {:?}", okta.windows);
}

#[tokio::test]
async fn what_is_not_used_goes_to_whoever_waits_and_comes_back() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(shared(), &base, 4).await;
    fleet.until_held(&[25.0; 4]).await;
    fleet.daemons.iter().for_each(Daemon::has_spent_all);
    fleet.clock.forward(Duration::from_mins(3));
    for daemon in &fleet.daemons {
        daemon.has_spent_all();
    }
    fleet.daemons[0].wants(Some(Lane::Directory));
    fleet.until_held(&[85.0, 5.0, 5.0, 5.0]).await;
    fleet.daemons[2].wants(Some(Lane::Grant));
    // Grants weigh double.
    fleet.until_held(&[32.0, 5.0, 58.0, 5.0]).await;
    for n in [0, 2] {
        fleet.daemons[n].wants(None);
    }
    fleet.until_held(&[25.0; 4]).await;
}

#[tokio::test]
async fn less_is_held_before_it_is_written_and_more_only_after() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(shared(), &base, 2).await;
    fleet.daemons.iter().for_each(Daemon::has_spent_all);
    fleet.daemons[0].wants(Some(Lane::Directory));
    fleet.until_held(&[90.0, 10.0]).await;
    fleet.daemons[0].wants(None);
    fleet.daemons[1].wants(Some(Lane::Directory));
    let close = "
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'full'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON apono_connector.organizations EXECUTE FUNCTION public.refuse();";
    fleet.admin.batch_execute(close).await.unwrap();
    // Nothing is known of what the other wants.
    fleet.until_held(&[50.0, 10.0]).await;
    fleet.divide().await;
    assert_eq!(fleet.percent(), [50.0, 10.0], "the first could tell nobody of it");
    fleet.admin.batch_execute("DROP TRIGGER refuse ON apono_connector.organizations").await.unwrap();
    fleet.until_held(&[10.0, 90.0]).await;
}

#[tokio::test]
async fn what_a_lost_daemon_held_is_free_when_it_has_run_out_and_not_before() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(shared(), &base, 2).await;
    fleet.daemons.iter().for_each(Daemon::has_spent_all);
    fleet.daemons[0].wants(Some(Lane::Directory));
    fleet.until_held(&[90.0, 10.0]).await;
    fleet.silence(0).await;
    let other = &fleet.daemons[1];
    for _ in 0..2 {
        other.slices.divide().await;
        assert!(fleet.sum() <= 1.0, "it may still spend it: {:?}", fleet.slices());
    }
    fleet.set("slices SET counts_until = clock_timestamp() WHERE daemon = 'daemon-0'").await;
    other.slices.divide().await;
    assert_eq!(Some(other.budget.slice()), Some(1.0));
    // Long before that it has found out itself, though it was stopped and nobody told it.
    fleet.clock.forward(SURE_FOR);
    assert_eq!(Some(fleet.daemons[0].budget.slice()), Some(floor(2)));
    // It comes back: what there is is held by another, who gives it back.
    fleet.set("daemons SET alive_until = clock_timestamp() + interval '1 hour'").await;
    fleet.daemons[0].slices.divide().await;
    assert_eq!(Some(fleet.daemons[0].budget.slice()), Some(0.0));
    assert!(fleet.daemons[0].budget.admit("/api/v1/users", Lane::Removal).now_or_never().is_some());
    fleet.daemons[1].slices.divide().await;
    fleet.until_held(&[90.0, 10.0]).await;
}

#[tokio::test]
async fn whoever_leaves_in_order_leaves_its_slice_at_once() {
    let base = shared().new_database().await;
    let fleet = Fleet::new(shared(), &base, 3).await;
    fleet.until_held(&[33.0; 3]).await;
    fleet.daemons[0].members.leave().await;
    for daemon in &fleet.daemons[1..] {
        daemon.slices.divide().await;
    }
    assert_eq!(fleet.percent()[1..], [50.0; 2]);
}

#[tokio::test]
async fn without_the_database_everybody_keeps_to_its_slice_and_then_to_the_least_and_removals_go() {
    let cluster = Cluster::start();
    let base = cluster.new_database().await;
    let fleet = Fleet::new(&cluster, &base, 2).await;
    let mut okta = Okta::new(100);
    fleet.until_held(&[50.0; 2]).await;
    for daemon in &fleet.daemons {
        daemon.ask(Lane::Removal).unwrap().observe(&okta.answer(Duration::ZERO));
    }
    cluster.kill();
    fleet.divide().await;
    assert_eq!(fleet.percent(), [50.0; 2], "what was lent is theirs for a while");
    fleet.clock.forward(SURE_FOR.saturating_sub(Duration::from_secs(1)));
    fleet.divide().await;
    assert_eq!(fleet.percent(), [50.0; 2]);
    fleet.clock.forward(Duration::from_secs(1));
    // Nobody divides: it is so all the same.
    let [first, second] = [&fleet.daemons[0], &fleet.daemons[1]];
    fleet.clock.forward(Duration::from_mins(2));
    first.spend(Lane::Directory, &mut okta);
    second.spend(Lane::Directory, &mut okta);
    // Of a tenth each, less what is kept for the rest of the window: reading goes on, slowly.
    let slowly = *okta.windows.last().unwrap();
    assert!((2..=16).contains(&slowly), "{:?}", okta.windows);
    assert_eq!(fleet.slices(), [floor(2); 2]);
    assert!(first.ask(Lane::Directory).is_none() && second.ask(Lane::Directory).is_none());
    let removals = std::iter::from_fn(|| {
        first.ask(Lane::Removal).map(|permit| permit.observe(&okta.answer(fleet.clock.elapsed())))
    });
    assert_eq!(removals.take(30).count(), 30, "however little there is");

    cluster.start_again();
    fleet.until_all_is_held().await;
}

/// A limit is Okta's: each daemon learns it from its own answers, and nobody spends more than its slice of what it is.
#[tokio::test]
async fn a_limit_that_changes_holds_for_each_as_soon_as_it_is_answered() {
    let base = shared().new_database().await;
    let fleet = Fleet::new(shared(), &base, 4).await;
    fleet.until_held(&[25.0; 4]).await;
    let mut okta = Okta::new(100);
    for round in 0..24 {
        if round == 6 {
            okta.limit = 50;
        }
        // What was lent has run out meanwhile.
        for _ in 0..2 {
            fleet.divide().await;
        }
        for daemon in &fleet.daemons {
            daemon.spend(Lane::Directory, &mut okta);
            daemon.spend(Lane::Grant, &mut okta);
        }
        fleet.clock.forward(Duration::from_secs(20));
    }
    println!("of windows of 100, and then of 50: {:?}", okta.windows);
    let (before, after) = okta.windows.split_at(2);
    assert!(before.iter().all(|spent| (60..=100).contains(spent)), "{:?}", okta.windows);
    assert!(after[1..].iter().all(|spent| (30..=50).contains(spent)), "{:?}", okta.windows);
}

/// A service app in the smallest organizations has 17 concurrent calls.
#[tokio::test]
async fn four_daemons_have_fewer_requests_on_their_way_than_okta_allows() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(shared(), &base, 4).await;
    let slots = |fleet: &Fleet| -> Vec<(usize, usize)> {
        let of = |daemon: &Daemon| {
            let of_others = daemon.slots(Lane::Grant);
            (of_others, daemon.slots(Lane::Removal))
        };
        fleet.daemons.iter().map(of).collect()
    };
    fleet.until_held(&[25.0; 4]).await;
    let evenly = slots(&fleet);
    fleet.daemons.iter().for_each(Daemon::has_spent_all);
    fleet.daemons[0].wants(Some(Lane::Directory));
    fleet.until_held(&[85.0, 5.0, 5.0, 5.0]).await;
    let to_one = slots(&fleet);
    for slots in [&evenly, &to_one] {
        assert!(slots.iter().all(|(others, all)| *others > 0 && all > others), "{slots:?}");
        assert!(slots.iter().map(|(_, all)| all).sum::<usize>() <= 17, "{slots:?}");
    }
    assert!(to_one[0].1 > evenly[0].1, "{evenly:?} and {to_one:?}");
}
