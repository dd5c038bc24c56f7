//! # Purpose
//! Whose a limit is: ours, our siblings', other clients'; and what of ours is kept for what.
//!
//! # Invariants kept here
//! - Pure: values in, values out.
//! - Of Okta's limit only our share is spent, and of that only our slice; of our slice a reserve is kept for more urgent
//!   lanes. Removals alone may spend to the last request (invariant 11).
//! - What siblings may spend is never taken for another client's, however early in the window they spend it.
//! - With the whole share as its slice a daemon has no siblings, and none of what is said of them here applies.
//!
//! # Not here
//! What has happened in a window: `ledger`. How slices come about: `slices`.
//!
//! # Siblings
//! Daemons that share an organization see one figure of it: how many requests are left. It falls by what all of them
//! spend, and by what clients spend that are none of ours. With `T` for the fleet's share of limit `L`, `s` for our slice:
//!
//! 1. *Ours alone.* We leave untouched what of the `L - s*T` that are not ours others have not spent yet. Their requests
//!    lower what is left and what must be left by the same number, so that we spend `s*T` whatever our siblings do, and the
//!    sum of all slices is `T`.
//! 2. *Other clients' for certain* is only what others spend beyond `(1-s)*T`. Siblings spend in bursts, and what is
//!    concluded from a quarter of a window is multiplied by four: a sibling taken for another client would be yielded to for
//!    most of what we have, and would yield to us. Where a slice has grown in a window, it counts as what it was at its
//!    least, because the rest may have been spent by the one that held it then.
//! 3. *The sum.* The directory leaves other clients' part of the limit untouched as long as it is not certain that they
//!    have spent it. That is common to all daemons, so that a slice which goes from one to another in the middle of a window
//!    is not spent twice.
//! 4. *Clients that take more than their part* hide behind siblings who take less than theirs. What shows them is the sum:
//!    a window of which more was spent than leaves the fleet's reserve. A daemon looks at it late in the window, and for
//!    that keeps back a few requests. Everybody sees the same sum, and gives back `s` of the excess (`overrun`); where all
//!    are at work, that is all of it in one step, whoever has spent how much. Who was not at work in a window does not
//!    conclude from it that less need be given back.
//!
//! Removals keep to no slice, and each daemon knows only what the last answer told it: where more of them come at once than
//! a window has requests left, as many are refused as daemons reach for the last ones.
//!
//! What this costs: the first windows of a client that takes more than its part are overspent where a fleet is at work,
//! until the sum has shown it. And a daemon that has spent more of a window than its slice has become waits with its grants
//! for the next one, so slices are better moved once a window than all the time.

use std::time::Duration;

use super::Lane;

/// How much of a limit is ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// Of the limit, for all daemons together, `0.0..=1.0`.
    pub share: f64,
    /// Of the share, for this daemon, `0.0..=1.0`. The others hold the rest.
    pub slice: f64,
}

impl Claim {
    /// The requests of a window that all daemons may spend together. At least one.
    pub fn of_fleet(self, limit: u32) -> u32 {
        // A share of less than one request is one: slow, and not for ever.
        scaled(limit, self.share.clamp(0.0, 1.0)).max(1).min(limit)
    }

    /// The requests of a window that this daemon may spend. At least one; how often, where a slice is less than one
    /// request, is the directory's pace.
    fn ours(self, limit: u32) -> u32 {
        nearly(self.of_fleet(limit), self.slice).max(1).min(limit)
    }

    /// What `part` of the share is at the most.
    pub(super) fn at_most(self, limit: u32, part: f64) -> u32 {
        scaled_up(self.of_fleet(limit), part)
    }

    /// The requests of a window that all clients may spend before anybody has taken too many.
    pub(super) fn well_spent(self, limit: u32) -> u32 {
        let fleet = self.of_fleet(limit);
        (limit - reserve(fleet)).max(fleet)
    }

    /// Whether others hold a part of the share.
    pub(super) fn has_siblings(self) -> bool {
        self.slice < 1.0
    }
}

/// How a window stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    /// How much of it is over, `0.0..=1.0`.
    pub(super) part: f64,
    /// Whether it is known what other clients of the organization spend in a window.
    pub(super) others_known: bool,
    /// By siblings and other clients, of this one.
    pub(super) others_spent: u32,
    /// Of that, by other clients for certain.
    pub(super) foreign_spent: u32,
    /// By other clients, as far as can be told.
    pub(super) foreign_to_come: u32,
    /// What was spent of the last windows beyond what may be, and the fleet gives back.
    pub(super) overrun: u32,
}

/// Late in the window, and nobody else there: what the directory may spend in all.
pub(super) const ALONE: Window = Window {
    part: 1.0,
    others_known: true,
    others_spent: 0,
    foreign_spent: 0,
    foreign_to_come: 0,
    overrun: 0,
};

