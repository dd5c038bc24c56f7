//! # Purpose
//! What must hold for any bytes that a peer, a file or a person hands in: one function a fuzz target.
//!
//! # Invariants kept here
//! - A check has no state, and no time or randomness but its own: the same bytes give the same outcome.
//! - What is right is found out in another way than the program's, or is a property of the answer; nothing is only run.
//!
//! # Not here
//! The corpora: `fuzz/corpus`. Running them as plain tests: `tests/it/fuzz.rs`.

mod apono;
mod configuration;
mod filter;
mod headers;
mod keys;
mod okta;
mod peer;
mod scim;
mod text;

pub use apono::task_envelope;
pub use configuration::configuration;
pub use filter::scim_filter;
pub use headers::{link_headers, rate_headers};
pub use keys::signing_key;
pub use okta::okta_json;
pub use scim::scim_json;
