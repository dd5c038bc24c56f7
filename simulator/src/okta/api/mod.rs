//! # Purpose
//! The management API: who may do what, and which function does it.
//!
//! # Invariants kept here
//! - Without an admin role nothing is done; the two big lists then look empty instead of forbidden. A custom role does
//!   what its permissions say, within its resource set.
//!
//! # Not here
//! Tokens and scopes, which were checked before.

mod groups;
pub(super) mod listing;
mod logs;
mod members;
pub(super) mod org;
mod users;

use axum::response::Response;
use jiff::Timestamp;

use self::listing::Listing;
use super::OktaSimulator;
use super::answer::{Refusal, json_response};
use super::exchange::Exchange;
use super::management::{self, AdminRole, Administrator, Managed};
use super::oauth::access::Caller;
use super::operation::Operation;

/// Carries out an operation for a caller whose token has the scope.
pub(super) fn perform(
    okta: &OktaSimulator,
    exchange: &Exchange,
    caller: &Caller,
    now: Timestamp,
) -> Result<Response, Refusal> {
    let operation = &exchange.operation;
    if let Operation::Manage(managed) = operation {
        let of_a_client = Administrator { token: String::new(), role: AdminRole::SuperAdmin };
        let administrator = match (&caller.administrator, managed) {
            (Some(administrator), _) => administrator,
            (None, Managed::ListAssignments { .. }) if caller.super_admin => &of_a_client,
            // An OAuth token with the scope would do at Okta, too; the connector has none and needs none.
            (None, _) => return Err(Refusal::forbidden()),
        };
        return management::perform(okta, exchange, managed, administrator, now);
    }
    if !is_within_reach(operation, caller) {
        let looks_empty = matches!(operation, Operation::ListUsers | Operation::ListGroups);
        return if looks_empty { Ok(json_response(200, "[]")) } else { Err(Refusal::forbidden()) };
    }
    okta.show_due_writes(now.as_millisecond());
    let listing = Listing::new(okta, exchange);
    if let Some(blank) = listing.blank()? {
        return Ok(blank);
    }
    match operation {
        Operation::ListUsers => users::list(&listing),
        Operation::GetUser { user } if user == "me" => Ok(users::me(caller)?),
        Operation::GetUser { user } => users::get(okta, exchange, user),
        Operation::ListUserGroups { user } => groups::of_user(&listing, user),
        Operation::ListGroups => groups::list(&listing, &caller.rights.groups),
        Operation::ListGroupRules => groups::rules(&listing),
        Operation::GetGroup { group } => groups::get(okta, exchange, group),
        Operation::ListGroupRoles { group } => groups::roles(okta, exchange, group),
        Operation::ListGroupMembers { group } => members::list(&listing, group),
        Operation::AddMember { group, user } => {
            members::write(okta, exchange, caller, &members::Wanted { group, user, member: true }, now)
        }
        Operation::RemoveMember { group, user } => {
            members::write(okta, exchange, caller, &members::Wanted { group, user, member: false }, now)
        }
        Operation::GetOrg => Ok(org::get(exchange)),
        Operation::ListLogs => logs::list(&listing, now),
        Operation::Token
        | Operation::WellKnown
        | Operation::Keys
        | Operation::Manage(_)
        | Operation::UnknownPath
        | Operation::UnknownMethod => Err(Refusal::forbidden()),
    }
}

/// Whether the caller's admin role lets it do this at all.
fn is_within_reach(operation: &Operation, caller: &Caller) -> bool {
    let rights = &caller.rights;
    if rights.everything || rights.is_nothing() {
        return rights.everything;
    }
    match operation {
        Operation::ListUsers | Operation::GetUser { .. } | Operation::ListUserGroups { .. } => rights.users,
        Operation::ListGroups | Operation::ListGroupRules => !rights.groups.is_nothing(),
        Operation::GetGroup { group } | Operation::ListGroupMembers { group } => {
            rights.groups.includes(group)
        }
        Operation::AddMember { group, .. } | Operation::RemoveMember { group, .. } => {
            rights.members.includes(group)
        }
        Operation::GetOrg => true,
        Operation::ListGroupRoles { .. }
        | Operation::ListLogs
        | Operation::Manage(_)
        | Operation::Token
        | Operation::WellKnown
        | Operation::Keys
        | Operation::UnknownPath
        | Operation::UnknownMethod => false,
    }
}

impl OktaSimulator {
    fn show_due_writes(&self, now_ms: i64) {
        let is_due = self.directory().is_due(now_ms);
        if is_due {
            self.directory_mut().settle(now_ms);
        }
    }
}
