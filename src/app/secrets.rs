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
use crate::config::{AponoToken, ConfigError, Problem, Settings, Sources};
use crate::database::DatabaseSettings;
use crate::http::Request;
use crate::http::bearer::ExpectedToken;
use crate::http::mounted_token::MountedToken;
use crate::http::proxy::Proxies;
use crate::http::transport::HttpsSettings;
use crate::secrets::{
    Credentials, MountedFile, Reloading, SecretError, SecretSource, SecretValue, never_printed, never_shown,
};
use crate::telemetry::chain;

/// Every secret of a configuration.
pub struct Secrets {
    /// Of the control plane.
    pub(super) token: Reloading<SecretString>,
    /// One entry an organization, in the order of the configuration.
    pub(super) organizations: Vec<OrganizationSecrets>,
    /// Of those who call the custom integration, where it listens.
    pub(super) custom_integration: Option<Reloading<SecretString>>,
    /// Of those who look at the status from other hosts.
    pub(super) admin: Option<Reloading<SecretString>>,
}

/// The secrets of one organization.
pub(super) struct OrganizationSecrets {
    pub(super) okta: Reloading<Credentials>,
    /// Where the SCIM service does not take the connector token.
    pub(super) scim: Option<Reloading<SecretString>>,
}

never_printed!(Secrets, OrganizationSecrets);
// And what holds one on its way from here to where it is used, or has one beside other things.
never_shown!(
    SecretString,
    SecretValue,
    Credentials,
    Reloading<SecretString>,
    Reloading<Credentials>,
    AponoToken,
    Sources,
    Settings,
    DatabaseSettings,
    HttpsSettings,
    Proxies,
    Request,
    ExpectedToken,
    MountedToken,
);

/// Reads every secret once; all that are wrong are reported together.
pub fn read_secrets(settings: &Settings) -> Result<Secrets, StartError> {
    let mut problems = Vec::new();
    let token = apono_token(&settings.apono.token);
    let token = token.map_err(|error| problems.push(describe("apono.token_file", &error))).ok();
    let mut organizations = Vec::new();
    for (index, organization) in settings.okta.iter().enumerate() {
        let source = organization.credentials.clone();
        let okta = Reloading::new("Okta credentials", Some(source.file().clone()), move || source.load());
        let okta = okta.map_err(|error| problems.push(describe(&organization.credentials_key, &error))).ok();
        let file = organization.directory.as_ref().and_then(|directory| directory.scim.token.clone());
        let scim = file.map(|file| {
            let read = scim_token(&file);
            let key = format!("okta[{index}].scim.token_file");
            read.map_err(|error| problems.push(describe(&key, &error))).ok()
        });
        if let Some(okta) = okta {
            organizations.push(OrganizationSecrets { okta, scim: scim.flatten() });
        }
    }
    let custom_integration = settings.custom_integration.as_ref().and_then(|custom| {
        let file = custom.token.clone();
        let read = Reloading::new("custom integration token", Some(file.clone()), move || file.read_token());
        read.map_err(|error| problems.push(describe("custom_integration.token_file", &error))).ok()
    });
    let admin = settings.admin.token.clone().and_then(|file| {
        let read = Reloading::new("admin token", Some(file.clone()), move || file.read_token());
        read.map_err(|error| problems.push(describe("admin.token_file", &error))).ok()
    });
    if let Some(file) = settings.state.database.as_ref().and_then(|database| database.password_file.as_ref())
        && let Err(error) = file.read()
    {
        problems.push(describe("state.password_file", &error));
    }
    match token {
        Some(token) if problems.is_empty() => Ok(Secrets { token, organizations, custom_integration, admin }),
        _ => Err(StartError::Config(ConfigError { problems })),
    }
}

/// The connector token.
pub(super) fn apono_token(token: &AponoToken) -> Result<Reloading<SecretString>, SecretError> {
    match token.clone() {
        AponoToken::File(file) => {
            Reloading::new("connector token", Some(file.clone()), move || file.read_token())
        }
        AponoToken::Value(value) => {
            let value = SecretValue::new(value);
            Reloading::new("connector token", None, move || value.read_token())
        }
    }
}

/// A SCIM service's own token.
pub(super) fn scim_token(file: &MountedFile) -> Result<Reloading<SecretString>, SecretError> {
    let file = file.clone();
    Reloading::new("SCIM token", Some(file.clone()), move || file.read_token())
}

fn describe(key: &str, error: &(dyn std::error::Error + 'static)) -> Problem {
    Problem { key: key.to_owned(), place: String::new(), message: chain(error).to_string() }
}
