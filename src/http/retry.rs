//! # Purpose
//! Decides what follows an attempt.
//!
//! # Invariants kept here
//! - Pure: the loop in `exchange` does the waiting.
//! - A request that is not idempotent is never sent again once it may have arrived.
//! - New credentials are asked for at most once a call, and a challenge is answered once.
//!
//! # Not here
//! Trying for ever: reconcilers come back by themselves, so a call gives up early.

use std::time::Duration;

use backoff::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::Verdict;

/// Whether sending twice is the same as sending once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeatable {
    /// GET, and PUT or DELETE of one thing.
    Always,
    /// POST that creates: only while it cannot have arrived, or was answered with a refusal to look at it.
    UnlessArrived,
}

/// How patient one call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Attempts after transient failures.
    pub attempts: u32,
    /// Attempts after being throttled; the waits are the peer's.
    pub throttled: u32,
    /// The first wait; doubles.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Patience {
    /// For listings: a run of thousands of calls should survive a hiccup.
    pub const LISTING: Self = Self {
        attempts: 5,
        throttled: 20,
        first: Duration::from_millis(500),
        longest: Duration::from_secs(20),
    };
    /// For a page of a listing that has failed already, in a smaller size: there are more sizes to come.
    pub const SMALLER_PAGE: Self = Self { attempts: 2, ..Self::LISTING };
    /// For work that a reconciler repeats soon anyway.
    pub const SHORT: Self = Self {
        attempts: 3,
        throttled: 3,
        first: Duration::from_millis(200),
        longest: Duration::from_secs(2),
    };
    /// One attempt; the caller has its own loop.
    pub const NONE: Self = Self { attempts: 1, throttled: 1, first: Duration::ZERO, longest: Duration::ZERO };

    /// The waits, jittered so that many callers do not wake together.
    pub fn delays(&self, jitter_seed: u64) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(jitter_seed)
            .build()
    }
}

/// The pause of a loop after the `failures`th failure in a row: `first`, doubled each time, at most `longest`.
pub fn doubling(first: Duration, longest: Duration, failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(longest)
}

/// What has been tried so far, this attempt included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Attempts that failed for a transient reason.
    pub failed: u32,
    /// Attempts that were throttled.
    pub throttled: u32,
    /// Whether new credentials were asked for.
    pub reauthenticated: bool,
    /// Whether a challenge was answered.
    pub challenged: bool,
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// An answer came.
    Answered(Verdict),
    /// No answer; whether the request may have arrived.
    Unanswered {
        /// See `TransportError::may_have_arrived`.
        may_have_arrived: bool,
    },
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Hand the answer to the caller.
    Return,
    /// Try again after this wait.
    Wait(Duration),
    /// Drop the credentials and try again at once.
    Reauthenticate,
    /// Try again at once, with what the answer asked for.
    AnswerChallenge,
    /// Hand the failure to the caller.
    GiveUp,
}

/// Decides. `delay` is the next of [`Patience::delays`].
pub fn next(
    attempt: Attempt,
    tried: Tried,
    patience: &Patience,
    repeatable: Repeatable,
    delay: Duration,
) -> Next {
    let again = |wait: Option<Duration>, count: u32, most: u32| {
        if count < most {
            Next::Wait(wait.map_or(delay, |wait| wait + delay.min(MOST_JITTER)))
        } else {
            Next::GiveUp
        }
    };
    match (attempt, repeatable) {
        (Attempt::Answered(Verdict::Done), _) => Next::Return,
        (Attempt::Answered(Verdict::Unauthenticated), _) => {
            if tried.reauthenticated {
                Next::GiveUp
            } else {
                Next::Reauthenticate
            }
        }
        (Attempt::Answered(Verdict::Challenged), _) => {
            if tried.challenged {
                Next::GiveUp
            } else {
                Next::AnswerChallenge
            }
        }
        (Attempt::Answered(Verdict::Throttled { wait }), _) => {
            again(wait, tried.throttled, patience.throttled)
        }
        (Attempt::Answered(Verdict::Transient { wait }), Repeatable::Always) => {
            again(wait, tried.failed, patience.attempts)
        }
        (Attempt::Unanswered { may_have_arrived: false }, _)
        | (Attempt::Unanswered { may_have_arrived: true }, Repeatable::Always) => {
            again(None, tried.failed, patience.attempts)
        }
        (Attempt::Answered(Verdict::Refused), _)
        | (
            Attempt::Answered(Verdict::Transient { .. }) | Attempt::Unanswered { may_have_arrived: true },
            Repeatable::UnlessArrived,
        ) => Next::GiveUp,
    }
}

