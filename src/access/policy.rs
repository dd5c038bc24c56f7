//! # Purpose
//! What the operator of this host lets Apono do, whatever a task says.
//!
//! # Invariants kept here
//! - Pure. A refusal names the rule that refused (invariant 6).
//! - Groups that cannot be changed safely are refused before any write (invariant 7).
//!
//! # Not here
//! Looking up groups and rules: `executor`.

use std::time::Duration;

use globset::{Glob, GlobSet, GlobSetBuilder};
use jiff::Timestamp;

use super::conditions::Conditions;
use super::hours::Hours;
use crate::apono::Code;
use crate::clock;
use crate::domain::{Grant, Group, GroupKind};

/// `[okta.access.policy]`.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `okta[].access.enabled`. Where it is off, nothing new is given; what was given before ends all the same.
    pub enabled: bool,
    /// Names or ids of groups that may be granted.
    pub allow_groups: Globs,
    /// Names or ids of groups that may not, even if allowed above.
    pub deny_groups: Globs,
    /// The longest a grant may last from now.
    pub max_duration: Duration,
    /// The most grants that may be live at once.
    pub max_live_grants: usize,
    /// Whether groups that carry admin roles may be granted.
    pub allow_admin_groups: bool,
    /// When a grant may begin.
    pub business_hours: Hours,
    /// What becomes of a membership whose group a rule has come to fill.
    pub rule_managed: RuleManaged,
}

/// What to do at the end of a grant when a group rule has come to fill the group. A removal would put the user on the
/// rule's exclusion list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleManaged {
    /// Keep the duty open, say so, and look again: a person decides.
    Wait,
    /// End the duty: membership is the rule's matter now.
    Leave,
    /// Remove all the same.
    Remove,
}

/// A rule that refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code that is reported.
    pub code: Code,
    /// One sentence for a person, with the rule.
    pub message: String,
}

/// Patterns over group names and ids.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    set: GlobSet,
    patterns: Vec<String>,
}

impl Globs {
    /// Compiles `*`, `?`, `[…]` and `{a,b}` patterns. Case matters, as it does in Okta's group names.
    pub fn new(patterns: &[String]) -> Result<Self, globset::Error> {
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns {
            builder.add(Glob::new(pattern)?);
        }
        Ok(Self { set: builder.build()?, patterns: patterns.to_vec() })
    }

    /// The first pattern that the group's name or id matches.
    pub fn matching(&self, group: &Group) -> Option<&str> {
        let by_name = self.set.matches(&group.name);
        let index =
            by_name.first().copied().or_else(|| self.set.matches(group.id.as_str()).first().copied())?;
        self.patterns.get(index).map(String::as_str)
    }
}

impl Policy {
    /// Allows nothing: for an organization whose grants are switched off (`okta.access.enabled`).
    pub fn nothing() -> Self {
        Self {
            enabled: false,
            allow_groups: Globs::default(),
            deny_groups: Globs::default(),
            max_duration: Duration::ZERO,
            max_live_grants: 0,
            allow_admin_groups: false,
            business_hours: Hours::always(),
            rule_managed: RuleManaged::Wait,
        }
    }

    /// Reviews a grant that begins beside `live` others.
    pub fn review_new(&self, grant: &Grant, live: usize, conditions: &Conditions) -> Result<(), Refusal> {
        self.review_change(grant, conditions)?;
        if live < self.max_live_grants {
            return Ok(());
        }
        refuse(format!(
            "the connector's policy allows at most {} live grants (max_live_grants)",
            self.max_live_grants
        ))
    }

    /// Reviews new terms of a grant that give more than it had.
    pub fn review_change(&self, grant: &Grant, conditions: &Conditions) -> Result<(), Refusal> {
        self.review_enabled()?;
        review_conditions(conditions)?;
        if !self.business_hours.contain(conditions.now) {
            return refuse(format!(
                "grants begin only in business hours here ({}; business_hours)",
                self.business_hours.as_str()
            ));
        }
        self.review_duration(grant, conditions.now)
    }

