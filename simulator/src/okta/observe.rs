//! # Purpose
//! What a test, a demo or a benchmark can see of the org, whatever its API shows.
//!
//! # Invariants kept here
//! - Memberships are told as they are, not as lagging reads show them.
//!
//! # Not here
//! Changing anything: see `arrange`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::OktaSimulator;
use super::directory::Projection;
use super::journal::{Call, Journal, MembershipWrite};

/// The directory.
impl OktaSimulator {
    /// Whether the user is a member of the group.
    #[must_use]
    pub fn is_member(&self, group: &str, user: &str) -> bool {
        let directory = self.directory();
        let numbers = directory.group_number(group).zip(directory.user_number(user));
        numbers.is_some_and(|(group, user)| directory.is_member(group, user))
    }

    /// Ids of a group's members.
    #[must_use]
    pub fn members(&self, group: &str) -> Vec<String> {
        let directory = self.directory();
        directory.group_number(group).map(|group| directory.members(group)).unwrap_or_default()
    }

    /// All memberships as (group id, user id).
    #[must_use]
    pub fn memberships(&self) -> BTreeSet<(String, String)> {
        self.directory().membership_pairs().collect()
    }

    /// How many memberships there are.
    #[must_use]
    pub fn membership_count(&self) -> usize {
        self.directory().membership_count()
    }

    /// How many users there are, in any status.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.directory().live_users()
    }

    /// How many groups there are, of any kind.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.directory().live_groups()
    }

    /// Ids of the users that a rule leaves alone.
    #[must_use]
    pub fn rule_exclusions(&self, rule: &str) -> Vec<String> {
        self.directory().rule_exclusions(rule)
    }

    /// A user as the API would show it, by id or login; `null` when there is none.
    #[must_use]
    pub fn user(&self, id_or_login: &str) -> Value {
        let directory = self.directory();
        let mut text = Vec::new();
        if let Some(view) = directory.user_number_by_name(id_or_login).and_then(|index| directory.user(index))
        {
            view.write(&mut text, &self.settings().origin, &Projection::default());
        }
        serde_json::from_slice(&text).unwrap_or(Value::Null)
    }

    /// Resolves at the next change of any membership.
    pub async fn membership_changed(&self) {
        let mut versions = self.membership_versions();
        // The sender lives in `self`, so this cannot fail while we wait.
        let _ = versions.changed().await;
    }

    /// Resolves as soon as `condition` holds, which is asked now and after every change of a membership.
    pub async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let mut versions = self.membership_versions();
        while !condition(self) {
            if versions.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The traffic.
impl OktaSimulator {
    /// The latest calls, oldest first: at most 100 000.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.journal().calls()
    }

    /// How often an operation was called, whatever came of it.
    #[must_use]
    pub fn call_count(&self, operation: &str) -> u64 {
        self.journal().count(operation)
    }

    /// How many calls there were.
    #[must_use]
    pub fn total_calls(&self) -> u64 {
        self.journal().total()
    }

    /// How many calls were answered with 429, scripted ones included.
    #[must_use]
    pub fn throttled(&self) -> u64 {
        self.journal().throttled()
    }

    /// The most calls that were in flight together.
    #[must_use]
    pub fn peak_concurrency(&self) -> usize {
        self.slots().peak()
    }

    /// Membership writes through the API that were answered with success, oldest first: at most a million.
    #[must_use]
    pub fn membership_writes(&self) -> Vec<MembershipWrite> {
        self.journal().writes()
    }

    /// How many assertions were presented to the token endpoint.
    #[must_use]
    pub fn assertions_seen(&self) -> u64 {
        self.registry().assertions_seen
    }

    /// How many tokens were issued.
    #[must_use]
    pub fn tokens_issued(&self) -> u64 {
        self.registry().tokens_issued
    }

    /// Forgets calls, writes and counters. Rate budgets and tokens stay as they are.
    pub fn reset_counters(&self) {
        *self.journal() = Journal::default();
        self.slots().reset_peak();
        let mut registry = self.registry();
        registry.assertions_seen = 0;
        registry.tokens_issued = 0;
    }

    /// Starts every rate-limit window anew.
    pub fn reset_rate_limits(&self) {
        self.budgets().reset();
    }
}
