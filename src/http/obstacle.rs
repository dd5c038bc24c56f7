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

use rustls::{AlertDescription, CertificateError};

use crate::catalogue::ErrorCode;

/// What kept us from connecting, where that can be told.
pub(crate) fn obstacle(error: &(dyn Error + 'static)) -> Option<ErrorCode> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(of_tls(tls));
        }
        // What an I/O error wraps, `source` passes over.
        let mut inside = error.source();
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            found = found.or(of_io(io.kind()));
            if let Some(wrapped) = io.get_ref() {
                inside = Some(wrapped);
            }
        }
        let text = error.to_string();
        if text.starts_with("dns error") || text.starts_with("failed to lookup address") {
            found = found.or(Some(ErrorCode::NameNotResolved));
        } else if text.contains("proxy authorization required") {
            found = found.or(Some(ErrorCode::ProxyWantsCredentials));
        } else if text.contains("tunnel") || text.contains("proxy") {
            found = found.or(Some(ErrorCode::ProxyFails));
        }
        next = inside;
    }
    found
}

fn of_io(kind: ErrorKind) -> Option<ErrorCode> {
    const KINDS: [(ErrorKind, ErrorCode); 9] = [
        (ErrorKind::ConnectionRefused, ErrorCode::ConnectionRefused),
        (ErrorKind::InvalidData, ErrorCode::TlsFails),
        (ErrorKind::UnexpectedEof, ErrorCode::TlsFails),
        (ErrorKind::ConnectionReset, ErrorCode::ConnectionBroken),
        (ErrorKind::ConnectionAborted, ErrorCode::ConnectionBroken),
        (ErrorKind::BrokenPipe, ErrorCode::ConnectionBroken),
        (ErrorKind::TimedOut, ErrorCode::HostUnreachable),
        (ErrorKind::HostUnreachable, ErrorCode::HostUnreachable),
        (ErrorKind::NetworkUnreachable, ErrorCode::HostUnreachable),
    ];
    KINDS.iter().find(|(known, _)| *known == kind).map(|(_, code)| *code)
}

fn of_tls(error: &rustls::Error) -> ErrorCode {
    // RFC 8446 section 6.2: what a server says to a client that shows the wrong certificate, or none.
    const OF_OURS: [AlertDescription; 6] = [
        AlertDescription::CertificateRequired,
        AlertDescription::BadCertificate,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateUnknown,
        AlertDescription::UnknownCA,
    ];
    if let rustls::Error::AlertReceived(alert) = error
        && OF_OURS.contains(alert)
    {
        return ErrorCode::CertificateWanted;
    }
    let rustls::Error::InvalidCertificate(reason) = error else {
        return ErrorCode::TlsFails;
    };
    let is_of_time = matches!(
        reason,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    );
    let is_of_name =
        matches!(reason, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. });
    if is_of_time {
        ErrorCode::CertificateTime
    } else if is_of_name {
        ErrorCode::CertificateName
    } else {
        // Also what a platform knows by an error of its own.
        ErrorCode::UnknownIssuer
    }
}
