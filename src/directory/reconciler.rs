//! # Purpose
//! One directory run: snapshot, the provider's side, plan, breaker, apply, report.
//!
//! # Invariants kept here
//! - It takes no input: every run looks at everything, whatever caused it.
//! - Without a snapshot nothing is planned; the next run is the retry.
//!
//! # Not here
//! When it runs: `app`.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use tracing::{info, warn};

use super::apply::{Applied, Applier};
use super::breaker::Limits;
use super::mapping::Mapping;
use super::plan::NameChange;
use super::provider::{self, ProviderError};
use super::selection::Selection;
use super::snapshot::{Collector, SnapshotError};
use super::store::{Counts, Planned, Store, StoreError};
use crate::clock::SharedClock;
use crate::domain::{IntegrationId, LiveMemberships};
use crate::http::Class;
use crate::okta::Directory;
use crate::scim::Provider;
use crate::scim::attributes::{Path, PathError};
use crate::telemetry::metrics::{IntegrationLabels, OutcomeLabels};
use crate::telemetry::{Metrics, chain};

/// Runs one organization's directory.
pub struct Reconciler {
    /// The organization.
    pub integration: IntegrationId,
    /// Okta, read-only.
    pub directory: Directory,
    /// The provider.
    pub provider: Provider,
    /// Between them.
    pub store: Store,
    /// Which groups.
    pub selection: Selection,
    /// Which attributes.
    pub mapping: Mapping,
    /// What a changed login does.
    pub user_name_change: NameChange,
    /// How much may go.
    pub limits: Limits,
    /// What must not be pushed.
    pub live: Arc<dyn LiveMemberships>,
    /// Time.
    pub clock: SharedClock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The last run, for whoever asks.
    pub last: watch::Sender<Option<DirectoryRun>>,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DirectoryRun {
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// How it ended.
    pub outcome: Outcome,
    /// One sentence for a person.
    pub message: String,
    /// Whether trying again cannot help until somebody mends something (a role, a token, the selection).
    pub needs_a_person: bool,
    /// What Okta has, where that is known.
    pub okta: Option<Counts>,
    /// What was to be done, where that is known.
    pub planned: Option<Planned>,
    /// What was done, where something was.
    pub applied: Option<Applied>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Both sides are equal.
    Completed,
    /// The breaker holds removals; everything else was done.
    Held,
    /// Some operations failed.
    Partial,
    /// One of the sides could not be read completely; nothing was changed.
    Incomplete,
}

impl Outcome {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Held => "held",
            Self::Partial => "partial",
            Self::Incomplete => "incomplete",
        }
    }
}

/// A run did not get as far as a plan.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Okta's side.
    #[error("Okta's side could not be read completely, so nothing is changed")]
    Snapshot(#[source] SnapshotError),
    /// The provider's side.
    #[error("the SCIM service's side could not be read completely, so nothing is changed")]
    Provider(#[source] ProviderError),
    /// The local store.
    #[error("the plan could not be made")]
    Store(#[source] StoreError),
    /// Our own path does not parse.
    #[error("the attribute mapping is wrong")]
    Mapping(#[source] PathError),
}

impl RunError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Snapshot(source) => source.class(),
            Self::Provider(source) => source.class(),
            Self::Store(_) => Class::Transient,
            Self::Mapping(_) => Class::Permanent,
        }
    }
}

impl Reconciler {
    /// Runs once.
    pub async fn run(&self) -> DirectoryRun {
        let (started_at, began) = (self.clock.now(), self.clock.elapsed());
        info!(integration.id = %self.integration, "directory run begins");
        let result = self.reconcile().await;
        let took = self.clock.elapsed().saturating_sub(began);
        let run = self.report(started_at, took, result);
        let integration = self.integration.as_str().to_owned();
        let labels = OutcomeLabels { integration: integration.clone(), outcome: run.outcome.as_str() };
        self.metrics.directory_runs.get_or_create(&labels).inc();
        if let Some(applied) = &run.applied {
            for (outcome, count) in [
                ("done", applied.done),
                ("failed", applied.failed),
                ("held", applied.held),
                ("left", applied.left),
            ] {
                let labels = OutcomeLabels { integration: integration.clone(), outcome };
                self.metrics.directory_writes.get_or_create(&labels).inc_by(count);
            }
        }
        if run.outcome == Outcome::Completed {
            let labels = IntegrationLabels { integration };
            self.metrics.directory_last_success.get_or_create(&labels).set(self.clock.now().as_second());
        }
        self.last.send_replace(Some(run.clone()));
        run
    }

