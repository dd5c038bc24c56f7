//! # Purpose
//! The one loop that turns an operation into an answer: authorize, admit, send, classify, decide.
//!
//! # Invariants kept here
//! - Each attempt is built anew, so that what must be fresh (a `jti`, a proof, a token) is.
//! - The status of an answer is never lost, whatever its body was.
//! - A wait of more than a few seconds is logged with its reason, and with its end.
//!
//! # Not here
//! Decisions: `classify`, `retry`, `budget::ledger` (pure).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tracing::{debug, info};

use super::echo::Shown;
use super::retry::{Attempt, Next, Patience, Repeatable, Tried, next};
use super::transport::BoxError;
use super::{Budget, Class, Lane, Request, Response, Transport, TransportError, Verdict};
use crate::catalogue::ErrorCode;
use crate::clock::{self, SharedClock};
use crate::entropy::SharedEntropy;
use crate::telemetry::metrics::{OperationLabels, RequestLabels};
use crate::telemetry::{Metrics, chain};

/// One kind of call to one peer.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// A stable name: metric label, log field, part of errors.
    pub name: &'static str,
    /// The rate limit bucket it spends from, where the peer has such.
    pub bucket: &'static str,
    /// How urgent it is.
    pub lane: Lane,
    /// Whether it may be sent twice.
    pub repeatable: Repeatable,
    /// How long it is tried.
    pub patience: Patience,
    /// Limit for one attempt.
    pub timeout: Duration,
}

/// Puts the authorization on a request.
pub trait Authorize: Send + Sync + fmt::Debug {
    /// Adds the header; may fetch a token first.
    fn authorize<'a>(&'a self, request: &'a mut Request) -> BoxFuture<'a, Result<(), AuthorizeError>>;

    /// The peer did not accept what `request` carried: it is not to be used again.
    fn rejected(&self, request: &Request);

    /// The peer answered `request`, whatever it said.
    fn answered(&self, request: &Request, response: &Response);
}

/// No authorization could be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot authorize")]
pub struct AuthorizeError {
    /// What it is.
    pub code: ErrorCode,
    /// Whether trying again can help.
    pub class: Class,
    /// Why.
    #[source]
    pub source: BoxError,
}

/// A call had no success.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No answer.
    #[error("{call} had no answer")]
    Unreachable {
        /// The call's name.
        call: &'static str,
        /// The last attempt's failure.
        #[source]
        source: TransportError,
    },
    /// An answer other than success.
    #[error("{call} was answered {}", response.status)]
    Answered {
        /// The call's name.
        call: &'static str,
        /// What the answer meant.
        verdict: Verdict,
        /// The answer.
        response: Box<Response>,
    },
    /// It was never sent.
    #[error("{call} could not be sent")]
    Unauthorized {
        /// The call's name.
        call: &'static str,
        /// Why.
        #[source]
        source: AuthorizeError,
    },
}

impl ExchangeError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Unreachable { .. } => Class::Transient,
            Self::Unauthorized { source, .. } => source.class,
            Self::Answered { verdict, .. } => match verdict {
                Verdict::Throttled { .. } | Verdict::Transient { .. } | Verdict::Challenged => {
                    Class::Transient
                }
                Verdict::Unauthenticated => Class::Misconfigured,
                Verdict::Refused | Verdict::Done => Class::Permanent,
            },
        }
    }

    /// The answer, where there was one.
    pub fn response(&self) -> Option<&Response> {
        match self {
            Self::Answered { response, .. } => Some(response),
            Self::Unreachable { .. } | Self::Unauthorized { .. } => None,
        }
    }

    /// Whether the peer may have acted although the call had no success.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => source.may_have_arrived(),
            Self::Answered { verdict, .. } => match verdict {
                Verdict::Transient { .. } => true,
                Verdict::Done
                | Verdict::Refused
                | Verdict::Unauthenticated
                | Verdict::Challenged
                | Verdict::Throttled { .. } => false,
            },
            Self::Unauthorized { .. } => false,
        }
    }
}

