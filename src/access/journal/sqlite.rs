//! # Purpose
//! The journal in one SQLite file: inspectable with `sqlite3`, durable at each commit.
//!
//! # Invariants kept here
//! - `synchronous=FULL`: a commit that returned survives a loss of power.
//! - What was damaged or lost since is told ([`Damage`]), never passed over: each row has its checksum, the rows add up
//!   to totals, and a witness beside the file knows up to where it was confirmed.
//! - Nothing is written to a file that is not known to be sound, nor to its `-wal` file.
//! - On a full disk what only ends duties is recorded in room that was kept for it; nothing new begins until that room
//!   is whole again (invariant 12).
//! - One writer: a second process is refused before it opens the file, and told who has it.
//! - The file is readable by its owner alone.
//!
//! # Not here
//! What entries mean.

mod copy;
mod damage;
mod inspect;
mod lock;
mod mark;
mod reserve;
mod rows;
mod schema;
mod seal;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, ffi};

pub(super) use copy::{Copy, CopyError};
pub use damage::{Damage, Flaw};
pub use inspect::{Inspection, Salvaged};

use self::mark::Mark;
use self::reserve::Reserve;
use self::rows::RowError;
use super::{Entry, Journal, JournalError, Standing, Subject};
use crate::catalogue;
use crate::domain::GrantId;

/// A journal in a file.
#[derive(Debug)]
pub struct SqliteJournal {
    /// Nothing when it was closed.
    store: Arc<Mutex<Option<Store>>>,
}

#[derive(Debug)]
struct Store {
    connection: Connection,
    mark: Mark,
    reserve: Reserve,
    path: PathBuf,
    /// The last to go.
    _lock: File,
}

/// The journal was closed.
#[derive(Debug, thiserror::Error)]
#[error("it was closed")]
struct Closed;

/// So many entries are searched at a time.
const PART: u64 = 20_000;

/// The reserve, in bytes: room for some thousand ends, or for a thousand with what an audit trail on the same disk has no
/// room for; and more than the `-wal` file grows to.
const RESERVE: u64 = 4 * 1024 * 1024;

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
    #[error("{} is in use by another process ({by}); stop it, or give this one its own state.url [{}]", path.display(), catalogue::ErrorCode::StateInUse)]
    InUse {
        /// The file.
        path: PathBuf,
        /// What the other wrote about itself.
        by: String,
    },
    /// It is somebody else's.
    #[error("{} belongs to {theirs}, not to {ours}; correct the configuration, or move the file away once its grants have ended [{}]", path.display(), catalogue::ErrorCode::StateForeign)]
    ForeignState {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        theirs: String,
        /// Who we are.
        ours: String,
    },
    /// Made by a later version.
    #[error("{} was written by a newer version of the connector (format {found}, this one knows {}); upgrade again [{}]", path.display(), schema::FORMAT, catalogue::ErrorCode::StateTooNew)]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
    /// It is not what was written.
    #[error("the state is damaged [{}]", catalogue::ErrorCode::StateDamaged)]
    Damaged(#[source] Damage),
    /// The file or its folder.
    #[error("{} cannot be used; see that the folder exists, is writable for the connector's user, and is on a local disk [{}]", path.display(), catalogue::ErrorCode::StateUnusable)]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite cannot open it.
    #[error("{} cannot be opened as a SQLite database [{}]", path.display(), catalogue::ErrorCode::StateUnusable)]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

impl SqliteJournal {
    /// Opens or makes the file; `whoami` is what a second process is told.
    pub fn open(path: &Path, owner: &Owner, whoami: &str) -> Result<Self, OpenError> {
        Self::open_with_reserve(path, owner, whoami, RESERVE)
    }

    /// The same, with so many bytes kept for a full disk.
    pub fn open_with_reserve(
        path: &Path,
        owner: &Owner,
        whoami: &str,
        reserve: u64,
    ) -> Result<Self, OpenError> {
        let file = |source| OpenError::File { path: path.to_owned(), source };
        let folder = folder_of(path);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(file)?;
        let lock = lock::take(path, &beside(path, ".lock"), whoami)?;
        let (mark, confirmed) = Mark::open(&beside(path, ".mark")).map_err(file)?;
        if is_empty(path) {
            if confirmed.is_some() || !is_empty(&beside(path, "-wal")) {
                return Err(OpenError::Damaged(Flaw::Gone.of(path)));
            }
            // Made with its mode before SQLite writes the first byte, and there after a loss of power.
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o600).open(path).map_err(file)?;
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(file)?;
        }
        // What the last process wrote and did not live to sync can be read; what is read is acted on, so it must last.
        for written in [path, &beside(path, "-wal")] {
            match File::open(written).and_then(|written| written.sync_data()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(error)),
                Ok(()) | Err(_) => {}
            }
        }
        let mut connection = Connection::open(path).map_err(|error| schema::unreadable(path, error))?;
        keep_as_it_is(&connection, true).map_err(|error| schema::unreadable(path, error))?;
        let totals = schema::prepare(&mut connection, path)?;
        if let Some(confirmed) = confirmed
            && !confirmed.allows(&totals)
        {
            let flaw = Flaw::Behind { found: totals.commit, confirmed: confirmed.commit };
            return Err(OpenError::Damaged(flaw.of(path)));
        }
        schema::claim(&mut connection, path, owner)?;
        let mut reserve = Reserve::find(beside(path, ".reserve"), reserve);
        // On a full disk removals go on without it; `prove` makes it when there is room, and tells as long as there is none.
        let _ = reserve.restore();
        let store = Store { connection, mark, reserve, path: path.to_owned(), _lock: lock };
        Ok(Self { store: Arc::new(Mutex::new(Some(store))) })
    }

    /// Runs `work` where it may block.
    async fn run<T, F>(&self, work: F, failed: fn(BoxError) -> JournalError) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Store) -> Result<T, JournalError> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        let task = tokio::task::spawn_blocking(move || {
            match store.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                Some(store) => work(store),
                None => Err(failed(Box::new(Closed))),
            }
        });
        task.await.map_err(|error| failed(Box::new(error)))?
    }
}

