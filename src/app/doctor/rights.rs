//! # Purpose
//! What the connector may do in one organization beside its scopes: by the administrator role, and within limits. Too much
//! is told as well as too little.
//!
//! # Invariants kept here
//! - Nothing is changed: the one write names a user who does not exist, and Okta looks at rights first.
//! - Of groups that were not read, nothing is said.
//!
//! # Not here
//! Getting a token: `okta`. What it carries: `scopes`.

use std::collections::BTreeSet;

use super::okta::Asked;
use super::probe::{Probe, Report};
use super::scopes;
use crate::catalogue::ErrorCode;
use crate::config::{Access, Organization};
use crate::domain::{Group, OktaGroupId};
use crate::http::Lane;
use crate::okta::{Cursor, LOG_SCOPE, LogKind, OktaError, PageError, Rights, TokenStatus};
use crate::telemetry::chain;

/// Those about what lies beyond scopes.
pub(super) const ALL: &[Probe] = &[
    Probe::RoleUsers,
    Probe::RoleGroups,
    Probe::RoleMembers,
    Probe::RoleExcess,
    Probe::RuleManaged,
    Probe::AdminGroups,
    Probe::RateShare,
    Probe::RateOthers,
    Probe::SystemLog,
];

/// By which an application may look at its own roles.
const ROLES_SCOPE: &str = "okta.roles.read";
/// As Okta calls the role that may do everything.
const SUPER_ADMIN: &str = "SUPER_ADMIN";
const INSTEAD: &str =
    "Assign a custom role in place of Super Administrator (`apono-connector okta setup` does).";
/// Of 200 groups each.
const MOST_PAGES: usize = 10;
/// Named in a finding.
const NAMED: usize = 5;

