//! # Purpose
//! Carries out the plan that is in the store, operation by operation.
//!
//! # Invariants kept here
//! - Each operation is idempotent and stands for itself: one that fails does not stop the others, and the next run
//!   plans it anew.
//! - What is created or adopted is noted as ours at once.
//! - A write is believed only after a look: some services answer with success and do nothing.
//!
//! # Not here
//! Choosing anything: `plan`. Retrying: the next activation. Each kind of object: `users`, `groups`, `members`; the
//! forms of a write: `writing`.

mod groups;
mod members;
mod users;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream;
use serde::Serialize;
use tracing::{debug, warn};

use super::account::Account;
use super::plan::{Operation, Origin};
use super::progress::Phase;
use super::provider::{Listing, ProviderError};
use super::store::{PlannedOperation, Store, StoreError};
use super::tracker::Tracker;
use crate::catalogue::ErrorCode;
use crate::domain::{OktaGroupId, OktaUserId, ScimId};
use crate::http::Class;
use crate::scim::attributes::Path;
use crate::scim::{Abilities, Kind, Provider, Resource, ScimError};
use crate::telemetry::chain;

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Operations done.
    pub done: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Operations that the breaker holds.
    pub held: u64,
    /// Operations that were not tried, because too many in a row had failed.
    pub left: u64,
    /// Requests that wrote, successfully.
    pub writes: u64,
    /// The first failure.
    pub first_failure: Option<String>,
}

/// An operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The provider.
    #[error("cannot {doing}")]
    Scim {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: ScimError,
    },
    /// The provider says that there is one already, and shows none.
    #[error(
        "the SCIM service says that {what} exists already, but does not find it by externalId or by name [{}]",
        ErrorCode::ScimTaken
    )]
    PhantomConflict {
        /// What.
        what: String,
    },
    /// What has the name at the provider belongs to somebody else.
    #[error(
        "the SCIM service has {what} under the externalId {external_id}, so it belongs to somebody else and is left alone [{}]",
        ErrorCode::ScimTaken
    )]
    Taken {
        /// What.
        what: String,
        /// The id that it carries.
        external_id: String,
    },
    /// The provider accepts a removal and does not do it.
    #[error(
        "the SCIM service accepts the removal of {count} members and keeps them, by every form of request [{}]",
        ErrorCode::ScimIgnoresChange
    )]
    RemovalIgnored {
        /// How many.
        count: usize,
    },
    /// The provider accepts an addition and does not do it.
    #[error(
        "the SCIM service accepts {count} new members and does not show them, by every form of request [{}]",
        ErrorCode::ScimIgnoresChange
    )]
    AdditionIgnored {
        /// How many.
        count: usize,
    },
    /// The provider accepts a deactivation, or the end of one, and does not do it.
    #[error(
        "the SCIM service accepts that the user's activity is changed and does not change it, by every form of request [{}]",
        ErrorCode::ScimIgnoresChange
    )]
    StaysActive,
    /// What is not seen must not be overwritten.
    #[error(
        "the SCIM service does not show the group's members, so the group is not written whole, and takes no other form of request [{}]",
        ErrorCode::ScimHidesMembers
    )]
    Unseen,
    /// It cannot be asked, and its listing cannot be read.
    #[error("cannot look through what exists [{}]", ErrorCode::ProviderIncomplete)]
    Search(#[source] Box<ProviderError>),
    /// The local store.
    #[error("cannot note what was done")]
    Store(#[source] StoreError),
    /// Somebody else's turn must come first.
    #[error("{count} users are not at the SCIM service yet [{}]", ErrorCode::ScimUserMissing)]
    UsersMissing {
        /// How many.
        count: usize,
    },
}

impl ApplyError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Scim { source, .. } => source.class(),
            Self::Search(source) => source.class(),
            Self::PhantomConflict { .. }
            | Self::Taken { .. }
            | Self::RemovalIgnored { .. }
            | Self::AdditionIgnored { .. }
            | Self::StaysActive
            | Self::Unseen => Class::Permanent,
            Self::Store(_) | Self::UsersMissing { .. } => Class::Transient,
        }
    }

    /// Whether what was to be created may be there all the same.
    fn leaves_doubt(&self) -> bool {
        match self {
            Self::Scim { source, .. } => !source.status().is_some_and(|status| status.is_client_error()),
            Self::Store(_) | Self::Search(_) => true,
            Self::PhantomConflict { .. }
            | Self::Taken { .. }
            | Self::RemovalIgnored { .. }
            | Self::AdditionIgnored { .. }
            | Self::StaysActive
            | Self::Unseen
            | Self::UsersMissing { .. } => false,
        }
    }
}

