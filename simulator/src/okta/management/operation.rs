//! # Purpose
//! Which management call a request makes.
//!
//! # Invariants kept here
//! - The names are those that faults and counters go by.
//!
//! # Not here
//! Carrying it out.

use http::Method;

/// A call of an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Managed {
    ListApps,
    CreateApp,
    GetApp { app: String },
    ListKeys { app: String },
    AddKey { app: String },
    ActivateKey { app: String, key: String },
    DeactivateKey { app: String, key: String },
    DeleteKey { app: String, key: String },
    ListGrants { app: String },
    Grant { app: String },
    ListRoles,
    CreateRole,
    ListPermissions { role: String },
    AddPermission { role: String, permission: String },
    ListResourceSets,
    CreateResourceSet,
    ListResources { set: String },
    AddResources { set: String },
    ListAssignments { client: String },
    Assign { client: String },
    RevokeToken,
}

/// Why a request is none of these calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum NoSuch {
    Path,
    Method,
}

impl Managed {
    /// Reads method and decoded path.
    pub(in super::super) fn of(method: &Method, segments: &[&str]) -> Result<Self, NoSuch> {
        let text = |segment: &&str| (*segment).to_owned();
        let by = |get: Option<Self>, post: Option<Self>| match *method {
            Method::GET => get,
            Method::POST => post,
            _ => None,
        };
        let found = match segments {
            ["api", "v1", "apps"] => by(Some(Self::ListApps), Some(Self::CreateApp)),
            ["api", "v1", "apps", app] => by(Some(Self::GetApp { app: text(app) }), None),
            ["api", "v1", "apps", app, "credentials", "jwks"] => {
                by(Some(Self::ListKeys { app: text(app) }), Some(Self::AddKey { app: text(app) }))
            }
            ["api", "v1", "apps", app, "credentials", "jwks", key] => {
                (*method == Method::DELETE).then(|| Self::DeleteKey { app: text(app), key: text(key) })
            }
            ["api", "v1", "apps", app, "credentials", "jwks", key, "lifecycle", "activate"] => {
                by(None, Some(Self::ActivateKey { app: text(app), key: text(key) }))
            }
            ["api", "v1", "apps", app, "credentials", "jwks", key, "lifecycle", "deactivate"] => {
                by(None, Some(Self::DeactivateKey { app: text(app), key: text(key) }))
            }
            ["api", "v1", "apps", app, "grants"] => {
                by(Some(Self::ListGrants { app: text(app) }), Some(Self::Grant { app: text(app) }))
            }
            ["api", "v1", "iam", "roles"] => by(Some(Self::ListRoles), Some(Self::CreateRole)),
            ["api", "v1", "iam", "roles", role, "permissions"] => {
                by(Some(Self::ListPermissions { role: text(role) }), None)
            }
            ["api", "v1", "iam", "roles", role, "permissions", permission] => {
                by(None, Some(Self::AddPermission { role: text(role), permission: text(permission) }))
            }
            ["api", "v1", "iam", "resource-sets"] => {
                by(Some(Self::ListResourceSets), Some(Self::CreateResourceSet))
            }
            ["api", "v1", "iam", "resource-sets", set, "resources"] if *method == Method::PATCH => {
                Some(Self::AddResources { set: text(set) })
            }
            ["api", "v1", "iam", "resource-sets", set, "resources"] => {
                by(Some(Self::ListResources { set: text(set) }), None)
            }
            ["oauth2", "v1", "clients", client, "roles"] => by(
                Some(Self::ListAssignments { client: text(client) }),
                Some(Self::Assign { client: text(client) }),
            ),
            ["api", "v1", "api-tokens", "current"] => {
                (*method == Method::DELETE).then_some(Self::RevokeToken)
            }
            _ => return Err(NoSuch::Path),
        };
        found.ok_or(NoSuch::Method)
    }

    /// The name that faults and counters go by.
    pub(in super::super) fn name(&self) -> &'static str {
        match self {
            Self::ListApps => "list_apps",
            Self::CreateApp => "create_app",
            Self::GetApp { .. } => "get_app",
            Self::ListKeys { .. } => "list_app_keys",
            Self::AddKey { .. } => "add_app_key",
            Self::ActivateKey { .. } => "activate_app_key",
            Self::DeactivateKey { .. } => "deactivate_app_key",
            Self::DeleteKey { .. } => "delete_app_key",
            Self::ListGrants { .. } => "list_app_grants",
            Self::Grant { .. } => "grant_app_scope",
            Self::ListRoles => "list_roles",
            Self::CreateRole => "create_role",
            Self::ListPermissions { .. } => "list_role_permissions",
            Self::AddPermission { .. } => "add_role_permission",
            Self::ListResourceSets => "list_resource_sets",
            Self::CreateResourceSet => "create_resource_set",
            Self::ListResources { .. } => "list_resources",
            Self::AddResources { .. } => "add_resources",
            Self::ListAssignments { .. } => "list_client_roles",
            Self::Assign { .. } => "assign_client_role",
            Self::RevokeToken => "revoke_api_token",
        }
    }

    /// The scope that an OAuth token would need.
    pub(in super::super) fn scope(&self) -> &'static str {
        match self {
            Self::ListApps | Self::GetApp { .. } | Self::ListKeys { .. } => "okta.apps.read",
            Self::CreateApp
            | Self::AddKey { .. }
            | Self::ActivateKey { .. }
            | Self::DeactivateKey { .. }
            | Self::DeleteKey { .. } => "okta.apps.manage",
            Self::ListGrants { .. } => "okta.appGrants.read",
            Self::Grant { .. } => "okta.appGrants.manage",
            Self::ListRoles
            | Self::ListPermissions { .. }
            | Self::ListResourceSets
            | Self::ListResources { .. }
            | Self::ListAssignments { .. } => "okta.roles.read",
            Self::CreateRole
            | Self::AddPermission { .. }
            | Self::CreateResourceSet
            | Self::AddResources { .. }
            | Self::Assign { .. } => "okta.roles.manage",
            Self::RevokeToken => "okta.apiTokens.manage",
        }
    }

    /// Whether a JSON body comes with it.
    pub(super) fn has_body(&self) -> bool {
        match self {
            Self::CreateApp
            | Self::AddKey { .. }
            | Self::Grant { .. }
            | Self::CreateRole
            | Self::CreateResourceSet
            | Self::AddResources { .. }
            | Self::Assign { .. } => true,
            Self::ListApps
            | Self::GetApp { .. }
            | Self::ListKeys { .. }
            | Self::ActivateKey { .. }
            | Self::DeactivateKey { .. }
            | Self::DeleteKey { .. }
            | Self::ListGrants { .. }
            | Self::ListRoles
            | Self::ListPermissions { .. }
            | Self::AddPermission { .. }
            | Self::ListResourceSets
            | Self::ListResources { .. }
            | Self::ListAssignments { .. }
            | Self::RevokeToken => false,
        }
    }
}
