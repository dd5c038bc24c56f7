//! # Purpose
//! The journal's rows, and the statements on them.
//!
//! # Invariants kept here
//! - `entries.seq` has no gaps, and its order is the order in which entries became visible.
//! - A duty has a row from the moment it is accepted until its grant is closed.
//!
//! # Not here
//! When they are run: `postgres`. Claims on duties: `claims`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio_postgres::types::{Json, ToSql, Type};
use tokio_postgres::{Client, Row};

use super::super::{Entry, JournalError, Last, Owner, Record, Standing, Subject};
use crate::access::fleet::Key;
use crate::access::machine::Event;
use crate::access::tasks::TaskEvent;
use crate::database::DatabaseError;
use crate::domain::GrantId;

pub(super) const HISTORY: &str = "
    SELECT seq, at, record FROM apono_connector.entries WHERE subject = ANY ($1) AND seq <= $2 ORDER BY seq";

pub(super) const NEWS: &str = "
    SELECT seq, at, record, daemon FROM apono_connector.entries WHERE seq > $1 ORDER BY seq LIMIT 5000";

const IS_THERE: &str = "SELECT 1 FROM apono_connector.entries WHERE seq = $1 AND at = $2 AND daemon = $3";

const LAST: &str = "
    SELECT e.seq, e.at, e.daemon FROM apono_connector.entries e JOIN apono_connector.head h ON h.seq = e.seq";

pub(super) const WHOLE: &str = "
    SELECT e.seq, e.at, e.record FROM apono_connector.entries e
    WHERE e.subject IN (
        SELECT s.subject FROM apono_connector.subjects s WHERE s.open UNION SELECT unnest($1::text[]))
    ORDER BY e.seq";

pub(super) const ABOUT: &str = "
    SELECT e.seq, e.at, e.record FROM apono_connector.entries e
    WHERE e.subject IN (SELECT a.subject FROM apono_connector.entries a WHERE a.about = $1) ORDER BY e.seq";

/// All of it or nothing. Whoever else appends waits at the row of `head`, and then finds that it counts on too little.
/// No duty is locked before that row is: two that each have what the other waits for would be a deadlock.
const APPEND: &str = "
    WITH first AS (
        SELECT one FROM apono_connector.head WHERE seq = $2 FOR UPDATE
    ), stands AS (
        SELECT 1 FROM first CROSS JOIN apono_connector.duties d
        JOIN unnest($4::text[], $5::text[], $6::bigint[]) AS f (grant_id, group_id, epoch) USING (grant_id, group_id)
        WHERE d.epoch = f.epoch FOR SHARE OF d
    ), turn AS (
        UPDATE apono_connector.head SET seq = seq + cardinality($7::text[])
        WHERE one = (SELECT one FROM first) AND (SELECT count(*) FROM stands) = cardinality($4::text[])
        RETURNING seq
    ), added AS (
        INSERT INTO apono_connector.entries (seq, subject, about, at, record, daemon)
        SELECT $2 + e.n, e.subject, e.about, e.at, e.record, $1 FROM turn,
            unnest($7::text[], $8::text[], $9::text[], $10::json[]) WITH ORDINALITY AS e (subject, about, at, record, n)
    ), stood AS (
        INSERT INTO apono_connector.subjects (subject, open)
        SELECT s.subject, s.open FROM turn, unnest($11::text[], $12::boolean[]) AS s (subject, open)
        ON CONFLICT (subject) DO UPDATE SET open = excluded.open
    ), begun AS (
        INSERT INTO apono_connector.duties (grant_id, group_id, due)
        SELECT b.grant_id, b.group_id, b.due FROM turn,
            unnest($13::text[], $14::text[], $15::timestamptz[]) AS b (grant_id, group_id, due)
        ON CONFLICT (grant_id, group_id) DO UPDATE SET due = excluded.due
    ), came AS (
        UPDATE apono_connector.duties d SET due = c.due FROM turn,
            unnest($16::text[], $17::timestamptz[]) AS c (grant_id, due)
        WHERE d.grant_id = c.grant_id AND NOT d.grant_id = ANY ($3)
    ), gone AS (
        DELETE FROM apono_connector.duties d USING turn WHERE d.grant_id = ANY ($3)
    )
    SELECT seq FROM turn";

/// What the rows of `owner` are about; an organization's integration id follows.
pub(super) const CONNECTOR: &str = "connector";
pub(super) const ORGANIZATION: &str = "organization:";
/// The state is being copied here from elsewhere, and is not whole.
pub(super) const COPYING: &str = "copying";

/// A claim that must stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    pub(super) key: Key,
    pub(super) epoch: i64,
}

