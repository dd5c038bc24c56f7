//! # Purpose
//! How far a directory run is, and how long the part that goes on will take by what Okta's limits allow.
//!
//! # Invariants kept here
//! - Pure. What is not known is left out, never guessed: no total without a count, no time without a total.
//!
//! # Not here
//! Gathering it while a run goes on: `tracker`. What a bucket allows: `http::budget`.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::http::budget::claim::last_goes_at;
use crate::http::budget::{Pace, Seen};

/// The parts of a run, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Okta's groups are listed.
    Groups,
    /// Okta's users are listed, or those who have changed.
    Users,
    /// The members of groups are listed, group by group.
    Members,
    /// The SCIM service's users are listed.
    ProviderUsers,
    /// The SCIM service's groups are listed.
    ProviderGroups,
    /// Both sides are compared.
    Planning,
    /// Each removal is asked for by itself.
    SecondLooks,
    /// The plan is carried out.
    Writing,
}

impl Phase {
    /// What goes on, for a person.
    pub fn title(self) -> &'static str {
        match self {
            Self::Groups => "reading groups",
            Self::Users => "reading users",
            Self::Members => "reading members",
            Self::ProviderUsers => "reading the SCIM service's users",
            Self::ProviderGroups => "reading the SCIM service's groups",
            Self::Planning => "planning",
            Self::SecondLooks => "looking at removals a second time",
            Self::Writing => "writing",
        }
    }

    /// Whether both go on at the same time: what they read comes out of different buckets.
    pub fn goes_with(self, other: Self) -> bool {
        matches!((self, other), (Self::Users, Self::Members) | (Self::Members, Self::Users))
    }

    /// What is counted.
    fn counted(self) -> Option<&'static str> {
        match self {
            Self::Users | Self::ProviderUsers => Some("users"),
            Self::Groups | Self::Members | Self::ProviderGroups => Some("groups"),
            Self::Planning => None,
            Self::SecondLooks => Some("removals"),
            Self::Writing => Some("changes"),
        }
    }
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// When the run began.
    pub run_started_at: Timestamp,
    /// What it does now.
    pub phase: Phase,
    /// How much of that is done.
    pub done: u64,
    /// How much of it there is, where that is known.
    pub total: Option<u64>,
    /// How long this phase will take from now on, where that can be said.
    pub eta_seconds: Option<u64>,
    /// The requests that Okta's limits leave the directory in a minute, where these are what holds it up.
    pub requests_per_minute: Option<u32>,
}

/// The requests that a whole phase makes to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The bucket that they spend from; none at a peer without limits, whose pace is what was seen of it.
    pub bucket: Option<&'static str>,
    /// How many there are.
    pub requests: u64,
}

/// How a phase stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How much is done.
    pub done: u64,
    /// How much there is.
    pub total: Option<u64>,
    /// The requests that were made for what is done, where they are counted.
    pub requests: u64,
    /// How long it has gone on.
    pub elapsed: Duration,
    /// The requests of the whole phase, as far as was known when it began.
    pub work: Vec<Work>,
}

/// What is left to ask of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Requests.
    pub requests: u64,
    /// What is known of the bucket.
    pub seen: Seen,
}

/// How long something will take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// From now on.
    pub left: Duration,
    /// The requests that are allowed in a minute, where they decide it.
    pub a_minute: Option<u32>,
}

/// Okta counts per minute.
const WINDOW: Duration = Duration::from_mins(1);

/// What a phase has left to ask. `seen` tells of a bucket.
pub fn left(standing: &Standing, seen: impl Fn(&str) -> Seen) -> Option<Vec<Left>> {
    let Standing { done, total, requests, elapsed, work } = standing;
    let total = total.filter(|total| total >= done)?;
    let rest = total - done;
    let of_bucket = |work: &Work| {
        let foreseen = share(work.requests, rest, total);
        // A group may have more pages than one: what was seen of the others counts.
        let by_those_done = share(*requests, rest, *done);
        if let Some(bucket) = work.bucket {
            return Left { requests: foreseen.max(by_those_done), seen: seen(bucket) };
        }
        let each = u32::try_from(*done).ok().filter(|done| *done > 0).map(|done| *elapsed / done);
        Left { requests: rest, seen: Seen { pace: None, latency: each } }
    };
    Some(work.iter().map(of_bucket).collect())
}

