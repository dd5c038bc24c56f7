//! # Purpose
//! Puts what is so now into the metrics that are not counted as things happen, at the moment they are asked for.
//!
//! # Invariants kept here
//! - What is not known is not shown, rather than shown as nothing.
//!
//! # Not here
//! Counters: the modules that do the work.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use serde::Serialize;

use super::readiness::{Facts, readiness};
use crate::secrets::Reloads;
use crate::telemetry::Metrics;
use crate::telemetry::log::Counts;
use crate::telemetry::metrics::{IntegrationLabels, LevelLabels, SecretLabels};

/// What files take, in bytes; nothing where that cannot be found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// The journal.
    pub state_bytes: Option<u64>,
    /// The audit trail.
    pub audit_bytes: Option<u64>,
    /// Room left where the journal is.
    pub free_bytes: Option<u64>,
    /// This process.
    pub process: Process,
}

/// What this process takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Memory, in bytes.
    pub resident_bytes: Option<u64>,
    /// Open files and connections.
    pub open_files: Option<u64>,
}

/// Sets the metrics that show a state.
pub(super) fn set(
    metrics: &Metrics,
    facts: &Facts,
    storage: &Storage,
    log: Option<&Counts>,
    reloads: &[(&'static str, Reloads)],
) {
    metrics.ready.set(i64::from(readiness(facts).ready));
    metrics.slowest_loop.set(facts.slowest_loop.as_secs_f64());
    metrics.started.set(facts.started_at.as_second());
    if let Some(fleet) = &facts.fleet {
        let living = fleet.daemons.iter().filter(|daemon| daemon.lives).count();
        metrics.fleet_daemons.set(i64::try_from(living).unwrap_or(i64::MAX));
        metrics.fleet_database_up.set(i64::from(fleet.answers));
        metrics.fleet_heard_age.set(fleet.heard.as_secs_f64());
        metrics.fleet_entries_behind.set(i64::try_from(fleet.entries_behind).unwrap_or(i64::MAX));
    }
    for organization in &facts.organizations {
        let labels = IntegrationLabels { integration: organization.integration_id.clone() };
        if facts.fleet.is_some() {
            let is_ours = organization.owner.as_ref().is_some_and(|owner| owner.is_this && owner.lives);
            metrics.fleet_owner.get_or_create(&labels).set(i64::from(is_ours));
        }
        if let Some(owner) = &organization.owner {
            metrics.fleet_epoch.get_or_create(&labels).set(owner.epoch);
        }
        if organization.is_anothers() {
            // What a run of long ago held is not what is held now.
            metrics.directory_held.remove(&labels);
        }
        if let Some(expires) = organization.token_expires_at {
            metrics.token_expiry.get_or_create(&labels).set(expires.as_second());
        }
        if let Some(skew) = organization.clock_skew_seconds {
            metrics.clock_skew.get_or_create(&labels).set(skew);
        }
    }
    let files = [
        (&metrics.state_bytes, storage.state_bytes),
        (&metrics.audit_bytes, storage.audit_bytes),
        (&metrics.state_free_bytes, storage.free_bytes),
        (&metrics.resident_bytes, storage.process.resident_bytes),
        (&metrics.open_files, storage.process.open_files),
    ];
    for (gauge, value) in files {
        if let Some(value) = value {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
    show(&metrics.audit_write_failures, facts.audit_failures);
    if let Some(log) = log {
        for (level, lines) in log.written() {
            show(&metrics.log_lines.get_or_create(&LevelLabels { level }), lines);
        }
        show(&metrics.log_suppressed, log.held_back());
    }
    for (secret, Reloads { taken, refused }) in reloads {
        for (outcome, count) in [("taken", taken), ("refused", refused)] {
            let labels = SecretLabels { secret, outcome };
            show(&metrics.secret_reloads.get_or_create(&labels), *count);
        }
    }
}

/// A count that is kept elsewhere.
fn show(counter: &Counter, count: u64) {
    counter.inner().store(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::super::readiness::tests::{facts, facts_of_two};
    use super::super::readiness::{PeerFact, TokenFact};
    use super::*;

    fn lines(metrics: &Metrics, facts: &Facts) -> Vec<String> {
        set(metrics, facts, &Storage::default(), None, &[]);
        let text = metrics.encode();
        let of_fleet = |line: &&str| line.contains("_fleet_owner") || line.contains("_held_operations{");
        text.lines().filter(|line| !line.starts_with('#')).filter(of_fleet).map(str::to_owned).collect()
    }

    #[test]
    fn an_organization_counts_for_the_daemon_whose_it_is_and_for_no_other() {
        let metrics = Metrics::new();
        let alone = facts(TokenFact::Held, PeerFact::Connected);
        assert_eq!(lines(&metrics, &alone), Vec::<String>::new());
        let held = IntegrationLabels { integration: "int".to_owned() };
        metrics.directory_held.get_or_create(&held).set(3);
        let epoch = "apono_connector_fleet_owner_epoch{integration=\"int\"} 7";
        let owner = |is: u8| format!("apono_connector_fleet_owner{{integration=\"int\"}} {is}");
        let breaker = "apono_connector_directory_breaker_held_operations{integration=\"int\"} 3";
        let mut of_two = facts_of_two(true);
        assert_eq!(lines(&metrics, &of_two), [breaker, &owner(1), epoch]);
        // It is cut off from the database: another may have it by now.
        of_two.organizations[0].owner.as_mut().unwrap().lives = false;
        assert_eq!(lines(&metrics, &of_two), [breaker, &owner(0), epoch]);
        // What it let go of is nobody's yet.
        lines(&metrics, &facts_of_two(true));
        of_two.organizations[0].owner = None;
        assert_eq!(lines(&metrics, &of_two), [breaker, &owner(0), epoch]);
        assert_eq!(lines(&metrics, &facts_of_two(false)), [owner(0).as_str(), epoch]);
    }
}
