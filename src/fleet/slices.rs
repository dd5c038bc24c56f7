//! # Purpose
//! The daemons of a fleet divide each organization's share of Okta's limits among themselves, through the database.
//!
//! # Invariants kept here
//! - What is written of a share never comes to more than one, and nobody holds more than is written of it: a daemon takes
//!   less at once, and more only once it is written that it holds it, by a statement that counts on what it has read.
//! - A slice is lent: a daemon that is not heard has the least that there is before the others may count on its part,
//!   however long it takes to find out. That least, and that of who has just come, is beyond the one: removals always go.
//!
//! # Not here
//! What is divided how: [`crate::http::budget::slices`]. What a slice means for a request: [`crate::http::budget`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::members::Members;
use crate::clock::{self, SharedClock};
use crate::database::{Database, DatabaseError};
use crate::domain::{IntegrationId, SessionId};
use crate::http::Budget;
use crate::http::budget::slices::{Demand, divide, floor, grant_next};
use crate::telemetry::chain;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// What a daemon holds counts for so long after it was written.
const HELD_FOR: Duration = Duration::from_secs(12);
/// A daemon that could not write for so long holds the least. Two clocks may differ in how fast they go.
const SURE_FOR: Duration = Duration::from_secs(8);
/// A look that takes longer is none.
const LIMIT: Duration = Duration::from_secs(2);
/// Times that others may be faster.
const TRIES: usize = 5;

/// See the module.
pub struct Slices {
    database: Database,
    members: Arc<Members>,
    clock: SharedClock,
    organizations: Vec<Organization>,
}

struct Organization {
    integration: IntegrationId,
    budget: Arc<Budget>,
}

/// What there is.
#[derive(Debug, Default)]
struct Held {
    version: i64,
    slices: BTreeMap<SessionId, f64>,
    demands: BTreeMap<SessionId, Demand>,
}

/// All slices that count, and what those who live could use.
const LOOK: &str = "
    SELECT o.slices, s.daemon, s.slice, s.directory_waiting, s.access_waiting, s.spent, s.of,
           EXISTS (SELECT FROM apono_connector.daemons d WHERE d.id = s.daemon AND d.alive_until > clock_timestamp())
    FROM apono_connector.organizations o
    LEFT JOIN apono_connector.slices s ON s.integration = o.integration AND s.counts_until > clock_timestamp()
    WHERE o.integration = $1";

const HOLD: &str = "
    WITH turn AS (
        UPDATE apono_connector.organizations SET slices = slices + 1 WHERE integration = $1 AND slices = $2
        RETURNING integration)
    INSERT INTO apono_connector.slices (integration, daemon, slice, directory_waiting, access_waiting, spent, of, counts_until)
    SELECT integration, $3, $4, $5, $6, $7, $8, clock_timestamp() + $9 * interval '1 millisecond' FROM turn
    ON CONFLICT (integration, daemon) DO UPDATE SET slice = excluded.slice, spent = excluded.spent, of = excluded.of,
        directory_waiting = excluded.directory_waiting, access_waiting = excluded.access_waiting,
        counts_until = excluded.counts_until
    RETURNING slice";

impl Slices {
    /// Each organization has the least until it is known what the others have.
    pub fn new(
        members: Arc<Members>,
        clock: SharedClock,
        budgets: Vec<(IntegrationId, Arc<Budget>)>,
    ) -> Self {
        let database = members.database().clone();
        let least = floor(living(&members));
        let organization = |(integration, budget): (IntegrationId, Arc<Budget>)| {
            budget.set_slice(least);
            Organization { integration, budget }
        };
        let organizations = budgets.into_iter().map(organization).collect();
        Self { database, members, clock, organizations }
    }

    /// Divides again and again until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.divide().await;
            let _ = stop.run_until_cancelled(clock::sleep(EVERY)).await;
        }
    }

    /// Divides what there is of each organization, as far as the database answers.
    pub async fn divide(&self) {
        for organization in &self.organizations {
            let divided = organization.divide(&self.database, &self.members, &self.clock).await;
            if let Err(error) = divided {
                debug!(integration.id = %organization.integration, error = %chain(&error),
                    "the share of Okta's limits was not divided: {}", chain(&error));
            }
        }
    }
}

impl Organization {
    async fn divide(
        &self,
        database: &Database,
        members: &Members,
        clock: &SharedClock,
    ) -> Result<(), DatabaseError> {
        let me = &members.itself().id;
        for _ in 0..TRIES {
            let asked = clock.elapsed();
            let mut held = database.run(LIMIT, async |client| look(client, &self.integration).await).await?;
            let demand = self.budget.demand();
            held.demands.insert(me.clone(), demand);
            let demands: Vec<_> = held.demands.into_iter().collect();
            let next = grant_next(&held.slices, &divide(&demands, &held.slices), me);
            if next < self.budget.slice() {
                self.budget.set_slice(next);
            }
            let written = database
                .run(LIMIT, async |client| {
                    write(client, &self.integration, held.version, me, next, demand).await
                })
                .await?;
            if written {
                self.budget.lend(next, asked + SURE_FOR, floor(living(members)));
                return Ok(());
            }
        }
        Ok(())
    }
}

fn living(members: &Members) -> usize {
    members.state().companions.iter().filter(|companion| companion.lives).count()
}

async fn look(client: &tokio_postgres::Client, integration: &IntegrationId) -> Result<Held, DatabaseError> {
    let mut held = Held::default();
    for row in client.query_typed(LOOK, &[(&integration.as_str(), Type::TEXT)]).await? {
        held.version = row.get(0);
        let Some(daemon) = row.get::<_, Option<&str>>(1).map(SessionId::from) else {
            continue;
        };
        held.slices.insert(daemon.clone(), row.get(2));
        if row.get(7) {
            let number = |column: usize| u32::try_from(row.get::<_, i64>(column)).unwrap_or(u32::MAX);
            let demand = Demand {
                directory_waiting: number(3),
                access_waiting: number(4),
                spent: number(5),
                of: number(6),
            };
            held.demands.insert(daemon, demand);
        }
    }
    Ok(held)
}

/// Whether nobody was faster.
async fn write(
    client: &tokio_postgres::Client,
    integration: &IntegrationId,
    version: i64,
    me: &SessionId,
    slice: f64,
    demand: Demand,
) -> Result<bool, DatabaseError> {
    let Demand { directory_waiting, access_waiting, spent, of } = demand;
    let numbers = [directory_waiting, access_waiting, spent, of].map(i64::from);
    let held_for = i64::try_from(HELD_FOR.as_millis()).unwrap_or(i64::MAX);
    let parameters: [(&(dyn ToSql + Sync), Type); 9] = [
        (&integration.as_str(), Type::TEXT),
        (&version, Type::INT8),
        (&me.as_str(), Type::TEXT),
        (&slice, Type::FLOAT8),
        (&numbers[0], Type::INT8),
        (&numbers[1], Type::INT8),
        (&numbers[2], Type::INT8),
        (&numbers[3], Type::INT8),
        (&held_for, Type::INT8),
    ];
    Ok(!client.query_typed(HOLD, &parameters).await?.is_empty())
}
