//! Proofs of possession: every kind of organization works with `dpop = "auto"`, and nobody has to lower a setting.

use std::sync::Arc;
use std::time::Duration;

use apono_connector::http::transport::{Request, Response, Transport, TransportError};
use apono_connector::secrets::{Curve, generate_ec};
use apono_connector::server::TokenFact;
use futures_util::future::BoxFuture;
use http::HeaderValue;
use secrecy::ExposeSecret;
use serde_json::json;
use simulator::apono::Grant;
use simulator::fault::Fault;
use simulator::okta::faults::oauth_error;
use simulator::okta::{Call, DpopRule, NewGroup, NewUser};

use crate::world::{CLIENT, INTEGRATION, Running, World, key};

const SCOPES: [&str; 2] = ["okta.users.read", "okta.groups.manage"];

fn token(connector: &Running) -> TokenFact {
    connector.facts().organizations[0].token.clone()
}

async fn until_held(world: &World, connector: &Running) {
    world.until("a token is held", |_| (token(connector) == TokenFact::Held).then_some(())).await;
}

fn token_calls(world: &World) -> Vec<Call> {
    world.okta.calls().into_iter().filter(|call| call.operation == "token").collect()
}

/// The statuses of all calls but those for tokens that are not 2xx.
fn failed_calls(world: &World) -> Vec<(&'static str, u16)> {
    let calls = world.okta.calls();
    let failed = calls.iter().filter(|call| call.operation != "token" && !(200..300).contains(&call.status));
    failed.map(|call| (call.operation, call.status)).collect()
}

