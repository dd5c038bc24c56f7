//! What befalls a fleet, and what holds all the same.

use std::time::Duration;

use apono_connector::clock;
use nix::sys::signal::Signal;
use simulator::fault::Fault;

use super::daemons::Fleet;
use super::limits;
use super::postgres::{Cluster, free_port, shared};
use super::world::{INTEGRATION, in_time};

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
    println!("{}", fleet.lateness());
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
    fleet.keep_giving(30, 20, Fleet::kill_one_after_the_other).await;
    fleet.until_over().await;
    println!("{}", fleet.lateness());
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
    let refused = fleet.grant(Duration::from_mins(1));
    assert_eq!(fleet.world.result(&refused).await["code"], "refused_degraded");
    let life = fleet.promised.lives.pop().unwrap();
    assert_eq!(life.task, refused);
    fleet.until_over().await;
    println!("{}", fleet.lateness());
    cluster.start_again();
    for host in 0..3 {
        let back = |line: &serde_json::Value| line["event"] == "fleet_back";
        fleet.daemon(host).until_logged("that the database is back", back).await;
    }
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}

/// Every connection is cut each second, and the server is restarted twice.
#[tokio::test]
async fn access_ends_while_connections_are_cut_and_the_database_restarts() {
    let cluster = Cluster::start();
    let base = cluster.new_database().await;
    let mut fleet = Fleet::new(&base, 50, 20);
    for host in 0..3 {
        fleet.start(host).await;
    }
    let cut = async |_: &mut Fleet, second: usize| match second {
        4 | 8 => cluster.restart(),
        _ => {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'apono-connector'";
            cluster.admin("postgres").await.batch_execute(sql).await.unwrap();
        }
    };
    fleet.keep_giving(12, 10, cut).await;
    fleet.until_over().await;
    println!("{}", fleet.lateness());
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}

/// The database stands still: connections stay, and nothing is answered.
#[tokio::test]
async fn access_ends_while_the_database_is_silent() {
    let cluster = Cluster::start();
    let base = cluster.new_database().await;
    let mut fleet = Fleet::new(&base, 12, 4);
    for host in 0..3 {
        fleet.start(host).await;
    }
    let tasks: Vec<_> = (0..12).map(|_| fleet.grant(Duration::from_secs(6))).collect();
    for task in tasks {
        fleet.world.result(&task).await;
    }
    cluster.freeze();
    fleet.until_ended().await;
    println!("{}", fleet.lateness());
    cluster.thaw();
    fleet.until_over().await;
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}

/// The database moves to the other address that the daemons know.
#[tokio::test]
async fn a_database_that_has_moved_is_found() {
    let mut cluster = Cluster::start();
    let base = cluster.new_database().await;
    let other = free_port();
    let both = base.url.replacen(
        &format!("127.0.0.1:{}", cluster.port()),
        &format!("127.0.0.1:{},127.0.0.1:{other}", cluster.port()),
        1,
    );
    let mut fleet = Fleet::at(&both, &base, 50, 20);
    for host in 0..3 {
        fleet.start(host).await;
    }
    fleet.keep_giving(3, 10, async |_: &mut Fleet, _| {}).await;
    cluster.move_to(other);
    fleet.keep_giving(6, 10, async |_: &mut Fleet, _| {}).await;
    // That a grant is given proves that it was found.
    in_time("the database is found where it is now", async {
        loop {
            let task = fleet.grant(Duration::from_secs(3));
            if fleet.world.result(&task).await["code"] != "refused_degraded" {
                break;
            }
        }
    })
    .await;
    fleet.until_over().await;
    println!("{}", fleet.lateness());
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}

/// The tables of the next version, which lets this one read: two versions side by side.
#[tokio::test]
async fn a_newer_version_may_have_added_to_the_tables() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(&base, 12, 4);
    fleet.start(0).await;
    let admin = shared().admin(&base.name).await;
    admin
        .batch_execute(
            "ALTER TABLE apono_connector.entries ADD COLUMN more text;
             ALTER TABLE apono_connector.duties ADD COLUMN more text DEFAULT 'x' NOT NULL;
             CREATE TABLE apono_connector.more (one int);
             INSERT INTO apono_connector.formats (format, applied_at, oldest_reader) VALUES (99, now(), 1)",
        )
        .await
        .unwrap();
    fleet.start(1).await;
    fleet.keep_giving(3, 4, async |_: &mut Fleet, _| {}).await;
    fleet.until_over().await;
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}