/// Requests to the provider at the same time.
const AT_ONCE: usize = 8;
/// After this many operations in a row that failed for want of the service, the rest of the plan is left to the next
/// run.
const ENOUGH: u64 = 20;
/// Operations taken from the store at once.
const BATCH: u32 = 200;
/// The phases of `Operation::phase`, in order.
const PHASES: std::ops::RangeInclusive<u8> = 0..=6;

/// Carries out operations.
pub(super) struct Applier<'a> {
    store: &'a Store,
    provider: &'a Provider,
    abilities: Abilities,
    /// The attributes that are compared.
    paths: &'a [Path],
    writes: AtomicU64,
    failures_in_a_row: AtomicU64,
    /// What the service has been seen not to keep.
    lost: Mutex<BTreeSet<String>>,
    busy: Mutex<BTreeMap<ScimId, Arc<tokio::sync::Mutex<()>>>>,
}

impl<'a> Applier<'a> {
    pub(super) fn new(
        store: &'a Store,
        provider: &'a Provider,
        abilities: Abilities,
        paths: &'a [Path],
    ) -> Self {
        Self {
            store,
            provider,
            abilities,
            paths,
            writes: AtomicU64::new(0),
            failures_in_a_row: AtomicU64::new(0),
            lost: Mutex::default(),
            busy: Mutex::default(),
        }
    }

    /// Carries out what the breaker lets through, phase by phase.
    pub(super) async fn apply(
        &self,
        account: &Account<'_>,
        tracker: &Tracker,
    ) -> Result<Applied, StoreError> {
        let applied = Mutex::new(Applied::default());
        for phase in PHASES {
            let mut after = 0;
            loop {
                let batch = self.store.operations(phase, after, BATCH).await?;
                let Some(last) = batch.last() else {
                    break;
                };
                after = last.n;
                account.planned(batch.iter().map(|one| &one.operation)).await?;
                stream::iter(batch)
                    .for_each_concurrent(AT_ONCE, |operation| self.one(operation, account, tracker, &applied))
                    .await;
            }
        }
        let mut applied = applied.into_inner().unwrap_or_else(PoisonError::into_inner);
        applied.writes = self.writes.load(Ordering::Relaxed);
        Ok(applied)
    }

