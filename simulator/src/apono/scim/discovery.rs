//! # Purpose
//! What the provider says of itself: `ServiceProviderConfig`, `ResourceTypes`, `Schemas`.
//!
//! # Invariants kept here
//! - It promises what the settings let it keep.
//!
//! # Not here
//! Keeping the promises.

use serde_json::{Value, json};

use super::Kind;
use super::path::{ENTERPRISE, GROUP, USER};
use crate::apono::settings::ScimSettings;

/// `ServiceProviderConfig`.
pub(super) fn provider_config(settings: &ScimSettings) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": settings.patch},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": settings.filter, "maxResults": settings.max_results},
        "changePassword": {"supported": false},
        "sort": {"supported": false},
        "etag": {"supported": settings.etag},
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "The connector's token in the Authorization header",
            "primary": true,
        }],
    })
}

/// The entries of `ResourceTypes`.
pub(super) fn resource_types() -> Vec<Value> {
    let of = |kind: Kind, extensions: Value| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": kind.name(),
            "name": kind.name(),
            "endpoint": format!("/{}", kind.plural()),
            "schema": kind.schema(),
            "schemaExtensions": extensions,
        })
    };
    vec![of(Kind::User, json!([{"schema": ENTERPRISE, "required": false}])), of(Kind::Group, json!([]))]
}

/// The entries of `Schemas`.
pub(super) fn schemas() -> Vec<Value> {
    let schema = |id: &str, name: &str, attributes: Vec<Value>| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": id, "name": name, "description": name, "attributes": attributes,
        })
    };
    let list = |name: &str| {
        let parts = ["value", "type", "display"].map(|part| attribute(part, "string", false, json!({})));
        let mut parts = Vec::from(parts);
        parts.push(attribute("primary", "boolean", false, json!({})));
        attribute(name, "complex", true, json!({"subAttributes": parts}))
    };
    let texts = |names: &[&str]| -> Vec<Value> {
        names.iter().map(|name| attribute(name, "string", false, json!({}))).collect()
    };
    let mut user =
        vec![attribute("userName", "string", false, json!({"required": true, "uniqueness": "server"}))];
    user.extend(texts(&[
        "displayName",
        "nickName",
        "profileUrl",
        "title",
        "userType",
        "preferredLanguage",
        "locale",
        "timezone",
    ]));
    user.push(attribute("active", "boolean", false, json!({})));
    let name_parts =
        texts(&["formatted", "familyName", "givenName", "middleName", "honorificPrefix", "honorificSuffix"]);
    user.push(attribute("name", "complex", false, json!({"subAttributes": name_parts})));
    user.extend(["emails", "phoneNumbers", "addresses"].map(list));
    let mut enterprise = texts(&["employeeNumber", "costCenter", "organization", "division", "department"]);
    let manager_parts = texts(&["value", "$ref", "displayName"]);
    enterprise.push(attribute("manager", "complex", false, json!({"subAttributes": manager_parts})));
    let group = vec![
        attribute("displayName", "string", false, json!({"required": true})),
        attribute("members", "complex", true, json!({"subAttributes": texts(&["value", "type"])})),
    ];
    vec![
        schema(USER, "User", user),
        schema(GROUP, "Group", group),
        schema(ENTERPRISE, "EnterpriseUser", enterprise),
    ]
}

fn attribute(name: &str, of_type: &str, multi_valued: bool, more: Value) -> Value {
    let mut described = json!({
        "name": name,
        "type": of_type,
        "multiValued": multi_valued,
        "description": name,
        "required": false,
        "caseExact": false,
        "mutability": "readWrite",
        "returned": "default",
        "uniqueness": "none",
    });
    if let (Some(described), Value::Object(more)) = (described.as_object_mut(), more) {
        described.extend(more);
    }
    described
}
