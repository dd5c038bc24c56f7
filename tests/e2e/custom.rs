//! Apono's published protocol for custom integrations, over real sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use apono_connector::http::transport::{HttpsSettings, HttpsTransport, Request, Transport};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use simulator::apono::Exchange;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::world::{Connector, LIMIT, World, contract, read};

const FIRST: &str = "first-caller-token-4711";
const SECOND: &str = "second-caller-token-0815";

/// A world whose connector listens for calls, and Ada with a group that she is not in.
fn listening(listen: &str) -> (World, String, String) {
    let (world, user, group) = World::with_ada();
    let token = world.path("caller-token");
    fs::write(&token, FIRST).unwrap();
    let table = format!(
        "[custom_integration]\nenabled = true\nlisten = \"{listen}\"\ntoken_file = \"{}\"\n",
        token.display()
    );
    world.write_configuration(&world.configuration(&table));
    (world, user, group)
}

async fn listens(connector: &mut Connector) -> String {
    let name = "custom_integration.listen";
    let line = connector.until_logged("where it listens", |line| line.get(name).is_some()).await;
    line[name].as_str().unwrap().to_owned()
}

fn access(event_type: &str, group: &str) -> Value {
    json!({
        "event_type": event_type,
        "params": {
            "grant_id": "3f2a", "username": "ada@example.com", "resource_type": "okta-group",
            "resources": [group], "permission": "member", "custom_parameters": {}
        }
    })
}

