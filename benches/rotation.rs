//! Keys and tokens are replaced under load, in virtual time: what fails of it.
//!
//! `cargo bench --bench rotation -- --rotations 1000` replaces again and again the Okta key and the connector token, which
//! is two rotations, the former ones being switched off once the next had their time to be seen, while 25 grants a second
//! begin and end. It prints as it goes how many requests failed and how many grants were given, and a JSON line at the end.
//! Without arguments: 20. A thousand take about half an hour.
//!
//! It judges nothing.

#![expect(unreachable_pub, reason = "one binary, no library")]
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark")]

#[path = "../tests/it/world.rs"]
#[expect(dead_code, reason = "written for tests, which use more of it")]
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use apono_connector::secrets::{Curve, generate_ec};
use secrecy::ExposeSecret;
use serde_json::json;
use simulator::apono::Grant;
use simulator::okta::{DpopRule, Limits, NewGroup, NewUser};

use world::{CLIENT, INTEGRATION, World, key};

const A_SECOND: usize = 25;
/// A key is looked at every ten seconds.
const BETWEEN: usize = 12;
const SCOPES: [&str; 2] = ["okta.users.read", "okta.groups.manage"];

#[derive(Default)]
struct Tally {
    calls: usize,
    failed: usize,
    /// Results by their code.
    codes: BTreeMap<String, usize>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let named = arguments.iter().position(|argument| argument == "--rotations");
    let rotations = named.and_then(|at| arguments.get(at + 1)).map_or("20", String::as_str).parse().unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
    let began = Instant::now();
    let told = |done: usize, tally: &Tally| {
        let Tally { calls, failed, codes } = tally;
        let wall = began.elapsed().as_secs_f64();
        println!("{done} rotations, {calls} requests, {failed} failed; grants: {codes:?}; {wall:.0} s");
    };
    let Tally { calls, failed, codes } = runtime.block_on(rotate(rotations, told));
    let report = json!({
        "rotations": rotations, "requests": calls, "failed": failed, "grants": codes,
    });
    println!("{report}");
}

async fn rotate(rotations: usize, told: impl Fn(usize, &Tally)) -> Tally {
    let mut world = World::quiet();
    world.set_dpop("auto");
    world.okta.configure(|settings| {
        settings.limits = Limits::unlimited();
        settings.dpop = DpopRule::Required;
    });
    world.apono.set_exchange_log(20_000);
    let groups: Vec<_> = (0..20).map(|n| world.okta.add_group(NewGroup::named(&format!("g{n}")))).collect();
    let logins: Vec<_> = (0..100).map(|n| format!("u{n}@example.com")).collect();
    for login in &logins {
        world.okta.add_user(NewUser::active(login, "U", "X"));
    }
    let connector = world.start().await;
    world.pass(Duration::from_secs(5)).await;
    let mut tally = Tally::default();
    let (mut kid, mut token) =
        (key().1["kid"].as_str().unwrap().to_owned(), std::fs::read_to_string(world.token()).unwrap());
    let mut next = 0_usize;
    for step in 0..rotations.div_ceil(2) {
        let new = generate_ec(Curve::P256).unwrap();
        world.okta.register_client(CLIENT, new.public_jwk.clone(), &SCOPES);
        world.mount_key(new.private_jwk.expose_secret());
        let old_kid = std::mem::replace(&mut kid, new.public_jwk["kid"].as_str().unwrap().to_owned());
        let new = format!("placeholder-{step}");
        world.apono.set_tokens(&[&token, &new]);
        std::fs::write(world.token(), &new).unwrap();
        token = new;
        let mut tasks = Vec::new();
        for _ in 0..BETWEEN {
            for _ in 0..A_SECOND {
                let (login, group) =
                    (&logins[next % logins.len()], &groups[next / logins.len() % groups.len()]);
                next += 1;
                let until = world.after(Duration::from_secs(30));
                tasks.push(world.apono.grant(Grant::new(INTEGRATION, login, &[group]).until(until)).task_id);
            }
            world.pass(Duration::from_secs(1)).await;
        }
        for task in tasks {
            let code = world.result(&task).await["code"].as_str().unwrap_or("none").to_owned();
            *tally.codes.entry(code).or_default() += 1;
        }
        world.okta.deactivate_key(CLIENT, &old_kid);
        world.apono.set_tokens(&[&token]);
        let calls = world.okta.calls();
        tally.calls += calls.len();
        // A challenge brings a nonce.
        let is_well = |status: u16, operation: &str| {
            (200..300).contains(&status) || (operation == "token" && status == 400)
        };
        tally.failed += calls.iter().filter(|call| !is_well(call.status, call.operation)).count();
        tally.failed += world.apono.exchanges().iter().filter(|exchange| exchange.status >= 400).count();
        world.okta.reset_counters();
        told(2 * (step + 1), &tally);
    }
    connector.stop().await;
    tally
}
