//! # Purpose
//! A resource as a flat map from attribute path to value, so that two resources compare attribute by attribute.
//!
//! # Invariants kept here
//! - Only the paths that are asked for are read; what else a provider keeps in a resource is none of our business.
//! - An absent attribute, `null` and an empty string are the same: nothing.
//! - Two values are the same however a service spells them ([`same`]): numbers and booleans as text, lists in another
//!   order.
//!
//! # Not here
//! Which paths there are: `directory::mapping`.
//!
//! Paths are those of RFC 7644 section 3.10: `userName`, `name.givenName`, `emails[type eq "work"].value`,
//! `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Where an attribute is. Cheap to clone: every attribute of every user carries one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Path(Arc<Parts>);

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parts {
    schema: Option<String>,
    attribute: String,
    of_type: Option<String>,
    sub: Option<String>,
}

/// A text that is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a SCIM attribute path (userName, name.givenName, emails[type eq \"work\"].value, urn:…:User:department)"
)]
pub struct PathError(String);

/// Attributes by path. Values are text, or any JSON where [`Path::holds_any`].
pub type Attributes = BTreeMap<Path, Value>;

impl Path {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let error = || PathError(text.to_owned());
        let (schema, rest) = match text.rfind(':') {
            Some(colon) if text.starts_with("urn:") => (Some(text[..colon].to_owned()), &text[colon + 1..]),
            Some(_) => return Err(error()),
            None => (None, text),
        };
        let (attribute, of_type, sub) = match rest.split_once('[') {
            Some((attribute, filtered)) => {
                let (filter, after) = filtered.split_once(']').ok_or_else(error)?;
                let quoted = filter.strip_prefix("type eq ").ok_or_else(error)?;
                let of_type =
                    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or_else(error)?;
                let sub = after.strip_prefix('.').ok_or_else(error)?;
                (attribute, Some(of_type.to_owned()), Some(sub))
            }
            None => match rest.split_once('.') {
                Some((attribute, sub)) => (attribute, None, Some(sub)),
                None => (rest, None, None),
            },
        };
        let is_name = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$'))
        };
        if !is_name(attribute) || !sub.is_none_or(is_name) {
            return Err(error());
        }
        let (attribute, sub) = (attribute.to_owned(), sub.map(ToOwned::to_owned));
        Ok(Self(Arc::new(Parts { schema, attribute, of_type, sub })))
    }

    /// The extension's schema, for an attribute of one.
    pub fn schema(&self) -> Option<&str> {
        self.0.schema.as_deref()
    }

    /// Whether it is of a schema that is not RFC 7643's, and may hold any JSON. The RFC's own hold text, but for those
    /// that the connector sets by itself.
    pub fn holds_any(&self) -> bool {
        const OF_THE_RFC: &str = "urn:ietf:params:scim:schemas:";
        self.schema().is_some_and(|schema| !schema.to_ascii_lowercase().starts_with(OF_THE_RFC))
    }

    /// The type of the element, for an attribute of a multi-valued one.
    pub fn of_type(&self) -> Option<&str> {
        self.0.of_type.as_deref()
    }

    /// The attribute without filter and sub-attribute.
    pub fn attribute(&self) -> &str {
        &self.0.attribute
    }

    /// The sub-attribute.
    pub fn sub(&self) -> Option<&str> {
        self.0.sub.as_deref()
    }

    /// The value in `resource`, if there is one.
    pub fn get<'a>(&self, resource: &'a Map<String, Value>) -> Option<&'a Value> {
        let holder = match &self.0.schema {
            Some(schema) => resource.get(schema)?.as_object()?,
            None => resource,
        };
        let value = holder.get(&self.0.attribute)?;
        let value = match (&self.0.of_type, &self.0.sub) {
            (None, None) => value,
            (None, Some(sub)) => value.get(sub)?,
            (Some(of_type), sub) => {
                let elements = value.as_array()?;
                let is_of_type = |element: &&Value| {
                    element
                        .get("type")
                        .and_then(Value::as_str)
                        .is_some_and(|found| found.eq_ignore_ascii_case(of_type))
                };
                elements.iter().find(is_of_type)?.get(sub.as_deref()?)?
            }
        };
        Some(value).filter(|value| !is_nothing(value))
    }

    /// Takes the value out of `resource`, and what would be left empty by that.
    pub fn unset(&self, resource: &mut Map<String, Value>) {
        let Some(schema) = &self.0.schema else {
            return self.unset_in(resource);
        };
        if let Some(Value::Object(extension)) = resource.get_mut(schema) {
            self.unset_in(extension);
            if extension.is_empty() {
                resource.remove(schema);
                if let Some(Value::Array(schemas)) = resource.get_mut("schemas") {
                    schemas.retain(|listed| listed.as_str() != Some(schema));
                }
            }
        }
    }

    fn unset_in(&self, holder: &mut Map<String, Value>) {
        let Parts { attribute, of_type, sub, .. } = &*self.0;
        let Some(sub) = sub else {
            holder.remove(attribute);
            return;
        };
        match (holder.get_mut(attribute), of_type) {
            (Some(Value::Object(parts)), None) => {
                parts.remove(sub);
                if parts.is_empty() {
                    holder.remove(attribute);
                }
            }
            (Some(Value::Array(elements)), Some(of_type)) => {
                for element in elements.iter_mut().filter_map(Value::as_object_mut) {
                    if element
                        .get("type")
                        .and_then(Value::as_str)
                        .is_some_and(|t| t.eq_ignore_ascii_case(of_type))
                    {
                        element.remove(sub);
                    }
                }
                // An element that only says of what type it is says nothing.
                elements.retain(|element| {
                    element
                        .as_object()
                        .is_none_or(|parts| parts.keys().any(|name| name != "type" && name != "primary"))
                });
                if elements.is_empty() {
                    holder.remove(attribute);
                }
            }
            (Some(_) | None, _) => {}
        }
    }

    /// Puts a value into `resource`.
    pub fn set(&self, resource: &mut Map<String, Value>, value: Value) {
        let holder = match &self.0.schema {
            Some(schema) => child(resource, schema),
            None => resource,
        };
        match (&self.0.of_type, &self.0.sub) {
            (None, None) => {
                holder.insert(self.0.attribute.clone(), value);
            }
            (None, Some(sub)) => {
                child(holder, &self.0.attribute).insert(sub.clone(), value);
            }
            (Some(of_type), sub) => {
                let elements = holder.entry(self.0.attribute.clone()).or_insert_with(|| json!([]));
                let Some(elements) = elements.as_array_mut() else {
                    return;
                };
                let is_of_type = |element: &Value| {
                    element["type"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(of_type))
                };
                let at = elements.iter().position(is_of_type);
                // A lone element of no type, where the service keeps no types, is the one that is meant.
                let lone = elements.len() == 1 && elements[0].get("type").is_none();
                let at = at.or(lone.then_some(0));
                let at = at.unwrap_or_else(|| {
                    elements.push(json!({ "type": of_type }));
                    elements.len() - 1
                });
                if let (Some(element), Some(sub)) = (elements[at].as_object_mut(), sub) {
                    element.insert(sub.clone(), value);
                }
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.0.schema {
            write!(f, "{schema}:")?;
        }
        f.write_str(&self.0.attribute)?;
        if let Some(of_type) = &self.0.of_type {
            write!(f, "[type eq \"{of_type}\"]")?;
        }
        if let Some(sub) = &self.0.sub {
            write!(f, ".{sub}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.to_string()
    }
}

impl TryFrom<String> for Path {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

/// The values of `paths` in a resource. Where text is written a number in its place is the same.
pub fn read<'a>(resource: &Map<String, Value>, paths: impl IntoIterator<Item = &'a Path>) -> Attributes {
    let as_written = |path: &Path, value: &Value| match value {
        Value::Number(number) if !path.holds_any() => Value::from(number.to_string()),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => value.clone(),
    };
    let value = |path: &Path| Some((path.clone(), as_written(path, path.get(resource)?)));
    paths.into_iter().filter_map(value).collect()
}

/// Whether two values of an attribute say the same: a service may write numbers and booleans as text, leave out what
/// says nothing, and show the values of a list in any order (RFC 7643 section 2.4).
pub fn same(left: &Value, right: &Value) -> bool {
    left == right || spelled(left) == spelled(right)
}

/// A value in the one spelling in which it is compared.
fn spelled(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) => Value::from(text.as_str()),
        Value::Bool(truth) => Value::from(truth.to_string()),
        Value::Number(number) => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
            Value::from(whole.map_or_else(|| number.to_string(), |whole| format!("{whole:.0}")))
        }
        Value::Array(elements) => {
            let mut elements: Vec<_> = elements.iter().map(spelled).collect();
            elements.sort_by_cached_key(ToString::to_string);
            Value::Array(elements)
        }
        Value::Object(members) => {
            let said = members.iter().filter(|(_, value)| !is_nothing(value));
            Value::Object(said.map(|(name, value)| (name.clone(), spelled(value))).collect())
        }
    }
}

