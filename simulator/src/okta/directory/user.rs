//! # Purpose
//! One user: what is stored, and the JSON that Okta would send.
//!
//! # Invariants kept here
//! - A user who was only seeded stores no profile; the first change gives them one of their own.
//!
//! # Not here
//! Memberships.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::super::filter::Attribute;
use super::super::ids::{Ids, Kind};
use super::super::json::{Object, write_value};
use super::person::{Batch, Person};

/// A lifecycle status, including ones that Okta has not invented yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Status {
    Active,
    Deprovisioned,
    Staged,
    Provisioned,
    Other(Box<str>),
}

impl Status {
    pub(in super::super) fn of(name: &str) -> Self {
        match name {
            "ACTIVE" => Self::Active,
            "DEPROVISIONED" => Self::Deprovisioned,
            "STAGED" => Self::Staged,
            "PROVISIONED" => Self::Provisioned,
            other => Self::Other(other.into()),
        }
    }

    pub(in super::super) fn name(&self) -> &str {
        match self {
            Self::Active => "ACTIVE",
            Self::Deprovisioned => "DEPROVISIONED",
            Self::Staged => "STAGED",
            Self::Provisioned => "PROVISIONED",
            Self::Other(name) => name,
        }
    }
}

/// Where a profile comes from.
#[derive(Clone, Debug)]
pub(super) enum Profile {
    Seeded { batch: usize },
    Own(Box<Map<String, Value>>),
}

/// What is stored of a user. Instants are milliseconds since the epoch.
#[derive(Clone, Debug)]
pub(in super::super) struct User {
    pub(super) profile: Profile,
    pub(super) status: Status,
    pub(super) created: i64,
    pub(super) last_updated: i64,
    pub(super) status_changed: i64,
    pub(super) deleted: bool,
}

/// Which members of a user are asked for.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Projection {
    /// Top-level members; `None` is all.
    pub(in super::super) top: Option<Vec<String>>,
    /// Members of the profile; `None` is all.
    pub(in super::super) profile: Option<Vec<String>>,
    /// The caller asked to omit credentials.
    pub(in super::super) without_credentials: bool,
}

impl Projection {
    /// Reads `id,status,profile:(login,email)`.
    pub(in super::super) fn of(fields: &str) -> Self {
        let mut top = vec!["id".to_owned()];
        let mut profile = None;
        let mut rest = fields.trim();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix("profile:(") {
                let (names, after) = inner.split_once(')').unwrap_or((inner, ""));
                profile = Some(names.split(',').map(|name| name.trim().to_owned()).collect());
                top.push("profile".into());
                rest = after.trim_start_matches([',', ' ']);
            } else {
                let (name, after) = rest.split_once(',').unwrap_or((rest, ""));
                top.push(name.trim().to_owned());
                rest = after.trim_start();
            }
        }
        Self { top: Some(top), profile, without_credentials: false }
    }
}

/// A user together with what their data follows from.
pub(in super::super) struct UserView<'a> {
    pub(super) index: u32,
    pub(super) user: &'a User,
    pub(super) batches: &'a [Batch],
    pub(super) ids: Ids,
}

