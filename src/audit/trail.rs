//! # Purpose
//! Writes the trail: batches of lines, checkpoints and rotation.
//!
//! # Invariants kept here
//! - A batch is one write and one sync. When it fails, the file is cut back to where it was; until that has worked,
//!   nothing more is written.
//! - The head follows the lines and never leads. It is durable before the next batch is written, so that it lags by one
//!   batch at most: while it cannot be written, the batch that is durable already is the last that is accepted.
//! - An append waits for two syncs at most: of the former batch's head, and of its own lines.
//! - The chain goes on over rotation and renaming by others.
//! - No file of the trail is deleted, and none is overwritten.
//!
//! # Not here
//! Finding the end at a start: `recovery`. Finding out whether somebody has changed it: `verify`.

mod recovery;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tracing::warn;

use super::chain::{self, Link};
use super::files::{self, Identity, Paths};
use super::head;
use super::lock::Lock;
use super::note::{Checkpoint, Note};
use super::{Audit, AuditError, AuditRecord, LogLevel, ocsf};
use crate::domain::ConnectorId;
use crate::telemetry::chain as causes;

/// The size at which a file is closed and the next one begun, unless said otherwise.
const ROTATE_AT: u64 = 64 * 1024 * 1024;
/// A file that cannot be rotated grows by this before the next try.
const TRY_AGAIN_AFTER: u64 = 1024 * 1024;
/// Lines with a number that this divides are checkpoints.
const CHECKPOINT_EVERY: u64 = 100;
/// What proves that there is room again is not larger than this.
const LARGEST_PROOF: usize = 64 * 1024;

/// The trail in a file. One process writes it at a time: from its first use on, the lock is held as long as this lives
/// or until it is released.
#[derive(Clone, Debug)]
pub struct AuditTrail {
    writer: Arc<Mutex<Writer>>,
}

impl AuditTrail {
    /// A trail at `path` that is opened when it is first needed, and again where that failed.
    pub fn new(path: &Path, connector: ConnectorId) -> Self {
        let writer = Writer {
            paths: Paths::new(path),
            connector,
            rotate_at: ROTATE_AT,
            write: write_and_sync,
            sync: File::sync_data,
            lock: None,
            open: None,
            refused: 0,
        };
        Self { writer: Arc::new(Mutex::new(writer)) }
    }

    /// A trail at `path` that is opened now, and made (mode 0600, its folder 0700) when there is none. `at` is the
    /// instant of what is to be told of the opening.
    pub async fn open(path: &Path, connector: ConnectorId, at: Timestamp) -> Result<Self, AuditError> {
        let trail = Self::new(path, connector);
        trail.prove(at).await?;
        Ok(trail)
    }

    /// Closes a file and begins the next one at this many bytes, instead of 64 MiB.
    #[must_use]
    pub fn rotating_at(self, bytes: u64) -> Self {
        self.lock().rotate_at = bytes;
        self
    }

    async fn run<F>(&self, work: F) -> Result<(), AuditError>
    where
        F: FnOnce(&mut Writer) -> Result<(), AuditError> + Send + 'static,
    {
        let writer = Arc::clone(&self.writer);
        let task = tokio::task::spawn_blocking(move || {
            work(&mut writer.lock().unwrap_or_else(PoisonError::into_inner))
        });
        task.await.map_err(AuditError::Worker)?
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audit for AuditTrail {
    fn append(&self, records: Vec<(Timestamp, AuditRecord)>) -> BoxFuture<'_, Result<(), AuditError>> {
        self.run(move |writer| writer.append(&records)).boxed()
    }

    fn prove(&self, at: Timestamp) -> BoxFuture<'_, Result<(), AuditError>> {
        self.run(move |writer| writer.prove(at)).boxed()
    }

