//! # Purpose
//! One process at a time: the lock beside the state file.
//!
//! # Invariants kept here
//! - A second process is refused before it opens the state, and told who has it.
//!
//! # Not here
//! SQLite's own locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{OpenError, reserve};

/// Takes the lock and says who has it.
pub(super) fn take(state: &Path, lock_path: &Path, whoami: &str) -> Result<File, OpenError> {
    let failed = |source| OpenError::File { path: lock_path.to_owned(), source };
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(lock_path)
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => match lock.set_len(0).and_then(|()| lock.write_all(whoami.as_bytes())) {
            // Removals must go on after a restart on a full disk; the name is for a person only.
            Err(error) if !reserve::is_full(&error) => Err(failed(error)),
            Ok(()) | Err(_) => Ok(lock),
        },
        Err(TryLockError::WouldBlock) => Err(in_use(state, lock)),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Takes the lock where there is one, and writes nothing. Another user's file is not made by looking.
pub(super) fn take_if_there(state: &Path, lock_path: &Path) -> Result<Option<File>, OpenError> {
    let failed = |source| OpenError::File { path: lock_path.to_owned(), source };
    let lock = match File::open(lock_path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(in_use(state, lock)),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn in_use(state: &Path, mut lock: File) -> OpenError {
    let mut by = String::new();
    let named = lock.read_to_string(&mut by).is_ok() && !by.is_empty();
    OpenError::InUse { path: state.to_owned(), by: if named { by } else { "unknown".to_owned() } }
}
