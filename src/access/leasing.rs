//! # Purpose
//! Leases tasks by long poll, takes them on durably, and keeps their leases while they are worked on.
//!
//! # Invariants kept here
//! - Every task that can be named is answered: one that is malformed, unknown or unsupported gets its code.
//! - No more is leased than can be kept in hand: the number of open tasks is bounded.
//! - A duty taken on stays ours when the lease is lost; only what was not begun is left to the other.
//!
//! # Not here
//! What a task about access means: `intake`. Sending results: `outbox`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::book::Book;
use super::intake;
use super::journal::{Record, Subject};
use super::ledger::{Ledger, LedgerError};
use super::policy::Policy;
use super::tasks::{Ask, Closure, TaskEvent, TaskState};
use crate::apono::{AponoError, Code, ControlPlane, Extension, Lease, MalformedTask, Task, TaskResult, Work};
use crate::clock::{self, SharedClock};
use crate::domain::{Grant, IntegrationId, TaskId};
use crate::http::Class;
use crate::telemetry::chain;

/// Answers the tasks that are not about access.
pub trait Questions: Send + Sync {
    /// Whether the integration is one of this connector's.
    fn knows(&self, integration: &IntegrationId) -> bool;

    /// Answers; never fails, a failure is an answer too.
    fn answer<'a>(&'a self, integration: &'a IntegrationId, work: &'a Work) -> BoxFuture<'a, TaskResult>;
}

/// The loop.
pub struct Leasing {
    /// Apono.
    pub control: Arc<ControlPlane>,
    /// Where tasks are kept.
    pub ledger: Arc<Ledger>,
    /// Time.
    pub clock: SharedClock,
    /// The policy of each organization that executes grants.
    pub policies: BTreeMap<IntegrationId, Policy>,
    /// Answers to everything else.
    pub questions: Arc<dyn Questions>,
}

