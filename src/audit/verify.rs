//! # Purpose
//! Finds out whether a trail is whole: no line edited, dropped, reordered, repeated or cut off, over all of its files.
//!
//! # Invariants kept here
//! - One line is in memory at a time; nothing is written.
//! - The head is read before the lines, and nothing is read behind half a line, so that a trail that grows meanwhile is
//!   not taken for a broken one.
//!
//! # Not here
//! Whether what is told is true. Whoever can write all files, head included, can write another trail: keep checkpoints
//! elsewhere (`docs/audit.md`).

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::chain::{self, Link};
use super::files::{self, LONGEST_LINE, Line, Lines, Paths};
use super::head::{self, Head};
use crate::catalogue::ErrorCode;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many files have lines of the trail.
    pub files: usize,
    /// How many lines were read.
    pub lines: u64,
    /// When the first line that could be read was written, RFC 3339.
    pub first: Option<String>,
    /// When the last one was.
    pub last: Option<String>,
    /// The last line in the order of the chain; number 0 where there is none.
    pub end: Link,
    /// The numbers of the lines that tell of an unfinished write, or of a lost or wrong head; the first
    /// [`MOST_FINDINGS`].
    pub recovered: Vec<u64>,
    /// How many lines the head does not know yet: those of the last batch, after a loss of power, or while it is written.
    pub head_lags: u64,
    /// How many bytes of an unfinished write are at the very end. They are moved aside at the next start.
    pub torn: u64,
    /// What is wrong, in the order of the chain; the first [`MOST_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub more: u64,
}

/// More findings are counted, not listed: one cause can have many.
pub const MOST_FINDINGS: usize = 20;

impl Report {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In which file.
    pub file: PathBuf,
    /// In which line of it, from 1; none for the file as a whole.
    pub line: Option<u64>,
    /// The number that the line has, or should have, in the chain.
    pub seq: Option<u64>,
    /// What.
    pub what: What,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(seq) = self.seq {
            write!(f, ", seq {seq}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// It is no line of a trail.
    #[error("this is not a whole record; it was edited or cut")]
    Malformed,
    /// The hash does not fit the bytes.
    #[error("the record was edited: its hash does not fit its content")]
    Edited,
    /// The line before it is not the one that it was written after.
    #[error("the record before this one was replaced: it is not the one that this one was written after")]
    Replaced,
    /// Lines are not there.
    #[error("records {from} to {to} are missing before this one")]
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// It was there already, or belongs before lines that stand before it.
    #[error("the record is repeated or out of order: record {after} comes before it")]
    OutOfOrder {
        /// The last line before it.
        after: u64,
    },
    /// The end is not there.
    #[error("the end was cut off: record {known} was written, and the last one that is there is {last}")]
    CutOff {
        /// The last line that was written, by the head.
        known: u64,
        /// The last one that is there.
        last: u64,
    },
    /// The line that the head names has another hash.
    #[error("the record is not the one that was written: the head remembers another hash")]
    NotAtHead,
    /// The trail was gone on with after the head was lost, so that a cut before this line would not show.
    #[error(
        "the head was missing or edited when this record was written: records before it may have been cut off"
    )]
    HeadWasLost,
    /// There is no head.
    #[error("the head is missing, so that nobody can tell whether the end was cut off")]
    NoHead,
    /// The head is not one of ours.
    #[error("the head was edited or damaged: it does not have the form of one")]
    BadHead,
}

/// The trail could not be read.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is nothing.
    #[error("there is no audit trail at {}; name its file with --file [{code}]", path.display(), code = ErrorCode::AuditTrailUnreadable)]
    Nothing {
        /// Where.
        path: PathBuf,
    },
    /// A file failed.
    #[error("cannot read {}; run this as the connector's user, or on a copy of the whole folder [{code}]", path.display(), code = ErrorCode::AuditTrailUnreadable)]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the trail is compressed.
    #[error("{} is compressed; verify a copy of the folder in which it is unpacked [{code}]", path.display(), code = ErrorCode::AuditTrailUnreadable)]
    Compressed {
        /// Which.
        path: PathBuf,
    },
    /// Files are renamed faster than they are opened.
    #[error("the files in {} are being renamed; try again, or verify a copy of the folder [{code}]", path.display(), code = ErrorCode::AuditTrailUnreadable)]
    Restless {
        /// The folder.
        path: PathBuf,
    },
}

