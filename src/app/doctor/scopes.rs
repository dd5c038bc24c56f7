//! # Purpose
//! What the application was granted: the scopes that are needed, and those that reach beyond.
//!
//! # Invariants kept here
//! - A scope counts as not granted only where Okta has said so of that scope. No answer is no proof.
//!
//! # Not here
//! Administrator roles: `rights`.

use super::okta::Asked;
use super::probe::{Probe, Report};
use crate::catalogue::ErrorCode;
use crate::okta::{TokenError, TokenStatus};
use crate::telemetry::chain;

/// Those that are about scopes.
pub(super) const ALL: &[Probe] = &[Probe::ScopeUsers, Probe::ScopeGroups, Probe::ScopeExcess];

/// Scopes that would let a thief of the key do or see much more than the connector does. `okta.roles.read` is not among
/// them: where it is granted, the application's own roles are looked at.
const TOO_MUCH: [&str; 27] = [
    "okta.apiTokens.manage",
    "okta.apiTokens.read",
    "okta.appGrants.manage",
    "okta.apps.manage",
    "okta.apps.read",
    "okta.authorizationServers.manage",
    "okta.authorizationServers.read",
    "okta.clients.manage",
    "okta.clients.read",
    "okta.devices.manage",
    "okta.devices.read",
    "okta.eventHooks.manage",
    "okta.factors.manage",
    "okta.factors.read",
    "okta.groups.manage",
    "okta.idps.manage",
    "okta.idps.read",
    "okta.inlineHooks.manage",
    "okta.networkZones.manage",
    "okta.orgs.manage",
    "okta.policies.manage",
    "okta.policies.read",
    "okta.roles.manage",
    "okta.schemas.manage",
    "okta.sessions.manage",
    "okta.sessions.read",
    "okta.users.manage",
];

pub(super) async fn examine(asked: &Asked, missing: &[&'static str], target: &str, report: &mut Report) {
    for (probe, scope) in [Probe::ScopeUsers, Probe::ScopeGroups].into_iter().zip(&asked.settings.scopes) {
        if missing.contains(scope) {
            report.fail(probe, target, format!("{scope} is not granted"), ErrorCode::ScopeMissing);
        } else {
            report.pass(probe, target, format!("{scope} is granted"));
        }
    }
    let wanted: Vec<_> =
        TOO_MUCH.into_iter().filter(|scope| !asked.settings.scopes.contains(scope)).collect();
    match granted_of(asked, &wanted).await {
        Known { granted, unknown: None } if granted.is_empty() => {
            report.pass(
                Probe::ScopeExcess,
                target,
                format!("none is granted of the {} that were asked for", wanted.len()),
            );
        }
        Known { granted, unknown: Some(reason) } if granted.is_empty() => {
            report.skip(Probe::ScopeExcess, target, format!("not known, as Okta does not say: {reason}"));
        }
        Known { granted, unknown } => report.warn_of(
            Probe::ScopeExcess,
            target,
            format!(
                "{}granted, and not used by the connector: {}",
                if unknown.is_some() { "perhaps not all of those that are " } else { "" },
                granted.join(", ")
            ),
            "Revoke them (Okta API Scopes tab): whoever steals the key could use them.",
            ErrorCode::MoreThanNeeded,
        ),
    }
}

/// Which of some scopes are granted.
struct Known {
    granted: Vec<&'static str>,
    /// Why it is not known of all of them.
    unknown: Option<String>,
}

/// Asks for all of them, and where that tells nothing, for each by itself: with one scope that it does not know, Okta refuses
/// the whole request.
async fn granted_of(asked: &Asked, wanted: &[&'static str]) -> Known {
    // With those that are needed there is something to grant, and no refusal in the organization's log.
    let together = asked.asking_just(&[&asked.settings.scopes, wanted].concat());
    together.tokens.keep_fresh().await;
    match together.tokens.status() {
        TokenStatus::Held { .. } => {
            let granted: Vec<_> =
                wanted.iter().copied().filter(|scope| together.tokens.carries(scope)).collect();
            // To have all of them is so odd that it is rather an answer that does not say what was granted.
            if granted.len() < wanted.len() {
                Known { granted, unknown: None }
            } else {
                one_by_one(asked, wanted).await
            }
        }
        TokenStatus::Failing(error) if refuses_a_scope(&error) => one_by_one(asked, wanted).await,
        TokenStatus::Failing(error) => {
            Known { granted: Vec::new(), unknown: Some(chain(&*error).to_string()) }
        }
        TokenStatus::Unknown => {
            Known { granted: Vec::new(), unknown: Some("there was no answer".to_owned()) }
        }
    }
}

async fn one_by_one(asked: &Asked, wanted: &[&'static str]) -> Known {
    let mut known = Known { granted: Vec::new(), unknown: None };
    for scope in wanted {
        let alone = asked.asking_just(&[scope]);
        alone.tokens.keep_fresh().await;
        match alone.tokens.status() {
            // Whatever the answer says: there is no token without a scope.
            TokenStatus::Held { .. } => known.granted.push(scope),
            TokenStatus::Failing(error) if refuses_a_scope(&error) => {}
            TokenStatus::Failing(error) => {
                known.unknown = Some(format!("{scope}: {}", chain(&*error)));
                return known;
            }
            TokenStatus::Unknown => known.unknown = Some(format!("{scope}: there was no answer")),
        }
    }
    known
}

fn refuses_a_scope(error: &TokenError) -> bool {
    [ErrorCode::UnknownScope, ErrorCode::NoScopeGranted].contains(&error.code())
}
