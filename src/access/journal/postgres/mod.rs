//! # Purpose
//! The journal in PostgreSQL, shared by several daemons.
//!
//! # Invariants kept here
//! - One order of entries for all: an append counts on all that was written before it, or nothing is written
//!   ([`JournalError::Behind`]). One statement does it, so that no daemon can hold the others up between two.
//! - An append about a step that was claimed is written only while the claim stands ([`JournalError::TakenOver`]).
//! - A commit that was answered is durable (`synchronous_commit`); one that was not may be ([`JournalError::Unsure`]).
//! - State belongs to (organizations, connector id); another's is refused (invariant 16).
//!
//! # Not here
//! Connections and formats: [`crate::database`]. Who lives: [`crate::fleet`].

mod claims;
mod copy;
mod rows;

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, IsolationLevel};

use claims::Claims;
pub use copy::SharedLog;

use self::rows::Batch;
use super::{Entry, Found, Journal, JournalError, Last, Owner, Standing, Subject};
use crate::access::fleet::Fleet;
use crate::catalogue::ErrorCode;
use crate::database::{Database, DatabaseError};
use crate::domain::GrantId;
use crate::fleet::Members;

/// What is written or read for a turn.
const LIMIT: Duration = Duration::from_secs(2);
/// All that is open, at the start.
const WHOLE: Duration = Duration::from_mins(1);
const WHOLE_LIMIT: &str = "SET LOCAL statement_timeout = '60s'";

/// See the module.
#[derive(Debug)]
pub struct PostgresJournal {
    database: Database,
    claims: Arc<Claims>,
    /// The last entry that the book knows of.
    seen: Mutex<Option<Last>>,
    /// Whether it has lost what this daemon has seen.
    rewound: AtomicBool,
    /// On this host's files.
    _lock: File,
}

/// The state cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SharedOpenError {
    /// The database.
    #[error("the state cannot be opened")]
    Database(#[source] DatabaseError),
    /// It is somebody else's.
    #[error(
        "{place} belongs to {theirs}, not to {ours}; correct the configuration, or give this connector its own database [{}]",
        ErrorCode::StateForeign
    )]
    Foreign {
        /// Which database.
        place: String,
        /// Whose it is.
        theirs: String,
        /// Who we are.
        ours: String,
    },
    /// It is being copied there from elsewhere.
    #[error(
        "{place} holds a part of a state that is being copied there; let `apono-connector state migrate` come to its end, or run it again [{}]",
        ErrorCode::StateHalf
    )]
    Half {
        /// Which database.
        place: String,
    },
}

impl SharedOpenError {
    /// Whether it passes without anybody's doing anything here: a password that is not taken may be one that is being changed.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Database(error) => error.is_away() || error.is_about_the_password(),
            Self::Foreign { .. } | Self::Half { .. } => false,
        }
    }
}

impl PostgresJournal {
    /// Brings the tables up to date, makes sure that they are ours, and joins the fleet.
    pub async fn open(
        database: Database,
        owner: &Owner,
        members: Arc<Members>,
        lock: File,
    ) -> Result<Self, SharedOpenError> {
        database.migrate().await.map_err(SharedOpenError::Database)?;
        let claimed = database.run(LIMIT, async |client| rows::claim(client, owner).await).await;
        if let Some((theirs, ours)) = claimed.map_err(SharedOpenError::Database)? {
            return Err(SharedOpenError::Foreign { place: database.place().to_string(), theirs, ours });
        }
        members.beat().await.map_err(SharedOpenError::Database)?;
        // Asked when this daemon can be seen: of it and of whoever begins a copy, one sees the other.
        let half = database.run(LIMIT, async |client| rows::is_half(client).await).await;
        if half.map_err(SharedOpenError::Database)? {
            members.leave().await;
            return Err(SharedOpenError::Half { place: database.place().to_string() });
        }
        let claims = Arc::new(Claims::new(database.clone(), members));
        Ok(Self { database, claims, seen: Mutex::default(), rewound: AtomicBool::new(false), _lock: lock })
    }

    async fn write(&self, batch: Batch) -> Result<(), JournalError> {
        self.is_whole()?;
        let seen = self.seen().clone();
        let after = number(seen.as_ref());
        let me = self.claims.me();
        let written =
            self.database.run(LIMIT, async |client| rows::append(client, &me, after, &batch).await).await;
        match written {
            Ok(Some(seq)) => {
                if let Some(last) = batch.last(seq, &me) {
                    *self.seen() = Some(last);
                }
                Ok(())
            }
            Ok(None) => {
                let look = async |client: &mut Client| {
                    Ok((rows::is_there(client, seen.as_ref()).await?, rows::head(client).await?))
                };
                let looked = self.database.run(LIMIT, look).await;
                let (is_there, head) = looked.map_err(|error| JournalError::Write(error.into()))?;
                if !is_there {
                    return Err(self.rewound());
                }
                if head == after {
                    self.claims.lost(&batch.fences());
                    return Err(JournalError::TakenOver);
                }
                Err(JournalError::Behind)
            }
            // What was refused was not written; what was not answered may have been.
            Err(error) if error.is_away() && error.sql_state().is_none() => {
                Err(JournalError::Unsure(error.into()))
            }
            Err(error) => Err(JournalError::Write(error.into())),
        }
    }

    /// From here on nothing is written, and what must end is ended from this daemon's copy, until it is started anew: what the
    /// journal has lost is known nowhere else.
    fn rewound(&self) -> JournalError {
        self.rewound.store(true, Ordering::SeqCst);
        self.claims.go_without();
        JournalError::Rewound
    }

    fn is_whole(&self) -> Result<(), JournalError> {
        if self.rewound.load(Ordering::SeqCst) { Err(JournalError::Rewound) } else { Ok(()) }
    }

