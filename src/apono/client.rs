//! # Purpose
//! The calls to the control plane.
//!
//! # Invariants kept here
//! - The token is read anew for each request, so that a rotated file is used at once; after a 401 it is read once more.
//!
//! # Not here
//! Loops, leases, the outbox: `access`, `app`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use url::Url;

use super::errors::AponoError;
use super::result::TaskResult;
use super::task::read_grant;
use super::wire::{
    ExtendBody, ExtendedBody, GrantsBody, IntegrationState, LeaseBody, LeasedBody, ResultBody,
    SessionAnswerBody, SessionBody,
};
use crate::domain::{ConnectorId, Grant, IntegrationId, SessionId, TaskId};
use crate::http::mounted_token::MountedToken;
use crate::http::retry::{Patience, Repeatable};
use crate::http::url::Base;
use crate::http::{Call, Exchange, Lane, Request, Response};
use crate::secrets::Reloading;

/// One connector's session with the control plane.
#[derive(Debug)]
pub struct ControlPlane {
    base: Base,
    exchange: Exchange,
    connector: ConnectorId,
    session: SessionId,
    timeout: Duration,
}

/// What the session says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// When the process started.
    pub started_at: Timestamp,
    /// The operator's `CONNECTOR_METADATA`.
    pub metadata: Value,
    /// One entry an organization.
    pub integrations: Vec<IntegrationState>,
}

/// What the control plane answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionAnswer {
    /// When to say it again.
    pub heartbeat: Duration,
    /// Its clock.
    pub server_time: Option<Timestamp>,
}

/// Whether a lease was extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Until then.
    Until(Timestamp),
    /// Somebody else has the task.
    Lost,
}

/// Whether a result was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// Stored.
    Stored,
    /// Another session's result stands.
    AlreadyFinished,
}

/// A page of desired grants. An element that cannot be read makes the listing incomplete.
#[derive(Clone, Debug, PartialEq)]
pub struct GrantsPage {
    /// The grants.
    pub grants: Vec<Grant>,
    /// Why an element could not be read.
    pub unreadable: Vec<String>,
    /// The next page.
    pub next: Option<String>,
}

/// What this connector can do, in the words of the tasks.
const CAPABILITIES: &[&str] =
    &["grant-access", "revoke-access", "list-resources", "get-status", "sync-directory"];
/// Used where the control plane names none.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);

impl ControlPlane {
    /// Sends nothing yet.
    pub fn new(
        base: Base,
        exchange: Exchange,
        token: Arc<Reloading<SecretString>>,
        connector: ConnectorId,
        session: SessionId,
        timeout: Duration,
    ) -> Self {
        let token = MountedToken::new(token, Arc::clone(&exchange.clock));
        let exchange = Exchange { authorize: Some(Arc::new(token)), ..exchange };
        Self { base, exchange, connector, session, timeout }
    }

    /// Announces the session, or says that it is still there.
    pub async fn announce(&self, session: &Session) -> Result<SessionAnswer, AponoError> {
        let body = SessionBody {
            connector_version: env!("CARGO_PKG_VERSION"),
            started_at: session.started_at,
            metadata: &session.metadata,
            integrations: &session.integrations,
            capabilities: CAPABILITIES,
        };
        let call = self.call("put_session", Repeatable::Always);
        let response = self.send(&call, &Method::PUT, &self.session_url(), Some(&body)).await?;
        let answer: SessionAnswerBody = read(&call, "a session", &response)?;
        let heartbeat = answer.heartbeat_interval_sec.map_or(DEFAULT_HEARTBEAT, Duration::from_secs);
        Ok(SessionAnswer {
            heartbeat: heartbeat.clamp(Duration::from_secs(1), Duration::from_mins(5)),
            server_time: answer.server_time,
        })
    }

