//! # Purpose
//! Which Okta profile attribute becomes which SCIM attribute.
//!
//! # Invariants kept here
//! - Pure. A status that decides nothing sets nothing (`active` is left out).
//! - A value of a custom schema's attribute is the JSON that Okta has; RFC 7643's own attributes hold text. What SCIM
//!   has no place for is left out and named ([`Desired::unfit`]); it costs no other attribute.
//!
//! # Not here
//! How paths are read and written: `scim::attributes`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::User;
use crate::scim::attributes::{Attributes, Path, PathError, is_nothing};

/// Why a value has no place at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unfit {
    /// The attribute holds one text.
    #[error(
        "it is a list or an object, and the attribute holds text; map it to an attribute of a schema of your own"
    )]
    NotText,
    /// SCIM has lists of values, lists of objects, and objects of values and lists of values; nothing deeper.
    #[error("SCIM has no lists in lists, no objects in objects, and no lists that mix values and objects")]
    TooDeep,
}

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
    /// The Okta attributes whose values have no place at the provider.
    pub unfit: Vec<(String, Unfit)>,
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
        let (mut attributes, mut unfit) = (Attributes::new(), Vec::new());
        for (attribute, path) in &self.pairs {
            match user.profile.get(attribute).map_or(Ok(None), |value| fit(path, value)) {
                Ok(Some(value)) => {
                    attributes.insert(path.clone(), value);
                }
                Ok(None) => {}
                Err(why) => unfit.push((attribute.clone(), why)),
            }
        }
        if !attributes.contains_key(&self.display_name) {
            let name: Vec<_> = ["firstName", "lastName"].iter().filter_map(|part| user.text(part)).collect();
            if !name.is_empty() {
                attributes.insert(self.display_name.clone(), Value::from(name.join(" ")));
            }
        }
        Desired { attributes, active: user.status.active(), unfit }
    }
}

/// The value as it can be written to `path`; `None` where it says nothing.
fn fit(path: &Path, value: &Value) -> Result<Option<Value>, Unfit> {
    let value = if path.holds_any() { whole(value, path.sub().is_none()) } else { as_text(value) };
    value.map(|value| Some(value).filter(|value| !is_nothing(value)))
}

/// RFC 7643's attributes are text: numbers and booleans are written as such.
fn as_text(value: &Value) -> Result<Value, Unfit> {
    match value {
        Value::Null | Value::String(_) => Ok(value.clone()),
        Value::Number(number) => Ok(Value::from(number.to_string())),
        Value::Bool(truth) => Ok(Value::from(truth.to_string())),
        Value::Array(elements) if elements.iter().all(is_nothing) => Ok(Value::Null),
        Value::Object(members) if members.values().all(is_nothing) => Ok(Value::Null),
        Value::Array(_) | Value::Object(_) => Err(Unfit::NotText),
    }
}

/// An attribute of another schema is what it is in Okta, without what says nothing. `complex` says that it may have
/// sub-attributes; one that is a sub-attribute itself has none.
fn whole(value: &Value, complex: bool) -> Result<Value, Unfit> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(value.clone()),
        Value::Array(elements) => {
            let said: Vec<&Value> = elements.iter().filter(|element| !is_nothing(element)).collect();
            let flat = said.iter().all(|element| is_single(element));
            let objects = complex && said.iter().all(|element| element.is_object());
            if !flat && !objects {
                return Err(Unfit::TooDeep);
            }
            said.into_iter()
                .map(|element| whole(element, complex))
                .collect::<Result<_, _>>()
                .map(Value::Array)
        }
        Value::Object(members) if complex => {
            let said = members.iter().filter(|(_, member)| !is_nothing(member));
            let member = |(name, member): (&String, &Value)| Ok((name.clone(), whole(member, false)?));
            said.map(member).collect::<Result<_, _>>().map(Value::Object)
        }
        Value::Object(members) if members.values().all(is_nothing) => Ok(Value::Null),
        Value::Object(_) => Err(Unfit::TooDeep),
    }
}