    fn log_level(&self, at: Timestamp, change: LogLevel) -> BoxFuture<'_, Result<(), AuditError>> {
        self.run(move |writer| writer.tell(at, Note::LogLevel(change))).boxed()
    }

    fn close(&self, at: Timestamp) -> BoxFuture<'_, Result<(), AuditError>> {
        self.run(move |writer| writer.close(at)).boxed()
    }

    fn release(&self) -> BoxFuture<'_, Result<(), AuditError>> {
        let let_go = |writer: &mut Writer| {
            (writer.open, writer.lock) = (None, None);
            Ok(())
        };
        self.run(let_go).boxed()
    }
}

type WriteBatch = fn(&mut File, &[u8]) -> io::Result<()>;

fn write_and_sync(file: &mut File, batch: &[u8]) -> io::Result<()> {
    file.write_all(batch)?;
    file.sync_data()
}

#[derive(Debug)]
struct Writer {
    paths: Paths,
    connector: ConnectorId,
    rotate_at: u64,
    write: WriteBatch,
    /// Makes lines durable that a former process has written.
    sync: fn(&File) -> io::Result<()>,
    lock: Option<Lock>,
    open: Option<Open>,
    /// How long the batch was that was not taken last; 0 after one that was.
    refused: usize,
}

/// What is known once the end of the trail was found.
#[derive(Debug)]
struct Open {
    file: File,
    end: Link,
    /// The file before this one, until this one's first line has told of it.
    previous: Option<String>,
    /// Whether the head on disk may be older than `end`.
    is_head_behind: bool,
    /// After a write that failed and could not be taken back: what the file must be cut to.
    cut_to: Option<u64>,
    /// Rotation is not tried below this size.
    not_before: u64,
}

/// What a batch is made of.
enum Entry<'a> {
    Record(&'a AuditRecord),
    Note(Note),
}

impl Writer {
    fn append(&mut self, records: &[(Timestamp, AuditRecord)]) -> Result<(), AuditError> {
        let Some((first, _)) = records.first() else {
            return Ok(());
        };
        self.get_ready(*first)?;
        self.write(*first, records.iter().map(|(at, record)| (*at, Entry::Record(record))).collect(), 0)
    }

    fn prove(&mut self, at: Timestamp) -> Result<(), AuditError> {
        self.get_ready(at)?;
        let length = self.open.as_ref().map_or(Ok(0), |open| length(&open.file));
        let is_empty = length.map_err(|source| self.cannot_write(source))? == 0;
        if is_empty || self.refused > 0 {
            // The head has its room already: that it can be written says nothing of lines.
            self.write(at, Vec::new(), self.refused)?;
        }
        self.settle_head()
    }

    fn tell(&mut self, at: Timestamp, note: Note) -> Result<(), AuditError> {
        self.get_ready(at)?;
        self.write(at, vec![(at, Entry::Note(note))], 0)
    }

    fn close(&mut self, at: Timestamp) -> Result<(), AuditError> {
        self.get_ready(at)?;
        self.write_checkpoint(at, Checkpoint::Close)?;
        self.settle_head()
    }

    /// Everything that must hold before lines are written: the trail is open, the former batch is settled, the file at
    /// the path is ours and has room.
    fn get_ready(&mut self, at: Timestamp) -> Result<(), AuditError> {
        if self.open.is_none() {
            return self.open(at);
        }
        self.cut_back()?;
        self.catch_up()?;
        self.follow_renaming(at)?;
        self.rotate_when_full(at);
        // A rotation that failed half way has written a checkpoint that is no whole line or that the head does not know,
        // or has renamed the file and not made the next one.
        self.cut_back()?;
        self.follow_renaming(at)?;
        self.catch_up()
    }

