//! # Purpose
//! Okta's org authorization server as far as a service app meets it: assertions, tokens, DPoP, and the check of a
//! token at the API.
//!
//! # Invariants kept here
//! - Every instant is the simulator's own; a caller whose clock is off is refused as Okta would.
//!
//! # Not here
//! HTTP around it (`exchange`).

pub(super) mod access;
mod assertion;
mod dpop;
mod jwt;
mod registry;
pub(super) mod token;

pub(super) use self::registry::{Client, Key, Registry};
