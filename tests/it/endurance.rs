//! Long outages and empty buckets, with the figures that the product promises, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use simulator::apono::Grant;
use simulator::fault::Fault;
use simulator::okta::{Limits, NewGroup, NewUser};

use crate::world::{INTEGRATION, World};

/// Numbers without a pattern, the same in each run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// When each membership was removed, by the simulator's clock: path → instant of the first removal.
fn removals(world: &World) -> BTreeMap<String, Timestamp> {
    let mut removals = BTreeMap::new();
    for call in world.okta.calls().into_iter().filter(|call| call.operation == "remove_member") {
        if call.status == 204 {
            removals.entry(call.path).or_insert(call.at);
        }
    }
    removals
}

fn percentile(mut lags: Vec<f64>, share: f64) -> f64 {
    lags.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a small count"
    )]
    let index = ((lags.len() as f64 - 1.0) * share).round() as usize;
    lags[index]
}

const PEERS_OF_APONO: [&str; 5] = ["put_session", "lease_tasks", "put_result", "list_grants", "extend_lease"];
const HOUR: Duration = Duration::from_hours(1);
/// The default limits of the simulated organization.
const GROUPS_A_MINUTE: u32 = 250;
const USERS_A_MINUTE: u32 = 300;

/// A thousand grants of random length; Apono gone for three days, Okta too for the last hour.
#[tokio::test(start_paused = true)]
async fn a_thousand_grants_end_on_time_through_three_days_without_apono() {
    let mut world = World::quiet();
    world.settings = world.settings.replace(
        "[state]",
        "[okta.directory]\nenabled = false\n[okta.access]\nlook_interval = \"24h\"\n[okta.access.policy]\nmax_duration = \"100h\"\n[state]",
    );
    world.okta.configure(|settings| settings.limits = Limits::per_minute(600));
    let groups: Vec<_> = (0..10).map(|n| world.okta.add_group(NewGroup::named(&format!("g{n}")))).collect();
    let users: Vec<_> = (0..100)
        .map(|n| {
            let login = format!("u{n}@example.com");
            (world.okta.add_user(NewUser::active(&login, "U", "X")), login)
        })
        .collect();
    let connector = world.start().await;
    let mut draw = Draw(0x5eed);
    let mut expiries = BTreeMap::new();
    let began = world.clock.now();
    for (user, login) in &users {
        for group in &groups {
            // From an hour, when all are given, to the end of the third day.
            let lasts = HOUR + Duration::from_secs(draw.below(71 * 3600));
            world.apono.grant(Grant::new(INTEGRATION, login, &[group]).until(world.after(lasts)));
            expiries.insert(format!("/api/v1/groups/{group}/users/{user}"), world.after(lasts));
        }
    }
    world.until("all are given", |world| (world.okta.membership_count() == 1000).then_some(())).await;
    assert!(world.since(began).as_secs() < 3600, "within the limits of one organization");
    assert_eq!(world.okta.throttled(), 0);
    world.pass(Duration::from_mins(1)).await;

    for operation in PEERS_OF_APONO {
        world.apono.faults().always(operation, Fault::Disconnect);
    }
    let outage = Duration::try_from(world.since(began)).unwrap();
    world.pass((71 * HOUR).saturating_sub(outage)).await;
    for operation in
        ["remove_member", "list_user_groups", "list_group_rules", "token", "get_user", "get_group"]
    {
        world.okta.faults().always(operation, Fault::status(503));
    }
    let okta_gone = world.clock.now();
    world.pass(HOUR).await;
    world.okta.faults().clear();
    let okta_back = world.clock.now();
    let left = world.okta.membership_count();
    assert!(left > 0, "some ran out in the last hour");
    world.until("all are removed", |world| (world.okta.membership_count() == 0).then_some(())).await;
    let took = world.since(okta_back).as_secs_f64();
    println!("{left} removed {took:.1} s after Okta came back");
    assert!(took <= 5.0, "{took} s");

    let removed = removals(&world);
    assert_eq!(removed.len(), 1000);
    let lag = |(path, at): (&String, &Timestamp)| at.duration_since(expiries[path]).as_secs_f64();
    let punctual: Vec<f64> =
        removed.iter().filter(|(path, _)| expiries[*path] < okta_gone).map(lag).collect();
    assert!(punctual.iter().all(|lag| *lag >= 0.0), "none is removed early");
    let p99 = percentile(punctual, 0.99);
    println!("p99 of the lag while Okta was up: {p99:.2} s");
    assert!(p99 <= 2.0, "{p99} s");
    connector.stop().await;
}

