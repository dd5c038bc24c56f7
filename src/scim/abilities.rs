//! # Purpose
//! What a service provider can do, and in what it differs: as it says itself, and as it was found to be.
//!
//! # Invariants kept here
//! - One table, [`Quirk`]: nothing else in the program knows a service by its habits, and none by its name.
//! - What was found holds for as long as the process lives; what would do harm if it were found again is kept in the
//!   directory's store by whoever finds it.
//!
//! # Not here
//! Acting on it: `directory::apply`, `directory::provider`.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// In what a service differs from one that does everything the RFC has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quirk {
    /// No PATCH.
    NoPatch,
    /// PATCH that names paths is refused or does nothing.
    NoPaths,
    /// PATCH that names no path is refused or does nothing.
    NoWhole,
    /// No filters.
    NoFilter,
    /// Members are not in listings.
    ListsHideMembers,
    /// Members are nowhere to be seen.
    HidesMembers,
    /// `remove` of `members[value eq "…"]` does nothing.
    NoRemovalByFilter,
    /// `replace` of `members` does nothing.
    NoRemovalByReplacing,
    /// PUT does not set members.
    NoRemovalByPut,
    /// `remove` of `members` with a list does nothing, or removes others too.
    NoRemovalByList,
    /// Not many members at once.
    FewMembersAtOnce,
    /// Some attributes are not kept as they are written.
    KeepsSomeOnly,
}

impl Quirk {
    /// All of them, in the order of the table in `docs/scim.md`.
    pub const ALL: &[Self] = &[
        Self::NoPatch,
        Self::NoPaths,
        Self::NoWhole,
        Self::NoFilter,
        Self::ListsHideMembers,
        Self::HidesMembers,
        Self::NoRemovalByFilter,
        Self::NoRemovalByReplacing,
        Self::NoRemovalByPut,
        Self::NoRemovalByList,
        Self::FewMembersAtOnce,
        Self::KeepsSomeOnly,
    ];

    /// The word in logs and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoPatch => "no_patch",
            Self::NoPaths => "no_paths",
            Self::NoWhole => "no_whole",
            Self::NoFilter => "no_filter",
            Self::ListsHideMembers => "lists_hide_members",
            Self::HidesMembers => "hides_members",
            Self::NoRemovalByFilter => "no_removal_by_filter",
            Self::NoRemovalByReplacing => "no_removal_by_replacing",
            Self::NoRemovalByPut => "no_removal_by_put",
            Self::NoRemovalByList => "no_removal_by_list",
            Self::FewMembersAtOnce => "few_members_at_once",
            Self::KeepsSomeOnly => "keeps_some_only",
        }
    }

    /// How it is noticed.
    pub fn noticed(self) -> &'static str {
        match self {
            Self::NoPatch => "`ServiceProviderConfig` says so, or a PATCH is answered 405",
            Self::NoPaths => {
                "three such PATCHes in a row are refused (400, 404, 501) or without effect, and another form works"
            }
            Self::NoWhole => "the same, for `replace` with an object and no path",
            Self::NoFilter => {
                "`ServiceProviderConfig` says so, a filter is refused, or it is answered with what does not match"
            }
            Self::ListsHideMembers => {
                "a listing shows a group without members, and the group asked for alone has some"
            }
            Self::HidesMembers => "members were added with success, and the group asked for alone shows none",
            Self::NoRemovalByFilter => "success, and a look shows the members still there; or a refusal",
            Self::NoRemovalByReplacing => "the same, or a look shows others gone",
            Self::NoRemovalByPut | Self::NoRemovalByList => "the same",
            Self::FewMembersAtOnce => "413, or 400 `tooMany`",
            Self::KeepsSomeOnly => "a look after the write shows another value, by every form of request",
        }
    }

    /// What follows.
    pub fn then(self) -> &'static str {
        match self {
            Self::NoPatch => "read, change, PUT the whole",
            Self::NoPaths => "`replace` with an object and no path, then PUT",
            Self::NoWhole => "PUT",
            Self::NoFilter => "after a conflict, the listing is searched",
            Self::ListsHideMembers => "groups that show none are asked for one by one",
            Self::HidesMembers => {
                "what the connector has added itself counts as the members; nobody else is ever removed, and a group \
                 is never written whole. Kept over restarts; forgotten when a member is seen"
            }
            Self::NoRemovalByFilter
            | Self::NoRemovalByReplacing
            | Self::NoRemovalByPut
            | Self::NoRemovalByList => {
                "the next form, in the order of this table; others who are gone are added back"
            }
            Self::FewMembersAtOnce => "half as many, until it fits; remembered",
            Self::KeepsSomeOnly => {
                "not written again until Okta or the service shows something new; that somebody is inactive must be kept"
            }
        }
    }
}

