//! # Purpose
//! Copies a state from a file to a database, or back, while no daemon runs.
//!
//! # Invariants kept here
//! - All entries in their order, with their numbers, and which subjects are open. The source is left as it is.
//! - What was copied is believed when it was read back: as many entries, the same hash, the same open ones, the same book.
//! - Whoever was killed at any point is run again: what is there is compared, and copied on from. What is something else
//!   is left as it is.
//!
//! # Not here
//! The directory's local store and the audit trail, which are each host's own.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::sqlite::{Copy, CopyError};
use super::{
    Entry, Inspection, JournalError, OpenError, Owner, SharedLog, SharedOpenError, Standing, Subject,
};
use crate::access::book::{Book, IllegalRecord};
use crate::catalogue::ErrorCode;
use crate::database::{Database, DatabaseError};

/// Where a state is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A SQLite file.
    File(PathBuf),
    /// A database.
    Database(Database),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// How many entries there are.
    pub entries: i64,
    /// How many of them were there already.
    pub before: i64,
    /// How many grants are open.
    pub open_grants: usize,
}

/// The state was not copied, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A file.
    #[error("the state cannot be opened")]
    Open(#[source] OpenError),
    /// A database.
    #[error("the state cannot be opened")]
    Shared(#[source] SharedOpenError),
    /// Entries.
    #[error("the journal cannot be copied")]
    Journal(#[source] JournalError),
    /// Entries that do not follow each other.
    #[error("the journal's records do not follow each other [{}]", ErrorCode::StateDamaged)]
    Illegal(#[source] IllegalRecord),
    /// Nothing is there.
    #[error("there is no state in {place} [{}]", ErrorCode::NoState)]
    Nothing {
        /// Where.
        place: String,
    },
    /// Daemons live there.
    #[error(
        "{place} is in use by {daemons}; stop what runs there, wait five seconds if it was killed, and run this again [{}]",
        ErrorCode::StateInUse
    )]
    InUse {
        /// Where.
        place: String,
        /// Who.
        daemons: String,
    },
    /// There is another history.
    #[error(
        "{place} holds a state of its own, which is not the beginning of the one to copy: it differs from entry {seq} on; empty it or name another place [{}]",
        ErrorCode::StateInTheWay
    )]
    InTheWay {
        /// Where.
        place: String,
        /// The first entry that differs.
        seq: i64,
    },
    /// What was read back is not what was written.
    #[error(
        "what is in {place} now is not what was copied ({what}); do not start a connector on it [{}]",
        ErrorCode::StateDamaged
    )]
    Differs {
        /// Where.
        place: String,
        /// What of it.
        what: &'static str,
    },
    /// The source changed.
    #[error(
        "{place} has changed while it was copied; stop what writes to it, and run this again [{}]",
        ErrorCode::StateInUse
    )]
    Moved {
        /// Where.
        place: String,
    },
}

type Outcome<T> = Result<T, TransferError>;

fn database(error: DatabaseError) -> TransferError {
    TransferError::Shared(SharedOpenError::Database(error))
}

/// A state that is read.
enum Side {
    File(Inspection, PathBuf),
    Database(SharedLog),
}

/// A state that is written.
enum Target {
    File(Copy, PathBuf),
    Database(SharedLog),
}

/// Copies `page` entries at a time. The state must be `ours`; `whoami` is what others are told who want it meanwhile.
pub async fn transfer(from: Place, to: Place, ours: &Owner, whoami: &str, page: i64) -> Outcome<Transferred> {
    let source = Side::open(from).await?;
    let owner = source.owner().await?;
    if let Some((theirs, ours)) = foreign(&owner, ours) {
        let place = source.place();
        return Err(TransferError::Shared(SharedOpenError::Foreign { place, theirs, ours }));
    }
    let entries = source.count().await?;
    let book = source.book().await?;
    let (copied, before) = match Target::begin(to, &owner, whoami).await? {
        Begun::There(there) => {
            let before = there.count().await?;
            compare(&source, &there, before, page).await?;
            if before != entries {
                let seq = before.min(entries) + 1;
                return Err(TransferError::InTheWay { place: there.place(), seq });
            }
            verify(&source, &there, entries, &book, page).await?;
            return Ok(Transferred { entries, before, open_grants: book.grants().count() });
        }
        Begun::Half(mut target, there) => {
            let before = match &there {
                None => 0,
                Some(there) => {
                    let before = there.count().await?;
                    compare(&source, there, before, page).await?;
                    before
                }
            };
            drop(there);
            target.open(&owner, whoami).await?;
            let mut seq = before;
            while seq < entries {
                let next = source.after(seq, page.min(entries - seq)).await?;
                let many = i64::try_from(next.len()).unwrap_or(i64::MAX);
                if next.is_empty() {
                    return Err(TransferError::Moved { place: source.place() });
                }
                let mut subjects: Vec<_> = next.iter().map(|entry| entry.record.subject()).collect();
                subjects.sort();
                subjects.dedup();
                let standing = source.standing(subjects).await?;
                target.append(seq, next, standing).await?;
                seq += many;
            }
            (target, before)
        }
    };
    let mut target = copied;
    let there = target.close().await?;
    verify(&source, &there, entries, &book, page).await?;
    if source.count().await? != entries {
        return Err(TransferError::Moved { place: source.place() });
    }
    source.at_rest().await?;
    there.at_rest().await?;
    drop(there);
    target.finish().await?;
    Ok(Transferred { entries, before, open_grants: book.grants().count() })
}

