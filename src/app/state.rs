//! # Purpose
//! Opens the files of the state.
//!
//! # Invariants kept here
//! - A look that a command takes at the journal for a moment is waited for; another connector is not.
//!
//! # Not here
//! What is in them: `access`, `directory`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::{Outside, StartError};
use crate::access::journal::{
    Journal, OpenError, Owner, PostgresJournal, SharedOpenError, SqliteJournal, lock_beside,
};
use crate::catalogue::ErrorCode;
use crate::clock;
use crate::config::Settings;
use crate::database::{Database, DatabaseSettings};
use crate::domain::{IntegrationId, SessionId};
use crate::fleet::{Itself, Members};
use crate::runtime::{hostname, whoami};

/// A command that looks at the journal of a connector that does not run has it for a moment.
const A_LOOK: Duration = Duration::from_secs(2);
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// The journal, and with a database the fleet that shares it, in which this daemon is `session`.
pub(super) async fn open_journal(
    settings: &Settings,
    outside: &Outside,
    session: &SessionId,
) -> Result<(Arc<dyn Journal>, Option<Arc<Members>>), StartError> {
    match (&outside.journal, &settings.state.database) {
        (Some(journal), _) => Ok((Arc::clone(journal), None)),
        (None, None) => Ok((Arc::new(open_file(settings, outside).await?), None)),
        (None, Some(database)) => {
            let (journal, members) = join(settings, database, outside, session).await?;
            Ok((Arc::new(journal), Some(members)))
        }
    }
}

async fn join(
    settings: &Settings,
    database: &DatabaseSettings,
    outside: &Outside,
    session: &SessionId,
) -> Result<(PostgresJournal, Arc<Members>), StartError> {
    let shared = |error| StartError::Shared(SharedOpenError::Database(error));
    let lock = patiently(outside, |whoami| lock_beside(&settings.state.file, whoami)).await?;
    let database = Database::new(database).map_err(shared)?;
    if database.is_plain() {
        warn!(
            "{} is used without TLS (sslmode=disable): its password is safe, but everybody on the way reads and can change what is written [{}]",
            database.place(),
            ErrorCode::ConfigDoubtful
        );
    }
    let itself = Itself {
        id: session.clone(),
        host: hostname(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: outside.clock.now(),
    };
    let integrations = settings.okta.iter().map(|organization| organization.integration_id.clone()).collect();
    let members = Arc::new(Members::new(database.clone(), itself, integrations, Arc::clone(&outside.clock)));
    let journal = PostgresJournal::open(database, &owner(settings), Arc::clone(&members), lock).await;
    Ok((journal.map_err(StartError::Shared)?, members))
}

/// To whom the state belongs, as configured.
pub fn owner(settings: &Settings) -> Owner {
    let organizations = settings
        .okta
        .iter()
        .map(|organization| (organization.integration_id.as_str().to_owned(), organization.url.origin()))
        .collect();
    Owner { connector: settings.apono.connector_id.as_str().to_owned(), organizations }
}

async fn open_file(settings: &Settings, outside: &Outside) -> Result<SqliteJournal, StartError> {
    let owner = owner(settings);
    patiently(outside, |whoami| SqliteJournal::open(&settings.state.file, &owner, whoami)).await
}

/// Waits for a look that a command takes.
async fn patiently<T>(
    outside: &Outside,
    mut open: impl FnMut(&str) -> Result<T, OpenError>,
) -> Result<T, StartError> {
    let whoami = whoami(outside.clock.now());
    let limit = outside.clock.elapsed() + A_LOOK;
    loop {
        match open(&whoami) {
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
