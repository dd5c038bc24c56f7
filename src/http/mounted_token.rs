//! # Purpose
//! Authorizes requests with a token from a file, which may be replaced at any time.
//!
//! # Invariants kept here
//! - A new token is used at once; where the peer does not take it yet, the former one goes on being used and no call
//!   fails (invariant 14).
//! - The former one is kept only until the new one has worked.
//!
//! # Not here
//! Noticing that the file has changed: `secrets::Reloading`.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use secrecy::{ExposeSecret, SecretString};
use tracing::{info, warn};

use super::bearer::Scheme;
use super::{Authorize, AuthorizeError, Class, Request, Response};
use crate::catalogue::ErrorCode;
use crate::clock::SharedClock;
use crate::secrets::Reloading;

/// A token that no request can carry.
#[derive(Debug, thiserror::Error)]
#[error("the token has characters that no header takes [{}]", ErrorCode::SecretNotAToken)]
struct Unfit(#[source] InvalidHeaderValue);

/// A new token that the peer did not take is tried again after this long.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// See the module.
pub struct MountedToken {
    file: Arc<Reloading<SecretString>>,
    clock: SharedClock,
    trust: Mutex<Trust>,
}

#[derive(Default)]
struct Trust {
    /// The last one that worked.
    proven: Option<Arc<SecretString>>,
    /// One that did not, and when it may be tried again.
    doubted: Option<(Arc<SecretString>, Duration)>,
}

impl MountedToken {
    /// Sends the token that this file holds.
    pub fn new(file: Arc<Reloading<SecretString>>, clock: SharedClock) -> Self {
        Self { file, clock, trust: Mutex::default() }
    }

    fn chosen(&self) -> Arc<SecretString> {
        let newest = self.file.current();
        let trust = self.lock();
        let waits = trust
            .doubted
            .as_ref()
            .is_some_and(|(doubted, until)| is_same(doubted, &newest) && self.clock.elapsed() < *until);
        match &trust.proven {
            Some(proven) if waits => Arc::clone(proven),
            Some(_) | None => newest,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Trust> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authorize for MountedToken {
    fn authorize<'a>(&'a self, request: &'a mut Request) -> BoxFuture<'a, Result<(), AuthorizeError>> {
        Box::pin(async move {
            let value = Scheme::Bearer.header(&self.chosen()).map_err(|source| AuthorizeError {
                code: ErrorCode::SecretNotAToken,
                class: Class::Misconfigured,
                source: Box::new(Unfit(source)),
            })?;
            request.headers.insert(AUTHORIZATION, value);
            Ok(())
        })
    }

    fn rejected(&self, request: &Request) {
        let newest = self.file.current();
        let mut trust = self.lock();
        if !carries(request, &newest) {
            // The former one is worth nothing any more. One from before that says nothing about it.
            if trust.proven.as_ref().is_some_and(|proven| carries(request, proven)) {
                trust.proven = None;
            }
            return;
        }
        if trust.proven.as_ref().is_some_and(|proven| is_same(proven, &newest)) {
            trust.proven = None;
        }
        if trust.proven.is_none() {
            return;
        }
        if trust.doubted.as_ref().is_none_or(|(doubted, _)| !is_same(doubted, &newest)) {
            let peer = request.url.host_str().unwrap_or_default();
            warn!(
                peer,
                "{peer} does not take the new token yet; the former one goes on being used [{}]",
                ErrorCode::NewTokenNotTaken
            );
        }
        trust.doubted = Some((newest, self.clock.elapsed() + TRY_AGAIN));
    }

    fn answered(&self, request: &Request, response: &Response) {
        if !response.status.is_success() {
            return;
        }
        let newest = self.file.current();
        let mut trust = self.lock();
        let is_proven = trust.proven.as_ref().is_some_and(|proven| is_same(proven, &newest));
        if !is_proven && carries(request, &newest) {
            if trust.doubted.take().is_some() {
                let peer = request.url.host_str().unwrap_or_default();
                info!(peer, "{peer} takes the new token");
            }
            trust.proven = Some(newest);
        }
    }
}

impl fmt::Debug for MountedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MountedToken").field("file", &self.file).finish_non_exhaustive()
    }
}

fn carries(request: &Request, token: &SecretString) -> bool {
    Scheme::Bearer.header(token).ok().as_ref() == request.headers.get(AUTHORIZATION)
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method, StatusCode};

    use super::*;
    use crate::clock::SystemClock;
    use crate::secrets::{MountedFile, SecretSource};

    #[tokio::test]
    async fn a_refusal_says_nothing_about_another_token_than_the_one_that_was_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "the-first").unwrap();
        let file = MountedFile::new(&path);
        let reloading = Reloading::new("token", Some(file.clone()), move || file.read_token()).unwrap();
        let token = MountedToken::new(Arc::new(reloading), SystemClock::shared());
        let request = async || {
            let mut request = Request::new(Method::GET, "https://api.example.com/".parse().unwrap());
            token.authorize(&mut request).await.unwrap();
            request
        };
        let carried = |request: &Request| request.headers[AUTHORIZATION].to_str().unwrap().to_owned();
        let done =
            Response { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::from_static(b"{}") };

        let slow = request().await;
        std::fs::write(&path, "second").unwrap();
        token.answered(&request().await, &done);
        // Mounted, and not taken: the second one goes on being used.
        std::fs::write(&path, "the-very-third").unwrap();
        token.rejected(&request().await);
        assert_eq!(carried(&request().await), "Bearer second");
        // The answer to what was sent at first has come only now.
        token.rejected(&slow);
        assert_eq!(carried(&request().await), "Bearer second", "it was not the second one that was refused");
        token.rejected(&request().await);
        assert_eq!(carried(&request().await), "Bearer the-very-third", "now it was");
    }
}
