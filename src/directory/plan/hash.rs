//! # Purpose
//! What a plan is known by.
//!
//! # Invariants kept here
//! - Pure. The same operations in the same order have the same hash, wherever they are read from.
//!
//! # Not here
//! What is done with a hash: `store::verdict`, `reconciler`.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::Operation;

/// The SHA-256 over operations, each as a line of JSON.
#[derive(Clone, Debug, Default)]
pub struct PlanHash(Sha256);

impl PlanHash {
    /// Takes in the next operation.
    pub fn add(&mut self, operation: &Operation) -> Result<(), serde_json::Error> {
        self.0.update(serde_json::to_vec(operation)?);
        self.0.update(b"\n");
        Ok(())
    }

    /// In lowercase hexadecimal.
    pub fn finish(self) -> String {
        let bytes = self.0.finalize();
        bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
