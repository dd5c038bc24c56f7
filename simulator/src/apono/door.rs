//! # Purpose
//! The one way in: names the operation, counts it, applies the fault that is due, checks the caller, answers, and
//! keeps the exchange.
//!
//! # Invariants kept here
//! - Every request passes here once, also those that no operation answers.
//!
//! # Not here
//! What an operation does.

use std::sync::OnceLock;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{self, AUTHORIZATION, CONTENT_TYPE, IF_MATCH, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt;
use jiff::fmt::rfc2822::DateTimePrinter;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::answer::Answer;
use super::record::Raw;
use super::scim::{self, Action, Found};
use super::shape::Malformed;
use super::{AponoSimulator, grant, lease, session};
use crate::fault::{broken, with_faults};

/// A request whose body has arrived.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What a request is about.
#[derive(Debug)]
enum Route {
    PutSession { connector: String, session: String },
    DeleteSession { connector: String, session: String },
    LeaseTasks { connector: String },
    ExtendLease { task: String },
    PutResult { task: String },
    ListGrants { integration: String },
    Scim { integration: String, action: Action },
    WrongMethod,
    Unknown,
}

impl Call {
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The parameters of the query, decoded, in their order.
    pub(super) fn parameters(&self) -> Vec<(String, String)> {
        let query = self.query.as_deref().unwrap_or_default();
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " ")))
            })
            .collect()
    }

    /// The body of a call of the connector API.
    pub(super) fn json(&self) -> Result<Value, Malformed> {
        let is_json = self.header(&CONTENT_TYPE).is_some_and(|given| media_type(given) == "application/json");
        if !is_json {
            return Err(Malformed("content-type: must be application/json".into()));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Malformed(format!("the body is not JSON: {error}")))
    }
}

