//! # Purpose
//! A witness beside the state file: up to which commit the journal was confirmed.
//!
//! SQLite takes a damaged `-wal` file for one that a loss of power cut short, and goes on without what was in it. Nothing
//! in the database can tell the two apart; this file can.
//!
//! # Invariants kept here
//! - It is written after the commit it tells of is durable: it is never ahead of a sound journal, only behind. A loss of
//!   power may take its latest line, never make it tell of too much.
//! - Two places, written in turn, each with its own seal: one that is torn or damaged leaves the other.
//!
//! # Not here
//! Comparing: `sqlite`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::seal::{Seal, Totals};

/// The file, open.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
}

/// What it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Confirmed {
    pub commit: u64,
    total: String,
}

/// No disk writes less than this at once.
const PLACE: usize = 512;

impl Mark {
    /// Opens or makes the file, and reads it.
    pub(super) fn open(path: &Path) -> Result<(Self, Option<Confirmed>), io::Error> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        if text.len() < 2 * PLACE {
            // Its blocks are taken now, so that a full disk takes the marks. If there are none, it does without.
            let _ = file.write_all(&vec![b' '; 2 * PLACE - text.len()]).and_then(|()| file.sync_all());
        }
        Ok((Self { file }, confirmed(&text)))
    }

    /// Reads the file where there is one, and leaves it as it is.
    pub(super) fn read(path: &Path) -> io::Result<Option<Confirmed>> {
        match std::fs::read(path) {
            Ok(text) => Ok(confirmed(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells of a commit that is durable. Without it the journal is as durable as with it, so a failure is no news;
    /// [`Self::settle`] tells of one.
    pub(super) fn note(&self, totals: &Totals) {
        let _ = self.write(totals);
    }

    /// The same, and waits until it is durable itself.
    pub(super) fn settle(&self, totals: &Totals) -> io::Result<()> {
        self.write(totals)?;
        self.file.sync_data()
    }

    fn write(&self, totals: &Totals) -> io::Result<()> {
        let Confirmed { commit, total } = Confirmed::from(totals);
        let check = check(&commit.to_string(), &total);
        let line = format!("commit {commit} is durable, the totals' seal is {total}, this line's is {check}");
        let place = usize::from(commit % 2 == 1) * PLACE;
        self.file
            .write_all_at(format!("{line:<0$}\n", PLACE - 1).as_bytes(), u64::try_from(place).unwrap_or(0))
    }
}

impl From<&Totals> for Confirmed {
    fn from(totals: &Totals) -> Self {
        Self { commit: totals.commit, total: Seal::of_totals(totals).hex() }
    }
}

impl Confirmed {
    /// Whether a journal with these totals can be the one that it tells of.
    pub(super) fn allows(&self, found: &Totals) -> bool {
        found.commit > self.commit || Self::from(found) == *self
    }
}

fn confirmed(text: &[u8]) -> Option<Confirmed> {
    text.chunks(PLACE).filter_map(read).max_by_key(|confirmed| confirmed.commit)
}

fn check(commit: &str, total: &str) -> String {
    Seal::of_words("mark", &[commit, total]).hex()
}

fn read(place: &[u8]) -> Option<Confirmed> {
    let line = std::str::from_utf8(place).ok()?;
    let (commit, rest) = line.strip_prefix("commit ")?.split_once(" is durable, the totals' seal is ")?;
    let (total, rest) = rest.split_once(", this line's is ")?;
    (rest.trim_end() == check(commit, total))
        .then_some(Confirmed { commit: commit.parse().ok()?, total: total.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(commit: u64) -> Totals {
        Totals { commit, ..Totals::default() }
    }

    #[test]
    fn tells_of_the_latest_commit_and_survives_the_loss_of_one_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db.mark");
        let (mark, confirmed) = Mark::open(&path).unwrap();
        assert_eq!(confirmed, None);
        for commit in 1..=11 {
            mark.note(&totals(commit));
            let (_, confirmed) = Mark::open(&path).unwrap();
            assert_eq!(confirmed.unwrap().commit, commit);
        }
        mark.settle(&totals(12)).unwrap();
        let text = std::fs::read(&path).unwrap();
        assert_eq!(text.len(), 2 * PLACE);
        for bit in 0..text.len() * 8 {
            let at = u64::try_from(bit / 8).unwrap();
            mark.file.write_all_at(&[text[bit / 8] ^ (1 << (bit % 8))], at).unwrap();
            let confirmed = Mark::open(&path).unwrap().1.unwrap();
            assert!([11, 12].contains(&confirmed.commit), "bit {bit}: {confirmed:?}");
            mark.file.write_all_at(&text[bit / 8..=bit / 8], at).unwrap();
        }
    }

    #[test]
    fn allows_what_is_not_older_and_not_another() {
        let confirmed = Confirmed::from(&totals(5));
        assert!(confirmed.allows(&totals(5)) && confirmed.allows(&totals(6)));
        assert!(!confirmed.allows(&totals(4)));
        assert!(!confirmed.allows(&Totals { entries: 1, ..totals(5) }));
    }
}
