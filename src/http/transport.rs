//! # Purpose
//! Sends one request and reads the whole answer: the seam, its values, its failures.
//!
//! # Invariants kept here
//! - An error says whether the request may have had an effect ([`TransportError::may_have_arrived`]).
//! - No header and no body is in a request's or an answer's `Debug`.
//!
//! # Not here
//! Retries, limits, meaning.

mod https;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use secrecy::SecretString;
use url::Url;

pub use https::{ClientCertificate, HttpsError, HttpsSettings, HttpsTransport};

use crate::catalogue::ErrorCode;

/// The largest answer that is read: a page of 1000 users with large profiles is a few MiB.
pub const BODY_LIMIT: usize = 64 * 1024 * 1024;

/// One request. The body is complete; there is nothing to stream in what the connector says.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Absolute.
    pub url: Url,
    /// Headers; the authorization is marked sensitive.
    pub headers: HeaderMap,
    /// May be empty.
    pub body: Bytes,
    /// What of the body is a secret, as it stands there.
    pub secret_in_body: Option<SecretString>,
}

impl Request {
    /// A request without body.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), secret_in_body: None }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither headers nor body: assertions and tokens travel there.
        write!(f, "{} {}", self.method, self.url.path())
    }
}

/// One complete answer.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Response {
    /// A header's value as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The start of the body on one line, for a message to a person when it has no better text.
    pub fn excerpt(&self) -> String {
        const LENGTH: usize = 200;
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(4 * LENGTH)]);
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.chars().count() > LENGTH {
            format!("{}…", line.chars().take(LENGTH).collect::<String>())
        } else {
            line
        }
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.status, self.body.len())
    }
}

/// No complete answer came.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The peer was never reached.
    #[error("cannot connect to {host} [{code}]")]
    Connect {
        /// Who.
        host: String,
        /// What stands in the way.
        code: ErrorCode,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Nothing came in time.
    #[error("no answer from {host} within {} s [{}]", limit.as_secs(), ErrorCode::NoAnswerInTime)]
    Timeout {
        /// Who.
        host: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection ended before the answer did.
    #[error("the connection to {host} broke off [{code}]")]
    Broken {
        /// Who.
        host: String,
        /// What broke it.
        code: ErrorCode,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// More than [`BODY_LIMIT`].
    #[error("the answer of {host} is larger than {} MiB [{}]", BODY_LIMIT / (1024 * 1024), ErrorCode::AnswerTooLarge)]
    TooLarge {
        /// Who.
        host: String,
    },
}

/// A source from some library.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl TransportError {
    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Connect { code, .. } | Self::Broken { code, .. } => *code,
            Self::Timeout { .. } => ErrorCode::NoAnswerInTime,
            Self::TooLarge { .. } => ErrorCode::AnswerTooLarge,
        }
    }

    /// Whether the peer may have acted on the request.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Connect { .. } => false,
            Self::Timeout { .. } | Self::Broken { .. } | Self::TooLarge { .. } => true,
        }
    }
}

/// The seam to the network. The tests' implementation calls the simulators in process.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends `request` and reads the answer, within `limit` all in all.
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>>;
}