    /// Ends the session.
    pub async fn leave(&self) -> Result<(), AponoError> {
        let call = self.call("delete_session", Repeatable::Always);
        match self.send(&call, &Method::DELETE, &self.session_url(), None::<&()>).await {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Leases up to `max_tasks`; the control plane holds the request up to `wait` when it has none.
    pub async fn lease(
        &self,
        max_tasks: usize,
        wait: Duration,
        lease: Duration,
    ) -> Result<Vec<Value>, AponoError> {
        let body = LeaseBody {
            session_id: self.session.as_str(),
            max_tasks,
            wait_sec: wait.as_secs(),
            lease_sec: lease.as_secs(),
        };
        let call = Call {
            // A lease whose answer is lost is only a delay; the caller comes back by itself.
            patience: Patience::NONE,
            timeout: wait + self.timeout,
            ..self.call("lease_tasks", Repeatable::UnlessArrived)
        };
        let url = self.url(&["connectors", self.connector.as_str(), "task-leases"], &[]);
        let response = self.send(&call, &Method::POST, &url, Some(&body)).await?;
        let leased: LeasedBody = read(&call, "a list of tasks", &response)?;
        Ok(leased.items)
    }

    /// Asks for more time.
    pub async fn extend(&self, task: &TaskId, token: &str, lease: Duration) -> Result<Extension, AponoError> {
        let body = ExtendBody { lease_token: token, lease_sec: lease.as_secs() };
        let call = self.call("extend_lease", Repeatable::Always);
        match self
            .send(&call, &Method::PUT, &self.url(&["tasks", task.as_str(), "lease"], &[]), Some(&body))
            .await
        {
            Ok(response) => {
                let extended: ExtendedBody = read(&call, "a lease", &response)?;
                Ok(Extension::Until(extended.expires_at))
            }
            Err(error) if matches!(error.status(), Some(StatusCode::CONFLICT | StatusCode::NOT_FOUND)) => {
                Ok(Extension::Lost)
            }
            Err(error) => Err(error),
        }
    }

    /// Hands in a result; the same one may be handed in again.
    pub async fn report(
        &self,
        task: &TaskId,
        token: &str,
        result: &TaskResult,
    ) -> Result<Reported, AponoError> {
        let body = ResultBody { lease_token: token, result };
        let call = self.call("put_result", Repeatable::Always);
        match self
            .send(&call, &Method::PUT, &self.url(&["tasks", task.as_str(), "result"], &[]), Some(&body))
            .await
        {
            Ok(_) => Ok(Reported::Stored),
            Err(error) if error.status() == Some(StatusCode::CONFLICT) => Ok(Reported::AlreadyFinished),
            Err(error) => Err(error),
        }
    }

    /// A page of the grants that should be live now.
    pub async fn desired_grants(
        &self,
        integration: &IntegrationId,
        page: Option<&str>,
    ) -> Result<GrantsPage, AponoError> {
        let mut query = vec![("status", "active"), ("limit", "100")];
        query.extend(page.map(|token| ("page_token", token)));
        let call = self.call("list_grants", Repeatable::Always);
        let url = self.url(&["integrations", integration.as_str(), "grants"], &query);
        let response = self.send(&call, &Method::GET, &url, None::<&()>).await?;
        let body: GrantsBody = read(&call, "a list of grants", &response)?;
        let mut listed =
            GrantsPage { grants: Vec::with_capacity(body.items.len()), unreadable: Vec::new(), next: None };
        for item in &body.items {
            match read_grant(item, integration) {
                Ok(grant) => listed.grants.push(grant),
                Err(problem) => listed.unreadable.push(problem),
            }
        }
        listed.next = body
            .pagination
            .and_then(|pagination| pagination.next_page_token)
            .filter(|token| !token.is_empty());
        Ok(listed)
    }

    fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let path: Vec<_> = ["api", "connector", "v1"].iter().chain(segments).copied().collect();
        self.base.url(&path, query)
    }

    fn session_url(&self) -> Url {
        self.url(&["connectors", self.connector.as_str(), "sessions", self.session.as_str()], &[])
    }

    fn call(&self, name: &'static str, repeatable: Repeatable) -> Call {
        // The control plane publishes no limits, so there is no bucket and the lane decides nothing.
        let (bucket, lane) = ("", Lane::Grant);
        Call { name, bucket, lane, repeatable, patience: Patience::SHORT, timeout: self.timeout }
    }

    async fn send<B: Serialize + Sync>(
        &self,
        call: &Call,
        method: &Method,
        url: &Url,
        body: Option<&B>,
    ) -> Result<Response, AponoError> {
        let bytes = match body {
            Some(body) => Bytes::from(serde_json::to_vec(body).map_err(|source| AponoError::Unreadable {
                call: call.name,
                expected: "JSON (our own)",
                status: StatusCode::OK,
                source,
            })?),
            None => Bytes::new(),
        };
        let build = || {
            let mut request = Request::new(method.clone(), url.clone());
            request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            if !bytes.is_empty() {
                request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            request.body = bytes.clone();
            request
        };
        self.exchange.call(call, build).await.map_err(|error| AponoError::from_exchange(call.name, error))
    }
}

fn read<T: DeserializeOwned>(
    call: &Call,
    expected: &'static str,
    response: &Response,
) -> Result<T, AponoError> {
    // By way of a map: serde takes a list for an object too, and an empty one for one of no grants.
    let object = serde_json::from_slice::<Map<String, Value>>(&response.body);
    object.and_then(|object| serde_json::from_value(Value::Object(object))).map_err(|source| {
        AponoError::Unreadable { call: call.name, expected, status: response.status, source }
    })
}
