//! # Purpose
//! Custom admin roles and resource sets: `/api/v1/iam/roles` and `/api/v1/iam/resource-sets`.
//!
//! # Invariants kept here
//! - Labels are unique; a role has a permission that Okta knows, a set holds something that exists.
//!
//! # Not here
//! Bindings of users and groups; deleting.

use axum::response::Response;
use serde_json::{Value, json};

use super::super::answer::{Refusal, bare, json_response};
use super::super::json::instant;
use super::input::label_is_taken;
use super::state::{Resource, ResourceSet, Role};
use super::{Desk, paging};

/// Those of Okta's permissions that have to do with users and groups.
const PERMISSIONS: [&str; 12] = [
    "okta.users.manage",
    "okta.users.create",
    "okta.users.read",
    "okta.users.userprofile.manage",
    "okta.users.lifecycle.manage",
    "okta.users.groupMembership.manage",
    "okta.users.appAssignment.manage",
    "okta.groups.manage",
    "okta.groups.create",
    "okta.groups.members.manage",
    "okta.groups.read",
    "okta.groups.appAssignment.manage",
];
const ORG: &str = "00o1a2b3c4D5e6F7g0g7";

pub(super) fn roles(desk: &Desk<'_>) -> Response {
    let roles: Vec<Value> = desk.registry.management.roles.iter().map(|role| show_role(desk, role)).collect();
    paging::inside(desk, "roles", roles)
}

pub(super) fn create_role(desk: &mut Desk<'_>) -> Result<Response, Refusal> {
    let label = desk.input.required("label")?.to_owned();
    let description = desk.input.required("description")?.to_owned();
    let permissions = desk.input.required_texts("permissions")?;
    permissions.iter().try_for_each(|permission| check_permission(permission))?;
    let permissions = permissions.into_iter().map(str::to_owned).collect();
    if desk.registry.management.role(&label).is_some() {
        return Err(label_is_taken());
    }
    let role = Role { id: desk.fresh_id("cr0"), label, description, permissions, created: desk.now_ms };
    let shown = show_role(desk, &role);
    desk.registry.management.roles.push(role);
    Ok(json_response(200, shown.to_string()))
}

pub(super) fn permissions(desk: &Desk<'_>, role: &str) -> Result<Response, Refusal> {
    let role = desk.registry.management.role(role).ok_or_else(|| Refusal::not_found(role, "Role"))?;
    let permissions: Vec<Value> = role
        .permissions
        .iter()
        .map(|permission| {
            json!({
                "label": permission,
                "created": instant(role.created),
                "lastUpdated": instant(role.created),
                "conditions": null,
            })
        })
        .collect();
    Ok(json_response(200, json!({ "permissions": permissions }).to_string()))
}

pub(super) fn add_permission(desk: &mut Desk<'_>, role: &str, permission: &str) -> Result<Response, Refusal> {
    check_permission(permission)?;
    let roles = &mut desk.registry.management.roles;
    let found = roles.iter_mut().find(|candidate| candidate.id == role || candidate.label == role);
    let found = found.ok_or_else(|| Refusal::not_found(role, "Role"))?;
    found.permissions.insert(permission.to_owned());
    Ok(bare(204))
}

fn check_permission(permission: &str) -> Result<(), Refusal> {
    if PERMISSIONS.contains(&permission) {
        return Ok(());
    }
    Err(Refusal::validation("permissions", &format!("permissions: '{permission}' is not a permission")))
}

pub(super) fn sets(desk: &Desk<'_>) -> Response {
    let sets: Vec<Value> = desk.registry.management.sets.iter().map(|set| show_set(desk, set)).collect();
    paging::inside(desk, "resource-sets", sets)
}

pub(super) fn create_set(
    desk: &mut Desk<'_>,
    group_exists: &dyn Fn(&str) -> bool,
) -> Result<Response, Refusal> {
    let label = desk.input.required("label")?.to_owned();
    let description = desk.input.required("description")?.to_owned();
    let resources = read_resources(desk, "resources", group_exists)?;
    if desk.registry.management.set(&label).is_some() {
        return Err(label_is_taken());
    }
    let resources = resources.into_iter().map(|resource| (desk.fresh_id("ire"), resource)).collect();
    let set = ResourceSet { id: desk.fresh_id("iam"), label, description, resources, created: desk.now_ms };
    let shown = show_set(desk, &set);
    desk.registry.management.sets.push(set);
    Ok(json_response(200, shown.to_string()))
}

