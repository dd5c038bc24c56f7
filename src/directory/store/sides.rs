//! # Purpose
//! Fills the store with what Okta and the provider have, page by page.
//!
//! # Invariants kept here
//! - An id that comes twice is one object.
//!
//! # Not here
//! Whether a side is complete: `snapshot`, `provider`.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::{Store, StoreError};
use crate::directory::mapping::Desired;
use crate::domain::{Group, Membership, OktaGroupId, OktaUserId, ScimId};
use crate::scim::attributes::Attributes;

/// How much a side has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Users.
    pub users: u64,
    /// Groups.
    pub groups: u64,
    /// Memberships.
    pub memberships: u64,
}

/// A user at the provider.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderUser {
    /// The provider's id.
    pub id: ScimId,
    /// Ours, if it has kept it.
    pub external_id: Option<String>,
    /// `userName` in lower case.
    pub user_name: Option<String>,
    /// As shown.
    pub active: Option<bool>,
    /// The mapped ones.
    pub attributes: Attributes,
}

/// A group at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderGroup {
    /// The provider's id.
    pub id: ScimId,
    /// Ours, if it has kept it.
    pub external_id: Option<String>,
    /// `displayName`.
    pub name: String,
    /// The provider's ids of its members.
    pub members: Vec<String>,
}

impl Store {
    /// Forgets Okta's side.
    pub async fn clear_source(&self) -> Result<(), StoreError> {
        self.batch(
            "DELETE FROM source_users; DELETE FROM source_groups; DELETE FROM source_members; DELETE FROM spared;",
        )
        .await
    }

    /// Forgets the provider's side and the plan.
    pub async fn clear_provider(&self) -> Result<(), StoreError> {
        self.batch(
            "DELETE FROM provider_users; DELETE FROM provider_groups; DELETE FROM provider_members;
             DELETE FROM user_pairs; DELETE FROM group_pairs; DELETE FROM operations; DELETE FROM provider_versions;",
        )
        .await
    }

    /// Takes in users of the selection.
    pub async fn add_source_users(&self, users: Vec<(OktaUserId, Desired)>) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                let sql = "INSERT OR IGNORE INTO source_users (id, active, attributes) VALUES (?1, ?2, ?3)";
                let mut insert = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
                for (id, desired) in &users {
                    let attributes = serde_json::to_string(&desired.attributes).map_err(StoreError::Row)?;
                    insert
                        .execute(params![id.as_str(), desired.active, attributes])
                        .map_err(StoreError::Statement)?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Notes objects of Okta's that are there and cannot be read.
    pub async fn spare(&self, ids: Vec<String>) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids = serde_json::to_string(&ids).map_err(StoreError::Row)?;
        self.run(move |connection| {
            connection
                .execute("INSERT OR IGNORE INTO spared (id) SELECT value FROM json_each(?1)", [ids])
                .map_err(StoreError::Statement)?;
            Ok(())
        })
        .await
    }

