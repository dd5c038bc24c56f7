//! # Purpose
//! Reads the provider's side into the store.
//!
//! # Invariants kept here
//! - A listing counts as complete only when as many resources were seen as the provider counted, and it counted the
//!   same on every page.
//! - A group whose members cannot be seen has those that the connector has added, and no others.
//!
//! # Not here
//! What is ours among them: `store::planning`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::mapping::Mapping;
use super::progress::{Phase, Work};
use super::store::{ProviderGroup, ProviderUser, Store, StoreError};
use super::tracker::Tracker;
use crate::catalogue::ErrorCode;
use crate::domain::ScimId;
use crate::http::Class;
use crate::scim::attributes::{Path, PathError, active, read};
use crate::scim::{Abilities, Kind, ListPage, Provider, Quirk, Resource, ScimError};

/// The provider's side could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A call failed.
    #[error("cannot read the SCIM service's {what}")]
    Call {
        /// What was read.
        what: &'static str,
        /// Why not.
        #[source]
        source: ScimError,
    },
    /// The numbers do not agree.
    #[error("the SCIM service counts {total} {what} and shows {seen}; it is read again at the next run")]
    Incomplete {
        /// What was read.
        what: &'static str,
        /// As counted.
        total: u64,
        /// As seen.
        seen: u64,
    },
    /// The numbers change from page to page.
    #[error(
        "the SCIM service counts {before} {what}, then {total}, whenever they are listed; they are read again at the next run"
    )]
    Drifted {
        /// What was read.
        what: &'static str,
        /// As counted on one page.
        before: u64,
        /// As counted on the next.
        total: u64,
    },
    /// The local store.
    #[error("cannot keep what was read")]
    Store(#[source] StoreError),
    /// Our own path does not parse.
    #[error("the attribute mapping is wrong [{}]", ErrorCode::MappingWrong)]
    Mapping(#[source] PathError),
}

impl ProviderError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Call { source, .. } => source.class(),
            Self::Incomplete { .. } | Self::Drifted { .. } | Self::Store(_) => Class::Transient,
            Self::Mapping(_) => Class::Permanent,
        }
    }
}

/// Groups come with their members; a page of them is kept small.
const GROUPS_A_PAGE: u32 = 25;
/// So often a listing is begun anew when the provider counts something else in the middle of it.
const WALKS: u32 = 4;

/// Reads users and groups; returns how the provider wants to be written to.
pub(super) async fn read_into(
    store: &Store,
    provider: &Provider,
    mapping: &Mapping,
    tracker: &Tracker,
) -> Result<Abilities, ProviderError> {
    let abilities = abilities(store, provider).await?;
    let user_name = Path::parse("userName").map_err(ProviderError::Mapping)?;
    let reading = Reading { store, provider, abilities, mapping, user_name, tracker };
    let mut walk = 1;
    while let Err(error) = reading.all().await {
        match error {
            ProviderError::Drifted { .. } if walk < WALKS => walk += 1,
            ProviderError::Drifted { .. }
            | ProviderError::Call { .. }
            | ProviderError::Incomplete { .. }
            | ProviderError::Store(_)
            | ProviderError::Mapping(_) => return Err(error),
        }
    }
    Ok(reading.abilities)
}

/// What the provider says that it can do, and what it has been seen not to do.
pub(super) async fn abilities(store: &Store, provider: &Provider) -> Result<Abilities, ProviderError> {
    let abilities = provider.abilities().await;
    let abilities = abilities.map_err(|source| ProviderError::Call { what: "configuration", source })?;
    if store.knows(Quirk::HidesMembers).await.map_err(ProviderError::Store)? {
        abilities.found(Quirk::HidesMembers);
    }
    Ok(abilities)
}

struct Reading<'a> {
    store: &'a Store,
    provider: &'a Provider,
    abilities: Abilities,
    mapping: &'a Mapping,
    user_name: Path,
    tracker: &'a Tracker,
}

