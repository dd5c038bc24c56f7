//! # Purpose
//! One page of a listing, its size, and the way to the next.
//!
//! # Invariants kept here
//! - Only the absence of a `next` link ends a listing; an empty page does not, nor do links that are damaged or, on a
//!   full page, lost.
//! - A `next` link is followed on the configured origin and on the path it came from, whatever host it names.
//! - What Okta leaves out of a link of what was asked for is put back: it must not become another listing on the way.
//! - A page that is too much is asked for in halves, down to [`SMALLEST`], and each size a few times at most.
//! - An element that cannot be read is skipped and reported; it does not spoil the page and is never lost silently.
//!
//! # Not here
//! Walking from page to page: `directory::snapshot`, which also notices a link that repeats.
//!
//! Sources: RFC 8288; <https://developer.okta.com/docs/reference/core-okta-api/#pagination>

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use super::wire::object;
use crate::http::url::Base;

/// One page.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// What was read.
    pub items: Vec<T>,
    /// What could not be read.
    pub skipped: Vec<Skipped>,
    /// Where the listing goes on; `None` is its end.
    pub next: Option<Cursor>,
    /// Correlates with the organization's System Log.
    pub request_id: Option<String>,
}

/// An element that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its id, where that much could be read.
    pub id: Option<String>,
    /// Why not.
    pub reason: String,
}

/// Where a listing goes on: an absolute URL on the configured origin. Survives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(Url);

impl Cursor {
    /// The request to make.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

/// The links of a page do not say where the listing goes on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It leads elsewhere.
    #[error("the listing's next link leads to {0:?}, which is not the same listing")]
    Foreign(String),
    /// They cannot be read, so the next one may be among what is lost.
    #[error("the listing's links cannot be read ({0:?}), so it cannot be known whether there is more")]
    Damaged(String),
    /// There are none, on a page that is full.
    #[error("the page is full and has no links, so it cannot be known whether there is more")]
    Missing,
}

/// The cursor behind `rel="next"` of the answer to `asked`. `full` says that the page holds as many elements as were
/// asked for: then the absence of any link is no proof that there is no next page.
pub fn next_cursor(
    headers: &HeaderMap,
    base: &Base,
    asked: &Url,
    full: bool,
) -> Result<Option<Cursor>, LinkError> {
    let excerpt = |text: &str| text.chars().take(200).collect::<String>();
    let mut next = None;
    let mut any = false;
    for value in headers.get_all(http::header::LINK) {
        let damaged = || LinkError::Damaged(excerpt(&String::from_utf8_lossy(value.as_bytes())));
        let links = value.to_str().ok().and_then(parse_links).ok_or_else(damaged)?;
        any |= !links.is_empty();
        next = next.or(links.into_iter().find(|link| link.is_next));
    }
    match next {
        Some(link) => match base.reattach(link.target, asked.path()) {
            Some(url) => Ok(Some(Cursor(with_what_was_lost(url, asked)))),
            None => Err(LinkError::Foreign(excerpt(link.target))),
        },
        None if full && !any => Err(LinkError::Missing),
        None => Ok(None),
    }
}

/// What decides which objects a page shows and how much of each. The rest is the cursor's matter.
const SELECTING: [&str; 5] = ["filter", "search", "fields", "expand", "limit"];

/// `next` with those parameters of `asked` that it lacks.
fn with_what_was_lost(mut next: Url, asked: &Url) -> Url {
    let there: Vec<_> = next.query_pairs().map(|(name, _)| name.into_owned()).collect();
    let is_lost = |name: &str| SELECTING.contains(&name) && !there.iter().any(|found| found.as_str() == name);
    let lost: Vec<_> = asked.query_pairs().filter(|(name, _)| is_lost(name)).collect();
    if !lost.is_empty() {
        next.query_pairs_mut().extend_pairs(lost);
    }
    next
}

/// No page is asked for with a smaller `limit`.
pub const SMALLEST: u32 = 25;

/// Why a page could not be read, as far as its size can have to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Okta, or what is in between, has given up on it again and again: too slow, or too large.
    TooMuch,
    /// Its body is not whole: a hiccup, or too large for something in between.
    Cut,
    /// Nothing that the size of the page could change.
    Other,
}

