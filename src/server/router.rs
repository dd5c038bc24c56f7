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
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::readiness::{Facts, is_live, readiness};
use crate::http::serving::until_stopped;
use crate::telemetry::Metrics;

/// Where answers come from.
#[derive(Clone)]
pub struct Source {
    /// What is so now.
    pub facts: Arc<dyn Fn() -> Facts + Send + Sync>,
    /// What was counted.
    pub metrics: Arc<Metrics>,
}

/// All paths.
pub fn router(source: Source) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/", get(page))
        .with_state(source)
}

/// Serves until `stop`. Requests that are being answered then may finish; one that is only half there may not.
pub async fn serve(listener: TcpListener, source: Source, stop: CancellationToken) -> io::Result<()> {
    until_stopped(stop, |stop| {
        let serving = axum::serve(listener, router(source));
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
async fn readyz(State(source): State<Source>) -> Response {
    let readiness = readiness(&(source.facts)());
    (code(readiness.ready), Json(readiness)).into_response()
}

/// What container platforms ask Apono's own connector: 200 while live, with the verdict on readiness in the body.
async fn healthz(State(source): State<Source>) -> Response {
    let facts = (source.facts)();
    let (live, readiness) = (is_live(&facts), readiness(&facts));
    let body = json!({ "live": live, "ready": readiness.ready, "checks": readiness.checks });
    (code(live), Json(body)).into_response()
}

async fn metrics(State(source): State<Source>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], source.metrics.encode()).into_response()
}

async fn status(State(source): State<Source>) -> Response {
    Json(status_document(&(source.facts)())).into_response()
}

/// What `/status` answers.
fn status_document(facts: &Facts) -> Value {
    let readiness = readiness(facts);
    json!({ "ready": readiness.ready, "checks": readiness.checks, "facts": facts })
}

/// The same for people who would rather look.
async fn page(State(source): State<Source>) -> Response {
    let facts = (source.facts)();
    let readiness = readiness(&facts);
    let mut rows = String::new();
    for check in &readiness.checks {
        let mark = if check.ok { "ok" } else { "not ok" };
        // Writing to a String cannot fail.
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{mark}</td><td>{}</td></tr>",
            escape(&check.name),
            escape(&check.message)
        );
    }
    let title = if readiness.ready { "ready" } else { "not ready" };
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>apono-connector: {title}</title>\
         <style>body{{font-family:system-ui;margin:2rem;color-scheme:light dark}}td,th{{padding:.2rem 1rem .2rem 0;text-align:left}}</style>\
         <h1>apono-connector {} is {title}</h1><table><tr><th>check</th><th></th><th></th></tr>{rows}</table>\
         <p><a href=status>status</a> · <a href=metrics>metrics</a></p>",
        facts.version
    );
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(html)).into_response()
}

fn code(ok: bool) -> StatusCode {
    if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
