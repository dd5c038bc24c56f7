//! # Purpose
//! The rate budget of one Okta organization: who may send now, and who waits for whom.
//!
//! # Invariants kept here
//! - Every request to Okta holds a [`Permit`]; there is no way round it.
//! - More urgent lanes are never behind less urgent ones: each lane has its own reserve of requests, the directory its
//!   own, smaller number of concurrent requests, and removals some that nobody else uses (invariant 11).
//! - Who waits for a window holds no slot: waiting keeps nobody else from sending.
//! - A long wait is told of once, with its reason and its end (`waits`).
//! - Nothing is hard-coded about limits: they are learned from the answers.
//! - Where several daemons share the organization, each keeps to its slice of the share, and a slice that has become less
//!   binds whoever waits already. A slice that was lent is lost when its time is over, without anybody doing anything.
//!
//! # Not here
//! What a single answer means: `headers`; the arithmetic: `ledger` and `claim`; who gets which slice: `slices`.

pub mod claim;
pub mod headers;
pub mod ledger;
pub mod slices;
mod slots;
mod waits;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use http::HeaderMap;
use jiff::Timestamp;
use tokio::sync::Notify;

use slots::{Held, Slots};
use waits::{Wait, Waits};

pub use claim::Claim;
pub use headers::{Reading, read};
pub use ledger::{Lane, Pace, Reason};
pub use slices::Demand;

use crate::clock::{self, SharedClock};
use crate::http::classify::http_date;
use crate::http::peer_clock::PeerClock;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{BucketLabels, IntegrationLabels, LaneLabels};
use claim::{directory_allowance, directory_pace};
use ledger::{Admission, Ledger};

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
    state: Mutex<State>,
    peer_clock: Mutex<PeerClock>,
    changed: Notify,
    slots: Slots,
    waiting: Waiting,
}

struct State {
    claim: Claim,
    lent: Option<Lent>,
    buckets: BTreeMap<&'static str, Bucket>,
}

/// Until when the slice is ours, and what of it is left then.
#[derive(Clone, Copy, Debug)]
struct Lent {
    until: Duration,
    least: f64,
}

