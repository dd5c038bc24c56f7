//! # Purpose
//! The log of a fleet, for whoever does not belong to it: looked at, read whole, and made from another one.
//!
//! # Invariants kept here
//! - What no daemon may begin with, because it is half a copy, says so of itself until it is whole.
//! - Looking writes nothing.
//!
//! # Not here
//! Where a copy's entries come from, that they are the same, and that no daemon lives meanwhile: `transfer`.

use std::time::Duration;

use tokio_postgres::types::Type;
use tokio_postgres::{Client, IsolationLevel};

use super::rows::{self, Batch};
use super::{WHOLE, WHOLE_LIMIT};
use crate::access::journal::{Entry, JournalError, Owner, Standing, Subject};
use crate::database::{Database, DatabaseError};
use crate::domain::GrantId;

/// A page of entries, or a look at a small table.
const LIMIT: Duration = Duration::from_secs(30);
/// Who writes the entries of a copy, where a daemon's id stands otherwise.
const WRITER: &str = "state migrate";

const AFTER: &str =
    "SELECT seq, at, record FROM apono_connector.entries WHERE seq > $1 ORDER BY seq LIMIT $2";
const LIVING: &str = "
    SELECT host || ' (' || id || ')' FROM apono_connector.daemons WHERE alive_until > clock_timestamp() ORDER BY 1";
const OPEN_ONES: &str = "SELECT subject FROM apono_connector.subjects WHERE open AND subject = ANY ($1)";
const OWNERS: &str = "SELECT what, value FROM apono_connector.owner ORDER BY what";
const BEGUN: &str = "
    INSERT INTO apono_connector.owner (what, value) SELECT $1, 'yes' FROM apono_connector.head WHERE seq = 0
    ON CONFLICT DO NOTHING";
const WHOLE_NOW: &str = "DELETE FROM apono_connector.owner WHERE what = $1";

/// See the module. Whoever only looks does not join the fleet.
#[derive(Clone, Debug)]
pub struct SharedLog {
    database: Database,
}

impl SharedLog {
    /// Of a database that may have one.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Which database, for messages.
    pub fn place(&self) -> String {
        self.database.place().to_string()
    }

    /// Whether there is anything of ours in the database.
    pub async fn exists(&self) -> Result<bool, DatabaseError> {
        Ok(self.database.format(LIMIT).await? > 0)
    }

    /// The daemons that live, for people.
    pub async fn living(&self) -> Result<Vec<String>, DatabaseError> {
        let look = async |client: &mut Client| {
            let rows = client.query_typed(LIVING, &[]).await?;
            Ok(rows.iter().map(|row| row.get(0)).collect())
        };
        self.database.run(LIMIT, look).await
    }

    /// To whom it belongs, if it was ever claimed, and whether it is half a copy.
    pub(in crate::access::journal) async fn owner(&self) -> Result<(Option<Owner>, bool), DatabaseError> {
        let rows =
            self.database.run(LIMIT, async |client| Ok(client.query_typed(OWNERS, &[]).await?)).await?;
        let mut connector = None;
        let mut organizations = Vec::new();
        let mut is_half = false;
        for (what, value) in rows.iter().map(|row| (row.get::<_, String>(0), row.get::<_, String>(1))) {
            if what == rows::CONNECTOR {
                connector = Some(value);
            } else if let Some(integration) = what.strip_prefix(rows::ORGANIZATION) {
                organizations.push((integration.to_owned(), value));
            } else {
                is_half |= what == rows::COPYING;
            }
        }
        Ok((connector.map(|connector| Owner { connector, organizations }), is_half))
    }

    /// The number of the last entry.
    pub(in crate::access::journal) async fn count(&self) -> Result<i64, DatabaseError> {
        self.database.run(LIMIT, async |client| rows::head(client).await).await
    }