/// A grant from beginning to end, and a directory run.
async fn works(world: &World, group: &str, user: &str) {
    let login = world.okta.user(user)["profile"]["login"].as_str().unwrap().to_owned();
    let grant = Grant::new(INTEGRATION, &login, &[group]).until(world.after(Duration::from_mins(5)));
    let granted = world.apono.grant(grant);
    assert_eq!(world.result(&granted.task_id).await["code"], "granted");
    world.until_member(group, user, false).await;
    let task = world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
    assert_eq!(world.result(&task).await["output"]["outcome"], "completed");
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_organization_works_with_auto_and_one_extra_request_an_hour_at_most() {
    type Arrange = fn(&World);
    let organizations: [(&str, Arrange); 4] = [
        ("demands proofs", |world| world.okta.configure(|settings| settings.dpop = DpopRule::Required)),
        ("does not demand proofs", |_| ()),
        ("demands a nonce on every call, too", |world| {
            world.okta.configure(|settings| {
                settings.dpop = DpopRule::Required;
                settings.dpop_nonce_on_api = true;
            });
        }),
        ("knows no proofs", |world| world.okta.configure(|settings| settings.dpop = DpopRule::Unknown)),
    ];
    for (name, arrange) in organizations {
        let mut world = World::new();
        arrange(&world);
        let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
        let group = world.okta.add_group(NewGroup::named("oncall"));
        let connector = world.start().await;
        works(&world, &group, &user).await;
        world.pass(Duration::from_hours(12)).await;
        works(&world, &group, &user).await;
        let calls = token_calls(&world);
        let (hours, extra) = (12, calls.iter().filter(|call| call.status != 200).count());
        assert!(extra <= 1, "{name}: {extra} extra requests in {hours} hours");
        let others = failed_calls(&world);
        assert!(others.len() <= 1, "{name}: {others:?}");
        connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_nonce_that_is_renewed_costs_one_request_and_fails_no_call() {
    let mut world = World::new();
    world.okta.configure(|settings| {
        settings.dpop = DpopRule::Required;
        settings.dpop_nonce_on_api = true;
    });
    let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let group = world.okta.add_group(NewGroup::named("oncall"));
    let connector = world.start().await;
    until_held(&world, &connector).await;
    for _ in 0..24 {
        world.okta.reset_counters();
        world.okta.rotate_dpop_nonce();
        works(&world, &group, &user).await;
        world.pass(Duration::from_hours(1)).await;
        let extra = token_calls(&world).iter().filter(|call| call.status != 200).count();
        assert!(extra <= 1, "{extra} in an hour");
        let challenged = failed_calls(&world);
        assert!(
            (1..=8).contains(&challenged.len()) && challenged.iter().all(|(_, status)| *status == 400),
            "those on their way when the nonce changed, and no more: {challenged:?}"
        );
    }
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn off_sends_no_proof_and_says_what_to_set_where_one_is_demanded() {
    let mut world = World::new();
    world.set_dpop("off");
    let connector = world.start().await;
    until_held(&world, &connector).await;
    assert_eq!(token_calls(&world).len(), 1, "nobody asked for a nonce");
    connector.stop().await;

    world.okta.configure(|settings| settings.dpop = DpopRule::Required);
    let connector = world.start().await;
    let refused = world.until("refused", |_| match token(&connector) {
        TokenFact::Refused { reason } => Some(reason),
        TokenFact::Unknown
        | TokenFact::Held
        | TokenFact::ScopesMissing { .. }
        | TokenFact::Unreachable { .. } => None,
    });
    let reason = refused.await;
    assert!(
        reason.contains("demands proofs of possession") && reason.contains("Set okta[].dpop to \"auto\""),
        "{reason}"
    );
    connector.stop().await;
}

/// What Okta says about proofs that are damaged on their way, or that it does not know.
fn refusal() -> Fault {
    oauth_error(400, "invalid_dpop_proof", "The DPoP proof JWT signature algorithm is invalid.")
}

/// That tokens are asked for without a proof, as people were warned of it.
fn told_of_going_without(world: &World) -> Vec<String> {
    let warnings = world.warnings().into_iter();
    warnings.filter(|line| line.contains("without a proof of possession")).collect()
}

#[tokio::test(start_paused = true)]
async fn where_proofs_are_not_taken_auto_goes_without_for_a_day_and_on_does_not() {
    let mut world = World::new();
    world.okta.faults().once("token", refusal());
    let connector = world.start().await;
    until_held(&world, &connector).await;
    assert_eq!(token_calls(&world).iter().map(|call| call.status).collect::<Vec<_>>(), [400, 200]);
    let told = told_of_going_without(&world);
    assert!(told.len() == 1 && told[0].contains("[AOC-0314, request "), "{told:?}");
    world.okta.reset_counters();
    world.pass(Duration::from_hours(23)).await;
    assert!(token_calls(&world).iter().all(|call| call.status == 200), "without, and nobody minds");
    // A nonce is given out to whoever sends a proof.
    world.pass(Duration::from_hours(2)).await;
    let challenged = token_calls(&world).iter().filter(|call| call.status == 400).count();
    assert_eq!(challenged, 1, "whatever was in the way is gone: proofs again, and a nonce for them");
    assert_eq!(told_of_going_without(&world).len(), 1);
    connector.stop().await;

    world.set_dpop("on");
    world.okta.faults().always("token", refusal());
    world.okta.reset_counters();
    let connector = world.start().await;
    world.pass(Duration::from_secs(20)).await;
    let TokenFact::Refused { reason } = token(&connector) else { panic!("{:?}", token(&connector)) };
    assert!(
        reason.contains("Okta does not take the proof of possession") && reason.contains("AOC-0314"),
        "{reason}"
    );
    world.okta.faults().clear();
    until_held(&world, &connector).await;
    assert_eq!(told_of_going_without(&world).len(), 1, "it does not");
    connector.stop().await;
}

/// Whether a request is refused is decided by its proof alone: one without is served.
#[derive(Debug)]
struct Proofless(Arc<dyn Transport>);

impl Transport for Proofless {
    fn send(&self, mut request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        if let Some(proof) = request.headers.get_mut("dpop") {
            *proof = HeaderValue::from_static("[removed]");
        }
        self.0.send(request, limit)
    }
}

#[tokio::test(start_paused = true)]
async fn where_proofs_are_never_taken_auto_asks_once_a_day_and_no_call_fails() {
    let mut world = World::new();
    let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let group = world.okta.add_group(NewGroup::named("oncall"));
    let (network, disk) = (Arc::new(Proofless(world.network())), world.disk());
    let connector = world.start_between(network, disk, "").await.unwrap();
    works(&world, &group, &user).await;
    world.pass(Duration::from_hours(75)).await;
    works(&world, &group, &user).await;
    assert_eq!(token(&connector), TokenFact::Held);
    let refused = token_calls(&world).iter().filter(|call| call.status == 400).count();
    assert_eq!((refused, told_of_going_without(&world).len()), (4, 4), "at once, and on each of three days");
    assert_eq!(failed_calls(&world), []);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_demanded_later_is_given_later() {
    let mut world = World::new();
    world.okta.configure(|settings| settings.dpop = DpopRule::Unknown);
    let connector = world.start().await;
    until_held(&world, &connector).await;
    world.okta.configure(|settings| {
        settings.dpop = DpopRule::Required;
    });
    world.pass(Duration::from_hours(3)).await;
    assert_eq!(token(&connector), TokenFact::Held);
    assert!(token_calls(&world).iter().filter(|call| call.status != 200).count() <= 2);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_does_not_look_like_a_wrong_proof() {
    for ahead in [true, false] {
        let mut world = World::new();
        world.okta.configure(|settings| settings.dpop = DpopRule::Required);
        let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
        world.skew_peers(Duration::from_mins(10), ahead);
        let connector = world.start().await;
        until_held(&world, &connector).await;
        let task = world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
        assert_eq!(world.result(&task).await["output"]["outcome"], "completed", "{user}");
        assert!(!world.warnings().iter().any(|line| line.contains("proof")), "{:?}", world.warnings());
        connector.stop().await;
    }
}

/// Each with the algorithm that Okta lists for it.
#[tokio::test(start_paused = true)]
async fn every_kind_of_key_gets_a_token() {
    let mut keys: Vec<(String, serde_json::Value)> = Vec::new();
    for alg in ["RS256", "RS384", "RS512"] {
        let (private, mut public) = key();
        let mut private: serde_json::Value = serde_json::from_str(private).unwrap();
        (private["alg"], public["alg"]) = (json!(alg), json!(alg));
        keys.push((private.to_string(), public));
    }
    for curve in Curve::ALL {
        let pair = generate_ec(curve).unwrap();
        keys.push((pair.private_jwk.expose_secret().to_owned(), pair.public_jwk));
    }
    for (private, public) in keys {
        let mut world = World::new();
        world.okta.configure(|settings| settings.dpop = DpopRule::Required);
        world.okta.register_client(CLIENT, public.clone(), &SCOPES);
        world.mount_key(&private);
        let connector = world.start().await;
        until_held(&world, &connector).await;
        assert_eq!(world.okta.tokens_issued(), 1, "{}", public["alg"]);
        connector.stop().await;
    }
}
