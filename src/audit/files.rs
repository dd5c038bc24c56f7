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

    /// A free name for what a crash left after line `seq`.
    pub(super) fn free_torn(&self, seq: u64) -> PathBuf {
        let first = self.beside(&format!(".after-{seq}.torn"));
        let further = (2_u32..).map(|count| self.beside(&format!(".after-{seq}.{count}.torn")));
        std::iter::once(first).chain(further).find(|path| !path.exists()).unwrap_or_default()
    }

    /// What crashes left after line `seq`.
    pub(super) fn torn(&self, seq: u64) -> io::Result<Vec<PathBuf>> {
        let begin = format!("{}.after-{seq}.", self.name);
        self.list(|name| name.starts_with(&begin) && name.ends_with(TORN))
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
            let is_ours = rest == ".head" || rest == ".head.new" || rest.ends_with(TORN);
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
        Self { from: BufReader::with_capacity(64 * 1024, file), line: Vec::new() }
    }
}

impl<R: BufRead> Lines<R> {
    /// The next line; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let read = self.from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        let is_whole = self.line.last() == Some(&b'\n');
        let text = if is_whole { &self.line[..self.line.len() - 1] } else { &self.line[..] };
        Ok(Some(Line { text, is_whole, length: read as u64 }))
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

/// The last line of a file, where it is whole and has the form of one.
pub(super) fn last_claim(path: &Path) -> io::Result<Option<Claim>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut window = 64 * 1024;
    loop {
        let from = length.saturating_sub(window);
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        file.by_ref().take(length - from).read_to_end(&mut text)?;
        let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let begin = text[..end].iter().rposition(|byte| *byte == b'\n');
        match begin {
            Some(begin) => return Ok(chain::claim(&text[begin + 1..end])),
            None if from == 0 => return Ok(chain::claim(&text[..end])),
            None if window >= LONGEST_LINE => return Ok(None),
            None => window *= 4,
        }
    }
}

/// Where the file that is written ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Its last line; `None` when it has none.
    pub(super) end: Option<Link>,
    /// How many bytes of it are lines.
    pub(super) good: u64,
    /// How many bytes after them are the rest of a batch that a crash cut off.
    pub(super) torn: u64,
}

/// Finds the end of the file that is written. Lines up to `head` were durable once and stay as they are, whatever they
/// look like; what comes after them belongs to a batch that nobody was told of, and stays as far as it fits.
pub(super) fn tail(file: &File, head: Option<&Link>) -> io::Result<Tail> {
    let mut from = file.try_clone()?;
    from.seek(SeekFrom::Start(0))?;
    let length = from.metadata()?.len();
    let mut lines = Lines::of(from);
    let mut tail = Tail { end: None, good: 0, torn: 0 };
    while let Some(line) = lines.next()? {
        let claim = chain::claim(line.text);
        let is_past_head = head.is_some_and(|head| {
            let reached = tail.end.as_ref().is_some_and(|end| end.seq >= head.seq);
            reached || claim.as_ref().is_some_and(|claim| claim.link.seq > head.seq)
        });
        let fits = || {
            let (Some(claim), Some(before)) = (&claim, tail.end.as_ref().or(head)) else {
                return false;
            };
            claim.link.seq == before.seq + 1
                && claim.prev == before.hash
                && chain::is_untouched(line.text, claim)
        };
        if !line.is_whole || (is_past_head && !fits()) {
            break;
        }
        tail.good += line.length;
        tail.end = claim.map(|claim| claim.link).or(tail.end);
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
            "audit.jsonl.after-3.torn",
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
