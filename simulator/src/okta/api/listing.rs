//! # Purpose
//! What all lists share: `limit`, `after`, picking a page, and the `Link` headers.
//!
//! # Invariants kept here
//! - `next` is sent exactly when there is more, and repeats the caller's own parameters.
//! - A cursor fits only the list (path, filter, search, sort) it came from; `limit` may change in between.
//!
//! # Not here
//! What is listed.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, header};

use super::super::OktaSimulator;
use super::super::answer::{Refusal, json_response};
use super::super::cursor::Position;
use super::super::exchange::Exchange;
use super::super::operation::Operation;
use super::super::settings::{LinkStyle, Settings, SlowAnswer};

/// Parameters that decide which objects a list has, and in which order.
const SELECTING: [&str; 8] = ["filter", "search", "q", "sortBy", "sortOrder", "since", "until", "expand"];

/// Marks a page that is too much for the org and is never answered.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct NeverAnswered;

/// One request for a page.
pub(super) struct Listing<'a> {
    pub(super) okta: &'a OktaSimulator,
    pub(super) exchange: &'a Exchange,
}

/// A page's objects by number, and where the list goes on.
pub(super) struct Page {
    pub(super) numbers: Vec<u32>,
    pub(super) next: Option<Position>,
}

impl Page {
    /// From up to one more object than fits.
    pub(super) fn of(mut numbers: Vec<u32>, limit: usize) -> Self {
        let more = numbers.len() > limit;
        numbers.truncate(limit);
        let last = if more { numbers.last() } else { None };
        let next = last.map(|last| Position { number: u64::from(*last), key: String::new() });
        Self { numbers, next }
    }
}

impl<'a> Listing<'a> {
    pub(super) fn new(okta: &'a OktaSimulator, exchange: &'a Exchange) -> Self {
        Self { okta, exchange }
    }

