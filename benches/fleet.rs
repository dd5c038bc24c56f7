//! Several daemons on one state: the real binary, a real PostgreSQL, both simulators, in real time.
//!
//! `cargo bench --bench fleet` asks 1, 2 and 4 daemons for 400 grants at once and prints how many a second were given, and
//! ended. `cargo bench --bench fleet -- --kill 180` gives twenty grants a second for so many seconds to three daemons, one of
//! which is killed every ten seconds, and prints how late access ended, and what was broken of the promises.
//!
//! `cargo bench --bench fleet -- --limits 5` has four daemons work for so many minutes within the limits that a service app has
//! in a free Integrator organization, which Okta enforces there and nowhere above: the directory is read in full again and
//! again, and every twelve seconds somebody is given access for half a minute. It prints what was asked and refused of each
//! bucket, how much of the share the fullest window took, and the requests of each daemon.
//!
//! It judges nothing.

#![expect(unreachable_pub, reason = "one binary, no library")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark"
)]

#[path = "../simulator/tests/contract/checker.rs"]
#[expect(dead_code, reason = "written for a test, which uses more of it")]
mod checker;
#[path = "../tests/fleet/daemons.rs"]
#[expect(dead_code, reason = "written for tests, which use more of it")]
mod daemons;
#[path = "../tests/fleet/limits.rs"]
#[expect(dead_code, reason = "written for tests, which use more of it")]
mod limits;
#[path = "../tests/it/oracle.rs"]
#[expect(dead_code, reason = "written for tests, which use more of it")]
mod oracle;
#[path = "../tests/fleet/postgres.rs"]
#[expect(dead_code, reason = "written for tests, which use more of it")]
mod postgres;
#[path = "../tests/e2e/world.rs"]
#[expect(dead_code, reason = "written for tests, which use more of it")]
mod world;

use std::time::{Duration, Instant};

use apono_connector::clock;
use daemons::Fleet;
use postgres::Cluster;
use serde_json::json;

/// Asked for at once.
const GRANTS: usize = 400;
/// Long enough for all of them to be given.
const LASTS: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let named = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        Some(arguments.get(at + 1)?.parse::<usize>().unwrap())
    };
    let cluster = Cluster::start();
    if let Some(seconds) = named("--kill") {
        kill(&cluster, seconds).await;
    } else if let Some(minutes) = named("--limits") {
        limited(&cluster, minutes).await;
    } else {
        for daemons in [1, 2, 4] {
            throughput(&cluster, daemons).await;
        }
    }
}

async fn throughput(cluster: &Cluster, daemons: usize) {
    let base = cluster.new_database().await;
    let mut fleet = Fleet::new(&base, 50, 20);
    for host in 0..daemons {
        fleet.start(host).await;
    }
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
    let began = Instant::now();
    let tasks: Vec<_> = (0..GRANTS).map(|_| fleet.grant(LASTS)).collect();
    for task in &tasks {
        fleet.world.result(task).await;
    }
    let given = began.elapsed().as_secs_f64();
    fleet.until_over().await;
    let lateness = fleet.lateness();
    let broken = fleet.judge().await.len();
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let a_second = GRANTS as f64 / given;
    println!("{daemons} daemons: {a_second:.0} grants a second; {lateness}");
    println!("{}", json!({ "daemons": daemons, "grants": GRANTS, "seconds": given, "broken": broken }));
}

async fn kill(cluster: &Cluster, seconds: usize) {
    let base = cluster.new_database().await;
    let mut fleet = Fleet::new(&base, 50, 20);
    for host in 0..3 {
        fleet.start(host).await;
    }
    fleet.keep_giving(seconds, 20, Fleet::kill_one_after_the_other).await;
    fleet.until_over().await;
    println!("{}", fleet.lateness());
    let broken = fleet.judge().await;
    println!("{}", json!({ "seconds": seconds, "broken": broken }));
}

async fn limited(cluster: &Cluster, minutes: usize) {
    let base = cluster.new_database().await;
    let mut fleet = limits::fleet(&base).await;
    let mut tasks = Vec::new();
    for _ in 0..minutes * 5 {
        tasks.push(fleet.grant(Duration::from_secs(30)));
        clock::sleep(Duration::from_secs(12)).await;
    }
    fleet.until_over().await;
    let (runs, answers) = (limits::runs(&mut fleet), limits::answers(&fleet, &tasks));
    let asked = limits::asked(&mut fleet).await;
    println!("{}\n{}", asked.table(), fleet.lateness());
    let requests: u32 = asked.buckets.values().map(|spent| spent.requests).sum();
    let (refused, broken) = (asked.refused(), fleet.judge().await);
    println!(
        "{}",
        json!({
            "daemons": limits::DAEMONS, "minutes": minutes, "requests": requests, "refused": refused,
            "directory_runs": runs, "grants": tasks.len(), "answers": answers, "broken": broken,
        })
    );
}