pub(super) async fn examine(
    organization: &Organization,
    asked: &Asked,
    missing: &[&'static str],
    report: &mut Report,
) {
    let target = organization.url.origin();
    scopes::examine(asked, missing, &target, report).await;
    if !missing.is_empty() {
        for probe in ALL {
            report.skip(*probe, &target, "not known while a scope is missing");
        }
        return;
    }
    if !role(asked, &target, report).await {
        for probe in &ALL[2..] {
            report.skip(*probe, &target, "not known while the administrator role is missing");
        }
        return;
    }
    groups(organization, asked, &target, report).await;
    asked.gauge.judge(organization.rate_limit_share, &target, report);
    log(asked, &target, report).await;
}

async fn role(asked: &Asked, target: &str, report: &mut Report) -> bool {
    let Rights { users, groups } = match asked.organization.directory.rights().await {
        Ok(rights) => rights,
        Err(error) => {
            for probe in [Probe::RoleUsers, Probe::RoleGroups] {
                fail(probe, target, &error, report);
            }
            return false;
        }
    };
    for (probe, shows, what) in [(Probe::RoleUsers, users, "users"), (Probe::RoleGroups, groups, "groups")] {
        if shows {
            report.pass(probe, target, format!("it shows {what}"));
        } else {
            let detail =
                format!("it shows no {what} at all, which is how Okta says that the role is missing");
            report.fail(probe, target, detail, ErrorCode::RoleMissing);
        }
    }
    users && groups
}

async fn groups(organization: &Organization, asked: &Asked, target: &str, report: &mut Report) {
    let members = [Probe::RoleMembers, Probe::RoleExcess, Probe::RuleManaged, Probe::AdminGroups];
    let Some(access) = &organization.access else {
        for probe in members {
            report.skip(probe, target, "access is switched off");
        }
        return;
    };
    let looked = match look(asked).await {
        Ok(looked) => looked,
        Err(error) => {
            for probe in members {
                fail(probe, target, &error, report);
            }
            return;
        }
    };
    let policy = &access.policy;
    let is_allowed = |group: &&Group| {
        policy.allow_groups.matching(group).is_some() && policy.deny_groups.matching(group).is_none()
    };
    let plain = looked
        .groups
        .iter()
        .filter(is_allowed)
        .find(|group| !carries_roles(group) && !looked.fed.contains(&group.id));
    may_write(asked, plain, &looked, target, report).await;
    may_write_too_much(asked, looked.groups.iter().find(|group| carries_roles(group)), target, report).await;
    let allowed: Vec<_> = looked.groups.iter().filter(is_allowed).collect();
    filled_by_rules(&looked, &allowed, target, report);
    with_roles(access, &looked, &allowed, target, report);
}

fn carries_roles(group: &Group) -> bool {
    group.has_admin_privilege == Some(true)
}

fn filled_by_rules(looked: &Looked, allowed: &[&Group], target: &str, report: &mut Report) {
    let fed: Vec<_> = allowed.iter().copied().filter(|group| looked.fed.contains(&group.id)).collect();
    let is_read = |id: &OktaGroupId| looked.groups.iter().any(|group| group.id == *id);
    if !fed.is_empty() {
        report.warn_of(
            Probe::RuleManaged,
            target,
            format!("grants are refused in these, which group rules fill: {}", names(&fed)),
            "Leave them out (okta[].access.policy.deny_groups), or let no rule fill what is granted.",
            ErrorCode::ResultRefusedRule,
        );
    } else if looked.is_complete || looked.fed.iter().all(is_read) {
        report.pass(Probe::RuleManaged, target, "none");
    } else {
        report.skip(Probe::RuleManaged, target, looked.none_so_far());
    }
}

fn with_roles(access: &Access, looked: &Looked, allowed: &[&Group], target: &str, report: &mut Report) {
    let admin: Vec<_> = allowed.iter().copied().filter(|group| carries_roles(group)).collect();
    let untold = allowed.iter().filter(|group| group.has_admin_privilege.is_none()).count();
    if !admin.is_empty() {
        let what = if access.policy.allow_admin_groups {
            "grants give administrator roles in these"
        } else {
            "grants are refused in these, which carry administrator roles"
        };
        report.warn_of(
            Probe::AdminGroups,
            target,
            format!("{what}: {}", names(&admin)),
            "Leave them out (okta[].access.policy.deny_groups), unless it is meant.",
            ErrorCode::ResultRefusedAdmin,
        );
    } else if untold > 0 {
        let detail = format!("Okta does not say of {untold} groups whether they carry administrator roles");
        report.skip(Probe::AdminGroups, target, detail);
    } else if looked.is_complete {
        report.pass(Probe::AdminGroups, target, "none");
    } else {
        report.skip(Probe::AdminGroups, target, looked.none_so_far());
    }
}

struct Looked {
    groups: Vec<Group>,
    fed: BTreeSet<OktaGroupId>,
    /// Whether these are all groups, each of them read.
    is_complete: bool,
}

impl Looked {
    fn none_so_far(&self) -> String {
        format!("none among the first {} groups, and what comes after them was not read", self.groups.len())
    }
}

async fn look(asked: &Asked) -> Result<Looked, OktaError> {
    let memberships = &asked.organization.memberships;
    let fed = memberships.rule_fed_groups(Lane::Directory).await?;
    let mut looked = Looked { groups: Vec::new(), fed, is_complete: false };
    let (mut next, mut skipped): (Option<Cursor>, usize) = (None, 0);
    for _ in 0..MOST_PAGES {
        let page = match memberships.grantable_groups(next.as_ref(), Lane::Directory).await {
            Ok(page) => page,
            Err(PageError::Call(error)) => return Err(error),
            Err(PageError::Link { .. }) => break,
        };
        looked.groups.extend(page.items);
        skipped += page.skipped.len();
        next = page.next;
        if next.is_none() {
            looked.is_complete = skipped == 0;
            break;
        }
    }
    Ok(looked)
}

async fn may_write(asked: &Asked, group: Option<&Group>, looked: &Looked, target: &str, report: &mut Report) {
    let Some(group) = group else {
        let detail = if looked.is_complete {
            "there is no group in which a grant could begin".to_owned()
        } else {
            format!("to find a group in which a grant could begin: {}", looked.none_so_far())
        };
        report.skip(Probe::RoleMembers, target, detail);
        return;
    };
    match asked.organization.memberships.may_change(&group.id).await {
        Ok(true) => {
            report.pass(Probe::RoleMembers, target, format!("members of {} can be changed", group.name));
        }
        Ok(false) => {
            let detail = format!("members of {} cannot be changed", group.name);
            report.fail(Probe::RoleMembers, target, detail, ErrorCode::NoPermission);
        }
        Err(error) => fail(Probe::RoleMembers, target, &error, report),
    }
}

async fn may_write_too_much(asked: &Asked, group: Option<&Group>, target: &str, report: &mut Report) {
    let Some(group) = group else { return own_roles(asked, target, report).await };
    match asked.organization.memberships.may_change(&group.id).await {
        Ok(false) => report.pass(Probe::RoleExcess, target, "groups with administrator roles are out of its reach"),
        Ok(true) => report.warn_of(
            Probe::RoleExcess,
            target,
            format!("members of {}, which carries administrator roles, can be changed: so can a super administrator only", group.name),
            INSTEAD,
            ErrorCode::MoreThanNeeded,
        ),
        Err(error) => fail(Probe::RoleExcess, target, &error, report),
    }
}

/// What Okta says of the application's own roles, where it may be asked.
async fn own_roles(asked: &Asked, target: &str, report: &mut Report) {
    let more = asked.asking_just(&[&asked.settings.scopes, &[ROLES_SCOPE][..]].concat());
    more.tokens.keep_fresh().await;
    let reason = match more.tokens.status() {
        TokenStatus::Held { .. } if more.tokens.carries(ROLES_SCOPE) => {
            match more.directory.roles_of(&more.tokens.client_id()).await {
                Ok(roles) if roles.iter().any(|role| role == SUPER_ADMIN) => {
                    let detail = format!("the application has these roles: {}", roles.join(", "));
                    return report.warn_of(
                        Probe::RoleExcess,
                        target,
                        detail,
                        INSTEAD,
                        ErrorCode::MoreThanNeeded,
                    );
                }
                Ok(roles) if !roles.is_empty() => {
                    let detail = format!("the application has these roles: {}", roles.join(", "));
                    return report.pass(Probe::RoleExcess, target, detail);
                }
                // It has one, or it would see nothing.
                Ok(_) => "Okta shows none of the application's roles".to_owned(),
                Err(error) => format!("Okta does not show the application's roles: {}", chain(&error)),
            }
        }
        TokenStatus::Held { .. } => format!("{ROLES_SCOPE} is not granted"),
        TokenStatus::Failing(error) => chain(&*error).to_string(),
        TokenStatus::Unknown => "there was no answer".to_owned(),
    };
    report.skip_until(
        Probe::RoleExcess,
        target,
        format!("there is no group with administrator roles to tell it by, and {reason}"),
        "See that the application's Admin roles tab in Okta does not show Super Administrator; or grant okta.roles.read for as long as it takes to run `doctor` again.",
    );
}

async fn log(asked: &Asked, target: &str, report: &mut Report) {
    if !asked.organization.log.is_open() {
        let detail = format!("{LOG_SCOPE} is not granted, which is no fault: changes are found without");
        report.skip(Probe::SystemLog, target, detail);
        return;
    }
    let now = asked.organization.directory.now();
    let since = now.checked_sub(jiff::SignedDuration::from_mins(5)).unwrap_or(now);
    match asked.organization.log.page(LogKind::MemberAdded, since, now, None, Lane::Directory).await {
        Ok(_) => report.pass(Probe::SystemLog, target, "it can be read"),
        Err(error) => report.fail(Probe::SystemLog, target, chain(&error).to_string(), error.code()),
    }
}

fn names(groups: &[&Group]) -> String {
    let mut text = groups.iter().take(NAMED).map(|group| group.name.as_str()).collect::<Vec<_>>().join(", ");
    if groups.len() > NAMED {
        text = format!("{text} and {} more", groups.len() - NAMED);
    }
    text
}

fn fail(probe: Probe, target: &str, error: &OktaError, report: &mut Report) {
    report.fail(probe, target, chain(error).to_string(), error.code());
}
