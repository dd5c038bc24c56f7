//! # Purpose
//! Which people and groups a plan has to look at: those for which the last one had something to do, and those about
//! which something has changed since. All others are settled.
//!
//! # Invariants kept here
//! - Whatever writes Okta's side, whoever it is about is unsettled by the same transaction (triggers).
//! - A person is settled only by a plan that had nothing to do for them and knows them at the provider; a group, by one
//!   that had no member to add or to remove.
//! - A plan over the unsettled is the plan over everybody. Debug builds, and with them all tests, make both and compare.
//!
//! # Not here
//! The plan: `planning`.

use rusqlite::Connection;

use super::StoreError;
use super::source::execute;

/// `wide`: also the groups that they are in are to be looked at.
pub(super) const TABLES: &str = "
    CREATE TABLE unsettled_users (n INTEGER PRIMARY KEY, wide INTEGER NOT NULL);
    CREATE TABLE unsettled_groups (n INTEGER PRIMARY KEY);
    -- How many members Okta shows and the provider has, of those that are ours, when the group was looked at last.
    CREATE TABLE group_sizes (n INTEGER PRIMARY KEY, wanted INTEGER NOT NULL, present INTEGER NOT NULL);
    -- Who was taken out of a group since a run ended.
    CREATE TABLE leavers (u INTEGER PRIMARY KEY);

    CREATE TRIGGER user_came AFTER INSERT ON source_users BEGIN
        INSERT INTO unsettled_users (n, wide) VALUES (new.n, 1) ON CONFLICT (n) DO UPDATE SET wide = 1;
    END;
    CREATE TRIGGER user_changed AFTER UPDATE OF active, attributes ON source_users
        WHEN old.active IS NOT new.active OR old.attributes IS NOT new.attributes BEGIN
        -- Whether a status decides anything decides whether the person is a member at all.
        INSERT INTO unsettled_users (n, wide) VALUES (new.n, (old.active IS NULL) <> (new.active IS NULL))
            ON CONFLICT (n) DO UPDATE SET wide = max(wide, excluded.wide);
    END;
    CREATE TRIGGER user_left AFTER DELETE ON source_users BEGIN
        INSERT INTO unsettled_users (n, wide) VALUES (old.n, 1) ON CONFLICT (n) DO UPDATE SET wide = 1;
    END;
    CREATE TRIGGER user_no_longer_spared AFTER DELETE ON spared BEGIN
        INSERT INTO unsettled_users (n, wide) SELECT n, 1 FROM people WHERE id = old.id
            ON CONFLICT (n) DO UPDATE SET wide = 1;
    END;
    CREATE TRIGGER group_came AFTER INSERT ON source_groups BEGIN
        INSERT INTO unsettled_groups (n) VALUES (new.n) ON CONFLICT (n) DO NOTHING;
    END;
    CREATE TRIGGER group_left AFTER DELETE ON source_groups BEGIN
        DELETE FROM group_sizes WHERE n = old.n;
    END;
    CREATE TRIGGER member_came AFTER INSERT ON source_members BEGIN
        INSERT INTO unsettled_groups (n) VALUES (new.g) ON CONFLICT (n) DO NOTHING;
    END;
    CREATE TRIGGER member_left AFTER DELETE ON source_members BEGIN
        INSERT INTO unsettled_groups (n) VALUES (old.g) ON CONFLICT (n) DO NOTHING;
        INSERT INTO leavers (u) VALUES (old.u) ON CONFLICT (u) DO NOTHING;
    END;
";

/// Everybody and everything, the provider's side being read anew.
pub(super) const EVERYTHING: &str = "
    INSERT OR IGNORE INTO people (id) SELECT okta FROM users;
    INSERT OR REPLACE INTO unsettled_users (n, wide) SELECT n, 1 FROM people;
    INSERT OR IGNORE INTO unsettled_groups (n) SELECT n FROM source_groups;
";

/// What a plan finds out as it goes.
pub(super) const NOTES: &str = "
    CREATE TEMP TABLE IF NOT EXISTS busy_users (n INTEGER PRIMARY KEY);
    CREATE TEMP TABLE IF NOT EXISTS busy_groups (n INTEGER PRIMARY KEY);
    DELETE FROM busy_users; DELETE FROM busy_groups;
