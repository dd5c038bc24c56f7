//! # Purpose
//! PATCH of RFC 7644 section 3.5.2: reading the operations, and applying those on attributes. Pure.
//!
//! # Invariants kept here
//! - An operation that is not understood changes nothing and says why.
//! - At most one value of a list stays `primary`.
//!
//! # Not here
//! Members, which are not kept in the resource's body: see [`super::members`].

use serde_json::{Map, Value, json};

use super::Failure;
use super::filter::{Comparison, Filter, quoted_length};
use super::path::{AttrPath, ENTERPRISE, PATCH, canonical, is_multi_valued};
use super::resource::is_urn;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Replace,
    Remove,
}

/// Where it does it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) path: AttrPath,
    pub(super) filter: Option<Filter>,
    /// The sub-attribute behind the brackets.
    pub(super) sub: Option<String>,
}

/// One operation on one target.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) op: Op,
    pub(super) target: Target,
    pub(super) value: Option<Value>,
    /// Whether the operation named the path, rather than the attribute in its value.
    pub(super) is_named: bool,
}

impl Target {
    fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::path(&format!("{text:?} is not a path"));
        let Some(open) = text.find('[') else {
            let path = AttrPath::parse(text).ok_or_else(wrong)?;
            return Ok(Self { path, filter: None, sub: None });
        };
        let (head, rest) = text.split_at(open);
        let close = closing_bracket(rest).ok_or_else(wrong)?;
        let path = AttrPath::parse(head)
            .filter(|path| path.attribute.is_some() && path.sub.is_none())
            .ok_or_else(wrong)?;
        let inner = rest.get(1..close).unwrap_or_default();
        let filter = Filter::parse(inner)
            .map_err(|what| Failure::path(&format!("{text:?} has a filter that is not one: {what}")))?;
        let sub = match rest.get(close + 1..).unwrap_or_default() {
            "" => None,
            tail => Some(canonical(tail.strip_prefix('.').filter(|sub| !sub.is_empty()).ok_or_else(wrong)?)),
        };
        Ok(Self { path, filter: Some(filter), sub })
    }

    /// The key of a pathless operation, which may also be an extension this provider has not heard of.
    fn of_attribute(key: &str, value: &Value) -> Result<Self, Failure> {
        let mut target = Self::parse(key)?;
        let is_foreign = target.path.extension.as_deref().is_some_and(|urn| urn != ENTERPRISE);
        if is_foreign && value.is_object() {
            target.path = AttrPath { extension: Some(key.to_owned()), attribute: None, sub: None };
        }
        Ok(target)
    }

    /// The sub-attribute, in brackets' wake or without brackets.
    fn sub(&self) -> Option<&str> {
        self.sub.as_deref().or(self.path.sub.as_deref())
    }
}

fn closing_bracket(text: &str) -> Option<usize> {
    let mut index = 0;
    while let Some(letter) = text.get(index..).and_then(|rest| rest.chars().next()) {
        match letter {
            ']' => return Some(index),
            '"' => index += quoted_length(text.get(index..)?)?,
            other => index += other.len_utf8(),
        }
    }
    None
}

/// Reads a PATCH body into changes; an operation without a path becomes one change for each attribute it names.
pub(super) fn parse(body: &Value) -> Result<Vec<Change>, Failure> {
    let names_its_schema =
        body.get("schemas").and_then(Value::as_array).is_some_and(|list| list.iter().any(|urn| urn == PATCH));
    if !names_its_schema {
        return Err(Failure::syntax(&format!("schemas: must contain {PATCH}")));
    }
    let operations = body
        .get("Operations")
        .and_then(Value::as_array)
        .filter(|operations| !operations.is_empty())
        .ok_or_else(|| Failure::syntax("Operations: must be a list with something in it"))?;
    let mut changes = Vec::new();
    for operation in operations {
        let op = match operation.get("op").and_then(Value::as_str) {
            Some("add") => Op::Add,
            Some("replace") => Op::Replace,
            Some("remove") => Op::Remove,
            Some(_) | None => return Err(Failure::syntax("op: must be add, replace or remove")),
        };
        let value = operation.get("value").filter(|value| !value.is_null()).cloned();
        if op != Op::Remove && value.is_none() {
            return Err(Failure::value("value: add and replace need one"));
        }
        match operation.get("path") {
            Some(Value::String(path)) => {
                changes.push(Change { op, target: Target::parse(path)?, value, is_named: true });
            }
            Some(_) => return Err(Failure::path("path: must be a string")),
            None if op == Op::Remove => return Err(Failure::no_target("path: remove needs one")),
            None => {
                let Some(Value::Object(attributes)) = value else {
                    return Err(Failure::value("value: must be an object when there is no path"));
                };
                for (path, value) in attributes {
                    let target = Target::of_attribute(&path, &value)?;
                    changes.push(Change { op, target, value: Some(value), is_named: false });
                }
            }
        }
    }
    Ok(changes)
}

