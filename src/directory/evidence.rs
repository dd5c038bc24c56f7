//! # Purpose
//! Demands of every removal in a plan that a second, independent look at Okta bears it out.
//!
//! # Invariants kept here
//! - What the plan takes away is asked for by itself, by its own id: a listing that was cut short, at whatever page,
//!   takes nobody with it (invariant 8).
//! - Of what the breaker holds a few are asked for: what a broken listing seems to have lost is not put before a person.
//! - A second look that is not whole (a circle, an element that cannot be read) proves nothing.
//! - "Not found" proves something only while the connector's role does not hide everything.
//!
//! # Not here
//! How much may be taken away: `breaker`. Removals whose reason was read of the object itself (a status).

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use futures_util::stream;

use super::plan::Operation;
use super::progress::Phase;
use super::selection::Selection;
use super::store::{PlannedOperation, Store, StoreError};
use super::tracker::Tracker;
use crate::catalogue::ErrorCode;
use crate::domain::{LiveMemberships, OktaGroupId, OktaUserId, UserStatus};
use crate::http::Class;
use crate::okta::{Directory, GroupsOf, OktaError, PageError, Rights};

/// Looks a second time.
pub(super) struct Evidence<'a> {
    pub(super) directory: &'a Directory,
    pub(super) store: &'a Store,
    pub(super) selection: &'a Selection,
    pub(super) live: &'a dyn LiveMemberships,
    pub(super) tracker: &'a Tracker,
}

/// A plan is not borne out.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// A second look could not be taken.
    #[error("a second look failed")]
    Look(#[source] OktaError),
    /// The same, at a listing.
    #[error("a second look failed")]
    Page(#[source] PageError),
    /// It shows what the plan takes to be gone.
    #[error("Okta's answers do not agree")]
    Disproved(#[source] Disproof),
    /// The connector's role was taken away meanwhile.
    #[error(
        "Okta shows no users or no groups at all: the connector's administrator role is missing, so nothing is proven gone [{}]",
        ErrorCode::RoleMissing
    )]
    NoRights,
    /// The local store.
    #[error("the plan cannot be read back")]
    Store(#[source] StoreError),
}

/// What is there although a listing did not show it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disproof {
    /// A user.
    #[error("user {user} was not in the listings, and is there when asked for")]
    User {
        /// Who.
        user: OktaUserId,
    },
    /// A group.
    #[error("group {group} was not in the listing of groups, and is there when asked for")]
    Group {
        /// Which.
        group: OktaGroupId,
    },
    /// A membership.
    #[error("user {user} was not among the members of group {group}, and is one at a second look")]
    Member {
        /// Who.
        user: OktaUserId,
        /// Where.
        group: OktaGroupId,
    },
}

impl EvidenceError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Look(source) => source.class(),
            Self::Page(source) => source.class(),
            Self::Disproved(_) | Self::Store(_) => Class::Transient,
            Self::NoRights => Class::Misconfigured,
        }
    }
}

/// Second looks at the same time.
pub(super) const AT_ONCE: usize = 5;
/// Operations taken from the store at once.
const BATCH: u32 = 200;
/// The phases of operations that take something away: see `Operation::phase`.
const REMOVING: std::ops::RangeInclusive<u8> = 0..=2;
/// So many of what the breaker holds are asked for, for each phase.
const OF_HELD: usize = 20;
/// The listing that is read once more.
const LOOK: &str = "list_group_members";
/// The groups of so few users are asked for one by one; beyond that, the group is read once more.
const ONE_BY_ONE: usize = 3;

