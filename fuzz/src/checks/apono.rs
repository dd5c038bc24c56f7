//! # Purpose
//! What Apono sends: tasks, desired grants, the session, calls of a custom integration.
//!
//! # Invariants kept here
//! - A task is understood or refused with a reason, and in both cases keeps its id and its lease.
//! - One grant that cannot be read costs none of its neighbours, and is told of.
//! - What goes on to Okta is bounded, and each group's id is one segment of a path.
//!
//! # Not here
//! Whether a task may be executed: `access`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apono_connector::apono::custom::Call;
use apono_connector::apono::{AponoError, ControlPlane, Session, Task, Work};
use apono_connector::catalogue::ErrorCode;
use apono_connector::domain::{ConnectorId, Grant, IntegrationId, OktaGroupId, SessionId, TaskId};
use apono_connector::http::Class;
use apono_connector::secrets::{Reloading, SecretError};
use apono_connector::telemetry::chain;
use http::StatusCode;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::peer::{self, Peer};
use super::text::value;

/// A task, a list of them, a list of grants, an answer, a call: the body of whatever is read of Apono's.
pub fn task_envelope(data: &[u8]) {
    called(data);
    let value = value(data);
    let elements = value.as_array().or_else(|| value["items"].as_array());
    for element in std::iter::once(&value).chain(elements.into_iter().flatten()) {
        task(element);
    }
    peer::in_virtual_time(async {
        answered(data, &value).await;
        neighbours(&value).await;
        refusals(data).await;
    });
}

fn task(value: &Value) {
    let told = |name: &str| value[name].as_str().filter(|text| !text.is_empty());
    let token = value["lease"]["token"].as_str().unwrap_or_default();
    match Task::read(value) {
        Ok(task) => {
            assert_eq!(Some(task.id.as_str()), told("task_id"));
            assert_eq!(Some(task.integration.as_str()), value["integration_id"].as_str());
            assert_eq!(task.lease.token, token);
            let labels = ["grant-access", "revoke-access", "get-status", "list-resources", "sync-directory"];
            match &task.work {
                Work::GrantAccess(grant) | Work::RevokeAccess(grant) => {
                    assert!(value["params"].is_object());
                    is_a_grant(grant);
                }
                Work::GetStatus | Work::ListResources | Work::SyncDirectory => {
                    assert!(labels.contains(&task.work.label()));
                }
                Work::Unsupported(kind) => {
                    assert!(!labels.contains(&kind.as_str()));
                    assert_eq!(task.work.label(), "other");
                }
            }
        }
        Err(malformed) => {
            assert_eq!(malformed.id.as_ref().map(TaskId::as_str), told("task_id"), "{malformed}");
            assert_eq!(malformed.lease.token, token, "{malformed}");
            assert!(!malformed.to_string().is_empty());
        }
    }
}

fn is_a_grant(grant: &Grant) {
    assert!(!grant.id.as_str().is_empty());
    are_names(&grant.username, &grant.groups);
    let kept = serde_json::to_value(grant).unwrap_or_default();
    assert_eq!(serde_json::from_value(kept).ok().as_ref(), Some(grant), "does not survive a restart");
    // The same in Apono's words.
    let params = json!({
        "grant_id": grant.id, "revision": grant.revision, "username": grant.username, "resources": grant.groups,
        "expires_at": grant.expires_at, "request": grant.request,
    });
    let task = json!({
        "task_id": "t", "event_type": "grant-access", "integration_id": grant.integration, "params": params,
    });
    let work = Task::read(&task).map(|task| task.work);
    assert_eq!(work, Ok(Work::GrantAccess(Box::new(grant.clone()))));
}

fn are_names(username: &str, groups: &BTreeSet<OktaGroupId>) {
    assert!(!username.is_empty() && username.trim() == username, "{username:?}");
    assert!((1..=1000).contains(&groups.len()));
    for group in groups {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_one = (1..=100).contains(&group.as_str().len()) && group.as_str().bytes().all(plain);
        assert!(is_one, "{group:?} goes into a path");
    }
}

