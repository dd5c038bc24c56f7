//! # Purpose
//! The objects that an operation fails for, over runs and restarts, and how much each listing of Okta's has shown last.
//!
//! # Invariants kept here
//! - A failure is counted once a run, however many parts of the operation have failed.
//! - An object leaves when a run has done its operation, or has not planned it any more; what was held or left to the
//!   next run stays as it was.
//! - What is kept of an error is bounded, and so is what is listed.
//!
//! # Not here
//! What fails: `apply`. Trying again: the next run.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::source::execute;
use super::{Store, StoreError};
use crate::directory::plan::Operation;

/// Made beside the tables of the format, which they do not change.
///
/// failed, planned, done: the number of the last run in which it was so.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS failing (id TEXT NOT NULL, operation TEXT NOT NULL, error TEXT NOT NULL,
                                        since TEXT NOT NULL, runs INTEGER NOT NULL, failed INTEGER NOT NULL,
                                        planned INTEGER NOT NULL DEFAULT 0, done INTEGER NOT NULL DEFAULT 0,
                                        PRIMARY KEY (id, operation)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS listed (what TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
";

/// So many objects are listed at most; the total counts all.
pub const LISTED: u32 = 100;
/// The longest error that is kept, in characters.
const LONGEST_ERROR: usize = 500;

/// The objects that an operation failed for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// How many there are.
    pub total: u64,
    /// The first of them, by the time since when they fail: [`LISTED`] at most.
    pub listed: Vec<FailingObject>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailingObject {
    /// Okta's id.
    pub okta_id: String,
    /// What is to be done.
    pub operation: String,
    /// Why the last try failed.
    pub error: String,
    /// When it failed first.
    pub since: Timestamp,
    /// In how many runs in a row it has failed.
    pub runs: u64,
}

impl Store {
    /// Notes that an operation has failed in run number `run`.
    pub async fn note_failing(
        &self,
        run: i64,
        now: Timestamp,
        operation: &Operation,
        error: &str,
    ) -> Result<(), StoreError> {
        let (id, name, error) = (operation.okta_id().to_owned(), operation.name(), bounded(error));
        self.run(move |connection| {
            let sql = "INSERT INTO failing (id, operation, error, since, runs, failed) VALUES (?1, ?2, ?3, ?4, 1, ?5)
                       ON CONFLICT (id, operation) DO UPDATE
                       SET error = excluded.error, runs = runs + (failed <> excluded.failed), failed = excluded.failed";
            execute(connection, sql, params![id, name, error, now.to_string(), run])
        })
        .await
    }

    /// The number of a run that begins: greater than any that is noted. Clocks may stand still, or be set back.
    pub async fn next_account(&self) -> Result<i64, StoreError> {
        self.run(|connection| {
            let sql = "SELECT 1 + coalesce(max(max(failed, planned, done)), 0) FROM failing";
            connection.query_row(sql, [], |row| row.get(0)).map_err(StoreError::Statement)
        })
        .await
    }

    /// Notes which operations the run has planned.
    pub async fn note_planned(
        &self,
        run: i64,
        operations: impl Iterator<Item = &Operation>,
    ) -> Result<(), StoreError> {
        let keys: Vec<_> = operations.map(|operation| (operation.okta_id(), operation.name())).collect();
        let keys = serde_json::to_string(&keys).map_err(StoreError::Row)?;
        self.run(move |connection| {
            let sql = "UPDATE failing SET planned = ?1 WHERE (id, operation) IN
                       (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?2))";
            execute(connection, sql, params![run, keys])
        })
        .await
    }

    /// Notes that the run has done an operation, or a part of it.
    pub async fn note_recovered(&self, run: i64, operation: &Operation) -> Result<(), StoreError> {
        let (id, name) = (operation.okta_id().to_owned(), operation.name());
        self.run(move |connection| {
            let sql = "UPDATE failing SET done = ?1 WHERE id = ?2 AND operation = ?3";
            execute(connection, sql, params![run, id, name])
        })
        .await
    }

    /// The run has come to its end: whatever it has done, or not planned, fails no longer.
    pub async fn settle_failing(&self, run: i64) -> Result<(), StoreError> {
        self.run(move |connection| {
            let sql = "DELETE FROM failing WHERE failed <> ?1 AND (planned <> ?1 OR done = ?1)";
            execute(connection, sql, params![run])
        })
        .await
    }

    /// What fails.
    pub async fn failing(&self) -> Result<Failing, StoreError> {
        self.run(|connection| read(connection)).await
    }

    /// The same while the connector starts, when nobody else uses the store and blocking is no harm.
    pub fn failing_at_start(&self) -> Result<Failing, StoreError> {
        self.at_start(|connection| read(connection))
    }

    /// How many `what` a listing has shown last, from its beginning to its end.
    pub(in crate::directory) async fn listed(&self, what: &'static str) -> Result<Option<u64>, StoreError> {
        self.run(move |connection| {
            let sql = "SELECT number FROM listed WHERE what = ?1";
            let number = connection.query_row(sql, [what], |row| row.get(0));
            number.optional().map_err(StoreError::Statement)
        })
        .await
    }

    /// Notes how many `what` a listing has shown.
    pub(in crate::directory) async fn note_listed(
        &self,
        what: &'static str,
        number: u64,
    ) -> Result<(), StoreError> {
        self.run(move |connection| {
            let sql = "INSERT OR REPLACE INTO listed (what, number) VALUES (?1, ?2)";
            execute(connection, sql, params![what, number])
        })
        .await
    }
}

