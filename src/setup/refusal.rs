//! # Purpose
//! What a person does about a call of setting up that had no success.
//!
//! # Invariants kept here
//! - Pure. The call, Okta's code and Okta's text are kept beside the advice.
//!
//! # Not here
//! Refusals of the token endpoint: `okta::refusal`.

use http::StatusCode;

use crate::catalogue::ErrorCode;
use crate::http::Class;
use crate::okta::OktaError;

/// A call of the administrator had no success.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Okta said no, or was not reached.
    #[error("{call}: {cure}")]
    Call {
        /// Method and path.
        call: String,
        /// What to do.
        cure: String,
        /// What happened.
        #[source]
        source: Box<OktaError>,
    },
    /// Success, with a body that lacks something.
    #[error("{call}: Okta's answer has no {member:?}; is {organization} an Okta organization? [{code}]", code = ErrorCode::OktaUnreadable)]
    Lacks {
        /// Method and path.
        call: String,
        /// What.
        member: &'static str,
        /// Whom.
        organization: String,
    },
    /// A listing without end.
    #[error("{call}: the listing does not end; run this again [{code}]", code = ErrorCode::ListingIncomplete)]
    Endless {
        /// Method and path.
        call: String,
    },
    /// The text is no header.
    #[error("the administrator's token has characters that no token has; copy it again, whole [{code}]", code = ErrorCode::SecretNotAToken)]
    Token,
    /// A group that is not there.
    #[error("no group is named {0:?}; write its exact name or its id (00g…) [{code}]", code = ErrorCode::SetupObstacle)]
    NoGroup(String),
    /// Which one?
    #[error("several groups are named {name:?} ({}); write the id of the one that is meant [{code}]", ids.join(", "), code = ErrorCode::SetupObstacle)]
    SeveralGroups {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
}

/// How it ends for whoever called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Okta was not reached, or not well.
    Unavailable,
    /// Okta said no.
    Refused,
    /// The arguments name something that is not there.
    Wrong,
}

impl AdminError {
    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Call { source, .. } => source.code(),
            Self::Lacks { .. } => ErrorCode::OktaUnreadable,
            Self::Endless { .. } => ErrorCode::ListingIncomplete,
            Self::Token => ErrorCode::SecretNotAToken,
            Self::NoGroup(_) | Self::SeveralGroups { .. } => ErrorCode::SetupObstacle,
        }
    }

    /// Which kind of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Call { source, .. } => match source.class() {
                Class::Transient => Kind::Unavailable,
                Class::Permanent | Class::Misconfigured => Kind::Refused,
            },
            Self::Lacks { .. } | Self::Endless { .. } => Kind::Unavailable,
            Self::Token | Self::NoGroup(_) | Self::SeveralGroups { .. } => Kind::Wrong,
        }
    }
}

/// What to do about it.
pub fn cure(source: &OktaError, organization: &str) -> String {
    let Some(answer) = source.answer() else {
        return match source.class() {
            Class::Transient => {
                format!(
                    "{organization} cannot be reached; see to the network and the proxy, and run this again"
                )
            }
            Class::Permanent | Class::Misconfigured => "the call could not be made".to_owned(),
        };
    };
    let says = |needle: &str| answer.text.as_deref().is_some_and(|text| text.to_lowercase().contains(needle));
    match (answer.status, answer.code.as_deref()) {
        (_, Some("E0000011" | "E0000004" | "E0000005")) => {
            "Okta does not accept the administrator's token: it has ended, was revoked, is limited to other \
             addresses, or belongs to another organization; make a new one under Security, API, Tokens"
                .to_owned()
        }
        (_, Some("E0000015")) => {
            "this organization's licence does not include the feature (custom admin roles); use --print console \
             and assign a standard role by hand"
                .to_owned()
        }
        (StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, _) => {
            "the token's administrator may not do this; it takes a Super Administrator's token to grant scopes \
             and to assign roles. What is done stays: run this again with such a token"
                .to_owned()
        }
        (StatusCode::BAD_REQUEST, _) if says("already exists") => {
            "Okta has something of this name that was not shown to us; choose another with --app-label".to_owned()
        }
        (StatusCode::CONFLICT, _) => "Okta has it already; run this again".to_owned(),
        (StatusCode::NOT_FOUND, Some("E0000007")) => {
            "what was there a moment ago is not there any more; run this again".to_owned()
        }
        (StatusCode::NOT_FOUND, _) => format!(
            "{organization} does not answer like an Okta organization; correct --organization-url \
             (https://example.okta.com, without -admin)"
        ),
        (StatusCode::TOO_MANY_REQUESTS, _) => {
            "Okta's rate limit for administration is used up; run this again in a minute".to_owned()
        }
        (status, _) if status.is_server_error() => {
            "Okta has a problem of its own; run this again later. What is done stays".to_owned()
        }
        _ => "Okta refuses this; what is done stays".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::http::{ExchangeError, Response, Verdict};

    #[test]
    fn each_refusal_has_its_own_advice_and_keeps_oktas_words() {
        let cases = [
            (
                401,
                r#"{"errorCode":"E0000011","errorSummary":"Invalid token provided"}"#,
                "make a new one under",
            ),
            (401, r#"{"errorCode":"E0000015","errorSummary":"no feature"}"#, "licence"),
            (403, r#"{"errorCode":"E0000006","errorSummary":"no"}"#, "Super Administrator"),
            (
                400,
                r#"{"errorCode":"E0000001","errorSummary":"label","errorCauses":[{"errorSummary":"label: An object with this field already exists"}]}"#,
                "--app-label",
            ),
            (404, r#"{"errorCode":"E0000007","errorSummary":"Not found"}"#, "not there any more"),
            (404, "<html>", "--organization-url"),
            (409, r#"{"errorCode":"E0000090","errorSummary":"assigned"}"#, "has it already"),
            (429, r#"{"errorCode":"E0000047","errorSummary":"limit"}"#, "in a minute"),
            (500, r#"{"errorCode":"E0000009","errorSummary":"Internal"}"#, "a problem of its own"),
            (400, r#"{"errorCode":"E0000001","errorSummary":"x"}"#, "Okta refuses this"),
        ];
        for (status, body, advice) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            let response = Response { status, headers: HeaderMap::new(), body: Bytes::from(body) };
            let error = ExchangeError::Answered {
                call: "create_app",
                verdict: Verdict::Refused,
                response: Box::new(response),
            };
            let source = OktaError::from_exchange("create_app", error);
            let cure = cure(&source, "https://example.okta.com");
            assert!(cure.contains(advice), "{body}: {cure}");
            let error = AdminError::Call { call: "POST /x".into(), cure, source: Box::new(source) };
            let told = crate::telemetry::chain(&error).to_string();
            let words = body.split('"').nth(3).unwrap_or("html");
            assert!(told.starts_with("POST /x: ") && told.contains(words), "{told}");
        }
    }
}
