//! # Purpose
//! Brings the store's picture of the selection up to date with Okta: all of it, or what has changed.
//!
//! # Invariants kept here
//! - [`Snapshot`] has no public constructor: it exists only when every walk of the run came to its end, and the
//!   connector's rights held after it (invariant 8).
//! - What cannot be read is spared, never taken for a deletion.
//! - What a grant holds while its page is read, or at either end of the walk, is left out; so is whoever is in the
//!   selection by nothing else (invariant 10).
//! - A run that reads everything goes on at its page after a kill. Memory is bounded by the pages on their way.
//!
//! # Not here
//! What is done with it: `reconciler`. Whether what is missing has gone: `evidence`.

mod count;
mod walk;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::stream;
use jiff::Timestamp;
use tracing::{info, warn};

use super::mapping::{Mapping, Unfit};
use super::progress::{Phase, Work};
use super::selection::Selection;
use super::store::{Listing, People, Reach, Run, StaleGroup, Store, StoreError};
use super::tracker::Tracker;
use crate::catalogue::ErrorCode;
use crate::domain::{Group, LiveMemberships, OktaGroupId, OktaUserId, User, UserStatus};
use crate::http::{Class, Lane};
use crate::okta::bucket;
use crate::okta::{Cursor, Directory, LogKind, OktaError, Page, PageError, Rights, Skipped, SystemLog};
use count::Count;
use walk::Walk;

/// A complete picture of the selection. It is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    reach: Reach,
    resumed: bool,
}

impl Snapshot {
    /// How much of it was read now.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Whether some of it was read by another process, and may be hours old.
    pub fn is_resumed(&self) -> bool {
        self.resumed
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
    /// A listing goes on and on and shows nothing.
    #[error(
        "{pages} pages in a row of the listing of {what} have nothing on them and lead on, so it cannot be known to be complete"
    )]
    Blank {
        /// What was listed.
        what: &'static str,
        /// How many pages.
        pages: u32,
    },
    /// A group has gone while its members were to be read.
    #[error(
        "the members of group {group} are not there although the group is; the next run reads them again"
    )]
    GroupDisappeared {
        /// Which.
        group: OktaGroupId,
    },
    /// Whether a group has gone could not be found out.
    #[error("cannot look whether group {group}, whose members are not there, has gone")]
    Group {
        /// Which.
        group: OktaGroupId,
        /// Why not.
        #[source]
        source: OktaError,
    },
    /// The connector's rights could not be checked.
    #[error("cannot check whether the connector still sees users and groups")]
    Rights(#[source] OktaError),
    /// The connector's role was taken away.
    #[error(
        "Okta shows no users or no groups at all: the connector's administrator role is missing, so nothing that was read is believed [{}]",
        ErrorCode::RoleMissing
    )]
    NoRights,
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
    /// Whether what was listed does not exist.
    fn is_not_found(&self) -> bool {
        match self {
            Self::Page { source, .. } => source.is_not_found(),
            Self::Circle { .. }
            | Self::Blank { .. }
            | Self::GroupDisappeared { .. }
            | Self::Group { .. }
            | Self::Rights(_)
            | Self::NoRights
            | Self::Empty { .. }
            | Self::Nameless { .. }
            | Self::Store(_) => false,
        }
    }

    /// Whether listings that have come to their end before it may have been cut short for the same reason: then the
    /// next run does not go on where this one was.
    fn casts_doubt(&self) -> bool {
        match self {
            Self::Page { source, .. } => source.class() == Class::Misconfigured,
            Self::Group { source, .. } | Self::Rights(source) => source.class() == Class::Misconfigured,
            Self::NoRights => true,
            Self::Circle { .. }
            | Self::Blank { .. }
            | Self::GroupDisappeared { .. }
            | Self::Empty { .. }
            | Self::Nameless { .. }
            | Self::Store(_) => false,
        }
    }

    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Page { source, .. } => source.class(),
            Self::Rights(source) | Self::Group { source, .. } => source.class(),
            Self::Circle { .. }
            | Self::Blank { .. }
            | Self::GroupDisappeared { .. }
            | Self::Nameless { .. }
            | Self::Store(_) => Class::Transient,
            Self::Empty { .. } | Self::NoRights => Class::Misconfigured,
        }
    }
}

