//! # Purpose
//! What the provider is known to show between two readings of it: what was read, and what was written since.
//!
//! # Invariants kept here
//! - Only what the provider has accepted changes it. What a crash leaves out here is planned again, and every operation
//!   is idempotent but the creation of a group, before which it is known what there is.
//!
//! # Not here
//! Reading it: `directory::provider`. When it is read anew: `reconciler`.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde_json::Value;

use super::pairing::NO_INDEXES;
use super::provider::in_transaction;
use super::source::{execute, instant, mark, unmark};
use super::unsettled::EVERYTHING;
use super::{Store, StoreError};
use crate::directory::plan::{Operation, UserFacts};
use crate::domain::ScimId;

/// The mark of when the provider's side was read.
const READ: &str = "provider_read_at";

impl Store {
    /// Forgets the provider's side: it is read anew.
    pub async fn forget_provider(&self) -> Result<(), StoreError> {
        self.run(|connection| {
            in_transaction(connection, |connection| {
                unmark(connection, READ)?;
                let sql =
                    "DELETE FROM provider_users; DELETE FROM provider_groups; DELETE FROM provider_members;
                     DELETE FROM user_pairs; DELETE FROM group_pairs; DELETE FROM operations;
                     DELETE FROM provider_versions;";
                let steps = [sql, NO_INDEXES, EVERYTHING].concat();
                connection.execute_batch(&steps).map_err(StoreError::Statement)
            })
        })
        .await
    }

    /// All of the provider's side was read, at this time.
    pub async fn provider_was_read(&self, at: Timestamp) -> Result<(), StoreError> {
        self.run(move |connection| mark(connection, READ, &at.to_string())).await?;
        self.misses_groups.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the provider may have groups of ours that are not known here: a process before this one may have ended
    /// between creating and noting one, the file may be an older copy, and a creation may have had no answer.
    pub fn may_miss_groups(&self) -> bool {
        self.misses_groups.load(Ordering::Relaxed)
    }

    /// A group may have been created that could not be noted.
    pub fn doubt_groups(&self) {
        self.misses_groups.store(true, Ordering::Relaxed);
    }

    /// When all of the provider's side was read; nothing when what is known of it is not to be relied on.
    pub async fn provider_read_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.run(|connection| instant(connection, READ)).await
    }

    /// Makes the next run read the provider's side.
    pub async fn mistrust_provider(&self) -> Result<(), StoreError> {
        self.run(|connection| unmark(connection, READ)).await
    }

    /// Notes what the provider shows after an operation that it has accepted. Who was created or adopted with it is
    /// noted as ours before.
    pub async fn note_done(&self, operation: &Operation) -> Result<(), StoreError> {
        let operation = operation.clone();
        self.run(move |connection| in_transaction(connection, |connection| note_done(connection, &operation)))
            .await
    }
}

fn note_done(connection: &Connection, operation: &Operation) -> Result<(), StoreError> {
    match operation {
        Operation::DeactivateUser { scim, .. } => {
            let sql = "UPDATE provider_users SET active = 0 WHERE id = ?1";
            execute(connection, sql, params![scim.as_str()])
        }
        Operation::UpdateUser { scim, new, .. } => {
            let sql =
                "UPDATE provider_users SET external_id = ?2, user_name = ?3, active = ?4, attributes = ?5
                       WHERE id = ?1";
            let (user_name, attributes) = shown(new)?;
            let values = params![scim.as_str(), new.external_id, user_name, new.active, attributes];
            execute(connection, sql, values)
        }
        Operation::RecreateUser { okta, scim, new, .. } => {
            // Deleted, or inactive, in no group of the selection and a stranger again.
            let sql = "DELETE FROM provider_members WHERE u = (SELECT n FROM provider_users WHERE id = ?1)";
            execute(connection, sql, params![scim.as_str()])?;
            execute(connection, "DELETE FROM provider_users WHERE id = ?1", params![scim.as_str()])?;
            note_done(connection, &Operation::CreateUser { okta: okta.clone(), new: new.clone() })
        }
        Operation::CreateUser { okta, new } => {
            let sql = "INSERT INTO provider_users (id, external_id, user_name, active, attributes)
                       SELECT scim, ?2, ?3, ?4, ?5 FROM users WHERE okta = ?1
                       ON CONFLICT (id) DO UPDATE
                       SET external_id = excluded.external_id, user_name = excluded.user_name,
                           active = excluded.active, attributes = excluded.attributes";
            let (user_name, attributes) = shown(new)?;
            let values = params![okta.as_str(), new.external_id, user_name, new.active, attributes];
            execute(connection, sql, values)
        }
        Operation::CreateGroup { okta, name } => {
            let sql = "INSERT INTO provider_groups (id, external_id, name)
                       SELECT scim, okta, ?2 FROM groups WHERE okta = ?1
                       ON CONFLICT (id) DO UPDATE SET external_id = excluded.external_id, name = excluded.name";
            execute(connection, sql, params![okta.as_str(), name])
        }
        Operation::UpdateGroup { scim, new, .. } => {
            let sql = "UPDATE provider_groups SET external_id = ?2, name = ?3 WHERE id = ?1";
            execute(connection, sql, params![scim.as_str(), new.external_id, new.name])
        }
        Operation::DeleteGroup { scim, .. } => {
            let sql = "DELETE FROM provider_members WHERE g = (SELECT n FROM provider_groups WHERE id = ?1)";
            execute(connection, sql, params![scim.as_str()])?;
            execute(connection, "DELETE FROM provider_groups WHERE id = ?1", params![scim.as_str()])
        }
        Operation::ReleaseGroup { scim, users, .. } | Operation::RemoveMembers { scim, users, .. } => {
            let users = ids(users.iter().map(|(_, user)| user))?;
            let sql = "DELETE FROM provider_members WHERE g = (SELECT n FROM provider_groups WHERE id = ?1)
                       AND u IN (SELECT p.n FROM json_each(?2) j CROSS JOIN provider_users p ON p.id = j.value)";
            execute(connection, sql, params![scim.as_str(), users])
        }
        Operation::AddMembers { okta, users } => {
            let users = serde_json::to_string(users).map_err(StoreError::Row)?;
            let sql = "INSERT OR IGNORE INTO provider_members (g, u)
                       SELECT g.n, p.n FROM groups o JOIN provider_groups g ON g.id = o.scim
                       CROSS JOIN json_each(?2) j
                       CROSS JOIN users u ON u.okta = j.value
                       CROSS JOIN provider_users p ON p.id = u.scim
                       WHERE o.okta = ?1";
            execute(connection, sql, params![okta.as_str(), users])
        }
    }
}

/// A user's name without case, and attributes, as the table has them.
fn shown(facts: &UserFacts) -> Result<(Option<String>, String), StoreError> {
    let name = facts.attributes.iter().find(|(path, _)| path.attribute() == "userName");
    let name = name.and_then(|(_, value)| Value::as_str(value)).map(str::to_lowercase);
    Ok((name, serde_json::to_string(&facts.attributes).map_err(StoreError::Row)?))
}

fn ids<'a>(ids: impl Iterator<Item = &'a ScimId>) -> Result<String, StoreError> {
    serde_json::to_string(&ids.collect::<Vec<_>>()).map_err(StoreError::Row)
}
