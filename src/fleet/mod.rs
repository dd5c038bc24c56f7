//! # Purpose
//! Daemons that share one state know of each other: who lives, to whom what falls, who owns which organization.
//!
//! # Invariants kept here
//! - See each module. The database's clock says who lives; each daemon counts its own time by its monotonic clock, and from
//!   before it asked.
//!
//! # Not here
//! Claims on single duties: `access::journal`. The connections: `database`.

mod lot;
mod members;
mod slices;

pub use members::{Companion, Hold, Itself, Members, Ownership, State};
pub use slices::Slices;
