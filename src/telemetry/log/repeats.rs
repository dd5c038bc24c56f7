//! # Purpose
//! Holds back what has just been said several times, and says how often it was held back.
//!
//! # Invariants kept here
//! - Pure. Nothing is lost without a count: whatever was held back is counted in a line that follows, at the latest when
//!   the log ends.
//! - No more than [`MOST`] different lines are remembered.
//!
//! # Not here
//! Writing.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tracing::Level;

use super::record::Record;

/// As often as this, the same line is written within [`WINDOW`].
pub(super) const FREE: u64 = 3;
/// After this, the same line is written again.
pub(super) const WINDOW: Duration = Duration::from_mins(1);
const MOST: usize = 512;

type Key = u64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    windows: HashMap<Key, Window>,
    /// By their beginning.
    order: VecDeque<(Duration, Key)>,
}

#[derive(Debug)]
struct Window {
    seen: u64,
    /// The last one that was held back.
    held: Option<Record>,
}

impl Repeats {
    /// What is to be written of this record at `now`, after [`Self::due`]: the record itself, or nothing for the moment.
    pub(super) fn admit(&mut self, record: Record, now: Duration) -> Option<Record> {
        // Whoever asked for details wants every one of them.
        if record.level > Level::INFO {
            return Some(record);
        }
        let key = key(&record);
        let Some(window) = self.windows.get_mut(&key) else {
            self.windows.insert(key, Window { seen: 1, held: None });
            self.order.push_back((now, key));
            return Some(record);
        };
        window.seen += 1;
        if window.seen <= FREE {
            return Some(record);
        }
        let repeats = window.seen - FREE;
        window.held = Some(Record { repeats, ..record });
        None
    }

    /// What was held back in windows that are over at `now`, or must give way.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Record> {
        self.end_while(|began, open| began.saturating_add(WINDOW) <= now || open >= MOST)
    }

    /// Everything that is held back.
    pub(super) fn rest(&mut self) -> Vec<Record> {
        self.end_while(|_, _| true)
    }

    fn end_while(&mut self, is_over: impl Fn(Duration, usize) -> bool) -> Vec<Record> {
        let mut due = Vec::new();
        while let Some((began, key)) = self.order.front().copied() {
            if !is_over(began, self.windows.len()) {
                break;
            }
            self.order.pop_front();
            due.extend(self.windows.remove(&key).and_then(|window| window.held));
        }
        due
    }
}

/// The same place and the same words.
fn key(record: &Record) -> Key {
    let mut hasher = DefaultHasher::new();
    (&record.site, &record.message).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::log::record::tests::record;

    fn said(message: &str, level: Level) -> Record {
        Record { level, ..record(message) }
    }

    #[test]
    fn what_is_said_again_and_again_is_counted_and_said_once_more() {
        let mut repeats = Repeats::default();
        let at = Duration::from_secs;
        let written = (0..10).filter_map(|n| repeats.admit(said("again", Level::WARN), at(n))).count();
        assert_eq!(written, 3);
        assert!(repeats.admit(said("another", Level::WARN), at(10)).is_some(), "other words");
        assert!(repeats.due(at(59)).is_empty());
        let due = repeats.due(at(60));
        assert_eq!(due.iter().map(|record| record.repeats).collect::<Vec<_>>(), [7]);
        assert!(repeats.admit(said("again", Level::WARN), at(61)).is_some(), "a new window");
        assert!(repeats.rest().is_empty(), "nothing was held back in it");
    }

    #[test]
    fn details_are_never_held_back() {
        let mut repeats = Repeats::default();
        for _ in 0..10 {
            assert!(repeats.admit(said("again", Level::DEBUG), Duration::ZERO).is_some());
        }
    }

    #[test]
    fn lines_of_any_number_are_remembered_up_to_a_limit_and_none_is_lost() {
        let mut repeats = Repeats::default();
        let mut told = 0;
        for n in 0..3 * MOST {
            for _ in 0..5 {
                told += repeats.due(Duration::ZERO).iter().map(|record| record.repeats).sum::<u64>();
                told +=
                    u64::from(repeats.admit(said(&format!("{n}"), Level::WARN), Duration::ZERO).is_some());
                assert!(repeats.windows.len() <= MOST && repeats.order.len() == repeats.windows.len());
            }
        }
        told += repeats.rest().iter().map(|record| record.repeats).sum::<u64>();
        assert_eq!(told, 3 * MOST as u64 * 5);
    }
}
