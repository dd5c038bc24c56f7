//! # Purpose
//! A daemon's place in the fleet: it says that it lives, sees who else does, and owns organizations.
//!
//! # Invariants kept here
//! - A daemon counts as gone [`LIFE`] after it was last heard, by the database's clock. It counts itself as taken for gone
//!   before that, by its own monotonic clock, from before it spoke; and it remembers when it last may have been taken for
//!   gone: what it had before that may be another's, however well it lives now.
//! - An organization has one owner at a time; each change of owner has a new epoch.
//! - Who leaves in order is gone at once.
//! - Whoever has more organizations than its share lets go of some; never of one that somebody here is at ([`Members::hold`]).
//!
//! # Not here
//! What falls to whom: `lot`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::lot::{Living, falls_to, surplus};
use crate::clock::{self, SharedClock};
use crate::database::{Database, DatabaseError};
use crate::domain::{IntegrationId, SessionId};
use crate::telemetry::chain;

/// After this long without a word a daemon counts as gone.
const LIFE: Duration = Duration::from_secs(4);
/// Between two words.
const BEAT: Duration = Duration::from_secs(1);
/// A word that takes longer is none.
const LIMIT: Duration = Duration::from_secs(2);
/// So much earlier a daemon counts itself as gone.
const MARGIN: Duration = Duration::from_millis(500);
/// Nobody is given anything before it has lived for so long: what comes and goes moves nothing.
const SETTLED: Duration = Duration::from_secs(30);
/// Rows of daemons that were not heard for so long are of no use to anybody.
const FORGOTTEN: &str = "1 day";

/// Who this daemon is.
#[derive(Clone, Debug)]
pub struct Itself {
    /// One run of the process.
    pub id: SessionId,
    /// The host's name, for people.
    pub host: String,
    /// The connector's version.
    pub version: String,
    /// When the process began.
    pub started_at: Timestamp,
}

/// A daemon, as the fleet knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    /// One run of its process.
    pub id: SessionId,
    /// Its host's name.
    pub host: String,
    /// Its version.
    pub version: String,
    /// When its process began.
    pub started_at: Timestamp,
    /// Since when it was not heard, by the database's clock.
    pub silent: Duration,
    /// Whether it counts as living.
    pub lives: bool,
    /// For how long it has lived, by the database's clock.
    pub lived: Duration,
}

/// Who owns an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The daemon; it may be gone.
    pub daemon: SessionId,
    /// Counts the changes of owner.
    pub epoch: i64,
}

/// What a daemon knows of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether the database took the last word.
    pub answers: bool,
    /// When the last word was taken, on the monotonic clock.
    pub heard_at: Duration,
    /// The journal's last entry then.
    pub last_entry: i64,
    /// All daemons that were heard within a day.
    pub companions: Vec<Companion>,
}

/// See the module.
#[derive(Debug)]
pub struct Members {
    database: Database,
    itself: Itself,
    clock: SharedClock,
    organizations: Vec<IntegrationId>,
    seen: Mutex<Seen>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Until when this daemon does not count as gone, on the monotonic clock.
    valid_until: Duration,
    /// Since when it has not counted as gone at any time.
    since: Duration,
    companions: Vec<Companion>,
    owners: BTreeMap<IntegrationId, Ownership>,
    away: bool,
    heard_at: Duration,
    last_entry: i64,
    /// How many are at something of an organization that must not be let go of meanwhile.
    held: BTreeMap<IntegrationId, usize>,
}

/// All daemons, the journal's last entry, and who owns which organization.
type Heard = (Vec<Companion>, i64, BTreeMap<IntegrationId, Ownership>);

