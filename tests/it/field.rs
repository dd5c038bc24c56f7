//! What breaks elsewhere, as operators tell it in public: each failure by its name, and not here. The table with the
//! sources is `docs/field-failures.md`.
//!
//! Here: calls to Okta that go wrong. What Okta shows: `field/looks.rs`. Who and what is gone: `field/ends.rs`.

mod ends;
mod looks;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use apono_connector::entropy::SeededEntropy;
use apono_connector::http::budget::BudgetSettings;
use apono_connector::http::classify::by_status;
use apono_connector::http::retry::{Patience, Repeatable};
use apono_connector::http::{Budget, Call, Exchange, Lane, Request};
use apono_connector::telemetry::log::json_line;
use serde_json::{Value, json};
use simulator::apono::Grant;
use simulator::fault::Fault;
use simulator::okta::faults::{concurrency, empty_unauthorized, error, insufficient_scope, rate_limited};
use simulator::okta::{Limits, RateHeaders, Seed};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::scene::Scene;
use crate::world::{INTEGRATION, Running, World};

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// Okta's own "not found".
fn not_found() -> Fault {
    error(404, "E0000007", "Not found: Resource not found")
}

impl Scene {
    /// Grants, and then revokes; both must succeed. How long each took, in seconds.
    async fn given_and_revoked(&self, what: &str) -> (f64, f64) {
        let asked = self.world.elapsed();
        let granted = self.grant(HOUR);
        let result = self.world.result(&granted.task_id).await;
        assert_eq!(result["code"], "granted", "{what}: {result}");
        assert!(self.is_member(), "{what}");
        let given = self.world.elapsed();
        let result = self.revoked(&granted.grant_id).await;
        assert_eq!(result["code"], "revoked", "{what}: {result}");
        assert!(!self.is_member(), "{what}");
        let revoked = self.world.elapsed();
        (given.saturating_sub(asked).as_secs_f64(), revoked.saturating_sub(given).as_secs_f64())
    }

    /// Nothing is left of any grant, and nothing goes on about one.
    async fn all_is_over(self, connector: Running) {
        self.world.okta.faults().clear();
        self.world.pass(2 * MINUTE).await;
        assert!(!self.is_member(), "the membership outlived its grant");
        let facts = connector.facts();
        assert_eq!((facts.organizations[0].removals_due, facts.results_pending), (0, 0));
        connector.stop().await;
    }

    /// The result that Apono has after this while.
    async fn result_after(&self, task: &str, a_while: Duration) -> Option<Value> {
        self.world.pass(a_while).await;
        self.world.apono.result(task)
    }

    /// The task has no result while Okta refuses `operation`, which is not asked for too often; then it succeeds.
    async fn waits_for_the_bucket(&self, operation: &str, task: &str, most: usize) {
        let fired = || self.world.okta.faults().fired(operation);
        let before = fired();
        assert_eq!(self.result_after(task, 10 * MINUTE).await, None, "{operation}");
        let asked = fired() - before;
        assert!((2..most).contains(&asked), "{operation}: asked {asked} times in ten minutes");
        self.world.okta.faults().clear();
        assert_eq!(self.world.result(task).await["status"], "Success", "{operation}");
    }
}

/// What goes wrong once and for itself says nothing about the next try.
fn hiccups(operation: &str) -> Vec<Fault> {
    let mut hiccups = vec![
        Fault::status(500),
        Fault::status(503),
        Fault::html(502),
        Fault::Disconnect,
        Fault::DisconnectAfterEffect,
        Fault::Delay(HOUR),
        concurrency(),
    ];
    if operation != "token" {
        hiccups.extend([empty_unauthorized(), Fault::status(404), error(409, "E0000157", "Conflict")]);
    }
    hiccups
}

