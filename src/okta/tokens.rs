//! # Purpose
//! Keeps one access token for one organization.
//!
//! # Invariants kept here
//! - Single flight: however many callers want a token, one request asks for it.
//! - A token is renewed at 80 % of its life, while the old one still serves.
//! - A new key is proven by a token before the old one is dropped (invariant 14).
//! - After a failure everybody gets that failure until the next attempt is due: no retry storm, however many ask.
//! - The token never appears in a log, an error or a `Debug`.
//!
//! # Not here
//! Asking for a token: `token_request`. Proofs of possession: `proof`. Reading the key: `secrets`.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use http::header::{AUTHORIZATION, InvalidHeaderValue};
use secrecy::SecretString;
use tracing::{info, warn};

use super::Settings;
use super::proof::Proofs;
use super::refusal::TokenError;
use super::token_request::{Minted, TokenRequests};
use crate::catalogue::ErrorCode;
use crate::http::bearer::Scheme;
use crate::http::retry::doubling;
use crate::http::{Authorize, AuthorizeError, Class, Exchange, Request, Response};
use crate::secrets::Credentials;
use crate::telemetry::chain;
use crate::telemetry::metrics::OutcomeLabels;

/// Keeps the token of one organization.
pub struct Tokens {
    settings: Settings,
    exchange: Exchange,
    requests: TokenRequests,
    proofs: Arc<Proofs>,
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
    /// Those that the last token was got with.
    proven: Option<Arc<Credentials>>,
    doubt: Option<Doubt>,
    /// What was said when neither the newest nor the former key was taken; nothing once one is.
    neither: Option<String>,
}

/// Credentials that were mounted, and that Okta has not taken yet.
struct Doubt {
    credentials: Arc<Credentials>,
    gist: String,
    failures: u32,
    retry_at: Duration,
}

/// Times are on the monotonic clock.
struct Held {
    token: Arc<Token>,
    renew_at: Duration,
    expires_at: Duration,
    missing_scopes: Vec<&'static str>,
    optional_scopes: Vec<&'static str>,
}

struct Token {
    value: SecretString,
    scheme: Scheme,
}

