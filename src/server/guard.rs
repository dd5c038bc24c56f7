//! # Purpose
//! Who may see the status, which names users and groups: this host, and whoever shows the token.
//!
//! # Invariants kept here
//! - Over the network nothing is shown without `admin.token_file`, and with it only to whoever shows the token.
//! - A browser on this host that was led here under another name is not this host (DNS rebinding): its `Host` says so.
//!
//! # Not here
//! Health and metrics, which name nobody and are open to whoever reaches the listener.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::http::bearer::ExpectedToken;

/// The token of `admin.token_file`, where there is one.
pub(super) type Guard = Option<Arc<ExpectedToken>>;

/// Lets through whoever may look.
pub(super) async fn only_who_may_look(
    State(guard): State<Guard>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let shows_token = guard.as_ref().is_some_and(|token| token.admits_any(headers));
    if is_this_host(peer.ip(), headers) || shows_token {
        return next.run(request).await;
    }
    let message = if guard.is_some() {
        "show the token of admin.token_file: as a bearer token, or as the password in a browser"
    } else {
        "over the network the status is shown only with admin.token_file; on the connector's host it is shown at 127.0.0.1"
    };
    let body = Json(json!({ "error": message }));
    if guard.is_some() {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"apono-connector\"")];
        (StatusCode::UNAUTHORIZED, challenge, body).into_response()
    } else {
        (StatusCode::FORBIDDEN, body).into_response()
    }
}

/// Whether somebody on this host asks for this host.
fn is_this_host(peer: IpAddr, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    peer.to_canonical().is_loopback() && names_this_host(host)
}

/// `localhost` or a loopback address, with a port or without.
fn names_this_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_under_its_own_name_is_this_host() {
        let asks = |peer: &str, host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_this_host(peer.parse().unwrap(), &headers)
        };
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST"] {
            assert!(asks("127.0.0.1", host) && asks("::1", host) && asks("::ffff:127.0.0.1", host), "{host}");
            assert!(!asks("10.0.0.7", host), "{host}");
        }
        for host in ["rebound.example:8080", "10.0.0.7", "localhost.example", ""] {
            assert!(!asks("127.0.0.1", host), "{host}");
        }
    }
}
