//! # Purpose
//! Keeps a peer that is down from being stormed: after a failure a probe now and then, with growing pauses.
//!
//! # Invariants kept here
//! - Pure: `now` is an argument, on the monotonic clock.
//! - The first success opens the gate for everybody, so that what waited goes on at once.
//!
//! # Not here
//! Failures of a single step, and which step is the probe: `reconciler`.

use std::time::Duration;

use crate::http::retry::doubling;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gate {
    failures: u32,
    closed_until: Duration,
}

const FIRST: Duration = Duration::from_millis(500);
/// Short, so that removals follow within seconds when the peer is back.
const LONGEST: Duration = Duration::from_secs(2);
/// Two, so that a probe without an answer does not keep the next from being tried.
const PROBES: usize = 2;

impl Gate {
    /// Whether the peer answered last.
    pub(super) fn is_open(&self) -> bool {
        self.failures == 0
    }

    /// Whether one more may be on its way now, when `in_flight` are.
    pub(super) fn admits(&self, in_flight: usize, now: Duration) -> bool {
        self.is_open() || (now >= self.closed_until && in_flight < PROBES)
    }

    /// When to ask again, while the gate is closed.
    pub(super) fn opens_at(&self) -> Option<Duration> {
        (!self.is_open()).then_some(self.closed_until)
    }

    /// The peer answered. Returns whether that is news.
    pub(super) fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// The peer did not answer. Returns whether that is news.
    pub(super) fn failed(&mut self, now: Duration) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.closed_until = self.closed_until.max(now + doubling(FIRST, LONGEST, self.failures));
        self.failures == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_now_and_then_until_the_first_success() {
        let mut gate = Gate::default();
        assert!(gate.admits(100, Duration::ZERO));
        assert!(gate.failed(Duration::ZERO));
        assert!(!gate.admits(0, Duration::from_millis(499)));
        assert!(gate.admits(1, Duration::from_millis(500)));
        assert!(!gate.admits(2, Duration::from_millis(500)));
        assert!(!gate.failed(Duration::from_millis(500)), "no news");
        assert_eq!(gate.opens_at(), Some(Duration::from_millis(1500)));
        for _ in 0..20 {
            gate.failed(Duration::from_secs(10));
        }
        assert_eq!(gate.opens_at(), Some(Duration::from_secs(12)), "never longer than two seconds");
        assert!(gate.succeeded());
        assert!(!gate.succeeded(), "no news");
        assert!(gate.admits(100, Duration::from_secs(10)));
    }
}