/// Everything a call to one peer needs. Cheap to clone.
#[derive(Clone)]
pub struct Exchange {
    /// `okta`, `apono` or `scim`.
    pub peer: &'static str,
    /// The network.
    pub transport: Arc<dyn Transport>,
    /// Time.
    pub clock: SharedClock,
    /// Jitter.
    pub entropy: SharedEntropy,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The rate budget, for a peer that has one.
    pub budget: Option<Arc<Budget>>,
    /// Authorization, for calls that need one.
    pub authorize: Option<Arc<dyn Authorize>>,
    /// Refines HTTP's rules by the peer's.
    pub classify: fn(&Response, Timestamp) -> Verdict,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Exchange {
    /// The peer's clock, or our own until it is known.
    pub fn peers_now(&self) -> Timestamp {
        let theirs = self.budget.as_ref().and_then(|budget| budget.peers_now());
        theirs.unwrap_or_else(|| self.clock.now())
    }

    /// Makes the call; `build` makes each attempt's request.
    pub async fn call<B>(&self, call: &Call, build: B) -> Result<Response, ExchangeError>
    where
        B: Fn() -> Request + Send + Sync,
    {
        let mut tried = Tried::default();
        let mut delays: Option<backoff::ExponentialBackoff> = None;
        loop {
            let mut request = build();
            self.authorize(call, &mut request).await?;
            let outcome = self.attempt(call, request.clone()).await;
            let attempt = match &outcome {
                Ok((response, verdict)) => {
                    match verdict {
                        Verdict::Throttled { .. } => tried.throttled += 1,
                        Verdict::Transient { .. } => tried.failed += 1,
                        Verdict::Done | Verdict::Refused | Verdict::Unauthenticated | Verdict::Challenged => {
                        }
                    }
                    if let Some(authorize) = &self.authorize {
                        authorize.answered(&request, response);
                    }
                    Attempt::Answered(*verdict)
                }
                Err(error) => {
                    tried.failed += 1;
                    Attempt::Unanswered { may_have_arrived: error.may_have_arrived() }
                }
            };
            let delay = match attempt {
                Attempt::Answered(
                    Verdict::Done | Verdict::Refused | Verdict::Unauthenticated | Verdict::Challenged,
                ) => Duration::ZERO,
                Attempt::Answered(Verdict::Throttled { .. } | Verdict::Transient { .. })
                | Attempt::Unanswered { .. } => delays
                    .get_or_insert_with(|| call.patience.delays(seed(&self.entropy)))
                    .next()
                    .unwrap_or(call.patience.longest),
            };
            match next(attempt, tried, &call.patience, call.repeatable, delay) {
                Next::Wait(wait) => self.wait(call, &outcome, wait).await,
                Next::Reauthenticate if self.authorize.is_some() => {
                    tried.reauthenticated = true;
                    debug!(
                        peer = self.peer,
                        call = call.name,
                        "{} refused the token; getting another",
                        self.peer
                    );
                    if let Some(authorize) = &self.authorize {
                        authorize.rejected(&request);
                    }
                }
                Next::AnswerChallenge if self.authorize.is_some() => {
                    tried.challenged = true;
                    debug!(peer = self.peer, call = call.name, "{} wants its present nonce", self.peer);
                }
                Next::Return | Next::Reauthenticate | Next::AnswerChallenge | Next::GiveUp => {
                    return finish(call, outcome);
                }
            }
        }
    }

    async fn authorize(&self, call: &Call, request: &mut Request) -> Result<(), ExchangeError> {
        let Some(authorize) = &self.authorize else {
            return Ok(());
        };
        authorize
            .authorize(request)
            .await
            .map_err(|source| ExchangeError::Unauthorized { call: call.name, source })?;
        Ok(())
    }

    /// One request: its place in the budget, its time, its meaning.
    async fn attempt(&self, call: &Call, request: Request) -> Result<(Response, Verdict), TransportError> {
        let permit = match &self.budget {
            Some(budget) => Some(budget.admit(call.bucket, call.lane).await),
            None => None,
        };
        let started = self.clock.elapsed();
        let shown = Shown::by(&request);
        let result = self.transport.send(request, call.timeout).await.map(|response| shown.out_of(response));
        let took = self.clock.elapsed().saturating_sub(started);
        let (outcome, result) = match result {
            Ok(response) => {
                let verdict = (self.classify)(&response, self.clock.now());
                if let Some(permit) = &permit {
                    permit.observe(&response.headers);
                    if let Verdict::Throttled { wait } = verdict {
                        permit.count_throttled();
                        if let Some(wait) = wait {
                            permit.block(wait);
                        }
                    }
                }
                debug!(
                    peer = self.peer,
                    call = call.name,
                    http.status = response.status.as_u16(),
                    duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                    okta.request_id = response.header("x-okta-request-id"),
                    "{} answered {}",
                    call.name,
                    response.status.as_u16()
                );
                (outcome_label(&response, verdict), Ok((response, verdict)))
            }
            Err(error) => {
                debug!(peer = self.peer, call = call.name, error = %chain(&error), "{} had no answer", call.name);
                ("unreachable", Err(error))
            }
        };
        let operation = OperationLabels { peer: self.peer, operation: call.name };
        self.metrics.request_seconds.get_or_create(&operation).observe(took.as_secs_f64());
        let labels = RequestLabels { peer: self.peer, operation: call.name, outcome };
        self.metrics.requests.get_or_create(&labels).inc();
        result
    }

    async fn wait(&self, call: &Call, outcome: &Result<(Response, Verdict), TransportError>, wait: Duration) {
        const NOTEWORTHY: Duration = Duration::from_secs(3);
        if wait < NOTEWORTHY {
            return clock::sleep(wait).await;
        }
        let reason = match outcome {
            Ok((response, _)) => format!("{} answered {}", self.peer, response.status.as_u16()),
            Err(error) => chain(error).to_string(),
        };
        info!(
            peer = self.peer,
            call = call.name,
            wait_seconds = wait.as_secs(),
            reason,
            "trying {} again in {} s: {reason}",
            call.name,
            wait.as_secs()
        );
        let since = self.clock.elapsed();
        clock::sleep(wait).await;
        let waited = self.clock.elapsed().saturating_sub(since).as_secs();
        info!(
            peer = self.peer,
            call = call.name,
            waited_seconds = waited,
            "trying {} again after {waited} s",
            call.name
        );
    }
}

fn finish(
    call: &Call,
    outcome: Result<(Response, Verdict), TransportError>,
) -> Result<Response, ExchangeError> {
    match outcome {
        Ok((response, Verdict::Done)) => Ok(response),
        Ok((response, verdict)) => {
            Err(ExchangeError::Answered { call: call.name, verdict, response: Box::new(response) })
        }
        Err(source) => Err(ExchangeError::Unreachable { call: call.name, source }),
    }
}

fn outcome_label(response: &Response, verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Throttled { .. } => "throttled",
        Verdict::Done
        | Verdict::Refused
        | Verdict::Unauthenticated
        | Verdict::Challenged
        | Verdict::Transient { .. } => match response.status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        },
    }
}

fn seed(entropy: &SharedEntropy) -> u64 {
    let bytes = entropy.bytes();
    u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
}
