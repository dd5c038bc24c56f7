//! # Purpose
//! `config check|show|schema`: looks at the configuration without running anything.
//!
//! # Invariants kept here
//! - `check` finds what `run` would find before it opens anything: keys, values, secrets.
//! - No secret is shown: keys hold paths, and what is in the files stays there.
//!
//! # Not here
//! Asking Okta or Apono.

use clap::Subcommand;

use super::{Exit, complain, say};
use crate::app::{Outside, read_secrets};
use crate::config::{Sources, load, schema};
use crate::telemetry::chain;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Checks the configuration and the secret files that it names
    Check,
    /// Shows every key with its value and where that is from
    Show,
    /// Prints the JSON Schema of the configuration file
    Schema,
}

pub(super) fn config(command: &ConfigCommand, sources: &Sources) -> Exit {
    match command {
        ConfigCommand::Check => check(sources),
        ConfigCommand::Show => show(sources),
        ConfigCommand::Schema => {
            say(&format!("{:#}", schema::json_schema()));
            Exit::Done
        }
    }
}

fn check(sources: &Sources) -> Exit {
    let loaded = match load(sources) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Config;
        }
    };
    for warning in &loaded.warnings {
        complain(&format!("warning: {warning}"));
    }
    // The CA bundle is read with the rest of the outside world, which is then not used.
    let usable = read_secrets(&loaded.settings).and_then(|_| Outside::real(&loaded.settings));
    match usable {
        Ok(_) => {
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
            for one in loaded.effective {
                let value = one.value.map_or_else(|| "(not set)".to_owned(), |value| value.to_string());
                say(&format!("{} = {value}  # {}", one.key, one.origin));
            }
            Exit::Done
        }
        Err(error) => {
            complain(&error.to_string());
            Exit::Config
        }
    }
}
