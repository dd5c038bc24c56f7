//! # Purpose
//! One write to one object, by whichever form the service takes, and a look at what has become of it.
//!
//! # Invariants kept here
//! - What is put back whole is what was read just before, under its version where there is one; a version that has
//!   passed is read again, once.
//! - A group whose members cannot be seen is never put back whole.
//!
//! # Not here
//! What to write: `users`, `groups`, `members`.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value};

use super::{Applier, ApplyError};
use crate::domain::ScimId;
use crate::scim::abilities::Way;
use crate::scim::attributes::mend_booleans;
use crate::scim::{Kind, Quirk, Resource, ScimError, patch};

/// What has become of an object.
pub(super) enum Outcome {
    /// This.
    Shown(Box<Resource>),
    /// There was nothing to send.
    Nothing,
    /// It is not there any more; the next run sees it.
    Gone,
}

impl Applier<'_> {
    /// Changes an object by one form. `message` makes the PATCH with paths, `change` the object as it should be.
    pub(super) async fn write(
        &self,
        way: Way,
        kind: Kind,
        id: &ScimId,
        message: Option<&Value>,
        change: &(dyn Fn(&mut Map<String, Value>) + Sync),
    ) -> Result<Outcome, ApplyError> {
        let doing = way.doing();
        let failed = |source| ApplyError::Scim { doing, source };
        let answer = match way {
            Way::Paths => match message {
                Some(message) => self.patch(kind, id, message).await,
                None => return Ok(Outcome::Nothing),
            },
            Way::Whole | Way::Put => {
                let Some(mut before) = self.look(kind, id).await? else {
                    return Ok(Outcome::Gone);
                };
                let mut tried = false;
                loop {
                    match self.rewrite(way, kind, &before, change).await {
                        Ok(None) => return Ok(Outcome::Shown(Box::new(before))),
                        Ok(Some(answer)) => break Ok(answer),
                        Err(ApplyError::Scim { source, .. }) if source.is_of_version() && !tried => {
                            tried = true;
                            match self.look(kind, id).await? {
                                Some(newer) => before = newer,
                                None => return Ok(Outcome::Gone),
                            }
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        };
        let shown = match answer.map_err(failed)? {
            Some(resource) => Some(resource),
            None => self.look(kind, id).await?,
        };
        Ok(shown.map_or(Outcome::Gone, |resource| Outcome::Shown(Box::new(resource))))
    }

    /// Sends back what was read, changed. `None` when nothing changes.
    async fn rewrite(
        &self,
        way: Way,
        kind: Kind,
        before: &Resource,
        change: &(dyn Fn(&mut Map<String, Value>) + Sync),
    ) -> Result<Option<Option<Resource>>, ApplyError> {
        let doing = way.doing();
        if way == Way::Put && kind == Kind::Group && self.abilities.has(Quirk::HidesMembers) {
            return Err(ApplyError::Unseen);
        }
        let mut old = before.members.clone();
        mend_booleans(&mut old);
        let mut new = old.clone();
        change(&mut new);
        let version = before.version.as_deref();
        let answer = match way {
            Way::Put if new == old => return Ok(None),
            Way::Put => self.provider.replace(kind, &before.id, &Value::Object(new), version).await,
            Way::Paths | Way::Whole => match patch::whole(&old, &new) {
                Some(message) => self.provider.patch(kind, &before.id, &message, version).await,
                None => return Ok(None),
            },
        };
        let answer = answer.map_err(|source| ApplyError::Scim { doing, source })?;
        self.wrote(kind, &before.id, answer.as_ref()).await?;
        Ok(Some(answer))
    }

    /// A PATCH under the version that was read, and once more under a newer one: what it names is named by value, so
    /// that it means the same.
    pub(super) async fn patch(
        &self,
        kind: Kind,
        id: &ScimId,
        message: &Value,
    ) -> Result<Option<Resource>, ScimError> {
        let version = self.store.version(kind, id).await.ok().flatten();
        let mut answer = self.provider.patch(kind, id, message, version.as_deref()).await;
        if answer.as_ref().is_err_and(ScimError::is_of_version) {
            let newer = self.provider.get(kind, id).await?.and_then(|resource| resource.version);
            answer = self.provider.patch(kind, id, message, newer.as_deref()).await;
        }
        let answer = answer?;
        // A version that cannot be noted is met with 412, which is answered above.
        let _ = self.wrote(kind, id, answer.as_ref()).await;
        Ok(answer)
    }

    /// What an object is now.
    pub(super) async fn look(&self, kind: Kind, id: &ScimId) -> Result<Option<Resource>, ApplyError> {
        let looked = self.provider.get(kind, id).await;
        looked.map_err(|source| ApplyError::Scim { doing: "look at what was written", source })
    }

    /// Counts a write, and notes the version that the object has by it.
    pub(super) async fn wrote(
        &self,
        kind: Kind,
        id: &ScimId,
        answer: Option<&Resource>,
    ) -> Result<(), ApplyError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let version = answer.and_then(|resource| resource.version.clone());
        self.store.note_versions(kind, vec![(id.clone(), version)]).await.map_err(ApplyError::Store)
    }
}

impl Way {
    fn doing(self) -> &'static str {
        match self {
            Self::Paths => "change by PATCH",
            Self::Whole => "change by PATCH without a path",
            Self::Put => "replace by PUT",
        }
    }
}
