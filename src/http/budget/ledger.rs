//! # Purpose
//! The state of one bucket and who may spend from it.
//!
//! # Invariants kept here
//! - Pure: `now` is an argument.
//! - Of Okta's limit only our share is spent; of our share a reserve is kept for more urgent lanes. Removals alone may
//!   spend to the last request (invariant 11).
//! - An estimate errs towards fewer requests left.
//! - Whoever else spends from the bucket is yielded to, the directory first: removals and grants keep their reserve.
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
    /// Ours of this window, whoever of us it was.
    ours: u32,
    /// At least so many of this window were somebody else's.
    others: u32,
    /// What others spend in a window, as the last ones have shown.
    others_usual: u32,
    /// The same, as an answer late in this window has shown.
    others_so_far: Option<u32>,
    /// Whether any window was looked at late enough to tell what others spend.
    others_known: bool,
    /// When the last window ended, or will, by what an answer said.
    last_end: Option<Duration>,
    /// From the end of one window to the end of the next, where that is less than the usual.
    short_window: Option<Duration>,
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
        let Some(limit) = self.limit else {
            // Nothing is known before the first answer; the cap on concurrency bounds what is risked.
            return Admission::Now;
        };
        let elapsed = self.elapsed(now);
        if self.remaining > floor(lane, limit, share, elapsed) {
            return Admission::Now;
        }
        let Some(ends) = self.window_ends else {
            return Admission::NotBefore(now + RECHECK);
        };
        // What is kept for later, and for others, becomes less as the window goes on.
        let telling = ends.saturating_sub(self.window().mul_f64(1.0 - TELLING));
        let next_step = if elapsed.part < TELLING && lane == Lane::Directory {
            telling
        } else if elapsed.others_to_come > 0 {
            now + self.window().mul_f64(STEP)
        } else {
            ends
        };
        Admission::NotBefore(next_step.min(ends))
    }

    /// A request that [`Ledger::check`] let through is on its way.
    pub fn spend(&mut self, now: Duration) {
        if self.window_ends.is_none() && self.limit.is_some() {
            // Answers may never speak of this window (errors of a proxy do not); it must end all the same.
            self.window_ends = Some(now + self.window() + ROUNDING);
            self.presumed = true;
        }
        self.remaining = self.remaining.saturating_sub(1);
        self.ours += 1;
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
        let guessed = self.presumed || self.window_ends.is_none();
        let same_window = !self.presumed && self.window_ends.is_some_and(|known| ends <= known + SAME_WINDOW);
        if same_window && self.limit == Some(limit) {
            // Answers arrive out of order; the lowest count is the latest truth or an error in our favor.
            self.remaining = self.remaining.min(remaining);
            self.window_ends = self.window_ends.max(Some(ends));
            self.last_end = self.window_ends;
        } else {
            // Others of ours may be on their way and not counted yet.
            self.remaining = remaining.saturating_sub(self.in_flight.saturating_sub(1));
            self.window_ends = Some(ends);
            self.presumed = false;
            match self.last_end.replace(ends) {
                None => {}
                Some(last) if last <= now + SAME_WINDOW => {
                    let length = ends.saturating_sub(last).max(ROUNDING);
                    self.short_window = (length < SHORT).then_some(length);
                    if !guessed {
                        self.turn();
                    }
                }
                Some(_) => {
                    // Another limit in the middle of a window: what was whose cannot be told.
                    (self.others, self.others_usual) = (0, 0);
                    self.ours = limit.saturating_sub(remaining);
                }
            }
        }
        self.limit = Some(limit);
        // Some of ours may not be counted there yet, so it is no more than that for certain.
        self.others = self.others.max((limit - remaining.min(limit)).saturating_sub(self.ours));
        let part = self.elapsed(now).part;
        if part >= TELLING {
            self.others_so_far = Some(self.others_in_a_window(part));
            self.others_known = true;
        }
    }

    /// Okta refused for the rest of the window: nothing goes before `until`.
    pub fn block(&mut self, until: Duration) {
        self.blocked_until = self.blocked_until.max(Some(until));
    }

    /// Limit and requests left, as far as known.
    pub fn known(&self) -> Option<(u32, u32)> {
        self.limit.map(|limit| (limit, self.remaining))
    }

    /// How long a window is, as the last two have shown.
    pub fn window(&self) -> Duration {
        self.short_window.unwrap_or(USUAL_WINDOW)
    }

    /// How much of the window is over, and what of it others have spent or may be expected to spend yet.
    fn elapsed(&self, now: Duration) -> Elapsed {
        let window = self.window();
        let left = self.window_ends.map_or(window, |ends| ends.saturating_sub(now)).min(window);
        let part = window.saturating_sub(left).div_duration_f64(window);
        let others_to_come = scaled(self.others_in_a_window(part), left.div_duration_f64(window));
        Elapsed { part, others_known: self.others_known, others_spent: self.others, others_to_come }
    }

    /// What others spend in a window, when so much of it is over: a few requests at its beginning tell nothing.
    fn others_in_a_window(&self, part: f64) -> u32 {
        if part < TELLING { self.others_usual.max(self.others) } else { scaled(self.others, 1.0 / part) }
    }

    /// A window is over.
    fn turn(&mut self) {
        // Where it was not looked at late enough, what is known is forgotten little by little.
        self.others_usual = self.others_so_far.take().unwrap_or(self.others_usual / 2).max(self.others);
        self.others = 0;
        self.ours = self.in_flight;
    }

    /// What the directory may spend; nothing before an answer has told the limit.
    pub fn pace(&self, share: f64, now: Duration) -> Option<Pace> {
        let mut current = self.clone();
        current.roll(now);
        let limit = current.limit?;
        // What is kept for later in the window is spent in it all the same.
        let late = Elapsed { part: 1.0, ..current.elapsed(now) };
        let left = match current.blocked_until {
            Some(_) => 0,
            None => current.remaining.saturating_sub(floor(Lane::Directory, limit, share, late)),
        };
        let ends = current.blocked_until.or(current.window_ends);
        Some(Pace {
            a_window: directory_allowance(limit, share),
            left,
            resets_in: ends.map_or(current.window() + ROUNDING, |ends| ends.saturating_sub(now)),
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
            self.turn();
        }
    }
}