/// A standby that lagged behind takes over, while ends wait to be written: what it lacks is known to the daemons alone.
#[tokio::test]
async fn access_ends_though_the_database_comes_back_with_less() {
    let cluster = Cluster::start();
    let base = cluster.new_database().await;
    let mut fleet = Fleet::new(&base, 12, 4);
    for host in 0..2 {
        fleet.start(host).await;
    }
    let mut tasks: Vec<_> = (0..12).map(|_| fleet.grant(Duration::from_secs(6))).collect();
    tasks.extend((0..12).map(|_| fleet.grant(Duration::from_secs(16))));
    for task in tasks {
        fleet.world.result(&task).await;
    }
    let admin = async |sql: String| cluster.admin(&base.name).await.batch_execute(&sql).await.unwrap();
    admin(format!("ALTER ROLE {} NOLOGIN", base.name)).await;
    cluster.kill();
    let (group, user) = (fleet.promised.lives[1].group.clone(), fleet.promised.lives[1].user.clone());
    if !fleet.promised.standing.contains(&(group.clone(), user.clone())) {
        fleet.world.until_member(&group, &user, false).await;
    }
    cluster.start_again();
    admin(
        "DELETE FROM apono_connector.entries WHERE seq > 8; UPDATE apono_connector.head SET seq = 8"
            .to_owned(),
    )
    .await;
    admin(format!("ALTER ROLE {} LOGIN", base.name)).await;
    fleet.until_ended().await;
    println!("{}", fleet.lateness());
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_fleet_shows_who_is_there_and_who_owns_what() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(&base, 2, 2);
    for host in 0..2 {
        fleet.start(host).await;
    }
    let two = |document: &serde_json::Value| {
        let daemons = document["facts"]["fleet"]["daemons"].as_array().map_or(0, Vec::len);
        let owner = &document["facts"]["organizations"][0]["owner"];
        daemons == 2 && !owner.is_null()
    };
    let mut owners = 0;
    for host in 0..2 {
        let status = fleet.until_status(host, two).await;
        let owner = &status["facts"]["organizations"][0]["owner"];
        assert_eq!(owner["lives"], true, "{owner}");
        let is_this = owner["is_this"] == true;
        owners += usize::from(is_this);
        let (_, metrics) = fleet.daemon(host).ask("/metrics").await;
        let of = |name: &str, value: String| {
            format!("apono_connector_fleet_{name}{{integration=\"{INTEGRATION}\"}} {value}")
        };
        let lines = [
            "apono_connector_fleet_daemons 2".to_owned(),
            "apono_connector_fleet_database_up 1".to_owned(),
            of("owner", u8::from(is_this).to_string()),
            of("owner_epoch", owner["epoch"].to_string()),
        ];
        for line in lines {
            assert!(metrics.lines().any(|found| found == line), "{line} is not in {metrics}");
        }
        let screen = fleet.command(host, &["status"]).await;
        assert!(screen.contains("daemons that share the database"), "{screen}");
        assert_eq!(screen.matches("this one").count(), 1, "{screen}");
    }
    assert_eq!(owners, 1);
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}

/// A daemon is stopped while Okta still has its addition in hand; the others give and end the grant; then the addition comes
/// to be.
#[tokio::test]
async fn an_addition_that_comes_to_be_after_the_end_is_taken_back() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(&base, 1, 2);
    fleet.start(0).await;
    fleet.world.okta.faults().once("add_member", Fault::Delay(Duration::from_secs(20)));
    // The first is of the group in which the user stands: nothing is added for it.
    fleet.grant(Duration::from_secs(8));
    fleet.grant(Duration::from_secs(8));
    let second = fleet.groups[1].clone();
    fleet.until_asked("add_member").await;
    fleet.signal(0, Signal::SIGSTOP);
    fleet.start(1).await;
    let user = fleet.users[0].0.clone();
    fleet.world.until_member(&second, &user, true).await;
    fleet.world.until_member(&second, &user, false).await;
    // The first daemon's addition.
    fleet.world.until_member(&second, &user, true).await;
    fleet.signal(0, Signal::SIGCONT);
    let late = |line: &serde_json::Value| line["event"] == "membership_late";
    fleet.daemon(0).until_logged("that the addition was late", late).await;
    fleet.until_over().await;
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}

