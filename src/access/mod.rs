//! # Purpose
//! Access that always ends: grants, their journal, their execution.
//!
//! # Invariants kept here
//! - See each module; the table is in `docs/ARCHITECTURE.md`.
//!
//! # Not here
//! The directory that is pushed to Apono: `directory`. Neither module knows the other.

mod additions;
pub mod audited;
mod backlog;
pub mod book;
pub mod calls;
pub mod conditions;
mod deadlines;
pub mod desired;
pub mod desk;
pub mod executor;
pub mod fleet;
mod gate;
pub mod hours;
pub mod intake;
pub mod journal;
pub mod leases;
pub mod leasing;
pub mod ledger;
mod locks;
pub mod machine;
pub mod outbox;
mod overlay;
pub mod patrol;
pub mod policy;
pub mod published;
pub mod recent;
pub mod reconciler;
pub mod schedule;
mod sight;
mod step;
pub mod tasks;
mod telling;
pub mod untold;
pub mod view;
pub mod watch;
