//! # Purpose
//! Which object of Okta's is which at the provider.
//!
//! # Invariants kept here
//! - By what is known to be ours, then by `externalId`, then by user name without case; each object is in one pair at
//!   most.
//! - An object of ours whose person Okta no longer shows goes to whoever has its user name now.
//! - Only the pairs of unsettled people are made anew.
//!
//! # Not here
//! What to do about a pair: `planning`.

use rusqlite::Connection;

use super::StoreError;

/// Made before pairing and taken away before the provider is read, so that both are in bulk.
const INDEXES: &str = "
    CREATE INDEX IF NOT EXISTS provider_users_by_external_id ON provider_users (external_id);
    CREATE INDEX IF NOT EXISTS provider_users_by_user_name ON provider_users (user_name);
";

/// See [`INDEXES`].
pub(super) const NO_INDEXES: &str = "
    DROP INDEX IF EXISTS provider_users_by_external_id; DROP INDEX IF EXISTS provider_users_by_user_name;
";

const BEGIN: &str = "
    CREATE TEMP TABLE IF NOT EXISTS taken_over (p INTEGER PRIMARY KEY, s INTEGER NOT NULL UNIQUE, okta TEXT NOT NULL);
    DELETE FROM taken_over; DELETE FROM group_pairs;

    -- Whoever has no pair yet may become one with somebody who is a member already.
    UPDATE unsettled_users SET wide = 1
        WHERE wide = 0 AND NOT EXISTS (SELECT 1 FROM user_pairs m WHERE m.s = unsettled_users.n);
    DELETE FROM user_pairs
        WHERE okta IN (SELECT e.id FROM unsettled_users o CROSS JOIN people e ON e.n = o.n);
";

const KNOWN_USERS: &str = "
    INSERT OR IGNORE INTO user_pairs (p, s, okta, known)
        SELECT p.n, s.n, u.okta, 1 FROM unsettled_users o
        CROSS JOIN people e ON e.n = o.n
        CROSS JOIN users u ON u.okta = e.id
        CROSS JOIN provider_users p ON p.id = u.scim AND (p.external_id IS NULL OR p.external_id = u.okta)
        LEFT JOIN source_users s ON s.n = o.n;
";

const USERS_BY_EXTERNAL_ID: &str = "
    INSERT OR IGNORE INTO user_pairs (p, s, okta, known)
        SELECT p.n, s.n, s.id, 0 FROM unsettled_users o
        CROSS JOIN source_users s ON s.n = o.n
        CROSS JOIN provider_users p ON p.external_id = s.id
        WHERE NOT EXISTS (SELECT 1 FROM user_pairs m WHERE m.p = p.n);
";

const TAKEN_OVER: &str = "
    INSERT OR IGNORE INTO taken_over (p, s, okta)
        SELECT p.n, s.n, s.id FROM unsettled_users o
        CROSS JOIN source_users s ON s.n = o.n
        CROSS JOIN provider_users p ON p.user_name = lower(json_extract(s.attributes, '$.userName'))
        CROSS JOIN user_pairs m ON m.p = p.n AND m.s IS NULL AND m.okta NOT IN (SELECT id FROM spared)
        WHERE NOT EXISTS (SELECT 1 FROM user_pairs x WHERE x.s = s.n);
    -- Should it come to nothing, the former owner is to be paired again.
    INSERT OR IGNORE INTO unsettled_users (n, wide)
        SELECT e.n, 1 FROM taken_over t CROSS JOIN user_pairs m ON m.p = t.p CROSS JOIN people e ON e.id = m.okta;
    UPDATE user_pairs SET s = t.s, okta = t.okta, known = 0 FROM taken_over t WHERE t.p = user_pairs.p;
";

const USERS_BY_NAME: &str = "
    INSERT OR IGNORE INTO user_pairs (p, s, okta, known)
        SELECT p.n, s.n, s.id, 0 FROM unsettled_users o
        CROSS JOIN source_users s ON s.n = o.n
        CROSS JOIN provider_users p ON p.user_name = lower(json_extract(s.attributes, '$.userName'))
        WHERE p.external_id IS NULL AND NOT EXISTS (SELECT 1 FROM user_pairs x WHERE x.s = s.n);
";

const GROUPS: &str = "
    INSERT OR IGNORE INTO group_pairs (p, s, okta, known)
        SELECT p.n, s.n, g.okta, 1 FROM groups g
        JOIN provider_groups p ON p.id = g.scim AND (p.external_id IS NULL OR p.external_id = g.okta)
        LEFT JOIN source_groups s ON s.id = g.okta;
    INSERT OR IGNORE INTO group_pairs (p, s, okta, known)
        SELECT p.n, s.n, s.id, 0 FROM provider_groups p JOIN source_groups s ON s.id = p.external_id;
";

/// Pairs both sides.
pub(super) fn pair(connection: &Connection) -> Result<(), StoreError> {
    for step in [INDEXES, BEGIN, KNOWN_USERS, USERS_BY_EXTERNAL_ID, TAKEN_OVER, USERS_BY_NAME, GROUPS] {
        connection.execute_batch(step).map_err(StoreError::Statement)?;
    }
    Ok(())
}
