//! # Purpose
//! Reads every secret that the configuration names, once, before anything starts.
//!
//! # Invariants kept here
//! - All secrets that are wrong are reported together, each with its key.
//!
//! # Not here
//! Following their files afterwards: `secrets::Reloading`.

use secrecy::SecretString;

use super::StartError;
use crate::config::{AponoToken, ConfigError, Problem, Settings};
use crate::secrets::{Credentials, Reloading, SecretSource, SecretValue};
use crate::telemetry::chain;

type Secrets = (Reloading<SecretString>, Vec<Reloading<Credentials>>);

/// Reads every secret once; all that are wrong are reported together.
pub fn read_secrets(settings: &Settings) -> Result<Secrets, StartError> {
    let mut problems = Vec::new();
    let token = match settings.apono.token.clone() {
        AponoToken::File(file) => Reloading::new("connector token", Some(file.clone()), move || file.read()),
        AponoToken::Value(value) => {
            let value = SecretValue::new(value);
            Reloading::new("connector token", None, move || value.read())
        }
    };
    let token = token.map_err(|error| problems.push(describe("apono.token_file", &error))).ok();
    let mut credentials = Vec::new();
    for organization in &settings.okta {
        let source = organization.credentials.clone();
        match Reloading::new("Okta credentials", Some(source.file().clone()), move || source.load()) {
            Ok(loaded) => credentials.push(loaded),
            Err(error) => problems.push(describe(&organization.credentials_key, &error)),
        }
    }
    match token {
        Some(token) if problems.is_empty() => Ok((token, credentials)),
        _ => Err(StartError::Config(ConfigError { problems })),
    }
}

pub(super) fn problem(key: &str, error: &(dyn std::error::Error + 'static)) -> StartError {
    StartError::Config(ConfigError { problems: vec![describe(key, error)] })
}

fn describe(key: &str, error: &(dyn std::error::Error + 'static)) -> Problem {
    Problem { key: key.to_owned(), place: String::new(), message: chain(error).to_string() }
}