    fn review_enabled(&self) -> Result<(), Refusal> {
        if self.enabled {
            return Ok(());
        }
        refuse("grants are switched off for this organization (okta.access.enabled)".to_owned())
    }

    fn review_duration(&self, grant: &Grant, now: Timestamp) -> Result<(), Refusal> {
        let hours = humane(self.max_duration);
        match grant.expires_at {
            None => refuse(format!(
                "the connector's policy allows at most {hours} (max_duration), and this grant has no end"
            )),
            // A minute for the way from Apono to here.
            Some(expiry) if clock::until(now, expiry) > self.max_duration + Duration::from_mins(1) => {
                refuse(format!(
                    "the connector's policy allows at most {hours} (max_duration), and this grant ends at {expiry}"
                ))
            }
            Some(_) => Ok(()),
        }
    }

    /// Reviews one group.
    pub fn review_group(&self, group: &Group, rule_fed: bool) -> Result<(), Refusal> {
        self.review_enabled()?;
        let refuse = |code: Code, message: String| Err(Refusal { code, message });
        let name = &group.name;
        match &group.kind {
            GroupKind::Okta => {}
            kind @ (GroupKind::App | GroupKind::BuiltIn | GroupKind::Other(_)) => {
                return refuse(
                    Code::RefusedGroupType,
                    format!("{name} is of type {kind}; only OKTA_GROUP memberships can be changed"),
                );
            }
        }
        if let Some(pattern) = self.deny_groups.matching(group) {
            return refuse(
                Code::RefusedPolicy,
                format!("the connector's policy denies {name} (deny_groups: {pattern})"),
            );
        }
        if self.allow_groups.matching(group).is_none() {
            return refuse(
                Code::RefusedPolicy,
                format!("the connector's policy does not allow {name} (allow_groups)"),
            );
        }
        if group.has_admin_privilege == Some(true) && !self.allow_admin_groups {
            return refuse(
                Code::RefusedAdminGroup,
                format!(
                    "{name} carries administrator roles, which the connector's policy does not allow (allow_admin_groups)"
                ),
            );
        }
        if rule_fed {
            return refuse(
                Code::RefusedRuleManaged,
                format!(
                    "a group rule fills {name}; a removal there would put the user on the rule's exclusion list"
                ),
            );
        }
        Ok(())
    }
}

/// Reviews what has nothing to do with the grant itself.
pub fn review_conditions(conditions: &Conditions) -> Result<(), Refusal> {
    match &conditions.obstacle {
        None => Ok(()),
        Some(obstacle) => Err(Refusal { code: obstacle.code(), message: obstacle.message() }),
    }
}

fn refuse(message: String) -> Result<(), Refusal> {
    Err(Refusal { code: Code::RefusedPolicy, message })
}

