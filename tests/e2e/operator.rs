//! What an operator does with grants on the connector's host.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::world::{World, in_time};

const FIVE_MINUTES: Duration = Duration::from_mins(5);

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The grants that `grants list --json` shows.
async fn listed(world: &World, more: &[&str]) -> Vec<Value> {
    let output = world.run(&[&["grants", "list", "--json"], more].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn grants_are_listed_shown_explained_and_ended_while_the_connector_runs() {
    let (mut world, user, group) = World::with_ada();
    assert_eq!(listed(&world, &[]).await, Vec::<Value>::new(), "there is nothing before the first start");
    assert!(!world.path("state").exists(), "looking makes nothing");

    let connector = world.start();
    let granted = world.grant(&group, FIVE_MINUTES);
    assert_eq!(world.result(&granted.task_id).await["code"], "granted");
    let id = granted.grant_id.as_str();
    let grants = listed(&world, &["--user", "ADA@example.com", "--group", &group]).await;
    assert_eq!(grants.len(), 1);
    assert_eq!(grants[0]["grant_id"], id);
    assert_eq!(grants[0]["user_id"], user);
    assert_eq!(grants[0]["groups"][0]["state"], "member");
    assert_eq!(listed(&world, &["--user", "somebody"]).await, Vec::<Value>::new());
    assert_eq!(listed(&world, &["--due"]).await, Vec::<Value>::new());
    let table = out(&world.run(&["grants", "list"]).await);
    assert!(table.starts_with("GRANT ") && table.contains(id) && table.contains("in 4 min"), "{table}");

    let unknown = world.run(&["grants", "revoke", "grt_none", "--reason", "x"]).await;
    assert_eq!(unknown.status.code(), Some(64), "{}", err(&unknown));
    assert!(err(&unknown).contains("grt_none"));

    let revoked = world.run(&["grants", "revoke", id, "--reason", "left the team"]).await;
    assert_eq!(revoked.status.code(), Some(0), "{}", err(&revoked));
    assert!(out(&revoked).contains("removed"), "{}", out(&revoked));
    assert!(!world.okta.is_member(&group, &user));
    assert_eq!(listed(&world, &[]).await, Vec::<Value>::new());
    let again = world.run(&["grants", "revoke", id, "--reason", "again"]).await;
    assert_eq!(again.status.code(), Some(0), "what is over stays over");

    let story = out(&world.run(&["explain", id]).await);
    let removal = world.okta.calls().into_iter().find(|call| call.operation == "remove_member").unwrap();
    for said in ["accepted by ", "added, and seen", "left the team", "user id ", &removal.request_id] {
        assert!(story.contains(said), "{said} is not in\n{story}");
    }
    assert!(connector.stop().await.success());
    assert!(!world.path("state/state.db.sock").exists());
    let trail = crate::world::read(&world.path("state/audit.jsonl"));
    assert!(trail.contains("left the team"), "who and why is in the audit trail");
    world.check_contract();
}

#[tokio::test]
async fn a_stopped_connectors_journal_is_read_and_not_touched() {
    let (mut world, user, group) = World::with_ada();
    let connector = world.start();
    let granted = world.grant(&group, FIVE_MINUTES);
    assert_eq!(world.result(&granted.task_id).await["code"], "granted");
    connector.kill().await;

    let id = granted.grant_id.as_str();
    let files = || {
        let files = std::fs::read_dir(world.path("state")).unwrap().map(|file| file.unwrap().path());
        let mut files: Vec<_> = files.filter(|file| !file.ends_with("state.db.sock")).collect();
        files.sort();
        files.into_iter().map(|file| (std::fs::read(&file).unwrap(), file)).collect::<Vec<_>>()
    };
    let before = files();
    let grants = listed(&world, &[]).await;
    assert_eq!(grants[0]["groups"][0]["state"], "member");
    let shown = world.run(&["grants", "show", id]).await;
    assert!(err(&shown).contains("does not run"), "{}", err(&shown));
    assert!(out(&shown).contains(id));
    let story = world.run(&["explain", id, "--json"]).await;
    let story: Value = serde_json::from_str(&out(&story)).unwrap();
    let lines = story["lines"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["okta_request_ids"].is_array()), "{story}");
    let salvaged = world.run(&["grants", "list", "--salvage", "--json"]).await;
    assert!(out(&salvaged).contains(id) && err(&salvaged).contains("nothing of this was checked"));
    let revoked = world.run(&["grants", "revoke", id, "--reason", "x"]).await;
    assert_eq!(revoked.status.code(), Some(69), "{}", err(&revoked));
    let unknown = world.run(&["explain", "grt_none"]).await;
    assert_eq!(unknown.status.code(), Some(64));
    assert_eq!(files(), before);

    // The socket that the killed one left behind is in nobody's way.
    let mut connector = world.start();
    let revoked = async {
        loop {
            let revoked = world.run(&["grants", "revoke", id, "--reason", "enough"]).await;
            match revoked.status.code() {
                // Until it has opened its state.
                Some(69) => assert!(connector.is_running(), "{}", connector.text()),
                code => break code,
            }
        }
    };
    assert_eq!(in_time("it has opened its state", revoked).await, Some(0));
    assert!(!world.okta.is_member(&group, &user));
    assert!(connector.stop().await.success());
}
