//! # Purpose
//! Decides, object by object, what has to be written to make the provider equal to the selection of Okta.
//!
//! # Invariants kept here
//! - Pure. An operation carries ids and values; nothing is left to choose when it is applied.
//! - Only objects that the connector created or adopted are changed.
//! - A person is deactivated, never deleted; unless a changed login is to make a new object in place of one that the
//!   connector created (`user_name_change = "recreate"`).
//!
//! # Not here
//! Pairing of both sides: `store`. How much may be taken away: `breaker`. Doing it: `apply`.

mod hash;

use serde::{Deserialize, Serialize};

pub use hash::PlanHash;

use super::breaker::Kind;
use crate::domain::{OktaGroupId, OktaUserId, ScimId};
use crate::scim::attributes::{Attributes, Path, same};

/// One write. The order of the variants is the order of execution: removals first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Operation {
    /// A person left Okta or the selection.
    DeactivateUser {
        /// In Okta.
        okta: OktaUserId,
        /// At the provider.
        scim: ScimId,
    },
    /// People left a group.
    RemoveMembers {
        /// In Okta.
        okta: OktaGroupId,
        /// At the provider.
        scim: ScimId,
        /// Who.
        users: Vec<(OktaUserId, ScimId)>,
    },
    /// A group that the connector created has left Okta or the selection.
    DeleteGroup {
        /// In Okta.
        okta: OktaGroupId,
        /// At the provider.
        scim: ScimId,
        /// Its name there.
        name: String,
    },
    /// A group that the connector adopted has left Okta or the selection: it is let go.
    ReleaseGroup {
        /// In Okta.
        okta: OktaGroupId,
        /// At the provider.
        scim: ScimId,
        /// Whom the connector had added.
        users: Vec<(OktaUserId, ScimId)>,
    },
    /// A person's attributes changed, or the person was found at the provider and is adopted.
    UpdateUser {
        /// In Okta.
        okta: OktaUserId,
        /// At the provider.
        scim: ScimId,
        /// What the provider shows.
        old: UserFacts,
        /// What it should show.
        new: UserFacts,
        /// Whether the connector takes the object on with this.
        adopt: bool,
    },
    /// A person is new.
    CreateUser {
        /// In Okta.
        okta: OktaUserId,
        /// What the provider should show.
        new: UserFacts,
    },
    /// A group is new.
    CreateGroup {
        /// In Okta.
        okta: OktaGroupId,
        /// Its name.
        name: String,
    },
    /// A person's login changed at a service that is to have a new object for that.
    RecreateUser {
        /// In Okta.
        okta: OktaUserId,
        /// The old object at the provider.
        scim: ScimId,
        /// Whether the old object is deleted, because the connector created it; one that was adopted is made inactive,
        /// taken out of these groups, and let go.
        delete: bool,
        /// The groups of the selection in which the old object is.
        groups: Vec<ScimId>,
        /// What the new one should show.
        new: UserFacts,
    },
    /// A group's name or id at the provider is not what it should be.
    UpdateGroup {
        /// In Okta.
        okta: OktaGroupId,
        /// At the provider.
        scim: ScimId,
        /// What the provider shows.
        old: GroupFacts,
        /// What it should show.
        new: GroupFacts,
        /// Whether the connector takes the object on with this.
        adopt: bool,
    },
    /// People joined a group.
    AddMembers {
        /// In Okta.
        okta: OktaGroupId,
        /// Who; looked up at the provider when it is done, because some are only created by then.
        users: Vec<OktaUserId>,
    },
}

/// A user as both sides know it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserFacts {
    /// `None` decides nothing.
    pub active: Option<bool>,
    /// Okta's id, as `externalId`.
    pub external_id: Option<String>,
    /// The mapped attributes.
    pub attributes: Attributes,
}

/// A group as both sides know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFacts {
    /// `displayName`.
    pub name: String,
    /// Okta's id, as `externalId`.
    pub external_id: Option<String>,
}

/// What a changed login does at the provider (`okta.scim.user_name_change`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameChange {
    /// The object's `userName` is changed.
    #[default]
    Update,
    /// A new object takes the place of the old.
    Recreate,
}

/// How the connector came to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Created it.
    Created,
    /// Found it and took it on.
    Adopted,
}

impl Operation {
    /// The last of the phases.
    pub const LAST_PHASE: u8 = 6;

    /// Its place in the order of execution.
    pub fn phase(&self) -> u8 {
        match self {
            Self::DeactivateUser { .. } => 0,
            Self::RemoveMembers { .. } => 1,
            Self::DeleteGroup { .. } | Self::ReleaseGroup { .. } => 2,
            Self::UpdateUser { .. } => 3,
            Self::CreateUser { .. } | Self::RecreateUser { .. } => 4,
            Self::CreateGroup { .. } | Self::UpdateGroup { .. } => 5,
            Self::AddMembers { .. } => 6,
        }
    }

