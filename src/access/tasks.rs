//! # Purpose
//! The life of a task: taken, answered, delivered; and what to answer, from what became of its grant.
//!
//! # Invariants kept here
//! - A task is answered once; the answer is the same however often it is asked for (invariant 5).
//! - An answer stays until Apono has it, or has another's.
//!
//! # Not here
//! Leasing and sending: `leasing`, `outbox`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::machine::{EndReason, GrantState, Holding, Seen};
use crate::apono::{Code, Lease, ResourceResult, TaskResult};
use crate::domain::{GrantId, OktaGroupId, Revision, SessionId};

/// Something that has happened to a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TaskEvent {
    /// Leased, for the first time or again.
    Taken {
        /// What it asks.
        ask: Ask,
        /// The right to answer it.
        lease: Lease,
        /// By which of several daemons.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<SessionId>,
    },
    /// Its result is known.
    Answered {
        /// The result.
        result: TaskResult,
    },
    /// Somebody else has the lease: nothing new is begun for it.
    LeaseLost,
    /// Nothing is left to do for it.
    Closed {
        /// Why.
        why: Closure,
    },
}

/// Why a task is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closure {
    /// Apono has our result.
    Delivered,
    /// Apono has another session's.
    FinishedElsewhere,
    /// The process ended before there was a result; Apono will hand the task out again.
    Abandoned,
}

/// What a task asks, as far as its answer depends on a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Give access.
    Grant {
        /// Which grant.
        grant: GrantId,
        /// Which of its revisions.
        revision: Revision,
        /// The groups that the answer lists.
        groups: Vec<OktaGroupId>,
    },
    /// Take access away.
    Revoke {
        /// Which grant.
        grant: GrantId,
        /// The groups that the answer lists.
        groups: Vec<OktaGroupId>,
    },
    /// Anything that is answered by itself.
    Other,
}

impl Ask {
    /// The grant on which the answer depends.
    pub fn grant(&self) -> Option<&GrantId> {
        match self {
            Self::Grant { grant, .. } | Self::Revoke { grant, .. } => Some(grant),
            Self::Other => None,
        }
    }
}

/// All that is known of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskState {
    /// What it asks.
    pub ask: Ask,
    /// The latest right to answer it.
    pub lease: Lease,
    /// The daemon that has it, of several.
    pub by: Option<SessionId>,
    /// The answer, once it is known.
    pub result: Option<TaskResult>,
    /// Whether somebody else has the lease.
    pub lease_lost: bool,
    /// Whether nothing is left to do for it.
    pub closed: bool,
}

