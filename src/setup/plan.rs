//! # Purpose
//! From what is there and what is wanted to the calls that are missing, in their order.
//!
//! # Invariants kept here
//! - Pure. A plan that was carried out leaves nothing for the next one.
//! - No step takes anything away, except the two that end an old key after a new one was proven.
//! - What somebody switched off on purpose is not switched on again.
//!
//! # Not here
//! Carrying it out: `admin`. Words for it: `say`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::found::{Application, Found, RegisteredKey, Resource, material};
use super::step::Step;
use crate::catalogue::ErrorCode;

/// What the connection shall be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wishes {
    /// Of the application, the role and the resource set.
    pub label: String,
    /// Of the application, where it is known already.
    pub client_id: Option<String>,
    /// `https://example.okta.com`.
    pub origin: String,
    /// Whether grants shall be carried out, or the directory only be read.
    pub access: bool,
    /// Only these groups; all, where there are none.
    pub groups: BTreeSet<String>,
    /// The public half of the connector's key.
    pub public_jwk: Value,
}

impl Wishes {
    /// The Okta API scopes, no more and no fewer.
    pub fn scopes(&self) -> [&'static str; 2] {
        ["okta.users.read", if self.access { "okta.groups.manage" } else { "okta.groups.read" }]
    }

    /// What the admin role permits.
    pub fn permissions(&self) -> Vec<&'static str> {
        let mut permissions = vec!["okta.users.read", "okta.groups.read"];
        if self.access {
            // Okta wants both: the one for the group, the other for the user.
            permissions.extend(["okta.groups.members.manage", "okta.users.groupMembership.manage"]);
        }
        permissions
    }

    /// What the role is limited to.
    pub fn resources(&self) -> BTreeSet<Resource> {
        let mut resources = BTreeSet::from([Resource::AllUsers]);
        if self.groups.is_empty() {
            resources.insert(Resource::AllGroups);
        }
        resources.extend(self.groups.iter().cloned().map(Resource::Group));
        resources
    }
}

/// What is missing, and what is more than it should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order in which they are carried out.
    pub steps: Vec<Step>,
    /// For a person to look at.
    pub warnings: Vec<Warning>,
}

/// Something that has more rights than the connector needs. It is told and left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Scopes.
    #[error("the application has scopes that the connector does not need: {}; take them away under Okta API Scopes [{code}]", .0.join(", "), code = ErrorCode::MoreThanNeeded)]
    Scopes(Vec<String>),
    /// Permissions.
    #[error("the role {label:?} permits more than the connector needs: {}; take it away under Administrators, Roles [{code}]", permissions.join(", "), code = ErrorCode::MoreThanNeeded)]
    Permissions {
        /// The role.
        label: String,
        /// What is too much.
        permissions: Vec<String>,
    },
    /// Resources.
    #[error("the resource set {label:?} holds more than was asked for: {}; take it away under Administrators, Resources [{code}]", resources.join(", "), code = ErrorCode::MoreThanNeeded)]
    Resources {
        /// The set.
        label: String,
        /// What is too much.
        resources: Vec<String>,
    },
    /// Roles.
    #[error(
        "the application has another admin role, {0}, beside the one that it needs; take it away under Admin roles [{code}]",
        code = ErrorCode::MoreThanNeeded
    )]
    Roles(String),
    /// Keys.
    #[error("the application accepts other keys than this host's: {}; deactivate those that nobody uses under General, Public Keys [{code}]", .0.join(", "), code = ErrorCode::MoreThanNeeded)]
    Keys(Vec<String>),
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The credentials name an application that is not there.
    #[error(
        "the credentials name the client {0}, which this organization does not have; if they belong to another organization, name a file for this one with --credentials-file; else correct --organization-url, or move the credentials file away to begin anew [{code}]", code = ErrorCode::SetupObstacle)]
    NoSuchClient(String),
    /// Which one?
    #[error("several applications have the label {label:?} ({}); choose another with --app-label, or rename those that are not the connector's [{code}]", ids.join(", "), code = ErrorCode::SetupObstacle)]
    Several {
        /// The label.
        label: String,
        /// The applications.
        ids: Vec<String>,
    },
    /// Another kind of application.
    #[error(
        "the label {label:?} is taken by the application {id}, which is {what}; choose another with --app-label [{code}]", code = ErrorCode::SetupObstacle)]
    LabelTaken {
        /// The label.
        label: String,
        /// The application.
        id: String,
        /// What it is.
        what: String,
    },
    /// Switched off.
    #[error(
        "the application {label:?} ({id}) is deactivated; activate it in Okta if that was no purpose, and run this again [{code}]", code = ErrorCode::SetupObstacle)]
    Inactive {
        /// The label.
        label: String,
        /// The application.
        id: String,
    },
    /// Switched off.
    #[error(
        "the key {0} of this host is deactivated at the application; make another with `apono-connector key rotate` [{code}]",
        code = ErrorCode::SetupObstacle
    )]
    KeyInactive(String),
    /// Two keys of one name.
    #[error(
        "the application has another key with the key id {0}; make another with `apono-connector key rotate` [{code}]",
        code = ErrorCode::SetupObstacle
    )]
    KidTaken(String),
    /// Okta takes no further key beside it.
    #[error(
        "the application has a key without a key id ({0}), and Okta takes no other beside such a one; under General, Public Keys, delete it and add it again with a key id (`apono-connector key jwk` prints it with one), then run this again [{code}]",
        code = ErrorCode::SetupObstacle
    )]
    NoKid(String),
}