fn read(connection: &Connection) -> Result<Failing, StoreError> {
    let total = connection
        .query_row("SELECT count(*) FROM failing", [], |row| row.get(0))
        .map_err(StoreError::Statement)?;
    let sql = "SELECT id, operation, error, since, runs FROM failing ORDER BY since, id, operation LIMIT ?1";
    let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
    let row = |row: &Row<'_>| {
        let since: String = row.get(3)?;
        Ok(FailingObject {
            okta_id: row.get(0)?,
            operation: row.get(1)?,
            error: row.get(2)?,
            since: since.parse().unwrap_or(Timestamp::UNIX_EPOCH),
            runs: row.get(4)?,
        })
    };
    let rows = statement.query_map([LISTED], row).map_err(StoreError::Statement)?;
    let listed = rows.collect::<Result<_, _>>().map_err(StoreError::Statement)?;
    Ok(Failing { total, listed })
}

/// On one line, and no longer than is kept.
fn bounded(error: &str) -> String {
    let line: String = error.chars().filter(|c| c.is_whitespace() || !c.is_control()).collect();
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut kept: String = line.chars().take(LONGEST_ERROR).collect();
    if line.chars().count() > LONGEST_ERROR {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::store::Between;
    use crate::domain::{OktaUserId, ScimId};

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let between = Between { organization: "o".to_owned(), provider: "p".to_owned() };
        let store = Store::open(&folder.path().join("directory.db"), &between).unwrap();
        (folder, store)
    }

    fn leaves(n: u32) -> Operation {
        let okta = OktaUserId::from(format!("00u{n:03}"));
        Operation::DeactivateUser { okta, scim: ScimId::from("s") }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn an_object_stays_until_a_run_has_done_it_or_plans_it_no_longer() {
        let (_folder, store) = store();
        for n in 0..4 {
            store.note_failing(1, at(2), &leaves(n), "first").await.unwrap();
            store.note_failing(1, at(3), &leaves(n), "again, in another part").await.unwrap();
        }
        assert_eq!(store.next_account().await.unwrap(), 2);
        // The next run fails at 0, does 1, holds 2 and does not plan 3.
        store.note_planned(2, [leaves(0), leaves(1), leaves(2)].iter()).await.unwrap();
        store.note_failing(2, at(11), &leaves(0), "second").await.unwrap();
        store.note_recovered(2, &leaves(0)).await.unwrap();
        store.note_recovered(2, &leaves(1)).await.unwrap();
        store.settle_failing(2).await.unwrap();
        let failing = store.failing().await.unwrap();
        let listed: Vec<_> = failing
            .listed
            .iter()
            .map(|one| (one.okta_id.as_str(), one.error.as_str(), one.since, one.runs))
            .collect();
        assert_eq!(listed, [("00u000", "second", at(2), 2), ("00u002", "again, in another part", at(2), 1)]);
        assert_eq!(failing.total, 2);
    }

    #[tokio::test]
    async fn what_is_kept_and_listed_is_bounded() {
        let (_folder, store) = store();
        let more = LISTED + 20;
        for n in 0..more {
            store.note_failing(1, at(2), &leaves(n), &"x\u{7} y\n".repeat(1000)).await.unwrap();
        }
        let failing = store.failing().await.unwrap();
        assert_eq!((failing.total, failing.listed.len()), (u64::from(more), LISTED as usize));
        let error = &failing.listed[0].error;
        assert_eq!(error.chars().count(), LONGEST_ERROR + 1);
        assert!(error.starts_with("x y x y") && error.ends_with('…'), "{error}");
    }
}
