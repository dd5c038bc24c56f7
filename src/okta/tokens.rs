//! # Purpose
//! Keeps one access token for one organization.
//!
//! # Invariants kept here
//! - Single flight: however many callers want a token, one request asks for it.
//! - A token is renewed at 80 % of its life, while the old one still serves.
//! - After a failure everybody gets that failure until the next attempt is due: no retry storm, however many ask.
//! - The token never appears in a log, an error or a `Debug`.
//!
//! # Not here
//! The assertion itself: `assertion`. Reading the key: `secrets`.
//!
//! Sources: RFC 6749 section 4.4, RFC 7523;
//! <https://developer.okta.com/docs/guides/implement-oauth-for-okta-serviceapp/main/>

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use tracing::{info, warn};

use super::Settings;
use super::assertion::{Claims, sign};
use super::bucket;
use super::errors::Answer;
use super::refusal::{TokenError, cure};
use crate::http::bearer::bearer;
use crate::http::classify::http_date;
use crate::http::retry::{Patience, Repeatable, doubling};
use crate::http::{Authorize, AuthorizeError, Call, Class, Exchange, Lane, Request, Response};
use crate::telemetry::chain;
use crate::telemetry::metrics::OutcomeLabels;

/// Keeps the token of one organization.
pub struct Tokens {
    settings: Settings,
    exchange: Exchange,
    state: Mutex<State>,
    minting: tokio::sync::Mutex<()>,
    ever_held: AtomicBool,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    failure: Option<Failure>,
    /// Until then, optional scopes are not asked for: Okta refused a request because of them.
    modest_until: Duration,
}

/// Times are on the monotonic clock.
struct Held {
    value: Arc<SecretString>,
    renew_at: Duration,
    expires_at: Duration,
    missing_scopes: Vec<&'static str>,
    optional_scopes: Vec<&'static str>,
}

struct Failure {
    error: Arc<TokenError>,
    count: u32,
    at: Duration,
    wait: Duration,
}

/// What is known of the token, for readiness and status.
#[derive(Clone, Debug)]
pub enum TokenStatus {
    /// None was asked for yet.
    Unknown,
    /// There is one, with these scopes missing.
    Held {
        /// Asked for and not granted.
        missing_scopes: Vec<&'static str>,
    },
    /// There is none.
    Failing(Arc<TokenError>),
}

/// A shorter life than this is taken for a mistake of the answer; the API will tell.
const SHORTEST_LIFE: Duration = Duration::from_mins(2);
/// What an answer says beyond that is not believed.
const LONGEST_LIFE: Duration = Duration::from_hours(24);
/// While scopes are missing, a new token is asked for this soon.
const LOOK_FOR_SCOPES: Duration = Duration::from_mins(5);
/// A call may ask again this long after an outage's last failure.
const ON_DEMAND: Duration = Duration::from_secs(1);
/// After Okta refused a request with optional scopes, it is asked without them for so long.
const MODEST: Duration = Duration::from_hours(24);
/// A token with less life than this left is not handed out.
const LAST_MOMENT: Duration = Duration::from_secs(30);

impl Tokens {
    pub(super) fn new(settings: Settings, exchange: Exchange) -> Self {
        Self {
            settings,
            exchange,
            state: Mutex::default(),
            minting: tokio::sync::Mutex::default(),
            ever_held: AtomicBool::new(false),
        }
    }

    /// What is known without asking anybody.
    pub fn status(&self) -> TokenStatus {
        let now = self.now();
        let state = self.lock();
        match (&state.held, &state.failure) {
            (Some(held), _) if now < held.expires_at => {
                TokenStatus::Held { missing_scopes: held.missing_scopes.clone() }
            }
            (_, Some(failure)) => TokenStatus::Failing(Arc::clone(&failure.error)),
            (_, None) => TokenStatus::Unknown,
        }
    }

