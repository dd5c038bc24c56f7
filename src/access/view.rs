//! # Purpose
//! A grant as a person sees it: what it is, how far it has come, and the line of events that led there.
//!
//! # Invariants kept here
//! - Pure: the same words from the book of a daemon that runs and from the journal of one that does not.
//! - Every event has a line, and carries Okta's request ids.
//!
//! # Not here
//! Asking and printing: `desk`, `cli`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::book::Book;
use super::journal::{Entry, Record};
use super::machine::{self, EndReason, Ending, Event, GrantState, Holding, Seen, Source, Step};
use super::tasks::{Ask, Closure, TaskEvent};
use crate::domain::{GrantId, IntegrationId, OktaGroupId, OktaUserId, RequestContext, Revision, TaskId};

/// A grant now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrantView {
    /// Apono's id.
    pub grant_id: GrantId,
    /// The revision whose terms are in force.
    pub revision: Revision,
    /// Apono's id of the organization.
    pub integration_id: IntegrationId,
    /// As Apono wrote it.
    pub username: String,
    /// Whom it means, once that is known.
    pub user_id: Option<OktaUserId>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// Since when its removals are due, and why; nothing while it lives.
    pub over: Option<Over>,
    /// The access request behind it.
    pub request: Option<RequestContext>,
    /// Group by group.
    pub groups: Vec<HoldingView>,
}

/// The end of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Over {
    /// Why.
    pub reason: EndReason,
    /// Since when its removals are due.
    pub due: Timestamp,
}

/// A grant's claim on one group now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldingView {
    /// Okta's id of the group.
    pub group_id: OktaGroupId,
    /// One word or two.
    pub state: String,
    /// Whether a membership may exist because of it, which is removed or handed on at the end.
    pub owes_removal: bool,
    /// What the connector will do next, if anything.
    pub next: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, by the connector's clock.
    pub at: Timestamp,
    /// What, in one sentence.
    pub what: String,
    /// To find it in Okta's System Log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub okta_request_ids: Vec<String>,
}

/// A grant now, and how it came there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Story {
    /// Now.
    pub grant: GrantView,
    /// What happened, in order.
    pub lines: Vec<Line>,
}

/// Which grants to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Of this organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integration: Option<IntegrationId>,
    /// Of this user: Apono's name (ignoring case) or Okta's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// For this group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<OktaGroupId>,
    /// Only those that are over and still owe a removal.
    #[serde(default)]
    pub due: bool,
    /// Those after this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<GrantId>,
}

/// Some of the open grants, by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing {
    /// Them.
    pub items: Vec<GrantView>,
    /// Where to go on; nothing at the end.
    pub next: Option<GrantId>,
}

/// So many at a time.
const PAGE: usize = 200;

impl GrantView {
    /// Of a grant in this state.
    pub fn new(id: &GrantId, state: &GrantState) -> Self {
        let terms = &state.terms;
        let holding = |(group, holding): (&OktaGroupId, &Holding)| HoldingView {
            group_id: group.clone(),
            state: words(holding),
            owes_removal: holding.owes_removal(),
            next: state.step(group).map(next),
        };
        Self {
            grant_id: id.clone(),
            revision: terms.revision,
            integration_id: terms.integration.clone(),
            username: terms.username.clone(),
            user_id: state.user.clone(),
            expires_at: terms.expires_at,
            over: state.end.map(|(reason, due)| Over { reason, due }),
            request: terms.request.clone(),
            groups: state.holdings.iter().map(holding).collect(),
        }
    }
}

/// The open grants that `filter` lets through, a page of them.
pub fn list(book: &Book, filter: &Filter) -> Listing {
    let wanted = |(id, state): &(&GrantId, &GrantState)| {
        let terms = &state.terms;
        let is_users = |user: &String| {
            terms.username.to_lowercase() == user.to_lowercase()
                || state.user.as_ref().is_some_and(|id| id.as_str() == user)
        };
        let owes = || state.end.is_some() && state.holdings.values().any(Holding::owes_removal);
        filter.after.as_ref().is_none_or(|after| *id > after)
            && filter.integration.as_ref().is_none_or(|integration| *integration == terms.integration)
            && filter.user.as_ref().is_none_or(is_users)
            && filter.group.as_ref().is_none_or(|group| state.holdings.contains_key(group))
            && (!filter.due || owes())
            && state.is_open()
    };
    let mut found = book.grants().filter(wanted).peekable();
    let items: Vec<_> = found.by_ref().take(PAGE).map(|(id, state)| GrantView::new(id, state)).collect();
    let next = found.peek().and_then(|_| items.last().map(|last| last.grant_id.clone()));
    Listing { items, next }
}

