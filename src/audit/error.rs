//! # Purpose
//! How the trail fails, in words for whoever has to cure it.
//!
//! # Invariants kept here
//! - Each error names a file and a cure; what is not so (a full disk is no matter of ownership) is not said.
//!
//! # Not here
//! What stops while the trail fails: `access`.

use std::io;
use std::path::PathBuf;

use crate::catalogue::ErrorCode;

/// The trail failed; what was to be written is no part of it. Grants stop until it works; removals go on and are told
/// afterwards.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// What is there cannot be opened or read, so that it is not known where to go on.
    #[error("cannot open {} of the audit trail; {} [{}]", path.display(), cure(source), ErrorCode::AuditFails)]
    Open {
        /// A file of the trail, or its folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "another process writes the audit trail {}; give each connector an audit.file of its own, or stop the other one [{}]",
        path.display(),
        ErrorCode::AuditInUse
    )]
    InUse {
        /// The trail.
        path: PathBuf,
    },
    /// What a crash has left cannot be put elsewhere.
    #[error("cannot move what a crash has left in the audit trail to {}; {} [{}]", path.display(), cure(source), ErrorCode::AuditFails)]
    Aside {
        /// Where it is to be.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk did not take the records.
    #[error("cannot write the audit trail {}; {} [{}]", path.display(), cure(source), ErrorCode::AuditFails)]
    Write {
        /// The trail.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file that remembers the end of the trail cannot be written.
    #[error("cannot write {}, which proves the end of the audit trail; {} [{}]", path.display(), cure(source), ErrorCode::AuditFails)]
    Head {
        /// The sidecar.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread that writes has died.
    #[error("the audit trail's writer has died; restart the connector and report this [{code}]", code = ErrorCode::AuditFails)]
    Worker(#[source] tokio::task::JoinError),
}

fn cure(why: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    let is = |kinds: &[Kind]| kinds.contains(&why.kind());
    if is(&[Kind::StorageFull, Kind::QuotaExceeded]) {
        "free some space: the disk is full, or the quota of the connector's user is used up"
    } else if is(&[Kind::PermissionDenied]) {
        "the folder, and the trail's files in it, must belong to the connector's user"
    } else if is(&[Kind::ReadOnlyFilesystem]) {
        "its file system is mounted for reading only: mount it for writing"
    } else if is(&[Kind::NotFound, Kind::NotADirectory, Kind::IsADirectory]) {
        "something else is in its place: every part of the path but the last must be a folder, and the last one a file"
    } else {
        "look for a failing disk in the system's log"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_is_so_and_how_to_cure_it() {
        let said = |kind: io::ErrorKind| {
            let all: [fn(PathBuf, io::Error) -> AuditError; 4] = [
                |path, source| AuditError::Open { path, source },
                |path, source| AuditError::Aside { path, source },
                |path, source| AuditError::Write { path, source },
                |path, source| AuditError::Head { path, source },
            ];
            all.map(|error| error("/var/audit.jsonl".into(), kind.into()).to_string())
        };
        for full in said(io::ErrorKind::StorageFull) {
            assert!(full.contains("/var/audit.jsonl") && full.contains("the disk is full"), "{full}");
            assert!(!full.contains("belong"), "{full}");
        }
        for denied in said(io::ErrorKind::PermissionDenied) {
            assert!(
                denied.contains("belong to the connector's user") && !denied.contains("full"),
                "{denied}"
            );
        }
        for other in said(io::ErrorKind::Other) {
            assert!(other.contains("failing disk") && !other.contains("belong"), "{other}");
        }
    }
}
