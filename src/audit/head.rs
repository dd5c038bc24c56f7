//! # Purpose
//! The sidecar that remembers the end of the trail, so that a cut-off end is noticed.
//!
//! # Invariants kept here
//! - It is replaced as a whole: at any instant it holds one end of the trail, the former or the new one.
//! - It never knows of a line that is not on disk: it is written after the lines are durable.
//!
//! # Not here
//! What follows from a head that does not fit: `trail`, `verify`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::chain::{LAST, Link};
use super::files::Paths;

/// What the sidecar holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// There is none.
    Missing,
    /// It is not one of ours.
    Unreadable,
    /// The end of the trail when it was written.
    At(Link),
}

impl Head {
    pub(super) fn link(&self) -> Option<&Link> {
        match self {
            Self::At(link) => Some(link),
            Self::Missing | Self::Unreadable => None,
        }
    }
}

/// Reads the sidecar.
pub(super) fn read(paths: &Paths) -> io::Result<Head> {
    let text = match fs::read(paths.head()) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Head::Missing),
        Err(error) => return Err(error),
    };
    let link: Option<Link> = serde_json::from_slice(&text).ok();
    let link = link.filter(|link| link.seq <= LAST && form(link).as_bytes() == text);
    Ok(link.map_or(Head::Unreadable, Head::At))
}

/// Replaces the sidecar, durably.
pub(super) fn write(paths: &Paths, end: &Link) -> io::Result<()> {
    let new = paths.new_head();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(form(end).as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, paths.head())?;
    sync_folder(paths.folder())
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The one form of a head; any other spelling of it is not ours.
fn form(link: &Link) -> String {
    format!("{{\"seq\":{},\"hash\":\"{}\"}}\n", link.seq, link.hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_what_was_written_or_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(&folder.path().join("audit.jsonl"));
        assert_eq!(read(&paths).unwrap(), Head::Missing);
        let end = Link { seq: 12, hash: "ab".repeat(32) };
        write(&paths, &end).unwrap();
        assert_eq!(read(&paths).unwrap(), Head::At(end.clone()));
        for changed in ["", "{}", &form(&end).replace(':', ": "), &form(&end)[1..], form(&end).trim_end()] {
            fs::write(paths.head(), changed).unwrap();
            assert_eq!(read(&paths).unwrap(), Head::Unreadable, "{changed}");
        }
    }
}
