//! # Purpose
//! What is in an organization already, as far as a connection consists of it.
//!
//! # Invariants kept here
//! - Pure. Two texts of Okta's for one thing (a URL and a resource name) become one value.
//!
//! # Not here
//! Asking for it: `admin`. What is missing: `plan`.

use std::collections::BTreeSet;

use serde_json::Value;

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Applications that could be the connector's: with its client id, else with its label.
    pub applications: Vec<Application>,
    /// The custom role with the label.
    pub role: Option<Role>,
    /// The resource set with the label.
    pub resource_set: Option<ResourceSet>,
}

/// An application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// `0oa…`.
    pub id: String,
    /// Of OAuth applications the same as the id.
    pub client_id: String,
    /// Shown name.
    pub label: String,
    /// Whether it is switched on.
    pub active: bool,
    /// What it is, where it is no service application that proves itself by a key.
    pub unfit: Option<String>,
    /// Its keys.
    pub keys: Vec<RegisteredKey>,
    /// Okta API scopes that are granted.
    pub scopes: BTreeSet<String>,
    /// Admin roles.
    pub assignments: Vec<Assignment>,
}

/// A public key of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredKey {
    /// By which the API addresses it; not the key id of assertions.
    pub id: String,
    /// Key id of assertions.
    pub kid: Option<String>,
    /// Whether assertions signed with it are accepted.
    pub active: bool,
    /// See [`material`].
    pub material: String,
}

/// An admin role of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// `CUSTOM`, `ORG_ADMIN` and so on.
    pub kind: String,
    /// Shown name.
    pub label: String,
    /// Id of the custom role.
    pub role: Option<String>,
    /// Id of the resource set.
    pub resource_set: Option<String>,
}

/// A custom admin role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// `cr0…`.
    pub id: String,
    /// What it permits.
    pub permissions: BTreeSet<String>,
}

/// A resource set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceSet {
    /// `iam…`.
    pub id: String,
    /// What is in it.
    pub resources: BTreeSet<Resource>,
}

/// Something that an admin role can be limited to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// Every user.
    AllUsers,
    /// Every group.
    AllGroups,
    /// One group, by its id.
    Group(String),
    /// Anything else, as Okta names it.
    Other(String),
}

impl Resource {
    /// Reads a URL (`https://example.okta.com/api/v1/groups/00g…`) or a name (`orn:okta:directory:00o…:groups:00g…`).
    pub fn read(text: &str) -> Self {
        let path = if let Some((_, path)) = text.split_once("/api/v1/") {
            path.replace('/', ":")
        } else {
            let mut parts = text.splitn(5, ':');
            match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some("orn"), Some("okta"), Some("directory"), Some(_), Some(rest)) => rest.to_owned(),
                _ => return Self::Other(text.to_owned()),
            }
        };
        match path.split(':').collect::<Vec<_>>().as_slice() {
            ["users"] => Self::AllUsers,
            ["groups"] => Self::AllGroups,
            ["groups", group] => Self::Group((*group).to_owned()),
            _ => Self::Other(text.to_owned()),
        }
    }

    /// The URL by which it is put into a set.
    pub fn url(&self, origin: &str) -> String {
        match self {
            Self::AllUsers => format!("{origin}/api/v1/users"),
            Self::AllGroups => format!("{origin}/api/v1/groups"),
            Self::Group(id) => format!("{origin}/api/v1/groups/{id}"),
            Self::Other(text) => text.clone(),
        }
    }
}

impl ResourceSet {
    /// Whether it reaches `resource`.
    pub fn reaches(&self, resource: &Resource) -> bool {
        let by_all = matches!(resource, Resource::Group(_)) && self.resources.contains(&Resource::AllGroups);
        by_all || self.resources.contains(resource)
    }
}

/// What makes two public keys the same one: their numbers.
pub fn material(jwk: &Value) -> String {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
    [text("kty"), text("crv"), text("n"), text("x"), text("y")].join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_resource_names_mean_the_same() {
        let origin = "https://example.okta.com";
        for (url, name, expected) in [
            ("users", "users", Resource::AllUsers),
            ("groups", "groups", Resource::AllGroups),
            ("groups/00g1", "groups:00g1", Resource::Group("00g1".into())),
        ] {
            let url = format!("{origin}/api/v1/{url}");
            assert_eq!(Resource::read(&url), expected);
            assert_eq!(Resource::read(&format!("orn:okta:directory:00o1:{name}")), expected);
            assert_eq!(expected.url(origin), url);
        }
        for other in ["orn:okta:idp:00o1:apps:oidc", "x", "https://example.okta.com/api/v1/groups/00g1/users"]
        {
            assert_eq!(Resource::read(other), Resource::Other(other.into()));
        }
    }
}
