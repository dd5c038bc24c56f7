//! Several daemons before one organization, each with its slice of the rate limits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use apono_connector::clock::{self, SharedClock};
use apono_connector::domain::{Membership, OktaGroupId, OktaUserId};
use apono_connector::entropy::SeededEntropy;
use apono_connector::http::Lane;
use apono_connector::http::budget::slices::{divide, grant_next};
use apono_connector::http::budget::{Budget, BudgetSettings, Demand};
use apono_connector::http::url::Base;
use apono_connector::okta::{self, Dpop, Organization, Surroundings};
use apono_connector::secrets::{Credentials, CredentialsError, Reloading, SigningKey};
use apono_connector::telemetry::Metrics;
use futures_util::StreamExt;
use futures_util::stream;
use simulator::okta::{Bucket, Limits, Seed, Seeded};
use tokio::task::JoinSet;

use crate::world::{CLIENT, World, key};

const MINUTE: Duration = Duration::from_mins(1);

/// One organization, and the daemons before it.
struct Scene {
    world: World,
    seeded: Seeded,
    fleet: Vec<Arc<Daemon>>,
    others_throttled: Arc<AtomicU64>,
    /// What everybody does, until the scene is over.
    work: JoinSet<()>,
}

/// The part of a daemon that talks to Okta.
struct Daemon {
    okta: Organization,
    clock: SharedClock,
    /// Pages that it has read.
    pages: AtomicU32,
    /// The longest that a call of a grant has taken, in milliseconds.
    slowest: AtomicU64,
}

/// What was done in a while.
#[derive(Debug)]
struct Done {
    /// By each daemon.
    pages: Vec<u32>,
    throttled: u64,
    /// The same of the other client.
    others_throttled: u64,
    /// The longest that a call of a grant has taken.
    slowest: Duration,
}

impl Done {
    fn pages(&self) -> u32 {
        self.pages.iter().sum()
    }
}

impl Scene {
    fn new(limits: Limits, slices: &[f64]) -> Self {
        let world = World::quiet();
        world.okta.configure(|settings| {
            settings.limits = limits;
            settings.latency = Duration::from_millis(150);
        });
        let seed = Seed { users: 2000, groups: 50, members_per_group: 5, seed: 7, ..Seed::default() };
        let seeded = world.okta.seed(seed);
        let fleet = (1..).zip(slices).map(|(seed, slice)| Daemon::new(&world, seed, *slice)).collect();
        Self { world, seeded, fleet, others_throttled: Arc::default(), work: JoinSet::new() }
    }

    /// This daemon reads the directory, again and again.
    fn crawls(&mut self, daemon: usize) {
        let daemon = &self.fleet[daemon];
        self.work.spawn(Arc::clone(daemon).reads_users());
        self.work.spawn(Arc::clone(daemon).reads_groups());
    }

    /// The daemons take turns in giving access and taking it away.
    fn grants(&mut self) {
        let (fleet, seeded) = (self.fleet.clone(), self.seeded.clone());
        self.work.spawn(async move {
            for number in 0.. {
                clock::sleep(MINUTE / 3).await;
                let group = OktaGroupId::from(seeded.groups[number % seeded.groups.len()].as_str());
                let user = OktaUserId::from(seeded.users[number % seeded.users.len()].as_str());
                fleet[number % fleet.len()].gives_and_takes(&Membership { group, user }).await;
            }
        });
    }

    /// A client that is none of ours spends a call of each bucket that is crawled, evenly.
    fn others(&mut self, every: Duration) {
        let (okta, refused) = (self.world.okta.clone(), Arc::clone(&self.others_throttled));
        self.work.spawn(async move {
            loop {
                clock::sleep(every).await;
                let of_these = [Bucket::Users, Bucket::Groups].map(|bucket| okta.spend(bucket, 1));
                refused.fetch_add(of_these.into_iter().map(u64::from).sum(), Ordering::Relaxed);
            }
        });
    }

