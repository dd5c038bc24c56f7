//! # Purpose
//! The files that secrets are in: there, whole, out of others' reach, and followed when they are replaced. Of the files
//! that the connector writes itself, whether they are out of others' reach.
//!
//! # Invariants kept here
//! - Every folder and symbolic link on the way is looked at: who can change one of them can replace what it leads to.
//!
//! # Not here
//! Whether Okta takes the key: `okta`.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::host::Host;
use super::probe::{Probe, Report};
use crate::catalogue::ErrorCode;
use crate::config::{AponoToken, Settings};
use crate::secrets::{Fixed, MountedFile, SecretSource};
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
            report.warn_of(
                Probe::TokenFile,
                "APONO_TOKEN",
                "it is in the environment, where other processes of this user see it and no restart is spared",
                "Put the token into a file and name it in APONO_TOKEN_FILE or apono.token_file.",
            ErrorCode::ConfigDoubtful,
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
        Ok(exposed) => report.warn_of(
            probe,
            &target,
            exposed.join("; "),
            "Take write permission from group and others on the file and every folder that leads to it, and read permission on the file from others.",
            ErrorCode::SecretExposed,
        ),
        Err(error) => report.skip(probe, &target, format!("not known: {error}")),
    }
}

fn mount(file: &MountedFile, probe: Probe, mounts: Option<&str>, report: &mut Report) {
    let target = file.path().display().to_string();
    let Some(mounts) = mounts else {
        return report.skip(probe, &target, "this system does not list its mounts");
    };
    let (what, cure) = match file.is_fixed(mounts) {
        None => return report.pass(probe, &target, "its folder is mounted: a new secret is seen"),
        Some(Fixed::ByItself) => (
            "the file is mounted by itself (`subPath`, or a bind mount of one file), so a new secret is never seen",
            "Mount the folder that the file is in.",
        ),
        Some(Fixed::OneVersion) => (
            "its folder is mounted out of one version of a Kubernetes volume (`subPath`), so a new secret is never seen",
            "Mount the whole volume, without `subPath`.",
        ),
        Some(Fixed::Credential) => (
            "it is a copy that systemd makes at each start (`LoadCredential=`), so a new secret is not seen before the next",
            "Restart the service after replacing what it was made of, or name a file that can be replaced (systemd/README.md).",
        ),
    };
    report.warn_of(probe, &target, what, cure, ErrorCode::FixedMount);
}

/// Whose changes are nobody else's.
struct Trusted {
    me: u32,
    /// Their members may write. Where the connector only writes itself, Kubernetes' `fsGroup` is how it may.
    groups: Vec<u32>,
}

impl Trusted {
    fn of_secrets() -> Self {
        Self { me: rustix::process::geteuid().as_raw(), groups: Vec::new() }
    }

    fn of_data() -> Self {
        let mut groups = vec![rustix::process::getegid().as_raw()];
        // Whoever cannot be told them trusts fewer.
        groups.extend(rustix::process::getgroups().unwrap_or_default().iter().map(|group| group.as_raw()));
        Self { groups, ..Self::of_secrets() }
    }

    /// What others can do to what is at this place of the way.
    fn flaws(&self, path: &Path, about: &About) -> Vec<String> {
        let mut found = Vec::new();
        let is_open =
            about.mode & 0o002 != 0 || (about.mode & 0o020 != 0 && !self.groups.contains(&about.group));
        let is_sticky = about.mode & 0o1000 != 0;
        // The mode of a link says nothing.
        if is_open && !is_sticky && !about.is_link {
            found.push(format!("others can change what is in {}", path.display()));
        }
        if about.owner != 0 && about.owner != self.me {
            found.push(format!("{} belongs to user {}", path.display(), about.owner));
        }
        found
    }

    fn flaws_of_the_way(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        for place in way_to(path)? {
            found.extend(self.flaws(&place, &About::of(&std::fs::symlink_metadata(&place)?)));
        }
        Ok(found)
    }
}

/// Of a folder or a link.
#[derive(Clone, Copy)]
struct About {
    is_link: bool,
    mode: u32,
    owner: u32,
    group: u32,
}

impl About {
    fn of(metadata: &Metadata) -> Self {
        let (mode, owner, group) = (metadata.mode(), metadata.uid(), metadata.gid());
        Self { is_link: metadata.is_symlink(), mode, owner, group }
    }
}

/// What others can do to a secret, or to what leads to it.
fn exposed(path: &Path) -> io::Result<Vec<String>> {
    let trusted = Trusted::of_secrets();
    let mut found = Vec::new();
    let file = std::fs::metadata(path)?;
    for (bits, what) in
        [(0o004, "everybody can read"), (0o002, "everybody can change"), (0o020, "its group can change")]
    {
        if file.mode() & bits != 0 {
            found.push(format!("{what} {}", path.display()));
        }
    }
    if file.uid() != 0 && file.uid() != trusted.me {
        found.push(format!("{} belongs to user {}", path.display(), file.uid()));
    }
    found.extend(trusted.flaws_of_the_way(path)?);
    Ok(found)
}

/// What others can do to a file that the connector writes, or to what leads to it. Not to be there yet is no flaw.
pub(super) fn exposed_data(folder: &Path, file: &Path) -> io::Result<Vec<String>> {
    let trusted = Trusted::of_data();
    let about = match std::fs::metadata(file) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return trusted.flaws_of_the_way(folder),
        Err(error) => return Err(error),
    };
    let mut found = trusted.flaws_of_the_way(file)?;
    if about.mode() & 0o002 != 0 {
        found.push(format!("everybody can change {}", file.display()));
    }
    Ok(found)
}

