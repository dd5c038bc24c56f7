//! # Purpose
//! Reads a journal that no daemon has open, for a person.
//!
//! # Invariants kept here
//! - No file is made, written or folded in: whoever looks, as whichever user, leaves everything as the daemon left it.
//! - A journal that a daemon has open is not opened; the daemon is the one to ask.
//! - What is damaged is told; [`Inspection::salvage`] alone reads past it, and says that it does.
//!
//! # Not here
//! Asking the daemon: `app::desk`.

use std::fmt::Write;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::mark::Mark;
use super::{Flaw, OpenError, Owner, RowError, beside, is_empty, keep_as_it_is, lock, rows, schema};
use crate::access::journal::{Entry, JournalError, Standing, Subject};
use crate::domain::GrantId;

/// A journal, opened to be looked at.
#[derive(Debug)]
pub struct Inspection {
    connection: Connection,
    path: PathBuf,
    /// Keeps a daemon from starting on the file while it is read.
    _lock: Option<File>,
}

/// What could be read of a damaged journal.
#[derive(Debug)]
pub struct Salvaged {
    /// In order, none of them checked.
    pub entries: Vec<Entry>,
    /// How many could not be read, at least.
    pub lost: usize,
}

impl Inspection {
    /// Opens the journal; [`OpenError::InUse`] while a daemon has it. `None` where there is none.
    pub fn open(path: &Path) -> Result<Option<Self>, OpenError> {
        let Some(inspection) = Self::connect(path)? else {
            return Ok(None);
        };
        let totals = schema::prepare_to_read(&inspection.connection, path)?;
        let confirmed = Mark::read(&beside(path, ".mark"));
        let confirmed = confirmed.map_err(|source| OpenError::File { path: path.to_owned(), source })?;
        if let Some(confirmed) = confirmed
            && !confirmed.allows(&totals)
        {
            let flaw = Flaw::Behind { found: totals.commit, confirmed: confirmed.commit };
            return Err(OpenError::Damaged(flaw.of(path)));
        }
        Ok(Some(inspection))
    }

    /// Whatever can be read of the journal at `path`, damaged or not.
    pub fn salvage(path: &Path) -> Result<Option<Salvaged>, OpenError> {
        let Some(Self { connection, .. }) = Self::connect(path)? else {
            return Ok(None);
        };
        // What is said about how to open it may be damaged too; then nothing can be read, and that is told.
        let _ = connection.execute_batch("PRAGMA locking_mode=EXCLUSIVE; PRAGMA query_only=ON;");
        let (entries, lost) = rows::salvage(&connection);
        Ok(Some(Salvaged { entries, lost }))
    }

    fn connect(path: &Path) -> Result<Option<Self>, OpenError> {
        if !path.try_exists().map_err(|source| OpenError::File { path: path.to_owned(), source })? {
            return Ok(None);
        }
        let lock = lock::take_if_there(path, &beside(path, ".lock"))?;
        let connection = open(path).map_err(|error| schema::unreadable(path, error))?;
        keep_as_it_is(&connection, true).map_err(|error| schema::unreadable(path, error))?;
        Ok(Some(Self { connection, path: path.to_owned(), _lock: lock }))
    }

    /// The entries of all open subjects, in order.
    pub fn open_entries(&self) -> Result<Vec<Entry>, JournalError> {
        rows::open_entries(&self.connection).map_err(|error| self.explain(error))
    }

    /// The entries of a grant and of the tasks that have asked about it, open or not, in order.
    pub fn about(&self, grant: &GrantId) -> Result<Vec<Entry>, JournalError> {
        let all = rows::asking(&self.connection, grant, 1, i64::MAX.unsigned_abs());
        let tasks = all.map_err(|error| self.explain(error))?.unwrap_or_default();
        rows::about(&self.connection, grant, &tasks).map_err(|error| self.explain(error))
    }

    /// Checks every row there is, and says how many entries there are.
    pub(in crate::access::journal) fn check_all(&self) -> Result<i64, JournalError> {
        rows::check_all(&self.connection).map_err(|error| self.explain(error))
    }

    /// So many entries after one; their numbers have no gaps.
    pub(in crate::access::journal) fn after(&self, seq: i64, many: i64) -> Result<Vec<Entry>, JournalError> {
        rows::after(&self.connection, seq, many).map_err(|error| self.explain(error))
    }

