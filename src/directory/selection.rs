//! # Purpose
//! Which groups, and whose users, are reconciled.
//!
//! # Invariants kept here
//! - Pure. Okta's own groups (Everyone and the like) are taken only when they are named to the letter.
//!
//! # Not here
//! What happens to a group that leaves the selection: `plan`.

use globset::{GlobSet, GlobSetBuilder};

use crate::domain::{Group, GroupKind};

/// `okta.directory.groups` and `okta.directory.users`.
#[derive(Clone, Debug)]
pub struct Selection {
    exact: Vec<String>,
    globs: GlobSet,
    everything: bool,
    users: Users,
}

/// Whose users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// Those of the selected groups; everybody when no group is named.
    Members,
    /// Everybody.
    All,
}

impl Selection {
    /// `groups` are names, globs or ids; none means every group that Okta or an application masters.
    pub fn new(groups: &[String], users: Users) -> Result<Self, globset::Error> {
        let mut globs = GlobSetBuilder::new();
        for group in groups {
            globs.add(globset::Glob::new(group)?);
        }
        Ok(Self { exact: groups.to_vec(), globs: globs.build()?, everything: groups.is_empty(), users })
    }

    /// Stands for the whole of it: another selection has another.
    pub fn fingerprint(&self) -> String {
        format!("{:?} {:?}", self.users, self.exact)
    }

    /// Whether the group is reconciled.
    pub fn takes(&self, group: &Group) -> bool {
        if self.exact.iter().any(|named| *named == group.name || named == group.id.as_str()) {
            return true;
        }
        match group.kind {
            GroupKind::Okta | GroupKind::App => self.everything || self.globs.is_match(&group.name),
            GroupKind::BuiltIn | GroupKind::Other(_) => false,
        }
    }

    /// Whether every user is listed, and not only those of the groups.
    pub fn takes_everybody(&self) -> bool {
        match self.users {
            Users::All => true,
            Users::Members => self.everything,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::OktaGroupId;

    fn group(name: &str, kind: GroupKind) -> Group {
        Group {
            id: OktaGroupId::from(format!("00g-{name}")),
            kind,
            name: name.to_owned(),
            has_admin_privilege: None,
            members_changed_at: None,
            members: None,
        }
    }

    fn selection(groups: &[&str]) -> Selection {
        let groups: Vec<_> = groups.iter().map(ToString::to_string).collect();
        Selection::new(&groups, Users::Members).unwrap()
    }

    #[test]
    fn an_empty_selection_is_every_group_but_oktas_own() {
        let all = selection(&[]);
        assert!(all.takes(&group("Engineering", GroupKind::Okta)));
        assert!(all.takes(&group("Domain Users", GroupKind::App)));
        assert!(!all.takes(&group("Everyone", GroupKind::BuiltIn)));
        assert!(!all.takes(&group("odd", GroupKind::from("NEW_KIND"))));
        assert!(all.takes_everybody());
    }

    #[test]
    fn names_globs_and_ids_select() {
        let some = selection(&["Engineering", "oncall-*", "00g-by-id", "Everyone"]);
        for name in ["Engineering", "oncall-eu", "by-id"] {
            assert!(some.takes(&group(name, GroupKind::Okta)), "{name}");
        }
        assert!(some.takes(&group("Everyone", GroupKind::BuiltIn)));
        assert!(!some.takes(&group("engineering", GroupKind::Okta)));
        assert!(!selection(&["*"]).takes(&group("Everyone", GroupKind::BuiltIn)), "not by a glob");
        assert!(!some.takes_everybody());
    }
}