/// Applies one change to the body of a resource.
pub(super) fn apply(resource: &mut Map<String, Value>, change: &Change) -> Result<(), Failure> {
    let Change { op, target, value, .. } = change;
    let path = &target.path;
    for read_only in ["id", "meta", "groups", "schemas"] {
        if path.is_core(read_only) {
            // A pathless operation may repeat the schemas; only a change of them would be one.
            if read_only == "schemas" && *op != Op::Remove {
                return Ok(());
            }
            return Err(Failure::mutability(&format!("{read_only}: cannot be changed")));
        }
    }
    if path.is_core("userName") && *op == Op::Remove {
        return Err(Failure::mutability("userName: is required"));
    }
    let container = match &path.extension {
        None => resource,
        Some(urn) => {
            if *op == Op::Remove && !resource.contains_key(urn) {
                return Ok(());
            }
            if *op == Op::Remove && path.attribute.is_none() {
                resource.remove(urn);
                remove_schema(resource, urn);
                return Ok(());
            }
            add_schema(resource, urn);
            let object = resource.entry(urn.as_str()).or_insert_with(|| json!({}));
            object
                .as_object_mut()
                .ok_or_else(|| Failure::path(&format!("{urn}: does not hold attributes")))?
        }
    };
    let Some(attribute) = path.attribute.as_deref() else {
        return match value {
            Some(Value::Object(attributes)) => {
                for (name, value) in attributes {
                    set(container, &canonical(name), value.clone(), *op == Op::Add);
                }
                Ok(())
            }
            Some(_) | None => Err(Failure::value("value: an extension needs an object")),
        };
    };
    let key = container
        .keys()
        .find(|key| key.eq_ignore_ascii_case(attribute))
        .cloned()
        .unwrap_or_else(|| attribute.to_owned());
    match (&target.filter, target.sub()) {
        (None, None) => whole(container, &key, *op, value.as_ref()),
        (None, Some(sub)) => part(container, &key, sub, *op, value.as_ref()),
        (Some(filter), sub) => some_values(container, &key, filter, sub, *op, value.as_ref()),
    }
}

fn whole(
    container: &mut Map<String, Value>,
    key: &str,
    op: Op,
    value: Option<&Value>,
) -> Result<(), Failure> {
    match (op, value) {
        (Op::Add | Op::Replace, Some(value)) => set(container, key, value.clone(), op == Op::Add),
        (Op::Add | Op::Replace, None) => return Err(Failure::value("value: is missing")),
        (Op::Remove, None) => {
            container.remove(key);
        }
        (Op::Remove, Some(unwanted)) => {
            let unwanted = unwanted.as_array().map_or(std::slice::from_ref(unwanted), Vec::as_slice);
            let Some(Value::Array(list)) = container.get_mut(key) else {
                container.remove(key);
                return Ok(());
            };
            let same = |left: &Value, right: &Value| match (left.get("value"), right.get("value")) {
                (Some(left), Some(right)) => left == right,
                (Some(_) | None, Some(_) | None) => left == right,
            };
            list.retain(|kept| !unwanted.iter().any(|unwanted| same(kept, unwanted)));
            if list.is_empty() {
                container.remove(key);
            }
        }
    }
    Ok(())
}

/// Sets an attribute: lists grow on add and are replaced otherwise, complex attributes are merged, others set.
fn set(container: &mut Map<String, Value>, key: &str, value: Value, growing: bool) {
    if value.is_null() {
        container.remove(key);
        return;
    }
    if is_multi_valued(key) || matches!(container.get(key), Some(Value::Array(_))) {
        let new = match value {
            Value::Array(list) => list,
            one @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
                vec![one]
            }
        };
        if !growing {
            container.insert(key.into(), Value::Array(new));
            return;
        }
        let list = container.entry(key).or_insert_with(|| json!([]));
        let Some(list) = list.as_array_mut() else { return };
        for value in new {
            if !list.contains(&value) {
                list.push(value);
                let newest = list.len() - 1;
                settle_primary(list, newest);
            }
        }
        return;
    }
    match (container.get_mut(key), value) {
        (Some(Value::Object(before)), Value::Object(after)) => {
            for (name, value) in after {
                if value.is_null() {
                    before.remove(&name);
                } else {
                    before.insert(name, value);
                }
            }
        }
        (Some(_) | None, value) => {
            container.insert(key.into(), value);
        }
    }
}

/// A value that became primary takes that from the others.
fn settle_primary(list: &mut [Value], chosen: usize) {
    let is_primary = |value: &Value| value.get("primary") == Some(&Value::Bool(true));
    if !list.get(chosen).is_some_and(is_primary) {
        return;
    }
    for (index, value) in list.iter_mut().enumerate() {
        if index != chosen
            && is_primary(value)
            && let Some(value) = value.as_object_mut()
        {
            value.insert("primary".into(), Value::Bool(false));
        }
    }
}

