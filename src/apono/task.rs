//! # Purpose
//! Reads leased tasks and desired grants.
//!
//! # Invariants kept here
//! - A task that cannot be understood is answered with a reason, never dropped: what can be read of it (its id, its
//!   lease) is kept.
//!
//! # Not here
//! Whether a task may be executed: `access::policy`.

use jiff::Timestamp;
use serde_json::Value;

use super::wire::GrantBody;
use crate::domain::{Grant, IntegrationId, OktaGroupId, Revision, TaskId};

/// Work leased from Apono.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Apono's id.
    pub id: TaskId,
    /// For which integration.
    pub integration: IntegrationId,
    /// Until when it is ours.
    pub lease: Lease,
    /// What to do.
    pub work: Work,
}

/// The right to answer a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lease {
    /// Opaque.
    pub token: String,
    /// When Apono may give the task to somebody else.
    pub expires_at: Option<Timestamp>,
}

/// What a task asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Give access.
    GrantAccess(Box<Grant>),
    /// Take it away.
    RevokeAccess(Box<Grant>),
    /// How is the integration?
    GetStatus,
    /// Which groups can be granted?
    ListResources,
    /// Run the directory now.
    SyncDirectory,
    /// Something this connector does not know.
    Unsupported(String),
}

impl Work {
    /// The event type for labels: a closed set.
    pub fn label(&self) -> &'static str {
        match self {
            Self::GrantAccess(_) => "grant-access",
            Self::RevokeAccess(_) => "revoke-access",
            Self::GetStatus => "get-status",
            Self::ListResources => "list-resources",
            Self::SyncDirectory => "sync-directory",
            Self::Unsupported(_) => "other",
        }
    }
}

/// A task that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct MalformedTask {
    /// Its id; without one it cannot even be answered.
    pub id: Option<TaskId>,
    /// Its lease, as far as it could be read.
    pub lease: Lease,
    /// What is wrong with it.
    pub problem: String,
}

/// More groups than this in one grant are not taken.
const MOST_RESOURCES: usize = 1000;

impl Task {
    /// Reads one element of a lease answer.
    pub fn read(value: &Value) -> Result<Self, MalformedTask> {
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let id = text(value, "task_id").filter(|id| !id.is_empty()).map(TaskId::from);
        let lease = value.get("lease").map_or_else(Lease::default, |lease| Lease {
            token: text(lease, "token").unwrap_or_default(),
            expires_at: text(lease, "expires_at").and_then(|instant| instant.parse().ok()),
        });
        let malformed = |problem: String| MalformedTask { id: id.clone(), lease: lease.clone(), problem };
        let task_id = id.clone().ok_or_else(|| malformed("the task has no task_id".to_owned()))?;
        let event_type =
            text(value, "event_type").ok_or_else(|| malformed("the task has no event_type".to_owned()))?;
        let integration = text(value, "integration_id")
            .map(IntegrationId::from)
            .ok_or_else(|| malformed("the task has no integration_id".to_owned()))?;
        let null = Value::Null;
        let params = value.get("params").unwrap_or(&null);
        let grant = || read_grant(params, &integration).map(Box::new).map_err(malformed);
        let work = match event_type.as_str() {
            "grant-access" => Work::GrantAccess(grant()?),
            "revoke-access" => Work::RevokeAccess(grant()?),
            "get-status" => Work::GetStatus,
            "list-resources" => Work::ListResources,
            "sync-directory" => Work::SyncDirectory,
            _ => Work::Unsupported(event_type),
        };
        Ok(Self { id: task_id, integration, lease, work })
    }
}

/// Reads the parameters of a grant or one element of the desired grants.
pub(super) fn read_grant(params: &Value, integration: &IntegrationId) -> Result<Grant, String> {
    if !params.is_object() {
        return Err("its params are not an object".to_owned());
    }
    let body = serde_json::from_value::<GrantBody>(params.clone())
        .map_err(|error| format!("its params: {error}"))?;
    if body.grant_id.as_str().is_empty() {
        return Err("its params: grant_id is empty".to_owned());
    }
    check_access(&body.username, &body.resources, body.permission.as_deref())?;
    check_resource_type(body.resource_type.as_deref())?;
    Ok(Grant {
        id: body.grant_id,
        revision: Revision(body.revision.unwrap_or(1)),
        integration: integration.clone(),
        username: body.username.trim().to_owned(),
        groups: body.resources.into_iter().collect(),
        expires_at: body.expires_at,
        request: body.request,
    })
}

