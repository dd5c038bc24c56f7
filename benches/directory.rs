//! What a directory run costs, measured on the real binary against the simulators on this machine.
//!
//! `cargo bench --bench directory` reads and pushes 20,000 users and 500 groups of 200 members: a first run, which
//! creates everything at Apono, and a second one, which reads both sides and finds nothing to do. The first row is the
//! part of the first run that reads and stores Okta's side. It prints a table and one JSON line.
//! Other sizes: `cargo bench --bench directory -- USERS GROUPS MEMBERS_PER_GROUP`.
//!
//! It judges nothing; figures depend on the machine, and the simulators share its cores.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time and reads its arguments")]

mod stage;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simulator::okta::{self, Limits};
use tokio::process::{Child, Command};

use stage::{INTEGRATION, Stage};

/// One run's cost.
struct Cost {
    name: &'static str,
    okta_requests: u64,
    apono_requests: u64,
    apono_writes: u64,
    wall: Duration,
    cpu: Duration,
    peak_mib: f64,
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let size = |index: usize, default| numbers.get(index).copied().unwrap_or(default);
    let (users, groups, members) = (size(0, 20_000), size(1, 500), size(2, 200));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let costs = runtime.block_on(measure(users, groups, members));
    println!("{users} users, {groups} groups of {members}; no limits, no latency");
    println!(
        "{:<13} {:>10} {:>10} {:>10} {:>9} {:>9} {:>10}",
        "run", "Okta", "Apono", "writes", "wall s", "CPU s", "peak MiB"
    );
    for cost in &costs {
        println!(
            "{:<13} {:>10} {:>10} {:>10} {:>9.2} {:>9.2} {:>10.1}",
            cost.name,
            cost.okta_requests,
            cost.apono_requests,
            cost.apono_writes,
            cost.wall.as_secs_f64(),
            cost.cpu.as_secs_f64(),
            cost.peak_mib
        );
    }
    let runs: Vec<_> = costs.iter().map(Cost::json).collect();
    println!("{}", json!({ "users": users, "groups": groups, "members_per_group": members, "runs": runs }));
}

impl Cost {
    fn json(&self) -> Value {
        json!({
            "run": self.name, "okta_requests": self.okta_requests, "apono_requests": self.apono_requests,
            "apono_writes": self.apono_writes, "wall_seconds": self.wall.as_secs_f64(),
            "cpu_seconds": self.cpu.as_secs_f64(), "peak_mib": self.peak_mib,
        })
    }
}

async fn measure(users: usize, groups: usize, members: usize) -> Vec<Cost> {
    let world = World::new(users, groups, members);
    let mut meter =
        Meter { connector: world.start(), world, began: Instant::now(), before: Sample::default() };
    // The start of the process begins the first run.
    meter.until_logged("from Okta").await;
    let reading = meter.cost("reading Okta");
    meter.until_logged("directory run completed").await;
    let first = meter.cost("first run");
    meter.before = Sample::of(&meter);
    meter.began = Instant::now();
    let task = meter.world.stage.apono.enqueue("sync-directory", INTEGRATION, json!({}));
    let result = meter.world.stage.apono.wait_for_result(&task).await;
    assert_eq!(result["output"]["outcome"], "completed", "{result}");
    vec![reading, first, meter.cost("nothing new")]
}

/// Measures one process from outside.
struct Meter {
    connector: Child,
    world: World,
    began: Instant,
    before: Sample,
}

#[derive(Clone, Copy, Default)]
struct Sample {
    cpu: Duration,
    peak_mib: f64,
    okta: u64,
    apono: u64,
    writes: u64,
}

impl Sample {
    fn of(meter: &Meter) -> Self {
        let (cpu, peak_mib) = usage(&meter.connector);
        let world = &meter.world;
        Self {
            cpu,
            peak_mib,
            okta: world.stage.okta.total_calls(),
            apono: world.stage.apono.total_calls(),
            writes: world.stage.apono.scim_writes(),
        }
    }
}

impl Meter {
    /// What it has cost since the beginning.
    fn cost(&self, name: &'static str) -> Cost {
        let (now, before) = (Sample::of(self), self.before);
        Cost {
            name,
            okta_requests: now.okta - before.okta,
            apono_requests: now.apono - before.apono,
            apono_writes: now.writes - before.writes,
            wall: self.began.elapsed(),
            cpu: now.cpu.saturating_sub(before.cpu),
            peak_mib: now.peak_mib,
        }
    }

    async fn until_logged(&self, text: &str) {
        let log = self.world.log();
        while !std::fs::read_to_string(&log).unwrap().contains(text) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// CPU time and peak resident memory of the process so far, from `/proc`.
fn usage(connector: &Child) -> (Duration, f64) {
    let pid = connector.id().expect("the connector runs");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|index| fields[*index].parse::<u64>().unwrap()).sum();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: f64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    // Linux counts in hundredths of a second on every machine this runs on.
    (Duration::from_millis(ticks * 10), kib / 1024.0)
}

struct World {
    stage: Stage,
    configuration: PathBuf,
}

impl World {
    fn new(users: usize, groups: usize, members: usize) -> Self {
        let stage = Stage::new(okta::Settings { limits: Limits::unlimited(), ..okta::Settings::default() });
        let seed = okta::Seed { users, groups, members_per_group: members, seed: 1, ..okta::Seed::default() };
        stage.okta.seed(seed);
        let configuration = stage.configure("");
        Self { stage, configuration }
    }

    fn start(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_apono-connector"))
            .args(["run", "--config"])
            .arg(&self.configuration)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.log()).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    fn log(&self) -> PathBuf {
        self.stage.folder.path().join("log")
    }
}
