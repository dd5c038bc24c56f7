//! # Purpose
//! The store's part in a fleet: what has changed of what is ours and is not yet in the fleet's database, under which epoch
//! the store was last true, and how it is made anew from that database.
//!
//! # Invariants kept here
//! - A change of what is ours and the note of it are in one transaction (triggers); a note goes when its change was shipped.
//! - A store that is being made anew is true under no epoch, whatever interrupts that.
//! - What was not shipped survives that too: it is added where the database has nothing else.
//! - Outside of a fleet there is none of this.
//!
//! # Not here
//! The database, and who owns an organization: `directory::mirror`.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::provider::in_transaction;
use super::source::{execute, mark, marked, unmark};
use super::{Store, StoreError};

/// Something that is ours at the provider, or that the breaker remembers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Belonging {
    /// `user`, `group`, `member` or `mark`.
    pub kind: String,
    /// Okta's id; of a member, the provider's of the group.
    pub id: String,
    /// Of a member, the provider's id of the user.
    pub part: String,
    /// The provider's id.
    pub value: String,
    /// `created` or `adopted`.
    pub origin: Option<String>,
}

/// It has come to be ours, or is no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number; later ones have greater ones.
    pub n: i64,
    /// What it is about.
    pub belonging: Belonging,
    /// Whether it is no longer ours.
    pub gone: bool,
}

/// What the store knows of its sharing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// The store's own name, made once.
    pub store: String,
    /// The epoch under which it was last true.
    pub epoch: Option<i64>,
    /// The last change that was shipped.
    pub shipped: i64,
    /// The last change.
    pub last: i64,
}

/// The mark of the store's own name.
const STORE: &str = "store";
/// The mark of the epoch under which it was last true.
const EPOCH: &str = "true_under";

const CHANGES: &str = "
    -- gone: nothing of it is ours any more. Numbers are never given twice.
    CREATE TABLE IF NOT EXISTS own_changes (n INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL,
        part TEXT NOT NULL DEFAULT '', value TEXT NOT NULL DEFAULT '', origin TEXT, gone INTEGER NOT NULL DEFAULT 0);
";

/// An insertion that replaces fires no trigger for what it replaces: who had the provider's id before is noted with it.
const TRIGGERS: &str = "
    CREATE TRIGGER IF NOT EXISTS own_user_came BEFORE INSERT ON users BEGIN
        INSERT INTO own_changes (kind, id, value, origin) VALUES ('user', new.okta, new.scim, new.origin);
        INSERT INTO own_changes (kind, id, gone) SELECT 'user', okta, 1 FROM users WHERE scim = new.scim AND okta <> new.okta;
    END;
    CREATE TRIGGER IF NOT EXISTS own_user_went AFTER DELETE ON users BEGIN
        INSERT INTO own_changes (kind, id, gone) VALUES ('user', old.okta, 1);
    END;
    CREATE TRIGGER IF NOT EXISTS own_group_came BEFORE INSERT ON groups BEGIN
        INSERT INTO own_changes (kind, id, value, origin) VALUES ('group', new.okta, new.scim, new.origin);
        INSERT INTO own_changes (kind, id, gone) SELECT 'group', okta, 1 FROM groups WHERE scim = new.scim AND okta <> new.okta;
    END;
    CREATE TRIGGER IF NOT EXISTS own_group_went AFTER DELETE ON groups BEGIN
        INSERT INTO own_changes (kind, id, gone) VALUES ('group', old.okta, 1);
    END;
    CREATE TRIGGER IF NOT EXISTS own_member_came AFTER INSERT ON added_members BEGIN
        INSERT INTO own_changes (kind, id, part) VALUES ('member', new.g, new.u);
    END;
    CREATE TRIGGER IF NOT EXISTS own_member_went AFTER DELETE ON added_members BEGIN
        INSERT INTO own_changes (kind, id, part, gone) VALUES ('member', old.g, old.u, 1);
    END;
    CREATE TRIGGER IF NOT EXISTS own_mark_came AFTER INSERT ON marks WHEN new.what IN ('accepted', 'approved') BEGIN
        INSERT INTO own_changes (kind, id, value) VALUES ('mark', new.what, new.value);
    END;
    CREATE TRIGGER IF NOT EXISTS own_mark_went AFTER DELETE ON marks WHEN old.what IN ('accepted', 'approved') BEGIN
        INSERT INTO own_changes (kind, id, gone) VALUES ('mark', old.what, 1);
    END;
