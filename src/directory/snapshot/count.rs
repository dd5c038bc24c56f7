//! # Purpose
//! Counts what one of Okta's long listings shows, so that the next run knows how much to expect.
//!
//! # Invariants kept here
//! - Only what was counted from the first page to the last is kept.
//!
//! # Not here
//! What the count is shown as: `progress`. Whether a listing is complete: `snapshot`.

use super::SnapshotError;
use crate::directory::progress::{Phase, Work};
use crate::directory::store::{Store, StoreError};
use crate::directory::tracker::Tracker;
use crate::okta::bucket;

/// Elements of a page of users, and of groups.
const A_PAGE: u64 = 200;

/// See the module.
pub(super) struct Count<'a> {
    store: &'a Store,
    tracker: &'a Tracker,
    phase: Phase,
    what: &'static str,
    /// Whether it began at the first page.
    whole: bool,
    shown: u64,
}

impl<'a> Count<'a> {
    /// A phase begins; `whole` where it begins with the first page.
    pub(super) async fn begin(
        store: &'a Store,
        tracker: &'a Tracker,
        phase: Phase,
        what: &'static str,
        whole: bool,
    ) -> Result<Self, StoreError> {
        let total = if whole { store.listed(what).await? } else { None };
        let bucket = match phase {
            Phase::Users => Some(bucket::USERS),
            Phase::Groups | Phase::Members => Some(bucket::GROUPS),
            Phase::ProviderUsers
            | Phase::ProviderGroups
            | Phase::Planning
            | Phase::SecondLooks
            | Phase::Writing => None,
        };
        let work = total.map(|total| Work { bucket, requests: total.div_ceil(A_PAGE).max(1) });
        tracker.enter(phase, total, 1, work.into_iter().collect());
        Ok(Self { store, tracker, phase, what, whole, shown: 0 })
    }

    /// A page has shown so many.
    pub(super) fn page(&mut self, elements: usize) {
        self.shown += elements as u64;
        self.tracker.asked(self.phase);
        self.tracker.advance(self.phase, elements);
    }

    /// The listing came to its end.
    pub(super) async fn end(self) -> Result<(), SnapshotError> {
        if self.whole {
            self.store.note_listed(self.what, self.shown).await.map_err(SnapshotError::Store)?;
        }
        Ok(())
    }
}
