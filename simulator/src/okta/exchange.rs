//! # Purpose
//! One call from arrival to answer: slot, fault, budget, token, operation, and the headers that every answer has.
//!
//! # Invariants kept here
//! - Every answer carries `x-okta-request-id` and a `Date` by the simulator's clock, scripted ones included.
//! - Every call is noted, refused and broken ones included.
//! - No lock is held while anything is waited for.
//!
//! # Not here
//! What the operations do (`api`, `oauth`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::OktaSimulator;
use super::answer::{Refusal, json_response};
use super::api;
use super::api::listing::NeverAnswered;
use super::budget::Standing;
use super::hash::mix;
use super::ids::push_base62;
use super::journal::Call;
use super::oauth::{access, token};
use super::operation::Operation;
use super::query::Query;
use super::settings::Settings;
use crate::fault::with_faults;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-okta-request-id");
const RATE_RESET: HeaderName = HeaderName::from_static("x-rate-limit-reset");

/// A call that is being answered.
pub(super) struct Exchange {
    pub(super) parts: Parts,
    pub(super) body: Bytes,
    pub(super) query: Query,
    pub(super) operation: Operation,
    pub(super) settings: Arc<Settings>,
    pub(super) request_id: String,
    pub(super) error_id: String,
}

impl Exchange {
    /// The path as it was sent.
    pub(super) fn path(&self) -> &str {
        self.parts.uri.path()
    }
}

impl OktaSimulator {
    /// Answers one request.
    pub(super) async fn answer(self, request: Request<Body>) -> Response {
        let arrived = self.clock().now();
        let (parts, body) = request.into_parts();
        // A request that breaks off in its body is treated as if the rest had been empty.
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let exchange = self.exchange(parts, body);
        let operation = exchange.operation.name();
        let mut call = Call {
            operation,
            bucket: exchange.operation.bucket(),
            method: exchange.parts.method.to_string(),
            path: exchange.path().to_owned(),
            query: exchange.parts.uri.query().unwrap_or_default().to_owned(),
            status: 0,
            at: arrived,
            request_id: exchange.request_id.clone(),
        };

        let limits = &exchange.settings.limits;
        let most = exchange.operation.bucket().and_then(|_| limits.concurrency());
        let response = match self.slots().take(most) {
            None => self.refuse_for_concurrency(&exchange),
            Some(_slot) => self.answer_with_faults(&exchange).await,
        };

        // Only a body that breaks has no length: everything else is held in memory.
        call.status = if response.size_hint().exact().is_some() { response.status().as_u16() } else { 0 };
        self.journal().note_call(call);
        response
    }

    fn exchange(&self, parts: Parts, body: Bytes) -> Exchange {
        let settings = self.settings();
        let serial = self.next_serial();
        let (high, low) = (mix(settings.seed, serial), mix(settings.seed ^ 0xE1, serial));
        let mut error_id = String::from("oae");
        push_base62(&mut error_id, high, 11);
        push_base62(&mut error_id, low, 11);
        Exchange {
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            operation: Operation::of(&parts.method, parts.uri.path()),
            parts,
            body,
            settings,
            request_id: format!("{high:016x}{low:016x}"),
            error_id,
        }
    }

    fn refuse_for_concurrency(&self, exchange: &Exchange) -> Response {
        let now = self.clock().now();
        let mut response = Refusal::too_many_requests().into_response(&exchange.error_id);
        let standing = Standing::too_many_in_flight(now.as_millisecond());
        standing.write(response.headers_mut(), exchange.settings.rate_headers);
        stamp(response.headers_mut(), exchange, now);
        response
    }

    async fn answer_with_faults(&self, exchange: &Exchange) -> Response {
        let was_performed = AtomicBool::new(false);
        let mut response = with_faults(self.faults(), exchange.operation.name(), exchange.path(), async {
            if !exchange.settings.latency.is_zero() {
                tokio::time::sleep(exchange.settings.latency).await;
            }
            was_performed.store(true, Ordering::Relaxed);
            let response = self.perform(exchange);
            if response.extensions().get::<NeverAnswered>().is_some() {
                std::future::pending::<()>().await;
            }
            response
        })
        .await;
        if !was_performed.load(Ordering::Relaxed) {
            let now = self.clock().now();
            make_reset_absolute(response.headers_mut(), now);
            stamp(response.headers_mut(), exchange, now);
        }
        response
    }

