//! # Purpose
//! The local store of one organization's directory: both sides of a run, page by page, the plan between them, and
//! which objects at the provider are ours.
//!
//! # Invariants kept here
//! - Memory is bounded by a page: both sides and the plan are tables, and pairing is a join.
//! - What was created or adopted outlives every run; losing it makes objects strangers, which are left alone.
//!
//! # Not here
//! What to do about a pair: `plan` (pure), called for each row.

mod planning;
mod sides;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::plan::Origin;
use crate::domain::{OktaGroupId, OktaUserId, ScimId};

pub use planning::{Planned, PlannedOperation};
pub use sides::{Counts, ProviderGroup, ProviderUser};

/// See the module.
#[derive(Clone, Debug)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
}

/// The store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be opened.
    #[error("{} cannot be opened as the directory's local store; it may be deleted, what is in it is read again", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A statement failed.
    #[error("the directory's local store failed")]
    Statement(#[source] rusqlite::Error),
    /// A row that does not parse.
    #[error("the directory's local store holds something that cannot be understood")]
    Row(#[source] serde_json::Error),
    /// The blocking task died.
    #[error("the directory's local store died")]
    Died(#[source] tokio::task::JoinError),
}

/// `PRAGMA user_version` of the tables below.
const FORMAT: i64 = 1;

/// `n` stands for an id wherever one would be repeated: ten million memberships are two numbers each.
const TABLES: &str = "
    CREATE TABLE source_users (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, active INTEGER, attributes TEXT NOT NULL);
    CREATE TABLE source_groups (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL);
    CREATE TABLE source_members (g INTEGER NOT NULL, u INTEGER NOT NULL, PRIMARY KEY (g, u)) WITHOUT ROWID;

    -- Objects of Okta's that are there and cannot be read.
    CREATE TABLE spared (id TEXT PRIMARY KEY) WITHOUT ROWID;

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
";

impl Store {
    /// Opens or makes the file.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        let connection = Connection::open(path).map_err(failed)?;
        Self::prepare(connection).map_err(failed)
    }

    fn prepare(connection: Connection) -> Result<Self, rusqlite::Error> {
        // What is here is read again when it is lost: no commit waits for the disk, and the cache stays small.
        connection.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA locking_mode=EXCLUSIVE;
             PRAGMA cache_size=-4000; PRAGMA temp_store=FILE; PRAGMA journal_size_limit=4000000;",
        )?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found == 0 {
            connection.execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {FORMAT}; COMMIT;"))?;
        }
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `work` where it may block.
    async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        let task = tokio::task::spawn_blocking(move || {
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        task.await.map_err(StoreError::Died)?
    }

    /// Notes a user at the provider as ours.
    pub async fn own_user(&self, okta: OktaUserId, scim: ScimId, origin: Origin) -> Result<(), StoreError> {
        self.own(
            "INSERT OR REPLACE INTO users (okta, scim, origin) VALUES (?1, ?2, ?3)",
            okta.as_str(),
            &scim,
            origin,
        )
        .await
    }

    /// Notes a group at the provider as ours.
    pub async fn own_group(&self, okta: OktaGroupId, scim: ScimId, origin: Origin) -> Result<(), StoreError> {
        self.own(
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

    /// Where this group is at the provider.
    pub async fn scim_group(&self, okta: OktaGroupId) -> Result<Option<ScimId>, StoreError> {
        self.run(move |connection| {
            use rusqlite::OptionalExtension;
            let sql = "SELECT scim FROM groups WHERE okta = ?1";
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            let found = statement.query_row([okta.as_str()], |row| row.get::<_, String>(0)).optional();
            Ok(found.map_err(StoreError::Statement)?.map(ScimId::from))
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

    async fn own(
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
