//! # Purpose
//! Every metric of the program, in one struct with one registry.
//!
//! # Invariants kept here
//! - Labels are closed sets or come from the configuration (integration ids), so that their number is bounded.
//! - Names follow Prometheus: `apono_connector_` prefix, base units, `_total` on counters (added by the encoder).
//!
//! # Not here
//! When a metric moves: the module that does the work.

mod classic;

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

pub use classic::classic;

/// One HTTP operation and how it went.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// `okta`, `apono` or `scim`.
    pub peer: &'static str,
    /// The operation's name.
    pub operation: &'static str,
    /// A status class (`2xx` …), `throttled` or `unreachable`.
    pub outcome: &'static str,
}

/// One HTTP operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OperationLabels {
    /// `okta`, `apono` or `scim`.
    pub peer: &'static str,
    /// The operation's name.
    pub operation: &'static str,
}

/// One rate limit bucket of one organization.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BucketLabels {
    /// The Okta organization, by its integration id.
    pub integration: String,
    /// Okta's bucket.
    pub bucket: &'static str,
}

/// One lane of one rate limit bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LaneLabels {
    /// The Okta organization, by its integration id.
    pub integration: String,
    /// Okta's bucket.
    pub bucket: &'static str,
    /// The class of the request.
    pub lane: &'static str,
}

/// One organization and one kind of operation of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PlannedLabels {
    /// The Okta organization, by its integration id.
    pub integration: String,
    /// `create_user` and so on.
    pub operation: &'static str,
}

/// One organization and one kind of object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ObjectLabels {
    /// The Okta organization, by its integration id.
    pub integration: String,
    /// `users`, `groups` or `memberships`.
    pub kind: &'static str,
}

/// One kind of secret and what came of a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SecretLabels {
    /// Its kind.
    pub secret: &'static str,
    /// `taken` or `refused`.
    pub outcome: &'static str,
}

/// One level of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LevelLabels {
    /// `error` and so on.
    pub level: &'static str,
}

/// One organization.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct IntegrationLabels {
    /// The Okta organization, by its integration id.
    pub integration: String,
}

/// One organization and an outcome from a closed set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// The Okta organization, by its integration id.
    pub integration: String,
    /// What came of it.
    pub outcome: &'static str,
}

/// One kind of task and its result.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TaskLabels {
    /// `grant-access` and so on; `other` for an unknown one.
    pub event_type: &'static str,
    /// `Success`, `Warning` or `Failure`.
    pub status: &'static str,
}

