//! # Purpose
//! Attribute paths of RFC 7644: `userName`, `name.givenName`, `urn:…:User:department`.
//!
//! # Invariants kept here
//! - Attribute names and schema URNs are compared without regard to case.
//!
//! # Not here
//! Value filters in brackets: see [`super::filter`] and [`super::patch`].

use serde_json::{Map, Value};

pub(super) const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
pub(super) const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
pub(super) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
pub(super) const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
pub(super) const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
pub(super) const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";

/// Names with the case they are stored in, for callers that write them otherwise.
const KNOWN: [&str; 36] = [
    "schemas",
    "id",
    "externalId",
    "meta",
    "userName",
    "name",
    "displayName",
    "nickName",
    "profileUrl",
    "title",
    "userType",
    "preferredLanguage",
    "locale",
    "timezone",
    "active",
    "password",
    "emails",
    "phoneNumbers",
    "ims",
    "photos",
    "addresses",
    "groups",
    "entitlements",
    "roles",
    "x509Certificates",
    "members",
    "formatted",
    "familyName",
    "givenName",
    "middleName",
    "honorificPrefix",
    "honorificSuffix",
    "employeeNumber",
    "costCenter",
    "department",
    "manager",
];

/// Attributes that hold a list of values.
const MULTI_VALUED: [&str; 9] = [
    "emails",
    "phoneNumbers",
    "ims",
    "photos",
    "addresses",
    "entitlements",
    "roles",
    "x509Certificates",
    "members",
];

/// One attribute, or one of its sub-attributes, or a whole extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AttrPath {
    /// The extension it belongs to; `None` for the core schema.
    pub(super) extension: Option<String>,
    /// `None` for the extension as a whole.
    pub(super) attribute: Option<String>,
    pub(super) sub: Option<String>,
}

impl AttrPath {
    /// Reads a path without brackets. `None` if it cannot be one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_urn = text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("urn:"));
        if !is_urn {
            return Self::within(None, text);
        }
        if let Some(whole) = [USER, GROUP, ENTERPRISE].iter().find(|urn| urn.eq_ignore_ascii_case(text)) {
            let extension = (*whole == ENTERPRISE).then(|| ENTERPRISE.to_owned());
            return extension.map(|urn| Self { extension: Some(urn), attribute: None, sub: None });
        }
        let (urn, rest) = text.rsplit_once(':')?;
        if urn.eq_ignore_ascii_case(USER) || urn.eq_ignore_ascii_case(GROUP) {
            return Self::within(None, rest);
        }
        let urn = if urn.eq_ignore_ascii_case(ENTERPRISE) { ENTERPRISE } else { urn };
        Self::within(Some(urn.to_owned()), rest)
    }

    fn within(extension: Option<String>, text: &str) -> Option<Self> {
        let (attribute, sub) = match text.split_once('.') {
            Some((attribute, sub)) => (attribute, Some(sub)),
            None => (text, None),
        };
        let is_name = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '$')
                && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "$-_".contains(letter))
        };
        if !is_name(attribute) || !sub.is_none_or(is_name) {
            return None;
        }
        let sub = sub.map(canonical);
        Some(Self { extension, attribute: Some(canonical(attribute)), sub })
    }

    /// Whether this is the core attribute `name`, with or without a sub-attribute.
    pub(super) fn is_core(&self, name: &str) -> bool {
        self.extension.is_none() && self.attribute.as_deref() == Some(name)
    }
}

/// The name in the case it is stored in.
pub(super) fn canonical(name: &str) -> String {
    KNOWN.iter().find(|known| known.eq_ignore_ascii_case(name)).map_or(name, |known| known).to_owned()
}

pub(super) fn is_multi_valued(name: &str) -> bool {
    MULTI_VALUED.contains(&name)
}

/// A field, whatever its case.
pub(super) fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}
