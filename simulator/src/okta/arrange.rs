//! # Purpose
//! What a test, a demo or a benchmark sets up in the org: clients, people, groups, rules, and changes behind the
//! connector's back.
//!
//! # Invariants kept here
//! - Arranged changes are visible at once, whatever `visibility_lag` says.
//! - An id that is not known is ignored: arranging never fails.
//!
//! # Not here
//! Looking at the org: see `observe`.

use serde_json::{Map, Value};

use super::ids::Kind;
use super::management::{AdminRole, OtherApp};
use super::oauth::Client;
use super::system_log::Actor;
use super::{Bucket, OktaSimulator};

/// A user to add.
#[derive(Clone, Debug, PartialEq)]
pub struct NewUser {
    /// Unique, by convention an address.
    pub login: String,
    /// Often the same as the login.
    pub email: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// The wire's own word, `ACTIVE` by default. Words that Okta does not know are possible.
    pub status: String,
    /// Further members of the profile. They win over the above.
    pub profile: Map<String, Value>,
}

impl Default for NewUser {
    fn default() -> Self {
        Self::active("someone@example.com", "Some", "One")
    }
}

impl NewUser {
    /// An `ACTIVE` user whose email address is their login.
    #[must_use]
    pub fn active(login: &str, first_name: &str, last_name: &str) -> Self {
        Self {
            login: login.into(),
            email: login.into(),
            first_name: first_name.into(),
            last_name: last_name.into(),
            status: "ACTIVE".into(),
            profile: Map::new(),
        }
    }
}

/// A group to add.
#[derive(Clone, Debug, PartialEq)]
pub struct NewGroup {
    /// Shown name.
    pub name: String,
    /// `null` when there is none.
    pub description: Option<String>,
    /// `OKTA_GROUP` (the default), `APP_GROUP` or `BUILT_IN`. Words that Okta does not know are possible.
    pub kind: String,
    /// The group holds an admin role: only super admins change its members.
    pub admin_privilege: bool,
    /// Further members of the profile. They win over the above.
    pub profile: Map<String, Value>,
}

impl Default for NewGroup {
    fn default() -> Self {
        Self::named("Group")
    }
}

impl NewGroup {
    /// An `OKTA_GROUP`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            description: None,
            kind: "OKTA_GROUP".into(),
            admin_privilege: false,
            profile: Map::new(),
        }
    }

    /// The same, but imported from a directory or built in.
    #[must_use]
    pub fn of_kind(mut self, kind: &str) -> Self {
        self.kind = kind.into();
        self
    }
}

/// A company to add in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// How many people.
    pub users: usize,
    /// How many `OKTA_GROUP`s.
    pub groups: usize,
    /// How many members each group gets.
    pub members_per_group: usize,
    /// Same seed, same company.
    pub seed: u64,
    /// How many of a thousand people are not `ACTIVE`: suspended, staged, deprovisioned and so on.
    pub inactive_per_thousand: u32,
}

impl Default for Seed {
    fn default() -> Self {
        Self { users: 100, groups: 10, members_per_group: 10, seed: 1, inactive_per_thousand: 0 }
    }
}

/// The ids of a seeded company.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeded {
    /// In the order in which listings show them.
    pub users: Vec<String>,
    /// Likewise.
    pub groups: Vec<String>,
}

/// Clients and tokens.
impl OktaSimulator {
    /// Registers a service app, or gives a registered one another key. A key with a known `kid` replaces the old
    /// one; `null` registers no key. The scopes replace those granted before. The app has an admin role, but is not
    /// a super admin.
    pub fn register_client(&self, client_id: &str, public_jwk: Value, granted_scopes: &[&str]) {
        let seed = self.settings().seed;
        let mut registry = self.registry();
        let key = registry.management.fresh_id(seed, "pks");
        let client = registry.clients.entry(client_id.into()).or_default();
        client.scopes = granted_scopes.iter().map(|scope| (*scope).to_owned()).collect();
        client.put_key(key, public_jwk);
    }

    /// Gives the app of a client another shown name.
    pub fn set_app_label(&self, client_id: &str, label: &str) {
        self.change_client(client_id, |client| client.label = label.into());
    }