pub(super) fn resources(desk: &Desk<'_>, set: &str) -> Result<Response, Refusal> {
    let set = desk.registry.management.set(set).ok_or_else(|| Refusal::not_found(set, "ResourceSet"))?;
    let resources: Vec<Value> = set
        .resources
        .iter()
        .map(|(id, resource)| {
            let (path, orn) = match resource {
                Resource::Users => ("users".to_owned(), "users".to_owned()),
                Resource::Groups => ("groups".to_owned(), "groups".to_owned()),
                Resource::Group(group) => (format!("groups/{group}"), format!("groups:{group}")),
            };
            let link = if *resource == Resource::Users { "users" } else { "groups" };
            json!({
                "id": id,
                "orn": format!("orn:okta:directory:{ORG}:{orn}"),
                "created": instant(set.created),
                "lastUpdated": instant(set.created),
                "_links": { link: { "href": format!("{}/api/v1/{path}", desk.origin()) } },
            })
        })
        .collect();
    Ok(paging::inside(desk, "resources", resources))
}

pub(super) fn add_resources(
    desk: &mut Desk<'_>,
    set: &str,
    group_exists: &dyn Fn(&str) -> bool,
) -> Result<Response, Refusal> {
    let additions = read_resources(desk, "additions", group_exists)?;
    let additions: Vec<_> = additions.into_iter().map(|resource| (desk.fresh_id("ire"), resource)).collect();
    let sets = &mut desk.registry.management.sets;
    let found = sets.iter_mut().find(|candidate| candidate.id == set || candidate.label == set);
    let found = found.ok_or_else(|| Refusal::not_found(set, "ResourceSet"))?;
    for (id, resource) in additions {
        if !found.resources.iter().any(|(_, held)| *held == resource) {
            found.resources.push((id, resource));
        }
    }
    let set = found.clone();
    Ok(json_response(200, show_set(desk, &set).to_string()))
}

fn read_resources(
    desk: &Desk<'_>,
    member: &str,
    group_exists: &dyn Fn(&str) -> bool,
) -> Result<Vec<Resource>, Refusal> {
    let listed = desk.input.required_texts(member)?;
    let known = |text: &&str| {
        let path = text
            .strip_prefix(desk.origin())
            .and_then(|path| path.strip_prefix("/api/v1/").map(|path| path.replace('/', ":")))
            .or_else(|| text.strip_prefix(&format!("orn:okta:directory:{ORG}:")).map(str::to_owned))?;
        match path.as_str() {
            "users" => Some(Resource::Users),
            "groups" => Some(Resource::Groups),
            path => {
                let group = path.strip_prefix("groups:").filter(|group| group_exists(group))?;
                Some(Resource::Group(group.to_owned()))
            }
        }
    };
    listed
        .iter()
        .map(|text| {
            known(text).ok_or_else(|| {
                Refusal::validation(member, &format!("{member}: '{text}' is not a resource of this org"))
            })
        })
        .collect()
}

fn show_role(desk: &Desk<'_>, role: &Role) -> Value {
    let at = format!("{}/api/v1/iam/roles/{}", desk.origin(), role.id);
    json!({
        "id": role.id,
        "label": role.label,
        "description": role.description,
        "created": instant(role.created),
        "lastUpdated": instant(role.created),
        "_links": { "permissions": { "href": format!("{at}/permissions") }, "self": { "href": at } },
    })
}

fn show_set(desk: &Desk<'_>, set: &ResourceSet) -> Value {
    let at = format!("{}/api/v1/iam/resource-sets/{}", desk.origin(), set.id);
    json!({
        "id": set.id,
        "label": set.label,
        "description": set.description,
        "created": instant(set.created),
        "lastUpdated": instant(set.created),
        "_links": { "resources": { "href": format!("{at}/resources") }, "self": { "href": at } },
    })
}
