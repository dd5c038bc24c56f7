//! # Purpose
//! Carries out what the plan says of people.
//!
//! # Invariants kept here
//! - A write is believed after a look, which most services answer it with; what did not take is written by the next
//!   form of request.
//! - A deactivation that no form achieves is a failure. What else a service does not keep is noted, and not written
//!   again.
//!
//! # Not here
//! The forms: `writing`.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use http::StatusCode;
use serde_json::{Map, Value, json};
use tracing::info;

use super::writing::Outcome;
use super::{Applier, ApplyError, unclaimed};
use crate::directory::plan::{Origin, UserFacts};
use crate::domain::{OktaUserId, ScimId};
use crate::scim::attributes::{Path, active, read, same, write};
use crate::scim::{ENTERPRISE_USER, Kind, PATCH_OP, Quirk, Resource, USER, patch};

impl Applier<'_> {
    pub(super) async fn deactivate(&self, scim: &ScimId) -> Result<(), ApplyError> {
        let message = patch::replace("active", &json!(false));
        let change = |resource: &mut Map<String, Value>| {
            resource.insert("active".to_owned(), json!(false));
        };
        let (mut last, mut trial) = (None, self.abilities.trial());
        for way in self.abilities.ways() {
            match self.write(way, Kind::User, scim, Some(&message), &change).await {
                Ok(Outcome::Gone) => return Ok(()),
                Ok(Outcome::Shown(user)) if active(&user.members) == Some(false) => {
                    trial.took(way);
                    return Ok(());
                }
                Ok(Outcome::Shown(_) | Outcome::Nothing) => last = Some(ApplyError::StaysActive),
                Err(error) if error.is_of_form() => last = Some(error),
                Err(error) => return Err(error),
            }
            trial.was_idle(way);
        }
        Err(last.unwrap_or(ApplyError::StaysActive))
    }

    pub(super) async fn create_user(&self, okta: OktaUserId, new: &UserFacts) -> Result<(), ApplyError> {
        let created = match self.provider.create(Kind::User, &Value::Object(user_resource(new))).await {
            Ok(created) => created,
            Err(error) if error.status() == Some(StatusCode::CONFLICT) => {
                return self.adopt_user(okta, new).await;
            }
            Err(source) => return Err(ApplyError::Scim { doing: "create the user", source }),
        };
        self.writes.fetch_add(1, Ordering::Relaxed);
        let created = match created {
            Some(created) => created,
            // It does not say what it made: the same search as after a conflict finds it.
            None => self
                .find(Kind::User, okta.as_str(), "userName", user_name(new))
                .await?
                .ok_or_else(|| ApplyError::PhantomConflict { what: format!("the user of {okta}") })?,
        };
        let id = created.id.clone();
        self.own_user(okta, id.clone(), Origin::Created).await?;
        let shown = self.facts(&created);
        let missing = missing(&shown, &UserFacts::default(), new);
        if missing.is_empty() {
            return self.store.note_kept(Kind::User, &id).await.map_err(ApplyError::Store);
        }
        if missing.contains("active") || !self.is_usual(&missing) {
            return self.update_user(&id, &shown, new).await;
        }
        self.note_unkept_user(&id, new, &shown).await
    }

    /// There is one already: found by our id, or by its name, it becomes ours and is brought up to date.
    async fn adopt_user(&self, okta: OktaUserId, new: &UserFacts) -> Result<(), ApplyError> {
        let found = self.find(Kind::User, okta.as_str(), "userName", user_name(new)).await?;
        let found = unclaimed(found, okta.as_str(), &format!("the user of {okta}"))?;
        self.update_user(&found.id, &self.facts(&found), new).await?;
        self.own_user(okta, found.id, Origin::Adopted).await
    }

    pub(super) async fn update_user(
        &self,
        scim: &ScimId,
        old: &UserFacts,
        new: &UserFacts,
    ) -> Result<(), ApplyError> {
        let (mut before, mut last, mut trial) = (old.clone(), None, self.abilities.trial());
        // A write that came to its end, by whichever form, and what it left undone.
        let mut shown: Option<UserFacts> = None;
        for way in self.abilities.ways() {
            let message = message(&before, new);
            let change = |resource: &mut Map<String, Value>| apply_to(resource, &before, new);
            let outcome = match self.write(way, Kind::User, scim, message.as_ref(), &change).await {
                Err(error) if error.is_of_form() => {
                    trial.was_idle(way);
                    last = Some(error);
                    continue;
                }
                outcome => outcome?,
            };
            let now = match outcome {
                Outcome::Gone => return Ok(()),
                Outcome::Nothing => before.clone(),
                Outcome::Shown(user) => self.facts(&user),
            };
            let missing = missing(&now, old, new);
            if missing.is_empty() {
                trial.took(way);
                return self.store.note_kept(Kind::User, scim).await.map_err(ApplyError::Store);
            }
            let took_some = now != before;
            let usual = !missing.contains("active") && self.is_usual(&missing);
            if took_some {
                trial.took(way);
            } else if !usual {
                trial.was_idle(way);
            }
            (before, shown) = (now.clone(), Some(now));
            if usual {
                break;
            }
        }
        let Some(shown) = shown else {
            return Err(last.unwrap_or(ApplyError::StaysActive));
        };
        let missing = missing(&shown, old, new);
        if missing.contains("active") {
            return Err(ApplyError::StaysActive);
        }
        self.note_missing(&missing);
        self.note_unkept_user(scim, new, &shown).await
    }

    /// Makes room for a new object: the old one is deleted, or made inactive and let go.
    pub(super) async fn retire_user(
        &self,
        okta: &OktaUserId,
        scim: &ScimId,
        delete: bool,
        groups: Vec<ScimId>,
    ) -> Result<(), ApplyError> {
        let deleted = if delete { self.delete_user(scim).await? } else { false };
        if !deleted {
            for group in groups {
                self.remove_members(&group, vec![(okta.clone(), scim.clone())]).await?;
            }
            self.deactivate(scim).await?;
            let message = patch::remove("externalId");
            let change = |resource: &mut Map<String, Value>| {
                resource.remove("externalId");
            };
            for way in self.abilities.ways() {
                match self.write(way, Kind::User, scim, Some(&message), &change).await {
                    Ok(Outcome::Shown(user)) if user.external_id.is_some() => {}
                    Ok(Outcome::Shown(_) | Outcome::Gone | Outcome::Nothing) => break,
                    // With two objects of one id the known one counts.
                    Err(error) if error.is_of_form() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.store.disown_user(okta.clone()).await.map_err(ApplyError::Store)
    }

    /// False where the service deletes nobody.
    async fn delete_user(&self, scim: &ScimId) -> Result<bool, ApplyError> {
        match self.provider.delete(Kind::User, scim).await {
            Ok(()) => {
                self.writes.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Err(error) if error.is_of_form() => Ok(false),
            Err(source) => Err(ApplyError::Scim { doing: "delete the old user", source }),
        }
    }

    async fn note_unkept_user(
        &self,
        scim: &ScimId,
        wanted: &UserFacts,
        shown: &UserFacts,
    ) -> Result<(), ApplyError> {
        let mut wanted = wanted.profile();
        // The plan takes over a name that differs in case alone, and what is spelled in another way.
        for (path, value) in &mut wanted.attributes {
            if let Some(theirs) = shown.attributes.get(path).filter(|theirs| is_same(path, value, theirs)) {
                *value = theirs.clone();
            }
        }
        let text = |facts: &UserFacts| serde_json::to_string(facts).map_err(super::StoreError::Row);
        let texts = text(&wanted).and_then(|wanted| Ok((wanted, text(&shown.profile())?)));
        let noted = self.store.note_unkept(Kind::User, scim, texts.map_err(ApplyError::Store)?).await;
        noted.map_err(ApplyError::Store)
    }

    /// Whether the service has been seen not to keep any of these.
    fn is_usual(&self, missing: &BTreeSet<String>) -> bool {
        let lost = self.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        missing.is_subset(&lost)
    }

    pub(super) fn note_missing(&self, missing: &BTreeSet<String>) {
        self.abilities.found(Quirk::KeepsSomeOnly);
        let mut lost = self.lost.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for what in missing {
            if lost.insert(what.clone()) {
                info!(attribute = what, "the SCIM service does not keep {what} as it is written");
            }
        }
    }

    /// What a user shows of what is compared.
    pub(super) fn facts(&self, user: &Resource) -> UserFacts {
        UserFacts {
            active: active(&user.members),
            external_id: user.external_id.clone(),
            attributes: read(&user.members, self.paths),
        }
    }
}

/// What of `new` is not shown, and what was in `old` and should have gone.
fn missing(shown: &UserFacts, old: &UserFacts, new: &UserFacts) -> BTreeSet<String> {
    let absent = new
        .attributes
        .iter()
        .filter(|(path, value)| shown.attributes.get(path).is_none_or(|shown| !is_same(path, value, shown)));
    let left = old
        .attributes
        .keys()
        .filter(|path| !new.attributes.contains_key(path) && shown.attributes.contains_key(path));
    let mut missing: BTreeSet<String> =
        absent.map(|(path, _)| path).chain(left).map(ToString::to_string).collect();
    if new.external_id.is_some() && new.external_id != shown.external_id {
        missing.insert("externalId".to_owned());
    }
    if new.active.is_some() && new.active != shown.active {
        missing.insert("active".to_owned());
    }
    missing
}

/// Whether a value is the one that was written; of user names case does not matter.
fn is_same(path: &Path, wanted: &Value, shown: &Value) -> bool {
    let folded = |value: &Value| value.as_str().map(str::to_lowercase);
    same(wanted, shown) || (path.attribute() == "userName" && folded(wanted) == folded(shown))
}

/// The PATCH with paths, or nothing where nothing differs.
fn message(old: &UserFacts, new: &UserFacts) -> Option<Value> {
    let mut operations = Vec::new();
    let mut message = patch::of_attributes(&old.attributes, &new.attributes)
        .unwrap_or_else(|| json!({ "schemas": [PATCH_OP], "Operations": [] }));
    if let Some(active) = new.active.filter(|active| old.active != Some(*active)) {
        operations.push(json!({ "op": "replace", "path": "active", "value": active }));
    }
    if let Some(id) = new.external_id.as_ref().filter(|_| new.external_id != old.external_id) {
        operations.push(json!({ "op": "replace", "path": "externalId", "value": id }));
    }
    let all = message["Operations"].as_array_mut()?;
    all.extend(operations);
    (!all.is_empty()).then_some(message)
}

/// Makes of what a user is what it should be; what else is there stays.
fn apply_to(resource: &mut Map<String, Value>, old: &UserFacts, new: &UserFacts) {
    for path in old.attributes.keys().filter(|path| !new.attributes.contains_key(path)) {
        path.unset(resource);
    }
    for (path, value) in &new.attributes {
        path.set(resource, value.clone());
    }
    if let Some(active) = new.active.filter(|active| old.active != Some(*active)) {
        resource.insert("active".to_owned(), json!(active));
    }
    if let Some(id) = &new.external_id {
        resource.insert("externalId".to_owned(), json!(id));
    }
    let ours = new.attributes.keys().filter_map(Path::schema).chain([ENTERPRISE_USER]);
    let used: BTreeSet<_> = ours.filter(|schema| resource.contains_key(*schema)).collect();
    if !used.is_empty()
        && let Some(schemas) = resource.entry("schemas").or_insert_with(|| json!([USER])).as_array_mut()
    {
        for schema in used {
            if !schemas.iter().any(|listed| listed == schema) {
                schemas.push(json!(schema));
            }
        }
    }
}

fn user_name(facts: &UserFacts) -> &str {
    let found = facts.attributes.iter().find(|(path, _)| path.attribute() == "userName");
    found.and_then(|(_, value)| value.as_str()).unwrap_or_default()
}

/// The resource that a user is created as.
fn user_resource(facts: &UserFacts) -> Map<String, Value> {
    let mut resource = write(&facts.attributes);
    let mut schemas = BTreeSet::from([USER]);
    schemas.extend(facts.attributes.keys().filter_map(Path::schema));
    resource.insert("schemas".to_owned(), json!(schemas));
    resource.insert("externalId".to_owned(), json!(facts.external_id));
    resource.insert("active".to_owned(), json!(facts.active.unwrap_or(true)));
    resource
}
