//! The queue: long polls, leases, double deliveries, results.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Bench, INTEGRATION, ONE, TWO, at, result, seconds, session_path, token};
use crate::apono::Grant;
use crate::fault::Fault;

fn granted(bench: &Bench) -> String {
    bench.apono.grant(Grant::new(INTEGRATION, "ada@example.com", &["00g1", "00g2"])).task_id
}

fn both(lease_token: &str) -> Value {
    let resources = [("00g1", "Success", "granted"), ("00g2", "Success", "already_member")];
    result(lease_token, "Success", "ok", &resources)
}

#[expect(clippy::disallowed_methods, reason = "measures virtual time in a test")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test(start_paused = true)]
async fn a_task_is_handed_out_with_its_lease() {
    let bench = Bench::new();
    let id = bench.apono.enqueue("list-resources", INTEGRATION, json!({"resource_type": "okta-group"}));
    assert_eq!(id, "tsk_000001");
    let tasks = bench.lease(ONE, 0).await;
    let expected = json!([{
        "task_id": id, "event_type": "list-resources", "integration_id": INTEGRATION,
        "lease": {"token": "lse_00000001", "expires_at": at(60), "attempt": 1},
        "params": {"resource_type": "okta-group"},
    }]);
    assert_eq!(Value::from(tasks), expected);
    assert!(bench.lease(TWO, 0).await.is_empty());
    assert_eq!((bench.apono.pending_tasks(), bench.apono.queued_tasks()), (1, 0));
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_wakes_when_a_task_arrives() {
    let bench = Bench::new();
    let started = now();
    let (tasks, ()) = tokio::join!(bench.lease(ONE, 25), async {
        tokio::time::sleep(seconds(7)).await;
        granted(&bench);
    });
    assert_eq!(tasks.len(), 1);
    assert_eq!(started.elapsed(), seconds(7));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_empty_when_its_time_is_up() {
    let bench = Bench::new();
    let started = now();
    assert!(bench.lease(ONE, 25).await.is_empty());
    assert!(started.elapsed() >= seconds(25) && started.elapsed() < seconds(26));
    let started = now();
    assert!(bench.lease(ONE, 0).await.is_empty());
    assert!(started.elapsed() < seconds(1));
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_when_its_session_says_goodbye() {
    let bench = Bench::new();
    bench.connect(ONE).await;
    let started = now();
    let (tasks, ()) = tokio::join!(bench.lease(ONE, 25), async {
        tokio::time::sleep(seconds(2)).await;
        bench.call("DELETE", &session_path(ONE), None).await;
    });
    assert!(tasks.is_empty());
    assert_eq!(started.elapsed(), seconds(2));
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn no_more_tasks_than_asked_for() {
    let bench = Bench::new();
    let ids: Vec<String> =
        (0..5).map(|_| bench.apono.enqueue("get-status", INTEGRATION, json!({}))).collect();
    let first = bench.lease_many(ONE, 0, 2).await;
    let rest = bench.lease_many(TWO, 0, 16).await;
    let handed: Vec<&str> = first.iter().chain(&rest).map(|task| task["task_id"].as_str().unwrap()).collect();
    assert_eq!(first.len(), 2);
    assert_eq!(handed, ids);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_runs_out_puts_its_task_back() {
    let bench = Bench::new();
    let id = granted(&bench);
    let first = bench.lease(ONE, 0).await;
    let started = now();
    let second = bench.lease(TWO, 120).await;
    assert_eq!(started.elapsed(), seconds(60));
    assert_eq!(second[0]["lease"]["attempt"], 2);
    assert_eq!(bench.apono.attempts(&id), 2);
    let lost = bench.extend(&id, &token(&first[0])).await;
    assert_eq!((lost.status, lost.body["code"].as_str()), (409, Some("lease_lost")));
    assert_eq!(bench.extend(&id, &token(&second[0])).await.body, json!({"expires_at": at(120)}));
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn an_extended_lease_does_not_run_out() {
    let bench = Bench::new();
    let id = granted(&bench);
    let task = bench.lease(ONE, 0).await.remove(0);
    tokio::time::advance(seconds(50)).await;
    assert_eq!(bench.extend(&id, &token(&task)).await.body, json!({"expires_at": at(110)}));
    tokio::time::advance(seconds(50)).await;
    assert!(bench.lease(TWO, 0).await.is_empty());
    tokio::time::advance(seconds(10)).await;
    assert_eq!(bench.lease(TWO, 0).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ran_out_can_be_taken_up_while_nobody_else_has_the_task() {
    let bench = Bench::new();
    let id = granted(&bench);
    let task = bench.lease(ONE, 0).await.remove(0);
    tokio::time::advance(seconds(100)).await;
    assert_eq!(bench.extend(&id, &token(&task)).await.status, 200);
    assert!(bench.lease(TWO, 0).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_late_result_of_a_lost_lease_still_counts() {
    let bench = Bench::new();
    let id = granted(&bench);
    let first = bench.lease(ONE, 0).await;
    tokio::time::advance(seconds(61)).await;
    let second = bench.lease(TWO, 0).await;
    let mine = both(&token(&first[0]));
    assert_eq!(bench.finish(&id, mine.clone()).await.status, 204);
    let theirs = bench.finish(&id, both(&token(&second[0]))).await;
    assert_eq!((theirs.status, theirs.body["code"].as_str()), (409, Some("task_finished")));
    assert_eq!(bench.apono.result(&id), Some(mine));
    assert_eq!((bench.apono.result_posts(&id), bench.apono.conflicting_posts(&id)), (1, 1));
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn the_same_result_may_be_sent_again() {
    let bench = Bench::new();
    let id = granted(&bench);
    let task = bench.lease(ONE, 0).await.remove(0);
    bench.apono.faults().once("put_result", Fault::DisconnectAfterEffect);
    let body = both(&token(&task));
    let path = format!("/api/connector/v1/tasks/{id}/result");
    assert!(bench.send(Bench::request("PUT", &path, Some(&body))).await.is_none());
    assert_eq!(bench.finish(&id, body).await.status, 204);
    assert_eq!((bench.apono.result_posts(&id), bench.apono.conflicting_posts(&id)), (2, 0));
    tokio::time::advance(seconds(600)).await;
    assert!(bench.lease(TWO, 0).await.is_empty());
    assert_eq!(bench.apono.pending_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_result_ends_when_it_is_stored() {
    let bench = Bench::new();
    let id = granted(&bench);
    let (stored, ()) = tokio::join!(bench.apono.wait_for_result(&id), async {
        let task = bench.lease(ONE, 0).await.remove(0);
        bench.finish(&id, both(&token(&task))).await;
    });
    assert_eq!(stored["code"], "ok");
}

#[tokio::test(start_paused = true)]
async fn a_task_is_redelivered_though_leased_or_finished() {
    let bench = Bench::new();
    let id = granted(&bench);
    let first = bench.lease(ONE, 0).await.remove(0);
    bench.apono.redeliver(&id);
    let second = bench.lease(TWO, 0).await.remove(0);
    assert_eq!(bench.extend(&id, &token(&first)).await.status, 409);
    assert_eq!(bench.extend(&id, &token(&second)).await.status, 200);
    assert_eq!(bench.finish(&id, both(&token(&first))).await.status, 204);
    bench.apono.redeliver(&id);
    let third = bench.lease(ONE, 0).await.remove(0);
    assert_eq!((&third["params"], &third["lease"]["attempt"]), (&first["params"], &json!(3)));
    assert_eq!(bench.finish(&id, both(&token(&third))).await.status, 409);
    tokio::time::advance(seconds(600)).await;
    assert!(bench.lease(ONE, 0).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_task_can_be_with_every_session_at_once() {
    let bench = Bench::new();
    bench.connect(ONE).await;
    bench.connect(TWO).await;
    let id = granted(&bench);
    bench.apono.deliver_to_all(&id);
    let one = bench.lease(ONE, 0).await;
    let two = bench.lease(TWO, 0).await;
    assert_eq!((one.len(), two.len()), (1, 1));
    assert!(bench.lease(ONE, 0).await.is_empty());
    assert_eq!(bench.extend(&id, &token(&one[0])).await.status, 200);
    assert_eq!(bench.extend(&id, &token(&two[0])).await.status, 200);
    bench.apono.deliver_to_all(&id);
    assert!(bench.lease(ONE, 0).await.is_empty() && bench.lease(TWO, 0).await.is_empty());
    bench.apono.deliver_to(&id, TWO);
    assert!(bench.lease(ONE, 0).await.is_empty());
    assert_eq!(bench.lease(TWO, 0).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn raw_tasks_go_out_as_they_are() {
    let bench = Bench::new();
    bench
        .apono
        .enqueue_task(json!({"task_id": "tsk_x", "event_type": "grant-access", "params": {"resources": 7}}));
    bench.apono.enqueue_task(json!({"task_id": "tsk_x", "event_type": "revoke-access"}));
    bench.apono.enqueue_task(json!({"task_id": "tsk_y", "lease": {"token": "mine"}}));
    bench.apono.enqueue_task(json!("not even an object"));
    let tasks = bench.lease(ONE, 0).await;
    assert_eq!(tasks.len(), 4);
    assert_eq!(
        (&tasks[0]["event_type"], &tasks[1]["event_type"]),
        (&json!("grant-access"), &json!("revoke-access"))
    );
    assert_eq!(tasks[2]["lease"], json!({"token": "mine"}));
    assert_eq!(tasks[3], "not even an object");
    let answer = result("mine", "Failure", "malformed_task", &[]);
    assert_eq!(bench.finish("tsk_y", answer).await.status, 204);
    let answer = result(&token(&tasks[0]), "Failure", "malformed_task", &[]);
    assert_eq!(bench.finish("tsk_x", answer).await.status, 204);
    assert_eq!(bench.apono.pending_tasks(), 0);
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn lease_requests_are_read_strictly() {
    let bench = Bench::new();
    let path = "/api/connector/v1/connectors/okta-connector/task-leases";
    let good = json!({"session_id": ONE, "max_tasks": 16, "wait_sec": 0, "lease_sec": 60});
    for (field, value) in [
        ("session_id", json!("one")),
        ("max_tasks", json!(0)),
        ("max_tasks", json!(1.5)),
        ("wait_sec", json!(-1)),
        ("wait_sec", json!("25")),
        ("lease_sec", json!(0)),
        ("integrations", json!([])),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let reply = bench.call("POST", path, Some(body)).await;
        assert_eq!(reply.status, 400);
        assert!(reply.body["message"].as_str().unwrap().starts_with(field), "{}", reply.body);
    }
    assert_eq!(bench.extend("tsk_none", "lse").await.body["code"], "unknown_task");
}

#[tokio::test(start_paused = true)]
async fn a_result_must_agree_with_itself_and_its_task() {
    let bench = Bench::new();
    let id = granted(&bench);
    let task = bench.lease(ONE, 0).await.remove(0);
    let lease_token = token(&task);
    let with = |status, code, resources: &[(&str, &str, &str)]| result(&lease_token, status, code, resources);
    let fine = ("00g2", "Success", "granted");
    let mut extra = both(&lease_token);
    extra["attempt"] = json!(1);
    let mut no_time = both(&lease_token);
    no_time["finished_at"] = json!("now");
    let mut no_status = both(&lease_token);
    no_status["resources"][1]["status"] = json!("SUCCESS");
    let cases = [
        (extra, "attempt"),
        (no_time, "finished_at"),
        (no_status, "resources[1].status"),
        (with("Success", "ok", &[("00g1", "Success", "revoked"), fine]), "resources[0].code"),
        (with("Success", "ok", &[("00g1", "Success", "invented"), fine]), "resources[0].code"),
        (with("Warning", "partial", &[("00g1", "Success", "not_permitted"), fine]), "resources[0].status"),
        (with("Success", "ok", &[("00g9", "Success", "granted"), fine]), "resources[0].source_id"),
        (with("Success", "ok", &[fine, fine]), "resources[1].source_id"),
        (with("Success", "ok", &[fine]), "resources"),
        (with("Success", "ok", &[]), "resources"),
        (with("Success", "partial", &[("00g1", "Failure", "not_permitted"), fine]), "status"),
        (with("Warning", "granted", &[("00g1", "Failure", "not_permitted"), fine]), "code"),
        (with("Success", "malformed_task", &[]), "status"),
    ];
    for (body, field) in cases {
        let reply = bench.finish(&id, body).await;
        assert_eq!(reply.status, 400, "{field}");
        let message = reply.body["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(&format!("{field}:")), "{field}: {message}");
    }
    let forged = bench.finish(&id, both("lse_forged")).await;
    assert_eq!((forged.status, forged.body["code"].as_str()), (409, Some("lease_lost")));
    assert_eq!(bench.finish("tsk_none", both(&lease_token)).await.status, 404);
    assert_eq!(bench.apono.result_posts(&id), 0);
    let partly = with("Warning", "partial", &[("00g1", "Failure", "refused_policy"), fine]);
    assert_eq!(bench.finish(&id, partly).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_removal_cannot_fail() {
    let bench = Bench::new();
    let given = bench.apono.grant(Grant::new(INTEGRATION, "ada@example.com", &["00g1"]));
    let revoke = bench.apono.revoke(&given.grant_id);
    let tasks = bench.lease(ONE, 0).await;
    assert_eq!(tasks[0]["params"], tasks[1]["params"]);
    let lease_token = token(&tasks[1]);
    let failed = result(&lease_token, "Failure", "not_permitted", &[("00g1", "Failure", "not_permitted")]);
    assert_eq!(bench.finish(&revoke, failed).await.status, 400);
    let kept = result(&lease_token, "Success", "kept_standing", &[("00g1", "Success", "kept_standing")]);
    assert_eq!(bench.finish(&revoke, kept).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn an_answer_has_what_was_asked_for() {
    let bench = Bench::new();
    let status = bench.apono.enqueue("get-status", INTEGRATION, json!({}));
    let list = bench.apono.enqueue("list-resources", INTEGRATION, json!({"resource_type": "okta-group"}));
    let tasks = bench.lease(ONE, 0).await;
    let with = |task: usize, output: Value| {
        let mut body = result(&token(&tasks[task]), "Success", "ok", &[]);
        body["output"] = output;
        body
    };
    let group = json!({"id": "00g1", "name": "Engineering", "type": "okta-group", "metadata": {}});
    let permission = json!({"id": "member", "name": "Member"});
    for (id, body, field) in [
        (&status, with(0, json!({})), "output.status"),
        (&status, with(0, json!({"status": "fine"})), "output.status"),
        (&list, with(1, json!({"permissions": []})), "output.resources"),
        (&list, with(1, json!({"resources": [{"id": "00g1"}]})), "output.resources[0].name"),
        (
            &list,
            with(1, json!({"resources": [group], "permissions": [{"id": "member"}]})),
            "output.permissions[0].name",
        ),
    ] {
        let reply = bench.finish(id, body).await;
        assert_eq!(reply.status, 400);
        let message = reply.body["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(&format!("{field}:")), "{field}: {message}");
    }
    let good = with(0, json!({"status": "error", "message": "Okta does not answer."}));
    assert_eq!(bench.finish(&status, good).await.status, 204);
    let good = with(1, json!({"resources": [group], "permissions": [permission]}));
    assert_eq!(bench.finish(&list, good).await.status, 204);
}
