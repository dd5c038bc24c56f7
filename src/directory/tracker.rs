//! # Purpose
//! Follows the run that goes on and publishes how far it is.
//!
//! # Invariants kept here
//! - Between two runs there is nothing to see, however a run has ended: it was cut off, too.
//!
//! # Not here
//! How long it will take: `progress` (pure). What was done: the run's report.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::progress::{Phase, Progress, Standing, Work, estimate, left};
use crate::clock::SharedClock;
use crate::http::Budget;

/// See the module.
pub struct Tracker {
    clock: SharedClock,
    budget: Arc<Budget>,
    going: Mutex<Option<Going>>,
    published: watch::Sender<Option<Progress>>,
}

/// A run that goes on.
struct Going {
    run_started_at: Timestamp,
    /// One, or more where they go on at the same time.
    parts: Vec<Part>,
}

/// A phase that goes on.
struct Part {
    phase: Phase,
    since: Duration,
    at_once: u32,
    standing: Standing,
}

impl Tracker {
    /// Of an organization with this budget.
    pub fn new(clock: SharedClock, budget: Arc<Budget>) -> Self {
        Self { clock, budget, going: Mutex::default(), published: watch::Sender::default() }
    }

    /// Every change of the progress; nothing while no run goes on.
    pub fn subscribe(&self) -> watch::Receiver<Option<Progress>> {
        self.published.subscribe()
    }

    /// How far the run is, with the time that is left as of now.
    pub fn look(&self) -> Option<Progress> {
        self.lock().as_ref().and_then(|going| self.progress(going))
    }

    /// A run begins; it ends with what is returned.
    pub(super) fn begin(&self) -> Follow<'_> {
        *self.lock() = Some(Going { run_started_at: self.clock.now(), parts: Vec::new() });
        self.enter(Phase::Groups, None, 1, Vec::new());
        Follow(self)
    }

    /// A phase begins that makes these requests, so many at a time. Those before it are over, unless they go with it.
    pub(super) fn enter(&self, phase: Phase, total: Option<u64>, at_once: usize, work: Vec<Work>) {
        let part = Part {
            phase,
            since: self.clock.elapsed(),
            at_once: u32::try_from(at_once).unwrap_or(u32::MAX),
            standing: Standing { done: 0, total, requests: 0, elapsed: Duration::ZERO, work },
        };
        if let Some(going) = self.lock().as_mut() {
            going.parts.retain(|other| phase.goes_with(other.phase));
            going.parts.push(part);
        }
        self.publish();
    }

    /// So much more of a phase is done.
    pub(super) fn advance(&self, phase: Phase, done: usize) {
        self.change(phase, |standing| standing.done += done as u64);
    }

    /// A page was read.
    pub(super) fn asked(&self, phase: Phase) {
        self.change(phase, |standing| standing.requests += 1);
    }

    /// How much there is turns out.
    pub(super) fn expect(&self, phase: Phase, total: u64) {
        self.change(phase, |standing| standing.total = Some(total));
    }

    fn change(&self, phase: Phase, change: impl FnOnce(&mut Standing)) {
        if let Some(going) = self.lock().as_mut()
            && let Some(part) = going.parts.iter_mut().find(|part| part.phase == phase)
        {
            change(&mut part.standing);
        }
        self.publish();
    }

    fn publish(&self) {
        self.published.send_replace(self.look());
    }

    /// Of the parts that go on, the one that will take longest by what is known.
    fn progress(&self, going: &Going) -> Option<Progress> {
        let parts = going.parts.iter().map(|part| self.part(going.run_started_at, part));
        parts.max_by_key(|progress| progress.eta_seconds)
    }

    fn part(&self, run_started_at: Timestamp, part: &Part) -> Progress {
        let elapsed = self.clock.elapsed().saturating_sub(part.since);
        let standing = Standing { elapsed, ..part.standing.clone() };
        let left = left(&standing, |bucket| self.budget.seen(bucket)).filter(|left| !left.is_empty());
        let estimate = left.and_then(|left| estimate(&left, part.at_once));
        Progress {
            run_started_at,
            phase: part.phase,
            done: standing.done,
            // More than there was last time: how much there is now is not known.
            total: standing.total.filter(|total| *total >= standing.done),
            eta_seconds: estimate.map(|estimate| estimate.left.as_secs()),
            requests_per_minute: estimate.and_then(|estimate| estimate.a_minute),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Going>> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").field("progress", &self.look()).finish_non_exhaustive()
    }
}

/// While it is held, a run goes on.
pub(super) struct Follow<'a>(&'a Tracker);

impl Drop for Follow<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
        self.0.publish();
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::clock::VirtualClock;
    use crate::http::Lane;
    use crate::http::budget::BudgetSettings;
    use crate::okta::bucket;

    #[tokio::test(start_paused = true)]
    async fn what_is_published_follows_the_run_and_is_gone_with_it() {
        let clock: SharedClock = VirtualClock::shared("1994-11-06T08:49:37Z".parse().unwrap());
        let budget = Budget::new(BudgetSettings::default(), "int", Arc::clone(&clock), Arc::default());
        let budget = Arc::new(budget);
        let tracker = Tracker::new(Arc::clone(&clock), Arc::clone(&budget));
        let published = tracker.subscribe();
        let seen = || published.borrow().clone().unwrap();
        tracker.advance(Phase::Groups, 7);
        assert_eq!(*published.borrow(), None, "no run goes on");

        let follow = tracker.begin();
        let work = vec![Work { bucket: Some(bucket::GROUPS), requests: 30 }];
        tracker.enter(Phase::Members, Some(30), 5, work);
        assert_eq!((seen().done, seen().total, seen().eta_seconds), (0, Some(30), None), "nothing is known");
        // Of a hundred 64 are the directory's, and now two of them.
        let mut headers = HeaderMap::new();
        headers.insert("date", HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        headers.insert("x-rate-limit-limit", HeaderValue::from_static("100"));
        headers.insert("x-rate-limit-remaining", HeaderValue::from_static("38"));
        headers.insert("x-rate-limit-reset", HeaderValue::from(784_111_777 + 19));
        budget.admit(bucket::GROUPS, Lane::Directory).await.observe(&headers);
        tracker.asked(Phase::Members);
        tracker.advance(Phase::Members, 1);
        assert_eq!((seen().done, seen().requests_per_minute), (1, Some(64)));
        let until_the_reset = seen().eta_seconds.unwrap();
        assert!((18..=20).contains(&until_the_reset), "{until_the_reset}");
        crate::clock::sleep(Duration::from_secs(15)).await;
        assert_eq!(tracker.look().unwrap().eta_seconds, Some(until_the_reset - 15), "as of now");
        tracker.advance(Phase::Members, 50);
        assert_eq!((seen().total, seen().eta_seconds), (None, None), "there is more than was known");
        tracker.enter(Phase::Users, None, 1, Vec::new());
        tracker.advance(Phase::Members, 1);
        tracker.advance(Phase::Users, 200);
        assert_eq!(
            (seen().phase, seen().done),
            (Phase::Users, 200),
            "both go on, and of neither the end is known"
        );
        tracker.enter(Phase::Planning, None, 1, Vec::new());
        assert_eq!((seen().phase, seen().done), (Phase::Planning, 0));
        drop(follow);
        assert_eq!((published.borrow().clone(), tracker.look()), (None, None));
    }
}
