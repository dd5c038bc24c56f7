//! # Purpose
//! Fills the store with what the provider has, page by page.
//!
//! # Invariants kept here
//! - An id that comes twice is one object.
//!
//! # Not here
//! Whether it is complete: `directory::provider`. What is known of it afterwards: `known`.

use rusqlite::{Connection, params};

use super::{Store, StoreError};
use crate::domain::ScimId;
use crate::scim::attributes::Attributes;

/// How much a side has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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
