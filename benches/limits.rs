//! What a first run takes within Okta's rate limits, in virtual time: nothing waits for the wall clock, and what the run
//! computes takes no time, so that what is left is what the limits cost.
//!
//! `cargo bench --bench limits -- --users 100000` takes an organization of that size (one group for 20 users, 10
//! memberships a user) through a first run under the limits that a service app has in a Workforce organization, and once
//! more while another client takes half of every bucket and grants are asked for. For both it prints how long the run
//! took, the least that the connector's share of the limits allows, refused calls, and the slowest grant: a table and one
//! JSON line. Without arguments: 10,000.
//!
//! `cargo bench --bench limits -- --days 7` takes an organization of 1,000 users (or `--users`) through so many days of
//! changes, directory runs and grants, once under those limits and once under those of a free Integrator organization,
//! and prints requests, refused calls and runs.
//!
//! It judges nothing.

#![expect(unreachable_pub, reason = "one binary, no library")]
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark")]

#[path = "../tests/it/crawl.rs"]
mod crawl;
#[path = "../tests/it/steady.rs"]
mod steady;
#[path = "../tests/it/world.rs"]
#[expect(dead_code, reason = "written for tests, which use more of it")]
mod world;

use serde_json::{Value, json};
use simulator::okta::Limits;

use crawl::{Crawl, Scene};
use steady::{Organization, Worked};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let named = |name: &str| {
        arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1))
    };
    if let Some(days) = named("--days") {
        let users = named("--users").map_or(1000, |users| users.parse().unwrap());
        return work(days.parse().unwrap(), users);
    }
    let sizes: Vec<usize> =
        named("--users").map_or("10000", String::as_str).split(',').map(|n| n.parse().unwrap()).collect();
    println!(
        "{:>9} {:>8} {:>8} {:>9} {:>9} {:>7} {:>6} {:>9} {:>9} {:>12}",
        "users",
        "others",
        "requests",
        "minutes",
        "bound",
        "ratio",
        "429s",
        "others'",
        "429s",
        "slowest grant"
    );
    let mut all = Vec::new();
    for users in sizes {
        for others in [0, 50] {
            let limits = Limits::workforce_app();
            let grants = if others > 0 { 30 } else { 0 };
            let scene = Scene { users, groups: users / 20, members_per_group: 200, limits, others, grants };
            let crawl = runtime().block_on(crawl::crawl(scene));
            println!("{}", row(users, others, &crawl));
            all.push(report(users, others, &crawl));
        }
    }
    println!("{}", Value::from(all));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

fn work(days: usize, users: usize) {
    let mut all = Vec::new();
    for (kind, limits) in [("workforce", Limits::workforce_app()), ("integrator", Limits::integrator_app())] {
        let asked = Organization { days, users, groups: users / 20, members_per_group: 20, limits };
        let Worked { requests, throttled, runs, broken_runs, grants, refused_grants, left_over } =
            runtime().block_on(steady::work(asked));
        println!(
            "{kind:>10}, {days} days of {users} users: {requests} requests, {throttled} refused with 429; {runs} directory runs, {broken_runs} broken; {grants} grants, {refused_grants} refused, {left_over} left over"
        );
        all.push(json!({
            "limits": kind, "days": days, "users": users, "requests": requests, "throttled": throttled, "runs": runs,
            "broken_runs": broken_runs, "grants": grants, "refused_grants": refused_grants, "left_over": left_over,
        }));
    }
    println!("{}", Value::from(all));
}

fn ratio(crawl: &Crawl) -> f64 {
    crawl.took.as_secs_f64() / crawl.bound.as_secs_f64()
}

fn row(users: usize, others: u32, crawl: &Crawl) -> String {
    let minutes = |duration: std::time::Duration| duration.as_secs_f64() / 60.0;
    format!(
        "{users:>9} {others:>6} % {:>8} {:>9.2} {:>9.2} {:>7.3} {:>6} {:>9} {:>9} {:>10.2} s",
        crawl.requests,
        minutes(crawl.took),
        minutes(crawl.bound),
        ratio(crawl),
        crawl.throttled,
        crawl.others,
        crawl.others_throttled,
        crawl.slowest_grant.as_secs_f64()
    )
}

fn report(users: usize, others: u32, crawl: &Crawl) -> Value {
    json!({
        "users": users, "others_percent": others, "requests": crawl.requests, "seconds": crawl.took.as_secs_f64(),
        "bound_seconds": crawl.bound.as_secs_f64(), "ratio": ratio(crawl), "throttled": crawl.throttled,
        "others_requests": crawl.others, "others_throttled": crawl.others_throttled,
        "slowest_grant_seconds": crawl.slowest_grant.as_secs_f64(),
    })
}
