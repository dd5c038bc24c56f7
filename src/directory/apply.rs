//! # Purpose
//! Carries out the plan that is in the store, operation by operation.
//!
//! # Invariants kept here
//! - Each operation is idempotent and stands for itself: one that fails does not stop the others, and the next run
//!   plans it anew.
//! - What is created or adopted is noted as ours at once.
//! - A member removal is believed only after a look: some services answer with success and do nothing.
//!
//! # Not here
//! Choosing anything: `plan`. Retrying: the next activation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tracing::{debug, warn};

use super::plan::{GroupFacts, Operation, Origin, UserFacts};
use super::store::{PlannedOperation, Store, StoreError};
use crate::domain::{OktaGroupId, OktaUserId, ScimId};
use crate::http::Class;
use crate::scim::attributes::{Path, write};
use crate::scim::{ENTERPRISE_USER, GROUP, Kind, Provider, ProviderConfig, Resource, ScimError, USER, patch};
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
        "the SCIM service says that {what} exists already, but does not find it by externalId or by name"
    )]
    PhantomConflict {
        /// What.
        what: String,
    },
    /// What has the name at the provider belongs to somebody else.
    #[error(
        "the SCIM service has {what} under the externalId {external_id}, so it belongs to somebody else and is left alone"
    )]
    Taken {
        /// What.
        what: String,
        /// The id that it carries.
        external_id: String,
    },
    /// The provider accepts a removal and does not do it.
    #[error(
        "the SCIM service accepts the removal of {count} members and keeps them, by every form of request"
    )]
    RemovalIgnored {
        /// How many.
        count: usize,
    },
    /// The local store.
    #[error("cannot note what was done")]
    Store(#[source] StoreError),
    /// Somebody else's turn must come first.
    #[error("{count} users are not at the SCIM service yet")]
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
            Self::PhantomConflict { .. } | Self::Taken { .. } | Self::RemovalIgnored { .. } => {
                Class::Permanent
            }
            Self::Store(_) | Self::UsersMissing { .. } => Class::Transient,
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
    config: ProviderConfig,
    writes: AtomicU64,
    failures_in_a_row: AtomicU64,
}

impl<'a> Applier<'a> {
    pub(super) fn new(store: &'a Store, provider: &'a Provider, config: ProviderConfig) -> Self {
        Self { store, provider, config, writes: AtomicU64::new(0), failures_in_a_row: AtomicU64::new(0) }
    }

    /// Carries out what the breaker lets through, phase by phase.
    pub(super) async fn apply(&self) -> Result<Applied, StoreError> {
        let applied = Mutex::new(Applied::default());
        for phase in PHASES {
            let mut after = 0;
            loop {
                let batch = self.store.operations(phase, after, BATCH).await?;
                let Some(last) = batch.last() else {
                    break;
                };
                after = last.n;
                stream::iter(batch)
                    .for_each_concurrent(AT_ONCE, |operation| self.one(operation, &applied))
                    .await;
            }
        }
        let mut applied = applied.into_inner().unwrap_or_else(PoisonError::into_inner);
        applied.writes = self.writes.load(Ordering::Relaxed);
        Ok(applied)
    }

