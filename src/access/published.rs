//! # Purpose
//! Answers the calls of Apono's published protocol for custom integrations, for one organization: takes them on durably
//! and waits for what becomes of them.
//!
//! # Invariants kept here
//! - Same road as a task: policy, conditions, journal before effect, machine, executor, audit trail.
//! - `ok` is answered only for what was seen in Okta, and only when a crash cannot take it back.
//! - The wait is bounded; the answer after it says that the work goes on. A caller who hangs up takes nothing back.
//! - While journal, audit trail or clock fail, or the kill switch is on, grants are refused and revokes are carried out.
//!
//! # Not here
//! What a call means: `calls`. The wire: `apono::custom`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::book::Book;
use super::calls::{self, Decision, Outcome};
use super::conditions::Obstacle;
use super::journal::{Record, Subject};
use super::leasing::Questions;
use super::ledger::{Ledger, LedgerError};
use super::tasks::Ask;
use super::watch::Admission;
use crate::apono::custom::{Access, Answer, Call, CustomIntegration, Place};
use crate::apono::{Code, ResourceResult, Status, Work};
use crate::clock::{self, SharedClock};
use crate::domain::{GrantId, IntegrationId};
use crate::telemetry::chain;

/// What the answers come from.
pub struct Published {
    /// The organization.
    pub integration: IntegrationId,
    /// Where grants are kept.
    pub ledger: Arc<Ledger>,
    /// Reviews grants.
    pub admission: Admission,
    /// Time.
    pub clock: SharedClock,
    /// Answers to everything that is not about access.
    pub questions: Arc<dyn Questions>,
    /// Makes up the id of a grant.
    pub fresh: Arc<dyn Fn() -> GrantId + Send + Sync>,
}

/// The loop that answers.
#[derive(Debug)]
pub struct Answering {
    published: Arc<Published>,
    jobs: mpsc::Receiver<Job>,
}

/// Hands calls to [`Answering`].
#[derive(Clone, Debug)]
pub struct Calls(mpsc::Sender<Job>);

#[derive(Debug)]
struct Job {
    call: Call,
    reply: oneshot::Sender<Answer>,
    place: Place,
}

/// A task of the loop panicked.
#[derive(Debug, thiserror::Error)]
#[error("answering a call died")]
pub struct CallDied(#[source] JoinError);

/// An answer comes within this time: less than what commonly stands between two hosts waits.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(25);
/// Calls that wait to be begun; places bound them long before.
const QUEUE: usize = 64;

impl Published {
    /// The loop, and the way to it.
    pub fn answering(self) -> (Answering, Calls) {
        let (sender, jobs) = mpsc::channel(QUEUE);
        (Answering { published: Arc::new(self), jobs }, Calls(sender))
    }
}

impl CustomIntegration for Calls {
    fn answer(&self, call: Call, place: Place) -> BoxFuture<'_, Answer> {
        async move {
            let (reply, answer) = oneshot::channel();
            let handed_over = self.0.send(Job { call, reply, place }).await.is_ok();
            let answered = if handed_over { answer.await.ok() } else { None };
            answered.unwrap_or_else(|| Answer::failed(Code::Unavailable, STOPPING))
        }
        .boxed()
    }
}

const STOPPING: &str = "the connector stops; ask again";

impl Answering {
    /// Answers until `stop`; then what was begun is recorded, and nothing waited for.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), CallDied> {
        let mut working = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(job) = self.jobs.recv() => {
                    working.spawn(Arc::clone(&self.published).work(job, stop.clone()));
                }
                Some(done) = working.join_next(), if !working.is_empty() => done.map_err(CallDied)?,
            }
        }
        drop(self.jobs);
        while let Some(done) = working.join_next().await {
            done.map_err(CallDied)?;
        }
        Ok(())
    }
}

/// Ends when nobody waits for an answer any longer.
type Patience<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

