//! # Purpose
//! The simulators' own clock: system time, or an origin plus tokio's pausable time, and a skew that can be set.
//!
//! # Invariants kept here
//! - The only file of this crate that reads time.
//!
//! # Not here
//! Waiting: handlers use tokio's timers, which the paused clock drives too.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Tells the time to a simulator. Clones share the skew.
#[derive(Clone, Debug)]
pub struct SimClock {
    base: Base,
    skew_ms: Arc<AtomicI64>,
}

#[derive(Clone, Debug)]
enum Base {
    System,
    Virtual { origin: Timestamp, started: tokio::time::Instant },
}

impl SimClock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self { base: Base::System, skew_ms: Arc::default() }
    }

    /// `origin` plus the time that tokio's (paused) clock has run since this call.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn virtual_from(origin: Timestamp) -> Self {
        Self { base: Base::Virtual { origin, started: tokio::time::Instant::now() }, skew_ms: Arc::default() }
    }

    /// The instant a peer with this clock believes it is.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Timestamp {
        let unskewed = match &self.base {
            Base::System => Timestamp::now(),
            Base::Virtual { origin, started } => {
                let elapsed = SignedDuration::try_from(started.elapsed()).unwrap_or(SignedDuration::MAX);
                origin.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
            }
        };
        let skew = SignedDuration::from_millis(self.skew_ms.load(Ordering::Relaxed));
        unskewed.saturating_add(skew).unwrap_or(unskewed)
    }

    /// Sets this peer's clock ahead (`true`) or behind by `by`.
    pub fn set_skew(&self, by: Duration, ahead: bool) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.skew_ms.store(if ahead { ms } else { -ms }, Ordering::Relaxed);
    }
}
