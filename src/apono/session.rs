//! # Purpose
//! Keeps the session: announces it, says that it is still there, tells of changes.
//!
//! # Invariants kept here
//! - Apono's absence changes nothing here but the log and the status; grants do not depend on it.
//!
//! # Not here
//! Ending the session: `app`, when everything else has ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::client::{ControlPlane, Session};
use super::errors::AponoError;
use crate::clock::{self, SharedClock};
use crate::http::Class;
use crate::http::retry::doubling;
use crate::telemetry::{Metrics, chain};

/// Keeps one session.
pub struct SessionKeeper {
    /// Apono.
    pub control: Arc<ControlPlane>,
    /// What there is to say now.
    pub describe: Arc<dyn Fn() -> Session + Send + Sync>,
    /// How it stands, for whoever asks.
    pub connection: watch::Sender<Connection>,
    /// Time.
    pub clock: SharedClock,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// How it stands with the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Connection {
    /// Not asked yet.
    #[default]
    Unknown,
    /// It answers.
    Connected,
    /// It does not; that passes.
    Unreachable(String),
    /// It refuses us; a person must mend something.
    Refused(String),
}

/// Changes of an integration's state are noticed this often.
const LOOK: Duration = Duration::from_secs(2);

impl SessionKeeper {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut failures = 0_u32;
        while !stop.is_cancelled() {
            let session = (self.describe)();
            let result = tokio::select! {
                () = stop.cancelled() => return,
                result = self.control.announce(&session) => result,
            };
            let wait = match result {
                Ok(answer) => {
                    failures = 0;
                    self.note(Connection::Connected);
                    answer.heartbeat
                }
                Err(error) => {
                    failures += 1;
                    let class = error.class();
                    self.note(unconnected(&error));
                    pause(class, failures)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.until_changed(&session, wait) => {}
            }
        }
    }

    /// Waits for the next heartbeat, or for something new to say.
    async fn until_changed(&self, said: &Session, heartbeat: Duration) {
        let end = self.clock.elapsed() + heartbeat;
        loop {
            let left = end.saturating_sub(self.clock.elapsed());
            if left.is_zero() {
                return;
            }
            clock::sleep(left.min(LOOK)).await;
            let connected = *self.connection.borrow() == Connection::Connected;
            if connected && (self.describe)().integrations != said.integrations {
                return;
            }
        }
    }

    fn note(&self, now: Connection) {
        self.metrics.session_connected.set(i64::from(now == Connection::Connected));
        let before = self.connection.send_replace(now.clone());
        if before == now {
            return;
        }
        match now {
            Connection::Unknown => {}
            Connection::Connected => info!(event = "apono_connected", "connected to Apono"),
            Connection::Unreachable(reason) => {
                warn!(
                    event = "apono_lost",
                    error = reason,
                    "Apono cannot be reached; grants end on time without it: {reason}"
                );
            }
            Connection::Refused(reason) => {
                warn!(
                    event = "apono_refuses",
                    error = reason,
                    "Apono refuses the connector: {reason}; correct apono.token_file or apono.connector_id"
                );
            }
        }
    }
}

fn unconnected(error: &AponoError) -> Connection {
    let reason = chain(error).to_string();
    match error.class() {
        Class::Transient => Connection::Unreachable(reason),
        Class::Permanent | Class::Misconfigured => Connection::Refused(reason),
    }
}

fn pause(class: Class, failures: u32) -> Duration {
    let (first, longest) = match class {
        Class::Transient => (Duration::from_secs(1), Duration::from_secs(30)),
        Class::Permanent | Class::Misconfigured => (Duration::from_secs(10), Duration::from_mins(2)),
    };
    doubling(first, longest, failures)
}
