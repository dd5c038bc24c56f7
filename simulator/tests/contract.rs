//! The Apono simulator and `docs/connector-api.yaml` say the same: what one accepts the other describes, what one
//! refuses the other forbids, and the document's own examples obey its schemas.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]

#[path = "contract/checker.rs"]
mod checker;

use std::collections::BTreeSet;

use bytes::Bytes;
use checker::Contract;
use http::Request;
use serde_json::{Value, json};
use simulator::apono::{AponoSimulator, Exchange, Grant, ScimSettings, Settings};
use simulator::clock::SimClock;
use simulator::net::dispatch;

const INTEGRATION: &str = "069cf551-c124-43f6";
const CONNECTOR: &str = "/api/connector/v1/connectors/okta-connector";
const SESSION: &str = "5f0c1c3e-8a53-4c1b-9d43-3a3b9b1f0c11";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
const NOW: &str = "2026-03-01T12:00:00Z";

fn contract() -> Contract {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/connector-api.yaml");
    Contract::parse(&std::fs::read_to_string(path).expect("the document is there"))
}

fn control_plane(scim: ScimSettings) -> AponoSimulator {
    let clock = SimClock::virtual_from(NOW.parse().unwrap());
    AponoSimulator::new(Settings { scim, ..Settings::default() }, clock)
}

async fn call(apono: &AponoSimulator, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let media_type = if path.starts_with("/scim/") { "application/scim+json" } else { "application/json" };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", "Bearer placeholder-connector-token")
        .header("user-agent", "apono-connector/0.1.0")
        .header("content-type", media_type)
        .body(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default())
        .unwrap();
    let response = dispatch(apono.router(), request).await.unwrap();
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default())
}

async fn scim(apono: &AponoSimulator, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    call(apono, method, &format!("/scim/v2/{INTEGRATION}{path}"), body).await
}

fn session() -> Value {
    json!({
        "connector_version": "0.1.0", "started_at": NOW, "metadata": {"cloud_provider_metadata": {}},
        "integrations": [{
            "id": INTEGRATION, "type": "okta-group", "status": "ACTIVE", "message": "fine", "last_sync_time": null,
        }],
        "capabilities": ["grant-access", "revoke-access"],
    })
}

fn lease(max_tasks: u64) -> Value {
    json!({"session_id": SESSION, "max_tasks": max_tasks, "wait_sec": 1, "lease_sec": 60})
}

fn result(token: &str, status: &str, code: &str, output: &Value, resources: &[(&str, &str, &str)]) -> Value {
    let resources: Vec<Value> = resources
        .iter()
        .map(|(id, status, code)| {
            json!({"source_id": id, "status": status, "code": code, "message": "", "okta_request_ids": ["r"]})
        })
        .collect();
    json!({
        "lease_token": token, "status": status, "code": code, "message": "Done.", "finished_at": NOW,
        "output": output, "resources": resources,
    })
}

fn user(name: &str) -> Value {
    json!({
        "schemas": [USER, ENTERPRISE], "externalId": format!("00u-{name}"), "userName": name, "active": true,
        "name": {"givenName": "Ada"}, "emails": [{"value": "ada@example.com", "type": "work", "primary": true}],
        ENTERPRISE: {"department": "Analysis", "manager": {"value": "00u2"}},
    })
}

fn group(members: &[&str]) -> Value {
    let members: Vec<Value> = members.iter().map(|id| json!({"value": id, "type": "User"})).collect();
    json!({"schemas": [GROUP], "externalId": "00g1", "displayName": "Engineering", "members": members})
}

fn patch(operations: &Value) -> Value {
    json!({"schemas": [PATCH], "Operations": operations})
}

/// Holds all exchanges against the document, and returns the operations that succeeded at least once.
fn hold(contract: &Contract, exchanges: &[Exchange]) -> BTreeSet<String> {
    for exchange in exchanges {
        if let Err(what) = contract.check(exchange) {
            panic!("{what}\n{exchange:#?}");
        }
    }
    exchanges
        .iter()
        .filter(|exchange| (200..300).contains(&exchange.status))
        .map(|exchange| exchange.operation.clone())
        .collect()
}

