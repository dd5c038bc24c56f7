//! # Purpose
//! Headers by which listings go on and rate limits are told.
//!
//! # Invariants kept here
//! - A listing goes on where it began: on the configured origin, on its own path, with what was asked for.
//! - No header makes anybody wait for longer than a window and a little.
//!
//! # Not here
//! Bodies: `okta`.

use std::sync::Arc;
use std::time::Duration;

use apono_connector::clock::VirtualClock;
use apono_connector::http::budget::{Budget, BudgetSettings, Lane, Reading, read};
use apono_connector::http::classify::by_status;
use apono_connector::http::url::Base;
use apono_connector::http::{Response, Verdict};
use apono_connector::okta::errors::classify;
use apono_connector::okta::page::{LinkError, next_cursor, with_limit};
use http::header::LINK;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::peer;

const BASES: [&str; 3] =
    ["https://example.okta.com", "http://127.0.0.1:8080", "https://example.okta.com/below"];
const ASKED: [(&str, &str); 3] =
    [("filter", "status eq \"ACTIVE\""), ("limit", "200"), ("fields", "id,profile:(login)")];
/// More are not looked at; a server would not take so many either.
const MOST_HEADERS: usize = 100;

/// `Link` headers, one a line.
pub fn link_headers(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let lines = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(MOST_HEADERS);
    for value in lines.clone().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        headers.append(LINK, value);
    }
    for base in BASES.map(peer::base) {
        for full in [false, true] {
            follow(&headers, &base, full);
        }
        for link in lines.clone().filter_map(|line| std::str::from_utf8(line).ok()) {
            let Some(url) = base.reattach(link, "/api/v1/users") else { continue };
            assert_eq!(url.origin().ascii_serialization(), base.origin(), "{link:?}");
            assert_eq!(url.path(), "/api/v1/users", "{link:?}");
        }
    }
}

fn follow(headers: &HeaderMap, base: &Base, full: bool) {
    let asked = base.url(&["api", "v1", "users"], &ASKED);
    let cursor = match next_cursor(headers, base, &asked, full) {
        Ok(Some(cursor)) => cursor,
        Ok(None) => {
            assert!(!headers.values().any(is_plainly_next), "a next link is lost: {headers:?}");
            assert!(!headers.values().any(is_plainly_damaged), "a damaged header ends it: {headers:?}");
            assert!(!full || has_links(headers), "a full page without links is taken for the last");
            return;
        }
        Err(error) => {
            assert_eq!(error == LinkError::Missing, full && !has_links(headers), "{error}");
            assert!(error.to_string().len() < 4000, "an excerpt is no excerpt");
            return;
        }
    };
    let next = cursor.url();
    assert_eq!(next.origin().ascii_serialization(), base.origin());
    assert_eq!(next.path(), asked.path());
    assert!(next.username().is_empty() && next.password().is_none(), "{next}");
    for (name, _) in ASKED {
        assert!(next.query_pairs().any(|(found, _)| found == name), "{name} is lost: {next}");
    }
    let kept = serde_json::to_string(&cursor).unwrap_or_default();
    assert_eq!(serde_json::from_str(&kept).ok(), Some(cursor.clone()), "does not survive a restart");

    let smaller = with_limit(next, 25);
    let limits = smaller.query().unwrap_or_default().split('&').filter(|pair| pair.starts_with("limit="));
    assert_eq!(limits.collect::<Vec<_>>(), ["limit=25"]);
    assert_eq!((smaller.origin(), smaller.path()), (next.origin(), next.path()));
    assert_eq!(with_limit(&smaller, 25), smaller);
}

/// Whether a header is one next link and nothing else, with nothing odd about it.
fn is_plainly_next(header: &HeaderValue) -> bool {
    let text = header.to_str().unwrap_or_default();
    let target = text.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    target.is_some_and(|target| !target.contains(['<', '>', '"']))
}

/// Whether no list of links begins like a header, or it breaks off in the first of them.
fn is_plainly_damaged(header: &HeaderValue) -> bool {
    let Ok(text) = header.to_str() else { return true };
    let text = text.trim();
    !(text.is_empty() || text.starts_with('<') && text.contains('>'))
}

fn has_links(headers: &HeaderMap) -> bool {
    headers.values().any(|header| !header.as_bytes().trim_ascii().is_empty())
}

