//! # Purpose
//! Reads request bodies strictly: every field checked, none unknown, the first breach named.
//!
//! # Invariants kept here
//! - A breach names the field by its path in the body (`resources[2].code`).
//!
//! # Not here
//! Which fields an operation has: see the operations. SCIM bodies, which are open by their own rules.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::answer::Answer;

/// What is wrong with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

impl From<Malformed> for Answer {
    fn from(malformed: Malformed) -> Self {
        Self::malformed(&malformed.0)
    }
}

/// One object of a body, and where it is in it.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    at: String,
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value, at: &str) -> Result<Self, Malformed> {
        match value.as_object() {
            Some(map) => Ok(Self { map, at: at.into() }),
            None => {
                Err(Malformed(format!("{}: must be an object", if at.is_empty() { "the body" } else { at })))
            }
        }
    }

    pub(super) fn place(&self, name: &str) -> String {
        if self.at.is_empty() { name.into() } else { format!("{}.{name}", self.at) }
    }

    pub(super) fn wrong(&self, name: &str, what: &str) -> Malformed {
        Malformed(format!("{}: {what}", self.place(name)))
    }

    /// Refuses fields the contract does not have.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), Malformed> {
        match self.map.keys().find(|key| !names.contains(&key.as_str())) {
            Some(unknown) => Err(self.wrong(unknown, "is not in the contract")),
            None => Ok(()),
        }
    }

    /// The field, unless it is absent or null.
    pub(super) fn optional(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn required(&self, name: &str) -> Result<&'a Value, Malformed> {
        self.map.get(name).ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// A string that may be empty.
    pub(super) fn string(&self, name: &str) -> Result<&'a str, Malformed> {
        self.required(name)?.as_str().ok_or_else(|| self.wrong(name, "must be a string"))
    }

    /// A string with something in it.
    pub(super) fn text(&self, name: &str) -> Result<&'a str, Malformed> {
        let text = self.string(name)?;
        if text.trim().is_empty() { Err(self.wrong(name, "must not be empty")) } else { Ok(text) }
    }

    pub(super) fn one_of(&self, name: &str, allowed: &[&str]) -> Result<&'a str, Malformed> {
        let text = self.text(name)?;
        if allowed.contains(&text) {
            Ok(text)
        } else {
            Err(self.wrong(name, &format!("{text:?} is not one of {}", allowed.join(", "))))
        }
    }

    pub(super) fn uuid(&self, name: &str) -> Result<&'a str, Malformed> {
        let text = self.text(name)?;
        if is_uuid(text) { Ok(text) } else { Err(self.wrong(name, "must be a UUID")) }
    }

    pub(super) fn integer(&self, name: &str, range: RangeInclusive<u64>) -> Result<u64, Malformed> {
        self.required(name)?.as_u64().filter(|number| range.contains(number)).ok_or_else(|| {
            self.wrong(name, &format!("must be an integer from {} to {}", range.start(), range.end()))
        })
    }

    /// An instant as the contract writes it: RFC 3339, in UTC, with a `Z`.
    pub(super) fn instant(&self, name: &str) -> Result<Timestamp, Malformed> {
        let text = self.text(name)?;
        text.parse()
            .ok()
            .filter(|_| text.ends_with('Z') && text.contains('T'))
            .ok_or_else(|| self.wrong(name, "must be an RFC 3339 instant in UTC"))
    }

    pub(super) fn object(&self, name: &str) -> Result<Self, Malformed> {
        Self::of(self.required(name)?, &self.place(name))
    }

    pub(super) fn array(&self, name: &str) -> Result<&'a [Value], Malformed> {
        match self.required(name)?.as_array() {
            Some(array) => Ok(array),
            None => Err(self.wrong(name, "must be a list")),
        }
    }

    pub(super) fn objects(&self, name: &str) -> Result<Vec<Self>, Malformed> {
        let place = self.place(name);
        self.array(name)?
            .iter()
            .enumerate()
            .map(|(index, value)| Self::of(value, &format!("{place}[{index}]")))
            .collect()
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<&'a str>, Malformed> {
        self.array(name)?
            .iter()
            .map(|value| value.as_str().ok_or_else(|| self.wrong(name, "must be a list of strings")))
            .collect()
    }
}

pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}
