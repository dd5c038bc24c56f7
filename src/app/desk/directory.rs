//! # Purpose
//! The directory's part of the desk: plans shown, carried out and approved, for the commands on this host.
//!
//! # Invariants kept here
//! - What is approved or carried out is named by its hash; who did it is in the log, as the kernel names him.
//!
//! # Not here
//! Planning: `directory`. Whose turn it is: `app::directory`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path as Segment, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tracing::info;

use super::super::directory::{Asker, NotRun};
use super::{Caller, refuse};
use crate::directory::ApplyRefusal;
use crate::domain::IntegrationId;
use crate::telemetry::chain;

/// The organizations whose directory is reconciled.
pub(in crate::app) type Directories = BTreeMap<IntegrationId, Asker>;

#[derive(Debug, Deserialize)]
struct Skip {
    skip: i64,
}

pub(super) fn router(directories: Directories) -> Router {
    Router::new()
        .route("/directories", get(list))
        .route("/directories/{id}/plan", post(plan))
        .route("/directories/{id}/operations", get(operations))
        .route("/directories/{id}/progress", get(progress))
        .route("/directories/{id}/failing", get(failing))
        .route("/directories/{id}/apply/{hash}", post(apply))
        .route("/directories/{id}/approve/{hash}", post(approve))
        .with_state(Arc::new(directories))
}

async fn list(State(directories): State<Arc<Directories>>) -> Response {
    Json(directories.keys().collect::<Vec<_>>()).into_response()
}

async fn plan(State(directories): State<Arc<Directories>>, Segment(id): Segment<IntegrationId>) -> Response {
    let Some(asker) = directories.get(&id) else {
        return unknown(&id);
    };
    match asker.plan().await {
        Ok(Ok(plan)) => Json(plan).into_response(),
        Ok(Err(error)) => refuse(StatusCode::SERVICE_UNAVAILABLE, &chain(&error).to_string()),
        Err(error) => not_run(&error),
    }
}

async fn operations(
    State(directories): State<Arc<Directories>>,
    Segment(id): Segment<IntegrationId>,
    Query(Skip { skip }): Query<Skip>,
) -> Response {
    let Some(asker) = directories.get(&id) else {
        return unknown(&id);
    };
    match asker.operations(skip).await {
        Ok(operations) => Json(operations).into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &chain(&error).to_string()),
    }
}

/// How far the run is that goes on; `null` between runs.
async fn progress(
    State(directories): State<Arc<Directories>>,
    Segment(id): Segment<IntegrationId>,
) -> Response {
    match directories.get(&id) {
        Some(asker) => Json(asker.progress()).into_response(),
        None => unknown(&id),
    }
}

async fn failing(
    State(directories): State<Arc<Directories>>,
    Segment(id): Segment<IntegrationId>,
) -> Response {
    let Some(asker) = directories.get(&id) else {
        return unknown(&id);
    };
    match asker.failing().await {
        Ok(failing) => Json(failing).into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &chain(&error).to_string()),
    }
}

async fn apply(
    State(directories): State<Arc<Directories>>,
    ConnectInfo(Caller(uid)): ConnectInfo<Caller>,
    Segment((id, hash)): Segment<(IntegrationId, String)>,
) -> Response {
    let Some(asker) = directories.get(&id) else {
        return unknown(&id);
    };
    info!(event = "operator_applies_plan", integration.id = %id, caller.uid = uid, plan.hash = hash, "an operator of this host applies plan {hash}");
    match asker.apply(hash).await {
        Ok(Ok(run)) => Json(run).into_response(),
        Ok(Err(error @ ApplyRefusal::Moved { .. })) => refuse(StatusCode::CONFLICT, &error.to_string()),
        Ok(Err(error @ ApplyRefusal::Run(_))) => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, &chain(&error).to_string())
        }
        Err(error) => not_run(&error),
    }
}

async fn approve(
    State(directories): State<Arc<Directories>>,
    ConnectInfo(Caller(uid)): ConnectInfo<Caller>,
    Segment((id, hash)): Segment<(IntegrationId, String)>,
) -> Response {
    let Some(asker) = directories.get(&id) else {
        return unknown(&id);
    };
    info!(event = "operator_applies_plan", integration.id = %id, caller.uid = uid, plan.hash = hash,
        "an operator of this host approves the held removals {hash}");
    match asker.approve(hash).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, &chain(&error).to_string()),
        Err(error) => return not_run(&error),
    }
    match asker.run().await {
        Ok(run) => Json(run).into_response(),
        Err(error) => not_run(&error),
    }
}

fn unknown(id: &IntegrationId) -> Response {
    refuse(StatusCode::NOT_FOUND, &format!("no directory of integration {id} is reconciled here"))
}

fn not_run(error: &NotRun) -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, &chain(error).to_string())
}
