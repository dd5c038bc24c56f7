//! # Purpose
//! `run`: the daemon.
//!
//! # Invariants kept here
//! - Nothing is opened before the whole configuration was found right.
//!
//! # Not here
//! The daemon itself: `app`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use tracing::{error, info, warn};

use super::runtime::threads;
use super::{Exit, color, complain};
use crate::app::{App, Outside, StartError};
use crate::catalogue::ErrorCode;
use crate::config::{LogFormat, Settings, Sources, load};
use crate::runtime::Signals;
use crate::secrets::mounts;
use crate::telemetry::chain;
use crate::telemetry::log::{self, Format};

pub(super) fn run(sources: &Sources) -> Exit {
    let loaded = match load(sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Config;
        }
    };
    let format = match loaded.settings.log.format {
        LogFormat::Fixed(format) => format,
        LogFormat::Auto if io::stderr().is_terminal() => Format::Pretty,
        LogFormat::Auto => Format::Json,
    };
    if let Err(error) = log::install(format, &loaded.settings.log.level, color(sources)) {
        complain(&format!("{} [{}]", chain(&error), ErrorCode::LogSettings));
        return Exit::Config;
    }
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    warn_of_fixed_mounts(&loaded.settings);
    let runtime = match threads() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let ended = runtime.block_on(start_and_run(loaded.settings));
    // Something that blocks (a name that does not resolve) must not hold up the exit.
    runtime.shutdown_timeout(LAST_BLOCKING);
    match ended {
        Ok(exit) => exit,
        Err(StartError::Config(error)) => {
            complain(&error.to_string());
            Exit::Config
        }
        Err(error) => {
            let exit = Exit::from(&error);
            error!(exit = exit.code(), "{}", chain(&error));
            exit
        }
    }
}

/// Kubernetes never renews what it mounts by `subPath`; that is not seen before a rotation that does not happen.
fn warn_of_fixed_mounts(settings: &Settings) {
    let Some(mounts) = mounts() else { return };
    for file in settings.secret_files().into_iter().chain(settings.certificate_files()) {
        if file.is_mounted_by_itself(&mounts) {
            warn!(
                file = %file.path().display(),
                "{} is mounted by itself (subPath, or a bind mount of one file), so what replaces it is never seen; mount the folder that it is in",
                file.path().display()
            );
        }
    }
}

/// For work on blocking threads, after everything else has ended.
const LAST_BLOCKING: Duration = Duration::from_secs(1);

async fn start_and_run(settings: Settings) -> Result<Exit, StartError> {
    let signals = Signals::install().map_err(StartError::Signals)?;
    let outside = Outside::real(&settings)?;
    let organizations = settings.okta.len();
    let connector = settings.apono.connector_id.clone();
    let app = App::build(settings, outside).await?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        connector.id = %connector,
        organizations,
        admin.listen = app.listening().map(tracing::field::display),
        custom_integration.listen = app.custom_listening().map(tracing::field::display),
        "apono-connector {} runs for {organizations} organization{}",
        env!("CARGO_PKG_VERSION"),
        if organizations == 1 { "" } else { "s" }
    );
    let ending = app.run(Some(signals)).await;
    Ok(Exit::from(&ending))
}
