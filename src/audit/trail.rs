//! # Purpose
//! Writes the trail: batches of lines, checkpoints, rotation, and going on where the last process ended.
//!
//! # Invariants kept here
//! - A batch is one write and one sync. When it fails, the file is cut back to where it was; until that has worked,
//!   nothing more is written.
//! - The head follows the lines, never leads, and lags by one batch at most: while it cannot be written, the batch
//!   that is durable already is the last that is accepted.
//! - The chain goes on over rotation, renaming by others, restarts and crashes. Where lines are missing it goes on
//!   after the last line that is known to have been, so that the gap stays to be seen.
//! - No file of the trail is deleted, and none is overwritten.
//!
//! # Not here
//! Finding out whether somebody has changed it: `verify`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::chain::{self, Link};
use super::files::{self, Identity, Paths, Tail};
use super::head::{self, Head};
use super::note::{Checkpoint, HeadFlaw, Note, Torn};
use super::{Audit, AuditError, AuditRecord, ocsf};
use crate::domain::ConnectorId;
use crate::telemetry::chain as causes;

/// The size at which a file is closed and the next one begun, unless said otherwise.
const ROTATE_AT: u64 = 64 * 1024 * 1024;
/// A file that cannot be rotated grows by this before the next try.
const TRY_AGAIN_AFTER: u64 = 1024 * 1024;
/// Lines with a number that this divides are checkpoints.
const CHECKPOINT_EVERY: u64 = 100;

/// The trail in a file. One process writes it at a time: the one that owns the state.
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
            open: None,
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

    fn close(&self, at: Timestamp) -> BoxFuture<'_, Result<(), AuditError>> {
        self.run(move |writer| writer.close(at)).boxed()
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
    open: Option<Open>,
}

