//! # Purpose
//! What the connector may do in one organization: scopes, and apart from them the administrator role. Too much is told as
//! well as too little.
//!
//! # Invariants kept here
//! - Nothing is changed: the one write names a user who does not exist, and Okta looks at rights first.
//!
//! # Not here
//! Getting a token: `okta`.

use super::okta::Asked;
use super::probe::{Probe, Report};
use crate::catalogue::ErrorCode;
use crate::config::Organization;
use crate::domain::Group;
use crate::http::Lane;
use crate::okta::{Cursor, LOG_SCOPE, LogKind, OktaError, Rights};
use crate::telemetry::chain;

/// Those about scopes.
pub(super) const SCOPES: &[Probe] = &[Probe::ScopeUsers, Probe::ScopeGroups, Probe::ScopeExcess];
/// Those about what lies beyond scopes.
pub(super) const BEYOND_SCOPES: &[Probe] = &[
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

/// Scopes that would let a thief of the key do much more than the connector does.
const TOO_MUCH: [&str; 10] = [
    "okta.apps.manage",
    "okta.apiTokens.manage",
    "okta.authorizationServers.manage",
    "okta.clients.manage",
    "okta.factors.manage",
    "okta.groups.manage",
    "okta.idps.manage",
    "okta.policies.manage",
    "okta.roles.manage",
    "okta.users.manage",
];
/// Of 200 groups each.
const MOST_PAGES: usize = 10;
/// Named in a finding.
const NAMED: usize = 5;
/// Below so many requests a minute a first run of an ordinary organization takes days.
const LEAST_LIMIT: u32 = 60;

pub(super) async fn examine(
    organization: &Organization,
    asked: &Asked,
    missing: &[&'static str],
    report: &mut Report,
) {
    let target = organization.url.origin();
    for (probe, scope) in [Probe::ScopeUsers, Probe::ScopeGroups].into_iter().zip(&asked.settings.scopes) {
        if missing.contains(scope) {
            report.fail(probe, &target, format!("{scope} is not granted"), ErrorCode::ScopeMissing);
        } else {
            report.pass(probe, &target, format!("{scope} is granted"));
        }
    }
    excess(asked, &target, report).await;
    if !missing.is_empty() {
        for probe in BEYOND_SCOPES {
            report.skip(*probe, &target, "not known while a scope is missing");
        }
        return;
    }
    if !role(asked, &target, report).await {
        for probe in &BEYOND_SCOPES[2..] {
            report.skip(*probe, &target, "not known while the administrator role is missing");
        }
        return;
    }
    groups(organization, asked, &target, report).await;
    rates(asked, &target, report);
    log(asked, &target, report).await;
}

async fn excess(asked: &Asked, target: &str, report: &mut Report) {
    let wanted: Vec<_> =
        TOO_MUCH.into_iter().filter(|scope| !asked.settings.scopes.contains(scope)).collect();
    let more = asked.also_asking(&wanted);
    more.tokens.keep_fresh().await;
    let granted: Vec<_> = wanted.into_iter().filter(|scope| more.tokens.carries(scope)).collect();
    if granted.is_empty() {
        report.pass(Probe::ScopeExcess, target, "of those that allow much more, none is granted");
    } else {
        report.warn(
            Probe::ScopeExcess,
            target,
            format!("granted, and not used by the connector: {}", granted.join(", ")),
            "Revoke them (Okta API Scopes tab): whoever steals the key could use them.",
        );
    }
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
    let carries_roles = |group: &&Group| group.has_admin_privilege == Some(true);
    let fed: Vec<_> =
        looked.groups.iter().filter(is_allowed).filter(|group| looked.fed.contains(&group.id)).collect();
    let admin: Vec<_> = looked.groups.iter().filter(is_allowed).filter(carries_roles).collect();
    let plain = looked
        .groups
        .iter()
        .filter(is_allowed)
        .find(|group| !carries_roles(group) && !looked.fed.contains(&group.id));
    may_write(asked, plain, target, report).await;
    may_write_too_much(asked, looked.groups.iter().find(carries_roles), target, report).await;
    if fed.is_empty() {
        report.pass(Probe::RuleManaged, target, "none");
    } else {
        report.warn(
            Probe::RuleManaged,
            target,
            format!("grants are refused in these, which group rules fill: {}", names(&fed)),
            "Leave them out (okta[].access.policy.deny_groups), or let no rule fill what is granted.",
        );
    }
    if admin.is_empty() {
        report.pass(Probe::AdminGroups, target, "none");
    } else {
        let what = if policy.allow_admin_groups {
            "grants give administrator roles in these"
        } else {
            "grants are refused in these, which carry administrator roles"
        };
        report.warn(
            Probe::AdminGroups,
            target,
            format!("{what}: {}", names(&admin)),
            "Leave them out (okta[].access.policy.deny_groups), unless it is meant.",
        );
    }
}

struct Looked {
    groups: Vec<Group>,
    fed: std::collections::BTreeSet<crate::domain::OktaGroupId>,
}

async fn look(asked: &Asked) -> Result<Looked, OktaError> {
    let memberships = &asked.organization.memberships;
    let fed = memberships.rule_fed_groups(Lane::Directory).await?;
    let (mut groups, mut next): (Vec<Group>, Option<Cursor>) = (Vec::new(), None);
    for _ in 0..MOST_PAGES {
        let page = match memberships.grantable_groups(next.as_ref(), Lane::Directory).await {
            Ok(page) => page,
            Err(crate::okta::PageError::Call(error)) => return Err(error),
            Err(crate::okta::PageError::Link { .. }) => break,
        };
        groups.extend(page.items);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    Ok(Looked { groups, fed })
}

async fn may_write(asked: &Asked, group: Option<&Group>, target: &str, report: &mut Report) {
    let Some(group) = group else {
        report.skip(Probe::RoleMembers, target, "there is no group in which a grant could begin");
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
    let Some(group) = group else {
        report.skip(Probe::RoleExcess, target, "there is no group with administrator roles to tell it by");
        return;
    };
    match asked.organization.memberships.may_change(&group.id).await {
        Ok(false) => report.pass(Probe::RoleExcess, target, "groups with administrator roles are out of its reach"),
        Ok(true) => report.warn(
            Probe::RoleExcess,
            target,
            format!("members of {}, which carries administrator roles, can be changed: so can a super administrator only", group.name),
            "Assign a custom role in place of Super Administrator (`apono-connector okta setup` does).",
        ),
        Err(error) => fail(Probe::RoleExcess, target, &error, report),
    }
}

fn rates(asked: &Asked, target: &str, report: &mut Report) {
    let known = asked.organization.budget.known();
    let Some((bucket, limit, _)) = known.iter().min_by_key(|(_, limit, _)| *limit).copied() else {
        for probe in [Probe::RateShare, Probe::RateOthers] {
            report.skip(probe, target, "no answer has told of limits");
        }
        return;
    };
    if limit < LEAST_LIMIT {
        report.warn(
            Probe::RateShare,
            target,
            format!("{limit} requests a minute for {bucket}"),
            "Raise the application's share of the rate limits (Okta: the application, Application rate limits).",
        );
    } else {
        report.pass(
            Probe::RateShare,
            target,
            format!("{limit} requests a minute and more (the least for {bucket})"),
        );
    }
    let crowded = known.iter().find(|(_, limit, left)| *left < limit / 2 && *limit >= LEAST_LIMIT);
    match crowded {
        Some((bucket, limit, left)) => report.warn(
            Probe::RateOthers,
            target,
            format!("of {limit} requests a minute for {bucket}, {left} are left"),
            "See who else uses them (Okta: Reports, Rate Limits); runs take longer meanwhile.",
        ),
        None => report.pass(Probe::RateOthers, target, "more than half of each limit is left"),
    }
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