/// The open grants that are over and owe something, the most overdue first, then those that end soonest; at most `most`.
pub fn soonest(book: &Book, most: usize) -> Vec<GrantView> {
    let mut open: Vec<_> = book.grants().filter(|(_, state)| state.is_open()).collect();
    open.sort_by_key(|(id, state)| {
        let due = state.due();
        (due.is_none(), due.or(state.terms.expires_at).unwrap_or(Timestamp::MAX), (*id).clone())
    });
    open.into_iter().take(most).map(|(id, state)| GrantView::new(id, state)).collect()
}

/// The story that the entries about `grant` tell; nothing when none is about it, or they do not follow each other.
pub fn story(grant: &GrantId, entries: &[Entry]) -> Option<Story> {
    let mut state: Option<GrantState> = None;
    let mut lines = Vec::new();
    let mut asked = BTreeMap::new();
    for Entry { at, record } in entries {
        let mut say = |what: String, ids: &[String]| {
            lines.push(Line { at: *at, what, okta_request_ids: ids.to_vec() });
        };
        match record {
            Record::Grant { id, event } if id == grant => {
                say(happened(event), request_ids(event));
                state = Some(machine::apply(state.as_ref(), event).ok()?);
            }
            Record::Grant { .. } | Record::Trail { .. } => {}
            Record::Task { id, event } => {
                if let Some(what) = of_task(id, event, &mut asked) {
                    say(what, &[]);
                }
            }
        }
    }
    let grant = GrantView::new(grant, state.as_ref()?);
    Some(Story { grant, lines })
}

/// How a holding stands.
fn words(holding: &Holding) -> String {
    match holding {
        Holding::Wanted => "wanted".to_owned(),
        Holding::Refused { code, .. } => format!("refused ({})", code.as_str()),
        Holding::Standing { missing: false } => "standing before the grant".to_owned(),
        Holding::Standing { missing: true } => "stood before the grant, removed by somebody else".to_owned(),
        Holding::Granting => "being added".to_owned(),
        Holding::Active { seen: Seen::Missing, .. } => "added, removed by somebody else".to_owned(),
        Holding::Active { seen: Seen::There, .. } => "member".to_owned(),
        Holding::Active { seen: Seen::ByOthers, .. } => {
            "member, added by somebody else too; ends with the grant".to_owned()
        }
        Holding::Active { seen: Seen::NotYet, .. } => "added, not seen yet".to_owned(),
        Holding::Removing => "being removed".to_owned(),
        Holding::Ended { how, .. } => ended(*how).to_owned(),
    }
}

fn ended(how: Ending) -> &'static str {
    match how {
        Ending::Revoked => "removed",
        Ending::KeptStanding => "kept: it stood before the grant",
        Ending::LeftToRule => "left to a group rule",
        Ending::KeptOtherGrant => "kept for another grant",
        Ending::NotMember => "over: no membership was there",
        Ending::Gone => "over: the user or the group no longer exists",
    }
}

fn next(step: Step) -> String {
    match step {
        Step::Remove => "look, remove, and look again until it is gone",
        Step::Release => "note that nothing is owed",
        Step::Grant => "look, add, and look again until it shows",
    }
    .to_owned()
}

/// Why a grant is over, in words.
pub fn reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Expired => "its time ran out",
        EndReason::Revoked => "Apono revoked it",
        EndReason::Withdrawn => "Apono no longer lists it",
        EndReason::SwitchedOff => "the operator switched grants off (kill_switch_file)",
        EndReason::Operator => "an operator of this host ended it",
    }
}

