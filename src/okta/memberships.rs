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

use serde_json::value::RawValue;

use super::client::{Client, body, bucket};
use super::directory::{PageError, read_page};
use super::errors::OktaError;
use super::page::{Cursor, Page};
use super::wire::{GroupBody, RuleBody, UserBody};
use crate::domain::{Group, Membership, OktaGroupId, OktaUserId, User};
use crate::http::{Call, Lane};

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

/// What one look at a user's groups showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsOf {
    /// All that could be read.
    pub groups: BTreeSet<OktaGroupId>,
    /// How many could not.
    pub skipped: usize,
    /// Correlate with the organization's System Log.
    pub request_ids: Vec<String>,
}

/// A listing was read to its end.
#[derive(Debug, Default)]
struct Walked {
    skipped: usize,
    request_ids: Vec<String>,
}

/// Okta accepted a write. Not proof that it has its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Correlates with the organization's System Log.
    pub request_id: Option<String>,
}

/// Longer listings are not read; the answer is then an error, not a guess.
const MOST_PAGES: usize = 500;

impl Memberships {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    /// The user whose login, else whose email, is `name` (ignoring case).
    pub async fn find_user(&self, name: &str, lane: Lane) -> Result<UserMatch, OktaError> {
        // Okta resolves short names and ids here too, so the answer must carry the name that was asked for; a login with
        // a slash it does not resolve at all, and dots alone would lead to another path.
        if !name.contains('/') && !matches!(name, "." | "..") {
            let call = self.client.call("get_user", bucket::USER, lane);
            let url = self.client.base().url(&["api", "v1", "users", name], &[]);
            match self.client.get(&call, &url).await {
                Ok(response) => {
                    let user = User::from(body::<UserBody>(call.name, "a user", &response)?);
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
        let call = self.client.call("get_user", bucket::USER, lane);
        let url = self.client.base().url(&["api", "v1", "users", id.as_str()], &[]);
        match self.client.get(&call, &url).await {
            Ok(response) => Ok(Some(body::<UserBody>(call.name, "a user", &response)?.into())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A group by id, with the hint whether it carries admin roles; `None` when Okta does not know it.
    pub async fn group(&self, id: &OktaGroupId, lane: Lane) -> Result<Option<Group>, OktaError> {
        let filter = format!("id eq {}", quoted(id.as_str()));
        let call = self.client.call("find_group", bucket::GROUPS, lane);
        let url =
            self.client.base().url(&["api", "v1", "groups"], &[("filter", &filter), ("expand", "stats")]);
        let response = self.client.get(&call, &url).await?;
        let elements: Vec<&RawValue> = body(call.name, "a JSON array", &response)?;
        for element in elements {
            let group: GroupBody =
                serde_json::from_str(element.get()).map_err(|source| OktaError::Unreadable {
                    call: call.name,
                    expected: "a list of groups",
                    status: response.status,
                    request_id: response.header("x-okta-request-id").map(ToOwned::to_owned),
                    source,
                })?;
            let group = Group::from(group);
            if group.id == *id {
                return Ok(Some(group));
            }
        }
        // A listing can be empty for want of rights; a direct question cannot.
        self.plain_group(id, lane).await
    }

    /// A group by id, without hints; `None` when Okta does not know it.
    pub async fn plain_group(&self, id: &OktaGroupId, lane: Lane) -> Result<Option<Group>, OktaError> {
        let call = self.client.call("get_group", bucket::GROUP, lane);
        let url = self.client.base().url(&["api", "v1", "groups", id.as_str()], &[]);
        match self.client.get(&call, &url).await {
            Ok(response) => Ok(Some(body::<GroupBody>(call.name, "a group", &response)?.into())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The groups that the user is in; `None` when Okta does not know the user.
    pub async fn groups_of(&self, user: &OktaUserId, lane: Lane) -> Result<Option<GroupsOf>, OktaError> {
        let call = self.client.call("list_user_groups", bucket::USER_GROUPS, lane);
        let path = ["api", "v1", "users", user.as_str(), "groups"];
        let first = || self.client.base().url(&path, &[("limit", "200")]);
        let read = |text: &str| serde_json::from_str::<GroupBody>(text).map(|group| Group::from(group).id);
        let mut groups = BTreeSet::new();
        let walked = self.walk(&call, first, read, |group: OktaGroupId| {
            groups.insert(group);
        });
        match walked.await {
            Ok(Walked { skipped, request_ids }) => Ok(Some(GroupsOf { groups, skipped, request_ids })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
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
        let read = |text: &str| serde_json::from_str::<RuleBody>(text).map(RuleBody::targets);
        let mut fed = BTreeSet::new();
        let walked = self.walk(&call, first, read, |targets| fed.extend(targets)).await?;
        if walked.skipped > 0 {
            return Err(OktaError::Incomplete { call: call.name, skipped: walked.skipped });
        }
        Ok(fed)
    }

    /// Hands every element of a listing that can be read to `take`.
    async fn walk<T>(
        &self,
        call: &Call,
        first: impl Fn() -> url::Url,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
        mut take: impl FnMut(T),
    ) -> Result<Walked, OktaError> {
        let mut cursor: Option<Cursor> = None;
        let mut walked = Walked::default();
        for _ in 0..MOST_PAGES {
            let page: Page<T> = match read_page(&self.client, call, cursor.as_ref(), &first, &read).await {
                Ok(page) => page,
                Err(PageError::Call(error)) => return Err(error),
                Err(PageError::Link { .. }) => return Err(OktaError::Endless { call: call.name }),
            };
            walked.skipped += page.skipped.len();
            walked.request_ids.extend(page.request_id);
            page.items.into_iter().for_each(&mut take);
            match page.next {
                None => return Ok(walked),
                // A listing that leads in a circle cannot be trusted to hold everything.
                next if next == cursor => return Err(OktaError::Endless { call: call.name }),
                next => cursor = next,
            }
        }
        Err(OktaError::Endless { call: call.name })
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
            serde_json::from_str::<GroupBody>(text).map(Group::from)
        })
        .await
    }

    /// Whether the connector still sees users and groups at all.
    ///
    /// Without its admin role Okta answers with empty lists and "not found": then nothing is proven gone.
    pub async fn rights_hold(&self, lane: Lane) -> Result<bool, OktaError> {
        for (name, bucket, kind) in
            [("list_users", bucket::USERS, "users"), ("list_groups", bucket::GROUPS, "groups")]
        {
            let call = self.client.call(name, bucket, lane);
            let url = self.client.base().url(&["api", "v1", kind], &[("limit", "1")]);
            let response = self.client.get(&call, &url).await?;
            let seen: Vec<&RawValue> = body(call.name, "a JSON array", &response)?;
            if seen.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
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

    fn membership_url(&self, membership: &Membership) -> url::Url {
        let path = ["api", "v1", "groups", membership.group.as_str(), "users", membership.user.as_str()];
        self.client.base().url(&path, &[])
    }

    async fn filter_users(&self, attribute: &str, value: &str, lane: Lane) -> Result<Vec<User>, OktaError> {
        let filter = format!("profile.{attribute} eq {}", quoted(value));
        let call = self.client.call("find_user", bucket::USERS, lane);
        let url = self.client.base().url(&["api", "v1", "users"], &[("filter", &filter), ("limit", "10")]);
        let response = self.client.get(&call, &url).await?;
        let users: Vec<UserBody> = body(call.name, "a list of users", &response)?;
        Ok(users.into_iter().map(User::from).filter(|user| is_named(user, attribute, value)).collect())
    }
}

fn is_named(user: &User, attribute: &str, name: &str) -> bool {
    user.text(attribute).is_some_and(|text| text.to_lowercase() == name.to_lowercase())
}

/// A string literal of Okta's filter language.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