";

const NO_TRIGGERS: &str = "
    DROP TRIGGER IF EXISTS own_user_came; DROP TRIGGER IF EXISTS own_user_went;
    DROP TRIGGER IF EXISTS own_group_came; DROP TRIGGER IF EXISTS own_group_went;
    DROP TRIGGER IF EXISTS own_member_came; DROP TRIGGER IF EXISTS own_member_went;
    DROP TRIGGER IF EXISTS own_mark_came; DROP TRIGGER IF EXISTS own_mark_went;
";

/// Everything is noted as if it had changed.
const EVERYTHING: &str = "
    DELETE FROM own_changes;
    INSERT INTO own_changes (kind, id, value, origin) SELECT 'user', okta, scim, origin FROM users;
    INSERT INTO own_changes (kind, id, value, origin) SELECT 'group', okta, scim, origin FROM groups;
    INSERT INTO own_changes (kind, id, part) SELECT 'member', g, u FROM added_members;
    INSERT INTO own_changes (kind, id, value) SELECT 'mark', what, value FROM marks WHERE what IN ('accepted', 'approved');
";

/// The store of somebody who has run nothing yet. A run's number is kept: what a run that was cut off has left is not
/// taken for what the next one has seen.
const EMPTY: &str = "
    DELETE FROM people; DELETE FROM source_users; DELETE FROM source_groups; DELETE FROM source_members;
    DELETE FROM staged_members; DELETE FROM left_out; DELETE FROM spared; DELETE FROM walks;
    DELETE FROM provider_users; DELETE FROM provider_groups; DELETE FROM provider_members;
    DELETE FROM user_pairs; DELETE FROM group_pairs; DELETE FROM operations;
    DELETE FROM users; DELETE FROM groups; DELETE FROM added_members;
    DELETE FROM unkept; DELETE FROM provider_versions; DELETE FROM quirks; DELETE FROM failing; DELETE FROM listed;
    DELETE FROM unsettled_users; DELETE FROM unsettled_groups; DELETE FROM group_sizes; DELETE FROM leavers;
    DELETE FROM marks WHERE what NOT IN ('generation', 'store');
";

impl Store {
    /// Begins to note what changes, while the connector starts. A store that was never shared notes all that it has; `name`
    /// is its name then.
    pub fn share_at_start(&self, name: &str) -> Result<(), StoreError> {
        self.at_start(|connection| {
            in_transaction(connection, |connection| {
                batch(connection, &[CHANGES, TRIGGERS].concat())?;
                if marked(connection, STORE)?.is_none() {
                    batch(connection, EVERYTHING)?;
                    mark(connection, STORE, name)?;
                }
                Ok(())
            })
        })
    }

    /// Ends it: nobody else has anything to do with this store. When it is shared again, it is as if it never was.
    pub fn keep_to_itself_at_start(&self) -> Result<(), StoreError> {
        self.at_start(|connection| {
            in_transaction(connection, |connection| {
                if marked(connection, STORE)?.is_none() {
                    return Ok(());
                }
                batch(connection, NO_TRIGGERS)?;
                unmark(connection, STORE)?;
                unmark(connection, EPOCH)?;
                batch(connection, "DROP TABLE IF EXISTS own_changes")
            })
        })
    }

    /// What it knows of its sharing.
    pub async fn sharing(&self) -> Result<Sharing, StoreError> {
        self.run(|connection| sharing(connection)).await
    }

