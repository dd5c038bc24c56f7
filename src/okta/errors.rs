//! # Purpose
//! What Okta's answers mean when they are not success.
//!
//! # Invariants kept here
//! - Okta's status, code, text and request id survive in every error, whatever the body was.
//! - Flow follows status and error code, never the text (Okta may change it).
//!
//! # Not here
//! The token endpoint's OAuth errors: `okta::tokens`.
//!
//! Source: <https://developer.okta.com/docs/reference/error-codes/>

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;

use super::page::Trouble;
use super::wire::object;
use crate::catalogue::ErrorCode;
use crate::http::budget::{Reading, read};
use crate::http::classify::{Verdict, by_status};
use crate::http::{Class, ExchangeError, Response, TransportError};

/// What Okta said, as far as it said anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// `E0000007` and so on.
    pub code: Option<String>,
    /// Okta's text, or the start of whatever came instead.
    pub text: Option<String>,
    /// Correlates with the organization's System Log.
    pub request_id: Option<String>,
    /// From `WWW-Authenticate`: `insufficient_scope` and so on.
    pub challenge: Option<String>,
    /// What it means.
    pub error: ErrorCode,
}

impl Answer {
    /// Reads an answer; never fails.
    pub fn read(response: &Response) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Body {
            error_code: Option<String>,
            error_summary: Option<String>,
            error_causes: Vec<Cause>,
            #[serde(rename = "error")]
            oauth_code: Option<String>,
            #[serde(rename = "error_description")]
            oauth_text: Option<String>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Cause {
            error_summary: Option<String>,
        }

        let body: Body = object(&response.body).unwrap_or_default();
        let causes: Vec<_> = body.error_causes.into_iter().filter_map(|cause| cause.error_summary).collect();
        let challenge = response.header("www-authenticate").and_then(challenge_error);
        let text = body
            .error_summary
            .or(body.oauth_text)
            .map(|text| if causes.is_empty() { text } else { format!("{text} ({})", causes.join("; ")) })
            .or_else(|| Some(response.excerpt()).filter(|excerpt| !excerpt.is_empty()));
        let code = body.error_code.or(body.oauth_code);
        Self {
            status: response.status,
            error: ErrorCode::of_okta(code.as_deref(), challenge.as_deref(), response.status.as_u16()),
            code,
            text,
            request_id: response.header("x-okta-request-id").map(ToOwned::to_owned),
            challenge,
        }
    }

    /// Whether Okta's own error code is `code`.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Okta answered {}", self.status.as_u16())?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(challenge) = &self.challenge {
            write!(f, " ({challenge})")?;
        }
        match &self.text {
            Some(text) => write!(f, ": {text}")?,
            None => f.write_str(" without a body")?,
        }
        match &self.request_id {
            Some(id) => write!(f, " [{}, request {id}]", self.error),
            None => write!(f, " [{}]", self.error),
        }
    }
}

impl std::error::Error for Answer {}

/// A call to Okta's API had no success.
#[derive(Debug, thiserror::Error)]
pub enum OktaError {
    /// No answer, or no token to ask with.
    #[error("{call} failed")]
    NoAnswer {
        /// The call.
        call: &'static str,
        /// Why.
        #[source]
        source: ExchangeError,
    },
    /// Okta refused, or had a problem of its own.
    #[error("{call} failed")]
    Answered {
        /// The call.
        call: &'static str,
        /// Whether trying again can help.
        class: Class,
        /// What Okta said.
        #[source]
        answer: Box<Answer>,
    },
    /// Success, with a body that is not what it should be.
    #[error("{call}: Okta answered {} with a body that is not {expected} [{}, request {}]", status.as_u16(), ErrorCode::OktaUnreadable, request_id.as_deref().unwrap_or("unknown"))]
    Unreadable {
        /// The call.
        call: &'static str,
        /// What was expected.
        expected: &'static str,
        /// The status.
        status: StatusCode,
        /// Correlates with the organization's System Log.
        request_id: Option<String>,
        /// The parser's complaint.
        #[source]
        source: serde_json::Error,
    },
    /// A listing with elements that could not be read, where the answer depends on them.
    #[error(
        "{call}: {skipped} elements of the listing cannot be read, so it cannot be known what it holds [{}]",
        ErrorCode::ListingIncomplete
    )]
    Incomplete {
        /// The call.
        call: &'static str,
        /// How many.
        skipped: usize,
    },
    /// A listing whose pages lead in a circle or elsewhere.
    #[error(
        "{call}: the listing's pages lead in a circle, so it cannot be known to be complete [{}]",
        ErrorCode::ListingIncomplete
    )]
    Endless {
        /// The call.
        call: &'static str,
    },
}