    /// The kinds of removal that it is: the breaker holds it when it holds one of them.
    pub fn removes(&self) -> &'static [Kind] {
        match self {
            Self::DeactivateUser { .. } | Self::RecreateUser { .. } => &[Kind::Users],
            Self::RemoveMembers { .. } => &[Kind::Members],
            Self::DeleteGroup { .. } | Self::ReleaseGroup { .. } => &[Kind::Groups, Kind::Members],
            Self::UpdateUser { .. }
            | Self::CreateUser { .. }
            | Self::CreateGroup { .. }
            | Self::UpdateGroup { .. }
            | Self::AddMembers { .. } => &[],
        }
    }

    /// Okta's id of the user or the group that it is about.
    pub fn okta_id(&self) -> &str {
        match self {
            Self::DeactivateUser { okta, .. }
            | Self::UpdateUser { okta, .. }
            | Self::CreateUser { okta, .. }
            | Self::RecreateUser { okta, .. } => okta.as_str(),
            Self::RemoveMembers { okta, .. }
            | Self::DeleteGroup { okta, .. }
            | Self::ReleaseGroup { okta, .. }
            | Self::CreateGroup { okta, .. }
            | Self::UpdateGroup { okta, .. }
            | Self::AddMembers { okta, .. } => okta.as_str(),
        }
    }

    /// What it is called in counts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DeactivateUser { .. } => "deactivate_user",
            Self::RemoveMembers { .. } => "remove_members",
            Self::DeleteGroup { .. } => "delete_group",
            Self::ReleaseGroup { .. } => "release_group",
            Self::UpdateUser { .. } => "update_user",
            Self::CreateUser { .. } => "create_user",
            Self::RecreateUser { .. } => "recreate_user",
            Self::CreateGroup { .. } => "create_group",
            Self::UpdateGroup { .. } => "update_group",
            Self::AddMembers { .. } => "add_members",
        }
    }
}

/// A user of the selection, and what the provider has of it.
#[derive(Clone, Debug, PartialEq)]
pub struct UserPair {
    /// Okta's id.
    pub okta: OktaUserId,
    /// What the provider should show.
    pub wanted: UserFacts,
    /// What it shows, and whether the connector has it already.
    pub found: Option<(ScimId, UserFacts, bool)>,
    /// What it did not keep, and what it showed then.
    pub unkept: Option<(UserFacts, UserFacts)>,
    /// Whether the connector created the object.
    pub created: bool,
    /// The groups of the selection in which it is; needed for a new object only.
    pub groups: Vec<ScimId>,
}

impl UserFacts {
    /// What of it a service may keep or not: everything but whether the user is active.
    #[must_use]
    pub fn profile(&self) -> Self {
        Self { active: None, ..self.clone() }
    }
}

/// What to do for a user of the selection: at most a deactivation (which the breaker counts) and an update.
pub fn user(pair: &UserPair, user_name: &Path, change: NameChange) -> Vec<Operation> {
    match (change, renamed(pair, user_name)) {
        (NameChange::Update, _) | (NameChange::Recreate, None) => in_place(pair, user_name),
        (NameChange::Recreate, Some((scim, theirs))) => {
            if pair.wanted.active == Some(true) {
                let (okta, scim, new) = (pair.okta.clone(), scim.clone(), pair.wanted.clone());
                let groups = if pair.created { Vec::new() } else { pair.groups.clone() };
                return vec![Operation::RecreateUser { okta, scim, delete: pair.created, groups, new }];
            }
            // Nobody is made anew to be inactive: the rest is brought up to date under the old name.
            let mut pair = pair.clone();
            pair.wanted.attributes.insert(user_name.clone(), theirs.clone());
            in_place(&pair, user_name)
        }
    }
}

/// The object and its name, where that is not the one it should have.
fn renamed<'a>(pair: &'a UserPair, user_name: &Path) -> Option<(&'a ScimId, &'a serde_json::Value)> {
    let (scim, old, _) = pair.found.as_ref()?;
    let theirs = old.attributes.get(user_name)?;
    let differs = !same_text(Some(theirs), pair.wanted.attributes.get(user_name));
    differs.then_some((scim, theirs))
}

fn in_place(pair: &UserPair, user_name: &Path) -> Vec<Operation> {
    let deactivate = pair
        .found
        .as_ref()
        .filter(|(_, old, _)| pair.wanted.active == Some(false) && old.active != Some(false));
    let deactivate = deactivate
        .map(|(scim, ..)| Operation::DeactivateUser { okta: pair.okta.clone(), scim: scim.clone() });
    deactivate.into_iter().chain(update(pair, user_name)).collect()
}

