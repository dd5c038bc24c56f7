//! # Purpose
//! Proves a connection by what it is for: a token, a look at the directory with it, and the right to change members.
//!
//! # Invariants kept here
//! - Nothing is changed in the organization: the one write names a user who does not exist.
//! - What Okta says against a key is told in the words in which the connector itself would tell it.
//!
//! # Not here
//! Asking for tokens: `okta::tokens`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crate::catalogue::ErrorCode;
use crate::clock;
use crate::domain::Group;
use crate::http::budget::BudgetSettings;
use crate::http::url::Base;
use crate::http::{Budget, Class, Lane};
use crate::okta::{self, Dpop, Memberships, OktaError, PageError, Surroundings, TokenError, TokenStatus};
use crate::secrets::{Credentials, Reloading};
use crate::telemetry::chain;

use super::TIMEOUT;

/// What a connection shall be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Scopes of its token.
    pub scopes: [&'static str; 2],
    /// Whether there are users to be seen.
    pub users: bool,
    /// Whether there are groups to be seen.
    pub groups: bool,
    /// Whether it changes members.
    pub members: bool,
}

impl Expected {
    /// A token, whatever is seen with it.
    pub fn token(scopes: [&'static str; 2]) -> Self {
        Self { scopes, users: false, groups: false, members: false }
    }
}

/// What a key is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Scopes that were asked for and not granted.
    pub missing_scopes: Vec<&'static str>,
    /// Whether users and groups are seen at all: without its role, the connector sees none.
    pub sees: Result<(bool, bool), Failure>,
    /// Whether members can be changed.
    pub members: Members,
}

/// Whether members of a group can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// It was not asked for, or there is no group to try it with.
    NotTried,
    /// They can.
    Changeable,
    /// Okta refuses it, in the group of this name.
    Refused(String),
    /// Okta did not say.
    Failed(Failure),
}

/// A call that had no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether trying again can help.
    pub class: Class,
    /// What it is.
    pub code: ErrorCode,
    /// In words, with its code.
    pub text: String,
}

/// What a connection is to be good for, and is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shortfall {
    /// A scope.
    #[error("{0} is not granted to the application, and the token does not carry it; grant it (Okta API Scopes) [{code}]", code = ErrorCode::ScopeMissing)]
    Scope(&'static str),
    /// Nothing is seen of what is there.
    #[error("a token was fetched, but it sees {0}; give the application its admin role [{code}]", code = ErrorCode::RoleMissing)]
    Unseen(&'static str),
    /// No look was possible.
    #[error("a token was fetched, but it cannot look at users and groups; give the application its admin role: {}", .0.text)]
    Look(Failure),
    /// The role does not let members be changed.
    #[error("members of the group {0:?} cannot be changed; give the admin role both okta.groups.members.manage and okta.users.groupMembership.manage, and its resource set the group and all users [{code}]", code = ErrorCode::NoPermission)]
    Members(String),
    /// It is not known whether it does.
    #[error("whether members can be changed could not be tried: {}", .0.text)]
    Untried(Failure),
}

impl Shortfall {
    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Scope(_) => ErrorCode::ScopeMissing,
            Self::Unseen(_) => ErrorCode::RoleMissing,
            Self::Members(_) => ErrorCode::NoPermission,
            Self::Look(failure) | Self::Untried(failure) => failure.code,
        }
    }

    /// Whether it may pass by itself.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Scope(_) | Self::Unseen(_) | Self::Members(_) => false,
            Self::Look(failure) | Self::Untried(failure) => failure.class == Class::Transient,
        }
    }
}

impl Proof {
    /// What is missing.
    pub fn shortfalls(&self, expected: &Expected) -> Vec<Shortfall> {
        let mut short: Vec<_> = self.missing_scopes.iter().copied().map(Shortfall::Scope).collect();
        match &self.sees {
            Ok((users, groups)) => {
                let unseen = (expected.users && !users, expected.groups && !groups);
                short.extend(nothing_of(unseen).map(Shortfall::Unseen));
            }
            Err(failure) => short.push(Shortfall::Look(failure.clone())),
        }
        match &self.members {
            Members::NotTried | Members::Changeable => {}
            Members::Refused(group) => short.push(Shortfall::Members(group.clone())),
            Members::Failed(failure) => short.push(Shortfall::Untried(failure.clone())),
        }
        short
    }

    /// What is not seen, whether or not it is there.
    pub fn unseen(&self) -> Option<&'static str> {
        let (users, groups) = self.sees.as_ref().ok()?;
        nothing_of((!users, !groups))
    }
}

/// In words, of (users, groups).
fn nothing_of(unseen: (bool, bool)) -> Option<&'static str> {
    match unseen {
        (true, true) => Some("neither users nor groups"),
        (true, false) => Some("no users"),
        (false, true) => Some("no groups"),
        (false, false) => None,
    }
}

/// There is no token for the key.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Okta gives none, or was not reached.
    #[error("no token: {0}")]
    Token(#[source] Arc<TokenError>),
    /// Okta was not asked.
    #[error("no token was asked for [{code}]", code = ErrorCode::Defect)]
    NotAsked,
}

impl ProofError {
    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Token(error) => error.code(),
            Self::NotAsked => ErrorCode::Defect,
        }
    }
}

