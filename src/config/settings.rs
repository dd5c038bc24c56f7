//! # Purpose
//! The configuration as the program uses it: read, checked, in its own types.
//!
//! # Invariants kept here
//! - A [`Settings`] exists only when every key was right.
//!
//! # Not here
//! Keys and defaults: `schema`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;

use crate::access::policy::Policy;
use crate::database::DatabaseSettings;
use crate::directory::breaker::Limits;
use crate::directory::mapping::Mapping;
use crate::directory::plan::NameChange;
use crate::directory::selection::Selection;
use crate::domain::{ConnectorId, IntegrationId};
use crate::http::address::Address;
use crate::http::transport::HttpsSettings;
use crate::http::url::Base;
use crate::okta::Dpop;
use crate::secrets::{CredentialsSource, MountedFile};
use crate::telemetry::log::Format;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[apono]`.
    pub apono: Apono,
    /// `[[okta]]`, at least one.
    pub okta: Vec<Organization>,
    /// `[custom_integration]`, when enabled.
    pub custom_integration: Option<CustomIntegration>,
    /// `[state]`.
    pub state: State,
    /// `[audit]`.
    pub audit: Audit,
    /// `[admin]`.
    pub admin: Admin,
    /// `[log]`.
    pub log: Log,
    /// `[http]`.
    pub http: Http,
    /// `CONNECTOR_METADATA`.
    pub metadata: Value,
}

impl Settings {
    /// Every file with a secret that is followed when it is replaced.
    pub fn secret_files(&self) -> Vec<&MountedFile> {
        let mut files = Vec::new();
        if let AponoToken::File(file) = &self.apono.token {
            files.push(file);
        }
        for organization in &self.okta {
            files.push(organization.credentials.file());
            files.extend(organization.directory.as_ref().and_then(|directory| directory.scim.token.as_ref()));
        }
        files.extend(self.custom_integration.as_ref().map(|custom| &custom.token));
        files.extend(self.state.database.as_ref().and_then(|database| database.password_file.as_ref()));
        files.extend(&self.admin.token);
        let connection = &self.http.connection;
        files.extend(connection.proxy_credentials.as_ref());
        files.extend(connection.client_certificate.as_ref().map(|certificate| &certificate.key));
        files
    }

    /// Every file with certificates, followed likewise.
    pub fn certificate_files(&self) -> Vec<&MountedFile> {
        let connection = &self.http.connection;
        let certificate = connection.client_certificate.as_ref().map(|certificate| &certificate.certificate);
        connection.ca_bundle.iter().chain(certificate).collect()
    }
}

/// `[apono]`.
#[derive(Clone, Debug)]
pub struct Apono {
    /// Where it is.
    pub url: Base,
    /// Our name there.
    pub connector_id: ConnectorId,
    /// Our token.
    pub token: AponoToken,
    /// Between two readings of the desired grants.
    pub grants_interval: Duration,
}

/// Where the connector token comes from.
#[derive(Clone, Debug)]
pub enum AponoToken {
    /// `token_file`.
    File(MountedFile),
    /// `APONO_TOKEN`: accepted, and warned about.
    Value(SecretString),
}

/// One `[[okta]]`.
#[derive(Clone, Debug)]
pub struct Organization {
    /// Apono's id.
    pub integration_id: IntegrationId,
    /// Okta's address.
    pub url: Base,
    /// Who we are there.
    pub credentials: CredentialsSource,
    /// The key that names the credentials' file, for messages.
    pub credentials_key: String,
    /// Proofs of possession.
    pub dpop: Dpop,
    /// Of the rate limits.
    pub rate_limit_share: f64,
    /// `[okta.directory]`, when enabled.
    pub directory: Option<Directory>,
    /// `[okta.access]`, when enabled.
    pub access: Option<Access>,
}

/// `[okta.directory]` and `[okta.scim]`.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Which groups and users.
    pub selection: Selection,
    /// Between two runs.
    pub interval: Duration,
    /// Between two runs that read everything anew.
    pub full_interval: Duration,
    /// Which attributes.
    pub mapping: Mapping,
    /// How much one run may take away.
    pub breaker: Limits,
    /// The provider.
    pub scim: Scim,
}

/// `[okta.scim]`.
#[derive(Clone, Debug)]
pub struct Scim {
    /// Where it is.
    pub base: Base,
    /// Its token; the connector's when there is none.
    pub token: Option<MountedFile>,
    /// What a changed login does there.
    pub user_name_change: NameChange,
}

/// `[okta.access]`.
#[derive(Clone, Debug)]
pub struct Access {
    /// Steps at once.
    pub parallelism: usize,
    /// Between two looks at what live grants count on.
    pub look_interval: Duration,
    /// What is allowed.
    pub policy: Policy,
    /// While this file exists, nothing is given and everything that lives is ended.
    pub kill_switch: Option<PathBuf>,
}

/// `[custom_integration]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomIntegration {
    /// Where.
    pub listen: Address,
    /// What callers must show.
    pub token: MountedFile,
    /// For which organization; grants are executed there.
    pub integration: IntegrationId,
}

/// `[state]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The SQLite file. With a database, nothing is there, but this host's files are beside it and named after it.
    pub file: PathBuf,
    /// Where the state is, if not in that file.
    pub database: Option<DatabaseSettings>,
}

impl State {
    /// Beside the state, the socket where the process that has it can be asked: `.sock` at the end of the file's name.
    pub fn socket(&self) -> PathBuf {
        let mut name = self.file.clone().into_os_string();
        name.push(".sock");
        PathBuf::from(name)
    }
}

/// `[audit]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The trail's file; what rotation makes of it is beside it.
    pub file: PathBuf,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where.
    pub listen: SocketAddr,
    /// What other hosts show to see the status.
    pub token: Option<MountedFile>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level or a filter.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// By the place where lines go.
    Auto,
    /// As said.
    Fixed(Format),
}

/// `[http]`.
#[derive(Clone, Debug)]
pub struct Http {
    /// How connections are made.
    pub connection: HttpsSettings,
    /// For one request.
    pub request_timeout: Duration,
}
