//! # Purpose
//! Makes a connection to an Okta organization from nothing: key, application, scopes, admin role, resource set.
//!
//! # Invariants kept here
//! - What is shown before, what is printed to be done by hand, and what is carried out are one list of [`step::Step`]s.
//! - The private half of a key stays on this host, in a file of mode 0600 that was made whole or not at all.
//! - Nothing is taken away and nothing is weakened: what exists with more rights than needed is told.
//! - The administrator's token is in no output, error or log.
//!
//! # Not here
//! Asking the person at the terminal: `cli`.

pub mod admin;
pub mod files;
pub mod found;
pub mod plan;
pub mod proof;
pub mod refusal;
pub mod say;
pub mod step;
pub mod table;

use std::time::Duration;

/// Limit for one request.
const TIMEOUT: Duration = Duration::from_secs(30);

pub use crate::okta::Surroundings;
