//! # Purpose
//! Whether a file is mounted in such a way that what replaces it is not seen.
//!
//! # Invariants kept here
//! - Pure, but for one reading of the list of mounts.
//!
//! # Not here
//! What to say about it: `app`, `cli`.

use std::path::{Component, Path, PathBuf};

use super::MountedFile;

/// Why what replaces a file is not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// The very file is a mount point: `subPath` in Kubernetes, or a bind mount.
    ByItself,
    /// Its folder is mounted out of one version of a Kubernetes volume: `subPath` of a folder.
    OneVersion,
    /// systemd's copy for one service (`LoadCredential=`), made at each start.
    Credential,
}

impl MountedFile {
    /// Why what replaces the file is not seen, by `mounts` ([`mounts`]) and the path.
    pub fn is_fixed(&self, mounts: &str) -> Option<Fixed> {
        let real = std::fs::canonicalize(self.path()).unwrap_or_else(|_| self.path().to_owned());
        fixed(mounts, &real)
    }
}

/// `/proc/self/mountinfo`, where there is one.
pub fn mounts() -> Option<String> {
    std::fs::read_to_string("/proc/self/mountinfo").ok()
}

fn fixed(mounts: &str, path: &Path) -> Option<Fixed> {
    if is_credential(path) {
        return Some(Fixed::Credential);
    }
    let (root, point) = mount_of(mounts, path)?;
    if point == path {
        Some(Fixed::ByItself)
    } else if root.components().any(is_a_version) {
        Some(Fixed::OneVersion)
    } else {
        None
    }
}

/// `systemd.exec(5)`: `$CREDENTIALS_DIRECTORY`, of a service of the system or of a user.
fn is_credential(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
    matches!(
        parts.as_slice(),
        ["/", "run", "credentials", _, _, ..] | ["/", "run", "user", _, "credentials", _, _, ..]
    )
}

/// Kubernetes keeps each version of a Secret in a folder of its own (`..2026_01_31_10_00_00.123456789`), and a link beside it
/// leads to the newest. A mount of what is inside never leaves its version.
fn is_a_version(part: Component<'_>) -> bool {
    let name = part.as_os_str().to_str().and_then(|name| name.strip_prefix(".."));
    name.is_some_and(|name| name.starts_with(|first: char| first.is_ascii_digit()))
}

/// What is mounted where `path` is, by `proc_pid_mountinfo(5)`: the fourth field within its file system, and the fifth. Of
/// several in one place, the last hides the others.
fn mount_of(mounts: &str, path: &Path) -> Option<(PathBuf, PathBuf)> {
    let all = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        Some((PathBuf::from(unescaped(fields.next()?)), PathBuf::from(unescaped(fields.next()?))))
    });
    all.filter(|(_, point)| path.starts_with(point)).max_by_key(|(_, point)| point.components().count())
}

/// Blanks, tabs, line ends and backslashes are written in octal there.
fn unescaped(field: &str) -> String {
    let replaced = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    replaced.iter().fold(field.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "36 35 98:0 / / rw - ext4 /dev/sda rw\n\
        37 36 0:5 / /run/secrets/okta rw - tmpfs tmpfs rw\n\
        38 36 0:5 /x /run/my\\040secrets/token rw - tmpfs tmpfs rw\n\
        39 36 0:6 /..2026_01_31_10_00_00.123456789/keys /run/keys rw - tmpfs tmpfs rw\n\
        40 36 0:7 / /run/hidden rw - tmpfs tmpfs rw\n\
        41 40 0:8 /..2026_01_31_10_00_00.1 /run/hidden rw - tmpfs tmpfs rw\n\
        42 36 0:9 /..data.d/..x /run/dots rw - tmpfs tmpfs rw\n";

    fn of(path: &str) -> Option<Fixed> {
        fixed(MOUNTS, Path::new(path))
    }

    #[test]
    fn a_mount_of_the_very_file_is_told_from_one_of_its_folder() {
        assert_eq!(of("/run/secrets/okta/credentials.json"), None);
        assert_eq!(
            of("/run/secrets/okta/..2026_01_31_10_00_00.1/credentials.json"),
            None,
            "links lead there"
        );
        assert_eq!(of("/etc/token"), None);
        assert_eq!(of("/run/my secrets/token"), Some(Fixed::ByItself));
    }

    #[test]
    fn a_mount_out_of_one_version_of_a_volume_is_noticed() {
        assert_eq!(of("/run/keys/okta.json"), Some(Fixed::OneVersion));
        assert_eq!(of("/run/keys/deeper/okta.json"), Some(Fixed::OneVersion));
        assert_eq!(of("/run/hidden/token"), Some(Fixed::OneVersion), "the last mount in a place counts");
        assert_eq!(of("/run/dots/token"), None);
        assert_eq!(of("/run/keys-of-others/token"), None, "a folder is not the start of its name");
    }

    #[test]
    fn a_credential_of_systemd_is_known_by_its_place() {
        assert_eq!(of("/run/credentials/apono-connector.service/token"), Some(Fixed::Credential));
        assert_eq!(of("/run/user/1000/credentials/apono-connector.service/token"), Some(Fixed::Credential));
        assert_eq!(of("/run/credentials/token"), None, "no folder of a service");
        assert_eq!(of("/srv/run/credentials/a.service/token"), None);
    }
}