    pub(super) fn settings(&self) -> &'a Settings {
        &self.exchange.settings
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.exchange.query.get(name)
    }

    /// `limit`, cut to `cap`.
    pub(super) fn limit(&self, default: usize, cap: usize) -> Result<usize, Refusal> {
        self.limit_from(1, default).map(|limit| limit.min(cap))
    }

    /// `limit`, if it is `least` or more.
    pub(super) fn limit_from(&self, least: usize, default: usize) -> Result<usize, Refusal> {
        match self.parameter("limit") {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| *limit >= least)
                .ok_or_else(|| Refusal::validation("limit", "limit: must be a positive number")),
        }
    }

    /// Where the page starts.
    pub(super) fn position(&self) -> Result<Option<Position>, Refusal> {
        let Some(cursor) = self.parameter("after") else { return Ok(None) };
        let position = self.okta.cursors().open(&self.name(), cursor);
        position.map(Some).ok_or_else(|| {
            let code = self.settings().invalid_cursor_code;
            let summary = match code {
                "E0000054" => "Invalid pagination properties.",
                _ => "Invalid search criteria.",
            };
            Refusal::Api {
                status: 400,
                code,
                summary: summary.into(),
                causes: vec!["after: the cursor is not valid".into()],
            }
        })
    }

    /// The number of the object that the page starts after.
    pub(super) fn after(&self) -> Result<Option<u32>, Refusal> {
        let after = self.position()?.and_then(|position| u32::try_from(position.number).ok());
        let overlap = if self.is_crawled() { self.settings().page_overlap } else { 0 };
        Ok(after.and_then(|after| after.checked_sub(overlap)))
    }

    /// The listings that are read from end to end, and show what long listings show.
    fn is_crawled(&self) -> bool {
        let operation = &self.exchange.operation;
        matches!(operation, Operation::ListUsers | Operation::ListGroups | Operation::ListGroupMembers { .. })
    }

    /// A page with nothing on it, where one is due before the page that is asked for.
    pub(super) fn blank(&self) -> Result<Option<Response>, Refusal> {
        let blanks = self.settings().blank_pages;
        if blanks == 0 || !self.is_crawled() || self.parameter("sortBy").is_some() {
            return Ok(None);
        }
        let Some(position) = self.position()? else { return Ok(None) };
        let shown = position.key.parse::<u32>().unwrap_or(0);
        if shown >= blanks {
            return Ok(None);
        }
        let limit = self.limit(1, usize::MAX)?;
        let next = Position { number: position.number, key: (shown + 1).to_string() };
        Ok(Some(self.respond(b"[]".to_vec(), 0, limit, Some(&next))))
    }

    /// What comes of a page with so many objects, where that is too much for the org.
    fn too_much(&self, objects: usize, page: &[u8]) -> Option<Response> {
        let slow = self.settings().slow_pages.filter(|slow| self.is_crawled() && objects > slow.over)?;
        Some(match slow.answer {
            SlowAnswer::InternalError => {
                Refusal::api(500, "E0000009", "Internal Server Error").into_response(&self.exchange.error_id)
            }
            SlowAnswer::Gateway(status) => Refusal::Bare { status }.into_response(&self.exchange.error_id),
            SlowAnswer::Never => {
                let mut response = json_response(200, "[]");
                response.extensions_mut().insert(NeverAnswered);
                response
            }
            SlowAnswer::Cut(keep) => {
                let mut response = json_response(200, "");
                *response.body_mut() = Body::from(page[..keep.min(page.len())].to_vec());
                response
            }
        })
    }

    /// Picks a page of the objects below `count` that match, in order of their numbers.
    pub(super) fn pick(
        &self,
        count: u32,
        limit: usize,
        matches: impl Fn(u32) -> bool,
    ) -> Result<Page, Refusal> {
        let from = self.after()?.map_or(0, |after| after.saturating_add(1));
        let numbers = (from..count).filter(|number| matches(*number)).take(limit + 1).collect();
        Ok(Page::of(numbers, limit))
    }

    /// Picks a page of the objects below `count` that have a key, sorted by it. Sorts everything for each page.
    pub(super) fn pick_sorted(
        &self,
        count: u32,
        limit: usize,
        key: impl Fn(u32) -> Option<String>,
    ) -> Result<Page, Refusal> {
        let descends = self.parameter("sortOrder").is_some_and(|order| order.eq_ignore_ascii_case("desc"));
        let order = |left: &(String, u32), right: &(String, u32)| {
            let by_key = left.0.cmp(&right.0);
            (if descends { by_key.reverse() } else { by_key }).then(left.1.cmp(&right.1))
        };
        let mut keyed: Vec<(String, u32)> =
            (0..count).filter_map(|number| key(number).map(|key| (key, number))).collect();
        keyed.sort_by(order);
        let start = match self.position()? {
            None => 0,
            Some(position) => {
                let last = (position.key, u32::try_from(position.number).unwrap_or(u32::MAX));
                keyed.partition_point(|candidate| order(candidate, &last).is_le())
            }
        };
        let more = keyed.len() > start + limit;
        let page: Vec<(String, u32)> = keyed.into_iter().skip(start).take(limit).collect();
        let next = page
            .last()
            .filter(|_| more)
            .map(|(key, number)| Position { number: u64::from(*number), key: key.clone() });
        Ok(Page { numbers: page.into_iter().map(|(_, number)| number).collect(), next })
    }

    /// The page as an answer.
    pub(super) fn respond(
        &self,
        body: Vec<u8>,
        objects: usize,
        limit: usize,
        next: Option<&Position>,
    ) -> Response {
        let exchange = self.exchange;
        if let Some(response) = self.too_much(objects, &body) {
            return response;
        }
        let settings = self.settings();
        let mut response = json_response(200, body);
        let this =
            if exchange.query.is_empty() { String::new() } else { format!("?{}", exchange.query.encoded()) };
        let mut links = vec![format!("<{}{}{this}>; rel=\"self\"", settings.origin, exchange.path())];
        if let Some(next) = next {
            let cursor = self.okta.cursors().seal(&self.name(), next);
            let query = exchange.query.with("after", &cursor).with("limit", &limit.to_string());
            let query = query.without(&settings.next_link_loses).encoded();
            let origin = settings.next_link_origin.as_ref().unwrap_or(&settings.origin);
            links.push(format!("<{origin}{}?{query}>; rel=\"next\"", exchange.path()));
        }
        if settings.links == LinkStyle::Joined {
            links = vec![links.join(", ")];
        }
        for link in links {
            if let Ok(value) = HeaderValue::try_from(link) {
                response.headers_mut().append(header::LINK, value);
            }
        }
        response
    }

    fn name(&self) -> String {
        let mut name = self.exchange.path().to_owned();
        for parameter in SELECTING {
            name.push('\n');
            name.push_str(self.parameter(parameter).unwrap_or_default());
        }
        name
    }
}
