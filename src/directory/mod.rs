//! # Purpose
//! Makes a SCIM service provider equal to the selected part of an Okta organization.
//!
//! # Invariants kept here
//! - A listing that is not provably complete never becomes a [`Snapshot`]; without one there is no plan (invariant 8).
//! - This side holds a read-only Okta handle: that it cannot change Okta is a compile-time fact.
//! - Live just-in-time memberships are not part of what is pushed (invariant 10).
//!
//! # Not here
//! Grants: `access`. Neither module knows the other.

mod account;
pub mod apply;
pub mod asked;
pub mod breaker;
mod evidence;
pub mod mapping;
pub mod mirror;
pub mod plan;
pub mod progress;
mod provider;
mod reconciler;
pub mod selection;
mod snapshot;
pub mod store;
mod tracker;

pub use evidence::{Disproof, EvidenceError};
pub use provider::ProviderError;
pub use reconciler::{ApplyRefusal, DirectoryRun, Outcome, Plan, Reconciler, RunError};
pub use snapshot::{Snapshot, SnapshotError};
pub use store::Reach;
pub use tracker::Tracker;
