//! # Purpose
//! The task operations: the long poll, the extension of a lease, the result; and the tests' hands on the queue.
//!
//! # Invariants kept here
//! - A long poll ends when there is a task, when its session says goodbye, or when its time is up; nothing else.
//! - What is wrong with a body is said before anything is changed.
//!
//! # Not here
//! Whose a task is: see [`super::task`]. What a result may say: see [`super::result`].

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::AponoSimulator;
use super::answer::Answer;
use super::result;
use super::shape::{Fields, Malformed};
use super::task::{Extension, Reception};

/// The bounds that `docs/connector-api.yaml` gives to a lease request.
const MAX_TASKS: u64 = 1000;
const MAX_WAIT_SEC: u64 = 300;
const MAX_LEASE_SEC: u64 = 3600;

impl AponoSimulator {
    /// Queues a task and returns its id.
    pub fn enqueue(&self, event_type: &str, integration_id: &str, params: Value) -> String {
        let id = self.inner.plane().tasks.enqueue(event_type, integration_id, params);
        self.inner.bump_work();
        id
    }

    /// Queues any JSON as a task. An id that is known already is delivered again, with this body. A body that brings
    /// its own `lease` keeps it; one without a `task_id` is handed out once.
    pub fn enqueue_task(&self, task: Value) {
        self.inner.plane().tasks.enqueue_raw(task);
        self.inner.bump_work();
    }

    /// Hands a task out once more although it is leased or finished. Whoever gets it takes the lease.
    pub fn redeliver(&self, task_id: &str) {
        self.inner.plane().tasks.deliver_again(task_id, None);
        self.inner.bump_work();
    }

    /// Hands a task to one session, which leaves the others their leases.
    pub fn deliver_to(&self, task_id: &str, session_id: &str) {
        self.inner.plane().tasks.deliver_again(task_id, Some(session_id));
        self.inner.bump_work();
    }

    /// Hands a task to every live session that has not had it yet; all of them hold it at the same time.
    pub fn deliver_to_all(&self, task_id: &str) {
        let (now, silence) = (self.inner.clock.now(), self.inner.silence());
        {
            let mut plane = self.inner.plane();
            let sessions = plane.sessions.live(now, silence);
            plane.tasks.deliver_to_each(task_id, &sessions);
        }
        self.inner.bump_work();
    }

    /// The result that stands.
    #[must_use]
    pub fn result(&self, task_id: &str) -> Option<Value> {
        self.inner.plane().tasks.result(task_id).cloned()
    }

    /// How often a result of this task was accepted with 204, repetitions included.
    #[must_use]
    pub fn result_posts(&self, task_id: &str) -> usize {
        self.inner.plane().tasks.posts(task_id)
    }

    /// How often a result of this task was refused because another stands.
    #[must_use]
    pub fn conflicting_posts(&self, task_id: &str) -> usize {
        self.inner.plane().tasks.conflicts(task_id)
    }

    /// How often this task was handed out.
    #[must_use]
    pub fn attempts(&self, task_id: &str) -> u64 {
        self.inner.plane().tasks.attempts(task_id)
    }

    /// Tasks without a result, leased or not.
    #[must_use]
    pub fn pending_tasks(&self) -> usize {
        self.inner.plane().tasks.unfinished()
    }

    /// Deliveries that wait for somebody to lease them.
    #[must_use]
    pub fn queued_tasks(&self) -> usize {
        self.inner.plane().tasks.waiting()
    }

    /// The result, as soon as it is stored.
    pub async fn wait_for_result(&self, task_id: &str) -> Value {
        loop {
            let changed = self.changed();
            if let Some(result) = self.result(task_id) {
                return result;
            }
            changed.await;
        }
    }
}

pub(super) async fn lease_tasks(apono: &AponoSimulator, body: &Value) -> Result<Answer, Malformed> {
    let request = Fields::of(body, "")?;
    request.only(&["session_id", "max_tasks", "wait_sec", "lease_sec"])?;
    let session = request.uuid("session_id")?;
    let max = usize::try_from(request.integer("max_tasks", 1..=MAX_TASKS)?).unwrap_or(usize::MAX);
    let wait = Duration::from_secs(request.integer("wait_sec", 0..=MAX_WAIT_SEC)?);
    let lease_for = seconds(request.integer("lease_sec", 1..=MAX_LEASE_SEC)?);

    let mut work = apono.inner.work.subscribe();
    let time_is_up = tokio::time::sleep(wait);
    tokio::pin!(time_is_up);
    if apono.inner.plane().sessions.has_ended(session) {
        time_is_up.await;
        return Ok(answer(&[]).blaming("a session that has said goodbye asks for tasks"));
    }
    loop {
        work.mark_unchanged();
        let now = apono.inner.clock.now();
        let (tasks, ended, next_end) = {
            let mut plane = apono.inner.plane();
            if plane.sessions.has_ended(session) {
                (Vec::new(), true, None)
            } else {
                let tasks = plane.tasks.hand_out(session, max, lease_for, now);
                (tasks, false, plane.tasks.next_end())
            }
        };
        if ended || !tasks.is_empty() {
            return Ok(answer(&tasks));
        }
        let next_lease_runs_out = async {
            match next_end {
                Some(end) => {
                    let nap = Duration::try_from(end.duration_since(now)).unwrap_or_default();
                    tokio::time::sleep(nap.max(Duration::from_millis(1))).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = work.changed() => {}
            () = next_lease_runs_out => {}
            () = &mut time_is_up => return Ok(answer(&[])),
        }
    }
}

fn answer(tasks: &[Value]) -> Answer {
    Answer::json(200, &json!({"items": tasks}))
}

pub(super) fn extend(apono: &AponoSimulator, task_id: &str, body: &Value) -> Result<Answer, Malformed> {
    let request = Fields::of(body, "")?;
    request.only(&["lease_token", "lease_sec"])?;
    let token = request.text("lease_token")?;
    let lease_for = seconds(request.integer("lease_sec", 1..=MAX_LEASE_SEC)?);
    let now = apono.inner.clock.now();
    let extension = apono.inner.plane().tasks.extend(task_id, token, lease_for, now);
    Ok(match extension {
        Extension::Until(ends) => Answer::json(200, &json!({"expires_at": ends.to_string()})),
        Extension::Lost => Answer::error(409, "lease_lost", "the lease is somebody else's, or over"),
        Extension::UnknownTask => Answer::error(404, "unknown_task", "there is no such task"),
    })
}

pub(super) fn put_result(apono: &AponoSimulator, task_id: &str, body: &Value) -> Result<Answer, Malformed> {
    let reception = {
        let mut plane = apono.inner.plane();
        let token = result::check(body, plane.tasks.body(task_id))?;
        plane.tasks.receive(task_id, token, body)
    };
    Ok(match reception {
        Reception::Stored => {
            apono.inner.bump_work();
            Answer::empty(204)
        }
        Reception::SameAgain => Answer::empty(204),
        Reception::Conflict => Answer::error(409, "task_finished", "another result of this task stands"),
        Reception::UnknownToken => {
            Answer::error(409, "lease_lost", "this token was never issued for the task")
                .blaming("lease_token: was never issued for this task")
        }
        Reception::UnknownTask => Answer::error(404, "unknown_task", "there is no such task"),
    })
}

fn seconds(count: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(count).unwrap_or(i64::MAX))
}
