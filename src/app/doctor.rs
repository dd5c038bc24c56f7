//! # Purpose
//! Looks at everything that the connector needs, from the disk to the rights in Okta, and says of each thing whether it is
//! as it should be.
//!
//! # Invariants kept here
//! - Nothing is changed, at no peer. The one write that is asked for names a user who does not exist.
//! - What cannot be known because something before it fails is skipped, and says after what: one fault, one failure.
//!
//! # Not here
//! Words and cures: `catalogue`. The table on the screen: `cli::doctor`.

mod apono;
mod database;
mod files;
mod host;
mod network;
mod okta;
mod probe;
mod rates;
mod rights;
mod scim;
mod scopes;

pub use host::{Host, ThisHost};
pub use probe::{Finding, Probe, Report, Verdict};

use std::sync::Arc;

use crate::app::Outside;
use crate::catalogue::ErrorCode;
use crate::config::{ConfigError, Settings};
use crate::http::transport::HttpsError;
use crate::telemetry::chain;

/// Takes every look.
pub async fn examine(settings: &Settings, outside: &Outside, host: Arc<dyn Host>) -> Report {
    let mut report = Report::default();
    report.pass(Probe::Configuration, "configuration", "it is valid");
    report.pass(Probe::Https, HTTP, "what connections are made with can be used");
    host::examine(settings, Arc::clone(&host), &mut report).await;
    database::examine(settings, outside, &mut report).await;
    files::examine(settings, host, &mut report).await;
    for organization in &settings.okta {
        okta::examine(settings, organization, outside, &mut report).await;
    }
    apono::examine(settings, outside, &mut report).await;
    for organization in &settings.okta {
        scim::examine(settings, organization, outside, &mut report).await;
    }
    report
}

/// What connections are made with.
const HTTP: &str = "http";

/// Takes the looks that need no connection, where none can be made.
pub async fn examine_without_connections(
    settings: &Settings,
    error: &HttpsError,
    host: Arc<dyn Host>,
) -> Report {
    let mut report = Report::default();
    report.pass(Probe::Configuration, "configuration", "it is valid");
    report.fail(Probe::Https, HTTP, chain(error).to_string(), error.code());
    host::examine(settings, Arc::clone(&host), &mut report).await;
    let mut skip = |of: &str, target: &str| {
        for probe in Probe::ALL.iter().filter(|probe| probe.id().starts_with(of)) {
            report.skip(*probe, target, "not known while no connection can be made");
        }
    };
    skip("database.", "state.url");
    for organization in &settings.okta {
        skip("okta.", &organization.url.origin());
    }
    skip("apono.", &settings.apono.url.origin());
    for organization in &settings.okta {
        skip("scim.", organization.integration_id.as_str());
    }
    files::examine(settings, host, &mut report).await;
    report
}

/// Of a configuration that nothing can be looked at by: one failure for each problem.
pub fn of_configuration(error: &ConfigError) -> Report {
    let mut report = Report::default();
    for problem in &error.problems {
        let target = if problem.key.is_empty() { "configuration" } else { &problem.key };
        report.fail(Probe::Configuration, target, problem.to_string(), ErrorCode::ConfigInvalid);
    }
    report
}
