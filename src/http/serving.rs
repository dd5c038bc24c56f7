//! # Purpose
//! What every listener of the process shares: a private Unix socket, and an end in time.
//!
//! # Invariants kept here
//! - A Unix socket can be used by its owner alone (0600) before it has its name. One that a dead process left is
//!   replaced; one that somebody answers on is not.
//! - A stop lets what is being answered finish, for a second; a request that is only half there does not hold it up.
//!
//! # Not here
//! What is answered.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// For requests that are being answered at a stop.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// Serves until `stop`, and a little longer for what is being answered then.
pub async fn until_stopped<F>(
    stop: CancellationToken,
    serving: impl FnOnce(CancellationToken) -> F,
) -> io::Result<()>
where
    F: Future<Output = io::Result<()>>,
{
    tokio::select! {
        served = serving(stop.clone()) => served,
        () = async { stop.cancelled().await; clock::sleep(LAST_ANSWER).await } => Ok(()),
    }
}

/// Binds under another name, and takes the name when nobody else can use the socket any more.
pub async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
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
