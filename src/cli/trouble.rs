//! # Purpose
//! Why a command of setting up ended early, and what those commands share.
//!
//! # Invariants kept here
//! - Each failure has its exit code here, and says its code of the catalogue.
//! - The administrator's token comes from a file or from a prompt, never from an argument or the environment.
//!
//! # Not here
//! The words of the failures: `setup`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::runtime::wait_for;
use super::terminal::Terminal;
use super::{Exit, complain};
use crate::catalogue::ErrorCode;
use crate::clock::SystemClock;
use crate::config::Sources;
use crate::entropy::SystemEntropy;
use crate::http::Class;
use crate::http::proxy::Proxies;
use crate::http::transport::{HttpsSettings, HttpsTransport};
use crate::http::url::Base;
use crate::secrets::{CredentialsError, KeyError, MountedFile, SecretError, SecretSource};
use crate::setup::Surroundings;
use crate::setup::files::{FileError, is_open_to_others};
use crate::setup::plan::Obstacle;
use crate::setup::proof::{ProofError, Shortfall};
use crate::setup::refusal::{AdminError, Kind};
use crate::setup::table::TableError;
use crate::telemetry::chain;

/// How a command ended that did not do what it should.
#[derive(Debug)]
pub(super) struct Trouble {
    exit: Exit,
    code: ErrorCode,
    text: String,
}

impl Trouble {
    pub(super) fn new(exit: Exit, code: ErrorCode, text: impl Into<String>) -> Self {
        Self { exit, code, text: text.into() }
    }

    /// The arguments or the answers do not do.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, ErrorCode::CommandLine, text)
    }

    fn of(exit: Exit, code: ErrorCode, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(exit, code, chain(error).to_string())
    }
}

impl From<AdminError> for Trouble {
    fn from(error: AdminError) -> Self {
        let exit = match error.kind() {
            Kind::Unavailable => Exit::Unavailable,
            Kind::Refused => Exit::NotPermitted,
            Kind::Wrong => Exit::Usage,
        };
        Self::of(exit, error.code(), &error)
    }
}

impl From<ProofError> for Trouble {
    fn from(error: ProofError) -> Self {
        let exit = match &error {
            ProofError::Token(error) => match error.class() {
                Class::Transient => Exit::Unavailable,
                Class::Permanent | Class::Misconfigured => Exit::NotPermitted,
            },
            ProofError::NotAsked => Exit::Bug,
        };
        Self::of(exit, error.code(), &error)
    }
}

impl From<Obstacle> for Trouble {
    fn from(obstacle: Obstacle) -> Self {
        let exit = match &obstacle {
            Obstacle::NoSuchClient(_) => Exit::NotPermitted,
            Obstacle::Several { .. }
            | Obstacle::LabelTaken { .. }
            | Obstacle::Inactive { .. }
            | Obstacle::KeyInactive(_)
            | Obstacle::KidTaken(_)
            | Obstacle::NoKid(_) => Exit::Config,
        };
        Self::of(exit, obstacle.code(), &obstacle)
    }
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        Self::of(Exit::Io, error.code(), &error)
    }
}

impl From<SecretError> for Trouble {
    fn from(error: SecretError) -> Self {
        Self::of(Exit::Config, error.code(), &error)
    }
}

impl From<CredentialsError> for Trouble {
    fn from(error: CredentialsError) -> Self {
        Self::of(Exit::Config, error.code(), &error)
    }
}

impl From<KeyError> for Trouble {
    fn from(error: KeyError) -> Self {
        Self::of(Exit::Config, error.code(), &error)
    }
}

impl From<TableError> for Trouble {
    fn from(error: TableError) -> Self {
        Self::of(Exit::Config, error.code(), &error)
    }
}

/// The exit code of a connection that falls short of what it is for.
pub(super) fn exit_of(short: &[Shortfall]) -> Exit {
    if short.iter().all(Shortfall::may_pass) { Exit::Unavailable } else { Exit::NotPermitted }
}

/// The exit code, with the reason on standard error.
pub(super) fn ended(outcome: Result<Exit, Trouble>) -> Exit {
    outcome.unwrap_or_else(|trouble| {
        complain(&trouble.code.told_with(trouble.text));
        trouble.exit
    })
}

/// Runs something that waits for the network.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    // What is the matter has been told.
    wait_for(future)
        .unwrap_or_else(|exit| Err(Trouble::new(exit, ErrorCode::ProcessLimits, "nothing was done")))
}

/// The outside world, for a command that may come before any configuration.
pub(super) fn surroundings(ca_bundle: Option<&Path>, sources: &Sources) -> Result<Surroundings, Trouble> {
    let (proxies, _) = Proxies::from_environment(&sources.environment)
        .map_err(|error| Trouble::of(Exit::Config, ErrorCode::ProxyAddress, &error))?;
    let settings = HttpsSettings {
        ca_bundle: ca_bundle.map(MountedFile::new),
        proxies,
        ..HttpsSettings::plain(Duration::from_secs(10))
    };
    let transport =
        HttpsTransport::new(&settings).map_err(|error| Trouble::of(Exit::Config, error.code(), &error))?;
    Ok(Surroundings {
        transport: Arc::new(transport),
        clock: SystemClock::shared(),
        entropy: SystemEntropy::shared(),
        metrics: Arc::default(),
    })
}

/// The organization's address.
pub(super) fn organization(text: &str) -> Result<Base, Trouble> {
    let base = Base::parse(text).map_err(|error| Trouble::usage(format!("--organization-url: {error}")))?;
    let host = base.host().to_owned();
    let okta = [".okta.com", ".oktapreview.com", ".okta-emea.com", ".okta-gov.com"];
    let is_console =
        okta.iter().any(|domain| host.strip_suffix(domain).is_some_and(|name| name.ends_with("-admin")));
    if is_console {
        let text = format!("--organization-url: {host} is the Admin Console; leave out -admin");
        return Err(Trouble::usage(text));
    }
    Ok(base)
}

/// The administrator's token, from its file or from the person.
pub(super) fn admin_token(file: Option<&PathBuf>, terminal: Terminal) -> Result<SecretString, Trouble> {
    if let Some(path) = file {
        if is_open_to_others(path) {
            let code = ErrorCode::SecretExposed;
            complain(&format!("warning: {} can be read by others; chmod 600 it [{code}]", path.display()));
        }
        return Ok(MountedFile::new(path).read_token()?);
    }
    let token = terminal.secret("API token of a Super Administrator (not shown)", "--admin-token-file")?;
    Ok(SecretString::from(token.expose_secret().trim()))
}

/// An absolute path, for a configuration that is read from elsewhere.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::SigningKey;

    #[test]
    fn a_failure_says_its_code_once() {
        let key = SigningKey::parse("x", None).unwrap_err();
        let code = key.code();
        let without = Trouble::from(key);
        let told = without.code.told_with(without.text);
        assert!(told.ends_with(&format!("[{code}]")), "{told}");
        assert_eq!(code.told_with(told.clone()), told);
    }
}
