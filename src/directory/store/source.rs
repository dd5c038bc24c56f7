//! # Purpose
//! Okta's side from run to run: when a run begins and how far it reads, and what leaves when it ends.
//!
//! # Invariants kept here
//! - What is here stays from run to run, and each piece of it was so at some time.
//! - What is missing from a listing leaves only when the listing came to its end ([`Store::finish`]).
//! - A membership that a grant holds is left out until the group is read again after the grant (invariant 10).
//!
//! # Not here
//! Pages: `pages`. Whether a listing is complete: `snapshot`. Whether what is missing has gone: `evidence`.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::pages::{leave_out, spare};
use super::provider::{Counts, in_transaction};
use super::{Store, StoreError};
use crate::domain::{Membership, OktaGroupId, OktaUserId};

/// How far a run reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Everybody and everything.
    Everything,
    /// All groups, and of people and members what has changed.
    Changes,
}

/// A run that was begun, or goes on where a killed process left it. Instants are Okta's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What was seen in this run carries it.
    pub generation: i64,
    /// How far it reads.
    pub reach: Reach,
    /// When it began.
    pub begun: Timestamp,
    /// Whether it goes on where another process was.
    pub resumed: bool,
    /// Changes of people are known up to here.
    pub known_to: Option<Timestamp>,
}

/// A run as it is noted.
#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    reach: Reach,
    begun: Timestamp,
    fingerprint: String,
}

/// Older listings are begun anew: what they have shown first is too long ago.
const GOES_ON_WITHIN: Duration = Duration::from_hours(24);

