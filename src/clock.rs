//! # Purpose
//! The only door to time: wall clock, monotonic clock, and waiting.
//!
//! # Invariants kept here
//! - No other file reads time (`clippy.toml` bans it), so that a test moves all of the program's time at once.
//!
//! # Not here
//! What an instant means (expiry, renewal): pure functions that take `now`.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// Tells the time. One instance is shared by the whole program.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Time since this clock was made; never goes back, does not follow steps of the wall clock. On Linux it counts the time
    /// for which the machine was suspended.
    fn elapsed(&self) -> Duration;
}

/// A clock to hand around.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Duration,
}

/// The monotonic clock. After a suspension others have long taken this process for gone: it must not find that nothing has
/// passed.
fn monotonic() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    Duration::try_from(clock_gettime(CLOCK)).unwrap_or_default()
}

impl SystemClock {
    /// The clock of a running process.
    pub fn shared() -> SharedClock {
        Arc::new(Self { started: monotonic() })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        monotonic().saturating_sub(self.started)
    }
}

/// An origin plus the time that tokio's clock has run, which a test can pause and advance.
#[derive(Debug)]
pub struct VirtualClock {
    origin: Timestamp,
    started: tokio::time::Instant,
    stepped: Mutex<SignedDuration>,
}

impl VirtualClock {
    /// Starts at `origin` now.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn shared(origin: Timestamp) -> Arc<Self> {
        let stepped = Mutex::new(SignedDuration::ZERO);
        Arc::new(Self { origin, started: tokio::time::Instant::now(), stepped })
    }

    /// Sets the wall clock forwards or backwards, as an administrator or a suspended machine does.
    pub fn step(&self, by: SignedDuration) {
        *self.stepped.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let stepped = *self.stepped.lock().unwrap_or_else(PoisonError::into_inner);
        let plain = after(self.origin, self.started.elapsed());
        plain.checked_add(stepped).unwrap_or(plain)
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// How long something has stood, for what has no clock of its own at hand. Follows tokio's clock, which tests pause.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(tokio::time::Instant);

impl Stopwatch {
    /// Runs from now on.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn started() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// How long it has run.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// `instant` plus `duration`, or the end of time.
#[must_use]
pub fn after(instant: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| instant.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}

/// How long from `now` until `instant`; zero when it has passed.
#[must_use]
pub fn until(now: Timestamp, instant: Timestamp) -> Duration {
    Duration::try_from(instant.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// Waits. Follows tokio's clock, which tests pause.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// `future`'s output, or `None` when it took longer than `limit`.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_is_zero_for_what_has_passed() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let before: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(until(now, before), Duration::ZERO);
        assert_eq!(until(before, now), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_virtual_clock_moves_only_with_tokios() {
        let origin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = VirtualClock::shared(origin);
        assert_eq!(clock.now(), origin);
        sleep(Duration::from_millis(1500)).await;
        assert_eq!(clock.now(), after(origin, Duration::from_millis(1500)));
        assert_eq!(clock.elapsed(), Duration::from_millis(1500));
        clock.step(SignedDuration::from_secs(-60));
        assert_eq!(until(clock.now(), after(origin, Duration::from_millis(1500))).as_secs(), 60);
        assert_eq!(clock.elapsed(), Duration::from_millis(1500), "a step moves the wall clock alone");
    }
}