/// Listings of members that are read at the same time; the budget may allow fewer.
const GROUPS_AT_ONCE: usize = 5;
/// Groups that are looked up in the store at once.
const GROUPS_A_BATCH: u32 = 500;
/// Changes are read from so long before the last run's beginning: Okta shows them late.
const OVERLAP: Duration = Duration::from_mins(10);

/// Reads the selection.
pub(super) struct Collector<'a> {
    pub(super) directory: &'a Directory,
    pub(super) log: &'a SystemLog,
    pub(super) store: &'a Store,
    pub(super) selection: &'a Selection,
    pub(super) mapping: &'a Mapping,
    pub(super) live: &'a dyn LiveMemberships,
    /// The attributes of which was told that they have no place at the provider.
    pub(super) told: Mutex<BTreeSet<String>>,
    pub(super) tracker: &'a Tracker,
}

impl Collector<'_> {
    /// Walks what there is to walk and, if all of it ended well, vouches for it.
    pub(super) async fn collect(&self, reach: Reach) -> Result<Snapshot, SnapshotError> {
        self.directory.forget_sizes();
        let collected = self.walk(reach).await;
        if collected.as_ref().is_err_and(SnapshotError::casts_doubt) {
            self.store.forget_run().await.map_err(SnapshotError::Store)?;
        }
        collected
    }

    async fn walk(&self, reach: Reach) -> Result<Snapshot, SnapshotError> {
        let mut live = self.live.live();
        let fingerprint = format!("{} {}", self.selection.fingerprint(), self.mapping.fingerprint());
        let run = self.store.begin(reach, self.directory.now(), fingerprint.clone(), live.clone()).await;
        let run = run.map_err(SnapshotError::Store)?;
        if run.resumed {
            info!("goes on with the run that was begun at {}", run.begun);
        }
        let had_groups = self.store.has_groups().await.map_err(SnapshotError::Store)?;
        self.groups(run).await?;
        // They spend from different buckets of the rate limit.
        tokio::try_join!(self.people(run), self.members(run))?;
        if !self.selection.takes_everybody() {
            self.spare_members_of_spared_groups().await?;
        }
        self.check_rights(had_groups).await?;
        live.extend(self.live.live());
        let everybody = self.selection.takes_everybody();
        self.store.finish(run, everybody, fingerprint, live).await.map_err(SnapshotError::Store)?;
        if !self.store.has_users().await.map_err(SnapshotError::Store)? {
            self.store.mistrust().await.map_err(SnapshotError::Store)?;
            return Err(SnapshotError::Empty { what: "users" });
        }
        Ok(Snapshot { reach: run.reach, resumed: run.resumed })
    }

    /// Without its role Okta shows the connector empty lists. Somebody is always there; groups, once there were any.
    async fn check_rights(&self, had_groups: bool) -> Result<(), SnapshotError> {
        let Rights { users, groups } = self.directory.rights().await.map_err(SnapshotError::Rights)?;
        if users && (groups || !had_groups) { Ok(()) } else { Err(SnapshotError::NoRights) }
    }

    async fn groups(&self, run: Run) -> Result<(), SnapshotError> {
        let Some(mut walk) = Walk::begin(self.store, Listing::Groups, "groups").await? else {
            return Ok(());
        };
        let mut count = self.count(run, Phase::Groups, "groups", walk.is_new()).await?;
        loop {
            let page = walk.page(|at| async move { self.directory.groups(at.as_ref()).await }).await?;
            count.page(page.items.len() + page.skipped.len());
            let mut spared = spared("groups", &page.skipped)?;
            let (selected, others): (Vec<_>, Vec<_>) =
                page.items.into_iter().partition(|group| self.takes(group));
            // Whether a group without a name, or of a kind that nobody knows, has left the selection cannot be said.
            let unclear = others.into_iter().filter(|group| group.name.is_empty() || group.kind.is_unknown());
            spared.extend(unclear.map(|group| group.id.to_string()));
            let next = walk.turn(page.next)?;
            let more = next.is_some();
            self.store.take_groups(run, selected, spared, next).await.map_err(SnapshotError::Store)?;
            if !more {
                return count.end().await;
            }
        }
    }

    fn takes(&self, group: &Group) -> bool {
        self.selection.takes(group) && !group.name.is_empty()
    }

    async fn people(&self, run: Run) -> Result<(), SnapshotError> {
        match (run.reach, run.known_to) {
            (Reach::Changes, Some(known_to)) => {
                let since = known_to.checked_sub(OVERLAP).unwrap_or(known_to);
                self.changed_users(run, since).await?;
                self.deleted_users(since, run.begun).await
            }
            (Reach::Everything, _) | (Reach::Changes, None) if self.selection.takes_everybody() => {
                self.users(run).await
            }
            // They come with the members.
            (Reach::Everything, _) | (Reach::Changes, None) => Ok(()),
        }
    }

    async fn users(&self, run: Run) -> Result<(), SnapshotError> {
        let attributes = self.mapping.attributes();
        let Some(mut walk) = Walk::begin(self.store, Listing::Users, "users").await? else {
            return Ok(());
        };
        let mut count = self.count(run, Phase::Users, "users", walk.is_new()).await?;
        loop {
            let attributes = &attributes;
            let page =
                walk.page(|at| async move { self.directory.users(at.as_ref(), attributes).await }).await?;
            count.page(page.items.len() + page.skipped.len());
            let people = self.read_people("users", page.items, &page.skipped)?;
            let next = walk.turn(page.next)?;
            let more = next.is_some();
            self.store.take_users(run, people, next).await.map_err(SnapshotError::Store)?;
            if !more {
                return count.end().await;
            }
        }
    }

    /// Whoever was changed since: known people and, where everybody is taken, new ones.
    async fn changed_users(&self, run: Run, since: Timestamp) -> Result<(), SnapshotError> {
        let attributes = self.mapping.attributes();
        let mut walk = Walk::of_its_own(self.store, "changed users");
        self.tracker.enter(Phase::Users, None, 1, Vec::new());
        loop {
            let attributes = &attributes;
            let read = |at: Option<Cursor>| async move {
                self.directory.users_changed(since, at.as_ref(), attributes).await
            };
            let page = walk.page(read).await?;
            self.tracker.advance(Phase::Users, page.items.len());
            let mut users = page.items;
            if self.selection.takes_everybody() {
                // They are not in the listing of everybody, which this is to be equal to.
                let (gone, others): (Vec<_>, Vec<_>) =
                    users.into_iter().partition(|user| user.status == UserStatus::Deprovisioned);
                users = others;
                let gone = gone.into_iter().map(|user| user.id).collect();
                self.store.drop_users(gone).await.map_err(SnapshotError::Store)?;
            } else {
                let ids = users.iter().map(|user| user.id.clone()).collect();
                let known = self.store.known_users(ids).await.map_err(SnapshotError::Store)?;
                users.retain(|user| known.contains(&user.id));
            }
            let people = self.read_people("users", users, &page.skipped)?;
            self.store.take_people(run, people).await.map_err(SnapshotError::Store)?;
            if walk.turn(page.next)?.is_none() {
                return Ok(());
            }
        }
    }

    /// Who was deleted for good is in no listing of what has changed, but in the System Log, where that is open to us.
    async fn deleted_users(&self, since: Timestamp, until: Timestamp) -> Result<(), SnapshotError> {
        if !self.log.is_open() {
            return Ok(());
        }
        let mut walk = Walk::of_its_own(self.store, "deleted users");
        loop {
            let read = |at: Option<Cursor>| async move {
                self.log.page(LogKind::UserDeleted, since, until, at.as_ref(), Lane::Directory).await
            };
            let page = walk.page(read).await?;
            let gone = page.items.into_iter().filter_map(|event| event.user).collect();
            self.store.drop_users(gone).await.map_err(SnapshotError::Store)?;
            if walk.turn(page.next)?.is_none() {
                return Ok(());
            }
        }
    }

    /// How many groups' members are to be read.
    async fn stale(&self, run: Run) -> Result<u64, SnapshotError> {
        let (mut after, mut number) = (0, 0);
        loop {
            let groups = self.store.stale_groups(run, after, GROUPS_A_BATCH).await;
            let groups = groups.map_err(SnapshotError::Store)?;
            let Some(last) = groups.last() else {
                return Ok(number);
            };
            after = last.n;
            number += groups.len() as u64;
        }
    }

    async fn count(
        &self,
        run: Run,
        phase: Phase,
        what: &'static str,
        is_new: bool,
    ) -> Result<Count<'_>, SnapshotError> {
        let count = Count::begin(self.store, self.tracker, phase, what, is_new && !run.resumed).await;
        count.map_err(SnapshotError::Store)
    }

    async fn members(&self, run: Run) -> Result<(), SnapshotError> {
        let groups = self.stale(run).await?;
        let work = vec![Work { bucket: Some(bucket::GROUPS), requests: groups }];
        self.tracker.enter(Phase::Members, Some(groups), GROUPS_AT_ONCE, work);
        let mut after = 0;
        loop {
            let groups = self.store.stale_groups(run, after, GROUPS_A_BATCH).await;
            let groups = groups.map_err(SnapshotError::Store)?;
            let Some(last) = groups.last() else {
                return Ok(());
            };
            after = last.n;
            stream::iter(groups.into_iter().map(Ok))
                .try_for_each_concurrent(
                    GROUPS_AT_ONCE,
                    |group| async move { self.members_of(run, group).await },
                )
                .await?;
        }
    }

    async fn members_of(&self, run: Run, group: StaleGroup) -> Result<(), SnapshotError> {
        if let Some(mut walk) = Walk::begin(self.store, Listing::Members(group.n), "members").await? {
            if walk.is_new() {
                self.store.begin_members(group.n).await.map_err(SnapshotError::Store)?;
            }
            loop {
                let mut live = self.live.live_in(&group.id);
                let page = match self.member_page(run, &group.id, &mut walk).await {
                    Ok(page) => page,
                    Err(error) if error.is_not_found() => return self.unlist(group).await,
                    Err(error) => return Err(error),
                };
                self.tracker.asked(Phase::Members);
                live.extend(self.live.live_in(&group.id));
                let spared = spared("members", &page.skipped)?;
                let next = walk.turn(page.next)?;
                let more = next.is_some();
                let taken = self.store.take_members(group.n, page.items, live, spared, next).await;
                taken.map_err(SnapshotError::Store)?;
                if !more {
                    break;
                }
            }
        }
        self.store.exchange_members(run, group).await.map_err(SnapshotError::Store)?;
        self.tracker.advance(Phase::Members, 1);
        Ok(())
    }

    /// A group is gone that was listed a while ago: it is as if it had not been listed, if Okta says so of the group
    /// too. What it takes with it is looked at by `evidence` like everything that leaves.
    async fn unlist(&self, group: StaleGroup) -> Result<(), SnapshotError> {
        let look = self.directory.group(&group.id).await;
        let found = look.map_err(|source| SnapshotError::Group { group: group.id.clone(), source })?;
        if found.is_some() {
            return Err(SnapshotError::GroupDisappeared { group: group.id });
        }
        info!(okta.group_id = %group.id, "group {} has gone while its members were to be read", group.id);
        self.store.unlist_group(group.n).await.map_err(SnapshotError::Store)
    }

    /// Everybody is known already, or the members' pages are where people come from.
    async fn member_page(
        &self,
        run: Run,
        group: &OktaGroupId,
        walk: &mut Walk<'_>,
    ) -> Result<Page<OktaUserId>, SnapshotError> {
        if self.selection.takes_everybody() {
            let read =
                |at: Option<Cursor>| async move { self.directory.member_ids(group, at.as_ref()).await };
            return walk.page(read).await;
        }
        let Page { items, skipped, next, request_id } =
            walk.page(|at| async move { self.directory.members(group, at.as_ref()).await }).await?;
        let ids = items.iter().map(|user| user.id.clone()).collect();
        let people = self.read_people("members", items, &[])?;
        self.store.take_people(run, people).await.map_err(SnapshotError::Store)?;
        Ok(Page { items: ids, skipped, next, request_id })
    }

    /// Where people come from the groups, those of a group that cannot be read are there as well.
    async fn spare_members_of_spared_groups(&self) -> Result<(), SnapshotError> {
        for group in self.store.spared_groups().await.map_err(SnapshotError::Store)? {
            let mut walk = Walk::of_its_own(self.store, "members");
            loop {
                let group = &group;
                let read =
                    |at: Option<Cursor>| async move { self.directory.member_ids(group, at.as_ref()).await };
                let page = match walk.page(read).await {
                    Ok(page) => page,
                    // It has gone meanwhile, and spares nobody.
                    Err(error) if error.is_not_found() => break,
                    Err(error) => return Err(error),
                };
                let mut ids = spared("members", &page.skipped)?;
                ids.extend(page.items.iter().map(ToString::to_string));
                self.store.spare_users(ids).await.map_err(SnapshotError::Store)?;
                if walk.turn(page.next)?.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Everybody has a login; where it is not shown, the profile is not, and nothing can be said about it.
    fn read_people(
        &self,
        what: &'static str,
        users: Vec<User>,
        skipped: &[Skipped],
    ) -> Result<People, SnapshotError> {
        let mut people = People { users: Vec::new(), spared: spared(what, skipped)? };
        for user in users {
            if user.status.active().is_none() {
                info!(okta.user_id = %user.id, okta.status = %user.status,
                    "user {} has the unknown status {:?}, which changes nothing", user.id, user.status.as_str());
            }
            if user.text("login").is_none() {
                warn!(okta.user_id = %user.id,
                    "user {} is shown without a login and is left as it is [{}]", user.id, ErrorCode::ObjectLeftOut);
                people.spared.push(user.id.to_string());
            } else {
                let desired = self.mapping.desired(&user);
                for (attribute, why) in &desired.unfit {
                    self.report_unfit(&user, attribute, *why);
                }
                people.users.push((user.id, desired));
            }
        }
        Ok(people)
    }
}

impl Collector<'_> {
    /// Once a run for each attribute: what is wrong with one person's is wrong with everybody's.
    fn report_unfit(&self, user: &User, attribute: &str, why: Unfit) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(attribute.to_owned()) {
            warn!(okta.user_id = %user.id, attribute,
                "the attribute {attribute} of user {} cannot be written and is left out: {why} (said once a run) [{}]",
                user.id, ErrorCode::ObjectLeftOut);
        }
    }
}

/// What cannot be read is left as it is at the provider: it is there, so it has not gone.
fn spared(what: &'static str, skipped: &[Skipped]) -> Result<Vec<String>, SnapshotError> {
    let mut ids = Vec::with_capacity(skipped.len());
    for object in skipped {
        let reason = &object.reason;
        let Some(id) = &object.id else {
            return Err(SnapshotError::Nameless { what, reason: reason.clone() });
        };
        warn!(
            okta.id = id,
            reason,
            "one of the {what} cannot be read and is left as it is ({id}) [{}]: {reason}",
            ErrorCode::ObjectLeftOut
        );
        ids.push(id.clone());
    }
    Ok(ids)
}
