//! # Purpose
//! `run`: the daemon, through every configuration that it is given.
//!
//! # Invariants kept here
//! - Nothing is opened before the whole configuration was found right.
//! - A new configuration that cannot be used changes nothing; one that turns out so when it is run with gives way to the
//!   old one.
//!
//! # Not here
//! The daemon itself: `app`. Noticing a new configuration: `reload`.

use std::time::Duration;

use tracing::{error, info, warn};

use super::reload::Reload;
use super::runtime::threads;
use super::{Exit, complain, logging};
use crate::app::{App, Outside, StartError};
use crate::catalogue::ErrorCode;
use crate::config::{Settings, Sources, load};
use crate::runtime::{Ending, Manager, Signals};
use crate::secrets::mounts;
use crate::telemetry::chain;
use crate::telemetry::log::Log;

pub(super) fn run(sources: &Sources) -> Exit {
    let loaded = match load(sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            logging::last_words(&error, sources);
            return Exit::Config;
        }
    };
    let log = match logging::install(&loaded.settings.log, sources) {
        Ok(log) => log,
        Err(error) => {
            complain(&format!("{} [{}]", chain(&error), ErrorCode::LogSettings));
            return Exit::Config;
        }
    };
    for warning in &loaded.warnings {
        warn!("{warning} [{}]", ErrorCode::ConfigDoubtful);
    }
    let runtime = match threads() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let manager = Manager::default();
    let reload = Reload::new(&loaded, sources.clone(), manager.clone());
    let ended = runtime.block_on(run_until_stopped(loaded.settings, &reload, &manager, &log));
    // Something that blocks (a name that does not resolve) must not hold up the exit.
    runtime.shutdown_timeout(LAST_BLOCKING);
    let exit = match ended {
        Ok(exit) => exit,
        Err(StartError::Config(error)) if log.is_the_journal() => {
            error!(exit = Exit::Config.code(), "{error}");
            Exit::Config
        }
        Err(StartError::Config(error)) => {
            complain(&error.to_string());
            Exit::Config
        }
        Err(error) => {
            let exit = Exit::from(&error);
            error!(exit = exit.code(), "{}", chain(&error));
            exit
        }
    };
    log.flush();
    exit
}

/// Kubernetes never renews what it mounts by `subPath`; that is not seen before a rotation that does not happen.
fn warn_of_fixed_mounts(settings: &Settings) {
    let Some(mounts) = mounts() else { return };
    for file in settings.secret_files().into_iter().chain(settings.certificate_files()) {
        if file.is_mounted_by_itself(&mounts) {
            warn!(
                file = %file.path().display(),
                "{} is mounted by itself (subPath, or a bind mount of one file), so what replaces it is never seen; mount the folder that it is in [{}]",
                file.path().display(),
                ErrorCode::FixedMount
            );
        }
    }
}

/// For work on blocking threads, after everything else has ended.
const LAST_BLOCKING: Duration = Duration::from_secs(1);

/// One configuration after the other, on the same state.
async fn run_until_stopped(
    mut settings: Settings,
    reload: &Reload,
    manager: &Manager,
    log: &Log,
) -> Result<Exit, StartError> {
    let mut signals = Signals::install(reload.is_changed()).map_err(StartError::Signals)?;
    let mut former = None;
    loop {
        let mut app = match build(settings.clone(), log.clone()).await {
            Ok(app) => app,
            Err(error) => {
                let Some(good) = former.take() else { return Err(error) };
                reload.gave_way();
                warn!(event = "reload_refused", error = %chain(&error),
                    "the new configuration cannot be run with, and the former one goes on: {}", chain(&error));
                settings = good;
                continue;
            }
        };
        if let Err(error) = log.configure(&settings.log.level) {
            warn!(error = %chain(&error), "{} [{}]", chain(&error), ErrorCode::LogSettings);
        }
        info!(event = "started",
            version = env!("CARGO_PKG_VERSION"),
            connector.id = %settings.apono.connector_id,
            organizations = settings.okta.len(),
            admin.listen = app.listening().map(tracing::field::display),
            custom_integration.listen = app.custom_listening().map(tracing::field::display),
            "apono-connector {} runs for {} organization{}",
            env!("CARGO_PKG_VERSION"),
            settings.okta.len(),
            if settings.okta.len() == 1 { "" } else { "s" }
        );
        warn_of_fixed_mounts(&settings);
        let facts = app.facts();
        reload.ask_first(move || facts().journal_writable);
        app.keep_telling(manager, reload.is_pending());
        let ending = app.run(Some(&mut signals)).await;
        let new = reload.take();
        if new.is_some() && !matches!(ending, Ending::Again) {
            // The end was asked for while another configuration was to be taken up.
            manager.stopping();
        }
        match (&ending, new) {
            (Ending::Again, Some(new)) => former = Some(std::mem::replace(&mut settings, new)),
            (Ending::Stopped | Ending::Again | Ending::Cut | Ending::Died { .. }, _) => {
                return Ok(Exit::from(&ending));
            }
        }
    }
}

async fn build(settings: Settings, log: Log) -> Result<App, StartError> {
    let outside = Outside::real(&settings)?;
    App::build(settings, Outside { log: Some(log), ..outside }).await
}
