//! # Purpose
//! What this process calls itself where others meet it.
//!
//! # Invariants kept here
//! - No secret and no argument: process id and host are enough to find it.
//!
//! # Not here
//! The lock that another process meets: `access::journal`.

use std::fs;

use jiff::Timestamp;

/// `pid 4711 on host1 since 2026-01-01T00:00:00Z`.
pub fn whoami(started_at: Timestamp) -> String {
    let host = hostname();
    format!("pid {} on {host} since {started_at}", std::process::id())
}

/// This host's name, for people.
pub fn hostname() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "this host".to_owned() } else { host.to_owned() }
}
