//! # Purpose
//! What an operator of this host can ask of the log: its level, for a while, and its last lines.
//!
//! # Invariants kept here
//! - A change is told in the log and in the audit trail, with who made it; so is its end.
//! - A trail that does not take it does not hold up whoever looks for what is wrong: the log says so.
//!
//! # Not here
//! Levels and lines: `telemetry::log`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Caller, refuse, who};
use crate::audit::{Audit, LogLevel, RaisedLevel};
use crate::catalogue::ErrorCode;
use crate::clock::{self, SharedClock};
use crate::telemetry::chain;
use crate::telemetry::log::{Log, LogError, Raised, TICK};

/// The log, and where its changes are told.
#[derive(Clone)]
pub(in crate::app) struct Logging {
    pub(in crate::app) log: Log,
    pub(in crate::app) audit: Arc<dyn Audit>,
    pub(in crate::app) clock: SharedClock,
}

/// What is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    level: String,
    #[serde(default)]
    target: Option<String>,
    /// For how long, in seconds.
    seconds: u64,
}

pub(super) fn router(logging: Logging) -> Router {
    Router::new()
        .route("/log/level", get(levels).put(raise).delete(reset))
        .route("/log/recent", get(recent))
        .with_state(logging)
}

impl Logging {
    /// Does what time brings, until `stop`.
    pub(in crate::app) async fn keep(self, stop: CancellationToken) {
        while stop.run_until_cancelled(clock::sleep(TICK)).await.is_some() {
            match self.log.tick() {
                Ok(None) => {}
                Ok(Some(_)) => self.tell_of_reset("its time is over").await,
                Err(error) => warn!(error = %chain(&error), "{} [{}]", chain(&error), ErrorCode::LogSettings),
            }
        }
    }

    async fn tell_of_reset(&self, by: &str) {
        info!(event = "log_level", "the level of the log is as it is configured again: {by}");
        self.audit(None, by).await;
    }

    async fn audit(&self, raised: Option<&Raised>, by: &str) {
        let raised =
            raised.cloned().map(|Raised { level, target, until }| RaisedLevel { level, target, until });
        let told = self.audit.log_level(self.clock.now(), LogLevel { raised, by: by.to_owned() }).await;
        if let Err(error) = told {
            warn!(error = %chain(&error), "the audit trail was not told of a change of the log's level: {}", chain(&error));
        }
    }
}

async fn levels(State(logging): State<Logging>) -> Response {
    Json(logging.log.levels()).into_response()
}

async fn raise(
    State(logging): State<Logging>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Json(Wanted { level, target, seconds }): Json<Wanted>,
) -> Response {
    let raised = match logging.log.raise(&level, target.as_deref(), Duration::from_secs(seconds)) {
        Ok(raised) => raised,
        Err(error) => return refused(&error),
    };
    let by = who(caller);
    // A warning, so that it is written whatever level is left.
    warn!(
        event = "log_level", caller.uid = caller.0, until = %raised.until,
        "{by} sets the level of the log{} to {level} until {}",
        target.map_or_else(String::new, |target| format!(" of {target}")), raised.until
    );
    logging.audit(Some(&raised), &by).await;
    Json(logging.log.levels()).into_response()
}

async fn reset(State(logging): State<Logging>, ConnectInfo(caller): ConnectInfo<Caller>) -> Response {
    match logging.log.reset() {
        Ok(true) => logging.tell_of_reset(&who(caller)).await,
        Ok(false) => {}
        Err(error) => return refused(&error),
    }
    Json(logging.log.levels()).into_response()
}

async fn recent(State(logging): State<Logging>) -> Response {
    Json(json!({ "lines": logging.log.recent() })).into_response()
}

fn refused(error: &LogError) -> Response {
    refuse(StatusCode::UNPROCESSABLE_ENTITY, &format!("{} [{}]", chain(error), ErrorCode::LogSettings))
}