/// The requests of a window that the directory may spend, for the governor.
pub fn directory_allowance(limit: u32, claim: Claim) -> u32 {
    allowance(limit, claim, 0).max(1)
}

/// The same where so much was overrun.
pub(super) fn allowance(limit: u32, claim: Claim, overrun: u32) -> u32 {
    limit.saturating_sub(floor(Lane::Directory, limit, claim, Window { overrun, ..ALONE }))
}

/// How long after one request of the directory the next may go, in the long run. Nothing where it may not go at all.
pub(super) fn directory_pace(limit: u32, claim: Claim, window: Duration) -> Option<Duration> {
    let exact = f64::from(claim.of_fleet(limit)) * claim.slice;
    if claim.slice <= 0.0 {
        None
    } else if exact < 1.0 {
        // A request for each of many daemons may be more than the share has.
        Some(window.div_f64(exact.max(LEAST_PACE)))
    } else {
        Some(window / directory_allowance(limit, claim))
    }
}

/// Requests of the window that `lane` must leave untouched: for others what of their part they have not spent, and by the
/// directory more if more is to come from them; for our more urgent lanes their reserve; and early in the window a part of
/// what the directory may spend in all, so that later answers tell what others have spent meanwhile.
///
/// What is only expected of others holds up no grant: Okta counts calls together that have other names here, and then our
/// own crawl looks like somebody else.
pub(super) fn floor(lane: Lane, limit: u32, claim: Claim, window: Window) -> u32 {
    let ours = claim.ours(limit);
    let others = match lane {
        Lane::Removal => return 0,
        Lane::Directory if claim.slice <= 0.0 => return limit,
        Lane::Grant | Lane::Verification => (limit - ours).saturating_sub(window.others_spent),
        Lane::Directory => of_others(limit, claim, window),
    };
    let whole = reserve(claim.of_fleet(limit));
    let sliced = |kept| scaled_up(kept, claim.slice).min(ours / 2);
    let kept = match lane {
        Lane::Removal => 0,
        Lane::Grant => sliced(whole / 4),
        Lane::Verification => sliced(whole / 2),
        Lane::Directory => {
            let kept = sliced(whole);
            kept + for_later(ours - kept, claim, window)
        }
    };
    // Whoever never asks never learns that the others have gone. What siblings ask takes nothing of that.
    let always = (ours / LEAST_PART).max(1) + window.others_spent.saturating_sub(window.foreign_spent);
    others.saturating_add(kept).min(limit.saturating_sub(always))
}

/// What the directory leaves to siblings and to other clients. The numbers are those of *Siblings* above.
fn of_others(limit: u32, claim: Claim, window: Window) -> u32 {
    let foreign_part = limit - claim.of_fleet(limit);
    let foreign = window.foreign_spent.saturating_add(window.foreign_to_come);
    let excess = foreign.saturating_sub(foreign_part).max(window.overrun);
    let not_ours = (limit - claim.ours(limit)).saturating_add(scaled_up(excess, claim.slice)); // 1 and 4
    let foreign_left = foreign_part.saturating_sub(window.foreign_spent).max(window.foreign_to_come); // 2 and 3
    not_ours.saturating_sub(window.others_spent).max(foreign_left)
}

/// What of its requests the directory spends later in the window.
fn for_later(requests: u32, claim: Claim, window: Window) -> u32 {
    let last = if claim.has_siblings() && requests >= LATER_PART { (requests / LAST_PART).max(1) } else { 0 };
    if window.part < TELLING {
        let later = requests / LATER_PART;
        let later = if window.others_known { later } else { requests.saturating_sub(later) };
        later.max(last)
    } else if window.part < LATE {
        last
    } else {
        0
    }
}

/// The fleet's reserve.
fn reserve(fleet: u32) -> u32 {
    (fleet / RESERVE_PART).max(LEAST_RESERVE).min(fleet / 2)
}

/// How far into a window the last of so many requests of the directory goes, in parts of the window.
pub fn last_goes_at(requests: u64, allowance: u32) -> f64 {
    if requests > u64::from(allowance - allowance / LATER_PART) { TELLING } else { 0.0 }
}

/// `number` times `by`, rounded down.
pub(super) fn scaled(number: u32, by: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative; saturates")]
    let scaled = (f64::from(number) * by).floor() as u32;
    scaled
}

/// The same for a slice, which may be a little less than what it stands for: a fifth of ten is two.
fn nearly(number: u32, slice: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative; saturates")]
    let scaled = (f64::from(number) * slice + LITTLE).floor() as u32;
    scaled.min(number)
}

/// `number` times `by`, rounded up.
fn scaled_up(number: u32, by: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative; saturates")]
    let scaled = (f64::from(number) * by - LITTLE).ceil() as u32;
    scaled.min(number)
}

