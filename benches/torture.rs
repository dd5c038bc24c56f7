//! The long form of what the tests prove about access: it always ends.
//!
//! `cargo bench --bench torture -- --seed N --minutes M` lives through random histories in virtual time
//! (`tests/it/history.rs`), and kills the real process at random instants (`tests/e2e/kills.rs`), in turns, until the time
//! is up. It prints a table, and ends with an error if anything did not hold; the same seed makes the same histories.
//! Without `--minutes` it takes one.

#![expect(unreachable_pub, reason = "one binary, no library")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test in the form of a benchmark"
)]
#![expect(clippy::print_stdout, reason = "a benchmark")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time and reads its arguments")]

#[path = "../tests/it/history.rs"]
mod history;
#[path = "../tests/it/moves.rs"]
mod moves;
#[path = "../tests/it/oracle.rs"]
#[expect(dead_code, reason = "written for other tests, which use more of it")]
mod oracle;
#[path = "torture/real.rs"]
mod real;
#[path = "../tests/it/stage.rs"]
#[expect(dead_code, reason = "written for other tests, which use more of it")]
mod stage;
#[path = "../tests/it/world.rs"]
#[expect(dead_code, reason = "written for other tests, which use more of it")]
mod world;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use history::live_through;
use moves::histories;
use real::kills::Killing;

/// Longer than in the tests.
const LONGEST: usize = 60;
/// Histories between two rounds of kills.
const HISTORIES: usize = 50;
const KILLS: usize = 40;
const GRANTS: usize = 10;

/// What has been done to the connector.
#[derive(Debug, Default)]
struct Tally {
    histories: usize,
    crashes: usize,
    kills: usize,
    grants: usize,
    mishaps: BTreeMap<String, usize>,
    breaks: Vec<String>,
}

fn main() -> ExitCode {
    let number = |name: &str, default: u64| {
        let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
        arguments.next().map_or(default, |value| value.parse().expect("a number"))
    };
    let (seed, minutes) = (number("--seed", 1), number("--minutes", 1));
    println!("seed {seed}, {minutes} minutes");
    let end = Instant::now() + Duration::from_mins(minutes);
    let mut tally = Tally::default();
    let mut runner = TestRunner::new_with_rng(Config::default(), rng(seed));
    for round in 0.. {
        tally.live(&mut runner, end);
        if Instant::now() >= end {
            break;
        }
        tally.kill(seed.wrapping_add(round));
    }
    tally.print();
    if tally.breaks.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

impl Tally {
    fn live(&mut self, runner: &mut TestRunner, end: Instant) {
        for _ in 0..HISTORIES {
            if Instant::now() >= end {
                return;
            }
            let moves = histories(LONGEST).new_tree(runner).expect("no history is refused").current();
            let lived = live_through(&moves);
            self.histories += 1;
            self.crashes += lived.crashes;
            for (mishap, times) in lived.mishaps {
                *self.mishaps.entry(mishap).or_default() += times;
            }
            if !lived.breaches.is_empty() {
                println!("in {moves:#?}");
            }
            self.note(lived.breaches);
        }
    }

    fn kill(&mut self, seed: u64) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let killed = runtime.block_on(async { Killing::begin(seed).kill(KILLS, GRANTS).await });
        self.kills += killed.kills;
        self.grants += killed.grants;
        self.note(killed.breaches);
    }

    fn note(&mut self, breaches: Vec<String>) {
        for breach in &breaches {
            println!("broken: {breach}");
        }
        self.breaks.extend(breaches);
    }

    fn print(&self) {
        let rows = [
            ("histories", self.histories),
            ("crashes in them", self.crashes),
            ("kills of the real process", self.kills),
            ("grants under kills", self.grants),
        ];
        let mishaps = self.mishaps.iter().map(|(name, times)| (name.as_str(), *times));
        for (name, times) in rows.into_iter().chain(mishaps).chain([("invariants broken", self.breaks.len())])
        {
            println!("{name:<28} {times:>8}");
        }
    }
}