    /// Whether there has been a token since the process started: then the key, the client and the address are right.
    pub fn has_ever_held(&self) -> bool {
        self.ever_held.load(Ordering::Relaxed)
    }

    /// Whether the present token carries `scope`, one of [`Settings::optional_scopes`].
    pub fn carries(&self, scope: &str) -> bool {
        let now = self.now();
        let state = self.lock();
        let held = state.held.as_ref().filter(|held| now < held.expires_at);
        held.is_some_and(|held| held.optional_scopes.contains(&scope))
    }

    /// Whose tokens these are.
    pub fn client_id(&self) -> String {
        self.settings.credentials.current().client_id.clone()
    }

    /// Renews the token if it is time, and says when to come back. Called periodically, so that no grant or removal
    /// has to wait for a token.
    pub async fn keep_fresh(&self) -> Duration {
        let _ = self.current(Asker::Habit).await;
        let now = self.now();
        let state = self.lock();
        let next = match (&state.held, &state.failure) {
            (_, Some(failure)) => failure.retry_at(Asker::Habit),
            (Some(held), None) => held.renew_at,
            (None, None) => now,
        };
        next.saturating_sub(now).clamp(Duration::from_secs(1), Duration::from_mins(10))
    }

    /// A token that is good now.
    async fn current(&self, asker: Asker) -> Result<Arc<SecretString>, Arc<TokenError>> {
        let usable = match self.ready(asker) {
            Ready::Fresh(token) => return Ok(token),
            Ready::Aging(token) => Some(token),
            Ready::Not(Some(error)) => return Err(error),
            Ready::Not(None) => None,
        };
        let _minting = match usable {
            // Somebody else is renewing; the old one still serves.
            Some(token) => match self.minting.try_lock() {
                Ok(guard) => guard,
                Err(_) => return Ok(token),
            },
            None => self.minting.lock().await,
        };
        match self.ready(asker) {
            Ready::Fresh(token) => return Ok(token),
            Ready::Not(Some(error)) => return Err(error),
            Ready::Aging(_) | Ready::Not(None) => {}
        }
        let modest = self.now() < self.lock().modest_until;
        let mut minted = self.mint(if modest { &[] } else { &self.settings.optional_scopes }).await;
        if !modest && minted.as_ref().is_err_and(TokenError::is_about_a_scope) {
            // One that Okta does not know, or trims no list for, must not cost us the others.
            self.lock().modest_until = self.now() + MODEST;
            minted = self.mint(&[]).await;
        }
        self.take_in(minted)
    }

    fn ready(&self, asker: Asker) -> Ready {
        let now = self.now();
        let state = self.lock();
        let waiting = state.failure.as_ref().filter(|failure| now < failure.retry_at(asker));
        match (&state.held, waiting) {
            (Some(held), _) if now < held.renew_at => Ready::Fresh(Arc::clone(&held.value)),
            (Some(held), Some(_)) if now + LAST_MOMENT < held.expires_at => {
                Ready::Fresh(Arc::clone(&held.value))
            }
            (Some(held), None) if now + LAST_MOMENT < held.expires_at => {
                Ready::Aging(Arc::clone(&held.value))
            }
            (_, waiting) => Ready::Not(waiting.map(|failure| Arc::clone(&failure.error))),
        }
    }

