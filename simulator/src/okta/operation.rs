//! # Purpose
//! What a request asks for: path and method to operation, and what each operation costs and requires.
//!
//! # Invariants kept here
//! - The names are those that faults and counters go by.
//! - Path segments are percent-decoded one by one, so an encoded slash never splits a segment.
//!
//! # Not here
//! Carrying the operation out.

use http::Method;

use super::management::{Managed, NoSuch};
use super::query::percent_decoded;
use super::settings::Bucket;

/// Something the simulated org can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Token,
    WellKnown,
    Keys,
    ListUsers,
    GetUser {
        user: String,
    },
    ListUserGroups {
        user: String,
    },
    ListGroups,
    ListGroupRules,
    GetGroup {
        group: String,
    },
    ListGroupMembers {
        group: String,
    },
    AddMember {
        group: String,
        user: String,
    },
    RemoveMember {
        group: String,
        user: String,
    },
    ListGroupRoles {
        group: String,
    },
    GetOrg,
    ListLogs,
    /// Something that only an administrator does.
    Manage(Managed),
    /// No such path.
    UnknownPath,
    /// The path exists, but not for this method.
    UnknownMethod,
}

impl Operation {
    /// Reads method and (still encoded) path.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let segments: Vec<String> = path.trim_start_matches('/').split('/').map(percent_decoded).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (allowed, operation) = match segments.as_slice() {
            ["oauth2", "v1", "token"] => (Method::POST, Self::Token),
            ["oauth2", "v1", "keys"] => (Method::GET, Self::Keys),
            [".well-known", "okta-organization"] => (Method::GET, Self::WellKnown),
            ["api", "v1", "users"] => (Method::GET, Self::ListUsers),
            ["api", "v1", "users", user] => (Method::GET, Self::GetUser { user: (*user).into() }),
            ["api", "v1", "users", user, "groups"] => {
                (Method::GET, Self::ListUserGroups { user: (*user).into() })
            }
            ["api", "v1", "groups"] => (Method::GET, Self::ListGroups),
            ["api", "v1", "groups", "rules"] => (Method::GET, Self::ListGroupRules),
            ["api", "v1", "groups", group] => (Method::GET, Self::GetGroup { group: (*group).into() }),
            ["api", "v1", "groups", group, "users"] => {
                (Method::GET, Self::ListGroupMembers { group: (*group).into() })
            }
            ["api", "v1", "groups", group, "users", user] => {
                let (group, user) = ((*group).into(), (*user).into());
                if method == Method::DELETE {
                    (Method::DELETE, Self::RemoveMember { group, user })
                } else {
                    (Method::PUT, Self::AddMember { group, user })
                }
            }
            ["api", "v1", "groups", group, "roles"] => {
                (Method::GET, Self::ListGroupRoles { group: (*group).into() })
            }
            ["api", "v1", "org"] => (Method::GET, Self::GetOrg),
            ["api", "v1", "logs"] => (Method::GET, Self::ListLogs),
            segments => {
                return match Managed::of(method, segments) {
                    Ok(managed) => Self::Manage(managed),
                    Err(NoSuch::Method) => Self::UnknownMethod,
                    Err(NoSuch::Path) => Self::UnknownPath,
                };
            }
        };
        if *method == allowed { operation } else { Self::UnknownMethod }
    }

    /// The name that faults and counters go by.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::WellKnown => "well_known",
            Self::Keys => "keys",
            Self::ListUsers => "list_users",
            Self::GetUser { .. } => "get_user",
            Self::ListUserGroups { .. } => "list_user_groups",
            Self::ListGroups => "list_groups",
            Self::ListGroupRules => "list_group_rules",
            Self::GetGroup { .. } => "get_group",
            Self::ListGroupMembers { .. } => "list_group_members",
            Self::AddMember { .. } => "add_member",
            Self::RemoveMember { .. } => "remove_member",
            Self::ListGroupRoles { .. } => "list_group_roles",
            Self::GetOrg => "get_org",
            Self::ListLogs => "list_logs",
            Self::Manage(managed) => managed.name(),
            Self::UnknownPath => "unknown_path",
            Self::UnknownMethod => "unknown_method",
        }
    }

    /// The budget it draws on. Discovery documents are not limited.
    pub(super) fn bucket(&self) -> Option<Bucket> {
        match self {
            Self::WellKnown | Self::Keys => None,
            Self::Token => Some(Bucket::Token),
            Self::ListUsers | Self::ListUserGroups { .. } => Some(Bucket::Users),
            Self::GetUser { .. } => Some(Bucket::UserById),
            Self::ListGroups
            | Self::ListGroupRules
            | Self::ListGroupMembers { .. }
            | Self::AddMember { .. }
            | Self::RemoveMember { .. }
            | Self::ListGroupRoles { .. } => Some(Bucket::Groups),
            Self::GetGroup { .. } => Some(Bucket::GroupById),
            Self::ListLogs => Some(Bucket::Logs),
            Self::GetOrg | Self::Manage(_) | Self::UnknownPath | Self::UnknownMethod => Some(Bucket::Rest),
        }
    }

    /// The scope it requires. `None` where no token is looked at.
    pub(super) fn scope(&self) -> Option<&'static str> {
        match self {
            Self::Token | Self::WellKnown | Self::Keys | Self::UnknownPath | Self::UnknownMethod => None,
            Self::ListUsers | Self::GetUser { .. } | Self::ListUserGroups { .. } => Some("okta.users.read"),
            Self::ListGroups
            | Self::ListGroupRules
            | Self::GetGroup { .. }
            | Self::ListGroupMembers { .. } => Some("okta.groups.read"),
            Self::AddMember { .. } | Self::RemoveMember { .. } => Some("okta.groups.manage"),
            Self::ListGroupRoles { .. } => Some("okta.roles.read"),
            Self::GetOrg => Some("okta.orgs.read"),
            Self::ListLogs => Some("okta.logs.read"),
            Self::Manage(managed) => Some(managed.scope()),
        }
    }
}
