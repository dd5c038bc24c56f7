//! # Purpose
//! The handle that looks up and changes single memberships. Only the access side holds it.
//!
//! # Invariants kept here
//! - A success of Okta's (204) is reported as "accepted", not as "is so": the caller looks.
//! - "Does not exist" is told apart from "is hidden from the connector's role" ([`Memberships::rights_hold`]).
//!
//! # Not here
//! Whether to write at all: `access`.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use serde_json::value::RawValue;

use super::bucket;
use super::client::{Client, body, object_body, unreadable};
use super::directory::{PageError, read_page};
use super::errors::OktaError;
use super::lookup::{GroupsOf, Rights, quoted};
use super::page::{Cursor, Page};
use super::wire::{GroupBody, RuleBody, UserBody, object};
use crate::domain::{Group, Membership, OktaGroupId, OktaUserId, User};
use crate::http::Lane;

/// Nobody has this id.
const NOBODY: &str = "00u0doctor0nobody000";

/// Looks up and changes memberships of one organization.
#[derive(Clone, Debug)]
pub struct Memberships {
    client: Arc<Client>,
}

/// Whom a name means.
#[derive(Clone, Debug, PartialEq)]
pub enum UserMatch {
    /// Exactly this user.
    One(Box<User>),
    /// Nobody.
    None,
    /// More than one; a guess would be wrong for somebody.
    Several,
}

/// Whether a user is in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Is a member.
    Member,
    /// Is not: the user's other groups are shown, or the group itself is.
    NotMember,
    /// Okta does not know the user, or shows neither any group of the user nor the group.
    Unknown,
}

/// What one look at a membership showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What.
    pub presence: Presence,
    /// Correlate with the organization's System Log.
    pub request_ids: Vec<String>,
}

/// Okta accepted a write. Not proof that it has its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Correlates with the organization's System Log.
    pub request_id: Option<String>,
}