/// How a window stands.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Elapsed {
    /// Of the window, `0.0..=1.0`.
    part: f64,
    /// Whether it is known what other clients of the organization spend in a window.
    others_known: bool,
    /// By them, of this one.
    others_spent: u32,
    others_to_come: u32,
}

/// Late in the window, and nobody else there: what the directory may spend in all.
const ALONE: Elapsed = Elapsed { part: 1.0, others_known: true, others_spent: 0, others_to_come: 0 };

/// The requests of a window that the directory may spend, for the governor.
pub fn directory_allowance(limit: u32, share: f64) -> u32 {
    limit.saturating_sub(floor(Lane::Directory, limit, share, ALONE)).max(1)
}

/// Requests of the window that `lane` must leave untouched: for others what of their share they have not spent, and by the
/// directory more if more is to come from them; for our more urgent lanes their reserve; and early in the window a part of
/// what the directory may spend in all, so that later answers tell what others have spent meanwhile.
///
/// What is only expected of others holds up no grant: Okta counts calls together that have other names here, and then our
/// own crawl looks like somebody else.
fn floor(lane: Lane, limit: u32, share: f64, window: Elapsed) -> u32 {
    // A share of less than one request is one: slow, and not for ever.
    let ours = scaled(limit, share.clamp(0.0, 1.0)).max(1).min(limit);
    let promised = (limit - ours).saturating_sub(window.others_spent);
    let others = match lane {
        Lane::Removal | Lane::Grant | Lane::Verification => promised,
        Lane::Directory => promised.max(window.others_to_come),
    };
    let reserve = (ours / RESERVE_PART).max(LEAST_RESERVE).min(ours / 2);
    let kept = match lane {
        Lane::Removal => return 0,
        Lane::Grant => reserve / 4,
        Lane::Verification => reserve / 2,
        Lane::Directory if window.part < TELLING => {
            let later = (ours - reserve) / LATER_PART;
            reserve + if window.others_known { later } else { (ours - reserve).saturating_sub(later) }
        }
        Lane::Directory => reserve,
    };
    // Whoever never asks never learns that the others have gone.
    let always = (ours / LEAST_PART).max(1);
    others.saturating_add(kept).min(limit - always)
}

/// How far into a window the last of so many requests of the directory goes, in parts of the window.
pub fn last_goes_at(requests: u64, allowance: u32) -> f64 {
    if requests > u64::from(allowance - allowance / LATER_PART) { TELLING } else { 0.0 }
}

fn scaled(number: u32, by: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative; saturates")]
    let scaled = (f64::from(number) * by).floor() as u32;
    scaled
}

