//! # Purpose
//! Ids as types.
//!
//! # Invariants kept here
//! - An id is opaque text: never parsed, only compared, printed and sent back.
//!
//! # Not here
//! Percent-encoding into paths: `http::url`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<String>> From<T> for $name {
            fn from(text: T) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// An Okta user, `00u…`.
    OktaUserId
}
id! {
    /// An Okta group, `00g…`.
    OktaGroupId
}
id! {
    /// A user or group at the SCIM service provider.
    ScimId
}
id! {
    /// Apono's id of one integration, which is one Okta organization.
    IntegrationId
}
id! {
    /// The operator's name for this connector.
    ConnectorId
}
id! {
    /// One run of the process, as Apono sees it.
    SessionId
}
id! {
    /// One piece of work leased from Apono.
    TaskId
}
id! {
    /// One grant, over all of its revisions.
    GrantId
}
