//! # Purpose
//! Reads one complete picture of the selection from Okta into the store.
//!
//! # Invariants kept here
//! - [`Snapshot`] has no public constructor: it exists only when every walk came to its end and the evidence agrees
//!   (invariant 8).
//! - What cannot be read is spared, never taken for a deletion.
//! - What a grant holds while its page is read, or at either end of the walk, is left out; so is whoever is in the
//!   selection by nothing else (invariant 10).
//! - A group that is suddenly shown empty is read a second time.
//! - Memory is bounded by the pages on their way.
//!
//! # Not here
//! What is done with it: `reconciler`.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use futures_util::stream;
use tracing::{info, warn};

use super::mapping::Mapping;
use super::selection::Selection;
use super::store::{Counts, Store, StoreError};
use crate::domain::{LiveMemberships, Membership, OktaGroupId, OktaUserId, User};
use crate::http::Class;
use crate::okta::{Cursor, Directory, Page, PageError, Skipped};

/// A complete picture of the selection. It is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    counts: Counts,
}

impl Snapshot {
    /// How much there is.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

/// No snapshot. Nothing is concluded from what was read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A page could not be read.
    #[error("cannot list {what}")]
    Page {
        /// What was listed.
        what: &'static str,
        /// Why not.
        #[source]
        source: PageError,
    },
    /// A listing leads in a circle.
    #[error(
        "the listing of {what} leads back to a page that was read already, so it cannot be known to be complete"
    )]
    Circle {
        /// What was listed.
        what: &'static str,
    },
    /// Two answers that do not agree.
    #[error(
        "group {group} was shown without members, and a moment later with some; the next run reads it again"
    )]
    Unsteady {
        /// Which.
        group: OktaGroupId,
    },
    /// A group has gone while its members were to be read.
    #[error("group {group} disappeared during the run; the next run will tell whether it is gone")]
    GroupDisappeared {
        /// Which.
        group: OktaGroupId,
    },
    /// Okta shows nobody.
    #[error(
        "Okta shows no {what} at all; an organization without {what} does not exist, so the connector's administrator role or the selection must be wrong"
    )]
    Empty {
        /// What.
        what: &'static str,
    },
    /// An object without an id: whoever seems to be missing may be this one.
    #[error(
        "one of the {what} cannot be read and has no id ({reason}), so nobody can be known to be missing"
    )]
    Nameless {
        /// What was listed.
        what: &'static str,
        /// Why it cannot be read.
        reason: String,
    },
    /// The local store.
    #[error("cannot keep what was read")]
    Store(#[source] StoreError),
}

impl SnapshotError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Page { source, .. } => source.class(),
            Self::Circle { .. }
            | Self::Unsteady { .. }
            | Self::GroupDisappeared { .. }
            | Self::Nameless { .. }
            | Self::Store(_) => Class::Transient,
            Self::Empty { .. } => Class::Misconfigured,
        }
    }
}

/// Listings of members that are read at the same time; the budget may allow fewer.
const GROUPS_AT_ONCE: usize = 5;
/// Groups that are looked up in the store at once.
const GROUPS_A_BATCH: u32 = 500;

/// Reads the selection.
pub(super) struct Collector<'a> {
    pub(super) directory: &'a Directory,
    pub(super) store: &'a Store,
    pub(super) selection: &'a Selection,
    pub(super) mapping: &'a Mapping,
    pub(super) live: &'a dyn LiveMemberships,
}