/// All metrics. Clones share the values.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests sent, by outcome.
    pub requests: Family<RequestLabels, Counter>,
    /// Time from sending a request to its whole answer.
    pub request_seconds: Family<OperationLabels, Histogram, fn() -> Histogram>,
    /// Requests left in the bucket's window as Okta last said.
    pub budget_remaining: Family<BucketLabels, Gauge>,
    /// The bucket's limit as Okta last said.
    pub budget_limit: Family<BucketLabels, Gauge>,
    /// 429 answers from Okta.
    pub throttled: Family<BucketLabels, Counter>,
    /// Tokens asked for, by outcome.
    pub token_mints: Family<OutcomeLabels, Counter>,
    /// Directory runs, by outcome.
    pub directory_runs: Family<OutcomeLabels, Counter>,
    /// Writes to the SCIM service provider.
    pub directory_writes: Family<OutcomeLabels, Counter>,
    /// End of the last run that completed, as a Unix time.
    pub directory_last_success: Family<IntegrationLabels, Gauge>,
    /// Memberships that a grant holds now.
    pub access_live: Family<IntegrationLabels, Gauge>,
    /// Removals whose time has come and that are not yet proven done.
    pub access_overdue: Family<IntegrationLabels, Gauge>,
    /// How memberships ended.
    pub access_endings: Family<OutcomeLabels, Counter>,
    /// What others did in Okta to memberships that live grants count on.
    pub access_outside_changes: Family<OutcomeLabels, Counter>,
    /// From the instant a removal was due to its proof.
    pub access_removal_lag: Family<IntegrationLabels, Histogram, fn() -> Histogram>,
    /// Tasks answered.
    pub tasks: Family<TaskLabels, Counter>,
    /// Results on disk that Apono has not accepted yet.
    pub results_pending: Gauge,
    /// 1 while Apono accepts this connector's session.
    pub session_connected: Gauge,
    /// Requests by the lane that sent them.
    pub budget_requests: Family<LaneLabels, Counter>,
    /// Time that requests have waited for a budget, by lane.
    pub budget_wait: Family<LaneLabels, Counter<f64, AtomicU64>>,
    /// When the token that is held expires, as a Unix time.
    pub token_expiry: Family<IntegrationLabels, Gauge>,
    /// Okta's clock less this host's.
    pub clock_skew: Family<IntegrationLabels, Gauge>,
    /// How long directory runs take.
    pub directory_run_seconds: Family<IntegrationLabels, Histogram, fn() -> Histogram>,
    /// Operations of plans, by kind.
    pub directory_planned: Family<PlannedLabels, Counter>,
    /// Operations that the breaker holds now.
    pub directory_held: Family<IntegrationLabels, Gauge>,
    /// What Okta has shown, as of the last run.
    pub directory_objects: Family<ObjectLabels, Gauge>,
    /// Mounted secrets that have changed, by kind and outcome.
    pub secret_reloads: Family<SecretLabels, Counter>,
    /// Writes that the audit trail has not taken.
    pub audit_write_failures: Counter,
    /// What the journal takes on disk.
    pub state_bytes: Gauge,
    /// What the audit trail takes on disk.
    pub audit_bytes: Gauge,
    /// Room left where the journal is.
    pub state_free_bytes: Gauge,
    /// 1 while grants can be ended.
    pub ready: Gauge,
    /// How long ago the slowest loop looked at its work.
    pub slowest_loop: Gauge<f64, AtomicU64>,
    /// Lines of the log, by level.
    pub log_lines: Family<LevelLabels, Counter>,
    /// Lines that were held back because the same had just been written.
    pub log_suppressed: Counter,
    /// Memory of this process.
    pub resident_bytes: Gauge,
    /// Open files and connections of this process.
    pub open_files: Gauge,
    /// When it was started, as a Unix time.
    pub started: Gauge,
    /// Daemons that share the state and live, this one included.
    pub fleet_daemons: Gauge,
    /// 1 when the database took this daemon's last word.
    pub fleet_database_up: Gauge,
    /// Seconds since this daemon was heard.
    pub fleet_heard_age: Gauge<f64, AtomicU64>,
    /// Journal entries of others that this daemon did not know yet when it was heard last.
    pub fleet_entries_behind: Gauge,
    /// 1 where this daemon runs an organization's directory.
    pub fleet_owner: Family<IntegrationLabels, Gauge>,
    /// Changes of an organization's owner.
    pub fleet_epoch: Family<IntegrationLabels, Gauge>,
    /// The part of an organization's share of Okta's limits that this daemon holds.
    pub fleet_slice: Family<IntegrationLabels, Gauge<f64, AtomicU64>>,
}

