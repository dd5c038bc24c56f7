//! # Purpose
//! Adds members to groups and removes them, by whichever form the service takes.
//!
//! # Invariants kept here
//! - A removal is believed only after a look: some services answer with success and do nothing.
//! - A form of removal that takes others along is not used again, and they are added back at once.
//! - Where members cannot be seen, only what names them one by one is sent.
//!
//! # Not here
//! Who: `plan`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tracing::warn;

use super::writing::Outcome;
use super::{Applier, ApplyError};
use crate::catalogue::ErrorCode;
use crate::directory::plan::Origin;
use crate::domain::{OktaGroupId, OktaUserId, ScimId};
use crate::scim::abilities::{Removal, Way};
use crate::scim::{Kind, Quirk, Resource, ScimError, patch};

type Ids = BTreeSet<String>;

impl Applier<'_> {
    pub(super) async fn add_members(
        &self,
        okta: OktaGroupId,
        users: Vec<OktaUserId>,
    ) -> Result<(), ApplyError> {
        let wanted = users.len();
        let group = self.store.own(okta).await.map_err(ApplyError::Store)?;
        // Its creation has failed; the next run does both.
        let Some((group, origin)) = group else {
            return Err(ApplyError::UsersMissing { count: wanted });
        };
        let found = self.store.scim_users(users).await.map_err(ApplyError::Store)?;
        let ids: Vec<ScimId> = found.into_iter().map(|(_, scim)| scim).collect();
        if !ids.is_empty() {
            self.add(&group, origin, &ids).await?;
            self.store.note_added(group, ids.clone()).await.map_err(ApplyError::Store)?;
        }
        match wanted - ids.len() {
            0 => Ok(()),
            count => Err(ApplyError::UsersMissing { count }),
        }
    }

    async fn add(&self, group: &ScimId, origin: Origin, ids: &[ScimId]) -> Result<(), ApplyError> {
        let _alone = self.alone(group).await;
        let wanted: Ids = ids.iter().map(ToString::to_string).collect();
        if !self.abilities.has(Quirk::NoPatch) {
            match self.in_parts(group, ids, patch::add_members).await {
                Ok(_) if self.abilities.adds() || self.abilities.has(Quirk::HidesMembers) => return Ok(()),
                Ok(echo) => {
                    let shown = match echo.and_then(|group| group.member_ids()) {
                        Some(shown) => Some(shown),
                        None => self.members(group).await?,
                    };
                    if shown.is_some_and(|shown| wanted.is_subset(&shown.into_iter().collect())) {
                        self.abilities.seen_to_add();
                        return Ok(());
                    }
                }
                Err(ApplyError::Scim { source, .. }) if source.is_of_form() => {}
                Err(error) => return Err(error),
            }
        }
        self.add_by_put(group, origin, &wanted).await
    }

    /// The whole group with the new members, where that cannot put out anybody who is not seen.
    async fn add_by_put(&self, group: &ScimId, origin: Origin, wanted: &Ids) -> Result<(), ApplyError> {
        let seen = self.members(group).await?;
        if seen.is_none() && self.abilities.has(Quirk::HidesMembers) {
            return Err(ApplyError::Unseen);
        }
        // What an adopted group has and does not show must not be lost.
        if seen.is_some() || origin == Origin::Created {
            let added = match &seen {
                Some(_) => Ids::new(),
                None => self.store.added(group).await.map_err(ApplyError::Store)?,
            };
            let change = |resource: &mut Map<String, Value>| {
                let members = resource.entry("members").or_insert_with(|| json!([]));
                let Some(members) = members.as_array_mut() else { return };
                let there: Ids = members.iter().filter_map(member_id).collect();
                let new = wanted.union(&added).filter(|id| !there.contains(*id));
                members.extend(new.map(|id| json!({ "value": id })));
            };
            match self.write(Way::Put, Kind::Group, group, None, &change).await {
                Ok(Outcome::Shown(shown)) => {
                    let shown: Ids = shown.member_ids().into_iter().flatten().collect();
                    if wanted.is_subset(&shown) {
                        return Ok(());
                    }
                }
                Ok(Outcome::Gone | Outcome::Nothing) => return Ok(()),
                Err(error) if error.is_of_form() && !self.abilities.has(Quirk::NoPatch) => {}
                Err(error) => return Err(error),
            }
        }
        if self.members(group).await?.is_some() {
            return Err(ApplyError::AdditionIgnored { count: wanted.len() });
        }
        self.abilities.found(Quirk::HidesMembers);
        warn!(
            "the SCIM service shows no members: those that were added count as members from now on [{}]",
            ErrorCode::ScimHidesMembers
        );
        self.store.learn(Quirk::HidesMembers, true).await.map_err(ApplyError::Store)
    }

    /// Removes members by each form of request in turn, until they are seen to be gone.
    pub(super) async fn remove_members(
        &self,
        group: &ScimId,
        users: Vec<(OktaUserId, ScimId)>,
    ) -> Result<(), ApplyError> {
        let all: Vec<ScimId> = users.into_iter().map(|(_, scim)| scim).collect();
        if self.abilities.has(Quirk::HidesMembers) {
            self.in_parts(group, &all, patch::remove_members).await?;
            return self.store.note_removed(group.clone(), all).await.map_err(ApplyError::Store);
        }
        let _alone = self.alone(group).await;
        let mut left: Ids = all.iter().map(ToString::to_string).collect();
        let mut before: Option<Ids> = None;
        for form in self.abilities.removals() {
            if before.is_none() && form != Removal::Filter {
                let members = self.members(group).await?.unwrap_or_default();
                let members: Ids = members.into_iter().collect();
                left.retain(|id| members.contains(id));
                before = Some(members);
            }
            let stay: Ids = before.iter().flatten().filter(|id| !left.contains(*id)).cloned().collect();
            match self.remove_by(form, group, &left, &stay).await {
                Ok(()) => {}
                // Not understood, or somebody else was quicker: the look tells.
                Err(error) if error.is_of_form() && form != Removal::Put => {}
                Err(error) if error.is_of_form() && !self.abilities.has(Quirk::NoPatch) => {}
                Err(error) => return Err(error),
            }
            let now: Ids = self.members(group).await?.unwrap_or_default().into_iter().collect();
            let lost: Vec<ScimId> = stay.difference(&now).map(|id| ScimId::from(id.as_str())).collect();
            if !lost.is_empty() {
                self.abilities.found(form.quirk());
                warn!(
                    members = lost.len(),
                    "a removal took others along, who are added back [{}]",
                    ErrorCode::ScimIgnoresChange
                );
                self.in_parts(group, &lost, patch::add_members).await?;
            }
            left.retain(|id| now.contains(id));
            if left.is_empty() {
                return self.store.note_removed(group.clone(), all).await.map_err(ApplyError::Store);
            }
            self.abilities.found(form.quirk());
        }
        // What failed may have been the moment: the next run tries every form again.
        for form in [Removal::Filter, Removal::Replacing, Removal::Put, Removal::List] {
            self.abilities.lost(form.quirk());
        }
        Err(ApplyError::RemovalIgnored { count: left.len() })
    }

    async fn remove_by(
        &self,
        form: Removal,
        group: &ScimId,
        gone: &Ids,
        stay: &Ids,
    ) -> Result<(), ApplyError> {
        let ids: Vec<ScimId> = gone.iter().map(|id| ScimId::from(id.as_str())).collect();
        match form {
            Removal::Filter => self.in_parts(group, &ids, patch::remove_members).await.map(drop),
            Removal::List => self.in_parts(group, &ids, patch::remove_member_list).await.map(drop),
            Removal::Replacing if stay.len() > self.abilities.members_at_once() => Ok(()),
            Removal::Replacing => {
                let message = patch::replace_members(stay.iter().map(String::as_str));
                match self.patch(Kind::Group, group, &message).await {
                    Ok(_) => Ok(()),
                    Err(error) if error.is_too_many() => {
                        self.abilities.too_many(stay.len());
                        Ok(())
                    }
                    Err(source) => Err(ApplyError::Scim { doing: "replace the members", source }),
                }
            }
            Removal::Put => {
                let change = |resource: &mut Map<String, Value>| {
                    if let Some(members) = resource.get_mut("members").and_then(Value::as_array_mut) {
                        members.retain(|member| member_id(member).is_none_or(|id| !gone.contains(&id)));
                    }
                };
                self.write(Way::Put, Kind::Group, group, None, &change).await.map(drop)
            }
        }
    }

    /// One PATCH for as many as the service takes at once; what it answered the last with.
    async fn in_parts<'i>(
        &self,
        group: &ScimId,
        ids: &'i [ScimId],
        message: impl Fn(Vec<&'i str>) -> Value,
    ) -> Result<Option<Resource>, ApplyError> {
        let (mut rest, mut last) = (ids, None);
        while !rest.is_empty() {
            let (part, others) = rest.split_at(rest.len().min(self.abilities.members_at_once()));
            match self.patch(Kind::Group, group, &message(part.iter().map(ScimId::as_str).collect())).await {
                Ok(answer) => (rest, last) = (others, answer),
                Err(error) if error.is_too_many() && part.len() > 1 => self.abilities.too_many(part.len()),
                Err(source) => return Err(ApplyError::Scim { doing: "change the members", source }),
            }
        }
        Ok(last)
    }

    /// The members that a group shows, if any.
    async fn members(&self, group: &ScimId) -> Result<Option<Vec<String>>, ApplyError> {
        Ok(self.look(Kind::Group, group).await?.and_then(|group| group.member_ids()))
    }
}

fn member_id(member: &Value) -> Option<String> {
    match member.get("value")? {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

impl ApplyError {
    /// Whether the form of the request was refused, where another form may do.
    pub(super) fn is_of_form(&self) -> bool {
        match self {
            Self::Scim { source, .. } => ScimError::is_of_form(source),
            Self::PhantomConflict { .. }
            | Self::Taken { .. }
            | Self::RemovalIgnored { .. }
            | Self::AdditionIgnored { .. }
            | Self::StaysActive
            | Self::Unseen
            | Self::Search(_)
            | Self::Store(_)
            | Self::UsersMissing { .. } => false,
        }
    }
}