    fn take_in(&self, minted: Result<Held, TokenError>) -> Result<Arc<SecretString>, Arc<TokenError>> {
        let now = self.now();
        let integration = &self.settings.integration;
        let count = |outcome| {
            let labels = OutcomeLabels { integration: integration.clone(), outcome };
            self.exchange.metrics.token_mints.get_or_create(&labels).inc();
        };
        let mut state = self.lock();
        match minted {
            Ok(held) => {
                count("granted");
                self.ever_held.store(true, Ordering::Relaxed);
                if state.failure.take().is_some() {
                    info!(integration.id = integration, "Okta grants tokens again");
                }
                let token = Arc::clone(&held.value);
                state.held = Some(held);
                Ok(token)
            }
            Err(error) => {
                count(match error.class() {
                    Class::Transient => "unreachable",
                    Class::Permanent | Class::Misconfigured => "refused",
                });
                let failures = state.failure.as_ref().map_or(0, |failure| failure.count);
                let error = Arc::new(error);
                let wait = retry_wait(error.class(), failures + 1);
                let text = chain(error.as_ref()).to_string();
                let news =
                    state.failure.as_ref().is_none_or(|last| chain(last.error.as_ref()).to_string() != text);
                if news {
                    warn!(
                        integration.id = integration,
                        error = text,
                        retry_seconds = wait.as_secs(),
                        "no token from {}: {text}",
                        self.settings.organization.origin()
                    );
                }
                state.failure =
                    Some(Failure { error: Arc::clone(&error), count: failures + 1, at: now, wait });
                match &state.held {
                    Some(held) if now + LAST_MOMENT < held.expires_at => Ok(Arc::clone(&held.value)),
                    Some(_) | None => Err(error),
                }
            }
        }
    }

    /// Asks for a token, once, with `optional` scopes beside those that are needed.
    async fn mint(&self, optional: &[&'static str]) -> Result<Held, TokenError> {
        let organization = self.settings.organization.origin();
        let url = self.settings.organization.url(&["oauth2", "v1", "token"], &[]);
        let credentials = self.settings.credentials.current();
        let scope = [&self.settings.scopes, optional].concat().join(" ");
        let form = || -> Result<Bytes, TokenError> {
            let claims = Claims::new(
                &credentials.client_id,
                url.as_str(),
                self.oktas_now(),
                self.exchange.entropy.uuid(),
            );
            let assertion = sign(&claims, &credentials.key).map_err(TokenError::Sign)?;
            let form = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "client_credentials")
                .append_pair("scope", &scope)
                .append_pair(
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                )
                .append_pair("client_assertion", &assertion)
                .finish();
            Ok(Bytes::from(form))
        };
        // Signing can only fail for a reason that holds for every attempt; found out before the first.
        form()?;
        let call = Call {
            name: "token",
            bucket: bucket::TOKEN,
            lane: Lane::Removal,
            // Each attempt carries a new assertion.
            repeatable: Repeatable::Always,
            patience: Patience::SHORT,
            timeout: self.settings.timeout,
        };
        let build = || {
            let mut request = Request::new(Method::POST, url.clone());
            request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            request
                .headers
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            request.body = form().unwrap_or_default();
            request
        };
        match self.exchange.call(&call, build).await {
            Ok(response) => self
                .read(&response, optional)
                .map_err(|source| TokenError::Unreadable { organization, source }),
            Err(error) => Err(match error.response() {
                Some(response) if error.class() != Class::Transient => self.refusal(response),
                Some(_) | None => TokenError::Unreachable { organization, source: error },
            }),
        }
    }

