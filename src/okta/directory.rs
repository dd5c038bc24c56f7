//! # Purpose
//! The read-only handle: listings of users, groups and members, a page at a time.
//!
//! # Invariants kept here
//! - No method writes. The directory side is given this handle and no other.
//! - A page that is too much for Okta is asked for in a smaller size, and so are those after it until
//!   [`Directory::forget_sizes`]. The number of attempts is bounded.
//!
//! # Not here
//! Deciding that a listing is complete: `directory::snapshot`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::StatusCode;
use jiff::Timestamp;
use serde_json::value::RawValue;
use tracing::info;
use url::Url;

use super::bucket;
use super::client::{Client, body};
use super::errors::OktaError;
use super::lookup::{GroupsOf, Rights};
use super::page::{Cursor, LinkError, Page, Trouble, next_cursor, next_limit, read_items, with_limit};
use super::wire::{GroupBody, UserBody, UserId, object};
use crate::catalogue::ErrorCode;
use crate::domain::{Group, OktaGroupId, OktaUserId, User};
use crate::http::retry::Patience;
use crate::http::{Call, Class, Lane};
use crate::telemetry::chain;

/// Reads one organization's directory.
#[derive(Clone, Debug)]
pub struct Directory {
    client: Arc<Client>,
    sizes: Arc<Sizes>,
}

/// A page could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The call failed.
    #[error("cannot read a page")]
    Call(#[source] OktaError),
    /// The page's links do not say where the listing goes on.
    #[error("cannot go on to the next page of {call} [{}]", ErrorCode::ListingIncomplete)]
    Link {
        /// The listing.
        call: &'static str,
        /// Why not.
        #[source]
        source: LinkError,
    },
}

impl PageError {
    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Call(error) => error.code(),
            Self::Link { .. } => ErrorCode::ListingIncomplete,
        }
    }

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

    /// Whether a smaller page would do better.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Call(source) => source.trouble(),
            Self::Link { .. } => Trouble::Other,
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
const USERS_A_PAGE: u32 = 200;
/// Okta recommends no more for groups.
const GROUPS_A_PAGE: u32 = 200;
/// The most users that a page of members has.
const MEMBERS_A_PAGE: u32 = 1000;

/// How large a page is asked for now.
#[derive(Debug)]
struct Sizes {
    users: AtomicU32,
    groups: AtomicU32,
    members: AtomicU32,
}

impl Directory {
    pub(super) fn new(client: Arc<Client>) -> Self {
        let sizes = Sizes {
            users: AtomicU32::new(USERS_A_PAGE),
            groups: AtomicU32::new(GROUPS_A_PAGE),
            members: AtomicU32::new(MEMBERS_A_PAGE),
        };
        Self { client, sizes: Arc::new(sizes) }
    }

    /// A run begins: what was too much for Okta in the one before may not be any more.
    pub fn forget_sizes(&self) {
        self.sizes.users.store(USERS_A_PAGE, Ordering::Relaxed);
        self.sizes.groups.store(GROUPS_A_PAGE, Ordering::Relaxed);
        self.sizes.members.store(MEMBERS_A_PAGE, Ordering::Relaxed);
    }

    /// A page of all users but the deactivated ones, with only `attributes` of their profiles.
    pub async fn users(
        &self,
        cursor: Option<&Cursor>,
        attributes: &[String],
    ) -> Result<Page<User>, PageError> {
        let first = || {
            let fields = fields(attributes);
            self.client.base().url(&["api", "v1", "users"], &[("fields", &fields)])
        };
        let call = self.client.call("list_users", bucket::USERS, Lane::Directory);
        self.page(&call, &self.sizes.users, cursor, first, read_user).await
    }

    /// A page of all groups, of every kind.
    pub async fn groups(&self, cursor: Option<&Cursor>) -> Result<Page<Group>, PageError> {
        let first = || self.client.base().url(&["api", "v1", "groups"], &[]);
        let call = self.client.call("list_groups", bucket::GROUPS, Lane::Directory);
        let read = |text: &str| object::<GroupBody>(text.as_bytes()).map(Group::from);
        self.page(&call, &self.sizes.groups, cursor, first, read).await
    }

