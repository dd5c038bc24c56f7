//! # Purpose
//! The state of one bucket and who may spend from it.
//!
//! # Invariants kept here
//! - Pure: `now` is an argument.
//! - Of Okta's limit only our share is spent; of our share a reserve is kept for more urgent lanes. Removals alone may
//!   spend to the last request (invariant 11).
//! - An estimate errs towards fewer requests left.
//!
//! # Not here
//! Waiting: `Budget`.

use std::time::Duration;

use super::headers::Reading;

/// A priority class, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Taking access away.
    Removal,
    /// Giving access.
    Grant,
    /// Checking that a write had its effect, and answering questions.
    Verification,
    /// Everything that can wait.
    Directory,
}

impl Lane {
    /// The lane's name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Removal => "removal",
            Self::Grant => "grant",
            Self::Verification => "verification",
            Self::Directory => "directory",
        }
    }
}

/// What is known of one bucket. Times are on the monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    limit: Option<u32>,
    remaining: u32,
    window_ends: Option<Duration>,
    /// The end is our own guess: no answer has spoken of this window yet.
    presumed: bool,
    blocked_until: Option<Duration>,
    in_flight: u32,
}

/// Whether a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Now,
    /// Not before this instant, unless an answer brings better news.
    NotBefore(Duration),
}

/// What the directory may spend of one bucket, for estimates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Requests of a whole window.
    pub a_window: u32,
    /// Requests of the present window that are left.
    pub left: u32,
    /// Until the next window.
    pub resets_in: Duration,
}

impl Ledger {
    /// Whether a request of `lane` may go now, or when to ask again.
    pub fn check(&mut self, lane: Lane, share: f64, now: Duration) -> Admission {
        self.roll(now);
        if let Some(until) = self.blocked_until {
            return Admission::NotBefore(until);
        }
        match self.limit {
            // Nothing is known before the first answer; the cap on concurrency bounds what is risked.
            None => Admission::Now,
            Some(limit) if self.remaining > floor(lane, limit, share) => Admission::Now,
            Some(_) => Admission::NotBefore(self.window_ends.unwrap_or(now + RECHECK)),
        }
    }

    /// A request that [`Ledger::check`] let through is on its way.
    pub fn spend(&mut self, now: Duration) {
        if self.window_ends.is_none() && self.limit.is_some() {
            // Answers may never speak of this window (errors of a proxy do not); it must end all the same.
            self.window_ends = Some(now + PRESUMED_WINDOW);
            self.presumed = true;
        }
        self.remaining = self.remaining.saturating_sub(1);
        self.in_flight += 1;
    }

    /// A request has been answered, or never will be.
    pub fn settle(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Takes in what an answer said. Call before [`Ledger::settle`] of the same request.
    pub fn observe(&mut self, reading: Reading, now: Duration) {
        let Reading::Window { limit, remaining, resets_in } = reading else {
            return;
        };
        self.roll(now);
        let ends = now + resets_in;
        let same_window = !self.presumed && self.window_ends.is_some_and(|known| ends <= known + SAME_WINDOW);
        if same_window && self.limit == Some(limit) {
            // Answers arrive out of order; the lowest count is the latest truth or an error in our favor.
            self.remaining = self.remaining.min(remaining);
            self.window_ends = self.window_ends.max(Some(ends));
        } else {
            // Others of ours may be on their way and not counted yet.
            self.remaining = remaining.saturating_sub(self.in_flight.saturating_sub(1));
            self.window_ends = Some(ends);
            self.presumed = false;
        }
        self.limit = Some(limit);
    }

    /// Okta refused for the rest of the window: nothing goes before `until`.
    pub fn block(&mut self, until: Duration) {
        self.blocked_until = self.blocked_until.max(Some(until));
    }

    /// Limit and requests left, as far as known.
    pub fn known(&self) -> Option<(u32, u32)> {
        self.limit.map(|limit| (limit, self.remaining))
    }

    /// What the directory may spend; nothing before an answer has told the limit.
    pub fn pace(&self, share: f64, now: Duration) -> Option<Pace> {
        let mut current = self.clone();
        current.roll(now);
        let limit = current.limit?;
        let left = match current.blocked_until {
            Some(_) => 0,
            None => current.remaining.saturating_sub(floor(Lane::Directory, limit, share)),
        };
        let ends = current.blocked_until.or(current.window_ends);
        Some(Pace {
            a_window: directory_allowance(limit, share),
            left,
            resets_in: ends.map_or(PRESUMED_WINDOW, |ends| ends.saturating_sub(now)),
        })
    }

    fn roll(&mut self, now: Duration) {
        if self.blocked_until.is_some_and(|until| until <= now) {
            self.blocked_until = None;
        }
        if self.window_ends.is_some_and(|ends| ends <= now) {
            self.window_ends = None;
            self.presumed = false;
            self.remaining = self.limit.unwrap_or(0);
        }
    }
}

/// The requests of a window that the directory may spend, for the governor.
pub fn directory_allowance(limit: u32, share: f64) -> u32 {
    limit.saturating_sub(floor(Lane::Directory, limit, share)).max(1)
}

/// Requests of the window that `lane` must leave untouched.
fn floor(lane: Lane, limit: u32, share: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0.0..=1.0 times a u32 fits a u32"
    )]
    let ours = (f64::from(limit) * share.clamp(0.0, 1.0)).floor() as u32;
    // A share of less than one request is one: slow, and not for ever.
    let ours = ours.max(1).min(limit);
    let others = limit - ours;
    let reserve = (ours / RESERVE_PART).max(LEAST_RESERVE).min(ours / 2);
    match lane {
        Lane::Removal => 0,
        Lane::Grant => others + reserve / 4,
        Lane::Verification => others + reserve / 2,
        Lane::Directory => others + reserve,
    }
}

