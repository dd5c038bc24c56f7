//! # Purpose
//! An Okta user as far as the connector cares.
//!
//! # Invariants kept here
//! - A status that Okta adds one day is kept as it is and changes nothing (`active` has no answer for it).
//!
//! # Not here
//! Which profile attribute becomes which SCIM attribute: `directory::mapping`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::OktaUserId;

/// An Okta user. Profile attributes are whatever the organization has defined.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Okta's id.
    pub id: OktaUserId,
    /// Where the account stands in its life.
    pub status: UserStatus,
    /// `profile` as Okta sent it, nulls included.
    pub profile: Map<String, Value>,
}

impl User {
    /// A profile attribute that is a non-empty string.
    pub fn text(&self, attribute: &str) -> Option<&str> {
        self.profile.get(attribute).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}

/// <https://developer.okta.com/docs/api/openapi/okta-management/management/tag/User/> (`status`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserStatus {
    /// Created, not yet activated.
    Staged,
    /// Activated, has not set credentials.
    Provisioned,
    /// Can sign in.
    Active,
    /// Recovering credentials.
    Recovery,
    /// Must change the password.
    PasswordExpired,
    /// Locked by failed attempts.
    LockedOut,
    /// Paused by an administrator.
    Suspended,
    /// Deactivated.
    Deprovisioned,
    /// Anything Okta may add.
    Other(String),
}

impl UserStatus {
    /// SCIM's `active`; `None` where nobody has decided, which must change nothing.
    pub fn active(&self) -> Option<bool> {
        match self {
            Self::Active | Self::PasswordExpired | Self::LockedOut | Self::Recovery | Self::Provisioned => {
                Some(true)
            }
            Self::Staged | Self::Suspended | Self::Deprovisioned => Some(false),
            Self::Other(_) => None,
        }
    }

    /// Whether Okta lets this user be added to a group. A removal is possible in every status.
    pub fn can_be_granted(&self) -> bool {
        match self {
            Self::Staged
            | Self::Provisioned
            | Self::Active
            | Self::Recovery
            | Self::PasswordExpired
            | Self::LockedOut => true,
            Self::Suspended | Self::Deprovisioned | Self::Other(_) => false,
        }
    }

    /// Okta's word for it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Staged => "STAGED",
            Self::Provisioned => "PROVISIONED",
            Self::Active => "ACTIVE",
            Self::Recovery => "RECOVERY",
            Self::PasswordExpired => "PASSWORD_EXPIRED",
            Self::LockedOut => "LOCKED_OUT",
            Self::Suspended => "SUSPENDED",
            Self::Deprovisioned => "DEPROVISIONED",
            Self::Other(text) => text,
        }
    }
}

impl From<&str> for UserStatus {
    fn from(text: &str) -> Self {
        match text {
            "STAGED" => Self::Staged,
            "PROVISIONED" => Self::Provisioned,
            "ACTIVE" => Self::Active,
            "RECOVERY" => Self::Recovery,
            "PASSWORD_EXPIRED" => Self::PasswordExpired,
            "LOCKED_OUT" => Self::LockedOut,
            "SUSPENDED" => Self::Suspended,
            "DEPROVISIONED" => Self::Deprovisioned,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for UserStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for UserStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self::from(text.as_str()))
    }
}

impl Serialize for UserStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_okta_adds_one_day_decides_nothing() {
        let status = UserStatus::from("HIBERNATING");
        assert_eq!(status.active(), None);
        assert!(!status.can_be_granted());
        assert_eq!(status.as_str(), "HIBERNATING");
    }

    #[test]
    fn every_known_status_survives_the_round_trip() {
        for text in [
            "STAGED",
            "PROVISIONED",
            "ACTIVE",
            "RECOVERY",
            "PASSWORD_EXPIRED",
            "LOCKED_OUT",
            "SUSPENDED",
            "DEPROVISIONED",
        ] {
            let status = UserStatus::from(text);
            assert_eq!(status.as_str(), text);
            assert!(status.active().is_some(), "{text} has an answer");
        }
    }
}
