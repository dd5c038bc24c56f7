//! # Purpose
//! The rate budget of one Okta organization: who may send now, and who waits for whom.
//!
//! # Invariants kept here
//! - Every request to Okta holds a [`Permit`]; there is no way round it.
//! - More urgent lanes are never behind less urgent ones: each lane has its own reserve of requests, the directory its
//!   own, smaller number of concurrent requests, and removals some that nobody else uses (invariant 11).
//! - Who waits for a window holds no slot: waiting keeps nobody else from sending.
//! - Nothing is hard-coded about limits: they are learned from the answers.
//!
//! # Not here
//! What a single answer means: `headers`; the arithmetic: `ledger`.

pub mod headers;
pub mod ledger;
mod waits;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use http::HeaderMap;
use jiff::Timestamp;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use waits::{Told, Waits};

pub use headers::{Reading, read};
pub use ledger::{Lane, Pace};

use crate::clock::{self, SharedClock};
use crate::http::classify::http_date;
use crate::http::peer_clock::PeerClock;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{BucketLabels, LaneLabels};
use ledger::{Admission, Ledger, directory_allowance};

/// How much of Okta's limits is ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetSettings {
    /// Of the limit that the headers show, `0.0..=1.0`. `rate_limit_share`.
    pub share: f64,
    /// Requests at the same moment.
    pub concurrency: usize,
    /// Of these, at most for the directory.
    pub directory_concurrency: usize,
    /// Of these, for removals alone.
    pub removal_concurrency: usize,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self { share: 0.8, concurrency: 8, directory_concurrency: 5, removal_concurrency: 2 }
    }
}

/// The budget. One a organization, shared by all callers.
pub struct Budget {
    settings: BudgetSettings,
    waits: Waits,
    integration: String,
    clock: SharedClock,
    metrics: Arc<Metrics>,
    buckets: Mutex<BTreeMap<&'static str, Bucket>>,
    peer_clock: Mutex<PeerClock>,
    changed: Notify,
    all: Arc<Semaphore>,
    shared: Arc<Semaphore>,
    directory: Arc<Semaphore>,
}

#[derive(Default)]
struct Bucket {
    ledger: Ledger,
    governor: Option<Governor>,
    /// How long an answer takes, smoothed; waiting for the budget is not part of it.
    latency: Option<Duration>,
}

/// What the answers of one bucket have shown, for estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What the directory may spend, once that is known.
    pub pace: Option<Pace>,
    /// How long an answer takes, once there was one.
    pub latency: Option<Duration>,
}

/// Paces the directory to its own share, whatever the headers say others have left over.
struct Governor {
    allowance: u32,
    window: Duration,
    limiter: RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Duration>>,
}

/// Our clock, as governor wants it.
#[derive(Clone, Debug)]
struct MonotonicClock(SharedClock);

impl GovernorClock for MonotonicClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Budget {
    /// An empty budget; it learns from the first answers.
    pub fn new(
        settings: BudgetSettings,
        integration: impl Into<String>,
        clock: SharedClock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let integration = integration.into();
        Self {
            settings,
            waits: Waits::new(integration.clone()),
            integration,
            clock,
            metrics,
            buckets: Mutex::default(),
            peer_clock: Mutex::default(),
            changed: Notify::new(),
            all: Arc::new(Semaphore::new(settings.concurrency)),
            shared: Arc::new(Semaphore::new(
                settings.concurrency.saturating_sub(settings.removal_concurrency).max(1),
            )),
            directory: Arc::new(Semaphore::new(settings.directory_concurrency)),
        }
    }

