//! # Purpose
//! The org's users, groups, rules and memberships, and how to find them.
//!
//! # Invariants kept here
//! - Objects are numbered in the order they came; a number is never used twice. Listings go by number, so a cursor
//!   keeps its place whatever is added or removed meanwhile.
//! - Deleted objects stay as markers that nothing finds.
//!
//! # Not here
//! Changes (`change`), permissions, HTTP.

mod change;
mod group;
mod membership;
mod person;
mod seed;
mod user;
mod words;

use std::collections::{BTreeMap, HashMap};

pub(super) use self::change::{MemberChange, MemberRefusal};
pub(super) use self::group::{Group, Rule};
use self::membership::{Memberships, Pair};
use self::person::Batch;
use self::user::{Profile, User};
pub(super) use self::user::{Projection, Status, UserView};
use super::ids::{Ids, Kind};
use super::system_log::SystemLog;

/// Everything the org knows about people and groups.
pub(super) struct Directory {
    ids: Ids,
    users: Vec<User>,
    batches: Vec<Batch>,
    /// Lower-case login to user number, for users with a profile of their own.
    logins: HashMap<String, u32>,
    live_users: usize,
    groups: Vec<Group>,
    live_groups: usize,
    rules: Vec<Rule>,
    memberships: Memberships,
    /// Memberships that a rule made, and which rule.
    rule_managed: BTreeMap<Pair, u32>,
    pub(super) log: SystemLog,
}

impl Directory {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            ids: Ids::new(seed),
            users: Vec::new(),
            batches: Vec::new(),
            logins: HashMap::new(),
            live_users: 0,
            groups: Vec::new(),
            live_groups: 0,
            rules: Vec::new(),
            memberships: Memberships::default(),
            rule_managed: BTreeMap::new(),
            log: SystemLog::new(seed),
        }
    }

    pub(super) fn ids(&self) -> Ids {
        self.ids
    }

    /// How many user numbers were given out.
    pub(super) fn user_numbers(&self) -> u32 {
        number(self.users.len())
    }

    /// How many group numbers were given out.
    pub(super) fn group_numbers(&self) -> u32 {
        number(self.groups.len())
    }

    pub(super) fn live_users(&self) -> usize {
        self.live_users
    }

    pub(super) fn live_groups(&self) -> usize {
        self.live_groups
    }

    /// A user who was not deleted.
    pub(super) fn user(&self, index: u32) -> Option<UserView<'_>> {
        let user = self.users.get(usize::try_from(index).ok()?).filter(|user| !user.deleted)?;
        Some(UserView { index, user, batches: &self.batches, ids: self.ids })
    }

    /// The number behind a user id.
    pub(super) fn user_number(&self, id: &str) -> Option<u32> {
        let index = self.ids.index(Kind::User, id)?;
        self.user(index).map(|_| index)
    }

    /// The number behind a user id, a login or the part of a login before its `@`.
    pub(super) fn user_number_by_name(&self, name: &str) -> Option<u32> {
        if let Some(index) = self.user_number(name) {
            return Some(index);
        }
        // A login with a slash cannot be told from a path, so Okta does not look for it.
        if name.contains('/') {
            return None;
        }
        let name = name.to_lowercase();
        let found = self.logins.get(&name).copied().or_else(|| {
            let index = self.batches.iter().find_map(|batch| batch.index_of(&name))?;
            self.is_seeded(index).then_some(index)
        });
        let found = found.or_else(|| {
            let mut matching = self
                .logins
                .iter()
                .filter(|(login, _)| login.split_once('@').is_some_and(|(short, _)| short == name));
            matching.next().map(|(_, index)| *index)
        });
        found.filter(|index| self.user(*index).is_some())
    }

    fn is_seeded(&self, index: u32) -> bool {
        self.user(index).is_some_and(|view| matches!(view.user.profile, Profile::Seeded { .. }))
    }

    /// A group that was not deleted.
    pub(super) fn group(&self, index: u32) -> Option<&Group> {
        self.groups.get(usize::try_from(index).ok()?).filter(|group| !group.deleted)
    }

    /// The number behind a group id.
    pub(super) fn group_number(&self, id: &str) -> Option<u32> {
        let index = self.ids.index(Kind::Group, id)?;
        self.group(index).map(|_| index)
    }

    pub(super) fn group_id(&self, index: u32) -> String {
        self.ids.id(Kind::Group, index)
    }

    /// Rules with their numbers.
    pub(super) fn rules(&self) -> impl Iterator<Item = (u32, &Rule)> {
        (0..).zip(&self.rules)
    }

    /// Ids of the users that a rule leaves alone.
    pub(super) fn rule_exclusions(&self, id: &str) -> Vec<String> {
        let rule =
            self.ids.index(Kind::Rule, id).and_then(|index| self.rules.get(usize::try_from(index).ok()?));
        rule.map(|rule| rule.exclusions.iter().map(|user| self.ids.id(Kind::User, *user)).collect())
            .unwrap_or_default()
    }

    /// Whether the user is a member, whatever reads show.
    pub(super) fn is_member(&self, group: u32, user: u32) -> bool {
        self.memberships.contains(group, user)
    }

    /// Ids of a group's members, whatever reads show.
    pub(super) fn members(&self, group: u32) -> Vec<String> {
        self.memberships.members(group).map(|user| self.ids.id(Kind::User, user)).collect()
    }

    /// All memberships as (group id, user id), whatever reads show.
    pub(super) fn membership_pairs(&self) -> impl Iterator<Item = (String, String)> {
        self.memberships
            .pairs()
            .map(|(group, user)| (self.ids.id(Kind::Group, group), self.ids.id(Kind::User, user)))
    }

    pub(super) fn membership_count(&self) -> usize {
        self.memberships.len()
    }

    /// Whether [`Directory::settle`] has something to do.
    pub(super) fn is_due(&self, now: i64) -> bool {
        self.memberships.is_due(now)
    }

    /// Lets reads show the writes whose delay is over.
    pub(super) fn settle(&mut self, now: i64) {
        self.memberships.settle(now);
    }

    /// Members of a group as reads show them.
    pub(super) fn visible_members(&self, group: u32, after: Option<u32>, limit: usize) -> Vec<u32> {
        if self.group(group).is_some_and(|group| group.everyone) {
            let from = after.map_or(0, |after| after.saturating_add(1));
            return (from..self.user_numbers())
                .filter(|user| self.user(*user).is_some())
                .take(limit)
                .collect();
        }
        self.memberships.visible_members(group, after, limit)
    }

    /// Groups of a user as reads show them.
    pub(super) fn visible_groups(&self, user: u32, after: Option<u32>, limit: usize) -> Vec<u32> {
        let mut groups = self.memberships.visible_groups(user, after, limit);
        let from = after.map_or(0, |after| after.saturating_add(1));
        let everyone = (from..).zip(self.groups.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)));
        let before = groups.len();
        groups.extend(everyone.filter(|(_, group)| group.everyone && !group.deleted).map(|(index, _)| index));
        if groups.len() > before {
            groups.sort_unstable();
            groups.truncate(limit);
        }
        groups
    }

    /// How many members reads count in a group.
    pub(super) fn visible_count(&self, group: u32) -> usize {
        if self.group(group).is_some_and(|group| group.everyone) {
            return self.live_users;
        }
        self.memberships.visible_count(group)
    }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