/// Forms of a write, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// PATCH with a path for each attribute.
    Paths,
    /// PATCH, `replace` with an object and no path.
    Whole,
    /// PUT.
    Put,
}

/// Forms in which members are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// PATCH, `remove` of `members[value eq "…"]`.
    Filter,
    /// PATCH, `replace` of `members` by those who stay.
    Replacing,
    /// PUT of the group without them.
    Put,
    /// PATCH, `remove` of `members` with a list of them. The last, because by RFC 7644 it removes everybody.
    List,
}

impl Removal {
    /// The quirk of a service where this does not work.
    pub fn quirk(self) -> Quirk {
        match self {
            Self::Filter => Quirk::NoRemovalByFilter,
            Self::Replacing => Quirk::NoRemovalByReplacing,
            Self::Put => Quirk::NoRemovalByPut,
            Self::List => Quirk::NoRemovalByList,
        }
    }
}

/// What `ServiceProviderConfig` says, and what was found. Cheap to clone; what one clone finds, all know.
#[derive(Clone, Debug)]
pub struct Abilities {
    /// The most resources on a page.
    pub page: u32,
    found: Arc<Found>,
}

#[derive(Debug, Default)]
struct Found {
    quirks: Mutex<BTreeSet<Quirk>>,
    /// Failures in a row of the first two ways.
    failures: [AtomicUsize; 2],
    /// Nought means any number.
    members_at_once: AtomicUsize,
    /// Members that were added have been seen.
    adds: AtomicBool,
    /// What the service says of versions.
    versions: Mutex<Option<bool>>,
}

/// After this many failures in a row another way is tried first.
const ENOUGH: usize = 3;

impl Default for Abilities {
    fn default() -> Self {
        Self { page: ASSUMED_PAGE, found: Arc::default() }
    }
}

/// For a service that says nothing.
pub const ASSUMED_PAGE: u32 = 100;

impl Abilities {
    /// The same with as many resources on a page.
    #[must_use]
    pub fn with_pages_of(self, page: u32) -> Self {
        Self { page, ..self }
    }

    /// Whether the service has this quirk.
    pub fn has(&self, quirk: Quirk) -> bool {
        self.quirks().contains(&quirk)
    }

    /// Notes a quirk; whether it is new.
    pub fn found(&self, quirk: Quirk) -> bool {
        self.quirks().insert(quirk)
    }

    /// The service does not have this quirk after all.
    pub fn lost(&self, quirk: Quirk) {
        self.quirks().remove(&quirk);
    }

    /// The forms of a write that are worth trying, in order.
    pub fn ways(&self) -> Vec<Way> {
        let quirks = self.quirks();
        let patches = !quirks.contains(&Quirk::NoPatch);
        let paths = (patches && !quirks.contains(&Quirk::NoPaths)).then_some(Way::Paths);
        let whole = (patches && !quirks.contains(&Quirk::NoWhole)).then_some(Way::Whole);
        [paths, whole, Some(Way::Put)].into_iter().flatten().collect()
    }

    fn went(&self, way: Way, well: bool) {
        let (index, quirk) = match way {
            Way::Paths => (0, Quirk::NoPaths),
            Way::Whole => (1, Quirk::NoWhole),
            Way::Put => return,
        };
        if well {
            self.found.failures[index].store(0, Ordering::Relaxed);
        } else if self.found.failures[index].fetch_add(1, Ordering::Relaxed) + 1 >= ENOUGH {
            self.found(quirk);
        }
    }

