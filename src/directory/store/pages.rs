//! # Purpose
//! Takes in Okta's side page by page, and knows where each listing goes on.
//!
//! # Invariants kept here
//! - A page comes in together with the place where its listing goes on.
//! - A group's members are exchanged only when all of them were read.
//!
//! # Not here
//! When a run begins and ends, and what leaves with it: `source`.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::provider::in_transaction;
use super::source::{Reach, Run, execute};
use super::{Store, StoreError};
use crate::directory::mapping::Desired;
use crate::domain::{Group, OktaGroupId, OktaUserId};
use crate::okta::Cursor;

/// A group whose members are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleGroup {
    /// Its number here.
    pub n: i64,
    /// Okta's id.
    pub id: OktaGroupId,
    /// Its `lastMembershipUpdated`, as it was listed.
    pub listed: Option<String>,
}

/// Listings that can be taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Of groups.
    Groups,
    /// Of users.
    Users,
    /// Of the members of the group with this number.
    Members(i64),
}

impl Listing {
    fn name(self) -> String {
        match self {
            Self::Groups => "groups".to_owned(),
            Self::Users => "users".to_owned(),
            Self::Members(n) => format!("members of {n}"),
        }
    }
}

/// A page's people: those who could be read, and the ids of those who could not.
#[derive(Debug, Default)]
pub struct People {
    /// Readable.
    pub users: Vec<(OktaUserId, Desired)>,
    /// There, and to be left as they are.
    pub spared: Vec<String>,
}

/// Okta's instants can be whole seconds, and its lists a little behind.
const SETTLED: SignedDuration = SignedDuration::from_mins(1);

impl Store {
    /// Where a listing goes on, if it was begun in this run; `None` also when it has ended: see [`Self::has_ended`].
    pub async fn place(&self, listing: Listing) -> Result<Option<Cursor>, StoreError> {
        self.run(move |connection| {
            let sql = "SELECT cursor FROM walks WHERE what = ?1 AND cursor IS NOT NULL";
            let found = connection.query_row(sql, [listing.name()], |row| row.get::<_, String>(0)).optional();
            let found = found.map_err(StoreError::Statement)?;
            found.map(|text| serde_json::from_str(&text).map_err(StoreError::Row)).transpose()
        })
        .await
    }

    /// Whether a listing has come to its end in this run.
    pub async fn has_ended(&self, listing: Listing) -> Result<bool, StoreError> {
        self.run(move |connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM walks WHERE what = ?1 AND cursor IS NULL)";
            connection.query_row(sql, [listing.name()], |row| row.get(0)).map_err(StoreError::Statement)
        })
        .await
    }

    /// Begins a listing anew: its place is no longer good.
    pub async fn begin_anew(&self, listing: Listing) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                connection
                    .execute("DELETE FROM walks WHERE what = ?1", [listing.name()])
                    .map_err(StoreError::Statement)?;
                if let Listing::Members(n) = listing {
                    connection
                        .execute("DELETE FROM staged_members WHERE g = ?1", [n])
                        .map_err(StoreError::Statement)?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Takes in a page of groups of the selection; `spared` are there, and nothing more is known of them.
    pub async fn take_groups(
        &self,
        run: Run,
        groups: Vec<Group>,
        spared: Vec<String>,
        next: Option<Cursor>,
    ) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                let sql = "INSERT INTO source_groups (id, name, listed, seen) VALUES (?1, ?2, ?3, ?4)
                           ON CONFLICT (id) DO UPDATE
                           SET name = excluded.name, listed = excluded.listed, seen = excluded.seen";
                let mut put = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
                for group in &groups {
                    let listed = group.members_changed_at.map(|at| at.to_string());
                    put.execute(params![group.id.as_str(), group.name, listed, run.generation])
                        .map_err(StoreError::Statement)?;
                }
                spare(connection, "group", &spared)?;
                note_place(connection, Listing::Groups, next.as_ref())
            })
        })
        .await
    }

    /// Takes in a page of the listing of users.
    pub async fn take_users(&self, run: Run, people: People, next: Option<Cursor>) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                put_people(connection, run, &people)?;
                note_place(connection, Listing::Users, next.as_ref())
            })
        })
        .await
    }

    /// Takes in people who came by another way than the listing of users.
    pub async fn take_people(&self, run: Run, people: People) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| put_people(connection, run, &people))
        })
        .await
    }

    /// Groups after number `after` whose members this run has to read; at most `limit`.
    pub async fn stale_groups(
        &self,
        run: Run,
        after: i64,
        limit: u32,
    ) -> Result<Vec<StaleGroup>, StoreError> {
        self.run(move |connection| {
            let sql = match run.reach {
                Reach::Everything => {
                    "SELECT n, id, listed FROM source_groups
                     WHERE n > ?1 AND seen = ?2 AND walked <> ?2 ORDER BY n LIMIT ?3"
                }
                Reach::Changes => {
                    "SELECT n, id, listed FROM source_groups
                     WHERE n > ?1 AND seen = ?2 AND (listed IS NULL OR read IS NOT listed) AND walked <> ?2
                     ORDER BY n LIMIT ?3"
                }
            };
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            let row = |row: &rusqlite::Row<'_>| {
                let id = OktaGroupId::from(row.get::<_, String>(1)?);
                Ok(StaleGroup { n: row.get(0)?, id, listed: row.get(2)? })
            };
            let rows = statement.query_map(params![after, run.generation, limit], row);
            rows.map_err(StoreError::Statement)?.collect::<Result<_, _>>().map_err(StoreError::Statement)
        })
        .await
    }

    /// A group's walk begins: what was left out of it is found out anew.
    pub async fn begin_members(&self, group: i64) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                execute(connection, "DELETE FROM left_out WHERE g = ?1", params![group])?;
                execute(connection, "DELETE FROM staged_members WHERE g = ?1", params![group])
            })
        })
        .await
    }

    /// Takes in a page of a group's members. Those in `live` are there because of a grant.
    pub async fn take_members(
        &self,
        group: i64,
        members: Vec<OktaUserId>,
        live: BTreeSet<OktaUserId>,
        spared: Vec<String>,
        next: Option<Cursor>,
    ) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                let (left_out, members): (Vec<_>, Vec<_>) =
                    members.iter().partition(|member| live.contains(member));
                let all = serde_json::to_string(&members).map_err(StoreError::Row)?;
                execute(
                    connection,
                    "INSERT OR IGNORE INTO people (id) SELECT value FROM json_each(?1)",
                    params![all],
                )?;
                execute(
                    connection,
                    "INSERT OR IGNORE INTO staged_members (g, u)
                     SELECT ?1, p.n FROM json_each(?2) j CROSS JOIN people p ON p.id = j.value",
                    params![group, all],
                )?;
                for user in left_out {
                    leave_out(connection, group, user)?;
                }
                spare(connection, "user", &spared)?;
                note_place(connection, Listing::Members(group), next.as_ref())
            })
        })
        .await
    }

    /// A group is gone that was listed before in this run: it is as if it had not been.
    pub async fn unlist_group(&self, group: i64) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                // No run has this number: the end of the run lets it go.
                execute(connection, "UPDATE source_groups SET seen = 0 WHERE n = ?1", params![group])?;
                execute(connection, "DELETE FROM staged_members WHERE g = ?1", params![group])?;
                let walk = Listing::Members(group).name();
                execute(connection, "DELETE FROM walks WHERE what = ?1", params![walk])
            })
        })
        .await
    }

    /// All members of a group were read: they take the place of those known before.
    pub async fn exchange_members(&self, run: Run, group: StaleGroup) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                let n = group.n;
                execute(
                    connection,
                    "DELETE FROM source_members WHERE g = ?1
                     AND u NOT IN (SELECT u FROM staged_members WHERE g = ?1)",
                    params![n],
                )?;
                execute(
                    connection,
                    "INSERT OR IGNORE INTO source_members (g, u) SELECT g, u FROM staged_members WHERE g = ?1",
                    params![n],
                )?;
                execute(connection, "DELETE FROM staged_members WHERE g = ?1", params![n])?;
                // What was changed just now may be changed again with the same instant on it.
                let settled = |at: &Timestamp| run.begun.duration_since(*at) > SETTLED;
                let at = group.listed.as_ref().and_then(|listed| listed.parse().ok()).filter(settled);
                let read = at.and(group.listed);
                execute(
                    connection,
                    "UPDATE source_groups SET read = ?2, walked = ?3 WHERE n = ?1",
                    params![n, read, run.generation],
                )?;
                execute(connection, "DELETE FROM walks WHERE what = ?1", params![Listing::Members(n).name()])
            })
        })
        .await
    }
}