/// So much of a window must be over before it tells how fast others spend.
const TELLING: f64 = 0.25;
/// Of a window, between two looks at what others have left.
const STEP: f64 = 0.1;
/// An eighth of our share is ours whatever others spend.
const LEAST_PART: u32 = 8;
/// A quarter of what the directory may spend is spent after that; before anything is known of others, all but a quarter.
const LATER_PART: u32 = 4;
/// A fifth of our share is kept for grants, removals and their verification.
const RESERVE_PART: u32 = 5;
const LEAST_RESERVE: u32 = 4;
/// `Date` and the reset are whole seconds, so the end of one window is seen a second apart.
const SAME_WINDOW: Duration = Duration::from_secs(2);
/// Okta counts per minute.
const USUAL_WINDOW: Duration = Duration::from_mins(1);
/// A window that looks a little shorter is one of those.
const SHORT: Duration = Duration::from_secs(50);
/// Both ends of a window are seen in whole seconds.
const ROUNDING: Duration = Duration::from_secs(1);
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
        assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(1)), 16, "most of it is for later");
        assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(16)), 48, "80 % of 100, less a fifth");
        assert_eq!(spend_all(&mut ledger, Lane::Verification, seconds(16)), 8);
        assert_eq!(spend_all(&mut ledger, Lane::Grant, seconds(16)), 4);
        assert_eq!(spend_all(&mut ledger, Lane::Removal, seconds(16)), 24, "removals may spend to the last");
        assert_eq!(ledger.check(Lane::Removal, SHARE, seconds(16)), Admission::NotBefore(seconds(60)));
    }

    #[test]
    fn the_next_window_is_full_again() {
        let mut ledger = Ledger::default();
        ledger.observe(window(100, 15, 30), seconds(0));
        assert_eq!(ledger.check(Lane::Directory, SHARE, seconds(29)), Admission::NotBefore(seconds(30)));
        assert_eq!(ledger.check(Lane::Directory, SHARE, seconds(30)), Admission::Now);
    }

    #[test]
    fn the_length_of_a_window_is_learned_when_one_follows_another() {
        let mut ledger = Ledger::default();
        ledger.observe(window(100, 40, 7), seconds(0));
        assert_eq!(ledger.window(), seconds(60), "it may have begun long ago");
        ledger.observe(window(100, 99, 61), seconds(3));
        assert_eq!(ledger.window(), seconds(60), "another end of a window that has not ended");
        ledger.observe(window(100, 99, 7), seconds(65));
        assert_eq!(ledger.window(), seconds(8));
        ledger.observe(window(100, 98, 3), seconds(69));
        assert_eq!(ledger.window(), seconds(8));
        ledger.observe(window(100, 99, 60), seconds(73));
        assert_eq!(ledger.window(), seconds(60));
    }

    #[test]
    fn the_pace_is_what_the_directory_may_spend() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.pace(SHARE, seconds(0)), None, "nothing is known yet");
        ledger.observe(window(100, 100, 60), seconds(0));
        let pace = |left, resets_in| Some(Pace { a_window: 64, left, resets_in: seconds(resets_in) });
        assert_eq!(ledger.pace(SHARE, seconds(10)), pace(64, 50), "also what is kept for later");
        assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(10)), 16);
        assert_eq!(ledger.pace(SHARE, seconds(10)), pace(48, 50));
        assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(20)), 48);
        assert_eq!(ledger.pace(SHARE, seconds(20)), pace(0, 40));
        assert_eq!(ledger.pace(SHARE, seconds(60)), pace(64, 61), "the next window is full");
        ledger.block(seconds(90));
        assert_eq!(ledger.pace(SHARE, seconds(70)), pace(0, 20));
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
        for second in 10..30 {
            let admission = ledger.check(Lane::Directory, SHARE, seconds(second));
            assert!(matches!(admission, Admission::NotBefore(_)), "at {second} s: {admission:?}");
        }
    }

    #[test]
    fn others_who_take_more_than_their_share_are_yielded_to_and_grants_keep_their_reserve() {
        // Somebody takes half of the bucket, evenly; the crawl takes what it may, whenever it may.
        let mut ledger = Ledger::default();
        let (limit, mut used, mut ours) = (240, 0, 0);
        for second in 0..600_u64 {
            let now = seconds(second);
            if second % 60 == 0 {
                (used, ours) = (0, 0);
            }
            used += 2;
            while ledger.check(Lane::Directory, SHARE, now) == Admission::Now {
                ledger.spend(now);
                (used, ours) = (used + 1, ours + 1);
                ledger.observe(window(limit, limit.saturating_sub(used), 60 - second % 60), now);
                ledger.settle();
            }
            assert!(used <= limit, "{used} at {second} s");
            assert_eq!(ledger.check(Lane::Grant, SHARE, now), Admission::Now, "{used} at {second} s");
            if second >= 120 && second % 60 == 59 {
                assert!((75..=95).contains(&ours), "{ours} in a window");
            }
        }
    }

    #[test]
    fn others_who_take_everything_leave_a_little_of_the_next_window() {
        let mut ledger = Ledger::default();
        ledger.observe(window(100, 30, 20), seconds(0));
        assert_eq!(ledger.check(Lane::Directory, SHARE, seconds(0)), Admission::NotBefore(seconds(6)));
        assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(20)), 10);
    }

    /// Okta counts the groups of a user with the listing of users: there the crawl is somebody else, who spends what it may
    /// at once, and looks as if it went on like that.
    #[test]
    fn our_own_crawl_under_another_name_holds_up_no_grant() {
        for second in 16..60_u64 {
            let mut ledger = Ledger::default();
            let now = seconds(second);
            let left = 116 - u32::try_from(second).unwrap();
            ledger.observe(window(300, left, 60 - second), now);
            for lane in [Lane::Removal, Lane::Grant, Lane::Verification] {
                assert_eq!(ledger.check(lane, SHARE, now), Admission::Now, "{lane:?} at {second} s");
            }
        }
    }

    #[test]
    fn whoever_spends_less_than_their_share_keeps_it() {
        let mut ledger = Ledger::default();
        ledger.observe(window(100, 95, 40), seconds(0));
        assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(0)), 64);
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