async fn drive_connector_api(apono: &AponoSimulator) {
    let session_path = format!("{CONNECTOR}/sessions/{SESSION}");
    call(apono, "PUT", &session_path, Some(session())).await;
    let elsewhere = format!("/api/connector/v1/connectors/none/sessions/{SESSION}");
    assert_eq!(call(apono, "PUT", &elsewhere, Some(session())).await.0, 404);
    let leases = format!("{CONNECTOR}/task-leases");
    call(apono, "POST", &leases, Some(lease(16))).await;

    let mut grant = Grant::new(INTEGRATION, "ada@example.com", &["00g1", "00g2"])
        .until("2026-03-01T16:00:00Z".parse().unwrap());
    grant.request = Some(json!({"id": "1", "friendly_id": "AR-1", "approvers": ["grace@example.com"]}));
    let given = apono.grant(grant);
    apono.grant(Grant::new(INTEGRATION, "bob@example.com", &["00g1"]));
    let grants = format!("/api/connector/v1/integrations/{INTEGRATION}/grants?status=active");
    let (_, page) = call(apono, "GET", &format!("{grants}&limit=1"), None).await;
    let next = page["pagination"]["next_page_token"].as_str().unwrap();
    call(apono, "GET", &format!("{grants}&limit=1&page_token={next}"), None).await;

    apono.revoke(&given.grant_id);
    apono.enqueue("list-resources", INTEGRATION, json!({"resource_type": "okta-group"}));
    apono.enqueue("get-status", INTEGRATION, json!({}));
    apono.enqueue("sync-directory", INTEGRATION, json!({}));
    apono.enqueue("later-idea", INTEGRATION, json!({"any": "thing"}));
    let (_, handed) = call(apono, "POST", &leases, Some(lease(16))).await;
    let tasks = handed["items"].as_array().unwrap();
    let path = |task: usize, what: &str| {
        format!("/api/connector/v1/tasks/{}/{what}", tasks[task]["task_id"].as_str().unwrap())
    };
    let token = |task: usize| tasks[task]["lease"]["token"].as_str().unwrap();
    let (one, two) = (("00g1", "Success", "granted"), ("00g2", "Failure", "refused_policy"));
    let listed = json!({
        "resources": [{"id": "00g1", "name": "Engineering", "type": "okta-group", "metadata": {}}],
        "permissions": [{"id": "member", "name": "Member"}],
    });
    let empty = json!({});
    let results = [
        result(token(0), "Warning", "partial", &empty, &[one, two]),
        result(token(1), "Failure", "user_not_found", &empty, &[("00g1", "Failure", "user_not_found")]),
        result(
            token(2),
            "Success",
            "ok",
            &empty,
            &[("00g1", "Success", "revoked"), ("00g2", "Success", "not_member")],
        ),
        result(token(3), "Success", "ok", &listed, &[]),
        result(token(4), "Success", "ok", &json!({"status": "ok", "message": "fine"}), &[]),
        result(token(5), "Success", "ok", &json!({"users_created": 7}), &[]),
        result(token(6), "Failure", "unsupported_task", &empty, &[]),
    ];
    let extension = json!({"lease_token": token(0), "lease_sec": 60});
    assert_eq!(call(apono, "PUT", &path(0, "lease"), Some(extension.clone())).await.0, 200);
    for (task, result) in results.iter().enumerate() {
        assert_eq!(call(apono, "PUT", &path(task, "result"), Some(result.clone())).await.0, 204);
    }
    assert_eq!(call(apono, "PUT", &path(0, "lease"), Some(extension.clone())).await.0, 409);
    let other = result(token(0), "Success", "ok", &empty, &[one, ("00g2", "Success", "granted")]);
    assert_eq!(call(apono, "PUT", &path(0, "result"), Some(other)).await.0, 409);
    let none = "/api/connector/v1/tasks/tsk_none";
    assert_eq!(call(apono, "PUT", &format!("{none}/lease"), Some(extension)).await.0, 404);
    assert_eq!(call(apono, "PUT", &format!("{none}/result"), Some(results[0].clone())).await.0, 404);
    assert_eq!(call(apono, "DELETE", &session_path, None).await.0, 204);
    apono.set_token("another");
    assert_eq!(call(apono, "GET", &grants, None).await.0, 401);
    assert_eq!(scim(apono, "GET", "/Users", None).await.0, 401);
    apono.set_token("placeholder-connector-token");
}