fn update(pair: &UserPair, user_name: &Path) -> Option<Operation> {
    let (okta, mut new) = (pair.okta.clone(), pair.wanted.clone());
    let Some((scim, old, known)) = &pair.found else {
        // A status that decides nothing creates nobody either.
        new.active?;
        return Some(Operation::CreateUser { okta, new });
    };
    if new.active != Some(true) {
        new.active = old.active;
    }
    // Providers fold case in user names; a difference in case alone would be written for ever.
    if same_text(old.attributes.get(user_name), new.attributes.get(user_name))
        && let Some(theirs) = old.attributes.get(user_name)
    {
        new.attributes.insert(user_name.clone(), theirs.clone());
    }
    // So would a value that the service spells in its own way.
    for (path, value) in &mut new.attributes {
        if let Some(theirs) = old.attributes.get(path).filter(|theirs| same(theirs, value)) {
            value.clone_from(theirs);
        }
    }
    // Written before, by every form there is, and not kept: the same again would be written for ever.
    let unkept = is_unkept(pair.unkept.as_ref(), &new.profile(), &old.profile());
    if *known && unkept && new.active == old.active {
        return None;
    }
    if new == *old && *known {
        return None;
    }
    Some(Operation::UpdateUser { okta, scim: scim.clone(), old: old.clone(), new, adopt: !known })
}

/// What to do for a person whom the connector has at the provider and who is no longer in the selection.
pub fn departed_user(okta: OktaUserId, scim: ScimId, active: Option<bool>) -> Option<Operation> {
    (active != Some(false)).then_some(Operation::DeactivateUser { okta, scim })
}

/// What to do for a group of the selection.
pub fn group(
    okta: OktaGroupId,
    wanted: GroupFacts,
    found: Option<(ScimId, GroupFacts, bool)>,
    unkept: Option<&(GroupFacts, GroupFacts)>,
) -> Option<Operation> {
    let Some((scim, old, known)) = found else {
        return Some(Operation::CreateGroup { okta, name: wanted.name });
    };
    if known && (old == wanted || is_unkept(unkept, &wanted, &old)) {
        return None;
    }
    Some(Operation::UpdateGroup { okta, scim, old, new: wanted, adopt: !known })
}

/// What to do for a group that the connector has at the provider and that is no longer in the selection.
pub fn departed_group(
    okta: OktaGroupId,
    scim: ScimId,
    name: String,
    origin: Origin,
    added: Vec<(OktaUserId, ScimId)>,
) -> Operation {
    match origin {
        Origin::Created => Operation::DeleteGroup { okta, scim, name },
        Origin::Adopted => Operation::ReleaseGroup { okta, scim, users: added },
    }
}

fn is_unkept<T: PartialEq>(unkept: Option<&(T, T)>, wanted: &T, shown: &T) -> bool {
    unkept.is_some_and(|(was_wanted, was_shown)| was_wanted == wanted && was_shown == shown)
}