    /// A page of a group's members, ids only.
    pub async fn member_ids(
        &self,
        group: &OktaGroupId,
        cursor: Option<&Cursor>,
    ) -> Result<Page<OktaUserId>, PageError> {
        let call = self.client.call("list_group_members", bucket::GROUPS, Lane::Directory);
        let first = || self.members_url(group);
        let read = |text: &str| object::<UserId>(text.as_bytes()).map(|user| user.id);
        self.page(&call, &self.sizes.members, cursor, first, read).await
    }

    /// A page of a group's members with their profiles; includes deactivated users.
    pub async fn members(
        &self,
        group: &OktaGroupId,
        cursor: Option<&Cursor>,
    ) -> Result<Page<User>, PageError> {
        let call = self.client.call("list_group_members", bucket::GROUPS, Lane::Directory);
        let first = || self.members_url(group);
        self.page(&call, &self.sizes.members, cursor, first, read_user).await
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
            let query = [("filter", filter.as_str()), ("fields", &fields)];
            self.client.base().url(&["api", "v1", "users"], &query)
        };
        let call = self.client.call("list_users", bucket::USERS, Lane::Directory);
        self.page(&call, &self.sizes.users, cursor, first, read_user).await
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

    /// The kinds of the administrator roles that a client has (`SUPER_ADMIN`, `CUSTOM` …); wants `okta.roles.read`.
    pub async fn roles_of(&self, client: &str) -> Result<Vec<String>, OktaError> {
        self.client.roles_of(client, Lane::Directory).await
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
        self.client.base().url(&["api", "v1", "groups", group.as_str(), "users"], &[])
    }

    /// Asks for a page, and where it is too much for Okta, for a smaller one.
    async fn page<T>(
        &self,
        call: &Call,
        size: &AtomicU32,
        cursor: Option<&Cursor>,
        first: impl FnOnce() -> Url,
        read: impl Fn(&str) -> Result<T, serde_json::Error>,
    ) -> Result<Page<T>, PageError> {
        let at = cursor.map_or_else(first, |cursor| cursor.url().clone());
        let mut call = *call;
        let (mut limit, mut again) = (size.load(Ordering::Relaxed), false);
        loop {
            let error = match read_at(&self.client, &call, &with_limit(&at, limit), &read).await {
                Ok(page) => return Ok(page),
                Err(error) => error,
            };
            let Some(next) = next_limit(error.trouble(), limit, again) else {
                return Err(error);
            };
            let reason = chain(&error).to_string();
            info!(
                call = call.name,
                reason, "a page of {limit} cannot be read, asking for {next} at a time: {reason}"
            );
            again = next == limit;
            // Walks of the same kind go on at the same time: none of them makes another's page larger.
            limit = size.fetch_min(next, Ordering::Relaxed).min(next);
            call.patience = Patience::SMALLER_PAGE;
        }
    }
}

fn read_user(text: &str) -> Result<User, serde_json::Error> {
    object::<UserBody>(text.as_bytes()).map(User::from)
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
    read_at(client, call, &url, read).await
}

/// The page at `url`.
async fn read_at<T>(
    client: &Client,
    call: &Call,
    url: &Url,
    read: impl Fn(&str) -> Result<T, serde_json::Error>,
) -> Result<Page<T>, PageError> {
    let response = client.get(call, url).await.map_err(PageError::Call)?;
    let elements: Vec<&RawValue> = body(call.name, "a JSON array", &response).map_err(PageError::Call)?;
    let (items, skipped) = read_items(&elements, read);
    let limit = url.query_pairs().find(|(name, _)| name == "limit").and_then(|(_, limit)| limit.parse().ok());
    let full = limit.is_some_and(|limit: usize| elements.len() >= limit);
    let next = next_cursor(&response.headers, client.base(), url, full)
        .map_err(|source| PageError::Link { call: call.name, source })?;
    let request_id = response.header("x-okta-request-id").map(ToOwned::to_owned);
    Ok(Page { items, skipped, next, request_id })
}