    /// Which of these subjects are open.
    pub(in crate::access::journal) fn standing(
        &self,
        subjects: Vec<Subject>,
    ) -> Result<Vec<Standing>, JournalError> {
        let standing = |subject: Subject| {
            let open = rows::is_open(&self.connection, &subject.to_string())?;
            Ok(Standing { subject, open })
        };
        subjects.into_iter().map(standing).collect::<Result<_, _>>().map_err(|error| self.explain(error))
    }

    /// To whom it belongs; nothing in one that was never claimed.
    pub(in crate::access::journal) fn owner(&self) -> Result<Option<Owner>, OpenError> {
        schema::owner(&self.connection, &self.path)
    }

    fn explain(&self, error: RowError) -> JournalError {
        super::explain(&self.path, error, JournalError::Read)
    }
}

/// Without a `-wal` file SQLite would make one, unless it is told that nothing can change.
fn open(path: &Path) -> Result<Connection, rusqlite::Error> {
    if !is_empty(&beside(path, "-wal")) {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        return Connection::open_with_flags(path, flags);
    }
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let escaped = path.as_os_str().as_bytes().iter().fold(String::new(), |mut escaped, byte| {
        // A writer to a string cannot fail.
        let _ = write!(escaped, "%{byte:02X}");
        escaped
    });
    Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::super::super::contract::{accepted, entry, standing};
    use super::super::SqliteJournal;
    use super::*;
    use crate::access::journal::Journal;

    fn owner() -> Owner {
        Owner { connector: "c".to_owned(), organizations: vec![("i".to_owned(), "https://o".to_owned())] }
    }

    fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.map(|file| (file.clone(), fs::read(file).unwrap())).collect()
    }

    #[tokio::test]
    async fn looking_leaves_every_file_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state %20#?.db");
        assert!(Inspection::open(&path).unwrap().is_none());
        assert!(files(folder.path()).is_empty());
        let id = GrantId::from("grt_1");
        let subject = || Subject::Grant(id.clone());
        for second in 0..2 {
            let journal = SqliteJournal::open(&path, &owner(), "pid 7").unwrap();
            journal.open_entries().await.unwrap();
            let id = GrantId::from(format!("grt_{second}").as_str());
            journal
                .append(vec![entry(second, accepted(&id))], vec![standing(Subject::Grant(id.clone()), true)])
                .await
                .unwrap();
            let refused = Inspection::open(&path).unwrap_err();
            assert!(matches!(refused, OpenError::InUse { by, .. } if by == "pid 7"));
            if second == 1 {
                // As after a kill: with a -wal file.
                let copy = tempfile::tempdir().unwrap();
                for (file, bytes) in files(folder.path()) {
                    fs::write(copy.path().join(file.file_name().unwrap()), bytes).unwrap();
                }
                let path = copy.path().join(path.file_name().unwrap());
                assert!(!is_empty(&beside(&path, "-wal")));
                let before = files(copy.path());
                assert_eq!(Inspection::open(&path).unwrap().unwrap().open_entries().unwrap().len(), 2);
                assert_eq!(files(copy.path()), before);
            }
        }
        let before = files(folder.path());
        let inspection = Inspection::open(&path).unwrap().unwrap();
        assert_eq!(inspection.open_entries().unwrap().len(), 2);
        assert_eq!(inspection.about(&id).unwrap(), [entry(1, accepted(&id))]);
        drop(inspection);
        assert_eq!(files(folder.path()), before, "{:?}", subject());
    }

    #[tokio::test]
    async fn a_damaged_journal_is_told_and_can_be_read_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let (first, second) = (GrantId::from("grt_1"), GrantId::from("grt_2"));
        let journal = SqliteJournal::open(&path, &owner(), "pid 7").unwrap();
        journal.open_entries().await.unwrap();
        for id in [&first, &second] {
            let standing = vec![standing(Subject::Grant(id.clone()), true)];
            journal.append(vec![entry(1, accepted(id))], standing).await.unwrap();
        }
        drop(journal);
        let raw = Connection::open(&path).unwrap();
        raw.execute("UPDATE entries SET record = '{' WHERE seq = 1", []).unwrap();
        drop(raw);
        let read = Inspection::open(&path).unwrap().unwrap().open_entries();
        assert!(matches!(read, Err(JournalError::Damaged(_))));
        let salvaged = Inspection::salvage(&path).unwrap().unwrap();
        assert_eq!((salvaged.entries, salvaged.lost), (vec![entry(1, accepted(&second))], 1));
    }
}
