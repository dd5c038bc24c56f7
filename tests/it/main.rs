//! The whole program in process, in virtual time, against both simulators. No sockets but the admin listener's, no
//! fixed waits: a test waits for states.

#![expect(unreachable_pub, reason = "one binary, no library")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod clocks;
mod crash_sweep;
mod crawl;
mod custom;
mod directory;
mod doctor;
mod endurance;
mod faults;
mod field;
mod fuzz;
mod grants;
mod health;
mod history;
mod house_rules;
mod measured;
mod model;
mod moves;
mod oracle;
mod outside;
mod panics;
mod proofs;
mod refusals;
mod rotation;
mod scene;
mod slices;
mod stage;
mod steady;
mod tasks;
mod tokens;
mod two_daemons;
mod untold;
mod weeks;
mod world;
