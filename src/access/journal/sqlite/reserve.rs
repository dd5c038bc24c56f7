//! # Purpose
//! A block of disk that is kept for a full disk: it is given up so that ends can be recorded.
//!
//! # Invariants kept here
//! - It is whole only when all of it was written and synced: nothing new begins on the strength of a reserve that is
//!   not really there.
//! - What could not be made whole is given back at once: half a reserve would take the room that is left.
//!
//! # Not here
//! When it is given up, and what is refused without it: `sqlite`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// See the module.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    whole: bool,
}

impl Reserve {
    /// Looks whether there is one.
    pub(super) fn find(path: PathBuf, bytes: u64) -> Self {
        // A file can be long and have few blocks: a copy, or what a loss of power left.
        let is_there = |found: &fs::Metadata| found.len() == bytes && found.blocks() * 512 >= bytes;
        let whole = fs::metadata(&path).is_ok_and(|found| is_there(&found));
        Self { path, bytes, whole }
    }

    /// Whether it is there, all of it.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Makes it, if it is not there.
    pub(super) fn restore(&mut self) -> io::Result<()> {
        if self.whole {
            return Ok(());
        }
        let made = self.make();
        self.whole = made.is_ok();
        if made.is_err() {
            self.give_back();
        }
        made
    }

    fn make(&self) -> io::Result<()> {
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&self.path)?;
        file.write_all(&noise(self.bytes))?;
        file.sync_all()?;
        File::open(super::folder_of(&self.path))?.sync_all()
    }

    /// Gives it up. Says whether that has made room.
    pub(super) fn release(&mut self) -> bool {
        std::mem::take(&mut self.whole) && self.give_back()
    }

    fn give_back(&self) -> bool {
        // Cut before it is unlinked: on some file systems only that works when there is no room at all.
        let cut = OpenOptions::new().write(true).open(&self.path).and_then(|file| file.set_len(0));
        let unlinked = fs::remove_file(&self.path);
        cut.is_ok() || unlinked.is_ok()
    }
}

/// Whether there is no room, of the disk or of a quota.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Bytes that a file system neither leaves out, as it may zeros, nor makes smaller.
fn noise(bytes: u64) -> Vec<u8> {
    let mut noise = vec![1; usize::try_from(bytes).unwrap_or(0)];
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for word in noise.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    noise
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_given_up_and_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db.reserve");
        let bytes = 100_000;
        let mut reserve = Reserve::find(path.clone(), bytes);
        assert!(!reserve.is_whole() && !reserve.release());
        reserve.restore().unwrap();
        assert!(reserve.is_whole() && Reserve::find(path.clone(), bytes).is_whole());
        let found = fs::metadata(&path).unwrap();
        assert!(found.blocks() * 512 >= bytes, "{} blocks", found.blocks());
        assert!(reserve.release() && !path.exists());
        assert!(!reserve.is_whole() && !reserve.release());
        reserve.restore().unwrap();
        // Long, but not there.
        let file = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        file.set_len(bytes).unwrap();
        assert!(!Reserve::find(path, bytes).is_whole());
    }

    #[test]
    fn what_cannot_be_made_whole_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut reserve = Reserve::find(folder.path().join("away").join("state.db.reserve"), 1);
        assert!(reserve.restore().is_err() && !reserve.is_whole());
    }
}
