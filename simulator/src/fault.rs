//! # Purpose
//! Faults on demand, scripted by operation name ("the second `list_users` breaks off in its body").
//!
//! # Invariants kept here
//! - A fault fires as often as it was asked to, in the order it was scripted, and every firing is counted: a test
//!   can tell that the fault it relies on really happened.
//!
//! # Not here
//! The names of operations and the peers' own error bodies: see each simulator.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This answer instead of the operation, which has no effect.
    Answer {
        /// HTTP status.
        status: u16,
        /// Header names and values.
        headers: Vec<(String, String)>,
        /// Body, sent as it is.
        body: String,
    },
    /// The operation happens after this wait.
    Delay(Duration),
    /// The connection breaks before the operation had any effect.
    Disconnect,
    /// The operation has its effect, then the connection breaks.
    DisconnectAfterEffect,
    /// The operation happens; its body is cut after this many bytes and the connection ends as if all were sent.
    CutBody(usize),
    /// The operation happens; this header is set on its answer.
    SetHeader(String, String),
    /// The operation happens; this header is removed from its answer.
    DropHeader(String),
    /// The operation happens; its body is replaced.
    ReplaceBody(String),
    /// The operation happens; its `next` link leads to the page itself.
    NextIsSelf,
    /// The operation happens; it has no `next` link, though there may be more.
    NoNext,
}

impl Fault {
    /// An answer without body and with no headers of its own.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: String::new() }
    }

    /// An HTML page, as a proxy in between would send it.
    #[must_use]
    pub fn html(status: u16) -> Self {
        Self::Answer {
            status,
            headers: vec![("content-type".into(), "text/html".into())],
            body: format!("<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"),
        }
    }
}

/// When a fault fires.
#[derive(Clone, Debug)]
struct Script {
    operation: String,
    within: String,
    skip: usize,
    remaining: Option<usize>,
    fault: Fault,
}

/// The faults scripted for one simulator. Clones share the script.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    scripts: Vec<Script>,
    fired: Vec<(String, Fault)>,
}

impl Faults {
    /// Fires at the next call of `operation`.
    pub fn once(&self, operation: &str, fault: Fault) {
        self.after(operation, 0, 1, fault);
    }

    /// Fires at the next `times` calls of `operation`.
    pub fn times(&self, operation: &str, times: usize, fault: Fault) {
        self.after(operation, 0, times, fault);
    }

    /// Lets `skip` calls of `operation` pass, then fires `times` times.
    pub fn after(&self, operation: &str, skip: usize, times: usize, fault: Fault) {
        self.script(operation, "", skip, Some(times), fault);
    }

    /// Fires at every call of `operation` until [`Faults::clear`].
    pub fn always(&self, operation: &str, fault: Fault) {
        self.script(operation, "", 0, None, fault);
    }

    /// Fires at every call of `operation` whose path contains `within`.
    pub fn on_path(&self, operation: &str, within: &str, fault: Fault) {
        self.script(operation, within, 0, None, fault);
    }

    fn script(&self, operation: &str, within: &str, skip: usize, remaining: Option<usize>, fault: Fault) {
        let script = Script { operation: operation.into(), within: within.into(), skip, remaining, fault };
        self.lock().scripts.push(script);
    }

    /// Forgets every script; what has fired stays counted.
    pub fn clear(&self) {
        self.lock().scripts.clear();
    }

    /// How often a fault has fired at `operation`.
    #[must_use]
    pub fn fired(&self, operation: &str) -> usize {
        self.lock().fired.iter().filter(|(fired, _)| fired == operation).count()
    }

    /// The fault for this call of `operation` at `path`, if one is due. Counts the call.
    #[must_use]
    pub fn take(&self, operation: &str, path: &str) -> Option<Fault> {
        let mut inner = self.lock();
        let script = inner.scripts.iter_mut().find(|script| {
            script.operation == operation && path.contains(&script.within) && script.remaining != Some(0)
        })?;
        if script.skip > 0 {
            script.skip -= 1;
            return None;
        }
        if let Some(remaining) = &mut script.remaining {
            *remaining -= 1;
        }
        let fault = script.fault.clone();
        inner.fired.push((operation.into(), fault.clone()));
        Some(fault)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers `operation` at `path` by `handle`, with the fault that is due for it, if any.
pub async fn with_faults<F>(faults: &Faults, operation: &str, path: &str, handle: F) -> Response
where
    F: Future<Output = Response>,
{
    match faults.take(operation, path) {
        None => handle.await,
        Some(Fault::Answer { status, headers, body }) => answer(status, &headers, body),
        Some(Fault::Delay(delay)) => {
            tokio::time::sleep(delay).await;
            handle.await
        }
        Some(Fault::Disconnect) => broken(),
        Some(Fault::DisconnectAfterEffect) => {
            handle.await;
            broken()
        }
        Some(Fault::CutBody(keep)) => {
            let (mut parts, body) = handle.await.into_parts();
            parts.headers.remove(http::header::CONTENT_LENGTH);
            let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Response::from_parts(parts, Body::from(bytes.slice(..keep.min(bytes.len()))))
        }
        Some(Fault::SetHeader(name, value)) => {
            let mut response = handle.await;
            if let (Ok(name), Ok(value)) =
                (http::HeaderName::try_from(name), http::HeaderValue::try_from(value))
            {
                response.headers_mut().insert(name, value);
            }
            response
        }
        Some(Fault::DropHeader(name)) => {
            let mut response = handle.await;
            response.headers_mut().remove(name);
            response
        }
        Some(Fault::ReplaceBody(body)) => {
            let (mut parts, _) = handle.await.into_parts();
            parts.headers.remove(http::header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(body))
        }
        Some(Fault::NextIsSelf) => with_links(handle.await, |links| {
            let this: Vec<String> = links.iter().filter(|link| link.ends_with(SELF)).cloned().collect();
            let next = this.iter().map(|link| link.replace(SELF, NEXT));
            this.iter().cloned().chain(next).collect()
        }),
        Some(Fault::NoNext) => with_links(handle.await, |links| {
            links.iter().filter(|link| !link.ends_with(NEXT)).cloned().collect()
        }),
    }
}

const SELF: &str = "rel=\"self\"";
const NEXT: &str = "rel=\"next\"";

/// With other `Link` headers; only those that were sent one by one are looked at.
fn with_links(mut response: Response, change: impl FnOnce(&[String]) -> Vec<String>) -> Response {
    let links = response.headers().get_all(http::header::LINK);
    let links: Vec<String> = links.iter().filter_map(|link| Some(link.to_str().ok()?.to_owned())).collect();
    response.headers_mut().remove(http::header::LINK);
    for link in change(&links) {
        if let Ok(link) = http::HeaderValue::try_from(link) {
            response.headers_mut().append(http::header::LINK, link);
        }
    }
    response
}

fn answer(status: u16, headers: &[(String, String)], body: String) -> Response {
    let mut builder = Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    builder.body(Body::from(body)).unwrap_or_else(|_| broken())
}

/// A response whose body fails at once: over TCP the connection is dropped, in process the body cannot be read.
#[must_use]
pub fn broken() -> Response {
    let error =
        std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the simulator broke the connection");
    let frames =
        futures_util::stream::once(async move { Err::<http_body::Frame<Bytes>, std::io::Error>(error) });
    Response::new(Body::new(StreamBody::new(frames)))
}
