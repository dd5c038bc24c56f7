//! # Purpose
//! The journal in one SQLite file: inspectable with `sqlite3`, durable at each commit.
//!
//! # Invariants kept here
//! - `synchronous=FULL`: a commit that returned survives a loss of power.
//! - One writer: a second process is refused before it opens the file, and told who has it.
//! - State belongs to (organization, connector id); another's is refused, not guessed at (invariant 16).
//! - The file is readable by its owner alone.
//!
//! # Not here
//! What entries mean.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Entry, Journal, JournalError, Record, Standing, Subject};

/// A journal in a file.
#[derive(Debug)]
pub struct SqliteJournal {
    connection: Arc<Mutex<Connection>>,
    _lock: File,
}

/// To whom the state belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The operator's name for the connector.
    pub connector: String,
    /// (integration id, organization URL) of each organization.
    pub organizations: Vec<(String, String)>,
}

/// The state cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process ({by}); stop it, or give this one its own state.url", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// What the other wrote about itself.
        by: String,
    },
    /// It is somebody else's.
    #[error("{} belongs to {theirs}, not to {ours}; correct the configuration, or move the file away once its grants have ended", path.display())]
    ForeignState {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        theirs: String,
        /// Who we are.
        ours: String,
    },
    /// Made by a later version.
    #[error("{} was written by a newer version of the connector (format {found}, this one knows {FORMAT}); upgrade again", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
    /// The file or its folder.
    #[error("{} cannot be used; see that the folder exists, is writable for the connector's user, and is on a local disk", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a database, or damaged.
    #[error("{} cannot be opened as a SQLite database", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

/// `PRAGMA user_version` of the tables below.
const FORMAT: i64 = 1;

const TABLES: &str = "
    CREATE TABLE entries (
        seq     INTEGER PRIMARY KEY,
        subject TEXT NOT NULL,
        at      TEXT NOT NULL,
        record  TEXT NOT NULL
    );
    CREATE INDEX entries_by_subject ON entries (subject, seq);
    CREATE TABLE subjects (subject TEXT PRIMARY KEY, open INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX open_subjects ON subjects (subject) WHERE open;
    CREATE TABLE owner (what TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

impl SqliteJournal {
    /// Opens or makes the file; `whoami` is what a second process is told.
    pub fn open(path: &Path, owner: &Owner, whoami: &str) -> Result<Self, OpenError> {
        let file = |source| OpenError::File { path: path.to_owned(), source };
        let database = |source| OpenError::Database { path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(file)?;
        }
        let lock = take_lock(path, whoami)?;
        // Made with its mode before SQLite writes the first byte.
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(file)?;
        let mut connection = Connection::open(path).map_err(database)?;
        prepare(&mut connection, path, database)?;
        claim(&mut connection, path, owner, database)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), _lock: lock })
    }

    /// Runs `work` where it may block.
    async fn run<T, F>(&self, work: F, failed: fn(BoxError) -> JournalError) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, JournalError> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        let task = tokio::task::spawn_blocking(move || {
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        task.await.map_err(|error| failed(Box::new(error)))?
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Journal for SqliteJournal {
    fn append(
        &self,
        entries: Vec<Entry>,
        standing: Vec<Standing>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        let work = move |connection: &mut Connection| {
            write(connection, &entries, &standing).map_err(JournalError::Write)
        };
        self.run(work, JournalError::Write).boxed()
    }

    fn prove(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        let work = |connection: &mut Connection| {
            let sql = "INSERT INTO owner (what, value) VALUES ('checks', '1')
                       ON CONFLICT (what) DO UPDATE SET value = value + 1";
            let checked = connection.execute(sql, []);
            checked.map(|_| ()).map_err(|error| JournalError::Write(Box::new(error)))
        };
        self.run(work, JournalError::Write).boxed()
    }

    fn open_entries(&self) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        let work = |connection: &mut Connection| {
            let sql = "SELECT seq, at, record FROM entries
                       WHERE subject IN (SELECT subject FROM subjects WHERE open) ORDER BY seq";
            read(connection, sql, &[])
        };
        self.run(work, JournalError::Read).boxed()
    }

    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        let subject = subject.to_string();
        let work = move |connection: &mut Connection| {
            read(
                connection,
                "SELECT seq, at, record FROM entries WHERE subject = ?1 ORDER BY seq",
                &[&subject],
            )
        };
        self.run(work, JournalError::Read).boxed()
    }
}

