//! # Purpose
//! Pairs both sides in the store and writes the plan between them.
//!
//! # Invariants kept here
//! - Pairing is by what is known to be ours, then by `externalId`, then by user name without case; each object is in
//!   one pair at most.
//! - An object of ours whose person Okta no longer shows goes to whoever has its user name now.
//! - The decisions are `plan`'s; here is only the walk over the pairs.
//!
//! # Not here
//! How much may be taken away: the tallies go to `breaker`.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::provider::in_transaction;
use super::{Store, StoreError, origin, verdict};
use crate::directory::breaker::{self, Held, Kind, Limits, Tally};
use crate::directory::plan::{self, GroupFacts, NameChange, Operation, Origin, UserFacts, UserPair};
use crate::domain::{OktaGroupId, OktaUserId, ScimId};
use crate::scim::attributes::{Attributes, Path};

/// A plan that is in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Operations by name.
    pub operations: BTreeMap<&'static str, u64>,
    /// Removals that the breaker holds, and why.
    pub held: Vec<Held>,
    /// What this very plan is known by.
    pub hash: String,
    /// What the held removals are known by, for whoever approves them.
    pub held_hash: Option<String>,
    /// Whether the breaker would hold removals and a person has approved them.
    pub approved: bool,
}

impl Planned {
    /// How many operations there are.
    pub fn total(&self) -> u64 {
        self.operations.values().sum()
    }

    /// Whether the breaker holds a kind of removal.
    pub fn holds(&self, kind: Kind) -> bool {
        self.held.iter().any(|held| held.kind == kind)
    }

    /// Whether the breaker holds the kinds of removal that an operation is.
    pub fn holds_operation(&self, operation: &Operation) -> bool {
        operation.removes().iter().any(|kind| self.holds(*kind))
    }
}

/// One operation of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedOperation {
    /// Its place.
    pub n: i64,
    /// Whether the breaker holds it.
    pub held: bool,
    /// What to do.
    pub operation: Operation,
}

/// Members in one operation.
const MEMBERS_AT_ONCE: usize = 500;

const PAIR: &str = "
    CREATE TEMP TABLE IF NOT EXISTS taken_over (p INTEGER PRIMARY KEY, s INTEGER NOT NULL, okta TEXT NOT NULL);
    CREATE TEMP TABLE IF NOT EXISTS recreated (p INTEGER PRIMARY KEY);
    DELETE FROM user_pairs; DELETE FROM group_pairs; DELETE FROM operations;
    DELETE FROM taken_over; DELETE FROM recreated;
    INSERT OR IGNORE INTO user_pairs (p, s, okta, known)
        SELECT p.n, s.n, u.okta, 1 FROM users u
        JOIN provider_users p ON p.id = u.scim AND (p.external_id IS NULL OR p.external_id = u.okta)
        LEFT JOIN source_users s ON s.id = u.okta;
    INSERT OR IGNORE INTO user_pairs (p, s, okta, known)
        SELECT p.n, s.n, s.id, 0 FROM provider_users p JOIN source_users s ON s.id = p.external_id
        WHERE p.n NOT IN (SELECT p FROM user_pairs);
    INSERT OR IGNORE INTO taken_over (p, s, okta)
        SELECT p.n, s.n, s.id FROM source_users s
        CROSS JOIN provider_users p ON p.user_name = lower(json_extract(s.attributes, '$.userName'))
        CROSS JOIN user_pairs m ON m.p = p.n AND m.s IS NULL AND m.okta NOT IN (SELECT id FROM spared)
        WHERE s.n NOT IN (SELECT s FROM user_pairs WHERE s IS NOT NULL);
    UPDATE user_pairs SET s = t.s, okta = t.okta, known = 0 FROM taken_over t WHERE t.p = user_pairs.p;
    INSERT OR IGNORE INTO user_pairs (p, s, okta, known)
        SELECT p.n, s.n, s.id, 0 FROM source_users s
        JOIN provider_users p ON p.user_name = lower(json_extract(s.attributes, '$.userName'))
        WHERE s.n NOT IN (SELECT s FROM user_pairs WHERE s IS NOT NULL) AND p.external_id IS NULL;
    INSERT OR IGNORE INTO group_pairs (p, s, okta, known)
        SELECT p.n, s.n, g.okta, 1 FROM groups g
        JOIN provider_groups p ON p.id = g.scim AND (p.external_id IS NULL OR p.external_id = g.okta)
        LEFT JOIN source_groups s ON s.id = g.okta;
    INSERT OR IGNORE INTO group_pairs (p, s, okta, known)
        SELECT p.n, s.n, s.id, 0 FROM provider_groups p JOIN source_groups s ON s.id = p.external_id;
