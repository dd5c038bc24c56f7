//! # Purpose
//! Looking up single users and groups, and walking short listings: what the reading and the changing handle share.
//!
//! # Invariants kept here
//! - No method writes.
//! - "Does not exist" is told apart from "is hidden from the connector's role" ([`Client::rights`]).
//!
//! # Not here
//! What is concluded from an answer: `access`, `directory`.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::bucket;
use super::client::{Client, body, object_body, unreadable};
use super::directory::{PageError, read_page};
use super::errors::OktaError;
use super::page::{Cursor, Page};
use super::wire::{GroupBody, RoleBody, UserBody, object};
use crate::domain::{Group, OktaGroupId, OktaUserId, User};
use crate::http::{Call, Lane};

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

/// What the connector's role lets it see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// At least one user.
    pub users: bool,
    /// At least one group.
    pub groups: bool,
}

/// A listing was read to its end.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) skipped: usize,
    pub(super) request_ids: Vec<String>,
}

/// Longer listings are not read; the answer is then an error, not a guess.
const MOST_PAGES: usize = 500;

impl Client {
    /// A user by id; `None` when Okta does not know it.
    pub(super) async fn user(&self, id: &OktaUserId, lane: Lane) -> Result<Option<User>, OktaError> {
        let call = self.call("get_user", bucket::USER, lane);
        let url = self.base().url(&["api", "v1", "users", id.as_str()], &[]);
        match self.get(&call, &url).await {
            Ok(response) => Ok(Some(object_body::<UserBody>(call.name, "a user", &response)?.into())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A group by id, with the hint whether it carries admin roles; `None` when Okta does not know it.
    pub(super) async fn group(&self, id: &OktaGroupId, lane: Lane) -> Result<Option<Group>, OktaError> {
        let filter = format!("id eq {}", quoted(id.as_str()));
        let call = self.call("find_group", bucket::GROUPS, lane);
        let url = self.base().url(&["api", "v1", "groups"], &[("filter", &filter), ("expand", "stats")]);
        let response = self.get(&call, &url).await?;
        let elements: Vec<&RawValue> = body(call.name, "a JSON array", &response)?;
        for element in elements {
            let group: GroupBody = object(element.get().as_bytes())
                .map_err(|source| unreadable(call.name, "a list of groups", &response, source))?;
            let group = Group::from(group);
            if group.id == *id {
                return Ok(Some(group));
            }
        }
        // A listing can be empty for want of rights; a direct question cannot.
        self.plain_group(id, lane).await
    }

    /// A group by id, without hints; `None` when Okta does not know it.
    pub(super) async fn plain_group(&self, id: &OktaGroupId, lane: Lane) -> Result<Option<Group>, OktaError> {
        let call = self.call("get_group", bucket::GROUP, lane);
        let url = self.base().url(&["api", "v1", "groups", id.as_str()], &[]);
        match self.get(&call, &url).await {
            Ok(response) => Ok(Some(object_body::<GroupBody>(call.name, "a group", &response)?.into())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The groups that the user is in; `None` when Okta does not know the user.
    pub(super) async fn groups_of(
        &self,
        user: &OktaUserId,
        lane: Lane,
    ) -> Result<Option<GroupsOf>, OktaError> {
        let call = self.call("list_user_groups", bucket::USER_GROUPS, lane);
        let path = ["api", "v1", "users", user.as_str(), "groups"];
        let first = || self.base().url(&path, &[("limit", "200")]);
        let read = |text: &str| object::<GroupBody>(text.as_bytes()).map(|group| Group::from(group).id);
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

    /// Hands every element of a listing that can be read to `take`.
    pub(super) async fn walk<T>(
        &self,
        call: &Call,
        first: impl Fn() -> url::Url,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
        mut take: impl FnMut(T),
    ) -> Result<Walked, OktaError> {
        let mut cursor: Option<Cursor> = None;
        let mut walked = Walked::default();
        for _ in 0..MOST_PAGES {
            let page: Page<T> = match read_page(self, call, cursor.as_ref(), &first, &read).await {
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

    /// What the connector still sees at all.
    ///
    /// Without its admin role Okta answers with empty lists and "not found": then nothing is proven gone.
    pub(super) async fn rights(&self, lane: Lane) -> Result<Rights, OktaError> {
        Ok(Rights {
            users: self.shows_any("list_users", bucket::USERS, "users", lane).await?,
            groups: self.shows_any("list_groups", bucket::GROUPS, "groups", lane).await?,
        })
    }

    /// The kinds of the administrator roles that a client has (`SUPER_ADMIN`, `CUSTOM` …).
    pub(super) async fn roles_of(&self, client: &str, lane: Lane) -> Result<Vec<String>, OktaError> {
        let call = self.call("list_client_roles", bucket::CLIENTS, lane);
        let url = self.base().url(&["oauth2", "v1", "clients", client, "roles"], &[]);
        let response = self.get(&call, &url).await?;
        let roles: Vec<RoleBody> = body(call.name, "a list of roles", &response)?;
        Ok(roles.into_iter().map(|role| role.kind).collect())
    }

    async fn shows_any(
        &self,
        name: &'static str,
        bucket: &'static str,
        kind: &str,
        lane: Lane,
    ) -> Result<bool, OktaError> {
        let call = self.call(name, bucket, lane);
        let url = self.base().url(&["api", "v1", kind], &[("limit", "1")]);
        let response = self.get(&call, &url).await?;
        let seen: Vec<&RawValue> = body(call.name, "a JSON array", &response)?;
        Ok(!seen.is_empty())
    }
}

/// A string literal of Okta's filter language.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
