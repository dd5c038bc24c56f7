//! # Purpose
//! The local store of one organization's directory: both sides of a run, page by page, the plan between them, and
//! which objects at the provider are ours.
//!
//! # Invariants kept here
//! - Memory is bounded by a page: both sides and the plan are tables, and pairing is a join.
//! - Both sides stay from run to run, so that a run reads what has changed.
//! - What was created or adopted outlives every run; losing it makes objects strangers, which are left alone.
//!
//! # Not here
//! What to do about a pair: `plan` (pure), called for each row.

mod failing;
mod known;
mod learned;
mod memberships;
mod pages;
mod pairing;
mod planning;
mod provider;
mod shared;
mod source;
mod unsettled;
mod verdict;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rusqlite::Connection;
use tokio::sync::Mutex;

use super::plan::Origin;
use crate::catalogue::ErrorCode;
use crate::domain::{OktaGroupId, OktaUserId, ScimId};

pub use failing::{Failing, FailingObject, LISTED};
pub use pages::{Listing, People, StaleGroup};
pub use planning::{Planned, PlannedOperation, Rules};
pub use provider::{Counts, ProviderGroup, ProviderUser};
pub(super) use shared::outcome;
pub use shared::{Belonging, Change, Sharing};
pub use source::{Reach, Run};

