//! # Purpose
//! Finds the end of the trail at a start, and puts aside what a crash has left there.
//!
//! # Invariants kept here
//! - Lines are durable before the head knows of them, also those that a killed process has written and not synced.
//! - Where lines are missing, the trail goes on after the last line that is known to have been, so that the gap stays to
//!   be seen.
//! - What is no line is copied, whole and durably, before it is cut off; it has the name of what is told only when it
//!   is, so that a crash in between does not keep it from being told, and what is told once is not told again.
//! - A try that fails leaves no file behind.
//!
//! # Not here
//! Writing the lines that tell of it: `trail`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::chain::{self, Link};
use super::super::files::{self, Paths, Tail};
use super::super::head::{self, Head};
use super::super::note::{HeadFlaw, Note, Torn};
use super::{AuditError, Open, Writer, cut, open_file};

/// A file that was written before the one at the path.
struct Former {
    path: PathBuf,
    end: Link,
}

impl Writer {
    /// Where the trail goes on, and what is to be told of it first.
    pub(super) fn find_end(&self) -> Result<(Open, Vec<Note>), AuditError> {
        let paths = &self.paths;
        let file = open_file(paths).map_err(|source| self.cannot_open(source))?;
        (self.sync)(&file).map_err(|source| self.cannot_open(source))?;
        let head = head::read(paths).map_err(|source| AuditError::Open { path: paths.head(), source })?;
        let mut former = self.former()?;
        let last = former.pop();
        let mut before = last.as_ref().map(|last| last.end.clone());
        let tail = tail(&file, &head, before.as_ref()).map_err(|source| self.cannot_open(source))?;
        if let (None, Some(last)) = (&tail.end, &last) {
            // It was renamed before this start: the last write is there.
            let end = self.repair(last, &head, former.last().map(|former| &former.end))?;
            before = end.or_else(|| former.pop().map(|former| former.end));
        }
        let found = [&tail.end, &before].into_iter().flatten().max_by_key(|link| link.seq);
        let found = found.cloned().unwrap_or_else(Link::start);
        let (end, flaw) = judge(&head, found);
        if head == Head::Missing && flaw.is_none() {
            // Before the first line, so that lines without a head are never the work of a crash.
            head::replace(paths, &end).map_err(|source| self.cannot_write_head(source))?;
        }
        self.move_torn_aside(paths.path(), &tail, end.seq)?;
        self.rename_told(end.seq)?;
        let torn = self.describe_untold(end.seq).map_err(|source| self.cannot_open(source))?;
        let is_whole = torn.is_empty() && flaw.is_none();
        let notes = if is_whole { Vec::new() } else { vec![Note::Recovered { torn, head: flaw }] };
        let previous = last.and_then(|last| Some(last.path.file_name()?.to_string_lossy().into_owned()));
        Ok((Open { file, end, previous, is_head_behind: true, cut_to: None, not_before: 0 }, notes))
    }

    /// Those that have lines, in their order.
    fn former(&self) -> Result<Vec<Former>, AuditError> {
        let mut former = Vec::new();
        let all = self.paths.former();
        for path in all.map_err(|source| AuditError::Open { path: self.paths.folder().to_owned(), source })? {
            match files::last_claim(&path) {
                Ok(claim) => former.extend(claim.map(|claim| Former { path, end: claim.link })),
                Err(source) => return Err(AuditError::Open { path, source }),
            }
        }
        // Of two with the same end, the name that sorts first.
        former.sort_by(|one, other| one.end.seq.cmp(&other.end.seq).then_with(|| other.path.cmp(&one.path)));
        Ok(former)
    }

    /// Puts aside what a crash has left in the latest former file, and gives its end.
    fn repair(&self, last: &Former, head: &Head, before: Option<&Link>) -> Result<Option<Link>, AuditError> {
        let look = || -> io::Result<Tail> {
            let file = File::open(&last.path)?;
            (self.sync)(&file)?;
            tail(&file, head, before)
        };
        let tail = look().map_err(|source| AuditError::Open { path: last.path.clone(), source })?;
        let seq = [tail.end.as_ref(), before, head.link()].into_iter().flatten().map(|link| link.seq).max();
        self.move_torn_aside(&last.path, &tail, seq.unwrap_or(0))?;
        Ok(tail.end)
    }

