//! # Purpose
//! The two doors to a simulator: a call in process, and a loopback TCP port that can be switched off and on.
//!
//! # Invariants kept here
//! - A stopped server has dropped its listener *and* every open connection, as a machine that lost power would.
//!
//! # Not here
//! What is behind the door.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// Calls a router without a socket.
///
/// # Errors
/// When the response's body breaks off, which is how a scripted disconnect shows itself in process.
pub async fn dispatch(router: Router, request: Request<Bytes>) -> Result<Response<Bytes>, axum::Error> {
    let Ok(response) = router.oneshot(request.map(Body::from)).await;
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await?.to_bytes();
    Ok(Response::from_parts(parts, bytes))
}

/// A simulator on a loopback port. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

/// Serves `router` on `address` (port 0: any free one), within a tokio runtime. The port can be taken again right after
/// a stop.
///
/// # Errors
/// When the port cannot be bound.
pub fn serve(router: Router, address: SocketAddr) -> io::Result<Server> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(1024)?;
    let address = listener.local_addr()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(accept(listener, router));
    Ok(Server { address, tasks })
}

impl Server {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://…`, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Drops the listener and every connection, and waits until both are gone.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let service = TowerToHyperService::new(router.clone());
                    connections.spawn(async move {
                        let _ = stream.set_nodelay(true);
                        // A connection that the peer broke is the peer's business.
                        let _ = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}
