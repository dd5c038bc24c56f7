//! # Purpose
//! The sidecar that remembers the end of the trail, so that a cut-off end is noticed.
//!
//! # Invariants kept here
//! - It never knows of a line that is not on disk: it is written after the lines are durable.
//! - Two places, written in turn, each with its own seal: at any instant one of them is whole, and a write needs neither
//!   room nor a sync of the folder.
//!
//! # Not here
//! What follows from a head that does not fit: `trail`, `verify`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::chain::{self, LAST, Link};
use super::files::Paths;

/// No disk writes less than this at once.
const PLACE: usize = 512;

/// What the sidecar holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// There is none.
    Missing,
    /// It is not one of ours.
    Unreadable,
    /// One of its places is not ours; the other one knows this end.
    Damaged(Link),
    /// The end of the trail when it was written.
    At(Link),
}

impl Head {
    pub(super) fn link(&self) -> Option<&Link> {
        match self {
            Self::At(link) | Self::Damaged(link) => Some(link),
            Self::Missing | Self::Unreadable => None,
        }
    }
}

/// Reads the sidecar.
pub(super) fn read(paths: &Paths) -> io::Result<Head> {
    // A place that is being written may be seen half old, half new.
    const TRIES: usize = 5;
    let mut head = Head::Missing;
    for _ in 0..TRIES {
        head = match fs::read(paths.head()) {
            Ok(text) => parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Head::Missing),
            Err(error) => return Err(error),
        };
        if matches!(head, Head::At(_)) {
            break;
        }
    }
    Ok(head)
}

/// Notes the end of the trail. A crash of this process cannot undo it, a loss of power can until [`settle`].
pub(super) fn note(paths: &Paths, end: &Link) -> io::Result<()> {
    put(paths, end).map(drop)
}

/// Notes the end of the trail, durably.
pub(super) fn settle(paths: &Paths, end: &Link) -> io::Result<()> {
    put(paths, end)?.map_or(Ok(()), |file| file.sync_data())
}

/// Replaces the sidecar by one that knows only this end, durably.
pub(super) fn replace(paths: &Paths, end: &Link) -> io::Result<()> {
    let new = paths.new_head();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(place(end).repeat(2).as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, paths.head())?;
    sync_folder(paths.folder())
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Writes the place that does not hold the latest end, and returns the file where it is not durable yet.
fn put(paths: &Paths, end: &Link) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().read(true).write(true).open(paths.head()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return replace(paths, end).map(|()| None);
        }
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    (&file).take(2 * PLACE as u64 + 1).read_to_end(&mut text)?;
    let [Some(first), Some(second)] = places(&text) else {
        return replace(paths, end).map(|()| None);
    };
    // What could not be synced is written again in its own place, so that the other one stays.
    let is_second = if first == *end || second == *end { second == *end } else { first.seq > second.seq };
    file.write_all_at(place(end).as_bytes(), if is_second { PLACE as u64 } else { 0 })?;
    Ok(Some(file))
}

fn parse(text: &[u8]) -> Head {
    // One line and nothing else: the form before there were two places.
    let former = serde_json::from_slice::<Link>(text).ok();
    if let Some(link) = former.filter(|link| link.seq <= LAST && former_form(link).as_bytes() == text) {
        return Head::At(link);
    }
    match places(text) {
        [Some(first), Some(second)] => Head::At(if first.seq > second.seq { first } else { second }),
        [Some(link), None] | [None, Some(link)] => Head::Damaged(link),
        [None, None] => Head::Unreadable,
    }
}

fn places(text: &[u8]) -> [Option<Link>; 2] {
    #[derive(Deserialize)]
    struct Sealed {
        seq: u64,
        hash: String,
    }
    let read = |text: &[u8]| {
        let Sealed { seq, hash } = serde_json::from_slice(text).ok()?;
        let link = Link { seq, hash };
        (seq <= LAST && place(&link).as_bytes() == text).then_some(link)
    };
    let (first, rest) = text.split_at(text.len().min(PLACE));
    [read(first), read(rest)]
}

/// The one form of a place; any other spelling of it is not ours.
fn place(link: &Link) -> String {
    let text = format!("{{\"seq\":{},\"hash\":\"{}\"", link.seq, link.hash);
    let seal = chain::hex(&Sha256::digest(&text));
    format!("{:<1$}\n", format!("{text},\"seal\":\"{seal}\"}}"), PLACE - 1)
}

fn former_form(link: &Link) -> String {
    format!("{{\"seq\":{},\"hash\":\"{}\"}}\n", link.seq, link.hash)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn link(seq: u64) -> Link {
        Link { seq, hash: chain::hex(&Sha256::digest(seq.to_string())) }
    }

    fn paths(folder: &tempfile::TempDir) -> Paths {
        Paths::new(&folder.path().join("audit.jsonl"))
    }

    #[test]
    fn a_head_is_what_was_written_or_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(&folder);
        assert_eq!(read(&paths).unwrap(), Head::Missing);
        let end = link(12);
        settle(&paths, &end).unwrap();
        assert_eq!(read(&paths).unwrap(), Head::At(end.clone()));
        for changed in
            ["", "{}", &former_form(&end).replace(':', ": "), &former_form(&end)[1..], &place(&end)[1..]]
        {
            fs::write(paths.head(), changed).unwrap();
            assert_eq!(read(&paths).unwrap(), Head::Unreadable, "{changed}");
        }
    }

    #[test]
    fn the_head_is_written_in_place_and_survives_the_loss_of_one_place() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(&folder);
        settle(&paths, &link(1)).unwrap();
        let file = || fs::metadata(paths.head()).unwrap().ino();
        let first = file();
        for seq in 2..=9 {
            // As after a sync that failed.
            note(&paths, &link(seq)).unwrap();
            settle(&paths, &link(seq)).unwrap();
            assert_eq!(read(&paths).unwrap(), Head::At(link(seq)));
            let [one, other] = places(&fs::read(paths.head()).unwrap()).map(|place| place.unwrap().seq);
            assert_eq!((one.min(other), one.max(other)), (seq - 1, seq));
        }
        assert_eq!(file(), first);
        let text = fs::read(paths.head()).unwrap();
        assert_eq!(text.len(), 2 * PLACE);
        for bit in 0..text.len() * 8 {
            let mut changed = text.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let head = parse(&changed);
            assert!(head == Head::Damaged(link(8)) || head == Head::Damaged(link(9)), "bit {bit}: {head:?}");
        }
    }

    #[test]
    fn a_head_in_the_former_form_is_read_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(&folder);
        fs::write(paths.head(), former_form(&link(3))).unwrap();
        assert_eq!(read(&paths).unwrap(), Head::At(link(3)));
        settle(&paths, &link(4)).unwrap();
        assert_eq!(read(&paths).unwrap(), Head::At(link(4)));
        assert_eq!(fs::metadata(paths.head()).unwrap().len(), 2 * PLACE as u64);
    }
}
