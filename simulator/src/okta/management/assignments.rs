//! # Purpose
//! Admin roles of a client: `GET|POST /oauth2/v1/clients/{clientId}/roles`.
//!
//! # Invariants kept here
//! - A custom role is assigned for a resource set; both must exist.
//!
//! # Not here
//! What a role lets its client do (`rights`).

use axum::response::Response;
use serde_json::{Value, json};

use super::super::answer::{Refusal, json_response};
use super::super::json::instant;
use super::{Assignment, Desk};

pub(super) fn list(desk: &Desk<'_>, client: &str) -> Result<Response, Refusal> {
    let found = desk.registry.clients.get(client).ok_or_else(|| no_client(client))?;
    // What a test arranged without naming a role is the one that Okta's own guides name.
    let arranged = Assignment {
        id: "JBCUYUC7IRCVGS27IFCE2SKO".into(),
        kind: if found.super_admin { "SUPER_ADMIN" } else { "ORG_ADMIN" }.into(),
        role: None,
        resource_set: None,
        created: found.created,
    };
    let arranged = found.admin_role.then_some(&arranged);
    let shown: Vec<Value> =
        arranged.into_iter().chain(&found.assignments).map(|one| show(desk, client, one)).collect();
    Ok(json_response(200, Value::Array(shown).to_string()))
}

pub(super) fn assign(desk: &mut Desk<'_>, client: &str) -> Result<Response, Refusal> {
    let kind = desk.input.required("type")?.to_owned();
    let (role, resource_set) = match kind.as_str() {
        "CUSTOM" => {
            let (role, set) = (desk.input.required("role")?, desk.input.required("resource-set")?);
            let management = &desk.registry.management;
            let role = management.role(role).ok_or_else(|| Refusal::not_found(role, "Role"))?.id.clone();
            let set = management.set(set).ok_or_else(|| Refusal::not_found(set, "ResourceSet"))?.id.clone();
            (Some(role), Some(set))
        }
        "SUPER_ADMIN" | "ORG_ADMIN" | "READ_ONLY_ADMIN" | "GROUP_MEMBERSHIP_ADMIN" => (None, None),
        _ => return Err(Refusal::validation("type", "type: Invalid role type")),
    };
    let id = desk.fresh_id(if kind == "CUSTOM" { "irb" } else { "ra1" });
    let created = desk.now_ms;
    let found = desk.registry.clients.get_mut(client).ok_or_else(|| no_client(client))?;
    let assignment = Assignment { id, kind, role, resource_set, created };
    let is_there = found.assignments.iter().any(|other| {
        (&other.kind, &other.role, &other.resource_set)
            == (&assignment.kind, &assignment.role, &assignment.resource_set)
    });
    if is_there {
        return Err(Refusal::api(409, "E0000090", "The role specified is already assigned to the user."));
    }
    found.assignments.push(assignment.clone());
    Ok(json_response(200, show(desk, client, &assignment).to_string()))
}

fn no_client(client: &str) -> Refusal {
    Refusal::not_found(client, "PublicClientApp")
}

fn show(desk: &Desk<'_>, client: &str, assignment: &Assignment) -> Value {
    let role = assignment.role.as_deref().and_then(|role| desk.registry.management.role(role));
    let mut shown = json!({
        "id": assignment.id,
        "label": role.map_or(assignment.kind.as_str(), |role| role.label.as_str()),
        "type": assignment.kind,
        "status": "ACTIVE",
        "created": instant(assignment.created),
        "lastUpdated": instant(assignment.created),
        "assignmentType": "CLIENT",
        "_links": { "assignee": { "href": format!("{}/oauth2/v1/clients/{client}", desk.origin()) } },
    });
    if let (Some(role), Some(set)) = (&assignment.role, &assignment.resource_set) {
        shown["role"] = json!(role);
        shown["resource-set"] = json!(set);
    }
    shown
}