/// See the module.
#[derive(Clone, Debug)]
pub struct Store {
    /// Nothing when it was closed. Whoever waits for it and is given up does nothing: what was cut off does not come late.
    connection: Arc<Mutex<Option<Connection>>>,
    /// See [`Store::may_miss_groups`].
    misses_groups: Arc<AtomicBool>,
}

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("{} cannot be opened as the directory's local store; where it is damaged, move it away: people and groups at the SCIM service are recognized by their externalId again, but nobody who has left Okta since is deactivated [{}]", path.display(), ErrorCode::StoreFails)]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The file itself.
    #[error("{} cannot be used; see that the folder is writable for the connector's user [{}]", path.display(), ErrorCode::StoreFails)]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What is in it is about others: their ids mean nothing here.
    #[error("{} is about {what} {theirs}, not {ours}; correct the configuration, or move the file away [{}]", path.display(), ErrorCode::StateForeign)]
    Foreign {
        /// The file.
        path: PathBuf,
        /// `organization` or `SCIM service`.
        what: &'static str,
        /// Whose it is.
        theirs: String,
        /// What is configured.
        ours: String,
    },
    /// Made by another version.
    #[error("{} was written by another version of the connector (format {found}, this one knows {FORMAT}) [{}]", path.display(), ErrorCode::StateTooNew)]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
    /// A statement failed.
    #[error("the directory's local store failed [{}]", ErrorCode::StoreFails)]
    Statement(#[source] rusqlite::Error),
    /// A row that does not parse.
    #[error(
        "the directory's local store holds something that cannot be understood [{}]",
        ErrorCode::StoreFails
    )]
    Row(#[source] serde_json::Error),
    /// The connector stops.
    #[error("the directory's local store was closed [{}]", ErrorCode::StoreFails)]
    Closed,
    /// The blocking task died.
    #[error("the directory's local store died [{}]", ErrorCode::StoreFails)]
    Died(#[source] tokio::task::JoinError),
}

impl StoreError {
    /// Whether the store is somebody else's.
    pub fn is_foreign(&self) -> bool {
        match self {
            Self::Foreign { .. } => true,
            Self::Open { .. }
            | Self::File { .. }
            | Self::OtherFormat { .. }
            | Self::Statement(_)
            | Self::Row(_)
            | Self::Closed
            | Self::Died(_) => false,
        }
    }
}

/// `PRAGMA user_version` of the tables below.
const FORMAT: i64 = 3;

/// `n` stands for an id wherever one would be repeated: ten million memberships are two numbers each.
const SOURCE: &str = "
    -- Everybody who was heard of: numbers are never given twice.
    CREATE TABLE people (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE);
    -- seen: the last run in which a listing has shown it.
    CREATE TABLE source_users (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, active INTEGER, attributes TEXT NOT NULL,
                               seen INTEGER NOT NULL);
    -- listed: when its memberships changed last, as it was listed; read: the same when its members were read; walked:
    -- the last run in which they were.
    CREATE TABLE source_groups (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, listed TEXT, read TEXT,
                                seen INTEGER NOT NULL, walked INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE source_members (g INTEGER NOT NULL, u INTEGER NOT NULL, PRIMARY KEY (g, u)) WITHOUT ROWID;
    CREATE TABLE staged_members (g INTEGER NOT NULL, u INTEGER NOT NULL, PRIMARY KEY (g, u)) WITHOUT ROWID;
    -- Memberships that grants hold.
    CREATE TABLE left_out (g INTEGER NOT NULL, u INTEGER NOT NULL, PRIMARY KEY (g, u)) WITHOUT ROWID;

    -- Objects of Okta's that are there and are left as they are: unreadable ones, and who is there by a grant alone.
    CREATE TABLE spared (id TEXT PRIMARY KEY, what TEXT NOT NULL) WITHOUT ROWID;

    -- Where the listings of the present run go on; no cursor is their end.
    CREATE TABLE walks (what TEXT PRIMARY KEY, cursor TEXT) WITHOUT ROWID;
    CREATE TABLE marks (what TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

const PROVIDER: &str = "
    CREATE TABLE provider_users (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, external_id TEXT, user_name TEXT,
                                 active INTEGER, attributes TEXT NOT NULL);
    CREATE TABLE provider_groups (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, external_id TEXT, name TEXT NOT NULL);
    CREATE TABLE provider_members (g INTEGER NOT NULL, u INTEGER NOT NULL, PRIMARY KEY (g, u)) WITHOUT ROWID;

    -- p: the provider's; s: Okta's, or none when it is no longer in the selection.
    CREATE TABLE user_pairs (p INTEGER PRIMARY KEY, s INTEGER UNIQUE, okta TEXT NOT NULL UNIQUE, known INTEGER NOT NULL);
    CREATE TABLE group_pairs (p INTEGER PRIMARY KEY, s INTEGER UNIQUE, okta TEXT NOT NULL UNIQUE, known INTEGER NOT NULL);
    CREATE TABLE operations (n INTEGER PRIMARY KEY, phase INTEGER NOT NULL, held INTEGER NOT NULL,
                             operation TEXT NOT NULL);
    CREATE INDEX operations_by_phase ON operations (phase, n);

    -- What is ours at the provider. Kept over runs.
    CREATE TABLE users (okta TEXT PRIMARY KEY, scim TEXT NOT NULL UNIQUE, origin TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE groups (okta TEXT PRIMARY KEY, scim TEXT NOT NULL UNIQUE, origin TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE added_members (g TEXT NOT NULL, u TEXT NOT NULL, PRIMARY KEY (g, u)) WITHOUT ROWID;

    -- The two sides that all of this is about.
    CREATE TABLE sides (what TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

/// What the first format had of Okta's side, which is read anew.
const FORMER_SOURCE: &str = "
    DROP TABLE source_users; DROP TABLE source_groups; DROP TABLE source_members; DROP TABLE spared;
";

/// The two sides that a store is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Between {
    /// The organization's URL.
    pub organization: String,
    /// The SCIM service's base URL.
    pub provider: String,
}

impl Store {
    /// Opens or makes the file, and refuses one that is about others (invariant 16).
    pub fn open(path: &Path, between: &Between) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        // Made with its mode before SQLite writes the first byte: it holds everybody's profile.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| StoreError::File { path: path.to_owned(), source })?;
        let connection = Connection::open(path).map_err(failed)?;
        match prepare(&connection).map_err(failed)? {
            FORMAT => {}
            found => return Err(StoreError::OtherFormat { path: path.to_owned(), found }),
        }
        for (what, ours) in [("organization", &between.organization), ("SCIM service", &between.provider)] {
            let theirs = claim(&connection, what, ours).map_err(failed)?;
            if theirs != *ours {
                return Err(StoreError::Foreign { path: path.to_owned(), what, theirs, ours: ours.clone() });
            }
        }
        let misses_groups = Arc::new(AtomicBool::new(true));
        Ok(Self { connection: Arc::new(Mutex::new(Some(connection))), misses_groups })
    }

    /// Runs `work` where it may block.
    async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let mut connection = Arc::clone(&self.connection).lock_owned().await;
        let task = tokio::task::spawn_blocking(move || match connection.as_mut() {
            Some(connection) => work(connection),
            None => Err(StoreError::Closed),
        });
        task.await.map_err(StoreError::Died)?
    }

    /// Does `work` while the connector starts, when nobody else uses the store and blocking is no harm.
    fn at_start<T>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection.try_lock().map_err(|_| StoreError::Closed)?;
        work(connection.as_mut().ok_or(StoreError::Closed)?)
    }

    /// Waits for what is being done, and lets go of the file, whoever still holds the store.
    pub async fn close(&self) {
        let connection = self.connection.lock().await.take();
        let closing = tokio::task::spawn_blocking(move || drop(connection));
        // Whatever the closing died of, the file is let go of.
        let _ = closing.await;
    }

    /// Lets go of memory until the next run.
    pub async fn rest(&self) -> Result<(), StoreError> {
        self.run(|connection| connection.execute_batch("PRAGMA shrink_memory").map_err(StoreError::Statement))
            .await
    }

    /// Notes a user at the provider as ours.
    pub async fn own_user(&self, okta: OktaUserId, scim: ScimId, origin: Origin) -> Result<(), StoreError> {
        self.take(
            "INSERT OR REPLACE INTO users (okta, scim, origin) VALUES (?1, ?2, ?3)",
            okta.as_str(),
            &scim,
            origin,
        )
        .await
    }

    /// Notes a group at the provider as ours.
    pub async fn own_group(&self, okta: OktaGroupId, scim: ScimId, origin: Origin) -> Result<(), StoreError> {
        self.take(
            "INSERT OR REPLACE INTO groups (okta, scim, origin) VALUES (?1, ?2, ?3)",
            okta.as_str(),
            &scim,
            origin,
        )
        .await
    }

    /// Forgets a group at the provider.
    pub async fn disown_group(&self, okta: OktaGroupId, scim: ScimId) -> Result<(), StoreError> {
        self.run(move |connection| {
            let transaction = connection.transaction().map_err(StoreError::Statement)?;
            transaction
                .execute("DELETE FROM groups WHERE okta = ?1", [okta.as_str()])
                .and_then(|_| transaction.execute("DELETE FROM added_members WHERE g = ?1", [scim.as_str()]))
                .and_then(|_| transaction.commit())
                .map_err(StoreError::Statement)
        })
        .await
    }

    /// Where these users are at the provider; those that are not there are left out.
    pub async fn scim_users(&self, okta: Vec<OktaUserId>) -> Result<Vec<(OktaUserId, ScimId)>, StoreError> {
        let ids = serde_json::to_string(&okta).map_err(StoreError::Row)?;
        self.run(move |connection| {
            let sql = "SELECT okta, scim FROM users WHERE okta IN (SELECT value FROM json_each(?1))";
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            let row = |row: &rusqlite::Row<'_>| {
                Ok((OktaUserId::from(row.get::<_, String>(0)?), ScimId::from(row.get::<_, String>(1)?)))
            };
            let rows = statement.query_map([ids], row).map_err(StoreError::Statement)?;
            rows.collect::<Result<_, _>>().map_err(StoreError::Statement)
        })
        .await
    }

    /// Notes members that the connector has added to a group.
    pub async fn note_added(&self, group: ScimId, members: Vec<ScimId>) -> Result<(), StoreError> {
        let sql = "INSERT OR IGNORE INTO added_members (g, u) SELECT ?1, value FROM json_each(?2)";
        self.note(sql, group, &members).await
    }

    /// Forgets members that the connector has removed from a group.
    pub async fn note_removed(&self, group: ScimId, members: Vec<ScimId>) -> Result<(), StoreError> {
        let sql = "DELETE FROM added_members WHERE g = ?1 AND u IN (SELECT value FROM json_each(?2))";
        self.note(sql, group, &members).await
    }

    async fn note(&self, sql: &'static str, group: ScimId, members: &[ScimId]) -> Result<(), StoreError> {
        let members = serde_json::to_string(members).map_err(StoreError::Row)?;
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            statement.execute([group.as_str(), &members]).map_err(StoreError::Statement)?;
            Ok(())
        })
        .await
    }

    async fn take(
        &self,
        sql: &'static str,
        okta: &str,
        scim: &ScimId,
        origin: Origin,
    ) -> Result<(), StoreError> {
        let (okta, scim) = (okta.to_owned(), scim.clone());
        self.run(move |connection| {
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            statement.execute([okta.as_str(), scim.as_str(), word(origin)]).map_err(StoreError::Statement)?;
            Ok(())
        })
        .await
    }
}