    async fn reconcile(&self) -> Result<(Counts, Planned, Applied), RunError> {
        let collector = Collector {
            directory: &self.directory,
            store: &self.store,
            selection: &self.selection,
            mapping: &self.mapping,
            live: self.live.as_ref(),
        };
        let snapshot = collector.collect().await.map_err(RunError::Snapshot)?;
        let counts = snapshot.counts();
        info!(
            integration.id = %self.integration,
            users = counts.users, groups = counts.groups, memberships = counts.memberships,
            "read {} users, {} groups and {} memberships from Okta", counts.users, counts.groups, counts.memberships
        );
        let abilities = provider::read_into(&self.store, &self.provider, &self.mapping)
            .await
            .map_err(RunError::Provider)?;
        let user_name = Path::parse("userName").map_err(RunError::Mapping)?;
        let planned =
            self.store.plan(user_name, self.user_name_change, self.limits).await.map_err(RunError::Store)?;
        for held in &planned.held {
            warn!(integration.id = %self.integration, "the breaker holds removals: {held}");
        }
        let hands = Applier::new(&self.store, &self.provider, abilities, self.mapping.paths());
        let applied = hands.apply(&planned).await.map_err(RunError::Store)?;
        Ok((counts, planned, applied))
    }

    fn report(
        &self,
        started_at: Timestamp,
        took: Duration,
        result: Result<(Counts, Planned, Applied), RunError>,
    ) -> DirectoryRun {
        let seconds = took.as_secs_f64();
        match result {
            Ok((counts, planned, applied)) => {
                let outcome = match (&applied.first_failure, planned.held.is_empty()) {
                    (Some(_), _) => Outcome::Partial,
                    (None, false) => Outcome::Held,
                    (None, true) => Outcome::Completed,
                };
                let message = summary(counts, &planned, &applied);
                info!(
                    integration.id = %self.integration, outcome = outcome.as_str(), seconds,
                    operations = planned.total(), done = applied.done, failed = applied.failed, held = applied.held,
                    "directory run {}: {message}", outcome.as_str()
                );
                let (okta, planned, applied) = (Some(counts), Some(planned), Some(applied));
                DirectoryRun {
                    started_at,
                    seconds,
                    outcome,
                    message,
                    needs_a_person: false,
                    okta,
                    planned,
                    applied,
                }
            }
            Err(error) => {
                let needs_a_person = error.class() != Class::Transient;
                let message = chain(&error).to_string();
                warn!(integration.id = %self.integration, seconds, error = message,
                    "directory run incomplete: {message}");
                let (outcome, okta, planned, applied) = (Outcome::Incomplete, None, None, None);
                DirectoryRun { started_at, seconds, outcome, message, needs_a_person, okta, planned, applied }
            }
        }
    }
}

fn summary(counts: Counts, planned: &Planned, applied: &Applied) -> String {
    let Counts { users, groups, memberships } = counts;
    let what = format!("{users} users, {groups} groups, {memberships} memberships");
    if planned.total() == 0 {
        return format!("{what}; nothing to do");
    }
    let mut text = format!("{what}; {} of {} changes made", applied.done, planned.total());
    for held in &planned.held {
        text.push_str("; held: ");
        text.push_str(&held.to_string());
    }
    if applied.left > 0 {
        let _ = write!(text, "; {} left to the next run", applied.left);
    }
    if let Some(failure) = &applied.first_failure {
        text.push_str("; failed: ");
        text.push_str(failure);
    }
    text
}