";

/// The plan has something to do for this person.
pub(super) fn note_busy_user(connection: &Connection, n: i64) -> Result<(), StoreError> {
    execute(connection, "INSERT OR IGNORE INTO busy_users (n) VALUES (?1)", [n])
}

/// The plan has something to do for the members of this group.
pub(super) fn note_busy_group(connection: &Connection, n: i64) -> Result<(), StoreError> {
    execute(connection, "INSERT OR IGNORE INTO busy_groups (n) VALUES (?1)", [n])
}

/// The groups of whoever came, went or became somebody else at the provider are looked at with them.
pub(super) fn spread_to_groups(connection: &Connection) -> Result<(), StoreError> {
    let holds =
        |sql: &str| connection.query_row(sql, [], |row| row.get::<_, bool>(0)).map_err(StoreError::Statement);
    if !holds("SELECT EXISTS (SELECT 1 FROM unsettled_users WHERE wide)")?
        || !holds(
            "SELECT EXISTS (SELECT 1 FROM source_groups WHERE n NOT IN (SELECT n FROM unsettled_groups))",
        )?
    {
        return Ok(());
    }
    // Each is one walk over the memberships: an index by person would cost every run its upkeep.
    let at_okta = "
        INSERT OR IGNORE INTO unsettled_groups (n)
        SELECT DISTINCT g FROM source_members WHERE u IN (SELECT n FROM unsettled_users WHERE wide)";
    let at_the_provider = "
        INSERT OR IGNORE INTO unsettled_groups (n)
        SELECT s FROM group_pairs WHERE s IS NOT NULL AND p IN (
            SELECT DISTINCT g FROM provider_members WHERE u IN (
                SELECT m.p FROM unsettled_users o
                CROSS JOIN people e ON e.n = o.n
                CROSS JOIN user_pairs m ON m.okta = e.id
                WHERE o.wide))";
    execute(connection, at_okta, [])?;
    execute(connection, at_the_provider, [])
}

/// The plan is made: whoever it has nothing to do for is settled.
pub(super) fn settle(connection: &Connection) -> Result<(), StoreError> {
    // Without a pair they have nothing by which a later change at the provider would be theirs.
    let unpaired_users = "
        INSERT OR IGNORE INTO busy_users (n)
        SELECT o.n FROM unsettled_users o CROSS JOIN source_users s ON s.n = o.n
        WHERE NOT EXISTS (SELECT 1 FROM user_pairs m WHERE m.s = o.n)";
    let unpaired_groups = "
        INSERT OR IGNORE INTO busy_groups (n)
        SELECT o.n FROM unsettled_groups o CROSS JOIN source_groups s ON s.n = o.n
        WHERE NOT EXISTS (SELECT 1 FROM group_pairs m WHERE m.s = o.n)";
    execute(connection, unpaired_users, [])?;
    execute(connection, unpaired_groups, [])?;
    execute(connection, "DELETE FROM unsettled_users WHERE n NOT IN (SELECT n FROM busy_users)", [])?;
    execute(connection, "DELETE FROM unsettled_groups WHERE n NOT IN (SELECT n FROM busy_groups)", [])?;
    execute(connection, "UPDATE unsettled_users SET wide = 0 WHERE wide", [])
}

/// Plans once more, over everything, and undoes it.
#[cfg(debug_assertions)]
pub(super) fn assert_nothing_was_passed_over(
    connection: &Connection,
    rules: &super::Rules,
    planned: &super::Planned,
) -> Result<(), StoreError> {
    connection.execute_batch("SAVEPOINT everything").map_err(StoreError::Statement)?;
    connection.execute_batch(EVERYTHING).map_err(StoreError::Statement)?;
    let all = super::planning::plan(connection, rules)?;
    connection.execute_batch("ROLLBACK TO everything; RELEASE everything").map_err(StoreError::Statement)?;
    assert_eq!(*planned, all, "the plan over what is unsettled is not the plan over everything");
    Ok(())
}
