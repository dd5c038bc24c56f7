//! # Purpose
//! The way to a peer, and the clock.
//!
//! # Invariants kept here
//! - In the order of the numbers.
//!
//! # Not here
//! What a peer that was reached says.

use super::{Again, Entry, ErrorCode, Said};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        code: ErrorCode::NameNotResolved,
        title: "A host name is not resolved",
        cause: "The name is misspelt, or this host's DNS does not answer.",
        cure: "Correct the name in the configuration; try it here with `getent hosts NAME`.",
        page: None,
        again: Again::ByItself,
        said: &[],
    },
    Entry {
        code: ErrorCode::ConnectionRefused,
        title: "The connection is refused",
        cause: "Nothing listens at that address, or a firewall says no.",
        cure: "Let this host connect to it on that port, or set HTTPS_PROXY.",
        page: None,
        again: Again::ByItself,
        said: &[],
    },
    Entry {
        code: ErrorCode::HostUnreachable,
        title: "The host is not reached",
        cause: "Outgoing connections are dropped on their way: a firewall, a missing route, a proxy that is not used.",
        cure: "Let this host connect to it on port 443, or set HTTPS_PROXY.",
        page: None,
        again: Again::ByItself,
        said: &[],
    },
    Entry {
        code: ErrorCode::UnknownIssuer,
        title: "The certificate is signed by nobody whom this host trusts",
        cause: "Something between here and the peer opens TLS connections (TLS inspection) and signs with a certificate authority of its own, or the peer has a private one.",
        cure: "Put the certificate of that authority into the file that http.ca_bundle_file names.",
        page: None,
        again: Again::AfterCure,
        said: &[],
    },
    Entry {
        code: ErrorCode::CertificateTime,
        title: "The certificate is not valid at this time",
        cause: "It has expired or is not valid yet; or this host's clock is wrong.",
        cure: "Look at this host's clock first (`timedatectl`); else the peer has to renew its certificate.",
        page: None,
        again: Again::AfterCure,
        said: &[],
    },
    Entry {
        code: ErrorCode::CertificateName,
        title: "The certificate is for another name",
        cause: "The address leads to another host: a proxy's page, a wrong DNS entry, an alias.",
        cure: "Correct the address in the configuration, or what answers there.",
        page: None,
        again: Again::AfterCure,
        said: &[],
    },
    Entry {
        code: ErrorCode::TlsFails,
        title: "TLS does not come about",
        cause: "The peer speaks another protocol on that port, or no common version or cipher.",
        cure: "Check address and port; a proxy for plain HTTP does not belong there.",
        page: None,
        again: Again::ByItself,
        said: &[],
    },
    Entry {
        code: ErrorCode::ProxyFails,
        title: "The proxy does not let the connection through",
        cause: "It refuses the destination, or wants credentials.",
        cure: "Allow this host to reach the destination through the proxy that HTTPS_PROXY names, or except it in NO_PROXY.",
        page: None,
        again: Again::AfterCure,
        said: &[],
    },
    Entry {
        code: ErrorCode::NoAnswerInTime,
        title: "No answer came in time",
        cause: "The peer is slow, or something on the way swallows packets.",
        cure: "Nothing, if it passes. Else see whether the peer has an outage, or raise http.request_timeout.",
        page: None,
        again: Again::ByItself,
        said: &[],
    },
    Entry {
        code: ErrorCode::ConnectionBroken,
        title: "The connection broke off",
        cause: "The peer or something on the way closed it in the middle.",
        cure: "Nothing, if it passes. Else look at proxies and firewalls between.",
        page: None,
        again: Again::ByItself,
        said: &[],
    },
    Entry {
        code: ErrorCode::AnswerTooLarge,
        title: "An answer is too large",
        cause: "More than 64 MiB came for one request.",
        cure: "See what answers at that address.",
        page: None,
        again: Again::ByItself,
        said: &[],
    },
    Entry {
        code: ErrorCode::WrongClock,
        title: "This host's clock is wrong",
        cause: "It differs from Okta's, which judges assertions and proofs by its own.",
        cure: "Set the clock right (NTP: `timedatectl`, `chronyc tracking`). Assertions follow Okta's clock meanwhile; grants that would begin wait.",
        page: None,
        again: Again::ByItself,
        said: &[
            Said::Token("invalid_client", "token is expired"),
            Said::Token("invalid_client", "too far into the future"),
            Said::Token("invalid_client", "must be issued before the current time"),
            Said::Token("invalid_dpop_proof", "is issued in the future"),
            Said::Token("invalid_dpop_proof", "in the past"),
            Said::Token("invalid_dpop_proof", "is expired"),
        ],
    },
];
