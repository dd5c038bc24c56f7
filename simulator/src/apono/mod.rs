//! # Purpose
//! A stand-in for Apono's control plane: sessions, leased tasks, results, the desired grants, and a SCIM 2.0 service
//! provider, as `docs/connector-api.yaml` describes them.
//!
//! # Invariants kept here
//! - It hands out every task at least once and loses none: a lease that runs out puts its task back.
//! - One result stands per task; the first one wins.
//! - It is strict: whatever a caller sends against the contract is refused, named and kept in
//!   [`AponoSimulator::violations`].
//! - No lock is held while waiting, and never two locks at once.
//!
//! # Not here
//! Apono's real connector protocol, which is not public. This is the project's own contract.

mod answer;
mod door;
mod grant;
mod lease;
mod record;
mod result;
mod scim;
mod session;
mod settings;
mod shape;
mod task;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use tokio::sync::watch;

pub use self::grant::{Grant, Granted};
pub use self::record::Exchange;
pub use self::settings::{ScimSettings, Settings};

use self::grant::Grants;
use self::record::Log;
use self::scim::Scim;
use self::session::Sessions;
use self::task::Tasks;
use crate::clock::SimClock;
use crate::fault::Faults;

/// A control plane. Clones are the same one.
#[derive(Clone)]
pub struct AponoSimulator {
    inner: Arc<Inner>,
}

struct Inner {
    connector_id: String,
    heartbeat_interval_sec: u64,
    clock: SimClock,
    faults: Faults,
    access: Mutex<Access>,
    plane: Mutex<Plane>,
    scim: Mutex<Scim>,
    log: Mutex<Log>,
    /// Counts every change of anything.
    changes: watch::Sender<u64>,
    /// Counts what may end a long poll.
    work: watch::Sender<u64>,
}

/// Who may call, and about what.
struct Access {
    tokens: Vec<String>,
    scim_token: Option<String>,
    integrations: BTreeSet<String>,
}

/// What the connector API works on.
#[derive(Debug, Default)]
struct Plane {
    sessions: Sessions,
    tasks: Tasks,
    grants: Grants,
}

impl fmt::Debug for AponoSimulator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AponoSimulator")
            .field("connector_id", &self.inner.connector_id)
            .finish_non_exhaustive()
    }
}

impl AponoSimulator {
    /// An empty control plane that tells the time by `clock`.
    #[must_use]
    pub fn new(settings: Settings, clock: SimClock) -> Self {
        let Settings { connector_id, token, integrations, heartbeat_interval_sec, scim } = settings;
        let access = Access {
            tokens: vec![token],
            scim_token: scim.token.clone(),
            integrations: integrations.into_iter().collect(),
        };
        Self {
            inner: Arc::new(Inner {
                connector_id,
                heartbeat_interval_sec,
                clock,
                faults: Faults::default(),
                access: Mutex::new(access),
                plane: Mutex::new(Plane::default()),
                scim: Mutex::new(Scim::new(scim)),
                log: Mutex::new(Log::new()),
                changes: watch::Sender::new(0),
                work: watch::Sender::new(0),
            }),
        }
    }

    /// `/api/connector/v1/…` and `/scim/v2/{integration_id}/…`.
    pub fn router(&self) -> Router {
        Router::new().fallback(door::enter).with_state(self.clone())
    }

    /// The script of faults, by operation name (the `operationId`s of `docs/connector-api.yaml`).
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// From now on only this connector token is accepted.
    pub fn set_token(&self, token: &str) {
        self.set_tokens(&[token]);
    }

    /// From now on these connector tokens are accepted, and no other.
    pub fn set_tokens(&self, tokens: &[&str]) {
        self.inner.access().tokens = tokens.iter().map(|&token| token.into()).collect();
        self.inner.bump();
    }

    /// From now on this token is the one for SCIM; `None` accepts the connector's.
    pub fn set_scim_token(&self, token: Option<&str>) {
        self.inner.access().scim_token = token.map(Into::into);
        self.inner.bump();
    }

    /// Makes an integration known.
    pub fn add_integration(&self, integration_id: &str) {
        self.inner.access().integrations.insert(integration_id.into());
        self.inner.bump();
    }

    /// Makes an integration unknown. Its directory stays and is found again if the integration is.
    pub fn remove_integration(&self, integration_id: &str) {
        self.inner.access().integrations.remove(integration_id);
        self.inner.bump();
    }

    /// Every breach of the contract so far, as `operation: what`.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.inner.log().violations()
    }

    /// The last exchanges, in the order in which they were answered.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.inner.log().read()
    }

    /// How many exchanges are kept; 0 keeps none and costs nothing. Counters do not depend on it.
    pub fn set_exchange_log(&self, kept: usize) {
        self.inner.log().keep(kept);
    }

    /// How often `operation` was called, answered or not.
    #[must_use]
    pub fn call_count(&self, operation: &str) -> u64 {
        self.inner.log().counted(operation)
    }

    /// How often anything was called.
    #[must_use]
    pub fn total_calls(&self) -> u64 {
        self.inner.log().total()
    }

    /// Resolves at the next change of anything after this call: a request answered, a task enqueued, a setting set.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut changes = self.inner.changes.subscribe();
        let inner = Arc::clone(&self.inner);
        async move {
            // The sender lives as long as `inner`, so this cannot fail.
            let _ = changes.changed().await;
            drop(inner);
        }
    }

    /// Resolves as soon as `holds`; looks again at every change.
    pub async fn wait_until<F>(&self, mut holds: F)
    where
        F: FnMut(&Self) -> bool,
    {
        loop {
            let changed = self.changed();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }
}

impl Inner {
    fn bump(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// As [`Inner::bump`], and wakes the long polls.
    fn bump_work(&self) {
        self.work.send_modify(|count| *count += 1);
        self.bump();
    }

    fn access(&self) -> MutexGuard<'_, Access> {
        lock(&self.access)
    }

    fn plane(&self) -> MutexGuard<'_, Plane> {
        lock(&self.plane)
    }

    fn scim(&self) -> MutexGuard<'_, Scim> {
        lock(&self.scim)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
