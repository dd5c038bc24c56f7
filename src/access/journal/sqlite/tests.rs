use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::access::journal::contract::{self, accepted, ended, entry, standing};
use crate::domain::GrantId;

fn owner() -> Owner {
    Owner {
        connector: "okta-connector".to_owned(),
        organizations: vec![("int".to_owned(), "https://example.okta.com".to_owned())],
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("below").join("state.db");
    let opened = || Arc::new(open(&path, &owner(), "test").unwrap()) as Arc<dyn Journal>;
    contract::check(&|| std::future::ready(opened()).boxed()).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[test]
fn a_second_opener_is_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let first = open(&path, &owner(), "pid 4711").unwrap();
    let error = open(&path, &owner(), "pid 4712").unwrap_err();
    assert!(matches!(&error, OpenError::InUse { by, .. } if by == "pid 4711"), "{error}");
    drop(first);
    assert!(open(&path, &owner(), "pid 4712").is_ok());
}

#[test]
fn anothers_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    drop(open(&path, &owner(), "test").unwrap());
    let mut other = owner();
    other.organizations[0].1 = "https://other.okta.com".to_owned();
    let error = open(&path, &other, "test").unwrap_err();
    assert!(matches!(error, OpenError::ForeignState { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("https://example.okta.com") && text.contains("https://other.okta.com"), "{text}");
    let mut renamed = owner();
    renamed.connector = "another".to_owned();
    assert!(matches!(open(&path, &renamed, "test"), Err(OpenError::ForeignState { .. })));
    let mut more = owner();
    more.organizations.push(("int2".to_owned(), "https://second.okta.com".to_owned()));
    assert!(open(&path, &more, "test").is_ok(), "an organization may be added");
}

#[test]
fn what_is_not_a_journal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    fs::write(&path, vec![b'x'; 4096]).unwrap();
    assert!(matches!(open(&path, &owner(), "test"), Err(OpenError::Damaged(_))));
    let newer = folder.path().join("newer.db");
    drop(open(&newer, &owner(), "test").unwrap());
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(open(&newer, &owner(), "test"), Err(OpenError::TooNew { found: 99, .. })));
}

fn grant(id: &str) -> Subject {
    Subject::Grant(GrantId::from(id))
}

/// With a small reserve: these tests open many.
fn open(path: &Path, owner: &Owner, whoami: &str) -> Result<SqliteJournal, OpenError> {
    SqliteJournal::open_with_reserve(path, owner, whoami, 4096)
}

/// A journal with an open and a closed grant, and with `more` entries of another that is closed; closed again.
async fn filled(path: &Path, more: usize) {
    let journal = open(path, &owner(), "test").unwrap();
    assert!(journal.open_entries().await.unwrap().is_empty());
    for (second, id) in ["open", "closed"].into_iter().enumerate() {
        let id = GrantId::from(id);
        let is_open = vec![standing(Subject::Grant(id.clone()), true)];
        journal.append(vec![entry(second.try_into().unwrap(), accepted(&id))], is_open).await.unwrap();
    }
    let is_closed = vec![standing(grant("closed"), false)];
    journal.append(vec![entry(9, ended(&GrantId::from("closed")))], is_closed).await.unwrap();
    if more > 0 {
        let is_closed = vec![standing(grant("more"), false)];
        journal.append(vec![entry(9, ended(&GrantId::from("more"))); more], is_closed).await.unwrap();
    }
}

/// What is said after `change` was done to a copy of the journal in `filled`.
async fn told_after(filled: &Path, change: &str) -> Vec<Result<usize, Flaw>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    for suffix in ["", ".mark", ".reserve"] {
        fs::copy(beside(filled, suffix), beside(&path, suffix)).unwrap();
    }
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(change).unwrap();
    drop(connection);
    let flaw = |damage: Damage| {
        let text = damage.to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("backup"), "{text}");
        damage.flaw
    };
    let journal = match open(&path, &owner(), "test") {
        Ok(journal) => journal,
        Err(OpenError::Damaged(damage)) => return vec![Err(flaw(damage))],
        Err(error) => panic!("{error}"),
    };
    let told = |result: Result<Vec<Entry>, JournalError>| match result {
        Ok(entries) => Ok(entries.len()),
        Err(JournalError::Damaged(damage)) => Err(flaw(damage)),
        Err(error) => panic!("{error}"),
    };
    vec![
        told(journal.open_entries().await),
        told(journal.history(&grant("open")).await),
        told(journal.history(&grant("closed")).await),
        told(journal.append(Vec::new(), vec![standing(grant("closed"), true)]).await.map(|()| Vec::new())),
    ]
}