impl OktaError {
    /// Takes in what the exchange made of a call.
    pub fn from_exchange(call: &'static str, error: ExchangeError) -> Self {
        match error.response() {
            Some(response) => {
                let answer = Answer::read(response);
                let class = match (error.class(), answer.challenge.as_deref(), answer.status) {
                    // A missing scope or role is cured in Okta's console, and then the same call works.
                    (Class::Permanent, _, StatusCode::FORBIDDEN)
                    | (Class::Permanent, Some("insufficient_scope"), _) => Class::Misconfigured,
                    // Okta names its error; a bare 404 comes from something in between and says nothing about Okta.
                    (Class::Permanent, _, StatusCode::NOT_FOUND) if answer.code.is_none() => Class::Transient,
                    (class, _, _) => class,
                };
                Self::Answered { call, class, answer: Box::new(answer) }
            }
            None => Self::NoAnswer { call, source: error },
        }
    }

    /// What it is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoAnswer { source, .. } => match source {
                ExchangeError::Unreachable { source, .. } => source.code(),
                ExchangeError::Answered { .. } => ErrorCode::OktaRefused,
                ExchangeError::Unauthorized { source, .. } => source.code,
            },
            Self::Answered { answer, .. } => answer.error,
            Self::Unreadable { .. } => ErrorCode::OktaUnreadable,
            Self::Incomplete { .. } | Self::Endless { .. } => ErrorCode::ListingIncomplete,
        }
    }

    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::NoAnswer { source, .. } => source.class(),
            Self::Answered { class, .. } => *class,
            // Half a body is an outage in the middle, not a fact about the organization.
            Self::Unreadable { .. } | Self::Incomplete { .. } | Self::Endless { .. } => Class::Transient,
        }
    }

    /// Whether Okta did not answer at all, or with trouble of its own: then other calls meet the same.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::NoAnswer { .. } | Self::Answered { .. } => self.class() == Class::Transient,
            Self::Unreadable { .. } | Self::Incomplete { .. } | Self::Endless { .. } => false,
        }
    }

    /// Whether a smaller page would do better.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::NoAnswer { source, .. } => match source {
                ExchangeError::Unreachable { source, .. } => match source {
                    TransportError::Timeout { .. }
                    | TransportError::Broken { .. }
                    | TransportError::TooLarge { .. } => Trouble::TooMuch,
                    TransportError::Connect { .. } => Trouble::Other,
                },
                ExchangeError::Answered { .. } | ExchangeError::Unauthorized { .. } => Trouble::Other,
            },
            Self::Answered { answer, .. } => match answer.status {
                StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                    Trouble::TooMuch
                }
                _ => Trouble::Other,
            },
            Self::Unreadable { .. } => Trouble::Cut,
            Self::Incomplete { .. } | Self::Endless { .. } => Trouble::Other,
        }
    }

    /// What Okta said, where it said something.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answered { answer, .. } => Some(answer),
            Self::NoAnswer { .. }
            | Self::Unreadable { .. }
            | Self::Incomplete { .. }
            | Self::Endless { .. } => None,
        }
    }

    /// Okta itself says that the thing does not exist (or is hidden from the connector's role: see `Memberships::rights_hold`).
    pub fn is_not_found(&self) -> bool {
        let says_so = |answer: &Answer| answer.is("E0000007") || answer.is("E0000048");
        self.answer().is_some_and(|answer| answer.status == StatusCode::NOT_FOUND && says_so(answer))
    }

    /// Okta may have acted although the call had no success.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::NoAnswer { source, .. } => source.may_have_happened(),
            Self::Answered { answer, .. } => answer.status.is_server_error(),
            Self::Unreadable { .. } => true,
            Self::Incomplete { .. } | Self::Endless { .. } => false,
        }
    }
}

