//! # Purpose
//! What was learned about the service and its objects, beside what it shows: which values it does not keep, which
//! version an object had when it was read, whom the connector has added where.
//!
//! # Invariants kept here
//! - A value counts as refused only for the very object, the very value and the very answer that were seen.
//!
//! # Not here
//! Drawing conclusions: `plan` and `apply`.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, params};

use super::source::execute;
use super::{Store, StoreError, origin};
use crate::directory::plan::Origin;
use crate::domain::{OktaGroupId, OktaUserId, ScimId};
use crate::scim::{Kind, Quirk};

/// Made beside the tables of the format, which they do not change: a store without them has learned nothing yet.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS unkept (kind TEXT NOT NULL, id TEXT NOT NULL, wanted TEXT NOT NULL, shown TEXT NOT NULL,
                                       PRIMARY KEY (kind, id)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS provider_versions (kind TEXT NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL,
                                                  PRIMARY KEY (kind, id)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS quirks (name TEXT PRIMARY KEY) WITHOUT ROWID;
";

/// What was asked of an object and what it showed then, as text.
type Unkept = (String, String);

impl Store {
    /// Notes that an object shows `shown` after `wanted` was written, by every form of request.
    pub(in crate::directory) async fn note_unkept(
        &self,
        kind: Kind,
        id: &ScimId,
        (wanted, shown): Unkept,
    ) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO unkept (kind, id, wanted, shown) VALUES (?1, ?2, ?3, ?4)";
        self.change(sql, kind, id, Some([wanted, shown])).await
    }

    /// Notes that an object shows what was written.
    pub(in crate::directory) async fn note_kept(&self, kind: Kind, id: &ScimId) -> Result<(), StoreError> {
        self.change("DELETE FROM unkept WHERE kind = ?1 AND id = ?2", kind, id, None).await
    }

    /// The version that an object had when it was read.
    pub(in crate::directory) async fn version(
        &self,
        kind: Kind,
        id: &ScimId,
    ) -> Result<Option<String>, StoreError> {
        let id = id.clone();
        self.run(move |connection| {
            let sql = "SELECT version FROM provider_versions WHERE kind = ?1 AND id = ?2";
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            let found = statement.query_row([word(kind), id.as_str()], |row| row.get(0));
            found.optional().map_err(StoreError::Statement)
        })
        .await
    }

    /// Notes the versions of objects; `None` is unknown.
    pub(in crate::directory) async fn note_versions(
        &self,
        kind: Kind,
        versions: Vec<(ScimId, Option<String>)>,
    ) -> Result<(), StoreError> {
        self.run(move |connection| {
            super::provider::in_transaction(connection, |connection| {
                let put = "INSERT OR REPLACE INTO provider_versions (kind, id, version) VALUES (?1, ?2, ?3)";
                let drop = "DELETE FROM provider_versions WHERE kind = ?1 AND id = ?2";
                for (id, version) in &versions {
                    match version {
                        Some(version) => execute(connection, put, params![word(kind), id.as_str(), version])?,
                        None => execute(connection, drop, params![word(kind), id.as_str()])?,
                    }
                }
                Ok(())
            })
        })
        .await
    }

    /// The quirks that outlive the process.
    pub(in crate::directory) async fn knows(&self, quirk: Quirk) -> Result<bool, StoreError> {
        self.run(move |connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM quirks WHERE name = ?1)";
            connection.query_row(sql, [quirk.as_str()], |row| row.get(0)).map_err(StoreError::Statement)
        })
        .await
    }

    /// Keeps a quirk, or forgets it.
    pub(in crate::directory) async fn learn(&self, quirk: Quirk, is_so: bool) -> Result<(), StoreError> {
        self.run(move |connection| {
            let sql = if is_so {
                "INSERT OR IGNORE INTO quirks (name) VALUES (?1)"
            } else {
                "DELETE FROM quirks WHERE name = ?1"
            };
            execute(connection, sql, params![quirk.as_str()])
        })
        .await
    }

    /// Whom the connector has added to a group, by the provider's ids.
    pub(in crate::directory) async fn added(&self, group: &ScimId) -> Result<BTreeSet<String>, StoreError> {
        let group = group.clone();
        self.run(move |connection| {
            let sql = "SELECT u FROM added_members WHERE g = ?1";
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            let rows = statement.query_map([group.as_str()], |row| row.get(0));
            rows.map_err(StoreError::Statement)?.collect::<Result<_, _>>().map_err(StoreError::Statement)
        })
        .await
    }

    /// Where this group is at the provider, and how the connector came to it.
    pub(in crate::directory) async fn own(
        &self,
        okta: OktaGroupId,
    ) -> Result<Option<(ScimId, Origin)>, StoreError> {
        self.run(move |connection| {
            let sql = "SELECT scim, origin FROM groups WHERE okta = ?1";
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            let found =
                statement.query_row([okta.as_str()], row).optional().map_err(StoreError::Statement)?;
            Ok(found.map(|(scim, word)| (ScimId::from(scim), origin(&word))))
        })
        .await
    }

    /// Forgets a user at the provider.
    pub(in crate::directory) async fn disown_user(&self, okta: OktaUserId) -> Result<(), StoreError> {
        self.run(move |connection| {
            execute(connection, "DELETE FROM users WHERE okta = ?1", params![okta.as_str()])
        })
        .await
    }

    async fn change(
        &self,
        sql: &'static str,
        kind: Kind,
        id: &ScimId,
        texts: Option<[String; 2]>,
    ) -> Result<(), StoreError> {
        let id = id.clone();
        self.run(move |connection| match texts {
            Some([wanted, shown]) => {
                execute(connection, sql, params![word(kind), id.as_str(), wanted, shown])
            }
            None => execute(connection, sql, params![word(kind), id.as_str()]),
        })
        .await
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "user",
        Kind::Group => "group",
    }
}