impl Token {
    fn header(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        self.scheme.header(&self.value)
    }
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
/// How often the mounted credentials are looked at: no slower than Kubernetes brings them.
const LOOK_AT_CREDENTIALS: Duration = Duration::from_secs(10);

impl Tokens {
    pub(super) fn new(settings: Settings, exchange: Exchange) -> Self {
        let proofs = Arc::new(Proofs::new(settings.dpop, exchange.clone()));
        Self {
            requests: TokenRequests::new(settings.clone(), exchange.clone(), Arc::clone(&proofs)),
            proofs,
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

    /// When the present token expires, on the monotonic clock.
    pub fn expires_at(&self) -> Option<Duration> {
        let now = self.now();
        self.lock().held.as_ref().map(|held| held.expires_at).filter(|expires_at| now < *expires_at)
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

    /// Renews the token if it is time, or the credentials have changed, and says when to come back. Called
    /// periodically, so that no grant or removal has to wait for a token.
    pub async fn keep_fresh(&self) -> Duration {
        self.prove_newest().await;
        let _ = self.current(Asker::Habit).await;
        let now = self.now();
        let state = self.lock();
        let next = match (&state.held, &state.failure) {
            (_, Some(failure)) => failure.retry_at(Asker::Habit),
            (Some(held), None) => held.renew_at,
            (None, None) => now,
        };
        next.saturating_sub(now).clamp(Duration::from_secs(1), LOOK_AT_CREDENTIALS)
    }

    /// Gets a token with credentials that were mounted since, while the old token still serves.
    async fn prove_newest(&self) {
        let _minting = self.minting.lock().await;
        let newest = self.settings.credentials.current();
        let is_due = {
            let state = self.lock();
            let is_new = state.proven.as_ref().is_some_and(|proven| **proven != *newest);
            let waits = state.doubt_of(&newest).is_some_and(|doubt| self.now() < doubt.retry_at);
            is_new && !waits
        };
        if is_due {
            match self.ask_with(&newest).await {
                Ok(minted) => {
                    let _ = self.take_in(Ok(minted));
                    self.prove(&newest);
                }
                Err(error) => self.doubt(newest, &error),
            }
        }
    }

    /// A token that is good now.
    async fn current(&self, asker: Asker) -> Result<Arc<Token>, Arc<TokenError>> {
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
        let minted = self.mint().await;
        self.take_in(minted)
    }

    /// With the newest credentials, and where Okta does not take them, with those that worked before; those that it
    /// has refused lately come last.
    async fn mint(&self) -> Result<Minted, TokenError> {
        let newest = self.settings.credentials.current();
        let (proven, is_doubted) = {
            let state = self.lock();
            let proven = state.proven.clone().filter(|proven| **proven != *newest);
            (proven, state.doubt_of(&newest).is_some())
        };
        let (first, second) = match proven {
            Some(proven) if is_doubted => (proven, Some(newest)),
            proven => (newest, proven),
        };
        let error = match self.ask_with(&first).await {
            Ok(minted) => {
                self.prove(&first);
                return Ok(minted);
            }
            Err(error) => error,
        };
        match second {
            Some(second) if error.class() == Class::Misconfigured => match self.ask_with(&second).await {
                Ok(minted) => {
                    self.prove(&second);
                    Ok(minted)
                }
                Err(other) => {
                    self.tell_both([(&first, &error), (&second, &other)]);
                    Err(error)
                }
            },
            Some(_) | None => Err(error),
        }
    }

    /// Two keys are mounted or were, and no token comes of either: a person has to know what is wrong with each.
    fn tell_both(&self, refusals: [(&Credentials, &TokenError); 2]) {
        let gist = refusals.map(|(_, error)| error.gist()).join("\n");
        if self.lock().neither.replace(gist.clone()) == Some(gist) {
            return;
        }
        for (credentials, error) in refusals {
            let complaint = chain(error).to_string();
            warn!(
                integration.id = self.settings.integration,
                key.id = credentials.key.kid(),
                code = %error.code(),
                error = complaint,
                "no token with the key {}: {complaint}",
                credentials.key.kid()
            );
        }
    }

    async fn ask_with(&self, credentials: &Credentials) -> Result<Minted, TokenError> {
        let modest = self.now() < self.lock().modest_until;
        let optional: &[&'static str] = if modest { &[] } else { &self.settings.optional_scopes };
        let minted = self.requests.ask(credentials, optional).await;
        if modest || !minted.as_ref().is_err_and(TokenError::is_about_a_scope) {
            return minted;
        }
        // One that Okta does not know, or trims no list for, must not cost us the others.
        self.lock().modest_until = self.now() + MODEST;
        self.requests.ask(credentials, &[]).await
    }

    /// Okta has taken these credentials.
    fn prove(&self, credentials: &Arc<Credentials>) {
        let mut state = self.lock();
        state.neither = None;
        let former = state.proven.replace(Arc::clone(credentials));
        if former.is_some_and(|former| *former != **credentials) {
            state.doubt = None;
            info!(
                integration.id = self.settings.integration,
                key.id = credentials.key.kid(),
                "Okta takes the key {}; it is used from now on",
                credentials.key.kid()
            );
        }
    }

    /// Okta has not taken these credentials; the former ones go on being used.
    fn doubt(&self, credentials: Arc<Credentials>, error: &TokenError) {
        let now = self.now();
        let mut state = self.lock();
        let (failures, last) = state
            .doubt_of(&credentials)
            .map_or((0, None), |doubt| (doubt.failures, Some(doubt.gist.clone())));
        let wait = retry_wait(error.class(), failures + 1);
        let gist = error.gist();
        // An outage says nothing about the key.
        if error.class() != Class::Transient && last.as_ref() != Some(&gist) {
            let complaint = chain(error).to_string();
            warn!(
                integration.id = self.settings.integration,
                key.id = credentials.key.kid(),
                code = %ErrorCode::NewKeyNotTaken,
                error = complaint,
                retry_seconds = wait.as_secs(),
                "Okta does not take the new key {} yet; the former one goes on being used [{}]: {complaint}",
                credentials.key.kid(),
                ErrorCode::NewKeyNotTaken
            );
        }
        state.doubt = Some(Doubt { credentials, gist, failures: failures + 1, retry_at: now + wait });
    }

    fn ready(&self, asker: Asker) -> Ready {
        let now = self.now();
        let state = self.lock();
        let waiting = state.failure.as_ref().filter(|failure| now < failure.retry_at(asker));
        match (&state.held, waiting) {
            (Some(held), _) if now < held.renew_at => Ready::Fresh(Arc::clone(&held.token)),
            (Some(held), Some(_)) if now + LAST_MOMENT < held.expires_at => {
                Ready::Fresh(Arc::clone(&held.token))
            }
            (Some(held), None) if now + LAST_MOMENT < held.expires_at => {
                Ready::Aging(Arc::clone(&held.token))
            }
            (_, waiting) => Ready::Not(waiting.map(|failure| Arc::clone(&failure.error))),
        }
    }

    fn take_in(&self, minted: Result<Minted, TokenError>) -> Result<Arc<Token>, Arc<TokenError>> {
        let now = self.now();
        let integration = &self.settings.integration;
        let count = |outcome| {
            let labels = OutcomeLabels { integration: integration.clone(), outcome };
            self.exchange.metrics.token_mints.get_or_create(&labels).inc();
        };
        let mut state = self.lock();
        match minted {
            Ok(minted) => {
                let held = self.held(minted, now);
                count("granted");
                self.ever_held.store(true, Ordering::Relaxed);
                if state.failure.take().is_some() {
                    info!(integration.id = integration, "Okta grants tokens again");
                }
                let token = Arc::clone(&held.token);
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
                if state.failure.as_ref().is_none_or(|last| last.error.gist() != error.gist()) {
                    warn!(
                        integration.id = integration,
                        code = %error.code(),
                        error = text,
                        retry_seconds = wait.as_secs(),
                        "no token from {}: {text}",
                        self.settings.organization.origin()
                    );
                }
                state.failure =
                    Some(Failure { error: Arc::clone(&error), count: failures + 1, at: now, wait });
                match &state.held {
                    Some(held) if now + LAST_MOMENT < held.expires_at => Ok(Arc::clone(&held.token)),
                    Some(_) | None => Err(error),
                }
            }
        }
    }

    fn held(&self, minted: Minted, now: Duration) -> Held {
        let Minted { value, scheme, life, missing_scopes, optional_scopes } = minted;
        // Okta's tokens live an hour; one that lived seconds would be asked for all the time.
        let life = life.clamp(SHORTEST_LIFE, LONGEST_LIFE);
        if !missing_scopes.is_empty() {
            warn!(
                integration.id = self.settings.integration,
                scopes = missing_scopes.join(" "),
                code = %ErrorCode::ScopeMissing,
                "Okta did not grant {}; grant it to the application (Okta API Scopes tab) [{}]",
                missing_scopes.join(", "),
                ErrorCode::ScopeMissing
            );
        }
        Held {
            token: Arc::new(Token { value, scheme }),
            // A scope that an administrator grants meanwhile is in the next token.
            renew_at: now
                + if missing_scopes.is_empty() { life * 4 / 5 } else { (life * 4 / 5).min(LOOK_FOR_SCOPES) },
            expires_at: now + life,
            missing_scopes,
            optional_scopes,
        }
    }

    fn now(&self) -> Duration {
        self.exchange.clock.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn doubt_of(&self, credentials: &Credentials) -> Option<&Doubt> {
        self.doubt.as_ref().filter(|doubt| *doubt.credentials == *credentials)
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
    Fresh(Arc<Token>),
    /// Good, but due for renewal.
    Aging(Arc<Token>),
    /// None; the failure to report while the next attempt is not due.
    Not(Option<Arc<TokenError>>),
}

impl Authorize for Tokens {
    fn authorize<'a>(&'a self, request: &'a mut Request) -> BoxFuture<'a, Result<(), AuthorizeError>> {
        Box::pin(async move {
            let token = self.current(Asker::Call).await.map_err(|error| AuthorizeError {
                code: error.code(),
                class: error.class(),
                source: Box::new(SharedTokenError(error)),
            })?;
            let value = token.header().map_err(|source| AuthorizeError {
                code: ErrorCode::TokenUnreadable,
                class: Class::Misconfigured,
                source: Box::new(source),
            })?;
            request.headers.insert(AUTHORIZATION, value);
            match token.scheme {
                Scheme::Bearer => {}
                Scheme::Dpop => self.proofs.prove(request, Some(&token.value))?,
            }
            Ok(())
        })
    }

    fn answered(&self, _: &Request, response: &Response) {
        self.proofs.learn(response, true);
    }

    fn rejected(&self, request: &Request) {
        let mut state = self.lock();
        let is_current = state
            .held
            .as_ref()
            .is_some_and(|held| held.token.header().ok().as_ref() == request.headers.get(AUTHORIZATION));
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