impl Evidence<'_> {
    /// Looks a second time at everything that the plan takes away.
    pub(super) async fn review(&self) -> Result<(), EvidenceError> {
        let mut any = false;
        for phase in REMOVING {
            let (mut after, mut held_left) = (0, OF_HELD);
            loop {
                let batch = self.store.operations(phase, after, BATCH).await.map_err(EvidenceError::Store)?;
                let Some(last) = batch.last() else {
                    break;
                };
                after = last.n;
                let planned = batch.len();
                let looked_at: Vec<_> = batch.into_iter().filter(|one| asks(one, &mut held_left)).collect();
                any |= !looked_at.is_empty();
                self.tracker.advance(Phase::SecondLooks, planned - looked_at.len());
                let looks = stream::iter(looked_at.into_iter().map(Ok));
                looks.try_for_each_concurrent(AT_ONCE, |one| self.look(one.operation)).await?;
            }
        }
        if !any {
            return Ok(());
        }
        let Rights { users, groups } = self.directory.rights().await.map_err(EvidenceError::Look)?;
        let has_groups = self.store.has_groups().await.map_err(EvidenceError::Store)?;
        if users && (groups || !has_groups) { Ok(()) } else { Err(EvidenceError::NoRights) }
    }

    async fn look(&self, operation: Operation) -> Result<(), EvidenceError> {
        self.bears_out(operation).await?;
        self.tracker.advance(Phase::SecondLooks, 1);
        Ok(())
    }

    async fn bears_out(&self, operation: Operation) -> Result<(), EvidenceError> {
        match operation {
            Operation::DeactivateUser { okta, .. } => self.user_has_gone(okta).await,
            Operation::RemoveMembers { okta, users, .. } => {
                self.members_have_gone(okta, users.into_iter().map(|(user, _)| user).collect()).await
            }
            Operation::DeleteGroup { okta, .. } | Operation::ReleaseGroup { okta, .. } => {
                self.group_has_gone(okta).await
            }
            Operation::UpdateUser { .. }
            | Operation::CreateUser { .. }
            | Operation::RecreateUser { .. }
            | Operation::CreateGroup { .. }
            | Operation::UpdateGroup { .. }
            | Operation::AddMembers { .. } => Ok(()),
        }
    }

    async fn user_has_gone(&self, user: OktaUserId) -> Result<(), EvidenceError> {
        if !self.known(vec![user.clone()]).await?.is_empty() {
            // Not missing: the user itself was read, with a status that says so.
            return Ok(());
        }
        let found = self.directory.user(&user).await.map_err(EvidenceError::Look)?;
        if found.is_none_or(|found| found.status == UserStatus::Deprovisioned) {
            return Ok(());
        }
        if self.selection.takes_everybody() || self.is_in_a_selected_group(&user).await? {
            self.store.mistrust().await.map_err(EvidenceError::Store)?;
            return Err(EvidenceError::Disproved(Disproof::User { user }));
        }
        Ok(())
    }

    async fn is_in_a_selected_group(&self, user: &OktaUserId) -> Result<bool, EvidenceError> {
        let Some(groups) = self.groups_of(user).await? else {
            return Ok(false);
        };
        let selected = self.store.selected_groups(groups.into_iter().collect()).await;
        let selected = selected.map_err(EvidenceError::Store)?;
        Ok(selected.iter().any(|group| !self.live.live_in(group).contains(user)))
    }

    async fn members_have_gone(
        &self,
        group: OktaGroupId,
        users: Vec<OktaUserId>,
    ) -> Result<(), EvidenceError> {
        // Who is not in the selection any more leaves all groups, and is looked at as a user.
        let users = self.known(users).await?;
        let there = if users.len() <= ONE_BY_ONE {
            let mut there = None;
            for user in users {
                let groups = self.groups_of(&user).await?;
                if groups.is_some_and(|groups| groups.contains(&group))
                    && !self.live.live_in(&group).contains(&user)
                {
                    there = Some(user);
                }
            }
            there
        } else {
            self.one_who_is_there(&group, &users).await?
        };
        let Some(user) = there else {
            return Ok(());
        };
        self.store.mistrust_group(group.clone()).await.map_err(EvidenceError::Store)?;
        Err(EvidenceError::Disproved(Disproof::Member { user, group }))
    }

    /// Reads the group's members once more.
    async fn one_who_is_there(
        &self,
        group: &OktaGroupId,
        users: &BTreeSet<OktaUserId>,
    ) -> Result<Option<OktaUserId>, EvidenceError> {
        let (mut cursor, mut turned) = (None, BTreeSet::new());
        loop {
            let page = match self.directory.member_ids(group, cursor.as_ref()).await {
                Ok(page) => page,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(EvidenceError::Page(error)),
            };
            if !page.skipped.is_empty() {
                return Err(EvidenceError::Look(OktaError::Incomplete {
                    call: LOOK,
                    skipped: page.skipped.len(),
                }));
            }
            let live = self.live.live_in(group);
            if let Some(user) =
                page.items.into_iter().find(|user| users.contains(user) && !live.contains(user))
            {
                return Ok(Some(user));
            }
            match page.next {
                Some(next) if turned.insert(next.clone()) => cursor = Some(next),
                Some(_) => return Err(EvidenceError::Look(OktaError::Endless { call: LOOK })),
                None => return Ok(None),
            }
        }
    }

    async fn group_has_gone(&self, group: OktaGroupId) -> Result<(), EvidenceError> {
        let found = self.directory.group(&group).await.map_err(EvidenceError::Look)?;
        if found.is_some_and(|found| self.selection.takes(&found)) {
            return Err(EvidenceError::Disproved(Disproof::Group { group }));
        }
        Ok(())
    }

    async fn groups_of(&self, user: &OktaUserId) -> Result<Option<BTreeSet<OktaGroupId>>, EvidenceError> {
        match self.directory.groups_of(user).await.map_err(EvidenceError::Look)? {
            None => Ok(None),
            Some(GroupsOf { groups, skipped: 0, .. }) => Ok(Some(groups)),
            Some(GroupsOf { skipped, .. }) => {
                Err(EvidenceError::Look(OktaError::Incomplete { call: "list_user_groups", skipped }))
            }
        }
    }

    async fn known(&self, users: Vec<OktaUserId>) -> Result<BTreeSet<OktaUserId>, EvidenceError> {
        self.store.known_users(users).await.map_err(EvidenceError::Store)
    }
}

/// Whether an operation is asked for: all that would be done, and some of what is held.
fn asks(one: &PlannedOperation, held_left: &mut usize) -> bool {
    if !one.held {
        return true;
    }
    let asks = *held_left > 0;
    *held_left = held_left.saturating_sub(1);
    asks
}