/// How terms came, in words.
pub fn source(by: Source) -> &'static str {
    match by {
        Source::Task => "by a task",
        Source::Listing => "by the listing of desired grants",
        Source::Call => "by a call of the custom integration",
    }
}

fn happened(event: &Event) -> String {
    match event {
        Event::Accepted { grant, by } => {
            format!("accepted {}: {}", source(*by), terms(grant))
        }
        Event::Revised { grant, by } => format!("revised {}: {}", source(*by), terms(grant)),
        Event::Declined { revision } => format!("revision {revision} was refused; the terms stay"),
        Event::UserResolved { user } => format!("the name means Okta user {user}"),
        Event::Refused { group, code, message, .. } => {
            format!("{group}: refused ({}): {message}", code.as_str())
        }
        Event::StandingFound { group, .. } => {
            format!("{group}: the user is a member already; kept at the end")
        }
        Event::GrantIntended { group } => format!("{group}: the user is no member; will be added"),
        Event::Granted { group, verified: true, .. } => format!("{group}: added, and seen"),
        Event::Granted { group, verified: false, .. } => {
            format!("{group}: Okta accepted the addition and does not show it yet")
        }
        Event::FoundMissing { group, .. } => format!("{group}: somebody else has removed the membership"),
        Event::AddedByOthers { group, by, .. } => {
            format!("{group}: {} has added the user as well", by.as_deref().unwrap_or("somebody else"))
        }
        Event::AddedLate { group, .. } => {
            format!("{group}: an addition came to be after the end, and will be taken back")
        }
        Event::EndRequested { reason: why, due, by } => {
            let by = by.as_ref().map_or_else(String::new, |by| format!(" ({by})"));
            format!("over: {}{by}; removals are due since {due}", reason(*why))
        }
        Event::RevokeIntended { group } => format!("{group}: will be removed"),
        Event::Ended { group, how, .. } => format!("{group}: {}", ended(*how)),
    }
}

fn terms(grant: &crate::domain::Grant) -> String {
    let groups: Vec<_> = grant.groups.iter().map(OktaGroupId::as_str).collect();
    let until = grant.expires_at.map_or_else(|| "until it is revoked".to_owned(), |at| format!("until {at}"));
    format!("revision {}, {} for {} {until}", grant.revision, groups.join(", "), grant.username)
}

fn request_ids(event: &Event) -> &[String] {
    match event {
        Event::StandingFound { okta_request_ids, .. }
        | Event::Granted { okta_request_ids, .. }
        | Event::FoundMissing { okta_request_ids, .. }
        | Event::AddedByOthers { okta_request_ids, .. }
        | Event::AddedLate { okta_request_ids, .. }
        | Event::Ended { okta_request_ids, .. } => okta_request_ids,
        Event::Accepted { .. }
        | Event::Revised { .. }
        | Event::Declined { .. }
        | Event::UserResolved { .. }
        | Event::Refused { .. }
        | Event::GrantIntended { .. }
        | Event::EndRequested { .. }
        | Event::RevokeIntended { .. } => &[],
    }
}

/// `asked` holds what each task asks, from its first lease on.
fn of_task(id: &TaskId, event: &TaskEvent, asked: &mut BTreeMap<TaskId, &'static str>) -> Option<String> {
    match event {
        TaskEvent::Taken { ask, .. } => {
            let what = match ask {
                Ask::Grant { .. } => "to give access",
                Ask::Revoke { .. } => "to take access away",
                Ask::Other => return None,
            };
            let again = asked.insert(id.clone(), what).is_some();
            Some(format!("task {id} {what} was leased{}", if again { " again" } else { "" }))
        }
        TaskEvent::Answered { result } => Some(format!(
            "task {id}: the answer is {} {}: {}",
            result.status.as_str(),
            result.code.as_str(),
            result.message
        )),
        TaskEvent::LeaseLost => Some(format!("task {id}: somebody else has the lease")),
        TaskEvent::Closed { why } => Some(match why {
            Closure::Delivered => format!("task {id}: Apono has the answer"),
            Closure::FinishedElsewhere => format!("task {id}: Apono has another session's answer"),
            Closure::Abandoned => format!("task {id}: given up at a restart; Apono hands it out again"),
        }),
    }
}

#[cfg(test)]
mod tests;
