//! # Purpose
//! A SCIM 2.0 client for any service provider (RFC 7643, RFC 7644).
//!
//! # Invariants kept here
//! - What is sent is plain RFC; what a provider answers is read tolerantly.
//! - A listing is complete only when every resource that the provider counted was seen.
//!
//! # Not here
//! What to send: `directory`.

pub mod abilities;
pub mod attributes;
mod client;
mod errors;
pub mod patch;

pub use abilities::{Abilities, Quirk};
pub use client::{Kind, ListPage, Provider, Resource};
pub use errors::ScimError;

/// Core user schema.
pub const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// Enterprise extension of the user.
pub const ENTERPRISE_USER: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
/// Core group schema.
pub const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
/// Patch message.
pub const PATCH_OP: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
/// Error message.
pub const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
