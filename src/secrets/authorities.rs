//! # Purpose
//! Reads a bundle of certificates from one mounted file. They are nobody's secret, and are followed as secrets are.
//!
//! # Invariants kept here
//! - Each certificate is one that TLS takes: a damaged one is told by its file's name, and not where TLS starts.
//! - At most 8 MiB are read.
//!
//! # Not here
//! Who else is trusted: `http::transport`, `database`.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

use super::MountedFile;
use super::file::without_mark;
use crate::catalogue::ErrorCode;

/// A bundle of every authority there is has less than a MiB; a device or a log mounted by mistake has more.
const LIMIT: u64 = 8 * 1024 * 1024;

/// A bundle of certificates is not usable.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is not to be had.
    #[error("{} cannot be read [{}]", path.display(), ErrorCode::CaBundle)]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not parse.
    #[error("{} is not a list of PEM certificates [{}]", path.display(), ErrorCode::CaBundle)]
    NotPem {
        /// The file.
        path: PathBuf,
        /// Why not, unless it holds none at all.
        #[source]
        source: Option<pem::Error>,
    },
    /// There is something else inside the armour.
    #[error("{}: the certificate number {number} is none [{}]", path.display(), ErrorCode::CaBundle)]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        number: usize,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
}

impl MountedFile {
    /// Reads a bundle of PEM certificates, at least one.
    pub fn read_authorities(&self) -> Result<Vec<CertificateDer<'static>>, BundleError> {
        let path = || self.path().to_owned();
        let pem = self.read_bundle().map_err(|source| BundleError::Unreadable { path: path(), source })?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(without_mark(&pem)).collect();
        let found = found.map_err(|source| BundleError::NotPem { path: path(), source: Some(source) })?;
        if found.is_empty() {
            return Err(BundleError::NotPem { path: path(), source: None });
        }
        let mut store = RootCertStore::empty();
        for (certificate, number) in found.iter().zip(1..) {
            let added = store.add(certificate.clone());
            added.map_err(|source| BundleError::Damaged { path: path(), number, source })?;
        }
        Ok(found)
    }

    fn read_bundle(&self) -> io::Result<Vec<u8>> {
        let mut pem = Vec::new();
        File::open(self.path())?.take(LIMIT + 1).read_to_end(&mut pem)?;
        if u64::try_from(pem.len()).unwrap_or(u64::MAX) > LIMIT {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 8 MiB"));
        }
        Ok(pem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn a_bundle_that_is_none_is_told_by_its_name_and_by_what_is_wrong_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let file = MountedFile::new(&path);
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let cases = [
            (None, "cannot be read"),
            (Some("no certificate".to_owned()), "is not a list of PEM certificates"),
            (Some("-----BEGIN CERTIFICATE-----\n".to_owned()), "is not a list of PEM certificates"),
            (Some(damaged.to_owned()), "the certificate number 1 is none"),
            (Some(format!("{}{damaged}", certificate())), "the certificate number 2 is none"),
        ];
        for (text, expected) in cases {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let message = file.read_authorities().unwrap_err().to_string();
            assert!(
                message.contains(path.to_str().unwrap())
                    && message.contains(expected)
                    && message.ends_with("[AOC-0130]"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_bundle_is_read_with_the_mark_that_windows_writes_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, format!("\u{feff}{}\r\n{}", certificate(), certificate())).unwrap();
        assert_eq!(MountedFile::new(&path).read_authorities().unwrap().len(), 2);
    }
}