#[tokio::test(start_paused = true)]
async fn one_hiccup_at_any_call_fails_neither_a_grant_nor_a_revoke_and_costs_moments() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    for operation in [
        "token",
        "get_user",
        "list_groups",
        "list_group_rules",
        "list_user_groups",
        "get_group",
        "add_member",
        "remove_member",
    ] {
        for hiccup in hiccups(operation) {
            let what = format!("{operation}: {hiccup:?}");
            // The rules that were listed last are believed for a minute.
            scene.world.pass(2 * MINUTE).await;
            if operation == "token" {
                scene.world.okta.revoke_tokens();
            }
            let before = scene.world.okta.faults().fired(operation);
            scene.world.okta.faults().once(operation, hiccup.clone());
            let (given, revoked) = scene.given_and_revoked(&what).await;
            assert_eq!(scene.world.okta.faults().fired(operation), before + 1, "{what}");
            // An answer that never comes is given up after half a minute.
            let most = if hiccup == Fault::Delay(HOUR) { 40.0 } else { 6.0 };
            assert!(given < most && revoked < most, "{what}: {given} s to give, {revoked} s to revoke");
        }
    }
    scene.all_is_over(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_conflict_fails_neither_a_grant_nor_a_revoke() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    for operation in ["add_member", "remove_member"] {
        // More often than one call is tried.
        scene.world.okta.faults().times(operation, 7, error(409, "E0000157", "Conflict"));
        scene.given_and_revoked(operation).await;
        assert_eq!(scene.world.okta.faults().fired(operation), 7);
    }
    scene.all_is_over(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_okta_forgot_fails_no_grant_and_no_revoke() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    scene.given_and_revoked("at first").await;
    scene.world.okta.revoke_tokens();
    let granted = scene.given(HOUR).await;
    scene.world.okta.revoke_tokens();
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "revoked");
    assert_eq!(scene.world.okta.tokens_issued(), 3, "the refused one is dropped, and asked for once");
    let refused = scene.world.okta.calls().iter().filter(|call| call.status == 401).count();
    assert_eq!(refused, 2);
    scene.all_is_over(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_429_is_waited_out_as_long_as_okta_says_and_fails_nothing() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    for operation in ["add_member", "remove_member"] {
        scene.world.okta.faults().once(operation, rate_limited(45));
        scene.given_and_revoked(operation).await;
        let calls: Vec<_> =
            scene.world.okta.calls().into_iter().filter(|call| call.operation == operation).collect();
        let refused = calls.iter().position(|call| call.status == 429).unwrap();
        let waited = calls[refused + 1].at.duration_since(calls[refused].at).as_secs();
        assert!((45..65).contains(&waited), "{operation} came again after {waited} s");
    }
    assert_eq!(scene.world.okta.throttled(), 2, "nobody else knocked in the meantime");
    scene.all_is_over(connector).await;
}

/// Others may use up the organization's limits for as long as they like; and a window may be longer than Okta's are.
#[tokio::test(start_paused = true)]
async fn a_bucket_that_others_keep_empty_gives_up_no_grant_and_no_revoke() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    for (reset, most) in [(50, 15), (150, 75)] {
        scene.world.okta.faults().always("add_member", rate_limited(reset));
        let granted = scene.grant(HOUR);
        scene.waits_for_the_bucket("add_member", &granted.task_id, most).await;
        assert!(scene.is_member());
        scene.world.okta.faults().always("remove_member", rate_limited(reset));
        let task = scene.world.apono.revoke(&granted.grant_id);
        scene.waits_for_the_bucket("remove_member", &task, most).await;
        assert!(!scene.is_member());
    }
    scene.all_is_over(connector).await;
}

/// A way to Okta without a token, and a call that needs none.
fn bare(world: &World, budget: Option<Arc<Budget>>, patience: Patience) -> (Exchange, Call) {
    let exchange = Exchange {
        peer: "okta",
        transport: world.network(),
        clock: world.clock.clone(),
        entropy: SeededEntropy::shared(1),
        metrics: Arc::default(),
        budget,
        authorize: None,
        classify: by_status,
    };
    let call = Call {
        name: "well_known",
        bucket: "rest",
        lane: Lane::Grant,
        repeatable: Repeatable::Always,
        patience,
        timeout: Duration::from_secs(5),
    };
    (exchange, call)
}

