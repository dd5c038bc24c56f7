//! # Purpose
//! What a user and a group must look like, and what of a body is stored.
//!
//! # Invariants kept here
//! - What is stored has its schemas, its required attributes, and no nulls, read-only attributes or passwords.
//!
//! # Not here
//! Uniqueness and members: see [`super::write`].

use serde_json::{Map, Value};

use super::path::{canonical, is_multi_valued};
use super::{Failure, Kind};

/// Makes of a POST or PUT body what is stored.
pub(super) fn accept(kind: Kind, body: &Value) -> Result<Map<String, Value>, Failure> {
    let Some(body) = body.as_object() else {
        return Err(Failure::syntax("the body must be an object"));
    };
    let mut stored = Map::new();
    for (name, value) in body {
        let name = canonical(name);
        if !value.is_null() && !["id", "meta", "groups", "password"].contains(&name.as_str()) {
            stored.insert(name, value.clone());
        }
    }
    if body.contains_key("password") {
        return Err(Failure::value("password: the connector has no business with passwords"));
    }
    let names_its_schema = stored
        .get("schemas")
        .and_then(Value::as_array)
        .is_some_and(|schemas| schemas.iter().any(|schema| schema == kind.schema()));
    if !names_its_schema {
        return Err(Failure::syntax(&format!("schemas: must contain {}", kind.schema())));
    }
    if kind == Kind::User {
        stored.entry("active").or_insert(Value::Bool(true));
    }
    check(kind, &stored)?;
    Ok(stored)
}

/// What holds of a resource after every write.
pub(super) fn check(kind: Kind, resource: &Map<String, Value>) -> Result<(), Failure> {
    let name = kind.name_attribute();
    if resource.get(name).and_then(Value::as_str).is_none_or(|name| name.trim().is_empty()) {
        return Err(Failure::value(&format!("{name}: is required")));
    }
    if let Some(value) = resource.get("active")
        && !value.is_boolean()
    {
        return Err(Failure::value("active: must be a boolean"));
    }
    let schemas = resource.get("schemas").and_then(Value::as_array);
    for (name, value) in resource {
        let fits = match name.as_str() {
            "externalId" | "userName" | "displayName" | "nickName" | "profileUrl" | "title" | "userType"
            | "preferredLanguage" | "locale" | "timezone" => value.is_string(),
            "schemas" => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
            "name" => value.as_object().is_some_and(|name| name.values().all(Value::is_string)),
            other if is_multi_valued(other) => {
                value.as_array().is_some_and(|list| list.iter().all(Value::is_object))
            }
            other if is_urn(other) => {
                let listed = schemas.is_some_and(|schemas| schemas.iter().any(|schema| schema == other));
                if !listed {
                    return Err(Failure::syntax(&format!("schemas: must contain {other}, which is used")));
                }
                value.is_object()
            }
            _ => true,
        };
        if !fits {
            return Err(Failure::value(&format!("{name}: has the wrong type")));
        }
    }
    Ok(())
}

pub(super) fn is_urn(name: &str) -> bool {
    name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:"))
}

/// The ids in a list of members.
pub(super) fn member_ids(members: &Value) -> Result<Vec<&str>, Failure> {
    let one = std::slice::from_ref(members);
    let list = members.as_array().map_or(one, Vec::as_slice);
    list.iter()
        .map(|member| {
            member.get("value").and_then(Value::as_str).ok_or_else(|| Failure::value("members: need a value"))
        })
        .collect()
}