    /// The daemons divide the limits by what they ask for, each in its turn and by what it reads then.
    fn divides(&mut self) {
        let fleet = self.fleet.clone();
        self.work.spawn(async move {
            let mut held: BTreeMap<usize, f64> = BTreeMap::new();
            loop {
                for (me, daemon) in fleet.iter().enumerate() {
                    let demands: Vec<(usize, Demand)> =
                        fleet.iter().map(|daemon| daemon.okta.budget.demand()).enumerate().collect();
                    let next = grant_next(&held, &divide(&demands, &held), &me);
                    held.insert(me, next);
                    daemon.okta.budget.set_slice(next);
                    assert!(held.values().sum::<f64>() <= 1.0, "{held:?}");
                    clock::sleep(Duration::from_secs(5)).await;
                }
            }
        });
    }

    /// What is done in so many minutes.
    async fn pass(&self, minutes: u32) -> Done {
        for daemon in &self.fleet {
            daemon.pages.store(0, Ordering::Relaxed);
            daemon.slowest.store(0, Ordering::Relaxed);
        }
        self.world.okta.reset_counters();
        self.world.pass(minutes * MINUTE).await;
        let pages = self.fleet.iter().map(|daemon| daemon.pages.load(Ordering::Relaxed)).collect();
        let slowest = self.fleet.iter().map(|daemon| daemon.slowest.load(Ordering::Relaxed)).max();
        let slowest = Duration::from_millis(slowest.unwrap_or(0));
        let others_throttled = self.others_throttled.swap(0, Ordering::Relaxed);
        Done { pages, throttled: self.world.okta.throttled(), others_throttled, slowest }
    }
}

impl Daemon {
    fn new(world: &World, seed: u64, slice: f64) -> Arc<Self> {
        let settings = okta::Settings {
            integration: format!("daemon {seed}"),
            organization: Base::parse("https://example.okta.com").unwrap(),
            credentials: Arc::new(
                Reloading::new("credentials", None, || {
                    let key = SigningKey::parse(key().0, None).unwrap();
                    Ok::<_, CredentialsError>(Credentials { client_id: CLIENT.to_owned(), key })
                })
                .unwrap(),
            ),
            dpop: Dpop::Off,
            scopes: vec!["okta.users.read", "okta.groups.manage"],
            optional_scopes: Vec::new(),
            timeout: Duration::from_secs(30),
        };
        let surroundings = Surroundings {
            transport: world.network(),
            clock: Arc::clone(&world.clock),
            entropy: SeededEntropy::shared(seed),
            metrics: Arc::new(Metrics::default()),
        };
        let (clock, metrics) = (Arc::clone(&surroundings.clock), Arc::clone(&surroundings.metrics));
        let budget = Budget::new(BudgetSettings::default(), "budget", clock, metrics);
        budget.set_slice(slice);
        let okta = okta::connect(settings, &surroundings, &Arc::new(budget));
        Arc::new(Self {
            okta,
            clock: surroundings.clock,
            pages: AtomicU32::new(0),
            slowest: AtomicU64::new(0),
        })
    }

    async fn reads_users(self: Arc<Self>) {
        let mut cursor = None;
        loop {
            let page = self.okta.directory.users(cursor.as_ref(), &["login".to_owned()]).await.unwrap();
            self.pages.fetch_add(1, Ordering::Relaxed);
            cursor = page.next;
        }
    }

    /// The members of five groups at a time, as a directory run does.
    async fn reads_groups(self: Arc<Self>) {
        loop {
            let groups = self.okta.directory.groups(None).await.unwrap().items;
            self.pages.fetch_add(1, Ordering::Relaxed);
            let members = stream::iter(groups).map(|group| {
                let directory = &self.okta.directory;
                async move { directory.member_ids(&group.id, None).await.unwrap() }
            });
            members
                .buffer_unordered(5)
                .for_each(async |_| {
                    self.pages.fetch_add(1, Ordering::Relaxed);
                })
                .await;
        }
    }

