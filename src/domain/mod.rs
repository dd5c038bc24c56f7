//! # Purpose
//! The nouns of the program as plain values.
//!
//! # Invariants kept here
//! - No I/O, no async, no clock: anything may depend on this module, and it depends on nothing of ours.
//! - Ids are types of their own; a user's id cannot stand where a group's is wanted.
//!
//! # Not here
//! How Okta, Apono or SCIM spell these things on the wire.

mod grant;
mod group;
mod ids;
mod membership;
mod user;

pub use grant::{Grant, RequestContext, Revision};
pub use group::{Group, GroupKind};
pub use ids::{ConnectorId, GrantId, IntegrationId, OktaGroupId, OktaUserId, ScimId, SessionId, TaskId};
pub use membership::{LiveMemberships, Membership};
pub use user::{User, UserStatus};
