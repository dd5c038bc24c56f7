//! # Purpose
//! Okta's answers, as the handles to an organization read them.
//!
//! # Invariants kept here
//! - What is no list is never an empty list, and every element of a list is either read or told of.
//! - An element that cannot be read costs none of its neighbours.
//! - No token stands in what is said about it.
//!
//! # Not here
//! Headers: `headers`.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apono_connector::catalogue::ErrorCode;
use apono_connector::domain::{Membership, OktaGroupId, OktaUserId};
use apono_connector::http::budget::{Budget, BudgetSettings};
use apono_connector::http::{Class, ExchangeError, Lane};
use apono_connector::okta::errors::classify;
use apono_connector::okta::{
    Answer, Dpop, LOG_SCOPE, LogKind, OktaError, Organization, Page, PageError, Presence, Settings,
    TokenStatus, UserMatch, connect,
};
use apono_connector::secrets::{Credentials, CredentialsError, Curve, Reloading, SigningKey, generate_ec};
use apono_connector::telemetry::chain;
use http::StatusCode;
use secrecy::ExposeSecret;
use serde_json::Value;
use serde_json::value::RawValue;

use super::peer::{self, Peer, REQUEST_ID};
use super::text::{elements, member, quoted_secret};

const LANE: Lane = Lane::Verification;
const NAME: &str = "ada@example.com";

/// The body of an answer: to a listing, to a question, of an error, of the token endpoint.
pub fn okta_json(data: &[u8]) {
    refusals(data);
    peer::in_virtual_time(async {
        listings(data).await;
        neighbours(data).await;
        questions(data).await;
        tokens(data).await;
    });
}

pub(super) fn organization(peer: &Arc<Peer>) -> Organization {
    let surroundings = peer::surroundings(peer);
    let credentials = Credentials { client_id: "0oaexample".to_owned(), key: key().clone() };
    let credentials =
        Reloading::new("credentials", None, move || Ok::<_, CredentialsError>(credentials.clone()));
    let Ok(credentials) = credentials else { unreachable!("they are there") };
    let settings = Settings {
        integration: "int".to_owned(),
        organization: peer::base("https://example.okta.com"),
        credentials: Arc::new(credentials),
        dpop: Dpop::Off,
        scopes: vec!["okta.users.read", "okta.groups.manage"],
        optional_scopes: vec![LOG_SCOPE],
        timeout: peer::TIMEOUT,
    };
    let (clock, metrics) = (Arc::clone(&surroundings.clock), Arc::clone(&surroundings.metrics));
    let budget = Arc::new(Budget::new(BudgetSettings::default(), "int", clock, metrics));
    connect(settings, &surroundings, &budget)
}

fn key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = generate_ec(Curve::P256);
        let key = pair.and_then(|pair| SigningKey::parse(pair.private_jwk.expose_secret(), None));
        let Ok(key) = key else { unreachable!("a key can be made") };
        key
    })
}

async fn listings(data: &[u8]) {
    let organization = organization(&Peer::saying(StatusCode::OK, data));
    let directory = &organization.directory;
    let group = OktaGroupId::from("00g1");
    let users = directory.users(None, &["login".to_owned()]).await;
    let members = directory.members(&group, None).await;
    let ids = directory.member_ids(&group, None).await;
    is_whole(data, 200, &users);
    is_whole(data, 1000, &members);
    is_whole(data, 1000, &ids);
    is_whole(data, 200, &directory.groups(None).await);
    is_whole(data, 200, &organization.memberships.grantable_groups(None, LANE).await);
    if let (Ok(members), Ok(ids)) = (&members, &ids) {
        assert!(members.items.iter().all(|user| ids.items.contains(&user.id)), "{members:?}");
    }
    let now = directory.now();
    let events = organization.log.page(LogKind::MemberAdded, now, now, None, LANE).await;
    is_whole(data, 1000, &events);

    match organization.memberships.rule_fed_groups(LANE).await {
        Ok(fed) => every_rule_counts(data, &fed),
        Err(error) => is_told(&error),
    }
}

fn is_whole<T>(data: &[u8], limit: usize, page: &Result<Page<T>, PageError>) {
    let elements = elements(data);
    let objects = elements.iter().flatten().filter(|element| element.get().starts_with('{')).count();
    let elements = elements.map(|elements| elements.len());
    match page {
        Ok(page) => {
            assert!(page.items.len() <= objects, "what is no object is read as one");
            assert_eq!(Some(page.items.len() + page.skipped.len()), elements);
            assert!(page.next.is_none());
            assert_eq!(page.request_id.as_deref(), Some(REQUEST_ID));
            assert!(page.skipped.iter().all(|skipped| !skipped.reason.is_empty()));
        }
        Err(error) => {
            let expected = match elements {
                // As many as were asked for, and no link that says that these are all.
                Some(count) => {
                    assert!(count >= limit, "{}", chain(error));
                    ErrorCode::ListingIncomplete
                }
                None => ErrorCode::OktaUnreadable,
            };
            assert_eq!((error.code(), error.class()), (expected, Class::Transient), "{}", chain(error));
        }
    }
}

/// A rule that does not say that it is off fills its groups.
fn every_rule_counts(data: &[u8], fed: &BTreeSet<OktaGroupId>) {
    let rules: Vec<Value> = serde_json::from_slice(data).unwrap_or_default();
    for rule in rules {
        let is_off = matches!(rule["status"].as_str(), Some("INACTIVE" | "INVALID"));
        let ids = rule["actions"]["assignUserToGroups"]["groupIds"].as_array().cloned().unwrap_or_default();
        for id in ids.iter().filter_map(Value::as_str) {
            assert!(is_off || fed.contains(&OktaGroupId::from(id)), "{id} is not known to be filled");
        }
    }
}

