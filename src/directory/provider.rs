//! # Purpose
//! Reads the provider's side into the store.
//!
//! # Invariants kept here
//! - A listing counts as complete only when as many resources were seen as the provider counted.
//!
//! # Not here
//! What is ours among them: `store::planning`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::mapping::Mapping;
use super::store::{ProviderGroup, ProviderUser, Store, StoreError};
use crate::domain::ScimId;
use crate::http::Class;
use crate::scim::attributes::{Path, PathError, read};
use crate::scim::{Kind, ListPage, Provider, ProviderConfig, Resource, ScimError};

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
    /// The local store.
    #[error("cannot keep what was read")]
    Store(#[source] StoreError),
    /// Our own path does not parse.
    #[error("the attribute mapping is wrong")]
    Mapping(#[source] PathError),
}

impl ProviderError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Call { source, .. } => source.class(),
            Self::Incomplete { .. } | Self::Store(_) => Class::Transient,
            Self::Mapping(_) => Class::Permanent,
        }
    }
}

/// Groups come with their members; a page of them is kept small.
const GROUPS_A_PAGE: u32 = 25;

/// Reads users and groups; returns how the provider wants to be written to.
pub(super) async fn read_into(
    store: &Store,
    provider: &Provider,
    mapping: &Mapping,
) -> Result<ProviderConfig, ProviderError> {
    let failed = |what| move |source| ProviderError::Call { what, source };
    let config = provider.config().await.map_err(failed("configuration"))?;
    store.forget_provider().await.map_err(ProviderError::Store)?;

    let user_name = Path::parse("userName").map_err(ProviderError::Mapping)?;
    let mut listing = Listing::new(Kind::User, "users", config.max_results);
    while let Some(resources) = listing.next(provider).await? {
        let users = resources.into_iter().map(|resource| user(resource, mapping, &user_name)).collect();
        store.add_provider_users(users).await.map_err(ProviderError::Store)?;
    }
    let users = listing.seen;
    let mut listing = Listing::new(Kind::Group, "groups", config.max_results.min(GROUPS_A_PAGE));
    while let Some(resources) = listing.next(provider).await? {
        let groups = resources.into_iter().map(group).collect();
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
    Ok(config)
}

/// One listing by `startIndex` and `count`.
struct Listing {
    kind: Kind,
    what: &'static str,
    count: u32,
    start: u64,
    seen: u64,
    last_page: BTreeSet<ScimId>,
}

impl Listing {
    fn new(kind: Kind, what: &'static str, count: u32) -> Self {
        Self { kind, what, count, start: 1, seen: 0, last_page: BTreeSet::new() }
    }

    /// The next page, or `None` after the last. An error where the end does not add up.
    async fn next(&mut self, provider: &Provider) -> Result<Option<Vec<Resource>>, ProviderError> {
        if self.start == 0 {
            return Ok(None);
        }
        let page = provider.list(self.kind, self.start, self.count).await;
        let ListPage { total, resources } =
            page.map_err(|source| ProviderError::Call { what: self.what, source })?;
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
    let name = user_name.get(&resource.members).and_then(Value::as_str).map(str::to_lowercase);
    let active = match resource.members.get("active") {
        Some(Value::Bool(active)) => Some(*active),
        // Some providers write booleans as text.
        Some(Value::String(text)) => text.to_lowercase().parse().ok(),
        Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => None,
    };
    ProviderUser {
        user_name: name,
        active,
        attributes: read(&resource.members, mapping.paths()),
        id: resource.id,
        external_id: resource.external_id,
    }
}

fn group(resource: Resource) -> ProviderGroup {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let members = resource.members.get("members").and_then(Value::as_array);
    ProviderGroup {
        name: resource.members.get("displayName").and_then(text).unwrap_or_default(),
        members: members.into_iter().flatten().filter_map(|member| text(member.get("value")?)).collect(),
        id: resource.id,
        external_id: resource.external_id,
    }
}