    async fn gives_and_takes(&self, membership: &Membership) {
        let okta = &self.okta.memberships;
        self.timed(okta.user(&membership.user, Lane::Grant)).await.unwrap();
        self.timed(okta.group(&membership.group, Lane::Grant)).await.unwrap();
        self.timed(okta.look(membership, Lane::Grant)).await.unwrap();
        self.timed(okta.add(membership)).await.unwrap();
        self.timed(okta.look(membership, Lane::Verification)).await.unwrap();
        self.timed(okta.remove(membership)).await.unwrap();
        self.timed(okta.look(membership, Lane::Removal)).await.unwrap();
    }

    async fn timed<T>(&self, call: impl Future<Output = T>) -> T {
        let began = self.clock.elapsed();
        let answer = call.await;
        let took = u64::try_from(self.clock.elapsed().saturating_sub(began).as_millis()).unwrap_or(u64::MAX);
        self.slowest.fetch_max(took, Ordering::Relaxed);
        answer
    }
}

/// What daemons do in half an hour, once they have gone on for a few windows.
async fn steady(mut scene: Scene) -> Done {
    (0..scene.fleet.len()).for_each(|daemon| scene.crawls(daemon));
    scene.grants();
    scene.pass(4).await;
    scene.pass(30).await
}

#[tokio::test(start_paused = true)]
async fn daemons_with_slices_get_through_what_one_does_with_all_and_are_never_refused() {
    let scene = |slices: &[f64]| Scene::new(Limits::integrator_app(), slices);
    let alone = steady(scene(&[1.0])).await;
    for slices in [vec![0.5; 2], vec![0.25; 4], vec![0.7, 0.1, 0.1, 0.1]] {
        let together = steady(scene(&slices)).await;
        println!("{slices:?}: {together:?}, and alone {alone:?}");
        assert_eq!(together.throttled, 0, "{together:?}");
        assert!(together.pages() * 10 >= alone.pages() * 9, "{together:?}, and alone {alone:?}");
        for (pages, slice) in together.pages.iter().zip(&slices) {
            let part = f64::from(*pages) / f64::from(together.pages());
            assert!((part - slice).abs() < 0.05, "{together:?} by {slices:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_half_of_the_limits_is_yielded_to_by_a_fleet() {
    let scene = async |slices: &[f64]| {
        let mut scene = Scene::new(Limits::workforce_app(), slices);
        // 150 a minute, of 300 and of 250. They were there before.
        scene.others(Duration::from_millis(400));
        scene.world.pass(MINUTE * 3 / 2).await;
        scene
    };
    let alone = steady(scene(&[1.0]).await).await;
    for slices in [vec![0.5; 2], vec![0.25; 4]] {
        let together = steady(scene(&slices).await).await;
        println!("{slices:?}: {together:?}, and alone {alone:?}");
        assert_eq!((together.throttled, together.others_throttled), (0, 0), "{together:?}");
        assert!(together.slowest < Duration::from_secs(2), "{together:?}");
        assert!(together.pages() * 10 >= alone.pages() * 9, "{together:?}, and alone {alone:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_idle_do_not_use_goes_to_those_who_crawl() {
    let alone = steady(Scene::new(Limits::integrator_app(), &[1.0])).await;
    let mut scene = Scene::new(Limits::integrator_app(), &[0.0; 4]);
    scene.divides();
    scene.grants();
    scene.crawls(0);
    scene.pass(4).await;
    let one = scene.pass(30).await;
    scene.crawls(2);
    let change = scene.pass(4).await;
    let two = scene.pass(30).await;
    println!("one {one:?}, then {change:?}, two {two:?}, and alone {alone:?}");
    assert_eq!((one.throttled, change.throttled, two.throttled), (0, 0, 0));
    // A quarter is what a daemon had if all of them asked, and 85 % where the others asked for nothing at all.
    assert!(one.pages[0] * 100 >= alone.pages() * 65, "{one:?}");
    assert!(two.pages() * 100 >= alone.pages() * 70, "{two:?}");
    assert!(two.pages[0].abs_diff(two.pages[2]) * 10 < two.pages(), "{two:?}");
}