    async fn one(&self, planned: PlannedOperation, applied: &Mutex<Applied>) {
        let PlannedOperation { held, operation, .. } = planned;
        let name = operation.name();
        let is_away = self.failures_in_a_row.load(Ordering::Relaxed) >= ENOUGH;
        let outcome = if held || is_away { None } else { Some(self.carry_out(operation).await) };
        self.count_in_a_row(outcome.as_ref());
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
                self.wrote("delete the group", self.provider.delete(Kind::Group, &scim).await)?;
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
            Operation::CreateGroup { okta, name } => self.create_group(okta, name).await,
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

    async fn deactivate(&self, scim: &ScimId) -> Result<(), ApplyError> {
        if self.config.patch {
            let message = json!({
                "schemas": [crate::scim::PATCH_OP],
                "Operations": [{ "op": "replace", "path": "active", "value": false }],
            });
            return self.wrote("deactivate the user", self.provider.patch(Kind::User, scim, &message).await);
        }
        self.rewrite(Kind::User, scim, |resource| {
            resource.insert("active".to_owned(), json!(false));
        })
        .await
    }

    async fn create_user(&self, okta: OktaUserId, new: &UserFacts) -> Result<(), ApplyError> {
        match self.provider.create(Kind::User, &Value::Object(user_resource(new))).await {
            Ok(created) => {
                self.writes.fetch_add(1, Ordering::Relaxed);
                self.own_user(okta, created.id, Origin::Created).await
            }
            Err(error) if error.status() == Some(StatusCode::CONFLICT) => self.adopt_user(okta, new).await,
            Err(source) => Err(ApplyError::Scim { doing: "create the user", source }),
        }
    }

    /// There is one already: found by our id, or by its name, it becomes ours and is brought up to date.
    async fn adopt_user(&self, okta: OktaUserId, new: &UserFacts) -> Result<(), ApplyError> {
        let user_name = new.attributes.iter().find(|(path, _)| path.attribute() == "userName");
        let user_name = user_name.and_then(|(_, value)| value.as_str()).unwrap_or_default();
        let found = self.find(Kind::User, okta.as_str(), "userName", user_name).await?;
        let found = unclaimed(found, okta.as_str(), &format!("the user of {okta}"))?;
        let paths: Vec<Path> = new.attributes.keys().cloned().collect();
        let old = UserFacts {
            active: found.members.get("active").and_then(Value::as_bool),
            external_id: found.external_id.clone(),
            attributes: crate::scim::attributes::read(&found.members, &paths),
        };
        self.update_user(&found.id, &old, new).await?;
        self.own_user(okta, found.id, Origin::Adopted).await
    }

    async fn update_user(&self, scim: &ScimId, old: &UserFacts, new: &UserFacts) -> Result<(), ApplyError> {
        if !self.config.patch {
            let wanted = user_resource(new);
            return self
                .rewrite(Kind::User, scim, |resource| {
                    for path in old.attributes.keys().filter(|path| !new.attributes.contains_key(path)) {
                        path.set(resource, Value::Null);
                    }
                    for (path, value) in &new.attributes {
                        path.set(resource, value.clone());
                    }
                    let active = (new.active != old.active).then_some("active");
                    for name in ["externalId", "schemas"].into_iter().chain(active) {
                        if let Some(value) = wanted.get(name) {
                            resource.insert(name.to_owned(), value.clone());
                        }
                    }
                })
                .await;
        }
        let mut operations = Vec::new();
        if let Some(active) = new.active.filter(|active| old.active != Some(*active)) {
            operations.push(json!({ "op": "replace", "path": "active", "value": active }));
        }
        if let Some(id) = new.external_id.as_ref().filter(|_| new.external_id != old.external_id) {
            operations.push(json!({ "op": "replace", "path": "externalId", "value": id }));
        }
        let mut message = patch::of_attributes(&old.attributes, &new.attributes)
            .unwrap_or_else(|| json!({ "schemas": [crate::scim::PATCH_OP], "Operations": [] }));
        if let Some(all) = message["Operations"].as_array_mut() {
            all.extend(operations);
            if all.is_empty() {
                return Ok(());
            }
        }
        self.wrote("update the user", self.provider.patch(Kind::User, scim, &message).await)
    }

    async fn create_group(&self, okta: OktaGroupId, name: String) -> Result<(), ApplyError> {
        let body = json!({ "schemas": [GROUP], "externalId": okta, "displayName": name });
        match self.provider.create(Kind::Group, &body).await {
            Ok(created) => {
                self.writes.fetch_add(1, Ordering::Relaxed);
                self.own_group(okta, created.id, Origin::Created).await
            }
            Err(error) if error.status() == Some(StatusCode::CONFLICT) => {
                let found = self.find(Kind::Group, okta.as_str(), "displayName", &name).await?;
                let found = unclaimed(found, okta.as_str(), &format!("the group of {okta}"))?;
                let old = GroupFacts {
                    name: found
                        .members
                        .get("displayName")
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned(),
                    external_id: found.external_id,
                };
                let new = GroupFacts { name, external_id: Some(okta.as_str().to_owned()) };
                self.update_group(&found.id, &old, &new).await?;
                self.own_group(okta, found.id, Origin::Adopted).await
            }
            Err(source) => Err(ApplyError::Scim { doing: "create the group", source }),
        }
    }

    async fn update_group(
        &self,
        scim: &ScimId,
        old: &GroupFacts,
        new: &GroupFacts,
    ) -> Result<(), ApplyError> {
        if !self.config.patch {
            return self
                .rewrite(Kind::Group, scim, |resource| {
                    resource.insert("displayName".to_owned(), json!(new.name));
                    resource.insert("externalId".to_owned(), json!(new.external_id));
                })
                .await;
        }
        let mut operations = Vec::new();
        if old.name != new.name {
            operations.push(json!({ "op": "replace", "path": "displayName", "value": new.name }));
        }
        if old.external_id != new.external_id {
            operations.push(json!({ "op": "replace", "path": "externalId", "value": new.external_id }));
        }
        if operations.is_empty() {
            return Ok(());
        }
        let message = json!({ "schemas": [crate::scim::PATCH_OP], "Operations": operations });
        self.wrote("update the group", self.provider.patch(Kind::Group, scim, &message).await)
    }

    async fn add_members(&self, okta: OktaGroupId, users: Vec<OktaUserId>) -> Result<(), ApplyError> {
        let wanted = users.len();
        let group = self.store.scim_group(okta).await.map_err(ApplyError::Store)?;
        // Its creation has failed; the next run does both.
        let Some(group) = group else {
            return Err(ApplyError::UsersMissing { count: wanted });
        };
        let found = self.store.scim_users(users).await.map_err(ApplyError::Store)?;
        let ids: Vec<ScimId> = found.into_iter().map(|(_, scim)| scim).collect();
        if !ids.is_empty() {
            if self.config.patch {
                let message = patch::add_members(ids.iter().map(ScimId::as_str));
                self.wrote("add members", self.provider.patch(Kind::Group, &group, &message).await)?;
            } else {
                self.rewrite(Kind::Group, &group, |resource| {
                    let members = resource.entry("members").or_insert_with(|| json!([]));
                    if let Some(members) = members.as_array_mut() {
                        members.extend(ids.iter().map(|id| json!({ "value": id })));
                    }
                })
                .await?;
            }
            let added = ids.clone();
            self.store.note_added(group, added).await.map_err(ApplyError::Store)?;
        }
        match wanted - ids.len() {
            0 => Ok(()),
            count => Err(ApplyError::UsersMissing { count }),
        }
    }

    /// Removes members by each form of request in turn, until they are seen to be gone.
    async fn remove_members(
        &self,
        group: &ScimId,
        users: Vec<(OktaUserId, ScimId)>,
    ) -> Result<(), ApplyError> {
        let mut left: Vec<ScimId> = users.into_iter().map(|(_, scim)| scim).collect();
        let all = left.clone();
        let forms = if self.config.patch { &[Form::Filter, Form::Replace][..] } else { &[Form::Replace] };
        for form in forms {
            let ids = || left.iter().map(ScimId::as_str);
            let done = match form {
                Form::Filter => self.provider.patch(Kind::Group, group, &patch::remove_members(ids())).await,
                Form::Replace => {
                    let gone: Vec<_> = left.clone();
                    self.rewrite(Kind::Group, group, |resource| without(resource, &gone)).await?;
                    Ok(())
                }
            };
            match done {
                Ok(()) => {
                    self.writes.fetch_add(1, Ordering::Relaxed);
                }
                // Not understood, or somebody else was quicker: the look tells. There is no third form: by RFC 7644
                // `remove` of `members` with a list of values removes everybody.
                Err(error) if error.class() == Class::Permanent && *form != Form::Replace => {}
                Err(source) => return Err(ApplyError::Scim { doing: "remove members", source }),
            }
            left = self.still_members(group, &left).await?;
            if left.is_empty() {
                return self.store.note_removed(group.clone(), all).await.map_err(ApplyError::Store);
            }
        }
        Err(ApplyError::RemovalIgnored { count: left.len() })
    }

    async fn still_members(&self, group: &ScimId, ids: &[ScimId]) -> Result<Vec<ScimId>, ApplyError> {
        let looked = self.provider.get(Kind::Group, group).await;
        let resource = looked.map_err(|source| ApplyError::Scim { doing: "look at the group", source })?;
        let Some(resource) = resource else {
            return Ok(Vec::new());
        };
        let members = resource.members.get("members").and_then(Value::as_array);
        let present: std::collections::BTreeSet<&str> =
            members.into_iter().flatten().filter_map(|member| member.get("value")?.as_str()).collect();
        Ok(ids.iter().filter(|id| present.contains(id.as_str())).cloned().collect())
    }

    /// Reads a resource, changes it, and puts the whole back: what else is in it stays.
    async fn rewrite(
        &self,
        kind: Kind,
        id: &ScimId,
        change: impl FnOnce(&mut Map<String, Value>),
    ) -> Result<(), ApplyError> {
        let read = self.provider.get(kind, id).await;
        let found = read.map_err(|source| ApplyError::Scim { doing: "read before replacing", source })?;
        // Gone meanwhile: the next run sees it.
        let Some(Resource { mut members, .. }) = found else {
            return Ok(());
        };
        change(&mut members);
        self.wrote("replace", self.provider.replace(kind, id, &Value::Object(members)).await)
    }

    async fn find(
        &self,
        kind: Kind,
        okta: &str,
        attribute: &str,
        name: &str,
    ) -> Result<Option<Resource>, ApplyError> {
        for (attribute, value) in [("externalId", okta), (attribute, name)] {
            let found = self.provider.find(kind, attribute, value).await;
            let mut found =
                found.map_err(|source| ApplyError::Scim { doing: "look up what exists", source })?;
            // A provider that ignores the filter answers with everything.
            found.retain(|resource| {
                let shown = resource.members.get(attribute).and_then(Value::as_str).unwrap_or_default();
                // Names fold case; Okta's ids do not.
                shown == value || (attribute != "externalId" && shown.to_lowercase() == value.to_lowercase())
            });
            if let Some(first) = found.into_iter().next() {
                return Ok(Some(first));
            }
        }
        Ok(None)
    }

    async fn own_user(&self, okta: OktaUserId, scim: ScimId, origin: Origin) -> Result<(), ApplyError> {
        self.store.own_user(okta, scim, origin).await.map_err(ApplyError::Store)
    }

    async fn own_group(&self, okta: OktaGroupId, scim: ScimId, origin: Origin) -> Result<(), ApplyError> {
        self.store.own_group(okta, scim, origin).await.map_err(ApplyError::Store)
    }

    fn wrote(&self, doing: &'static str, result: Result<(), ScimError>) -> Result<(), ApplyError> {
        result.map_err(|source| ApplyError::Scim { doing, source })?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The forms in which members can be removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `members[value eq "…"]`, one operation a member.
    Filter,
    /// The whole group without them.
    Replace,
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

fn without(resource: &mut Map<String, Value>, gone: &[ScimId]) {
    if let Some(members) = resource.get_mut("members").and_then(Value::as_array_mut) {
        members.retain(|member| {
            let id = member.get("value").and_then(Value::as_str).unwrap_or_default();
            !gone.iter().any(|gone| gone.as_str() == id)
        });
    }
}

/// The resource that a user is created as.
fn user_resource(facts: &UserFacts) -> Map<String, Value> {
    let mut resource = write(&facts.attributes);
    let mut schemas = vec![USER];
    if resource.contains_key(ENTERPRISE_USER) {
        schemas.push(ENTERPRISE_USER);
    }
    resource.insert("schemas".to_owned(), json!(schemas));
    resource.insert("externalId".to_owned(), json!(facts.external_id));
    resource.insert("active".to_owned(), json!(facts.active.unwrap_or(true)));
    resource
}