/// What one append writes.
#[derive(Debug, Default)]
pub(super) struct Batch {
    fences: Vec<Fence>,
    subjects: Vec<String>,
    abouts: Vec<Option<String>>,
    ats: Vec<String>,
    records: Vec<Json<serde_json::Value>>,
    standing: (Vec<String>, Vec<bool>),
    begun: (Vec<String>, Vec<String>, Vec<Option<Timestamp>>),
    came: (Vec<String>, Vec<Timestamp>),
    gone: Vec<String>,
}

impl Batch {
    pub(super) fn new(
        entries: &[Entry],
        standing: &[Standing],
        fences: Vec<Fence>,
    ) -> Result<Self, JournalError> {
        let mut batch = Self { fences, ..Self::default() };
        let mut begun = BTreeMap::new();
        let mut came = BTreeMap::new();
        for Entry { at, record } in entries {
            let json = serde_json::to_value(record).map_err(|error| JournalError::Write(error.into()))?;
            batch.subjects.push(name(&record.subject()));
            batch.abouts.push(about(record).map(|grant| clean(grant.as_str())));
            batch.ats.push(at.to_string());
            batch.records.push(Json(json));
            if let Record::Grant { id, event } = record {
                match event {
                    Event::Accepted { grant, .. } | Event::Revised { grant, .. } => {
                        for group in &grant.groups {
                            begun.insert((clean(id.as_str()), clean(group.as_str())), grant.expires_at);
                        }
                    }
                    Event::EndRequested { due, .. } => {
                        came.insert(clean(id.as_str()), *due);
                    }
                    Event::Declined { .. }
                    | Event::UserResolved { .. }
                    | Event::Refused { .. }
                    | Event::StandingFound { .. }
                    | Event::FoundMissing { .. }
                    | Event::AddedByOthers { .. }
                    | Event::AddedLate { .. }
                    | Event::GrantIntended { .. }
                    | Event::Granted { .. }
                    | Event::RevokeIntended { .. }
                    | Event::Ended { .. } => {}
                }
            }
        }
        // A row is changed once by a statement: the last word counts.
        let mut stands = BTreeMap::new();
        for Standing { subject, open } in standing {
            stands.insert(subject, *open);
        }
        for (subject, open) in stands {
            batch.standing.0.push(name(subject));
            batch.standing.1.push(open);
            if let (Subject::Grant(id), false) = (subject, open) {
                batch.gone.push(clean(id.as_str()));
            }
        }
        begun.retain(|(grant, _), _| !batch.gone.contains(grant));
        for ((grant, group), due) in begun {
            let due = came.get(&grant).copied().or(due);
            batch.begun.0.push(grant);
            batch.begun.1.push(group);
            batch.begun.2.push(due);
        }
        came.retain(|grant, _| !batch.begun.0.contains(grant));
        batch.came = came.into_iter().unzip();
        Ok(batch)
    }

    /// Which entry its last one is, where that is `seq` and `daemon` writes it; nothing where it has none.
    pub(super) fn last(&self, seq: i64, daemon: &str) -> Option<Last> {
        let at = self.ats.last()?;
        Some(Last { seq, at: at.clone(), daemon: daemon.to_owned() })
    }

    pub(super) fn fences(&self) -> Vec<Key> {
        self.fences.iter().map(|fence| fence.key.clone()).collect()
    }
}

/// The number of the last entry written, or nothing when others were faster or a claim does not stand.
pub(super) async fn append(
    client: &Client,
    me: &str,
    seen: i64,
    batch: &Batch,
) -> Result<Option<i64>, DatabaseError> {
    let grants: Vec<_> = batch.fences.iter().map(|fence| clean(fence.key.0.as_str())).collect();
    let groups: Vec<_> = batch.fences.iter().map(|fence| clean(fence.key.1.as_str())).collect();
    let epochs: Vec<_> = batch.fences.iter().map(|fence| fence.epoch).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 17] = [
        (&me, Type::TEXT),
        (&seen, Type::INT8),
        (&batch.gone, Type::TEXT_ARRAY),
        (&grants, Type::TEXT_ARRAY),
        (&groups, Type::TEXT_ARRAY),
        (&epochs, Type::INT8_ARRAY),
        (&batch.subjects, Type::TEXT_ARRAY),
        (&batch.abouts, Type::TEXT_ARRAY),
        (&batch.ats, Type::TEXT_ARRAY),
        (&batch.records, Type::JSON_ARRAY),
        (&batch.standing.0, Type::TEXT_ARRAY),
        (&batch.standing.1, Type::BOOL_ARRAY),
        (&batch.begun.0, Type::TEXT_ARRAY),
        (&batch.begun.1, Type::TEXT_ARRAY),
        (&batch.begun.2, Type::TIMESTAMPTZ_ARRAY),
        (&batch.came.0, Type::TEXT_ARRAY),
        (&batch.came.1, Type::TIMESTAMPTZ_ARRAY),
    ];
    let written = client.query_typed(APPEND, &parameters).await?;
    Ok(written.first().map(|row| row.get(0)))
}

