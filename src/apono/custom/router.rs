//! # Purpose
//! HTTP for the calls of custom integrations.
//!
//! # Invariants kept here
//! - Only as many calls as there are places are in hand; a body is small and comes within a time limit.
//! - 405 for another method, 401 without the token, 400 for what is not JSON, as published; else 422 where asking again
//!   does not help, and 503 where it does.
//!
//! # Not here
//! What the calls mean: `access::calls`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use secrecy::SecretString;
use serde_json::json;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::{Answer, Call, CustomIntegration, Place, Unreadable, error_body};
use crate::catalogue::ErrorCode;
use crate::clock;
use crate::http::bearer::ExpectedToken;
use crate::secrets::Reloading;

/// Calls in hand at the same time, those that nobody waits for any more included.
const PLACES: usize = 32;
/// A thousand group ids are 30 KiB.
const LARGEST_BODY: usize = 256 * 1024;
/// For a body to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Served {
    token: Arc<ExpectedToken>,
    answers: Arc<dyn CustomIntegration>,
    places: Arc<Semaphore>,
}

/// Answers on every path, as a function does. The token is read anew for each call.
pub fn router(token: Arc<Reloading<SecretString>>, answers: Arc<dyn CustomIntegration>) -> Router {
    let places = Arc::new(Semaphore::new(PLACES));
    Router::new().fallback(answer).with_state(Served {
        token: Arc::new(ExpectedToken(token)),
        answers,
        places,
    })
}

async fn answer(State(served): State<Served>, request: Request) -> Response {
    if request.method() != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response();
    }
    if !served.token.admits(request.headers()) {
        warn!(
            "a call of the custom integration was refused: it did not show the bearer token [{}]",
            ErrorCode::CallNotAdmitted
        );
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")]).into_response();
    }
    let Ok(place) = Arc::clone(&served.places).try_acquire_owned() else {
        let message = format!("{PLACES} calls are in hand already; ask again (unavailable)");
        return failed(StatusCode::SERVICE_UNAVAILABLE, &message);
    };
    let call = match read(request.into_body()).await {
        Ok(call) => call,
        Err(refused) => return refused,
    };
    let label = call.label();
    debug!(event_type = label, "a {label} call of the custom integration");
    match served.answers.answer(call, Place(place)).await {
        Answer::Done => Json(json!({ "status": "ok" })).into_response(),
        Answer::Listed(listed) => Json(listed).into_response(),
        Answer::Failed { again: true, message } => failed(StatusCode::SERVICE_UNAVAILABLE, &message),
        Answer::Failed { again: false, message } => failed(StatusCode::UNPROCESSABLE_ENTITY, &message),
    }
}

async fn read(body: Body) -> Result<Call, Response> {
    let Some(read) = clock::timeout(BODY_WITHIN, to_bytes(body, LARGEST_BODY)).await else {
        return Err(failed(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time (unavailable)"));
    };
    let bytes = read.map_err(|_| {
        let message =
            format!("the body broke off, or is larger than {} KiB (malformed_task)", LARGEST_BODY / 1024);
        failed(StatusCode::PAYLOAD_TOO_LARGE, &message)
    })?;
    Call::read(&bytes).map_err(|unreadable| {
        let status = match &unreadable {
            Unreadable::NotJson(_) => StatusCode::BAD_REQUEST,
            Unreadable::NoCall(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        failed(status, &unreadable.to_string())
    })
}

fn failed(status: StatusCode, message: &str) -> Response {
    (status, Json(error_body(message))).into_response()
}