/// The published protocol's calls.
fn called(data: &[u8]) {
    match Call::read(data) {
        Ok(Call::GrantAccess(access) | Call::RevokeAccess(access)) => {
            are_names(&access.username, &access.groups);
            assert!(access.grant_id.is_none_or(|id| !id.is_empty()));
        }
        Ok(Call::GetStatus | Call::ListResources | Call::Unknown(_)) => {}
        Err(unreadable) => {
            let said = unreadable.to_string();
            let is_json = serde_json::from_slice::<Value>(data).is_ok();
            assert!(said.ends_with("(malformed_task)"), "{said}");
            assert_eq!(said == "the body is not JSON (malformed_task)", !is_json, "{said}");
        }
    }
}

fn control(peer: &Arc<Peer>) -> ControlPlane {
    let token = Reloading::new("token", None, || Ok::<_, SecretError>(SecretString::from("placeholder")));
    let Ok(token) = token else { unreachable!("it is there") };
    ControlPlane::new(
        peer::base("https://api.apono.io"),
        peer::exchange("apono", peer),
        Arc::new(token),
        ConnectorId::from("okta-connector"),
        SessionId::from("session"),
        peer::TIMEOUT,
    )
}

fn integration() -> IntegrationId {
    IntegrationId::from("int")
}

async fn answered(data: &[u8], value: &Value) {
    let peer = Peer::saying(StatusCode::OK, data);
    let control = control(&peer);
    let items = value["items"].as_array();
    let lease = Duration::from_mins(1);
    match control.lease(10, lease, lease).await {
        Ok(tasks) => assert_eq!(Some(&tasks), items),
        Err(error) => is_unreadable(&error),
    }
    match control.desired_grants(&integration(), None).await {
        Ok(page) => {
            assert_eq!(Some(page.grants.len() + page.unreadable.len()), items.map(Vec::len));
            page.grants.iter().for_each(is_a_grant);
            assert!(page.unreadable.iter().all(|problem| !problem.is_empty()));
            assert!(page.next.is_none_or(|token| !token.is_empty()));
        }
        Err(error) => is_unreadable(&error),
    }
    match control.extend(&TaskId::from("t"), "token", lease).await {
        Ok(_) => assert!(value["expires_at"].is_string()),
        Err(error) => is_unreadable(&error),
    }
    let started_at = peer::surroundings(&peer).clock.now();
    let session = Session { started_at, metadata: json!({}), integrations: Vec::new() };
    match control.announce(&session).await {
        Ok(answer) => {
            let heartbeat = answer.heartbeat;
            assert!(
                heartbeat >= Duration::from_secs(1) && heartbeat <= Duration::from_mins(5),
                "{heartbeat:?}"
            );
        }
        Err(error) => is_unreadable(&error),
    }
}

/// What is handed in stands between two whole grants, and between two whole tasks, whatever it is.
async fn neighbours(value: &Value) {
    let grant = |id: &str| json!({ "grant_id": id, "username": "ada@example.com", "resources": ["00g1"] });
    let body = json!({ "items": [grant("first"), value, grant("last")] }).to_string();
    // Deeper than the reader goes with two more levels around it.
    if serde_json::from_str::<Value>(&body).is_err() {
        return;
    }
    let control = control(&Peer::saying(StatusCode::OK, body.as_bytes()));
    let page = control.desired_grants(&integration(), None).await;
    assert!(page.is_ok(), "one element costs the list");
    let Ok(page) = page else { return };
    let ids: Vec<_> = page.grants.iter().map(|grant| grant.id.as_str()).collect();
    assert_eq!((ids.first(), ids.last()), (Some(&"first"), Some(&"last")), "a neighbour is lost");
    assert_eq!(page.grants.len() + page.unreadable.len(), 3);
    let leased = control.lease(3, Duration::ZERO, Duration::from_mins(1)).await;
    assert!(leased.is_ok_and(|leased| leased.len() == 3));
}

fn is_unreadable(error: &AponoError) {
    let shown = chain(error).to_string();
    assert_eq!((error.code(), error.class()), (ErrorCode::AponoUnreadable, Class::Transient), "{shown}");
    assert!(shown.contains(&error.code().to_string()), "{shown}");
}

async fn refusals(data: &[u8]) {
    for status in [400, 401, 403, 404, 409, 429, 500, 503] {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        let control = control(&Peer::saying(status, data));
        let answer = control.desired_grants(&integration(), None).await;
        assert!(answer.is_err(), "{status} is taken for success");
        let Err(error) = answer else { return };
        let shown = chain(&error).to_string();
        assert_eq!(error.status(), Some(status), "{shown}");
        assert!(shown.contains(status.as_str()) && shown.contains(&error.code().to_string()), "{shown}");
    }
}
