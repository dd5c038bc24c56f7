//! # Purpose
//! The files of a trail: their names, which belong to it, and reading them line by line.
//!
//! # Invariants kept here
//! - A reader holds one line at a time, however large the file.
//! - Files are ordered by the lines in them, never by their names: rotation renames files.
//!
//! # Not here
//! Writing: `trail`. What a break in the chain means: `verify`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::chain::{self, Claim, Link};

/// No line of ours is longer: texts are cut long before (`ocsf`).
pub(super) const LONGEST_LINE: u64 = 4 * 1024 * 1024;
/// How the name of what a crash has left ends.
const TORN: &str = ".torn";
/// How it ends until the trail has told of it.
const UNTOLD: &str = ".untold";

/// The names that belong to a trail.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    path: PathBuf,
    folder: PathBuf,
    name: String,
}

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Paths {
    pub(super) fn new(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self {
            path: path.to_owned(),
            folder: folder.unwrap_or(Path::new(".")).to_owned(),
            name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        }
    }

    /// The file that is written.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The sidecar.
    pub(super) fn head(&self) -> PathBuf {
        self.beside(".head")
    }

    /// The sidecar to be.
    pub(super) fn new_head(&self) -> PathBuf {
        self.beside(".head.new")
    }

    /// `audit-1-99.jsonl`, for a file with these lines.
    pub(super) fn rotated(&self, first: u64, last: u64) -> PathBuf {
        let (stem, extension) = self.stem_and_extension();
        self.folder.join(format!("{stem}-{first}-{last}{extension}"))
    }

    /// The lock.
    pub(super) fn lock(&self) -> PathBuf {
        self.beside(".lock")
    }

    /// What a crash left, while it is copied.
    pub(super) fn new_torn(&self) -> PathBuf {
        self.beside(".torn.new")
    }

    /// A name for what a crash left after line `seq`, until it is told of. No file has it, nor [`Self::told`] of it.
    pub(super) fn free_untold(&self, seq: u64) -> PathBuf {
        let first = self.beside(&format!(".after-{seq}{TORN}{UNTOLD}"));
        let further = (2_u32..).map(|count| self.beside(&format!(".after-{seq}.{count}{TORN}{UNTOLD}")));
        let is_free = |path: &PathBuf| !path.exists() && !Self::told(path).exists();
        std::iter::once(first).chain(further).find(is_free).unwrap_or_default()
    }

    /// What its name is once it is told of.
    pub(super) fn told(untold: &Path) -> PathBuf {
        untold.with_extension("")
    }

    /// What crashes left and is not told of, or still has the name of what is not, with the number of the line before.
    pub(super) fn untold(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let begin = format!("{}.after-", self.name);
        let line = |name: &str| -> Option<u64> {
            let rest = name.strip_prefix(&begin)?.strip_suffix(UNTOLD)?.strip_suffix(TORN)?;
            rest.split('.').next()?.parse().ok()
        };
        let found = self.list(|name| line(name).is_some())?;
        let name = |path: &Path| path.file_name().and_then(|name| line(&name.to_string_lossy()));
        Ok(found.into_iter().filter_map(|path| Some((name(&path)?, path))).collect())
    }

    /// The files with lines of this trail that are there now, in the order of their names.
    pub(super) fn all(&self) -> io::Result<Vec<PathBuf>> {
        self.list(|name| self.is_part(name))
    }

    /// As [`Self::all`], without the one that is written.
    pub(super) fn former(&self) -> io::Result<Vec<PathBuf>> {
        self.list(|name| name != self.name && self.is_part(name))
    }

    fn list(&self, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name().to_str().is_some_and(&wanted) && !entry.file_type()?.is_dir() {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }

    /// The file itself, what we make of it at rotation, and what others do: `audit.jsonl.1`, `audit.jsonl-20260101`.
    fn is_part(&self, name: &str) -> bool {
        if let Some(rest) = name.strip_prefix(&self.name) {
            let is_ours = [".head", ".head.new", ".lock", ".torn.new"].contains(&rest)
                || rest.ends_with(TORN)
                || rest.ends_with(UNTOLD);
            return rest.is_empty() || (rest.starts_with(['.', '-']) && !is_ours);
        }
        let (stem, extension) = self.stem_and_extension();
        let range = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('-'));
        // What is compressed after the rotation belongs to the trail as well.
        let range =
            range.and_then(|rest| rest.split_once(extension).map_or(Some(rest), |(range, _)| Some(range)));
        let numbers = range.and_then(|range| range.split_once('-'));
        numbers.is_some_and(|(first, last)| is_number(first) && is_number(last))
    }

    fn stem_and_extension(&self) -> (&str, &str) {
        match self.name.rfind('.') {
            Some(dot) if dot > 0 => self.name.split_at(dot),
            Some(_) | None => (&self.name, ""),
        }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = OsString::from(self.path.as_os_str());
        name.push(ending);
        PathBuf::from(name)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads a file line by line.
#[derive(Debug)]
pub(super) struct Lines<R> {
    from: R,
    line: Vec<u8>,
}

/// One line, without its newline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    pub(super) text: &'a [u8],
    /// Whether the newline is there. A line that is longer than any of ours counts as broken off.
    pub(super) is_whole: bool,
    /// How many bytes it takes in the file.
    pub(super) length: u64,
}

impl Lines<BufReader<File>> {
    pub(super) fn of(file: File) -> Self {
        Self::new(BufReader::with_capacity(64 * 1024, file))
    }
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, line: Vec::new() }
    }

    /// The next line; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let read = self.from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        let is_whole = self.line.last() == Some(&b'\n');
        let mut length = read as u64;
        if !is_whole && length >= LONGEST_LINE {
            length += self.skip_line()?;
        }
        let text = if is_whole { &self.line[..self.line.len() - 1] } else { &self.line[..] };
        Ok(Some(Line { text, is_whole, length }))
    }

    /// Goes on to the next line, and counts the bytes before it.
    fn skip_line(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let buffer = self.from.fill_buf()?;
            let newline = buffer.iter().position(|byte| *byte == b'\n');
            let count = newline.map_or(buffer.len(), |at| at + 1);
            self.from.consume(count);
            skipped += count as u64;
            if newline.is_some() || count == 0 {
                return Ok(skipped);
            }
        }
    }
}

