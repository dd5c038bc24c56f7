//! # Purpose
//! Why there is no token, and what a person does about it.
//!
//! # Invariants kept here
//! - Pure. One code of Okta's covers faults of the clock and of the key: its text is read (`catalogue::token`).
//! - What is known of neither Okta's code nor its text is judged by the status: an outage is nobody's configuration.
//!
//! # Not here
//! When to ask again: `tokens`.

use http::StatusCode;

use super::Settings;
use super::errors::Answer;
use crate::catalogue::{Again, ErrorCode};
use crate::http::{Class, ExchangeError};
use crate::secrets::SignError;
use crate::telemetry::chain;

/// No token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The key does not sign.
    #[error("the assertion cannot be signed with the private key [{}]", ErrorCode::KeyFails)]
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
        "{organization} answered the token request with something that is not a token; is organization_url an Okta organization? [{}]",
        ErrorCode::TokenUnreadable
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

    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Sign(_) => ErrorCode::KeyFails,
            Self::Unreachable { source, .. } => match source {
                ExchangeError::Unreachable { source, .. } => source.code(),
                ExchangeError::Answered { .. } => ErrorCode::TokenTrouble,
                ExchangeError::Unauthorized { source, .. } => source.code,
            },
            Self::Refused { answer, .. } => answer.error,
            Self::Unreadable { .. } => ErrorCode::TokenUnreadable,
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

/// As `http::classify` has it: a hiccup, whoever has it.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY].contains(&status)
}

/// What a refusal means, and what to do about it.
pub(super) fn refused(mut answer: Answer, settings: &Settings, skew: Option<i64>) -> TokenError {
    let said = ErrorCode::of_token(answer.code.as_deref(), answer.text.as_deref().unwrap_or_default());
    answer.error = match (said, answer.status) {
        (_, StatusCode::NOT_FOUND) => ErrorCode::NotOkta,
        (ErrorCode::TokenRefused, StatusCode::TOO_MANY_REQUESTS) => ErrorCode::OktaThrottled,
        (ErrorCode::TokenRefused, status) if is_passing(status) => ErrorCode::TokenTrouble,
        (ErrorCode::TokenRefused, _) if answer.code.is_none() => ErrorCode::NotOkta,
        (said, _) => said,
    };
    let entry = answer.error.entry();
    let class = match entry.map(|entry| entry.again) {
        // With Okta's `Date` the next request is right; without it, somebody has to set the clock.
        Some(Again::ByItself) if answer.error != ErrorCode::WrongClock || skew.is_some() => Class::Transient,
        Some(Again::ByItself | Again::AfterCure | Again::WhenAskedAgain | Again::Never) | None => {
            Class::Misconfigured
        }
    };
    let detail = match (answer.error, skew) {
        (ErrorCode::WrongClock, Some(seconds)) if seconds > 0 => format!("it is {seconds} s ahead of Okta's"),
        (ErrorCode::WrongClock, Some(seconds)) => format!("it is {} s behind Okta's", -seconds),
        (ErrorCode::NoScopeGranted, _) => format!("needed are {}", settings.scopes.join(" and ")),
        (_, _) => settings.organization.origin(),
    };
    let cure = format!("{} ({detail}). {}", answer.error.title(), answer.error.cure());
    TokenError::Refused { cure, class, answer: Box::new(answer) }
}
