//! # Purpose
//! Why there is no token, and what a person does about it.
//!
//! # Invariants kept here
//! - Pure. One code of Okta's covers faults of the clock and of the key: its text is read, and the cure names the one.
//!
//! # Not here
//! When to ask again: `tokens`.

use http::StatusCode;

use super::Settings;
use super::errors::Answer;
use crate::http::{Class, ExchangeError};
use crate::secrets::SignError;
use crate::telemetry::chain;

/// No token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key does not sign.
    #[error("the assertion cannot be signed with the private key")]
    Sign(#[source] SignError),
    /// Okta was not reached.
    #[error("{organization} cannot be asked for a token")]
    Unreachable {
        /// Whom.
        organization: String,
        /// Why not.
        #[source]
        source: ExchangeError,
    },
    /// Okta refused, and says why.
    #[error("{cure}")]
    Refused {
        /// What to do about it, with Okta's own text.
        cure: String,
        /// Whether trying again can help.
        class: Class,
        /// What Okta said.
        #[source]
        answer: Box<Answer>,
    },
    /// Success without a token in it.
    #[error(
        "{organization} answered the token request with something that is not a token; is organization_url an Okta organization?"
    )]
    Unreadable {
        /// Whom.
        organization: String,
        /// The parser's complaint.
        #[source]
        source: serde_json::Error,
    },
}

impl TokenError {
    /// Whether Okta refuses one of the scopes that were asked for, and might grant the others.
    pub(super) fn is_about_a_scope(&self) -> bool {
        match self {
            Self::Refused { answer, .. } => answer.code.as_deref() == Some("invalid_scope"),
            Self::Sign(_) | Self::Unreachable { .. } | Self::Unreadable { .. } => false,
        }
    }

    /// Whether Okta refuses the proof of possession, or the want of one.
    pub(super) fn is_about_the_proof(&self) -> bool {
        match self {
            Self::Refused { answer, class, .. } => {
                answer.code.as_deref() == Some("invalid_dpop_proof") && *class == Class::Misconfigured
            }
            Self::Sign(_) | Self::Unreachable { .. } | Self::Unreadable { .. } => false,
        }
    }

    /// What tells it from another: without what each answer has of its own, such as request ids.
    pub(super) fn gist(&self) -> String {
        match self {
            Self::Refused { cure, .. } => cure.clone(),
            Self::Sign(_) | Self::Unreachable { .. } | Self::Unreadable { .. } => chain(self).to_string(),
        }
    }

    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Sign(_) | Self::Unreadable { .. } => Class::Misconfigured,
            Self::Unreachable { source, .. } => source.class(),
            Self::Refused { class, .. } => *class,
        }
    }
}

/// What to do about a refusal. One code covers faults of the clock and of the key, so Okta's text has to be read.
pub(super) fn cure(answer: &Answer, settings: &Settings, skew: Option<i64>) -> (String, Class) {
    let text = answer.text.as_deref().unwrap_or("no reason given");
    let says = |needle: &str| text.contains(needle);
    let organization = settings.organization.origin();
    let misconfigured = |cure: String| (cure, Class::Misconfigured);
    if answer.status == StatusCode::NOT_FOUND || (answer.code.is_none() && !answer.status.is_server_error()) {
        return misconfigured(format!(
            "{organization} does not answer like an Okta organization; correct organization_url (https://example.okta.com, without -admin)"
        ));
    }
    match answer.code.as_deref() {
        Some("invalid_client")
            if says("is expired")
                || says("too far into the future")
                || says("issued before the current time") =>
        {
            wrong_clock(skew)
        }
        Some("invalid_dpop_proof")
            if says("issued in the future") || says("in the past") || says("is expired") =>
        {
            wrong_clock(skew)
        }
        Some("invalid_client") if says("already been used") => {
            ("Okta has seen this assertion before".to_owned(), Class::Transient)
        }
        Some("invalid_client") if says("kid is invalid") || says("signature is invalid") => {
            misconfigured(format!(
                "the private key does not belong to the application in {organization}; register its public half there (General, Client Credentials, Public keys) and save, or mount the right key"
            ))
        }
        Some("invalid_client") if says("does not have a JWKSet") || says("must use the private_key_jwt") => {
            misconfigured(format!(
                "the application in {organization} has no public key; choose Public key / Private key under Client Credentials, add the key, and save"
            ))
        }
        Some("invalid_client") if says("audience claim") => misconfigured(format!(
            "{organization} is not the address that Okta expects; set organization_url to the organization's own address"
        )),
        Some("invalid_client") => misconfigured(format!(
            "{organization} does not know this client; correct client_id, and see that the application is an active API Services app"
        )),
        Some("consent_required" | "invalid_scope") => misconfigured(format!(
            "no scope is granted to the application; grant {} (Okta API Scopes tab)",
            settings.scopes.join(" and ")
        )),
        Some("access_denied") => misconfigured(
            "the application's network zone does not include this host; add its address to the zone"
                .to_owned(),
        ),
        Some("invalid_dpop_proof") if says("already been used") => {
            ("Okta has seen this proof of possession before".to_owned(), Class::Transient)
        }
        Some("invalid_dpop_proof") if says("header is missing") => misconfigured(
            "the application demands proofs of possession; set okta[].dpop to \"auto\" or \"on\"".to_owned(),
        ),
        Some("invalid_dpop_proof") if says("'htu'") => misconfigured(format!(
            "{organization} is not the address that Okta expects; set organization_url to the organization's own address"
        )),
        Some("invalid_dpop_proof") => misconfigured(format!(
            "{organization} does not take the connector's proof of possession; see that nothing between here and Okta changes the DPoP header"
        )),
        Some(_) | None => misconfigured("Okta refuses the token request".to_owned()),
    }
}

/// With Okta's `Date` the next request is right; without it, somebody has to set the clock.
fn wrong_clock(skew: Option<i64>) -> (String, Class) {
    let (skew, class) = match skew {
        Some(seconds) if seconds > 0 => (format!("{seconds} s ahead of"), Class::Transient),
        Some(seconds) => (format!("{} s behind", -seconds), Class::Transient),
        None => ("not at".to_owned(), Class::Misconfigured),
    };
    (format!("this host's clock is {skew} Okta's; set it right (NTP)"), class)
}
