//! # Purpose
//! Which daemon carries out which step: claims on duties, each with an epoch that no later claim has.
//!
//! # Invariants kept here
//! - A step has one claim at a time: one that a daemon which lives holds is not taken from it.
//! - What was written under a claim that was taken over is refused by the journal, and its holder is told before it changes
//!   anything in Okta.
//! - While the database is away no claim can be asked for: removals go on without, additions do not.
//!
//! # Not here
//! Which steps are due: `schedule`. Who lives: [`crate::fleet`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_postgres::types::{ToSql, Type};

use super::super::{Entry, JournalError, Record};
use super::rows::{Fence, clean};
use crate::access::fleet::{Fleet, Key};
use crate::access::machine::{Event, Step};
use crate::database::Database;
use crate::domain::{IntegrationId, SessionId};
use crate::fleet::Members;

/// A claim that takes longer is not had.
const LIMIT: Duration = Duration::from_secs(2);
/// The one to whom something falls has it to itself for so long.
const GRACE: Duration = Duration::from_secs(1);
/// While the database is away: the others may have it still, and act on what this daemon does not know of.
const GRACE_ALONE: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub(super) struct Claims {
    database: Database,
    members: Arc<Members>,
    held: Mutex<BTreeMap<Key, Claim>>,
    /// Whether the database is of no use any more.
    without: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// Until somebody takes it over, which nobody does while this daemon lives.
    Held {
        epoch: i64,
        /// When it was certainly held last, on the monotonic clock.
        since: Duration,
    },
    /// Taken over by another while a step goes on here.
    Lost,
}

/// The database did not take the last word.
#[derive(Debug, thiserror::Error)]
#[error("the database does not answer")]
struct Away;

/// A row that another statement works on is being claimed by somebody else.
const CLAIM: &str = "
    WITH free AS (
        SELECT d.grant_id, d.group_id FROM apono_connector.duties d
        WHERE d.grant_id = $2 AND d.group_id = $3 AND (d.daemon IS NULL OR d.daemon = $1 OR NOT EXISTS (
            SELECT FROM apono_connector.daemons m WHERE m.id = d.daemon AND m.alive_until > clock_timestamp()))
        ORDER BY d.due FOR UPDATE SKIP LOCKED)
    UPDATE apono_connector.duties d SET daemon = $1, epoch = nextval('apono_connector.epochs')
    FROM free WHERE d.grant_id = free.grant_id AND d.group_id = free.group_id
    RETURNING d.epoch";

/// A duty that has no row, which should not be, is still a duty.
const MEND: &str = "
    INSERT INTO apono_connector.duties (grant_id, group_id)
    SELECT $1, $2 FROM apono_connector.subjects WHERE subject = 'grant:' || $1 AND open ON CONFLICT DO NOTHING";

const GIVE_BACK: &str = "
    UPDATE apono_connector.duties SET daemon = NULL WHERE grant_id = $1 AND group_id = $2 AND epoch = $3";

const STANDS: &str = "
    SELECT 1 FROM apono_connector.duties WHERE grant_id = $1 AND group_id = $2 AND epoch = $3";

impl Claims {
    pub(super) fn new(database: Database, members: Arc<Members>) -> Self {
        Self { database, members, held: Mutex::default(), without: AtomicBool::new(false) }
    }

    pub(super) fn me(&self) -> String {
        self.members.itself().id.as_str().to_owned()
    }

    /// The claims under which `entries` are written. Nothing is written under one that is known to be lost.
    pub(super) fn fences(&self, entries: &[Entry]) -> Result<Vec<Fence>, JournalError> {
        let held = self.lock();
        let mut fences = Vec::<Fence>::new();
        for entry in entries {
            let Some(key) = effect(&entry.record) else {
                continue;
            };
            match held.get(&key) {
                Some(Claim::Held { epoch, .. }) if fences.iter().all(|fence| fence.key != key) => {
                    fences.push(Fence { key, epoch: *epoch });
                }
                Some(Claim::Lost) => return Err(JournalError::TakenOver),
                // Seen by somebody who does not act on it.
                Some(Claim::Held { .. }) | None => {}
            }
        }
        Ok(fences)
    }

    /// Notes that claims do not stand any more.
    pub(super) fn lost(&self, keys: &[Key]) {
        let mut held = self.lock();
        for key in keys {
            held.entry(key.clone()).and_modify(|claim| *claim = Claim::Lost);
        }
    }

    /// From here on as if the database were away.
    pub(super) fn go_without(&self) {
        self.without.store(true, Ordering::SeqCst);
    }

