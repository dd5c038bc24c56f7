//! What daemons share, on a real PostgreSQL over loopback, in real time. Waits are for states, never for a time.
//!
//! Needs PostgreSQL 15 or later, which `tests/fleet/setup.sh` installs.

#![expect(unreachable_pub, reason = "one binary, no library")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod database;
mod postgres;