impl Collector<'_> {
    /// Walks everything and, if all of it ended well, vouches for it.
    pub(super) async fn collect(&self) -> Result<Snapshot, SnapshotError> {
        let mut live = self.live.live();
        self.store.clear_source().await.map_err(SnapshotError::Store)?;
        self.groups().await?;
        if self.selection.takes_everybody() {
            self.users().await?;
        }
        self.members().await?;
        if !self.selection.takes_everybody() {
            self.spare_members_of_spared_groups().await?;
        }
        live.extend(self.live.live());
        self.finish(live).await
    }

    /// Reviews the evidence.
    async fn finish(&self, live: BTreeSet<Membership>) -> Result<Snapshot, SnapshotError> {
        self.store.exclude_members(live).await.map_err(SnapshotError::Store)?;
        if !self.selection.takes_everybody() {
            // In the selection by a grant alone: neither taken on nor, while the grant lasts, let go.
            self.store.spare_users_without_group().await.map_err(SnapshotError::Store)?;
        }
        let counts = self.store.source_counts().await.map_err(SnapshotError::Store)?;
        if counts.users == 0 {
            return Err(SnapshotError::Empty { what: "users" });
        }
        Ok(Snapshot { counts })
    }

    async fn groups(&self) -> Result<(), SnapshotError> {
        let mut walk = Walk::new("groups");
        loop {
            let page = self.directory.groups(walk.cursor()).await;
            let page = page.map_err(|source| SnapshotError::Page { what: "groups", source })?;
            self.spare("groups", &page.skipped).await?;
            let (selected, others): (Vec<_>, Vec<_>) = page
                .items
                .into_iter()
                .partition(|group| self.selection.takes(group) && !group.name.is_empty());
            // Whether a group without a name, or of a kind that nobody knows, has left the selection cannot be said.
            let unclear = others.into_iter().filter(|group| group.name.is_empty() || group.kind.is_unknown());
            self.store
                .spare(unclear.map(|group| group.id.to_string()).collect())
                .await
                .map_err(SnapshotError::Store)?;
            self.store.add_source_groups(selected).await.map_err(SnapshotError::Store)?;
            if !walk.go_on(page.next)? {
                return Ok(());
            }
        }
    }

    async fn users(&self) -> Result<(), SnapshotError> {
        let attributes = self.mapping.attributes();
        let mut walk = Walk::new("users");
        loop {
            let page = self.directory.users(walk.cursor(), &attributes).await;
            let page = page.map_err(|source| SnapshotError::Page { what: "users", source })?;
            self.spare("users", &page.skipped).await?;
            self.keep_users(&page.items).await?;
            if !walk.go_on(page.next)? {
                return Ok(());
            }
        }
    }

    async fn members(&self) -> Result<(), SnapshotError> {
        let mut after = 0;
        loop {
            let groups =
                self.store.source_groups(after, GROUPS_A_BATCH).await.map_err(SnapshotError::Store)?;
            let Some((last, _)) = groups.last() else {
                return Ok(());
            };
            after = *last;
            stream::iter(groups.into_iter().map(Ok))
                .try_for_each_concurrent(GROUPS_AT_ONCE, |(n, group)| async move {
                    self.members_of(n, &group).await
                })
                .await?;
        }
    }

    async fn members_of(&self, n: i64, group: &OktaGroupId) -> Result<(), SnapshotError> {
        if self.walk_members(n, group).await? > 0 {
            return Ok(());
        }
        // Empty where there was somebody: Okta answers so, too, while the connector's role is being changed.
        let had_members = self.store.had_members(group.clone()).await.map_err(SnapshotError::Store)?;
        if had_members && self.walk_members(n, group).await? > 0 {
            return Err(SnapshotError::Unsteady { group: group.clone() });
        }
        Ok(())
    }

    /// Returns how many members were shown.
    async fn walk_members(&self, n: i64, group: &OktaGroupId) -> Result<usize, SnapshotError> {
        let mut walk = Walk::new("members");
        let mut shown = 0;
        loop {
            let mut live = self.live.live_in(group);
            let (mut ids, skipped, next) = self.member_page(group, walk.cursor()).await?;
            live.extend(self.live.live_in(group));
            shown += ids.len() + skipped.len();
            self.spare("members", &skipped).await?;
            ids.retain(|id| !live.contains(id));
            self.store.add_source_members(n, ids).await.map_err(SnapshotError::Store)?;
            if !walk.go_on(next)? {
                return Ok(shown);
            }
        }
    }

    /// Where people come from the groups, those of a group that cannot be read are there as well.
    async fn spare_members_of_spared_groups(&self) -> Result<(), SnapshotError> {
        for group in self.store.spared_groups().await.map_err(SnapshotError::Store)? {
            let mut walk = Walk::new("members");
            loop {
                let page = self.directory.member_ids(&group, walk.cursor()).await;
                let page = page.map_err(|source| SnapshotError::Page { what: "members", source })?;
                self.spare("members", &page.skipped).await?;
                let ids = page.items.iter().map(ToString::to_string).collect();
                self.store.spare(ids).await.map_err(SnapshotError::Store)?;
                if !walk.go_on(page.next)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Everybody is known already, or the members' pages are where people come from.
    async fn member_page(
        &self,
        group: &OktaGroupId,
        cursor: Option<&Cursor>,
    ) -> Result<(Vec<OktaUserId>, Vec<Skipped>, Option<Cursor>), SnapshotError> {
        let failed = |source: PageError| {
            if source.is_not_found() {
                SnapshotError::GroupDisappeared { group: group.clone() }
            } else {
                SnapshotError::Page { what: "members", source }
            }
        };
        if self.selection.takes_everybody() {
            let page: Page<OktaUserId> = self.directory.member_ids(group, cursor).await.map_err(failed)?;
            return Ok((page.items, page.skipped, page.next));
        }
        let page: Page<User> = self.directory.members(group, cursor).await.map_err(failed)?;
        self.keep_users(&page.items).await?;
        Ok((page.items.into_iter().map(|user| user.id).collect(), page.skipped, page.next))
    }

    /// What cannot be read is left as it is at the provider: it is there, so it has not gone.
    async fn spare(&self, what: &'static str, skipped: &[Skipped]) -> Result<(), SnapshotError> {
        let mut ids = Vec::with_capacity(skipped.len());
        for object in skipped {
            let reason = &object.reason;
            let Some(id) = &object.id else {
                return Err(SnapshotError::Nameless { what, reason: reason.clone() });
            };
            warn!(
                okta.id = id,
                reason, "one of the {what} cannot be read and is left as it is ({id}): {reason}"
            );
            ids.push(id.clone());
        }
        self.store.spare(ids).await.map_err(SnapshotError::Store)
    }

    async fn keep_users(&self, users: &[User]) -> Result<(), SnapshotError> {
        for user in users.iter().filter(|user| user.status.active().is_none()) {
            info!(okta.user_id = %user.id, okta.status = %user.status,
                "user {} has the unknown status {:?}, which changes nothing", user.id, user.status.as_str());
        }
        // Everybody has a login; where it is not shown, the profile is not, and nothing can be said about it.
        let (named, nameless): (Vec<_>, Vec<_>) = users.iter().partition(|user| user.text("login").is_some());
        for user in &nameless {
            warn!(okta.user_id = %user.id, "user {} is shown without a login and is left as it is", user.id);
        }
        let nameless = nameless.iter().map(|user| user.id.to_string()).collect();
        self.store.spare(nameless).await.map_err(SnapshotError::Store)?;
        let desired = named.iter().map(|user| (user.id.clone(), self.mapping.desired(user))).collect();
        self.store.add_source_users(desired).await.map_err(SnapshotError::Store)
    }
}

/// One listing from its first page to its last.
struct Walk {
    what: &'static str,
    next: Option<Cursor>,
    seen: BTreeSet<Cursor>,
}

impl Walk {
    fn new(what: &'static str) -> Self {
        Self { what, next: None, seen: BTreeSet::new() }
    }

    fn cursor(&self) -> Option<&Cursor> {
        self.next.as_ref()
    }

    /// Whether there is another page.
    fn go_on(&mut self, next: Option<Cursor>) -> Result<bool, SnapshotError> {
        let Some(next) = next else {
            return Ok(false);
        };
        if !self.seen.insert(next.clone()) {
            return Err(SnapshotError::Circle { what: self.what });
        }
        self.next = Some(next);
        Ok(true)
    }
}
