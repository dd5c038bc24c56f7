//! Live, ready, and what can be measured, in virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apono_connector::catalogue::ErrorCode;
use apono_connector::http::transport::{Request, Response, Transport, TransportError};
use apono_connector::server::{is_live, readiness};
use axum::Router;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use simulator::apono::Grant;
use simulator::net::dispatch;
use simulator::okta::{NewGroup, NewUser};

use crate::stage::Stage;
use crate::world::{INTEGRATION, Running, World};

const SECOND: Duration = Duration::from_secs(1);

/// A network that can be cut, for one host or for all.
#[derive(Debug)]
struct Cable {
    network: Arc<dyn Transport>,
    okta: AtomicBool,
    apono: AtomicBool,
}

impl Cable {
    fn cut(&self, okta: bool, apono: bool) {
        self.okta.store(okta, Ordering::SeqCst);
        self.apono.store(apono, Ordering::SeqCst);
    }
}

impl Transport for Cable {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        let host = request.url.host_str().unwrap().to_owned();
        let cut = if host.contains("okta") { &self.okta } else { &self.apono };
        if cut.load(Ordering::SeqCst) {
            let source = "as the test wants it".into();
            return Box::pin(async move {
                Err(TransportError::Connect { host, code: ErrorCode::ConnectionRefused, source })
            });
        }
        Box::pin(async move {
            let answer = self.network.send(request, limit).await;
            // A long poll that goes on while the cable is cut has no answer either.
            if cut.load(Ordering::SeqCst) {
                let source = "as the test wants it".into();
                return Err(TransportError::Connect { host, code: ErrorCode::ConnectionRefused, source });
            }
            answer
        })
    }
}

async fn cabled() -> (World, Arc<Cable>, Running) {
    let mut world = World::quiet();
    world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    world.okta.add_group(NewGroup::named("oncall"));
    let cable = Arc::new(Cable { network: world.network(), okta: false.into(), apono: false.into() });
    let disk = world.disk();
    let connector = world.start_between(Arc::clone(&cable) as _, disk, "").await.unwrap();
    world.pass(Duration::from_mins(1)).await;
    assert!(readiness(&(connector.facts)()).ready);
    (world, cable, connector)
}

/// After how many seconds it is so; every second until then, and at every look, the connector is live.
async fn until_ready(world: &World, connector: &Running, ready: bool) -> u32 {
    for second in 0..120 {
        let facts = (connector.facts)();
        assert!(is_live(&facts), "{facts:?}");
        if readiness(&facts).ready == ready {
            return second;
        }
        world.pass(SECOND).await;
    }
    panic!("ready never became {ready}: {:?}", readiness(&(connector.facts)()));
}

#[tokio::test(start_paused = true)]
async fn half_an_hour_without_any_network_is_no_failure_of_liveness_and_readiness_follows_within_ten_seconds()
{
    let (world, cable, connector) = cabled().await;
    cable.cut(true, true);
    let lost = until_ready(&world, &connector, false).await;
    // An outage begins between two looks; Apono's long poll may hang for its whole time before it is known to be lost.
    assert!(lost <= 10, "noticed after {lost} s");
    for _ in 0..30 * 60 {
        world.pass(SECOND).await;
        let facts = (connector.facts)();
        assert!(is_live(&facts), "{facts:?}");
        assert!(!readiness(&facts).ready);
    }
    cable.cut(false, false);
    let back = until_ready(&world, &connector, true).await;
    assert!(back <= 10, "noticed after {back} s");
    println!("readiness: lost after {lost} s, back after {back} s; liveness failed 0 times in 30 min");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_peer_that_is_away_leaves_the_connector_ready_and_okta_is_hardly_asked() {
    let (world, cable, connector) = cabled().await;
    for (okta, apono) in [(true, false), (false, true)] {
        cable.cut(okta, apono);
        let before =
            world.okta.calls().iter().filter(|call| call.path == "/.well-known/okta-organization").count();
        for _ in 0..10 * 60 {
            world.pass(SECOND).await;
            let facts = (connector.facts)();
            assert!(is_live(&facts) && readiness(&facts).ready, "{okta} {apono} {:?}", readiness(&facts));
        }
        let asked =
            world.okta.calls().iter().filter(|call| call.path == "/.well-known/okta-organization").count();
        assert!(asked - before <= 21, "asked {} times in ten minutes", asked - before);
        cable.cut(false, false);
        world.pass(Duration::from_mins(1)).await;
    }
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_hangs_is_not_live_within_thirty_seconds() {
    let mut world = World::quiet();
    world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let group = world.okta.add_group(NewGroup::named("oncall"));
    let stage = Stage::new(None);
    let (network, disk) = (world.network(), stage.disk(world.disk()));
    let connector = world.start_between(network, disk, "").await.unwrap();
    let until = world.after(Duration::from_mins(1));
    let grant = world.apono.grant(Grant::new(INTEGRATION, "ada@example.com", &[&group]).until(until));
    assert_eq!(world.result(&grant.task_id).await["code"], "granted");
    // The disk alone is on the stage: it takes a write and never answers.
    stage.darken();
    while world.since(until).is_negative() {
        assert!(is_live(&(connector.facts)()));
        world.pass(SECOND).await;
    }
    // The grant's end is to be recorded now.
    let mut seconds = 0;
    while is_live(&(connector.facts)()) {
        world.pass(SECOND).await;
        seconds += 1;
        assert!(seconds <= 31, "the scheduler hangs and counts as live");
    }
    println!("liveness failed {seconds} s after the scheduler hung");
    connector.crash().await;
}

pub async fn ask(admin: &Router, path: &str, accept: &str) -> (u16, String, String) {
    let request = http::Request::get(path).header("accept", accept).body(Bytes::new()).unwrap();
    let response = dispatch(admin.clone(), request).await.unwrap();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let status = response.status().as_u16();
    (status, kind, String::from_utf8(response.into_body().to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn readiness_can_be_read_by_people_and_without_a_check() {
    let (world, cable, connector) = cabled().await;
    let (status, _, text) = ask(&connector.admin, "/readyz?verbose", "*/*").await;
    assert!(status == 200 && text.ends_with("\nready\n"), "{text}");
    assert!(text.contains("[+] journal: writable (") && text.contains("s ago, counts for 120 s)"), "{text}");
    assert!(text.contains("[+] loops: "), "{text}");
    cable.cut(true, true);
    until_ready(&world, &connector, false).await;
    let (status, _, text) = ask(&connector.admin, "/readyz?verbose", "*/*").await;
    assert!(status == 503 && text.contains("[-] network: nobody answers"), "{text}");
    let (status, _, text) = ask(&connector.admin, "/readyz?verbose&exclude=network", "*/*").await;
    assert!(status == 200 && !text.contains("network"), "{text}");
    let (status, ..) = ask(&connector.admin, "/livez", "*/*").await;
    assert_eq!(status, 200);
    connector.stop().await;
}