fn well_known() -> Request {
    let url = "https://example.okta.com/.well-known/okta-organization".parse::<url::Url>().unwrap();
    Request::new(http::Method::GET, url)
}

/// A call's time runs from when it is sent, however long its turn is in coming.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_turn_meets_no_deadline() {
    let world = World::quiet();
    let budget =
        Arc::new(Budget::new(BudgetSettings::default(), INTEGRATION, world.clock.clone(), Arc::default()));
    let (exchange, call) = bare(&world, Some(Arc::clone(&budget)), Patience::NONE);
    budget.admit("rest", Lane::Grant).await.block(MINUTE);
    let answered = exchange.call(&call, well_known).await;
    assert!(answered.is_ok(), "{answered:?}");
    assert_eq!(world.elapsed(), MINUTE);
}

/// The lines of the log that tell of a wait.
#[derive(Clone, Default)]
struct Waits(Arc<Mutex<Vec<Value>>>);

impl<S: tracing::Subscriber> Layer<S> for Waits {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let line: Value = serde_json::from_str(&json_line(event, jiff::Timestamp::UNIX_EPOCH)).unwrap();
        if line.get("wait_seconds").or(line.get("waited_seconds")).is_some() {
            self.0.lock().unwrap().push(line);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_pause_before_another_try_has_a_line_at_its_beginning_and_one_at_its_end() {
    let world = World::quiet();
    let waits = Waits::default();
    let _log = tracing::subscriber::set_default(tracing_subscriber::registry().with(waits.clone()));
    let (exchange, call) = bare(&world, None, Patience::SHORT);
    let asked_to_wait = |seconds: u64| Fault::Answer {
        status: 503,
        headers: vec![("retry-after".into(), seconds.to_string())],
        body: String::new(),
    };
    for seconds in [1, 20] {
        world.okta.faults().once("well_known", asked_to_wait(seconds));
        assert!(exchange.call(&call, well_known).await.is_ok());
    }
    let lines = waits.0.lock().unwrap().clone();
    assert_eq!(lines.len(), 2, "a second is not worth a line: {lines:?}");
    assert_eq!((&lines[0]["wait_seconds"], &lines[0]["reason"]), (&json!(20), &json!("okta answered 503")));
    assert_eq!((&lines[1]["waited_seconds"], &lines[1]["call"]), (&json!(20), &json!("well_known")));
}

/// As seen behind a proxy that repeats headers, and one that takes out what it does not know.
#[tokio::test(start_paused = true)]
async fn limits_that_are_told_twice_or_not_at_all_fail_no_grant_and_no_directory_run() {
    for (headers, keeps_within) in [(RateHeaders::Twice, true), (RateHeaders::Absent, false)] {
        let mut world = World::quiet();
        world.okta.configure(|settings| {
            settings.limits = Limits::per_minute(60);
            settings.rate_headers = headers;
        });
        let seeded = world.okta.seed(Seed { users: 150, groups: 150, ..Seed::default() });
        let connector = world.start().await;
        let task = world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
        let (group, user) = (&seeded.groups[0], &seeded.users[0]);
        assert!(!world.okta.is_member(group, user));
        let login = world.okta.user(user)["profile"]["login"].as_str().unwrap().to_owned();
        let grant = Grant::new(INTEGRATION, &login, &[group]).until(world.after(5 * MINUTE));
        let granted = world.apono.grant(grant);
        assert_eq!(world.result(&granted.task_id).await["code"], "granted", "{headers:?}");
        assert!(world.okta.is_member(group, user), "{headers:?}");
        assert_eq!(world.result(&task).await["output"]["outcome"], "completed", "{headers:?}");
        world.until_member(group, user, false).await;
        let (calls, refused) = (world.okta.call_count("list_group_members"), world.okta.throttled());
        assert!(calls >= 150, "{headers:?}: it takes more than one window: {calls}");
        // Of the two values the smaller counts; of none it is learned from refusals.
        assert_eq!(refused == 0, keeps_within, "{headers:?}: {refused} refusals");
        assert!(refused < calls / 4, "{headers:?}: {refused} refusals");
        connector.stop().await;
    }
}

/// A limit of zero and nothing left: read as the state of a bucket, it would be the last request for ever.
#[tokio::test(start_paused = true)]
async fn a_429_about_concurrency_wedges_nothing() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    for operation in ["add_member", "remove_member", "list_user_groups", "get_user"] {
        scene.world.okta.faults().times(operation, 2, concurrency());
        let (given, revoked) = scene.given_and_revoked(operation).await;
        assert!(given < 5.0 && revoked < 5.0, "{operation}: {given} s, {revoked} s");
    }
    let (given, revoked) = scene.given_and_revoked("afterwards").await;
    assert!(given < 3.0 && revoked < 3.0, "{given} s, {revoked} s");
    scene.all_is_over(connector).await;
}

/// Okta's part of it is the console: nothing here can mend it, and asking all the time uses up everybody's limits.
#[tokio::test(start_paused = true)]
async fn a_scope_that_is_taken_away_makes_no_storm_and_the_revoke_says_what_it_waits_for() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    let granted = scene.given(5 * HOUR).await;
    scene.world.okta.faults().always("remove_member", insufficient_scope());
    let calls = scene.world.okta.calls().len();
    let task = scene.world.apono.revoke(&granted.grant_id);
    assert_eq!(scene.result_after(&task, 20 * MINUTE).await, None, "access stands, so nothing else is told");
    assert!(scene.is_member());
    let attempts = scene.world.okta.call_count("remove_member");
    let calls = scene.world.okta.calls().len() - calls;
    assert!((5..40).contains(&attempts) && calls < 150, "{attempts} attempts, {calls} calls in 20 minutes");
    let stuck = connector.facts().organizations[0].removal_stuck.clone();
    assert!(stuck.is_some_and(|reason| reason.contains("insufficient_scope")));
    scene.world.okta.faults().clear();
    assert_eq!(scene.world.result(&task).await["code"], "revoked");
    assert_eq!(connector.facts().organizations[0].removal_stuck, None);
    scene.all_is_over(connector).await;
}

