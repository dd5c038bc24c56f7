//! # Purpose
//! The disks that the connector writes to.
//!
//! # Invariants kept here
//! - What is written to try it is taken away again.
//!
//! # Not here
//! Secrets: `files`.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::probe::{Probe, Report};
use crate::catalogue::ErrorCode;
use crate::config::Settings;
use crate::secrets::mounts;

/// Below this, the journal's reserve and a day of audit trail do not fit.
const LEAST_ROOM: u64 = 64 * 1024 * 1024;
/// `statfs(2)`: file systems that live on another machine.
const REMOTE: [(i64, &str); 4] =
    [(0x6969, "NFS"), (0xFF53_4D42, "CIFS"), (0xFE53_4D42, "SMB2"), (0x6573_5546, "FUSE")];

/// What is asked of this host. A test hands in its own.
pub trait Host: Send + Sync + fmt::Debug {
    /// Writes a file there, syncs it, renames it, and takes it away.
    fn write_and_sync(&self, folder: &Path) -> io::Result<()>;

    /// The kind of file system, where it is one of another machine.
    fn remote(&self, folder: &Path) -> Option<&'static str>;

    /// The bytes that are left for the connector's user.
    fn room(&self, folder: &Path) -> io::Result<u64>;

    /// `/proc/self/mountinfo`, where there is one.
    fn mounts(&self) -> Option<String>;
}

/// The host that this process runs on.
#[derive(Debug)]
pub struct ThisHost;

pub(super) async fn examine(settings: &Settings, host: Arc<dyn Host>, report: &mut Report) {
    let state = folder_of(&settings.state.file);
    let audit = folder_of(&settings.audit.file);
    let looked = tokio::task::spawn_blocking(move || {
        let found = (host.write_and_sync(&state), host.remote(&state), host.room(&state));
        (found, host.write_and_sync(&audit), state, audit)
    });
    let Ok(((written, remote, room), trail, state, audit)) = looked.await else {
        report.skip(Probe::StateFolder, "state.url", "the look itself died");
        return;
    };
    let target = state.display().to_string();
    match &written {
        Ok(()) => report.pass(Probe::StateFolder, &target, "a file can be made there"),
        Err(error) if is_about_room(error) => {
            report.skip(Probe::StateFolder, &target, "not known while there is no room");
        }
        Err(error) => report.fail(Probe::StateFolder, &target, error.to_string(), ErrorCode::StateUnusable),
    }
    match (&written, remote) {
        (_, _) if settings.state.database.is_some() => {
            report.skip(Probe::StateSync, &target, "the state is in a database");
        }
        (Err(_), _) => report.skip(Probe::StateSync, &target, "not known while nothing can be written there"),
        (Ok(()), Some(kind)) => report.warn(
            Probe::StateSync,
            &target,
            format!("it is on {kind}, where a sync and a lock may mean less than on a disk of this host"),
            "Put the state on a local disk.",
        ),
        (Ok(()), None) => report.pass(Probe::StateSync, &target, "a file was written, synced and renamed"),
    }
    match room {
        Ok(bytes) if bytes < LEAST_ROOM => report.fail(
            Probe::StateSpace,
            &target,
            format!("{} MiB are left; {} are needed", bytes >> 20, LEAST_ROOM >> 20),
            ErrorCode::DiskFull,
        ),
        Ok(bytes) => report.pass(Probe::StateSpace, &target, format!("{} MiB are left", bytes >> 20)),
        Err(error) => report.skip(Probe::StateSpace, &target, error.to_string()),
    }
    let target = audit.display().to_string();
    match trail {
        Ok(()) => report.pass(Probe::AuditFolder, &target, "a file can be made there"),
        Err(error) => report.fail(Probe::AuditFolder, &target, error.to_string(), ErrorCode::AuditFails),
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn is_about_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Host for ThisHost {
    fn write_and_sync(&self, folder: &Path) -> io::Result<()> {
        let (first, second) = (folder.join(".doctor-a"), folder.join(".doctor-b"));
        let tried = (|| {
            let mut file = File::create(&first)?;
            file.write_all(b"can be taken away")?;
            file.sync_all()?;
            std::fs::rename(&first, &second)?;
            File::open(folder)?.sync_all()
        })();
        for path in [first, second] {
            match std::fs::remove_file(path) {
                Ok(()) => {}
                // The one that was renamed, or never made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return tried.and(Err(error)),
            }
        }
        tried
    }

    fn remote(&self, folder: &Path) -> Option<&'static str> {
        let magic = rustix::fs::statfs(folder).ok()?.f_type;
        REMOTE.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
    }

    fn room(&self, folder: &Path) -> io::Result<u64> {
        let about = rustix::fs::statvfs(folder)?;
        Ok(about.f_bavail.saturating_mul(about.f_frsize))
    }

    fn mounts(&self) -> Option<String> {
        mounts()
    }
}
