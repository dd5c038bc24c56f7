//! # Purpose
//! `GET /api/v1/users` and `GET /api/v1/users/{idOrLogin}`.
//!
//! # Invariants kept here
//! - The plain list and `q` leave deactivated users out; `filter` and `search` do not.
//! - Only `search` lags behind new users.
//!
//! # Not here
//! The JSON of a user (`directory`).

use axum::response::Response;
use http::{HeaderValue, header};
use serde_json::json;

use super::super::OktaSimulator;
use super::super::answer::{Refusal, json_response};
use super::super::directory::{Directory, Projection, Status};
use super::super::exchange::Exchange;
use super::super::filter::{Attribute, Dialect, Filter};
use super::super::json::{instant, write_array};
use super::super::oauth::access::Caller;
use super::listing::{Listing, Page};

const OMISSIONS: [&str; 3] = ["omitCredentials", "omitCredentialsLinks", "omitTransitioningToStatus"];

pub(super) fn list(listing: &Listing<'_>) -> Result<Response, Refusal> {
    let cap = listing.settings().page_sizes.users;
    let prefix = listing.parameter("q").map(str::to_lowercase);
    let limit = listing.limit(if prefix.is_some() { 10 } else { cap }, cap)?;
    let (filter, search) = (listing.parameter("filter"), listing.parameter("search"));
    if filter.is_some() && search.is_some() {
        let summary = "Bad request. Can't specify a search query and filter in the same request.";
        return Err(Refusal::api(400, "E0000033", summary));
    }
    let expression = match (filter, search) {
        (Some(text), _) => Some((text, Dialect::UserFilter)),
        (None, Some(text)) => Some((text, Dialect::UserSearch)),
        (None, None) => None,
    };
    let expression = expression
        .map(|(text, dialect)| Filter::parse(text, dialect))
        .transpose()
        .map_err(|_| Refusal::search())?;
    let lag = i64::try_from(listing.settings().search_lag.as_millis()).unwrap_or(i64::MAX);
    let indexed_until = search.map(|_| listing.okta.now_ms().saturating_sub(lag));
    let directory = listing.okta.directory();
    let matches = |index: u32| match (&expression, &prefix) {
        (Some(expression), _) => directory.user(index).is_some_and(|user| {
            indexed_until.is_none_or(|until| user.created() <= until)
                && expression.matches(&|path: &str| user.attribute(path))
        }),
        (None, prefix) => directory.user(index).is_some_and(|user| {
            let has_prefix = |prefix: &String| {
                ["profile.firstName", "profile.lastName", "profile.email"]
                    .iter()
                    .any(|path| sort_key(&user.attribute(path)).starts_with(prefix))
            };
            *user.status() != Status::Deprovisioned && prefix.as_ref().is_none_or(has_prefix)
        }),
    };

    let count = directory.user_numbers();
    let mut page = match listing.parameter("sortBy").filter(|_| search.is_some()) {
        None => listing.pick(count, limit, matches)?,
        Some(path) => listing.pick_sorted(count, limit, |index| {
            let user = directory.user(index)?;
            matches(index).then(|| sort_key(&user.attribute(path)))
        })?,
    };
    if prefix.is_some() {
        page.next = None;
    }
    let body = render(&directory, listing.exchange, &page, &projection(listing.exchange));
    Ok(listing.respond(body, page.numbers.len(), limit, page.next.as_ref()))
}

pub(super) fn get(okta: &OktaSimulator, exchange: &Exchange, name: &str) -> Result<Response, Refusal> {
    let directory = okta.directory();
    let user = directory.user_number_by_name(name).and_then(|index| directory.user(index));
    let user = user.ok_or_else(|| Refusal::not_found(name, "User"))?;
    let mut body = Vec::new();
    user.write(&mut body, &exchange.settings.origin, &projection(exchange));
    let mut response = json_response(200, body);
    let tag = format!("W/\"{}\"", sort_key(&user.attribute("lastUpdated")));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// `GET /api/v1/users/me`: the person whose API token it is.
pub(super) fn me(caller: &Caller) -> Result<Response, Refusal> {
    let administrator = caller.administrator.as_ref();
    let administrator = administrator.ok_or_else(|| Refusal::not_found("me", "User"))?;
    let login = format!("{:?}@example.com", administrator.role).to_lowercase();
    let body = json!({
        "id": "00uadmin2b3c4D5e61d7",
        "status": "ACTIVE",
        "created": "2024-01-15T09:00:00.000Z",
        "profile": { "login": login, "email": login, "firstName": "Grace", "lastName": "Hopper" },
    });
    Ok(json_response(200, body.to_string()))
}

/// Writes the users of a page.
pub(super) fn render(
    directory: &Directory,
    exchange: &Exchange,
    page: &Page,
    projection: &Projection,
) -> Vec<u8> {
    let mut body = Vec::with_capacity(page.numbers.len() * 1200);
    let users = page.numbers.iter().filter_map(|index| directory.user(*index));
    write_array(&mut body, users, |out, user| user.write(out, &exchange.settings.origin, projection));
    body
}

/// What the caller wants to see of users.
pub(super) fn projection(exchange: &Exchange) -> Projection {
    let mut projection = exchange.query.get("fields").map(Projection::of).unwrap_or_default();
    let content_type = exchange.parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    // Okta leaves credentials out only when all three omissions are asked for.
    projection.without_credentials =
        content_type.is_some_and(|value| OMISSIONS.iter().all(|omission| value.contains(omission)));
    projection
}

fn sort_key(attribute: &Attribute<'_>) -> String {
    match attribute {
        Attribute::Text(text) => text.to_lowercase(),
        Attribute::Instant(ms) => instant(*ms),
        Attribute::Json(value) => value.as_str().map_or_else(|| value.to_string(), str::to_lowercase),
        Attribute::Absent => String::new(),
    }
}
