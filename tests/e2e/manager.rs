//! What a service manager is told (`sd_notify(3)`), and what a hangup does.

use std::collections::VecDeque;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixDatagram, UnixStream};

use crate::world::{Connector, LIMIT, World, in_time};

/// The other end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
    seen: VecDeque<String>,
}

impl Manager {
    fn new(world: &World) -> Self {
        Self { socket: UnixDatagram::bind(world.path("notify")).unwrap(), seen: VecDeque::new() }
    }

    fn start(world: &mut World) -> (Self, Connector) {
        let manager = Self::new(world);
        let mut command = world.command(&["run"]);
        command.env("NOTIFY_SOCKET", world.path("notify")).env("WATCHDOG_USEC", "600000");
        (manager, world.start_command(command))
    }

    /// The next message that has this line.
    async fn until(&mut self, line: &str) -> String {
        let look = async {
            loop {
                let mut bytes = vec![0; 4096];
                let length = self.socket.recv(&mut bytes).await.unwrap();
                let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
                self.seen.push_back(message.clone());
                if message.lines().any(|one| one.starts_with(line)) {
                    return message;
                }
            }
        };
        let found = tokio::time::timeout(LIMIT, look).await;
        found.unwrap_or_else(|_| panic!("{line} was not told: {:?}", self.seen))
    }
}

#[tokio::test]
async fn the_service_manager_is_told_of_ready_alive_and_stopping() {
    let (mut world, _, _) = World::with_ada();
    let (mut manager, connector) = Manager::start(&mut world);
    let ready = manager.until("READY=1").await;
    assert!(ready.contains("STATUS="), "{ready}");
    manager.until("STATUS=ready; connected to Apono; 0 memberships held by grants, 0 removals due").await;
    for _ in 0..5 {
        manager.until("WATCHDOG=1").await;
    }
    connector.signal(Signal::SIGTERM);
    let stopping = manager.until("STOPPING=1").await;
    assert!(
        stopping.contains("EXTEND_TIMEOUT_USEC=30000000") && stopping.contains("STATUS=stopping"),
        "{stopping}"
    );
    let (status, _) = connector.wait().await;
    assert!(status.success());
    assert!(!manager.seen.iter().any(|message| message.contains("RELOADING")));
}

/// Where the admin listener is by now.
fn listens(connector: &Connector) -> String {
    let text = connector.text();
    let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut addresses = lines.filter_map(|line| Some(line.get("admin.listen")?.as_str()?.to_owned()));
    addresses.next().unwrap()
}

fn logged(text: &'static str) -> impl Fn(&Value) -> bool {
    move |line| line["message"].as_str().unwrap_or_default().contains(text)
}

#[tokio::test]
async fn a_hangup_takes_up_a_good_configuration_and_keeps_the_old_one_before_a_bad_one() {
    let (mut world, user, group) = World::with_ada();
    let (mut manager, mut connector) = Manager::start(&mut world);
    manager.until("READY=1").await;
    let granted = world.grant(&group, LIMIT);
    assert_eq!(world.result(&granted.task_id).await["code"], "granted");

    connector.signal(Signal::SIGHUP);
    connector.until_logged("nothing new", logged("the configuration is as it was")).await;
    let good = world.configuration("");
    for bad in [
        good.replace("grants_interval", "grants_intervall"),
        good.replace("token_file = ", "token_file = \"/nowhere\" # "),
        good.replace("[state]", "[http]\nca_bundle_file = \"/nowhere\"\n[state]"),
    ] {
        world.write_configuration(&bad);
        let warned = connector.text().matches("the former configuration goes on").count();
        connector.signal(Signal::SIGHUP);
        let more = |line: &Value| logged("SIGHUP: the former configuration goes on")(line);
        let told_again = async {
            loop {
                connector.until_logged("the old one goes on", more).await;
                if connector.text().matches("the former configuration goes on").count() > warned {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        in_time("the old one goes on", told_again).await;
    }
    assert!(!manager.seen.iter().any(|message| message.contains("RELOADING")));

    // Another policy, and an address that somebody else has: noticed only when it is run with.
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    world.write_configuration(&good.replace("127.0.0.1:0", &address));
    connector.signal(Signal::SIGHUP);
    let reloading = manager.until("RELOADING=1").await;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.until("READY=1").await;
    connector.until_logged("the old one", logged("the new configuration cannot be run with")).await;
    // Once the address is free, the same file is taken up; and somebody who asks slowly is in nobody's way.
    drop(taken);
    let mut slow = TcpStream::connect(listens(&connector)).await.unwrap();
    slow.write_all(b"GET /livez HT").await.unwrap();
    let mut at_the_desk = UnixStream::connect(world.path("state/state.db.sock")).await.unwrap();
    at_the_desk.write_all(b"GET /grants HT").await.unwrap();
    connector.signal(Signal::SIGHUP);
    manager.until("RELOADING=1").await;
    manager.until("READY=1").await;
    connector.until_logged("the new address", |line| line["admin.listen"] == address.as_str()).await;

    let policy = format!("[okta.access.policy]\ndeny_groups = [\"{group}\"]\n");
    world.write_configuration(&world.configuration(&policy));
    connector.signal(Signal::SIGHUP);
    manager.until("RELOADING=1").await;
    manager.until("READY=1").await;
    assert!(world.okta.is_member(&group, &user), "what lives goes on");
    let refused = world.grant(&group, LIMIT);
    assert_eq!(world.result(&refused.task_id).await["code"], json!("refused_policy"));
    let task = world.apono.revoke(&granted.grant_id);
    assert_eq!(world.result(&task).await["code"], "revoked");
    assert!(!world.okta.is_member(&group, &user));
    assert!(connector.stop().await.success());
    world.check_contract();
}