/// `of` times `part` of `whole`, rounded up.
fn share(of: u64, part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    let share = (u128::from(of) * u128::from(part)).div_ceil(u128::from(whole));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// How long it takes to ask what is left, so many requests at a time. Nothing where nothing is known of a peer.
pub fn estimate(left: &[Left], at_once: u32) -> Option<Estimate> {
    let (mut by_budget, mut a_minute, mut answering) = (Duration::ZERO, None, Duration::ZERO);
    for Left { requests, seen } in left.iter().filter(|left| left.requests > 0) {
        if seen.pace.is_none() && seen.latency.is_none() {
            return None;
        }
        if let Some(pace) = seen.pace {
            let waits = waiting(*requests, pace);
            if waits > by_budget {
                (by_budget, a_minute) = (waits, Some(pace.a_window));
            }
        }
        answering = answering.saturating_add(times(seen.latency.unwrap_or_default(), *requests));
    }
    let answering = answering / at_once.max(1);
    Some(if by_budget >= answering {
        Estimate { left: by_budget, a_minute }
    } else {
        Estimate { left: answering, a_minute: None }
    })
}

/// Until the last of these requests may go: what the present window leaves goes at once, then a window's worth with
/// each window, the last part of it late.
fn waiting(requests: u64, pace: Pace) -> Duration {
    let later = requests.saturating_sub(pace.left.into());
    if later == 0 {
        return Duration::ZERO;
    }
    let whole_windows = (later - 1) / u64::from(pace.a_window.max(1));
    let in_the_last = later - whole_windows * u64::from(pace.a_window.max(1));
    let within = WINDOW.mul_f64(last_goes_at(in_the_last, pace.a_window));
    pace.resets_in.saturating_add(times(WINDOW, whole_windows)).saturating_add(within)
}

fn times(each: Duration, number: u64) -> Duration {
    u32::try_from(number).map_or(Duration::MAX, |number| each.saturating_mul(number))
}

impl Progress {
    /// One line for a person.
    pub fn sentence(&self) -> String {
        let mut text = self.phase.title().to_owned();
        if let Some(counted) = self.phase.counted() {
            let done = thousands(self.done);
            let count = match self.total {
                Some(total) => format!(": {done} of {} {counted}", thousands(total)),
                None => format!(": {done} {counted}"),
            };
            text.push_str(&count);
        }
        if let Some(seconds) = self.eta_seconds {
            text.push_str(", ");
            text.push_str(&about(seconds));
        }
        if let Some(requests) = self.requests_per_minute {
            // Writing to a String cannot fail.
            let _ = write!(text, " (Okta allows {} requests a minute)", thousands(requests.into()));
        }
        text
    }
}

/// A time that is an estimate and does not pretend to be more.
fn about(seconds: u64) -> String {
    match seconds.div_ceil(60) {
        0 | 1 => "less than a minute left".to_owned(),
        minutes @ 2..60 => format!("about {minutes} min left"),
        minutes => format!("about {} h {} min left", minutes / 60, minutes % 60),
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn pace(a_window: u32, left: u32, resets_in: u64) -> Pace {
        Pace { a_window, left, resets_in: seconds(resets_in) }
    }

    fn asks(requests: u64, pace: impl Into<Option<Pace>>, latency_ms: Option<u64>) -> Left {
        Left { requests, seen: Seen { pace: pace.into(), latency: latency_ms.map(Duration::from_millis) } }
    }

    #[test]
    fn the_time_left_follows_from_the_budget_or_from_the_answers_whichever_is_slower() {
        let table = [
            ("nothing is left", vec![asks(0, None, None)], 5, Some((0, None))),
            ("nothing is known", vec![asks(7, None, None)], 5, None),
            ("this window suffices", vec![asks(20, pace(25, 20, 50), None)], 5, Some((0, None))),
            (
                "one more than this window has",
                vec![asks(21, pace(25, 20, 50), None)],
                5,
                Some((50, Some(25))),
            ),
            ("what goes early in the next", vec![asks(39, pace(25, 20, 50), None)], 5, Some((50, Some(25)))),
            ("exactly one window more", vec![asks(45, pace(25, 20, 50), None)], 5, Some((65, Some(25)))),
            ("and one request more", vec![asks(46, pace(25, 20, 50), None)], 5, Some((110, Some(25)))),
            ("no request is left now", vec![asks(100, pace(25, 0, 10), Some(10))], 5, Some((205, Some(25)))),
            ("answers are slower", vec![asks(100, pace(250, 200, 10), Some(500))], 5, Some((10, None))),
            ("one at a time", vec![asks(100, pace(250, 200, 10), Some(500))], 1, Some((50, None))),
            ("a peer without limits", vec![asks(30, None, Some(2000))], 1, Some((60, None))),
            (
                "the narrowest bucket decides",
                vec![asks(100, pace(50, 50, 30), Some(1)), asks(100, pace(25, 25, 30), Some(1))],
                5,
                Some((165, Some(25))),
            ),
            (
                "answers of all buckets take turns",
                vec![asks(10, pace(50, 50, 30), Some(1000)), asks(10, pace(50, 50, 30), Some(3000))],
                2,
                Some((20, None)),
            ),
            (
                "no limit is too large",
                vec![asks(u64::MAX, pace(1, 0, 1), None)],
                0,
                Some((u64::MAX, Some(1))),
            ),
        ];
        for (what, left, at_once, wanted) in table {
            let found = estimate(&left, at_once).map(|found| (found.left.as_secs(), found.a_minute));
            assert_eq!(found, wanted, "{what}");
        }
    }

    #[test]
    fn what_is_left_to_ask_follows_from_what_was_foreseen_and_from_what_was_seen() {
        let groups = |requests| vec![Work { bucket: Some("groups"), requests }];
        let table = [
            ("no total", 10, None, 1, groups(5), None),
            ("more than there was last time", 11, Some(10), 1, groups(5), None),
            ("as foreseen", 400, Some(1000), 2, groups(5), Some(vec![3])),
            ("a page that is not full", 401, Some(1000), 3, groups(5), Some(vec![5])),
            ("groups of three pages", 10, Some(30), 30, groups(30), Some(vec![60])),
            ("at the beginning", 0, Some(30), 0, groups(30), Some(vec![30])),
            ("nothing", 0, Some(0), 0, groups(0), Some(vec![0])),
            (
                "several buckets",
                5,
                Some(10),
                0,
                vec![Work { bucket: Some("a"), requests: 8 }, Work { bucket: Some("b"), requests: 2 }],
                Some(vec![4, 1]),
            ),
        ];
        for (what, done, total, requests, work, wanted) in table {
            let standing = Standing { done, total, requests, elapsed: seconds(10), work };
            let found = left(&standing, |_| Seen::default());
            let found = found.map(|left| left.iter().map(|left| left.requests).collect::<Vec<_>>());
            assert_eq!(found, wanted, "{what}");
        }
        let work = vec![Work { bucket: None, requests: 0 }];
        let standing = Standing { done: 5, total: Some(25), requests: 0, elapsed: seconds(10), work };
        assert_eq!(
            left(&standing, |_| Seen::default()),
            Some(vec![asks(20, None, Some(2000))]),
            "each took 2 s"
        );
    }

    #[test]
    fn a_person_reads_one_line() {
        let progress = |phase, done, total, eta_seconds, requests_per_minute| Progress {
            run_started_at: Timestamp::UNIX_EPOCH,
            phase,
            done,
            total,
            eta_seconds,
            requests_per_minute,
        };
        let table = [
            (
                progress(Phase::Members, 1200, Some(5000), Some(230), Some(25)),
                "reading members: 1,200 of 5,000 groups, about 4 min left (Okta allows 25 requests a minute)",
            ),
            (progress(Phase::Users, 1_234_567, None, None, None), "reading users: 1,234,567 users"),
            (progress(Phase::Planning, 0, None, None, None), "planning"),
            (
                progress(Phase::Writing, 0, Some(12), Some(60), None),
                "writing: 0 of 12 changes, less than a minute left",
            ),
            (
                progress(Phase::Groups, 0, Some(999), Some(7300), None),
                "reading groups: 0 of 999 groups, about 2 h 2 min left",
            ),
        ];
        for (progress, line) in table {
            assert_eq!(progress.sentence(), line);
        }
    }
}
