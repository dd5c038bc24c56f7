//! # Purpose
//! What is ours at the provider, in the database that a fleet shares: what the owner's store has changed is shipped there, and
//! the next owner's store is made from it.
//!
//! # Invariants kept here
//! - Whatever is written is written under the owner's epoch, by one statement that looks whether the organization is still this
//!   daemon's: who has lost it writes nothing.
//! - What the database has is what the last owner's store had after one of its changes, and all before it.
//! - A store goes on as it is only where nobody else can have run since it was true; else it is made anew, and both sides are
//!   read whole.
//! - A run waits for none of this, and fails by none of it.
//!
//! # Not here
//! What changes: `store::shared`. Who owns an organization: `fleet`. When: `app`.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};
use tracing::info;

use super::store::{Belonging, Change, Sharing, Store, StoreError, outcome};
use crate::database::{Database, DatabaseError};
use crate::domain::{IntegrationId, SessionId};

/// One organization's.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Where.
    pub database: Database,
    /// Of which store.
    pub store: Store,
    /// Of which organization.
    pub integration: IntegrationId,
    /// This daemon.
    pub me: SessionId,
}

/// It was not done; it can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The store.
    #[error("what is to be shared with the fleet cannot be had")]
    Store(#[source] StoreError),
    /// The database.
    #[error("what is to be shared with the fleet cannot be read or written")]
    Database(#[source] DatabaseError),
}

/// Whether what was to be written was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Stand {
    /// All of it.
    Stands,
    /// The organization is another daemon's, and nothing was written.
    Lost,
}

/// For one statement.
const LIMIT: Duration = Duration::from_secs(5);
/// Changes in one statement, and rows in one answer.
const AT_ONCE: u32 = 2000;
/// What an index takes. Longer ids stay with the store; such an object is recognized by its externalId again.
const LONGEST: usize = 800;

const STANDS: &str = "
    WITH stands AS (
        SELECT 1 FROM apono_connector.organizations WHERE integration = $1 AND daemon = $2 AND epoch = $3 FOR SHARE
    )";

const CLAIM: &str = "
    INSERT INTO apono_connector.stores (integration, store, epoch, number)
    SELECT $1, $4, $3, $5 FROM stands
    ON CONFLICT (integration) DO UPDATE SET store = excluded.store, epoch = excluded.epoch, number = excluded.number
    RETURNING number";

/// Each thing is in one list once.
const SHIP: &str = "
    , turn AS (
        UPDATE apono_connector.stores s SET number = $5 FROM stands
        WHERE s.integration = $1 AND s.store = $4 AND s.epoch = $3 RETURNING s.number
    ), went AS (
        DELETE FROM apono_connector.belongings b
        USING turn, unnest($6::text[], $7::text[], $8::text[]) AS w (kind, id, part)
        WHERE b.integration = $1 AND b.kind = w.kind AND b.id = w.id AND b.part = w.part
    ), came AS (
        INSERT INTO apono_connector.belongings (integration, kind, id, part, value, origin)
        SELECT $1, c.kind, c.id, c.part, c.value, c.origin FROM turn,
            unnest($9::text[], $10::text[], $11::text[], $12::text[], $13::text[]) AS c (kind, id, part, value, origin)
        ON CONFLICT (integration, kind, id, part) DO UPDATE SET value = excluded.value, origin = excluded.origin
    )
    SELECT number FROM turn";

const LAST: &str = "SELECT store, epoch, number FROM apono_connector.stores WHERE integration = $1";

const BELONGINGS: &str = "
    SELECT kind, id, part, value, origin FROM apono_connector.belongings
    WHERE integration = $1 AND (kind, id, part) > ($2, $3, $4) ORDER BY kind, id, part LIMIT $5";

/// Who has written last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Last {
    store: String,
    epoch: i64,
    number: i64,
}

/// What becomes of a store when its daemon becomes the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It goes on.
    GoesOn,
    /// It goes on, and the database, which has less than was written there, is given everything.
    ShipsAll,
    /// It is made from what the database has.
    Anew,
}

fn way(last: Option<&Last>, local: &Sharing, epoch: i64) -> Way {
    let Some(last) = last else { return Way::ShipsAll };
    let is_newest = local.epoch.is_some_and(|local| local >= last.epoch) && local.last >= last.number;
    // Each owner has an epoch of its own: one that has left no word here may have run all the same.
    let is_next = epoch - last.epoch <= 1;
    if last.store != local.store || !is_newest || !is_next {
        Way::Anew
    } else if last.number < local.shipped {
        Way::ShipsAll
    } else {
        Way::GoesOn
    }
}