/// (theirs, ours) where the state is another's. An organization that only one of them knows is no matter.
fn foreign(theirs: &Owner, ours: &Owner) -> Option<(String, String)> {
    if theirs.connector != ours.connector {
        return Some((format!("connector {}", theirs.connector), format!("connector {}", ours.connector)));
    }
    theirs.organizations.iter().find_map(|(integration, url)| {
        let (_, other) = ours.organizations.iter().find(|(id, other)| id == integration && other != url)?;
        Some((format!("organization of {integration} {url}"), other.clone()))
    })
}

/// That the first `many` entries of both are the same.
async fn compare(source: &Side, there: &Side, many: i64, page: i64) -> Outcome<()> {
    let mut seq = 0;
    while seq < many {
        let next = page.min(many - seq);
        let (ours, theirs) = (source.after(seq, next).await?, there.after(seq, next).await?);
        let same = ours.iter().zip(&theirs).take_while(|(one, other)| one == other).count();
        if same < theirs.len() || theirs.is_empty() {
            let seq = seq + i64::try_from(same).unwrap_or(i64::MAX) + 1;
            return Err(TransferError::InTheWay { place: there.place(), seq });
        }
        seq += next;
    }
    Ok(())
}

async fn verify(source: &Side, there: &Side, entries: i64, book: &Book, page: i64) -> Outcome<()> {
    let differs = |what| TransferError::Differs { place: there.place(), what };
    if there.count().await? != entries {
        return Err(differs("how many entries there are"));
    }
    if hash(source, entries, page).await? != hash(there, entries, page).await? {
        return Err(differs("the hash of all entries"));
    }
    if source.open_entries().await? != there.open_entries().await? {
        return Err(differs("which subjects are open"));
    }
    if there.book().await? != *book {
        return Err(differs("what follows from the entries"));
    }
    Ok(())
}

/// Of all entries, in order.
async fn hash(side: &Side, entries: i64, page: i64) -> Outcome<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut seq = 0;
    while seq < entries {
        let next = side.after(seq, page.max(PAGE).min(entries - seq)).await?;
        if next.is_empty() {
            return Err(TransferError::Moved { place: side.place() });
        }
        for entry in &next {
            let line = serde_json::to_vec(entry)
                .map_err(|error| TransferError::Journal(JournalError::Read(error.into())))?;
            hash.update(line.len().to_le_bytes());
            hash.update(line);
        }
        seq += i64::try_from(next.len()).unwrap_or(i64::MAX);
    }
    Ok(hash.finalize().into())
}

/// What is read at once where nothing is written.
const PAGE: i64 = 500;

impl Side {
    /// Of a state that is there, and that no daemon uses.
    async fn open(place: Place) -> Outcome<Self> {
        match place {
            Place::File(path) => {
                let nothing = || TransferError::Nothing { place: path.display().to_string() };
                let inspection = Inspection::open(&path).map_err(TransferError::Open)?.ok_or_else(nothing)?;
                Ok(Self::File(inspection, path))
            }
            Place::Database(place) => {
                let log = SharedLog::new(place);
                if !log.exists().await.map_err(database)? {
                    return Err(TransferError::Nothing { place: log.place() });
                }
                let side = Self::Database(log);
                side.at_rest().await?;
                Ok(side)
            }
        }
    }

    fn place(&self) -> String {
        match self {
            Self::File(_, path) => path.display().to_string(),
            Self::Database(log) => log.place(),
        }
    }

    /// That no daemon uses it. A file is locked as long as it is looked at.
    async fn at_rest(&self) -> Outcome<()> {
        match self {
            Self::File(..) => Ok(()),
            Self::Database(log) => {
                let living = log.living().await.map_err(database)?;
                if living.is_empty() {
                    return Ok(());
                }
                Err(TransferError::InUse { place: log.place(), daemons: living.join(", ") })
            }
        }
    }

    async fn owner(&self) -> Outcome<Owner> {
        let owner = match self {
            Self::File(inspection, _) => inspection.owner().map_err(TransferError::Open)?,
            Self::Database(log) => match log.owner().await.map_err(database)? {
                (_, true) => {
                    return Err(TransferError::Shared(SharedOpenError::Half { place: log.place() }));
                }
                (owner, false) => owner,
            },
        };
        owner.ok_or_else(|| TransferError::Nothing { place: self.place() })
    }

