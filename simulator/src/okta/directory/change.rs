//! # Purpose
//! Everything that changes the directory, with its System Log events.
//!
//! # Invariants kept here
//! - A change that an API caller may not make is refused before anything moved.
//! - Removing a member that a rule put there adds the user to the rule's exclusions.
//!
//! # Not here
//! Who may change what for reasons outside the directory (scopes, roles).

use serde_json::{Map, Value};

use super::super::arrange::{NewGroup, NewUser};
use super::super::ids::Kind;
use super::super::system_log::{Actor, Target};
use super::group::{MAX_EXCLUSIONS, Rule};
use super::user::{Profile, User};
use super::{Directory, Group, Status, number};

/// Why a membership cannot be changed through the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum MemberRefusal {
    /// Not an `OKTA_GROUP`.
    ReadOnlyGroup,
    /// The group holds an admin role.
    AdminGroup,
    /// The user is deactivated and cannot be added.
    Deactivated,
    /// The rule that manages this membership excludes as many users as it can.
    ExclusionsFull,
}

/// A change of one membership through the API.
pub(in super::super) struct MemberChange<'a> {
    pub(in super::super) group: u32,
    pub(in super::super) user: u32,
    pub(in super::super) member: bool,
    pub(in super::super) client: &'a str,
    pub(in super::super) super_admin: bool,
    pub(in super::super) now: i64,
    pub(in super::super) visible_at: Option<i64>,
}

impl Directory {
    /// Changes a membership for an API caller. Tells whether there was anything to change.
    pub(in super::super) fn change_member(
        &mut self,
        change: &MemberChange<'_>,
    ) -> Result<bool, MemberRefusal> {
        let (Some(group), Some(user)) = (self.group(change.group), self.user(change.user)) else {
            return Ok(false);
        };
        if !group.is_writable() {
            return Err(MemberRefusal::ReadOnlyGroup);
        }
        if group.admin_privilege && !change.super_admin {
            return Err(MemberRefusal::AdminGroup);
        }
        if change.member && *user.status() == Status::Deprovisioned {
            return Err(MemberRefusal::Deactivated);
        }
        if !change.member {
            self.exclude_from_rule(change.group, change.user, change.now)?;
        }
        let actor = Actor::Client(change.client.to_owned());
        Ok(self.set_member(change.group, change.user, change.member, change.now, change.visible_at, actor))
    }

    fn exclude_from_rule(&mut self, group: u32, user: u32, now: i64) -> Result<(), MemberRefusal> {
        let Some(rule_index) = self.rule_managed.get(&(group, user)).copied() else { return Ok(()) };
        let rule = usize::try_from(rule_index).ok().and_then(|index| self.rules.get_mut(index));
        let Some(rule) = rule.filter(|rule| rule.status == "ACTIVE") else { return Ok(()) };
        if !rule.exclusions.contains(&user) {
            if rule.exclusions.len() >= MAX_EXCLUSIONS {
                return Err(MemberRefusal::ExclusionsFull);
            }
            rule.exclusions.push(user);
            rule.last_updated = now;
            let targets = vec![
                self.user_target(user),
                Target::new("GroupRule", self.ids.id(Kind::Rule, rule_index), self.rule_name(rule_index)),
            ];
            self.log.record(now, "group.user_membership.rule.add_exclusion", Actor::System, targets);
        }
        Ok(())
    }