";

impl Store {
    /// Writes the plan that makes the provider's side equal to Okta's, and reviews what it takes away.
    pub async fn plan(
        &self,
        user_name: Path,
        change: NameChange,
        limits: Limits,
    ) -> Result<Planned, StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                connection.execute_batch(PAIR).map_err(StoreError::Statement)?;
                let mut planned = Planned::default();
                plan_users(connection, &user_name, change, &mut planned)?;
                plan_departed_users(connection, &mut planned)?;
                plan_groups(connection, &mut planned)?;
                let lost = plan_departed_groups(connection, &mut planned)?;
                plan_members(connection, lost, &limits, &mut planned)?;
                let mut users = tally(connection, &planned, "deactivate_user", OURS_USERS, "source_users")?;
                users.removed += count(&planned, "recreate_user");
                let removed =
                    ["delete_group", "release_group"].map(|name| count(&planned, name)).iter().sum();
                let groups =
                    Tally { removed, ..tally(connection, &planned, "", OURS_GROUPS, "source_groups")? };
                planned.held.extend(breaker::review(Kind::Users, users, &limits));
                planned.held.extend(breaker::review(Kind::Groups, groups, &limits));
                planned.held.extend(verdict::shrunk(connection, &limits)?);
                planned.held.sort_by_key(|held| held.kind);
                verdict::judge(connection, &mut planned)?;
                Ok(planned)
            })
        })
        .await
    }

    /// The operations of all phases in the order in which they are carried out, but for the first `skip`; at most `limit`.
    pub async fn all_operations(&self, skip: i64, limit: u32) -> Result<Vec<PlannedOperation>, StoreError> {
        self.run(move |connection| {
            let sql = "SELECT n, held, operation FROM operations ORDER BY phase, n LIMIT ?2 OFFSET ?1";
            read_operations(connection, sql, params![skip, limit])
        })
        .await
    }

    /// The operations of a phase after `after`, in order; at most `limit`.
    pub async fn operations(
        &self,
        phase: u8,
        after: i64,
        limit: u32,
    ) -> Result<Vec<PlannedOperation>, StoreError> {
        self.run(move |connection| {
            let sql =
                "SELECT n, held, operation FROM operations WHERE phase = ?1 AND n > ?2 ORDER BY n LIMIT ?3";
            read_operations(connection, sql, params![phase, after, limit])
        })
        .await
    }
}

fn read_operations(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<PlannedOperation>, StoreError> {
    let mut operations = Vec::new();
    each_operation(connection, sql, values, |one| {
        operations.push(one);
        Ok(())
    })?;
    Ok(operations)
}

pub(super) fn each_operation(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    mut visit: impl FnMut(PlannedOperation) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
    let mut rows = statement.query(values).map_err(StoreError::Statement)?;
    while let Some(row) = rows.next().map_err(StoreError::Statement)? {
        let operation = serde_json::from_str(&text(row, 2)?).map_err(StoreError::Row)?;
        visit(PlannedOperation { n: get(row, 0)?, held: get(row, 1)?, operation })?;
    }
    Ok(())
}

const OURS_USERS: &str =
    "SELECT count(*) FROM users u JOIN provider_users p ON p.id = u.scim WHERE p.active IS NOT 0";
const OURS_GROUPS: &str = "SELECT count(*) FROM groups g JOIN provider_groups p ON p.id = g.scim";

fn tally(
    connection: &Connection,
    planned: &Planned,
    operation: &str,
    ours: &str,
    source: &str,
) -> Result<Tally, StoreError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).map_err(StoreError::Statement);
    Ok(Tally {
        removed: count(planned, operation),
        present: number(ours)?,
        wanted: number(&format!("SELECT count(*) FROM {source}"))?,
    })
}

fn count(planned: &Planned, operation: &str) -> u64 {
    planned.operations.get(operation).copied().unwrap_or(0)
}