/// Between the change of the password in the database and the change of the file: service managers start it again.
#[tokio::test]
async fn a_daemon_that_is_not_let_in_is_started_again() {
    let base = shared().new_database().await;
    let mut fleet = Fleet::new(&base, 1, 1);
    let password = std::fs::read_to_string(&base.password_file).unwrap();
    base.mount_password("another-placeholder");
    let ended = fleet.outcome(0, &["run"]).await;
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(75), "{told}");
    assert!(told.contains("password authentication failed"), "{told}");
    base.mount_password(&password);
    fleet.start(0).await;
}

/// The database is set back, as by a standby that lagged behind; or a newer version has written what this one does not
/// understand. What each daemon knows ends on time, and nothing begins.
#[tokio::test]
async fn access_ends_though_the_log_cannot_be_followed() {
    for what in [
        "DELETE FROM apono_connector.entries WHERE seq > (SELECT seq / 2 FROM apono_connector.head);
         UPDATE apono_connector.head SET seq = seq / 2",
        "INSERT INTO apono_connector.entries (seq, subject, at, record, daemon)
             SELECT seq + 1, 'grant:x', '2026-01-01T00:00:00Z', '{\"of\":\"later\"}', 'x' FROM apono_connector.head;
         INSERT INTO apono_connector.subjects VALUES ('grant:x', true);
         UPDATE apono_connector.head SET seq = seq + 1",
    ] {
        let base = shared().new_database().await;
        let mut fleet = Fleet::new(&base, 12, 4);
        for host in 0..2 {
            fleet.start(host).await;
        }
        let tasks: Vec<_> = (0..12).map(|_| fleet.grant(Duration::from_secs(8))).collect();
        for task in tasks {
            fleet.world.result(&task).await;
        }
        let admin = shared().admin(&base.name).await;
        let written = "SELECT seq FROM apono_connector.head";
        let written: i64 = admin.query_one(written, &[]).await.unwrap().get(0);
        // Who has not seen what is lost has lost nothing.
        for host in 0..2 {
            let knows = |status: &serde_json::Value| {
                status["facts"]["fleet"]["entries_known"].as_i64() >= Some(written)
            };
            fleet.until_status(host, knows).await;
        }
        admin.batch_execute(what).await.unwrap();
        fleet.until_ended().await;
        println!("{}", fleet.lateness());
        for host in 0..2 {
            let (status, text) = fleet.daemon(host).ask("/readyz?verbose").await;
            assert_eq!(status, 503, "{text}");
        }
        let refused = fleet.grant(Duration::from_mins(1));
        assert_eq!(fleet.world.result(&refused).await["code"], "refused_degraded");
        fleet.promised.lives.pop();
        assert_eq!(fleet.judge().await, Vec::<String>::new());
    }
}

/// Over several of Okta's windows, with the directory read all the time, and as many grants as the windows have room for.
#[tokio::test]
async fn four_daemons_within_the_limits_of_a_small_organization_are_never_refused() {
    let base = shared().new_database().await;
    let mut fleet = limits::fleet(&base).await;
    let mut tasks = Vec::new();
    while limits::given(&fleet, &tasks) < 6 {
        let task = fleet.grant(Duration::from_secs(12));
        fleet.world.result(&task).await;
        fleet.until_over().await;
        tasks.push(task);
    }
    limits::until_read(&mut fleet, 2).await;
    limits::until_divided(&mut fleet).await;
    let asked = limits::asked(&mut fleet).await;
    println!("{}\n{}", fleet.lateness(), asked.table());
    assert_eq!(asked.refused(), 0, "{}", asked.table());
    assert!(asked.daemons.iter().all(|requests| !requests.is_empty()), "{}", asked.table());
    assert_eq!(fleet.judge().await, Vec::<String>::new());
}
