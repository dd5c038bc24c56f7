//! What the log of the real binary tells, and how an operator changes that.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::world::{World, read};

fn out(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn is_detail_of_okta(line: &Value) -> bool {
    line["level"] == "DEBUG" && line["target"].as_str().unwrap().starts_with("apono_connector::http")
}

fn is_level_event(line: &Value, part: &str) -> bool {
    line["event"] == "log_level" && line["message"].as_str().unwrap().contains(part)
}

#[tokio::test]
async fn a_level_is_raised_for_a_while_survives_a_hangup_and_goes_back_by_itself() {
    let (mut world, _, group) = World::with_ada();
    let configuration = read(&world.path("connector.toml")).replace("level = \"debug\"", "level = \"info\"");
    world.write_configuration(&configuration);
    let mut connector = world.start();
    connector.until_logged("the start", |line| line["event"] == "started").await;
    assert_eq!(
        out(&world.run(&["log-level", "show"]).await),
        "configured: info\nnothing is set for a while\n"
    );
    assert!(!connector.text().contains("\"DEBUG\""));

    let set = out(&world.run(&["log-level", "set", "debug", "--for", "1h", "--target", "http"]).await);
    assert!(set.starts_with("configured: info\nhttp: debug until "), "{set}");
    connector
        .until_logged("the change", |line| is_level_event(line, "sets the level of the log of http"))
        .await;
    world.grant(&group, Duration::from_mins(5));
    connector.until_logged("a detail", is_detail_of_okta).await;
    // A hangup keeps it.
    connector.signal(nix::sys::signal::Signal::SIGHUP);
    connector
        .until_logged("the hangup", |line| line["message"].as_str().unwrap().starts_with("SIGHUP"))
        .await;
    assert!(out(&world.run(&["log-level", "show"]).await).contains("http: debug until"));

    let reset = out(&world.run(&["log-level", "reset"]).await);
    assert_eq!(reset, "configured: info\nnothing is set for a while\n");
    connector
        .until_logged("the reset", |line| is_level_event(line, "as it is configured again: user id"))
        .await;

    out(&world.run(&["log-level", "set", "trace", "--for", "1s"]).await);
    connector.until_logged("its end", |line| is_level_event(line, "its time is over")).await;
    assert_eq!(
        out(&world.run(&["log-level", "show"]).await),
        "configured: info\nnothing is set for a while\n"
    );
    assert!(connector.stop().await.success());

    // The trail has who and when.
    let kinds: Vec<_> = read(&world.path("state/audit.jsonl"))
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["unmapped"]["kind"] == "log_level")
        .map(|line| {
            (line["unmapped"]["by"].as_str().unwrap().to_owned(), line["unmapped"]["raised"]["level"].clone())
        })
        .collect();
    let levels: Vec<_> = kinds.iter().map(|(_, level)| level.clone()).collect();
    assert_eq!(levels, [Value::from("debug"), Value::Null, Value::from("trace"), Value::Null]);
    assert!(kinds[0].0.starts_with("user id ") && kinds[3].0 == "its time is over", "{kinds:?}");
    let verified = world.run(&["audit", "verify"]).await;
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test]
async fn what_cannot_be_raised_is_refused_with_what_can() {
    let world = World::new();
    for (arguments, said) in [
        (["set", "louder", "--for", "1m"], "possible values: error, warn, info, debug, trace"),
        (["set", "debug", "--target", "hyper"], "possible values: access"),
        (["set", "debug", "--for", "25h"], "at most 24h"),
    ] {
        let output = world.run(&[&["log-level"], &arguments[..]].concat()).await;
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(64) && text.contains(said), "{text}");
    }
    let nobody = world.run(&["log-level", "show"]).await;
    assert_eq!(nobody.status.code(), Some(69));
}

#[tokio::test]
async fn a_failure_has_its_code_as_a_field() {
    let mut world = World::new();
    std::fs::write(world.path("token"), "not-the-token").unwrap();
    let mut connector = world.start();
    let line = connector.until_logged("a refusal", |line| line["event"] == "apono_refuses").await;
    let code = line["code"].as_str().unwrap();
    assert!(line["message"].as_str().unwrap().contains(&format!("[{code}]")), "{line}");
    let explained = out(&world.run(&["explain", code]).await);
    assert!(explained.contains(code), "{explained}");
    connector.stop().await;
}
