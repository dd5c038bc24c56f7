//! One token, kept fresh; refusals told in one sentence and tried again slowly.

use std::time::Duration;

use apono_connector::runtime::Ending;
use apono_connector::secrets::generate_rsa;
use apono_connector::server::{TokenFact, readiness};
use secrecy::ExposeSecret;
use serde_json::json;
use simulator::apono::Grant;
use simulator::fault::Fault;
use simulator::okta::{NewGroup, NewUser};

use crate::world::{CLIENT, INTEGRATION, Running, World, key};

fn token(connector: &Running) -> TokenFact {
    connector.facts().organizations[0].token.clone()
}

async fn until_held(world: &World, connector: &Running) {
    world.until("a token is held", |_| (token(connector) == TokenFact::Held).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn one_token_serves_everybody_and_is_renewed_at_four_fifths_of_its_life() {
    let (mut world, _) = World::peopled(300, 20);
    let connector = world.start().await;
    world.pass(Duration::from_mins(47)).await;
    assert_eq!(world.okta.tokens_issued(), 1);
    world.pass(Duration::from_mins(2)).await;
    assert_eq!(world.okta.tokens_issued(), 2);
    world.pass(Duration::from_hours(8)).await;
    assert_eq!(world.okta.tokens_issued(), 12, "at once, and one each 48 minutes");
    assert_eq!(world.okta.assertions_seen(), 13, "the first one brought the nonce of the proofs");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_okta_forgot_is_replaced_once_and_no_call_fails() {
    let (mut world, _) = World::peopled(300, 20);
    let connector = world.start().await;
    until_held(&world, &connector).await;
    world.okta.revoke_tokens();
    let task = world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
    let result = world.result(&task).await;
    assert_eq!(result["output"]["outcome"], "completed", "{result}");
    assert_eq!(world.okta.tokens_issued(), 2);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_person_must_mend_is_said_in_one_sentence_and_tried_slowly() {
    type Spoil = fn(&World);
    let cases: [(&str, Spoil, Spoil, &[&str]); 5] = [
        (
            "unknown client",
            |world| world.okta.deactivate_client(CLIENT),
            |world| world.okta.activate_client(CLIENT),
            &["does not know this client", "AOC-0301", "Invalid value for 'client_id' parameter"],
        ),
        (
            "no key registered",
            |world| world.okta.deactivate_key(CLIENT, key().1["kid"].as_str().unwrap()),
            |world| world.okta.register_client(CLIENT, key().1, &["okta.users.read", "okta.groups.manage"]),
            &["has no public key (https://example.okta.com)", "AOC-0304"],
        ),
        (
            "no scope granted",
            |world| world.okta.set_granted_scopes(CLIENT, &[]),
            |world| world.okta.set_granted_scopes(CLIENT, &["okta.users.read", "okta.groups.manage"]),
            &[
                "needed are okta.users.read and okta.groups.manage",
                "AOC-0310",
                "not allowed any of the requested scopes",
            ],
        ),
        (
            "not an Okta organization",
            |world| world.okta.faults().always("token", Fault::html(404)),
            |world| world.okta.faults().clear(),
            &["not an Okta organization (https://example.okta.com). Correct organization_url", "AOC-0316"],
        ),
        (
            "outside the network zone",
            |world| world.okta.configure(|settings| settings.outside_network_zone = true),
            |world| world.okta.configure(|settings| settings.outside_network_zone = false),
            &["network zone"],
        ),
    ];
    for (name, spoil, cure, sentences) in cases {
        let mut world = World::new();
        spoil(&world);
        let connector = world.start().await;
        world.pass(Duration::from_mins(10)).await;
        let TokenFact::Refused { reason } = token(&connector) else {
            panic!("{name}: {:?}", token(&connector));
        };
        for sentence in sentences {
            assert!(reason.contains(sentence), "{name}: {reason}");
        }
        let asked = world.okta.call_count("token");
        assert!((2..=8).contains(&asked), "{name}: asked {asked} times in ten minutes");
        cure(&world);
        until_held(&world, &connector).await;
        connector.stop().await;
    }
}

/// A wrong clock must not look like a wrong key, nor keep the connector from ending what lives.
#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_told_in_seconds_and_assertions_follow_oktas() {
    for (ahead, word) in [(true, "600 s behind Okta's"), (false, "600 s ahead of Okta's")] {
        let mut world = World::new();
        world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
        world.skew_peers(Duration::from_mins(10), ahead);
        let connector = world.start().await;
        let refused = world.until("refused", |_| match token(&connector) {
            TokenFact::Unreachable { reason, .. } => Some(reason),
            TokenFact::Unknown
            | TokenFact::Held
            | TokenFact::ScopesMissing { .. }
            | TokenFact::Refused { .. } => None,
        });
        let reason = refused.await;
        assert!(reason.contains(word) && reason.contains("NTP"), "{reason}");
        world.pass(Duration::from_secs(10)).await;
        assert_eq!(token(&connector), TokenFact::Held);
        let verdict = readiness(&connector.facts());
        let check = verdict.checks.iter().find(|check| check.name.starts_with("grants of")).unwrap();
        assert!(!verdict.ready && check.message.contains(word), "{verdict:?}");
        world.skew_peers(Duration::ZERO, true);
        world.pass(Duration::from_mins(20)).await;
        assert!(readiness(&connector.facts()).ready);
        connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_was_not_granted_makes_unready_and_is_named() {
    let mut world = World::new();
    world.okta.set_granted_scopes(CLIENT, &["okta.users.read"]);
    let connector = world.start().await;
    let missing = TokenFact::ScopesMissing { scopes: vec!["okta.groups.manage"] };
    world.until("it is known", |_| (token(&connector) == missing).then_some(())).await;
    world.okta.set_granted_scopes(CLIENT, &["okta.users.read", "okta.groups.manage"]);
    world.pass(Duration::from_mins(5)).await;
    assert_eq!(token(&connector), TokenFact::Held, "a scope that was granted later is noticed soon");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_optional_scope_that_okta_refuses_costs_one_request_and_nothing_else() {
    let mut world = World::new();
    world.set_dpop("off");
    let refusal = Fault::Answer {
        status: 400,
        headers: vec![("content-type".into(), "application/json".into())],
        body: json!({
            "error": "invalid_scope",
            "error_description": "One or more scopes are not configured for the authorization server resource.",
        })
        .to_string(),
    };
    world.okta.faults().once("token", refusal);
    let connector = world.start().await;
    until_held(&world, &connector).await;
    assert_eq!(
        (world.okta.call_count("token"), world.okta.tokens_issued()),
        (2, 1),
        "asked again without it"
    );
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_absurd_lifetime_is_not_believed() {
    let mut world = World::new();
    world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let body = json!({
        "token_type": "Bearer", "access_token": "not-a-token", "expires_in": u64::MAX,
        "scope": "okta.users.read okta.groups.manage"
    });
    world.okta.faults().once("token", Fault::ReplaceBody(body.to_string()));
    let connector = world.start().await;
    world.pass(Duration::from_hours(25)).await;
    until_held(&world, &connector).await;
    assert!(world.okta.tokens_issued() >= 1);
    assert!(matches!(connector.stop().await, Ending::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_rotated_key_is_used_at_the_next_token_and_a_bad_one_is_not() {
    let mut world = World::new();
    world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let group = world.okta.add_group(NewGroup::named("oncall"));
    let connector = world.start().await;
    until_held(&world, &connector).await;
    std::fs::write(world.secret(), "{ not a secret").unwrap();
    world.pass(Duration::from_hours(3)).await;
    let works = async |why: &str| {
        let grant =
            Grant::new(INTEGRATION, "ada@example.com", &[&group]).until(world.after(Duration::from_mins(5)));
        let granted = world.apono.grant(grant);
        assert_eq!(world.result(&granted.task_id).await["code"], "granted", "{why}");
        world.pass(Duration::from_mins(6)).await;
    };
    works("the last good key still serves").await;

    // Registered beside the old one, mounted, and only then is the old one switched off.
    let new = generate_rsa(2048).unwrap();
    let old = key().1["kid"].as_str().unwrap().to_owned();
    let scopes = ["okta.users.read", "okta.groups.manage"];
    world.okta.register_client(CLIENT, new.public_jwk.clone(), &scopes);
    let private: serde_json::Value = serde_json::from_str(new.private_jwk.expose_secret()).unwrap();
    let secret = json!({ "client_id": CLIENT, "private_key": private });
    std::fs::write(world.secret(), secret.to_string()).unwrap();
    world.pass(Duration::from_hours(1)).await;
    world.okta.deactivate_key(CLIENT, &old);
    world.okta.revoke_tokens();
    works("the new key serves").await;
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_token_endpoint_does_not_make_a_storm() {
    let mut world = World::new();
    world.okta.faults().always("token", Fault::status(503));
    let connector = world.start().await;
    world.pass(Duration::from_mins(30)).await;
    assert!(world.okta.call_count("token") < 300, "{}", world.okta.call_count("token"));
    assert!(matches!(token(&connector), TokenFact::Unreachable { worked_before: false, .. }));
    world.okta.faults().clear();
    until_held(&world, &connector).await;
    connector.stop().await;
}
