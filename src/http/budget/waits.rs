//! # Purpose
//! Says that a lane waits for its turn, why, and when it goes on.
//!
//! # Invariants kept here
//! - A request's wait is judged in all, from when it asked: many short steps are a long wait.
//! - One line at the beginning and one at the end, however many requests wait there.
//!
//! # Not here
//! How long there is to wait, and why: `ledger`, `slots`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::info;

use super::{Lane, Reason};
use crate::clock::SharedClock;

/// A wait longer than this is worth a line in the log.
const NOTEWORTHY: Duration = Duration::from_secs(3);

/// Where requests wait now.
#[derive(Debug)]
pub(super) struct Waits {
    integration: String,
    clock: SharedClock,
    places: Mutex<BTreeMap<Place, Crowd>>,
}

type Place = (&'static str, Lane);

/// The requests at one place that wait for long.
#[derive(Debug)]
struct Crowd {
    requests: u32,
    /// When the first one of them asked.
    since: Duration,
}

/// The wait of one request.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    waits: &'a Waits,
    place: Place,
    since: Duration,
    /// It is one of the [`Crowd`].
    is_long: bool,
    goes_on: bool,
}

impl Waits {
    pub(super) fn new(integration: String, clock: SharedClock) -> Self {
        Self { integration, clock, places: Mutex::default() }
    }

    /// A request asks for its turn.
    pub(super) fn begin(&self, place: Place) -> Wait<'_> {
        Wait { waits: self, place, since: self.clock.elapsed(), is_long: false, goes_on: false }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Crowd>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait<'_> {
    /// In how long it becomes worth a line.
    pub(super) fn becomes_long_in(&self) -> Duration {
        NOTEWORTHY.saturating_sub(self.waits.clock.elapsed().saturating_sub(self.since))
    }

    /// It goes on for `more`, or for nobody knows how long.
    pub(super) fn lasts(&mut self, reason: Reason, more: Option<Duration>) {
        let so_far = self.waits.clock.elapsed().saturating_sub(self.since);
        let in_all = more.map(|more| so_far + more);
        if self.is_long || in_all.is_some_and(|in_all| in_all < NOTEWORTHY) {
            return;
        }
        self.is_long = true;
        {
            let mut places = self.waits.lock();
            let crowd = places.entry(self.place).or_insert(Crowd { requests: 0, since: self.since });
            crowd.requests += 1;
            if crowd.requests > 1 {
                return;
            }
        }
        let (bucket, lane) = (self.place.0, self.place.1.as_str());
        let seconds = in_all.map(|in_all| in_all.as_secs());
        let how_long = seconds.map_or_else(String::new, |seconds| format!(" {seconds} s"));
        info!(
            event = "budget_wait",
            okta.bucket = bucket,
            lane,
            integration.id = self.waits.integration,
            wait_seconds = seconds,
            reason = reason.as_str(),
            "waiting{how_long} ({bucket}, {lane} lane): {}",
            reason.as_str()
        );
    }

    /// The request goes on.
    pub(super) fn over(mut self) {
        self.goes_on = true;
    }

    /// Since when the crowd has waited of which this was the last one.
    fn leaves(&self) -> Option<Duration> {
        let mut places = self.waits.lock();
        let crowd = places.get_mut(&self.place).filter(|_| self.is_long)?;
        crowd.requests -= 1;
        if crowd.requests > 0 {
            return None;
        }
        places.remove(&self.place).map(|crowd| crowd.since)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let Some(since) = self.leaves() else { return };
        let waited = self.waits.clock.elapsed().saturating_sub(since).as_secs();
        let (bucket, lane) = (self.place.0, self.place.1.as_str());
        let what = if self.goes_on { "going on" } else { "given up" };
        info!(
            event = "budget_wait_over",
            okta.bucket = bucket,
            lane,
            integration.id = self.waits.integration,
            waited_seconds = waited,
            "{what} after {waited} s ({bucket}, {lane} lane)",
        );
    }
}