/// What is handed in stands between two whole elements, whatever it is.
async fn neighbours(data: &[u8]) {
    let Ok(element) = serde_json::from_slice::<&RawValue>(data) else { return };
    let body = format!(r#"[{{"id":"first"}},{element},{{"id":"last"}}]"#);
    let organization = organization(&Peer::saying(StatusCode::OK, body.as_bytes()));
    let directory = &organization.directory;
    let users = directory.users(None, &[]).await.map(|page| page.items);
    let users = users.unwrap_or_default().into_iter().map(|user| user.id.to_string());
    let groups = directory.groups(None).await.map(|page| page.items);
    let groups = groups.unwrap_or_default().into_iter().map(|group| group.id.to_string());
    for ids in [users.collect::<Vec<_>>(), groups.collect()] {
        let (first, last) = (ids.first().map(String::as_str), ids.last().map(String::as_str));
        assert_eq!((first, last), (Some("first"), Some("last")), "a neighbour is lost");
        assert!(ids.len() <= 3);
    }
}

async fn questions(data: &[u8]) {
    let organization = organization(&Peer::saying(StatusCode::OK, data));
    let memberships = &organization.memberships;
    let membership = Membership { group: OktaGroupId::from("00g1"), user: OktaUserId::from("00u1") };

    match memberships.user(&membership.user, LANE).await {
        Ok(user) => assert_eq!(user.map(|user| user.id.to_string()), member(data, "id")),
        Err(error) => is_told(&error),
    }
    match memberships.plain_group(&membership.group, LANE).await {
        Ok(group) => assert_eq!(group.map(|group| group.id.to_string()), member(data, "id")),
        Err(error) => is_told(&error),
    }
    match memberships.group(&membership.group, LANE).await {
        Ok(group) => assert!(group.is_none_or(|group| group.id == membership.group)),
        Err(error) => is_told(&error),
    }
    match memberships.find_user(NAME, LANE).await {
        Ok(UserMatch::One(user)) => {
            let names = ["login", "email"].map(|name| user.text(name).map(str::to_lowercase));
            assert!(names.contains(&Some(NAME.to_owned())), "{user:?} is somebody else");
        }
        Ok(UserMatch::None | UserMatch::Several) => {}
        Err(error) => is_told(&error),
    }
    let count = elements(data).map(|elements| elements.len());
    match memberships.groups_of(&membership.user, LANE).await {
        Ok(of) => assert!(of.is_some_and(|of| Some(of.groups.len() + of.skipped) <= count)),
        Err(error) => is_told(&error),
    }
    match memberships.look(&membership, LANE).await {
        Ok(look) => {
            let shown = String::from_utf8_lossy(data);
            // An escape could spell it too.
            let named = shown.contains("00g1") || shown.contains('\\');
            assert!(look.presence != Presence::Member || named, "{look:?}");
            assert!(count.is_some());
        }
        Err(error) => is_told(&error),
    }
    match memberships.rights_hold(LANE).await {
        Ok(holds) => assert_eq!(Some(holds), count.map(|count| count > 0)),
        Err(error) => is_told(&error),
    }
}

fn is_told(error: &OktaError) {
    let shown = chain(error).to_string();
    assert!(shown.contains(&error.code().to_string()), "{shown} [{}]", error.code());
    assert!(!error.is_not_found(), "success that says \"not found\": {shown}");
}

fn refusals(data: &[u8]) {
    let code = member(data, "errorCode").or_else(|| member(data, "error"));
    for status in [400, 401, 403, 404, 409, 429, 500, 503] {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        let response = peer::response(status, data);
        let answer = Answer::read(&response);
        let shown = answer.to_string();
        assert!(shown.contains(status.as_str()) && shown.contains(REQUEST_ID), "{shown}");
        let Ok(now) = "2026-01-01T00:00:00Z".parse() else { unreachable!("an instant") };
        let verdict = classify(&response, now);
        let response = Box::new(response);
        let error = OktaError::from_exchange(
            "get_user",
            ExchangeError::Answered { call: "get_user", verdict, response },
        );
        assert_eq!(error.answer(), Some(&answer));
        let said = matches!(code.as_deref(), Some("E0000007" | "E0000048"));
        if error.is_not_found() {
            assert!(said && status == StatusCode::NOT_FOUND, "{}", chain(&error));
        }
    }
}

async fn tokens(data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    for status in [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED] {
        let peer = Peer::saying_of_tokens(status, data);
        let organization = organization(&peer);
        let wait = organization.tokens.keep_fresh().await;
        assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(10), "{wait:?}");
        let told = organization.tokens.status();
        let said = match &told {
            TokenStatus::Held { .. } => {
                assert_eq!(status, StatusCode::OK);
                assert!(member(data, "access_token").is_some(), "a token out of nothing");
                String::new()
            }
            TokenStatus::Failing(error) => chain(error.as_ref()).to_string(),
            TokenStatus::Unknown => unreachable!("it was asked"),
        };
        // A refusal is quoted, as a person needs it; what came with success may be a token.
        if status == StatusCode::OK {
            let call = organization.memberships.rights_hold(LANE).await;
            let call = call.map_or_else(|error| chain(&error).to_string(), |_| String::new());
            for shown in
                [said, call, format!("{told:?} {:?}", organization.tokens), format!("{:?}", peer.asked())]
            {
                let quoted = quoted_secret(&shown, &input);
                assert!(quoted.is_none(), "a token is shown: {quoted:?} in {shown}");
            }
        }
    }
}
