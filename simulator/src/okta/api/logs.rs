//! # Purpose
//! `GET /api/v1/logs`.
//!
//! # Invariants kept here
//! - A polling query (ascending, no `until`) always has a `next` link, also when there is nothing yet; a bounded
//!   one ends.
//! - `since` and `after` are exclusive.
//!
//! # Not here
//! What is logged (`system_log`, `directory`).

use axum::response::Response;
use jiff::Timestamp;
use serde_json::Value;

use super::super::answer::Refusal;
use super::super::cursor::Position;
use super::super::filter::{Attribute, Dialect, Filter};
use super::super::json::{write_array, write_value};
use super::listing::Listing;

const DAY: i64 = 86_400_000;

pub(super) fn list(listing: &Listing<'_>, now: Timestamp) -> Result<Response, Refusal> {
    let settings = listing.settings();
    let limit = listing.limit_from(0, settings.page_sizes.logs)?;
    if limit > settings.page_sizes.logs_max {
        return Err(Refusal::validation("limit", "limit: must be between 0 and 1000"));
    }
    let now_ms = now.as_millisecond();
    let until = instant(listing, "until")?;
    let since = instant(listing, "since")?.unwrap_or(until.unwrap_or(now_ms) - 7 * DAY);
    if since < now_ms - 180 * DAY {
        return Err(Refusal::validation("since", "since: is more than 180 days ago"));
    }
    let filter = listing
        .parameter("filter")
        .map(|text| Filter::parse(text, Dialect::LogFilter))
        .transpose()
        .map_err(|_| Refusal::api(400, "E0000053", "Invalid SCIM filter."))?;
    let words: Vec<String> =
        listing.parameter("q").unwrap_or_default().split_whitespace().map(str::to_lowercase).collect();
    let descends =
        listing.parameter("sortOrder").is_some_and(|order| order.eq_ignore_ascii_case("descending"));
    let after = listing.position()?.map(|position| position.number);

    let directory = listing.okta.directory();
    let log = &directory.log;
    let lag = i64::try_from(settings.log_lag.as_millis()).unwrap_or(i64::MAX);
    let visible = now_ms.saturating_sub(lag).min(until.unwrap_or(i64::MAX));
    let oldest = log.number_at(since);
    let wanted = |event: &Value| {
        let text = if words.is_empty() { String::new() } else { event.to_string().to_lowercase() };
        filter.as_ref().is_none_or(|filter| filter.matches(&|path: &str| attribute(event, path)))
            && words.iter().all(|word| text.contains(word))
    };
    let numbered = |(number, event): (u64, Value)| wanted(&event).then_some((number, event));
    let mut events: Vec<(u64, Value)> = if descends {
        let before = after.unwrap_or(u64::MAX);
        log.since(oldest, visible)
            .rev()
            .skip_while(|event| event.number >= before)
            .map(|event| (event.number, event.json()))
            .filter_map(numbered)
            .take(limit + 1)
            .collect()
    } else {
        log.since(after.unwrap_or(oldest).max(oldest), visible)
            .map(|event| (event.number, event.json()))
            .filter_map(numbered)
            .take(limit + 1)
            .collect()
    };

    let has_more = events.len() > limit;
    events.truncate(limit);
    let polls = !descends && until.is_none();
    let last = events.last().map(|(number, _)| *number).or(after).unwrap_or(oldest);
    let next = (has_more || polls).then(|| Position { number: last, key: String::new() });
    let mut body = Vec::new();
    write_array(&mut body, &events, |out, (_, event)| write_value(out, event));
    Ok(listing.respond(body, events.len(), limit, next.as_ref()))
}

fn instant(listing: &Listing<'_>, name: &str) -> Result<Option<i64>, Refusal> {
    let parsed = listing.parameter(name).map(str::parse::<Timestamp>).transpose();
    parsed
        .map(|instant| instant.map(Timestamp::as_millisecond))
        .map_err(|_| Refusal::validation(name, "the date is not of the form yyyy-MM-dd'T'HH:mm:ss.SSSZZ"))
}

/// The values at a dotted path; a list on the way stands for each of its elements.
fn attribute<'a>(event: &Value, path: &str) -> Attribute<'a> {
    let mut values = vec![event];
    for part in path.split('.') {
        values = values
            .into_iter()
            .flat_map(|value| match value {
                Value::Array(items) => items.iter().filter_map(|item| item.get(part)).collect(),
                Value::Object(members) => members.get(part).into_iter().collect::<Vec<_>>(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
            })
            .collect();
    }
    match values.as_slice() {
        [] => Attribute::Absent,
        [only] => Attribute::Json((*only).clone()),
        several => Attribute::Json(several.iter().map(|value| (*value).clone()).collect()),
    }
}
