//! # Purpose
//! The control plane: session, tasks, results, desired grants.
//!
//! # Invariants kept here
//! - Apono has not published its connector protocol. This one is the project's own (`docs/connector-api.yaml`,
//!   docs/adr/0001); every shape of it is in this module, so that another transport is one new adapter. The one protocol
//!   here that Apono *has* published is `custom`'s.
//! - What Apono sends is read tolerantly; what is sent to Apono comes from closed lists.
//!
//! # Not here
//! Executing tasks: `access`. The directory's SCIM: `scim`.

mod client;
pub mod custom;
mod errors;
mod result;
mod session;
mod task;
mod wire;

pub use client::{ControlPlane, Extension, GrantsPage, Reported, Session, SessionAnswer};
pub use errors::AponoError;
pub use result::{Code, ResourceResult, Status, TaskResult};
pub use session::{Connection, SessionKeeper};
pub use task::{Lease, MalformedTask, Task, Work};
pub use wire::{IntegrationState, IntegrationStatus};
