//! # Purpose
//! The organization's System Log, where the connector was granted it: who has changed what, and when.
//!
//! # Invariants kept here
//! - Read-only, and an optional comfort: nothing that must be right depends on it, and its absence is no failure.
//! - Actors and targets are told apart by their type, never by their place: Okta promises no order.
//!
//! # Not here
//! What follows from an event: `access`, `directory`.
//!
//! Source: <https://developer.okta.com/docs/api/openapi/okta-management/management/tag/SystemLog/>

use std::sync::Arc;

use jiff::Timestamp;

use super::bucket;
use super::client::Client;
use super::directory::{PageError, read_page};
use super::page::{Cursor, Page};
use super::tokens::Tokens;
use super::wire::{LogBody, object};
use crate::domain::{OktaGroupId, OktaUserId};
use crate::http::Lane;

/// Reads one organization's System Log.
#[derive(Clone, Debug)]
pub struct SystemLog {
    client: Arc<Client>,
    tokens: Arc<Tokens>,
}

/// Something that has happened in the organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// Okta's id of the event; the same event can be read twice.
    pub uuid: String,
    /// When, by Okta's clock.
    pub published: Timestamp,
    /// What.
    pub kind: LogKind,
    /// Whether this connector has done it.
    pub is_ours: bool,
    /// Who, by Okta's id.
    pub actor: Option<String>,
    /// To or with which user.
    pub user: Option<OktaUserId>,
    /// To or in which group.
    pub group: Option<OktaGroupId>,
    /// The request that did it (`X-Okta-Request-Id`).
    pub request_id: Option<String>,
}

/// The kinds of events that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    /// A user was added to a group.
    MemberAdded,
    /// A user was deleted for good.
    UserDeleted,
}

impl LogKind {
    /// Okta's `eventType`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MemberAdded => "group.user_membership.add",
            Self::UserDeleted => "user.lifecycle.delete.completed",
        }
    }
}

/// The scope that opens the log.
pub const SCOPE: &str = "okta.logs.read";
/// The most events that a page has.
const EVENTS_A_PAGE: &str = "1000";

impl SystemLog {
    pub(super) fn new(client: Arc<Client>, tokens: Arc<Tokens>) -> Self {
        Self { client, tokens }
    }

    /// Whether the present token opens it.
    pub fn is_open(&self) -> bool {
        self.tokens.carries(SCOPE)
    }

    /// A page of the events of one kind that were published after `since` and up to `until`, oldest first. Events can
    /// appear in it some time after they were published.
    pub async fn page(
        &self,
        kind: LogKind,
        since: Timestamp,
        until: Timestamp,
        cursor: Option<&Cursor>,
        lane: Lane,
    ) -> Result<Page<LogEvent>, PageError> {
        let call = self.client.call("list_logs", bucket::LOGS, lane);
        let filter = format!("eventType eq \"{}\"", kind.as_str());
        let (since, until) = (format!("{since:.3}"), format!("{until:.3}"));
        let first = || {
            let query = [
                ("since", since.as_str()),
                ("until", &until),
                ("filter", &filter),
                ("sortOrder", "ASCENDING"),
                ("limit", EVENTS_A_PAGE),
            ];
            self.client.base().url(&["api", "v1", "logs"], &query)
        };
        let us = self.tokens.client_id();
        let read = |text: &str| object::<LogBody>(text.as_bytes()).map(|body| event(body, kind, &us));
        read_page(&self.client, &call, cursor, first, read).await
    }
}

fn event(body: LogBody, kind: LogKind, us: &str) -> LogEvent {
    let user = body.target("User").map(OktaUserId::from);
    let group = body.target("UserGroup").map(OktaGroupId::from);
    let actor = body.actor.and_then(|actor| actor.id);
    LogEvent {
        uuid: body.uuid,
        published: body.published,
        kind,
        is_ours: actor.as_deref() == Some(us),
        actor,
        user,
        group,
        request_id: body.transaction.and_then(|transaction| transaction.id),
    }
}
