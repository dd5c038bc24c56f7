//! # Purpose
//! Where the listener for custom integrations is: a loopback port, or a Unix socket.
//!
//! # Invariants kept here
//! - A Unix socket can be used by its owner alone (0600) before it has its name. One that a dead process left is
//!   replaced; one that somebody answers on is not.
//!
//! # Not here
//! What is answered: `router`. Which addresses there are: `http::address`.

use std::fs::Permissions;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::http::address::Address;

/// The listener cannot listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "custom_integration.listen: cannot listen on {address}; choose another place, or stop what listens there"
)]
pub struct DoorError {
    address: Address,
    #[source]
    source: io::Error,
}

/// A listener that is open.
#[derive(Debug)]
pub struct Door {
    listener: Listener,
    address: Address,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// For calls that are being answered at a stop.
const LAST_ANSWER: Duration = Duration::from_secs(1);

impl Door {
    /// Opens it.
    pub async fn open(address: &Address) -> Result<Self, DoorError> {
        let opened = match address {
            Address::Loopback(at) => bind_loopback(*at).await,
            Address::Unix(path) => {
                let listener = bind_unix(path).await;
                listener.map(|listener| Self { listener: Listener::Unix(listener), address: address.clone() })
            }
        };
        opened.map_err(|source| DoorError { address: address.clone(), source })
    }

    /// Where it is; for port 0, the port that it was given.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Serves until `stop`. Calls that are being answered then may finish.
    pub async fn serve(self, router: Router, stop: CancellationToken) -> io::Result<()> {
        let stopped = stop.clone().cancelled_owned();
        let served = match self.listener {
            Listener::Tcp(listener) => {
                let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
                until_stopped(serving.into_future(), &stop).await
            }
            Listener::Unix(listener) => {
                let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
                until_stopped(serving.into_future(), &stop).await
            }
        };
        if let Address::Unix(path) = &self.address {
            // What is left behind is replaced at the next start.
            let _ = tokio::fs::remove_file(path).await;
        }
        served
    }
}

async fn until_stopped(
    serving: impl Future<Output = io::Result<()>>,
    stop: &CancellationToken,
) -> io::Result<()> {
    tokio::select! {
        served = serving => served,
        () = async { stop.cancelled().await; clock::sleep(LAST_ANSWER).await } => Ok(()),
    }
}

async fn bind_loopback(at: SocketAddr) -> io::Result<Door> {
    let listener = TcpListener::bind(at).await?;
    let address = Address::Loopback(listener.local_addr()?);
    Ok(Door { listener: Listener::Tcp(listener), address })
}

/// Binds under another name, and takes the name when nobody else can use the socket any more.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match tokio::fs::symlink_metadata(path).await {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file, which is no socket"));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) | Err(_) => {}
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    // Left by a start that was cut off.
    let _ = tokio::fs::remove_file(&fresh).await;
    let listener = UnixListener::bind(&fresh)?;
    tokio::fs::set_permissions(&fresh, Permissions::from_mode(0o600)).await?;
    tokio::fs::rename(&fresh, path).await?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_its_owners_alone_and_a_dead_ones_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("custom.sock");
        let address = Address::Unix(path.clone());
        let door = Door::open(&address).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let taken = Door::open(&address).await.unwrap_err();
        assert!(taken.to_string().contains("stop what listens there"), "{taken}");
        drop(door);
        assert!(path.exists(), "as after kill -9");
        let door = Door::open(&address).await.unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        door.serve(Router::new(), stop).await.unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "mine").unwrap();
        Door::open(&address).await.unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
