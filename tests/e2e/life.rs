//! A whole life of the daemon: start, work, health, stop.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::okta::Seed;

use crate::world::{CLIENT, INTEGRATION, World};

#[tokio::test]
async fn everything_that_is_said_to_apono_is_as_the_contract_describes() {
    let (mut world, ada, group) = World::with_ada();
    world.okta.seed(Seed { users: 120, groups: 8, members_per_group: 10, seed: 3, ..Seed::default() });
    let standing = world.okta.add_group(simulator::okta::NewGroup::named("standing"));
    world.okta.add_member(&standing, &ada);
    let mut connector = world.start();

    let granted = world.grant(&group, Duration::from_mins(5));
    assert_eq!(world.result(&granted.task_id).await["code"], "granted");
    let kept = world.grant(&standing, Duration::from_mins(5));
    assert_eq!(world.result(&kept.task_id).await["code"], "already_member");
    let refused = world.grant("00gnone0000000000000", Duration::from_mins(5));
    assert_eq!(world.result(&refused.task_id).await["code"], "group_not_found");
    for (event_type, code) in [
        ("get-status", "ok"),
        ("list-resources", "ok"),
        ("sync-directory", "ok"),
        ("make-coffee", "unsupported_task"),
    ] {
        let params = json!({ "resource_type": "okta-group" });
        let task = world.apono.enqueue(event_type, INTEGRATION, params);
        assert_eq!(world.result(&task).await["code"], code, "{event_type}");
    }
    let revoke = world.apono.revoke(&granted.grant_id);
    assert_eq!(world.result(&revoke).await["code"], "revoked");

    assert_eq!(world.apono.scim_size(INTEGRATION), (121, 10));
    let (status, metrics) = connector.ask("/metrics").await;
    assert_eq!(status, 200);
    for name in [
        "apono_connector_http_requests_total",
        "apono_connector_access_endings_total",
        "apono_connector_ready 1",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    for path in ["/livez", "/readyz", "/startupz", "/healthz", "/status", "/"] {
        let (status, body) = connector.ask(path).await;
        assert_eq!(status, 200, "{path}: {body}");
    }
    assert!(connector.stop().await.success());
    assert_eq!(world.apono.sessions(), Vec::<Value>::new());
    assert_eq!(world.apono.ended_sessions().len(), 1);
    assert_eq!(world.okta.throttled(), 0);
    assert!(world.okta.is_member(&standing, &ada));
    world.check_contract();
}

#[tokio::test]
async fn a_malformed_task_is_answered_and_work_goes_on() {
    let (mut world, user, group) = World::with_ada();
    let connector = world.start();
    let malformed = world.apono.enqueue("grant-access", INTEGRATION, json!({ "grant_id": 7 }));
    let result = world.result(&malformed).await;
    assert_eq!(
        (&result["status"], &result["code"]),
        (&json!("Failure"), &json!("malformed_task")),
        "{result}"
    );
    let granted = world.grant(&group, Duration::from_mins(5));
    assert_eq!(world.result(&granted.task_id).await["code"], "granted");
    assert!(world.okta.is_member(&group, &user));
    assert!(connector.stop().await.success());
}

#[tokio::test]
async fn a_stop_finishes_what_was_begun_and_says_goodbye() {
    let (mut world, user, group) = World::with_ada();
    // The membership shows only after a while, so that the stop comes in the middle of a grant.
    world.okta.configure(|settings| settings.visibility_lag = Duration::from_secs(1));
    let connector = world.start();
    let granted = world.grant(&group, Duration::from_mins(5));
    world.until_member(&group, &user, true).await;
    assert!(connector.stop().await.success());
    let result = world.apono.result(&granted.task_id).expect("reported before the end");
    assert_eq!(result["code"], "granted");
    assert_eq!(world.apono.ended_sessions().len(), 1);
    world.check_contract();
}

#[tokio::test]
async fn what_a_person_must_mend_keeps_it_running_and_unready() {
    let (mut world, ..) = World::with_ada();
    world.okta.deactivate_client(CLIENT);
    let mut connector = world.start();
    connector
        .until_logged("the refusal", |line| {
            line["message"].as_str().unwrap().contains("does not know this client")
        })
        .await;
    let (status, body) = connector.ask("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("Invalid value for 'client_id' parameter"), "{body}");
    assert_eq!(connector.ask("/livez").await.0, 200, "live all the same");
    assert!(connector.is_running());
    assert!(world.okta.call_count("token") <= 2);
    assert!(connector.stop().await.success());
}

#[tokio::test]
async fn a_log_line_can_be_read_alone_and_by_machines() {
    let (mut world, user, group) = World::with_ada();
    let mut connector = world.start();
    let granted = world.grant(&group, Duration::from_mins(5));
    world.result(&granted.task_id).await;
    let line = connector
        .until_logged("the addition", |line| line["message"].as_str().unwrap().starts_with("added "))
        .await;
    assert_eq!(line["message"], format!("added {user} to group {group} for grant {}", granted.grant_id));
    assert_eq!(line["grant.id"], granted.grant_id);
    assert_eq!(line["okta.group_id"], group);
    let request = world.okta.membership_writes()[0].request_id.clone();
    assert_eq!(line["okta.request_id"], request, "correlates with Okta's System Log");
    assert!(connector.stop().await.success());
}

#[tokio::test]
async fn the_demonstration_holds() {
    let world = World::new();
    let output = world.run(&["demo", "--json", "--users", "60", "--groups", "6"]).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = json!({
        "token": true, "users": 60, "groups": 6, "grants": 3, "ended": 2, "ended_while_apono_was_down": 1,
        "standing_kept": 1, "second_run_writes": 0, "leftover_memberships": 0, "throttled": 0, "problems": [],
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&report[name], value, "{name} in {report}");
    }
    assert!(!errors.contains('\u{1b}'), "no colors and no bars in a pipe");
}
