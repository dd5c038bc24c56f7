//! # Purpose
//! Which Okta profile attribute becomes which SCIM attribute.
//!
//! # Invariants kept here
//! - Pure. A status that decides nothing sets nothing (`active` is left out).
//!
//! # Not here
//! How paths are read and written: `scim::attributes`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::User;
use crate::scim::attributes::{Attributes, Path, PathError, is_nothing};

/// The documented default. Left: `profile` of an Okta user; right: RFC 7643 section 4.
pub const DEFAULT: &[(&str, &str)] = &[
    ("login", "userName"),
    ("firstName", "name.givenName"),
    ("middleName", "name.middleName"),
    ("lastName", "name.familyName"),
    ("honorificPrefix", "name.honorificPrefix"),
    ("honorificSuffix", "name.honorificSuffix"),
    ("displayName", "displayName"),
    ("nickName", "nickName"),
    ("email", "emails[type eq \"work\"].value"),
    ("title", "title"),
    ("userType", "userType"),
    ("preferredLanguage", "preferredLanguage"),
    ("locale", "locale"),
    ("timezone", "timezone"),
    ("profileUrl", "profileUrl"),
    ("primaryPhone", "phoneNumbers[type eq \"work\"].value"),
    ("mobilePhone", "phoneNumbers[type eq \"mobile\"].value"),
    ("streetAddress", "addresses[type eq \"work\"].streetAddress"),
    ("city", "addresses[type eq \"work\"].locality"),
    ("state", "addresses[type eq \"work\"].region"),
    ("zipCode", "addresses[type eq \"work\"].postalCode"),
    ("countryCode", "addresses[type eq \"work\"].country"),
    ("employeeNumber", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber"),
    ("costCenter", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter"),
    ("organization", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:organization"),
    ("division", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:division"),
    ("department", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"),
    ("managerId", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value"),
    ("manager", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.displayName"),
];

/// A mapping that has been read.
#[derive(Clone, Debug)]
pub struct Mapping {
    pairs: Vec<(String, Path)>,
    paths: Vec<Path>,
    display_name: Path,
}

/// What the provider should show of a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// By path; without `active` and `externalId`.
    pub attributes: Attributes,
    /// `None` decides nothing.
    pub active: Option<bool>,
}

/// A mapping that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum MappingError {
    /// The right side.
    #[error("{attribute} cannot be mapped")]
    Path {
        /// The left side.
        attribute: String,
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// Two of the left side have the same right side.
    #[error("{first} and {second} are both mapped to {path}; map one of them to \"\" to leave it out")]
    Twice {
        /// One.
        first: String,
        /// The other.
        second: String,
        /// The right side.
        path: String,
    },
    /// Nobody has a name.
    #[error("nothing is mapped to userName, and nobody can be known without")]
    NoName,
    /// What the connector itself decides.
    #[error("{attribute} is mapped to {path}, which the connector sets by itself")]
    Reserved {
        /// The left side.
        attribute: String,
        /// The right side.
        path: String,
    },
}

/// What is not a profile attribute's matter.
const RESERVED: [&str; 6] = ["active", "externalId", "id", "schemas", "meta", "groups"];

impl Mapping {
    /// The documented default.
    pub fn standard() -> Result<Self, MappingError> {
        Self::changed([])
    }

    /// The default with these (Okta attribute, SCIM attribute) beside it or in place of its own; an empty right side
    /// leaves an attribute out.
    pub fn changed<'a>(changes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, MappingError> {
        let mut wanted: BTreeMap<&str, &str> = DEFAULT.iter().copied().collect();
        wanted.extend(changes);
        let mut pairs = Vec::new();
        let mut taken: BTreeMap<Path, &str> = BTreeMap::new();
        for (attribute, text) in wanted.into_iter().filter(|(_, text)| !text.trim().is_empty()) {
            let failed = |source| MappingError::Path { attribute: attribute.to_owned(), source };
            let path = Path::parse(text.trim()).map_err(failed)?;
            if path.schema().is_none() && RESERVED.contains(&path.attribute()) {
                return Err(MappingError::Reserved {
                    attribute: attribute.to_owned(),
                    path: path.to_string(),
                });
            }
            if let Some(first) = taken.insert(path.clone(), attribute) {
                let (first, second) = (first.to_owned(), attribute.to_owned());
                return Err(MappingError::Twice { first, second, path: path.to_string() });
            }
            pairs.push((attribute.to_owned(), path));
        }
        let reserved = |text: &str| {
            Path::parse(text).map_err(|source| MappingError::Path { attribute: text.to_owned(), source })
        };
        if !taken.contains_key(&reserved("userName")?) {
            return Err(MappingError::NoName);
        }
        let paths = pairs.iter().map(|(_, path)| path.clone()).collect();
        Ok(Self { pairs, paths, display_name: reserved("displayName")? })
    }

    /// The Okta attributes that are needed.
    pub fn attributes(&self) -> Vec<String> {
        self.pairs.iter().map(|(attribute, _)| attribute.clone()).collect()
    }

    /// Stands for the whole of it: another mapping has another.
    pub fn fingerprint(&self) -> String {
        let pairs: Vec<_> =
            self.pairs.iter().map(|(attribute, path)| format!("{attribute}={path}")).collect();
        pairs.join(",")
    }

    /// The SCIM attributes that are compared and written.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// What the provider should show of `user`.
    pub fn desired(&self, user: &User) -> Desired {
        let mut attributes = Attributes::new();
        for (attribute, path) in &self.pairs {
            if let Some(value) = user.profile.get(attribute).and_then(plain) {
                attributes.insert(path.clone(), value);
            }
        }
        if !attributes.contains_key(&self.display_name) {
            let name: Vec<_> = ["firstName", "lastName"].iter().filter_map(|part| user.text(part)).collect();
            if !name.is_empty() {
                attributes.insert(self.display_name.clone(), Value::from(name.join(" ")));
            }
        }
        Desired { attributes, active: user.status.active() }
    }
}

/// A value that a SCIM string attribute can hold. Numbers are written as text; lists and objects are left out.
fn plain(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) if is_nothing(value) => None,
        Value::String(_) => Some(value.clone()),
        Value::Number(number) => Some(Value::from(number.to_string())),
        Value::Bool(truth) => Some(Value::from(truth.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{OktaUserId, UserStatus};

    fn user(profile: &Value) -> User {
        User {
            id: OktaUserId::from("00u1"),
            status: UserStatus::Active,
            profile: profile.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn the_default_can_be_changed_and_added_to() {
        let badge = "urn:example:params:scim:schemas:extension:badge:1.0:User:number";
        let mapping = Mapping::changed([
            ("badgeNumber", badge),
            ("title", ""),
            ("nickName", "displayName"),
            ("displayName", ""),
        ])
        .unwrap();
        let profile =
            json!({ "login": "ada@example.com", "title": "Countess", "nickName": "Ada", "badgeNumber": 7 });
        let desired = mapping.desired(&user(&profile));
        let shown: Vec<_> =
            desired.attributes.iter().map(|(path, value)| (path.to_string(), value.clone())).collect();
        let expected =
            [("displayName", json!("Ada")), ("userName", json!("ada@example.com")), (badge, json!("7"))];
        assert_eq!(shown, expected.map(|(path, value)| (path.to_owned(), value)));
        assert_ne!(
            mapping.fingerprint(),
            Mapping::standard().unwrap().fingerprint(),
            "everything is read anew"
        );
    }

    #[test]
    fn a_mapping_that_cannot_be_says_why() {
        for (changes, said) in [
            (&[("title", "no such [path")][..], "title cannot be mapped"),
            (&[("nickName", "title")], "nickName and title are both mapped to title"),
            (&[("login", "")], "nothing is mapped to userName"),
            (&[("status", "active")], "sets by itself"),
        ] {
            let error = Mapping::changed(changes.iter().copied()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn nulls_lists_and_custom_attributes_do_no_harm() {
        let mapping = Mapping::standard().unwrap();
        let desired = mapping.desired(&user(&json!({
            "login": "ada@example.com", "firstName": "Ada", "lastName": "Lovelace", "title": null, "city": "",
            "employeeNumber": 42, "department": ["a", "b"], "favoriteColor": "blue"
        })));
        let shown: Vec<_> =
            desired.attributes.iter().map(|(path, value)| (path.to_string(), value.clone())).collect();
        assert_eq!(
            shown,
            [
                ("displayName".to_owned(), json!("Ada Lovelace")),
                ("name.familyName".to_owned(), json!("Lovelace")),
                ("name.givenName".to_owned(), json!("Ada")),
                ("userName".to_owned(), json!("ada@example.com")),
                (
                    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber".to_owned(),
                    json!("42")
                ),
            ]
        );
        assert_eq!(desired.active, Some(true));
    }
}