    /// Finds the end of the trail and goes on there; tells of whatever the last process did not leave whole.
    fn open(&mut self, at: Timestamp) -> Result<(), AuditError> {
        let folder = self.paths.folder();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| AuditError::Open { path: folder.to_owned(), source })?;
        if self.lock.is_none() {
            self.lock = Some(Lock::take(&self.paths)?);
        }
        let (open, notes) = self.find_end()?;
        let is_new = length(&open.file).map_err(|source| self.cannot_open(source))? == 0;
        self.open = Some(open);
        if is_new || !notes.is_empty() {
            // An empty batch still has the first line of a new file.
            let notes = notes.into_iter().map(|note| (at, Entry::Note(note))).collect();
            let told = self.write(at, notes, 0).and_then(|()| self.rename_what_was_told());
            if told.is_err() {
                // What could not be told is found and told again.
                self.open = None;
                return told;
            }
        }
        self.catch_up()
    }

    /// Takes back what a failed write has left.
    fn cut_back(&mut self) -> Result<(), AuditError> {
        if let Some(open) = &mut self.open
            && let Some(good) = open.cut_to
        {
            let settled = cut(&open.file, good);
            settled.map_err(|source| cannot_write(&self.paths, source))?;
            open.cut_to = None;
        }
        Ok(())
    }

    /// Takes the file that is at the path now, when somebody has renamed ours.
    fn follow_renaming(&mut self, at: Timestamp) -> Result<(), AuditError> {
        let Some(open) = &mut self.open else {
            return self.open(at);
        };
        let follow = || -> io::Result<Option<(File, Option<String>)>> {
            let ours = Identity::of(&open.file.metadata()?);
            match fs::metadata(self.paths.path()) {
                Ok(there) if Identity::of(&there) == ours => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let is_ours =
                |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| Identity::of(&metadata) == ours);
            let renamed = self.paths.former()?.into_iter().find(is_ours);
            let name = renamed.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
            Ok(Some((open_file(&self.paths)?, name)))
        };
        let cannot_open = |source| AuditError::Open { path: self.paths.path().to_owned(), source };
        let Some((file, name)) = follow().map_err(cannot_open)? else {
            return Ok(());
        };
        let is_new = length(&file).map_err(cannot_open)? == 0;
        (open.file, open.previous, open.not_before) = (file, name, 0);
        if is_new {
            return Ok(());
        }
        // Somebody has put a file with content there: look at it as at a start.
        self.open = None;
        self.open(at)
    }

    /// Closes the file and begins the next one. A file that cannot be rotated grows on: that is no reason to stop.
    fn rotate_when_full(&mut self, at: Timestamp) {
        let Some(open) = &self.open else {
            return;
        };
        let size = length(&open.file).unwrap_or(0);
        if size < self.rotate_at.max(open.not_before) || size == 0 {
            return;
        }
        if let Err(error) = self.rotate(at) {
            warn!(error = %causes(&error), "the audit trail cannot be rotated and grows on: {}", causes(&error));
            if let Some(open) = &mut self.open {
                open.not_before = size + TRY_AGAIN_AFTER;
            }
        }
    }

    fn rotate(&mut self, at: Timestamp) -> Result<(), AuditError> {
        self.write_checkpoint(at, Checkpoint::Rotation)?;
        // A head that knows of no line of the next file, nor of the last one here, would make both look torn.
        self.catch_up()?;
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let paths = &self.paths;
        let rename = || -> io::Result<(File, String)> {
            let first = files::first_claim(&open.file)?.map_or(0, |claim| claim.link.seq);
            let target = paths.rotated(first, open.end.seq);
            if target.exists() {
                return Err(io::Error::from(io::ErrorKind::AlreadyExists));
            }
            fs::rename(paths.path(), &target)?;
            head::sync_folder(paths.folder())?;
            let name = target.file_name().map(|name| name.to_string_lossy().into_owned());
            Ok((open_file(paths)?, name.unwrap_or_default()))
        };
        let (file, name) = rename().map_err(|source| cannot_write(paths, source))?;
        (open.file, open.previous, open.not_before) = (file, Some(name), 0);
        Ok(())
    }

    fn write_checkpoint(&mut self, at: Timestamp, why: Checkpoint) -> Result<(), AuditError> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let note = Note::Checkpoint { why, end: open.end.clone() };
        self.write(at, vec![(at, Entry::Note(note))], 0)
    }

    /// One batch: lines, made longer by checkpoints where it is shorter than `at_least`. An error means that no line of
    /// it is in the file, or that it is cut off before anything else is written.
    fn write(
        &mut self,
        at: Timestamp,
        entries: Vec<(Timestamp, Entry<'_>)>,
        at_least: usize,
    ) -> Result<(), AuditError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let before = length(&open.file).map_err(|source| cannot_write(&self.paths, source))?;
        let mut batch = Batch { text: String::new(), end: open.end.clone(), connector: &self.connector };
        if before == 0 {
            let first = match open.end.seq {
                0 => Note::Begun,
                _ => Note::Continued { previous: open.previous.clone(), end: open.end.clone() },
            };
            batch.push(at, &Entry::Note(first));
        }
        for (at, entry) in entries {
            if (batch.end.seq + 1).is_multiple_of(CHECKPOINT_EVERY) {
                batch.push_checkpoint(at);
            }
            batch.push(at, &entry);
        }
        while batch.text.len() < at_least {
            batch.push_checkpoint(at);
        }
        let Batch { text, end, .. } = batch;
        if let Err(source) = (self.write)(&mut open.file, text.as_bytes()) {
            open.cut_to = cut(&open.file, before).is_err().then_some(before);
            self.refused = text.len().min(LARGEST_PROOF);
            return Err(self.cannot_write(source));
        }
        open.end = end;
        open.previous = None;
        open.is_head_behind = true;
        self.refused = 0;
        if let Err(source) = head::note(&self.paths, &open.end) {
            // The lines are durable, which is what was asked for. The next batch waits for the head.
            let error = self.cannot_write_head(source);
            warn!(error = %causes(&error), "{}", causes(&error));
        }
        Ok(())
    }

    /// Makes the head durable where it may be behind.
    fn catch_up(&mut self) -> Result<(), AuditError> {
        match &self.open {
            Some(open) if open.is_head_behind => self.settle_head(),
            Some(_) | None => Ok(()),
        }
    }

    fn settle_head(&mut self) -> Result<(), AuditError> {
        if let Some(open) = &mut self.open {
            let settled = head::settle(&self.paths, &open.end);
            open.is_head_behind = settled.is_err();
            settled.map_err(|source| self.cannot_write_head(source))?;
        }
        Ok(())
    }

    fn cannot_open(&self, source: io::Error) -> AuditError {
        AuditError::Open { path: self.paths.path().to_owned(), source }
    }

    fn cannot_write(&self, source: io::Error) -> AuditError {
        cannot_write(&self.paths, source)
    }

    fn cannot_write_head(&self, source: io::Error) -> AuditError {
        AuditError::Head { path: self.paths.head(), source }
    }
}

