//! # Purpose
//! What the files of state and audit take, and what room is left beside them; what this process takes.
//!
//! # Invariants kept here
//! - What cannot be found out is nothing, and no failure.
//!
//! # Not here
//! Who asks: `server`, on a thread that may wait for a disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::server::{Process, Storage};

/// The files that are looked at.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// `state.url`.
    pub(super) state: PathBuf,
    /// `audit.file`.
    pub(super) audit: PathBuf,
}

impl Places {
    pub(super) fn look(&self) -> Storage {
        Storage {
            state_bytes: beside(&self.state),
            audit_bytes: beside(&self.audit),
            free_bytes: self.state.parent().and_then(free),
            process: process(),
        }
    }
}

/// The sizes of a file and of those beside it that its name begins with: a log to be folded in, rotated ones.
fn beside(path: &Path) -> Option<u64> {
    let name = path.file_name()?;
    let mut bytes = None;
    for entry in fs::read_dir(path.parent()?).ok()?.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(name.as_encoded_bytes()) {
            let length = entry.metadata().ok().map_or(0, |metadata| metadata.len());
            bytes = Some(bytes.unwrap_or(0) + length);
        }
    }
    bytes
}

fn free(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// As `/proc` tells (`proc(5)`).
fn process() -> Process {
    let resident = fs::read_to_string("/proc/self/status").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
        Some(kibibytes.saturating_mul(1024))
    });
    let open_files = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
    Process { resident_bytes: resident, open_files }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_what_belongs_to_it_are_counted_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: usize| fs::write(folder.path().join(name), vec![0; bytes]).unwrap();
        write("state.db", 100);
        write("state.db-wal", 20);
        write("other", 7);
        let places =
            Places { state: folder.path().join("state.db"), audit: folder.path().join("audit.jsonl") };
        let looked = places.look();
        assert_eq!((looked.state_bytes, looked.audit_bytes), (Some(120), None));
        assert!(looked.free_bytes.unwrap() > 0);
        assert!(looked.process.resident_bytes.unwrap() > 100_000 && looked.process.open_files.unwrap() > 2);
    }
}