    async fn one(
        &self,
        planned: PlannedOperation,
        account: &Account<'_>,
        tracker: &Tracker,
        applied: &Mutex<Applied>,
    ) {
        let PlannedOperation { held, operation, .. } = planned;
        let name = operation.name();
        let is_away = self.failures_in_a_row.load(Ordering::Relaxed) >= ENOUGH;
        let outcome = if held || is_away {
            None
        } else {
            let outcome = self.carry_out(operation.clone()).await;
            account.note(&operation, &outcome).await;
            Some(outcome)
        };
        self.count_in_a_row(outcome.as_ref());
        tracker.advance(Phase::Writing, 1);
        let mut applied = applied.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            None if held => applied.held += 1,
            None => applied.left += 1,
            Some(Ok(())) => applied.done += 1,
            Some(Err(error)) => {
                let text = format!("{name}: {}", chain(&error));
                if applied.first_failure.is_none() {
                    warn!(operation = name, error = text, "a directory operation failed: {text}");
                    applied.first_failure = Some(text);
                } else {
                    debug!(operation = name, error = text, "a directory operation failed: {text}");
                }
                applied.failed += 1;
            }
        }
    }

    /// A service that is down, or that refuses everything, is not asked for every operation of the plan.
    fn count_in_a_row(&self, outcome: Option<&Result<(), ApplyError>>) {
        match outcome {
            None => {}
            Some(Err(error)) if error.class() != Class::Permanent => {
                self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
            }
            Some(Ok(()) | Err(_)) => self.failures_in_a_row.store(0, Ordering::Relaxed),
        }
    }

    async fn carry_out(&self, operation: Operation) -> Result<(), ApplyError> {
        let done = operation.clone();
        self.perform(operation).await?;
        self.store.note_done(&done).await.map_err(ApplyError::Store)
    }

    async fn perform(&self, operation: Operation) -> Result<(), ApplyError> {
        match operation {
            Operation::DeactivateUser { scim, .. } => self.deactivate(&scim).await,
            Operation::RemoveMembers { scim, users, .. } => self.remove_members(&scim, users).await,
            Operation::DeleteGroup { okta, scim, .. } => {
                let deleted = self.provider.delete(Kind::Group, &scim).await;
                deleted.map_err(|source| ApplyError::Scim { doing: "delete the group", source })?;
                self.writes.fetch_add(1, Ordering::Relaxed);
                self.store.disown_group(okta, scim).await.map_err(ApplyError::Store)
            }
            Operation::ReleaseGroup { okta, scim, users } => {
                if !users.is_empty() {
                    self.remove_members(&scim, users).await?;
                }
                self.store.disown_group(okta, scim).await.map_err(ApplyError::Store)
            }
            Operation::UpdateUser { okta, scim, old, new, adopt } => {
                self.update_user(&scim, &old, &new).await?;
                if adopt {
                    self.own_user(okta, scim, Origin::Adopted).await?;
                }
                Ok(())
            }
            Operation::CreateUser { okta, new } => self.create_user(okta, &new).await,
            Operation::RecreateUser { okta, scim, delete, groups, new } => {
                self.retire_user(&okta, &scim, delete, groups).await?;
                self.create_user(okta, &new).await
            }
            Operation::CreateGroup { okta, name } => {
                let created = self.create_group(okta, name).await;
                if created.as_ref().is_err_and(ApplyError::leaves_doubt) {
                    self.store.doubt_groups();
                }
                created
            }
            Operation::UpdateGroup { okta, scim, old, new, adopt } => {
                self.update_group(&scim, &old, &new).await?;
                if adopt {
                    self.own_group(okta, scim, Origin::Adopted).await?;
                }
                Ok(())
            }
            Operation::AddMembers { okta, users } => self.add_members(okta, users).await,
        }
    }

    async fn find(
        &self,
        kind: Kind,
        okta: &str,
        attribute: &str,
        name: &str,
    ) -> Result<Option<Resource>, ApplyError> {
        let failed = |source| ApplyError::Scim { doing: "look up what exists", source };
        let asked = [("externalId", okta), (attribute, name)];
        let mut all_answered = true;
        for (attribute, value) in asked {
            match self.provider.find(kind, attribute, value).await.map_err(failed)? {
                Some(found) => {
                    if let Some(first) = found.into_iter().next() {
                        return Ok(Some(first));
                    }
                }
                None => all_answered = false,
            }
        }
        if all_answered { Ok(None) } else { self.search(kind, &asked).await }
    }

    /// Looks through everything, for a service that cannot be asked.
    async fn search(&self, kind: Kind, asked: &[(&str, &str)]) -> Result<Option<Resource>, ApplyError> {
        let mut listing = Listing::new(kind, self.abilities.page);
        let mut by_name = None;
        while let Some(page) =
            listing.next(self.provider).await.map_err(|source| ApplyError::Search(Box::new(source)))?
        {
            for resource in page {
                let mut fits = asked.iter().map(|(attribute, value)| resource.is_called(attribute, value));
                match (fits.next(), fits.next()) {
                    (Some(true), _) => return Ok(Some(resource)),
                    (_, Some(true)) => by_name = Some(resource),
                    (_, _) => {}
                }
            }
        }
        Ok(by_name)
    }

    /// Nobody else changes the members of this group meanwhile.
    async fn alone(&self, group: &ScimId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for.
            busy.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(busy.entry(group.clone()).or_default())
        };
        lock.lock_owned().await
    }

    async fn own_user(&self, okta: OktaUserId, scim: ScimId, origin: Origin) -> Result<(), ApplyError> {
        self.store.own_user(okta, scim, origin).await.map_err(ApplyError::Store)
    }

    async fn own_group(&self, okta: OktaGroupId, scim: ScimId, origin: Origin) -> Result<(), ApplyError> {
        self.store.own_group(okta, scim, origin).await.map_err(ApplyError::Store)
    }
}

/// What was found by our id or by name, unless it carries the id of another.
fn unclaimed(found: Option<Resource>, okta: &str, what: &str) -> Result<Resource, ApplyError> {
    let what = || what.to_owned();
    let found = found.ok_or_else(|| ApplyError::PhantomConflict { what: what() })?;
    match &found.external_id {
        Some(other) if other != okta => Err(ApplyError::Taken { what: what(), external_id: other.clone() }),
        Some(_) | None => Ok(found),
    }
}
