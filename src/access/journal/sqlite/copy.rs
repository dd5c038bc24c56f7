//! # Purpose
//! A journal that is made from another one: written beside its place, and put there when it is whole.
//!
//! # Invariants kept here
//! - A daemon never finds half of it: until it is put in its place its name is another.
//! - Whoever was killed at any point goes on where that was. No daemon starts on the place meanwhile.
//!
//! # Not here
//! Where its entries come from, and that they are the same: `transfer`.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{Inspection, OpenError, Owner, SqliteJournal, beside, folder_of, is_empty, lock};
use crate::access::journal::{Entry, Journal, JournalError, Standing};

/// See the module.
#[derive(Debug)]
pub(in crate::access::journal) struct Copy {
    place: PathBuf,
    /// Where it is until it is whole.
    work: PathBuf,
    journal: Option<SqliteJournal>,
    /// Of the place.
    _lock: File,
}

impl Copy {
    /// Takes the place; `None` where a journal is already.
    pub(in crate::access::journal) fn begin(place: &Path, whoami: &str) -> Result<Option<Self>, OpenError> {
        let failed = |source| OpenError::File { path: place.to_owned(), source };
        if !is_empty(place) {
            return Ok(None);
        }
        DirBuilder::new().recursive(true).mode(0o700).create(folder_of(place)).map_err(failed)?;
        let lock = lock::take(place, &beside(place, ".lock"), whoami)?;
        let work = beside(place, ".copying");
        Ok(Some(Self { place: place.to_owned(), work, journal: None, _lock: lock }))
    }

    /// What is there of it.
    pub(in crate::access::journal) fn look(&self) -> Result<Option<Inspection>, OpenError> {
        if is_empty(&self.work) {
            return Ok(None);
        }
        Inspection::open(&self.work)
    }

    /// Opens it to be written to.
    pub(in crate::access::journal) async fn open(
        &mut self,
        owner: &Owner,
        whoami: &str,
    ) -> Result<(), CopyError> {
        let journal = SqliteJournal::open(&self.work, owner, whoami).map_err(CopyError::Open)?;
        // What is left of the last one is folded in when it closes.
        journal.open_entries().await.map_err(CopyError::Journal)?;
        self.journal = Some(journal);
        Ok(())
    }

    pub(in crate::access::journal) async fn append(
        &self,
        entries: Vec<Entry>,
        standing: Vec<Standing>,
    ) -> Result<(), JournalError> {
        match &self.journal {
            Some(journal) => journal.append(entries, standing).await,
            None => Err(JournalError::Write("the copy is not open".into())),
        }
    }

    /// Closes it, with everything in its one file.
    pub(in crate::access::journal) async fn close(&mut self) -> Result<(), JournalError> {
        if let Some(journal) = self.journal.take() {
            journal.prove().await?;
            journal.close().await;
        }
        if is_empty(&beside(&self.work, "-wal")) {
            return Ok(());
        }
        Err(JournalError::Write("SQLite did not fold its -wal file in".into()))
    }

    /// Puts it in its place.
    pub(in crate::access::journal) fn finish(self) -> Result<(), OpenError> {
        let placed = (|| {
            gone(&beside(&self.work, ".lock"))?;
            gone(&beside(&self.work, ".reserve"))?;
            // A witness of a file that was there before would call this one too old.
            gone(&beside(&self.place, ".mark"))?;
            fs::rename(&self.work, &self.place)?;
            fs::rename(beside(&self.work, ".mark"), beside(&self.place, ".mark"))?;
            File::open(folder_of(&self.place))?.sync_all()
        })();
        placed.map_err(|source| OpenError::File { path: self.place, source })
    }
}

/// A copy cannot be opened.
#[derive(Debug)]
pub(in crate::access::journal) enum CopyError {
    Open(OpenError),
    Journal(JournalError),
}

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
