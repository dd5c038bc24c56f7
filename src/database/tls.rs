//! # Purpose
//! TLS to a database: who is trusted.
//!
//! # Invariants kept here
//! - The same are trusted as for HTTPS: the system's authorities, Mozilla's, and those of `http.ca_bundle_file`.
//! - The server's certificate must be for the name that was asked for. Nothing switches that off.
//!
//! # Not here
//! Whether TLS is used: `url`.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_platform_verifier::Verifier;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::DatabaseError;
use crate::secrets::{MountedFile, Reloading};

/// Follows the bundle when it is replaced.
pub(super) fn tls(bundle: Option<&MountedFile>) -> Result<Reloading<MakeRustlsConnect>, DatabaseError> {
    let file = bundle.cloned();
    Reloading::new("database's authorities", bundle.cloned(), move || connector(file.as_ref()))
}

fn connector(bundle: Option<&MountedFile>) -> Result<MakeRustlsConnect, DatabaseError> {
    let mut roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec();
    if let Some(file) = bundle {
        roots.extend(file.read_authorities().map_err(DatabaseError::Bundle)?);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    // The system's are added by the verifier.
    let verifier =
        Verifier::new_with_extra_roots(roots, Arc::clone(&provider)).map_err(DatabaseError::Tls)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(DatabaseError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_is_none_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let file = MountedFile::new(&path);
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in [None, Some("no certificate"), Some(damaged)] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let message = connector(Some(&file)).err().unwrap().to_string();
            assert!(message.contains("http.ca_bundle_file") && message.contains("ca.pem"), "{message}");
        }
        assert!(connector(None).is_ok());
    }
}
