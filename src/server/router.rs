//! # Purpose
//! HTTP for the admin listener.
//!
//! # Invariants kept here
//! - Only reads; nothing can be changed through it.
//!
//! # Not here
//! The verdicts: `readiness`.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::gauges::{self, Storage};
use super::guard::{Guard, only_who_may_look};
use super::history::History;
use super::page;
use super::readiness::{Check, Facts, Readiness, is_live, readiness};
use crate::http::bearer::ExpectedToken;
use crate::http::serving::until_stopped;
use crate::secrets::reloads;
use crate::telemetry::Metrics;
use crate::telemetry::log::Counts;
use crate::telemetry::metrics::classic;

/// Where answers come from.
#[derive(Clone)]
pub struct Source {
    /// What is so now.
    pub facts: Arc<dyn Fn() -> Facts + Send + Sync>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// What files and memory take. Asked on a thread that may wait for a disk.
    pub storage: Arc<dyn Fn() -> Storage + Send + Sync>,
    /// What the log has counted, where there is one.
    pub log: Option<Arc<Counts>>,
    /// Grants, and how numbers have gone.
    pub detail: Arc<dyn Fn() -> Detail + Send + Sync>,
    /// Of `admin.token_file`.
    pub token: Option<Arc<ExpectedToken>>,
}

/// What the status shows beside the facts.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    /// When.
    pub now: Timestamp,
    /// The grants that are over and owe something, then those that end soonest.
    pub live_grants: Vec<Value>,
    /// The memberships that ended last, the newest first.
    pub recent_endings: Vec<Value>,
    /// How numbers have gone.
    pub history: History,
}

/// `?verbose`: one line a check, for people; `?exclude=NAME`: without this one (repeatable by commas).
#[derive(Debug, Deserialize)]
struct Wanted {
    verbose: Option<String>,
    #[serde(default)]
    exclude: String,
}

/// Everything, for whoever has come another way than over the network.
pub fn router(source: Source) -> Router {
    seen().merge(open()).with_state(source)
}

/// Everything, and the status only for whom `guard` lets through.
fn guarded(source: Source) -> Router {
    let guard: Guard = source.token.clone();
    let seen = seen().layer(middleware::from_fn_with_state(guard, only_who_may_look));
    seen.merge(open()).with_state(source)
}

/// Names nobody.
fn open() -> Router<Source> {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
}

/// Names users and groups.
fn seen() -> Router<Source> {
    Router::new()
        .route("/status", get(status))
        .route("/", get(page::html))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::js))
}

/// Serves until `stop`. Requests that are being answered then may finish; one that is only half there may not.
pub async fn serve(listener: TcpListener, source: Source, stop: CancellationToken) -> io::Result<()> {
    until_stopped(stop, |stop| {
        let service = guarded(source).into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, service);
        serving.with_graceful_shutdown(stop.cancelled_owned()).into_future()
    })
    .await
}

/// 200 while the loops make progress.
async fn livez(State(source): State<Source>) -> Response {
    let facts = (source.facts)();
    let live = is_live(&facts);
    let body = json!({ "live": live, "slowest_loop_seconds": facts.slowest_loop.as_secs() });
    (code(live), Json(body)).into_response()
}

/// 200 while grants can be ended; the body says why not.
async fn readyz(State(source): State<Source>, Query(wanted): Query<Wanted>) -> Response {
    let mut checks = readiness(&(source.facts)()).checks;
    let excluded: Vec<_> = wanted.exclude.split(',').collect();
    checks.retain(|check| !excluded.contains(&check.name.as_str()));
    let readiness = Readiness { ready: checks.iter().all(|check| check.ok), checks };
    let code = code(readiness.ready);
    if wanted.verbose.is_some() {
        (code, verbose(&readiness)).into_response()
    } else {
        (code, Json(readiness)).into_response()
    }
}

/// As Kubernetes writes it, with the age of each check and when it would fail by itself.
fn verbose(readiness: &Readiness) -> String {
    let mut text = String::new();
    for Check { name, ok, message, age_seconds, expires_seconds } in &readiness.checks {
        // Writing to a String cannot fail.
        let _ = write!(text, "[{}] {name}: {message}", if *ok { '+' } else { '-' });
        let _ = match (age_seconds, expires_seconds) {
            (Some(age), Some(expires)) => writeln!(text, " ({age} s ago, counts for {expires} s)"),
            (Some(age), None) => writeln!(text, " ({age} s ago)"),
            (None, _) => writeln!(text),
        };
    }
    let _ = writeln!(text, "{}", if readiness.ready { "ready" } else { "not ready" });
    text
}

/// What container platforms ask Apono's own connector: 200 while live, with the verdict on readiness in the body.
async fn healthz(State(source): State<Source>) -> Response {
    let facts = (source.facts)();
    let (live, readiness) = (is_live(&facts), readiness(&facts));
    let body = json!({ "live": live, "ready": readiness.ready, "checks": readiness.checks });
    (code(live), Json(body)).into_response()
}

/// `OpenMetrics` for whoever asks for it, else the format before it.
async fn metrics(State(source): State<Source>, headers: HeaderMap) -> Response {
    let storage = source.look_at_storage().await;
    gauges::set(&source.metrics, &(source.facts)(), &storage, source.log.as_deref(), &reloads());
    let text = source.metrics.encode();
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let (kind, text) = if accepts.into_iter().any(|accept| accept.contains("application/openmetrics-text")) {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", classic(&text))
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

impl Source {
    async fn look_at_storage(&self) -> Storage {
        let storage = Arc::clone(&self.storage);
        tokio::task::spawn_blocking(move || storage()).await.unwrap_or_default()
    }
}

async fn status(State(source): State<Source>) -> Response {
    let storage = source.look_at_storage().await;
    let document = status_document(&(source.facts)(), &storage, &(source.detail)());
    ([(header::CACHE_CONTROL, "no-store")], Json(document)).into_response()
}

/// What `/status` answers.
fn status_document(facts: &Facts, storage: &Storage, detail: &Detail) -> Value {
    let readiness = readiness(facts);
    json!({
        "ready": readiness.ready,
        "checks": readiness.checks,
        "facts": facts,
        "storage": storage,
        "now": detail.now,
        "live_grants": detail.live_grants,
        "recent_endings": detail.recent_endings,
        "history": detail.history,
    })
}

fn code(ok: bool) -> StatusCode {
    if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