impl Reading<'_> {
    async fn all(&self) -> Result<(), ProviderError> {
        let Self { store, provider, .. } = self;
        store.forget_provider().await.map_err(ProviderError::Store)?;
        let mut listing = Listing::new(Kind::User, self.abilities.page);
        self.enter(Phase::ProviderUsers);
        while let Some(resources) = listing.next(provider).await? {
            self.follow(Phase::ProviderUsers, &listing, resources.len());
            self.note_versions(Kind::User, &resources).await?;
            let users =
                resources.into_iter().map(|user_| user(user_, self.mapping, &self.user_name)).collect();
            store.add_provider_users(users).await.map_err(ProviderError::Store)?;
        }
        let users = listing.seen;
        let mut listing = Listing::new(Kind::Group, self.abilities.page.min(GROUPS_A_PAGE));
        self.enter(Phase::ProviderGroups);
        while let Some(resources) = listing.next(provider).await? {
            self.follow(Phase::ProviderGroups, &listing, resources.len());
            self.note_versions(Kind::Group, &resources).await?;
            let mut groups = Vec::new();
            for resource in resources {
                groups.push(self.group(resource).await?);
            }
            store.add_provider_groups(groups).await.map_err(ProviderError::Store)?;
        }
        let groups = listing.seen;
        // Pages that repeat some of each other add up to the total without holding everything.
        let distinct = store.provider_counts().await.map_err(ProviderError::Store)?;
        for (what, total, seen) in [("users", users, distinct.users), ("groups", groups, distinct.groups)] {
            if seen != total {
                return Err(ProviderError::Incomplete { what, total, seen });
            }
        }
        Ok(())
    }

    fn enter(&self, phase: Phase) {
        self.tracker.enter(phase, None, 1, vec![Work { bucket: None, requests: 0 }]);
    }

    /// How much there is, the service says itself.
    fn follow(&self, phase: Phase, listing: &Listing, resources: usize) {
        if let Some(total) = listing.total {
            self.tracker.expect(phase, total);
        }
        self.tracker.advance(phase, resources);
    }

    /// Most services have versions or have none: nothing is stored for those without.
    async fn note_versions(&self, kind: Kind, resources: &[Resource]) -> Result<(), ProviderError> {
        let known: Vec<_> = resources
            .iter()
            .filter(|resource| resource.version.is_some())
            .map(|resource| (resource.id.clone(), resource.version.clone()))
            .collect();
        if known.is_empty() {
            return Ok(());
        }
        self.store.note_versions(kind, known).await.map_err(ProviderError::Store)
    }

    async fn group(&self, resource: Resource) -> Result<ProviderGroup, ProviderError> {
        let members = match resource.member_ids() {
            Some(members) => {
                self.members_are_shown().await?;
                members
            }
            None => self.members_of(&resource.id).await?,
        };
        let name = resource.members.get("displayName").and_then(Value::as_str);
        Ok(ProviderGroup {
            name: name.unwrap_or_default().to_owned(),
            members,
            id: resource.id,
            external_id: resource.external_id,
        })
    }

    /// The members of a group that the listing shows without any.
    async fn members_of(&self, id: &ScimId) -> Result<Vec<String>, ProviderError> {
        let added = self.store.added(id).await.map_err(ProviderError::Store)?;
        if added.is_empty() && !self.abilities.has(Quirk::ListsHideMembers) {
            return Ok(Vec::new());
        }
        let alone = self.provider.get(Kind::Group, id).await;
        let alone = alone.map_err(|source| ProviderError::Call { what: "groups", source })?;
        if let Some(members) = alone.and_then(|group| group.member_ids()) {
            self.abilities.found(Quirk::ListsHideMembers);
            self.members_are_shown().await?;
            return Ok(members);
        }
        // Where members are shown elsewhere, this group is empty; where they never are, what was added is there.
        let hidden = self.abilities.has(Quirk::HidesMembers);
        Ok(if hidden { added.into_iter().collect() } else { Vec::new() })
    }

    async fn members_are_shown(&self) -> Result<(), ProviderError> {
        if self.abilities.has(Quirk::HidesMembers) {
            self.abilities.lost(Quirk::HidesMembers);
            self.store.learn(Quirk::HidesMembers, false).await.map_err(ProviderError::Store)?;
        }
        Ok(())
    }
}

/// One listing by `startIndex` and `count`.
pub(super) struct Listing {
    kind: Kind,
    what: &'static str,
    count: u32,
    start: u64,
    seen: u64,
    total: Option<u64>,
    last_page: BTreeSet<ScimId>,
}

impl Listing {
    pub(super) fn new(kind: Kind, count: u32) -> Self {
        let what = match kind {
            Kind::User => "users",
            Kind::Group => "groups",
        };
        Self { kind, what, count, start: 1, seen: 0, total: None, last_page: BTreeSet::new() }
    }

    /// The next page, or `None` after the last. An error where the end does not add up.
    pub(super) async fn next(&mut self, provider: &Provider) -> Result<Option<Vec<Resource>>, ProviderError> {
        if self.start == 0 {
            return Ok(None);
        }
        let page = provider.list(self.kind, self.start, self.count).await;
        let ListPage { total, resources } =
            page.map_err(|source| ProviderError::Call { what: self.what, source })?;
        // Somebody comes or goes meanwhile: what follows has moved by a place, and one would be passed over.
        if let Some(before) = self.total.replace(total).filter(|before| *before != total) {
            return Err(ProviderError::Drifted { what: self.what, before, total });
        }
        let ids: BTreeSet<_> = resources.iter().map(|resource| resource.id.clone()).collect();
        let repeats = !ids.is_empty() && ids == self.last_page;
        if !repeats {
            self.seen += ids.len() as u64;
            self.start += resources.len() as u64;
        }
        if resources.is_empty() || repeats || self.start > total {
            if self.seen != total {
                return Err(ProviderError::Incomplete { what: self.what, total, seen: self.seen });
            }
            self.start = 0;
        }
        self.last_page = ids;
        Ok(Some(resources))
    }
}

fn user(resource: Resource, mapping: &Mapping, user_name: &Path) -> ProviderUser {
    ProviderUser {
        user_name: user_name.get(&resource.members).and_then(Value::as_str).map(str::to_lowercase),
        active: active(&resource.members),
        attributes: read(&resource.members, mapping.paths()),
        id: resource.id,
        external_id: resource.external_id,
    }
}