/// Reads the trail at `path` with all files that rotation has made of it. Lines up to `after` were taken away on
/// purpose: the trail must begin right after it (0: with the first line of all).
pub fn verify(path: &Path, after: u64) -> Result<Report, VerifyError> {
    let paths = Paths::new(path);
    let reading = |path: &Path| {
        let path = path.to_owned();
        move |source| VerifyError::Read { path, source }
    };
    let head = head::read(&paths).map_err(reading(&paths.head()))?;
    let files = open_all(&paths)?;
    if files.is_empty() && head == Head::Missing {
        return Err(VerifyError::Nothing { path: path.to_owned() });
    }
    let mut walk = Walk::new(after, head.link().cloned());
    // Whoever has renamed the last one may have made an empty one after it.
    let last = files.iter().rposition(|file| file.has_content).unwrap_or(0);
    for (index, Opened { path, mut file, .. }) in files.into_iter().enumerate() {
        file.seek(SeekFrom::Start(0)).map_err(reading(&path))?;
        walk.read(&path, Lines::of(file), index >= last).map_err(reading(&path))?;
    }
    Ok(walk.finish(&paths, &head))
}

struct Opened {
    path: PathBuf,
    file: File,
    has_content: bool,
    /// The number of its first line. What has no line at all comes last, where it is reported.
    first: u64,
}

impl Opened {
    fn new(path: &Path, file: File) -> io::Result<Self> {
        let first = files::first_claim(&file)?.map_or(u64::MAX, |claim| claim.link.seq);
        let has_content = file.metadata()?.len() > 0;
        Ok(Self { path: path.to_owned(), file, has_content, first })
    }
}

/// The files in the order of their lines. All are open before the first is read, so that renaming does no harm.
fn open_all(paths: &Paths) -> Result<Vec<Opened>, VerifyError> {
    const TRIES: usize = 5;
    let reading = |path: &Path| {
        let path = path.to_owned();
        move |source| VerifyError::Read { path, source }
    };
    for _ in 0..TRIES {
        let found = match paths.all() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(reading(paths.folder())(error)),
        };
        let mut opened = Vec::with_capacity(found.len());
        for path in &found {
            let is_compressed = ["gz", "xz", "zst", "bz2"]
                .iter()
                .any(|ending| path.extension().is_some_and(|extension| extension == *ending));
            if is_compressed {
                return Err(VerifyError::Compressed { path: path.clone() });
            }
            match File::open(path) {
                Ok(file) => opened.push(Opened::new(path, file).map_err(reading(path))?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(reading(path)(error)),
            }
        }
        let again = paths.all().map_err(reading(paths.folder()))?;
        if again == found && opened.len() == found.len() {
            opened.sort_by(|one, other| {
                let has_none = |file: &Opened| !file.has_content;
                let by_line = (one.first, has_none(one)).cmp(&(other.first, has_none(other)));
                by_line.then_with(|| one.path.cmp(&other.path))
            });
            return Ok(opened);
        }
    }
    Err(VerifyError::Restless { path: paths.folder().to_owned() })
}

/// One way through all lines.
struct Walk {
    report: Report,
    /// The hash that the next line must name; none after a line whose hash is not known.
    hash: Option<String>,
    head: Option<Link>,
    last_file: Option<PathBuf>,
    last_line: Vec<u8>,
}

#[derive(Deserialize)]
struct Moment {
    time_dt: String,
}

impl Walk {
    fn new(after: u64, head: Option<Link>) -> Self {
        let end = Link { seq: after, ..Link::start() };
        Self {
            hash: (after == 0).then(|| end.hash.clone()),
            report: Report {
                files: 0,
                lines: 0,
                first: None,
                last: None,
                end,
                recovered: Vec::new(),
                head_lags: 0,
                torn: 0,
                findings: Vec::new(),
                more: 0,
            },
            head,
            last_file: None,
            last_line: Vec::new(),
        }
    }