impl Obstacle {
    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoSuchClient(_)
            | Self::Several { .. }
            | Self::LabelTaken { .. }
            | Self::Inactive { .. }
            | Self::KeyInactive(_)
            | Self::KidTaken(_)
            | Self::NoKid(_) => ErrorCode::SetupObstacle,
        }
    }
}

/// Whether Okta takes a further key beside these.
pub fn room_for_a_key(keys: &[RegisteredKey]) -> Result<(), Obstacle> {
    match keys.iter().find(|key| key.kid.is_none()) {
        Some(key) => Err(Obstacle::NoKid(key.id.clone())),
        None => Ok(()),
    }
}

/// What is missing.
pub fn plan(found: &Found, wishes: &Wishes) -> Result<Plan, Obstacle> {
    let mut plan = Plan::default();
    let application = fit(found, wishes)?;
    match application {
        None => plan
            .steps
            .push(Step::CreateApplication { label: wishes.label.clone(), jwk: wishes.public_jwk.clone() }),
        Some(application) => plan.of_keys(application, wishes)?,
    }
    plan.of_scopes(application, wishes);
    plan.of_role(found, wishes);
    plan.of_resources(found, wishes);
    plan.of_assignment(application, found);
    Ok(plan)
}

/// The one application that is the connector's, if it is there and can be.
fn fit<'f>(found: &'f Found, wishes: &Wishes) -> Result<Option<&'f Application>, Obstacle> {
    let application = match (found.applications.as_slice(), &wishes.client_id) {
        ([], Some(client)) => return Err(Obstacle::NoSuchClient(client.clone())),
        ([], None) => return Ok(None),
        ([one], _) => one,
        (several, _) => {
            let ids = several.iter().map(|application| application.id.clone()).collect();
            return Err(Obstacle::Several { label: wishes.label.clone(), ids });
        }
    };
    let (label, id) = (application.label.clone(), application.id.clone());
    match &application.unfit {
        Some(what) => Err(Obstacle::LabelTaken { label, id, what: what.clone() }),
        None if !application.active => Err(Obstacle::Inactive { label, id }),
        None => Ok(Some(application)),
    }
}

impl Plan {
    fn of_keys(&mut self, application: &Application, wishes: &Wishes) -> Result<(), Obstacle> {
        let wanted = material(&wishes.public_jwk);
        let kid = wishes.public_jwk.get("kid").and_then(Value::as_str).unwrap_or_default();
        match application.keys.iter().find(|key| key.material == wanted) {
            Some(key) if key.active => {}
            Some(_) => return Err(Obstacle::KeyInactive(kid.to_owned())),
            None if application.keys.iter().any(|key| key.kid.as_deref() == Some(kid)) => {
                return Err(Obstacle::KidTaken(kid.to_owned()));
            }
            None => {
                room_for_a_key(&application.keys)?;
                self.steps.push(Step::RegisterKey { jwk: wishes.public_jwk.clone() });
            }
        }
        let others = application.keys.iter().filter(|key| key.active && key.material != wanted);
        let others: Vec<_> = others.map(|key| key.kid.clone().unwrap_or_else(|| key.id.clone())).collect();
        if !others.is_empty() {
            self.warnings.push(Warning::Keys(others));
        }
        Ok(())
    }

