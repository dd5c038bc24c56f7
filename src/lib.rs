//! On-premises agent between Okta and Apono.
//!
//! # Reading order
//! [`domain`] (the nouns) → [`access`] (the heart: grants that always end) → [`directory`] (reconciliation that is
//! never wrong by accident) → [`http::exchange`] (the one loop that talks to peers) → [`okta`], [`apono`], [`scim`]
//! (what the peers say) → [`app`] (who knows whom).
//!
//! The map, the invariants and the tests that prove them: `docs/ARCHITECTURE.md`.

// Tests of one seam are shared with those in tests/.
#[cfg(test)]
extern crate self as apono_connector;

pub mod access;
pub mod apono;
pub mod app;
pub mod audit;
pub mod catalogue;
pub mod cli;
pub mod clock;
pub mod config;
pub mod database;
pub mod directory;
pub mod domain;
pub mod entropy;
pub mod fleet;
pub mod http;
pub mod okta;
pub mod runtime;
pub mod scim;
pub mod secrets;
pub mod server;
pub mod setup;
pub mod telemetry;
