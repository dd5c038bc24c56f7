//! A network on which a directory run's nth call is its last: the process is about to be killed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use apono_connector::http::transport::{Request, Response, Transport, TransportError};
use futures_util::future::{BoxFuture, pending};
use tokio::sync::Notify;

/// Counts the calls that a directory run makes to either side.
#[derive(Clone, Debug)]
pub struct Cut {
    inner: Arc<dyn Transport>,
    state: Arc<Mutex<State>>,
    fallen: Arc<Notify>,
}

#[derive(Debug)]
enum State {
    /// So many more calls go through, and one more arrives without being answered, or not even that.
    Left { calls: usize, arrives: bool },
    /// Nothing goes through any more.
    Fallen,
}

enum Fate {
    Passes,
    ArrivesOnly,
    IsLost,
}

impl Cut {
    pub fn after(inner: Arc<dyn Transport>, calls: usize, arrives: bool) -> Self {
        let state = Arc::new(Mutex::new(State::Left { calls, arrives }));
        Self { inner, state, fallen: Arc::default() }
    }

    /// Until the last call was made.
    pub async fn fallen(&self) {
        self.fallen.notified().await;
    }

    fn fate(&self, counts: bool) -> Fate {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (fate, next) = match *state {
            State::Left { calls: 0, arrives } if counts => {
                self.fallen.notify_one();
                (if arrives { Fate::ArrivesOnly } else { Fate::IsLost }, State::Fallen)
            }
            State::Left { calls, arrives } => {
                (Fate::Passes, State::Left { calls: calls - usize::from(counts), arrives })
            }
            State::Fallen => (Fate::IsLost, State::Fallen),
        };
        *state = next;
        fate
    }
}

impl Transport for Cut {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        let path = request.url.path();
        let counts = path.contains("/api/v1/") || path.contains("/scim/");
        Box::pin(async move {
            match self.fate(counts) {
                Fate::Passes => self.inner.send(request, limit).await,
                Fate::ArrivesOnly => {
                    let _ = self.inner.send(request, limit).await;
                    pending().await
                }
                Fate::IsLost => pending().await,
            }
        })
    }
}
