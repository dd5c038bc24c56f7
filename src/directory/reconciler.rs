//! # Purpose
//! One directory run: snapshot, the provider's side, plan, breaker, apply, report.
//!
//! # Invariants kept here
//! - It takes no input but whether somebody asked: what it does follows from both sides, whatever caused it.
//! - Without a snapshot nothing is planned, and without evidence nothing of a plan is done; the next run is the retry.
//!
//! # Not here
//! When it runs: `app`.

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use super::account::Account;
use super::apply::{Applied, Applier};
use super::breaker::Limits;
use super::evidence::{self, Evidence, EvidenceError};
use super::mapping::Mapping;
use super::plan::NameChange;
use super::progress::{Phase, Work};
use super::provider::{self, ProviderError};
use super::selection::Selection;
use super::snapshot::{Collector, Snapshot, SnapshotError};
use super::store::{Counts, Failing, Planned, PlannedOperation, Reach, Rules, Store, StoreError};
use super::tracker::Tracker;
use crate::catalogue::ErrorCode;
use crate::clock::SharedClock;
use crate::domain::{IntegrationId, LiveMemberships};
use crate::http::Class;
use crate::okta::bucket;
use crate::okta::{Directory, SystemLog};
use crate::scim::attributes::{Path, PathError};
use crate::scim::{Abilities, Provider};
use crate::telemetry::metrics::{IntegrationLabels, ObjectLabels, OutcomeLabels, PlannedLabels};
use crate::telemetry::{Metrics, chain};

/// What a run would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Of which organization.
    pub integration: IntegrationId,
    /// How much of Okta's side was read for it.
    pub reach: Reach,
    /// What Okta has.
    pub okta: Counts,
    /// What there is to do, and what the breaker says of it.
    #[serde(flatten)]
    pub planned: Planned,
}

/// Both sides were read, and a plan was made.
struct Prepared {
    snapshot: Snapshot,
    okta: Counts,
    planned: Planned,
    abilities: Abilities,
}

/// A plan was carried out, as far as that went.
struct Done {
    snapshot: Snapshot,
    okta: Counts,
    planned: Planned,
    applied: Applied,
}

/// A plan was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyRefusal {
    /// The world has moved.
    #[error(
        "what there is to do is not what was planned any more (asked for {asked}, found {found}); plan again, and look at it [{code}]", code = ErrorCode::PlanMoved)]
    Moved {
        /// The hash that was asked for.
        asked: String,
        /// The hash of what there is to do now.
        found: String,
    },
    /// There is no plan to compare it with.
    #[error("nothing was changed")]
    Run(#[source] RunError),
}

/// Operations in one answer.
const OPERATIONS_AT_ONCE: u32 = 500;
/// After a run in which something failed, the provider's side is read again if it was read longer ago than this.
const AFTER_A_FAILURE: Duration = Duration::from_hours(1);

/// Runs one organization's directory.
pub struct Reconciler {
    /// The organization.
    pub integration: IntegrationId,
    /// Okta, read-only.
    pub directory: Directory,
    /// Okta's System Log, where it is open to us.
    pub log: SystemLog,
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
    /// Between two runs that read everything.
    pub full_interval: Duration,
    /// What must not be pushed.
    pub live: Arc<dyn LiveMemberships>,
    /// Time.
    pub clock: SharedClock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The last run, for whoever asks.
    pub last: watch::Sender<Option<DirectoryRun>>,
    /// How far the run is that goes on.
    pub tracker: Arc<Tracker>,
    /// What fails, as of the last run that wrote.
    pub failing: watch::Sender<Failing>,
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
    /// How much of Okta's side was read, where it was.
    pub reach: Option<Reach>,
    /// Whether some of it was read by a process before this one: what has changed since is read soon.
    pub resumed: bool,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    #[error(
        "Okta's side could not be read completely, so nothing is changed [{}]",
        ErrorCode::SourceIncomplete
    )]
    Snapshot(#[source] SnapshotError),
    /// The provider's side.
    #[error(
        "the SCIM service's side could not be read completely, so nothing is changed [{}]",
        ErrorCode::ProviderIncomplete
    )]
    Provider(#[source] ProviderError),
    /// The local store.
    #[error("the plan could not be made")]
    Store(#[source] StoreError),
    /// Something of the plan does not stand a second look.
    #[error(
        "the plan would take away what a second look shows, or cannot show to be gone, so nothing is changed [{}]",
        ErrorCode::EvidenceDisagrees
    )]
    Evidence(#[source] EvidenceError),
    /// Our own path does not parse.
    #[error("the attribute mapping is wrong [{}]", ErrorCode::MappingWrong)]
    Mapping(#[source] PathError),
}

impl RunError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Snapshot(source) => source.class(),
            Self::Provider(source) => source.class(),
            Self::Evidence(source) => source.class(),
            Self::Store(_) => Class::Transient,
            Self::Mapping(_) => Class::Permanent,
        }
    }
}

