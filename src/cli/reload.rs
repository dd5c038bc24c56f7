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
use crate::catalogue::ErrorCode;
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
    /// What the configuration says that is run with, or is about to be.
    known: Vec<Effective>,
    /// What the one before it said.
    former: Vec<Effective>,
    /// The new one, until it is run with.
    next: Option<Settings>,
    /// Whether what is in force is on disk, so that a stop forgets nothing.
    is_on_disk: Box<dyn Fn() -> bool + Send>,
}

impl Reload {
    pub(super) fn new(loaded: &Loaded, sources: Sources, manager: Manager) -> Self {
        let known = loaded.effective.clone();
        let state = State { former: known.clone(), known, next: None, is_on_disk: Box::new(|| true) };
        Self(Arc::new(Shared { sources, manager, state: Mutex::new(state) }))
    }

    /// From now on, this is asked before a running connector is stopped.
    pub(super) fn ask_first(&self, is_on_disk: impl Fn() -> bool + Send + 'static) {
        self.with(|state| state.is_on_disk = Box::new(is_on_disk));
    }

    /// The new one could not be run with: it is new again at the next hangup.
    pub(super) fn gave_way(&self) {
        self.with(|state| state.known = state.former.clone());
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
                warn!(event = "reload_refused", error = %chain(&error), "SIGHUP: the former configuration goes on: {error}");
                return false;
            }
        };
        if self.with(|state| state.known == loaded.effective) {
            info!("SIGHUP: the configuration is as it was; secrets are followed as they change");
            return false;
        }
        if let Err(error) = is_usable(&loaded.settings) {
            warn!(event = "reload_refused", error = %chain(&error), "SIGHUP: the former configuration goes on: {}", chain(&error));
            return false;
        }
        if !self.with(|state| (state.is_on_disk)()) {
            warn!(
                "SIGHUP: the former configuration goes on, because what is in force is not on disk: see why the state cannot be written, and try again [{}]",
                ErrorCode::JournalFails
            );
            return false;
        }
        info!(event = "reloading", "SIGHUP: another configuration; what was begun is finished first");
        for warning in &loaded.warnings {
            warn!("{warning} [{}]", ErrorCode::ConfigDoubtful);
        }
        manager.reloading();
        self.with(|state| {
            state.former = std::mem::replace(&mut state.known, loaded.effective);
            state.next = Some(loaded.settings);
        });
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