/// `90 s`, `15 min`, `12 h`.
fn humane(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        _ if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::conditions::Obstacle;
    use super::*;
    use crate::domain::{GrantId, IntegrationId, OktaGroupId, Revision};

    fn globs(patterns: &[&str]) -> Globs {
        Globs::new(&patterns.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    fn policy() -> Policy {
        Policy {
            enabled: true,
            allow_groups: globs(&["team-*", "00gopen"]),
            deny_groups: globs(&["team-root"]),
            max_duration: Duration::from_hours(12),
            max_live_grants: 2,
            allow_admin_groups: false,
            ..Policy::nothing()
        }
    }

    fn group(name: &str) -> Group {
        Group {
            id: OktaGroupId::from("00g1"),
            kind: GroupKind::Okta,
            name: name.to_owned(),
            has_admin_privilege: None,
            members_changed_at: None,
            members: None,
        }
    }

    #[test]
    fn a_group_is_refused_by_the_rule_that_it_breaks() {
        let policy = policy();
        assert_eq!(policy.review_group(&group("team-a"), false), Ok(()));
        let by_id = Group { id: OktaGroupId::from("00gopen"), ..group("anything") };
        assert_eq!(policy.review_group(&by_id, false), Ok(()));
        let cases = [
            (group("other"), false, Code::RefusedPolicy, "allow_groups"),
            (group("team-root"), false, Code::RefusedPolicy, "deny_groups: team-root"),
            (Group { kind: GroupKind::App, ..group("team-a") }, false, Code::RefusedGroupType, "APP_GROUP"),
            (Group { kind: GroupKind::from("NEW"), ..group("team-a") }, false, Code::RefusedGroupType, "NEW"),
            (
                Group { has_admin_privilege: Some(true), ..group("team-a") },
                false,
                Code::RefusedAdminGroup,
                "allow_admin",
            ),
            (group("team-a"), true, Code::RefusedRuleManaged, "exclusion list"),
        ];
        for (group, rule_fed, code, text) in cases {
            let refusal = policy.review_group(&group, rule_fed).unwrap_err();
            assert_eq!(refusal.code, code);
            assert!(refusal.message.contains(text), "{}", refusal.message);
        }
    }

    #[test]
    fn where_grants_are_switched_off_the_refusal_says_so() {
        let refusal = Policy::nothing().review_group(&group("team-a"), false).unwrap_err();
        assert!(refusal.message.contains("okta.access.enabled"), "{}", refusal.message);
    }

    #[test]
    fn terms_are_bounded_in_time_and_number() {
        let now = Timestamp::UNIX_EPOCH;
        let grant = |hours: Option<i64>| Grant {
            id: GrantId::from("g"),
            revision: Revision(1),
            integration: IntegrationId::from("int"),
            username: "a".to_owned(),
            groups: [].into(),
            expires_at: hours.map(|hours| Timestamp::from_second(hours * 3600).unwrap()),
            request: None,
        };
        let (policy, good) = (policy(), Conditions::good(now));
        let refused = |hours| policy.review_change(&grant(hours), &good).unwrap_err().message;
        assert!(policy.review_change(&grant(Some(12)), &good).is_ok());
        assert!(refused(Some(13)).contains("at most 12 h"));
        assert!(refused(None).contains("has no end"));
        assert!(policy.review_new(&grant(Some(1)), 1, &good).is_ok());
        let refusal = policy.review_new(&grant(Some(1)), 2, &good).unwrap_err();
        assert!(refusal.message.contains("max_live_grants"));
    }

    #[test]
    fn nothing_begins_out_of_hours_or_while_something_is_in_the_way() {
        let now: Timestamp = "2026-01-10T12:00:00Z".parse().unwrap();
        let grant = Grant {
            id: GrantId::from("g"),
            revision: Revision(1),
            integration: IntegrationId::from("int"),
            username: "a".to_owned(),
            groups: [].into(),
            expires_at: Some("2026-01-10T13:00:00Z".parse().unwrap()),
            request: None,
        };
        let hours = Hours::parse(&["mon-fri 08:00-18:00".to_owned()], "UTC").unwrap();
        let weekdays = Policy { business_hours: hours, ..policy() };
        let refusal = weekdays.review_new(&grant, 0, &Conditions::good(now)).unwrap_err();
        assert!(refusal.message.contains("mon-fri 08:00-18:00; business_hours"), "{}", refusal.message);
        let switched_off = Conditions { now, obstacle: Some(Obstacle::KillSwitch { file: "/stop".into() }) };
        let refusal = policy().review_new(&grant, 0, &switched_off).unwrap_err();
        assert!(refusal.message.contains("/stop exists"), "{}", refusal.message);
        let degraded = Conditions { now, obstacle: Some(Obstacle::Journal) };
        assert_eq!(policy().review_change(&grant, &degraded).unwrap_err().code, Code::RefusedDegraded);
    }
}