    fn rule_name(&self, index: u32) -> String {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.rules.get(index))
            .map(|rule| rule.name.clone())
            .unwrap_or_default()
    }

    /// Changes a membership, whatever the group is. Tells whether there was anything to change.
    pub(in super::super) fn set_member(
        &mut self,
        group: u32,
        user: u32,
        member: bool,
        now: i64,
        visible_at: Option<i64>,
        actor: Actor,
    ) -> bool {
        if self.group(group).is_none_or(|group| group.everyone) || self.user(user).is_none() {
            return false;
        }
        let changed = self.memberships.set(group, user, member, visible_at);
        if !member {
            self.rule_managed.remove(&(group, user));
        }
        if changed {
            if let Some(group) = self.group_mut(group) {
                group.last_membership_updated = now;
            }
            let event = if member { "group.user_membership.add" } else { "group.user_membership.remove" };
            let targets = vec![self.user_target(user), self.group_target(group)];
            self.log.record(now, event, actor, targets);
        }
        changed
    }

    /// Lets a rule put a user into a group. Tells whether the rule did: it leaves excluded users alone.
    pub(in super::super) fn add_rule_member(&mut self, rule: u32, group: u32, user: u32, now: i64) -> bool {
        let known = usize::try_from(rule).ok().and_then(|index| self.rules.get(index));
        if known.is_none_or(|rule| rule.exclusions.contains(&user)) || self.user(user).is_none() {
            return false;
        }
        self.set_member(group, user, true, now, None, Actor::System);
        self.rule_managed.insert((group, user), rule);
        true
    }

    pub(in super::super) fn add_user(&mut self, new: NewUser, now: i64) -> u32 {
        let index = number(self.users.len());
        self.logins.insert(new.login.to_lowercase(), index);
        let mut profile = Map::new();
        profile.insert("login".into(), new.login.into());
        profile.insert("email".into(), new.email.into());
        profile.insert("firstName".into(), new.first_name.into());
        profile.insert("lastName".into(), new.last_name.into());
        profile.insert("mobilePhone".into(), Value::Null);
        profile.insert("secondEmail".into(), Value::Null);
        profile.extend(new.profile);
        self.users.push(User {
            profile: Profile::Own(Box::new(profile)),
            status: Status::of(&new.status),
            created: now,
            last_updated: now,
            status_changed: now,
            deleted: false,
        });
        self.live_users += 1;
        self.log_user(now, "user.lifecycle.create", index);
        index
    }

    pub(in super::super) fn set_status(&mut self, index: u32, status: &str, now: i64) {
        let status = Status::of(status);
        let Some(user) = self.user_mut(index) else { return };
        let before = std::mem::replace(&mut user.status, status);
        user.status_changed = now;
        user.last_updated = now;
        let event = match (before.name(), user.status.name()) {
            (_, "DEPROVISIONED") => "user.lifecycle.deactivate",
            (_, "SUSPENDED") => "user.lifecycle.suspend",
            ("SUSPENDED", _) => "user.lifecycle.unsuspend",
            (_, "LOCKED_OUT") => "user.account.lock",
            ("DEPROVISIONED", _) => "user.lifecycle.reactivate",
            _ => "user.lifecycle.activate",
        };
        self.log_user(now, event, index);
    }

    /// Sets members of a profile; `null` stays as `null`.
    pub(in super::super) fn update_profile(&mut self, index: u32, changes: &Map<String, Value>, now: i64) {
        let Some(view) = self.user(index) else { return };
        let before = view.login();
        let mut profile = view.profile();
        profile.extend(changes.clone());
        let login = profile.get("login").and_then(Value::as_str).unwrap_or_default().to_lowercase();
        if self.logins.get(&before.to_lowercase()) == Some(&index) {
            self.logins.remove(&before.to_lowercase());
        }
        self.logins.insert(login, index);
        if let Some(user) = self.user_mut(index) {
            user.profile = Profile::Own(Box::new(profile));
            user.last_updated = now;
        }
        self.log_user(now, "user.account.update_profile", index);
    }

    /// Removes a user for good. Tells whether any membership went with them.
    pub(in super::super) fn delete_user(&mut self, index: u32, now: i64) -> bool {
        let Some(view) = self.user(index) else { return false };
        let login = view.login().to_lowercase();
        self.log_user(now, "user.lifecycle.delete.initiated", index);
        self.log_user(now, "user.lifecycle.delete.completed", index);
        if self.logins.get(&login) == Some(&index) {
            self.logins.remove(&login);
        }
        if let Some(user) = self.user_mut(index) {
            user.deleted = true;
            user.profile = Profile::Own(Box::default());
        }
        self.live_users -= 1;
        self.rule_managed.retain(|(_, user), _| *user != index);
        let groups = self.memberships.drop_user(index);
        for group in &groups {
            if let Some(group) = self.group_mut(*group) {
                group.last_membership_updated = now;
            }
        }
        !groups.is_empty()
    }

    pub(in super::super) fn add_group(&mut self, new: NewGroup, everyone: bool, now: i64) -> u32 {
        let index = number(self.groups.len());
        let mut profile = Map::new();
        if new.kind == "APP_GROUP" {
            let name = &new.name;
            profile.insert("samAccountName".into(), name.clone().into());
            profile.insert("dn".into(), format!("CN={name},OU=Groups,DC=example,DC=com").into());
            profile.insert("windowsDomainQualifiedName".into(), format!("EXAMPLE\\{name}").into());
            profile.insert("groupScope".into(), "Global".into());
            profile.insert("groupType".into(), "Security".into());
        }
        profile.insert("name".into(), new.name.into());
        profile.insert("description".into(), new.description.into());
        profile.extend(new.profile);
        self.groups.push(Group {
            profile,
            kind: new.kind,
            admin_privilege: new.admin_privilege,
            everyone,
            created: now,
            last_updated: now,
            last_membership_updated: now,
            deleted: false,
        });
        self.live_groups += 1;
        self.log_group(now, "group.lifecycle.create", index);
        index
    }

    pub(in super::super) fn update_group(&mut self, index: u32, now: i64, update: impl FnOnce(&mut Group)) {
        if let Some(group) = self.group_mut(index) {
            update(group);
            group.last_updated = now;
            self.log_group(now, "group.profile.update", index);
        }
    }

    /// Removes a group for good. Tells whether any membership went with it.
    pub(in super::super) fn delete_group(&mut self, index: u32, now: i64) -> bool {
        if self.group(index).is_none() {
            return false;
        }
        self.log_group(now, "group.lifecycle.delete", index);
        if let Some(group) = self.group_mut(index) {
            group.deleted = true;
        }
        self.live_groups -= 1;
        self.rule_managed.retain(|(group, _), _| *group != index);
        for rule in &mut self.rules {
            rule.targets.retain(|target| *target != index);
        }
        !self.memberships.drop_group(index).is_empty()
    }

    pub(in super::super) fn add_rule(
        &mut self,
        name: &str,
        targets: Vec<u32>,
        status: &str,
        now: i64,
    ) -> u32 {
        let index = number(self.rules.len());
        self.rules.push(Rule {
            name: name.into(),
            status: status.into(),
            targets,
            exclusions: Vec::new(),
            created: now,
            last_updated: now,
        });
        index
    }

    pub(in super::super) fn set_rule_status(&mut self, rule: u32, status: &str, now: i64) {
        if let Some(rule) = usize::try_from(rule).ok().and_then(|index| self.rules.get_mut(index)) {
            rule.status = status.into();
            rule.last_updated = now;
        }
    }

    fn user_mut(&mut self, index: u32) -> Option<&mut User> {
        self.users.get_mut(usize::try_from(index).ok()?).filter(|user| !user.deleted)
    }

    fn group_mut(&mut self, index: u32) -> Option<&mut Group> {
        self.groups.get_mut(usize::try_from(index).ok()?).filter(|group| !group.deleted)
    }

    fn user_target(&self, index: u32) -> Target {
        let (login, name) = self.user(index).map(|view| (view.login(), view.full_name())).unwrap_or_default();
        Target::new("User", self.ids.id(Kind::User, index), name).with_alternate(login)
    }

    fn group_target(&self, index: u32) -> Target {
        let name = self.group(index).map(|group| group.name().to_owned()).unwrap_or_default();
        Target::new("UserGroup", self.ids.id(Kind::Group, index), name)
    }

    fn log_user(&mut self, now: i64, event: &'static str, index: u32) {
        let target = self.user_target(index);
        self.log.record(now, event, Actor::Administrator, vec![target]);
    }

    fn log_group(&mut self, now: i64, event: &'static str, index: u32) {
        let target = self.group_target(index);
        self.log.record(now, event, Actor::Administrator, vec![target]);
    }
}

impl Group {
    /// Sets members of the profile.
    pub(in super::super) fn extend_profile(&mut self, changes: Map<String, Value>) {
        self.profile.extend(changes);
    }

    /// Gives the group an admin role, or takes it away.
    pub(in super::super) fn set_admin_privilege(&mut self, admin: bool) {
        self.admin_privilege = admin;
    }
}