    /// Judges the forms of one change, one after the other.
    pub fn trial(&self) -> Trial<'_> {
        Trial { abilities: self, idle: Vec::new() }
    }

    /// The forms of a removal that are worth trying, in order.
    pub fn removals(&self) -> Vec<Removal> {
        let quirks = self.quirks();
        let patches = !quirks.contains(&Quirk::NoPatch);
        [Removal::Filter, Removal::Replacing, Removal::Put, Removal::List]
            .into_iter()
            .filter(|form| (patches || *form == Removal::Put) && !quirks.contains(&form.quirk()))
            .collect()
    }

    /// What the service says of versions, if anything.
    pub fn versions(&self) -> Option<bool> {
        *self.found.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The service says whether it has versions.
    pub fn says_of_versions(&self, has: bool) {
        *self.found.versions.lock().unwrap_or_else(PoisonError::into_inner) = Some(has);
    }

    /// Whether members that were added by PATCH have been seen: then each addition need not be looked after.
    pub fn adds(&self) -> bool {
        self.found.adds.load(Ordering::Relaxed)
    }

    /// Members that were added by PATCH are seen.
    pub fn seen_to_add(&self) {
        self.found.adds.store(true, Ordering::Relaxed);
    }

    /// The most members in one request.
    pub fn members_at_once(&self) -> usize {
        match self.found.members_at_once.load(Ordering::Relaxed) {
            0 => usize::MAX,
            most => most,
        }
    }

    /// So many members were too many.
    pub fn too_many(&self, members: usize) {
        let half = (members / 2).max(1);
        if half < self.members_at_once() {
            self.found.members_at_once.store(half, Ordering::Relaxed);
            self.found(Quirk::FewMembersAtOnce);
        }
    }

    fn quirks(&self) -> std::sync::MutexGuard<'_, BTreeSet<Quirk>> {
        self.found.quirks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The forms of one change that were tried. That one of them did nothing is held against it only once another one did
/// something: else it may be the change that the service does not take.
#[derive(Debug)]
pub struct Trial<'a> {
    abilities: &'a Abilities,
    idle: Vec<Way>,
}

impl Trial<'_> {
    /// This form was refused, or changed nothing.
    pub fn was_idle(&mut self, way: Way) {
        self.idle.push(way);
    }

    /// This form has changed something.
    pub fn took(&mut self, way: Way) {
        for idle in self.idle.drain(..) {
            self.abilities.went(idle, false);
        }
        self.abilities.went(way, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_form_achieves_is_held_against_none() {
        let abilities = Abilities::default();
        for _ in 0..10 {
            let mut trial = abilities.trial();
            for way in abilities.ways() {
                trial.was_idle(way);
            }
        }
        assert_eq!(abilities.ways(), [Way::Paths, Way::Whole, Way::Put]);
        for _ in 0..3 {
            let mut trial = abilities.trial();
            trial.was_idle(Way::Paths);
            trial.took(Way::Whole);
        }
        assert_eq!(abilities.ways(), [Way::Whole, Way::Put]);
    }

    #[test]
    fn a_way_that_keeps_failing_is_left_and_one_success_clears_it() {
        let abilities = Abilities::default();
        assert_eq!(abilities.ways(), [Way::Paths, Way::Whole, Way::Put]);
        for well in [false, false, true, false, false] {
            abilities.went(Way::Paths, well);
        }
        assert_eq!(abilities.ways(), [Way::Paths, Way::Whole, Way::Put]);
        abilities.went(Way::Paths, false);
        assert_eq!(abilities.ways(), [Way::Whole, Way::Put]);
        abilities.found(Quirk::NoPatch);
        assert_eq!(abilities.ways(), [Way::Put]);
        assert_eq!(abilities.removals(), [Removal::Put]);
    }

    #[test]
    fn too_many_members_are_halved_and_never_doubled() {
        let abilities = Abilities::default();
        abilities.too_many(500);
        abilities.too_many(500);
        assert_eq!(abilities.members_at_once(), 250);
        abilities.too_many(1);
        assert_eq!(abilities.members_at_once(), 1);
    }
}