    fn is_away(&self) -> bool {
        self.without.load(Ordering::SeqCst) || self.members.is_away()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Claim>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, sql: &str, key: &Key, epoch: i64) -> Result<bool, JournalError> {
        let (grant, group) = (clean(key.0.as_str()), clean(key.1.as_str()));
        let ask = async |client: &mut tokio_postgres::Client| {
            let parameters: [(&(dyn ToSql + Sync), Type); 3] =
                [(&grant, Type::TEXT), (&group, Type::TEXT), (&epoch, Type::INT8)];
            Ok(!client.query_typed(sql, &parameters).await?.is_empty())
        };
        self.database.run(LIMIT, ask).await.map_err(|error| JournalError::Read(error.into()))
    }
}

/// The duty that a record changes, where it follows from a step.
fn effect(record: &Record) -> Option<Key> {
    match record {
        Record::Grant { id, event } => match event {
            Event::Refused { group, .. }
            | Event::StandingFound { group, .. }
            | Event::GrantIntended { group }
            | Event::Granted { group, .. }
            | Event::RevokeIntended { group }
            | Event::Ended { group, .. } => Some((id.clone(), group.clone())),
            Event::Accepted { .. }
            | Event::Revised { .. }
            | Event::Declined { .. }
            | Event::UserResolved { .. }
            | Event::FoundMissing { .. }
            | Event::AddedByOthers { .. }
            | Event::AddedLate { .. }
            | Event::EndRequested { .. } => None,
        },
        Record::Task { .. } | Record::Trail { .. } => None,
    }
}

impl Fleet for Claims {
    fn me(&self) -> Option<SessionId> {
        Some(self.members.itself().id.clone())
    }

    fn is_mine(&self, by: Option<&SessionId>, key: &str) -> bool {
        self.members.is_mine(by, key)
    }

    fn grace(&self) -> Duration {
        if self.is_away() { GRACE_ALONE } else { GRACE }
    }

    fn owns(&self, integration: &IntegrationId) -> bool {
        self.members.owns(integration)
    }

    fn claim<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, JournalError>> {
        async move {
            let (me, since) = (self.me(), self.members.moment());
            let (grant, group) = (clean(key.0.as_str()), clean(key.1.as_str()));
            let claim = async |client: &mut tokio_postgres::Client| {
                let parameters: [(&(dyn ToSql + Sync), Type); 3] =
                    [(&me, Type::TEXT), (&grant, Type::TEXT), (&group, Type::TEXT)];
                let claimed = client.query_typed(CLAIM, &parameters).await?;
                if claimed.is_empty() {
                    client.query_typed(MEND, &[(&grant, Type::TEXT), (&group, Type::TEXT)]).await?;
                }
                Ok(claimed.first().map(|row| row.get::<_, i64>(0)))
            };
            if self.is_away() {
                // Found out a moment ago: what must end does not wait to find it out again.
                return Err(JournalError::Read(Away.into()));
            }
            let claimed = self.database.run(LIMIT, claim).await;
            let claimed = claimed.map_err(|error| JournalError::Read(error.into()))?;
            if let Some(epoch) = claimed {
                self.lock().insert(key.clone(), Claim::Held { epoch, since });
            }
            Ok(claimed.is_some())
        }
        .boxed()
    }

    fn give_back<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, ()> {
        async move {
            let held = self.lock().remove(key);
            if let Some(Claim::Held { epoch, .. }) = held
                && !self.is_away()
            {
                // Where it does not arrive, the claim is this daemon's until the next one, or until it stops.
                let _ = self.ask(GIVE_BACK, key, epoch).await;
            }
        }
        .boxed()
    }

    fn may_act<'a>(&'a self, key: &'a Key, step: Step) -> BoxFuture<'a, Result<(), JournalError>> {
        async move {
            let claim = self.lock().get(key).copied();
            match claim {
                Some(Claim::Held { .. }) if self.is_away() => without(step, JournalError::Read(Away.into())),
                Some(Claim::Held { since, .. }) if self.members.has_lived_since(since) => Ok(()),
                Some(Claim::Lost) => Err(JournalError::TakenOver),
                // It may have been taken for gone at some time since.
                Some(Claim::Held { epoch, .. }) => {
                    let since = self.members.moment();
                    match self.ask(STANDS, key, epoch).await {
                        Ok(true) => {
                            self.lock()
                                .entry(key.clone())
                                .and_modify(|claim| *claim = Claim::Held { epoch, since });
                            Ok(())
                        }
                        Ok(false) => {
                            self.lost(std::slice::from_ref(key));
                            Err(JournalError::TakenOver)
                        }
                        Err(error) => without(step, error),
                    }
                }
                None => without(step, JournalError::TakenOver),
            }
        }
        .boxed()
    }
}

/// Without a database: what must end, ends.
fn without(step: Step, error: JournalError) -> Result<(), JournalError> {
    match step {
        Step::Remove | Step::Release => Ok(()),
        Step::Grant => Err(error),
    }
}
