//! # Purpose
//! The part of a plan that is about memberships.
//!
//! # Invariants kept here
//! - Only people of ours are taken out of groups, and nobody who is spared.
//! - Memory is bounded by one operation, not by a group.
//!
//! # Not here
//! Which groups have to be looked at: `unsettled`. How many may be taken out: `breaker`.

use rusqlite::{Connection, Row, params};

use super::planning::{Planned, Rules, each, get, put, text};
use super::source::execute;
use super::{StoreError, unsettled};
use crate::directory::breaker::{self, Held, Kind, Tally};
use crate::directory::plan::Operation;
use crate::domain::{OktaGroupId, OktaUserId, ScimId};

/// Members in one operation.
const MEMBERS_AT_ONCE: usize = 500;

// From a group's members to the people, whatever SQLite thinks of the tables' sizes: the other way round each group
// would cost as much as everybody.

/// People of ours whom a group has at the provider, and whether they should not be in it.
const PRESENT: &str = "
    SELECT m.u, o.okta,
           NOT EXISTS (SELECT 1 FROM source_members w WHERE w.g = ?1 AND w.u = o.s)
           AND o.okta NOT IN (SELECT id FROM spared) AS goes
    FROM provider_members m CROSS JOIN user_pairs o ON o.p = m.u
    WHERE m.g = ?2
    ORDER BY m.u";
/// People of the selection whom a group has at Okta; with their ids those who are not in it at the provider, whether it
/// has them yet or not.
const WANTED: &str = "
    SELECT CASE WHEN (o.p IS NOT NULL OR s.active IS NOT NULL)
                     -- Somebody whose status decides nothing, and who is not there, is not created either.
                     AND NOT EXISTS (SELECT 1 FROM provider_members m
                                     WHERE m.g = ?2 AND m.u = o.p AND m.u NOT IN (SELECT p FROM recreated))
                THEN s.id END
    FROM source_members w
    CROSS JOIN source_users s ON s.n = w.u
    LEFT JOIN user_pairs o ON o.s = w.u
    WHERE w.g = ?1
    ORDER BY w.u";

/// A group whose members are looked at.
struct Group {
    n: i64,
    okta: OktaGroupId,
    provider: Option<(i64, ScimId)>,
}

/// `lost` memberships go with groups that have departed.
pub(super) fn plan_members(
    connection: &Connection,
    lost: u64,
    rules: &Rules,
    planned: &mut Planned,
) -> Result<(), StoreError> {
    let mut removed = lost;
    let mut first_held: Option<Held> = None;
    let sql = "SELECT s.n, s.id, p.n, p.id FROM unsettled_groups o
               CROSS JOIN source_groups s ON s.n = o.n
               LEFT JOIN group_pairs m ON m.s = s.n
               LEFT JOIN provider_groups p ON p.n = m.p
               ORDER BY o.n";
    each(connection, sql, |row| {
        let (of_group, held) = plan_group(connection, &group(row)?, rules, planned)?;
        removed += of_group.removed;
        // One is enough to tell a person; each is marked in the plan.
        first_held = first_held.take().or(held);
        Ok(())
    })?;
    planned.held.extend(first_held);
    let sums = "SELECT ifnull(sum(present), 0), ifnull(sum(wanted), 0) FROM group_sizes";
    let sums = connection.query_row(sums, [], |row| Ok((row.get::<_, u64>(0)?, row.get(1)?)));
    let (present, wanted) = sums.map_err(StoreError::Statement)?;
    let all = Tally { removed, present: present + lost, wanted };
    planned.held.extend(breaker::review(Kind::Members, all, &rules.limits));
    Ok(())
}

fn group(row: &Row<'_>) -> Result<Group, StoreError> {
    let provider = match get::<Option<i64>>(row, 2)? {
        Some(provider) => Some((provider, ScimId::from(text(row, 3)?))),
        None => None,
    };
    Ok(Group { n: get(row, 0)?, okta: OktaGroupId::from(text(row, 1)?), provider })
}