/// A crawl that takes whatever the bucket has left must be felt by nobody.
#[tokio::test(start_paused = true)]
async fn a_crawl_that_empties_the_bucket_delays_no_grant_and_no_removal() {
    let (mut world, seeded) = World::peopled(300, 400);
    world.okta.configure(|settings| settings.limits = Limits::per_minute(100));
    world.settings = world.settings.replace("[state]", "[okta.directory]\ninterval = \"1m\"\n[state]");
    let connector = world.start().await;
    world.pass(Duration::from_mins(3)).await;
    let outsider = |world: &World, group: &str| {
        let user = seeded.users.iter().find(|user| !world.okta.is_member(group, user)).unwrap().clone();
        let login = world.okta.user(&user)["profile"]["login"].as_str().unwrap().to_owned();
        (user, login)
    };
    let (mut waits_to_give, mut waits_to_remove) = (Vec::new(), Vec::new());
    for group in seeded.groups.iter().take(20) {
        let (user, login) = outsider(&world, group);
        let asked = world.clock.elapsed();
        let granted = world.apono.grant(Grant::new(INTEGRATION, &login, &[group]).until(world.after(HOUR)));
        world.until_member(group, &user, true).await;
        waits_to_give.push(world.clock.elapsed().saturating_sub(asked).as_secs_f64());
        world.result(&granted.task_id).await;
        world.pass(Duration::from_secs(7)).await;
        let asked = world.clock.elapsed();
        let task = world.apono.revoke(&granted.grant_id);
        world.until_member(group, &user, false).await;
        waits_to_remove.push(world.clock.elapsed().saturating_sub(asked).as_secs_f64());
        world.result(&task).await;
        world.pass(Duration::from_secs(11)).await;
    }
    let (given, removed) = (percentile(waits_to_give, 1.0), percentile(waits_to_remove, 1.0));
    println!("the longest way from the task to the write: {given:.2} s to give, {removed:.2} s to remove");
    assert_eq!(world.okta.throttled(), 0);
    assert!(given < 1.0, "{given} s");
    assert!(removed < 0.5, "{removed} s");
    connector.stop().await;
}