/// So much of a window must be over before it tells how fast others spend.
pub(super) const TELLING: f64 = 0.25;
/// So much of it, before it tells what all have spent of it.
pub(super) const LATE: f64 = 0.85;
/// An eighth of our share is ours whatever others spend.
const LEAST_PART: u32 = 8;
/// A quarter of what the directory may spend is spent after that; before anything is known of others, all but a quarter.
const LATER_PART: u32 = 4;
/// A sixteenth of it late in the window, where there are siblings.
const LAST_PART: u32 = 16;
/// A fifth of our share is kept for grants, removals and their verification.
const RESERVE_PART: u32 = 5;
const LEAST_RESERVE: u32 = 4;
/// Of a request: less than that is an error of arithmetic. A hundred daemons do not make a request of it.
const LITTLE: f64 = 0.01;
/// Requests of the directory in a window: once in a thousand windows is not for ever.
const LEAST_PACE: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: f64 = 0.8;
    const LANES: [Lane; 4] = [Lane::Removal, Lane::Grant, Lane::Verification, Lane::Directory];

    fn claim(slice: f64) -> Claim {
        Claim { share: SHARE, slice }
    }

    #[test]
    fn slices_of_one_share_come_to_the_share_and_hardly_less() {
        for limit in [50, 100, 250, 600] {
            let whole = directory_allowance(limit, claim(1.0));
            for daemons in [2, 3, 4, 5] {
                let claim = claim(1.0 / f64::from(daemons));
                let ours = daemons * claim.ours(limit);
                let directory = daemons * directory_allowance(limit, claim);
                assert!(ours <= claim.of_fleet(limit), "{ours} of {limit} by {daemons}");
                assert!(directory <= whole, "{directory} of {limit} by {daemons}");
                assert!(directory * 10 >= whole * 9, "{directory} and not {whole} of {limit} by {daemons}");
            }
        }
        // As they come from a table of quanta: a little less than a fifth.
        assert_eq!(claim(0.199_999).ours(50), 8);
    }

    #[test]
    fn every_slice_but_none_keeps_something_for_each_lane() {
        for slice in [0.001, 0.01, 0.05, 0.1, 0.25, 0.9] {
            for limit in [1, 2, 10, 50, 250] {
                let claim = claim(slice);
                let floors = LANES.map(|lane| floor(lane, limit, claim, ALONE));
                assert_eq!(floors[0], 0, "removals leave nothing");
                assert!(floors.is_sorted(), "the more urgent leave less: {floors:?}, {slice} of {limit}");
                assert!(floors.iter().all(|floor| *floor < limit), "{floors:?}, {slice} of {limit}");
                if limit >= 50 {
                    assert!(floors[1] > limit - claim.ours(limit) || claim.ours(limit) < 2, "{floors:?}");
                }
            }
        }
    }

    #[test]
    fn without_a_slice_only_the_directory_stands_still() {
        let floors = LANES.map(|lane| 50 - floor(lane, 50, claim(0.0), ALONE));
        assert_eq!(floors, [50, 1, 1, 0]);
        assert_eq!(directory_pace(50, claim(0.0), Duration::from_mins(1)), None);
    }

    #[test]
    fn a_slice_of_less_than_a_request_is_a_request_every_few_windows() {
        let pace = |slice| directory_pace(10, claim(slice), Duration::from_mins(1)).unwrap().as_secs();
        assert_eq!(pace(1.0), 15, "eight, less a reserve of four");
        assert_eq!(pace(0.05), 150, "0.4 of a request in a window");
        assert_eq!(pace(f64::MIN_POSITIVE), 60_000);
    }

    #[test]
    fn what_siblings_may_spend_is_not_yielded_to_and_what_others_spend_beyond_it_is() {
        let window = |others_spent, foreign_spent, foreign_to_come, overrun| Window {
            others_spent,
            foreign_spent,
            foreign_to_come,
            overrun,
            ..ALONE
        };
        // A quarter of 80 of 100: 20, of which 4 are kept.
        let may = |left: u32, window| left.saturating_sub(floor(Lane::Directory, 100, claim(0.25), window));
        assert_eq!(may(100, ALONE), 16);
        assert_eq!(may(40, window(60, 0, 0, 0)), 16, "siblings have spent all of theirs");
        assert_eq!(may(20, window(80, 20, 0, 0)), 16, "and other clients too");
        assert_eq!(may(10, window(90, 30, 0, 0)), 6, "ten of ours are gone");
        assert_eq!(may(40, window(60, 0, 0, 20)), 11, "a quarter of what was too much");
        assert_eq!(may(30, window(70, 10, 20, 0)), 6, "twenty will go, and a quarter of ten is given back");
        assert_eq!(
            may(30, window(70, 0, 0, 0)),
            6,
            "a slice that came in the middle of a window leaves others theirs"
        );
    }
}
