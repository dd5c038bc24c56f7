//! # Purpose
//! The calls that change something, one by one: whom they are about, and how they are written down.
//!
//! # Invariants kept here
//! - Pure. The same value is carried out, shown by `--dry-run`, and put into words.
//!
//! # Not here
//! Which of them are needed: `plan`. Carrying them out: `admin`.

use std::fmt;

use http::Method;
use serde_json::{Value, json};

use super::found::Found;

/// One call that changes something.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// An API Services application with the public key.
    CreateApplication {
        /// Shown name.
        label: String,
        /// The public key.
        jwk: Value,
    },
    /// Another public key for the application.
    RegisterKey {
        /// The public key.
        jwk: Value,
    },
    /// A scope for the application.
    GrantScope {
        /// The organization.
        issuer: String,
        /// The scope.
        scope: String,
    },
    /// The custom admin role.
    CreateRole {
        /// Shown name.
        label: String,
        /// What it permits.
        permissions: Vec<String>,
    },
    /// A permission that the role lacks.
    AddPermission {
        /// The permission.
        permission: String,
    },
    /// The resource set.
    CreateResourceSet {
        /// Shown name.
        label: String,
        /// URLs.
        resources: Vec<String>,
    },
    /// Resources that the set lacks.
    AddResources {
        /// URLs.
        resources: Vec<String>,
    },
    /// The role to the application, for the set.
    AssignRole,
    /// An old key is accepted no more.
    DeactivateKey {
        /// Okta's id of the key.
        key: String,
    },
    /// An old key goes.
    DeleteKey {
        /// Okta's id of the key.
        key: String,
    },
    /// The administrator's token ends.
    RevokeToken,
}

/// What a step makes that later ones name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// The application.
    Application,
    /// The role.
    Role,
    /// The resource set.
    ResourceSet,
}

/// The ids that calls name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Of the application.
    pub application: String,
    /// Of the role.
    pub role: String,
    /// Of the resource set.
    pub resource_set: String,
}

impl Names {
    /// Those that are known; for the others what `unknown` puts in their place.
    pub fn of(found: &Found, unknown: impl Fn(Thing) -> String) -> Self {
        let application = found.applications.first().map(|application| application.id.clone());
        Self {
            application: application.unwrap_or_else(|| unknown(Thing::Application)),
            role: found.role.as_ref().map_or_else(|| unknown(Thing::Role), |role| role.id.clone()),
            resource_set: found
                .resource_set
                .as_ref()
                .map_or_else(|| unknown(Thing::ResourceSet), |set| set.id.clone()),
        }
    }

    /// Takes in the id of something that was made.
    pub fn set(&mut self, thing: Thing, id: String) {
        match thing {
            Thing::Application => self.application = id,
            Thing::Role => self.role = id,
            Thing::ResourceSet => self.resource_set = id,
        }
    }
}

/// A call of the API.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiCall {
    /// `POST` and so on.
    pub method: Method,
    /// Not yet encoded.
    pub path: Vec<String>,
    /// JSON.
    pub body: Option<Value>,
}

impl fmt::Display for ApiCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} /{}", self.method, self.path.join("/"))
    }
}

impl Step {
    /// The call.
    pub fn call(&self, names: &Names) -> ApiCall {
        let app = |more: &str| format!("api/v1/apps/{}/{more}", names.application);
        let (method, path, body) = match self {
            Self::CreateApplication { label, jwk } => {
                (Method::POST, "api/v1/apps".to_owned(), Some(application(label, jwk)))
            }
            Self::RegisterKey { jwk } => (Method::POST, app("credentials/jwks"), Some(signing(jwk))),
            Self::GrantScope { issuer, scope } => {
                (Method::POST, app("grants"), Some(json!({ "issuer": issuer, "scopeId": scope })))
            }
            Self::CreateRole { label, permissions } => (
                Method::POST,
                "api/v1/iam/roles".to_owned(),
                Some(json!({
                    "label": label,
                    "description": "What the Apono connector may do, and nothing else",
                    "permissions": permissions,
                })),
            ),
            Self::AddPermission { permission } => {
                (Method::POST, format!("api/v1/iam/roles/{}/permissions/{permission}", names.role), None)
            }
            Self::CreateResourceSet { label, resources } => (
                Method::POST,
                "api/v1/iam/resource-sets".to_owned(),
                Some(json!({
                    "label": label,
                    "description": "What the Apono connector reaches",
                    "resources": resources,
                })),
            ),
            Self::AddResources { resources } => (
                Method::PATCH,
                format!("api/v1/iam/resource-sets/{}/resources", names.resource_set),
                Some(json!({ "additions": resources })),
            ),
            Self::AssignRole => (
                Method::POST,
                format!("oauth2/v1/clients/{}/roles", names.application),
                Some(json!({
                    "type": "CUSTOM", "role": names.role, "resource-set": names.resource_set,
                })),
            ),
            Self::DeactivateKey { key } => {
                (Method::POST, app(&format!("credentials/jwks/{key}/lifecycle/deactivate")), None)
            }
            Self::DeleteKey { key } => (Method::DELETE, app(&format!("credentials/jwks/{key}")), None),
            Self::RevokeToken => (Method::DELETE, "api/v1/api-tokens/current".to_owned(), None),
        };
        ApiCall { method, path: path.split('/').map(ToOwned::to_owned).collect(), body }
    }

    /// What its answer has the id of.
    pub fn makes(&self) -> Option<Thing> {
        match self {
            Self::CreateApplication { .. } => Some(Thing::Application),
            Self::CreateRole { .. } => Some(Thing::Role),
            Self::CreateResourceSet { .. } => Some(Thing::ResourceSet),
            Self::RegisterKey { .. }
            | Self::GrantScope { .. }
            | Self::AddPermission { .. }
            | Self::AddResources { .. }
            | Self::AssignRole
            | Self::DeactivateKey { .. }
            | Self::DeleteKey { .. }
            | Self::RevokeToken => None,
        }
    }
}

/// Whether tokens must be bound by `DPoP` is not said, so that Okta's default holds.
fn application(label: &str, jwk: &Value) -> Value {
    json!({
        "name": "oidc_client",
        "label": label,
        "signOnMode": "OPENID_CONNECT",
        "credentials": { "oauthClient": { "token_endpoint_auth_method": "private_key_jwt" } },
        "settings": { "oauthClient": {
            "application_type": "service",
            "grant_types": ["client_credentials"],
            "response_types": ["token"],
            "jwks": { "keys": [jwk] },
        } },
    })
}

/// Okta keeps signing keys and others behind the same call.
fn signing(jwk: &Value) -> Value {
    let mut jwk = jwk.clone();
    if let Some(members) = jwk.as_object_mut() {
        members.insert("use".into(), "sig".into());
        members.insert("status".into(), "ACTIVE".into());
    }
    jwk
}
