//! # Purpose
//! Texts of others inside filters and paths: what is meant is what arrives.
//!
//! # Invariants kept here
//! - A filter reads back as the value that was put in: no text can end its quotes.
//! - An id is one segment of a path, whatever it holds.
//!
//! # Not here
//! The answers: `scim`, `okta`.

use std::sync::Arc;

use apono_connector::domain::{OktaGroupId, ScimId};
use apono_connector::http::{Lane, Request};
use apono_connector::scim::{Kind, Provider, attributes::Path, patch};
use http::StatusCode;
use serde_json::{Value, json};

use super::peer::{self, Peer};
use super::text::{decoded, is_a_segment};

const BELOW: [&str; 3] = ["api", "scim", "v2"];

/// A name, an id, a value: any text.
pub fn scim_filter(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    peer::in_virtual_time(async {
        for attribute in ["userName", "externalId"] {
            finds(attribute, &text).await;
        }
        names_one(&text).await;
        asks_okta(&text).await;
    });
    removes_one(&text);
    is_a_path_or_none(&text);
}

fn provider(peer: &Arc<Peer>) -> Provider {
    let base = peer::base("https://scim.example.com/api/scim/v2");
    Provider::new(base, peer::exchange("scim", peer), peer::TIMEOUT)
}

async fn finds(attribute: &str, text: &str) {
    let known = json!({ "totalResults": 1, "Resources": [{ "id": "1", attribute: text }] });
    let peer = Peer::saying(StatusCode::OK, known.to_string().as_bytes());
    let found = provider(&peer).find(Kind::User, attribute, text).await;
    assert!(found.is_ok_and(|found| found.is_some_and(|found| found.len() == 1)), "{text:?} is not found");
    let filters = filters(&peer.asked());
    let [filter] = filters.as_slice() else { unreachable!("one question: {filters:?}") };
    let literal = filter.strip_prefix(&format!("{attribute} eq ")).unwrap_or_default();
    assert_eq!(json_text(literal).as_deref(), Some(text), "{filter}");

    let other = json!({ "totalResults": 1, "Resources": [{ "id": "1", attribute: format!("{text}x") }] });
    let peer = Peer::saying(StatusCode::OK, other.to_string().as_bytes());
    let found = provider(&peer).find(Kind::User, attribute, text).await;
    assert!(found.is_ok_and(|found| found.is_none()), "another is taken for {text:?}");
}

/// Every request about one resource goes to one resource of its kind.
async fn names_one(text: &str) {
    let peer = Peer::saying(StatusCode::NOT_FOUND, b"");
    let (provider, id) = (provider(&peer), ScimId::from(text));
    let _ = provider.get(Kind::User, &id).await;
    let _ = provider.patch(Kind::Group, &id, &json!({}), None).await;
    let _ = provider.delete(Kind::User, &id).await;
    let asked = peer.asked();
    assert_eq!(asked.len(), 3);
    for request in asked {
        let segments: Vec<_> = request.url.path_segments().into_iter().flatten().collect();
        assert_eq!(segments.len(), BELOW.len() + 2, "{}", request.url);
        assert_eq!(segments[..BELOW.len()], BELOW, "{}", request.url);
        let named = segments.last().and_then(|segment| decoded(segment));
        assert!(named.as_deref() == Some(text) || !is_a_segment(text), "{}", request.url);
        assert!(request.url.query().is_none() && request.url.fragment().is_none(), "{}", request.url);
    }
}

/// Okta's filters know no escape but the backslash. Whoever is looked for by name is asked for below `users` or not at
/// all.
async fn asks_okta(text: &str) {
    let peer = Peer::saying(StatusCode::OK, b"[]");
    let memberships = super::okta::organization(&peer).memberships;
    let _ = memberships.group(&OktaGroupId::from(text), Lane::Grant).await;
    let (of_group, groups) = (filters(&peer.asked()), peer.asked().len());
    let _ = memberships.find_user(text, Lane::Grant).await;
    for filter in filters(&peer.asked()).iter().chain(&of_group) {
        let literal = filter.split_once(" eq ").map(|(_, literal)| literal).unwrap_or_default();
        assert_eq!(backslashed_text(literal).as_deref(), Some(text), "{filter}");
    }
    for request in peer.asked().iter().skip(groups) {
        let segments: Vec<_> = request.url.path_segments().into_iter().flatten().collect();
        let [first, second, third, names @ ..] = segments.as_slice() else { unreachable!("{}", request.url) };
        assert_eq!([*first, *second, *third], ["api", "v1", "users"], "{}", request.url);
        let names: Vec<_> = names.iter().map(|name| decoded(name)).collect();
        let is_named = names == [Some(text.to_owned())] || (names.len() == 1 && !is_a_segment(text));
        assert!(names.is_empty() || is_named, "{}", request.url);
    }
}

fn filters(asked: &[Request]) -> Vec<String> {
    let pairs = asked.iter().flat_map(|request| request.url.query_pairs());
    pairs.filter(|(name, _)| name == "filter").map(|(_, filter)| filter.into_owned()).collect()
}

/// The path of a PATCH that takes one member out names this member alone.
fn removes_one(text: &str) {
    let message = patch::remove_members([text]);
    let path = message["Operations"][0]["path"].as_str().unwrap_or_default();
    let literal = path.strip_prefix("members[value eq ").and_then(|rest| rest.strip_suffix(']'));
    assert_eq!(literal.and_then(json_text).as_deref(), Some(text), "{path}");
    for message in
        [patch::add_members([text]), patch::remove_member_list([text]), patch::replace_members([text])]
    {
        assert_eq!(message["Operations"][0]["value"], json!([{ "value": text }]));
    }
}

/// What is read as a path is written as it was read.
fn is_a_path_or_none(text: &str) {
    match Path::parse(text) {
        Ok(path) => {
            assert_eq!(path.to_string(), text);
            let mut resource = serde_json::Map::new();
            path.set(&mut resource, json!("value"));
            assert_eq!(path.get(&resource), Some(&json!("value")), "{text}");
            path.unset(&mut resource);
            assert_eq!(Value::Object(resource), json!({}), "{text}");
        }
        Err(error) => assert!(error.to_string().contains("is not a SCIM attribute path")),
    }
}

/// The text that a JSON string stands for; `None` unless it is one string and nothing else.
fn json_text(literal: &str) -> Option<String> {
    let mut text = Vec::new();
    let mut rest = literal.strip_prefix('"')?.chars();
    loop {
        match rest.next()? {
            '"' => break,
            '\\' => match rest.next()? {
                plain @ ('"' | '\\' | '/') => text.extend(plain.to_string().encode_utf16()),
                'b' => text.push(8),
                'f' => text.push(12),
                'n' => text.push(10),
                'r' => text.push(13),
                't' => text.push(9),
                'u' => {
                    let digits: String = rest.by_ref().take(4).collect();
                    text.push(u16::from_str_radix(&digits, 16).ok()?);
                }
                _ => return None,
            },
            plain => text.extend(plain.to_string().encode_utf16()),
        }
    }
    rest.next().is_none().then(|| String::from_utf16(&text).ok())?
}

/// The same where a backslash makes any character a plain one.
fn backslashed_text(literal: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = literal.strip_prefix('"')?.chars();
    loop {
        match rest.next()? {
            '"' => break,
            '\\' => text.push(rest.next()?),
            plain => text.push(plain),
        }
    }
    rest.next().is_none().then_some(text)
}