    fn perform(&self, exchange: &Exchange) -> Response {
        let now = self.clock().now();
        let now_ms = now.as_millisecond();
        let settings = &exchange.settings;
        let standing =
            exchange.operation.bucket().map(|bucket| self.budgets().spend(bucket, &settings.limits, now_ms));
        let outcome = if standing.is_some_and(|standing| !standing.is_allowed) {
            Err(Refusal::too_many_requests())
        } else {
            self.carry_out(exchange, now)
        };
        let mut response = outcome.unwrap_or_else(|refusal| refusal.into_response(&exchange.error_id));
        if let Some(standing) = standing {
            standing.write(response.headers_mut(), settings.rate_headers);
        }
        stamp(response.headers_mut(), exchange, now);
        response
    }

    fn carry_out(&self, exchange: &Exchange, now: Timestamp) -> Result<Response, Refusal> {
        match &exchange.operation {
            Operation::UnknownPath => Err(Refusal::api(404, "E0000008", "The requested path was not found")),
            Operation::UnknownMethod => {
                Err(Refusal::api(405, "E0000022", "The endpoint does not support the provided HTTP method"))
            }
            Operation::Token => self.issue_token(exchange, now),
            Operation::WellKnown => Ok(api::org::well_known(exchange)),
            Operation::Keys => Ok(api::org::keys(exchange)),
            // The edge in front of Okta asks for a length before anything looks at the token.
            Operation::AddMember { .. } if !exchange.parts.headers.contains_key(header::CONTENT_LENGTH) => {
                Err(Refusal::Bare { status: 411 })
            }
            Operation::AddMember { .. }
            | Operation::RemoveMember { .. }
            | Operation::ListUsers
            | Operation::GetUser { .. }
            | Operation::ListUserGroups { .. }
            | Operation::ListGroups
            | Operation::ListGroupRules
            | Operation::GetGroup { .. }
            | Operation::ListGroupMembers { .. }
            | Operation::ListGroupRoles { .. }
            | Operation::GetOrg
            | Operation::ListLogs
            | Operation::Manage(_) => {
                let call = access::Call {
                    method: exchange.parts.method.as_str(),
                    path: exchange.path(),
                    scope: exchange.operation.scope().unwrap_or_default(),
                    headers: &exchange.parts.headers,
                    now_ms: now.as_millisecond(),
                };
                let caller = access::authorize(&mut self.registry(), &exchange.settings, &call)?;
                api::perform(self, exchange, &caller, now)
            }
        }
    }

    fn issue_token(&self, exchange: &Exchange, now: Timestamp) -> Result<Response, Refusal> {
        let (headers, body) = (&exchange.parts.headers, &exchange.body);
        let mut registry = self.registry();
        let granted = token::grant(&mut registry, &exchange.settings, headers, body, now.as_millisecond())?;
        let mut response = json_response(200, granted);
        let no_store = HeaderValue::from_static("no-cache, no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, no_store);
        Ok(response)
    }
}

fn stamp(headers: &mut HeaderMap, exchange: &Exchange, now: Timestamp) {
    if let Ok(id) = HeaderValue::try_from(&exchange.request_id) {
        headers.entry(REQUEST_ID).or_insert(id);
    }
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
    if let Some(Ok(date)) = date.ok().map(HeaderValue::try_from) {
        headers.entry(header::DATE).or_insert(date);
    }
}

/// A scripted answer cannot know the time, so it says `+seconds`.
fn make_reset_absolute(headers: &mut HeaderMap, now: Timestamp) {
    let ahead = headers
        .get(&RATE_RESET)
        .and_then(|value| value.to_str().ok()?.strip_prefix('+')?.parse::<i64>().ok());
    if let Some(ahead) = ahead {
        headers.insert(RATE_RESET, HeaderValue::from(now.as_second() + ahead));
    }
}
