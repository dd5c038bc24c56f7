//! # Purpose
//! The durable record of grants and tasks: what is written before anything is done, and read after a crash; and of what
//! the audit trail could not be told.
//!
//! # Invariants kept here
//! - When [`Journal::append`] has returned, the entries survive a loss of power. When it fails, none of them is there;
//!   only a crash right after a failure may bring them back, all of them. What it promises gates every addition in Okta
//!   (invariant 1).
//! - What was lost or damaged all the same is told ([`JournalError::Damaged`]), never passed over.
//! - Entries of one subject come back in the order in which they were appended.
//!
//! # Not here
//! What entries mean: `machine`, `tasks`, `untold`, `book`.

mod memory;
mod postgres;
mod sqlite;
mod transfer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use memory::MemoryJournal;
pub use postgres::{PostgresJournal, SharedLog, SharedOpenError};
pub use sqlite::{Damage, Flaw, Inspection, OpenError, Owner, Salvaged, SqliteJournal, lock_beside};
pub use transfer::{Place, TransferError, Transferred, transfer};

use super::fleet::{Alone, Fleet};
use super::machine::Event;
use super::tasks::{Ask, TaskEvent};
use super::untold::TrailEvent;
use crate::catalogue::ErrorCode;
use crate::domain::{GrantId, TaskId};

/// One thing to remember.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Record {
    /// About a grant.
    Grant {
        /// Which.
        id: GrantId,
        /// What.
        #[serde(flatten)]
        event: Event,
    },
    /// About a task.
    Task {
        /// Which.
        id: TaskId,
        /// What.
        #[serde(flatten)]
        event: TaskEvent,
    },
    /// About a time in which the audit trail could not be written.
    Trail {
        /// When it began: the instant of the first that could not be told.
        since: Timestamp,
        /// What.
        #[serde(flatten)]
        event: TrailEvent,
    },
}

/// A record and when it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// By the connector's wall clock.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub record: Record,
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A grant.
    Grant(GrantId),
    /// A task.
    Task(TaskId),
    /// A time in which the audit trail could not be written, by its beginning.
    Trail(Timestamp),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(id) => write!(f, "grant:{id}"),
            Self::Task(id) => write!(f, "task:{id}"),
            Self::Trail(since) => write!(f, "trail:{since}"),
        }
    }
}

impl Record {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Grant { id, .. } => Subject::Grant(id.clone()),
            Self::Task { id, .. } => Subject::Task(id.clone()),
            Self::Trail { since, .. } => Subject::Trail(*since),
        }
    }

    /// Whether it says of itself that it is about this grant; the later events of a task do not.
    pub fn is_about(&self, grant: &GrantId) -> bool {
        match self {
            Self::Grant { id, .. } => id == grant,
            Self::Task { event: TaskEvent::Taken { ask, .. }, .. } => ask.grant() == Some(grant),
            Self::Task {
                event: TaskEvent::Answered { .. } | TaskEvent::LeaseLost | TaskEvent::Closed { .. },
                ..
            }
            | Self::Trail { .. } => false,
        }
    }

    /// Whether it may be in force before it is durable, when the disk fails: a crash that takes it back leaves no duty
    /// out. What follows from it is not told to Apono before it is durable, so that Apono asks again after the crash.
    pub fn goes_ahead(&self) -> bool {
        match self {
            Self::Grant { event, .. } => match event {
                Event::Granted { .. }
                | Event::AddedLate { .. }
                | Event::EndRequested { .. }
                | Event::RevokeIntended { .. }
                | Event::Ended { .. } => true,
                Event::Accepted { .. }
                | Event::Revised { .. }
                | Event::Declined { .. }
                | Event::UserResolved { .. }
                | Event::Refused { .. }
                | Event::StandingFound { .. }
                | Event::FoundMissing { .. }
                | Event::AddedByOthers { .. }
                | Event::GrantIntended { .. } => false,
            },
            Self::Task { event, .. } => match event {
                TaskEvent::Taken { ask: Ask::Revoke { .. }, .. }
                | TaskEvent::Answered { .. }
                | TaskEvent::LeaseLost
                | TaskEvent::Closed { .. } => true,
                TaskEvent::Taken { ask: Ask::Grant { .. } | Ask::Other, .. } => false,
            },
            // Only what goes ahead can be untold, and it goes with it.
            Self::Trail { event: TrailEvent::Untold { .. } | TrailEvent::Told, .. } => true,
        }
    }
}

/// Whether a subject still asks for something after an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub subject: Subject,
    /// Open subjects are read back at the next start.
    pub open: bool,
}

