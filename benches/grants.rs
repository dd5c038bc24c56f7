//! What a grant costs beside Okta: from the lease of its task to the report of its result, with journal and audit trail
//! on this machine's disk and every duty durable, less the time that calls to Okta were on their way.
//!
//! `cargo bench --bench grants` gives 300 grants, one after the other, over real sockets against the
//! simulators, which share the process. It prints a table and one JSON line.
//! Other numbers: `cargo bench --bench grants -- GRANTS`. `TMPDIR` says on which disk.
//!
//! It judges nothing; figures depend on the machine, most of all on how long its disk takes to sync.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time and reads its arguments")]

mod stage;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use apono_connector::app::{App, Outside};
use apono_connector::config::{Sources, load};
use apono_connector::http::transport::{Request, Response, Transport, TransportError};
use futures_util::future::BoxFuture;
use serde_json::json;
use simulator::apono::Grant;
use simulator::clock::SimClock;
use simulator::okta::{self, Limits, NewGroup, NewUser};

use stage::{INTEGRATION, Stage};

/// Notes when a task came and when its result went, and how long Okta had a call in between.
#[derive(Debug)]
struct Timed {
    inner: Arc<dyn Transport>,
    okta: u16,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    leased: Option<Instant>,
    reported: Option<Instant>,
    at_okta: Duration,
    okta_calls: u32,
}

/// One task's cost.
#[derive(Clone, Copy)]
struct Cost {
    whole: Duration,
    own: Duration,
    okta_calls: u32,
}

impl Transport for Timed {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(async move {
            let is_okta = request.url.port() == Some(self.okta);
            let path = request.url.path().to_owned();
            let began = Instant::now();
            if path.ends_with("/result") {
                self.notes.lock().unwrap().reported = Some(began);
            }
            let answer = self.inner.send(request, limit).await;
            let mut notes = self.notes.lock().unwrap();
            if is_okta {
                notes.at_okta += began.elapsed();
                notes.okta_calls += 1;
            }
            let has_tasks = |answer: &Response| answer.body.len() > r#"{"items":[]}"#.len();
            if path.ends_with("/task-leases") && answer.as_ref().is_ok_and(has_tasks) {
                *notes = Notes { leased: Some(Instant::now()), ..Notes::default() };
            }
            answer
        })
    }
}

fn main() {
    let grants = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(300);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (mut costs, syncs) = runtime.block_on(measure(grants));
    println!(
        "{grants} grants, one after the other; a sync of 4 KiB takes {:.2} ms here at the median",
        ms(syncs)
    );
    costs.sort_by_key(|cost| cost.own);
    let at = |share: usize| ms(costs[(costs.len() - 1) * share / 100].own);
    let mut whole: Vec<_> = costs.iter().map(|cost| cost.whole).collect();
    whole.sort();
    let (whole, calls) = (ms(whole[whole.len() / 2]), costs[costs.len() / 2].okta_calls);
    println!(
        "{:>11} {:>11} {:>11} {:>13} {:>11}",
        "own p50 ms", "own p90 ms", "own p99 ms", "whole p50 ms", "Okta calls"
    );
    println!("{:>11.2} {:>11.2} {:>11.2} {whole:>13.2} {calls:>11}", at(50), at(90), at(99));
    let own = json!({ "p50": at(50), "p90": at(90), "p99": at(99) });
    println!("{}", json!({ "grants": grants, "sync_ms": ms(syncs), "own_ms": own, "whole_ms_p50": whole }));
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

async fn measure(grants: usize) -> (Vec<Cost>, Duration) {
    let world = Stage::new(okta::Settings {
        limits: Limits::unlimited(),
        visibility_lag: Duration::ZERO,
        ..okta::Settings::default()
    });
    let group = world.okta.add_group(NewGroup::named("oncall"));
    let file = Some(world.configure("[okta.directory]\nenabled = false\n"));
    let settings = load(&Sources { file, environment: BTreeMap::new(), flags: Vec::new() }).unwrap().settings;
    let real = Outside::real(&settings).unwrap();
    let timed = Arc::new(Timed {
        inner: Arc::clone(&real.transport),
        okta: world.okta_server.address().port(),
        notes: Mutex::default(),
    });
    let app = App::build(settings, Outside { transport: Arc::clone(&timed) as _, ..real }).await.unwrap();
    let stop = app.stop_token();
    let running = tokio::spawn(app.run(None));
    let mut costs = Vec::new();
    for number in 0..=grants {
        let login = format!("person{number}@example.com");
        let user = world.okta.add_user(NewUser::active(&login, "Ada", "Lovelace"));
        let lasts = jiff::SignedDuration::from_hours(1);
        let until = SimClock::system().now().checked_add(lasts).unwrap();
        let granted = world.apono.grant(Grant::new(INTEGRATION, &login, &[&group]).until(until));
        let result = world.apono.wait_for_result(&granted.task_id).await;
        assert_eq!(result["code"], "granted", "{result}");
        assert!(world.okta.is_member(&group, &user));
        // The first one asks for the token and lists the rules.
        if number > 0 {
            costs.push(timed.cost());
        }
    }
    stop.cancel();
    running.await.unwrap();
    (costs, sync(world.folder.path()))
}

impl Timed {
    fn cost(&self) -> Cost {
        let notes = self.notes.lock().unwrap();
        let whole = notes.reported.unwrap() - notes.leased.unwrap();
        Cost { whole, own: whole.saturating_sub(notes.at_okta), okta_calls: notes.okta_calls }
    }
}

/// How long this disk takes for the smallest durable write.
fn sync(folder: &std::path::Path) -> Duration {
    use std::io::Write;
    let mut file = std::fs::File::create(folder.join("sync")).unwrap();
    let mut times: Vec<_> = (0..50)
        .map(|_| {
            file.write_all(&[7; 4096]).unwrap();
            let began = Instant::now();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}
