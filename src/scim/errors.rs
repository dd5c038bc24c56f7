//! # Purpose
//! What a SCIM service provider's answers mean when they are not success (RFC 7644 section 3.12).
//!
//! # Invariants kept here
//! - Status, `scimType` and detail survive in every error, whatever the body was.
//!
//! # Not here
//! What to do after a conflict: `directory::apply`.

use std::fmt;

use http::StatusCode;
use serde_json::Value;

use super::ERROR;
use crate::catalogue::ErrorCode;
use crate::http::{Class, ExchangeError, Response};

/// A call to the service provider had no success.
#[derive(Debug, thiserror::Error)]
pub enum ScimError {
    /// No answer.
    #[error("{call} failed")]
    NoAnswer {
        /// The call.
        call: &'static str,
        /// Why.
        #[source]
        source: ExchangeError,
    },
    /// Refused, or a problem of the provider's own.
    #[error("{call} failed")]
    Answered {
        /// The call.
        call: &'static str,
        /// Whether trying again can help.
        class: Class,
        /// What the provider said.
        #[source]
        answer: Box<Answer>,
    },
    /// Success, with a body that is not what it should be.
    #[error("{call}: the SCIM service answered {} with a body that is not {expected} [{}]", status.as_u16(), ErrorCode::ScimUnreadable)]
    Unreadable {
        /// The call.
        call: &'static str,
        /// What was expected.
        expected: &'static str,
        /// The status.
        status: StatusCode,
        /// The parser's complaint.
        #[source]
        source: serde_json::Error,
    },
    /// A resource without `id` cannot be addressed.
    #[error(
        "{call}: the SCIM service answered with a resource that has no id [{}]",
        ErrorCode::ScimUnreadable
    )]
    NoId {
        /// The call.
        call: &'static str,
    },
}

/// What the provider said, as far as it said anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// `uniqueness`, `noTarget` …
    pub scim_type: Option<String>,
    /// A text, or the start of whatever came instead.
    pub detail: Option<String>,
    /// Whether it says of itself that it is a SCIM error (RFC 7644 section 3.12), which nothing before the service does.
    pub is_of_scim: bool,
}

impl Answer {
    /// Reads an answer; never fails.
    pub fn read(response: &Response) -> Self {
        let body: Value = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        Self {
            status: response.status,
            is_of_scim: body
                .get("schemas")
                .and_then(Value::as_array)
                .is_some_and(|schemas| schemas.iter().any(|schema| schema == ERROR)),
            scim_type: text("scimType"),
            detail: text("detail")
                .or_else(|| text("message"))
                .or_else(|| Some(response.excerpt()).filter(|excerpt| !excerpt.is_empty())),
        }
    }
}

impl Answer {
    /// What it means.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::of_scim(self.scim_type.as_deref(), self.status.as_u16())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the SCIM service answered {}", self.status.as_u16())?;
        if let Some(scim_type) = &self.scim_type {
            write!(f, " {scim_type}")?;
        }
        match &self.detail {
            Some(detail) => write!(f, ": {detail}")?,
            None => f.write_str(" without a body")?,
        }
        write!(f, " [{}]", self.code())
    }
}

impl std::error::Error for Answer {}

impl ScimError {
    /// Takes in what the exchange made of a call.
    pub fn from_exchange(call: &'static str, error: ExchangeError) -> Self {
        match error.response() {
            Some(response) => {
                let answer = Box::new(Answer::read(response));
                let class = match (error.class(), answer.status) {
                    (Class::Permanent, StatusCode::FORBIDDEN) => Class::Misconfigured,
                    (class, _) => class,
                };
                Self::Answered { call, class, answer }
            }
            None => Self::NoAnswer { call, source: error },
        }
    }

    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoAnswer { source, .. } => match source {
                ExchangeError::Unreachable { source, .. } => source.code(),
                ExchangeError::Answered { .. } => ErrorCode::ScimRefused,
                ExchangeError::Unauthorized { source, .. } => source.code,
            },
            Self::Answered { answer, .. } => answer.code(),
            Self::Unreadable { .. } | Self::NoId { .. } => ErrorCode::ScimUnreadable,
        }
    }

    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::NoAnswer { source, .. } => source.class(),
            Self::Answered { class, .. } => *class,
            Self::Unreadable { .. } => Class::Transient,
            Self::NoId { .. } => Class::Permanent,
        }
    }

    /// Whether the form of the request was refused, where another form may do.
    pub fn is_of_form(&self) -> bool {
        let forms = [
            StatusCode::BAD_REQUEST,
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::UNPROCESSABLE_ENTITY,
            StatusCode::NOT_IMPLEMENTED,
        ];
        self.status().is_some_and(|status| forms.contains(&status))
    }

    /// Whether there was too much in the request.
    pub fn is_too_many(&self) -> bool {
        match self {
            Self::Answered { answer, .. } => {
                answer.status == StatusCode::PAYLOAD_TOO_LARGE
                    || (answer.status == StatusCode::BAD_REQUEST
                        && answer
                            .scim_type
                            .as_deref()
                            .is_some_and(|word| word.eq_ignore_ascii_case("tooMany")))
            }
            Self::NoAnswer { .. } | Self::Unreadable { .. } | Self::NoId { .. } => false,
        }
    }

    /// Whether the resource has another version than the one that was named, or one must be named.
    pub fn is_of_version(&self) -> bool {
        matches!(self.status(), Some(StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED))
    }

    /// The status, where there was an answer.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answered { answer, .. } => Some(answer.status),
            Self::NoAnswer { .. } | Self::Unreadable { .. } | Self::NoId { .. } => None,
        }
    }
}
