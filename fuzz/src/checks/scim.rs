//! # Purpose
//! A SCIM service's answers, and the messages that are made from them.
//!
//! # Invariants kept here
//! - Every resource of a listing has an id, and none is lost on the way.
//! - A PATCH turns the one resource into the other, and there is none between equal ones.
//!
//! # Not here
//! Filters: `filter`.

use std::collections::BTreeSet;
use std::sync::Arc;

use apono_connector::catalogue::ErrorCode;
use apono_connector::directory::mapping::DEFAULT;
use apono_connector::domain::ScimId;
use apono_connector::http::Class;
use apono_connector::scim::attributes::{Attributes, Path, active, mend_booleans, read, same, write};
use apono_connector::scim::{Kind, Provider, Quirk, Resource, ScimError, patch};
use apono_connector::telemetry::chain;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::peer::{self, Peer};
use super::text::{is_a_segment, value};

/// The body of an answer to any call.
pub fn scim_json(data: &[u8]) {
    peer::in_virtual_time(async {
        let resources = listed(data).await;
        is_configured(data).await;
        written(data).await;
        refusals(data).await;
        turned(&resources);
    });
}

fn provider(peer: &Arc<Peer>) -> Provider {
    let base = peer::base("https://scim.example.com/scim/v2");
    Provider::new(base, peer::exchange("scim", peer), peer::TIMEOUT)
}

async fn listed(data: &[u8]) -> Vec<Resource> {
    let provider = provider(&Peer::saying(StatusCode::OK, data));
    let body = value(data);
    let mut resources = Vec::new();
    match provider.list(Kind::User, 1, 100).await {
        Ok(page) => {
            let shown = body["Resources"].as_array().or_else(|| body["resources"].as_array());
            assert_eq!(page.resources.len(), shown.map_or(0, Vec::len), "one is lost");
            assert!(body.get("totalResults").is_some(), "a count out of nothing");
            resources = page.resources;
        }
        Err(error) => is_unreadable(&error),
    }
    match provider.get(Kind::Group, &ScimId::from("1")).await {
        Ok(found) => resources.extend(found),
        Err(error) => is_unreadable(&error),
    }
    for Resource { id, external_id, version, members } in &resources {
        assert!(is_a_segment(id.as_str()), "{id:?} is no segment of a path");
        assert!([external_id, version].into_iter().flatten().all(|text| !text.is_empty()));
        assert!(members.contains_key("id"));
    }
    for ids in resources.iter().filter_map(Resource::member_ids) {
        assert!(!ids.is_empty());
    }
    resources
}

/// Success with a body that is no answer.
fn is_unreadable(error: &ScimError) {
    let shown = chain(error).to_string();
    assert_eq!(error.code(), ErrorCode::ScimUnreadable, "{shown}");
    assert!(shown.contains(&error.code().to_string()), "{shown}");
    assert!(error.status().is_none() && !error.is_of_form() && !error.is_too_many());
}

async fn is_configured(data: &[u8]) {
    let body = value(data);
    match provider(&Peer::saying(StatusCode::OK, data)).abilities().await {
        Ok(abilities) => {
            assert!((1..=1000).contains(&abilities.page), "{} on a page", abilities.page);
            for (quirk, feature) in [(Quirk::NoPatch, "patch"), (Quirk::NoFilter, "filter")] {
                assert!(!abilities.has(quirk) || !body[feature]["supported"].is_null(), "{feature}");
            }
            assert!(!abilities.removals().is_empty());
        }
        Err(error) => is_unreadable(&error),
    }
}

/// What a write was answered with is taken in only where it is the resource that was written.
async fn written(data: &[u8]) {
    let provider = provider(&Peer::saying(StatusCode::OK, data));
    let (id, body) = (ScimId::from("1"), json!({ "userName": "ada@example.com" }));
    for answer in [
        provider.replace(Kind::User, &id, &body, None).await,
        provider.patch(Kind::User, &id, &body, Some("W/\"1\"")).await,
    ] {
        assert!(answer.is_ok_and(|echo| echo.is_none_or(|echo| echo.id == id)));
    }
    match provider.create(Kind::User, &body).await {
        Ok(created) => assert!(created.is_none_or(|created| !created.id.as_str().is_empty())),
        Err(error) => is_unreadable(&error),
    }
}

