//! # Purpose
//! Pages of what administrators have made: part of a list, and where it goes on.
//!
//! # Invariants kept here
//! - `next` is there exactly when there is more.
//!
//! # Not here
//! How a list says it: most in `_links` of the body, those that are arrays in a `Link` header.

use axum::response::Response;
use http::{HeaderValue, header};
use serde_json::{Value, json};

use super::super::answer::json_response;
use super::Desk;

/// A list inside an object, under `member`.
pub(super) fn inside(desk: &Desk<'_>, member: &str, all: Vec<Value>) -> Response {
    let (items, next) = page(desk, all);
    let next = next.map_or(Value::Null, |next| json!({ "href": next }));
    json_response(200, json!({ member: items, "_links": { "next": next } }).to_string())
}

/// A list that is an array.
pub(super) fn array(desk: &Desk<'_>, all: Vec<Value>) -> Response {
    let (items, next) = page(desk, all);
    let mut response = json_response(200, Value::Array(items).to_string());
    if let Some(Ok(link)) = next.map(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\""))) {
        response.headers_mut().append(header::LINK, link);
    }
    response
}

fn page(desk: &Desk<'_>, all: Vec<Value>) -> (Vec<Value>, Option<String>) {
    let id = |item: &Value| item["id"].as_str().unwrap_or_default().to_owned();
    let seen =
        desk.exchange.query.get("after").map_or(0, |after| {
            all.iter().position(|item| id(item) == after).map_or(all.len(), |last| last + 1)
        });
    let size = desk.exchange.settings.page_sizes.management;
    let has_more = all.len() > seen + size;
    let items: Vec<Value> = all.into_iter().skip(seen).take(size).collect();
    let last = items.last().filter(|_| has_more).map(id);
    let next = last.map(|last| {
        let query = desk.exchange.query.with("after", &last).encoded();
        format!("{}{}?{query}", desk.origin(), desk.exchange.path())
    });
    (items, next)
}