fn plan_users(
    connection: &Connection,
    user_name: &Path,
    change: NameChange,
    planned: &mut Planned,
) -> Result<(), StoreError> {
    let sql = "SELECT s.id, s.active, s.attributes, p.id, p.active, p.external_id, p.attributes, m.known,
                      k.wanted, k.shown, p.n, u.origin
               FROM source_users s
               LEFT JOIN user_pairs m ON m.s = s.n
               LEFT JOIN provider_users p ON p.n = m.p
               LEFT JOIN unkept k ON k.kind = 'user' AND k.id = p.id
               LEFT JOIN users u ON u.okta = s.id AND u.scim = p.id
               -- Both sides are written by the same serializer, so that equal text is equal: no need to parse it.
               WHERE NOT (p.id IS NOT NULL AND m.known AND p.external_id IS s.id AND p.attributes = s.attributes
                          AND (s.active IS NULL OR s.active IS p.active))
               ORDER BY s.n";
    each(connection, sql, |row| {
        let okta = OktaUserId::from(text(row, 0)?);
        let wanted = UserFacts {
            active: get(row, 1)?,
            external_id: Some(okta.as_str().to_owned()),
            attributes: attributes(&text(row, 2)?)?,
        };
        let found = match get::<Option<String>>(row, 3)? {
            None => None,
            Some(scim) => {
                let facts = UserFacts {
                    active: get(row, 4)?,
                    external_id: get(row, 5)?,
                    attributes: attributes(&text(row, 6)?)?,
                };
                Some((ScimId::from(scim), facts, get(row, 7)?))
            }
        };
        let unkept = unkept(row, 8)?;
        let at_provider: Option<i64> = get(row, 10)?;
        let created = get::<Option<String>>(row, 11)?.is_some_and(|word| origin(&word) == Origin::Created);
        let groups = match (change, at_provider) {
            (NameChange::Recreate, Some(user)) => groups_of(connection, user)?,
            (NameChange::Recreate, None) | (NameChange::Update, _) => Vec::new(),
        };
        let pair = UserPair { okta, wanted, found, unkept, created, groups };
        let operations = plan::user(&pair, user_name, change);
        if operations.iter().any(|operation| matches!(operation, Operation::RecreateUser { .. })) {
            connection
                .prepare_cached("INSERT OR IGNORE INTO recreated (p) VALUES (?1)")
                .and_then(|mut insert| insert.execute([at_provider]))
                .map_err(StoreError::Statement)?;
        }
        operations.iter().try_for_each(|operation| put(connection, planned, operation, false))
    })
}

fn plan_departed_users(connection: &Connection, planned: &mut Planned) -> Result<(), StoreError> {
    let sql = "SELECT u.okta, u.scim, p.active FROM users u
               JOIN provider_users p ON p.id = u.scim AND (p.external_id IS NULL OR p.external_id = u.okta)
               WHERE u.okta NOT IN (SELECT id FROM source_users) AND u.okta NOT IN (SELECT id FROM spared)
                 AND p.n NOT IN (SELECT p FROM taken_over)
               ORDER BY u.okta";
    each(connection, sql, |row| {
        let (okta, scim) = (OktaUserId::from(text(row, 0)?), ScimId::from(text(row, 1)?));
        let operation = plan::departed_user(okta, scim, get(row, 2)?);
        operation.map_or(Ok(()), |operation| put(connection, planned, &operation, false))
    })
}

fn plan_groups(connection: &Connection, planned: &mut Planned) -> Result<(), StoreError> {
    let sql = "SELECT s.id, s.name, p.id, p.name, p.external_id, m.known, k.wanted, k.shown
               FROM source_groups s
               LEFT JOIN group_pairs m ON m.s = s.n
               LEFT JOIN provider_groups p ON p.n = m.p
               LEFT JOIN unkept k ON k.kind = 'group' AND k.id = p.id
               ORDER BY s.n";
    each(connection, sql, |row| {
        let okta = OktaGroupId::from(text(row, 0)?);
        let wanted = GroupFacts { name: text(row, 1)?, external_id: Some(okta.as_str().to_owned()) };
        let found = match get::<Option<String>>(row, 2)? {
            None => None,
            Some(scim) => {
                let facts = GroupFacts { name: text(row, 3)?, external_id: get(row, 4)? };
                Some((ScimId::from(scim), facts, get(row, 5)?))
            }
        };
        let operation = plan::group(okta, wanted, found, unkept(row, 6)?.as_ref());
        operation.map_or(Ok(()), |operation| put(connection, planned, &operation, false))
    })
}