/// `name.givenName`, and `emails.value` for every value of the list.
fn part(
    container: &mut Map<String, Value>,
    key: &str,
    sub: &str,
    op: Op,
    value: Option<&Value>,
) -> Result<(), Failure> {
    if op == Op::Remove && !container.contains_key(key) {
        return Ok(());
    }
    let attribute = container.entry(key).or_insert_with(|| json!({}));
    let objects = match attribute {
        Value::Array(list) => list.iter_mut().collect(),
        one @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            vec![one]
        }
    };
    for object in objects {
        let object =
            object.as_object_mut().ok_or_else(|| Failure::path(&format!("{key}: has no sub-attributes")))?;
        set_part(object, sub, op, value)?;
    }
    if container.get(key).and_then(Value::as_object).is_some_and(Map::is_empty) {
        container.remove(key);
    }
    Ok(())
}

fn set_part(
    object: &mut Map<String, Value>,
    sub: &str,
    op: Op,
    value: Option<&Value>,
) -> Result<(), Failure> {
    match (op, value) {
        (Op::Remove, Some(_) | None) => {
            object.remove(sub);
        }
        (Op::Add | Op::Replace, Some(value)) => {
            object.insert(sub.into(), value.clone());
        }
        (Op::Add | Op::Replace, None) => return Err(Failure::value("value: is missing")),
    }
    Ok(())
}

/// `emails[type eq "work"]` and `emails[type eq "work"].value`.
fn some_values(
    container: &mut Map<String, Value>,
    key: &str,
    filter: &Filter,
    sub: Option<&str>,
    op: Op,
    value: Option<&Value>,
) -> Result<(), Failure> {
    let matching: Vec<usize> = match container.get(key) {
        Some(Value::Array(list)) => list
            .iter()
            .enumerate()
            .filter(|(_, value)| filter.matches(value))
            .map(|(index, _)| index)
            .collect(),
        Some(_) => return Err(Failure::path(&format!("{key}: is not a list"))),
        None => Vec::new(),
    };
    if matching.is_empty() {
        match op {
            Op::Remove => return Ok(()),
            Op::Replace => return Err(Failure::no_target(&format!("{key}: no value matches the filter"))),
            Op::Add => {
                let mut new = Map::new();
                assume(filter, &mut new);
                merge(&mut new, sub, value)?;
                set(container, key, Value::Object(new), true);
                return Ok(());
            }
        }
    }
    let Some(Value::Array(list)) = container.get_mut(key) else { return Ok(()) };
    if op == Op::Remove && sub.is_none() {
        list.retain(|value| !filter.matches(value));
        if list.is_empty() {
            container.remove(key);
        }
        return Ok(());
    }
    for index in matching {
        let Some(Value::Object(object)) = list.get_mut(index) else { continue };
        match (op, sub) {
            (Op::Remove, Some(sub)) => {
                object.remove(sub);
            }
            (Op::Remove, None) => {}
            (Op::Add | Op::Replace, sub) => merge(object, sub, value)?,
        }
        settle_primary(list, index);
    }
    Ok(())
}

fn merge(object: &mut Map<String, Value>, sub: Option<&str>, value: Option<&Value>) -> Result<(), Failure> {
    match (sub, value) {
        (Some(sub), value) => set_part(object, sub, Op::Replace, value),
        (None, Some(Value::Object(new))) => {
            object.extend(new.clone());
            Ok(())
        }
        (None, Some(_) | None) => Err(Failure::value("value: must be an object")),
    }
}

/// What a filter says a new value would be like.
fn assume(filter: &Filter, object: &mut Map<String, Value>) {
    match filter {
        Filter::And(left, right) => {
            assume(left, object);
            assume(right, object);
        }
        Filter::Compare { path, by: Comparison::Equal, value } => {
            if let Some(attribute) = &path.attribute {
                object.insert(attribute.clone(), value.clone());
            }
        }
        Filter::Compare { .. }
        | Filter::Or(..)
        | Filter::Not(_)
        | Filter::Present(_)
        | Filter::Within { .. } => {}
    }
}

fn add_schema(resource: &mut Map<String, Value>, urn: &str) {
    if !is_urn(urn) {
        return;
    }
    if let Some(Value::Array(schemas)) = resource.get_mut("schemas")
        && !schemas.iter().any(|schema| schema == urn)
    {
        schemas.push(urn.into());
    }
}

fn remove_schema(resource: &mut Map<String, Value>, urn: &str) {
    if let Some(Value::Array(schemas)) = resource.get_mut("schemas") {
        schemas.retain(|schema| schema != urn);
    }
}

/// Drops from a resource the extensions that hold nothing any more.
pub(super) fn tidy(resource: &mut Map<String, Value>) {
    let empty: Vec<String> = resource
        .iter()
        .filter(|(name, value)| is_urn(name) && value.as_object().is_some_and(Map::is_empty))
        .map(|(name, _)| name.clone())
        .collect();
    for urn in empty {
        resource.remove(&urn);
        remove_schema(resource, &urn);
    }
}

/// Whether a change is about the members of a group.
pub(super) fn is_about_members(change: &Change) -> bool {
    change.target.path.is_core("members")
}
