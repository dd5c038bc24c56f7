//! # Purpose
//! The journal's tables, and to whom the file belongs.
//!
//! # Invariants kept here
//! - State belongs to (organization, connector id); another's is refused, not guessed at (invariant 16).
//! - Nothing is written to a file that is not known to be sound.
//!
//! # Not here
//! The rows of grants and tasks: `rows`.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, params};

use super::damage::Flaw;
use super::rows::{self, RowError};
use super::seal::{Seal, Totals};
use super::{OpenError, Owner};

/// `PRAGMA user_version` of the tables below.
pub(super) const FORMAT: i64 = 1;

/// What the rows of `owner` are about; an organization's integration id follows.
const CONNECTOR: &str = "connector";
const ORGANIZATION: &str = "organization of ";

/// Each `seal` is described in `seal`. The numbers in `entries.seq` have no gaps.
const TABLES: &str = "
    CREATE TABLE entries (
        seq     INTEGER PRIMARY KEY,
        subject TEXT NOT NULL,
        at      TEXT NOT NULL,
        record  TEXT NOT NULL,
        seal    BLOB NOT NULL
    );
    CREATE INDEX entries_by_subject ON entries (subject, seq);
    CREATE TABLE subjects (
        subject TEXT PRIMARY KEY,
        open    INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        last    BLOB NOT NULL,
        seal    BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE totals (
        one      INTEGER PRIMARY KEY CHECK (one = 1),
        \"commit\" INTEGER NOT NULL,
        subjects INTEGER NOT NULL,
        entries  INTEGER NOT NULL,
        sum      BLOB NOT NULL,
        seal     BLOB NOT NULL
    );
    CREATE TABLE owner (what TEXT PRIMARY KEY, value TEXT NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE proofs (one INTEGER PRIMARY KEY CHECK (one = 1), times INTEGER NOT NULL);
";

/// Sets the connection up and makes the tables in a new file. Says what the totals are.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<Totals, OpenError> {
    let database = |error| unreadable(path, error);
    // Exclusive: nobody else opens it while we run, and no shared-memory file is needed. The -wal file is folded in
    // early: on a full disk it must leave room for the entries themselves.
    connection
        .execute_batch(
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
             PRAGMA wal_autocheckpoint=256; PRAGMA foreign_keys=ON;",
        )
        .map_err(database)?;
    if format(connection, path)? == 0 {
        if !tables(connection).map_err(database)?.is_empty() {
            return Err(OpenError::Damaged(Flaw::Tables.of(path)));
        }
        let transaction = connection.transaction().map_err(database)?;
        transaction.execute_batch(TABLES).map_err(database)?;
        rows::put_totals(&transaction, &Totals::default()).map_err(database)?;
        transaction.pragma_update(None, "user_version", FORMAT).map_err(database)?;
        transaction.commit().map_err(database)?;
    }
    sound_tables(connection, path)?;
    sound_totals(connection, path)
}

/// Sets the connection up for reading alone, and checks the tables.
pub(super) fn prepare_to_read(connection: &Connection, path: &Path) -> Result<Totals, OpenError> {
    connection
        .execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA query_only=ON;")
        .map_err(|error| unreadable(path, error))?;
    format(connection, path)?;
    sound_tables(connection, path)?;
    sound_totals(connection, path)
}

/// The format that the file says it has, 0 for a new one; never a later one than ours.
fn format(connection: &Connection, path: &Path) -> Result<i64, OpenError> {
    let found = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    match found.map_err(|error| unreadable(path, error))? {
        known @ (0 | FORMAT) => Ok(known),
        found => Err(OpenError::TooNew { path: path.to_owned(), found }),
    }
}

/// That the tables are ours.
fn sound_tables(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let database = |error| unreadable(path, error);
    let ours = Connection::open_in_memory().and_then(|ours| {
        ours.execute_batch(TABLES)?;
        tables(&ours)
    });
    if tables(connection).map_err(database)? != ours.map_err(database)? {
        return Err(OpenError::Damaged(Flaw::Tables.of(path)));
    }
    Ok(())
}

fn sound_totals(connection: &Connection, path: &Path) -> Result<Totals, OpenError> {
    rows::totals(connection).map_err(|error| match error {
        RowError::Flaw(flaw) => OpenError::Damaged(flaw.of(path)),
        RowError::Sqlite(source) => OpenError::Database { path: path.to_owned(), source },
        // Totals hold neither JSON nor entries.
        RowError::Json(_) | RowError::Entry(_) => OpenError::Damaged(Flaw::Totals.of(path)),
    })
}

/// What the tables are, in SQLite's own words.
fn tables(connection: &Connection) -> Result<Vec<[String; 4]>, rusqlite::Error> {
    let sql = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?;
    rows.collect()
}

/// Notes to whom the state belongs, or refuses.
pub(super) fn claim(connection: &mut Connection, path: &Path, owner: &Owner) -> Result<(), OpenError> {
    let database = |error| unreadable(path, error);
    let organizations =
        owner.organizations.iter().map(|(id, url)| (format!("{ORGANIZATION}{id}"), url.clone()));
    let ours = std::iter::once((CONNECTOR.to_owned(), owner.connector.clone())).chain(organizations);
    let transaction = connection.transaction().map_err(database)?;
    let known =
        owners(&transaction).map_err(database)?.ok_or_else(|| OpenError::Damaged(Flaw::Owner.of(path)))?;
    for (what, value) in ours {
        match known.get(&what) {
            None => {
                let sql = "INSERT INTO owner (what, value, seal) VALUES (?1, ?2, ?3)";
                let seal = Seal::of_words("owner", &[&what, &value]);
                transaction.execute(sql, params![what, value, seal.bytes()]).map_err(database)?;
            }
            Some(known) if *known == value => {}
            Some(known) => {
                return Err(OpenError::ForeignState {
                    path: path.to_owned(),
                    theirs: format!("{what} {known}"),
                    ours: value,
                });
            }
        }
    }
    transaction.commit().map_err(database)?;
    Ok(())
}

/// To whom the state belongs; nothing in a file that was never claimed.
pub(super) fn owner(connection: &Connection, path: &Path) -> Result<Option<Owner>, OpenError> {
    let known = owners(connection).map_err(|error| unreadable(path, error))?;
    let mut known = known.ok_or_else(|| OpenError::Damaged(Flaw::Owner.of(path)))?;
    let Some(connector) = known.remove(CONNECTOR) else { return Ok(None) };
    let organization =
        |(what, url): (String, String)| Some((what.strip_prefix(ORGANIZATION)?.to_owned(), url));
    Ok(Some(Owner { connector, organizations: known.into_iter().filter_map(organization).collect() }))
}

/// What is known of the owner, unless a row is damaged.
fn owners(connection: &Connection) -> Result<Option<BTreeMap<String, String>>, rusqlite::Error> {
    let mut statement = connection.prepare("SELECT what, value, seal FROM owner")?;
    let rows = statement.query_map([], |row| {
        let (what, value): (String, String) = (row.get(0)?, row.get(1)?);
        let sound =
            Seal::from_bytes(row.get_ref(2)?.as_bytes()?) == Some(Seal::of_words("owner", &[&what, &value]));
        Ok(sound.then_some((what, value)))
    })?;
    rows.collect()
}

/// SQLite's error, as one of opening.
pub(super) fn unreadable(path: &Path, error: rusqlite::Error) -> OpenError {
    if Flaw::is_told_by(&error) {
        OpenError::Damaged(Flaw::Pages(error).of(path))
    } else {
        OpenError::Database { path: path.to_owned(), source: error }
    }
}
