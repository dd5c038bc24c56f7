//! Who is shown the status of the real binary, and what a screen of it says.

use std::net::UdpSocket;
use std::time::Duration;

use apono_connector::http::transport::{HttpsSettings, HttpsTransport, Request, Response, Transport};
use http::{HeaderValue, Method, header};
use serde_json::Value;

use crate::world::{Connector, World, read};

const LIMIT: Duration = Duration::from_secs(30);

pub async fn ask(url: &str, headers: &[(header::HeaderName, &str)]) -> Response {
    let transport = HttpsTransport::new(&HttpsSettings::plain(LIMIT)).unwrap();
    let mut request = Request::new(Method::GET, url.parse().unwrap());
    for (name, value) in headers {
        request.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    transport.send(request, LIMIT).await.unwrap()
}

fn text(response: &Response) -> String {
    String::from_utf8(response.body.to_vec()).unwrap()
}

/// This host's address on a network, as another host would use it.
pub fn outer_address() -> String {
    // A datagram socket that is connected sends nothing, and knows which address it would send from.
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket
        .connect("192.0.2.1:9")
        .expect("this host has no address but its loopback, so this cannot be tried here");
    socket.local_addr().unwrap().ip().to_string()
}

pub async fn port(connector: &mut Connector) -> String {
    connector.admin().await.rsplit(':').next().unwrap().to_owned()
}

#[tokio::test]
async fn the_status_is_shown_on_this_host_and_elsewhere_to_whoever_shows_the_token() {
    let mut world = World::new();
    let open =
        read(&world.path("connector.toml")).replace("listen = \"127.0.0.1:0\"", "listen = \"0.0.0.0:0\"");
    world.write_configuration(&open);
    let mut connector = world.start();
    let (port, outer) = (port(&mut connector).await, outer_address());
    for path in ["", "page.css", "page.js", "status"] {
        let here = ask(&format!("http://127.0.0.1:{port}/{path}"), &[]).await;
        assert_eq!(here.status, 200, "{path}");
        let there = ask(&format!("http://{outer}:{port}/{path}"), &[]).await;
        assert!(there.status == 403 && text(&there).contains("admin.token_file"), "{path}: {}", text(&there));
        let rebound =
            ask(&format!("http://127.0.0.1:{port}/{path}"), &[(header::HOST, "rebound.example")]).await;
        assert_eq!(rebound.status, 403, "{path}");
    }
    for path in ["livez", "readyz", "startupz", "healthz", "metrics"] {
        let there = ask(&format!("http://{outer}:{port}/{path}"), &[]).await;
        assert!(there.status == 200 || path != "livez", "{path}: {}", text(&there));
        assert_ne!(there.status, 403, "{path}");
    }
    let page = ask(&format!("http://127.0.0.1:{port}/"), &[]).await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for elsewhere in ["http://", "https://", "style=", "onclick", "<script>"] {
        assert!(!text(&page).contains(elsewhere), "the page has {elsewhere}");
    }
    assert!(connector.stop().await.success());

    std::fs::write(world.path("admin-token"), "placeholder-admin").unwrap();
    let file = world.path("admin-token").display().to_string();
    world.write_configuration(&open.replace("[admin]", &format!("[admin]\ntoken_file = \"{file}\"")));
    let mut connector = world.start();
    let port = self::port(&mut connector).await;
    let url = format!("http://{outer}:{port}/status");
    let nothing = ask(&url, &[]).await;
    assert_eq!(nothing.status, 401);
    assert!(nothing.headers["www-authenticate"].to_str().unwrap().starts_with("Basic "));
    // "somebody:placeholder-admin", and a wrong password.
    for (shown, status) in [
        ("Bearer placeholder-admin", 200),
        ("Bearer placeholder", 401),
        ("Basic c29tZWJvZHk6cGxhY2Vob2xkZXItYWRtaW4=", 200),
        ("Basic c29tZWJvZHk6cGxhY2Vob2xkZXI=", 401),
        ("Basic !", 401),
    ] {
        assert_eq!(ask(&url, &[(header::AUTHORIZATION, shown)]).await.status, status, "{shown}");
    }
    // It is followed as it changes.
    std::fs::write(world.path("admin-token"), "placeholder-next").unwrap();
    assert_eq!(ask(&url, &[(header::AUTHORIZATION, "Bearer placeholder-next")]).await.status, 200);
    assert_eq!(ask(&url, &[(header::AUTHORIZATION, "Bearer placeholder-admin")]).await.status, 401);
    assert!(connector.stop().await.success());
}

#[tokio::test]
async fn one_screen_shows_live_grants_and_those_that_have_ended() {
    let (mut world, ada, group) = World::with_ada();
    let mut connector = world.start();
    let first = world.grant(&group, Duration::from_mins(5));
    assert_eq!(world.result(&first.task_id).await["code"], "granted");
    let screen = || async { String::from_utf8(world.run(&["status"]).await.stdout).unwrap() };
    let shown = screen().await;
    let line = shown.lines().find(|line| line.contains(&first.grant_id)).unwrap_or_else(|| panic!("{shown}"));
    assert!(line.contains("ends in 4 min") && line.contains(&group), "{line}");
    assert!(shown.contains("budget of ") && shown.contains(" free, memory "), "{shown}");

    let revoke = world.apono.revoke(&first.grant_id);
    assert_eq!(world.result(&revoke).await["code"], "revoked");
    let removal = world.okta.calls().into_iter().find(|call| call.operation == "remove_member").unwrap();
    let shown = screen().await;
    let line = shown.lines().find(|line| line.contains("revoked")).unwrap_or_else(|| panic!("{shown}"));
    assert!(line.contains(&first.grant_id) && line.contains(&removal.request_id), "{line}");
    let (_, body) = connector.ask("/status").await;
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status["recent_endings"][0]["user_id"], ada);
    assert_eq!(status["live_grants"], Value::Array(Vec::new()));
    assert!(!status["history"].as_array().unwrap().is_empty());
    assert!(connector.stop().await.success());
}
