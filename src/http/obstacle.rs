//! # Purpose
//! What stands in the way of a connection: a name, a firewall, a proxy, TLS inspection, a clock.
//!
//! # Invariants kept here
//! - Pure. Read from types where libraries have them; a library's text decides only what else would be "cannot connect".
//!
//! # Not here
//! What to do about it: `catalogue`.

use std::error::Error;
use std::io::ErrorKind;

use rustls::CertificateError;

use crate::catalogue::ErrorCode;

/// What kept us from connecting.
pub(super) fn obstacle(error: &(dyn Error + 'static)) -> ErrorCode {
    let mut found = None;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return of_tls(tls);
        }
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            // TLS errors travel inside of these, where `source` passes them over.
            if let Some(tls) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                return of_tls(tls);
            }
            found = found.or(of_io(io.kind()));
        }
        let text = error.to_string();
        if text.starts_with("dns error") {
            found = found.or(Some(ErrorCode::NameNotResolved));
        } else if text.contains("tunnel") || text.contains("proxy") {
            found = found.or(Some(ErrorCode::ProxyFails));
        }
        next = error.source();
    }
    found.unwrap_or(ErrorCode::HostUnreachable)
}

fn of_io(kind: ErrorKind) -> Option<ErrorCode> {
    match kind {
        ErrorKind::ConnectionRefused => Some(ErrorCode::ConnectionRefused),
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => Some(ErrorCode::TlsFails),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            Some(ErrorCode::ConnectionBroken)
        }
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            Some(ErrorCode::HostUnreachable)
        }
        _ => None,
    }
}

fn of_tls(error: &rustls::Error) -> ErrorCode {
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => ErrorCode::CertificateTime,
            CertificateError::UnknownIssuer => ErrorCode::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ErrorCode::CertificateName
            }
            // A certificate authority that a platform does not know comes as one of its own errors.
            _ => ErrorCode::UnknownIssuer,
        },
        _ => ErrorCode::TlsFails,
    }
}