async fn refusals(data: &[u8]) {
    for status in [400, 401, 403, 404, 409, 412, 413, 429, 500, 501] {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        let provider = provider(&Peer::saying(status, data));
        let answer = provider.list(Kind::Group, 1, 100).await;
        assert!(answer.is_err(), "{status} is taken for success");
        let Err(error) = answer else { return };
        let shown = chain(&error).to_string();
        assert_eq!(error.status(), Some(status), "{shown}");
        assert!(shown.contains(status.as_str()) && shown.contains(&error.code().to_string()), "{shown}");
        let passes = status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::INTERNAL_SERVER_ERROR;
        assert_eq!(error.class() == Class::Transient, passes, "{shown}");
    }
}

/// From nothing to each resource, from each to the next, and back to nothing.
fn turned(resources: &[Resource]) {
    let nothing = Map::new();
    let mut former = &nothing;
    for members in resources.iter().take(4).map(|resource| &resource.members).chain([&nothing]) {
        turn(former, members);
        former = members;
    }
    for Resource { members, .. } in resources {
        let mut mended = members.clone();
        mend_booleans(&mut mended);
        let again = &mut mended.clone();
        mend_booleans(again);
        assert_eq!(*again, mended);
        assert_eq!(active(&mended), active(members));
        for value in members.values() {
            assert!(same(value, value), "{value} is not itself");
            assert!(members.values().all(|other| same(value, other) == same(other, value)));
        }
    }
}

fn turn(old: &Map<String, Value>, new: &Map<String, Value>) {
    let paths: Vec<_> = DEFAULT.iter().filter_map(|(_, path)| Path::parse(path).ok()).collect();
    let (from, to) = (read(old, &paths), read(new, &paths));
    let resource = write(&to);
    assert_eq!(read(&resource, &paths), to, "what is written is not read back");

    let message = patch::of_attributes(&from, &to);
    assert_eq!(message.is_none(), from == to);
    let mut changed = write(&from);
    for operation in operations(message.as_ref()) {
        apply(&from, &mut changed, operation);
    }
    assert_eq!(read(&changed, &paths), to, "the patch leads elsewhere: {message:?}");

    let message = patch::whole(old, new);
    assert_eq!(message.is_none(), old == new);
    let mut changed = old.clone();
    for operation in operations(message.as_ref()) {
        match operation["path"].as_str() {
            Some(path) => assert!(changed.remove(path).is_some(), "{operation}"),
            None => changed.extend(operation["value"].as_object().cloned().unwrap_or_default()),
        }
    }
    assert_eq!(changed, *new, "{message:?}");
}

fn operations(message: Option<&Value>) -> impl Iterator<Item = &Value> {
    message.into_iter().flat_map(|message| message["Operations"].as_array().into_iter().flatten())
}

/// As a service does it (RFC 7644 section 3.5.2).
fn apply(from: &Attributes, resource: &mut Map<String, Value>, operation: &Value) {
    let text = operation["path"].as_str().unwrap_or_default();
    let Ok(path) = Path::parse(text) else { unreachable!("{text} is no path") };
    match operation["op"].as_str() {
        Some("replace") => {
            // A filter that matches nothing is an error.
            let elements: BTreeSet<_> =
                from.keys().map(|known| (known.attribute(), known.of_type())).collect();
            let exists = path.of_type().is_none() || elements.contains(&(path.attribute(), path.of_type()));
            assert!(exists, "{text} is replaced, and there is none");
            path.set(resource, operation["value"].clone());
        }
        Some("remove") => path.unset(resource),
        Some("add") => {
            for element in operation["value"].as_array().into_iter().flatten() {
                let of_type = element["type"].as_str().unwrap_or_default();
                for (name, value) in element.as_object().into_iter().flatten() {
                    let path = Path::parse(&format!("{text}[type eq \"{of_type}\"].{name}"));
                    let Ok(path) = path else { unreachable!("{name} is no sub-attribute") };
                    path.set(resource, value.clone());
                }
            }
        }
        Some(_) | None => unreachable!("{operation}"),
    }
}
