//! # Purpose
//! The life of the process: its tasks, its signals, its end.
//!
//! # Invariants kept here
//! - A task that ends unasked ends the process with a failure code (invariant 17).
//!
//! # Not here
//! What the tasks do.

mod instance;
mod manager;
mod memory;
mod supervise;

pub use instance::{hostname, whoami};
pub use manager::{Manager, Pulse};
pub use memory::keep_memory_private;
pub use supervise::{Asked, Ending, Signals, Supervisor};
