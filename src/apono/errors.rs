//! # Purpose
//! What the control plane's answers mean when they are not success.
//!
//! # Invariants kept here
//! - Any body is survived: structured, HTML, or none.
//!
//! # Not here
//! The codes of results: `result`.

use std::fmt;

use http::StatusCode;
use serde_json::Value;

use crate::catalogue::ErrorCode;
use crate::http::{Class, ExchangeError, Response};

/// A call to the control plane had no success.
#[derive(Debug, thiserror::Error)]
pub enum AponoError {
    /// No answer.
    #[error("{call} failed")]
    NoAnswer {
        /// The call.
        call: &'static str,
        /// Why.
        #[source]
        source: ExchangeError,
    },
    /// Refused, or a problem of its own.
    #[error("{call} failed")]
    Answered {
        /// The call.
        call: &'static str,
        /// Whether trying again can help.
        class: Class,
        /// What Apono said.
        #[source]
        answer: Box<Answer>,
    },
    /// Success, with a body that is not what it should be.
    #[error("{call}: Apono answered {} with a body that is not {expected} [{}]", status.as_u16(), ErrorCode::AponoUnreadable)]
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
}

/// What Apono said, as far as it said anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// `lease_lost`, `task_finished`, `Unauthorized` …
    pub code: Option<String>,
    /// A text, or the start of whatever came instead.
    pub text: Option<String>,
}

impl Answer {
    /// Reads an answer; never fails.
    pub fn read(response: &Response) -> Self {
        let body: Value = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        Self {
            status: response.status,
            code: text("code"),
            text: text("message").or_else(|| Some(response.excerpt()).filter(|excerpt| !excerpt.is_empty())),
        }
    }
}

impl Answer {
    /// What it means.
    pub fn error_code(&self) -> ErrorCode {
        ErrorCode::of_apono(self.code.as_deref(), self.status.as_u16())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Apono answered {}", self.status.as_u16())?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        match &self.text {
            Some(text) => write!(f, ": {text}")?,
            None => f.write_str(" without a body")?,
        }
        write!(f, " [{}]", self.error_code())
    }
}

impl std::error::Error for Answer {}

impl AponoError {
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
                ExchangeError::Answered { .. } => ErrorCode::AponoRefused,
                ExchangeError::Unauthorized { source, .. } => source.code,
            },
            Self::Answered { answer, .. } => answer.error_code(),
            Self::Unreadable { .. } => ErrorCode::AponoUnreadable,
        }
    }

    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::NoAnswer { source, .. } => source.class(),
            Self::Answered { class, .. } => *class,
            Self::Unreadable { .. } => Class::Transient,
        }
    }

    /// The status, where there was an answer.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Answered { answer, .. } => Some(answer.status),
            Self::NoAnswer { .. } | Self::Unreadable { .. } => None,
        }
    }
}
