//! # Purpose
//! The state of one bucket and who may spend from it.
//!
//! # Invariants kept here
//! - Pure: `now` is an argument.
//! - An estimate errs towards fewer requests left.
//! - Whoever else spends from the bucket is yielded to, the directory first: removals and grants keep their reserve.
//!   Siblings keep to their own slices.
//!
//! # Not here
//! Waiting: `Budget`. How much of a limit is whose: `claim`.

use std::time::Duration;

use super::claim::{ALONE, Claim, LATE, TELLING, Window, allowance, directory_allowance, floor, scaled};
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
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// At least so many of this window were somebody else's: a sibling's or another client's.
    others: u32,
    /// Of our share, what siblings have held of this window at the most.
    of_siblings: f64,
    /// What other clients spend in a window, as the last ones have shown.
    foreign_usual: u32,
    /// The same, as an answer late in this window has shown.
    foreign_so_far: Option<u32>,
    /// What was spent of the last windows beyond what all clients may, and the fleet gives back.
    overrun: u32,
    /// The same for the next window, as an answer late in this one has shown.
    overrun_so_far: Option<u32>,
    /// Whether any window was looked at late enough to tell what others spend.
    others_known: bool,
    /// When an answer told of the bucket the last time.
    seen: Duration,
    /// When the window before this one ended, and what of it was ours.
    before: Option<(Duration, u32)>,
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

/// Why a request may not go yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What the lane may spend of the window is spent.
    Spent,
    /// Okta has refused with 429.
    Refused,
    /// Other clients of the organization spend, and are yielded to.
    Others,
    /// Other daemons of ours hold the rest of the share.
    Slice,
    /// As many requests are on their way as may be.
    Slots,
}

