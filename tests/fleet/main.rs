//! What daemons share, on a real PostgreSQL over loopback, in real time. Waits are for states, never for a time.
//!
//! Needs PostgreSQL 15 or later, which `tests/fleet/setup.sh` installs.

#![expect(unreachable_pub, reason = "one binary, no library")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../e2e/canaries/birds.rs"]
#[expect(dead_code, reason = "written for tests of other secrets, which use more of it")]
mod birds;
#[path = "../../simulator/tests/contract/checker.rs"]
#[expect(dead_code, reason = "written for another test, which uses more of it")]
mod checker;
#[path = "../../src/access/journal/contract.rs"]
mod contract;
mod daemons;
mod database;
mod directory;
mod doctor;
mod journals;
mod limits;
mod migrate;
#[path = "../it/oracle.rs"]
#[expect(dead_code, reason = "written for tests in virtual time, which can say when something must be over")]
mod oracle;
mod postgres;
mod secrets;
mod slices;
mod troubles;
mod versions;
#[path = "../e2e/world.rs"]
#[expect(dead_code, reason = "written for tests of one daemon, which use more of it")]
mod world;
