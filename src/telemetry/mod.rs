//! # Purpose
//! What the program tells people and machines about itself: logs, metrics, error chains.
//!
//! # Invariants kept here
//! - Everything human-readable goes to standard error through `tracing`; nothing else writes there.
//! - Metric labels come from closed sets (operation names, outcomes) or from the configuration, never from data.
//!
//! # Not here
//! What is worth telling: each module logs what it handles, once, where it handles it.

pub mod chain;
pub mod log;
pub mod metrics;

pub use chain::chain;
pub use metrics::Metrics;