    /// So many entries after one; their numbers have no gaps.
    pub(in crate::access::journal) async fn after(
        &self,
        seq: i64,
        many: i64,
    ) -> Result<Vec<Entry>, JournalError> {
        let read = async |client: &mut Client| {
            Ok(client.query_typed(AFTER, &[(&seq, Type::INT8), (&many, Type::INT8)]).await?)
        };
        let found = self.database.run(LIMIT, read).await.map_err(|error| JournalError::Read(error.into()))?;
        found.iter().map(rows::entry).collect()
    }

    /// Which of these subjects are open.
    pub(in crate::access::journal) async fn standing(
        &self,
        subjects: Vec<Subject>,
    ) -> Result<Vec<Standing>, JournalError> {
        let names: Vec<_> = subjects.iter().map(rows::name).collect();
        let read = async |client: &mut Client| {
            Ok(client.query_typed(OPEN_ONES, &[(&names, Type::TEXT_ARRAY)]).await?)
        };
        let found = self.database.run(LIMIT, read).await.map_err(|error| JournalError::Read(error.into()))?;
        let open: std::collections::BTreeSet<String> = found.iter().map(|row| row.get(0)).collect();
        let standing = |(subject, name): (Subject, &String)| Standing { subject, open: open.contains(name) };
        Ok(subjects.into_iter().zip(&names).map(standing).collect())
    }

    /// The entries of all open subjects, in order.
    pub async fn open_entries(&self) -> Result<Vec<Entry>, JournalError> {
        let read = async |client: &mut Client| {
            let transaction =
                client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
            let transaction = transaction.start().await?;
            transaction.batch_execute(WHOLE_LIMIT).await?;
            let none: &[String] = &[];
            let found = transaction.query_typed(rows::WHOLE, &[(&none, Type::TEXT_ARRAY)]).await?;
            transaction.commit().await?;
            Ok(found)
        };
        let found = self.database.run(WHOLE, read).await.map_err(|error| JournalError::Read(error.into()))?;
        found.iter().map(rows::entry).collect()
    }

    /// The entries of a grant and of the tasks that have asked about it, in order.
    pub async fn about(&self, grant: &GrantId) -> Result<Vec<Entry>, JournalError> {
        let name = rows::clean(grant.as_str());
        let read =
            async |client: &mut Client| Ok(client.query_typed(rows::ABOUT, &[(&name, Type::TEXT)]).await?);
        let found = self.database.run(LIMIT, read).await.map_err(|error| JournalError::Read(error.into()))?;
        found.iter().map(rows::entry).collect()
    }

    /// Makes the tables, and makes them `owner`'s: (theirs, ours) where they are somebody else's. An empty log is marked
    /// as half a copy.
    pub(in crate::access::journal) async fn begin(
        &self,
        owner: &Owner,
    ) -> Result<Option<(String, String)>, DatabaseError> {
        self.database.migrate().await?;
        let foreign = self.database.run(LIMIT, async |client| rows::claim(client, owner).await).await?;
        if foreign.is_none() {
            self.mark(BEGUN).await?;
        }
        Ok(foreign)
    }

    /// Adds entries after those that are there: `false` where those are more or fewer than `seen`.
    pub(in crate::access::journal) async fn append(
        &self,
        seen: i64,
        entries: &[Entry],
        standing: &[Standing],
    ) -> Result<bool, JournalError> {
        let batch = Batch::new(entries, standing, Vec::new())?;
        let append = async |client: &mut Client| rows::append(client, WRITER, seen, &batch).await;
        let written = self.database.run(LIMIT, append).await;
        written.map(|last| last.is_some()).map_err(|error| JournalError::Write(error.into()))
    }

    /// Lets daemons begin with it.
    pub(in crate::access::journal) async fn finish(&self) -> Result<(), DatabaseError> {
        self.mark(WHOLE_NOW).await
    }

    async fn mark(&self, sql: &str) -> Result<(), DatabaseError> {
        let mark = async |client: &mut Client| {
            client.query_typed(sql, &[(&rows::COPYING, Type::TEXT)]).await?;
            Ok(())
        };
        self.database.run(LIMIT, mark).await
    }
}
