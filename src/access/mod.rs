//! # Purpose
//! Access that always ends: grants, their journal, their execution.
//!
//! # Invariants kept here
//! - See each module; the table is in `docs/ARCHITECTURE.md`.
//!
//! # Not here
//! The directory that is pushed to Apono: `directory`. Neither module knows the other.

pub mod machine;