/// Every folder and link on the way, those behind symbolic links among them.
fn way_to(path: &Path) -> io::Result<BTreeSet<PathBuf>> {
    const MOST_LINKS: usize = 40;
    let mut places = BTreeSet::new();
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
                places.insert(walked.clone());
                let rest: PathBuf = parts.iter().skip(place + 1).collect();
                let target = std::fs::read_link(&walked)?;
                walked.pop();
                link = Some(walked.join(target).join(rest));
                break;
            }
            if about.is_dir() {
                places.insert(walked.clone());
            }
        }
        match link {
            Some(link) => next = link,
            None => return Ok(places),
        }
    }
    Err(io::Error::other("its symbolic links lead in a circle"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::app::doctor::Verdict;

    #[test]
    fn every_folder_and_link_that_leads_to_a_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| std::fs::canonicalize(folder.path()).unwrap().join(name);
        std::fs::create_dir_all(at("real/..v1")).unwrap();
        std::fs::create_dir(at("mounted")).unwrap();
        std::fs::write(at("real/..v1/token"), "x").unwrap();
        symlink("../real/..v1", at("mounted/..data")).unwrap();
        symlink("..data/token", at("mounted/token")).unwrap();
        let way = way_to(&at("mounted/token")).unwrap();
        for expected in ["mounted", "mounted/token", "mounted/..data", "real", "real/..v1"] {
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
    #[test]
    fn who_owns_a_link_or_may_write_to_a_folder_can_replace_what_it_leads_to() {
        let trusted = Trusted { me: 1000, groups: vec![65532] };
        let folder = About { is_link: false, mode: 0o40755, owner: 0, group: 0 };
        let link = About { is_link: true, mode: 0o120_777, owner: 1000, group: 1000 };
        let is_right = |about: About| trusted.flaws(Path::new("/x"), &about).is_empty();
        for (about, right) in [
            (folder, true),
            (About { owner: 1000, ..folder }, true),
            (About { owner: 1001, ..folder }, false),
            (About { mode: 0o40757, ..folder }, false),
            (About { mode: 0o41777, ..folder }, true),
            (About { mode: 0o41777, owner: 1001, ..folder }, false),
            (About { mode: 0o40775, ..folder }, false),
            (About { mode: 0o42775, group: 65532, ..folder }, true),
            (About { mode: 0o42777, group: 65532, ..folder }, false),
            (link, true),
            (About { owner: 0, ..link }, true),
            (About { owner: 1001, ..link }, false),
        ] {
            assert_eq!(is_right(about), right, "{:o} of {}", about.mode, about.owner);
        }
        assert!(Trusted::of_secrets().groups.is_empty(), "nobody's group may replace a secret");
    }

    #[test]
    fn what_the_connector_writes_is_looked_at_through_its_folders_and_links() {
        let folder = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(folder.path()).unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let (state, elsewhere) = (real.join("state"), real.join("elsewhere"));
        std::fs::create_dir(&elsewhere).unwrap();
        symlink("elsewhere", &state).unwrap();
        let file = state.join("state.db");
        let exposed = || exposed_data(&state, &file).unwrap().join("; ");
        assert_eq!(exposed(), "", "not there yet");
        std::fs::write(&file, "x").unwrap();
        set(&file, 0o600);
        assert_eq!(exposed(), "");
        set(&file, 0o606);
        assert!(exposed().contains("everybody can change"), "{}", exposed());
        set(&file, 0o660);
        assert_eq!(exposed(), "", "its group is the connector's");
        set(&elsewhere, 0o777);
        assert!(exposed().contains("elsewhere"), "behind a link: {}", exposed());
        set(&elsewhere, 0o700);
        set(&real, 0o777);
        assert!(exposed().contains("others can change what is in"), "a folder further up: {}", exposed());
        set(&real, 0o700);
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(real.join("open")).unwrap();
        std::fs::write(real.join("open/state.db"), "x").unwrap();
        set(&real.join("open"), 0o777);
        symlink("../open/state.db", &file).unwrap();
        assert!(exposed().contains("open"), "where the file itself is a link: {}", exposed());
    }

    #[test]
    fn a_secret_that_is_not_followed_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = std::fs::canonicalize(folder.path()).unwrap().join("keys/token");
        let root = "36 35 98:0 / / rw - ext4 x rw\n";
        let version = "/..2026_01_31_10_00_00.1/keys";
        let mounted = |root: &str, at: &Path| format!("37 36 0:5 {root} {} rw - tmpfs x rw\n", at.display());
        let found = |path: &Path, mounts: &str| {
            let mut report = Report::default();
            mount(&MountedFile::new(path), Probe::TokenMount, Some(mounts), &mut report);
            let finding = report.findings.remove(0);
            (finding.verdict, finding.detail, finding.cure)
        };
        assert_eq!(found(&path, root).0, Verdict::Pass);
        let folder = path.parent().unwrap();
        assert_eq!(found(&path, &format!("{root}{}", mounted("/", folder))).0, Verdict::Pass);
        for (path, more, expected) in [
            (path.as_path(), mounted("/x", &path), "by itself"),
            (path.as_path(), mounted(version, folder), "one version"),
            (Path::new("/run/credentials/a.service/token"), String::new(), "at each start"),
        ] {
            let (verdict, detail, cure) = found(path, &format!("{root}{more}"));
            assert!(verdict == Verdict::Warn && detail.contains(expected), "{expected}: {detail}");
            assert!(cure.is_some_and(|cure| !cure.is_empty()), "{expected}");
        }
        let mut report = Report::default();
        mount(&MountedFile::new(&path), Probe::TokenMount, None, &mut report);
        assert_eq!(report.findings[0].verdict, Verdict::Skip, "where mounts are not listed");
    }
}
