//! # Purpose
//! Brings a database to the format that this version writes, beside others that do the same.
//!
//! # Invariants kept here
//! - One at a time, by a lock of the database; each step is in force as a whole, with its row, or not at all.
//! - A database whose newest format this version would misread is refused before anything is done to it.
//!
//! # Not here
//! What is in the tables: whoever writes them.

use std::time::Duration;

use tokio_postgres::{Client, GenericClient};
use tracing::info;

use super::Database;
use super::error::{DatabaseError, Place};

/// One step.
struct Step {
    /// The format that it leads to; they are counted from one.
    format: i32,
    /// The format that a version has to know to work with this one, also beside it.
    oldest_reader: i32,
    sql: &'static str,
}

/// In their order. What stands here has been run somewhere, and is never changed.
const STEPS: &[Step] = &[
    Step { format: 1, oldest_reader: 1, sql: include_str!("migrations/0001.sql") },
    Step { format: 2, oldest_reader: 1, sql: include_str!("migrations/0002.sql") },
];

/// The name of the lock: `apono` in ASCII.
const LOCK: i64 = 0x61_70_6f_6e_6f;
/// For all steps, and for those of another who is at it.
const LIMIT: Duration = Duration::from_mins(2);
const STEP_LIMITS: &str = "SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '60s'";

const EXISTS: &str = "SELECT to_regclass('apono_connector.formats') IS NOT NULL";
const NEWEST: &str = "SELECT format, oldest_reader FROM apono_connector.formats ORDER BY format DESC LIMIT 1";
const HAS_SCHEMA: &str = "SELECT to_regnamespace('apono_connector') IS NOT NULL";
const SCHEMA: &str = "CREATE SCHEMA apono_connector";
const FORMATS: &str = "CREATE TABLE IF NOT EXISTS apono_connector.formats (\
    format int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now(), oldest_reader int NOT NULL)";
const APPLIED: &str = "INSERT INTO apono_connector.formats (format, oldest_reader) VALUES ($1, $2)";

/// The newest format that this version knows.
fn known() -> i32 {
    STEPS.last().map_or(0, |step| step.format)
}

impl Database {
    /// Brings it to the newest format that this version knows, and leaves a newer one as it is. Several may do so at
    /// once. A role that may not create anything can use a database that has been brought there.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        let place = self.place().clone();
        self.run(LIMIT, async |client: &mut Client| {
            // Without the lock, which would be waited for at every start.
            while format(client, &place).await? < known() {
                step(client, &place).await?;
            }
            Ok(())
        })
        .await
    }

    /// The format that it has, zero for none; [`DatabaseError::TooNew`] when this version would misread it. Another daemon
    /// may have brought it there since [`Database::migrate`].
    pub async fn format(&self, limit: Duration) -> Result<i32, DatabaseError> {
        let place = self.place().clone();
        self.run(limit, async |client: &mut Client| format(client, &place).await).await
    }
}

async fn format(client: &impl GenericClient, place: &Place) -> Result<i32, DatabaseError> {
    if !client.query_one(EXISTS, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let Some(row) = client.query_opt(NEWEST, &[]).await? else { return Ok(0) };
    let (found, wanted): (i32, i32) = (row.try_get(0)?, row.try_get(1)?);
    if wanted > known() {
        return Err(DatabaseError::TooNew { place: place.clone(), found, wanted, known: known() });
    }
    Ok(found)
}

/// The next step, unless somebody else has done it meanwhile.
async fn step(client: &mut Client, place: &Place) -> Result<(), DatabaseError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(STEP_LIMITS).await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    if !transaction.query_one(HAS_SCHEMA, &[]).await?.try_get::<_, bool>(0)? {
        transaction.batch_execute(SCHEMA).await?;
    }
    transaction.batch_execute(FORMATS).await?;
    let found = format(&transaction, place).await?;
    let Some(next) = STEPS.iter().find(|step| step.format > found) else { return Ok(()) };
    transaction.batch_execute(next.sql).await?;
    transaction.execute(APPLIED, &[&next.format, &next.oldest_reader]).await?;
    transaction.commit().await?;
    info!("{place} has format {} now", next.format);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_from_one_and_never_ask_readers_for_more_than_they_lead_to() {
        for (n, step) in STEPS.iter().enumerate() {
            assert_eq!(usize::try_from(step.format).unwrap(), n + 1);
            assert!((1..=step.format).contains(&step.oldest_reader));
        }
    }
}