impl Memberships {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    /// The user whose login, else whose email, is `name` (ignoring case).
    pub async fn find_user(&self, name: &str, lane: Lane) -> Result<UserMatch, OktaError> {
        // Okta resolves short names and ids here too, so the answer must carry the name that was asked for; a login with
        // a slash it does not resolve at all.
        if !name.contains('/') {
            let call = self.client.call("get_user", bucket::USER, lane);
            let url = self.client.base().url(&["api", "v1", "users", name], &[]);
            match self.client.get(&call, &url).await {
                Ok(response) => {
                    let user = User::from(object_body::<UserBody>(call.name, "a user", &response)?);
                    if is_named(&user, "login", name) {
                        return Ok(UserMatch::One(Box::new(user)));
                    }
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        for attribute in ["login", "email"] {
            let mut found = self.filter_users(attribute, name, lane).await?;
            match (found.len(), found.pop()) {
                (1, Some(user)) => return Ok(UserMatch::One(Box::new(user))),
                (0, _) => {}
                _ => return Ok(UserMatch::Several),
            }
        }
        Ok(UserMatch::None)
    }

    /// A user by id; `None` when Okta does not know it.
    pub async fn user(&self, id: &OktaUserId, lane: Lane) -> Result<Option<User>, OktaError> {
        self.client.user(id, lane).await
    }

    /// A group by id, with the hint whether it carries admin roles; `None` when Okta does not know it.
    pub async fn group(&self, id: &OktaGroupId, lane: Lane) -> Result<Option<Group>, OktaError> {
        self.client.group(id, lane).await
    }

    /// A group by id, without hints; `None` when Okta does not know it.
    pub async fn plain_group(&self, id: &OktaGroupId, lane: Lane) -> Result<Option<Group>, OktaError> {
        self.client.plain_group(id, lane).await
    }

    /// The groups that the user is in; `None` when Okta does not know the user.
    pub async fn groups_of(&self, user: &OktaUserId, lane: Lane) -> Result<Option<GroupsOf>, OktaError> {
        self.client.groups_of(user, lane).await
    }

    /// Whether the connector still sees users and groups at all.
    ///
    /// Without its admin role Okta answers with empty lists and "not found": then nothing is proven gone.
    pub async fn rights_hold(&self, lane: Lane) -> Result<bool, OktaError> {
        let Rights { users, groups } = self.client.rights(lane).await?;
        Ok(users && groups)
    }

    /// Whether the user is in the group, by the user's own list of groups.
    pub async fn look(&self, membership: &Membership, lane: Lane) -> Result<Look, OktaError> {
        let Some(of) = self.groups_of(&membership.user, lane).await? else {
            return Ok(Look { presence: Presence::Unknown, request_ids: Vec::new() });
        };
        let presence = if of.groups.contains(&membership.group) {
            // A member is one, whatever else could not be read.
            Presence::Member
        } else if of.skipped > 0 {
            return Err(OktaError::Incomplete { call: "list_user_groups", skipped: of.skipped });
        } else if of.groups.is_empty() && self.plain_group(&membership.group, lane).await?.is_none() {
            // Okta answers with an empty list too when the connector's role was taken away.
            Presence::Unknown
        } else {
            Presence::NotMember
        };
        Ok(Look { presence, request_ids: of.request_ids })
    }

    /// The same, without the ids of the requests.
    pub async fn presence(&self, membership: &Membership, lane: Lane) -> Result<Presence, OktaError> {
        self.look(membership, lane).await.map(|look| look.presence)
    }

    /// The groups that an active group rule fills. A removal there would put the user on the rule's exclusion list.
    pub async fn rule_fed_groups(&self, lane: Lane) -> Result<BTreeSet<OktaGroupId>, OktaError> {
        let call = self.client.call("list_group_rules", bucket::GROUPS, lane);
        let first = || self.client.base().url(&["api", "v1", "groups", "rules"], &[("limit", "200")]);
        let read = |text: &str| object::<RuleBody>(text.as_bytes()).map(RuleBody::targets);
        let mut fed = BTreeSet::new();
        let walked = self.client.walk(&call, first, read, |targets| fed.extend(targets)).await?;
        if walked.skipped > 0 {
            return Err(OktaError::Incomplete { call: call.name, skipped: walked.skipped });
        }
        Ok(fed)
    }

    /// A page of the groups that Okta itself masters, with the admin hint.
    pub async fn grantable_groups(
        &self,
        cursor: Option<&Cursor>,
        lane: Lane,
    ) -> Result<Page<Group>, PageError> {
        let call = self.client.call("list_groups", bucket::GROUPS, lane);
        let query = [("filter", r#"type eq "OKTA_GROUP""#), ("expand", "stats"), ("limit", "200")];
        let first = || self.client.base().url(&["api", "v1", "groups"], &query);
        read_page(&self.client, &call, cursor, first, |text| {
            object::<GroupBody>(text.as_bytes()).map(Group::from)
        })
        .await
    }

    /// Asks Okta to add the user to the group. Okta answers the same when the user was a member already.
    pub async fn add(&self, membership: &Membership) -> Result<Written, OktaError> {
        let call = self.client.call("add_member", bucket::GROUPS, Lane::Grant);
        let response = self.client.put(&call, &self.membership_url(membership)).await?;
        Ok(Written { request_id: response.header("x-okta-request-id").map(ToOwned::to_owned) })
    }

    /// Asks Okta to remove the user from the group. Okta answers the same when the user was no member.
    pub async fn remove(&self, membership: &Membership) -> Result<Written, OktaError> {
        let call = self.client.call("remove_member", bucket::GROUPS, Lane::Removal);
        let response = self.client.delete(&call, &self.membership_url(membership)).await?;
        Ok(Written { request_id: response.header("x-okta-request-id").map(ToOwned::to_owned) })
    }

    /// Whether members of the group can be changed, tried without changing any.
    ///
    /// Okta looks at the caller's rights before it looks for the user: 403 without the right, "not found" with it.
    pub async fn may_change(&self, group: &OktaGroupId) -> Result<bool, OktaError> {
        let nobody = Membership { group: group.clone(), user: OktaUserId::from(NOBODY) };
        match self.add(&nobody).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) if error.answer().is_some_and(|answer| answer.status == StatusCode::FORBIDDEN) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn membership_url(&self, membership: &Membership) -> url::Url {
        let path = ["api", "v1", "groups", membership.group.as_str(), "users", membership.user.as_str()];
        self.client.base().url(&path, &[])
    }

    async fn filter_users(&self, attribute: &str, value: &str, lane: Lane) -> Result<Vec<User>, OktaError> {
        let filter = format!("profile.{attribute} eq {}", quoted(value));
        let call = self.client.call("find_user", bucket::USERS, lane);
        let url = self.client.base().url(&["api", "v1", "users"], &[("filter", &filter), ("limit", "10")]);
        let response = self.client.get(&call, &url).await?;
        let expected = "a list of users";
        let elements: Vec<&RawValue> = body(call.name, expected, &response)?;
        let users: Result<Vec<UserBody>, _> =
            elements.iter().map(|element| object(element.get().as_bytes())).collect();
        let users = users.map_err(|source| unreadable(call.name, expected, &response, source))?;
        Ok(users.into_iter().map(User::from).filter(|user| is_named(user, attribute, value)).collect())
    }
}

fn is_named(user: &User, attribute: &str, name: &str) -> bool {
    user.text(attribute).is_some_and(|text| text.to_lowercase() == name.to_lowercase())
}
