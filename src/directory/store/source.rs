//! # Purpose
//! Okta's side: what was read of it, up to where, and what of it must be read again.
//!
//! # Invariants kept here
//! - What is here stays from run to run, and each piece of it was so at some time: a page comes in together with the
//!   place where its listing goes on, a group's members are exchanged only when all of them were read.
//! - What is missing from a listing leaves only when the listing came to its end ([`Store::finish`]).
//! - A membership that a grant holds is left out until the group is read again after the grant (invariant 10).
//!
//! # Not here
//! Whether a listing is complete: `snapshot`. Whether what is missing has gone: `evidence`.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::provider::{Counts, in_transaction};
use super::{Store, StoreError};
use crate::directory::mapping::Desired;
use crate::domain::{Group, Membership, OktaGroupId, OktaUserId};
use crate::okta::Cursor;

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

/// Older listings are begun anew: what they have shown first is too long ago.
const GOES_ON_WITHIN: Duration = Duration::from_hours(24);

/// Okta's instants can be whole seconds, and its lists a little behind.
const SETTLED: SignedDuration = SignedDuration::from_mins(1);

/// A page's people: those who could be read, and the ids of those who could not.
#[derive(Debug, Default)]
pub struct People {
    /// Readable.
    pub users: Vec<(OktaUserId, Desired)>,
    /// There, and to be left as they are.
    pub spared: Vec<String>,
}

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

    /// Makes the next run read the group's members.
    pub async fn mistrust_group(&self, group: OktaGroupId) -> Result<(), StoreError> {
        self.run(move |connection| {
            let sql = "UPDATE source_groups SET read = NULL WHERE id = ?1";
            connection.execute(sql, [group.as_str()]).map_err(StoreError::Statement)?;
            Ok(())
        })
        .await
    }

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

    /// Every listing has come to its end: what was not in them leaves, and so does what is there by grants alone.
    pub async fn finish(
        &self,
        run: Run,
        everybody: bool,
        fingerprint: String,
        live: BTreeSet<Membership>,
    ) -> Result<Counts, StoreError> {
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
                    "DELETE FROM source_members WHERE EXISTS
                     (SELECT 1 FROM left_out l WHERE l.g = source_members.g AND l.u = source_members.u)",
                    [],
                )?;
                if !everybody {
                    let_go_of_those_without_group(connection)?;
                }
                mark(connection, "fingerprint", &fingerprint)?;
                mark(connection, "known_to", &run.begun.to_string())?;
                if run.reach == Reach::Everything {
                    mark(connection, "everything_at", &run.begun.to_string())?;
                }
                unmark(connection, "run")?;
                execute(connection, "DELETE FROM walks", [])?;
                source_counts(connection)
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
fn let_go_of_those_without_group(connection: &Connection) -> Result<(), StoreError> {
    execute(
        connection,
        "INSERT OR IGNORE INTO spared (id, what)
         SELECT p.id, 'grant' FROM left_out l JOIN people p ON p.n = l.u
         WHERE l.u NOT IN (SELECT u FROM source_members)",
        [],
    )?;
    execute(connection, "DELETE FROM source_users WHERE n NOT IN (SELECT u FROM source_members)", [])
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

fn spare(connection: &Connection, what: &str, ids: &[String]) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids = serde_json::to_string(ids).map_err(StoreError::Row)?;
    let sql = "INSERT OR IGNORE INTO spared (id, what) SELECT value, ?2 FROM json_each(?1)";
    execute(connection, sql, params![ids, what])
}

fn leave_out(connection: &Connection, group: i64, user: &OktaUserId) -> Result<(), StoreError> {
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

pub(super) fn source_counts(connection: &Connection) -> Result<Counts, StoreError> {
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).map_err(StoreError::Statement);
    Ok(Counts {
        users: count("SELECT count(*) FROM source_users")?,
        groups: count("SELECT count(*) FROM source_groups")?,
        memberships: count("SELECT count(*) FROM source_members m JOIN source_users u ON u.n = m.u")?,
    })
}

fn execute(connection: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<(), StoreError> {
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
