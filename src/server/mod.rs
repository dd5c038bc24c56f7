//! # Purpose
//! The admin listener: health, readiness, metrics, status.
//!
//! # Invariants kept here
//! - Live means that the loops make progress; ready means that grants can be ended. Neither is tied to the health of
//!   Okta or of Apono alone (invariant 15).
//! - No answer holds a secret, an argument or the environment.
//!
//! # Not here
//! Where the facts come from: `app`.

mod gauges;
mod guard;
mod history;
mod page;
mod readiness;
mod router;

pub use gauges::{Process, Storage};
pub use history::History;
pub use readiness::{
    Check, DaemonFacts, DirectoryFacts, Facts, FleetFacts, OrganizationFacts, OwnerFacts, PeerFact, Reached,
    Readiness, Stopped, TokenFact, is_live, one_line, readiness,
};
pub use router::{Detail, Source, router, serve};