    /// Adds an app that is no service app, such as one for sign-in with `SAML_2_0`.
    pub fn add_other_app(&self, label: &str, sign_on_mode: &str) -> String {
        let seed = self.settings().seed;
        let mut registry = self.registry();
        let id = registry.management.fresh_id(seed, "0oa");
        let app = OtherApp { id: id.clone(), label: label.into(), sign_on_mode: sign_on_mode.into() };
        registry.management.other_apps.push(app);
        id
    }

    /// An administrator with this role makes an API token; returns it.
    pub fn create_admin_token(&self, role: AdminRole) -> String {
        let seed = self.settings().seed;
        self.registry().management.fresh_token(seed, role)
    }

    /// Whether an API token is still good.
    #[must_use]
    pub fn is_admin_token(&self, token: &str) -> bool {
        self.registry().management.tokens.contains_key(token)
    }

    /// Changes which scopes are granted. Tokens that were issued before keep theirs.
    pub fn set_granted_scopes(&self, client_id: &str, granted_scopes: &[&str]) {
        let scopes = granted_scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.change_client(client_id, |client| client.scopes = scopes);
    }

    /// Deactivates a key, as an administrator does who sets it to inactive.
    pub fn deactivate_key(&self, client_id: &str, kid: &str) {
        self.change_client(client_id, |client| {
            for key in client.keys.iter_mut().filter(|key| key.kid.as_deref() == Some(kid)) {
                key.active = false;
            }
        });
    }

    /// Deactivates an app: it gets no tokens, and those it has stop working.
    pub fn deactivate_client(&self, client_id: &str) {
        self.change_client(client_id, |client| client.active = false);
    }

    /// Activates an app again.
    pub fn activate_client(&self, client_id: &str) {
        self.change_client(client_id, |client| client.active = true);
    }

    /// Gives the app an admin role, or takes it away. Without one, the lists of users and groups come back empty.
    pub fn set_admin_role(&self, client_id: &str, has_role: bool) {
        self.change_client(client_id, |client| client.admin_role = has_role);
    }

    /// Makes the app a super admin, who may change groups that hold admin roles, or no longer.
    pub fn set_super_admin(&self, client_id: &str, is_super_admin: bool) {
        self.change_client(client_id, |client| client.super_admin = is_super_admin);
    }

    /// Makes every token that was issued so far unknown.
    pub fn revoke_tokens(&self) {
        self.registry().revoke_tokens();
    }

    /// Makes every `DPoP` nonce that was handed out so far invalid.
    pub fn rotate_dpop_nonce(&self) {
        self.registry().rotate_nonce();
    }

    /// Another client of the org makes so many calls; returns how many of them are refused.
    pub fn spend(&self, bucket: Bucket, calls: u32) -> u32 {
        let now = self.clock().now().as_millisecond();
        let settings = self.settings();
        let mut budgets = self.budgets();
        let standings = (0..calls).map(|_| budgets.spend(bucket, &settings.limits, now));
        standings.fold(0, |refused, standing| refused + u32::from(!standing.is_allowed))
    }

    /// Makes every cursor that was handed out so far invalid.
    pub fn expire_cursors(&self) {
        self.cursors().expire();
    }

    fn change_client(&self, client_id: &str, change: impl FnOnce(&mut Client)) {
        if let Some(client) = self.registry().clients.get_mut(client_id) {
            change(client);
        }
    }
}

/// People and groups.
impl OktaSimulator {
    /// Adds a user. Returns the id.
    pub fn add_user(&self, user: NewUser) -> String {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        let index = directory.add_user(user, now);
        directory.ids().id(Kind::User, index)
    }

    /// Changes a lifecycle status, to any word.
    pub fn set_status(&self, user: &str, status: &str) {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        if let Some(index) = directory.user_number(user) {
            directory.set_status(index, status, now);
        }
    }

    /// Sets members of a profile; `null` values stay as `null`. Anything but an object is ignored.
    pub fn update_profile(&self, user: &str, changes: &Value) {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        if let (Some(index), Some(changes)) = (directory.user_number(user), changes.as_object()) {
            directory.update_profile(index, changes, now);
        }
    }

    /// Deletes a user for good, memberships included.
    pub fn delete_user(&self, user: &str) {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        let changed = directory.user_number(user).is_some_and(|index| directory.delete_user(index, now));
        drop(directory);
        self.notify_if(changed);
    }

    /// Adds a group. Returns the id.
    pub fn add_group(&self, group: NewGroup) -> String {
        self.add_group_with(group, false)
    }

