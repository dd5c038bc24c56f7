//! # Purpose
//! The names of Okta's rate limit buckets, as far as the connector spends from them.
//!
//! # Invariants kept here
//! - Which calls share a bucket follows <https://developer.okta.com/docs/reference/rl2-limits/>. No limit is written
//!   here: those are learned from the answers.
//!
//! # Not here
//! What a bucket allows: `http::budget`.

pub(crate) const USERS: &str = "/api/v1/users";
pub(crate) const USER: &str = "/api/v1/users/{id}";
pub(crate) const USER_GROUPS: &str = "/api/v1/users/{id}/groups";
pub(crate) const GROUPS: &str = "/api/v1/groups";
pub(crate) const GROUP: &str = "/api/v1/groups/{id}";
pub(super) const CLIENTS: &str = "/oauth2/v1/clients";
pub(super) const LOGS: &str = "/api/v1/logs";
pub(super) const WELL_KNOWN: &str = "/.well-known";
pub(super) const TOKEN: &str = "/oauth2/v1/token";
