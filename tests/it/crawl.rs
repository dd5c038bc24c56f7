//! A first run within Okta's rate limits, in virtual time: how long it takes, how long it must take, and what it does to
//! others. Shared by a test of a small organization and by `benches/limits.rs` of large ones.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apono_connector::clock;
use simulator::apono::Grant;
use simulator::okta::{self, Bucket, Limits, OktaSimulator};
use tokio::task::JoinSet;

use crate::world::{INTEGRATION, World};

/// Who there is, and what Okta allows.
pub struct Scene {
    pub users: usize,
    pub groups: usize,
    pub members_per_group: usize,
    pub limits: Limits,
    /// What another client takes of every bucket, in percent.
    pub others: u32,
    /// Grants that are given meanwhile, one every twenty seconds.
    pub grants: usize,
}

/// What happened.
#[derive(Debug)]
pub struct Crawl {
    /// From the start to the end of the run.
    pub took: Duration,
    /// From the start to the end of the first windows' requests that the directory may spend.
    pub bound: Duration,
    /// Of ours.
    pub requests: u64,
    pub throttled: u64,
    /// Of the other client's.
    pub others: u64,
    pub others_throttled: u64,
    /// From the task to the membership.
    pub slowest_grant: Duration,
}

/// What `okta.rate_limit_share` leaves to others, who may take more, in percent.
const OF_OTHERS: u32 = 20;
/// What is kept for more urgent requests: a fifth of the rest.
const RESERVE: u32 = 16;
const WINDOW: Duration = Duration::from_mins(1);

/// Starts a connector, waits for its first run, and gives grants meanwhile.
pub async fn crawl(scene: Scene) -> Crawl {
    let mut world = World::quiet();
    let bound = bound(&scene);
    world.okta.configure(|settings| settings.limits = scene.limits.clone());
    let Scene { users, groups, members_per_group, .. } = scene;
    let seed = okta::Seed { users, groups, members_per_group, seed: 7, ..okta::Seed::default() };
    let seeded = world.okta.seed(seed);
    let others = Others::default();
    let mut other_client = JoinSet::new();
    other_client.spawn(others.clone().spend(world.okta.clone(), scene.limits.clone(), scene.others));
    // The others were there before.
    world.pass(Duration::from_secs(90)).await;
    let connector = world.start().await;
    let began = world.elapsed();
    let mut slowest_grant = Duration::ZERO;
    for group in seeded.groups.iter().take(scene.grants) {
        let members = world.okta.members(group);
        let user = seeded.users.iter().find(|user| !members.contains(user)).unwrap();
        let login = world.okta.user(user)["profile"]["login"].as_str().unwrap().to_owned();
        let given = world.elapsed();
        world
            .apono
            .grant(Grant::new(INTEGRATION, &login, &[group]).until(world.after(Duration::from_hours(8))));
        world.until_member(group, user, true).await;
        slowest_grant = slowest_grant.max(world.elapsed().saturating_sub(given));
        world.pass(Duration::from_secs(20)).await;
    }
    let last = |_: &World| connector.facts().organizations[0].last_directory_run.clone();
    let run = world.until("the run ends", last).await;
    assert_eq!(run.outcome.as_str(), "completed", "{}", run.message);
    let took = Duration::from_secs_f64(run.seconds).min(world.elapsed().saturating_sub(began));
    other_client.shutdown().await;
    let (others, others_throttled) = *others.0.lock().unwrap_or_else(PoisonError::into_inner);
    let (requests, throttled) = (world.okta.total_calls(), world.okta.throttled());
    connector.stop().await;
    Crawl { took, bound, requests, throttled, others, others_throttled, slowest_grant }
}

/// What the share of the limits sets: the bucket that needs the most windows, of which the first is there at once.
fn bound(scene: &Scene) -> Duration {
    let pages = |things: usize, of: usize| things.div_ceil(of).max(1);
    let groups = pages(scene.groups, 200) + scene.groups * pages(scene.members_per_group, 1000);
    let demands = [(Bucket::Users, pages(scene.users, 200)), (Bucket::Groups, groups)];
    let windows = demands.into_iter().map(|(bucket, requests)| {
        let limit = scene.limits.budget(bucket).unwrap_or(0) as usize;
        let ours = limit * (100 - scene.others.max(OF_OTHERS) - RESERVE) as usize / 100;
        requests.div_ceil(ours).saturating_sub(1)
    });
    WINDOW * u32::try_from(windows.max().unwrap_or(0)).unwrap_or(u32::MAX)
}

/// Calls of another client, and how many of them were refused.
#[derive(Clone, Default)]
struct Others(Arc<Mutex<(u64, u64)>>);

impl Others {
    /// Spends evenly from the buckets that the crawl needs.
    async fn spend(self, okta: OktaSimulator, limits: Limits, percent: u32) {
        // In hundredths of a call a minute.
        let mut owed = [0; 2];
        loop {
            clock::sleep(Duration::from_secs(1)).await;
            for (bucket, owed) in [Bucket::Users, Bucket::Groups].into_iter().zip(&mut owed) {
                *owed += limits.budget(bucket).unwrap_or(0) * percent;
                let calls = *owed / 6000;
                *owed %= 6000;
                let refused = okta.spend(bucket, calls);
                let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                *all = (all.0 + u64::from(calls), all.1 + u64::from(refused));
            }
        }
    }
}
