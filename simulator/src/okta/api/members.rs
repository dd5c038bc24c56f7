//! # Purpose
//! Members of a group: listed, added, removed.
//!
//! # Invariants kept here
//! - Adding a member and adding them again answer alike, and so does removing somebody who is not there.
//! - Deactivated members are listed and can be removed; they cannot be added.
//!
//! # Not here
//! The rules of the change itself (`directory`).

use axum::response::Response;
use jiff::Timestamp;

use super::super::OktaSimulator;
use super::super::answer::{Refusal, bare};
use super::super::directory::{Group, MemberChange, MemberRefusal};
use super::super::exchange::Exchange;
use super::super::journal::{MembershipWrite, WriteEffect};
use super::super::oauth::access::Caller;
use super::super::settings::{AbsentMember, ReadOnlyGroups};
use super::listing::{Listing, Page};
use super::users::{projection, render};

pub(super) fn list(listing: &Listing<'_>, group: &str) -> Result<Response, Refusal> {
    let cap = listing.settings().page_sizes.members;
    let limit = listing.limit(cap, cap)?;
    let after = listing.after()?;
    let directory = listing.okta.directory();
    let index = directory.group_number(group).ok_or_else(|| Refusal::not_found(group, "UserGroup"))?;
    let page = Page::of(directory.visible_members(index, after, limit + 1), limit);
    let body = render(&directory, listing.exchange, &page, &projection(listing.exchange));
    Ok(listing.respond(body, page.numbers.len(), limit, page.next.as_ref()))
}

/// A membership as it shall be.
pub(super) struct Wanted<'a> {
    pub(super) group: &'a str,
    pub(super) user: &'a str,
    pub(super) member: bool,
}

pub(super) fn write(
    okta: &OktaSimulator,
    exchange: &Exchange,
    caller: &Caller,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<Response, Refusal> {
    let settings = &exchange.settings;
    let now_ms = now.as_millisecond();
    let lag = i64::try_from(settings.visibility_lag.as_millis()).unwrap_or(i64::MAX);
    let mut directory = okta.directory_mut();
    let group =
        directory.group_number(wanted.group).ok_or_else(|| Refusal::not_found(wanted.group, "UserGroup"))?;
    // Rights are looked at before the user is.
    if directory.group(group).is_some_and(Group::admin_privilege) && !caller.super_admin {
        return Err(refused(MemberRefusal::AdminGroup, settings.read_only_groups));
    }
    let user = directory.user_number(wanted.user).ok_or_else(|| Refusal::not_found(wanted.user, "User"))?;
    let is_absent = !wanted.member && !directory.is_member(group, user);
    let changed = directory
        .change_member(&MemberChange {
            group,
            user,
            member: wanted.member,
            client: &caller.client,
            super_admin: caller.super_admin,
            now: now_ms,
            visible_at: (lag > 0).then(|| now_ms.saturating_add(lag)),
        })
        .map_err(|refusal| refused(refusal, settings.read_only_groups))?;
    drop(directory);
    if is_absent && settings.absent_member == AbsentMember::NotFound {
        return Err(Refusal::not_found(wanted.user, "User"));
    }

    okta.journal().note_write(MembershipWrite {
        at: now,
        operation: exchange.operation.name(),
        group: wanted.group.into(),
        user: wanted.user.into(),
        effect: match (changed, wanted.member) {
            (true, true) => WriteEffect::Added,
            (true, false) => WriteEffect::Removed,
            (false, _) => WriteEffect::Unchanged,
        },
        request_id: exchange.request_id.clone(),
    });
    if changed {
        okta.note_membership_change();
    }
    Ok(bare(204))
}

fn refused(refusal: MemberRefusal, read_only_groups: ReadOnlyGroups) -> Refusal {
    match (refusal, read_only_groups) {
        (MemberRefusal::ReadOnlyGroup, ReadOnlyGroups::Unsupported) => {
            Refusal::api(501, "E0000060", "Unsupported operation.")
        }
        (MemberRefusal::ReadOnlyGroup, ReadOnlyGroups::Forbidden) | (MemberRefusal::AdminGroup, _) => {
            Refusal::forbidden()
        }
        (MemberRefusal::Deactivated, _) => {
            Refusal::api(403, "E0000038", "This operation is not allowed in the user's current status.")
        }
        (MemberRefusal::ExclusionsFull, _) => {
            Refusal::validation("exclude", "exclude: the rule excludes the largest number of users")
        }
    }
}