    /// Waits until a request of `lane` may spend from `bucket`.
    ///
    /// Dropping the future gives up the place; dropping the permit ends the request.
    pub async fn admit(&self, bucket: &'static str, lane: Lane) -> Permit<'_> {
        let mut told: Option<Told<'_>> = None;
        loop {
            let changed = self.changed.notified();
            let slots = self.slots(lane).await;
            let now = self.clock.elapsed();
            let wait = match self.try_admit(bucket, lane, now) {
                Admission::Now => {
                    if let Some(told) = told {
                        told.over(now);
                    }
                    return Permit { budget: self, bucket, sent: now, _slots: slots };
                }
                Admission::NotBefore(instant) => instant.saturating_sub(now).max(Duration::from_millis(10)),
            };
            drop(slots);
            if told.is_none() {
                told = self.waits.begin((bucket, lane), now, wait);
            }
            tokio::select! {
                () = clock::sleep(wait) => {}
                () = changed => {}
            }
            let waited = self.clock.elapsed().saturating_sub(now).as_secs_f64();
            self.metrics.budget_wait.get_or_create(&self.lane_labels(bucket, lane)).inc_by(waited);
        }
    }

    /// The slots that a request of `lane` holds: the narrowest first, so that waiting for it holds no wider one.
    async fn slots(&self, lane: Lane) -> Slots {
        let directory = match lane {
            Lane::Directory => acquire(&self.directory).await,
            Lane::Removal | Lane::Grant | Lane::Verification => None,
        };
        let shared = match lane {
            Lane::Directory | Lane::Grant | Lane::Verification => acquire(&self.shared).await,
            Lane::Removal => None,
        };
        [directory, shared, acquire(&self.all).await]
    }

    /// Limit and requests left of each bucket that has been used.
    pub fn known(&self) -> Vec<(&'static str, u32, u32)> {
        let buckets = self.lock();
        buckets
            .iter()
            .filter_map(|(name, bucket)| bucket.ledger.known().map(|(limit, left)| (*name, limit, left)))
            .collect()
    }

    /// What is known of a bucket for the directory's estimates.
    pub fn seen(&self, bucket: &str) -> Seen {
        let now = self.clock.elapsed();
        let buckets = self.lock();
        let Some(bucket) = buckets.get(bucket) else {
            return Seen::default();
        };
        Seen { pace: bucket.ledger.pace(self.settings.share, now), latency: bucket.latency }
    }

    /// What time it is for Okta, once that is known.
    pub fn peers_now(&self) -> Option<Timestamp> {
        self.peer_clock.lock().unwrap_or_else(PoisonError::into_inner).now(self.clock.elapsed())
    }

    /// Our wall clock less Okta's, in seconds, once that is known.
    pub fn skew_seconds(&self) -> Option<i64> {
        let theirs = self.peers_now()?;
        Some(self.clock.now().duration_since(theirs).as_secs())
    }

    fn try_admit(&self, name: &'static str, lane: Lane, now: Duration) -> Admission {
        let mut buckets = self.lock();
        let bucket = buckets.entry(name).or_default();
        if let refused @ Admission::NotBefore(_) = bucket.ledger.check(lane, self.settings.share, now) {
            return refused;
        }
        if let (Lane::Directory, Some(governor)) = (lane, &bucket.governor)
            && let Err(not_until) = governor.limiter.check()
        {
            return Admission::NotBefore(now + not_until.wait_time_from(now));
        }
        bucket.ledger.spend(now);
        drop(buckets);
        let labels = self.lane_labels(name, lane);
        self.metrics.budget_requests.get_or_create(&labels).inc();
        // A lane that never waits is seen to.
        drop(self.metrics.budget_wait.get_or_create(&labels));
        Admission::Now
    }

    fn lane_labels(&self, bucket: &'static str, lane: Lane) -> LaneLabels {
        LaneLabels { integration: self.integration.clone(), bucket, lane: lane.as_str() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("integration", &self.integration).finish_non_exhaustive()
    }
}

/// The right to have one request on its way.
#[derive(Debug)]
pub struct Permit<'a> {
    budget: &'a Budget,
    bucket: &'static str,
    sent: Duration,
    _slots: Slots,
}

/// The semaphores are never closed; a closed one would mean no limit rather than no request.
type Slots = [Option<OwnedSemaphorePermit>; 3];

impl Permit<'_> {
    /// Learns from the answer's headers.
    pub fn observe(&self, headers: &HeaderMap) {
        self.observe_clock(headers);
        self.observe_latency();
        let Some(reading) = read(headers) else {
            return;
        };
        let now = self.budget.clock.elapsed();
        let mut buckets = self.budget.lock();
        let bucket = buckets.entry(self.bucket).or_default();
        bucket.ledger.observe(reading, now);
        let Some((limit, remaining)) = bucket.ledger.known() else {
            return;
        };
        let allowance = directory_allowance(limit, self.budget.settings.share);
        let window = bucket.ledger.window();
        if bucket.governor.as_ref().is_none_or(|known| (known.allowance, known.window) != (allowance, window))
        {
            bucket.governor = governor(allowance, window, &self.budget.clock);
        }
        drop(buckets);
        let labels = BucketLabels { integration: self.budget.integration.clone(), bucket: self.bucket };
        self.budget.metrics.budget_limit.get_or_create(&labels).set(limit.into());
        self.budget.metrics.budget_remaining.get_or_create(&labels).set(remaining.into());
    }

    fn observe_latency(&self) {
        let took = self.budget.clock.elapsed().saturating_sub(self.sent);
        let mut buckets = self.budget.lock();
        let bucket = buckets.entry(self.bucket).or_default();
        bucket.latency = Some(bucket.latency.map_or(took, |before| (before * 7 + took) / 8));
    }

    /// A page of something in between has a `Date` too, and no request id of Okta's.
    fn observe_clock(&self, headers: &HeaderMap) {
        if !headers.contains_key("x-okta-request-id") {
            return;
        }
        let date = headers.get("date").and_then(|date| http_date(date.to_str().ok()?));
        if let Some(date) = date {
            let mut peer = self.budget.peer_clock.lock().unwrap_or_else(PoisonError::into_inner);
            peer.observe(date, self.budget.clock.elapsed());
        }
    }

    /// Okta said 429 for the window: nobody sends to this bucket for `wait`.
    pub fn block(&self, wait: Duration) {
        let until = self.budget.clock.elapsed() + wait;
        self.budget.lock().entry(self.bucket).or_default().ledger.block(until);
    }

