//! # Purpose
//! Reads what Okta says about a rate limit.
//!
//! # Invariants kept here
//! - Duplicated headers are read to our disadvantage: least limit, least remaining, latest reset.
//! - Absurd values are ignored, never acted on.
//! - The wait is measured on Okta's own clock (`Date`), never on ours.
//!
//! # Not here
//! What follows from it: `ledger`.
//!
//! Source: <https://developer.okta.com/docs/reference/rl-best-practices/>

use std::time::Duration;

use http::HeaderMap;

use crate::http::classify::http_date;

/// What one answer says about its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The state of the window.
    Window {
        /// Requests allowed in one window.
        limit: u32,
        /// Requests left in this one.
        remaining: u32,
        /// Until the next one, by Okta's clock, with a second for rounding.
        resets_in: Duration,
    },
    /// Too many requests at the same moment (limit and remaining are both 0). Says nothing about the window.
    Concurrency,
}

/// Reads the three headers, or nothing where they are missing or absurd.
pub fn read(headers: &HeaderMap) -> Option<Reading> {
    let limit = numbers(headers, "x-rate-limit-limit").min()?;
    let remaining = numbers(headers, "x-rate-limit-remaining").min()?;
    if limit == 0 && remaining == 0 {
        return Some(Reading::Concurrency);
    }
    let reset = i64::try_from(numbers(headers, "x-rate-limit-reset").max()?).ok()?;
    let date = http_date(headers.get("date")?.to_str().ok()?)?.as_second();
    let seconds = u64::try_from(reset.saturating_sub(date)).unwrap_or(0);
    let (limit, remaining) = (u32::try_from(limit).ok()?, u32::try_from(remaining).ok()?);
    if limit == 0 || seconds > LONGEST_WINDOW.as_secs() {
        return None;
    }
    Some(Reading::Window {
        limit,
        remaining: remaining.min(limit),
        resets_in: Duration::from_secs(seconds) + ROUNDING,
    })
}

/// Windows are a minute; anything far beyond is a guess or a mistake.
const LONGEST_WINDOW: Duration = Duration::from_mins(2);
/// Both header and `Date` are whole seconds.
const ROUNDING: Duration = Duration::from_secs(1);

fn numbers<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = u64> + 'a {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|text| text.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    const DATE: (&str, &str) = ("date", "Sun, 06 Nov 1994 08:49:37 GMT"); // 784111777

    #[test]
    fn reads_the_window_on_oktas_clock() {
        let reading = read(&headers(&[
            DATE,
            ("x-rate-limit-limit", "600"),
            ("x-rate-limit-remaining", "598"),
            ("x-rate-limit-reset", "784111807"),
        ]));
        assert_eq!(
            reading,
            Some(Reading::Window { limit: 600, remaining: 598, resets_in: Duration::from_secs(31) })
        );
    }

    #[test]
    fn duplicates_are_read_to_our_disadvantage() {
        let reading = read(&headers(&[
            DATE,
            ("x-rate-limit-limit", "600"),
            ("x-rate-limit-limit", "300"),
            ("x-rate-limit-remaining", "598, 2"),
            ("x-rate-limit-reset", "784111780"),
            ("x-rate-limit-reset", "784111790"),
        ]));
        assert_eq!(
            reading,
            Some(Reading::Window { limit: 300, remaining: 2, resets_in: Duration::from_secs(14) })
        );
    }

    #[test]
    fn zero_of_zero_is_about_concurrency() {
        let zeros = [("x-rate-limit-limit", "0"), ("x-rate-limit-remaining", "0")];
        assert_eq!(read(&headers(&zeros)), Some(Reading::Concurrency));
    }

    #[test]
    fn missing_and_absurd_values_say_nothing() {
        let full = |reset| {
            [
                DATE,
                ("x-rate-limit-limit", "600"),
                ("x-rate-limit-remaining", "1"),
                ("x-rate-limit-reset", reset),
            ]
        };
        assert_eq!(read(&HeaderMap::new()), None);
        assert_eq!(read(&headers(&full("soon"))), None);
        assert_eq!(read(&headers(&full("99999999999"))), None, "a reset in the year 5138");
        assert_eq!(read(&headers(&full("784111800")[1..])), None, "no Date to measure by");
        assert_eq!(
            read(&headers(&full("1"))),
            Some(Reading::Window { limit: 600, remaining: 1, resets_in: Duration::from_secs(1) }),
            "a reset in the past is over"
        );
    }
}
