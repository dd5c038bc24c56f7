//! # Purpose
//! One listing of Okta's, from the page where it stands to its last.
//!
//! # Invariants kept here
//! - A listing that leads in a circle, or on and on without showing anything, is an error, never an end.
//! - Where Okta no longer knows a place, the listing is begun anew, once.
//!
//! # Not here
//! What is on a page: `snapshot`. Keeping the place: `store::source`, together with the page.

use std::collections::BTreeSet;

use tracing::info;

use super::SnapshotError;
use crate::directory::store::{Listing, Store};
use crate::okta::{Cursor, Page, PageError};

/// See the module.
pub(super) struct Walk<'a> {
    store: &'a Store,
    listing: Option<Listing>,
    what: &'static str,
    next: Option<Cursor>,
    /// Of this process.
    turned: BTreeSet<Cursor>,
    /// Whether it goes on where another process was: Okta may have forgotten the place.
    taken_up: bool,
    /// Pages in a row with nothing on them.
    blank: u32,
}

/// Okta shows pages with nothing on them, with more behind; but not so many in a row.
const MOST_BLANK: u32 = 100;

impl<'a> Walk<'a> {
    /// A listing whose place is kept; `None` when it has ended already in this run.
    pub(super) async fn begin(
        store: &'a Store,
        listing: Listing,
        what: &'static str,
    ) -> Result<Option<Self>, SnapshotError> {
        if store.has_ended(listing).await.map_err(SnapshotError::Store)? {
            return Ok(None);
        }
        let next = store.place(listing).await.map_err(SnapshotError::Store)?;
        let taken_up = next.is_some();
        Ok(Some(Self {
            store,
            listing: Some(listing),
            what,
            next,
            turned: BTreeSet::new(),
            taken_up,
            blank: 0,
        }))
    }

    /// A listing that is begun anew in each run.
    pub(super) fn of_its_own(store: &'a Store, what: &'static str) -> Self {
        Self { store, listing: None, what, next: None, turned: BTreeSet::new(), taken_up: false, blank: 0 }
    }

    /// Whether its first page comes next.
    pub(super) fn is_new(&self) -> bool {
        self.next.is_none()
    }

    /// The page where it stands.
    pub(super) async fn page<T, F>(
        &mut self,
        read: impl Fn(Option<Cursor>) -> F,
    ) -> Result<Page<T>, SnapshotError>
    where
        F: Future<Output = Result<Page<T>, PageError>>,
    {
        let mut page = read(self.next.clone()).await;
        if let (Err(error), Some(listing), true) = (&page, self.listing, self.taken_up)
            && error.is_refused()
        {
            info!("Okta no longer knows where the listing of {} goes on; it is begun anew", self.what);
            self.store.begin_anew(listing).await.map_err(SnapshotError::Store)?;
            (self.next, self.taken_up) = (None, false);
            page = read(None).await;
        }
        let page = page.map_err(|source| SnapshotError::Page { what: self.what, source })?;
        self.blank = if page.items.is_empty() && page.skipped.is_empty() { self.blank + 1 } else { 0 };
        if self.blank > MOST_BLANK {
            return Err(SnapshotError::Blank { what: self.what, pages: self.blank });
        }
        Ok(page)
    }

    /// Where it goes on; `None` at its end.
    pub(super) fn turn(&mut self, next: Option<Cursor>) -> Result<Option<Cursor>, SnapshotError> {
        if let Some(next) = &next
            && !self.turned.insert(next.clone())
        {
            return Err(SnapshotError::Circle { what: self.what });
        }
        self.next.clone_from(&next);
        Ok(next)
    }
}
