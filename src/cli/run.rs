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
use crate::secrets::{Fixed, mounts};
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
fn warn_of_fixed_mounts(settings: &Settings, mounts: &str) {
    for file in settings.secret_files().into_iter().chain(settings.certificate_files()) {
        if let Some(why) = file.is_fixed(mounts).and_then(fixed_unasked) {
            warn!(
                file = %file.path().display(),
                "{} is {why}, so what replaces it is never seen; mount the folder that it is in, whole [{}]",
                file.path().display(),
                ErrorCode::FixedMount
            );
        }
    }
}

/// Who uses systemd's credentials has decided to restart for a new one: that is worth a word of `doctor`, and not one at
/// each start.
fn fixed_unasked(fixed: Fixed) -> Option<&'static str> {
    match fixed {
        Fixed::ByItself => Some("mounted by itself (subPath, or a bind mount of one file)"),
        Fixed::OneVersion => Some("mounted out of one version of a volume (subPath of a folder)"),
        Fixed::Credential => None,
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
        if let Some(mounts) = mounts() {
            warn_of_fixed_mounts(&settings, &mounts);
        }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{self, Write};
    use std::path::Path;
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn settings(folder: &Path) -> Settings {
        let file = folder.join("connector.toml");
        let at = |name: &str| folder.join(name).display().to_string();
        let text = format!(
            r#"
[apono]
connector_id = "c"
token_file = "{}"
[[okta]]
integration_id = "i"
organization_url = "https://example.okta.com"
credentials_file = "/run/credentials/apono-connector.service/okta.json"
[http]
ca_bundle_file = "{}"
[state]
url = "sqlite:{}"
"#,
            at("token"),
            at("ca/ca.pem"),
            at("state.db")
        );
        fs::write(&file, text).unwrap();
        load(&Sources { file: Some(file), ..Sources::default() }).unwrap().settings
    }

    fn warned(settings: &Settings, mounts: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || warn_of_fixed_mounts(settings, mounts));
        let text = lines.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_is_mounted_and_never_followed_is_told_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(folder.path()).unwrap();
        let settings = settings(&folder);
        let root = "36 35 98:0 / / rw - ext4 x rw\n";
        assert_eq!(warned(&settings, root), "");
        let itself = format!("{root}37 36 0:5 /x {} rw - tmpfs x rw\n", folder.join("token").display());
        let told = warned(&settings, &itself);
        assert!(told.contains("WARN") && told.contains("token is mounted by itself"), "{told}");
        assert!(!told.contains("ca.pem") && !told.contains("okta.json"), "{told}");
        let version = "/..2026_01_31_10_00_00.1/ca";
        let one = format!("{root}37 36 0:5 {version} {} rw - tmpfs x rw\n", folder.join("ca").display());
        let told = warned(&settings, &one);
        assert!(told.contains("ca.pem is mounted out of one version"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
