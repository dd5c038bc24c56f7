//! What befalls a fleet, and what holds all the same.

use std::time::Duration;

use apono_connector::clock;
use nix::sys::signal::Signal;

use super::daemons::Fleet;
use super::postgres::{Cluster, shared};

#[tokio::test]
async fn daemons_share_the_work_and_do_it_once() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(&base, 12, 4);
    for host in 0..3 {
        fleet.start(host).await;
    }
    let mut tasks = Vec::new();
    for _ in 0..30 {
        tasks.push(fleet.grant(Duration::from_secs(6)));
    }
    for task in tasks {
        fleet.world.result(&task).await;
    }
    fleet.until_over().await;
    let lags = fleet.lags();
    println!("{} ended, the last {:?} late", lags.len(), lags.last());
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}

/// Three daemons, twenty grants a second, one of them killed every ten seconds.
#[tokio::test]
async fn access_ends_while_one_daemon_after_the_other_is_killed() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(&base, 50, 20);
    for host in 0..3 {
        fleet.start(host).await;
    }
    let seconds: usize =
        std::env::var("FLEET_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(30);
    for second in 0..seconds {
        for n in 0..20 {
            fleet.grant(Duration::from_millis(3000 + 150 * n));
        }
        clock::sleep(Duration::from_secs(1)).await;
        match second % 10 {
            4 => fleet.kill(second / 10 % 3).await,
            8 => fleet.start(second / 10 % 3).await,
            _ => {}
        }
    }
    fleet.until_over().await;
    let lags = fleet.lags();
    let at = |part: usize| lags.get(lags.len() * part / 1000);
    println!(
        "{} ended; late: half {:?}, 99 % {:?}, the last {:?}",
        lags.len(),
        at(500),
        at(990),
        lags.last()
    );
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}

/// A daemon that sleeps through its own takeover wakes up and does no harm.
#[tokio::test]
async fn a_daemon_that_was_paused_finds_out_that_it_was_taken_for_gone() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(&base, 12, 4);
    for host in 0..3 {
        fleet.start(host).await;
    }
    for round in 0..4 {
        let tasks: Vec<_> = (0..12).map(|n| fleet.grant(Duration::from_millis(4000 + 100 * n))).collect();
        let paused = round % 3;
        clock::sleep(Duration::from_millis(150)).await;
        fleet.signal(paused, Signal::SIGSTOP);
        for task in tasks {
            fleet.world.result(&task).await;
        }
        fleet.signal(paused, Signal::SIGCONT);
    }
    fleet.until_over().await;
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}

/// The database goes away with grants live, and comes back.
#[tokio::test]
async fn access_ends_on_time_without_the_database() {
    let cluster = Cluster::start();
    let base = cluster.new_database().await;
    let mut fleet = Fleet::new(&base, 12, 4);
    for host in 0..3 {
        fleet.start(host).await;
    }
    let tasks: Vec<_> = (0..12).map(|_| fleet.grant(Duration::from_secs(8))).collect();
    for task in tasks {
        fleet.world.result(&task).await;
    }
    cluster.kill();
    let refused = fleet.grant(Duration::from_secs(60));
    assert_eq!(fleet.world.result(&refused).await["code"], "refused_degraded");
    let life = fleet.promised.lives.pop().unwrap();
    assert_eq!(life.task, refused);
    fleet.until_over().await;
    println!("{:?}", fleet.lags());
    cluster.start_again();
    for host in 0..3 {
        let back = |line: &serde_json::Value| line["event"] == "fleet_back";
        fleet.daemon(host).until_logged("that the database is back", back).await;
    }
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}
