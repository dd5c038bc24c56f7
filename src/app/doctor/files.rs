//! # Purpose
//! The files that secrets are in: there, whole, out of others' reach, and followed when they are replaced.
//!
//! # Invariants kept here
//! - Every folder on the way is looked at, also behind symbolic links: who can write to one of them can replace the secret.
//!
//! # Not here
//! Whether Okta takes the key: `okta`.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::host::Host;
use super::probe::{Probe, Report};
use crate::config::{AponoToken, Settings};
use crate::secrets::{MountedFile, SecretSource};
use crate::telemetry::chain;

/// Who can get at a file, and whether a new one is seen.
type Probes = (Probe, Probe);

const TOKEN: Probes = (Probe::TokenAccess, Probe::TokenMount);
const CREDENTIALS: Probes = (Probe::CredentialsAccess, Probe::CredentialsMount);
const OTHERS: Probes = (Probe::OtherAccess, Probe::OtherMount);

pub(super) async fn examine(settings: &Settings, host: Arc<dyn Host>, report: &mut Report) {
    let settings = settings.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let mut report = Report::default();
        look(&settings, host.mounts().as_deref(), &mut report);
        report
    });
    if let Ok(looked) = looked.await {
        report.findings.extend(looked.findings);
    }
}

fn look(settings: &Settings, mounts: Option<&str>, report: &mut Report) {
    match &settings.apono.token {
        AponoToken::File(file) => {
            let target = file.path().display().to_string();
            match file.read_token() {
                Ok(_) => report.pass(Probe::TokenFile, &target, "it is there and is text"),
                Err(error) => report.fail(Probe::TokenFile, &target, chain(&error).to_string(), error.code()),
            }
        }
        AponoToken::Value(_) => {
            report.warn(
                Probe::TokenFile,
                "APONO_TOKEN",
                "it is in the environment, where other processes of this user see it and no restart is spared",
                "Put the token into a file and name it in APONO_TOKEN_FILE or apono.token_file.",
            );
        }
    }
    for organization in &settings.okta {
        let file = organization.credentials.file();
        let target = file.path().display().to_string();
        match organization.credentials.load() {
            Ok(credentials) => {
                report.pass(Probe::CredentialsFile, &target, format!("of client {}", credentials.client_id));
                let key = &credentials.key;
                let kind = key.algorithm().as_str();
                report.pass(
                    Probe::Key,
                    &target,
                    format!("{} bits for {kind}, key id {}", key.bits(), key.kid()),
                );
            }
            Err(error) if error.code().is_about_a_key() => {
                report.pass(Probe::CredentialsFile, &target, "it is there and is text");
                report.fail(Probe::Key, &target, chain(&error).to_string(), error.code());
            }
            Err(error) => {
                report.fail(Probe::CredentialsFile, &target, chain(&error).to_string(), error.code());
                report.skip(Probe::Key, &target, "not known without the file");
            }
        }
    }
    let probes_of = |file: &MountedFile| match &settings.apono.token {
        AponoToken::File(token) if token == file => TOKEN,
        AponoToken::File(_) | AponoToken::Value(_) => {
            if settings.okta.iter().any(|okta| okta.credentials.file() == file) {
                CREDENTIALS
            } else {
                OTHERS
            }
        }
    };
    for file in settings.secret_files() {
        let (of_access, of_mount) = probes_of(file);
        access(file.path(), of_access, report);
        mount(file, of_mount, mounts, report);
    }
    for file in settings.certificate_files() {
        mount(file, OTHERS.1, mounts, report);
    }
    for probe in <[Probe; 2]>::from(OTHERS) {
        if !report.findings.iter().any(|finding| finding.id == probe.id()) {
            report.skip(probe, "configuration", "it names no such file");
        }
    }
}

fn access(path: &Path, probe: Probe, report: &mut Report) {
    let target = path.display().to_string();
    match exposed(path) {
        Ok(exposed) if exposed.is_empty() => {
            report.pass(probe, &target, "only its owner and root can change it or what leads to it");
        }
        Ok(exposed) => report.warn(
            probe,
            &target,
            exposed.join("; "),
            "Take write permission from group and others on the file and every folder that leads to it, and read permission on the file from others.",
        ),
        Err(error) => report.skip(probe, &target, format!("not known: {error}")),
    }
}