/// One request and its answer, in the form in which exchanges are held against the document.
async fn send(url: &str, method: Method, token: Option<&str>, body: &str) -> Exchange {
    let settings = HttpsSettings::plain(LIMIT);
    let mut request = Request::new(method.clone(), url.parse().unwrap());
    if let Some(token) = token {
        request.headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request.body = Bytes::from(body.to_owned());
    let response = HttpsTransport::new(&settings).unwrap().send(request, LIMIT).await.unwrap();
    exchange(&method, body, response.status.as_u16(), &response.body)
}

fn exchange(method: &Method, request: &str, status: u16, response: &[u8]) -> Exchange {
    let readable = |bytes: &[u8]| {
        let text = || Value::from(String::from_utf8_lossy(bytes).into_owned());
        (!bytes.is_empty()).then(|| serde_json::from_slice(bytes).unwrap_or_else(|_| text()))
    };
    Exchange {
        operation: "custom_integration".to_owned(),
        method: method.to_string(),
        path: "custom_integration".to_owned(),
        query: None,
        user_agent: None,
        if_match: None,
        request_body: readable(request.as_bytes()),
        status,
        response_body: readable(response),
        faulted: false,
        at: World::now(),
    }
}

fn said(exchange: &Exchange) -> (u16, Value) {
    (exchange.status, exchange.response_body.clone().unwrap_or(Value::Null))
}

#[tokio::test]
async fn every_answer_is_as_apono_published_it() {
    let (mut world, user, group) = listening("127.0.0.1:0");
    let mut connector = world.start();
    let url = format!("http://{}/", listens(&mut connector).await);
    let contract = contract();
    let grant = access("grant-access", &group).to_string();

    // What is no call at all; the second half of the document holds for the answers.
    let get = send(&url, Method::GET, Some(FIRST), "").await;
    let not_json = send(&url, Method::POST, Some(FIRST), "{\"event_type\":").await;
    assert_eq!(
        (get.status, said(&not_json)),
        (405, (400, json!({ "error": "the body is not JSON (malformed_task)" })))
    );
    for exchange in [get, not_json] {
        contract.check_response(&exchange).unwrap();
    }

    for token in [None, Some("another"), Some(SECOND), Some("")] {
        let refused = send(&url, Method::POST, token, &grant).await;
        assert_eq!(refused.status, 401, "{refused:?}");
        contract.check(&refused).unwrap();
    }
    assert!(!world.okta.is_member(&group, &user));

    let ok = (200, json!({ "status": "ok" }));
    let ask = async |body: &Value| {
        let exchange = send(&url, Method::POST, Some(FIRST), &body.to_string()).await;
        contract.check(&exchange).unwrap_or_else(|problem| panic!("{problem}\n{exchange:?}"));
        said(&exchange)
    };
    assert_eq!(ask(&access("grant-access", &group)).await, ok);
    assert!(world.okta.is_member(&group, &user));
    assert_eq!(ask(&access("revoke-access", &group)).await, ok);
    assert!(!world.okta.is_member(&group, &user));
    assert_eq!(ask(&access("revoke-access", &group)).await, ok);
    let (status, refused) = ask(&access("grant-access", "00gnone0000000000000")).await;
    assert_eq!(status, 422);
    assert!(refused["error"].as_str().unwrap().ends_with("(group_not_found)"), "{refused}");
    assert_eq!(ask(&json!({ "event_type": "get-status", "params": { "custom_parameters": {} } })).await, ok);
    assert_eq!(ask(&json!({ "event_type": "create-credentials", "params": {} })).await, ok);
    let list = json!({ "event_type": "list-resources", "params": { "resource_type": "okta-group" } });
    let (status, listed) = ask(&list).await;
    assert_eq!((status, &listed["resources"][0]["id"]), (200, &json!(group)));
    assert_eq!(listed["permissions"], json!([{ "id": "member", "name": "Member" }]));

    assert!(!connector.text().contains(FIRST), "the callers' token is in the log");
    assert!(connector.stop().await.success());
    world.check_contract();
}

#[tokio::test]
async fn the_callers_token_is_rotated_by_replacing_its_file() {
    let (mut world, ..) = listening("127.0.0.1:0");
    let mut connector = world.start();
    let url = format!("http://{}/", listens(&mut connector).await);
    let call = json!({ "event_type": "list-resources", "params": {} }).to_string();
    let status = async |token: &str| send(&url, Method::POST, Some(token), &call).await.status;
    assert_eq!((status(FIRST).await, status(SECOND).await), (200, 401));
    let fresh = world.path("caller-token.new");
    fs::write(&fresh, SECOND).unwrap();
    fs::rename(&fresh, world.path("caller-token")).unwrap();
    assert_eq!((status(FIRST).await, status(SECOND).await), (401, 200));
    fs::write(world.path("caller-token"), "").unwrap();
    assert_eq!(status(SECOND).await, 200, "a bad new one does not replace it");
    for token in [FIRST, SECOND] {
        assert!(!connector.text().contains(token));
    }
    assert!(connector.stop().await.success());
}

#[tokio::test]
async fn a_socket_of_our_own_will_do_instead_of_a_port() {
    let (mut world, user, group) = listening("127.0.0.1:0");
    let socket = world.path("custom.sock");
    let text = read(&world.path("connector.toml"));
    // Not the admin listener's, which stands further below.
    let address = format!("unix:{}", socket.display());
    world.write_configuration(&text.replacen(
        "127.0.0.1:0\"\ntoken_file",
        &format!("{address}\"\ntoken_file"),
        1,
    ));
    let mut connector = world.start();
    assert_eq!(listens(&mut connector).await, address);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    connector.kill().await;
    assert!(socket.exists(), "left behind, and in nobody's way");
    let mut connector = world.start();
    listens(&mut connector).await;

    let body = access("grant-access", &group).to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: connector\r\nauthorization: Bearer {FIRST}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with(r#"{"status":"ok"}"#), "{answer}");
    assert!(world.okta.is_member(&group, &user));
    assert!(connector.stop().await.success());
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_listener_that_others_could_reach_is_refused_with_its_cure() {
    let (world, ..) = listening("0.0.0.0:8081");
    for command in [&["config", "check"][..], &["run"]] {
        let output = world.run(command).await;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{errors}");
        for expected in ["custom_integration.listen: 0.0.0.0:8081", "has no TLS", "127.0.0.1:8081", "unix:/"]
        {
            assert!(errors.contains(expected), "{expected} is not in {errors}");
        }
    }
    let (world, ..) = listening("127.0.0.1:0");
    fs::remove_file(world.path("caller-token")).unwrap();
    let output = world.run(&["config", "check"]).await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{errors}");
    assert!(
        errors.contains("custom_integration.token_file") && errors.contains("does not exist"),
        "{errors}"
    );
}
