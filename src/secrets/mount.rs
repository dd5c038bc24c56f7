//! # Purpose
//! Whether a file was mounted by itself, so that what replaces it is never seen.
//!
//! # Invariants kept here
//! - Pure, but for one reading of the list of mounts.
//!
//! # Not here
//! What to say about it: `app`.

use std::path::Path;

use super::MountedFile;

impl MountedFile {
    /// Whether the very file is a mount point in `mounts` ([`mounts`]): `subPath` in Kubernetes, or a bind mount.
    pub fn is_mounted_by_itself(&self, mounts: &str) -> bool {
        let real = std::fs::canonicalize(self.path()).unwrap_or_else(|_| self.path().to_owned());
        is_mount_point(mounts, &real)
    }
}

/// `/proc/self/mountinfo`, where there is one.
pub fn mounts() -> Option<String> {
    std::fs::read_to_string("/proc/self/mountinfo").ok()
}

/// `proc_pid_mountinfo(5)`: the fifth field, with blanks as `\040`.
fn is_mount_point(mounts: &str, path: &Path) -> bool {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(|point| point.replace("\\040", " ")).any(|point| Path::new(&point) == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_of_the_very_file_is_told_from_one_of_its_folder() {
        let mounts = "36 35 98:0 / / rw - ext4 /dev/sda rw\n\
                      37 36 0:5 / /run/secrets/okta rw - tmpfs tmpfs rw\n\
                      38 36 0:5 /x /run/my\\040secrets/token rw - tmpfs tmpfs rw\n";
        assert!(!is_mount_point(mounts, Path::new("/run/secrets/okta/credentials.json")));
        assert!(is_mount_point(mounts, Path::new("/run/my secrets/token")));
    }
}
