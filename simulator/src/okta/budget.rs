//! # Purpose
//! Spends the rate budgets and hands out concurrency slots.
//!
//! # Invariants kept here
//! - A window starts with the first call after the last one ended, so windows never line up with the wall clock;
//!   it ends on a whole second, which is what the headers can say.
//! - A slot is given back however its call ends, also when the caller hangs up.
//!
//! # Not here
//! How large budgets are: see [`super::Limits`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::settings::{Bucket, Limits, RateHeaders};

/// What the headers show of a bucket without a limit.
const UNLIMITED: u32 = 1_000_000;

/// Where a budget stands after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    limit: u32,
    remaining: u32,
    /// Seconds since the epoch.
    reset: i64,
    /// The call is within the budget.
    pub(super) is_allowed: bool,
}

impl Standing {
    /// What a refusal for too many calls in flight shows: no limit, and a guess.
    pub(super) fn too_many_in_flight(now_ms: i64) -> Self {
        Self { limit: 0, remaining: 0, reset: now_ms.div_euclid(1000) + 110, is_allowed: false }
    }

    /// Adds the `x-rate-limit-*` headers.
    pub(super) fn write(&self, headers: &mut HeaderMap, style: RateHeaders) {
        let mut append = |name: &'static str, value: i64| {
            headers.append(HeaderName::from_static(name), HeaderValue::from(value));
        };
        let shares: &[i64] = match style {
            RateHeaders::Once => &[1],
            RateHeaders::Twice => &[1, 2],
            RateHeaders::Absent => &[],
        };
        for share in shares {
            append("x-rate-limit-limit", i64::from(self.limit) * share);
            append("x-rate-limit-remaining", i64::from(self.remaining) * share);
            append("x-rate-limit-reset", self.reset);
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Window {
    started_ms: i64,
    ends: i64,
    spent: u32,
}

/// The current window of every bucket.
#[derive(Debug, Default)]
pub(super) struct Budgets(BTreeMap<Bucket, Window>);

impl Budgets {
    /// Spends one call.
    pub(super) fn spend(&mut self, bucket: Bucket, limits: &Limits, now_ms: i64) -> Standing {
        let length = i64::try_from(limits.window().as_millis()).unwrap_or(i64::MAX);
        let fresh = Window {
            started_ms: now_ms,
            ends: now_ms.saturating_add(length).saturating_add(999).div_euclid(1000),
            spent: 0,
        };
        let window = self.0.entry(bucket).or_insert(fresh);
        // A clock that was set back starts a new window, too.
        if now_ms >= window.ends * 1000 || now_ms < window.started_ms {
            *window = fresh;
        }
        let limit = limits.budget(bucket).unwrap_or(UNLIMITED);
        let is_allowed = limits.budget(bucket).is_none() || window.spent < limit;
        window.spent = window.spent.saturating_add(1);
        Standing { limit, remaining: limit.saturating_sub(window.spent), reset: window.ends, is_allowed }
    }

    /// Starts every window anew.
    pub(super) fn reset(&mut self) {
        self.0.clear();
    }
}

/// Counts the calls in flight.
#[derive(Debug, Default)]
pub(super) struct Slots {
    taken: AtomicUsize,
    peak: AtomicUsize,
}

impl Slots {
    /// Takes a slot, unless `most` are taken.
    pub(super) fn take(&self, most: Option<usize>) -> Option<Slot<'_>> {
        let taken = self.taken.fetch_add(1, Ordering::SeqCst) + 1;
        let slot = Slot(self);
        if most.is_some_and(|most| taken > most) {
            return None;
        }
        self.peak.fetch_max(taken, Ordering::SeqCst);
        Some(slot)
    }

    /// The most calls that were ever in flight together.
    pub(super) fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }

    /// Forgets the peak.
    pub(super) fn reset_peak(&self) {
        self.peak.store(self.taken.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// One call in flight.
#[derive(Debug)]
pub(super) struct Slot<'a>(&'a Slots);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
    }
}
