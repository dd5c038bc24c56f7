//! # Purpose
//! Opens the files of the state.
//!
//! # Invariants kept here
//! - A look that a command takes at the journal for a moment is waited for; another connector is not.
//!
//! # Not here
//! What is in them: `access`, `directory`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Outside, StartError};
use crate::access::journal::{OpenError, Owner, SqliteJournal};
use crate::clock;
use crate::config::Settings;
use crate::domain::IntegrationId;
use crate::runtime::whoami;

/// A command that looks at the journal of a connector that does not run has it for a moment.
const A_LOOK: Duration = Duration::from_secs(2);
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

pub(super) async fn open_state(settings: &Settings, outside: &Outside) -> Result<SqliteJournal, StartError> {
    if settings.state.database.is_some() {
        return Err(StartError::NotYet);
    }
    let organizations = settings
        .okta
        .iter()
        .map(|organization| (organization.integration_id.as_str().to_owned(), organization.url.origin()))
        .collect();
    let owner = Owner { connector: settings.apono.connector_id.as_str().to_owned(), organizations };
    let whoami = whoami(outside.clock.now());
    let limit = outside.clock.elapsed() + A_LOOK;
    loop {
        match SqliteJournal::open(&settings.state.file, &owner, &whoami) {
            Err(OpenError::InUse { .. }) if outside.clock.elapsed() < limit => {
                clock::sleep(BETWEEN_TRIES).await;
            }
            opened => return opened.map_err(StartError::State),
        }
    }
}

/// Beside the state file, one file an organization.
pub(super) fn store_path(state: &Path, integration: &IntegrationId) -> PathBuf {
    let safe: String = integration
        .as_str()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .collect();
    state.with_file_name(format!("directory-{safe}.db"))
}
