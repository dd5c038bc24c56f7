//! Several daemons within the limits that a service app has in a small organization: the directory is read again and again,
//! grants are given and ended, and Okta refuses nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use apono_connector::clock;
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use serde_json::Value;
use simulator::okta::{Bucket, Limits};

use super::daemons::Fleet;
use super::postgres::Base;

/// Nothing may take longer; generous, because what is to be done waits for Okta's windows.
const LIMIT: Duration = Duration::from_mins(5);
pub const DAEMONS: usize = 4;
/// `okta[].rate_limit_share`, where nothing else is written.
const SHARE: f64 = 0.8;

/// What was asked of Okta.
#[derive(Debug, Default)]
pub struct Asked {
    /// Of each bucket: its limit, what was spent of its fullest window, requests, and those that were refused.
    pub buckets: BTreeMap<Bucket, Spent>,
    /// Requests of each daemon, by bucket and lane.
    pub daemons: Vec<BTreeMap<String, u64>>,
    /// The most requests that were on their way together.
    pub at_once: usize,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    pub limit: u32,
    pub fullest: u32,
    pub requests: u32,
    pub refused: u32,
}

/// Four daemons, and a directory that takes them a part of a window to read.
pub async fn fleet(base: &Base) -> Fleet {
    let mut fleet = Fleet::limited(base, 40, 15, Limits::integrator_app());
    fleet.world.okta.configure(|settings| settings.latency = Duration::from_millis(100));
    for host in 0..DAEMONS {
        fleet.start(host).await;
    }
    fleet
}

/// Waits until the directory was read so often.
pub async fn until_read(fleet: &mut Fleet, times: usize) {
    let read = async {
        while runs(fleet) < times {
            clock::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LIMIT, read).await.expect("the directory is read");
}

/// Waits until the daemons hold all of the share, by their own metrics.
pub async fn until_divided(fleet: &mut Fleet) {
    const SLICE: &str = "apono_connector_fleet_slice_ratio{";
    let divided = async {
        loop {
            let mut sum = 0.0;
            for host in 0..DAEMONS {
                let (_, metrics) = fleet.daemon(host).ask("/metrics").await;
                let slices = metrics.lines().filter(|line| line.starts_with(SLICE));
                sum +=
                    slices.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>();
            }
            if (0.95..=1.0).contains(&sum) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, divided).await.expect("the share is divided");
}

/// How often the directory was read in full, by any of them.
pub fn runs(fleet: &mut Fleet) -> usize {
    let ends = |line: &Value| line["event"] == "directory_run_ends" && line["outcome"] == "completed";
    let of = |host| {
        let text = fleet.daemon(host).text();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(ends).count()
    };
    (0..DAEMONS).map(of).sum()
}

/// How many of these tasks were answered how.
pub fn answers(fleet: &Fleet, tasks: &[String]) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for result in tasks.iter().filter_map(|task| fleet.world.apono.result(task)) {
        *answers.entry(result["code"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    answers
}

/// How many of these tasks gave access.
pub fn given(fleet: &Fleet, tasks: &[String]) -> usize {
    answers(fleet, tasks).get("granted").copied().unwrap_or(0)
}

/// What was asked until now.
pub async fn asked(fleet: &mut Fleet) -> Asked {
    let limits = Limits::integrator_app();
    let window = SignedDuration::try_from(limits.window()).unwrap();
    let mut asked = Asked { at_once: fleet.world.okta.peak_concurrency(), ..Asked::default() };
    let mut windows: BTreeMap<Bucket, (Timestamp, u32)> = BTreeMap::new();
    for call in fleet.world.okta.calls() {
        let Some(bucket) = call.bucket else { continue };
        let spent = asked.buckets.entry(bucket).or_default();
        let (ends, of_window) = windows.entry(bucket).or_insert((Timestamp::MIN, 0));
        if call.at >= *ends {
            // It ends on a whole second, which is what a header can say.
            let end = call.at.checked_add(window).unwrap().round(whole_seconds()).unwrap();
            (*ends, *of_window) = (end, 0);
        }
        *of_window += 1;
        spent.limit = limits.budget(bucket).unwrap_or(u32::MAX);
        spent.fullest = spent.fullest.max(*of_window);
        spent.requests += 1;
        spent.refused += u32::from(call.status == 429);
    }
    for host in 0..DAEMONS {
        let (_, metrics) = fleet.daemon(host).ask("/metrics").await;
        asked.daemons.push(metrics.lines().filter_map(request_line).collect());
    }
    asked
}

fn whole_seconds() -> TimestampRound {
    TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil)
}

/// Bucket and lane of a line like `apono_connector_okta_budget_requests_total{…,bucket="…",lane="…"} 7`, and its number.
fn request_line(line: &str) -> Option<(String, u64)> {
    let line = line.strip_prefix("apono_connector_okta_budget_requests_total{")?;
    let (labels, number) = line.split_once("} ")?;
    let label = |name: &str| labels.split(&format!("{name}=\"")).nth(1)?.split('"').next();
    Some((format!("{} {}", label("bucket")?, label("lane")?), number.parse().ok()?))
}

impl Asked {
    /// How many requests Okta has refused.
    pub fn refused(&self) -> u32 {
        self.buckets.values().map(|spent| spent.refused).sum()
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text =
            String::from("     bucket  requests  429s  the fullest window, of the limit, of the share\n");
        for (bucket, spent) in &self.buckets {
            let Spent { limit, fullest, requests, refused } = *spent;
            let of_share = f64::from(fullest) / (f64::from(limit) * SHARE) * 100.0;
            let bucket = format!("{bucket:?}");
            writeln!(
                text,
                "{bucket:>11} {requests:>9} {refused:>5} {fullest:>19} of {limit:<13} {of_share:.0} %"
            )
            .unwrap();
        }
        for (host, requests) in self.daemons.iter().enumerate() {
            let all: u64 = requests.values().sum();
            writeln!(text, "daemon {host}: {all} requests, {requests:?}").unwrap();
        }
        write!(text, "{} at once at the most", self.at_once).unwrap();
        text
    }
}