impl Mirror {
    /// Makes the store one that a run may begin with, as the owner of this epoch.
    pub async fn take_over(&self, epoch: i64) -> Result<Stand, MirrorError> {
        let last = self.last().await?;
        let local = self.store.sharing().await.map_err(MirrorError::Store)?;
        // First here and then there: a store that says too much is not the one that the database names.
        let local = match way(last.as_ref(), &local, epoch) {
            Way::GoesOn => self.store.be_true_under(epoch).await,
            Way::ShipsAll => {
                self.store.note_everything().await.map_err(MirrorError::Store)?;
                self.store.be_true_under(epoch).await
            }
            Way::Anew => {
                info!(event = "directory_anew", integration.id = %self.integration,
                    "the local store was not the last that ran this directory: it is made anew from the fleet's database, and everything is read");
                self.load().await?;
                self.store.end_anew_from_the_fleet(epoch).await
            }
        };
        let local = local.map_err(MirrorError::Store)?;
        let stand = self.stand(epoch, &local.store, local.shipped);
        let sql = [STANDS, CLAIM].concat();
        let claimed =
            self.ask(async |client| Ok(client.query_typed(&sql, &stand.parameters()).await?)).await?;
        Ok(if claimed.is_empty() { Stand::Lost } else { Stand::Stands })
    }

    /// Ships what there is to ship, in order.
    pub async fn ship(&self, epoch: i64) -> Result<Stand, MirrorError> {
        loop {
            let changes = self.store.changes(AT_ONCE).await.map_err(MirrorError::Store)?;
            let Some(to) = changes.last().map(|change| change.n) else { return Ok(Stand::Stands) };
            let store = self.store.sharing().await.map_err(MirrorError::Store)?.store;
            let (stand, batch) = (self.stand(epoch, &store, to), Batch::new(changes));
            let sql = [STANDS, SHIP].concat();
            let shipped = self
                .ask(async |client| {
                    let parameters: Vec<_> =
                        stand.parameters().into_iter().chain(batch.parameters()).collect();
                    Ok(client.query_typed(&sql, &parameters).await?)
                })
                .await?;
            if shipped.is_empty() {
                return Ok(Stand::Lost);
            }
            self.store.were_shipped(to).await.map_err(MirrorError::Store)?;
        }
    }

    /// Makes the store what the database has.
    async fn load(&self) -> Result<(), MirrorError> {
        self.store.begin_anew_from_the_fleet().await.map_err(MirrorError::Store)?;
        let mut after = [String::new(), String::new(), String::new()];
        loop {
            let [kind, id, part] = &after;
            let (integration, limit) = (self.integration.as_str(), i64::from(AT_ONCE));
            let rows = self
                .ask(async |client| {
                    let parameters: [Parameter<'_>; 5] = [
                        (&integration, Type::TEXT),
                        (kind, Type::TEXT),
                        (id, Type::TEXT),
                        (part, Type::TEXT),
                        (&limit, Type::INT8),
                    ];
                    Ok(client.query_typed(BELONGINGS, &parameters).await?)
                })
                .await?;
            let belongings: Vec<_> = rows.iter().map(belonging).collect();
            let Some(last) = belongings.last() else { return Ok(()) };
            after = [last.kind.clone(), last.id.clone(), last.part.clone()];
            self.store.take_belongings(belongings).await.map_err(MirrorError::Store)?;
        }
    }

    async fn last(&self) -> Result<Option<Last>, MirrorError> {
        let integration = self.integration.as_str();
        let rows = self
            .ask(async |client| Ok(client.query_typed(LAST, &[(&integration, Type::TEXT)]).await?))
            .await?;
        Ok(rows.first().map(|row| Last { store: row.get(0), epoch: row.get(1), number: row.get(2) }))
    }

    async fn ask<T>(
        &self,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, DatabaseError>,
    ) -> Result<T, MirrorError> {
        self.database.run(LIMIT, work).await.map_err(MirrorError::Database)
    }

    fn stand<'a>(&'a self, epoch: i64, store: &'a str, number: i64) -> Standing<'a> {
        Standing { integration: self.integration.as_str(), me: self.me.as_str(), epoch, store, number }
    }
}

/// What a statement is written under.
#[derive(Clone, Copy, Debug)]
struct Standing<'a> {
    integration: &'a str,
    me: &'a str,
    epoch: i64,
    store: &'a str,
    number: i64,
}

impl Standing<'_> {
    /// Those of [`STANDS`], and of what follows it.
    fn parameters(&self) -> [Parameter<'_>; 5] {
        [
            (&self.integration, Type::TEXT),
            (&self.me, Type::TEXT),
            (&self.epoch, Type::INT8),
            (&self.store, Type::TEXT),
            (&self.number, Type::INT8),
        ]
    }
}

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// What is left of some changes, in columns.
#[derive(Debug, Default)]
struct Batch {
    went: [Vec<String>; 3],
    came: [Vec<String>; 4],
    origins: Vec<Option<String>>,
}

