//! The real binary, with a simulated Okta behind it, against SCIM servers that other people wrote.
//!
//! `tests/interop/setup.sh` installs the servers. Waits are for states, never for a time.

#![expect(unreachable_pub, reason = "one binary, no library")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod life;
mod service;
mod world;