/// The journal failed. Additions stop; removals go on and are recorded when it works again.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Nothing was written.
    #[error("the journal cannot be written [{}]", ErrorCode::JournalFails)]
    Write(#[source] BoxError),
    /// Nothing was written, and what is more than the end of a duty will not be, until there is room.
    #[error(
        "no room is left on the disk of {}; make some: grants end and that is recorded, but nothing new begins until the file of the same name with .reserve at its end could be written again [{}]",
        path.display(), ErrorCode::DiskFull)]
    Full {
        /// The journal's file.
        path: PathBuf,
    },
    /// Whether it was written is not known: the connection broke while it was being written.
    #[error("the connection broke while the journal was being written [{}]", ErrorCode::JournalFails)]
    Unsure(#[source] BoxError),
    /// Others have written since the last look: nothing was written, and what there is to write is decided anew.
    #[error("others have written to the journal in the meantime [{}]", ErrorCode::OthersWereFaster)]
    Behind,
    /// The journal has lost entries that this daemon has seen: it was restored, or a standby that had not got them was made
    /// the primary.
    #[error("the journal has lost entries that were written [{}]", ErrorCode::JournalRewound)]
    Rewound,
    /// Another daemon has taken the duty over, and this one was thought to be gone: nothing was written.
    #[error("another daemon has taken this over [{}]", ErrorCode::OthersWereFaster)]
    TakenOver,
    /// Nothing could be read.
    #[error("the journal cannot be read [{}]", ErrorCode::JournalFails)]
    Read(#[source] BoxError),
    /// It is not what was written.
    #[error("the journal is damaged [{}]", ErrorCode::StateDamaged)]
    Damaged(#[source] Damage),
    /// An entry that is sound but does not parse: another version's.
    #[error("entry {seq} of the journal cannot be understood [{}]", ErrorCode::StateTooNew)]
    Entry {
        /// Which.
        seq: i64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl JournalError {
    /// Whether the journal does not work, as opposed to others having been faster.
    pub fn is_an_outage(&self) -> bool {
        match self {
            Self::Write(_)
            | Self::Full { .. }
            | Self::Unsure(_)
            | Self::Rewound
            | Self::Read(_)
            | Self::Damaged(_)
            | Self::Entry { .. } => true,
            Self::Behind | Self::TakenOver => false,
        }
    }
}

/// The last entry of a shared journal that somebody knows of. One that has the number and nothing else in common stands in
/// its place after the journal was set back and has grown again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// Its number.
    seq: i64,
    /// When it was made.
    at: String,
    /// Who wrote it.
    daemon: String,
}

/// What was found in a journal that others write too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// In order.
    pub entries: Vec<Entry>,
    /// The last entry of all, if there is any.
    pub last: Option<Last>,
}

/// The seam to the disk. One implementation for each kind of store; one suite of tests for all of them.
pub trait Journal: Send + Sync + fmt::Debug {
    /// Makes `entries` durable, all or none, and notes which of their subjects are open.
    fn append(&self, entries: Vec<Entry>, standing: Vec<Standing>)
    -> BoxFuture<'_, Result<(), JournalError>>;

    /// The same for what came into force while the journal was away: that is so, whoever has taken it over since.
    fn append_late(
        &self,
        entries: Vec<Entry>,
        standing: Vec<Standing>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        self.append(entries, standing)
    }

    /// Proves that the disk takes writes, by writing something of no meaning. What the journal keeps for a full disk is
    /// made whole again, if it is not.
    fn prove(&self) -> BoxFuture<'_, Result<(), JournalError>>;

    /// The entries of all open subjects, in order.
    fn open_entries(&self) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>>;

    /// The entries of one subject, open or not, in order.
    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>>;

    /// The entries of a grant and of the tasks that have asked about it, open or not, in order.
    fn about<'a>(&'a self, grant: &'a GrantId) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>>;

    /// The daemons that write to it.
    fn fleet(&self) -> Arc<dyn Fleet> {
        Alone::shared()
    }

    /// The number of the last entry that was read or written here, where others may write too.
    fn position(&self) -> Option<i64> {
        None
    }

    /// Whether other daemons may write to it too.
    fn is_shared(&self) -> bool {
        false
    }

    /// What others have written since the entry that [`Self::go_on_from`] was told of, in order: of subjects that are
    /// `known`, what is new; of others, all there is.
    fn news<'a>(
        &'a self,
        known: &'a (dyn Fn(&Subject) -> bool + Send + Sync),
    ) -> BoxFuture<'a, Result<Found, JournalError>> {
        let _ = known;
        Box::pin(std::future::ready(Ok(Found::default())))
    }

    /// All there is about the open subjects and about these, as of one moment. It may take long.
    fn read_anew<'a>(&'a self, subjects: &'a [Subject]) -> BoxFuture<'a, Result<Found, JournalError>> {
        let _ = subjects;
        async move { Ok(Found { entries: self.open_entries().await?, last: None }) }.boxed()
    }

    /// From here on the news are what comes after `last`, and what is appended counts on it.
    fn go_on_from(&self, last: Option<Last>) {
        let _ = last;
    }

    /// Waits for what is being written, and lets go of files and locks, whoever still holds the journal. Nothing can be
    /// recorded or read after it.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
pub(crate) mod contract;