    /// From now on the store is true under this epoch.
    pub async fn be_true_under(&self, epoch: i64) -> Result<Sharing, StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                mark(connection, EPOCH, &epoch.to_string())?;
                sharing(connection)
            })
        })
        .await
    }

    /// Notes everything as if it had changed, so that all of it is shipped.
    pub async fn note_everything(&self) -> Result<(), StoreError> {
        self.run(|connection| in_transaction(connection, |connection| batch(connection, EVERYTHING))).await
    }

    /// The first changes that were not shipped, in order; at most `limit`.
    pub async fn changes(&self, limit: u32) -> Result<Vec<Change>, StoreError> {
        self.run(move |connection| {
            let sql = "SELECT n, kind, id, part, value, origin, gone FROM own_changes ORDER BY n LIMIT ?1";
            let mut statement = connection.prepare_cached(sql).map_err(StoreError::Statement)?;
            let row = |row: &rusqlite::Row<'_>| {
                let belonging = Belonging {
                    kind: row.get(1)?,
                    id: row.get(2)?,
                    part: row.get(3)?,
                    value: row.get(4)?,
                    origin: row.get(5)?,
                };
                Ok(Change { n: row.get(0)?, belonging, gone: row.get(6)? })
            };
            let rows = statement.query_map([limit], row).map_err(StoreError::Statement)?;
            rows.collect::<Result<_, _>>().map_err(StoreError::Statement)
        })
        .await
    }

    /// These changes, up to this one, were shipped.
    pub async fn were_shipped(&self, to: i64) -> Result<(), StoreError> {
        self.run(move |connection| execute(connection, "DELETE FROM own_changes WHERE n <= ?1", [to])).await
    }

    /// Begins to make the store anew: it is empty, and true under no epoch.
    pub async fn begin_anew_from_the_fleet(&self) -> Result<(), StoreError> {
        self.run(|connection| {
            in_transaction(connection, |connection| batch(connection, &[NO_TRIGGERS, EMPTY].concat()))
        })
        .await
    }

    /// Takes in what is ours as the database has it.
    pub async fn take_belongings(&self, belongings: Vec<Belonging>) -> Result<(), StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                belongings.iter().try_for_each(|belonging| put(connection, belonging))
            })
        })
        .await
    }

    /// All was taken in: what was not shipped is added to it, and noted to be shipped, where there is nothing else in its
    /// place. From now on the store is true under this epoch.
    pub async fn end_anew_from_the_fleet(&self, epoch: i64) -> Result<Sharing, StoreError> {
        self.run(move |connection| {
            in_transaction(connection, |connection| {
                let rest = "
                    CREATE TEMP TABLE rest AS SELECT max(n) AS n, kind, id, part, value, origin, gone
                        FROM own_changes GROUP BY kind, id, part;
                    DELETE FROM own_changes; DELETE FROM temp.rest WHERE gone;";
                let add = "
                    INSERT INTO users (okta, scim, origin) SELECT id, value, origin FROM temp.rest r WHERE kind = 'user'
                        AND NOT EXISTS (SELECT 1 FROM users u WHERE u.okta = r.id OR u.scim = r.value) GROUP BY value;
                    INSERT INTO groups (okta, scim, origin) SELECT id, value, origin FROM temp.rest r WHERE kind = 'group'
                        AND NOT EXISTS (SELECT 1 FROM groups g WHERE g.okta = r.id OR g.scim = r.value) GROUP BY value;
                    INSERT OR IGNORE INTO added_members (g, u) SELECT id, part FROM temp.rest WHERE kind = 'member';
                    DROP TABLE temp.rest;";
                batch(connection, &[rest, TRIGGERS, add].concat())?;
                mark(connection, EPOCH, &epoch.to_string())?;
                sharing(connection)
            })
        })
        .await
    }
}

fn sharing(connection: &Connection) -> Result<Sharing, StoreError> {
    let number =
        |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(StoreError::Statement);
    let last = number("SELECT ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'own_changes'), 0)")?;
    let waiting = number("SELECT ifnull((SELECT min(n) FROM own_changes), 0)")?;
    Ok(Sharing {
        store: marked(connection, STORE)?.unwrap_or_default(),
        epoch: marked(connection, EPOCH)?.and_then(|text| text.parse().ok()),
        shipped: if waiting == 0 { last } else { waiting - 1 },
        last,
    })
}

fn put(connection: &Connection, belonging: &Belonging) -> Result<(), StoreError> {
    let Belonging { kind, id, part, value, origin } = belonging;
    let origin = origin.as_deref().unwrap_or_default();
    match kind.as_str() {
        "user" => {
            let sql = "INSERT OR REPLACE INTO users (okta, scim, origin) VALUES (?1, ?2, ?3)";
            execute(connection, sql, params![id, value, origin])
        }
        "group" => {
            let sql = "INSERT OR REPLACE INTO groups (okta, scim, origin) VALUES (?1, ?2, ?3)";
            execute(connection, sql, params![id, value, origin])
        }
        "member" => {
            let sql = "INSERT OR REPLACE INTO added_members (g, u) VALUES (?1, ?2)";
            execute(connection, sql, params![id, part])
        }
        "mark" => mark(connection, id, value),
        // Of a later version, which has a use for it.
        _ => Ok(()),
    }
}