/// A task of the loop panicked.
#[derive(Debug, thiserror::Error)]
#[error("answering a task died")]
pub struct AnswerDied(#[source] JoinError);

/// Held by the control plane when there is nothing to do.
const POLL: Duration = Duration::from_secs(25);
/// How long a task is ours without asking again.
const LEASE: Duration = Duration::from_mins(1);
/// Tasks in one answer.
const AT_ONCE: usize = 16;
/// Tasks in hand; beyond that they stay with Apono.
const MOST_OPEN: usize = 2000;
/// Questions that are answered at the same time.
const QUESTIONS: usize = 4;

impl Leasing {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), AnswerDied> {
        self.abandon_unanswered_questions().await;
        let mut asking: JoinSet<TaskId> = JoinSet::new();
        let mut asked = BTreeSet::new();
        let turns = Arc::new(Semaphore::new(QUESTIONS));
        let mut failures = Failures::default();
        while !stop.is_cancelled() {
            let open = self.ledger.read(|book| book.tasks().count());
            let room = MOST_OPEN.saturating_sub(open).min(AT_ONCE);
            let lease = async {
                if room == 0 {
                    clock::sleep(Duration::from_secs(1)).await;
                    return Ok(Vec::new());
                }
                self.control.lease(room, POLL, LEASE).await
            };
            let leased = tokio::select! {
                () = stop.cancelled() => break,
                leased = lease => leased,
            };
            match leased {
                Ok(items) => {
                    failures.over();
                    for item in &items {
                        self.take(item, &mut asking, &mut asked, &turns).await;
                    }
                }
                Err(error) => {
                    let wait = failures.again(&error);
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = clock::sleep(wait) => {}
                    }
                }
            }
            while let Some(finished) = asking.try_join_next() {
                asked.remove(&finished.map_err(AnswerDied)?);
            }
        }
        // A question that is being answered is asked again by Apono; there is nothing to finish.
        Ok(())
    }

    /// Extends the leases that are about to run out; returns when to look again.
    pub async fn keep_leases(control: &ControlPlane, ledger: &Ledger, clock: &SharedClock) -> Duration {
        const EARLY: Duration = Duration::from_secs(30);
        let soon = clock::after(clock.now(), EARLY);
        let runs_out = |task: &TaskState| {
            let unanswered = task.result.is_none() && !task.closed && !task.lease_lost;
            unanswered && task.lease.expires_at.is_none_or(|expiry| expiry <= soon)
        };
        let tasks: Vec<(TaskId, TaskState)> = ledger.read(|book| {
            let open = book.tasks().filter(|(_, task)| runs_out(task));
            open.map(|(id, task)| (id.clone(), task.clone())).collect()
        });
        for (id, task) in tasks {
            let event = match control.extend(&id, &task.lease.token, LEASE).await {
                Ok(Extension::Until(expires_at)) => {
                    let lease = Lease { expires_at: Some(expires_at), ..task.lease };
                    TaskEvent::Taken { ask: task.ask, lease }
                }
                Ok(Extension::Lost) => {
                    info!(task.id = %id, "somebody else has task {id} now; nothing new is begun for it");
                    TaskEvent::LeaseLost
                }
                Err(error) => {
                    info!(task.id = %id, error = %chain(&error), "cannot extend the lease of {id}: {}", chain(&error));
                    continue;
                }
            };
            let record = |book: &Book| {
                let still_open = book.task(&id).is_some_and(|task| task.result.is_none());
                still_open.then(|| Record::Task { id: id.clone(), event }).into_iter().collect()
            };
            log_failure(&id, ledger.record(&[], record).await);
        }
        Duration::from_secs(10)
    }

    async fn take(
        &self,
        item: &Value,
        asking: &mut JoinSet<TaskId>,
        asked: &mut BTreeSet<TaskId>,
        turns: &Arc<Semaphore>,
    ) {
        match Task::read(item) {
            Err(MalformedTask { id: Some(id), lease, problem }) => {
                warn!(task.id = %id, "task {id} cannot be understood: {problem}");
                self.answer(&id, &lease, Code::MalformedTask, &problem).await;
            }
            Err(MalformedTask { id: None, problem, .. }) => {
                error!("Apono sent a task that cannot even be answered: {problem}");
            }
            Ok(task) if !self.questions.knows(&task.integration) => {
                let problem = format!("this connector has no integration {}", task.integration);
                self.answer(&task.id, &task.lease, Code::UnknownIntegration, &problem).await;
            }
            Ok(task) => self.take_on(task, asking, asked, turns).await,
        }
    }

    async fn take_on(
        &self,
        task: Task,
        asking: &mut JoinSet<TaskId>,
        asked: &mut BTreeSet<TaskId>,
        turns: &Arc<Semaphore>,
    ) {
        info!(task.id = %task.id, event_type = task.work.label(), integration.id = %task.integration,
            "took {} task {}", task.work.label(), task.id);
        match &task.work {
            Work::GrantAccess(grant) => self.take_grant(&task, grant).await,
            Work::RevokeAccess(grant) => self.take_revoke(&task, grant).await,
            Work::Unsupported(event_type) => {
                let problem = format!("this connector does not know tasks of type {event_type}");
                self.answer(&task.id, &task.lease, Code::UnsupportedTask, &problem).await;
            }
            Work::GetStatus | Work::ListResources | Work::SyncDirectory => {
                let records = |_: &Book| vec![intake::taken(&task.id, Ask::Other, &task.lease)];
                let subject = Subject::Task(task.id.clone());
                log_failure(&task.id, self.ledger.record(std::slice::from_ref(&subject), records).await);
                let is_answered =
                    self.ledger.read(|book| book.task(&task.id).is_some_and(|known| known.result.is_some()));
                if is_answered || !asked.insert(task.id.clone()) {
                    return;
                }
                let (questions, ledger) = (Arc::clone(&self.questions), Arc::clone(&self.ledger));
                let turns = Arc::clone(turns);
                asking.spawn(async move {
                    let _turn = turns.acquire().await;
                    let result = questions.answer(&task.integration, &task.work).await;
                    let answered = |book: &Book| {
                        let unanswered = book.task(&task.id).is_some_and(|known| known.result.is_none());
                        let event = TaskEvent::Answered { result };
                        unanswered.then(|| Record::Task { id: task.id.clone(), event }).into_iter().collect()
                    };
                    log_failure(&task.id, ledger.record(&[subject], answered).await);
                    task.id
                });
            }
        }
    }

    async fn take_grant(&self, task: &Task, grant: &Grant) {
        let now = self.clock.now();
        let (id, lease) = (&task.id, &task.lease);
        let policy = self.policies.get(&task.integration);
        let records = |book: &Book| {
            let Some(policy) = policy else {
                let reason = "grants are switched off for this organization (okta.access.enabled)";
                return intake::refused(book, id, lease, grant, (Code::RefusedPolicy, reason), now);
            };
            intake::grant(book, id, lease, grant, policy, now)
        };
        let subjects = [Subject::Grant(grant.id.clone()), Subject::Task(id.clone())];
        log_failure(id, self.ledger.record(&subjects, records).await);
    }

    async fn take_revoke(&self, task: &Task, grant: &Grant) {
        let now = self.clock.now();
        let records = |book: &Book| intake::revoke(book, &task.id, &task.lease, grant, now);
        let subjects = [Subject::Grant(grant.id.clone()), Subject::Task(task.id.clone())];
        log_failure(&task.id, self.ledger.record(&subjects, records).await);
    }

    async fn answer(&self, id: &TaskId, lease: &Lease, code: Code, message: &str) {
        let result = TaskResult::whole(code, message, json!({}), self.clock.now());
        let subjects = [Subject::Task(id.clone())];
        let records = |book: &Book| intake::answered_at_once(book, id, lease, result);
        log_failure(id, self.ledger.record(&subjects, records).await);
    }

    /// Questions that an earlier process left unanswered are not known any more; Apono asks them again.
    async fn abandon_unanswered_questions(&self) {
        let decide = |book: &Book| {
            let unanswered = book.tasks().filter(|(_, task)| task.ask == Ask::Other && task.result.is_none());
            let event = TaskEvent::Closed { why: Closure::Abandoned };
            unanswered.map(|(id, _)| Record::Task { id: id.clone(), event: event.clone() }).collect()
        };
        if let Err(error) = self.ledger.record(&[], decide).await {
            warn!(error = %chain(&error), "cannot close the tasks of an earlier run: {}", chain(&error));
        }
    }
}

