//! # Purpose
//! Where a listener can be that has no TLS: a loopback port, or a Unix socket.
//!
//! # Invariants kept here
//! - An address that another host could reach is none.
//!
//! # Not here
//! Opening it: `apono::custom`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// On this loopback port.
    Loopback(SocketAddr),
    /// On this socket.
    Unix(PathBuf),
}

/// Why a text is no place to listen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither.
    #[error(
        "{0:?} is neither an address with a port nor a socket; write 127.0.0.1:8081 or unix:/run/apono-connector/custom.sock"
    )]
    Neither(String),
    /// Others could read the token on its way.
    #[error(
        "{0} can be reached from other hosts, and this listener has no TLS; use 127.0.0.1:{port} or unix:/run/apono-connector/custom.sock, with whatever ends TLS in front of it",
        port = .0.port()
    )]
    Remote(SocketAddr),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let neither = || AddressError::Neither(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            let usable = path.is_absolute() && path.file_name().is_some();
            return if usable { Ok(Self::Unix(path)) } else { Err(neither()) };
        }
        let address: SocketAddr = text.parse().map_err(|_| neither())?;
        if address.ip().is_loopback() {
            Ok(Self::Loopback(address))
        } else {
            Err(AddressError::Remote(address))
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_other_host_can_reach_is_a_place_to_listen() {
        for right in ["127.0.0.1:8081", "127.0.0.9:0", "[::1]:8081", "unix:/run/custom.sock"] {
            assert_eq!(right.parse::<Address>().unwrap().to_string(), right);
        }
        for (wrong, expected) in [
            ("0.0.0.0:8081", "can be reached from other hosts"),
            ("10.0.0.1:8081", "use 127.0.0.1:8081 or unix:/"),
            ("[::]:8081", "has no TLS"),
            ("8081", "neither an address"),
            ("localhost:8081", "neither an address"),
            ("unix:custom.sock", "neither an address"),
            ("unix:/", "neither an address"),
        ] {
            let problem = wrong.parse::<Address>().unwrap_err().to_string();
            assert!(problem.contains(expected), "{wrong}: {problem}");
        }
    }
}