impl Store {
    /// Begins a run, or goes on with one. `fingerprint` stands for what the configuration selects and maps: when that
    /// has changed, everything is read.
    pub async fn begin(
        &self,
        reach: Reach,
        now: Timestamp,
        fingerprint: String,
        live: BTreeSet<Membership>,
    ) -> Result<Run, StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                let run = begin(connection, reach, now, fingerprint)?;
                forget_what_grants_let_go(connection, &live)?;
                Ok(run)
            })
        })
        .await
    }

    /// When everything was read last; nothing when it never was, or what was read is not believed.
    pub async fn everything_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.run(|connection| instant(connection, "everything_at")).await
    }

    /// Makes the next run read everything.
    pub async fn mistrust(&self) -> Result<(), StoreError> {
        self.run(|connection| {
            in_transaction(connection, |connection| {
                unmark(connection, "everything_at")?;
                unmark(connection, "run")
            })
        })
        .await
    }

    /// Makes the next run begin anew instead of going on with this one.
    pub async fn forget_run(&self) -> Result<(), StoreError> {
        self.run(|connection| unmark(connection, "run")).await
    }

    /// Makes the next run read the group's members.
    pub async fn mistrust_group(&self, group: OktaGroupId) -> Result<(), StoreError> {
        self.run(move |connection| {
            let sql = "UPDATE source_groups SET read = NULL WHERE id = ?1";
            connection.execute(sql, [group.as_str()]).map_err(StoreError::Statement)?;
            Ok(())
        })
        .await
    }

    /// Which of these users are in the selection.
    pub async fn known_users(&self, users: Vec<OktaUserId>) -> Result<BTreeSet<OktaUserId>, StoreError> {
        let users = serde_json::to_string(&users).map_err(StoreError::Row)?;
        self.run(move |connection| {
            let sql = "SELECT id FROM source_users WHERE id IN (SELECT value FROM json_each(?1))";
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            let rows = statement.query_map([users], |row| Ok(OktaUserId::from(row.get::<_, String>(0)?)));
            rows.map_err(StoreError::Statement)?.collect::<Result<_, _>>().map_err(StoreError::Statement)
        })
        .await
    }

    /// Whether anybody is in the selection.
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        self.run(move |connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM source_users)";
            connection.query_row(sql, [], |row| row.get(0)).map_err(StoreError::Statement)
        })
        .await
    }

    /// Whether any group is in the selection.
    pub async fn has_groups(&self) -> Result<bool, StoreError> {
        self.run(move |connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM source_groups)";
            connection.query_row(sql, [], |row| row.get(0)).map_err(StoreError::Statement)
        })
        .await
    }

    /// Which of these groups are in the selection.
    pub async fn selected_groups(&self, groups: Vec<OktaGroupId>) -> Result<Vec<OktaGroupId>, StoreError> {
        let groups = serde_json::to_string(&groups).map_err(StoreError::Row)?;
        self.run(move |connection| {
            let sql = "SELECT id FROM source_groups WHERE id IN (SELECT value FROM json_each(?1))";
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            let rows = statement.query_map([groups], |row| Ok(OktaGroupId::from(row.get::<_, String>(0)?)));
            rows.map_err(StoreError::Statement)?.collect::<Result<_, _>>().map_err(StoreError::Statement)
        })
        .await
    }

    /// Takes users out of the selection who are known to be gone.
    pub async fn drop_users(&self, users: Vec<OktaUserId>) -> Result<(), StoreError> {
        let users = serde_json::to_string(&users).map_err(StoreError::Row)?;
        self.run(move |connection| {
            let sql = "DELETE FROM source_users WHERE id IN (SELECT value FROM json_each(?1))";
            connection.execute(sql, [users]).map_err(StoreError::Statement)?;
            Ok(())
        })
        .await
    }

    /// Spares users (of a group that cannot be read).
    pub async fn spare_users(&self, users: Vec<String>) -> Result<(), StoreError> {
        self.run(move |connection| spare(connection, "group", &users)).await
    }

    /// The groups of ours that cannot be read.
    pub async fn spared_groups(&self) -> Result<Vec<OktaGroupId>, StoreError> {
        self.run(move |connection| {
            let sql = "SELECT okta FROM groups WHERE okta IN (SELECT id FROM spared)";
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            let rows = statement.query_map([], |row| Ok(OktaGroupId::from(row.get::<_, String>(0)?)));
            rows.map_err(StoreError::Statement)?.collect::<Result<_, _>>().map_err(StoreError::Statement)
        })
        .await
    }

    /// Every listing has come to its end: what was not in them leaves, and so does what is there by grants alone.
    pub async fn finish(
        &self,
        run: Run,
        everybody: bool,
        fingerprint: String,
        live: BTreeSet<Membership>,
    ) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                let generation = run.generation;
                for table in ["source_members", "left_out"] {
                    let gone = format!(
                        "DELETE FROM {table} WHERE g IN (SELECT n FROM source_groups WHERE seen <> ?1)"
                    );
                    execute(connection, &gone, params![generation])?;
                }
                execute(connection, "DELETE FROM source_groups WHERE seen <> ?1", params![generation])?;
                if everybody && run.reach == Reach::Everything {
                    execute(connection, "DELETE FROM source_users WHERE seen <> ?1", params![generation])?;
                }
                for membership in &live {
                    let sql = "SELECT n FROM source_groups WHERE id = ?1";
                    let group = connection.query_row(sql, [membership.group.as_str()], |row| row.get(0));
                    if let Some(group) = group.optional().map_err(StoreError::Statement)? {
                        leave_out(connection, group, &membership.user)?;
                    }
                }
                execute(
                    connection,
                    "DELETE FROM source_members
                     WHERE g IN (SELECT g FROM left_out) AND (g, u) IN (SELECT g, u FROM left_out)",
                    [],
                )?;
                if !everybody {
                    let_go_of_those_without_group(connection, run.reach)?;
                }
                mark(connection, "fingerprint", &fingerprint)?;
                mark(connection, "known_to", &run.begun.to_string())?;
                if run.reach == Reach::Everything {
                    mark(connection, "everything_at", &run.begun.to_string())?;
                }
                unmark(connection, "run")?;
                execute(connection, "DELETE FROM leavers", [])?;
                execute(connection, "DELETE FROM walks", [])
            })
        })
        .await
    }
}

fn begin(
    connection: &Connection,
    reach: Reach,
    now: Timestamp,
    fingerprint: String,
) -> Result<Run, StoreError> {
    let generation = marked(connection, "generation")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    let known_to = instant(connection, "known_to")?;
    let noted = marked(connection, "run")?;
    let noted: Option<Noted> = noted.and_then(|text| serde_json::from_str(&text).ok());
    if let Some(Noted { reach: Reach::Everything, begun, fingerprint: theirs }) = noted
        && theirs == fingerprint
        && now.duration_since(begun).unsigned_abs() < GOES_ON_WITHIN
    {
        return Ok(Run { generation, reach: Reach::Everything, begun, resumed: true, known_to });
    }
    let is_known = marked(connection, "fingerprint")?.as_ref() == Some(&fingerprint)
        && known_to.is_some()
        && instant(connection, "everything_at")?.is_some();
    let reach = if is_known { reach } else { Reach::Everything };
    let generation = generation + 1;
    mark(connection, "generation", &generation.to_string())?;
    let noted = Noted { reach, begun: now, fingerprint };
    mark(connection, "run", &serde_json::to_string(&noted).map_err(StoreError::Row)?)?;
    execute(connection, "DELETE FROM walks", [])?;
    execute(connection, "DELETE FROM staged_members", [])?;
    match reach {
        Reach::Everything => execute(connection, "DELETE FROM spared", [])?,
        // Groups are all listed again; of people only those who have changed.
        Reach::Changes => execute(connection, "DELETE FROM spared WHERE what <> 'user'", [])?,
    }
    Ok(Run { generation, reach, begun: now, resumed: false, known_to })
}

