//! # Purpose
//! The runtimes of commands.
//!
//! # Invariants kept here
//! - Where none can be had, that is said, with its exit code.
//!
//! # Not here
//! What runs in them.

use std::io;

use tokio::runtime::{Builder, Runtime};

use super::{Exit, complain};
use crate::catalogue::ErrorCode;

/// For the daemon, and for commands that do its work.
pub(super) fn threads() -> Result<Runtime, Exit> {
    told(Builder::new_multi_thread().enable_all().worker_threads(2).build())
}

/// Waits for what a command asks.
pub(super) fn wait_for<T>(future: impl Future<Output = T>) -> Result<T, Exit> {
    told(Builder::new_current_thread().enable_all().build()).map(|runtime| runtime.block_on(future))
}

fn told(runtime: io::Result<Runtime>) -> Result<Runtime, Exit> {
    runtime.map_err(|error| {
        complain(&format!("the runtime cannot start: {error} [{}]", ErrorCode::ProcessLimits));
        Exit::Io
    })
}