/// Makes the folder of `file` and takes the lock beside it, though the state itself is elsewhere: one process of a host has
/// the files that belong to it. The lock is held as long as the answer is.
pub fn lock_beside(file: &Path, whoami: &str) -> Result<File, OpenError> {
    let failed = |source| OpenError::File { path: file.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder_of(file)).map_err(failed)?;
    lock::take(file, &beside(file, ".lock"), whoami)
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Journal for SqliteJournal {
    fn append(
        &self,
        entries: Vec<Entry>,
        standing: Vec<Standing>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        let work = move |store: &mut Store| store.append(&entries, &standing);
        self.run(work, JournalError::Write).boxed()
    }

    fn prove(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        self.run(Store::prove, JournalError::Write).boxed()
    }

    fn open_entries(&self) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        self.run(Store::open_entries, JournalError::Read).boxed()
    }

    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        let subject = subject.to_string();
        let work = move |store: &mut Store| {
            rows::history(&store.connection, &subject).map_err(|error| store.cannot_read(error))
        };
        self.run(work, JournalError::Read).boxed()
    }

    fn about<'a>(&'a self, grant: &'a GrantId) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        async move {
            let mut tasks = BTreeSet::new();
            // Every entry is looked at, a part at a time: what must be written meanwhile does not wait for all.
            for first in (0..).map(|part| 1 + part * PART) {
                let sought = grant.clone();
                let work = move |store: &mut Store| {
                    rows::asking(&store.connection, &sought, first, PART)
                        .map_err(|error| store.cannot_read(error))
                };
                match self.run(work, JournalError::Read).await? {
                    Some(found) => tasks.extend(found),
                    None => break,
                }
            }
            let grant = grant.clone();
            let work = move |store: &mut Store| {
                rows::about(&store.connection, &grant, &tasks).map_err(|error| store.cannot_read(error))
            };
            self.run(work, JournalError::Read).await
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let store = Arc::clone(&self.store);
        let closing = tokio::task::spawn_blocking(move || {
            drop(store.lock().unwrap_or_else(PoisonError::into_inner).take());
        });
        closing.map(drop).boxed()
    }
}

