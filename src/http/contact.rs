//! # Purpose
//! Remembers of each peer whether it answered last, whatever it answered.
//!
//! # Invariants kept here
//! - Only the peers that were named at the start are remembered.
//! - An answer of any status is a contact: what it says is somebody else's matter.
//!
//! # Not here
//! What follows: `server::readiness`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::transport::{Request, Response, Transport, TransportError};
use crate::clock::SharedClock;

/// The last try to reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Whether there was an answer.
    pub answered: bool,
    /// When, on the monotonic clock.
    pub at: Duration,
}

/// The last contacts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Contacts(Arc<Mutex<BTreeMap<String, Option<Contact>>>>);

impl Contacts {
    /// With these peers, by origin: `https://host[:port]`.
    pub fn with(origins: impl IntoIterator<Item = String>) -> Self {
        Self(Arc::new(Mutex::new(origins.into_iter().map(|origin| (origin, None)).collect())))
    }

    /// The last one with the peer at `origin`, if there was one.
    pub fn last(&self, origin: &str) -> Option<Contact> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(origin).copied().flatten()
    }

    fn note(&self, origin: &str, contact: Contact) {
        if let Some(last) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(origin) {
            *last = Some(contact);
        }
    }
}

/// A network whose contacts are noted.
#[derive(Clone)]
pub struct Watched {
    /// The network.
    pub inner: Arc<dyn Transport>,
    /// Where they are noted.
    pub contacts: Contacts,
    /// Time.
    pub clock: SharedClock,
}

impl Transport for Watched {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        let origin = request.url.origin().ascii_serialization();
        async move {
            let answer = self.inner.send(request, limit).await;
            self.contacts.note(&origin, Contact { answered: answer.is_ok(), at: self.clock.elapsed() });
            answer
        }
        .boxed()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("inner", &self.inner).finish_non_exhaustive()
    }
}
