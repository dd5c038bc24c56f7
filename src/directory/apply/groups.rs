//! # Purpose
//! Carries out what the plan says of groups, but for their members.
//!
//! # Invariants kept here
//! - A group that is found at the provider keeps its members.
//!
//! # Not here
//! Members: `members`.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::writing::Outcome;
use super::{Applier, ApplyError, StoreError, unclaimed};
use crate::directory::plan::{GroupFacts, Origin};
use crate::domain::{OktaGroupId, ScimId};
use crate::scim::{GROUP, Kind, PATCH_OP, Resource};

impl Applier<'_> {
    pub(super) async fn create_group(&self, okta: OktaGroupId, name: String) -> Result<(), ApplyError> {
        let body = json!({ "schemas": [GROUP], "externalId": okta, "displayName": name });
        let new = GroupFacts { name, external_id: Some(okta.as_str().to_owned()) };
        let created = match self.provider.create(Kind::Group, &body).await {
            Ok(created) => created,
            Err(error) if error.status() == Some(StatusCode::CONFLICT) => {
                let found = self.find(Kind::Group, okta.as_str(), "displayName", &new.name).await?;
                let found = unclaimed(found, okta.as_str(), &format!("the group of {okta}"))?;
                self.update_group(&found.id, &facts(&found), &new).await?;
                return self.own_group(okta, found.id, Origin::Adopted).await;
            }
            Err(source) => return Err(ApplyError::Scim { doing: "create the group", source }),
        };
        self.writes.fetch_add(1, Ordering::Relaxed);
        let created = match created {
            Some(created) => created,
            None => self
                .find(Kind::Group, okta.as_str(), "displayName", &new.name)
                .await?
                .ok_or_else(|| ApplyError::PhantomConflict { what: format!("the group of {okta}") })?,
        };
        let (id, shown) = (created.id.clone(), facts(&created));
        self.own_group(okta, id.clone(), Origin::Created).await?;
        if shown == new { Ok(()) } else { self.update_group(&id, &shown, &new).await }
    }

    pub(super) async fn update_group(
        &self,
        scim: &ScimId,
        old: &GroupFacts,
        new: &GroupFacts,
    ) -> Result<(), ApplyError> {
        let (mut before, mut last, mut shown) = (old.clone(), None, None);
        let mut trial = self.abilities.trial();
        for way in self.abilities.ways() {
            let message = message(&before, new);
            let change = |resource: &mut Map<String, Value>| {
                resource.insert("displayName".to_owned(), json!(new.name));
                if let Some(id) = &new.external_id {
                    resource.insert("externalId".to_owned(), json!(id));
                }
            };
            let outcome = match self.write(way, Kind::Group, scim, message.as_ref(), &change).await {
                Err(error) if error.is_of_form() => {
                    trial.was_idle(way);
                    last = Some(error);
                    continue;
                }
                // The form that is left would do harm.
                Err(ApplyError::Unseen) if shown.is_some() => break,
                outcome => outcome?,
            };
            let now = match outcome {
                Outcome::Gone => return Ok(()),
                Outcome::Nothing => before.clone(),
                Outcome::Shown(group) => facts(&group),
            };
            if now == *new || now != before {
                trial.took(way);
            } else {
                trial.was_idle(way);
            }
            if now == *new {
                return self.store.note_kept(Kind::Group, scim).await.map_err(ApplyError::Store);
            }
            (before, shown) = (now.clone(), Some(now));
        }
        let Some(shown) = shown else {
            return Err(last.unwrap_or(ApplyError::Unseen));
        };
        let mut missing = BTreeSet::new();
        if shown.name != new.name {
            missing.insert("displayName".to_owned());
        }
        if shown.external_id != new.external_id {
            missing.insert("externalId".to_owned());
        }
        self.note_missing(&missing);
        let text = |facts: &GroupFacts| serde_json::to_string(facts).map_err(StoreError::Row);
        let texts = text(new).and_then(|wanted| Ok((wanted, text(&shown)?)));
        let noted = self.store.note_unkept(Kind::Group, scim, texts.map_err(ApplyError::Store)?).await;
        noted.map_err(ApplyError::Store)
    }
}

fn facts(group: &Resource) -> GroupFacts {
    let name = group.members.get("displayName").and_then(Value::as_str).unwrap_or_default();
    GroupFacts { name: name.to_owned(), external_id: group.external_id.clone() }
}

fn message(old: &GroupFacts, new: &GroupFacts) -> Option<Value> {
    let mut operations = Vec::new();
    if old.name != new.name {
        operations.push(json!({ "op": "replace", "path": "displayName", "value": new.name }));
    }
    if old.external_id != new.external_id {
        operations.push(json!({ "op": "replace", "path": "externalId", "value": new.external_id }));
    }
    (!operations.is_empty()).then(|| json!({ "schemas": [PATCH_OP], "Operations": operations }))
}