/// Asks once.
pub async fn prove(
    organization: &Base,
    credentials: &Credentials,
    expected: &Expected,
    surroundings: &Surroundings,
) -> Result<Proof, ProofError> {
    let (clock, metrics) = (Arc::clone(&surroundings.clock), Arc::clone(&surroundings.metrics));
    let budget = Arc::new(Budget::new(BudgetSettings::default(), "setup", clock, metrics));
    let shared = credentials.clone();
    let Ok(credentials) =
        Reloading::new("Okta credentials", None, move || Ok::<_, Infallible>(shared.clone()));
    let settings = okta::Settings {
        integration: "setup".to_owned(),
        organization: organization.clone(),
        credentials: Arc::new(credentials),
        dpop: Dpop::Auto,
        scopes: expected.scopes.to_vec(),
        optional_scopes: Vec::new(),
        timeout: TIMEOUT,
    };
    let connection = okta::connect(settings, surroundings, &budget);
    connection.tokens.keep_fresh().await;
    let missing_scopes = match connection.tokens.status() {
        TokenStatus::Held { missing_scopes } => missing_scopes,
        TokenStatus::Failing(error) => return Err(ProofError::Token(error)),
        TokenStatus::Unknown => return Err(ProofError::NotAsked),
    };
    let sees = match connection.directory.rights().await {
        Ok(rights) => Ok((rights.users, rights.groups)),
        Err(error) => Err(failure(&error)),
    };
    let members = if expected.members && missing_scopes.is_empty() && sees == Ok((true, true)) {
        try_members(&connection.memberships).await
    } else {
        Members::NotTried
    };
    Ok(Proof { missing_scopes, sees, members })
}

/// Asks again for a while: what was changed a moment ago may not be in force everywhere yet.
pub async fn prove_patiently(
    organization: &Base,
    credentials: &Credentials,
    expected: &Expected,
    surroundings: &Surroundings,
) -> Result<Proof, ProofError> {
    for wait in [1, 2, 4, 8] {
        match prove(organization, credentials, expected, surroundings).await {
            Ok(proof) if proof.shortfalls(expected).is_empty() => return Ok(proof),
            Ok(_) | Err(_) => clock::sleep(Duration::from_secs(wait)).await,
        }
    }
    prove(organization, credentials, expected, surroundings).await
}

/// In the first group whose members anybody but a super administrator could change.
async fn try_members(memberships: &Memberships) -> Members {
    let groups = match memberships.grantable_groups(None, Lane::Verification).await {
        Ok(page) => page.items,
        Err(PageError::Call(error)) => return Members::Failed(failure(&error)),
        Err(error @ PageError::Link { .. }) => {
            let (class, code) = (error.class(), error.code());
            let text = code.told_with(chain(&error).to_string());
            return Members::Failed(Failure { class, code, text });
        }
    };
    let is_ordinary = |group: &&Group| group.has_admin_privilege != Some(true);
    let Some(group) = groups.iter().find(is_ordinary) else { return Members::NotTried };
    match memberships.may_change(&group.id).await {
        Ok(true) => Members::Changeable,
        Ok(false) => Members::Refused(group.name.clone()),
        Err(error) => Members::Failed(failure(&error)),
    }
}

fn failure(error: &OktaError) -> Failure {
    let code = error.code();
    Failure { class: error.class(), code, text: code.told_with(chain(error).to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Expected = Expected {
        scopes: ["okta.users.read", "okta.groups.manage"],
        users: true,
        groups: true,
        members: true,
    };

    fn proof() -> Proof {
        Proof { missing_scopes: Vec::new(), sees: Ok((true, true)), members: Members::Changeable }
    }

    #[test]
    fn each_shortfall_is_told_with_its_code_and_only_what_is_expected_is_one() {
        let failure = |class| Failure { class, code: ErrorCode::OktaTrouble, text: "x [AOC-0406]".into() };
        let cases = [
            (Proof { missing_scopes: vec!["okta.groups.manage"], ..proof() }, "AOC-0320", false),
            (Proof { sees: Ok((true, false)), ..proof() }, "AOC-0801", false),
            (Proof { sees: Err(failure(Class::Transient)), ..proof() }, "AOC-0406", true),
            (Proof { sees: Err(failure(Class::Permanent)), ..proof() }, "AOC-0406", false),
            (Proof { members: Members::Refused("oncall".into()), ..proof() }, "AOC-0402", false),
            (Proof { members: Members::Failed(failure(Class::Transient)), ..proof() }, "AOC-0406", true),
        ];
        for (proof, code, may_pass) in cases {
            let short = proof.shortfalls(&ALL);
            assert_eq!(short.len(), 1, "{short:?}");
            assert!(short[0].to_string().contains(code), "{}", short[0]);
            assert_eq!((short[0].code().to_string().as_str(), short[0].may_pass()), (code, may_pass));
        }
        assert_eq!(proof().shortfalls(&ALL), Vec::new());
        let empty = Proof { sees: Ok((false, false)), ..proof() };
        assert_eq!(empty.shortfalls(&Expected { users: false, groups: false, ..ALL }), Vec::new());
        assert_eq!(empty.unseen(), Some("neither users nor groups"));
    }
}