/// HTTP's rules with Okta's codes.
pub fn classify(response: &Response, now: Timestamp) -> Verdict {
    let general = by_status(response, now);
    match general {
        Verdict::Done | Verdict::Challenged => general,
        Verdict::Throttled { wait } => Verdict::Throttled { wait: throttled_wait(response, wait) },
        Verdict::Refused | Verdict::Unauthenticated | Verdict::Transient { .. } => {
            let answer = Answer::read(response);
            match answer.code.as_deref().or(answer.challenge.as_deref()) {
                Some("use_dpop_nonce") => Verdict::Challenged,
                // A proof that was too old or used already, or a token of the other kind: both are made anew.
                Some("invalid_dpop_proof" | "invalid_request")
                    if answer.challenge.is_some() && response.status == StatusCode::BAD_REQUEST =>
                {
                    Verdict::Unauthenticated
                }
                // "Invalid session": a token that Okta has forgotten, or trouble with its proof.
                Some("E0000005") => Verdict::Unauthenticated,
                // A feature that is not licensed: 401, but no token will help.
                Some("E0000015") => Verdict::Refused,
                // Group rules are being set up; the authorization server is busy (a 400 that passes).
                Some("E0000249" | "temporarily_unavailable") => Verdict::Transient { wait: None },
                // Something else changes the same thing. Nothing is created here that could exist already.
                Some(_) | None if response.status == StatusCode::CONFLICT => {
                    Verdict::Transient { wait: None }
                }
                Some(_) | None => general,
            }
        }
    }
}

/// Until the next window by Okta's own clock; `None` (a short backoff) for a concurrency limit, whose reset is a guess.
/// Where no window can be read, as long as was asked for, or long enough to be no storm.
fn throttled_wait(response: &Response, retry_after: Option<Duration>) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(70);
    const UNTOLD: Duration = Duration::from_secs(10);
    match read(&response.headers) {
        Some(Reading::Window { resets_in, .. }) => Some(resets_in.min(LONGEST)),
        Some(Reading::Concurrency) => None,
        None => Some(retry_after.unwrap_or(UNTOLD)),
    }
}

