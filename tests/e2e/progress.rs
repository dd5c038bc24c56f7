//! What an operator sees of a directory run while it goes on, and of what it could not do.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::pty::openpty;
use serde_json::{Value, json};
use simulator::fault::Fault;
use simulator::okta::{Limits, Seed};

use crate::world::{World, in_time};

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// People and groups, and an Okta that takes its time: there is something to see.
fn slow() -> World {
    let world = World::new();
    world.okta.seed(Seed { users: 50, groups: 30, members_per_group: 3, ..Seed::default() });
    world.okta.configure(|settings| settings.latency = Duration::from_millis(100));
    world
}

#[tokio::test]
async fn status_shows_how_far_a_run_is_while_it_goes_on() {
    let mut world = World::new();
    world.okta.seed(Seed { users: 20, groups: 30, members_per_group: 3, ..Seed::default() });
    // Ten requests a minute are the directory's: the run is held in the middle of the groups.
    world.okta.configure(|settings| settings.limits = Limits::per_minute(18));
    let away = world.run(&["status"]).await;
    assert_eq!(away.status.code(), Some(69), "{}", err(&away));
    assert!(err(&away).contains("does not run"), "{}", err(&away));

    let mut connector = world.start();
    let held = async {
        loop {
            let status = world.run(&["status", "--json"]).await;
            if status.status.code() != Some(0) {
                assert!(connector.is_running(), "{}", connector.text());
                continue;
            }
            let document: Value = serde_json::from_str(&out(&status)).unwrap();
            let organization = document["facts"]["organizations"][0].clone();
            let progress = &organization["directory"]["progress"];
            if progress["phase"] == "members" && progress["done"].as_u64() >= Some(1) {
                break organization;
            }
            assert!(organization["last_directory_run"].is_null(), "the run has ended: {organization}");
        }
    };
    let organization = in_time("the run is held among the groups", held).await;
    let progress = &organization["directory"]["progress"];
    assert_eq!(
        (&progress["total"], &progress["requests_per_minute"]),
        (&json!(30), &json!(10)),
        "{progress}"
    );
    assert!(progress["eta_seconds"].as_u64() > Some(0), "{progress}");
    assert_eq!(organization["directory"]["failing"], json!({ "total": 0, "listed": [] }));
    let (code, served) = connector.ask("/status").await;
    let served: Value = serde_json::from_str(&served).unwrap();
    assert_eq!(code, 200);
    assert_eq!(served["facts"]["organizations"][0]["directory"]["progress"]["phase"], "members");
    let text = out(&world.run(&["status"]).await);
    let line =
        text.lines().find(|line| line.starts_with("  reading members: ")).unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains(" of 30 groups, ") && line.ends_with("(Okta allows 10 requests a minute)"),
        "{line}"
    );
    assert!(connector.stop().await.success());
}

#[tokio::test]
async fn a_pipe_sees_no_bar() {
    let world = slow();
    let shown = world.run(&["sync", "--plan"]).await;
    assert_eq!(shown.status.code(), Some(2), "{}", err(&shown));
    assert!(out(&shown).contains("users to create"));
    for said in ["reading", "waiting", "\u{1b}[", "\r", "━"] {
        assert!(!out(&shown).contains(said) && !err(&shown).contains(said), "{}{}", out(&shown), err(&shown));
    }
}

#[tokio::test]
async fn a_terminal_sees_a_bar_and_json_none() {
    let world = slow();
    for (arguments, sees) in [(vec!["sync", "--plan"], true), (vec!["sync", "--plan", "--json"], false)] {
        let terminal = openpty(None, None).unwrap();
        let end = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let mut command = world.command(&arguments);
        command.env("TERM", "xterm").stdout(end(&terminal.slave)).stderr(end(&terminal.slave));
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        drop((command, terminal.slave));
        let mut screen = File::from(terminal.master);
        // Reading from a terminal that nobody has open any more is an error.
        let reading = tokio::task::spawn_blocking(move || {
            let (mut seen, mut part) = (Vec::new(), [0; 4096]);
            while let Ok(read @ 1..) = screen.read(&mut part) {
                seen.extend_from_slice(&part[..read]);
            }
            String::from_utf8_lossy(&seen).into_owned()
        });
        let seen = reading.await.unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(2), "{seen}");
        assert_eq!(seen.contains("reading members: "), sees, "{seen}");
        assert_eq!(seen.contains("of 30 groups"), sees, "{seen}");
        assert!(!seen.contains('░'), "no bar is drawn in another style: {seen}");
        assert!(seen.contains("create_user") || seen.contains("users to create"), "{seen}");
    }
}

#[tokio::test]
async fn a_run_names_what_it_could_not_do_and_counts_the_runs() {
    let (world, ada, _) = World::with_ada();
    let file = world.path("plan.json").display().to_string();
    let shown = world.run(&["sync", "--plan", "--out", &file]).await;
    assert_eq!(shown.status.code(), Some(2), "{}", err(&shown));
    assert!(!out(&shown).contains("fail"), "{}", out(&shown));

    world.apono.faults().always("scim_create_user", Fault::status(400));
    let first = world.run(&["sync", "--apply", &file]).await;
    assert_eq!(first.status.code(), Some(69), "what failed is not done: {}", out(&first));
    let named = format!("{ada} (create user), in one run, since ");
    assert!(out(&first).contains("1 object fails") && out(&first).contains(&named), "{}", out(&first));
    assert!(out(&first).contains("cannot create the user: "), "with its reason: {}", out(&first));

    let shown = world.run(&["sync", "--plan", "--out", &file]).await;
    assert!(out(&shown).contains(&named), "{}", out(&shown));
    let second = world.run(&["sync", "--apply", &file, "--json"]).await;
    let run: Value = serde_json::from_str(&out(&second)).unwrap();
    let failing = &run["failing"];
    assert_eq!((&failing["total"], &failing["listed"][0]["runs"]), (&json!(1), &json!(2)), "{run}");
    assert_eq!(failing["listed"][0]["okta_id"], json!(ada));

    world.apono.faults().clear();
    let shown = world.run(&["sync", "--plan", "--out", &file]).await;
    assert_eq!(shown.status.code(), Some(2), "{}", err(&shown));
    let third = world.run(&["sync", "--apply", &file]).await;
    assert_eq!(third.status.code(), Some(0), "{}", out(&third));
    assert!(!out(&third).contains("fail"), "{}", out(&third));
}