/// Makes the tables where there are none; returns their format.
fn prepare(connection: &Connection) -> Result<i64, rusqlite::Error> {
    // What is here is read again when it is lost: no commit waits for the disk. The cache holds the ids of a million
    // people, which come in no order; it grows to that only where there are so many, and is let go after each run.
    connection.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA locking_mode=EXCLUSIVE;
         PRAGMA cache_size=-64000; PRAGMA temp_store=FILE; PRAGMA wal_autocheckpoint=4000;
         PRAGMA journal_size_limit=16000000;",
    )?;
    let format = |connection: &Connection| connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    let steps = match format(connection)? {
        0 => Some([SOURCE, PROVIDER, unsettled::TABLES].concat()),
        1 => Some([FORMER_SOURCE, SOURCE, unsettled::TABLES, unsettled::EVERYTHING].concat()),
        2 => Some([unsettled::TABLES, unsettled::EVERYTHING].concat()),
        FORMAT => None,
        other => return Ok(other),
    };
    if let Some(steps) = steps {
        connection.execute_batch(&format!("BEGIN; {steps} PRAGMA user_version = {FORMAT}; COMMIT;"))?;
    }
    connection.execute_batch(learned::TABLES)?;
    connection.execute_batch(failing::TABLES)?;
    format(connection)
}

