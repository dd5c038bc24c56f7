//! # Purpose
//! One process at a time: the lock beside the trail.
//!
//! # Invariants kept here
//! - Two processes never write one trail: their lines would break its chain.
//! - The lock is free again when its process ends, however it ends. Its file stays.
//!
//! # Not here
//! When it is tried again: `trail`, at each use.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;

use super::AuditError;
use super::files::Paths;

/// Held as long as this lives.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    pub(super) fn take(paths: &Paths) -> Result<Self, AuditError> {
        let path = paths.lock();
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = match opened {
            Ok(file) => file,
            Err(source) => return Err(AuditError::Open { path, source }),
        };
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(AuditError::InUse { path: paths.path().to_owned() }),
            Err(TryLockError::Error(source)) => Err(AuditError::Open { path, source }),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave it to a process that is being started and still has all our open files.
        let _ = self.0.unlock();
    }
}
