//! What a directory run costs, measured on the real binary against the simulators on this machine.
//!
//! `cargo bench --bench directory -- --users 1000,10000,100000` takes organizations of these sizes, each with one group for
//! 20 users and 10 memberships a user, through three runs: a first one, which creates everything at Apono; one without any
//! change; and one after 0.1 % of the people were changed (half of them got another title, half joined a group). For each
//! it prints requests, writes, bytes, wall and CPU time, and the process's peak memory: a table and one JSON line.
//! Without arguments: 1,000 and 10,000.
//!
//! It judges nothing; figures depend on the machine, and the simulators share its cores.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a benchmark")]

mod stage;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use simulator::okta::{self, Limits};
use tokio::process::{Child, Command};

use stage::Stage;

/// One run's cost.
struct Cost {
    name: &'static str,
    okta_requests: u64,
    apono_requests: u64,
    apono_writes: u64,
    mib: f64,
    wall: Duration,
    cpu: Duration,
    peak_mib: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let named =
        arguments.iter().position(|argument| argument == "--users").and_then(|at| arguments.get(at + 1));
    let sizes: Vec<usize> =
        named.map_or("1000,10000", String::as_str).split(',').map(|n| n.parse().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("one group for 20 users, 10 memberships a user; no limits, no latency");
    println!(
        "{:>9} {:<13} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "users", "run", "Okta", "Apono", "writes", "MiB", "wall s", "CPU s", "peak MiB"
    );
    let mut all = Vec::new();
    for users in sizes {
        let costs = runtime.block_on(measure(users));
        for cost in &costs {
            println!(
                "{users:>9} {:<13} {:>9} {:>9} {:>9} {:>9.1} {:>9.2} {:>9.2} {:>9.1}",
                cost.name,
                cost.okta_requests,
                cost.apono_requests,
                cost.apono_writes,
                cost.mib,
                cost.wall.as_secs_f64(),
                cost.cpu.as_secs_f64(),
                cost.peak_mib
            );
        }
        let runs: Vec<_> = costs.iter().map(Cost::json).collect();
        all.push(json!({ "users": users, "groups": users / 20, "memberships": users * 10, "runs": runs }));
    }
    println!("{}", Value::from(all));
}

impl Cost {
    fn json(&self) -> Value {
        json!({
            "run": self.name, "okta_requests": self.okta_requests, "apono_requests": self.apono_requests,
            "apono_writes": self.apono_writes, "mib": self.mib, "wall_seconds": self.wall.as_secs_f64(),
            "cpu_seconds": self.cpu.as_secs_f64(), "peak_mib": self.peak_mib,
        })
    }
}

async fn measure(users: usize) -> Vec<Cost> {
    let (world, seeded) = World::new(users);
    // What was changed a moment ago is read once more, because it could change again in the same instant.
    tokio::time::sleep(Duration::from_secs(65)).await;
    let before = Sample { bytes: loopback_bytes(), ..Sample::default() };
    let mut meter = Meter { connector: world.start(), world, before };
    let mut costs = vec![meter.cost_of_run(1, "first run").await];
    costs.push(meter.cost_of_run(2, "no change").await);
    for (n, user) in seeded.users.iter().step_by(1000).enumerate() {
        if n % 2 == 0 {
            meter.world.stage.okta.update_profile(user, &json!({ "title": "Changed" }));
        } else {
            meter.world.stage.okta.add_member(&seeded.groups[n % seeded.groups.len()], user);
        }
    }
    costs.push(meter.cost_of_run(3, "0.1 % changed").await);
    costs
}

/// Measures one process from outside.
struct Meter {
    connector: Child,
    world: World,
    before: Sample,
}

#[derive(Clone, Copy, Default)]
struct Sample {
    cpu: Duration,
    peak_mib: f64,
    okta: u64,
    apono: u64,
    writes: u64,
    bytes: u64,
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
            bytes: loopback_bytes(),
        }
    }
}

impl Meter {
    /// What the nth run has cost, when it has ended well.
    async fn cost_of_run(&mut self, n: usize, name: &'static str) -> Cost {
        let wall = self.until_run(n).await;
        let (now, before) = (Sample::of(self), self.before);
        self.before = now;
        #[expect(clippy::cast_precision_loss, reason = "bytes of one run")]
        let mib = (now.bytes - before.bytes) as f64 / (1024.0 * 1024.0);
        Cost {
            name,
            okta_requests: now.okta - before.okta,
            apono_requests: now.apono - before.apono,
            apono_writes: now.writes - before.writes,
            mib,
            wall,
            cpu: now.cpu.saturating_sub(before.cpu),
            peak_mib: now.peak_mib,
        }
    }

    /// Until the nth run has ended; how long it took by its own account.
    async fn until_run(&self, n: usize) -> Duration {
        loop {
            let text = std::fs::read_to_string(self.world.log()).unwrap();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let ended: Vec<Value> = lines.filter(|line| line["outcome"].is_string()).collect();
            for run in &ended {
                assert_eq!(run["outcome"], "completed", "{run}");
            }
            if let Some(run) = ended.get(n - 1) {
                return Duration::from_secs_f64(run["seconds"].as_f64().unwrap());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What has gone over the loopback interface, by whomever.
fn loopback_bytes() -> u64 {
    let devices = std::fs::read_to_string("/proc/net/dev").unwrap();
    let loopback = devices.lines().find_map(|line| line.trim().strip_prefix("lo:")).unwrap();
    loopback.split_whitespace().next().unwrap().parse().unwrap()
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
    fn new(users: usize) -> (Self, okta::Seeded) {
        let stage = Stage::new(okta::Settings { limits: Limits::unlimited(), ..okta::Settings::default() });
        let seed = okta::Seed {
            users,
            groups: users / 20,
            members_per_group: 200,
            seed: 1,
            ..okta::Seed::default()
        };
        let seeded = stage.okta.seed(seed);
        let configuration = stage.configure("[okta.directory]\ninterval = \"5s\"\n");
        (Self { stage, configuration }, seeded)
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