/// Added to a wait that the peer set, so that all who were told the same instant do not meet there.
const MOST_JITTER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(300);

    fn decide(attempt: Attempt, tried: Tried, repeatable: Repeatable) -> Next {
        next(attempt, tried, &Patience::SHORT, repeatable, DELAY)
    }

    #[test]
    fn a_creation_is_not_sent_again_once_it_may_have_arrived() {
        let tried = Tried { failed: 1, ..Tried::default() };
        let lost = Attempt::Unanswered { may_have_arrived: true };
        assert_eq!(decide(lost, tried, Repeatable::UnlessArrived), Next::GiveUp);
        assert_eq!(decide(lost, tried, Repeatable::Always), Next::Wait(DELAY));
        let never_left = Attempt::Unanswered { may_have_arrived: false };
        assert_eq!(decide(never_left, tried, Repeatable::UnlessArrived), Next::Wait(DELAY));
        let broken = Attempt::Answered(Verdict::Transient { wait: None });
        assert_eq!(decide(broken, tried, Repeatable::UnlessArrived), Next::GiveUp);
        let throttled = Attempt::Answered(Verdict::Throttled { wait: None });
        assert_eq!(decide(throttled, tried, Repeatable::UnlessArrived), Next::Wait(DELAY));
    }

    #[test]
    fn credentials_are_renewed_once() {
        let refused = Attempt::Answered(Verdict::Unauthenticated);
        assert_eq!(decide(refused, Tried::default(), Repeatable::Always), Next::Reauthenticate);
        let again = Tried { reauthenticated: true, ..Tried::default() };
        assert_eq!(decide(refused, again, Repeatable::Always), Next::GiveUp);
    }

    #[test]
    fn a_challenge_is_answered_once() {
        let challenged = Attempt::Answered(Verdict::Challenged);
        assert_eq!(decide(challenged, Tried::default(), Repeatable::UnlessArrived), Next::AnswerChallenge);
        let again = Tried { challenged: true, ..Tried::default() };
        assert_eq!(decide(challenged, again, Repeatable::Always), Next::GiveUp);
    }

    #[test]
    fn patience_ends() {
        let broken = Attempt::Answered(Verdict::Transient { wait: None });
        let last = Tried { failed: Patience::SHORT.attempts, ..Tried::default() };
        assert_eq!(decide(broken, last, Repeatable::Always), Next::GiveUp);
        let throttled = Attempt::Answered(Verdict::Throttled { wait: Some(Duration::from_secs(9)) });
        assert_eq!(decide(throttled, last, Repeatable::Always), Next::Wait(Duration::from_secs(9) + DELAY));
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pause = |failures| doubling(Duration::from_secs(1), Duration::from_mins(1), failures).as_secs();
        assert_eq!([0, 1, 2, 3, 6, 7, u32::MAX].map(pause), [1, 1, 2, 4, 32, 60, 60]);
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let delays: Vec<_> = Patience::LISTING.delays(1).take(12).collect();
        assert!(delays.iter().all(|delay| *delay >= Patience::LISTING.first));
        assert!(delays.iter().all(|delay| *delay <= 2 * Patience::LISTING.longest));
        assert!(delays[6] > delays[0]);
    }
}
