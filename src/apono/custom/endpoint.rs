//! # Purpose
//! Where the listener for custom integrations is: a loopback port, or a Unix socket.
//!
//! # Invariants kept here
//! - No other host can reach it.
//!
//! # Not here
//! What is answered: `router`. Which addresses there are: `http::address`. Making a socket: `http::serving`.

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::catalogue::ErrorCode;
use crate::http::address::Address;
use crate::http::serving::{bind_unix, until_stopped};

/// The listener cannot listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "custom_integration.listen: cannot listen on {address}; choose another place, or stop what listens there [{}]",
    ErrorCode::CannotListen
)]
pub struct EndpointError {
    address: Address,
    #[source]
    source: io::Error,
}

/// A listener that is open.
#[derive(Debug)]
pub struct Endpoint {
    listener: Listener,
    address: Address,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Endpoint {
    /// Opens it.
    pub async fn open(address: &Address) -> Result<Self, EndpointError> {
        let opened = match address {
            Address::Loopback(at) => bind_loopback(*at).await,
            Address::Unix(path) => {
                let listener = bind_unix(path).await;
                listener.map(|listener| Self { listener: Listener::Unix(listener), address: address.clone() })
            }
        };
        opened.map_err(|source| EndpointError { address: address.clone(), source })
    }

    /// Where it is; for port 0, the port that it was given.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until `stop`. Calls that are being answered then may finish.
    pub async fn serve(self, router: Router, stop: CancellationToken) -> io::Result<()> {
        let served = match self.listener {
            Listener::Tcp(listener) => {
                let serving = axum::serve(listener, router);
                until_stopped(stop, |stop| {
                    serving.with_graceful_shutdown(stop.cancelled_owned()).into_future()
                })
                .await
            }
            Listener::Unix(listener) => {
                let serving = axum::serve(listener, router);
                until_stopped(stop, |stop| {
                    serving.with_graceful_shutdown(stop.cancelled_owned()).into_future()
                })
                .await
            }
        };
        if let Address::Unix(path) = &self.address {
            // What is left behind is replaced at the next start.
            let _ = tokio::fs::remove_file(path).await;
        }
        served
    }
}

async fn bind_loopback(at: SocketAddr) -> io::Result<Endpoint> {
    let listener = TcpListener::bind(at).await?;
    let address = Address::Loopback(listener.local_addr()?);
    Ok(Endpoint { listener: Listener::Tcp(listener), address })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_its_owners_alone_and_a_dead_ones_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("custom.sock");
        let address = Address::Unix(path.clone());
        let endpoint = Endpoint::open(&address).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let taken = Endpoint::open(&address).await.unwrap_err();
        assert!(taken.to_string().contains("stop what listens there"), "{taken}");
        drop(endpoint);
        assert!(path.exists(), "as after kill -9");
        let endpoint = Endpoint::open(&address).await.unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        endpoint.serve(Router::new(), stop).await.unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "mine").unwrap();
        Endpoint::open(&address).await.unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