/// The `limit` with which a page is asked for again, if that can help. `again` says that it was asked for with this one
/// before.
///
/// <https://developer.okta.com/docs/api/openapi/okta-management/management/tag/User/> advises a smaller `limit` where
/// a listing is answered with 500.
pub fn next_limit(trouble: Trouble, limit: u32, again: bool) -> Option<u32> {
    let smaller = (limit > SMALLEST).then(|| (limit / 2).max(SMALLEST));
    match trouble {
        Trouble::TooMuch => smaller,
        Trouble::Cut if again => smaller,
        Trouble::Cut => Some(limit),
        Trouble::Other => None,
    }
}

/// The same request for pages of another size. The rest of the query, cursor included, stays to the letter.
pub fn with_limit(url: &Url, limit: u32) -> Url {
    let limit = format!("limit={limit}");
    let mut query: Vec<&str> = Vec::new();
    for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        if pair.split('=').next() != Some("limit") {
            query.push(pair);
        } else if !query.contains(&limit.as_str()) {
            query.push(&limit);
        }
    }
    if !query.contains(&limit.as_str()) {
        query.push(&limit);
    }
    let mut sized = url.clone();
    sized.set_query(Some(&query.join("&")));
    sized
}

struct Link<'a> {
    target: &'a str,
    is_next: bool,
}

/// The links of one header: `<target>; name="value"; name=value, <target>…` (RFC 8288 section 3). `None` when it is
/// not whole.
fn parse_links(header: &str) -> Option<Vec<Link<'_>>> {
    let mut links = Vec::new();
    let mut rest = header.trim();
    while !rest.is_empty() {
        let (target, parameters) = rest.strip_prefix('<')?.split_once('>')?;
        let end = end_of_parameters(parameters);
        links.push(Link { target: target.trim(), is_next: names_next(&parameters[..end]) });
        rest = parameters[end..].trim_start_matches([',', ' ', '\t']);
    }
    Some(links)
}

/// Where the next link of the same header starts: at a comma outside quotes.
fn end_of_parameters(parameters: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (index, byte) in parameters.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return index,
            _ => {}
        }
    }
    parameters.len()
}

fn names_next(parameters: &str) -> bool {
    parameters.split(';').filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
        name.trim().eq_ignore_ascii_case("rel")
            && value.trim().trim_matches('"').split_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
    })
}

