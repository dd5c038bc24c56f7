//! # Purpose
//! When grants run out, by every clock there is.
//!
//! # Invariants kept here
//! - Pure: the clocks' readings are arguments.
//! - A grant runs out when *any* clock says so: the wall clock, the time that has passed since the grant was first seen,
//!   or Okta's clock. A clock that is set back, a leap or a suspended machine lets nothing last longer (invariant 3).
//!
//! # Not here
//! Recording the end: `reconciler`. What a wrong clock means for new grants: `conditions`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::book::Book;
use crate::clock;
use crate::domain::{GrantId, IntegrationId};

/// What the clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// The wall clock, or Okta's where that is ahead.
    pub(super) wall: Timestamp,
    /// The monotonic clock.
    pub(super) elapsed: Duration,
}

/// Monotonic deadlines of the grants at hand.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    of: BTreeMap<GrantId, Deadline>,
    /// The earliest by each clock: between changes of the book nobody else has to be looked at.
    earliest: Option<Deadline>,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    expiry: Timestamp,
    at: Duration,
}

impl Deadlines {
    /// Takes in what the book holds now, and returns the grants that have run out and are not ended yet, with their
    /// expiry.
    pub(super) fn run_out(
        &mut self,
        book: &Book,
        integration: &IntegrationId,
        now: Reading,
    ) -> Vec<(GrantId, Timestamp)> {
        let before = std::mem::take(&mut self.of);
        self.earliest = None;
        let mut over = Vec::new();
        let open = book.grants().filter(|(_, state)| state.terms.integration == *integration);
        for (id, state) in open.filter(|(_, state)| state.end.is_none() && state.is_open()) {
            let Some(expiry) = state.terms.expires_at else { continue };
            let known = before.get(id).filter(|deadline| deadline.expiry == expiry);
            let fresh = Deadline { expiry, at: now.elapsed.saturating_add(clock::until(now.wall, expiry)) };
            let deadline = known.copied().unwrap_or(fresh);
            if expiry <= now.wall || deadline.at <= now.elapsed {
                over.push((id.clone(), expiry));
            }
            self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
            self.of.insert(id.clone(), deadline);
        }
        over
    }

    /// How long until the next grant runs out by any clock.
    pub(super) fn next(&self, now: Reading) -> Option<Duration> {
        self.earliest.map(|deadline| {
            clock::until(now.wall, deadline.expiry).min(deadline.at.saturating_sub(now.elapsed))
        })
    }
}

impl Deadline {
    /// The earlier by each clock on its own.
    fn min(self, other: Self) -> Self {
        Self { expiry: self.expiry.min(other.expiry), at: self.at.min(other.at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::journal::Record;
    use crate::access::machine::{Event, Source};
    use crate::domain::{Grant, Revision};

    fn instant(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn reading(wall: i64, elapsed: u64) -> Reading {
        Reading { wall: instant(wall), elapsed: Duration::from_secs(elapsed) }
    }

    fn terms(revision: u64, expiry: i64) -> Grant {
        Grant {
            id: GrantId::from("g"),
            revision: Revision(revision),
            integration: IntegrationId::from("int"),
            username: "ada@example.com".to_owned(),
            groups: ["00g1".into()].into(),
            expires_at: Some(instant(expiry)),
            request: None,
        }
    }

    fn record(event: Event) -> Record {
        Record::Grant { id: GrantId::from("g"), event }
    }

    /// A grant of 100 seconds, first seen at zero of both clocks.
    fn seen() -> (Deadlines, Book) {
        let (mut deadlines, mut book) = (Deadlines::default(), Book::default());
        book.apply(&[record(Event::Accepted { grant: terms(1, 100), by: Source::Task })]).unwrap();
        assert_eq!(deadlines.run_out(&book, &"int".into(), reading(0, 0)), []);
        assert_eq!(deadlines.next(reading(0, 0)), Some(Duration::from_secs(100)));
        (deadlines, book)
    }

    #[test]
    fn any_clock_ends_a_grant() {
        for (name, now, over) in [
            ("nothing special", reading(99, 99), false),
            ("on time", reading(100, 100), true),
            ("the wall clock was set back an hour", reading(100 - 3600, 100), true),
            ("the wall clock stands still", reading(0, 100), true),
            ("the machine was suspended", reading(100, 3), true),
            ("the wall clock leapt forwards", reading(7200, 3), true),
            ("a small step back", reading(97, 99), false),
        ] {
            let (mut deadlines, book) = seen();
            assert_eq!(!deadlines.run_out(&book, &"int".into(), now).is_empty(), over, "{name}");
        }
    }

    #[test]
    fn an_extension_has_a_deadline_of_its_own() {
        let (mut deadlines, mut book) = seen();
        book.apply(&[record(Event::Revised { grant: terms(2, 200), by: Source::Task })]).unwrap();
        assert_eq!(deadlines.run_out(&book, &"int".into(), reading(50, 50)), []);
        assert_eq!(deadlines.run_out(&book, &"int".into(), reading(150, 150)), []);
        assert_eq!(deadlines.run_out(&book, &"int".into(), reading(0, 200)).len(), 1);
    }
}