/// An event that the state of a task does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} does not follow what is known of the task")]
pub struct IllegalTaskEvent(&'static str);

/// The state after `event`. Used live and at replay.
pub fn apply(state: Option<&TaskState>, event: &TaskEvent) -> Result<TaskState, IllegalTaskEvent> {
    match (state, event) {
        (None, TaskEvent::Taken { ask, lease, by }) => {
            let (ask, lease, by) = (ask.clone(), lease.clone(), by.clone());
            Ok(TaskState { ask, lease, by, result: None, lease_lost: false, closed: false })
        }
        // Handed out again: the new lease is the one to answer with, and what was answered is answered again.
        (Some(known), TaskEvent::Taken { lease, by, .. }) => Ok(TaskState {
            lease: lease.clone(),
            by: by.clone(),
            lease_lost: false,
            closed: false,
            ..known.clone()
        }),
        (Some(known), TaskEvent::Answered { result }) if known.result.is_none() => {
            Ok(TaskState { result: Some(result.clone()), ..known.clone() })
        }
        (Some(known), TaskEvent::LeaseLost) => Ok(TaskState { lease_lost: true, ..known.clone() }),
        (Some(known), TaskEvent::Closed { .. }) => Ok(TaskState { closed: true, ..known.clone() }),
        (None | Some(_), TaskEvent::Answered { .. }) => Err(IllegalTaskEvent("Answered")),
        (None, TaskEvent::LeaseLost) => Err(IllegalTaskEvent("LeaseLost")),
        (None, TaskEvent::Closed { .. }) => Err(IllegalTaskEvent("Closed")),
    }
}

impl TaskState {
    /// Whether something is left to do for it.
    pub fn is_open(&self) -> bool {
        !self.closed
    }

    /// Whether it waits to be sent to Apono.
    pub fn is_ready(&self) -> bool {
        !self.closed && self.result.is_some()
    }
}

/// The answer to `ask`, once `grant` has come so far. `None` while it is being worked on.
pub fn answer(ask: &Ask, grant: &GrantState, now: Timestamp) -> Option<TaskResult> {
    let resources = match ask {
        // Cheap, because it is asked after each of a thousand steps.
        Ask::Grant { revision, groups, .. }
            if groups.iter().any(|group| is_pending(grant, *revision, group)) =>
        {
            return None;
        }
        Ask::Grant { revision, groups, .. } => {
            let of = |group: &OktaGroupId| granted(grant, *revision, group);
            groups.iter().map(of).collect::<Option<Vec<_>>>()?
        }
        Ask::Revoke { groups, .. } => {
            if grant.end.is_none() || grant.is_open() {
                return None;
            }
            groups.iter().map(|group| revoked(grant, group)).collect()
        }
        Ask::Other => return None,
    };
    Some(TaskResult::of_resources(resources, now))
}

fn is_pending(grant: &GrantState, revision: Revision, group: &OktaGroupId) -> bool {
    let undecided = match grant.holdings.get(group) {
        Some(Holding::Refused { .. } | Holding::Standing { .. } | Holding::Active { .. }) => false,
        Some(Holding::Wanted | Holding::Granting | Holding::Removing | Holding::Ended { .. }) | None => true,
    };
    undecided && grant.end.is_none() && grant.terms.revision <= revision
}

fn granted(grant: &GrantState, revision: Revision, group: &OktaGroupId) -> Option<ResourceResult> {
    let result = |code: Code, message: String, ids: &[String]| {
        Some(ResourceResult::new(group.as_str(), code, message, ids.to_vec()))
    };
    let user = &grant.terms.username;
    if grant.terms.revision > revision {
        let later = grant.terms.revision;
        return result(Code::Superseded, format!("revision {later} of the grant came in the meantime"), &[]);
    }
    match grant.holdings.get(group) {
        Some(Holding::Refused { code, message }) => result(*code, message.clone(), &[]),
        Some(Holding::Standing { missing: true } | Holding::Active { seen: Seen::Missing, .. }) => result(
            Code::Unverified,
            format!("{user} was a member of the group, but somebody else has removed the membership since"),
            &[],
        ),
        Some(Holding::Standing { missing: false }) => result(
            Code::AlreadyMember,
            format!("{user} was a member of the group already and will stay one"),
            &[],
        ),
        Some(Holding::Active { seen: Seen::There | Seen::ByOthers, okta_request_ids }) => {
            result(Code::Granted, format!("{user} is a member of the group"), okta_request_ids)
        }
        Some(Holding::Active { seen: Seen::NotYet, okta_request_ids }) => result(
            Code::Unverified,
            format!(
                "Okta accepted {user} as a member of the group but does not show it yet; it will be removed in time"
            ),
            okta_request_ids,
        ),
        Some(Holding::Wanted | Holding::Granting | Holding::Removing | Holding::Ended { .. }) | None => {
            match grant.end {
                None => None,
                Some((EndReason::Expired, _)) => {
                    result(Code::Expired, "the grant ran out before it could be given".to_owned(), &[])
                }
                Some((EndReason::SwitchedOff, _)) => result(
                    Code::RefusedPolicy,
                    "the connector's operator has switched grants off (kill_switch_file)".to_owned(),
                    &[],
                ),
                Some((EndReason::Operator, _)) => result(
                    Code::RefusedPolicy,
                    "an operator of the connector's host has ended the grant (grants revoke)".to_owned(),
                    &[],
                ),
                Some((EndReason::Revoked | EndReason::Withdrawn, _)) => {
                    result(Code::Superseded, "the grant was revoked in the meantime".to_owned(), &[])
                }
            }
        }
    }
}

fn revoked(grant: &GrantState, group: &OktaGroupId) -> ResourceResult {
    let user = &grant.terms.username;
    match grant.holdings.get(group) {
        Some(Holding::Ended { how, okta_request_ids }) => {
            use super::machine::Ending;
            let message = match how {
                Ending::Revoked => format!("{user} was removed from the group"),
                Ending::KeptStanding => {
                    format!("{user} was a member of the group before the grant and stays one")
                }
                Ending::LeftToRule => {
                    format!(
                        "a group rule has come to fill the group; whether {user} is in it is the rule's matter now"
                    )
                }
                Ending::KeptOtherGrant => format!("another live grant keeps {user} in the group"),
                Ending::NotMember => format!("{user} is not a member of the group"),
                Ending::Gone => "the user or the group no longer exists".to_owned(),
            };
            ResourceResult::new(group.as_str(), how.code(), message, okta_request_ids.clone())
        }
        Some(Holding::Refused { .. }) | None => ResourceResult::new(
            group.as_str(),
            Code::NotMember,
            "the grant was never given".to_owned(),
            Vec::new(),
        ),
        // Unreachable while `answer` waits for every holding to be terminal; said truthfully all the same.
        Some(
            Holding::Wanted
            | Holding::Standing { .. }
            | Holding::Granting
            | Holding::Active { .. }
            | Holding::Removing,
        ) => ResourceResult::new(
            group.as_str(),
            Code::Unverified,
            "the removal is under way".to_owned(),
            Vec::new(),
        ),
    }
}
