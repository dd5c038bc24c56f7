//! # Purpose
//! Who is in which group: what is true, and what reads show while they lag behind.
//!
//! # Invariants kept here
//! - Both directions (members of a group, groups of a user) always agree.
//! - Listing a page costs the page, not the group.
//! - A lagging write shows after its delay, in the order in which writes were made.
//!
//! # Not here
//! Whether a change is allowed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// (group, user) numbers.
pub(super) type Pair = (u32, u32);

/// All memberships of the org.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    by_group: BTreeSet<Pair>,
    by_user: BTreeSet<Pair>,
    unseen: VecDeque<Unseen>,
    stale: BTreeMap<Pair, Stale>,
}

/// A write that reads do not show yet.
#[derive(Clone, Copy, Debug)]
struct Unseen {
    visible_at: i64,
    pair: Pair,
    member: bool,
}

/// What reads show of a pair while writes to it are unseen.
#[derive(Clone, Copy, Debug)]
struct Stale {
    member: bool,
    unseen: usize,
}

impl Memberships {
    pub(super) fn len(&self) -> usize {
        self.by_group.len()
    }

    pub(super) fn contains(&self, group: u32, user: u32) -> bool {
        self.by_group.contains(&(group, user))
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = Pair> {
        self.by_group.iter().copied()
    }

    pub(super) fn members(&self, group: u32) -> impl Iterator<Item = u32> {
        self.by_group.range((group, 0)..=(group, u32::MAX)).map(|(_, user)| *user)
    }

    /// Adds many at once; those that exist already stay.
    pub(super) fn add_all(&mut self, pairs: &[Pair]) {
        let mut by_group: BTreeSet<Pair> = pairs.iter().copied().collect();
        let mut by_user: BTreeSet<Pair> = pairs.iter().map(|(group, user)| (*user, *group)).collect();
        self.by_group.append(&mut by_group);
        self.by_user.append(&mut by_user);
    }

    /// Makes the user a member or not. Reads show it from `visible_at` on, or at once. Tells whether it changed.
    pub(super) fn set(&mut self, group: u32, user: u32, member: bool, visible_at: Option<i64>) -> bool {
        let pair = (group, user);
        let changed = if member {
            self.by_user.insert((user, group));
            self.by_group.insert(pair)
        } else {
            self.by_user.remove(&(user, group));
            self.by_group.remove(&pair)
        };
        match visible_at {
            Some(visible_at) if changed => {
                self.unseen.push_back(Unseen { visible_at, pair, member });
                self.stale.entry(pair).or_insert(Stale { member: !member, unseen: 0 }).unseen += 1;
            }
            Some(_) => {}
            None => self.forget_unseen(|unseen| unseen == pair),
        }
        changed
    }

    /// Whether reads may have something new to show at `now`.
    pub(super) fn is_due(&self, now: i64) -> bool {
        self.unseen.front().is_some_and(|first| first.visible_at <= now)
    }

    /// Shows the writes whose delay is over.
    pub(super) fn settle(&mut self, now: i64) {
        while self.is_due(now) {
            let Some(Unseen { pair, member, .. }) = self.unseen.pop_front() else { break };
            if let Some(stale) = self.stale.get_mut(&pair) {
                stale.member = member;
                stale.unseen -= 1;
                if stale.unseen == 0 {
                    self.stale.remove(&pair);
                }
            }
        }
    }

    /// Members of a group as reads show them, after `after`, at most `limit`.
    pub(super) fn visible_members(&self, group: u32, after: Option<u32>, limit: usize) -> Vec<u32> {
        let Some(from) = next(after) else { return Vec::new() };
        let range = (group, from)..=(group, u32::MAX);
        let mut users: Vec<u32> = self
            .by_group
            .range(range.clone())
            .filter(|pair| self.stale.get(pair).is_none_or(|stale| stale.member))
            .map(|(_, user)| *user)
            .take(limit)
            .collect();
        let gone =
            self.stale.range(range).filter(|(pair, stale)| stale.member && !self.by_group.contains(pair));
        merge(&mut users, gone.map(|((_, user), _)| *user).take(limit), limit);
        users
    }

    /// Groups of a user as reads show them, after `after`, at most `limit`.
    pub(super) fn visible_groups(&self, user: u32, after: Option<u32>, limit: usize) -> Vec<u32> {
        let Some(from) = next(after) else { return Vec::new() };
        let mut groups: Vec<u32> = self
            .by_user
            .range((user, from)..=(user, u32::MAX))
            .map(|(_, group)| *group)
            .filter(|group| self.stale.get(&(*group, user)).is_none_or(|stale| stale.member))
            .take(limit)
            .collect();
        let gone = self.stale.iter().filter(|((group, member), stale)| {
            *member == user && *group >= from && stale.member && !self.by_group.contains(&(*group, user))
        });
        merge(&mut groups, gone.map(|((group, _), _)| *group).take(limit), limit);
        groups
    }

    /// How many members reads would count.
    pub(super) fn visible_count(&self, group: u32) -> usize {
        let range = (group, 0)..=(group, u32::MAX);
        let (shown, hidden) =
            self.stale.range(range.clone()).fold((0, 0), |(shown, hidden), (pair, stale)| {
                match (stale.member, self.by_group.contains(pair)) {
                    (true, false) => (shown + 1, hidden),
                    (false, true) => (shown, hidden + 1),
                    (true, true) | (false, false) => (shown, hidden),
                }
            });
        self.by_group.range(range).count() + shown - hidden
    }

    /// Forgets a group. Returns who was in it.
    pub(super) fn drop_group(&mut self, group: u32) -> Vec<u32> {
        let users: Vec<u32> = self.members(group).collect();
        for user in &users {
            self.by_group.remove(&(group, *user));
            self.by_user.remove(&(*user, group));
        }
        self.forget_unseen(|(candidate, _)| candidate == group);
        users
    }

    /// Forgets a user. Returns the groups they were in.
    pub(super) fn drop_user(&mut self, user: u32) -> Vec<u32> {
        let groups: Vec<u32> =
            self.by_user.range((user, 0)..=(user, u32::MAX)).map(|(_, group)| *group).collect();
        for group in &groups {
            self.by_user.remove(&(user, *group));
            self.by_group.remove(&(*group, user));
        }
        self.forget_unseen(|(_, candidate)| candidate == user);
        groups
    }

    fn forget_unseen(&mut self, concerned: impl Fn(Pair) -> bool) {
        if !self.unseen.is_empty() {
            self.unseen.retain(|unseen| !concerned(unseen.pair));
            self.stale.retain(|pair, _| !concerned(*pair));
        }
    }
}

fn next(after: Option<u32>) -> Option<u32> {
    after.map_or(Some(0), |after| after.checked_add(1))
}

fn merge(numbers: &mut Vec<u32>, more: impl Iterator<Item = u32>, limit: usize) {
    let before = numbers.len();
    numbers.extend(more);
    if numbers.len() > before {
        numbers.sort_unstable();
        numbers.truncate(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::Memberships;

    #[test]
    fn okta_memberships_show_lagging_writes_in_order_and_page_through_them() {
        let mut memberships = Memberships::default();
        memberships.add_all(&[(1, 10), (1, 20), (1, 30), (2, 10)]);
        assert!(memberships.set(1, 20, false, Some(1000)));
        assert!(memberships.set(1, 25, true, Some(1100)));
        assert!(memberships.set(1, 25, false, Some(1200)));
        assert!(!memberships.set(1, 30, true, Some(1300)));
        assert!(!memberships.contains(1, 20));
        assert_eq!(memberships.visible_members(1, None, 9), [10, 20, 30]);
        assert_eq!(memberships.visible_members(1, Some(10), 1), [20]);
        assert_eq!(memberships.visible_count(1), 3);
        assert_eq!(memberships.visible_groups(20, None, 9), [1]);
        memberships.settle(1150);
        assert_eq!(memberships.visible_members(1, None, 9), [10, 25, 30]);
        memberships.settle(2000);
        assert_eq!(memberships.visible_members(1, None, 9), [10, 30]);
        assert_eq!(memberships.visible_count(1), 2);
        assert!(memberships.visible_groups(25, None, 9).is_empty());
        assert_eq!(memberships.drop_user(10), [1, 2]);
        assert_eq!(memberships.drop_group(1), [30]);
        assert_eq!(memberships.len(), 0);
    }
}
