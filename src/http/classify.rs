//! # Purpose
//! What an answer asks us to do, by HTTP's own rules.
//!
//! # Invariants kept here
//! - A closed set of verdicts; every status has one.
//!
//! # Not here
//! Peers' own error codes: each peer starts from [`by_status`] and refines it.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use super::Response;

/// What to do about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It worked.
    Done,
    /// Understood and refused; the same request will be refused again.
    Refused,
    /// The credentials were not accepted; new ones may be.
    Unauthenticated,
    /// Nothing was looked at: the peer wants its present nonce in the proof, and has sent it along (RFC 9449 section 8).
    Challenged,
    /// Too fast. Wait this long, or a short backoff where nothing is known.
    Throttled {
        /// As the peer asked, already clamped.
        wait: Option<Duration>,
    },
    /// The peer has a problem of its own.
    Transient {
        /// As the peer asked, already clamped.
        wait: Option<Duration>,
    },
}

/// RFC 9110 and common practice. `now` is for `Retry-After` dates.
pub fn by_status(response: &Response, now: Timestamp) -> Verdict {
    match response.status {
        status if status.is_success() => Verdict::Done,
        StatusCode::UNAUTHORIZED => Verdict::Unauthenticated,
        StatusCode::TOO_MANY_REQUESTS => Verdict::Throttled { wait: retry_after(response, now) },
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => Verdict::Transient { wait: None },
        StatusCode::NOT_IMPLEMENTED => Verdict::Refused,
        status if status.is_server_error() => Verdict::Transient { wait: retry_after(response, now) },
        // Redirects are refused too: following one would carry the token elsewhere.
        _ => Verdict::Refused,
    }
}

/// `Retry-After` in seconds or as a date, clamped to a minute: a hint is not an order.
pub fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_mins(1);
    let text = response.header("retry-after")?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => crate::clock::until(now, http_date(text)?),
    };
    Some(wait.min(LONGEST))
}

/// An HTTP date (`Sun, 06 Nov 1994 08:49:37 GMT`).
pub fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn response(status: u16, header: Option<&'static str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("retry-after", HeaderValue::from_static(value));
        }
        Response { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::new() }
    }

    #[test]
    fn every_status_has_a_verdict() {
        let now: Timestamp = "1994-11-06T08:49:27Z".parse().unwrap();
        let table = [
            (200, None, Verdict::Done),
            (204, None, Verdict::Done),
            (302, None, Verdict::Refused),
            (400, None, Verdict::Refused),
            (401, None, Verdict::Unauthenticated),
            (403, None, Verdict::Refused),
            (404, None, Verdict::Refused),
            (408, None, Verdict::Transient { wait: None }),
            (425, None, Verdict::Transient { wait: None }),
            (429, None, Verdict::Throttled { wait: None }),
            (429, Some("7"), Verdict::Throttled { wait: Some(Duration::from_secs(7)) }),
            (429, Some("99999"), Verdict::Throttled { wait: Some(Duration::from_mins(1)) }),
            (429, Some("soon"), Verdict::Throttled { wait: None }),
            (500, None, Verdict::Transient { wait: None }),
            (501, None, Verdict::Refused),
            (
                503,
                Some("Sun, 06 Nov 1994 08:49:37 GMT"),
                Verdict::Transient { wait: Some(Duration::from_secs(10)) },
            ),
        ];
        for (status, header, expected) in table {
            assert_eq!(by_status(&response(status, header), now), expected, "{status} {header:?}");
        }
    }
}
