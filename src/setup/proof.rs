//! # Purpose
//! Proves a key by what it is for: a token, and a look at the directory with it.
//!
//! # Invariants kept here
//! - Nothing is changed in the organization.
//! - What Okta says against a key is told in the words in which the connector itself would tell it.
//!
//! # Not here
//! Asking for tokens: `okta::tokens`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::http::Budget;
use crate::http::budget::BudgetSettings;
use crate::http::url::Base;
use crate::okta::{self, Dpop, OktaError, Surroundings, TokenError, TokenStatus};
use crate::secrets::{Credentials, Reloading};

use super::TIMEOUT;

/// What a key is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Scopes that were asked for and not granted.
    pub missing_scopes: Vec<&'static str>,
    /// Whether users and groups are seen at all: without its role, the connector sees none.
    pub sees: Result<(bool, bool), String>,
}

/// There is no token for the key.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// Okta gives none, or was not reached.
    #[error("no token: {0}")]
    Token(#[source] Arc<TokenError>),
    /// Okta was not asked.
    #[error("no token was asked for")]
    NotAsked,
}

/// Asks once.
pub async fn prove(
    organization: &Base,
    credentials: &Credentials,
    scopes: [&'static str; 2],
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
        scopes: scopes.to_vec(),
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
        Err(error) => Err(words(&error)),
    };
    Ok(Proof { missing_scopes, sees })
}

/// Asks again for a while: what was changed a moment ago may not be known everywhere yet.
pub async fn prove_patiently(
    organization: &Base,
    credentials: &Credentials,
    scopes: [&'static str; 2],
    surroundings: &Surroundings,
) -> Result<Proof, ProofError> {
    for wait in [1, 2, 4] {
        match prove(organization, credentials, scopes, surroundings).await {
            Ok(proof) if proof.missing_scopes.is_empty() => return Ok(proof),
            Ok(_) | Err(_) => clock::sleep(Duration::from_secs(wait)).await,
        }
    }
    prove(organization, credentials, scopes, surroundings).await
}

fn words(error: &OktaError) -> String {
    error.answer().map_or_else(|| error.to_string(), ToString::to_string)
}
