//! # Purpose
//! Writes files that hold private keys, and those beside them.
//!
//! # Invariants kept here
//! - A file is whole or not there: it is written under another name, brought to the disk, and then gets its own.
//! - A file with a key has mode 0600 from its first byte.
//! - [`create`] never replaces a file, whoever makes one in the same moment.
//!
//! # Not here
//! What is in them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::catalogue::ErrorCode;
use crate::entropy::Entropy;

/// Only its owner reads a private key.
pub const PRIVATE: u32 = 0o600;
/// A configuration holds no secret.
pub const PUBLIC: u32 = 0o644;

/// A file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is there.
    #[error("{} exists and is left as it is; name another file, or move it away [{code}]", .0.display(), code = ErrorCode::FileInTheWay)]
    Exists(PathBuf),
    /// No folder, no right, no room.
    #[error("{} cannot be written [{code}]", path.display(), code = ErrorCode::FileNotWritten)]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FileError {
    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Exists(_) => ErrorCode::FileInTheWay,
            Self::Write { .. } => ErrorCode::FileNotWritten,
        }
    }
}

/// A new file; refused where there is one.
pub fn create(path: &Path, text: &str, mode: u32, entropy: &dyn Entropy) -> Result<(), FileError> {
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let draft = draft(path, text, mode, entropy)?;
    // A link, unlike a new name, is never put over something else.
    let linked = fs::hard_link(&draft, path);
    let placed = match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.exists() => {
            // A file system without links.
            return fs::rename(&draft, path).and_then(|()| sync_folder(path)).map_err(failed);
        }
        linked => linked,
    };
    let _ = fs::remove_file(&draft);
    match placed {
        Ok(()) => sync_folder(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(FileError::Exists(path.to_owned())),
        Err(error) => Err(failed(error)),
    }
}

/// A file in the place of the one that is there, if one is.
pub fn replace(path: &Path, text: &str, mode: u32, entropy: &dyn Entropy) -> Result<(), FileError> {
    // Whoever could read the old one must be able to read the new one: it may be a service under another user.
    let former = fs::metadata(path).ok();
    let mode = mode | former.as_ref().map_or(0, |former| former.mode() & 0o040);
    let draft = draft(path, text, mode, entropy)?;
    let owned = match &former {
        Some(former) => chown(&draft, Some(former.uid()), Some(former.gid())),
        None => Ok(()),
    };
    owned.and_then(|()| fs::rename(&draft, path)).and_then(|()| sync_folder(path)).map_err(|source| {
        let _ = fs::remove_file(&draft);
        FileError::Write { path: path.to_owned(), source }
    })
}

/// Takes a file away that may not be there.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FileError::Write { path: path.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The text in a file beside `path`, on the disk.
fn draft(path: &Path, text: &str, mode: u32, entropy: &dyn Entropy) -> Result<PathBuf, FileError> {
    let draft = beside(path, &format!(".{}.tmp", entropy.uuid().simple()));
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft).map_err(failed)?;
    let written = file
        // The mask of the process takes bits away, never adds any; a configuration shall be readable all the same.
        .set_permissions(fs::Permissions::from_mode(mode))
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all());
    written.map_err(|source| {
        let _ = fs::remove_file(&draft);
        failed(source)
    })?;
    Ok(draft)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// `path` with something behind its name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

/// Where a key waits until it is the one to use.
pub fn pending(credentials: &Path) -> PathBuf {
    beside(credentials, ".pending")
}

/// Where the credentials are kept that were used before.
pub fn previous(credentials: &Path) -> PathBuf {
    beside(credentials, ".previous")
}

/// Whether others than the owner can read the file.
pub fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// Apono's secret, as a credentials file has it.
pub fn credentials_text(client_id: &str, private_jwk: &SecretString) -> SecretString {
    let key = private_jwk.expose_secret();
    let key: Value = serde_json::from_str(key).unwrap_or_else(|_| json!(key));
    SecretString::from(format!("{}\n", json!({ "client_id": client_id, "private_key": key })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemEntropy;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_private_file_is_its_owners_alone_and_never_replaced_by_accident() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        create(&path, "one", PRIVATE, &SystemEntropy).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("one", 0o600));
        let refused = create(&path, "two", PRIVATE, &SystemEntropy).unwrap_err();
        assert!(matches!(refused, FileError::Exists(_)), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        replace(&path, "three", PRIVATE, &SystemEntropy).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("three", 0o600));
        assert!(!is_open_to_others(&path));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        let nowhere = folder.path().join("none/key.json");
        let refused = create(&nowhere, "x", PRIVATE, &SystemEntropy).unwrap_err().to_string();
        assert!(refused.contains("none/key.json cannot be written"), "{refused}");
    }

    #[test]
    fn a_link_to_somewhere_else_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("key.json"), folder.path().join("elsewhere"));
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(matches!(create(&path, "x", PRIVATE, &SystemEntropy), Err(FileError::Exists(_))));
        assert!(!target.exists());
    }

    #[test]
    fn of_many_who_make_the_same_file_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        let made = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|maker| {
                    let path = &path;
                    scope.spawn(move || create(path, &maker.to_string(), PRIVATE, &SystemEntropy).is_ok())
                })
                .collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).filter(|made| *made).count()
        });
        assert_eq!(made, 1);
    }
}