    fn of_scopes(&mut self, application: Option<&Application>, wishes: &Wishes) {
        let granted = application.map(|application| application.scopes.clone()).unwrap_or_default();
        let wanted = wishes.scopes();
        let missing = wanted.iter().filter(|scope| !granted.contains(**scope));
        self.steps.extend(
            missing
                .map(|scope| Step::GrantScope { issuer: wishes.origin.clone(), scope: (*scope).to_owned() }),
        );
        // The log is read where that is granted, and changing members includes reading them.
        let harmless = ["okta.logs.read", "okta.groups.read"];
        let more = granted
            .into_iter()
            .filter(|scope| !wanted.contains(&scope.as_str()) && !harmless.contains(&scope.as_str()));
        let more: Vec<_> = more.collect();
        if !more.is_empty() {
            self.warnings.push(Warning::Scopes(more));
        }
    }

    fn of_role(&mut self, found: &Found, wishes: &Wishes) {
        let wanted = wishes.permissions();
        let Some(role) = &found.role else {
            let permissions = wanted.into_iter().map(ToOwned::to_owned).collect();
            self.steps.push(Step::CreateRole { label: wishes.label.clone(), permissions });
            return;
        };
        let missing = wanted.iter().filter(|permission| !role.permissions.contains(**permission));
        self.steps
            .extend(missing.map(|permission| Step::AddPermission { permission: (*permission).to_owned() }));
        let more = role.permissions.iter().filter(|permission| !wanted.contains(&permission.as_str()));
        let permissions: Vec<_> = more.cloned().collect();
        if !permissions.is_empty() {
            self.warnings.push(Warning::Permissions { label: wishes.label.clone(), permissions });
        }
    }

    fn of_resources(&mut self, found: &Found, wishes: &Wishes) {
        let wanted = wishes.resources();
        let urls = |resources: Vec<&Resource>| {
            resources.into_iter().map(|resource| resource.url(&wishes.origin)).collect::<Vec<_>>()
        };
        let Some(set) = &found.resource_set else {
            let resources = urls(wanted.iter().collect());
            self.steps.push(Step::CreateResourceSet { label: wishes.label.clone(), resources });
            return;
        };
        let missing: Vec<_> = wanted.iter().filter(|resource| !set.reaches(resource)).collect();
        if !missing.is_empty() {
            self.steps.push(Step::AddResources { resources: urls(missing) });
        }
        let all = wanted.contains(&Resource::AllGroups);
        let is_wanted = |resource: &&Resource| {
            wanted.contains(*resource) || (all && matches!(resource, Resource::Group(_)))
        };
        let more: Vec<_> = set.resources.iter().filter(|resource| !is_wanted(resource)).collect();
        if !more.is_empty() {
            let resources = urls(more);
            self.warnings.push(Warning::Resources { label: wishes.label.clone(), resources });
        }
    }

    fn of_assignment(&mut self, application: Option<&Application>, found: &Found) {
        let assignments = application.map(|application| application.assignments.as_slice());
        let (role, set) = (found.role.as_ref(), found.resource_set.as_ref());
        let ours = |assignment: &super::found::Assignment| {
            role.is_some_and(|role| assignment.role.as_ref() == Some(&role.id))
                && set.is_some_and(|set| assignment.resource_set.as_ref() == Some(&set.id))
        };
        let assignments = assignments.unwrap_or_default();
        if !assignments.iter().any(ours) {
            self.steps.push(Step::AssignRole);
        }
        let others = assignments.iter().filter(|assignment| !ours(assignment));
        self.warnings.extend(others.map(|other| Warning::Roles(format!("{} ({})", other.label, other.kind))));
    }
}

#[cfg(test)]
mod tests;