fn write(connection: &mut Connection, entries: &[Entry], standing: &[Standing]) -> Result<(), BoxError> {
    let transaction = connection.transaction()?;
    {
        let mut insert =
            transaction.prepare_cached("INSERT INTO entries (subject, at, record) VALUES (?1, ?2, ?3)")?;
        for entry in entries {
            let record = serde_json::to_string(&entry.record)?;
            insert.execute(params![entry.record.subject().to_string(), entry.at.to_string(), record])?;
        }
        let mut mark =
            transaction.prepare_cached("INSERT OR REPLACE INTO subjects (subject, open) VALUES (?1, ?2)")?;
        for standing in standing {
            mark.execute(params![standing.subject.to_string(), standing.open])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn read(
    connection: &Connection,
    sql: &str,
    parameters: &[&dyn rusqlite::ToSql],
) -> Result<Vec<Entry>, JournalError> {
    let failed = |error: rusqlite::Error| JournalError::Read(Box::new(error));
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let rows = statement
        .query_map(parameters, |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })
        .map_err(failed)?;
    let mut entries = Vec::new();
    for row in rows {
        let (seq, at, record) = row.map_err(failed)?;
        let at = at.parse().map_err(|error: jiff::Error| JournalError::Read(Box::new(error)))?;
        let record: Record =
            serde_json::from_str(&record).map_err(|source| JournalError::Entry { seq, source })?;
        entries.push(Entry { at, record });
    }
    Ok(entries)
}

/// Takes the lock beside the file and says who has it.
fn take_lock(path: &Path, whoami: &str) -> Result<File, OpenError> {
    let lock_path = PathBuf::from(format!("{}.lock", path.display()));
    let failed = |source| OpenError::File { path: lock_path.clone(), source };
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {
            lock.set_len(0).map_err(failed)?;
            lock.write_all(whoami.as_bytes()).map_err(failed)?;
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => {
            let mut by = String::new();
            let read = lock.read_to_string(&mut by);
            if read.is_err() || by.is_empty() {
                "unknown".clone_into(&mut by);
            }
            Err(OpenError::InUse { path: path.to_owned(), by })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn prepare(
    connection: &mut Connection,
    path: &Path,
    database: impl Fn(rusqlite::Error) -> OpenError,
) -> Result<(), OpenError> {
    // Exclusive: nobody else opens it while we run, and no shared-memory file is needed.
    connection
        .execute_batch(
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;",
        )
        .map_err(&database)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(&database)?;
    match found {
        0 => {
            let transaction = connection.transaction().map_err(&database)?;
            transaction.execute_batch(TABLES).map_err(&database)?;
            transaction.pragma_update(None, "user_version", FORMAT).map_err(&database)?;
            transaction.commit().map_err(&database)?;
            Ok(())
        }
        FORMAT => Ok(()),
        found => Err(OpenError::TooNew { path: path.to_owned(), found }),
    }
}

/// Notes to whom the state belongs, or refuses.
fn claim(
    connection: &mut Connection,
    path: &Path,
    owner: &Owner,
    database: impl Fn(rusqlite::Error) -> OpenError,
) -> Result<(), OpenError> {
    let organizations =
        owner.organizations.iter().map(|(id, url)| (format!("organization of {id}"), url.clone()));
    let ours = std::iter::once(("connector".to_owned(), owner.connector.clone())).chain(organizations);
    let transaction = connection.transaction().map_err(&database)?;
    for (what, value) in ours {
        let known: Option<String> = transaction
            .query_row("SELECT value FROM owner WHERE what = ?1", [&what], |row| row.get(0))
            .optional()
            .map_err(&database)?;
        match known {
            None => {
                transaction
                    .execute("INSERT INTO owner (what, value) VALUES (?1, ?2)", [&what, &value])
                    .map_err(&database)?;
            }
            Some(known) if known == value => {}
            Some(known) => {
                return Err(OpenError::ForeignState {
                    path: path.to_owned(),
                    theirs: format!("{what} {known}"),
                    ours: value,
                });
            }
        }
    }
    transaction.commit().map_err(&database)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::contract;
    use super::*;

    fn owner() -> Owner {
        Owner {
            connector: "okta-connector".to_owned(),
            organizations: vec![("int".to_owned(), "https://example.okta.com".to_owned())],
        }
    }

    #[tokio::test]
    async fn keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("state.db");
        contract::check(&|| Arc::new(SqliteJournal::open(&path, &owner(), "test").unwrap())).await;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[test]
    fn a_second_opener_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let first = SqliteJournal::open(&path, &owner(), "pid 4711").unwrap();
        let error = SqliteJournal::open(&path, &owner(), "pid 4712").unwrap_err();
        assert!(matches!(&error, OpenError::InUse { by, .. } if by == "pid 4711"), "{error}");
        drop(first);
        assert!(SqliteJournal::open(&path, &owner(), "pid 4712").is_ok());
    }

    #[test]
    fn anothers_state_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        drop(SqliteJournal::open(&path, &owner(), "test").unwrap());
        let mut other = owner();
        other.organizations[0].1 = "https://other.okta.com".to_owned();
        let error = SqliteJournal::open(&path, &other, "test").unwrap_err();
        assert!(matches!(error, OpenError::ForeignState { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("https://example.okta.com") && text.contains("https://other.okta.com"),
            "{text}"
        );
        let mut renamed = owner();
        renamed.connector = "another".to_owned();
        assert!(matches!(SqliteJournal::open(&path, &renamed, "test"), Err(OpenError::ForeignState { .. })));
        let mut more = owner();
        more.organizations.push(("int2".to_owned(), "https://second.okta.com".to_owned()));
        assert!(SqliteJournal::open(&path, &more, "test").is_ok(), "an organization may be added");
    }

    #[test]
    fn what_is_not_a_journal_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        fs::write(&path, vec![b'x'; 4096]).unwrap();
        assert!(matches!(SqliteJournal::open(&path, &owner(), "test"), Err(OpenError::Database { .. })));
        let newer = folder.path().join("newer.db");
        drop(SqliteJournal::open(&newer, &owner(), "test").unwrap());
        Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(
            SqliteJournal::open(&newer, &owner(), "test"),
            Err(OpenError::TooNew { found: 99, .. })
        ));
    }
}
