//! # Purpose
//! What a plan is known by, what the breaker says of it, and what a person has agreed to.
//!
//! # Invariants kept here
//! - The same operations in the same order have the same hash, in whatever run they were planned.
//! - An approval is for the removals that were held when it was given; with one more or one less it is void
//!   (invariant 9).
//!
//! # Not here
//! The limits: `breaker`. The operations: `planning`.

use rusqlite::Connection;

use super::planning::{Planned, each_operation};
use super::provider::{Counts, in_transaction};
use super::source::{mark, marked, source_counts, unmark};
use super::{Store, StoreError};
use crate::directory::breaker::{self, Held, Kind, Limits, Tally};
use crate::directory::plan::{Operation, PlanHash};

/// The mark of the removals that a person has agreed to.
const APPROVED: &str = "approved";
/// The mark of how much Okta had when the breaker last let everything through.
const ACCEPTED: &str = "accepted";

impl Store {
    /// Agrees to the removals with this hash. They are done by the next run, if they are still what is held.
    pub async fn approve(&self, hash: String) -> Result<(), StoreError> {
        self.run(move |connection| mark(connection, APPROVED, &hash)).await
    }

    /// Everything that was planned was let through: from here on the source is measured against what it has now.
    pub async fn accept(&self) -> Result<(), StoreError> {
        self.run(|connection| {
            in_transaction(connection, |connection| {
                let counts = source_counts(connection)?;
                let counts = serde_json::to_string(&counts).map_err(StoreError::Row)?;
                unmark(connection, APPROVED)?;
                mark(connection, ACCEPTED, &counts)
            })
        })
        .await
    }
}

/// What of Okta's side has gone since the breaker last let everything through, where that is too much.
pub(super) fn shrunk(connection: &Connection, limits: &Limits) -> Result<Vec<Held>, StoreError> {
    let accepted = marked(connection, ACCEPTED)?;
    let Some(before) = accepted.and_then(|text| serde_json::from_str::<Counts>(&text).ok()) else {
        return Ok(Vec::new());
    };
    let now = source_counts(connection)?;
    let sides = [
        (Kind::Users, before.users, now.users),
        (Kind::Groups, before.groups, now.groups),
        (Kind::Members, before.memberships, now.memberships),
    ];
    let review = |(kind, present, wanted): (Kind, u64, u64)| {
        let tally = Tally { removed: present.saturating_sub(wanted), present, wanted };
        breaker::review_source(kind, tally, limits)
    };
    Ok(sides.into_iter().filter_map(review).collect())
}

/// Gives the plan its hashes, marks what the breaker holds, and lifts what a person has agreed to.
pub(super) fn judge(connection: &Connection, planned: &mut Planned) -> Result<(), StoreError> {
    let (mut all, mut held, mut any_held) = (PlanHash::default(), PlanHash::default(), false);
    for phase in 0..=Operation::LAST_PHASE {
        let sql = "SELECT n, held, operation FROM operations WHERE phase = ?1 ORDER BY n";
        each_operation(connection, sql, [phase], |mut one| {
            all.add(&one.operation).map_err(StoreError::Row)?;
            one.held |= planned.holds_operation(&one.operation);
            if one.held {
                any_held = true;
                held.add(&one.operation).map_err(StoreError::Row)?;
                let sql = "UPDATE operations SET held = 1 WHERE n = ?1";
                connection.execute(sql, [one.n]).map_err(StoreError::Statement)?;
            }
            Ok(())
        })?;
    }
    planned.hash = all.finish();
    if !any_held {
        planned.held.clear();
        return Ok(());
    }
    let hash = held.finish();
    if marked(connection, APPROVED)?.as_ref() == Some(&hash) {
        planned.held.clear();
        planned.approved = true;
        connection.execute("UPDATE operations SET held = 0", []).map_err(StoreError::Statement)?;
    } else {
        planned.held_hash = Some(hash);
    }
    Ok(())
}