fn same_text(a: Option<&serde_json::Value>, b: Option<&serde_json::Value>) -> bool {
    match (a.and_then(serde_json::Value::as_str), b.and_then(serde_json::Value::as_str)) {
        (Some(a), Some(b)) => a.to_lowercase() == b.to_lowercase(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user_name() -> Path {
        Path::parse("userName").unwrap()
    }

    fn facts(active: Option<bool>, name: &str) -> UserFacts {
        UserFacts {
            active,
            external_id: Some("00u1".to_owned()),
            attributes: [(user_name(), json!(name))].into(),
        }
    }

    fn pair(wanted: UserFacts, found: Option<(UserFacts, bool)>) -> Vec<Operation> {
        let found = found.map(|(facts, known)| (ScimId::from("s1"), facts, known));
        user(
            &UserPair {
                okta: OktaUserId::from("00u1"),
                wanted,
                found,
                unkept: None,
                created: true,
                groups: Vec::new(),
            },
            &user_name(),
            NameChange::Update,
        )
    }

    #[test]
    fn equal_sides_need_nothing() {
        let nothing: [Operation; 0] = [];
        assert_eq!(pair(facts(Some(true), "a"), Some((facts(Some(true), "a"), true))), nothing);
        assert_eq!(pair(facts(Some(true), "A"), Some((facts(Some(true), "a"), true))), nothing, "case alone");
        assert_eq!(
            pair(facts(None, "a"), Some((facts(Some(false), "a"), true))),
            nothing,
            "undecided status"
        );
        assert_eq!(pair(facts(None, "a"), None), nothing, "nobody is created on an undecided status");
    }

    #[test]
    fn differences_are_written_and_strangers_are_adopted() {
        let update = pair(facts(Some(true), "b"), Some((facts(Some(false), "a"), true)));
        assert!(matches!(&update[..], [Operation::UpdateUser { adopt: false, .. }]), "{update:?}");
        let adopt = pair(facts(Some(true), "a"), Some((facts(Some(true), "a"), false)));
        assert!(matches!(&adopt[..], [Operation::UpdateUser { adopt: true, .. }]), "{adopt:?}");
        assert!(matches!(&pair(facts(Some(true), "a"), None)[..], [Operation::CreateUser { .. }]));
    }

    #[test]
    fn what_a_service_does_not_keep_is_written_again_only_when_something_is_new() {
        let [wanted, shown] = ["Ada L", "Ada"].map(|name| {
            let mut facts = facts(Some(true), "a");
            facts.attributes.insert(Path::parse("displayName").unwrap(), json!(name));
            facts
        });
        let unkept = Some((wanted.profile(), shown.profile()));
        let plan = |wanted: &UserFacts, shown: &UserFacts| {
            let found = Some((ScimId::from("s1"), shown.clone(), true));
            let (okta, unkept) = (OktaUserId::from("00u1"), unkept.clone());
            let pair =
                UserPair { okta, wanted: wanted.clone(), found, unkept, created: true, groups: Vec::new() };
            user(&pair, &user_name(), NameChange::Update)
        };
        assert_eq!(plan(&wanted, &shown), []);
        let inactive = UserFacts { active: Some(false), ..shown.clone() };
        assert!(
            matches!(&plan(&wanted, &inactive)[..], [Operation::UpdateUser { .. }]),
            "activity is never excused"
        );
        let (mut other, mut changed) = (wanted.clone(), shown.clone());
        other.attributes.insert(Path::parse("title").unwrap(), json!("Countess"));
        assert_eq!(plan(&other, &shown).len(), 1, "Okta has something new");
        changed.external_id = None;
        assert_eq!(plan(&wanted, &changed).len(), 1, "the service shows something new");
    }

    #[test]
    fn a_deactivation_is_an_operation_of_its_own_so_that_the_breaker_counts_it() {
        let suspended = pair(facts(Some(false), "a"), Some((facts(Some(true), "a"), true)));
        assert!(matches!(&suspended[..], [Operation::DeactivateUser { .. }]), "{suspended:?}");
        let both = pair(facts(Some(false), "b"), Some((facts(Some(true), "a"), true)));
        let [Operation::DeactivateUser { .. }, Operation::UpdateUser { new, .. }] = &both[..] else {
            panic!("{both:?}");
        };
        assert_eq!(new.active, Some(true), "left to the deactivation, which may be held");
    }

    #[test]
    fn a_changed_login_makes_a_new_object_only_where_that_is_wanted_and_the_person_is_active() {
        let plan = |wanted: UserFacts, created: bool, change: NameChange| {
            let found = Some((ScimId::from("s1"), facts(Some(true), "a"), true));
            let groups = vec![ScimId::from("g1")];
            let pair =
                UserPair { okta: OktaUserId::from("00u1"), wanted, found, unkept: None, created, groups };
            user(&pair, &user_name(), change)
        };
        let renamed = || facts(Some(true), "b");
        assert!(matches!(&plan(renamed(), true, NameChange::Update)[..], [Operation::UpdateUser { .. }]));
        let made = plan(renamed(), true, NameChange::Recreate);
        assert!(
            matches!(&made[..], [Operation::RecreateUser { delete: true, groups, .. }] if groups.is_empty())
        );
        let let_go = plan(renamed(), false, NameChange::Recreate);
        assert!(
            matches!(&let_go[..], [Operation::RecreateUser { delete: false, groups, .. }] if groups.len() == 1)
        );
        assert_eq!(plan(facts(Some(true), "A"), true, NameChange::Recreate), [], "case alone");
        let inactive = plan(facts(Some(false), "b"), true, NameChange::Recreate);
        assert!(matches!(&inactive[..], [Operation::DeactivateUser { .. }]), "{inactive:?}");
    }

    #[test]
    fn who_left_is_deactivated_once() {
        let (okta, scim) = (OktaUserId::from("00u1"), ScimId::from("s1"));
        assert!(departed_user(okta.clone(), scim.clone(), Some(true)).is_some());
        assert!(departed_user(okta.clone(), scim.clone(), None).is_some());
        assert_eq!(departed_user(okta, scim, Some(false)), None);
    }

    #[test]
    fn only_what_was_created_is_deleted() {
        let departed = |origin| {
            departed_group(OktaGroupId::from("00g"), ScimId::from("s"), "Team".to_owned(), origin, Vec::new())
        };
        assert!(matches!(departed(Origin::Created), Operation::DeleteGroup { .. }));
        assert!(matches!(departed(Origin::Adopted), Operation::ReleaseGroup { .. }));
    }
}
