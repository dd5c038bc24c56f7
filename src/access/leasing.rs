//! # Purpose
//! Leases tasks by long poll and takes them on durably.
//!
//! # Invariants kept here
//! - Every task that can be named is answered: one that is malformed, unknown or unsupported gets its code.
//! - No more is leased than can be kept in hand: the number of open tasks is bounded.
//! - A control plane that answers a long poll at once is not asked more than once a second.
//!
//! # Not here
//! What a task about access means: `intake`. Keeping leases: `leases`. Sending results: `outbox`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::book::Book;
use super::conditions::Obstacle;
use super::intake;
use super::journal::{Record, Subject};
use super::leases;
use super::ledger::{Ledger, LedgerError};
use super::tasks::{Ask, Closure, TaskEvent};
use super::watch::Admission;
use crate::apono::{AponoError, Code, ControlPlane, Lease, MalformedTask, Task, TaskResult, Work};
use crate::catalogue::ErrorCode;
use crate::clock::{self, SharedClock};
use crate::domain::{Grant, IntegrationId, TaskId};
use crate::http::Class;
use crate::http::retry::doubling;
use crate::telemetry::chain;

/// Answers the tasks that are not about access.
pub trait Questions: Send + Sync {
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
    /// Each organization.
    pub organizations: BTreeMap<IntegrationId, Admission>,
    /// Answers to everything else.
    pub questions: Arc<dyn Questions>,
}

/// A task of the loop panicked.
#[derive(Debug, thiserror::Error)]
#[error("answering a task died")]
pub struct AnswerDied(#[source] JoinError);

/// Held by the control plane when there is nothing to do.
const POLL: Duration = Duration::from_secs(25);
/// Between two polls that brought nothing.
const LEAST: Duration = Duration::from_secs(1);
/// At a stop, for answers that are about to be recorded.
const LAST_RECORD: Duration = Duration::from_secs(1);
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
            let asked_at = self.clock.elapsed();
            let lease = async {
                if room == 0 {
                    clock::sleep(Duration::from_secs(1)).await;
                    return Ok(Vec::new());
                }
                self.control.lease(room, POLL, leases::TERM).await
            };
            let leased = tokio::select! {
                () = stop.cancelled() => break,
                leased = lease => leased,
            };
            match leased {
                Ok(items) => {
                    failures.over();
                    if items.is_empty() {
                        // Held back, or not held by something in between that does not wait.
                        let rest = LEAST.saturating_sub(self.clock.elapsed().saturating_sub(asked_at));
                        let _ = stop.run_until_cancelled(clock::sleep(rest)).await;
                    }
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
        // A question that is being answered is asked again by Apono. A record that was begun is finished.
        drop(turns);
        let finish = async { while asking.join_next().await.is_some() {} };
        if clock::timeout(LAST_RECORD, finish).await.is_none() {
            debug!("questions were left unanswered; Apono asks them again");
        }
        Ok(())
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
                warn!(task.id = %id, "task {id} cannot be understood: {problem} [{}]", ErrorCode::ResultMalformed);
                self.answer(&id, &lease, Code::MalformedTask, &problem).await;
            }
            Err(MalformedTask { id: None, problem, .. }) => {
                error!(
                    "Apono sent a task that cannot even be answered: {problem} [{}]",
                    ErrorCode::ResultMalformed
                );
            }
            Ok(task) if !self.organizations.contains_key(&task.integration) => {
                self.answer_unknown_integration(&task).await;
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
        info!(event = "task_taken", task.id = %task.id, event_type = task.work.label(), integration.id = %task.integration,
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
                        let event = TaskEvent::Answered { result: result.clone() };
                        unanswered.then(|| Record::Task { id: task.id.clone(), event }).into_iter().collect()
                    };
                    log_failure(&task.id, ledger.record(&[subject], answered).await);
                    task.id
                });
            }
        }
    }

    async fn take_grant(&self, task: &Task, grant: &Grant) {
        let (id, lease) = (&task.id, &task.lease);
        let Some(Admission { policy, watch }) = self.organizations.get(&task.integration) else {
            return self.answer_unknown_integration(task).await;
        };
        let conditions = watch.conditions();
        let records = |book: &Book| intake::grant(book, id, lease, grant, policy, &conditions);
        let subjects = [Subject::Grant(grant.id.clone()), Subject::Task(id.clone())];
        let recorded = self.ledger.record(&subjects, records).await;
        if let Some(obstacle) = recorded.as_ref().err().and_then(LedgerError::obstacle)
            && self.ledger.read(|book| book.task(id).is_none())
        {
            return self.refuse_unrecorded(task, grant, &obstacle).await;
        }
        log_failure(id, recorded);
    }

    /// Nothing can be taken on, and nothing was done: this can be said without a record of it. Where it cannot be said
    /// either, Apono hands the task out again.
    async fn refuse_unrecorded(&self, task: &Task, grant: &Grant, obstacle: &Obstacle) {
        let result = intake::refusal(grant, obstacle.code(), &obstacle.message(), self.clock.now());
        match self.control.report(&task.id, &task.lease.token, &result).await {
            Ok(_) => {
                let code = result.code.as_str();
                info!(event = "task_refused", task.id = %task.id, result.code = code, "refused task {}: {}", task.id, obstacle.message());
            }
            Err(error) => {
                debug!(task.id = %task.id, error = %chain(&error), "cannot refuse task {}", task.id);
            }
        }
    }

    async fn answer_unknown_integration(&self, task: &Task) {
        let problem = format!("this connector has no integration {}", task.integration);
        self.answer(&task.id, &task.lease, Code::UnknownIntegration, &problem).await;
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
        let records = |book: &Book| intake::answered_at_once(book, id, lease, result.clone());
        log_failure(id, self.ledger.record(&subjects, records).await);
    }

    /// Questions that an earlier process left unanswered are not known any more; Apono asks them again.
    async fn abandon_unanswered_questions(&self) {
        let fleet = self.ledger.fleet();
        let decide = |book: &Book| {
            let unanswered = book.tasks().filter(|(id, task)| {
                task.ask == Ask::Other
                    && task.result.is_none()
                    && fleet.is_mine(task.by.as_ref(), id.as_str())
            });
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
        self.count += 1;
        let reason = chain(error).to_string();
        if self.reason.as_ref() != Some(&reason) {
            warn!(error = reason, "no tasks from Apono; trying again until there are: {reason}");
        }
        self.reason = Some(reason);
        // A control plane that comes back is noticed soon; one that refuses us is not pestered.
        let (first, longest) = match error.class() {
            Class::Transient => (Duration::from_millis(500), Duration::from_secs(8)),
            Class::Permanent | Class::Misconfigured => (Duration::from_secs(10), Duration::from_mins(1)),
        };
        doubling(first, longest, self.count)
    }

    fn over(&mut self) {
        if self.reason.take().is_some() {
            info!("Apono hands out tasks again");
        }
        self.count = 0;
    }
}
