//! # Purpose
//! The disks that the connector writes to: whether it can, whether there is room, and who else can.
//!
//! # Invariants kept here
//! - What is written to try it is taken away again.
//!
//! # Not here
//! Secrets: `files`.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::exposed_data;
use super::probe::{Probe, Report};
use crate::catalogue::ErrorCode;
use crate::config::Settings;
use crate::secrets::mounts;

const ALL: [Probe; 7] = [
    Probe::StateFolder,
    Probe::StateSync,
    Probe::StateSpace,
    Probe::StateAccess,
    Probe::AuditFolder,
    Probe::AuditSpace,
    Probe::AuditAccess,
];
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

    /// Whether both folders are on one disk.
    fn is_one_disk(&self, one: &Path, other: &Path) -> io::Result<bool>;

    /// `/proc/self/mountinfo`, where there is one.
    fn mounts(&self) -> Option<String>;
}

/// The host that this process runs on.
#[derive(Debug)]
pub struct ThisHost;

/// What was found of one folder and of the file in it.
struct Looked {
    written: io::Result<()>,
    remote: Option<&'static str>,
    room: io::Result<u64>,
    exposed: io::Result<Vec<String>>,
    target: String,
}

fn look(host: &dyn Host, file: &Path) -> Looked {
    let folder = folder_of(file);
    Looked {
        written: host.write_and_sync(&folder),
        remote: host.remote(&folder),
        room: host.room(&folder),
        exposed: exposed_data(&folder, file),
        target: folder.display().to_string(),
    }
}

pub(super) async fn examine(settings: &Settings, host: Arc<dyn Host>, report: &mut Report) {
    let (state, audit) = (settings.state.file.clone(), settings.audit.file.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let one_disk = host.is_one_disk(&folder_of(&state), &folder_of(&audit));
        (look(&*host, &state), look(&*host, &audit), one_disk)
    });
    let Ok((state, audit, one_disk)) = looked.await else {
        for probe in ALL {
            report.skip(probe, "state.url", "the look itself died");
        }
        return;
    };
    of_state(&state, settings.state.database.is_some(), report);
    match &audit.written {
        Ok(()) => report.pass(Probe::AuditFolder, &audit.target, "a file can be made there"),
        Err(error) if is_about_room(error) => {
            report.skip(Probe::AuditFolder, &audit.target, "not known while there is no room");
        }
        Err(error) => {
            report.fail(Probe::AuditFolder, &audit.target, error.to_string(), ErrorCode::AuditFails);
        }
    }
    match one_disk {
        Ok(true) => report.skip(Probe::AuditSpace, &audit.target, "it is on the state's disk (state.space)"),
        Ok(false) => room(&audit, Probe::AuditSpace, report),
        Err(error) => report.skip(Probe::AuditSpace, &audit.target, format!("not known: {error}")),
    }
    access(&audit, Probe::AuditAccess, report);
}

fn of_state(state: &Looked, is_in_a_database: bool, report: &mut Report) {
    let target = &state.target;
    match &state.written {
        Ok(()) => report.pass(Probe::StateFolder, target, "a file can be made there"),
        Err(error) if is_about_room(error) => {
            report.skip(Probe::StateFolder, target, "not known while there is no room");
        }
        Err(error) => report.fail(Probe::StateFolder, target, error.to_string(), ErrorCode::StateUnusable),
    }
    match (&state.written, state.remote) {
        (_, _) if is_in_a_database => {
            report.skip(Probe::StateSync, target, "the state is in a database");
        }
        (Err(_), _) => report.skip(Probe::StateSync, target, "not known while nothing can be written there"),
        (Ok(()), Some(kind)) => report.warn_of(
            Probe::StateSync,
            target,
            format!("it is on {kind}, where a sync and a lock may mean less than on a disk of this host"),
            "Put the state on a local disk.",
            ErrorCode::ConfigDoubtful,
        ),
        (Ok(()), None) => report.pass(Probe::StateSync, target, "a file was written, synced and renamed"),
    }
    room(state, Probe::StateSpace, report);
    access(state, Probe::StateAccess, report);
}

fn room(looked: &Looked, probe: Probe, report: &mut Report) {
    match &looked.room {
        Ok(bytes) if *bytes < LEAST_ROOM => report.fail(
            probe,
            &looked.target,
            format!("{} MiB are left; {} are needed", bytes >> 20, LEAST_ROOM >> 20),
            ErrorCode::DiskFull,
        ),
        Ok(bytes) => report.pass(probe, &looked.target, format!("{} MiB are left", bytes >> 20)),
        Err(error) => report.skip(probe, &looked.target, error.to_string()),
    }
}

fn access(looked: &Looked, probe: Probe, report: &mut Report) {
    match &looked.exposed {
        Ok(exposed) if exposed.is_empty() => report.pass(
            probe,
            &looked.target,
            "only root, this user and its groups can change it or what leads to it",
        ),
        Ok(exposed) => report.warn_of(
            probe,
            &looked.target,
            exposed.join("; "),
            "Take write permission from others on the file and on every folder that leads to it, and give these to root or the connector's user.",
            ErrorCode::SecretExposed,
        ),
        Err(error) => report.skip(probe, &looked.target, format!("not known: {error}")),
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

    fn is_one_disk(&self, one: &Path, other: &Path) -> io::Result<bool> {
        Ok(std::fs::metadata(one)?.dev() == std::fs::metadata(other)?.dev())
    }

    fn mounts(&self) -> Option<String> {
        mounts()
    }
}