#[tokio::test]
async fn a_row_that_was_changed_or_lost_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let few = folder.path().join("few.db");
    filled(&few, 0).await;
    let many = folder.path().join("many.db");
    filled(&many, 20).await;
    assert!(matches!(told_after(&few, "VACUUM").await[..], [Ok(1), Ok(1), Ok(2), Ok(0)]));
    for change in [
        "UPDATE entries SET record = replace(record, 'ada@', 'bob@') WHERE subject = 'grant:open'",
        "UPDATE entries SET at = '2026-01-01T00:00:01Z' WHERE subject = 'grant:open'",
        "UPDATE entries SET subject = 'grant:other' WHERE subject = 'grant:open'",
        "UPDATE entries SET seal = zeroblob(16) WHERE subject = 'grant:open'",
        "DELETE FROM entries WHERE subject = 'grant:open'",
    ] {
        // Few among many are looked up, many are read in a row.
        for journal in [&few, &many] {
            let told = told_after(journal, change).await;
            let [
                Err(Flaw::Entries { subject, sound: 0, expected: 1 }),
                Err(Flaw::Entries { .. }),
                Ok(2),
                Ok(0),
            ] = &told[..]
            else {
                panic!("{change}, {journal:?}: {told:?}");
            };
            assert_eq!(subject, "grant:open");
        }
    }
    // The last entry of a closed subject: found when it is looked up, and what is open goes on.
    let told = told_after(&few, "UPDATE entries SET record = record || ' ' WHERE seq = 3").await;
    assert!(
        matches!(told[..], [Ok(1), Ok(1), Err(Flaw::Entries { sound: 1, expected: 2, .. }), Ok(0)]),
        "{told:?}"
    );
    for change in ["UPDATE subjects SET open = 0", "UPDATE subjects SET entries = 7"] {
        let told = told_after(&few, change).await;
        assert!(matches!(told[0], Err(Flaw::Subject { .. })), "{change}: {told:?}");
    }
    for change in [
        "DELETE FROM subjects WHERE subject = 'grant:open'",
        "DELETE FROM subjects WHERE subject = 'grant:closed'",
        "DELETE FROM entries WHERE seq = 3",
        "INSERT INTO subjects SELECT 'grant:third', open, entries, last, seal FROM subjects LIMIT 1",
    ] {
        let told = told_after(&few, change).await;
        assert!(matches!(told[0], Err(Flaw::Totals | Flaw::Subject { .. })), "{change}: {told:?}");
    }
    for change in
        ["DELETE FROM totals", "UPDATE totals SET subjects = 1", "UPDATE totals SET sum = zeroblob(16)"]
    {
        let told = told_after(&few, change).await;
        assert!(matches!(told[..], [Err(Flaw::Totals)]), "{change}: {told:?}");
    }
    let told = told_after(&few, "UPDATE owner SET value = 'another' WHERE what = 'connector'").await;
    assert!(matches!(told[..], [Err(Flaw::Owner)]), "{told:?}");
    let told = told_after(&few, "UPDATE owner SET what = 'konnector' WHERE what = 'connector'").await;
    assert!(matches!(told[..], [Err(Flaw::Owner)]), "{told:?}");
    let told = told_after(&few, "PRAGMA user_version = 0").await;
    assert!(matches!(told[..], [Err(Flaw::Tables)]), "{told:?}");
}

#[tokio::test]
async fn a_file_that_is_lost_or_older_is_told_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    filled(&path, 0).await;
    let flaw = || match open(&path, &owner(), "test") {
        Err(OpenError::Damaged(damage)) => damage.flaw,
        other => panic!("{other:?}"),
    };

    let (older, newer) = (fs::read(&path).unwrap(), folder.path().join("newer"));
    let journal = open(&path, &owner(), "test").unwrap();
    journal.open_entries().await.unwrap();
    journal.append(vec![entry(9, ended(&GrantId::from("open")))], Vec::new()).await.unwrap();
    drop(journal);
    fs::rename(&path, &newer).unwrap();
    assert!(matches!(flaw(), Flaw::Gone));
    fs::write(&path, &older).unwrap();
    assert!(matches!(flaw(), Flaw::Behind { found: 3, confirmed: 4 }));
    assert_eq!(fs::read(&path).unwrap(), older);

    fs::rename(&newer, &path).unwrap();
    assert!(open(&path, &owner(), "test").is_ok());
    // Without its witness it is believed: that is how a person says that an older copy will do.
    fs::write(&path, &older).unwrap();
    fs::remove_file(beside(&path, ".mark")).unwrap();
    assert_eq!(open(&path, &owner(), "test").unwrap().open_entries().await.unwrap().len(), 1);
}
