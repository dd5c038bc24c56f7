//! # Purpose
//! What the audit trail tells of an event of a grant.
//!
//! # Invariants kept here
//! - Pure: the states before and after an event decide; the same live and at replay.
//! - Every intent, effect, verification, refusal and end is told, group by group.
//!
//! # Not here
//! When records are written, and what follows when they cannot be: `ledger`. Their form: `audit`.

use super::machine::{EndReason, Ending, Event, GrantState, Holding, Seen, Source};
use super::view::{self, source};
use crate::apono::Code;
use crate::audit::{AuditRecord, Kind, MemberState};
use crate::domain::{Grant, GrantId, OktaGroupId};

/// The records of one event: `before` and `after` are the states of grant `id` around it.
pub fn project(
    id: &GrantId,
    before: Option<&GrantState>,
    after: &GrantState,
    event: &Event,
) -> Vec<AuditRecord> {
    match event {
        Event::Accepted { grant, by } => grant
            .groups
            .iter()
            .map(|group| AuditRecord {
                detail: Some(source(*by).to_owned()),
                ..blank(id, after, group, Kind::Requested)
            })
            .collect(),
        Event::Revised { grant, by } => revised(id, before, after, grant, *by),
        Event::Declined { revision } => after
            .terms
            .groups
            .iter()
            .map(|group| AuditRecord {
                detail: Some(format!("revision {revision} was refused; the terms stay what they were")),
                ..blank(id, after, group, Kind::Refused)
            })
            .collect(),
        // Whom the name means stands in every record after it.
        Event::UserResolved { .. } => Vec::new(),
        Event::Refused { group, code, message, proven_absent } => {
            let absent = if *proven_absent { MemberState::NotMember } else { MemberState::Unknown };
            vec![AuditRecord {
                code: Some(code.as_str().into()),
                detail: Some(message.clone()),
                before: absent,
                after: absent,
                ..blank(id, after, group, Kind::Refused)
            }]
        }
        Event::StandingFound { group, okta_request_ids } => vec![AuditRecord {
            okta_request_ids: okta_request_ids.clone(),
            code: Some(Code::AlreadyMember.as_str().into()),
            before: MemberState::Member,
            after: MemberState::Member,
            ..blank(id, after, group, Kind::StandingNoticed)
        }],
        Event::GrantIntended { group } => {
            // A second intent follows an addition in doubt.
            let known = match holding(before, group) {
                Some(Holding::Wanted) => MemberState::NotStanding,
                Some(
                    Holding::Granting
                    | Holding::Refused { .. }
                    | Holding::Standing { .. }
                    | Holding::Active { .. }
                    | Holding::Removing
                    | Holding::Ended { .. },
                )
                | None => MemberState::Unknown,
            };
            vec![AuditRecord { before: known, ..blank(id, after, group, Kind::AdditionIntended) }]
        }
        Event::Granted { group, verified, okta_request_ids } => {
            vec![granted(id, before, after, group, *verified, okta_request_ids)]
        }
        Event::FoundMissing { group, okta_request_ids } => {
            let rule = "somebody else has removed the membership; it is not given again";
            vec![AuditRecord {
                detail: Some(rule.to_owned()),
                before: seen(holding(before, group)),
                after: MemberState::NotMember,
                okta_request_ids: okta_request_ids.clone(),
                ..blank(id, after, group, Kind::MissingNoticed)
            }]
        }
        Event::AddedByOthers { group, by, okta_request_ids } => {
            let by = by.as_deref().unwrap_or("somebody else");
            let rule = if matches!(holding(Some(after), group), Some(Holding::Standing { .. })) {
                "the membership stands again, and stays"
            } else {
                "the membership ends with the grant all the same"
            };
            vec![AuditRecord {
                detail: Some(format!("added by {by} while the grant lives; {rule}")),
                before: seen(holding(before, group)),
                after: MemberState::Member,
                okta_request_ids: okta_request_ids.clone(),
                ..blank(id, after, group, Kind::AdditionNoticed)
            }]
        }
        Event::AddedLate { group, okta_request_ids } => vec![late(id, after, group, okta_request_ids)],
        Event::EndRequested { reason, due, by } => open_groups(after)
            .map(|group| AuditRecord {
                detail: Some(format!("{}; due since {due}", end_reason(*reason, by.as_deref()))),
                ..blank(id, after, group, Kind::EndRequested)
            })
            .collect(),
        Event::RevokeIntended { group } => {
            let before = seen(holding(before, group));
            vec![AuditRecord { before, ..blank(id, after, group, Kind::RemovalIntended) }]
        }
        Event::Ended { group, how, okta_request_ids } => {
            vec![ended(id, before, after, group, *how, okta_request_ids)]
        }
    }
}

/// An addition that came to be after the end of its grant.
fn late(id: &GrantId, after: &GrantState, group: &OktaGroupId, okta_request_ids: &[String]) -> AuditRecord {
    AuditRecord {
        detail: Some("the grant was over when it came to be; it is taken back".to_owned()),
        before: MemberState::Unknown,
        after: MemberState::Member,
        okta_request_ids: okta_request_ids.to_vec(),
        ..blank(id, after, group, Kind::Added)
    }
}