/// Where a grant held a membership and does so no longer, the group is read again: the membership may have stayed.
fn forget_what_grants_let_go(connection: &Connection, live: &BTreeSet<Membership>) -> Result<(), StoreError> {
    let sql =
        "SELECT s.n, s.id, p.id FROM left_out l JOIN source_groups s ON s.n = l.g JOIN people p ON p.n = l.u";
    let mut statement = connection.prepare(sql).map_err(StoreError::Statement)?;
    let rows = statement.query_map([], |row| {
        let group = OktaGroupId::from(row.get::<_, String>(1)?);
        Ok((row.get::<_, i64>(0)?, Membership { group, user: OktaUserId::from(row.get::<_, String>(2)?) }))
    });
    for row in rows.map_err(StoreError::Statement)? {
        let (group, membership) = row.map_err(StoreError::Statement)?;
        if !live.contains(&membership) {
            execute(connection, "UPDATE source_groups SET read = NULL WHERE n = ?1", params![group])?;
        }
    }
    Ok(())
}

/// Where people come from the groups, whoever is in none has left; whoever is in one by a grant alone is neither taken
/// on nor, while the grant lasts, let go.
fn let_go_of_those_without_group(connection: &Connection, reach: Reach) -> Result<(), StoreError> {
    let candidates = match reach {
        Reach::Everything => "SELECT n FROM source_users",
        // Nobody else can have lost their last group since the last run.
        Reach::Changes => "SELECT u FROM leavers UNION SELECT n FROM unsettled_users",
    };
    let steps = format!(
        "CREATE TEMP TABLE IF NOT EXISTS candidates (u INTEGER PRIMARY KEY);
         DELETE FROM candidates;
         INSERT INTO candidates (u) {candidates} UNION SELECT u FROM left_out;
         DELETE FROM candidates WHERE u IN (
             SELECT u FROM source_members WHERE u IN (SELECT u FROM candidates));
         INSERT OR IGNORE INTO spared (id, what)
             SELECT p.id, 'grant' FROM left_out l CROSS JOIN people p ON p.n = l.u
             WHERE l.u IN (SELECT u FROM candidates);
         DELETE FROM source_users WHERE n IN (SELECT u FROM candidates);"
    );
    connection.execute_batch(&steps).map_err(StoreError::Statement)
}

/// How much Okta has. Of memberships those are counted whose groups a plan has looked at, which is all after a plan.
pub(super) fn source_counts(connection: &Connection) -> Result<Counts, StoreError> {
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).map_err(StoreError::Statement);
    Ok(Counts {
        users: count("SELECT count(*) FROM source_users")?,
        groups: count("SELECT count(*) FROM source_groups")?,
        memberships: count("SELECT ifnull(sum(wanted), 0) FROM group_sizes")?,
    })
}

pub(super) fn execute(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute(values))
        .map(|_| ())
        .map_err(StoreError::Statement)
}

pub(super) fn mark(connection: &Connection, what: &str, value: &str) -> Result<(), StoreError> {
    execute(connection, "INSERT OR REPLACE INTO marks (what, value) VALUES (?1, ?2)", [what, value])
}

pub(super) fn unmark(connection: &Connection, what: &str) -> Result<(), StoreError> {
    execute(connection, "DELETE FROM marks WHERE what = ?1", [what])
}

pub(super) fn marked(connection: &Connection, what: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT value FROM marks WHERE what = ?1";
    connection.query_row(sql, [what], |row| row.get(0)).optional().map_err(StoreError::Statement)
}

pub(super) fn instant(connection: &Connection, what: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(marked(connection, what)?.and_then(|text| text.parse().ok()))
}