async fn drive_scim(apono: &AponoSimulator) {
    for path in ["/ServiceProviderConfig", "/ResourceTypes", "/Schemas"] {
        assert_eq!(scim(apono, "GET", path, None).await.0, 200);
    }
    let (_, ada) = scim(apono, "POST", "/Users", Some(user("ada"))).await;
    let (_, bob) = scim(apono, "POST", "/Users", Some(user("bob"))).await;
    let (ada, bob) = (ada["id"].as_str().unwrap(), bob["id"].as_str().unwrap());
    assert_eq!(scim(apono, "POST", "/Users", Some(user("ADA"))).await.0, 409);
    let (_, made) = scim(apono, "POST", "/Groups", Some(group(&[ada]))).await;
    let made = made["id"].as_str().unwrap();
    let (one, team) = (format!("/Users/{ada}"), format!("/Groups/{made}"));
    for query in
        ["", "?startIndex=2&count=1", "?filter=externalId%20eq%20%2200u-ada%22", "?attributes=id,userName"]
    {
        assert_eq!(scim(apono, "GET", &format!("/Users{query}"), None).await.0, 200);
    }
    for query in ["", "?excludedAttributes=members", "?filter=displayName%20eq%20%22none%22&count=1"] {
        assert_eq!(scim(apono, "GET", &format!("/Groups{query}"), None).await.0, 200);
    }
    assert_eq!(scim(apono, "GET", &one, None).await.0, 200);
    assert_eq!(scim(apono, "GET", &format!("{team}?excludedAttributes=members"), None).await.0, 200);
    assert_eq!(scim(apono, "PUT", &one, Some(user("ada"))).await.0, 200);
    assert_eq!(scim(apono, "PUT", &team, Some(group(&[ada, bob]))).await.0, 200);
    let operations = json!([
        {"op": "replace", "path": "active", "value": false},
        {"op": "replace", "path": "emails[type eq \"work\"].value", "value": "x@example.com"},
        {"op": "remove", "path": format!("{ENTERPRISE}:department")},
        {"op": "replace", "value": {"displayName": "Ada", "name": {"givenName": "A"}}},
    ]);
    // Whether these succeed depends on the provider's abilities; the answers are described either way.
    scim(apono, "PATCH", &one, Some(patch(&operations))).await;
    for operation in [
        json!({"op": "remove", "path": format!("members[value eq \"{ada}\"]")}),
        json!({"op": "remove", "path": "members", "value": [{"value": bob}]}),
        json!({"op": "add", "path": "members", "value": [{"value": ada, "type": "User"}]}),
        json!({"op": "add", "path": "members", "value": [{"value": "scu_00009999"}]}),
    ] {
        scim(apono, "PATCH", &team, Some(patch(&json!([operation])))).await;
    }
    assert_eq!(scim(apono, "DELETE", &team, None).await.0, 204);
    assert_eq!(scim(apono, "DELETE", &format!("/Users/{bob}"), None).await.0, 204);
    assert_eq!(scim(apono, "GET", &team, None).await.0, 404);
    assert_eq!(scim(apono, "DELETE", &team, None).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn every_operation_is_as_described() {
    let contract = contract();
    let apono = control_plane(ScimSettings::default());
    drive_connector_api(&apono).await;
    drive_scim(&apono).await;
    let succeeded = hold(&contract, &apono.exchanges());
    assert_eq!(succeeded, contract.operations().into_iter().map(str::to_owned).collect());
    assert_eq!(apono.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn odd_providers_are_described_too() {
    let contract = contract();
    let quirks = ScimSettings::default();
    for settings in [
        ScimSettings { patch: false, ..quirks.clone() },
        ScimSettings { string_booleans: true, string_numbers: true, ..quirks.clone() },
        ScimSettings { user_patch_echo: false, group_patch_echo: true, etag: true, ..quirks.clone() },
        ScimSettings { hides_members: true, conflict_without_scim_type: true, ..quirks.clone() },
        ScimSettings { max_members_per_write: Some(2), omits_member_type: true, ..quirks },
    ] {
        let apono = control_plane(settings);
        drive_scim(&apono).await;
        hold(&contract, &apono.exchanges());
    }
}

/// `body` with the value at `pointer` set, or removed when it is null.
fn but(body: &Value, pointer: &str, value: Value) -> Value {
    let mut body = body.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap();
    match (parent.as_object_mut(), value) {
        (Some(object), Value::Null) => {
            object.remove(name);
        }
        (Some(object), value) => {
            object.insert(name.into(), value);
        }
        (None, value) => *parent.pointer_mut(&format!("/{name}")).unwrap() = value,
    }
    body
}

#[tokio::test(start_paused = true)]
async fn what_the_document_forbids_the_simulator_refuses() {
    let contract = contract();
    let apono = control_plane(ScimSettings::default());
    let task = apono.grant(Grant::new(INTEGRATION, "ada@example.com", &["00g1"])).task_id;
    let (_, handed) = call(&apono, "POST", &format!("{CONNECTOR}/task-leases"), Some(lease(1))).await;
    let token = handed["items"][0]["lease"]["token"].as_str().unwrap().to_owned();
    let done = result(&token, "Success", "granted", &json!({}), &[("00g1", "Success", "granted")]);
    let (session_path, leases) =
        (format!("{CONNECTOR}/sessions/{SESSION}"), format!("{CONNECTOR}/task-leases"));
    let (lease_path, result_path) =
        (format!("/api/connector/v1/tasks/{task}/lease"), format!("/api/connector/v1/tasks/{task}/result"));
    let extension = json!({"lease_token": token, "lease_sec": 60});
    let (users, groups) = (format!("/scim/v2/{INTEGRATION}/Users"), format!("/scim/v2/{INTEGRATION}/Groups"));
    let id = apono.add_scim_user(INTEGRATION, json!({"userName": "x"}));
    let one = format!("{users}/{id}");
    let operation = |operation: Value| patch(&json!([operation]));
    let cases = [
        ("PUT", &session_path, but(&session(), "/started_at", json!("2026-03-01 12:00"))),
        ("PUT", &session_path, but(&session(), "/started_at", json!("2026-03-01T13:00:00+01:00"))),
        ("PUT", &session_path, but(&session(), "/connector_version", json!(" "))),
        ("PUT", &session_path, but(&session(), "/metadata", Value::Null)),
        ("PUT", &session_path, but(&session(), "/capabilities", json!(["fly"]))),
        ("PUT", &session_path, but(&session(), "/integrations/0/status", json!("Active"))),
        ("PUT", &session_path, but(&session(), "/integrations/0/id", Value::Null)),
        ("PUT", &session_path, but(&session(), "/integrations/0/last_sync_time", json!("never"))),
        ("PUT", &session_path, but(&session(), "/token", json!("x"))),
        ("POST", &leases, but(&lease(1), "/session_id", json!("me"))),
        ("POST", &leases, but(&lease(1), "/max_tasks", json!(0))),
        ("POST", &leases, but(&lease(1), "/wait_sec", json!(301))),
        ("POST", &leases, but(&lease(1), "/lease_sec", Value::Null)),
        ("PUT", &lease_path, but(&extension, "/lease_token", json!(""))),
        ("PUT", &lease_path, but(&extension, "/lease_sec", json!(0.5))),
        ("PUT", &lease_path, but(&extension, "/session_id", json!(SESSION))),
        ("PUT", &result_path, but(&done, "/status", json!("Done"))),
        ("PUT", &result_path, but(&done, "/status", json!("Warning"))),
        ("PUT", &result_path, but(&done, "/code", json!("fine"))),
        ("PUT", &result_path, but(&done, "/message", json!(""))),
        ("PUT", &result_path, but(&done, "/finished_at", json!("2026-03-01"))),
        ("PUT", &result_path, but(&done, "/output", json!("none"))),
        ("PUT", &result_path, but(&done, "/resources/0/code", json!("added"))),
        ("PUT", &result_path, but(&done, "/resources/0/status", json!("Failure"))),
        ("PUT", &result_path, but(&done, "/resources/0/source_id", json!(""))),
        ("PUT", &result_path, but(&done, "/resources/0/reason", json!("x"))),
        (
            "PUT",
            &result_path,
            but(&but(&done, "/status", json!("Failure")), "/code", json!("malformed_task")),
        ),
        ("POST", &users, but(&user("y"), "/schemas", json!([ENTERPRISE]))),
        ("POST", &users, but(&user("y"), "/schemas", json!([USER]))),
        ("POST", &users, but(&user("y"), "/userName", json!(" "))),
        ("POST", &users, but(&user("y"), "/active", json!("True"))),
        ("POST", &users, but(&user("y"), "/externalId", json!(7))),
        ("POST", &users, but(&user("y"), "/emails", json!("y@example.com"))),
        ("POST", &users, but(&user("y"), "/password", json!("secret"))),
        ("POST", &groups, but(&group(&[]), "/displayName", Value::Null)),
        ("POST", &groups, but(&group(&[]), "/members", json!([{"type": "User"}]))),
        ("PUT", &one, but(&user("y"), "/userName", Value::Null)),
        ("PUT", &one, but(&user("y"), "/password", json!("secret"))),
        ("PATCH", &one, json!({"Operations": [{"op": "remove", "path": "title"}]})),
        ("PATCH", &one, patch(&json!([]))),
        ("PATCH", &one, operation(json!({"op": "Replace", "path": "title", "value": "x"}))),
        ("PATCH", &one, operation(json!({"op": "replace", "path": "title"}))),
        ("PATCH", &one, operation(json!({"op": "replace", "path": "active", "value": "False"}))),
        ("PATCH", &one, operation(json!({"op": "replace", "value": {"active": "False"}}))),
        ("PATCH", &one, operation(json!({"op": "replace", "value": {"id": "x"}}))),
        ("PATCH", &one, operation(json!({"op": "replace", "path": "id", "value": "x"}))),
        ("PATCH", &one, operation(json!({"op": "replace", "path": "a b", "value": "x"}))),
        ("PATCH", &one, operation(json!({"op": "remove"}))),
    ];
    let before = apono.exchanges().len();
    let count = cases.len();
    for (method, path, body) in cases {
        let (status, _) = call(&apono, method, path, Some(body.clone())).await;
        assert_eq!(status, 400, "{method} {path} {body}");
    }
    for exchange in apono.exchanges().iter().skip(before) {
        let refusal = contract.check_request(exchange);
        assert!(refusal.is_err(), "the document allows {exchange:#?}");
        contract.check_response(exchange).unwrap();
    }
    // A remove without a path is `noTarget`, which a right request can meet as well; the others are all blamed.
    assert_eq!(apono.violations().len(), count - 1, "{:#?}", apono.violations());
}

#[test]
fn every_example_obeys_its_schema() {
    let contract = contract();
    let examples = contract.examples();
    assert!(examples.len() > 80, "{}", examples.len());
    for (place, schema, example) in examples {
        assert!(!example.is_null(), "{place} has no value");
        if let Err(what) = contract.validate(&schema, &example) {
            panic!("{place}: {what}");
        }
    }
}

#[test]
fn every_schema_is_one_and_is_used() {
    let contract = contract();
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/connector-api.yaml")).unwrap();
    for name in contract.schemas() {
        let reference = format!("#/components/schemas/{name}");
        let _ = contract.validate(&json!({"$ref": reference}), &Value::Null);
        // What a task puts into `output` depends on the task, so these two are named in words.
        assert!(text.contains(&format!("'{reference}'")) || name == "GetStatusOutput", "{name} is not used");
    }
}