impl Store {
    fn append(&mut self, entries: &[Entry], standing: &[Standing]) -> Result<(), JournalError> {
        let only_ends = entries.iter().all(|entry| entry.record.goes_ahead());
        if !only_ends && !self.reserve.is_whole() {
            return Err(self.full());
        }
        let mut written = rows::append(&mut self.connection, entries, standing);
        if only_ends && written.as_ref().is_err_and(wants_room) && self.reserve.release() {
            written = rows::append(&mut self.connection, entries, standing);
        }
        let totals = written.map_err(|error| self.cannot_write(error))?;
        self.mark.note(&totals);
        Ok(())
    }

    /// Writes to both files, so that a disk that fails is noticed, and makes the reserve if it is not whole.
    fn prove(&mut self) -> Result<(), JournalError> {
        let sql =
            "INSERT INTO proofs (one, times) VALUES (1, 1) ON CONFLICT (one) DO UPDATE SET times = times + 1";
        let proven = self.connection.execute(sql, []).map_err(RowError::from);
        let totals = proven.and_then(|_| rows::totals(&self.connection));
        let totals = totals.map_err(|error| self.cannot_write(error))?;
        self.mark.settle(&totals).map_err(|error| JournalError::Write(Box::new(error)))?;
        self.reserve.restore().map_err(|error| {
            if reserve::is_full(&error) { self.full() } else { JournalError::Write(Box::new(error)) }
        })
    }

    fn open_entries(&mut self) -> Result<Vec<Entry>, JournalError> {
        let entries = rows::open_entries(&self.connection).map_err(|error| self.cannot_read(error))?;
        // All is sound: from here on SQLite may fold the -wal file in when it closes.
        keep_as_it_is(&self.connection, false).map_err(|error| self.cannot_read(error.into()))?;
        Ok(entries)
    }

    fn full(&self) -> JournalError {
        JournalError::Full { path: self.path.clone() }
    }

    fn cannot_write(&self, error: RowError) -> JournalError {
        if let RowError::Sqlite(rusqlite::Error::SqliteFailure(failure, _)) = &error
            && failure.code == ErrorCode::DiskFull
        {
            return self.full();
        }
        self.explain(error, JournalError::Write)
    }

    fn cannot_read(&self, error: RowError) -> JournalError {
        self.explain(error, JournalError::Read)
    }

    fn explain(&self, error: RowError, otherwise: fn(BoxError) -> JournalError) -> JournalError {
        explain(&self.path, error, otherwise)
    }
}

fn explain(path: &Path, error: RowError, otherwise: fn(BoxError) -> JournalError) -> JournalError {
    match error {
        RowError::Flaw(flaw) => JournalError::Damaged(flaw.of(path)),
        RowError::Entry(error) => error,
        RowError::Sqlite(error) => otherwise(Box::new(error)),
        RowError::Json(error) => otherwise(Box::new(error)),
    }
}

/// Whether more room might help. SQLite tells a full disk from others, but not a quota, nor a disk that finds out late.
fn wants_room(error: &RowError) -> bool {
    match error {
        RowError::Sqlite(rusqlite::Error::SqliteFailure(failure, _)) => {
            let late = [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_FSYNC];
            failure.code == ErrorCode::DiskFull || late.contains(&failure.extended_code)
        }
        RowError::Sqlite(_) | RowError::Flaw(_) | RowError::Json(_) | RowError::Entry(_) => false,
    }
}

/// Whether SQLite leaves the `-wal` file alone when it closes: it may hold what a damaged state can be mended with.
fn keep_as_it_is(connection: &Connection, keep: bool) -> Result<(), rusqlite::Error> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(|_| ())
}

/// The file of the same name with something added.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether there is nothing in the file, or no file.
fn is_empty(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |data| data.len() == 0)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