impl Reason {
    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spent => "the lane's part of Okta's rate limit window is spent",
            Self::Refused => "Okta has answered 429 and named the end of its rate limit window",
            Self::Others => {
                "other clients of the organization use Okta's rate limit window, and are left their part"
            }
            Self::Slice => "other daemons hold the rest of the rate limit share",
            Self::Slots => "as many requests are on their way as may be",
        }
    }
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
    pub fn check(&mut self, lane: Lane, claim: Claim, now: Duration) -> Admission {
        self.roll(claim, now);
        if let Some(until) = self.blocked_until {
            return Admission::NotBefore(until);
        }
        if lane == Lane::Directory && claim.slice <= 0.0 {
            return Admission::NotBefore(now + self.window());
        }
        let Some(limit) = self.limit else {
            // Nothing is known before the first answer; the cap on concurrency bounds what is risked.
            return Admission::Now;
        };
        let window = self.standing(limit, claim, now);
        if self.remaining > floor(lane, limit, claim, window) {
            return Admission::Now;
        }
        let Some(ends) = self.window_ends else {
            return Admission::NotBefore(now + RECHECK);
        };
        // What is kept for later, and for others, becomes less as the window goes on.
        let at = |part: f64| ends.saturating_sub(self.window().mul_f64(1.0 - part));
        let step = if window.foreign_to_come > 0 { now + self.window().mul_f64(STEP) } else { ends };
        let next_step = match lane {
            Lane::Directory if window.part < TELLING => at(TELLING),
            Lane::Directory if window.part < LATE && claim.has_siblings() => at(LATE).min(step),
            Lane::Removal | Lane::Grant | Lane::Verification | Lane::Directory => step,
        };
        Admission::NotBefore(next_step.min(ends))
    }

    /// Why [`Ledger::check`] has just not let a request through.
    pub fn reason(&self, lane: Lane, claim: Claim, now: Duration) -> Reason {
        if self.blocked_until.is_some() {
            return Reason::Refused;
        }
        let Some(limit) = self.limit else {
            return if claim.has_siblings() { Reason::Slice } else { Reason::Spent };
        };
        let alone = Claim { slice: 1.0, ..claim };
        if claim.has_siblings()
            && self.remaining > floor(lane, limit, alone, self.standing(limit, alone, now))
        {
            return Reason::Slice;
        }
        let others = self.standing(limit, claim, now);
        let are_there = others.others_spent > 0 || others.foreign_to_come > 0 || others.overrun > 0;
        let would_have = limit.saturating_sub(floor(lane, limit, claim, ALONE));
        if are_there && self.ours < would_have { Reason::Others } else { Reason::Spent }
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
    pub fn observe(&mut self, reading: Reading, claim: Claim, now: Duration) {
        let Reading::Window { limit, remaining, resets_in } = reading else {
            return;
        };
        self.roll(claim, now);
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
                        self.turn(claim, now);
                    }
                }
                Some(_) => {
                    // Another limit in the middle of a window: what was whose cannot be told.
                    (self.others, self.foreign_usual, self.overrun) = (0, 0, 0);
                    self.ours = limit.saturating_sub(remaining);
                }
            }
        }
        (self.limit, self.seen) = (Some(limit), now);
        // Some of ours may not be counted there yet, so it is no more than that for certain.
        self.others = self.others.max((limit - remaining.min(limit)).saturating_sub(self.ours));
        let window = self.standing(limit, claim, now);
        if window.part >= TELLING {
            self.foreign_so_far = Some(self.foreign_in_a_window(window.foreign_spent, window.part));
            self.others_known = true;
        }
        if self.of_siblings > 0.0 {
            self.learn_overrun(limit, claim, window);
        }
    }

    /// What was too much of this window, together with what is given back already: for certain late in it, and at any time
    /// where it is more than was known.
    fn learn_overrun(&mut self, limit: u32, claim: Claim, window: Window) {
        let spent = (limit - self.remaining.min(limit)).saturating_add(window.foreign_to_come);
        let too_much = self.overrun.saturating_add(spent).saturating_sub(claim.well_spent(limit));
        let too_much = too_much.min(claim.of_fleet(limit));
        let least = if window.part < LATE || !self.has_spent(limit, claim) { self.overrun } else { 0 };
        if window.part >= LATE || too_much > least {
            self.overrun_so_far = Some(too_much.max(least));
        }
    }

    /// Whether we have spent most of what we may. Whoever spends little learns nothing about what would be too much.
    fn has_spent(&self, limit: u32, claim: Claim) -> bool {
        self.ours > allowance(limit, claim, self.overrun) / 2
    }

    /// From `now` on ours is `after` and no longer `before`. What was held by whom until now counts to the end of the window.
    pub fn reslice(&mut self, before: Claim, after: Claim, now: Duration) {
        self.roll(before, now);
        self.of_siblings = self.of_siblings.max(1.0 - after.slice);
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

    /// What was ours of this window or of the one before, whichever is more; nothing when both are long over.
    pub fn spent_lately(&self, now: Duration) -> u32 {
        let lately = |ends: Duration| now < ends.saturating_add(self.window());
        let of_this = if self.window_ends.is_none_or(lately) { self.ours } else { 0 };
        let of_the_last = self.before.filter(|(ended, _)| lately(*ended)).map_or(0, |(_, ours)| ours);
        of_this.max(of_the_last)
    }

    /// How much of the window is over, and what of it others have spent or may be expected to spend yet.
    fn standing(&self, limit: u32, claim: Claim, now: Duration) -> Window {
        let length = self.window();
        let left_at =
            |at| self.window_ends.map_or(length, |ends: Duration| ends.saturating_sub(at)).min(length);
        let part = |left| length.saturating_sub(left).div_duration_f64(length);
        // What is left falls unseen while others spend. Siblings would all come for it as soon as less is expected.
        let left_then = left_at(if claim.has_siblings() { self.seen } else { now });
        let foreign_spent = self.others.saturating_sub(claim.at_most(limit, self.of_siblings));
        let in_all = self.foreign_in_a_window(foreign_spent, part(left_then));
        Window {
            part: part(left_at(now)),
            others_known: self.others_known,
            others_spent: self.others,
            foreign_spent,
            foreign_to_come: scaled(in_all, left_then.div_duration_f64(length)),
            overrun: if claim.has_siblings() { self.overrun } else { 0 },
        }
    }

    /// What other clients spend in a window, when so much of it is over and so much spent: a few requests at its beginning
    /// tell nothing.
    fn foreign_in_a_window(&self, spent: u32, part: f64) -> u32 {
        if part < TELLING { self.foreign_usual.max(spent) } else { scaled(spent, 1.0 / part) }
    }

    /// A window is over.
    fn turn(&mut self, claim: Claim, ended: Duration) {
        let limit = self.limit.unwrap_or(0);
        let foreign = self.others.saturating_sub(claim.at_most(limit, self.of_siblings));
        // Where it was not looked at late enough, what is known is forgotten little by little.
        self.foreign_usual = self.foreign_so_far.take().unwrap_or(self.foreign_usual / 2).max(foreign);
        let overrun = if self.has_spent(limit, claim) { self.overrun / 2 } else { self.overrun };
        self.overrun = self.overrun_so_far.take().unwrap_or(overrun);
        self.before = Some((ended, self.ours));
        self.others = 0;
        self.of_siblings = 1.0 - claim.slice;
        self.ours = self.in_flight;
    }

    /// What the directory may spend; nothing before an answer has told the limit.
    pub fn pace(&self, claim: Claim, now: Duration) -> Option<Pace> {
        let mut current = self.clone();
        current.roll(claim, now);
        let limit = current.limit?;
        // What is kept for later in the window is spent in it all the same.
        let late = Window { part: 1.0, ..current.standing(limit, claim, now) };
        let left = match current.blocked_until {
            Some(_) => 0,
            None => current.remaining.saturating_sub(floor(Lane::Directory, limit, claim, late)),
        };
        let ends = current.blocked_until.or(current.window_ends);
        Some(Pace {
            a_window: directory_allowance(limit, claim),
            left,
            resets_in: ends.map_or(current.window() + ROUNDING, |ends| ends.saturating_sub(now)),
        })
    }

    fn roll(&mut self, claim: Claim, now: Duration) {
        if self.blocked_until.is_some_and(|until| until <= now) {
            self.blocked_until = None;
        }
        if let Some(ends) = self.window_ends.filter(|ends| *ends <= now) {
            self.window_ends = None;
            self.presumed = false;
            self.remaining = self.limit.unwrap_or(0);
            self.turn(claim, ends);
        }
        self.of_siblings = self.of_siblings.max(1.0 - claim.slice);
    }
}

/// Of a window, between two looks at what others have left.
const STEP: f64 = 0.1;
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
mod tests;