impl Reconciler {
    /// Runs once. Whoever asks for a run gets one that reads everything.
    pub async fn run(&self, asked: bool) -> DirectoryRun {
        let began = self.begin();
        let _follow = self.tracker.begin();
        let result = match self.prepare(asked).await {
            Ok(prepared) => self.carry_out(prepared).await,
            Err(error) => Err(error),
        };
        self.end(began, result).await
    }

    /// Finds out what a run would do, and does nothing.
    pub async fn plan(&self) -> Result<Plan, RunError> {
        let _follow = self.tracker.begin();
        let Prepared { snapshot, okta, planned, .. } = self.prepare(true).await?;
        Ok(Plan { integration: self.integration.clone(), reach: snapshot.reach(), okta, planned })
    }

    /// Carries out the plan with this hash and no other.
    pub async fn apply(&self, hash: &str) -> Result<DirectoryRun, ApplyRefusal> {
        let began = self.begin();
        let _follow = self.tracker.begin();
        let prepared = self.prepare(false).await.map_err(ApplyRefusal::Run)?;
        if prepared.planned.hash != hash {
            return Err(ApplyRefusal::Moved { asked: hash.to_owned(), found: prepared.planned.hash });
        }
        let result = self.carry_out(prepared).await;
        Ok(self.end(began, result).await)
    }

    /// Agrees to the held removals with this hash.
    pub async fn approve(&self, hash: String) -> Result<(), StoreError> {
        self.store.approve(hash).await
    }

    /// Some operations of the last plan, in order, from the `skip`th on; nothing past the last one.
    pub async fn operations(&self, skip: i64) -> Result<Vec<PlannedOperation>, StoreError> {
        self.store.all_operations(skip, OPERATIONS_AT_ONCE).await
    }

    /// What fails, from the store, also for whoever looks at [`Reconciler::failing`].
    pub async fn tell_failing(&self) -> Result<Failing, StoreError> {
        let failing = self.store.failing().await?;
        self.failing.send_replace(failing.clone());
        Ok(failing)
    }

    fn begin(&self) -> (Timestamp, Duration) {
        info!(event = "directory_run_begins", integration.id = %self.integration, "directory run begins");
        (self.clock.now(), self.clock.elapsed())
    }