/// The media type without its parameters, in lower case.
pub(super) fn media_type(header: &str) -> String {
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

impl Route {
    fn of(method: &Method, path: &str) -> Self {
        let decoded: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let method = method.as_str();
        match segments.as_slice() {
            ["api", "connector", "v1", rest @ ..] => match (rest, method) {
                (&["connectors", connector, "sessions", session], "PUT") => {
                    Self::PutSession { connector: connector.into(), session: session.into() }
                }
                (&["connectors", connector, "sessions", session], "DELETE") => {
                    Self::DeleteSession { connector: connector.into(), session: session.into() }
                }
                (&["connectors", connector, "task-leases"], "POST") => {
                    Self::LeaseTasks { connector: connector.into() }
                }
                (&["tasks", task, "lease"], "PUT") => Self::ExtendLease { task: task.into() },
                (&["tasks", task, "result"], "PUT") => Self::PutResult { task: task.into() },
                (&["integrations", integration, "grants"], "GET") => {
                    Self::ListGrants { integration: integration.into() }
                }
                (
                    &["connectors", _, "sessions", _]
                    | &["connectors", _, "task-leases"]
                    | &["tasks", _, "lease" | "result"]
                    | &["integrations", _, "grants"],
                    _,
                ) => Self::WrongMethod,
                _ => Self::Unknown,
            },
            ["scim", "v2", integration, rest @ ..] => match Action::of(method, rest) {
                Found::Action(action) => Self::Scim { integration: (*integration).into(), action },
                Found::WrongMethod => Self::WrongMethod,
                Found::Nothing => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    fn operation(&self) -> &'static str {
        match self {
            Self::PutSession { .. } => "put_session",
            Self::DeleteSession { .. } => "delete_session",
            Self::LeaseTasks { .. } => "lease_tasks",
            Self::ExtendLease { .. } => "extend_lease",
            Self::PutResult { .. } => "put_result",
            Self::ListGrants { .. } => "list_grants",
            Self::Scim { action, .. } => action.operation(),
            Self::WrongMethod | Self::Unknown => "unknown",
        }
    }
}

/// Answers every request.
pub(super) async fn enter(State(apono): State<AponoSimulator>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let route = Route::of(&parts.method, parts.uri.path());
    let operation = route.operation();
    apono.inner.log().count(operation);
    let Ok(body) = body.collect().await else { return broken() };
    let call = Call {
        method: parts.method,
        path: parts.uri.path().into(),
        query: parts.uri.query().map(Into::into),
        headers: parts.headers,
        body: body.to_bytes(),
    };

    let genuine: OnceLock<(u16, Bytes)> = OnceLock::new();
    let response = with_faults(&apono.inner.faults, operation, &call.path, async {
        let answer = answer(&apono, &route, &call).await;
        if let Some(violation) = &answer.violation {
            apono.inner.log().violation(operation, violation);
        }
        let _ = genuine.set((answer.status, answer.body.clone()));
        answer.into_response()
    })
    .await;

    let (mut parts, body) = response.into_parts();
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&apono.inner.clock.now());
    if let Some(Ok(date)) = date.ok().map(HeaderValue::try_from) {
        parts.headers.entry(header::DATE).or_insert(date);
    }
    let sent = body.collect().await.map(http_body_util::Collected::to_bytes);
    let (status, response_body) = match &sent {
        Ok(bytes) => (parts.status.as_u16(), bytes.clone()),
        Err(_) => (0, Bytes::new()),
    };
    let faulted = genuine.into_inner() != Some((status, response_body.clone()));
    let user_agent = call.header(&USER_AGENT).map(Into::into);
    let if_match = call.header(&IF_MATCH).map(Into::into);
    apono.inner.log().push(Raw {
        operation,
        method: call.method.as_str().into(),
        path: call.path,
        query: call.query,
        user_agent,
        if_match,
        request_body: call.body,
        status,
        response_body,
        faulted,
        at: apono.inner.clock.now(),
    });
    apono.inner.bump();
    sent.map_or_else(|_| broken(), |bytes| Response::from_parts(parts, Body::from(bytes)))
}

async fn answer(apono: &AponoSimulator, route: &Route, call: &Call) -> Answer {
    match route {
        Route::Scim { integration, action } => scim::answer(apono, integration, action, call),
        Route::WrongMethod => {
            let what = format!("{} is not a method of {}", call.method, call.path);
            Answer::error(405, "method_not_allowed", &what).blaming(&what)
        }
        Route::Unknown => {
            let what = format!("there is no {}", call.path);
            Answer::error(404, "not_found", &what).blaming(&what)
        }
        Route::PutSession { .. }
        | Route::DeleteSession { .. }
        | Route::LeaseTasks { .. }
        | Route::ExtendLease { .. }
        | Route::PutResult { .. }
        | Route::ListGrants { .. } => {
            if !apono.admits(call, false) {
                return Answer::json(401, &json!({"status": "401", "code": "Unauthorized"}));
            }
            if !call.header(&USER_AGENT).is_some_and(|agent| agent.starts_with("apono-connector/")) {
                return Answer::malformed("user-agent: must be apono-connector/<version>");
            }
            connector_api(apono, route, call).await.unwrap_or_else(|refusal| refusal)
        }
    }
}

async fn connector_api(apono: &AponoSimulator, route: &Route, call: &Call) -> Result<Answer, Answer> {
    match route {
        Route::PutSession { connector, session } => {
            apono.know_connector(connector)?;
            Ok(session::put(apono, session, &call.json()?)?)
        }
        Route::DeleteSession { connector, session } => {
            apono.know_connector(connector)?;
            Ok(session::delete(apono, session)?)
        }
        Route::LeaseTasks { connector } => {
            apono.know_connector(connector)?;
            Ok(lease::lease_tasks(apono, &call.json()?).await?)
        }
        Route::ExtendLease { task } => Ok(lease::extend(apono, task, &call.json()?)?),
        Route::PutResult { task } => Ok(lease::put_result(apono, task, &call.json()?)?),
        Route::ListGrants { integration } => {
            if !apono.knows_integration(integration) {
                return Err(Answer::error(404, "unknown_integration", "there is no such integration"));
            }
            Ok(grant::list(apono, integration, &call.parameters())?)
        }
        Route::Scim { .. } | Route::WrongMethod | Route::Unknown => Ok(Answer::empty(404)),
    }
}

impl AponoSimulator {
    /// Whether the caller's bearer token is one that is accepted.
    pub(super) fn admits(&self, call: &Call, scim: bool) -> bool {
        let Some(token) = call.header(&AUTHORIZATION).and_then(|header| header.strip_prefix("Bearer "))
        else {
            return false;
        };
        let access = self.inner.access();
        match access.scim_token.as_deref().filter(|_| scim) {
            Some(own) => own == token,
            None => access.tokens.iter().any(|accepted| accepted == token),
        }
    }

    pub(super) fn knows_integration(&self, integration_id: &str) -> bool {
        self.inner.access().integrations.contains(integration_id)
    }

    fn know_connector(&self, connector_id: &str) -> Result<(), Answer> {
        if self.inner.connector_id == connector_id {
            Ok(())
        } else {
            Err(Answer::error(404, "unknown_connector", "there is no such connector"))
        }
    }
}
