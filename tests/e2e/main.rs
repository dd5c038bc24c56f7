//! The real binary against both simulators over loopback TCP, in real time. Waits are for states, never for a time.

#![expect(unreachable_pub, reason = "one binary, no library")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod authority;
mod canaries;
#[path = "../../simulator/tests/contract/checker.rs"]
#[expect(dead_code, reason = "written for another test, which uses more of it")]
mod checker;
mod configuration;
mod crash;
mod custom;
mod doctor;
mod field;
mod fresh;
mod keys;
mod kills;
mod life;
mod logging;
mod manager;
mod operations;
mod operator;
#[path = "../it/oracle.rs"]
#[expect(dead_code, reason = "written for tests in virtual time, which can say when something must be over")]
mod oracle;
mod page;
mod progress;
mod proxy;
mod setup;
mod support;
mod sync;
mod tls;
mod tunnels;
mod world;
