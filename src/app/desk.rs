//! # Purpose
//! The desk's door: HTTP over a Unix socket beside the state file, for the commands on this host.
//!
//! # Invariants kept here
//! - Only root and the connector's own user are served, by what the kernel says of the caller.
//! - Who ended a grant is written down as the kernel names him, whatever the request says.
//! - A socket that cannot be made costs the commands, never the connector.
//!
//! # Not here
//! What can be asked: `access::desk`, `directory`, `server`. The other end: `cli::desk`.

pub(super) mod directory;
pub(super) mod log;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path as Segment, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::access::desk::Desk;
use crate::access::ledger::LedgerError;
use crate::access::view::Filter;
use crate::domain::GrantId;
use crate::http::serving::{bind_unix, until_stopped};
use crate::telemetry::chain;
use directory::Directories;
use log::Logging;

/// The socket, listening.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    path: PathBuf,
    owner: u32,
}

/// Who is at the other end, as the kernel says; nothing where it does not.
#[derive(Clone, Copy, Debug)]
struct Caller(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|credentials| credentials.uid()))
    }
}

/// Why a grant is ended.
#[derive(Debug, Deserialize)]
struct Ending {
    reason: String,
}

/// The longest reason that is kept, in characters.
const LONGEST_REASON: usize = 500;
/// The largest request that is read, in bytes.
const LARGEST: usize = 16 * 1024;

impl Door {
    /// Listens at `path`.
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        let listener = bind_unix(path).await?;
        let owner = fs::symlink_metadata(path)?.uid();
        Ok(Self { listener, path: path.to_owned(), owner })
    }

    /// Serves until `stop`; `admin` is what the admin listener answers, which may be out of the commands' reach.
    pub(super) async fn serve(
        self,
        desk: Desk,
        directories: Directories,
        logging: Option<Logging>,
        admin: Router,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let Self { listener, path, owner } = self;
        let log = logging.map(log::router).unwrap_or_default();
        let router = router(desk).merge(directory::router(directories)).merge(log).merge(admin);
        let router = router.layer(middleware::from_fn_with_state(owner, only_owners));
        let service = router.into_make_service_with_connect_info::<Caller>();
        let served = until_stopped(stop, |stop| {
            axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).into_future()
        });
        let served = served.await;
        // The next start would remove it too.
        let _ = fs::remove_file(path);
        served
    }
}

fn router(desk: Desk) -> Router {
    Router::new()
        .route("/grants", get(list))
        .route("/grants/{id}", get(story))
        .route("/grants/{id}/end", post(end))
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(Arc::new(desk))
}

/// Whether the caller is root or the connector's own user. Whom the kernel does not name is neither.
fn may_ask(caller: Option<u32>, owner: u32) -> bool {
    caller.is_some_and(|caller| caller == 0 || caller == owner)
}

async fn only_owners(
    State(owner): State<u32>,
    ConnectInfo(Caller(uid)): ConnectInfo<Caller>,
    request: Request,
    next: Next,
) -> Response {
    if may_ask(uid, owner) {
        return next.run(request).await;
    }
    refuse(StatusCode::FORBIDDEN, "only root and the connector's own user are served here")
}

async fn list(State(desk): State<Arc<Desk>>, Query(filter): Query<Filter>) -> Response {
    Json(desk.list(&filter)).into_response()
}

async fn story(State(desk): State<Arc<Desk>>, Segment(id): Segment<GrantId>) -> Response {
    match desk.story(&id).await {
        Ok(Some(story)) => Json(story).into_response(),
        Ok(None) => unknown(&id),
        Err(error) => failed(&error),
    }
}

async fn end(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Segment(id): Segment<GrantId>,
    Json(Ending { reason }): Json<Ending>,
) -> Response {
    let reason: String = reason.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect();
    match desk.end(&id, &format!("{}: {reason}", who(caller))).await {
        Ok(true) => {
            info!(event = "operator_ends_grant", grant.id = %id, caller.uid = caller.0, "an operator of this host ends grant {id}");
            StatusCode::ACCEPTED.into_response()
        }
        Ok(false) => unknown(&id),
        Err(error) => failed(&error),
    }
}

/// The caller, in words.
fn who(Caller(uid): Caller) -> String {
    uid.map_or_else(|| "an unknown user".to_owned(), |uid| format!("user id {uid}"))
}

fn unknown(id: &GrantId) -> Response {
    refuse(StatusCode::NOT_FOUND, &format!("no grant {id} was ever heard of"))
}

fn failed(error: &LedgerError) -> Response {
    refuse(StatusCode::INTERNAL_SERVER_ERROR, &chain(error).to_string())
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_connectors_own_user_may_ask() {
        assert!(may_ask(Some(0), 993) && may_ask(Some(993), 993));
        assert!(!may_ask(Some(1000), 993) && !may_ask(None, 993) && !may_ask(None, 0));
    }
}