/// How many requests wait for a window.
#[derive(Debug, Default)]
struct Waiting {
    directory: AtomicU32,
    access: AtomicU32,
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
    quota: Quota,
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
            waits: Waits::new(integration.clone(), Arc::clone(&clock)),
            integration,
            clock,
            metrics,
            state: Mutex::new(State {
                claim: Claim { share: settings.share, slice: 1.0 },
                lent: None,
                buckets: BTreeMap::new(),
            }),
            peer_clock: Mutex::default(),
            changed: Notify::new(),
            slots: Slots::new(&settings),
            waiting: Waiting::default(),
        }
    }

    /// From now on `slice` of the share is ours, `0.0..=1.0`, and the rest is spent by other daemons. Until it is called
    /// the first time, all of it is ours.
    ///
    /// What has been admitted stays so; who waits goes by the new slice. A window of which more was spent than the slice
    /// now is has nothing left for us but what removals may take. With none at all (`0.0`, and what is no number) the
    /// directory stands still, removals go as ever, and of the others as many as one request a window is.
    pub fn set_slice(&self, slice: f64) {
        let now = self.clock.elapsed();
        self.take_slice(&mut self.lock(), slice, now);
        self.changed.notify_waiters();
    }

    /// The same until `until`, on the monotonic clock. From then on no more than `least` is ours.
    pub fn lend(&self, slice: f64, until: Duration, least: f64) {
        self.lock().lent = Some(Lent { until, least });
        self.set_slice(slice);
    }

    /// What of the share is ours.
    pub fn slice(&self) -> f64 {
        self.current(self.clock.elapsed()).claim.slice
    }

    fn take_slice(&self, state: &mut State, slice: f64, now: Duration) {
        let slice = if slice.is_nan() { 0.0 } else { slice.clamp(0.0, 1.0) };
        let labels = IntegrationLabels { integration: self.integration.clone() };
        self.metrics.fleet_slice.get_or_create(&labels).set(slice);
        let (before, after) = (state.claim, Claim { slice, ..state.claim });
        if before == after {
            return;
        }
        state.claim = after;
        for bucket in state.buckets.values_mut() {
            bucket.ledger.reslice(before, after, now);
            bucket.govern(after, &self.clock);
        }
        self.slots.resize(&self.settings, slice);
    }

    /// The state, less what was lent until now.
    fn current(&self, now: Duration) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if let Some(Lent { least, .. }) = state.lent.take_if(|lent| lent.until <= now)
            && least < state.claim.slice
        {
            self.take_slice(&mut state, least, now);
        }
        state
    }

    /// What this daemon could use now, for [`slices::divide`].
    pub fn demand(&self) -> Demand {
        let now = self.clock.elapsed();
        let state = self.current(now);
        let used = state.buckets.values().filter_map(|bucket| {
            let (limit, _) = bucket.ledger.known()?;
            Some((bucket.ledger.spent_lately(now), state.claim.of_fleet(limit)))
        });
        let part = |(spent, of): &(u32, u32)| f64::from(*spent) / f64::from(*of);
        let (spent, of) = used.max_by(|one, other| part(one).total_cmp(&part(other))).unwrap_or_default();
        Demand {
            directory_waiting: self.waiting.directory.load(Ordering::Relaxed),
            access_waiting: self.waiting.access.load(Ordering::Relaxed),
            spent,
            of,
        }
    }

    /// Waits until a request of `lane` may spend from `bucket`.
    ///
    /// Dropping the future gives up the place; dropping the permit ends the request.
    pub async fn admit(&self, bucket: &'static str, lane: Lane) -> Permit<'_> {
        let mut waits = self.waits.begin((bucket, lane));
        let mut one_more: Option<OneMore<'_>> = None;
        loop {
            let changed = self.changed.notified();
            let slots = self.slot(lane, &mut waits).await;
            let now = self.clock.elapsed();
            let (instant, reason) = match self.try_admit(bucket, lane, now) {
                Ok(()) => {
                    waits.over();
                    return Permit { budget: self, bucket, sent: now, _slots: slots };
                }
                Err(refused) => refused,
            };
            drop(slots);
            let wait = instant.saturating_sub(now).max(Duration::from_millis(10));
            one_more.get_or_insert_with(|| self.waiting.one(lane));
            waits.lasts(reason, Some(wait));
            tokio::select! {
                () = clock::sleep(wait) => {}
                () = changed => {}
            }
            let waited = self.clock.elapsed().saturating_sub(now).as_secs_f64();
            self.metrics.budget_wait.get_or_create(&self.lane_labels(bucket, lane)).inc_by(waited);
        }
    }

    /// A slot; the place in the queue for it is kept while it is told of.
    async fn slot(&self, lane: Lane, waits: &mut Wait<'_>) -> Held {
        let mut slots = std::pin::pin!(self.slots.take(lane));
        if let Some(slots) = clock::timeout(waits.becomes_long_in(), &mut slots).await {
            return slots;
        }
        waits.lasts(Reason::Slots, None);
        slots.await
    }

    /// Limit and requests left of each bucket that has been used.
    pub fn known(&self) -> Vec<(&'static str, u32, u32)> {
        let state = self.lock();
        let buckets = state.buckets.iter();
        buckets
            .filter_map(|(name, bucket)| bucket.ledger.known().map(|(limit, left)| (*name, limit, left)))
            .collect()
    }

    /// What is known of a bucket for the directory's estimates.
    pub fn seen(&self, bucket: &str) -> Seen {
        let now = self.clock.elapsed();
        let state = self.current(now);
        let Some(bucket) = state.buckets.get(bucket) else {
            return Seen::default();
        };
        Seen { pace: bucket.ledger.pace(state.claim, now), latency: bucket.latency }
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

    /// Spends a request, or says when to ask again, and why not now.
    fn try_admit(&self, name: &'static str, lane: Lane, now: Duration) -> Result<(), (Duration, Reason)> {
        let mut state = self.current(now);
        let claim = state.claim;
        let bucket = state.buckets.entry(name).or_default();
        if let Admission::NotBefore(instant) = bucket.ledger.check(lane, claim, now) {
            return Err((instant, bucket.ledger.reason(lane, claim, now)));
        }
        if let (Lane::Directory, Some(governor)) = (lane, &bucket.governor)
            && let Err(not_until) = governor.limiter.check()
        {
            let reason = if claim.has_siblings() { Reason::Slice } else { Reason::Spent };
            return Err((now + not_until.wait_time_from(now), reason));
        }
        bucket.ledger.spend(now);
        drop(state);
        let labels = self.lane_labels(name, lane);
        self.metrics.budget_requests.get_or_create(&labels).inc();
        // A lane that never waits is seen to.
        drop(self.metrics.budget_wait.get_or_create(&labels));
        Ok(())
    }

    fn lane_labels(&self, bucket: &'static str, lane: Lane) -> LaneLabels {
        LaneLabels { integration: self.integration.clone(), bucket, lane: lane.as_str() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    _slots: Held,
}

impl Permit<'_> {
    /// Learns from the answer's headers.
    pub fn observe(&self, headers: &HeaderMap) {
        self.observe_clock(headers);
        self.observe_latency();
        let Some(reading) = read(headers) else {
            return;
        };
        let now = self.budget.clock.elapsed();
        let mut state = self.budget.lock();
        let claim = state.claim;
        let bucket = state.buckets.entry(self.bucket).or_default();
        bucket.ledger.observe(reading, claim, now);
        bucket.govern(claim, &self.budget.clock);
        let Some((limit, remaining)) = bucket.ledger.known() else {
            return;
        };
        drop(state);
        let labels = BucketLabels { integration: self.budget.integration.clone(), bucket: self.bucket };
        self.budget.metrics.budget_limit.get_or_create(&labels).set(limit.into());
        self.budget.metrics.budget_remaining.get_or_create(&labels).set(remaining.into());
    }

    fn observe_latency(&self) {
        let took = self.budget.clock.elapsed().saturating_sub(self.sent);
        let mut state = self.budget.lock();
        let bucket = state.buckets.entry(self.bucket).or_default();
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
        self.budget.lock().buckets.entry(self.bucket).or_default().ledger.block(until);
    }

    /// Counts a 429.
    pub fn count_throttled(&self) {
        let labels = BucketLabels { integration: self.budget.integration.clone(), bucket: self.bucket };
        self.budget.metrics.throttled.get_or_create(&labels).inc();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(bucket) = self.budget.lock().buckets.get_mut(self.bucket) {
            bucket.ledger.settle();
        }
        self.budget.changed.notify_waiters();
    }
}

impl Bucket {
    /// Paces the directory by what is known of the limit, anew where that has changed.
    fn govern(&mut self, claim: Claim, clock: &SharedClock) {
        let quota = self.ledger.known().and_then(|(limit, _)| quota(limit, claim, self.ledger.window()));
        if self.governor.as_ref().map(|governor| governor.quota) != quota {
            let limiter = |quota| RateLimiter::direct_with_clock(quota, MonotonicClock(Arc::clone(clock)));
            self.governor = quota.map(|quota| Governor { quota, limiter: limiter(quota) });
        }
    }
}

fn quota(limit: u32, claim: Claim, window: Duration) -> Option<Quota> {
    let burst = NonZeroU32::new(directory_allowance(limit, claim))?;
    Some(Quota::with_period(directory_pace(limit, claim, window)?)?.allow_burst(burst))
}

impl Waiting {
    /// Another one waits, until what is returned is dropped.
    fn one(&self, lane: Lane) -> OneMore<'_> {
        let number = match lane {
            Lane::Directory => &self.directory,
            Lane::Removal | Lane::Grant | Lane::Verification => &self.access,
        };
        number.fetch_add(1, Ordering::Relaxed);
        OneMore(number)
    }
}

/// A request that waits.
struct OneMore<'a>(&'a AtomicU32);

impl Drop for OneMore<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