/// While it is there, the organization is not let go of; it can be lost all the same.
#[derive(Debug)]
pub struct Hold {
    members: Arc<Members>,
    integration: IntegrationId,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut seen = self.members.lock();
        if let Some(count) = seen.held.get_mut(&self.integration) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Members {
    /// Not known to the others before the first [`Members::beat`].
    pub fn new(
        database: Database,
        itself: Itself,
        organizations: Vec<IntegrationId>,
        clock: SharedClock,
    ) -> Self {
        let (seen, changes) = (Mutex::default(), watch::Sender::default());
        Self { database, itself, clock, organizations, seen, changes }
    }

    /// This daemon.
    pub fn itself(&self) -> &Itself {
        &self.itself
    }

    /// The database that they share.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Speaks until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(clock::sleep(BEAT)).await.is_some() {
            // Noted inside; what follows from it is everybody's own.
            let _ = self.beat().await;
        }
    }

    /// Says that this daemon lives, looks who else does, and takes over what nobody owns.
    pub async fn beat(&self) -> Result<(), DatabaseError> {
        let asked = self.clock.elapsed();
        let spoken = self.database.run(LIMIT, async |client| speak(client, &self.itself).await).await;
        let answered = self.clock.elapsed();
        let spoken = match spoken {
            Ok((companions, last_entry)) => {
                self.own(&companions).await.map(|owners| (companions, last_entry, owners))
            }
            Err(error) => Err(error),
        };
        let surplus = self.hear(asked, answered, spoken)?;
        self.let_go(&surplus).await;
        Ok(())
    }

    /// Takes in what came of a word; what of its organizations this daemon lets go of.
    fn hear(
        &self,
        asked: Duration,
        answered: Duration,
        spoken: Result<Heard, DatabaseError>,
    ) -> Result<Vec<IntegrationId>, DatabaseError> {
        let mut seen = self.lock();
        match spoken {
            Ok((companions, last_entry, owners)) => {
                if std::mem::take(&mut seen.away) {
                    info!(event = "fleet_back", "the fleet's database answers again");
                }
                tell_changes(&self.itself.id, &seen.companions, &companions);
                let changed = seen.owners != owners || lives(&seen.companions) != lives(&companions);
                let since = if answered < seen.valid_until { seen.since } else { answered };
                seen.valid_until = asked + LIFE.saturating_sub(MARGIN);
                (seen.since, seen.heard_at, seen.last_entry) = (since, asked, last_entry);
                (seen.companions, seen.owners) = (companions, owners);
                let surplus = self.take_out_surplus(&mut seen);
                drop(seen);
                if changed || !surplus.is_empty() {
                    self.changes.send_modify(|changes| *changes += 1);
                }
                Ok(surplus)
            }
            Err(error) => {
                if !std::mem::replace(&mut seen.away, true) {
                    warn!(event = "fleet_lost", error = %chain(&error), "the fleet's database does not answer: {}", chain(&error));
                }
                Err(error)
            }
        }
    }

    /// Who owns which organization, after this daemon has taken what nobody has.
    async fn own(
        &self,
        companions: &[Companion],
    ) -> Result<BTreeMap<IntegrationId, Ownership>, DatabaseError> {
        let wanted: Vec<&str> = self
            .organizations
            .iter()
            .filter(|integration| {
                let living = companions.iter().filter(|companion| companion.lives);
                let heir = falls_to(living.map(|companion| companion.id.as_str()), &key(integration));
                heir == Some(self.itself.id.as_str())
            })
            .map(IntegrationId::as_str)
            .collect();
        let all: Vec<&str> = self.organizations.iter().map(IntegrationId::as_str).collect();
        let me = self.itself.id.as_str();
        let rows = self
            .database
            .run(LIMIT, async |client| {
                if !wanted.is_empty() {
                    client.query_typed(TAKE, &[(&me, Type::TEXT), (&wanted, Type::TEXT_ARRAY)]).await?;
                }
                Ok(client.query_typed(OWNERS, &[(&all, Type::TEXT_ARRAY)]).await?)
            })
            .await?;
        let owner = |row: &tokio_postgres::Row| {
            let ownership = Ownership { daemon: SessionId::from(row.get::<_, &str>(1)), epoch: row.get(2) };
            (IntegrationId::from(row.get::<_, &str>(0)), ownership)
        };
        Ok(rows.iter().map(owner).collect())
    }

    /// What this daemon has beyond its share is nobody's from now on; those whom it falls to take it.
    fn take_out_surplus(&self, seen: &mut Seen) -> Vec<IntegrationId> {
        let me = self.itself.id.as_str();
        let living: Vec<_> = seen
            .companions
            .iter()
            .filter(|companion| companion.lives)
            .map(|companion| Living { id: companion.id.as_str(), is_settled: companion.lived >= SETTLED })
            .collect();
        let mine: BTreeMap<String, &IntegrationId> = seen
            .owners
            .iter()
            .filter(|(_, owner)| owner.daemon == self.itself.id)
            .map(|(integration, _)| (key(integration), integration))
            .collect();
        let is_free = |key: &str| {
            mine.get(key).is_some_and(|integration| seen.held.get(*integration).is_none_or(|held| *held == 0))
        };
        let keys: Vec<&str> = mine.keys().map(String::as_str).collect();
        let goes = surplus(&keys, me, self.organizations.len(), &living, is_free);
        let goes: Vec<IntegrationId> =
            goes.into_iter().filter_map(|key| mine.get(key).map(|id| (*id).clone())).collect();
        seen.owners.retain(|integration, _| !goes.contains(integration));
        goes
    }

    async fn let_go(&self, integrations: &[IntegrationId]) {
        if integrations.is_empty() {
            return;
        }
        let ids: Vec<&str> = integrations.iter().map(IntegrationId::as_str).collect();
        let me = self.itself.id.as_str();
        let told = self
            .database
            .run(LIMIT, async |client| {
                client.query_typed(LET_GO, &[(&me, Type::TEXT), (&ids, Type::TEXT_ARRAY)]).await?;
                Ok(())
            })
            .await;
        for integration in integrations {
            info!(integration.id = %integration, "lets go of organization {integration}, which falls to another daemon");
        }
        if let Err(error) = told {
            // The next beat shows whose they are.
            debug!(error = %chain(&error), "the fleet was not told what this daemon lets go of");
        }
    }

    /// Keeps an organization of this daemon's from being let go of; nothing where it is not this daemon's.
    pub fn hold(self: &Arc<Self>, integration: &IntegrationId) -> Option<Hold> {
        let mut seen = self.lock();
        if !self.owns_by(&seen, integration) {
            return None;
        }
        *seen.held.entry(integration.clone()).or_default() += 1;
        drop(seen);
        Some(Hold { members: Arc::clone(self), integration: integration.clone() })
    }

    fn owns_by(&self, seen: &Seen, integration: &IntegrationId) -> bool {
        self.clock.elapsed() < seen.valid_until
            && seen.owners.get(integration).is_some_and(|owner| owner.daemon == self.itself.id)
    }

    /// Leaves in order: what this daemon has is free at once.
    pub async fn leave(&self) {
        let me = self.itself.id.as_str();
        let left = self
            .database
            .run(LIMIT, async |client| {
                client.query_typed(LEAVE, &[(&me, Type::TEXT)]).await?;
                Ok(())
            })
            .await;
        self.lock().valid_until = Duration::ZERO;
        if let Err(error) = left {
            debug!(error = %chain(&error), "the fleet was not told that this daemon stops; it finds out within {LIFE:?}");
        }
    }

    /// Now, on the monotonic clock, for [`Self::has_lived_since`].
    pub fn moment(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Whether this daemon certainly has not counted as gone at any time from `moment` until now.
    pub fn has_lived_since(&self, moment: Duration) -> bool {
        let seen = self.lock();
        seen.since <= moment && self.clock.elapsed() < seen.valid_until
    }

    /// Whether the last word was not heard.
    pub fn is_away(&self) -> bool {
        self.lock().away
    }

    /// Whether what `by` began is this daemon's, as far as it knows: while the database is away, those live who lived last.
    pub fn is_mine(&self, by: Option<&SessionId>, key: &str) -> bool {
        let seen = self.lock();
        if by == Some(&self.itself.id) {
            return true;
        }
        let living = || seen.companions.iter().filter(|companion| companion.lives);
        if by.is_some_and(|by| living().any(|companion| companion.id == *by)) {
            return false;
        }
        falls_to(living().map(|companion| companion.id.as_str()), key) == Some(self.itself.id.as_str())
    }

    /// Whether this daemon owns the organization.
    pub fn owns(&self, integration: &IntegrationId) -> bool {
        self.owns_by(&self.lock(), integration)
    }

    /// Who owns the organization.
    pub fn owner(&self, integration: &IntegrationId) -> Option<Ownership> {
        self.lock().owners.get(integration).cloned()
    }

    /// What this daemon knows of the fleet.
    pub fn state(&self) -> State {
        let seen = self.lock();
        State {
            answers: !seen.away,
            heard_at: seen.heard_at,
            last_entry: seen.last_entry,
            companions: seen.companions.clone(),
        }
    }

    /// The database, for messages.
    pub fn place(&self) -> String {
        self.database.place().to_string()
    }

    /// Tells of changes of who lives and who owns.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those without an owner that lives.
const TAKE: &str = "
    UPDATE apono_connector.organizations o SET daemon = $1, epoch = o.epoch + 1, since = clock_timestamp()
    WHERE o.integration IN (
        SELECT free.integration FROM apono_connector.organizations free
        WHERE free.integration = ANY ($2) AND NOT EXISTS (
            SELECT FROM apono_connector.daemons d WHERE d.id = free.daemon AND d.alive_until > clock_timestamp())
        ORDER BY free.integration FOR UPDATE SKIP LOCKED)";

const LET_GO: &str = "
    UPDATE apono_connector.organizations SET daemon = NULL WHERE daemon = $1 AND integration = ANY ($2)";

const LEAVE: &str = "
    WITH slices AS (DELETE FROM apono_connector.slices WHERE daemon = $1)
    DELETE FROM apono_connector.daemons WHERE id = $1";

const OWNERS: &str = "
    SELECT integration, daemon, epoch FROM apono_connector.organizations
    WHERE integration = ANY ($1) AND daemon IS NOT NULL";

/// All daemons, and the journal's last entry.
async fn speak(
    client: &tokio_postgres::Client,
    itself: &Itself,
) -> Result<(Vec<Companion>, i64), DatabaseError> {
    const SPEAK: &str = "
        INSERT INTO apono_connector.daemons (id, host, version, started_at, heard_at, alive_until)
        VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp() + $5 * interval '1 millisecond')
        ON CONFLICT (id) DO UPDATE SET heard_at = excluded.heard_at, alive_until = excluded.alive_until";
    const LOOK: &str = "
        SELECT id, host, version, started_at,
               greatest(0, extract(epoch FROM clock_timestamp() - heard_at) * 1000)::bigint,
               alive_until > clock_timestamp(), (SELECT seq FROM apono_connector.head),
               greatest(0, extract(epoch FROM clock_timestamp() - joined_at) * 1000)::bigint
        FROM apono_connector.daemons ORDER BY id";
    let life = i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX);
    let (id, host, version) = (itself.id.as_str(), itself.host.as_str(), itself.version.as_str());
    client
        .query_typed(
            SPEAK,
            &[
                (&id, Type::TEXT),
                (&host, Type::TEXT),
                (&version, Type::TEXT),
                (&itself.started_at, Type::TIMESTAMPTZ),
                (&life, Type::INT8),
            ],
        )
        .await?;
    client.query_typed(&format!("DELETE FROM apono_connector.daemons WHERE heard_at < clock_timestamp() - interval '{FORGOTTEN}'"), &[]).await?;
    let rows = client.query_typed(LOOK, &[]).await?;
    let companion = |row: &tokio_postgres::Row| Companion {
        id: SessionId::from(row.get::<_, &str>(0)),
        host: row.get(1),
        version: row.get(2),
        started_at: row.get(3),
        silent: milliseconds(row.get(4)),
        lives: row.get(5),
        lived: milliseconds(row.get(7)),
    };
    let last_entry = rows.first().map_or(0, |row| row.get(6));
    Ok((rows.iter().map(companion).collect(), last_entry))
}

fn milliseconds(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}

/// By which an organization falls to somebody.
fn key(integration: &IntegrationId) -> String {
    format!("organization:{integration}")
}

fn lives(companions: &[Companion]) -> Vec<&SessionId> {
    companions.iter().filter(|companion| companion.lives).map(|companion| &companion.id).collect()
}

fn tell_changes(me: &SessionId, before: &[Companion], after: &[Companion]) {
    let others = |companions: &[Companion]| -> BTreeMap<SessionId, Companion> {
        let living = companions.iter().filter(|companion| companion.lives && companion.id != *me);
        living.map(|companion| (companion.id.clone(), companion.clone())).collect()
    };
    let (before, after) = (others(before), others(after));
    for (id, companion) in after.iter().filter(|(id, _)| !before.contains_key(id)) {
        info!(event = "companion_seen", daemon.id = %id, daemon.host = companion.host, daemon.version = companion.version,
            "daemon {id} on {} shares the state", companion.host);
    }
    for (id, companion) in before.iter().filter(|(id, _)| !after.contains_key(id)) {
        warn!(event = "companion_lost", daemon.id = %id, daemon.host = companion.host,
            "daemon {id} on {} is gone; what it had falls to the others", companion.host);
    }
}
