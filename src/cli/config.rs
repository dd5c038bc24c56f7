//! # Purpose
//! `config check|show|schema|import`: looks at the configuration without running anything.
//!
//! # Invariants kept here
//! - `check` finds what `run` would find before it opens anything: keys, values, secrets.
//! - No secret is shown: keys hold paths, and what is in the files stays there.
//!
//! # Not here
//! Asking Okta or Apono.

use clap::Subcommand;

use super::import::{ImportArgs, import};
use super::{Exit, complain, say, say_lines};
use crate::app::{Outside, read_secrets};
use crate::catalogue::ErrorCode;
use crate::config::{Loaded, Sources, load, schema};
use crate::telemetry::chain;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Checks the configuration and the secret files that it names
    Check {
        /// Looks at no secret file: systemd shows credentials to the service alone, not to whoever reloads it
        #[arg(long)]
        without_secrets: bool,
    },
    /// Shows every key with its value and where that is from
    Show,
    /// Prints the JSON Schema of the configuration file
    Schema,
    /// Makes a configuration out of what installs Apono's own connector
    Import(ImportArgs),
}

pub(super) fn config(command: &ConfigCommand, sources: &Sources) -> Exit {
    match command {
        ConfigCommand::Check { without_secrets } => check(sources, *without_secrets),
        ConfigCommand::Show => show(sources),
        ConfigCommand::Import(arguments) => import(arguments),
        ConfigCommand::Schema => {
            say(&format!("{:#}", schema::json_schema()));
            Exit::Done
        }
    }
}

fn check(sources: &Sources, without_secrets: bool) -> Exit {
    let loaded = match load(sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Config;
        }
    };
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning} [{}]", ErrorCode::ConfigDoubtful));
    }
    let read = || {
        read_secrets(&loaded.settings)?;
        // Certificates are read with the rest of the outside world, which is then not used.
        Outside::real(&loaded.settings).map(drop)
    };
    match if without_secrets { Ok(()) } else { read() } {
        Ok(()) => {
            say("the configuration is valid");
            Exit::Done
        }
        Err(error) => {
            complain(&chain(&error).to_string());
            Exit::from(&error)
        }
    }
}

fn show(sources: &Sources) -> Exit {
    match load(sources) {
        Ok(loaded) => {
            say_lines(&shown(&loaded));
            Exit::Done
        }
        Err(error) => {
            complain(&error.to_string());
            Exit::Config
        }
    }
}

/// A line for each key: its value and where that is from.
pub(super) fn shown(loaded: &Loaded) -> Vec<String> {
    let line = |one: &crate::config::Effective| {
        let value = one.value.as_ref().map_or_else(|| "(not set)".to_owned(), ToString::to_string);
        format!("{} = {value}  # {}", one.key, one.origin)
    };
    loaded.effective.iter().map(line).collect()
}
