//! Stand-ins for Okta and for Apono's control plane.
//!
//! # Purpose
//! Let the connector be watched, tested and measured without a tenant. A simulator *behaves*: it verifies
//! signatures, enforces scopes and rate limits, keeps state, pages with opaque cursors and fails on demand.
//!
//! # Invariants kept here
//! - No type is shared with the connector: a simulator that read with the connector's own types would agree with
//!   the connector's own mistakes.
//! - Each simulator is one [`axum::Router`], reached in process ([`net::dispatch`], works under a paused clock)
//!   or over loopback TCP ([`net::serve`]).
//! - Time comes from a [`clock::SimClock`] handed in, so that virtual time moves both sides together.
//!
//! # Not here
//! Anything the connector needs in production.

pub mod apono;
pub mod clock;
pub mod fault;
pub mod net;
pub mod okta;