fn put_people(connection: &Connection, run: Run, people: &People) -> Result<(), StoreError> {
    let mut person = connection
        .prepare_cached("INSERT OR IGNORE INTO people (id) VALUES (?1)")
        .map_err(StoreError::Statement)?;
    let sql = "INSERT INTO source_users (n, id, active, attributes, seen)
               SELECT n, id, ?2, ?3, ?4 FROM people WHERE id = ?1
               ON CONFLICT (n) DO UPDATE
               SET active = excluded.active, attributes = excluded.attributes, seen = excluded.seen";
    let mut put = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
    let mut readable = connection
        .prepare_cached("DELETE FROM spared WHERE id = ?1 AND what = 'user'")
        .map_err(StoreError::Statement)?;
    for (id, desired) in &people.users {
        let attributes = serde_json::to_string(&desired.attributes).map_err(StoreError::Row)?;
        person
            .execute([id.as_str()])
            .and_then(|_| put.execute(params![id.as_str(), desired.active, attributes, run.generation]))
            .and_then(|_| readable.execute([id.as_str()]))
            .map_err(StoreError::Statement)?;
    }
    spare(connection, "user", &people.spared)
}

pub(super) fn spare(connection: &Connection, what: &str, ids: &[String]) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids = serde_json::to_string(ids).map_err(StoreError::Row)?;
    let sql = "INSERT OR IGNORE INTO spared (id, what) SELECT value, ?2 FROM json_each(?1)";
    execute(connection, sql, params![ids, what])
}

pub(super) fn leave_out(connection: &Connection, group: i64, user: &OktaUserId) -> Result<(), StoreError> {
    execute(connection, "INSERT OR IGNORE INTO people (id) VALUES (?1)", params![user.as_str()])?;
    let sql = "INSERT OR IGNORE INTO left_out (g, u) SELECT ?1, n FROM people WHERE id = ?2";
    execute(connection, sql, params![group, user.as_str()])
}

/// Notes where a listing goes on, or that it has ended.
fn note_place(connection: &Connection, listing: Listing, next: Option<&Cursor>) -> Result<(), StoreError> {
    let next = next.map(serde_json::to_string).transpose().map_err(StoreError::Row)?;
    let sql = "INSERT OR REPLACE INTO walks (what, cursor) VALUES (?1, ?2)";
    execute(connection, sql, params![listing.name(), next])
}