fn batch(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    connection.execute_batch(sql).map_err(StoreError::Statement)
}

/// What is left of some changes when each has been made: for each thing its last.
pub(in crate::directory) fn outcome(changes: Vec<Change>) -> BTreeMap<(String, String, String), Change> {
    let key = |change: &Change| {
        let Belonging { kind, id, part, .. } = &change.belonging;
        (kind.clone(), id.clone(), part.clone())
    };
    changes.into_iter().map(|change| (key(&change), change)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::{Between, Reach};
    use super::*;
    use crate::directory::plan::Origin;
    use crate::domain::{OktaGroupId, OktaUserId, ScimId};

    fn open(folder: &Path) -> Store {
        let between = Between { organization: "o".to_owned(), provider: "p".to_owned() };
        Store::open(&folder.join("directory.db"), &between).unwrap()
    }

    async fn own(store: &Store, okta: &str, scim: &str) {
        store.own_user(OktaUserId::from(okta), ScimId::from(scim), Origin::Created).await.unwrap();
    }

    /// What somebody has who has taken in all changes so far.
    async fn shipped(store: &Store) -> Vec<(String, String, String, String)> {
        let changes = outcome(store.changes(1000).await.unwrap());
        let there = changes.into_values().filter(|change| !change.gone);
        let mut there: Vec<_> = there
            .map(|Change { belonging: Belonging { kind, id, part, value, .. }, .. }| (kind, id, part, value))
            .collect();
        there.sort();
        there
    }

    async fn owned(store: &Store) -> Vec<(String, String, String)> {
        let read = |connection: &mut Connection| {
            let sql = "SELECT okta, scim, origin FROM users ORDER BY okta";
            let mut statement = connection.prepare(sql).map_err(StoreError::Statement)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
            rows.map_err(StoreError::Statement)?.collect::<Result<_, _>>().map_err(StoreError::Statement)
        };
        store.run(read).await.unwrap()
    }

    fn row(kind: &str, id: &str, part: &str, value: &str) -> (String, String, String, String) {
        (kind.to_owned(), id.to_owned(), part.to_owned(), value.to_owned())
    }

    fn user(okta: &str, scim: &str, origin: &str) -> Belonging {
        Belonging {
            kind: "user".to_owned(),
            id: okta.to_owned(),
            part: String::new(),
            value: scim.to_owned(),
            origin: Some(origin.to_owned()),
        }
    }

    #[tokio::test]
    async fn what_was_there_before_and_every_change_is_noted_once_it_is_shared() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        own(&store, "00u1", "s1").await;
        store.share_at_start("a").unwrap();
        own(&store, "00u2", "s2").await;
        // The object of one who has left goes to another.
        own(&store, "00u3", "s1").await;
        let group = OktaGroupId::from("00g1");
        store.own_group(group.clone(), ScimId::from("g1"), Origin::Adopted).await.unwrap();
        store.note_added(ScimId::from("g1"), ["s1", "s2"].map(ScimId::from).to_vec()).await.unwrap();
        store.note_removed(ScimId::from("g1"), vec![ScimId::from("s2")]).await.unwrap();
        store.approve("hash".to_owned()).await.unwrap();
        let expected = [
            row("group", "00g1", "", "g1"),
            row("mark", "approved", "", "hash"),
            row("member", "g1", "s1", ""),
            row("user", "00u2", "", "s2"),
            row("user", "00u3", "", "s1"),
        ];
        assert_eq!(shipped(&store).await, expected);

        store.disown_group(group, ScimId::from("g1")).await.unwrap();
        store.disown_user(OktaUserId::from("00u2")).await.unwrap();
        assert_eq!(
            shipped(&store).await,
            [row("mark", "approved", "", "hash"), row("user", "00u3", "", "s1")]
        );
        store.close().await;
        let store = open(folder.path());
        store.share_at_start("b").unwrap();
        assert_eq!(store.sharing().await.unwrap().store, "a", "its name is its own");
    }

    #[tokio::test]
    async fn what_was_shipped_is_not_shipped_again_and_no_number_is_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.share_at_start("a").unwrap();
        own(&store, "00u1", "s1").await;
        own(&store, "00u2", "s2").await;
        let sharing = store.sharing().await.unwrap();
        assert_eq!((sharing.epoch, sharing.shipped, sharing.last), (None, 0, 2));
        store.were_shipped(2).await.unwrap();
        assert_eq!(store.be_true_under(7).await.unwrap().shipped, 2);
        own(&store, "00u3", "s3").await;
        let sharing = store.sharing().await.unwrap();
        assert_eq!((sharing.epoch, sharing.shipped, sharing.last), (Some(7), 2, 3));
        assert_eq!(store.changes(10).await.unwrap()[0].n, 3);
    }

    #[tokio::test]
    async fn a_store_made_anew_is_what_the_fleet_has_and_what_this_one_never_shipped() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.share_at_start("a").unwrap();
        own(&store, "00u1", "s1").await;
        store.were_shipped(1).await.unwrap();
        // Created right before the end, and not shipped.
        for (okta, scim) in [("00u2", "s2"), ("00u3", "s3"), ("00u4", "s4"), ("00u5", "s5")] {
            own(&store, okta, scim).await;
        }
        store.disown_user(OktaUserId::from("00u5")).await.unwrap();
        let run = store.begin(
            Reach::Everything,
            "2026-01-01T00:00:00Z".parse().unwrap(),
            "f".to_owned(),
            BTreeSet::new(),
        );
        let before = run.await.unwrap();
        store.finish(before, true, "f".to_owned(), BTreeSet::new()).await.unwrap();
        assert!(store.everything_at().await.unwrap().is_some());

        store.begin_anew_from_the_fleet().await.unwrap();
        store.take_belongings(vec![user("00u9", "s9", "created")]).await.unwrap();
        store.close().await;
        // Cut off in the middle: it is begun again.
        let store = open(folder.path());
        store.share_at_start("x").unwrap();
        assert_eq!(store.sharing().await.unwrap().epoch, None);
        store.begin_anew_from_the_fleet().await.unwrap();
        let fleet = vec![user("00u3", "s30", "adopted"), user("00u7", "s4", "created")];
        store.take_belongings(fleet).await.unwrap();
        let sharing = store.end_anew_from_the_fleet(4).await.unwrap();
        assert_eq!((sharing.store.as_str(), sharing.epoch), ("a", Some(4)));
        let owner =
            |okta: &str, scim: &str, origin: &str| (okta.to_owned(), scim.to_owned(), origin.to_owned());
        let expected =
            [owner("00u2", "s2", "created"), owner("00u3", "s30", "adopted"), owner("00u7", "s4", "created")];
        assert_eq!(owned(&store).await, expected);
        assert_eq!(shipped(&store).await, [row("user", "00u2", "", "s2")], "the rest is there");
        assert_eq!(store.everything_at().await.unwrap(), None);
        assert_eq!(store.provider_read_at().await.unwrap(), None);
        let run = store.begin(
            Reach::Changes,
            "2026-01-01T00:00:00Z".parse().unwrap(),
            "f".to_owned(),
            BTreeSet::new(),
        );
        let run = run.await.unwrap();
        assert_eq!((run.reach, run.resumed), (Reach::Everything, false));
        assert!(run.generation > before.generation);
    }

    #[tokio::test]
    async fn outside_of_a_fleet_nothing_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        store.keep_to_itself_at_start().unwrap();
        own(&store, "00u1", "s1").await;
        store.share_at_start("a").unwrap();
        store.be_true_under(3).await.unwrap();
        store.keep_to_itself_at_start().unwrap();
        own(&store, "00u2", "s2").await;
        store.share_at_start("b").unwrap();
        let sharing = store.sharing().await.unwrap();
        assert_eq!(
            (sharing.store.as_str(), sharing.epoch),
            ("b", None),
            "what changed meanwhile nobody has noted"
        );
        assert_eq!(shipped(&store).await.len(), 2);
    }
}
