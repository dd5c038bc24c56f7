//! # Purpose
//! A peer that says one thing, whatever it is asked, and the time in which the connector hears it.
//!
//! # Invariants kept here
//! - Time is tokio's and stands still unless everybody waits; randomness begins at one seed.
//!
//! # Not here
//! What is said: the checks hand it in.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apono_connector::clock::VirtualClock;
use apono_connector::entropy::SeededEntropy;
use apono_connector::http::classify::by_status;
use apono_connector::http::url::Base;
use apono_connector::http::{Exchange, Request, Response, Transport, TransportError};
use apono_connector::okta::Surroundings;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::runtime::{Builder, Runtime};

/// Limit for one request of a check.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// The id of every request at the peer.
pub(super) const REQUEST_ID: &str = "req-1";

/// Answers, and remembers what it was asked.
#[derive(Debug)]
pub(super) struct Peer {
    answer: Response,
    token_answer: Response,
    asked: Mutex<Vec<Request>>,
}

impl Peer {
    /// Says `body` with `status`, and gives out a token to whoever asks.
    pub(super) fn saying(status: StatusCode, body: &[u8]) -> Arc<Self> {
        let token = br#"{"access_token":"placeholder","token_type":"Bearer","expires_in":3600}"#;
        Arc::new(Self {
            answer: response(status, body),
            token_answer: response(StatusCode::OK, token),
            asked: Mutex::default(),
        })
    }

    /// Says `body` with `status` to whoever asks for a token.
    pub(super) fn saying_of_tokens(status: StatusCode, body: &[u8]) -> Arc<Self> {
        Arc::new(Self {
            answer: response(StatusCode::OK, b"[]"),
            token_answer: response(status, body),
            asked: Mutex::default(),
        })
    }

    /// What it was asked so far, in this order, but for tokens.
    pub(super) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Transport for Peer {
    fn send(
        &self,
        request: Request,
        _: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<Response, TransportError>> + Send + '_>> {
        if request.url.path().ends_with("/oauth2/v1/token") {
            return Box::pin(ready(Ok(self.token_answer.clone())));
        }
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        Box::pin(ready(Ok(self.answer.clone())))
    }
}

/// An answer of Okta's or of anybody's.
pub(super) fn response(status: StatusCode, body: &[u8]) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("x-okta-request-id", HeaderValue::from_static(REQUEST_ID));
    Response { status, headers, body: body.to_vec().into() }
}

/// A base that is known to be one.
pub(super) fn base(text: &str) -> Base {
    let Ok(base) = Base::parse(text) else { unreachable!("{text}") };
    base
}

/// The world around a client of `peer`.
pub(super) fn surroundings(peer: &Arc<Peer>) -> Surroundings {
    let Ok(origin) = "2026-01-01T00:00:00Z".parse() else { unreachable!("an instant") };
    Surroundings {
        transport: Arc::clone(peer) as _,
        clock: VirtualClock::shared(origin),
        entropy: SeededEntropy::shared(1),
        metrics: Arc::default(),
    }
}

/// How `peer` is talked to where it is not Okta.
pub(super) fn exchange(name: &'static str, peer: &Arc<Peer>) -> Exchange {
    let Surroundings { transport, clock, entropy, metrics } = surroundings(peer);
    Exchange {
        peer: name,
        transport,
        clock,
        entropy,
        metrics,
        budget: None,
        authorize: None,
        classify: by_status,
    }
}

/// Runs `work` where waiting takes no time.
pub(super) fn in_virtual_time<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Runtime = runtime();
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}

fn runtime() -> Runtime {
    let Ok(runtime) = Builder::new_current_thread().enable_time().start_paused(true).build() else {
        unreachable!("a runtime without I/O needs nothing that could be missing")
    };
    runtime
}