/// `error="…"` of a challenge.
fn challenge_error(header: &str) -> Option<String> {
    let rest = header.split_once("error=\"")?.1;
    Some(rest.split_once('"')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn response(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Response {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Response { status: StatusCode::from_u16(status).unwrap(), headers: map, body: Bytes::from(body) }
    }

    #[test]
    fn oktas_codes_refine_the_status() {
        let now = Timestamp::UNIX_EPOCH;
        let table = [
            (403, r#"{"errorCode":"E0000005"}"#, Verdict::Unauthenticated),
            (403, r#"{"errorCode":"E0000006"}"#, Verdict::Refused),
            (401, r#"{"errorCode":"E0000011"}"#, Verdict::Unauthenticated),
            (401, r#"{"errorCode":"E0000015"}"#, Verdict::Refused),
            (401, "", Verdict::Unauthenticated),
            (403, "", Verdict::Refused),
            (409, r#"{"errorCode":"E0000249"}"#, Verdict::Transient { wait: None }),
            (409, r#"{"errorCode":"E0000157"}"#, Verdict::Transient { wait: None }),
            (409, "", Verdict::Transient { wait: None }),
            (400, r#"{"error":"temporarily_unavailable"}"#, Verdict::Transient { wait: None }),
            (501, r#"{"errorCode":"E0000060"}"#, Verdict::Refused),
            (503, "<html>", Verdict::Transient { wait: None }),
        ];
        for (status, body, expected) in table {
            assert_eq!(classify(&response(status, &[], body), now), expected, "{status} {body}");
        }
    }

    #[test]
    fn the_two_kinds_of_429_wait_differently() {
        let now = Timestamp::UNIX_EPOCH;
        let window = [
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("x-rate-limit-limit", "600"),
            ("x-rate-limit-remaining", "0"),
            ("x-rate-limit-reset", "784111797"),
        ];
        assert_eq!(
            classify(&response(429, &window, ""), now),
            Verdict::Throttled { wait: Some(Duration::from_secs(21)) }
        );
        let concurrency =
            [("x-rate-limit-limit", "0"), ("x-rate-limit-remaining", "0"), ("retry-after", "99")];
        assert_eq!(classify(&response(429, &concurrency, ""), now), Verdict::Throttled { wait: None });
    }

    #[test]
    fn a_429_that_tells_of_no_window_is_waited_out_all_the_same() {
        let far = [
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("x-rate-limit-limit", "600"),
            ("x-rate-limit-remaining", "0"),
            ("x-rate-limit-reset", "784119999"),
        ];
        for (headers, seconds) in [(&far[..], 10), (&[], 10), (&[("retry-after", "30")], 30)] {
            let wait = Some(Duration::from_secs(seconds));
            let verdict = classify(&response(429, headers, ""), Timestamp::UNIX_EPOCH);
            assert_eq!(verdict, Verdict::Throttled { wait }, "{headers:?}");
        }
    }

    #[test]
    fn only_okta_itself_can_say_not_found() {
        let error = |body| {
            let response = Box::new(response(404, &[], body));
            let verdict = classify(&response, Timestamp::UNIX_EPOCH);
            OktaError::from_exchange(
                "get_user",
                ExchangeError::Answered { call: "get_user", verdict, response },
            )
        };
        for (body, not_found, class) in [
            (r#"{"errorCode":"E0000007"}"#, true, Class::Permanent),
            (r#"{"errorCode":"E0000048"}"#, true, Class::Permanent),
            (r#"{"errorCode":"E0000008"}"#, false, Class::Permanent),
            ("<html>no such page</html>", false, Class::Transient),
            ("", false, Class::Transient),
        ] {
            let error = error(body);
            assert_eq!((error.is_not_found(), error.class()), (not_found, class), "{body}");
        }
    }

    #[test]
    fn nothing_is_lost_of_an_answer_without_a_body() {
        let answer = Answer::read(&response(
            403,
            &[
                ("x-okta-request-id", "req-1"),
                (
                    "www-authenticate",
                    r#"Bearer realm="x", error="insufficient_scope", error_description="y""#,
                ),
            ],
            "",
        ));
        assert_eq!(
            answer.to_string(),
            "Okta answered 403 (insufficient_scope) without a body [AOC-0403, request req-1]"
        );
    }

    #[test]
    fn causes_and_foreign_pages_are_kept() {
        let body = r#"{"errorCode":"E0000001","errorSummary":"Api validation failed: login","errorCauses":[{"errorSummary":"login: too short"}]}"#;
        let answer = Answer::read(&response(400, &[], body));
        assert_eq!(
            answer.to_string(),
            "Okta answered 400 E0000001: Api validation failed: login (login: too short) [AOC-0410]"
        );
        let html = Answer::read(&response(502, &[], "<html>\n <h1>Bad  gateway</h1>"));
        assert_eq!(html.to_string(), "Okta answered 502: <html> <h1>Bad gateway</h1> [AOC-0406]");
    }
}