/// Returns how many memberships go with them.
fn plan_departed_groups(connection: &Connection, planned: &mut Planned) -> Result<u64, StoreError> {
    let mut lost = 0;
    let sql = "SELECT g.okta, g.scim, g.origin, p.name, p.n FROM groups g
               JOIN provider_groups p ON p.id = g.scim AND (p.external_id IS NULL OR p.external_id = g.okta)
               WHERE g.okta NOT IN (SELECT id FROM source_groups) AND g.okta NOT IN (SELECT id FROM spared)
               ORDER BY g.okta";
    each(connection, sql, |row| {
        let (okta, scim) = (OktaGroupId::from(text(row, 0)?), ScimId::from(text(row, 1)?));
        let added = "SELECT u.okta, a.u FROM added_members a JOIN users u ON u.scim = a.u WHERE a.g = ?1";
        let added = member_ids(connection, added, scim.as_str())?;
        lost += match origin(&text(row, 2)?) {
            Origin::Created => present_members(connection, get(row, 4)?)?,
            Origin::Adopted => added.len() as u64,
        };
        let operation = plan::departed_group(okta, scim, text(row, 3)?, origin(&text(row, 2)?), added);
        put(connection, planned, &operation, false)
    })?;
    Ok(lost)
}

// From a group's members to the people, whatever SQLite thinks of the tables' sizes: the other way round each group
// would cost as much as everybody.

/// Members to remove: people of ours who are in a group of the selection and should not be.
const REMOVED: &str = "
    SELECT o.okta, p.id FROM provider_members m
    CROSS JOIN user_pairs o ON o.p = m.u
    CROSS JOIN provider_users p ON p.n = m.u
    WHERE m.g = ?2
      AND NOT EXISTS (SELECT 1 FROM source_members w WHERE w.g = ?1 AND w.u = o.s)
      AND o.okta NOT IN (SELECT id FROM spared)
    ORDER BY o.okta";
/// Members to add: people of the selection who should be in a group and are not, whether the provider has them yet or
/// not.
const ADDED: &str = "
    SELECT s.id FROM source_members w
    CROSS JOIN source_users s ON s.n = w.u
    LEFT JOIN user_pairs o ON o.s = w.u
    WHERE w.g = ?1
      -- Somebody whose status decides nothing, and who is not there, is not created either.
      AND (o.p IS NOT NULL OR s.active IS NOT NULL)
      AND NOT EXISTS (SELECT 1 FROM provider_members m
                      WHERE m.g = ?2 AND m.u = o.p AND m.u NOT IN (SELECT p FROM recreated))
    ORDER BY s.id";
const PRESENT: &str =
    "SELECT count(*) FROM provider_members m CROSS JOIN user_pairs o ON o.p = m.u WHERE m.g = ?1";

/// `lost` memberships go with groups that have departed.
fn plan_members(
    connection: &Connection,
    lost: u64,
    limits: &Limits,
    planned: &mut Planned,
) -> Result<(), StoreError> {
    let mut all = Tally { removed: lost, present: lost, wanted: 0 };
    let mut first_held: Option<Held> = None;
    let sql = "SELECT s.n, s.id, p.n, p.id FROM source_groups s
               LEFT JOIN group_pairs m ON m.s = s.n
               LEFT JOIN provider_groups p ON p.n = m.p
               ORDER BY s.n";
    each(connection, sql, |row| {
        let (n, okta): (i64, _) = (get(row, 0)?, OktaGroupId::from(text(row, 1)?));
        let at_provider: Option<i64> = get(row, 2)?;
        let mut of_group = Tally { wanted: wanted_members(connection, n)?, ..Tally::default() };
        if let Some(provider) = at_provider {
            let scim = ScimId::from(text(row, 3)?);
            of_group.present = present_members(connection, provider)?;
            let removed = member_ids_of(connection, n, provider)?;
            of_group.removed = removed.len() as u64;
            let held = breaker::review(Kind::GroupMembers, of_group, limits);
            for users in removed.chunks(MEMBERS_AT_ONCE) {
                let (okta, scim, users) = (okta.clone(), scim.clone(), users.to_vec());
                put(connection, planned, &Operation::RemoveMembers { okta, scim, users }, held.is_some())?;
            }
            // One is enough to tell a person; each is marked in the plan.
            first_held = first_held.take().or(held);
        }
        let added = added_ids(connection, n, at_provider)?;
        for users in added.chunks(MEMBERS_AT_ONCE) {
            put(
                connection,
                planned,
                &Operation::AddMembers { okta: okta.clone(), users: users.to_vec() },
                false,
            )?;
        }
        all.removed += of_group.removed;
        all.present += of_group.present;
        all.wanted += of_group.wanted;
        Ok(())
    })?;
    planned.held.extend(first_held);
    planned.held.extend(breaker::review(Kind::Members, all, limits));
    Ok(())
}