    fn seen(&self) -> MutexGuard<'_, Option<Last>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is open, and all about `subjects`, as of one moment.
    async fn whole(&self, subjects: &[Subject]) -> Result<Found, JournalError> {
        self.is_whole()?;
        let seen = self.seen().clone();
        let subjects: Vec<_> = subjects.iter().map(rows::name).collect();
        let read = async |client: &mut Client| {
            let transaction =
                client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
            let transaction = transaction.start().await?;
            transaction.batch_execute(WHOLE_LIMIT).await?;
            let last = rows::last(transaction.client()).await?;
            let is_there = rows::is_there(transaction.client(), seen.as_ref()).await?;
            let found = transaction.query_typed(rows::WHOLE, &[(&subjects, Type::TEXT_ARRAY)]).await?;
            transaction.commit().await?;
            Ok((last, is_there, found))
        };
        let (last, is_there, found) =
            self.database.run(WHOLE, read).await.map_err(|error| JournalError::Read(error.into()))?;
        if !is_there {
            return Err(self.rewound());
        }
        Ok(Found { entries: found.iter().map(rows::entry).collect::<Result<_, _>>()?, last })
    }

    /// All about these subjects up to an entry, with its number.
    async fn histories(&self, names: Vec<String>, last: i64) -> Result<Vec<(i64, Entry)>, JournalError> {
        let read = async |client: &mut Client| {
            let parameters: [(&(dyn ToSql + Sync), Type); 2] =
                [(&names, Type::TEXT_ARRAY), (&last, Type::INT8)];
            Ok(client.query_typed(rows::HISTORY, &parameters).await?)
        };
        let found = self.database.run(LIMIT, read).await.map_err(|error| JournalError::Read(error.into()))?;
        found.iter().map(|row| Ok((rows::seq(row), rows::entry(row)?))).collect()
    }
}

impl Journal for PostgresJournal {
    fn append(
        &self,
        entries: Vec<Entry>,
        standing: Vec<Standing>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        async move {
            let fences = self.claims.fences(&entries)?;
            self.write(Batch::new(&entries, &standing, fences)?).await
        }
        .boxed()
    }

    fn append_late(
        &self,
        entries: Vec<Entry>,
        standing: Vec<Standing>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        async move { self.write(Batch::new(&entries, &standing, Vec::new())?).await }.boxed()
    }

    fn prove(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        let prove = async |client: &mut Client| {
            client.batch_execute("UPDATE apono_connector.head SET proofs = proofs + 1").await?;
            Ok(())
        };
        async move {
            self.is_whole()?;
            self.database.run(LIMIT, prove).await.map_err(|error| JournalError::Write(error.into()))
        }
        .boxed()
    }

    fn open_entries(&self) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        async move {
            let Found { entries, last } = self.whole(&[]).await?;
            self.go_on_from(last);
            Ok(entries)
        }
        .boxed()
    }

    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        async move {
            // Up to what the book knows: what comes after is news.
            let last = number(self.seen().as_ref());
            let found = self.histories(vec![rows::name(subject)], last).await?;
            Ok(found.into_iter().map(|(_, entry)| entry).collect())
        }
        .boxed()
    }

    fn about<'a>(&'a self, grant: &'a GrantId) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        async move {
            let name = rows::clean(grant.as_str());
            let read = async |client: &mut Client| {
                Ok(client.query_typed(rows::ABOUT, &[(&name, Type::TEXT)]).await?)
            };
            let found =
                self.database.run(LIMIT, read).await.map_err(|error| JournalError::Read(error.into()))?;
            found.iter().map(rows::entry).collect()
        }
        .boxed()
    }

    fn fleet(&self) -> Arc<dyn Fleet> {
        Arc::clone(&self.claims) as Arc<dyn Fleet>
    }

    fn position(&self) -> Option<i64> {
        Some(number(self.seen().as_ref()))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn news<'a>(
        &'a self,
        known: &'a (dyn Fn(&Subject) -> bool + Send + Sync),
    ) -> BoxFuture<'a, Result<Found, JournalError>> {
        async move {
            self.is_whole()?;
            let seen = self.seen().clone();
            let after = number(seen.as_ref());
            let read = async |client: &mut Client| {
                let found = client.query_typed(rows::NEWS, &[(&after, Type::INT8)]).await?;
                Ok((found, rows::is_there(client, seen.as_ref()).await?))
            };
            let read = self.database.run(LIMIT, read).await;
            let (found, is_there) = read.map_err(|error| JournalError::Read(error.into()))?;
            if !is_there {
                return Err(self.rewound());
            }
            let Some(last) = found.last().map(rows::last_of) else {
                return Ok(Found { entries: Vec::new(), last: seen });
            };
            let mut news = Vec::with_capacity(found.len());
            let mut unknown = BTreeSet::new();
            for row in &found {
                let entry = rows::entry(row)?;
                let subject = entry.record.subject();
                if known(&subject) {
                    news.push((rows::seq(row), entry));
                } else {
                    unknown.insert(rows::name(&subject));
                }
            }
            if !unknown.is_empty() {
                news.extend(self.histories(unknown.into_iter().collect(), last.seq).await?);
                news.sort_by_key(|(seq, _)| *seq);
            }
            Ok(Found { entries: news.into_iter().map(|(_, entry)| entry).collect(), last: Some(last) })
        }
        .boxed()
    }

    fn read_anew<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<Found, JournalError>> {
        self.whole(subjects).boxed()
    }

    fn go_on_from(&self, last: Option<Last>) {
        *self.seen() = last;
    }
}

/// The number of an entry, and of what is before the first.
fn number(last: Option<&Last>) -> i64 {
    last.map_or(0, |last| last.seq)
}
