//! # Purpose
//! What the status shows beside the facts: grants, endings, and how numbers have gone.
//!
//! # Invariants kept here
//! - Bounded, however many grants there are.
//!
//! # Not here
//! Who may see it: `server`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::facts::FactSource;
use crate::access::ledger::Ledger;
use crate::access::recent::Recent;
use crate::access::view;
use crate::clock::SharedClock;
use crate::server::{Detail, History};

/// Where it comes from. Cheap to clone.
#[derive(Clone)]
pub(super) struct Details {
    pub(super) facts: Arc<FactSource>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) recent: Recent,
    pub(super) clock: SharedClock,
    pub(super) history: Arc<Mutex<History>>,
}

/// Between samples of the history.
const SAMPLE: Duration = Duration::from_mins(1);
/// Live grants that are shown.
const LISTED: usize = 50;

impl Details {
    /// Adds a sample to the history; when the next one is due.
    pub(super) fn sample(&self) -> Duration {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.add(&self.facts.facts(), self.clock.now());
        SAMPLE
    }

    pub(super) fn look(&self) -> Detail {
        Detail {
            now: self.clock.now(),
            live_grants: self.ledger.read(|book| as_json(&view::soonest(book, LISTED))),
            recent_endings: as_json(&self.recent.all()),
            history: self.history.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Values of our own, which can always be written.
fn as_json<T: Serialize>(items: &[T]) -> Vec<Value> {
    items.iter().filter_map(|item| serde_json::to_value(item).ok()).collect()
}
