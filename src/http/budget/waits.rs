//! # Purpose
//! Says that a lane waits for its bucket, and when it goes on.
//!
//! # Invariants kept here
//! - One line at the beginning and one at the end, however many requests wait there.
//!
//! # Not here
//! How long there is to wait: `ledger`.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing::info;

use super::Lane;

/// A wait longer than this is worth a line in the log.
pub(super) const NOTEWORTHY: Duration = Duration::from_secs(3);

/// Where requests wait now.
#[derive(Debug)]
pub(super) struct Waits {
    integration: String,
    places: Mutex<BTreeSet<Place>>,
}

type Place = (&'static str, Lane);

/// The wait at one place, told of by the request that was the first to wait there.
#[derive(Debug)]
pub(super) struct Told<'a> {
    waits: &'a Waits,
    place: Place,
    since: Duration,
}

impl Waits {
    pub(super) fn new(integration: String) -> Self {
        Self { integration, places: Mutex::default() }
    }

    /// A request begins to wait; nothing where it is not worth a line, or another has told of it.
    pub(super) fn begin(&self, place: Place, now: Duration, wait: Duration) -> Option<Told<'_>> {
        let is_first = || self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(place);
        if wait < NOTEWORTHY || !is_first() {
            return None;
        }
        let (bucket, lane) = (place.0, place.1.as_str());
        info!(
            event = "budget_wait",
            okta.bucket = bucket,
            lane,
            integration.id = self.integration,
            wait_seconds = wait.as_secs(),
            "waiting {} s for Okta's next rate limit window ({bucket}, {lane} lane)",
            wait.as_secs(),
        );
        Some(Told { waits: self, place, since: now })
    }
}

impl Told<'_> {
    /// The request goes on.
    pub(super) fn over(self, now: Duration) {
        let waited = now.saturating_sub(self.since).as_secs();
        let (bucket, lane) = (self.place.0, self.place.1.as_str());
        info!(
            event = "budget_wait_over",
            okta.bucket = bucket,
            lane,
            integration.id = self.waits.integration,
            waited_seconds = waited,
            "going on after {waited} s ({bucket}, {lane} lane)",
        );
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.waits.places.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = ("/api/v1/groups", Lane::Directory);
    const NOW: Duration = Duration::from_mins(1);

    #[test]
    fn a_wait_is_told_of_once_however_many_wait_and_again_when_it_comes_again() {
        let waits = Waits::new("integration".to_owned());
        assert!(waits.begin(PLACE, NOW, NOTEWORTHY / 2).is_none(), "not worth a line");
        let first = waits.begin(PLACE, NOW, NOTEWORTHY).unwrap();
        assert!(waits.begin(PLACE, NOW, NOTEWORTHY).is_none(), "told of already");
        let other = waits.begin((PLACE.0, Lane::Grant), NOW, NOTEWORTHY);
        assert!(other.is_some(), "another lane");
        first.over(NOW + NOTEWORTHY);
        let given_up = waits.begin(PLACE, NOW, NOTEWORTHY).unwrap();
        drop(given_up);
        assert!(waits.begin(PLACE, NOW, NOTEWORTHY).is_some(), "whoever gave up waits no more");
    }
}