/// The first line of a file that has the form of one.
pub(super) fn first_claim(file: &File) -> io::Result<Option<Claim>> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(0))?;
    let mut lines = Lines::of(file);
    while let Some(line) = lines.next()? {
        if let Some(claim) = chain::claim(line.text) {
            return Ok(Some(claim));
        }
    }
    Ok(None)
}

/// The last whole line of a file that has the form of one, unless there is too much behind it.
pub(super) fn last_claim(path: &Path) -> io::Result<Option<Claim>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut window = 64 * 1024;
    loop {
        let from = length.saturating_sub(window);
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        file.by_ref().take(length - from).read_to_end(&mut text)?;
        // The first piece may have begun before the window, the last one has no newline.
        let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').skip(usize::from(from > 0)).collect();
        lines.pop();
        if let Some(claim) = lines.into_iter().rev().find_map(chain::claim) {
            return Ok(Some(claim));
        }
        if from == 0 || window >= LONGEST_LINE {
            return Ok(None);
        }
        window *= 4;
    }
}

/// Where a file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Its last line; `None` when it has none.
    pub(super) end: Option<Link>,
    /// How many bytes of it are lines.
    pub(super) good: u64,
    /// How many bytes after them are the rest of a batch that a crash cut off.
    pub(super) torn: u64,
}

/// Finds the end of a file. Lines up to `known` were durable once and stay as they are, whatever they look like; what
/// comes after them belongs to batches of which a crash may have taken any part, and stays as far as it fits. The lines
/// up to number `before` are in other files.
pub(super) fn tail(file: &File, known: Option<&Link>, before: u64) -> io::Result<Tail> {
    let mut from = file.try_clone()?;
    from.seek(SeekFrom::Start(0))?;
    let length = from.metadata()?.len();
    let mut lines = Lines::of(from);
    let mut tail = Tail { end: None, good: 0, torn: 0 };
    while let Some(line) = lines.next()? {
        let claim = chain::claim(line.text);
        let is_past_known = known.is_some_and(|known| {
            let reached = tail.end.as_ref().is_some_and(|end| end.seq >= known.seq);
            reached || claim.as_ref().is_some_and(|claim| claim.link.seq > known.seq)
        });
        let fits = || {
            let (Some(claim), Some(before)) = (&claim, tail.end.as_ref().or(known)) else {
                return false;
            };
            claim.link.seq == before.seq + 1
                && claim.prev == before.hash
                && chain::is_untouched(line.text, claim)
        };
        if !line.is_whole || (is_past_known && !fits()) {
            break;
        }
        tail.good += line.length;
        tail.end = claim.map(|claim| claim.link).or(tail.end);
    }
    if tail.end.is_none() && known.is_some_and(|known| known.seq <= before) {
        tail.good = 0;
    }
    tail.torn = length.saturating_sub(tail.good);
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_knows_its_files() {
        let paths = Paths::new(Path::new("/var/audit.jsonl"));
        assert_eq!(paths.rotated(1, 99), Path::new("/var/audit-1-99.jsonl"));
        for name in [
            "audit.jsonl",
            "audit.jsonl.1",
            "audit.jsonl-20260101",
            "audit-1-99.jsonl",
            "audit.jsonl.2.gz",
            "audit-1-99.jsonl.gz",
        ] {
            assert!(paths.is_part(name), "{name}");
        }
        for name in [
            "audit.jsonl.head",
            "audit.jsonl.head.new",
            "audit.jsonl.lock",
            "audit.jsonl.torn.new",
            "audit.jsonl.after-3.torn",
            "audit.jsonl.after-3.2.torn.untold",
            "audit",
            "audit.jsonlx",
            "audit-1.jsonl",
            "audit-a-b.jsonl",
            "audit-1-2-3.jsonl",
            "state.db",
        ] {
            assert!(!paths.is_part(name), "{name}");
        }
        let bare = Paths::new(Path::new("trail"));
        assert_eq!(bare.rotated(1, 2), Path::new("./trail-1-2"));
        assert!(bare.is_part("trail-1-2"));
    }
}