    /// Spares users of the selection who are in none of its groups, and takes them out of it.
    pub async fn spare_users_without_group(&self) -> Result<(), StoreError> {
        self.batch(
            "INSERT OR IGNORE INTO spared (id)
                 SELECT id FROM source_users WHERE n NOT IN (SELECT u FROM source_members);
             DELETE FROM source_users WHERE n NOT IN (SELECT u FROM source_members);",
        )
        .await
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

    /// Whether the connector has added anybody to this group at the provider.
    pub async fn had_members(&self, group: OktaGroupId) -> Result<bool, StoreError> {
        self.run(move |connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM groups g JOIN added_members a ON a.g = g.scim WHERE g.okta = ?1)";
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            statement.query_row([group.as_str()], |row| row.get(0)).map_err(StoreError::Statement)
        })
        .await
    }

    /// Takes in groups of the selection.
    pub async fn add_source_groups(&self, groups: Vec<Group>) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                let sql = "INSERT OR IGNORE INTO source_groups (id, name) VALUES (?1, ?2)";
                let mut insert = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
                for group in &groups {
                    insert.execute([group.id.as_str(), &group.name]).map_err(StoreError::Statement)?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The groups of the selection after `after`, in order; at most `limit`.
    pub async fn source_groups(&self, after: i64, limit: u32) -> Result<Vec<(i64, OktaGroupId)>, StoreError> {
        self.run(move |connection| {
            let sql = "SELECT n, id FROM source_groups WHERE n > ?1 ORDER BY n LIMIT ?2";
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            let rows = statement
                .query_map(params![after, limit], |row| {
                    Ok((row.get(0)?, OktaGroupId::from(row.get::<_, String>(1)?)))
                })
                .map_err(StoreError::Statement)?;
            rows.collect::<Result<_, _>>().map_err(StoreError::Statement)
        })
        .await
    }

    /// Takes in members of a group; those who are not users of the selection are left out.
    pub async fn add_source_members(&self, group: i64, users: Vec<OktaUserId>) -> Result<(), StoreError> {
        let users = serde_json::to_string(&users).map_err(StoreError::Row)?;
        self.run(move |connection| {
            let sql = "INSERT OR IGNORE INTO source_members (g, u)
                       SELECT ?1, s.n FROM json_each(?2) j CROSS JOIN source_users s ON s.id = j.value";
            let mut insert = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            insert.execute(params![group, users]).map_err(StoreError::Statement)?;
            Ok(())
        })
        .await
    }

    /// Leaves out memberships that exist only because of a grant.
    pub async fn exclude_members(&self, live: BTreeSet<Membership>) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                let sql = "DELETE FROM source_members
                           WHERE g = (SELECT n FROM source_groups WHERE id = ?1)
                             AND u = (SELECT n FROM source_users WHERE id = ?2)";
                let mut delete = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
                for membership in &live {
                    delete
                        .execute([membership.group.as_str(), membership.user.as_str()])
                        .map_err(StoreError::Statement)?;
                }
                Ok(())
            })
        })
        .await
    }

    /// How much Okta's side has.
    pub async fn source_counts(&self) -> Result<Counts, StoreError> {
        self.counts(["source_users", "source_groups", "source_members"]).await
    }

    /// How much the provider's side has.
    pub async fn provider_counts(&self) -> Result<Counts, StoreError> {
        self.counts(["provider_users", "provider_groups", "provider_members"]).await
    }

    /// Takes in users of the provider.
    pub async fn add_provider_users(&self, users: Vec<ProviderUser>) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                let sql =
                    "INSERT OR REPLACE INTO provider_users (id, external_id, user_name, active, attributes)
                           VALUES (?1, ?2, ?3, ?4, ?5)";
                let mut insert = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
                for user in &users {
                    let attributes = serde_json::to_string(&user.attributes).map_err(StoreError::Row)?;
                    insert
                        .execute(params![
                            user.id.as_str(),
                            user.external_id,
                            user.user_name,
                            user.active,
                            attributes
                        ])
                        .map_err(StoreError::Statement)?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Takes in groups of the provider with their members.
    pub async fn add_provider_groups(&self, groups: Vec<ProviderGroup>) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                let sql =
                    "INSERT OR REPLACE INTO provider_groups (id, external_id, name) VALUES (?1, ?2, ?3)";
                let mut insert = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
                // Members that are not users of the provider's (groups in groups) are none of our business.
                let sql = "INSERT OR IGNORE INTO provider_members (g, u)
                           SELECT ?1, p.n FROM json_each(?2) j CROSS JOIN provider_users p ON p.id = j.value";
                let mut members = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
                for group in &groups {
                    insert
                        .execute(params![group.id.as_str(), group.external_id, group.name])
                        .map_err(StoreError::Statement)?;
                    let ids = serde_json::to_string(&group.members).map_err(StoreError::Row)?;
                    members
                        .execute(params![connection.last_insert_rowid(), ids])
                        .map_err(StoreError::Statement)?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn counts(&self, tables: [&'static str; 3]) -> Result<Counts, StoreError> {
        self.run(move |connection| {
            let count = |table: &str| {
                connection
                    .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
                    .map_err(StoreError::Statement)
            };
            Ok(Counts { users: count(tables[0])?, groups: count(tables[1])?, memberships: count(tables[2])? })
        })
        .await
    }

    async fn batch(&self, sql: &'static str) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                connection.execute_batch(sql).map_err(StoreError::Statement)
            })
        })
        .await
    }
}

/// All or nothing.
pub(super) fn in_transaction<T>(
    connection: &mut Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection.transaction().map_err(StoreError::Statement)?;
    let done = work(&transaction)?;
    transaction.commit().map_err(StoreError::Statement)?;
    Ok(done)
}
