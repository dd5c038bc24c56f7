//! # Purpose
//! PATCH messages (RFC 7644 section 3.5.2).
//!
//! # Invariants kept here
//! - Pure. Only attributes that differ are named; an element of a multi-valued attribute that does not exist yet is
//!   added whole, because a filter that matches nothing is an error.
//!
//! # Not here
//! Providers that do not take them: `directory::apply` tries another form.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::PATCH_OP;
use super::attributes::{Attributes, Path};

/// The message that turns `old` into `new`, or `None` when they are the same.
pub fn of_attributes(old: &Attributes, new: &Attributes) -> Option<Value> {
    let changed: Vec<(&Path, Option<&Value>)> = {
        let paths: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        paths
            .into_iter()
            .filter(|path| old.get(path) != new.get(path))
            .map(|path| (path, new.get(path)))
            .collect()
    };
    let mut operations = Vec::new();
    let mut elements: BTreeMap<(Option<&str>, &str, &str), Map<String, Value>> = BTreeMap::new();
    for (path, value) in changed {
        match (value, path.of_type()) {
            (Some(value), Some(of_type)) if !has_element(old, path) => {
                let element = elements.entry((path.schema(), path.attribute(), of_type)).or_default();
                element.insert(path.sub().unwrap_or("value").to_owned(), value.clone());
            }
            (Some(value), _) => {
                operations.push(json!({ "op": "replace", "path": path.to_string(), "value": value }));
            }
            (None, _) => operations.push(json!({ "op": "remove", "path": path.to_string() })),
        }
    }
    for ((schema, attribute, of_type), mut element) in elements {
        element.insert("type".to_owned(), json!(of_type));
        if schema.is_none() && attribute == "emails" {
            element.insert("primary".to_owned(), json!(true));
        }
        let path = schema.map_or_else(|| attribute.to_owned(), |schema| format!("{schema}:{attribute}"));
        operations.push(json!({ "op": "add", "path": path, "value": [element] }));
    }
    (!operations.is_empty()).then(|| message(&operations))
}

/// The message that turns the resource `old` into `new` without naming a path, or `None` when they are the same.
/// Attributes of several values go whole, so that none of them is lost.
pub fn whole(old: &Map<String, Value>, new: &Map<String, Value>) -> Option<Value> {
    let changed: Map<String, Value> = new
        .iter()
        .filter(|(name, value)| old.get(*name) != Some(*value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    let mut operations: Vec<_> = gone.map(|name| json!({ "op": "remove", "path": name })).collect();
    if !changed.is_empty() {
        operations.push(json!({ "op": "replace", "value": changed }));
    }
    (!operations.is_empty()).then(|| message(&operations))
}

/// The message that sets one attribute.
pub fn replace(path: &str, value: &Value) -> Value {
    message(&[json!({ "op": "replace", "path": path, "value": value })])
}

/// The message that takes one attribute away.
pub fn remove(path: &str) -> Value {
    message(&[json!({ "op": "remove", "path": path })])
}

/// The message that makes these the members.
pub fn replace_members<'a>(ids: impl IntoIterator<Item = &'a str>) -> Value {
    let members: Vec<_> = ids.into_iter().map(|id| json!({ "value": id })).collect();
    replace("members", &json!(members))
}

/// The message that removes members by a list.
pub fn remove_member_list<'a>(ids: impl IntoIterator<Item = &'a str>) -> Value {
    let members: Vec<_> = ids.into_iter().map(|id| json!({ "value": id })).collect();
    message(&[json!({ "op": "remove", "path": "members", "value": members })])
}

/// The message that adds members.
pub fn add_members<'a>(ids: impl IntoIterator<Item = &'a str>) -> Value {
    let members: Vec<_> = ids.into_iter().map(|id| json!({ "value": id })).collect();
    message(&[json!({ "op": "add", "path": "members", "value": members })])
}

/// The message that removes members, each by a filter.
pub fn remove_members<'a>(ids: impl IntoIterator<Item = &'a str>) -> Value {
    let remove = |id: &str| json!({ "op": "remove", "path": format!("members[value eq {}]", json!(id)) });
    message(&ids.into_iter().map(remove).collect::<Vec<_>>())
}

fn message(operations: &[Value]) -> Value {
    json!({ "schemas": [PATCH_OP], "Operations": operations })
}

/// Whether the element that `path` is part of exists.
fn has_element(old: &Attributes, path: &Path) -> bool {
    let element = |path: &Path| {
        let of = [path.schema(), Some(path.attribute()), path.of_type()];
        of.map(|part| part.map(ToOwned::to_owned))
    };
    old.keys().any(|known| element(known) == element(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(path, value)| (Path::parse(path).unwrap(), json!(value))).collect()
    }

    #[test]
    fn only_what_differs_is_named() {
        let old = attributes(&[("userName", "a"), ("title", "x"), ("emails[type eq \"work\"].value", "a@b")]);
        let new = attributes(&[
            ("userName", "a"),
            ("name.givenName", "Ada"),
            ("emails[type eq \"work\"].value", "c@d"),
            ("addresses[type eq \"work\"].locality", "London"),
            ("addresses[type eq \"work\"].country", "UK"),
        ]);
        let message = of_attributes(&old, &new).unwrap();
        assert_eq!(
            message["Operations"],
            json!([
                { "op": "replace", "path": "emails[type eq \"work\"].value", "value": "c@d" },
                { "op": "replace", "path": "name.givenName", "value": "Ada" },
                { "op": "remove", "path": "title" },
                { "op": "add", "path": "addresses",
                  "value": [{ "type": "work", "locality": "London", "country": "UK" }] },
            ])
        );
        assert_eq!(of_attributes(&old, &old), None);
        let of_ours = attributes(&[("urn:example:1.0:User:phones[type eq \"desk\"].value", "7")]);
        let message = of_attributes(&Attributes::new(), &of_ours).unwrap();
        assert_eq!(message["Operations"][0]["path"], "urn:example:1.0:User:phones");
    }

    #[test]
    fn what_names_no_path_names_what_differs_whole() {
        let old = json!({ "title": "x", "nickName": "n", "emails": [{ "type": "home", "value": "h" }] });
        let new = json!({ "title": "y", "emails": [{ "type": "home", "value": "h" }, { "type": "work", "value": "w" }] });
        let message = whole(old.as_object().unwrap(), new.as_object().unwrap()).unwrap();
        assert_eq!(
            message["Operations"],
            json!([
                { "op": "remove", "path": "nickName" },
                { "op": "replace", "value": { "title": "y", "emails": new["emails"] } },
            ])
        );
        assert_eq!(whole(old.as_object().unwrap(), old.as_object().unwrap()), None);
    }

    #[test]
    fn members_go_by_id() {
        assert_eq!(add_members(["a"])["Operations"][0]["value"], json!([{ "value": "a" }]));
        assert_eq!(remove_members(["a\"b"])["Operations"][0]["path"], json!(r#"members[value eq "a\"b"]"#));
    }
}