fn mount(file: &MountedFile, probe: Probe, mounts: Option<&str>, report: &mut Report) {
    let target = file.path().display().to_string();
    match mounts.map(|mounts| file.is_mounted_by_itself(mounts)) {
        Some(true) => report.warn(
            probe,
            &target,
            "the file is mounted by itself (`subPath`, or a bind mount of one file), so a new secret is never seen",
            "Mount the folder that the file is in.",
        ),
        Some(false) => report.pass(probe, &target, "its folder is mounted: a new secret is seen"),
        None => report.skip(probe, &target, "this system does not list its mounts"),
    }
}

/// What others can do to the file, or to what leads to it.
fn exposed(path: &Path) -> io::Result<Vec<String>> {
    let me = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    let file = std::fs::metadata(path)?;
    for (bits, what) in
        [(0o004, "everybody can read"), (0o002, "everybody can change"), (0o020, "its group can change")]
    {
        if file.mode() & bits != 0 {
            found.push(format!("{what} {}", path.display()));
        }
    }
    for folder in way_to(path)? {
        let about = std::fs::symlink_metadata(&folder)?;
        let is_sticky = about.mode() & 0o1000 != 0;
        if about.mode() & 0o022 != 0 && !is_sticky {
            found.push(format!("others can change what is in {}", folder.display()));
        }
        if about.uid() != 0 && about.uid() != me {
            found.push(format!("{} belongs to user {}", folder.display(), about.uid()));
        }
    }
    Ok(found)
}

/// Every folder on the way, those behind symbolic links among them.
fn way_to(path: &Path) -> io::Result<BTreeSet<PathBuf>> {
    const MOST_LINKS: usize = 40;
    let mut folders = BTreeSet::new();
    let mut next = std::path::absolute(path)?;
    for _ in 0..MOST_LINKS {
        let mut walked = PathBuf::new();
        let mut link = None;
        let parts: Vec<_> = next.components().collect();
        for (place, part) in parts.iter().enumerate() {
            match part {
                Component::ParentDir => {
                    walked.pop();
                }
                Component::CurDir => {}
                Component::Prefix(_) | Component::RootDir | Component::Normal(_) => walked.push(part),
            }
            let about = std::fs::symlink_metadata(&walked)?;
            if about.is_symlink() {
                let rest: PathBuf = parts.iter().skip(place + 1).collect();
                let target = std::fs::read_link(&walked)?;
                walked.pop();
                link = Some(walked.join(target).join(rest));
                break;
            }
            if about.is_dir() {
                folders.insert(walked.clone());
            }
        }
        match link {
            Some(link) => next = link,
            None => return Ok(folders),
        }
    }
    Err(io::Error::other("its symbolic links lead in a circle"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn every_folder_that_leads_to_a_file_is_found_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| std::fs::canonicalize(folder.path()).unwrap().join(name);
        std::fs::create_dir_all(at("real/..v1")).unwrap();
        std::fs::create_dir(at("mounted")).unwrap();
        std::fs::write(at("real/..v1/token"), "x").unwrap();
        symlink("../real/..v1", at("mounted/..data")).unwrap();
        symlink("..data/token", at("mounted/token")).unwrap();
        let way = way_to(&at("mounted/token")).unwrap();
        for expected in ["mounted", "real", "real/..v1"] {
            assert!(way.contains(&at(expected)), "{expected}: {way:?}");
        }
        symlink("b", at("a")).unwrap();
        symlink("a", at("b")).unwrap();
        assert!(way_to(&at("a")).is_err());
    }

    #[test]
    fn what_others_can_do_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "x").unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&file, 0o600);
        set(folder.path(), 0o700);
        assert_eq!(exposed(&file).unwrap(), Vec::<String>::new());
        set(&file, 0o646);
        set(folder.path(), 0o770);
        let told = exposed(&file).unwrap().join("; ");
        for expected in ["everybody can read", "everybody can change", "others can change what is in"] {
            assert!(told.contains(expected), "{told}");
        }
    }
}