impl Published {
    async fn work(self: Arc<Self>, Job { call, mut reply, place }: Job, stop: CancellationToken) {
        let answer = {
            let mut patience = std::pin::pin!(async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = reply.closed() => {}
                    () = clock::sleep(ANSWER_WITHIN) => {}
                }
            });
            match &call {
                Call::GetStatus => self.ask(&Work::GetStatus, patience.as_mut()).await,
                Call::ListResources => self.ask(&Work::ListResources, patience.as_mut()).await,
                Call::GrantAccess(access) => self.give(access, patience.as_mut()).await,
                Call::RevokeAccess(access) => self.take(access, patience.as_mut()).await,
                Call::Unknown(event_type) => {
                    info!(event_type, "a call of the custom integration is not known here; nothing is done");
                    Answer::Done
                }
            }
        };
        // Whoever asked may be gone.
        let _ = reply.send(answer);
        drop(place);
    }

    async fn ask(&self, work: &Work, patience: Patience<'_>) -> Answer {
        let result = tokio::select! {
            () = patience => return Answer::failed(Code::Unavailable, "the answer takes too long; ask again"),
            result = self.questions.answer(&self.integration, work) => result,
        };
        let says_error = result.output["status"] == "error";
        match (result.status, work) {
            (Status::Success, Work::ListResources) => Answer::Listed(result.output),
            (Status::Success, _) if !says_error => Answer::Done,
            (Status::Success, _) => Answer::failed(Code::Unavailable, &result.message),
            (Status::Warning | Status::Failure, _) => Answer::failed(result.code, &result.message),
        }
    }

    async fn give(&self, access: &Access, patience: Patience<'_>) -> Answer {
        let Admission { policy, watch } = &self.admission;
        let conditions = watch.conditions();
        let decide = |book: &Book| {
            calls::give(book, &self.integration, access, policy, &conditions, || (self.fresh)())
        };
        match self.record("grant-access", decide).await {
            Ok(decision) => self.conclude(decision, patience).await,
            // Nothing was done, and nothing can be written down.
            Err(error) => {
                error.obstacle().map_or_else(|| not_recorded(&error), |obstacle| refused(&obstacle))
            }
        }
    }

    /// Nothing is in the way of this one.
    async fn take(&self, access: &Access, patience: Patience<'_>) -> Answer {
        let now = self.clock.now();
        let decide = |book: &Book| calls::take(book, &self.integration, access, now);
        match self.record("revoke-access", decide).await {
            Ok(decision) => self.conclude(decision, patience).await,
            Err(error) => not_recorded(&error),
        }
    }

    async fn record(
        &self,
        label: &'static str,
        mut decide: impl FnMut(&Book) -> Decision + Send,
    ) -> Result<Decision, LedgerError> {
        let mut decision = Decision::default();
        let records = |book: &Book| {
            decision = decide(book);
            std::mem::take(&mut decision.records)
        };
        self.ledger.record(&[], records).await?;
        for wait in &decision.waits {
            if let Some(id) = wait.grant() {
                info!(grant.id = %id, integration.id = %self.integration, event_type = label,
                    "took a {label} call of the custom integration: grant {id}");
            }
        }
        for refused in &decision.answered {
            info!(
                okta.group_id = refused.source_id,
                result.code = refused.code.as_str(),
                event_type = label,
                "refused a {label} call of the custom integration: {}",
                refused.code.as_str()
            );
        }
        Ok(decision)
    }

    /// Waits for what is decided to be done, and to be on disk.
    async fn conclude(&self, decision: Decision, mut patience: Patience<'_>) -> Answer {
        let Decision { answered: mut results, mut waits, .. } = decision;
        let mut changes = self.ledger.changes();
        loop {
            changes.borrow_and_update();
            if let Err(error) = self.settle(&mut waits, &mut results).await {
                return not_recorded(&error);
            }
            if waits.is_empty() {
                let answer = calls::answer(&results);
                // What a crash could take back is not told; the ledger's next change is the end of that.
                if answer != Answer::Done || self.ledger.health().complete {
                    return answer;
                }
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = patience.as_mut() => {
                    if waits.is_empty() {
                        let message = "it is done, and could not be written down yet; ask again";
                        return Answer::failed(Code::Unavailable, message);
                    }
                    results.extend(waits.iter().flat_map(calls::unfinished));
                    return calls::answer(&results);
                }
            }
        }
    }

    /// Moves what is known from `waits` to `results`.
    async fn settle(
        &self,
        waits: &mut Vec<Ask>,
        results: &mut Vec<ResourceResult>,
    ) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let mut forgotten = Vec::new();
        self.ledger.read(|book| {
            waits.retain(|wait| match calls::outcome(book, wait, now) {
                Outcome::Pending => true,
                Outcome::Known(result) => {
                    results.extend(result.resources);
                    false
                }
                Outcome::Forgotten => {
                    forgotten.push(wait.clone());
                    false
                }
            });
        });
        if forgotten.is_empty() {
            return Ok(());
        }
        let subjects: Vec<_> =
            forgotten.iter().filter_map(|wait| wait.grant()).cloned().map(Subject::Grant).collect();
        let recalled = |book: &Book| -> Vec<Record> {
            for wait in &forgotten {
                results.extend(match calls::outcome(book, wait, now) {
                    Outcome::Known(result) => result.resources,
                    Outcome::Pending | Outcome::Forgotten => calls::unfinished(wait),
                });
            }
            Vec::new()
        };
        self.ledger.record(&subjects, recalled).await
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").field("integration", &self.integration).finish_non_exhaustive()
    }
}

fn refused(obstacle: &Obstacle) -> Answer {
    info!(result.code = obstacle.code().as_str(), "refused a grant-access call of the custom integration");
    Answer::failed(obstacle.code(), &obstacle.message())
}

fn not_recorded(error: &LedgerError) -> Answer {
    warn!(error = %chain(error), "a call of the custom integration could not be worked on: {}", chain(error));
    Answer::failed(Code::Unavailable, "the connector could not write this down or read it back; ask again")
}
