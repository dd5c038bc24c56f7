//! # Purpose
//! Every metric of the program, in one struct with one registry.
//!
//! # Invariants kept here
//! - Labels are closed sets or come from the configuration (integration ids), so that their number is bounded.
//! - Names follow Prometheus: `apono_connector_` prefix, base units, `_total` on counters (added by the encoder).
//!
//! # Not here
//! When a metric moves: the module that does the work.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry, Unit};

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
}

/// A metric of the registry, at zero.
fn added<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("apono_connector");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of the running connector", build);

        let requests = added(&mut registry, "http_requests", "Requests sent, by peer, operation and outcome");
        let request_seconds: Family<OperationLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(latency);
        registry.register_with_unit(
            "http_request_duration",
            "Time from sending a request to its whole answer",
            Unit::Seconds,
            request_seconds.clone(),
        );
        let budget_remaining = added(
            &mut registry,
            "okta_budget_remaining_requests",
            "Requests left in the bucket's window, as Okta last said",
        );
        let budget_limit = added(
            &mut registry,
            "okta_budget_limit_requests",
            "The bucket's limit for one window, as Okta last said",
        );
        let throttled = added(&mut registry, "okta_throttled", "Answers with status 429");
        let token_mints = added(&mut registry, "okta_token_mints", "Access tokens asked for, by outcome");
        let directory_runs = added(&mut registry, "directory_runs", "Directory runs, by outcome");
        let directory_writes =
            added(&mut registry, "directory_writes", "Writes to the SCIM service provider, by outcome");
        let directory_last_success = added(
            &mut registry,
            "directory_last_success_timestamp_seconds",
            "End of the last directory run that completed",
        );
        let access_live =
            added(&mut registry, "access_live_memberships", "Memberships that a grant holds now");
        let access_overdue = added(
            &mut registry,
            "access_overdue_removals",
            "Removals whose time has come and that are not yet proven done",
        );
        let access_endings = added(&mut registry, "access_endings", "Ended holdings, by how they ended");
        let access_outside_changes = added(
            &mut registry,
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
        let tasks = added(&mut registry, "tasks", "Tasks answered, by kind and status");
        let results_pending =
            added(&mut registry, "results_pending", "Results on disk that Apono has not accepted yet");
        let session_connected =
            added(&mut registry, "session_connected", "1 while Apono accepts this connector's session");

        Self {
            registry,
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
        }
    }

    /// The text exposition format that `/metrics` serves.
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

fn lag() -> Histogram {
    Histogram::new(exponential_buckets(0.125, 2.0, 15))
}
