//! # Purpose
//! What the admin roles of a client let it see and change.
//!
//! # Invariants kept here
//! - A custom role reaches what its resource set holds, and nothing else.
//! - Members are changed by whoever may do so for the group and for the user.
//!
//! # Not here
//! Scopes, which are asked for beside the role.

use std::collections::BTreeSet;

use super::super::oauth::Client;
use super::state::{Management, Resource};

/// How far a caller's role reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Rights {
    /// A standard role that reaches everything here.
    pub(in super::super) everything: bool,
    /// May look at users.
    pub(in super::super) users: bool,
    /// May look at these groups.
    pub(in super::super) groups: Reach,
    /// May change the members of these groups.
    pub(in super::super) members: Reach,
}

/// Some groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Reach {
    all: bool,
    named: BTreeSet<String>,
}

impl Reach {
    pub(in super::super) fn includes(&self, group: &str) -> bool {
        self.all || self.named.contains(group)
    }

    pub(in super::super) fn is_nothing(&self) -> bool {
        !self.all && self.named.is_empty()
    }

    fn widen(&mut self, resources: &[(String, Resource)]) {
        for (_, resource) in resources {
            match resource {
                Resource::Users => {}
                Resource::Groups => self.all = true,
                Resource::Group(group) => {
                    self.named.insert(group.clone());
                }
            }
        }
    }
}

impl Rights {
    /// Of somebody who may do everything.
    pub(in super::super) fn all() -> Self {
        let all = Reach { all: true, named: BTreeSet::new() };
        Self { everything: true, users: true, groups: all.clone(), members: all }
    }

    /// Of a client, by what was arranged, and what was assigned until `in_force` (milliseconds since the epoch).
    pub(in super::super) fn of(client: &Client, management: &Management, in_force: i64) -> Self {
        let standard = ["SUPER_ADMIN", "ORG_ADMIN"];
        let assignments = || client.assignments.iter().filter(|assignment| assignment.created <= in_force);
        let has_standard = assignments().any(|assignment| standard.contains(&assignment.kind.as_str()));
        if client.admin_role || client.super_admin || has_standard {
            return Self::all();
        }
        let mut rights = Self::default();
        for assignment in assignments() {
            let (Some(role), Some(set)) = (&assignment.role, &assignment.resource_set) else { continue };
            let (Some(role), Some(set)) = (management.role(role), management.set(set)) else { continue };
            let may = |permission: &str| role.permissions.contains(permission);
            let holds_users = set.resources.iter().any(|(_, resource)| *resource == Resource::Users);
            rights.users |= holds_users && (may("okta.users.read") || may("okta.users.manage"));
            let members = may("okta.groups.members.manage") || may("okta.groups.manage");
            if members || may("okta.groups.read") {
                rights.groups.widen(&set.resources);
            }
            // A membership is the group's and the user's.
            if members && holds_users && may("okta.users.groupMembership.manage") {
                rights.members.widen(&set.resources);
            }
        }
        rights
    }

    /// Whether there is no role at all, or one that reaches nothing here.
    pub(in super::super) fn is_nothing(&self) -> bool {
        !self.everything && !self.users && self.groups.is_nothing() && self.members.is_nothing()
    }
}