/// Whether somebody, something and a permission are named that a grant can be about.
pub(super) fn check_access(
    username: &str,
    resources: &[OktaGroupId],
    permission: Option<&str>,
) -> Result<(), String> {
    if username.trim().is_empty() {
        return Err("its params: username is empty".to_owned());
    }
    if resources.is_empty() {
        return Err("its params: resources must hold at least one group id".to_owned());
    }
    if let Some(group) = resources.iter().find(|group| !is_group_id(group.as_str())) {
        return Err(format!("its params: resources: {group:?} is not an id of an Okta group"));
    }
    if resources.len() > MOST_RESOURCES {
        return Err(format!("its params: {} resources; at most {MOST_RESOURCES} are taken", resources.len()));
    }
    match permission.filter(|permission| !permission.eq_ignore_ascii_case("member")) {
        Some(permission) => Err(format!("its params: permission {permission:?} is not member")),
        None => Ok(()),
    }
}

/// Whether the type of resource, where one is named, is the one there is.
pub(super) fn check_resource_type(kind: Option<&str>) -> Result<(), String> {
    match kind.filter(|kind| *kind != "okta-group") {
        Some(kind) => Err(format!("its params: resource_type {kind:?} is not okta-group")),
        None => Ok(()),
    }
}

/// Okta's ids are 20 letters and digits today. What is let through here stays one segment of a path.
fn is_group_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=100).contains(&text.len()) && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grant_task() -> Value {
        json!({
            "task_id": "tsk_1", "event_type": "grant-access", "integration_id": "int",
            "lease": { "token": "opaque", "expires_at": "2026-01-01T00:01:00Z", "attempt": 1 },
            "params": {
                "grant_id": "grt_1", "revision": 3, "username": "ada@example.com", "resource_type": "okta-group",
                "resources": ["00g1", "00g2", "00g1"], "permission": "member", "custom_parameters": { "x": 1 },
                "expires_at": "2026-01-01T01:00:00Z", "request": { "friendly_id": "AR-1", "new": true }
            },
            "new": []
        })
    }

    #[test]
    fn reads_a_grant_with_fields_it_does_not_know() {
        let task = Task::read(&grant_task()).unwrap();
        assert_eq!(task.lease.token, "opaque");
        let Work::GrantAccess(grant) = task.work else { panic!("{:?}", task.work) };
        assert_eq!(grant.revision, Revision(3));
        assert_eq!(grant.groups.len(), 2);
        assert_eq!(grant.request.unwrap().friendly_id.as_deref(), Some("AR-1"));
    }

    #[test]
    fn what_cannot_be_understood_keeps_its_id_and_its_lease() {
        let edits: [(&str, Value); 9] = [
            ("/event_type", Value::Null),
            ("/integration_id", json!(7)),
            ("/params", Value::Null),
            ("/params/resources", json!([])),
            ("/params/resources", json!([""])),
            ("/params/username", json!(" ")),
            ("/params/expires_at", json!("tomorrow")),
            ("/params/permission", json!("owner")),
            ("/params/resources", json!(vec!["00g"; 1001])),
        ];
        for (pointer, value) in edits {
            let mut task = grant_task();
            *task.pointer_mut(pointer).unwrap() = value;
            let malformed = Task::read(&task).unwrap_err();
            assert_eq!(malformed.id, Some(TaskId::from("tsk_1")), "{pointer}");
            assert_eq!(malformed.lease.token, "opaque", "{pointer}");
        }
        assert_eq!(Task::read(&json!("task")).unwrap_err().id, None);
    }

    #[test]
    fn an_unknown_event_type_is_work_that_is_not_supported() {
        let task = json!({ "task_id": "t", "event_type": "make-coffee", "integration_id": "int" });
        assert_eq!(Task::read(&task).unwrap().work, Work::Unsupported("make-coffee".to_owned()));
    }
}