    /// Copies what is torn to a file of its own, and only then cuts it off.
    fn move_torn_aside(&self, path: &Path, tail: &Tail, end: u64) -> Result<(), AuditError> {
        if tail.torn == 0 {
            return Ok(());
        }
        let (new, aside) = (self.paths.new_torn(), self.paths.free_untold(end));
        let copied = copy(path, tail, &new).and_then(|()| {
            fs::rename(&new, &aside)?;
            head::sync_folder(self.paths.folder())
        });
        if let Err(source) = copied {
            let _ = fs::remove_file(&new);
            let _ = fs::remove_file(&aside);
            return Err(AuditError::Aside { path: aside, source });
        }
        let done = OpenOptions::new().append(true).open(path).and_then(|file| cut(&file, tail.good));
        done.map_err(|source| {
            // All of it is still in the trail.
            let _ = fs::remove_file(&aside);
            AuditError::Write { path: path.to_owned(), source }
        })
    }

    /// What was put aside after the last line, now or before a crash. What is told already has another name.
    fn describe_untold(&self, end: u64) -> io::Result<Vec<Torn>> {
        let describe = |path: &Path| -> io::Result<Torn> {
            let mut hasher = Sha256::new();
            let bytes = io::copy(&mut BufReader::new(File::open(path)?), &mut hasher)?;
            let told = Paths::told(path);
            let file = told.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Ok(Torn { file, bytes, sha256: chain::hex(&hasher.finalize()) })
        };
        let untold = self.paths.untold()?.into_iter().filter(|(seq, _)| *seq == end);
        untold.map(|(_, path)| describe(&path)).collect()
    }

    /// What was put aside has been told of, in a line that is durable.
    pub(super) fn rename_what_was_told(&self) -> Result<(), AuditError> {
        self.rename_told(self.open.as_ref().map_or(0, |open| open.end.seq))
    }

    /// What was put aside after a line that is not the last one was told of in the next.
    fn rename_told(&self, end: u64) -> Result<(), AuditError> {
        let listed = self.paths.untold().map_err(|source| self.cannot_open(source))?;
        for (_, path) in listed.into_iter().filter(|(seq, _)| *seq < end) {
            let told = Paths::told(&path);
            let renamed = fs::rename(&path, &told).and_then(|()| head::sync_folder(self.paths.folder()));
            renamed.map_err(|source| AuditError::Aside { path: told, source })?;
        }
        Ok(())
    }
}

/// The end of a file, by what is known to be durable: the head, or what is `before` the file. Without a head nothing
/// but half a line is taken for torn.
fn tail(file: &File, head: &Head, before: Option<&Link>) -> io::Result<Tail> {
    let known = head.link().map(|head| before.filter(|before| before.seq > head.seq).unwrap_or(head));
    files::tail(file, known, before.map_or(0, |before| before.seq))
}

/// The end of the trail, and what is wrong with the head, where the files end with `found`.
fn judge(head: &Head, found: Link) -> (Link, Option<HeadFlaw>) {
    match head {
        Head::At(known) | Head::Damaged(known) if known.seq > found.seq => {
            (known.clone(), Some(HeadFlaw::Ahead { found: found.seq, known: known.seq }))
        }
        // Lines with the same number and another hash are not what was written.
        Head::At(known) if known.seq == found.seq => (known.clone(), None),
        Head::At(_) => (found, None),
        Head::Missing if found.seq == 0 => (found, None),
        Head::Missing => (found, Some(HeadFlaw::Missing)),
        Head::Damaged(_) | Head::Unreadable => (found, Some(HeadFlaw::Unreadable)),
    }
}

/// Copies what is torn, durably.
fn copy(path: &Path, tail: &Tail, to: &Path) -> io::Result<()> {
    let mut aside = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    let mut from = File::open(path)?;
    from.seek(SeekFrom::Start(tail.good))?;
    // Through memory: what the kernel copies by itself is not seen by the tests that lose power.
    let to: &mut dyn Write = &mut aside;
    io::copy(&mut from.take(tail.torn), to)?;
    aside.sync_all()
}
