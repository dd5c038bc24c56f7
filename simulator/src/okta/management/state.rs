//! # Purpose
//! What administrators have made: their tokens, custom roles, resource sets, and apps that are no clients.
//!
//! # Invariants kept here
//! - Same seed and same calls, same ids.
//!
//! # Not here
//! Service apps with their keys, scopes and assignments: they are the registry's clients.

use std::collections::{BTreeSet, HashMap};

use super::super::hash::mix;
use super::super::ids::push_base62;
use super::operation::Managed;

/// A standard administrator role, of the person whose API token it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminRole {
    /// May do everything.
    SuperAdmin,
    /// Makes apps and their keys; grants no scopes and assigns no roles.
    AppAdmin,
    /// Looks only.
    ReadOnlyAdmin,
}

impl AdminRole {
    pub(super) fn may(self, managed: &Managed) -> bool {
        let scope = managed.scope();
        let (resource, verb) = scope.rsplit_once('.').unwrap_or_default();
        let own = verb == "read" || resource == "okta.apiTokens";
        match self {
            Self::SuperAdmin => true,
            Self::AppAdmin => own || resource == "okta.apps",
            Self::ReadOnlyAdmin => own,
        }
    }
}

/// Who calls with an API token, or with as much right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Administrator {
    pub(in super::super) token: String,
    pub(in super::super) role: AdminRole,
}

/// An admin role that was given to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Assignment {
    pub(in super::super) id: String,
    /// `CUSTOM`, `ORG_ADMIN` and so on.
    pub(in super::super) kind: String,
    pub(in super::super) role: Option<String>,
    pub(in super::super) resource_set: Option<String>,
    pub(in super::super) created: i64,
}

/// A custom admin role.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) description: String,
    pub(super) permissions: BTreeSet<String>,
    pub(super) created: i64,
}

/// A resource set.
#[derive(Clone, Debug)]
pub(super) struct ResourceSet {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) description: String,
    pub(super) resources: Vec<(String, Resource)>,
    pub(super) created: i64,
}

/// What a resource set can hold here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Users,
    Groups,
    Group(String),
}

/// An app that has nothing to do with the token endpoint.
#[derive(Clone, Debug)]
pub(in super::super) struct OtherApp {
    pub(in super::super) id: String,
    pub(in super::super) label: String,
    pub(in super::super) sign_on_mode: String,
}

/// Everything that administrators have made, but clients.
#[derive(Debug, Default)]
pub(in super::super) struct Management {
    pub(in super::super) tokens: HashMap<String, AdminRole>,
    pub(super) roles: Vec<Role>,
    pub(super) sets: Vec<ResourceSet>,
    pub(in super::super) other_apps: Vec<OtherApp>,
    serial: u64,
}

impl Management {
    /// A new id with this prefix of three characters.
    pub(in super::super) fn fresh_id(&mut self, seed: u64, prefix: &str) -> String {
        self.serial += 1;
        let mut id = String::from(prefix);
        push_base62(&mut id, mix(seed ^ 0xAD, self.serial), 11);
        push_base62(&mut id, mix(seed ^ 0xAE, self.serial), 3);
        id.push_str("1d7");
        id
    }

    /// A new API token for an administrator.
    pub(in super::super) fn fresh_token(&mut self, seed: u64, role: AdminRole) -> String {
        self.serial += 1;
        let mut token = String::from("00");
        for part in 0..4 {
            push_base62(&mut token, mix(seed ^ 0xAF ^ part, self.serial), 10);
        }
        self.tokens.insert(token.clone(), role);
        token
    }

    pub(super) fn role(&self, id_or_label: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.id == id_or_label || role.label == id_or_label)
    }

    pub(super) fn set(&self, id_or_label: &str) -> Option<&ResourceSet> {
        self.sets.iter().find(|set| set.id == id_or_label || set.label == id_or_label)
    }
}