/// No wait that a header asks for is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(70);
/// Nor is a window, with a second for rounding.
const LONGEST_WINDOW: Duration = Duration::from_secs(121);
/// Whoever wants to send can do so by then, whatever was said.
const LONGEST_TO_WAIT: Duration = Duration::from_mins(10);
const MOST_ANSWERS: usize = 8;

/// The headers of a few answers: `name: value` lines, with an empty line between two answers.
pub fn rate_headers(data: &[u8]) {
    let mut answers = vec![HeaderMap::new()];
    for line in data.split(|byte| *byte == b'\n').take(MOST_HEADERS) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else {
            if line.is_empty() && answers.len() < MOST_ANSWERS {
                answers.push(HeaderMap::new());
            }
            continue;
        };
        let name = HeaderName::from_bytes(&line[..at]);
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii());
        if let (Ok(name), Ok(value), Some(answer)) = (name, value, answers.last_mut()) {
            answer.append(name, value);
        }
    }
    for headers in &answers {
        is_bounded(headers);
    }
    peer::in_virtual_time(keeps_going(&answers));
}

fn is_bounded(headers: &HeaderMap) {
    match read(headers) {
        Some(Reading::Window { limit, remaining, resets_in }) => {
            assert!(limit > 0 && remaining <= limit, "{remaining} of {limit}");
            assert!(resets_in > Duration::ZERO && resets_in <= LONGEST_WINDOW, "{resets_in:?}");
            for (name, taken) in [("x-rate-limit-limit", limit), ("x-rate-limit-remaining", remaining)] {
                for said in numbers(headers, name) {
                    assert!(u64::from(taken) <= said, "{name}: {taken} of {said}");
                }
            }
        }
        Some(Reading::Concurrency) => assert!(numbers(headers, "x-rate-limit-limit").any(|limit| limit == 0)),
        None => {}
    }
    for status in [200, 302, 400, 401, 403, 404, 408, 409, 425, 429, 500, 501, 503] {
        let response = answer(status, headers);
        let Ok(now) = "2026-01-01T00:00:00Z".parse() else { unreachable!("an instant") };
        for verdict in [by_status(&response, now), classify(&response, now)] {
            let wait = wait(verdict);
            assert!(wait.is_none_or(|wait| wait <= LONGEST_WAIT), "{status}: {wait:?}");
        }
    }
}

/// Takes all of it in, and can still send in every lane.
async fn keeps_going(answers: &[HeaderMap]) {
    let Ok(origin) = "2026-01-01T00:00:00Z".parse() else { unreachable!("an instant") };
    let clock = VirtualClock::shared(origin);
    let budget = Budget::new(BudgetSettings::default(), "int", clock, Arc::default());
    for headers in answers {
        for lane in [Lane::Removal, Lane::Grant, Lane::Verification, Lane::Directory] {
            let admitted = tokio::time::timeout(LONGEST_TO_WAIT, budget.admit("users", lane)).await;
            assert!(admitted.is_ok(), "{lane:?} may not send: {answers:?}");
            let Ok(permit) = admitted else { return };
            permit.observe(headers);
            let Ok(now) = "2026-01-01T00:00:00Z".parse() else { unreachable!("an instant") };
            if let Some(wait) = wait(classify(&answer(429, headers), now)) {
                permit.block(wait);
            }
        }
        for (_, limit, left) in budget.known() {
            assert!(left <= limit, "{left} of {limit}");
        }
        let pace = budget.seen("users").pace;
        assert!(
            pace.is_none_or(|pace| pace.resets_in <= LONGEST_WINDOW && pace.left <= pace.a_window.max(1))
        );
        let _ = budget.skew_seconds();
    }
}

fn answer(status: u16, headers: &HeaderMap) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or_default();
    Response { headers: headers.clone(), ..peer::response(status, b"") }
}

fn wait(verdict: Verdict) -> Option<Duration> {
    match verdict {
        Verdict::Throttled { wait } | Verdict::Transient { wait } => wait,
        Verdict::Done | Verdict::Refused | Verdict::Unauthenticated | Verdict::Challenged => None,
    }
}

/// The numbers that the headers of a name give, alone or in lists.
fn numbers(headers: &HeaderMap, name: &str) -> impl Iterator<Item = u64> {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).filter_map(|text| text.trim().parse().ok())
}