impl Batch {
    fn new(changes: Vec<Change>) -> Self {
        let mut batch = Self::default();
        let kept = changes.into_iter().filter(|change| {
            let Belonging { id, part, .. } = &change.belonging;
            id.len() <= LONGEST && part.len() <= LONGEST
        });
        for ((kind, id, part), change) in outcome(kept.map(clean).collect()) {
            let key = [kind, id, part];
            let columns = if change.gone { &mut batch.went[..] } else { &mut batch.came[..3] };
            for (column, value) in columns.iter_mut().zip(key) {
                column.push(value);
            }
            if !change.gone {
                batch.came[3].push(change.belonging.value);
                batch.origins.push(change.belonging.origin);
            }
        }
        batch
    }

    fn parameters(&self) -> impl Iterator<Item = Parameter<'_>> {
        let texts = self.went.iter().chain(&self.came);
        let texts = texts.map(|column| (column as &(dyn ToSql + Sync), Type::TEXT_ARRAY));
        texts.chain([(&self.origins as &(dyn ToSql + Sync), Type::TEXT_ARRAY)])
    }
}

/// PostgreSQL's texts hold every character but one.
fn clean(mut change: Change) -> Change {
    let Belonging { id, part, value, .. } = &mut change.belonging;
    for text in [id, part, value] {
        if text.contains('\0') {
            *text = text.replace('\0', "\u{fffd}");
        }
    }
    change
}

fn belonging(row: &Row) -> Belonging {
    Belonging { kind: row.get(0), id: row.get(1), part: row.get(2), value: row.get(3), origin: row.get(4) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(epoch: Option<i64>, shipped: i64, last: i64) -> Sharing {
        Sharing { store: "a".to_owned(), epoch, shipped, last }
    }

    fn last(store: &str, epoch: i64, number: i64) -> Last {
        Last { store: store.to_owned(), epoch, number }
    }

    #[test]
    fn a_store_goes_on_only_where_nobody_else_can_have_run() {
        let goes_on = |last: &Last, local: &Sharing, epoch| way(Some(last), local, epoch) == Way::GoesOn;
        assert!(goes_on(&last("a", 3, 7), &local(Some(3), 7, 7), 4), "the same host, started again");
        assert!(goes_on(&last("a", 3, 7), &local(Some(3), 7, 9), 4), "what it has not shipped it ships now");
        assert!(goes_on(&last("a", 3, 7), &local(Some(3), 7, 7), 3), "the database was away");
        assert!(goes_on(&last("a", 3, 7), &local(Some(4), 7, 7), 4), "it was stopped before it could say so");
        for (last, local, epoch, why) in [
            (last("b", 4, 2), local(Some(3), 7, 7), 5, "another has run"),
            (last("a", 3, 7), local(Some(3), 7, 7), 5, "another may have run, and left no word"),
            (last("a", 3, 7), local(Some(2), 7, 7), 4, "a copy from before"),
            (last("a", 3, 7), local(Some(3), 5, 6), 4, "a copy that lacks changes"),
            (last("a", 3, 7), local(None, 7, 7), 4, "it was being made anew"),
        ] {
            assert_eq!(way(Some(&last), &local, epoch), Way::Anew, "{why}");
        }
    }

    #[test]
    fn a_database_that_has_nothing_or_too_little_is_given_everything() {
        assert_eq!(way(None, &local(None, 0, 9), 1), Way::ShipsAll);
        assert_eq!(way(None, &local(Some(3), 9, 9), 1), Way::ShipsAll);
        assert_eq!(way(Some(&last("a", 3, 4)), &local(Some(3), 7, 9), 4), Way::ShipsAll, "an older backup");
    }

    #[test]
    fn a_batch_has_each_thing_once_as_it_was_last() {
        let change = |n, id: &str, value: &str, gone| Change {
            n,
            belonging: Belonging {
                kind: "user".to_owned(),
                id: id.to_owned(),
                part: String::new(),
                value: value.to_owned(),
                origin: Some("created".to_owned()),
            },
            gone,
        };
        let long = "x".repeat(LONGEST + 1);
        let batch = Batch::new(vec![
            change(1, "00u1", "s1", false),
            change(2, "00u1", "", true),
            change(3, "00u1", "s2", false),
            change(4, "00u2", "s3", false),
            change(5, "00u2", "", true),
            change(6, "a\0b", "s4", false),
            change(7, &long, "s5", false),
        ]);
        assert_eq!(batch.went[1], ["00u2"]);
        assert_eq!(batch.came[1], ["00u1", "a\u{fffd}b"]);
        assert_eq!(batch.came[3], ["s2", "s4"]);
        assert_eq!(batch.origins.len(), 2);
    }
}
