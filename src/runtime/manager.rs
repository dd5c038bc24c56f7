//! # Purpose
//! Tells the service manager how the process is (`sd_notify(3)`): ready, alive, reloading, stopping.
//!
//! # Invariants kept here
//! - The watchdog is fed with the progress of the loops, not with the life of a timer.
//! - Without a service manager nothing is said and nothing fails.
//!
//! # Not here
//! What progress is: `server::readiness`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::catalogue::ErrorCode;
use crate::clock;

/// How the process is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Whether the loops make progress.
    pub is_live: bool,
    /// One line for `systemctl status`.
    pub status: String,
}

/// The way to the service manager. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    /// A message that could not be sent has been told of.
    complained: Arc<AtomicBool>,
}

/// The status is looked at this often, and told when it has changed.
const PULSE: Duration = Duration::from_secs(1);
/// What a stop may take beyond `TimeoutStopSec`, where that is shorter.
const STOP: Duration = Duration::from_secs(30);

impl Manager {
    /// Everything was opened, and the tasks run.
    pub fn ready(&self, pulse: &Pulse) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(&pulse.status)]);
    }

    /// Another configuration is taken up. [`Manager::ready`] ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => self.complain(&error),
        }
    }

    /// No new work is begun.
    pub fn stopping(&self) {
        let micros = u32::try_from(STOP.as_micros()).unwrap_or(u32::MAX);
        let status = NotifyState::Status("stopping; what was begun is finished first");
        self.tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros), status]);
    }

    /// Tells how the process is until `stop`, and then that it stops, unless it begins `again`. The watchdog is fed while
    /// `look` finds it alive.
    pub async fn keep_telling(
        self,
        look: impl Fn() -> Pulse + Send,
        again: impl Fn() -> bool + Send,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        // A third, so that one late turn costs nothing.
        let every = sd_notify::watchdog_enabled().map_or(PULSE, |limit| (limit / 3).min(PULSE));
        let mut told = None;
        while stop.run_until_cancelled(clock::sleep(every)).await.is_some() {
            let pulse = look();
            if pulse.is_live {
                self.tell(&[NotifyState::Watchdog]);
            }
            if told.as_ref() != Some(&pulse.status) {
                self.tell(&[NotifyState::Status(&pulse.status)]);
                told = Some(pulse.status);
            }
        }
        if !again() {
            self.stopping();
        }
        Ok(())
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            self.complain(&error);
        }
    }

    fn complain(&self, error: &std::io::Error) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            warn!(%error, "the service manager cannot be told anything [{}]: {error}", ErrorCode::ManagerNotTold);
        }
    }
}
