//! # Purpose
//! Keeps a peer that is down from being stormed: after a failure one probe at a time, with growing pauses.
//!
//! # Invariants kept here
//! - Pure: `now` is an argument, on the monotonic clock.
//! - The first success opens the gate for everybody, so that what waited goes on at once.
//!
//! # Not here
//! Failures of a single step: `reconciler` has a pause for each.

use std::time::Duration;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gate {
    failures: u32,
    closed_until: Duration,
}

const FIRST: Duration = Duration::from_millis(500);
/// Short, so that removals follow within seconds when the peer is back.
const LONGEST: Duration = Duration::from_secs(4);

impl Gate {
    /// How many may be on their way now, when `in_flight` are.
    pub(super) fn admits(&self, in_flight: usize, now: Duration) -> usize {
        match self.failures {
            0 => usize::MAX,
            _ if now < self.closed_until || in_flight > 0 => 0,
            _ => 1,
        }
    }

    /// When to ask again, while the gate is closed.
    pub(super) fn opens_at(&self) -> Option<Duration> {
        (self.failures > 0).then_some(self.closed_until)
    }

    /// The peer answered.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The peer did not answer. Returns whether that is news.
    pub(super) fn failed(&mut self, now: Duration) -> bool {
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(self.failures.min(8))).min(LONGEST);
        self.closed_until = self.closed_until.max(now + pause);
        self.failures = self.failures.saturating_add(1);
        self.failures == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_probe_at_a_time_until_the_first_success() {
        let mut gate = Gate::default();
        assert_eq!(gate.admits(100, Duration::ZERO), usize::MAX);
        assert!(gate.failed(Duration::ZERO));
        assert_eq!(gate.admits(0, Duration::from_millis(499)), 0);
        assert_eq!(gate.admits(0, Duration::from_millis(500)), 1);
        assert_eq!(gate.admits(1, Duration::from_millis(500)), 0);
        assert!(!gate.failed(Duration::from_millis(500)), "no news");
        assert_eq!(gate.opens_at(), Some(Duration::from_millis(1500)));
        for _ in 0..20 {
            gate.failed(Duration::from_secs(10));
        }
        assert_eq!(gate.opens_at(), Some(Duration::from_secs(14)), "never longer than four seconds");
        gate.succeeded();
        assert_eq!(gate.admits(3, Duration::from_secs(10)), usize::MAX);
    }
}