/// A fifth of our share is kept for grants, removals and their verification.
const RESERVE_PART: u32 = 5;
const LEAST_RESERVE: u32 = 4;
/// `Date` and the reset are whole seconds, so the end of one window is seen a second apart.
const SAME_WINDOW: Duration = Duration::from_secs(2);
/// Okta counts per minute; a second for rounding.
const PRESUMED_WINDOW: Duration = Duration::from_secs(61);
/// When a window has rolled over and its requests are all on their way, their answers will tell; this is the fallback.
const RECHECK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHARE: f64 = 0.8;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn window(limit: u32, remaining: u32, resets_in: u64) -> Reading {
        Reading::Window { limit, remaining, resets_in: seconds(resets_in) }
    }

    fn spend_all(ledger: &mut Ledger, lane: Lane, now: Duration) -> u32 {
        let mut spent = 0;
        while ledger.check(lane, SHARE, now) == Admission::Now {
            ledger.spend(now);
            ledger.settle();
            spent += 1;
        }
        spent
    }

    #[test]
    fn a_small_share_is_slow_and_not_for_ever() {
        for (limit, share) in [(40, 0.02), (1, 0.8), (2, 0.4)] {
            let mut ledger = Ledger::default();
            ledger.observe(window(limit, limit, 60), seconds(0));
            for lane in [Lane::Removal, Lane::Grant, Lane::Verification, Lane::Directory] {
                assert_eq!(
                    ledger.check(lane, share, seconds(1)),
                    Admission::Now,
                    "{share} of {limit} {lane:?}"
                );
            }
        }
    }

    #[test]
    fn each_lane_leaves_a_reserve_for_the_more_urgent_ones() {
        let mut ledger = Ledger::default();
        ledger.observe(window(100, 100, 60), seconds(0));
        assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(1)), 64, "80 % of 100, less a fifth");
        assert_eq!(spend_all(&mut ledger, Lane::Verification, seconds(1)), 8);
        assert_eq!(spend_all(&mut ledger, Lane::Grant, seconds(1)), 4);
        assert_eq!(spend_all(&mut ledger, Lane::Removal, seconds(1)), 24, "removals may spend to the last");
        assert_eq!(ledger.check(Lane::Removal, SHARE, seconds(1)), Admission::NotBefore(seconds(60)));
    }

    #[test]
    fn the_next_window_is_full_again() {
        let mut ledger = Ledger::default();
        ledger.observe(window(100, 21, 30), seconds(0));
        assert_eq!(ledger.check(Lane::Directory, SHARE, seconds(29)), Admission::NotBefore(seconds(30)));
        assert_eq!(ledger.check(Lane::Directory, SHARE, seconds(30)), Admission::Now);
    }

    #[test]
    fn the_pace_is_what_the_directory_may_spend() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.pace(SHARE, seconds(0)), None, "nothing is known yet");
        ledger.observe(window(100, 46, 30), seconds(0));
        let pace = |left, resets_in| Some(Pace { a_window: 64, left, resets_in: seconds(resets_in) });
        assert_eq!(
            ledger.pace(SHARE, seconds(10)),
            pace(10, 20),
            "46 left, 36 of them are not the directory's"
        );
        assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(10)), 10);
        assert_eq!(ledger.pace(SHARE, seconds(10)), pace(0, 20));
        assert_eq!(ledger.pace(SHARE, seconds(30)), pace(64, 61), "the next window is full");
        ledger.block(seconds(90));
        assert_eq!(ledger.pace(SHARE, seconds(50)), pace(0, 40));
    }

    #[test]
    fn a_window_that_no_answer_speaks_of_ends_all_the_same() {
        let mut ledger = Ledger::default();
        ledger.observe(window(100, 100, 60), seconds(0));
        assert_eq!(spend_all(&mut ledger, Lane::Removal, seconds(60)), 100);
        assert_eq!(ledger.check(Lane::Removal, SHARE, seconds(120)), Admission::NotBefore(seconds(121)));
        assert_eq!(spend_all(&mut ledger, Lane::Removal, seconds(121)), 100);
        // A guess gives way to what an answer says.
        ledger.observe(window(100, 70, 20), seconds(122));
        assert_eq!(spend_all(&mut ledger, Lane::Removal, seconds(122)), 70);
    }

    #[test]
    fn what_other_clients_take_is_noticed() {
        let mut ledger = Ledger::default();
        ledger.observe(window(100, 90, 30), seconds(0));
        ledger.observe(window(100, 5, 20), seconds(10));
        assert_eq!(ledger.check(Lane::Directory, SHARE, seconds(10)), Admission::NotBefore(seconds(30)));
    }

    #[test]
    fn a_concurrency_answer_says_nothing_about_the_window() {
        let mut ledger = Ledger::default();
        ledger.observe(window(100, 50, 30), seconds(0));
        let before = ledger.clone();
        ledger.observe(Reading::Concurrency, seconds(1));
        assert_eq!(ledger, before);
    }

    #[test]
    fn a_block_holds_every_lane_until_it_ends() {
        let mut ledger = Ledger::default();
        ledger.block(seconds(10));
        assert_eq!(ledger.check(Lane::Removal, SHARE, seconds(9)), Admission::NotBefore(seconds(10)));
        assert_eq!(ledger.check(Lane::Removal, SHARE, seconds(10)), Admission::Now);
    }

    proptest! {
        /// Against a window that counts exactly and answers that take up to a second, nothing is ever refused.
        #[test]
        fn never_spends_more_than_the_window_has(
            limit in 10_u32..300,
            steps in proptest::collection::vec((0_u64..900, 0_u64..1_000), 1..600),
        ) {
            let mut ledger = Ledger::default();
            let (mut now, mut window_ends, mut used) = (Duration::ZERO, Duration::ZERO, 0_u32);
            let mut answers: Vec<(Duration, Reading)> = Vec::new();
            for (pause, latency) in steps {
                now += Duration::from_millis(pause);
                answers.sort_by_key(|(due, _)| *due);
                while answers.first().is_some_and(|(due, _)| *due <= now) {
                    let (due, reading) = answers.remove(0);
                    ledger.observe(reading, due);
                    ledger.settle();
                }
                if answers.len() < 8 && ledger.check(Lane::Removal, 1.0, now) == Admission::Now {
                    ledger.spend(now);
                    if now >= window_ends {
                        (window_ends, used) = (now + seconds(60), 0);
                    }
                    used += 1;
                    prop_assert!(used <= limit, "request {used} of {limit}");
                    // Both header and Date are cut to whole seconds.
                    let resets_in = seconds(window_ends.as_secs() - now.as_secs() + 1);
                    answers.push((
                        now + Duration::from_millis(latency),
                        Reading::Window { limit, remaining: limit - used, resets_in },
                    ));
                }
            }
        }
    }
}