    async fn end(
        &self,
        (started_at, began): (Timestamp, Duration),
        result: Result<Done, RunError>,
    ) -> DirectoryRun {
        let took = self.clock.elapsed().saturating_sub(began);
        if let Err(error) = self.store.rest().await {
            warn!(integration.id = %self.integration, error = %chain(&error), "the local store keeps its memory: {}", chain(&error));
        }
        let run = self.report(started_at, took, result);
        let integration = self.integration.as_str().to_owned();
        let labels = OutcomeLabels { integration: integration.clone(), outcome: run.outcome.as_str() };
        self.metrics.directory_runs.get_or_create(&labels).inc();
        self.measure(&run);
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

    /// What the run has shown, as numbers.
    fn measure(&self, run: &DirectoryRun) {
        let integration = self.integration.as_str();
        let labels = IntegrationLabels { integration: integration.to_owned() };
        self.metrics.directory_run_seconds.get_or_create(&labels).observe(run.seconds);
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        if let Some(planned) = &run.planned {
            for (operation, count) in &planned.operations {
                let labels = PlannedLabels { integration: integration.to_owned(), operation };
                self.metrics.directory_planned.get_or_create(&labels).inc_by(*count);
            }
        }
        if let Some(applied) = &run.applied {
            self.metrics.directory_held.get_or_create(&labels).set(gauge(applied.held));
        }
        if let Some(okta) = &run.okta {
            for (kind, count) in
                [("users", okta.users), ("groups", okta.groups), ("memberships", okta.memberships)]
            {
                let labels = ObjectLabels { integration: integration.to_owned(), kind };
                self.metrics.directory_objects.get_or_create(&labels).set(gauge(count));
            }
        }
    }

    /// Reads both sides and plans.
    async fn prepare(&self, asked: bool) -> Result<Prepared, RunError> {
        let reach = self.reach(asked).await.map_err(RunError::Store)?;
        let collector = Collector {
            directory: &self.directory,
            log: &self.log,
            store: &self.store,
            selection: &self.selection,
            mapping: &self.mapping,
            live: self.live.as_ref(),
            told: Mutex::default(),
            tracker: &self.tracker,
        };
        let snapshot = collector.collect(reach).await.map_err(RunError::Snapshot)?;
        let mut abilities = self.provider_side(snapshot.reach()).await?;
        let (mut planned, mut okta) = self.planned().await?;
        if planned.operations.contains_key("create_group") && self.store.may_miss_groups() {
            // Few services refuse a second group of the same id and name.
            abilities = self.read_provider().await?;
            (planned, okta) = self.planned().await?;
        }
        info!(
            integration.id = %self.integration,
            users = okta.users, groups = okta.groups, memberships = okta.memberships,
            reach = ?snapshot.reach(),
            "Okta has {} users, {} groups and {} memberships", okta.users, okta.groups, okta.memberships
        );
        for held in &planned.held {
            warn!(event = "breaker_holds", integration.id = %self.integration,
                "the breaker holds removals: {held} [{}]", ErrorCode::BreakerHolds);
        }
        let (removals, looks) = looks(&planned);
        self.tracker.enter(Phase::SecondLooks, Some(removals), evidence::AT_ONCE, looks);
        let evidence = Evidence {
            directory: &self.directory,
            store: &self.store,
            selection: &self.selection,
            live: self.live.as_ref(),
            tracker: &self.tracker,
        };
        evidence.review().await.map_err(RunError::Evidence)?;
        Ok(Prepared { snapshot, okta, planned, abilities })
    }

    async fn planned(&self) -> Result<(Planned, Counts), RunError> {
        self.tracker.enter(Phase::Planning, None, 1, Vec::new());
        self.store.plan(self.rules()?).await.map_err(RunError::Store)
    }

    async fn carry_out(&self, prepared: Prepared) -> Result<Done, RunError> {
        let Prepared { snapshot, okta, planned, abilities } = prepared;
        // One request a change, more or less: what one takes is seen as they are made.
        let writes = vec![Work { bucket: None, requests: planned.total() }];
        self.tracker.enter(Phase::Writing, Some(planned.total()), 1, writes);
        let account = Account::open(&self.store, &self.clock).await.map_err(RunError::Store)?;
        let hands = Applier::new(&self.store, &self.provider, abilities, self.mapping.paths());
        let applied = hands.apply(&account, &self.tracker).await.map_err(RunError::Store)?;
        account.settle().await.map_err(RunError::Store)?;
        self.tell_failing().await.map_err(RunError::Store)?;
        if applied.failed > 0 {
            self.doubt_the_provider().await.map_err(RunError::Store)?;
        } else if planned.held.is_empty() {
            self.store.accept().await.map_err(RunError::Store)?;
            if applied.done > 0 {
                // Whoever was brought up to date is settled now, and no run looks at them again.
                self.store.plan(self.rules()?).await.map_err(RunError::Store)?;
            }
        }
        Ok(Done { snapshot, okta, planned, applied })
    }

    fn rules(&self) -> Result<Rules, RunError> {
        let user_name = Path::parse("userName").map_err(RunError::Mapping)?;
        Ok(Rules { user_name, change: self.user_name_change, limits: self.limits })
    }

    async fn reach(&self, asked: bool) -> Result<Reach, StoreError> {
        let read = self.store.everything_at().await?;
        let now = self.directory.now();
        let fresh = read.is_some_and(|read| now.duration_since(read).unsigned_abs() < self.full_interval);
        Ok(if fresh && !asked { Reach::Changes } else { Reach::Everything })
    }

    /// Reads the provider's side where everything is read, and where it is not known.
    async fn provider_side(&self, reach: Reach) -> Result<Abilities, RunError> {
        let known = self.store.provider_read_at().await.map_err(RunError::Store)?;
        if reach == Reach::Changes && known.is_some() {
            return provider::abilities(&self.store, &self.provider).await.map_err(RunError::Provider);
        }
        self.read_provider().await
    }

    async fn read_provider(&self) -> Result<Abilities, RunError> {
        let read = provider::read_into(&self.store, &self.provider, &self.mapping, &self.tracker).await;
        let abilities = read.map_err(RunError::Provider)?;
        self.store.provider_was_read(self.clock.now()).await.map_err(RunError::Store)?;
        Ok(abilities)
    }

    /// What failed may have failed because the provider is not as it was: it is read again, though not all the time.
    async fn doubt_the_provider(&self) -> Result<(), StoreError> {
        let read = self.store.provider_read_at().await?;
        let now = self.clock.now();
        if read.is_some_and(|read| now.duration_since(read).unsigned_abs() >= AFTER_A_FAILURE) {
            self.store.mistrust_provider().await?;
        }
        Ok(())
    }

    fn report(&self, started_at: Timestamp, took: Duration, result: Result<Done, RunError>) -> DirectoryRun {
        let seconds = took.as_secs_f64();
        match result {
            Ok(Done { snapshot, okta: counts, planned, applied }) => {
                let reach = Some(snapshot.reach());
                let outcome = match (&applied.first_failure, planned.held.is_empty()) {
                    (Some(_), _) => Outcome::Partial,
                    (None, false) => Outcome::Held,
                    (None, true) => Outcome::Completed,
                };
                let message = summary(counts, &planned, &applied);
                info!(
                    event = "directory_run_ends", integration.id = %self.integration, outcome = outcome.as_str(), seconds,
                    operations = planned.total(), done = applied.done, failed = applied.failed, held = applied.held,
                    "directory run {}: {message}", outcome.as_str()
                );
                let (okta, planned, applied) = (Some(counts), Some(planned), Some(applied));
                DirectoryRun {
                    started_at,
                    seconds,
                    outcome,
                    reach,
                    resumed: snapshot.is_resumed(),
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
                warn!(event = "directory_run_ends", integration.id = %self.integration, outcome = Outcome::Incomplete.as_str(),
                    seconds, error = message,
                    "directory run incomplete: {message}");
                DirectoryRun {
                    started_at,
                    seconds,
                    outcome: Outcome::Incomplete,
                    reach: None,
                    resumed: false,
                    message,
                    needs_a_person,
                    okta: None,
                    planned: None,
                    applied: None,
                }
            }
        }
    }
}

/// How many removals a plan has, and what looking at them again asks of Okta, more or less.
fn looks(planned: &Planned) -> (u64, Vec<Work>) {
    let number = |names: &[&str]| -> u64 {
        names.iter().map(|name| planned.operations.get(name).copied().unwrap_or(0)).sum()
    };
    let looks = [
        (bucket::USER, number(&["deactivate_user"])),
        (bucket::USER_GROUPS, number(&["remove_members"])),
        (bucket::GROUP, number(&["delete_group", "release_group"])),
    ];
    let removals = looks.iter().map(|(_, requests)| requests).sum();
    (removals, looks.map(|(bucket, requests)| Work { bucket: Some(bucket), requests }).to_vec())
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
