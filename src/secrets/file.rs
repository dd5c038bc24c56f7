//! # Purpose
//! Reads one secret from one mounted file.
//!
//! # Invariants kept here
//! - At most 64 KiB are read: a secret is small, and a device or a log mounted by mistake is not.
//! - Every error names the file and what to do about it.
//!
//! # Not here
//! What the text means: `credentials`, `signing_key`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::catalogue::ErrorCode;

const LIMIT: u64 = 64 * 1024;

/// Where a secret comes from.
pub trait SecretSource: Send + Sync + fmt::Debug {
    /// Reads it as it is now, without surrounding white space and without a byte order mark.
    fn read(&self) -> Result<SecretString, SecretError>;

    /// Reads a bearer token (RFC 6750 section 2.1): what could not be sent is no new value.
    fn read_token(&self) -> Result<SecretString, SecretError> {
        let token = self.read()?;
        if token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(token)
        } else {
            Err(SecretError::NotAToken { place: self.place() })
        }
    }

    /// Where it is, for messages.
    fn place(&self) -> String;
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    /// Of the inode: nobody can set it back, as `cp -p` and `touch -r` do with the other.
    changed: (i64, i64),
}

/// A secret in a file. The path is followed anew at each read, so that a swapped symbolic link is noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedFile(PathBuf);

impl MountedFile {
    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is there now; `None` when nothing is. A swapped link shows as another inode.
    pub fn version(&self) -> Option<Version> {
        let metadata = std::fs::metadata(&self.0).ok()?;
        Some(Version {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// What Windows' editors write before UTF-8 (the byte order mark), and no secret begins with.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// A secret that was handed over as a value (`APONO_TOKEN`); it cannot be rotated without a restart.
#[derive(Clone)]
pub struct SecretValue(SecretString);

impl SecretValue {
    /// Takes the value.
    pub fn new(value: SecretString) -> Self {
        Self(value)
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretValue").finish_non_exhaustive()
    }
}

impl SecretSource for SecretValue {
    fn read(&self) -> Result<SecretString, SecretError> {
        Ok(self.0.clone())
    }

    fn place(&self) -> String {
        "APONO_TOKEN".to_owned()
    }
}

/// A secret file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Nothing there.
    #[error("{} does not exist; mount the secret there or correct the path [{}]", path.display(), ErrorCode::SecretMissing)]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Nothing in it.
    #[error("{} is empty; write the secret into it [{}]", path.display(), ErrorCode::SecretEmpty)]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Not ours to read.
    #[error("{} cannot be read; give the connector's user read permission on it and on the folders above it [{}]", path.display(), ErrorCode::SecretUnreadable)]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not text.
    #[error("{} is not UTF-8 text; a secret is text (a PEM file, JSON, or a token) [{}]", path.display(), ErrorCode::SecretNotText)]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Not a secret.
    #[error("{} is larger than 64 KiB, which no secret is; correct the path [{}]", path.display(), ErrorCode::SecretTooLarge)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Text, and no token.
    #[error(
        "{place} is no token: there are blanks, line ends or other characters in it that no token has; write the token alone into it [{}]",
        ErrorCode::SecretNotAToken
    )]
    NotAToken {
        /// The file, or the variable.
        place: String,
    },
}

impl SecretError {
    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Missing { .. } => ErrorCode::SecretMissing,
            Self::Empty { .. } => ErrorCode::SecretEmpty,
            Self::Unreadable { .. } => ErrorCode::SecretUnreadable,
            Self::NotText { .. } => ErrorCode::SecretNotText,
            Self::TooLarge { .. } => ErrorCode::SecretTooLarge,
            Self::NotAToken { .. } => ErrorCode::SecretNotAToken,
        }
    }
}

impl SecretSource for MountedFile {
    fn read(&self) -> Result<SecretString, SecretError> {
        let path = || self.0.clone();
        let unreadable = |source: io::Error| {
            if source.kind() == io::ErrorKind::NotFound {
                SecretError::Missing { path: path() }
            } else {
                SecretError::Unreadable { path: path(), source }
            }
        };
        let mut text = secrecy::SecretBox::<Vec<u8>>::default();
        {
            use secrecy::ExposeSecretMut;
            let bytes = text.expose_secret_mut();
            File::open(&self.0)
                .and_then(|file| {
                    // Room for all of it at once: a growing vector would leave copies of the secret behind.
                    let length = file.metadata()?.len().min(LIMIT) + 1;
                    bytes.reserve_exact(usize::try_from(length).unwrap_or(0));
                    file.take(LIMIT + 1).read_to_end(bytes)
                })
                .map_err(unreadable)?;
        }
        let bytes = text.expose_secret();
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LIMIT {
            return Err(SecretError::TooLarge { path: path() });
        }
        let text = std::str::from_utf8(without_mark(bytes));
        let trimmed = text.map_err(|_| SecretError::NotText { path: path() })?.trim();
        if trimmed.is_empty() {
            return Err(SecretError::Empty { path: path() });
        }
        Ok(SecretString::from(trimmed))
    }

    fn place(&self) -> String {
        self.0.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_without_surrounding_white_space() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, " placeholder \n").unwrap();
        assert_eq!(MountedFile::new(&path).read().unwrap().expose_secret(), "placeholder");
    }

    #[test]
    fn reads_without_the_mark_that_windows_writes() {
        let folder = tempfile::tempdir().unwrap();
        let file = MountedFile::new(folder.path().join("token"));
        for text in ["\u{feff}placeholder", "\u{feff} placeholder\r\n"] {
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(file.read_token().unwrap().expose_secret(), "placeholder", "{text:?}");
        }
        let key = super::super::generate_ec(super::super::Curve::P256).unwrap();
        std::fs::write(file.path(), format!("\u{feff}{}", key.private_jwk.expose_secret())).unwrap();
        let read = file.read().unwrap();
        assert!(super::super::SigningKey::parse(read.expose_secret(), None).is_ok(), "a key of Windows'");
        std::fs::write(file.path(), "\u{feff}\n").unwrap();
        assert!(matches!(file.read(), Err(SecretError::Empty { .. })));
    }

    #[test]
    fn a_token_is_one_word_that_can_be_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for (text, is_token) in [
            ("a-b._~+/9==\n", true),
            ("two words", false),
            ("two\nlines", false),
            ("bell\u{7}", false),
            ("é", false),
        ] {
            std::fs::write(&path, text).unwrap();
            let read = MountedFile::new(&path).read_token();
            assert_eq!(read.is_ok(), is_token, "{text:?}");
            if let Err(error) = read {
                let message = error.to_string();
                assert!(message.contains("is no token") && !message.contains(text), "{message}");
            }
        }
        let value = SecretValue::new(SecretString::from("two words"));
        assert!(value.read_token().unwrap_err().to_string().starts_with("APONO_TOKEN is no token"));
    }

    #[test]
    fn every_unusable_file_is_named_with_a_cure() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            MountedFile::new(path)
        };
        let cases = [
            (MountedFile::new(folder.path().join("none")), "does not exist; mount"),
            (file("blank", b"\n \n"), "is empty; write"),
            (file("binary", &[0xff, 0xfe]), "is not UTF-8"),
            (file("large", &vec![b'x'; 70_000]), "larger than 64 KiB"),
            (MountedFile::new(folder.path()), "cannot be read; give"),
        ];
        for (source, expected) in cases {
            let message = source.read().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(message.contains(folder.path().to_str().unwrap()), "{message}");
        }
    }
}
