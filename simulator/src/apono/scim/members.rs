//! # Purpose
//! PATCH operations on the members of a group, gathered into one change of a set.
//!
//! # Invariants kept here
//! - Nothing is changed until every operation was understood and every id is known.
//! - The cost is that of the operations, not of the group, except where a filter or a replacement looks at everybody.
//!
//! # Not here
//! Every other attribute: see [`super::patch`].

use std::collections::BTreeSet;

use serde_json::Value;

use super::Failure;
use super::directory::Directory;
use super::filter::{Comparison, Filter};
use super::patch::{Change, Op};
use super::resource::member_ids;
use crate::apono::settings::ScimSettings;

/// What will become of the members of one group.
#[derive(Debug, Default)]
pub(super) struct Membership {
    cleared: bool,
    added: BTreeSet<u64>,
    removed: BTreeSet<u64>,
}

impl Membership {
    /// Takes in one operation.
    pub(super) fn take(
        &mut self,
        directory: &Directory,
        group: u64,
        change: &Change,
        settings: &ScimSettings,
    ) -> Result<(), Failure> {
        let Change { op, target, value, .. } = change;
        if target.sub.is_some() || target.path.sub.is_some() {
            return Err(Failure::mutability("members: a member's attributes cannot be changed"));
        }
        if let (Some(most), Some(Value::Array(list))) = (settings.max_members_per_write, value)
            && list.len() > most
        {
            return Err(Failure::too_many_members(settings, most));
        }
        match (op, &target.filter, value) {
            (Op::Add, None, Some(value)) => {
                for member in numbers(directory, value)? {
                    self.add(member);
                }
            }
            (Op::Replace, None, Some(_)) if settings.ignores_member_replacement => {}
            (Op::Replace, None, Some(value)) => {
                let members = numbers(directory, value)?;
                self.clear();
                self.added.extend(members);
            }
            (Op::Remove, None, None) => self.clear(),
            (Op::Remove, None, Some(_)) if settings.member_list_removal_removes_all => self.clear(),
            (Op::Remove, None, Some(value)) => {
                let ids = member_ids(value)?;
                if !settings.ignores_member_list_removal {
                    // An id that is gone is no member any more: nothing to remove.
                    for member in ids.into_iter().filter_map(|id| directory.member_number(id)) {
                        self.remove(member);
                    }
                }
            }
            (Op::Remove, Some(filter), _) => {
                if !settings.ignores_member_filter_removal {
                    for member in self.matching(directory, group, filter) {
                        self.remove(member);
                    }
                }
            }
            (Op::Add | Op::Replace, None, None) => return Err(Failure::value("value: is missing")),
            (Op::Add | Op::Replace, Some(_), _) => {
                return Err(Failure::path("members: a filter goes with remove only"));
            }
        }
        Ok(())
    }

    fn add(&mut self, member: u64) {
        self.removed.remove(&member);
        self.added.insert(member);
    }

    fn remove(&mut self, member: u64) {
        self.added.remove(&member);
        self.removed.insert(member);
    }

    fn clear(&mut self) {
        self.cleared = true;
        self.added.clear();
        self.removed.clear();
    }

    fn matching(&self, directory: &Directory, group: u64, filter: &Filter) -> Vec<u64> {
        if let Some(ids) = named_values(filter) {
            return ids.into_iter().filter_map(|id| directory.member_number(id)).collect();
        }
        let before = directory.members(group).into_iter().flatten().copied();
        before
            .filter(|member| !self.cleared && !self.removed.contains(member))
            .chain(self.added.iter().copied())
            .filter(|member| filter.matches(&directory.member(*member)))
            .collect()
    }

    /// Makes it so; true if that changed anything.
    pub(super) fn apply(&self, directory: &mut Directory, group: u64) -> bool {
        if self.cleared {
            return directory.set_members(group, &self.added);
        }
        let mut changed = false;
        for member in &self.removed {
            changed |= directory.remove_member(group, *member);
        }
        for member in &self.added {
            changed |= directory.add_member(group, *member);
        }
        changed
    }
}

/// The ids of `value eq "a" or value eq "b" …`, which need no look at the members.
fn named_values(filter: &Filter) -> Option<Vec<&str>> {
    match filter {
        Filter::Compare { path, by: Comparison::Equal, value: Value::String(id) }
            if path.is_core("value") && path.sub.is_none() =>
        {
            Some(vec![id])
        }
        Filter::Or(left, right) => {
            let mut ids = named_values(left)?;
            ids.extend(named_values(right)?);
            Some(ids)
        }
        Filter::Compare { .. }
        | Filter::And(..)
        | Filter::Not(_)
        | Filter::Present(_)
        | Filter::Within { .. } => None,
    }
}

/// The numbers behind a list of members, all of which must exist.
pub(super) fn numbers(directory: &Directory, members: &Value) -> Result<BTreeSet<u64>, Failure> {
    member_ids(members)?
        .into_iter()
        .map(|id| {
            directory
                .member_number(id)
                .ok_or_else(|| Failure::value(&format!("members: there is no {id:?}")).without_blame())
        })
        .collect()
}