    fn read<R: BufRead>(&mut self, path: &Path, mut lines: Lines<R>, is_last_file: bool) -> io::Result<()> {
        let mut number = 0;
        while let Some(line) = lines.next()? {
            number += 1;
            if is_last_file && !line.is_whole && line.length < LONGEST_LINE {
                // Unfinished, whatever is behind it by now. The head tells whether a whole line was there once.
                self.report.torn += line.length;
                break;
            }
            self.take(path, number, &line);
        }
        Ok(())
    }

    fn take(&mut self, path: &Path, number: u64, line: &Line<'_>) {
        if self.last_file.as_deref() != Some(path) {
            self.last_file = Some(path.to_owned());
            self.report.files += 1;
        }
        let expected = self.report.end.seq.saturating_add(1);
        self.report.lines += 1;
        let claim = chain::claim(line.text).filter(|_| line.is_whole);
        let Some(claim) = claim else {
            self.find(path, Some(number), Some(expected), What::Malformed);
            (self.report.end.seq, self.hash) = (expected, None);
            return;
        };
        let seq = claim.link.seq;
        let at = Some(seq);
        if seq < expected {
            self.find(path, Some(number), at, What::OutOfOrder { after: expected - 1 });
            return;
        }
        if seq > expected {
            self.find(path, Some(number), at, What::Missing { from: expected, to: seq - 1 });
        } else if self.hash.as_ref().is_some_and(|hash| *hash != claim.prev) {
            self.find(path, Some(number), at, What::Replaced);
        }
        if !chain::is_untouched(line.text, &claim) {
            self.find(path, Some(number), at, What::Edited);
        }
        if self.head.as_ref().is_some_and(|head| head.seq == seq && head.hash != claim.link.hash) {
            self.find(path, Some(number), at, What::NotAtHead);
        }
        self.note(path, number, line.text, seq);
        self.hash = Some(claim.link.hash.clone());
        self.report.end = claim.link;
    }

    /// What the line tells of the trail.
    fn note(&mut self, path: &Path, number: u64, line: &[u8], seq: u64) {
        if self.report.first.is_none() {
            self.report.first = moment(line);
        }
        line.clone_into(&mut self.last_line);
        // Quotes inside of texts are escaped, so that these are found as members alone.
        let has = |member: &[u8]| line.windows(member.len()).any(|window| window == member);
        if !has(br#""kind":"recovered""#) {
            return;
        }
        if self.report.recovered.len() < MOST_FINDINGS {
            self.report.recovered.push(seq);
        }
        if has(br#""flaw":"missing""#) || has(br#""flaw":"unreadable""#) {
            self.find(path, Some(number), Some(seq), What::HeadWasLost);
        }
    }

    fn finish(mut self, paths: &Paths, head: &Head) -> Report {
        let last = self.report.end.seq;
        self.report.last = moment(&self.last_line);
        match head {
            Head::Missing => self.find(&paths.head(), None, None, What::NoHead),
            Head::Unreadable | Head::Damaged(_) => self.find(&paths.head(), None, None, What::BadHead),
            Head::At(_) => {}
        }
        match head.link() {
            Some(known) if known.seq > last => {
                let file = self.last_file.clone().unwrap_or_else(|| paths.path().to_owned());
                self.find(&file, None, None, What::CutOff { known: known.seq, last });
            }
            Some(known) => self.report.head_lags = last - known.seq,
            None => {}
        }
        self.report
    }

    fn find(&mut self, file: &Path, line: Option<u64>, seq: Option<u64>, what: What) {
        if self.report.findings.len() < MOST_FINDINGS {
            self.report.findings.push(Finding { file: file.to_owned(), line, seq, what });
        } else {
            self.report.more += 1;
        }
    }
}

/// When a line was written, as it says.
fn moment(line: &[u8]) -> Option<String> {
    serde_json::from_slice::<Moment>(line).ok().map(|moment| moment.time_dt)
}

#[cfg(test)]
mod tests;