/// Splits a page's elements and reads each by itself.
pub(super) fn read_items<T>(
    elements: &[&RawValue],
    read: impl Fn(&str) -> Result<T, serde_json::Error>,
) -> (Vec<T>, Vec<Skipped>) {
    #[derive(Deserialize)]
    struct IdOnly {
        id: String,
    }
    let mut items = Vec::with_capacity(elements.len());
    let mut skipped = Vec::new();
    for element in elements {
        match read(element.get()) {
            Ok(item) => items.push(item),
            Err(error) => skipped.push(Skipped {
                id: object::<IdOnly>(element.get().as_bytes()).ok().map(|only| only.id),
                reason: error.to_string(),
            }),
        }
    }
    (items, skipped)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn base() -> Base {
        Base::parse("https://example.okta.com").unwrap()
    }

    fn asked() -> Url {
        base().url(&["api", "v1", "users"], &[])
    }

    fn next(headers: &[&'static str]) -> Result<Option<String>, LinkError> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append("link", HeaderValue::from_static(header));
        }
        Ok(next_cursor(&map, &base(), &asked(), false)?.map(|cursor| cursor.url().to_string()))
    }

    #[test]
    fn finds_next_in_one_header_or_two() {
        let expected = Ok(Some("https://example.okta.com/api/v1/users?after=a,b&limit=2".to_owned()));
        let own = r#"<https://example.okta.com/api/v1/users?limit=2>; rel="self""#;
        let following = r#"<https://example.okta.com/api/v1/users?after=a,b&limit=2>; rel="next""#;
        assert_eq!(next(&[own, following]), expected);
        assert_eq!(
            next(&[
                r#"<https://example.okta.com/api/v1/users?limit=2>; rel="self", <https://example.okta.com/api/v1/users?after=a,b&limit=2>; title="x, <y>"; rel=next"#
            ]),
            expected
        );
        assert_eq!(next(&[own]), Ok(None));
        assert_eq!(next(&[]), Ok(None));
    }

    #[test]
    fn an_alias_host_is_replaced_and_another_path_is_refused() {
        assert_eq!(
            next(&[r#"<https://example-admin.okta.com/api/v1/users?after=x>; rel="next""#]),
            Ok(Some("https://example.okta.com/api/v1/users?after=x".to_owned()))
        );
        assert!(next(&[r#"<https://example.okta.com/api/v1/groups?after=x>; rel="next""#]).is_err());
    }

    #[test]
    fn what_is_damaged_is_not_the_end() {
        for broken in [
            "<",
            "rel=next",
            "<https://x",
            r#"https://x>; rel="next""#,
            r#"<https://example.okta.com/api/v1/users>; rel="self", <https://example.okta.com/api/v1/use"#,
        ] {
            assert!(matches!(next(&[broken]), Err(LinkError::Damaged(_))), "{broken}");
        }
        let mut map = HeaderMap::new();
        map.append("link", HeaderValue::from_bytes(b"<https://x/\xff>; rel=next").unwrap());
        assert!(matches!(next_cursor(&map, &base(), &asked(), false), Err(LinkError::Damaged(_))));
    }

    #[test]
    fn a_full_page_without_links_is_not_the_end() {
        let none = HeaderMap::new();
        assert_eq!(next_cursor(&none, &base(), &asked(), true), Err(LinkError::Missing));
        assert_eq!(next_cursor(&none, &base(), &asked(), false), Ok(None));
        let mut empty = HeaderMap::new();
        empty.append("link", HeaderValue::from_static(" "));
        assert_eq!(next_cursor(&empty, &base(), &asked(), true), Err(LinkError::Missing));
        let mut own = HeaderMap::new();
        let value = r#"<https://example.okta.com/api/v1/users?limit=2>; rel="self""#;
        own.append("link", HeaderValue::from_static(value));
        assert_eq!(next_cursor(&own, &base(), &asked(), true), Ok(None), "Okta says that this is all");
    }

    #[test]
    fn what_a_link_has_lost_is_put_back() {
        let mut map = HeaderMap::new();
        let link = "<https://example.okta.com/api/v1/users?after=a%2Bb&filter=kept>; rel=next";
        map.append("link", HeaderValue::from_static(link));
        let query = [("filter", "asked"), ("limit", "200"), ("fields", "id,profile:(login)"), ("after", "x")];
        let asked = base().url(&["api", "v1", "users"], &query);
        let next = next_cursor(&map, &base(), &asked, true).unwrap().unwrap();
        let pairs: Vec<_> = next.url().query_pairs().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(pairs, ["after=a+b", "filter=kept", "limit=200", "fields=id,profile:(login)"]);
    }

    #[test]
    fn a_page_is_halved_down_to_the_smallest_and_then_given_up() {
        let halves = |from: u32| {
            let smaller = |limit: &u32| next_limit(Trouble::TooMuch, *limit, false);
            std::iter::successors(Some(from), smaller).collect::<Vec<_>>()
        };
        assert_eq!(halves(200), [200, 100, 50, 25]);
        assert_eq!(halves(1000), [1000, 500, 250, 125, 62, 31, 25]);
        assert_eq!(halves(10), [10], "not even once");
        assert_eq!(next_limit(Trouble::Cut, 200, false), Some(200), "it may have been a hiccup");
        assert_eq!(next_limit(Trouble::Cut, 200, true), Some(100));
        assert_eq!(next_limit(Trouble::Cut, SMALLEST, true), None);
        assert_eq!(next_limit(Trouble::Other, 200, false), None);
    }

    #[test]
    fn another_limit_changes_nothing_else_of_a_request() {
        let sized = |query: &str| {
            let url = Url::parse(&format!("https://example.okta.com/api/v1/users{query}")).unwrap();
            with_limit(&url, 50).query().unwrap().to_owned()
        };
        assert_eq!(
            sized("?after=a%2Bb%3D%3D,c&limit=200&fields=id"),
            "after=a%2Bb%3D%3D,c&limit=50&fields=id"
        );
        assert_eq!(sized("?limits=1&limit=200&limit=3"), "limits=1&limit=50");
        assert_eq!(sized(""), "limit=50");
    }
}