/// A metric of the registry, at zero.
fn added<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Registers everything.
    #[expect(clippy::too_many_lines, reason = "a list, in which a metric has one place")]
    pub fn new() -> Self {
        let mut root = Registry::default();
        // The names that every exporter gives these.
        let resident_bytes =
            added(&mut root, "process_resident_memory_bytes", "Resident memory of the process");
        let open_files = added(&mut root, "process_open_fds", "Open files and connections of the process");
        let started = added(&mut root, "process_start_time_seconds", "Start of the process, as a Unix time");
        let registry = root.sub_registry_with_prefix("apono_connector");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the running connector", build);

        let requests = added(registry, "http_requests", "Requests sent, by peer, operation and outcome");
        let request_seconds: Family<OperationLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(latency);
        registry.register_with_unit(
            "http_request_duration",
            "Time from sending a request to its whole answer",
            Unit::Seconds,
            request_seconds.clone(),
        );
        let budget_remaining = added(
            registry,
            "okta_budget_remaining_requests",
            "Requests left in the bucket's window, as Okta last said",
        );
        let budget_limit = added(
            registry,
            "okta_budget_limit_requests",
            "The bucket's limit for one window, as Okta last said",
        );
        let throttled = added(registry, "okta_throttled", "Answers with status 429");
        let token_mints = added(registry, "okta_token_mints", "Access tokens asked for, by outcome");
        let directory_runs = added(registry, "directory_runs", "Directory runs, by outcome");
        let directory_writes =
            added(registry, "directory_writes", "Writes to the SCIM service provider, by outcome");
        let directory_last_success = added(
            registry,
            "directory_last_success_timestamp_seconds",
            "End of the last directory run that completed",
        );
        let access_live = added(registry, "access_live_memberships", "Memberships that a grant holds now");
        let access_overdue = added(
            registry,
            "access_overdue_removals",
            "Removals whose time has come and that are not yet proven done",
        );
        let access_endings = added(registry, "access_endings", "Ended holdings, by how they ended");
        let access_outside_changes = added(
            registry,
            "access_outside_changes",
            "What others did in Okta to memberships that live grants count on",
        );
        let access_removal_lag: Family<IntegrationLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(lag);
        registry.register_with_unit(
            "access_removal_lag",
            "From the instant a removal was due to its proof",
            Unit::Seconds,
            access_removal_lag.clone(),
        );
        let budget_requests =
            added(registry, "okta_budget_requests", "Requests sent to Okta, by bucket and lane");
        let budget_wait = added(
            registry,
            "okta_budget_wait_seconds",
            "Time that requests have waited for Okta's rate limits, by bucket and lane",
        );
        let token_expiry =
            added(registry, "okta_token_expiry_timestamp_seconds", "When the access token expires");
        let clock_skew = added(registry, "okta_clock_skew_seconds", "Okta's clock less this host's");
        let directory_run_seconds: Family<IntegrationLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(run);
        registry.register_with_unit(
            "directory_run_duration",
            "How long directory runs take",
            Unit::Seconds,
            directory_run_seconds.clone(),
        );
        let directory_planned =
            added(registry, "directory_planned_operations", "Operations of plans, by kind");
        let directory_held = added(
            registry,
            "directory_breaker_held_operations",
            "Operations that the breaker holds, as of the last run; 0 while it is closed",
        );
        let directory_objects = added(
            registry,
            "directory_objects",
            "What Okta has shown, as of the last run that read all of it",
        );
        let secret_reloads =
            added(registry, "secret_reloads", "Changes of mounted secrets, by kind and outcome");
        let audit_write_failures =
            added(registry, "audit_write_failures", "Writes that the audit trail has not taken");
        let state_bytes = added(registry, "state_bytes", "What the journal takes on disk");
        let audit_bytes = added(registry, "audit_bytes", "What the audit trail takes on disk");
        let state_free_bytes = added(registry, "state_free_bytes", "Room left where the journal is");
        let ready = added(registry, "ready", "1 while grants can be ended");
        let slowest_loop =
            added(registry, "slowest_loop_seconds", "How long ago the slowest loop looked at its work");
        let log_lines = added(registry, "log_lines", "Lines of the log, by level");
        let log_suppressed = added(
            registry,
            "log_suppressed",
            "Lines of the log that were held back because the same had just been written",
        );
        let tasks = added(registry, "tasks", "Tasks answered, by kind and status");
        let results_pending =
            added(registry, "results_pending", "Results on disk that Apono has not accepted yet");
        let session_connected =
            added(registry, "session_connected", "1 while Apono accepts this connector's session");
        let fleet_daemons = added(
            registry,
            "fleet_daemons",
            "Daemons that share the state and are there, this one included; 0 where the state is this one's alone",
        );
        let fleet_database_up =
            added(registry, "fleet_database_up", "1 while the database that daemons share answers this one");
        let fleet_heard_age =
            added(registry, "fleet_heard_age_seconds", "Time since this daemon was heard by the others");
        let fleet_entries_behind = added(
            registry,
            "fleet_entries_behind",
            "Journal entries of other daemons that this one did not know when it was heard last",
        );
        let fleet_owner =
            added(registry, "fleet_owner", "1 where this daemon runs the organization's directory");
        let fleet_epoch = added(registry, "fleet_owner_epoch", "Changes of the organization's owner");
        let fleet_slice = added(
            registry,
            "fleet_slice_ratio",
            "The part of rate_limit_share that this daemon holds; none where the state is one daemon's alone",
        );

        Self {
            registry: root,
            requests,
            request_seconds,
            budget_remaining,
            budget_limit,
            throttled,
            token_mints,
            directory_runs,
            directory_writes,
            directory_last_success,
            access_live,
            access_overdue,
            access_endings,
            access_outside_changes,
            access_removal_lag,
            tasks,
            results_pending,
            session_connected,
            budget_requests,
            budget_wait,
            token_expiry,
            clock_skew,
            directory_run_seconds,
            directory_planned,
            directory_held,
            directory_objects,
            secret_reloads,
            audit_write_failures,
            state_bytes,
            audit_bytes,
            state_free_bytes,
            ready,
            slowest_loop,
            log_lines,
            log_suppressed,
            resident_bytes,
            open_files,
            started,
            fleet_daemons,
            fleet_database_up,
            fleet_heard_age,
            fleet_entries_behind,
            fleet_owner,
            fleet_epoch,
            fleet_slice,
        }
    }

    /// `OpenMetrics`; see [`classic()`] for the format before it.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 13))
}

fn run() -> Histogram {
    Histogram::new(exponential_buckets(0.5, 3.0, 11))
}

fn lag() -> Histogram {
    Histogram::new(exponential_buckets(0.125, 2.0, 15))
}