impl UserView<'_> {
    pub(in super::super) fn id(&self) -> String {
        self.ids.id(Kind::User, self.index)
    }

    pub(in super::super) fn status(&self) -> &Status {
        &self.user.status
    }

    /// When the user was created, in milliseconds since the epoch.
    pub(in super::super) fn created(&self) -> i64 {
        self.user.created
    }

    fn person(&self) -> Option<Person> {
        match &self.user.profile {
            Profile::Seeded { batch } => self.batches.get(*batch).map(|batch| batch.person(self.index)),
            Profile::Own(_) => None,
        }
    }

    /// The login.
    pub(in super::super) fn login(&self) -> String {
        self.profile_text("login")
    }

    /// First and last name.
    pub(in super::super) fn full_name(&self) -> String {
        format!("{} {}", self.profile_text("firstName"), self.profile_text("lastName")).trim().to_owned()
    }

    fn profile_text(&self, name: &str) -> String {
        match self.profile_attribute(name) {
            Some(Value::String(text)) => text,
            Some(_) | None => String::new(),
        }
    }

    fn profile_attribute(&self, name: &str) -> Option<Value> {
        match &self.user.profile {
            Profile::Own(profile) => profile.get(name).cloned(),
            Profile::Seeded { .. } => {
                let person = self.person()?;
                // Names and login are what lookups ask for; they need no rendering.
                match name {
                    "login" | "email" => Some(person.login().into()),
                    "firstName" => Some(person.first_name.into()),
                    "lastName" => Some(person.last_name.into()),
                    _ => self.profile().remove(name),
                }
            }
        }
    }

    /// The whole profile as a tree.
    pub(in super::super) fn profile(&self) -> Map<String, Value> {
        match &self.user.profile {
            Profile::Own(profile) => profile.as_ref().clone(),
            Profile::Seeded { .. } => {
                let mut text = Vec::new();
                self.write_profile(&mut text, None);
                serde_json::from_slice(&text).unwrap_or_default()
            }
        }
    }

    fn write_profile(&self, out: &mut Vec<u8>, only: Option<&[String]>) {
        match (&self.user.profile, self.person()) {
            (Profile::Own(profile), _) if only.is_none() => write_value(out, profile),
            (Profile::Own(profile), _) => {
                let mut object = Object::open_with_only(out, only);
                for (name, value) in profile.iter() {
                    object.value(name, value);
                }
                object.close();
            }
            (Profile::Seeded { .. }, Some(person)) => person.write_profile(out, only),
            (Profile::Seeded { .. }, None) => out.extend_from_slice(b"{}"),
        }
    }

    /// The value that a filter compares.
    pub(in super::super) fn attribute(&self, path: &str) -> Attribute<'_> {
        match path {
            "id" => Attribute::Text(Cow::Owned(self.id())),
            "status" => Attribute::Text(Cow::Borrowed(self.user.status.name())),
            "created" => Attribute::Instant(self.user.created),
            "activated" => self.activated().map_or(Attribute::Absent, Attribute::Instant),
            "statusChanged" => Attribute::Instant(self.user.status_changed),
            "lastUpdated" => Attribute::Instant(self.user.last_updated),
            "type.id" => Attribute::Text(Cow::Borrowed("oty1a2b3c4D5e6F7g1d7")),
            _ => path
                .strip_prefix("profile.")
                .and_then(|name| self.profile_attribute(name))
                .map_or(Attribute::Absent, Attribute::Json),
        }
    }

    fn activated(&self) -> Option<i64> {
        (self.user.status != Status::Staged).then_some(self.user.created)
    }

    /// Writes the user as the API shows it.
    pub(in super::super) fn write(&self, out: &mut Vec<u8>, origin: &str, projection: &Projection) {
        let user = self.user;
        let id = self.id();
        let has_password = !matches!(user.status, Status::Staged | Status::Provisioned);
        let mut object = Object::open_with_only(out, projection.top.as_deref());
        object.text("id", &id);
        object.text("status", user.status.name());
        object.instant("created", Some(user.created));
        object.instant("activated", self.activated());
        object.instant("statusChanged", Some(user.status_changed));
        object.instant(
            "lastLogin",
            (has_password && !self.index.is_multiple_of(3)).then_some(user.last_updated),
        );
        object.instant("lastUpdated", Some(user.last_updated));
        object.instant("passwordChanged", has_password.then_some(user.created));
        object.raw("type", |out| out.extend_from_slice(br#"{"id":"oty1a2b3c4D5e6F7g1d7"}"#));
        object.raw("profile", |out| self.write_profile(out, projection.profile.as_deref()));
        if !projection.without_credentials {
            object.raw("credentials", |out| {
                out.extend_from_slice(br#"{"password":{},"provider":{"type":"OKTA","name":"OKTA"}}"#);
            });
        }
        object.raw("_links", |out| {
            let mut links = Object::open(out);
            links.raw("self", |out| {
                let mut link = Object::open(out);
                link.raw("href", |out| write_value(out, &format!("{origin}/api/v1/users/{id}")));
                link.close();
            });
            links.close();
        });
        object.close();
    }
}

#[cfg(test)]
mod tests {
    use super::Projection;

    #[test]
    fn okta_projection_reads_nested_fields_wherever_they_stand() {
        let projection = Projection::of("status,profile:(login, email),created");
        assert_eq!(projection.top.unwrap(), ["id", "status", "profile", "created"]);
        assert_eq!(projection.profile.unwrap(), ["login", "email"]);
    }
}
