//! # Purpose
//! Writes the plan between both sides in the store.
//!
//! # Invariants kept here
//! - Of people, and of members of groups, only those are looked at that are unsettled.
//! - The decisions are `plan`'s; here is only the walk over the pairs.
//!
//! # Not here
//! How much may be taken away: the tallies go to `breaker`. Which object is which: `pairing`. Members: `memberships`.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::provider::{Counts, in_transaction};
use super::source::{execute, source_counts};
use super::{Store, StoreError, memberships, origin, pairing, unsettled, verdict};
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

/// By what a plan is made.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Where the login goes.
    pub user_name: Path,
    /// What a changed login does.
    pub change: NameChange,
    /// How much may go.
    pub limits: Limits,
}

impl Store {
    /// Writes the plan that makes the provider's side equal to Okta's, and reviews what it takes away.
    pub async fn plan(&self, rules: Rules) -> Result<(Planned, Counts), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                let planned = plan(connection, &rules)?;
                #[cfg(debug_assertions)]
                unsettled::assert_nothing_was_passed_over(connection, &rules, &planned)?;
                Ok((planned, source_counts(connection)?))
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

/// Plans over what is unsettled, and settles the rest.
pub(super) fn plan(connection: &Connection, rules: &Rules) -> Result<Planned, StoreError> {
    connection.execute_batch(&[unsettled::NOTES, BEGIN].concat()).map_err(StoreError::Statement)?;
    pairing::pair(connection)?;
    let mut planned = Planned::default();
    plan_users(connection, rules, &mut planned)?;
    unsettled::spread_to_groups(connection)?;
    plan_departed_users(connection, &mut planned)?;
    plan_groups(connection, &mut planned)?;
    let lost = plan_departed_groups(connection, &mut planned)?;
    memberships::plan_members(connection, lost, rules, &mut planned)?;
    let users = ["deactivate_user", "recreate_user"];
    let groups = ["delete_group", "release_group"];
    for (kind, operations, ours, source) in [
        (Kind::Users, users, OURS_USERS, "source_users"),
        (Kind::Groups, groups, OURS_GROUPS, "source_groups"),
    ] {
        let removed = operations.iter().map(|name| count(&planned, name)).sum();
        planned.held.extend(review(connection, kind, removed, (ours, source), &rules.limits)?);
    }
    planned.held.extend(verdict::shrunk(connection, &rules.limits)?);
    planned.held.sort_by_key(|held| held.kind);
    verdict::judge(connection, &mut planned)?;
    unsettled::settle(connection)?;
    Ok(planned)
}

const BEGIN: &str = "
    CREATE TEMP TABLE IF NOT EXISTS recreated (p INTEGER PRIMARY KEY);
    DELETE FROM recreated; DELETE FROM operations;
";

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

/// Reviews removals of a kind; where there are none, nothing has to be counted.
fn review(
    connection: &Connection,
    kind: Kind,
    removed: u64,
    (ours, source): (&str, &str),
    limits: &Limits,
) -> Result<Option<Held>, StoreError> {
    if removed == 0 {
        return Ok(None);
    }
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get(0)).map_err(StoreError::Statement);
    let wanted = number(&format!("SELECT count(*) FROM {source}"))?;
    Ok(breaker::review(kind, Tally { removed, present: number(ours)?, wanted }, limits))
}

fn count(planned: &Planned, operation: &str) -> u64 {
    planned.operations.get(operation).copied().unwrap_or(0)
}

fn plan_users(connection: &Connection, rules: &Rules, planned: &mut Planned) -> Result<(), StoreError> {
    let sql = "SELECT s.id, s.active, s.attributes, p.id, p.active, p.external_id, p.attributes, m.known,
                      k.wanted, k.shown, p.n, u.origin, s.n
               FROM unsettled_users a
               CROSS JOIN source_users s ON s.n = a.n
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
        let groups = match (rules.change, at_provider) {
            (NameChange::Recreate, Some(user)) => groups_of(connection, user)?,
            (NameChange::Recreate, None) | (NameChange::Update, _) => Vec::new(),
        };
        let pair = UserPair { okta, wanted, found, unkept, created, groups };
        let operations = plan::user(&pair, &rules.user_name, rules.change);
        let n: i64 = get(row, 12)?;
        if !operations.is_empty() {
            unsettled::note_busy_user(connection, n)?;
        }
        if operations.iter().any(|operation| matches!(operation, Operation::RecreateUser { .. })) {
            execute(connection, "INSERT OR IGNORE INTO recreated (p) VALUES (?1)", [at_provider])?;
            execute(connection, "UPDATE unsettled_users SET wide = 1 WHERE n = ?1", [n])?;
        }
        operations.iter().try_for_each(|operation| put(connection, planned, operation, false))
    })
}

fn plan_departed_users(connection: &Connection, planned: &mut Planned) -> Result<(), StoreError> {
    let sql = "SELECT u.okta, u.scim, p.active, a.n FROM unsettled_users a
               CROSS JOIN people e ON e.n = a.n
               CROSS JOIN users u ON u.okta = e.id
               CROSS JOIN provider_users p ON p.id = u.scim AND (p.external_id IS NULL OR p.external_id = u.okta)
               WHERE NOT EXISTS (SELECT 1 FROM source_users s WHERE s.n = a.n) AND u.okta NOT IN (SELECT id FROM spared)
                 AND p.n NOT IN (SELECT p FROM taken_over)
               ORDER BY u.okta";
    each(connection, sql, |row| {
        let (okta, scim) = (OktaUserId::from(text(row, 0)?), ScimId::from(text(row, 1)?));
        let Some(operation) = plan::departed_user(okta, scim, get(row, 2)?) else {
            return Ok(());
        };
        unsettled::note_busy_user(connection, get(row, 3)?)?;
        put(connection, planned, &operation, false)
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
            Origin::Created => memberships::present_members(connection, get(row, 4)?)?,
            Origin::Adopted => added.len() as u64,
        };
        let operation = plan::departed_group(okta, scim, text(row, 3)?, origin(&text(row, 2)?), added);
        put(connection, planned, &operation, false)
    })?;
    Ok(lost)
}

fn groups_of(connection: &Connection, user: i64) -> Result<Vec<ScimId>, StoreError> {
    let sql = "SELECT g.id FROM group_pairs o JOIN provider_groups g ON g.n = o.p
               JOIN provider_members m ON m.g = g.n AND m.u = ?1 WHERE o.s IS NOT NULL";
    let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
    let rows = statement.query_map([user], |row| Ok(ScimId::from(row.get::<_, String>(0)?)));
    rows.map_err(StoreError::Statement)?.collect::<Result<_, _>>().map_err(StoreError::Statement)
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

fn pair(row: &Row<'_>) -> Result<(OktaUserId, ScimId), rusqlite::Error> {
    Ok((OktaUserId::from(row.get::<_, String>(0)?), ScimId::from(row.get::<_, String>(1)?)))
}

pub(super) fn put(
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

pub(super) fn each(
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

pub(super) fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, index: usize) -> Result<T, StoreError> {
    row.get(index).map_err(StoreError::Statement)
}

pub(super) fn text(row: &Row<'_>, index: usize) -> Result<String, StoreError> {
    get(row, index)
}

fn attributes(text: &str) -> Result<Attributes, StoreError> {
    serde_json::from_str(text).map_err(StoreError::Row)
}