/// New terms: for each group that they name, and for each that they leave out while something is open there.
fn revised(
    id: &GrantId,
    before: Option<&GrantState>,
    after: &GrantState,
    grant: &Grant,
    by: Source,
) -> Vec<AuditRecord> {
    let former = before.map_or(0, |before| before.terms.revision.0);
    let left_out = open_groups(after).filter(|group| !grant.groups.contains(*group));
    let told =
        grant.groups.iter().map(|group| (group, "wanted")).chain(left_out.map(|group| (group, "left out")));
    told.map(|(group, word)| AuditRecord {
        detail: Some(format!("{word}; revision {former} before; {}", source(by))),
        ..blank(id, after, group, Kind::Revised)
    })
    .collect()
}

fn granted(
    id: &GrantId,
    before: Option<&GrantState>,
    after: &GrantState,
    group: &OktaGroupId,
    verified: bool,
    okta_request_ids: &[String],
) -> AuditRecord {
    let (kind, known) = match holding(before, group) {
        Some(Holding::Active { .. }) => (Kind::AdditionVerified, MemberState::Unknown),
        Some(
            Holding::Granting
            | Holding::Wanted
            | Holding::Refused { .. }
            | Holding::Standing { .. }
            | Holding::Removing
            | Holding::Ended { .. },
        )
        | None => (Kind::Added, MemberState::NotStanding),
    };
    AuditRecord {
        code: Some(if verified { Code::Granted } else { Code::Unverified }.as_str().into()),
        verified: Some(verified),
        before: known,
        after: if verified { MemberState::Member } else { MemberState::Unknown },
        okta_request_ids: okta_request_ids.to_vec(),
        ..blank(id, after, group, kind)
    }
}

fn ended(
    id: &GrantId,
    before: Option<&GrantState>,
    after: &GrantState,
    group: &OktaGroupId,
    how: Ending,
    okta_request_ids: &[String],
) -> AuditRecord {
    let known = seen(holding(before, group));
    let (kind, verified, was, is) = match how {
        Ending::Revoked => (Kind::Removed, Some(true), known, MemberState::NotMember),
        Ending::KeptStanding | Ending::LeftToRule => {
            (Kind::Released, None, MemberState::Member, MemberState::Member)
        }
        Ending::KeptOtherGrant => (Kind::Released, None, known, MemberState::Unknown),
        Ending::NotMember | Ending::Gone => (Kind::Released, None, known, MemberState::NotMember),
    };
    let why = match how {
        Ending::Revoked => None,
        Ending::KeptStanding => Some("the membership stood before the grant and stands"),
        Ending::LeftToRule => {
            Some("a group rule has come to fill the group; the policy leaves the membership to it")
        }
        Ending::KeptOtherGrant => Some("another live grant holds the membership and owes its removal"),
        Ending::NotMember => Some("there was no membership to remove"),
        Ending::Gone => Some("the user or the group no longer exists"),
    };
    let reason =
        after.end.map_or("left out by a later revision".to_owned(), |(reason, _)| end_reason(reason, None));
    let detail = why.map_or_else(|| reason.clone(), |why| format!("{why}; {reason}"));
    AuditRecord {
        code: Some(how.code().as_str().into()),
        detail: Some(detail),
        verified,
        before: was,
        after: is,
        okta_request_ids: okta_request_ids.to_vec(),
        ..blank(id, after, group, kind)
    }
}

/// A record of the terms in force, with nothing known of the membership.
fn blank(id: &GrantId, state: &GrantState, group: &OktaGroupId, kind: Kind) -> AuditRecord {
    let terms = &state.terms;
    AuditRecord {
        kind,
        grant: id.clone(),
        revision: terms.revision,
        integration: terms.integration.clone(),
        username: terms.username.clone(),
        user: state.user.clone(),
        group: group.clone(),
        expires_at: terms.expires_at,
        request: terms.request.clone().unwrap_or_default(),
        code: None,
        detail: None,
        verified: None,
        before: MemberState::Unknown,
        after: MemberState::Unknown,
        okta_request_ids: Vec::new(),
    }
}

fn holding<'a>(state: Option<&'a GrantState>, group: &OktaGroupId) -> Option<&'a Holding> {
    state?.holdings.get(group)
}

/// What a holding that nobody looks at now knows of the membership.
fn seen(holding: Option<&Holding>) -> MemberState {
    match holding {
        Some(Holding::Active { seen: Seen::Missing, .. } | Holding::Standing { missing: true }) => {
            MemberState::NotMember
        }
        Some(
            Holding::Active { seen: Seen::There | Seen::ByOthers, .. } | Holding::Standing { missing: false },
        ) => MemberState::Member,
        Some(
            Holding::Wanted
            | Holding::Refused { .. }
            | Holding::Granting
            | Holding::Active { seen: Seen::NotYet, .. }
            | Holding::Removing
            | Holding::Ended { .. },
        )
        | None => MemberState::Unknown,
    }
}

fn open_groups(state: &GrantState) -> impl Iterator<Item = &OktaGroupId> {
    state.holdings.iter().filter(|(_, holding)| !holding.is_terminal()).map(|(group, _)| group)
}

fn end_reason(reason: EndReason, by: Option<&str>) -> String {
    let words = view::reason(reason);
    by.map_or_else(|| words.to_owned(), |by| format!("{words} ({by})"))
}

#[cfg(test)]
mod tests;