/// What is known once the end of the trail was found.
#[derive(Debug)]
struct Open {
    file: File,
    end: Link,
    /// The file before this one, until this one's first line has told of it.
    previous: Option<String>,
    /// Whether the head on disk is older than `end`.
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
        self.write(*first, records.iter().map(|(at, record)| (*at, Entry::Record(record))).collect())
    }

    fn prove(&mut self, at: Timestamp) -> Result<(), AuditError> {
        self.get_ready(at)?;
        self.write_head()
    }

    fn close(&mut self, at: Timestamp) -> Result<(), AuditError> {
        self.get_ready(at)?;
        self.write_checkpoint(at, Checkpoint::Close)?;
        self.catch_up()
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
        // A rotation that failed half way has renamed the file and not made the next one.
        self.follow_renaming(at)
    }

    /// Finds the end of the trail and goes on there; tells of whatever the last process did not leave whole.
    fn open(&mut self, at: Timestamp) -> Result<(), AuditError> {
        let found = self.find_end().map_err(|source| self.cannot_open(source))?;
        let Found { open, notes } = found;
        let is_new = length(&open.file).map_err(|source| self.cannot_open(source))? == 0;
        self.open = Some(open);
        if is_new || !notes.is_empty() {
            // An empty batch still has the first line of a new file.
            let written = self.write(at, notes.into_iter().map(|note| (at, Entry::Note(note))).collect());
            if written.is_err() {
                // What could not be told is found and told again.
                self.open = None;
                return written;
            }
        }
        self.catch_up()
    }

    fn find_end(&self) -> io::Result<Found> {
        let paths = &self.paths;
        DirBuilder::new().recursive(true).mode(0o700).create(paths.folder())?;
        let file = open_file(paths.path())?;
        let head = head::read(paths)?;
        let mut former = None;
        for path in paths.former()? {
            let claim = files::last_claim(&path)?.map(|claim| claim.link);
            former =
                claim.map(|link| (link, path)).into_iter().chain(former).max_by_key(|(link, _)| link.seq);
        }
        let tail = files::tail(&file, head.link())?;
        let found = tail.end.clone().into_iter().chain(former.as_ref().map(|(link, _)| link.clone()));
        let found = found.max_by_key(|link| link.seq).unwrap_or_else(Link::start);
        let (end, flaw) = match &head {
            Head::At(known) if known.seq > found.seq => {
                (known.clone(), Some(HeadFlaw::Ahead { found: found.seq, known: known.seq }))
            }
            // Lines with the same number and another hash are not what was written.
            Head::At(known) if known.seq == found.seq => (known.clone(), None),
            Head::At(_) => (found, None),
            Head::Missing if found.seq == 0 => {
                // Before the first line, so that lines without a head are never the work of a crash.
                head::write(paths, &found)?;
                (found, None)
            }
            Head::Missing => (found, Some(HeadFlaw::Missing)),
            Head::Unreadable => (found, Some(HeadFlaw::Unreadable)),
        };
        self.move_torn_aside(&file, &tail, end.seq)?;
        let torn = describe_torn(&paths.torn(end.seq)?)?;
        let is_whole = torn.is_empty() && flaw.is_none();
        let notes = if is_whole { Vec::new() } else { vec![Note::Recovered { torn, head: flaw }] };
        let previous = former.and_then(|(_, path)| Some(path.file_name()?.to_string_lossy().into_owned()));
        let open = Open { file, end, previous, is_head_behind: true, cut_to: None, not_before: 0 };
        Ok(Found { open, notes })
    }

    /// Copies what is torn to a file of its own, and only then cuts it off.
    fn move_torn_aside(&self, file: &File, tail: &Tail, end: u64) -> io::Result<()> {
        if tail.torn == 0 {
            return Ok(());
        }
        let path = self.paths.free_torn(end);
        let mut aside = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let mut from = file.try_clone()?;
        from.seek(SeekFrom::Start(tail.good))?;
        io::copy(&mut from.take(tail.torn), &mut aside)?;
        aside.sync_all()?;
        head::sync_folder(self.paths.folder())?;
        cut(file, tail.good)
    }

    /// Takes back what a failed write has left.
    fn cut_back(&mut self) -> Result<(), AuditError> {
        if let Some(open) = &mut self.open
            && let Some(good) = open.cut_to
        {
            let settled = cut(&open.file, good);
            settled.map_err(|source| AuditError::Write { path: self.paths.path().to_owned(), source })?;
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
            Ok(Some((open_file(self.paths.path())?, name)))
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
            Ok((open_file(paths.path())?, name.unwrap_or_default()))
        };
        let (file, name) =
            rename().map_err(|source| AuditError::Write { path: paths.path().to_owned(), source })?;
        (open.file, open.previous, open.not_before) = (file, Some(name), 0);
        Ok(())
    }

    fn write_checkpoint(&mut self, at: Timestamp, why: Checkpoint) -> Result<(), AuditError> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let note = Note::Checkpoint { why, end: open.end.clone() };
        self.write(at, vec![(at, Entry::Note(note))])
    }

    /// One batch: lines, then the head. An error means that no line of it is in the file.
    fn write(&mut self, at: Timestamp, entries: Vec<(Timestamp, Entry<'_>)>) -> Result<(), AuditError> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let failed = |source| AuditError::Write { path: self.paths.path().to_owned(), source };
        let before = length(&open.file).map_err(failed)?;
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
                let note = Note::Checkpoint { why: Checkpoint::Regular, end: batch.end.clone() };
                batch.push(at, &Entry::Note(note));
            }
            batch.push(at, &entry);
        }
        let Batch { text, end, .. } = batch;
        if let Err(source) = (self.write)(&mut open.file, text.as_bytes()) {
            open.cut_to = cut(&open.file, before).is_err().then_some(before);
            return Err(failed(source));
        }
        open.end = end;
        open.previous = None;
        open.is_head_behind = true;
        if let Err(error) = self.write_head() {
            // The lines are durable, which is what was asked for. The next batch waits for the head.
            warn!(error = %causes(&error), "{}", causes(&error));
        }
        Ok(())
    }

    /// Writes the head where it is behind.
    fn catch_up(&mut self) -> Result<(), AuditError> {
        match &self.open {
            Some(open) if open.is_head_behind => self.write_head(),
            Some(_) | None => Ok(()),
        }
    }

    fn write_head(&mut self) -> Result<(), AuditError> {
        if let Some(open) = &mut self.open {
            let written = head::write(&self.paths, &open.end);
            written.map_err(|source| AuditError::Head { path: self.paths.head(), source })?;
            open.is_head_behind = false;
        }
        Ok(())
    }

    fn cannot_open(&self, source: io::Error) -> AuditError {
        AuditError::Open { path: self.paths.path().to_owned(), source }
    }
}

struct Found {
    open: Open,
    notes: Vec<Note>,
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
}

fn open_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        head::sync_folder(folder)?;
    }
    Ok(file)
}

fn length(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

fn cut(file: &File, length: u64) -> io::Result<()> {
    file.set_len(length)?;
    file.sync_all()
}

fn describe_torn(paths: &[PathBuf]) -> io::Result<Vec<Torn>> {
    let describe = |path: &PathBuf| -> io::Result<Torn> {
        let mut hasher = Sha256::new();
        let bytes = io::copy(&mut BufReader::new(File::open(path)?), &mut hasher)?;
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Torn { file, bytes, sha256: chain::hex(&hasher.finalize()) })
    };
    paths.iter().map(describe).collect()
}

#[cfg(test)]
mod tests;
