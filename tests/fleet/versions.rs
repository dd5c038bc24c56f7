//! Two versions in one fleet: this one, and the one of `tests/fleet/previous`, which has to work beside it.
//!
//! `tests/fleet/previous.sh` builds that one's program. Without it nothing here can run, so `cargo test` passes these tests
//! over and says so; `cargo test --test fleet versions -- --ignored` runs them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apono_connector::database::Database;
use simulator::okta::NewUser;

use super::daemons::Fleet;
use super::directory::is_active;
use super::postgres::{Base, shared};
use super::world::{LIMIT, World};

/// Seconds between two daemons of an upgrade, at least.
const STEP: usize = 4;

/// The program of the version before this one.
fn previous() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/previous");
    let program = folder.join(include_str!("previous").trim_end()).join("target/debug/apono-connector");
    assert!(program.exists(), "{} is missing: run tests/fleet/previous.sh first", program.display());
    program
}

#[tokio::test]
#[ignore = "needs what tests/fleet/previous.sh builds"]
async fn a_new_version_joins_a_fleet_of_the_former_and_each_ends_what_the_other_gave() {
    println!("{}", side_by_side(&previous(), World::program()).await);
}

#[tokio::test]
#[ignore = "needs what tests/fleet/previous.sh builds"]
async fn the_former_version_joins_a_fleet_of_the_new_and_each_ends_what_the_other_gave() {
    println!("{}", side_by_side(World::program(), &previous()).await);
}

/// Each is killed with grants that it alone has given; then both work, and one after the other is killed. In words, how it
/// went.
async fn side_by_side(first: &Path, second: &Path) -> String {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(&base, 50, 20);
    fleet.start_program(first, 0).await;
    give(&mut fleet).await;
    fleet.start_program(second, 1).await;
    fleet.kill(0).await;
    fleet.until_over().await;
    assert!(fleet.is_over(), "the second has not ended what the first gave: {}", fleet.lateness());

    give(&mut fleet).await;
    fleet.start_program(first, 0).await;
    fleet.kill(1).await;
    fleet.until_over().await;
    assert!(fleet.is_over(), "the first has not ended what the second gave: {}", fleet.lateness());

    fleet.start_program(second, 1).await;
    let kill = async |fleet: &mut Fleet, n: usize| match n {
        3 => fleet.kill(0).await,
        7 => fleet.start_program(first, 0).await,
        11 => fleet.kill(1).await,
        15 => fleet.start_program(second, 1).await,
        _ => {}
    };
    fleet.keep_giving(18, 10, kill).await;
    fleet.until_over().await;
    assert_eq!(format(&base).await, newest_format().await);
    let lateness = fleet.lateness();
    assert_eq!(fleet.judge().await, Vec::<String>::new());
    lateness
}

/// Grants that outlast what befalls whoever gave them.
async fn give(fleet: &mut Fleet) {
    let tasks: Vec<_> = (0..12).map(|_| fleet.grant(Duration::from_secs(12))).collect();
    for task in tasks {
        let result = fleet.world.result(&task).await;
        assert_eq!(result["status"], "Success", "{result}");
    }
}

/// The format of the tables.
async fn format(base: &Base) -> i32 {
    Database::new(&base.settings()).unwrap().format(LIMIT).await.unwrap()
}

/// The one that this version brings tables to.
async fn newest_format() -> i32 {
    let base = shared().new_database().await;
    Database::new(&base.settings()).unwrap().migrate().await.unwrap();
    format(&base).await
}

/// As docs/fleet.md describes an upgrade, and back, with grants and a directory under way: in each step somebody comes, and
/// somebody leaves whom a former owner of the directory has created.
#[tokio::test]
#[ignore = "needs what tests/fleet/previous.sh builds"]
async fn a_fleet_is_upgraded_one_daemon_after_the_other_and_goes_back() {
    let (this, previous) = (World::program(), &previous());
    let base = shared().new_database().await;
    let mut fleet = Fleet::with_a_directory(&base, 50, 20);
    let person = |n: usize| NewUser::active(&format!("person{n}@example.com"), "Person", "Number");
    let leaving: Vec<_> = (0..6).map(|n| fleet.world.okta.add_user(person(n))).collect();
    for host in 0..3 {
        fleet.start_program(previous, host).await;
    }
    until_at_apono(&fleet, |world| leaving.iter().all(|user| is_active(world, user) == Some(true))).await;
    let mut owners = vec![owner(&base).await];

    let replace = async |fleet: &mut Fleet, n: usize| {
        if !n.is_multiple_of(STEP) {
            return;
        }
        let step = n / STEP;
        let (host, program) = (step % 3, if step < 3 { this } else { previous });
        fleet.stop(host).await;
        fleet.start_program(program, host).await;
        fleet.until_status(host, |status| status["ready"] == true).await;
        let comes = fleet.world.okta.add_user(person(10 + step));
        fleet.world.okta.set_status(&leaving[step], "DEPROVISIONED");
        until_at_apono(fleet, |world| {
            is_active(world, &comes) == Some(true) && is_active(world, &leaving[step]) == Some(false)
        })
        .await;
        if host == 2 {
            owners.push(owner(&base).await);
        }
    };
    fleet.keep_giving(6 * STEP, 10, replace).await;
    fleet.until_over().await;
    println!("{}; owners of the directory: {owners:?}", fleet.lateness());
    let [before, upgraded, back] = &owners[..] else { panic!("{owners:?}") };
    assert!(before.1 < upgraded.1 && upgraded.1 < back.1, "{owners:?}");
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}

async fn until_at_apono(fleet: &Fleet, holds: impl Fn(&World) -> bool) {
    let told = fleet.world.apono.wait_until(|_| holds(&fleet.world));
    tokio::time::timeout(LIMIT, told).await.expect("the directory is carried on");
}

/// The daemon that owns the organization, and the epoch.
async fn owner(base: &Base) -> (String, i64) {
    let admin = shared().admin(&base.name).await;
    let sql = "SELECT daemon, epoch FROM apono_connector.organizations";
    let row = admin.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1))
}