    /// Adds the `BUILT_IN` group of all users. Its memberships are shown by the API, but not counted or listed by
    /// [`OktaSimulator::memberships`] and its like.
    pub fn add_everyone(&self) -> String {
        self.add_group_with(NewGroup::named("Everyone").of_kind("BUILT_IN"), true)
    }

    fn add_group_with(&self, group: NewGroup, everyone: bool) -> String {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        let index = directory.add_group(group, everyone, now);
        directory.group_id(index)
    }

    /// Gives a group another name.
    pub fn rename_group(&self, group: &str, name: &str) {
        self.update_group_profile(group, &serde_json::json!({ "name": name }));
    }

    /// Sets members of a group's profile. Anything but an object is ignored.
    pub fn update_group_profile(&self, group: &str, changes: &Value) {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        if let (Some(index), Some(changes)) = (directory.group_number(group), changes.as_object()) {
            let changes = changes.clone();
            directory.update_group(index, now, |group| group.extend_profile(changes));
        }
    }

    /// Gives a group an admin role, or takes it away.
    pub fn set_admin_privilege(&self, group: &str, admin: bool) {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        if let Some(index) = directory.group_number(group) {
            directory.update_group(index, now, |group| group.set_admin_privilege(admin));
        }
    }

    /// Deletes a group for good, memberships included.
    pub fn delete_group(&self, group: &str) {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        let changed = directory.group_number(group).is_some_and(|index| directory.delete_group(index, now));
        drop(directory);
        self.notify_if(changed);
    }

    /// Makes a user a member, of any kind of group.
    pub fn add_member(&self, group: &str, user: &str) {
        self.set_member(group, user, true);
    }

    /// Ends a membership, in any kind of group, behind the connector's back. Rules are not told.
    pub fn remove_member(&self, group: &str, user: &str) {
        self.set_member(group, user, false);
    }

    fn set_member(&self, group: &str, user: &str, member: bool) {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        let numbers = directory.group_number(group).zip(directory.user_number(user));
        let changed = numbers.is_some_and(|(group, user)| {
            directory.set_member(group, user, member, now, None, Actor::Administrator)
        });
        drop(directory);
        self.notify_if(changed);
    }

    /// Adds a rule that puts users into groups; `status` is `ACTIVE`, `INACTIVE` or `INVALID`. Returns the id. The
    /// rule does nothing by itself: see [`OktaSimulator::add_rule_member`].
    pub fn add_group_rule(&self, name: &str, groups: &[&str], status: &str) -> String {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        let targets = groups.iter().filter_map(|group| directory.group_number(group)).collect();
        let index = directory.add_rule(name, targets, status, now);
        directory.ids().id(Kind::Rule, index)
    }

    /// Gives a rule another status: an inactive one manages nothing, and its group is its administrators' again.
    pub fn set_group_rule_status(&self, rule: &str, status: &str) {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        if let Some(rule) = directory.ids().index(Kind::Rule, rule) {
            directory.set_rule_status(rule, status, now);
        }
        drop(directory);
        self.notify_if(true);
    }

    /// Lets a rule put a user into a group, or take over a membership that exists. Tells whether the rule did: it
    /// leaves excluded users alone.
    pub fn add_rule_member(&self, rule: &str, group: &str, user: &str) -> bool {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        let rule = directory.ids().index(Kind::Rule, rule);
        let numbers = directory.group_number(group).zip(directory.user_number(user));
        let added = rule
            .zip(numbers)
            .is_some_and(|(rule, (group, user))| directory.add_rule_member(rule, group, user, now));
        drop(directory);
        self.notify_if(added);
        added
    }

    /// Adds a company in one go. Quick also for a million people: their profiles are made when they are asked for.
    pub fn seed(&self, seed: Seed) -> Seeded {
        let now = self.now_ms();
        let mut directory = self.directory_mut();
        let (users, groups) = directory.seed(&seed, now);
        let ids = directory.ids();
        drop(directory);
        self.notify_if(true);
        Seeded {
            users: users.into_iter().map(|index| ids.id(Kind::User, index)).collect(),
            groups: groups.into_iter().map(|index| ids.id(Kind::Group, index)).collect(),
        }
    }

    fn notify_if(&self, changed: bool) {
        if changed {
            self.note_membership_change();
        }
    }
}
