//! # Purpose
//! What time it is for the peer, learned from the `Date` of its answers.
//!
//! # Invariants kept here
//! - Pure: our clocks' readings are arguments.
//! - One answer is not believed: only two in a row that agree move the estimate, so that no single wrong `Date` ends a
//!   grant early or keeps one from beginning.
//!
//! # Not here
//! What follows from a difference: `access::conditions`, `okta::tokens`.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock;

/// The peer's clock beside ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerClock {
    believed: Option<Sight>,
    last: Option<Sight>,
}

/// One look at both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sight {
    theirs: Timestamp,
    elapsed: Duration,
}

/// Two looks that differ by more than this do not agree. `Date` has whole seconds, and answers take a while.
const AGREE_SECONDS: u64 = 5;

impl PeerClock {
    /// Takes in the `Date` of an answer that arrived when our monotonic clock showed `elapsed`.
    pub fn observe(&mut self, theirs: Timestamp, elapsed: Duration) {
        let sight = Sight { theirs, elapsed };
        let expected = self.last.map(|last| last.at(elapsed));
        if expected
            .is_some_and(|expected| expected.duration_since(theirs).as_secs().unsigned_abs() <= AGREE_SECONDS)
        {
            self.believed = Some(sight);
        }
        self.last = Some(sight);
    }

    /// The peer's time when our monotonic clock shows `elapsed`.
    pub fn now(&self, elapsed: Duration) -> Option<Timestamp> {
        self.believed.map(|sight| sight.at(elapsed))
    }
}

impl Sight {
    fn at(self, elapsed: Duration) -> Timestamp {
        clock::after(self.theirs, elapsed.saturating_sub(self.elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn two_answers_that_agree_are_believed() {
        let mut peer = PeerClock::default();
        peer.observe(instant(1000), seconds(10));
        assert_eq!(peer.now(seconds(10)), None);
        peer.observe(instant(1002), seconds(12));
        assert_eq!(peer.now(seconds(20)), Some(instant(1010)));
    }

    #[test]
    fn one_wrong_answer_changes_nothing() {
        let mut peer = PeerClock::default();
        peer.observe(instant(1000), seconds(10));
        peer.observe(instant(1001), seconds(11));
        peer.observe(instant(90_000), seconds(12));
        assert_eq!(peer.now(seconds(13)), Some(instant(1003)));
        peer.observe(instant(1003), seconds(13));
        assert_eq!(peer.now(seconds(14)), Some(instant(1004)));
        peer.observe(instant(1004), seconds(14));
        assert_eq!(peer.now(seconds(14)), Some(instant(1004)));
    }

    #[test]
    fn a_clock_that_was_set_is_followed() {
        let mut peer = PeerClock::default();
        for (theirs, elapsed) in [(1000, 0), (1001, 1), (5000, 2), (5001, 3)] {
            peer.observe(instant(theirs), seconds(elapsed));
        }
        assert_eq!(peer.now(seconds(3)), Some(instant(5001)));
    }
}
