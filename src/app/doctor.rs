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
mod rights;
mod scim;

pub use host::{Host, ThisHost};
pub use probe::{Finding, Probe, Report, Verdict};

use std::sync::Arc;

use crate::app::Outside;
use crate::config::Settings;

/// Takes every look.
pub async fn examine(settings: &Settings, outside: &Outside, host: Arc<dyn Host>) -> Report {
    let mut report = Report::default();
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