/// A task that could not be recorded stays with Apono, whose lease on it runs out.
fn log_failure(id: &TaskId, recorded: Result<(), LedgerError>) {
    if let Err(error) = recorded {
        warn!(task.id = %id, error = %chain(&error), "task {id} could not be taken on: {}", chain(&error));
    }
}

/// Pauses after failed polls; each new reason is logged once.
#[derive(Default)]
struct Failures {
    count: u32,
    reason: Option<String>,
}

impl Failures {
    fn again(&mut self, error: &AponoError) -> Duration {
        let first = match error.class() {
            Class::Transient => Duration::from_millis(500),
            Class::Permanent | Class::Misconfigured => Duration::from_secs(10),
        };
        let wait = first.saturating_mul(2_u32.saturating_pow(self.count.min(8))).min(Self::longest(error));
        let reason = chain(error).to_string();
        if self.reason.as_ref() != Some(&reason) {
            warn!(error = reason, "no tasks from Apono; trying again until there are: {reason}");
        }
        self.count += 1;
        self.reason = Some(reason);
        wait
    }

    /// A control plane that comes back is noticed soon; one that refuses us is not pestered.
    fn longest(error: &AponoError) -> Duration {
        match error.class() {
            Class::Transient => Duration::from_secs(8),
            Class::Permanent | Class::Misconfigured => Duration::from_mins(1),
        }
    }

    fn over(&mut self) {
        if self.reason.take().is_some() {
            info!("Apono hands out tasks again");
        }
        self.count = 0;
    }
}
