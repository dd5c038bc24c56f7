//! # Purpose
//! What a hangup brings: another configuration, where there is one that can be used.
//!
//! # Invariants kept here
//! - Keys, values and secret files of a new configuration are found right before the old one is let go of.
//!
//! # Not here
//! Running with it: `run`.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use crate::app::{Outside, StartError, read_secrets};
use crate::config::{Effective, Loaded, Settings, Sources, load};
use crate::runtime::Manager;
use crate::telemetry::chain;

/// Shared by the signal and by whoever runs the daemon. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reload(Arc<Shared>);

struct Shared {
    sources: Sources,
    manager: Manager,
    state: Mutex<State>,
}

struct State {
    /// What the last configuration that was taken says.
    known: Vec<Effective>,
    /// It, until it is run with.
    next: Option<Settings>,
}

impl Reload {
    pub(super) fn new(loaded: &Loaded, sources: Sources, manager: Manager) -> Self {
        let state = Mutex::new(State { known: loaded.effective.clone(), next: None });
        Self(Arc::new(Shared { sources, manager, state }))
    }

    /// Looks for another configuration, at a hangup.
    pub(super) fn is_changed(&self) -> impl FnMut() -> bool + Send + 'static {
        let reload = self.clone();
        move || reload.look()
    }

    /// Whether there is one that waits to be run with.
    pub(super) fn is_pending(&self) -> impl Fn() -> bool + Send + 'static {
        let reload = self.clone();
        move || reload.with(|state| state.next.is_some())
    }

    /// The one that waits.
    pub(super) fn take(&self) -> Option<Settings> {
        self.with(|state| state.next.take())
    }

    fn look(&self) -> bool {
        let Shared { sources, manager, .. } = self.0.as_ref();
        let loaded = match load(sources) {
            Ok(loaded) => loaded,
            Err(error) => {
                warn!(error = %error, "SIGHUP: the former configuration goes on: {error}");
                return false;
            }
        };
        if self.with(|state| state.known == loaded.effective) {
            info!("SIGHUP: the configuration is as it was; secrets are followed as they change");
            return false;
        }
        if let Err(error) = is_usable(&loaded.settings) {
            warn!(error = %chain(&error), "SIGHUP: the former configuration goes on: {}", chain(&error));
            return false;
        }
        info!("SIGHUP: another configuration; what was begun is finished first");
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        manager.reloading();
        self.with(|state| *state = State { known: loaded.effective, next: Some(loaded.settings) });
        true
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn is_usable(settings: &Settings) -> Result<(), StartError> {
    read_secrets(settings)?;
    Outside::real(settings)?;
    Ok(())
}