/// Okta has answered that both are there; one part of it has not heard of a new one yet.
#[tokio::test(start_paused = true)]
async fn not_found_once_for_what_was_just_seen_fails_no_grant() {
    let mut scene = Scene::quiet();
    let connector = scene.world.start().await;
    for operation in ["get_user", "get_group", "list_user_groups", "add_member"] {
        scene.world.okta.faults().once(operation, not_found());
        scene.given_and_revoked(operation).await;
        assert!(scene.world.okta.faults().fired(operation) > 0);
    }
    scene.all_is_over(connector).await;
}

/// The same answer, and it is so: the group was deleted after the last look.
#[tokio::test(start_paused = true)]
async fn not_found_for_what_is_gone_is_told_and_not_tried_for_ever() {
    let mut scene = Scene::quiet();
    let other = scene.another_group("other");
    // Ada is shown in a group: that says nothing about this one.
    scene.world.okta.add_member(&other, &scene.user);
    let connector = scene.world.start().await;
    scene.world.okta.faults().once("add_member", Fault::Disconnect);
    let granted = scene.grant(HOUR);
    let okta = scene.world.okta.clone();
    scene.world.until("the first try", |_| (okta.faults().fired("add_member") == 1).then_some(())).await;
    scene.world.okta.delete_group(&scene.group);
    assert_eq!(scene.world.result(&granted.task_id).await["code"], "group_not_found");
    assert!(scene.world.okta.call_count("add_member") < 5);
    connector.stop().await;
}