/// Notes a side, unless one is noted; returns what is noted then.
fn claim(connection: &Connection, what: &str, ours: &str) -> Result<String, rusqlite::Error> {
    connection.execute("INSERT OR IGNORE INTO sides (what, value) VALUES (?1, ?2)", [what, ours])?;
    connection.query_row("SELECT value FROM sides WHERE what = ?1", [what], |row| row.get(0))
}

fn word(origin: Origin) -> &'static str {
    match origin {
        Origin::Created => "created",
        Origin::Adopted => "adopted",
    }
}

fn origin(word: &str) -> Origin {
    // Anything unclear is treated as not ours to delete.
    if word == "created" { Origin::Created } else { Origin::Adopted }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_store_of_this_format_from_before_a_table_beside_it_gets_that_table() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.db");
        let between = Between { organization: "o".to_owned(), provider: "p".to_owned() };
        drop(Store::open(&path, &between).unwrap());
        let old = Connection::open(&path).unwrap();
        old.execute_batch("DROP TABLE failing; DROP TABLE listed; DROP TABLE quirks;").unwrap();
        drop(old);
        let store = Store::open(&path, &between).unwrap();
        assert_eq!(store.failing().await.unwrap(), Failing::default());
        assert_eq!(store.listed("groups").await.unwrap(), None);
        assert!(!store.knows(crate::scim::Quirk::HidesMembers).await.unwrap());
    }

    #[test]
    fn a_store_is_for_one_pair_of_sides_and_for_its_owners_eyes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.db");
        let between = Between {
            organization: "https://example.okta.com".to_owned(),
            provider: "https://api.apono.io/scim/v2".to_owned(),
        };
        drop(Store::open(&path, &between).unwrap());
        drop(Store::open(&path, &between).unwrap());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        // Ids mean nothing at another service: "17" is somebody else there.
        let elsewhere = Between { provider: "https://scim.example.com".to_owned(), ..between.clone() };
        let error = Store::open(&path, &elsewhere).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { what: "SCIM service", .. }), "{error}");
        let other = Between { organization: "https://other.okta.com".to_owned(), ..between };
        let error = Store::open(&path, &other).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { what: "organization", .. }), "{error}");
    }

    #[test]
    fn the_first_format_keeps_what_is_ours_and_reads_the_rest_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.db");
        let first = Connection::open(&path).unwrap();
        let source = "
            CREATE TABLE source_users (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, active INTEGER, attributes TEXT NOT NULL);
            CREATE TABLE source_groups (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL);
            CREATE TABLE source_members (g INTEGER NOT NULL, u INTEGER NOT NULL, PRIMARY KEY (g, u)) WITHOUT ROWID;
            CREATE TABLE spared (id TEXT PRIMARY KEY) WITHOUT ROWID;
            PRAGMA user_version = 1;";
        first.execute_batch(&[source, PROVIDER].concat()).unwrap();
        first.execute("INSERT INTO users VALUES ('00u1', 's1', 'created')", []).unwrap();
        drop(first);
        let between = Between { organization: String::new(), provider: String::new() };
        let store = Store::open(&path, &between).unwrap();
        let guard = store.connection.try_lock().unwrap();
        let connection = guard.as_ref().unwrap();
        let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM users"), 1);
        assert_eq!(count("SELECT count(seen) FROM source_users"), 0);
        assert_eq!(count("PRAGMA user_version"), FORMAT);
    }

    #[test]
    fn after_the_second_format_everything_is_planned_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.db");
        let second = Connection::open(&path).unwrap();
        let rows = "
            PRAGMA user_version = 2;
            INSERT INTO people (n, id) VALUES (1, '00u1');
            INSERT INTO source_users (n, id, attributes, seen) VALUES (1, '00u1', '{}', 1);
            INSERT INTO source_groups (n, id, name, seen) VALUES (1, '00g1', 'Team', 1);
            INSERT INTO users VALUES ('00u1', 's1', 'created'), ('00u2', 's2', 'created');";
        second.execute_batch(&[SOURCE, PROVIDER, rows].concat()).unwrap();
        drop(second);
        let between = Between { organization: String::new(), provider: String::new() };
        let store = Store::open(&path, &between).unwrap();
        let guard = store.connection.try_lock().unwrap();
        let connection = guard.as_ref().unwrap();
        let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM source_users"), 1, "what was read stays");
        assert_eq!(count("SELECT count(*) FROM unsettled_users WHERE wide"), 2, "also who has left");
        assert_eq!(count("SELECT count(*) FROM unsettled_groups"), 1);
    }

    #[test]
    fn another_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.db");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let between = Between { organization: String::new(), provider: String::new() };
        assert!(matches!(Store::open(&path, &between), Err(StoreError::OtherFormat { found: 99, .. })));
    }
}