/// A thousand at once: as fast as the organization's limits allow, and no faster.
/// Short grants come at 25 a second for minutes: their removals keep up, and none that comes again for the same user and
/// group waits for the end of the one before.
#[tokio::test(start_paused = true)]
async fn removals_keep_up_with_many_short_grants() {
    const A_SECOND: usize = 25;
    let mut world = World::quiet();
    world.settings = world.settings.replace("[state]", "[okta.directory]\nenabled = false\n[state]");
    world.okta.configure(|settings| settings.limits = Limits::unlimited());
    let groups: Vec<_> = (0..10).map(|n| world.okta.add_group(NewGroup::named(&format!("g{n}")))).collect();
    let logins: Vec<_> = (0..100).map(|n| format!("u{n}@example.com")).collect();
    for login in &logins {
        world.okta.add_user(NewUser::active(login, "U", "X"));
    }
    let connector = world.start().await;
    let (mut tasks, mut most_due) = (Vec::new(), 0);
    for second in 0..60 {
        for n in second * A_SECOND..(second + 1) * A_SECOND {
            let (login, group) = (&logins[n % logins.len()], &groups[n / logins.len() % groups.len()]);
            let grant = Grant::new(INTEGRATION, login, &[group]).until(world.after(Duration::from_secs(20)));
            tasks.push(world.apono.grant(grant).task_id);
        }
        world.pass(Duration::from_secs(1)).await;
        most_due = most_due.max((connector.facts)().organizations[0].removals_due);
    }
    for task in tasks {
        assert_eq!(world.result(&task).await["code"], "granted");
    }
    // Each is seen to be gone after a little more than a second.
    assert!(most_due <= 3 * A_SECOND, "{most_due} removals were due at once");
    world.pass(Duration::from_secs(25)).await;
    assert_eq!(world.okta.membership_count(), 0);
    println!("1500 grants of 20 s at 25 a second: {most_due} removals were due at the most");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_grants_at_once_are_bounded_by_the_budget_alone() {
    let mut world = World::quiet();
    world.settings = world.settings.replace("[state]", "[okta.directory]\nenabled = false\n[state]");
    let group = world.okta.add_group(NewGroup::named("oncall"));
    let logins: Vec<_> = (0..1000).map(|n| format!("u{n}@example.com")).collect();
    for login in &logins {
        world.okta.add_user(NewUser::active(login, "U", "X"));
    }
    let connector = world.start().await;
    let began = world.clock.now();
    let tasks: Vec<_> = logins
        .iter()
        .map(|login| {
            let grant = Grant::new(INTEGRATION, login, &[&group]).until(world.after(2 * HOUR));
            world.apono.grant(grant).task_id
        })
        .collect();
    for task in &tasks {
        assert_eq!(world.result(task).await["code"], "granted");
    }
    // Of each bucket four fifths are ours, and a part of that is kept for removals.
    let took = world.since(began).as_secs_f64();
    let requests = |operations: &[&str]| -> u64 {
        operations.iter().map(|operation| world.okta.call_count(operation)).sum()
    };
    let minutes = |requests: u64, limit: u32| {
        f64::from(u32::try_from(requests).unwrap()) / (f64::from(limit) * 0.8 * 0.9)
    };
    let groups =
        minutes(requests(&["find_group", "list_groups", "add_member", "list_group_rules"]), GROUPS_A_MINUTE);
    let users = minutes(requests(&["list_user_groups", "list_users"]), USERS_A_MINUTE);
    let bound = groups.max(users) * 60.0;
    println!("1000 grants took {took:.0} s of virtual time; the budget alone asks for {bound:.0} s");
    assert!(took < bound * 1.1, "{took} s");
    assert_eq!(world.okta.throttled(), 0);
    assert_eq!(world.okta.membership_count(), 1000);
    world.until("all are removed", |world| (world.okta.membership_count() == 0).then_some(())).await;
    connector.stop().await;
}

/// One task over as many groups as a task may have, some of which cannot be given.
#[tokio::test(start_paused = true)]
async fn one_task_over_a_thousand_groups_is_answered_group_by_group() {
    let mut world = World::quiet();
    world.settings = world.settings.replace("[state]", "[okta.directory]\nenabled = false\n[state]");
    let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let groups: Vec<_> = (0..1000)
        .map(|n| {
            let kind = if n % 10 == 0 { "OKTA_GROUP" } else { "APP_GROUP" };
            world.okta.add_group(NewGroup::named(&format!("g{n}")).of_kind(kind))
        })
        .collect();
    let connector = world.start().await;
    let all: Vec<_> = groups.iter().map(String::as_str).collect();
    let grant = Grant::new(INTEGRATION, "ada@example.com", &all).until(world.after(HOUR));
    let granted = world.apono.grant(grant);
    let result = world.result(&granted.task_id).await;
    assert_eq!(result["code"], "partial", "{}", result["message"]);
    let codes = |code: &str| {
        result["resources"].as_array().unwrap().iter().filter(|resource| resource["code"] == code).count()
    };
    assert_eq!((codes("granted"), codes("refused_group_type")), (100, 900));
    assert!(groups.iter().enumerate().all(|(n, group)| world.okta.is_member(group, &user) == (n % 10 == 0)));
    world.until("all are removed", |world| (world.okta.membership_count() == 0).then_some(())).await;
    connector.stop().await;
}