fn cannot_write(paths: &Paths, source: io::Error) -> AuditError {
    AuditError::Write { path: paths.path().to_owned(), source }
}

/// Lines that are written together.
struct Batch<'a> {
    text: String,
    end: Link,
    connector: &'a ConnectorId,
}

impl Batch<'_> {
    fn push(&mut self, at: Timestamp, entry: &Entry<'_>) {
        let seq = self.end.seq + 1;
        let members = match entry {
            Entry::Record(record) => ocsf::event(record, at, seq, self.connector),
            Entry::Note(note) => ocsf::note_event(note, at, seq, self.connector),
        };
        let (line, end) = chain::seal(&self.end, members);
        self.text.push_str(&line);
        self.end = end;
    }

    fn push_checkpoint(&mut self, at: Timestamp) {
        let note = Note::Checkpoint { why: Checkpoint::Regular, end: self.end.clone() };
        self.push(at, &Entry::Note(note));
    }
}

fn open_file(paths: &Paths) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    let file = match options.open(paths.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Whoever has renamed the former file, and was killed or does not care, may have left that to be undone by a
            // loss of power: then this one would take its name.
            head::sync_folder(paths.folder())?;
            options.create(true).open(paths.path())?
        }
        other => other?,
    };
    head::sync_folder(paths.folder())?;
    Ok(file)
}

fn length(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

fn cut(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