fn groups_of(connection: &Connection, user: i64) -> Result<Vec<ScimId>, StoreError> {
    let sql = "SELECT g.id FROM group_pairs o JOIN provider_groups g ON g.n = o.p
               JOIN provider_members m ON m.g = g.n AND m.u = ?1 WHERE o.s IS NOT NULL";
    let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
    let rows = statement.query_map([user], |row| Ok(ScimId::from(row.get::<_, String>(0)?)));
    rows.map_err(StoreError::Statement)?.collect::<Result<_, _>>().map_err(StoreError::Statement)
}

fn present_members(connection: &Connection, group: i64) -> Result<u64, StoreError> {
    connection
        .prepare_cached(PRESENT)
        .and_then(|mut statement| statement.query_row([group], |row| row.get(0)))
        .map_err(StoreError::Statement)
}

fn wanted_members(connection: &Connection, group: i64) -> Result<u64, StoreError> {
    connection
        .prepare_cached(
            "SELECT count(*) FROM source_members m CROSS JOIN source_users u ON u.n = m.u WHERE m.g = ?1",
        )
        .and_then(|mut statement| statement.query_row([group], |row| row.get(0)))
        .map_err(StoreError::Statement)
}

fn member_ids_of(
    connection: &Connection,
    group: i64,
    provider: i64,
) -> Result<Vec<(OktaUserId, ScimId)>, StoreError> {
    let mut statement = connection.prepare_cached(REMOVED).map_err(StoreError::Statement)?;
    let rows = statement.query_map(params![group, provider], pair).map_err(StoreError::Statement)?;
    rows.collect::<Result<_, _>>().map_err(StoreError::Statement)
}

fn member_ids(
    connection: &Connection,
    sql: &str,
    group: &str,
) -> Result<Vec<(OktaUserId, ScimId)>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
    let rows = statement.query_map([group], pair).map_err(StoreError::Statement)?;
    rows.collect::<Result<_, _>>().map_err(StoreError::Statement)
}

fn added_ids(
    connection: &Connection,
    group: i64,
    provider: Option<i64>,
) -> Result<Vec<OktaUserId>, StoreError> {
    let mut statement = connection.prepare_cached(ADDED).map_err(StoreError::Statement)?;
    let rows = statement
        .query_map(params![group, provider], |row| Ok(OktaUserId::from(row.get::<_, String>(0)?)))
        .map_err(StoreError::Statement)?;
    rows.collect::<Result<_, _>>().map_err(StoreError::Statement)
}

fn pair(row: &Row<'_>) -> Result<(OktaUserId, ScimId), rusqlite::Error> {
    Ok((OktaUserId::from(row.get::<_, String>(0)?), ScimId::from(row.get::<_, String>(1)?)))
}

fn put(
    connection: &Connection,
    planned: &mut Planned,
    operation: &Operation,
    held: bool,
) -> Result<(), StoreError> {
    let text = serde_json::to_string(operation).map_err(StoreError::Row)?;
    connection
        .prepare_cached("INSERT INTO operations (phase, held, operation) VALUES (?1, ?2, ?3)")
        .and_then(|mut insert| insert.execute(params![operation.phase(), held, text]))
        .map_err(StoreError::Statement)?;
    *planned.operations.entry(operation.name()).or_default() += 1;
    Ok(())
}

fn each(
    connection: &Connection,
    sql: &str,
    mut visit: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare(sql).map_err(StoreError::Statement)?;
    let mut rows = statement.query([]).map_err(StoreError::Statement)?;
    while let Some(row) = rows.next().map_err(StoreError::Statement)? {
        visit(row)?;
    }
    Ok(())
}

/// What a service did not keep, and what it showed then, from two columns.
fn unkept<T: serde::de::DeserializeOwned>(row: &Row<'_>, at: usize) -> Result<Option<(T, T)>, StoreError> {
    let (wanted, shown): (Option<String>, Option<String>) = (get(row, at)?, get(row, at + 1)?);
    let parse = |text: &String| serde_json::from_str(text).map_err(StoreError::Row);
    wanted.zip(shown).map(|(wanted, shown)| Ok((parse(&wanted)?, parse(&shown)?))).transpose()
}

fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, index: usize) -> Result<T, StoreError> {
    row.get(index).map_err(StoreError::Statement)
}

fn text(row: &Row<'_>, index: usize) -> Result<String, StoreError> {
    get(row, index)
}

fn attributes(text: &str) -> Result<Attributes, StoreError> {
    serde_json::from_str(text).map_err(StoreError::Row)
}
