//! # Purpose
//! One user's place in one group.
//!
//! # Invariants kept here
//! - The directory side learns of live just-in-time memberships only through [`LiveMemberships`], which says *that*
//!   they are live and nothing else (invariant 10).
//!
//! # Not here
//! By what right the membership exists: `access::machine`.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{OktaGroupId, OktaUserId};

/// One user in one group. Ordered by group, then user.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Membership {
    /// The group.
    pub group: OktaGroupId,
    /// The user.
    pub user: OktaUserId,
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.user, self.group)
    }
}

/// Says which memberships exist only because of a grant.
pub trait LiveMemberships: Send + Sync {
    /// The memberships that a grant holds now or may hold (an intended add whose outcome is unknown counts).
    fn live(&self) -> BTreeSet<Membership>;

    /// The users who are in `group` by such a membership.
    fn live_in(&self, group: &OktaGroupId) -> BTreeSet<OktaUserId>;
}