    /// Counts a 429.
    pub fn count_throttled(&self) {
        let labels = BucketLabels { integration: self.budget.integration.clone(), bucket: self.bucket };
        self.budget.metrics.throttled.get_or_create(&labels).inc();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(bucket) = self.budget.lock().get_mut(self.bucket) {
            bucket.ledger.settle();
        }
        self.budget.changed.notify_waiters();
    }
}

fn governor(allowance: u32, window: Duration, clock: &SharedClock) -> Option<Governor> {
    let burst = NonZeroU32::new(allowance)?;
    let quota = Quota::with_period(window / allowance)?.allow_burst(burst);
    let limiter = RateLimiter::direct_with_clock(quota, MonotonicClock(Arc::clone(clock)));
    Some(Governor { allowance, window, limiter })
}

async fn acquire(semaphore: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_owned().await.ok()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http::HeaderValue;
    use tokio::task::unconstrained;

    use super::*;
    use crate::clock::VirtualClock;

    fn budget() -> Budget {
        let clock = VirtualClock::shared("1994-11-06T08:49:37Z".parse::<Timestamp>().unwrap());
        Budget::new(BudgetSettings::default(), "int", clock, Arc::default())
    }

    fn window(remaining: &'static str, resets_in: u64) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("date", HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        headers.insert("x-rate-limit-limit", HeaderValue::from_static("100"));
        headers.insert("x-rate-limit-remaining", HeaderValue::from_static(remaining));
        headers.insert("x-rate-limit-reset", HeaderValue::from(784_111_777 + resets_in));
        headers
    }

    #[tokio::test(start_paused = true)]
    async fn a_removal_goes_at_once_where_the_directory_waits_for_the_window() {
        let budget = budget();
        budget.admit("groups", Lane::Directory).await.observe(&window("15", 19));
        let started = budget.clock.elapsed();
        assert!(budget.admit("groups", Lane::Directory).now_or_never().is_none());
        assert!(budget.admit("groups", Lane::Removal).now_or_never().is_some());
        assert!(budget.admit("users", Lane::Directory).now_or_never().is_some(), "another bucket");
        budget.admit("groups", Lane::Directory).await;
        assert_eq!(budget.clock.elapsed().saturating_sub(started).as_secs(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_seen_of_a_bucket_is_its_pace_and_how_long_answers_take_without_the_waiting() {
        let budget = budget();
        assert_eq!(budget.seen("groups"), Seen::default());
        let permit = budget.admit("groups", Lane::Directory).await;
        clock::sleep(Duration::from_millis(80)).await;
        permit.observe(&window("36", 19));
        drop(permit);
        let seen = budget.seen("groups");
        assert_eq!(seen.latency, Some(Duration::from_millis(80)));
        assert_eq!(seen.pace.map(|pace| (pace.a_window, pace.left)), Some((64, 0)));
        // This one waits for the window.
        let permit = budget.admit("groups", Lane::Directory).await;
        clock::sleep(Duration::from_millis(160)).await;
        permit.observe(&window("99", 59));
        assert_eq!(budget.seen("groups").latency, Some(Duration::from_millis(90)), "an eighth of the way");
    }

    #[tokio::test(start_paused = true)]
    async fn the_directory_leaves_slots_for_the_other_lanes() {
        let budget = budget();
        let mut held = Vec::new();
        while let Some(permit) = budget.admit("groups", Lane::Directory).now_or_never() {
            held.push(permit);
        }
        assert_eq!(held.len(), 5);
        assert!(budget.admit("groups", Lane::Grant).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_removal_finds_a_slot_however_many_of_the_others_wait_or_are_on_their_way() {
        let budget = budget();
        budget.admit("groups", Lane::Grant).await.observe(&window("4", 50));
        // Four left are below the reserve of grants, so these wait for the window …
        let mut waiting =
            Box::pin(futures_util::future::join_all((0..20).map(|_| budget.admit("groups", Lane::Grant))));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(budget.admit("groups", Lane::Removal).now_or_never().is_some());
        // … and these are slow to be answered.
        let mut slow = Vec::new();
        while let Some(permit) = budget.admit("user groups", Lane::Verification).now_or_never() {
            slow.push(permit);
        }
        assert_eq!(slow.len(), 6);
        let removals = [(), ()].map(|()| budget.admit("groups", Lane::Removal).now_or_never());
        assert!(removals.iter().all(Option::is_some));
    }

    #[tokio::test(start_paused = true)]
    async fn the_governor_keeps_the_directory_to_its_allowance_whatever_the_headers_say() {
        let budget = budget();
        budget.admit("groups", Lane::Directory).await.observe(&window("100", 10));
        let mut sent = 0;
        // Unconstrained: tokio would end the loop after so many polls without a pause.
        while let Some(permit) = unconstrained(budget.admit("groups", Lane::Directory)).now_or_never() {
            sent += 1;
            permit.observe(&window("100", 10 + 3 * sent));
        }
        assert!((60..=64).contains(&sent), "{sent}");
    }
}
