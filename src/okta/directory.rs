//! # Purpose
//! The read-only handle: listings of users, groups and members, a page at a time.
//!
//! # Invariants kept here
//! - No method writes. The directory side is given this handle and no other.
//!
//! # Not here
//! Deciding that a listing is complete: `directory::snapshot`.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::value::RawValue;
use url::Url;

use super::client::{Client, body, bucket};
use super::errors::OktaError;
use super::lookup::{GroupsOf, Rights};
use super::page::{Cursor, LinkError, Page, next_cursor, read_items};
use super::wire::{GroupBody, UserBody, UserId};
use crate::domain::{Group, OktaGroupId, OktaUserId, User};
use crate::http::{Call, Class, Lane};

/// Reads one organization's directory.
#[derive(Clone, Debug)]
pub struct Directory {
    client: Arc<Client>,
}

/// A page could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The call failed.
    #[error("cannot read a page")]
    Call(#[source] OktaError),
    /// The page's links do not say where the listing goes on.
    #[error("cannot go on to the next page of {call}")]
    Link {
        /// The listing.
        call: &'static str,
        /// Why not.
        #[source]
        source: LinkError,
    },
}

impl PageError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Call(source) => source.class(),
            Self::Link { source: LinkError::Foreign(_), .. } => Class::Permanent,
            Self::Link { source: LinkError::Damaged(_) | LinkError::Missing, .. } => Class::Transient,
        }
    }

    /// Whether Okta finds something wrong with the request itself, such as a place that it no longer knows.
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Call(source) => {
                source.answer().is_some_and(|answer| answer.status == StatusCode::BAD_REQUEST)
            }
            Self::Link { .. } => false,
        }
    }

    /// Whether the listed thing itself does not exist (a group deleted in the middle of a run).
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Call(source) => source.is_not_found(),
            Self::Link { .. } => false,
        }
    }
}

/// The most users that a page of users has.
const USERS_A_PAGE: &str = "200";
/// Okta recommends no more for groups.
const GROUPS_A_PAGE: &str = "200";
/// The most users that a page of members has.
const MEMBERS_A_PAGE: &str = "1000";

impl Directory {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    /// A page of all users but the deactivated ones, with only `attributes` of their profiles.
    pub async fn users(
        &self,
        cursor: Option<&Cursor>,
        attributes: &[String],
    ) -> Result<Page<User>, PageError> {
        let first = || {
            let fields = fields(attributes);
            self.client.base().url(&["api", "v1", "users"], &[("limit", USERS_A_PAGE), ("fields", &fields)])
        };
        let call = self.client.call("list_users", bucket::USERS, Lane::Directory);
        self.page(&call, cursor, first, |text| serde_json::from_str::<UserBody>(text).map(User::from)).await
    }

    /// A page of all groups, of every kind.
    pub async fn groups(&self, cursor: Option<&Cursor>) -> Result<Page<Group>, PageError> {
        let first = || self.client.base().url(&["api", "v1", "groups"], &[("limit", GROUPS_A_PAGE)]);
        let call = self.client.call("list_groups", bucket::GROUPS, Lane::Directory);
        self.page(&call, cursor, first, |text| serde_json::from_str::<GroupBody>(text).map(Group::from)).await
    }

    /// A page of a group's members, ids only.
    pub async fn member_ids(
        &self,
        group: &OktaGroupId,
        cursor: Option<&Cursor>,
    ) -> Result<Page<OktaUserId>, PageError> {
        let call = self.client.call("list_group_members", bucket::GROUPS, Lane::Directory);
        let first = || self.members_url(group);
        self.page(&call, cursor, first, |text| serde_json::from_str::<UserId>(text).map(|user| user.id)).await
    }

    /// A page of a group's members with their profiles; includes deactivated users.
    pub async fn members(
        &self,
        group: &OktaGroupId,
        cursor: Option<&Cursor>,
    ) -> Result<Page<User>, PageError> {
        let call = self.client.call("list_group_members", bucket::GROUPS, Lane::Directory);
        let first = || self.members_url(group);
        self.page(&call, cursor, first, |text| serde_json::from_str::<UserBody>(text).map(User::from)).await
    }

    /// A page of the users, deactivated ones included, that were changed after `since`.
    pub async fn users_changed(
        &self,
        since: Timestamp,
        cursor: Option<&Cursor>,
        attributes: &[String],
    ) -> Result<Page<User>, PageError> {
        let first = || {
            let fields = fields(attributes);
            let filter = format!("lastUpdated gt \"{since:.3}\"");
            let query = [("filter", filter.as_str()), ("limit", USERS_A_PAGE), ("fields", &fields)];
            self.client.base().url(&["api", "v1", "users"], &query)
        };
        let call = self.client.call("list_users", bucket::USERS, Lane::Directory);
        self.page(&call, cursor, first, |text| serde_json::from_str::<UserBody>(text).map(User::from)).await
    }

    /// A user by id; `None` when Okta does not know it.
    pub async fn user(&self, id: &OktaUserId) -> Result<Option<User>, OktaError> {
        self.client.user(id, Lane::Directory).await
    }

    /// A group by id, with the number of its members; `None` when Okta does not know it.
    pub async fn group(&self, id: &OktaGroupId) -> Result<Option<Group>, OktaError> {
        self.client.group(id, Lane::Directory).await
    }

    /// The groups that the user is in; `None` when Okta does not know the user.
    pub async fn groups_of(&self, user: &OktaUserId) -> Result<Option<GroupsOf>, OktaError> {
        self.client.groups_of(user, Lane::Directory).await
    }

    /// What the connector sees at all; without its role Okta shows empty lists.
    pub async fn rights(&self) -> Result<Rights, OktaError> {
        self.client.rights(Lane::Directory).await
    }

    /// Okta's clock, or our own until it is known.
    pub fn now(&self) -> Timestamp {
        self.client.now()
    }

    fn members_url(&self, group: &OktaGroupId) -> Url {
        self.client
            .base()
            .url(&["api", "v1", "groups", group.as_str(), "users"], &[("limit", MEMBERS_A_PAGE)])
    }

    async fn page<T>(
        &self,
        call: &Call,
        cursor: Option<&Cursor>,
        first: impl FnOnce() -> Url,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
    ) -> Result<Page<T>, PageError> {
        read_page(&self.client, call, cursor, first, read).await
    }
}

fn fields(attributes: &[String]) -> String {
    format!("id,status,profile:({})", attributes.join(","))
}

/// One page of any listing.
pub(super) async fn read_page<T>(
    client: &Client,
    call: &Call,
    cursor: Option<&Cursor>,
    first: impl FnOnce() -> Url,
    read: impl Fn(&str) -> Result<T, serde_json::Error>,
) -> Result<Page<T>, PageError> {
    let url = cursor.map_or_else(first, |cursor| cursor.url().clone());
    let response = client.get(call, &url).await.map_err(PageError::Call)?;
    let elements: Vec<&RawValue> = body(call.name, "a JSON array", &response).map_err(PageError::Call)?;
    let (items, skipped) = read_items(&elements, read);
    let limit = url.query_pairs().find(|(name, _)| name == "limit").and_then(|(_, limit)| limit.parse().ok());
    let full = limit.is_some_and(|limit: usize| elements.len() >= limit);
    let next = next_cursor(&response.headers, client.base(), url.path(), full)
        .map_err(|source| PageError::Link { call: call.name, source })?;
    let request_id = response.header("x-okta-request-id").map(ToOwned::to_owned);
    Ok(Page { items, skipped, next, request_id })
}