    /// How many entries there are; all of a file's are checked.
    async fn count(&self) -> Outcome<i64> {
        match self {
            Self::File(inspection, _) => inspection.check_all().map_err(TransferError::Journal),
            Self::Database(log) => log.count().await.map_err(database),
        }
    }

    async fn after(&self, seq: i64, many: i64) -> Outcome<Vec<Entry>> {
        let after = match self {
            Self::File(inspection, _) => inspection.after(seq, many),
            Self::Database(log) => log.after(seq, many).await,
        };
        after.map_err(TransferError::Journal)
    }

    async fn standing(&self, subjects: Vec<Subject>) -> Outcome<Vec<Standing>> {
        let standing = match self {
            Self::File(inspection, _) => inspection.standing(subjects),
            Self::Database(log) => log.standing(subjects).await,
        };
        standing.map_err(TransferError::Journal)
    }

    async fn open_entries(&self) -> Outcome<Vec<Entry>> {
        let entries = match self {
            Self::File(inspection, _) => inspection.open_entries(),
            Self::Database(log) => log.open_entries().await,
        };
        entries.map_err(TransferError::Journal)
    }

    async fn book(&self) -> Outcome<Book> {
        Book::replay(self.open_entries().await?).map_err(TransferError::Illegal)
    }
}

/// What is there to begin with.
enum Begun {
    /// A state that is whole.
    There(Side),
    /// A part of one, or nothing yet.
    Half(Target, Option<Side>),
}

impl Target {
    async fn begin(place: Place, owner: &Owner, whoami: &str) -> Outcome<Begun> {
        match place {
            Place::File(path) => match Copy::begin(&path, whoami).map_err(TransferError::Open)? {
                None => {
                    let there = Side::open(Place::File(path)).await?;
                    let theirs = there.owner().await?;
                    if let Some((theirs, ours)) = foreign(&theirs, owner) {
                        let place = there.place();
                        return Err(TransferError::Shared(SharedOpenError::Foreign { place, theirs, ours }));
                    }
                    Ok(Begun::There(there))
                }
                Some(copy) => {
                    let there = copy.look().map_err(TransferError::Open)?;
                    let there = there.map(|there| Side::File(there, path.clone()));
                    Ok(Begun::Half(Self::File(copy, path), there))
                }
            },
            Place::Database(place) => {
                let log = SharedLog::new(place);
                if let Some((theirs, ours)) = log.begin(owner).await.map_err(database)? {
                    let place = log.place();
                    return Err(TransferError::Shared(SharedOpenError::Foreign { place, theirs, ours }));
                }
                let there = Side::Database(log.clone());
                if let Err(error) = there.at_rest().await {
                    if log.count().await.map_err(database)? == 0 {
                        // It would keep them from starting again.
                        log.finish().await.map_err(database)?;
                    }
                    return Err(error);
                }
                let (_, is_half) = log.owner().await.map_err(database)?;
                Ok(if is_half { Begun::Half(Self::Database(log), Some(there)) } else { Begun::There(there) })
            }
        }
    }

    /// To be written to.
    async fn open(&mut self, owner: &Owner, whoami: &str) -> Outcome<()> {
        match self {
            Self::File(copy, _) => copy.open(owner, whoami).await.map_err(|error| match error {
                CopyError::Open(error) => TransferError::Open(error),
                CopyError::Journal(error) => TransferError::Journal(error),
            }),
            Self::Database(_) => Ok(()),
        }
    }

    async fn append(&self, seen: i64, entries: Vec<Entry>, standing: Vec<Standing>) -> Outcome<()> {
        match self {
            Self::File(copy, _) => copy.append(entries, standing).await.map_err(TransferError::Journal),
            Self::Database(log) => {
                if log.append(seen, &entries, &standing).await.map_err(TransferError::Journal)? {
                    return Ok(());
                }
                Err(TransferError::Moved { place: log.place() })
            }
        }
    }

    /// No more is written: what is there.
    async fn close(&mut self) -> Outcome<Side> {
        match self {
            Self::File(copy, path) => {
                copy.close().await.map_err(TransferError::Journal)?;
                let there = copy.look().map_err(TransferError::Open)?;
                let gone = || TransferError::Nothing { place: path.display().to_string() };
                Ok(Side::File(there.ok_or_else(gone)?, path.clone()))
            }
            Self::Database(log) => Ok(Side::Database(log.clone())),
        }
    }

    /// Daemons may begin with it.
    async fn finish(self) -> Outcome<()> {
        match self {
            Self::File(copy, _) => copy.finish().map_err(TransferError::Open),
            Self::Database(log) => log.finish().await.map_err(database),
        }
    }
}