fn is_single(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    use super::*;
    use crate::domain::{OktaUserId, UserStatus};
    use crate::scim::attributes::{read, same, write};

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
            [("displayName", json!("Ada")), ("userName", json!("ada@example.com")), (badge, json!(7))];
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

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..5).prop_map(Value::from),
                btree_map("[a-z]{1,3}", inner, 0..5).prop_map(|all| all.into_iter().collect()),
            ]
        })
    }

    proptest! {
        /// Whatever a profile holds: the rest of it is written as without it, and what is written is read back.
        #[test]
        fn a_value_costs_no_other_attribute_and_is_read_back_as_it_was_written(
            attribute in select(&["title", "department", "email", "middleName", "thing", "part"]),
            value in any_value(),
        ) {
            let own = "urn:example:params:scim:schemas:extension:badge:1.0:User";
            let (thing, part) = (format!("{own}:thing"), format!("{own}:other.part"));
            let mapping = Mapping::changed([("thing", thing.as_str()), ("part", &part)]).unwrap();
            let mut profile = json!({ "login": "ada@example.com", "firstName": "Ada", "city": "London" });
            let without = mapping.desired(&user(&profile));
            profile[attribute] = value.clone();
            let with = mapping.desired(&user(&profile));
            let path = mapping.pairs.iter().find(|(name, _)| name == attribute).map(|(_, path)| path).unwrap();
            let mut rest = with.attributes.clone();
            let written = rest.remove(path);
            prop_assert_eq!(rest, without.attributes);
            prop_assert!(written.is_none() || with.unfit.is_empty());
            if let (Some(written), true) = (&written, path.holds_any()) {
                prop_assert!(same(written, &value) || value.is_array() || value.is_object(), "{}", written);
            }
            let resource = write(&with.attributes);
            for (path, read) in read(&resource, mapping.paths()) {
                prop_assert!(same(&read, &with.attributes[&path]), "{}: {}", path, read);
            }
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
        assert_eq!(desired.unfit, [("department".to_owned(), Unfit::NotText)], "and the rest is not lost");
    }

    #[test]
    fn every_type_of_json_has_its_place_or_is_named() {
        let own = "urn:example:params:scim:schemas:extension:badge:1.0:User:thing";
        let part = "urn:example:params:scim:schemas:extension:badge:1.0:User:thing.part";
        let as_it_is =
            |value: Value| [Ok(Some(json!(value.to_string()))), Ok(Some(value.clone())), Ok(Some(value))];
        let same = |value: Value| [Ok(Some(value.clone())), Ok(Some(value.clone())), Ok(Some(value))];
        let nothing = [Ok(None), Ok(None), Ok(None)];
        let list = |value: Value| [Err(Unfit::NotText), Ok(Some(value.clone())), Ok(Some(value))];
        let object = |value: Value| [Err(Unfit::NotText), Ok(Some(value)), Err(Unfit::TooDeep)];
        let nowhere = [Err(Unfit::NotText), Err(Unfit::TooDeep), Err(Unfit::TooDeep)];
        let table = [
            (json!(null), nothing.clone()),
            (json!(""), nothing.clone()),
            (json!([]), nothing.clone()),
            (json!({}), nothing.clone()),
            (json!([null, ""]), nothing.clone()),
            (json!({ "a": null }), nothing),
            (json!("a"), same(json!("a"))),
            (json!(" "), same(json!(" "))),
            (json!("<b>&amp;</b><script>"), same(json!("<b>&amp;</b><script>"))),
            (
                json!("שלום مرحبا e\u{301} 👩‍💻 \u{0} \u{202e}"),
                same(json!("שלום مرحبا e\u{301} 👩‍💻 \u{0} \u{202e}")),
            ),
            (json!(7), as_it_is(json!(7))),
            (json!(-0.5), as_it_is(json!(-0.5))),
            (json!(u64::MAX), as_it_is(json!(u64::MAX))),
            (json!(true), as_it_is(json!(true))),
            (json!(false), as_it_is(json!(false))),
            (json!(["a", "b"]), list(json!(["a", "b"]))),
            (json!([2, 1, null]), list(json!([2, 1]))),
            (json!([true, "a", 1.5]), list(json!([true, "a", 1.5]))),
            (json!({ "a": 1, "b": ["x"], "c": null }), object(json!({ "a": 1, "b": ["x"] }))),
            (json!([{ "a": 1 }, { "b": 2 }]), object(json!([{ "a": 1 }, { "b": 2 }]))),
            (json!([["a"]]), nowhere.clone()),
            (json!(["a", { "b": 1 }]), nowhere.clone()),
            (json!({ "a": { "b": 1 } }), nowhere.clone()),
            (json!([{ "a": [{ "b": 1 }] }]), nowhere),
        ];
        for (value, expected) in table {
            let found = ["title", own, part].map(|path| fit(&Path::parse(path).unwrap(), &value));
            assert_eq!(found, expected, "{value}");
        }
    }
}
