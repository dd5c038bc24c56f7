//! # Purpose
//! An Okta group as far as the connector cares.
//!
//! # Invariants kept here
//! - Only a group of kind [`GroupKind::Okta`] may ever be written to.
//!
//! # Not here
//! Rules that feed a group: `okta::memberships` looks them up.

use std::fmt;

use jiff::Timestamp;

use super::OktaGroupId;

/// An Okta group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Okta's id.
    pub id: OktaGroupId,
    /// Who masters the group.
    pub kind: GroupKind,
    /// `profile.name`; empty when Okta sent none.
    pub name: String,
    /// Whether the group carries admin roles, where Okta said so (`expand=stats`).
    pub has_admin_privilege: Option<bool>,
    /// When its memberships last changed, by Okta's clock, where Okta said so.
    pub members_changed_at: Option<Timestamp>,
    /// How many members Okta counts, where it was asked (`expand=stats`).
    pub members: Option<u64>,
}

/// <https://developer.okta.com/docs/api/openapi/okta-management/management/tag/Group/> (`type`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// Mastered by Okta; members can be changed through the API.
    Okta,
    /// Mastered by an application such as Active Directory.
    App,
    /// Okta's own, such as Everyone.
    BuiltIn,
    /// Anything Okta may add.
    Other(String),
}

impl GroupKind {
    /// Okta's word for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Okta => "OKTA_GROUP",
            Self::App => "APP_GROUP",
            Self::BuiltIn => "BUILT_IN",
            Self::Other(text) => text,
        }
    }

    /// Whether it is a kind of which nothing is known.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Okta | Self::App | Self::BuiltIn => false,
            Self::Other(_) => true,
        }
    }
}

impl From<&str> for GroupKind {
    fn from(text: &str) -> Self {
        match text {
            "OKTA_GROUP" => Self::Okta,
            "APP_GROUP" => Self::App,
            "BUILT_IN" => Self::BuiltIn,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