fn plan_group(
    connection: &Connection,
    group: &Group,
    rules: &Rules,
    planned: &mut Planned,
) -> Result<(Tally, Option<Held>), StoreError> {
    let Group { n, okta, provider } = group;
    let mut tally = Tally::default();
    let mut held = None;
    let mut is_busy = false;
    if let Some((p, scim)) = provider {
        (tally.present, tally.removed) = present(connection, *n, *p)?;
        held = breaker::review(Kind::GroupMembers, tally, &rules.limits);
        if tally.removed > 0 {
            is_busy = true;
            leaving(connection, *n, *p, |users| {
                let (okta, scim) = (okta.clone(), scim.clone());
                put(connection, planned, &Operation::RemoveMembers { okta, scim, users }, held.is_some())
            })?;
        }
    }
    tally.wanted = wanted(connection, *n, provider.as_ref().map(|(p, _)| *p), |users| {
        is_busy = true;
        put(connection, planned, &Operation::AddMembers { okta: okta.clone(), users }, false)
    })?;
    if is_busy {
        unsettled::note_busy_group(connection, *n)?;
    }
    let sizes = "INSERT OR REPLACE INTO group_sizes (n, wanted, present) VALUES (?1, ?2, ?3)";
    execute(connection, sizes, params![n, tally.wanted, tally.present])?;
    Ok((tally, held))
}

/// How many of ours are in a group at the provider.
pub(super) fn present_members(connection: &Connection, provider: i64) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM provider_members m CROSS JOIN user_pairs o ON o.p = m.u WHERE m.g = ?1";
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row([provider], |row| row.get(0)))
        .map_err(StoreError::Statement)
}

/// How many of ours are in the group at the provider, and how many of them should not be.
fn present(connection: &Connection, n: i64, provider: i64) -> Result<(u64, u64), StoreError> {
    let sql = format!("SELECT count(*), ifnull(sum(goes), 0) FROM ({PRESENT})");
    connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row([n, provider], |row| Ok((row.get(0)?, row.get(1)?))))
        .map_err(StoreError::Statement)
}

/// Who of ours is in the group at the provider and should not be, so many at once.
fn leaving(
    connection: &Connection,
    n: i64,
    provider: i64,
    mut visit: impl FnMut(Vec<(OktaUserId, ScimId)>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql =
        format!("SELECT okta, (SELECT id FROM provider_users p WHERE p.n = u) FROM ({PRESENT}) WHERE goes");
    let mut some = Vec::new();
    let mut statement = connection.prepare_cached(&sql).map_err(StoreError::Statement)?;
    let mut rows = statement.query([n, provider]).map_err(StoreError::Statement)?;
    while let Some(row) = rows.next().map_err(StoreError::Statement)? {
        some.push((OktaUserId::from(text(row, 0)?), ScimId::from(text(row, 1)?)));
        if some.len() == MEMBERS_AT_ONCE {
            visit(std::mem::take(&mut some))?;
        }
    }
    if some.is_empty() { Ok(()) } else { visit(some) }
}

/// How many are in the group at Okta; visits those who are not at the provider, so many at once.
fn wanted(
    connection: &Connection,
    n: i64,
    provider: Option<i64>,
    mut visit: impl FnMut(Vec<OktaUserId>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let (mut count, mut some) = (0, Vec::new());
    let mut statement = connection.prepare_cached(WANTED).map_err(StoreError::Statement)?;
    let mut rows = statement.query(params![n, provider]).map_err(StoreError::Statement)?;
    while let Some(row) = rows.next().map_err(StoreError::Statement)? {
        count += 1;
        some.extend(get::<Option<String>>(row, 0)?.map(OktaUserId::from));
        if some.len() == MEMBERS_AT_ONCE {
            visit(std::mem::take(&mut some))?;
        }
    }
    if !some.is_empty() {
        visit(some)?;
    }
    Ok(count)
}