    fn read(&self, response: &Response, optional: &[&'static str]) -> Result<Held, serde_json::Error> {
        #[derive(Deserialize)]
        struct Body {
            access_token: String,
            expires_in: u64,
            scope: Option<String>,
        }
        let body: Body = serde_json::from_slice(&response.body)?;
        // Okta's tokens live an hour; one that lived seconds would be asked for all the time.
        let life = Duration::from_secs(body.expires_in).clamp(SHORTEST_LIFE, LONGEST_LIFE);
        let now = self.now();
        let missing_scopes = missing(&self.settings.scopes, body.scope.as_deref());
        let lacking = missing(optional, body.scope.as_deref());
        let optional_scopes = optional.iter().copied().filter(|scope| !lacking.contains(scope)).collect();
        if !missing_scopes.is_empty() {
            warn!(
                integration.id = self.settings.integration,
                scopes = missing_scopes.join(" "),
                "Okta did not grant {}; grant it to the application (Okta API Scopes tab)",
                missing_scopes.join(", ")
            );
        }
        Ok(Held {
            value: Arc::new(SecretString::from(body.access_token)),
            // A scope that an administrator grants meanwhile is in the next token.
            renew_at: now
                + if missing_scopes.is_empty() { life * 4 / 5 } else { (life * 4 / 5).min(LOOK_FOR_SCOPES) },
            expires_at: now + life,
            missing_scopes,
            optional_scopes,
        })
    }

    fn refusal(&self, response: &Response) -> TokenError {
        let answer = Answer::read(response);
        let skew = response
            .header("date")
            .and_then(http_date)
            .map(|date| self.exchange.clock.now().as_second() - date.as_second());
        let (cure, class) = cure(&answer, &self.settings, skew);
        TokenError::Refused { cure, class, answer: Box::new(answer) }
    }

    /// Okta judges assertions by its own clock: where that is known, they are written by it.
    fn oktas_now(&self) -> Timestamp {
        let theirs = self.exchange.budget.as_ref().and_then(|budget| budget.peers_now());
        theirs.unwrap_or_else(|| self.exchange.clock.now())
    }

    fn now(&self) -> Duration {
        self.exchange.clock.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    /// When to try again. A removal that waits for a token should have it within seconds when Okta is back; those who
    /// ask have pauses of their own.
    fn retry_at(&self, asker: Asker) -> Duration {
        match (asker, self.error.class()) {
            (Asker::Call, Class::Transient) => self.at + self.wait.min(ON_DEMAND),
            (Asker::Call | Asker::Habit, _) => self.at + self.wait,
        }
    }
}

/// Who wants a token.
#[derive(Clone, Copy)]
enum Asker {
    /// A request that cannot go without.
    Call,
    /// The loop that keeps one fresh.
    Habit,
}

enum Ready {
    Fresh(Arc<SecretString>),
    /// Good, but due for renewal.
    Aging(Arc<SecretString>),
    /// None; the failure to report while the next attempt is not due.
    Not(Option<Arc<TokenError>>),
}

impl Authorize for Tokens {
    fn authorize<'a>(&'a self, request: &'a mut Request) -> BoxFuture<'a, Result<(), AuthorizeError>> {
        Box::pin(async move {
            let token = self.current(Asker::Call).await.map_err(|error| AuthorizeError {
                class: error.class(),
                source: Box::new(SharedTokenError(error)),
            })?;
            request.headers.insert(
                AUTHORIZATION,
                bearer(&token).map_err(|source| AuthorizeError {
                    class: Class::Misconfigured,
                    source: Box::new(source),
                })?,
            );
            Ok(())
        })
    }

    fn rejected(&self, request: &Request) {
        let mut state = self.lock();
        let is_current = state
            .held
            .as_ref()
            .is_some_and(|held| bearer(&held.value).ok().as_ref() == request.headers.get(AUTHORIZATION));
        // A newer token may be here already; it has not been refused.
        if is_current {
            state.held = None;
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("integration", &self.settings.integration).finish_non_exhaustive()
    }
}

/// A shared error as the source of others.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SharedTokenError(#[source] Arc<TokenError>);

/// Doubling waits: from a second for an outage, from half a minute for what a person must mend.
fn retry_wait(class: Class, failures: u32) -> Duration {
    let (first, longest) = match class {
        Class::Transient => (Duration::from_secs(1), Duration::from_secs(30)),
        Class::Permanent | Class::Misconfigured => (Duration::from_secs(30), Duration::from_mins(5)),
    };
    doubling(first, longest, failures)
}

/// The scopes that were asked for and are not in the answer (RFC 6749: an absent `scope` means all of them).
fn missing(asked: &[&'static str], granted: Option<&str>) -> Vec<&'static str> {
    let Some(granted) = granted else {
        return Vec::new();
    };
    let granted: Vec<_> = granted.split_whitespace().collect();
    asked.iter().copied().filter(|scope| !granted.contains(scope)).collect()
}