/// Whether the entry that was seen last is there still: it is, while nothing is lost.
pub(super) async fn is_there(client: &Client, seen: Option<&Last>) -> Result<bool, DatabaseError> {
    let Some(Last { seq, at, daemon }) = seen else {
        return Ok(true);
    };
    let parameters: [(&(dyn ToSql + Sync), Type); 3] =
        [(seq, Type::INT8), (at, Type::TEXT), (daemon, Type::TEXT)];
    Ok(!client.query_typed(IS_THERE, &parameters).await?.is_empty())
}

/// The last entry.
pub(super) async fn last(client: &Client) -> Result<Option<Last>, DatabaseError> {
    let found = client.query_typed(LAST, &[]).await?;
    Ok(found.first().map(|row| Last { seq: row.get(0), at: row.get(1), daemon: row.get(2) }))
}

/// Which entry a row of [`NEWS`] is.
pub(super) fn last_of(row: &Row) -> Last {
    Last { seq: seq(row), at: row.get(1), daemon: row.get(3) }
}

/// The number of the last entry.
pub(super) async fn head(client: &Client) -> Result<i64, DatabaseError> {
    Ok(client.query_typed("SELECT seq FROM apono_connector.head", &[]).await?[0].get(0))
}

/// Whether it is half a copy.
pub(super) async fn is_half(client: &Client) -> Result<bool, DatabaseError> {
    let sql = "SELECT 1 FROM apono_connector.owner WHERE what = $1";
    Ok(!client.query_typed(sql, &[(&COPYING, Type::TEXT)]).await?.is_empty())
}

/// Says whose the state is, or makes it ours: (theirs, ours) where it is somebody else's.
pub(super) async fn claim(
    client: &mut Client,
    owner: &Owner,
) -> Result<Option<(String, String)>, DatabaseError> {
    let transaction = client.transaction().await?;
    // Several may begin at once.
    transaction.batch_execute("LOCK TABLE apono_connector.owner IN EXCLUSIVE MODE").await?;
    let mut foreign = None;
    let connector = [(CONNECTOR.to_owned(), owner.connector.clone())];
    let organizations = owner
        .organizations
        .iter()
        .map(|(integration, url)| (format!("{ORGANIZATION}{integration}"), url.clone()));
    for (what, ours) in connector.into_iter().chain(organizations) {
        const PUT: &str = "INSERT INTO apono_connector.owner (what, value) VALUES ($1, $2)
            ON CONFLICT (what) DO UPDATE SET value = owner.value RETURNING value";
        let theirs: String =
            transaction.query_typed(PUT, &[(&what, Type::TEXT), (&ours, Type::TEXT)]).await?[0].get(0);
        if theirs != ours {
            foreign.get_or_insert((format!("{what} {theirs}"), format!("{what} {ours}")));
        }
    }
    for (integration, _) in &owner.organizations {
        const PUT: &str =
            "INSERT INTO apono_connector.organizations (integration) VALUES ($1) ON CONFLICT DO NOTHING";
        transaction.query_typed(PUT, &[(integration, Type::TEXT)]).await?;
    }
    match foreign {
        Some(_) => transaction.rollback().await?,
        None => transaction.commit().await?,
    }
    Ok(foreign)
}

/// What a row is: its number.
pub(super) fn seq(row: &Row) -> i64 {
    row.get(0)
}

/// What a row is: the entry.
pub(super) fn entry(row: &Row) -> Result<Entry, JournalError> {
    let seq = seq(row);
    let unreadable = |source| JournalError::Entry { seq, source };
    let at: &str = row.get(1);
    let at = at
        .parse()
        .map_err(|error: jiff::Error| unreadable(<serde_json::Error as serde::de::Error>::custom(error)))?;
    let Json(record): Json<serde_json::Value> = row.get(2);
    Ok(Entry { at, record: serde_json::from_value(record).map_err(unreadable)? })
}

/// A subject's name in the tables.
pub(super) fn name(subject: &Subject) -> String {
    clean(&subject.to_string())
}

/// PostgreSQL's texts hold every character but one. That one is written in a way that no other name is.
pub(super) fn clean(text: &str) -> String {
    text.replace('\u{fffd}', "\u{fffd}\u{fffd}").replace('\0', "\u{fffd}0")
}

/// The grant that a record says it is about.
fn about(record: &Record) -> Option<&GrantId> {
    match record {
        Record::Grant { id, .. } => Some(id),
        Record::Task { event: TaskEvent::Taken { ask, .. }, .. } => ask.grant(),
        Record::Task {
            event: TaskEvent::Answered { .. } | TaskEvent::LeaseLost | TaskEvent::Closed { .. },
            ..
        }
        | Record::Trail { .. } => None,
    }
}