/// `active`; some services write booleans as text.
pub fn active(resource: &Map<String, Value>) -> Option<bool> {
    match resource.get("active") {
        Some(Value::Bool(active)) => Some(*active),
        Some(Value::String(text)) => text.to_lowercase().parse().ok(),
        Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => None,
    }
}

/// Makes booleans of the booleans that some services write as text, so that what was read can be sent back.
pub fn mend_booleans(resource: &mut Map<String, Value>) {
    for (name, value) in resource {
        match value {
            Value::String(text) if matches!(name.as_str(), "active" | "primary") => {
                if let Ok(truth) = text.to_lowercase().parse::<bool>() {
                    *value = Value::Bool(truth);
                }
            }
            Value::Object(inner) => mend_booleans(inner),
            Value::Array(elements) => {
                elements.iter_mut().filter_map(Value::as_object_mut).for_each(mend_booleans);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// A resource with these attributes; a lone work email or phone is marked primary.
pub fn write(attributes: &Attributes) -> Map<String, Value> {
    let mut resource = Map::new();
    for (path, value) in attributes {
        path.set(&mut resource, value.clone());
    }
    if let Some(emails) = resource.get_mut("emails").and_then(Value::as_array_mut)
        && let Some(first) = emails.first_mut().and_then(Value::as_object_mut)
    {
        first.insert("primary".to_owned(), json!(true));
    }
    resource
}

/// Whether a value says nothing.
pub fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn child<'a>(parent: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = parent.entry(name).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    #[expect(clippy::expect_used, reason = "made an object two lines above")]
    value.as_object_mut().expect("an object")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: [&str; 6] = [
        "userName",
        "name.givenName",
        "emails[type eq \"work\"].value",
        "addresses[type eq \"work\"].locality",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.displayName",
    ];

    #[test]
    fn paths_are_read_as_they_are_written() {
        for text in PATHS {
            assert_eq!(Path::parse(text).unwrap().to_string(), text);
        }
        for text in
            ["", "a b", "emails[primary eq true].value", "emails[type eq \"work\"]", "x:y", "a.b.c", "1st"]
        {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let attributes: Attributes = PATHS
            .iter()
            .enumerate()
            .map(|(index, path)| (Path::parse(path).unwrap(), json!(format!("value {index}"))))
            .collect();
        let resource = write(&attributes);
        assert_eq!(read(&resource, attributes.keys()), attributes);
        assert_eq!(resource["emails"], json!([{ "type": "work", "value": "value 2", "primary": true }]));
        assert_eq!(resource["name"], json!({ "givenName": "value 1" }));
    }

    #[test]
    fn what_is_taken_out_leaves_nothing_empty_behind() {
        let attributes: Attributes =
            PATHS.iter().map(|path| (Path::parse(path).unwrap(), json!("value"))).collect();
        let mut resource = write(&attributes);
        resource.insert("schemas".to_owned(), json!(["core", crate::scim::ENTERPRISE_USER]));
        resource["emails"].as_array_mut().unwrap().push(json!({ "type": "home", "value": "h" }));
        for path in attributes.keys().filter(|path| path.attribute() != "userName") {
            path.unset(&mut resource);
        }
        let left =
            json!({ "userName": "value", "schemas": ["core"], "emails": [{ "type": "home", "value": "h" }] });
        assert_eq!(Value::Object(resource), left);
    }

    #[test]
    fn texts_that_are_numbers_or_booleans_are_read_as_what_they_are() {
        let mut odd = json!({ "active": "True", "title": "True", "emails": [{ "primary": "False" }] });
        assert_eq!(active(odd.as_object().unwrap()), Some(true));
        mend_booleans(odd.as_object_mut().unwrap());
        assert_eq!(odd, json!({ "active": true, "title": "True", "emails": [{ "primary": false }] }));
        let title = Path::parse("title").unwrap();
        let read = read(json!({ "title": 42 }).as_object().unwrap(), [&title]);
        assert_eq!(read[&title], json!("42"));
    }

    #[test]
    fn values_are_the_same_however_a_service_spells_them() {
        let table = [
            (json!(7), json!("7"), true),
            (json!(7), json!(7.0), true),
            (json!(7), json!(8), false),
            (json!(true), json!("true"), true),
            (json!(["b", "a"]), json!(["a", "b"]), true),
            (json!(["a", "a"]), json!(["a"]), false),
            (json!([1, 2]), json!(["2", "1"]), true),
            (json!({ "a": 1, "b": null }), json!({ "a": "1" }), true),
            (json!({ "a": 1 }), json!({ "a": 2 }), false),
            (json!("a"), json!("A"), false),
            (json!("a"), json!(["a"]), false),
        ];
        for (left, right, expected) in table {
            assert_eq!(same(&left, &right), expected, "{left} {right}");
            assert_eq!(same(&right, &left), expected, "{right} {left}");
        }
    }

    #[test]
    fn only_schemas_that_are_not_the_rfcs_hold_any_json() {
        let badge = "urn:example:params:scim:schemas:extension:badge:1.0:User:tags";
        assert!(Path::parse(badge).unwrap().holds_any());
        for path in PATHS.into_iter().chain(["URN:IETF:x:y", "title"]) {
            assert!(!Path::parse(path).is_ok_and(|path| path.holds_any()), "{path}");
        }
        let number = Path::parse(badge).unwrap();
        let resource =
            json!({ "urn:example:params:scim:schemas:extension:badge:1.0:User": { "tags": [1, 2] } });
        assert_eq!(read(resource.as_object().unwrap(), [&number])[&number], json!([1, 2]));
    }

    #[test]
    fn nothing_is_nothing_in_all_of_its_spellings() {
        let path = Path::parse("title").unwrap();
        for value in [json!(null), json!(""), json!([]), json!({})] {
            let resource = json!({ "title": value });
            assert_eq!(path.get(resource.as_object().unwrap()), None);
        }
        let odd = json!({ "emails": "none", "name": 7 });
        for path in ["emails[type eq \"work\"].value", "name.givenName"] {
            assert_eq!(Path::parse(path).unwrap().get(odd.as_object().unwrap()), None);
        }
    }
}
