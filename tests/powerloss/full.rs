//! A disk without room: what ends is recorded in the reserve, with what the audit trail has no room for; nothing new
//! begins, and with room all is as before.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use apono_connector::access::journal::{
    Entry, Journal, JournalError, Owner, Record, SqliteJournal, Standing,
};
use apono_connector::access::machine::{Ending, Event, Source};
use apono_connector::access::untold::TrailEvent;
use apono_connector::audit::{AuditRecord, Kind, MemberState};
use apono_connector::domain::{Grant, GrantId, IntegrationId, OktaGroupId, RequestContext, Revision};
use jiff::Timestamp;

use crate::writer::{self, wait};

/// Set in the process on the small disk.
const FOLDER: &str = "POWERLOSS_FULL";
/// How many ends are recorded while there is no room.
const ENDS: usize = 400;
/// A small disk.
const SPACE: u64 = 8 * 1024 * 1024;

/// Appends records; their subjects are open then, or not.
fn append(journal: &SqliteJournal, records: Vec<(Record, bool)>) -> Result<(), JournalError> {
    let standing = |(record, open): &(Record, bool)| Standing { subject: record.subject(), open: *open };
    let standing = records.iter().map(standing).collect();
    let at = Timestamp::UNIX_EPOCH;
    let entries = records.into_iter().map(|(record, _)| Entry { at, record }).collect();
    wait(journal.append(entries, standing))
}

fn begin(journal: &SqliteJournal, number: usize) -> Result<(), JournalError> {
    let grant = Grant {
        id: GrantId::from(format!("grt_{number}").as_str()),
        revision: Revision(1),
        integration: IntegrationId::from("int"),
        username: "ada@example.com".to_owned(),
        groups: [OktaGroupId::from("00g1")].into(),
        expires_at: None,
        request: None,
    };
    let event = Event::Accepted { grant: grant.clone(), by: Source::Task };
    append(journal, vec![(Record::Grant { id: grant.id, event }, true)])
}

fn end(journal: &SqliteJournal, number: usize) -> Result<(), JournalError> {
    let id = GrantId::from(format!("grt_{number}").as_str());
    let group = OktaGroupId::from("00g1");
    let untold = AuditRecord {
        kind: Kind::Removed,
        grant: id.clone(),
        revision: Revision(1),
        integration: IntegrationId::from("int"),
        username: "ada@example.com".to_owned(),
        user: None,
        group: group.clone(),
        expires_at: None,
        request: RequestContext::default(),
        code: Some("revoked".into()),
        detail: Some("Apono revoked it".to_owned()),
        verified: Some(true),
        before: MemberState::Member,
        after: MemberState::NotMember,
        okta_request_ids: Vec::new(),
    };
    let event = Event::Ended { group, how: Ending::Revoked, okta_request_ids: Vec::new() };
    let untold = TrailEvent::Untold { happened: Timestamp::UNIX_EPOCH, records: vec![untold] };
    append(journal, vec![(Record::Grant { id, event }, false), (trail(untold), true)])
}

fn trail(event: TrailEvent) -> Record {
    Record::Trail { since: Timestamp::UNIX_EPOCH, event }
}

fn open(folder: &Path) -> SqliteJournal {
    let owner = Owner { connector: "okta-connector".to_owned(), organizations: Vec::new() };
    SqliteJournal::open(&writer::state_in(folder), &owner, "the process on a small disk").unwrap()
}

/// Takes all the room there is.
fn fill(folder: &Path) {
    let mut hog = File::create(folder.join("hog")).unwrap();
    for size in [64 * 1024, 512, 1] {
        loop {
            match hog.write_all(&vec![1; size]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn is_full(result: &Result<(), JournalError>) -> bool {
    matches!(result, Err(JournalError::Full { .. }))
}

/// Not a test of its own: the process on the small disk. It works on a real one as well: mount a `tmpfs` of eight MiB and
/// name a folder there in `POWERLOSS_FULL`.
#[test]
#[ignore = "run by the other test, with a small disk"]
fn the_process_on_a_small_disk() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let reserve = folder.join("state.db.reserve");
    let journal = open(&folder);
    let open_entries = |journal: &SqliteJournal| wait(journal.open_entries()).unwrap().len();
    assert_eq!(open_entries(&journal), 0);
    for number in 0..ENDS {
        begin(&journal, number).unwrap();
    }
    drop(journal);

    // A restart on a full disk; what is there is read, nothing is begun, what ends is recorded.
    fill(&folder);
    let journal = open(&folder);
    assert_eq!(open_entries(&journal), ENDS);
    assert!(is_full(&begin(&journal, ENDS)));
    assert!(reserve.exists(), "an addition does not cost the reserve");
    assert!(is_full(&wait(journal.prove())));
    for number in 0..ENDS / 2 {
        end(&journal, number).unwrap();
    }
    assert!(!reserve.exists(), "it was needed");
    assert!(is_full(&begin(&journal, ENDS)), "there is room for it, but that is for ends");
    assert!(is_full(&wait(journal.prove())));
    drop(journal);

    // Again, now without a reserve.
    let journal = open(&folder);
    assert_eq!(
        open_entries(&journal),
        ENDS / 2 + ENDS / 2,
        "what is left, and what was not told of the rest"
    );
    for number in ENDS / 2..ENDS {
        end(&journal, number).unwrap();
    }
    assert!(is_full(&begin(&journal, ENDS)));
    append(&journal, vec![(trail(TrailEvent::Told), false)]).unwrap();

    fs::remove_file(folder.join("hog")).unwrap();
    assert!(is_full(&begin(&journal, ENDS)), "not before the reserve is there again");
    wait(journal.prove()).unwrap();
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 4 * 1024 * 1024);
    begin(&journal, ENDS).unwrap();
    drop(journal);
    assert_eq!(open_entries(&open(&folder)), 1);
}

#[test]
fn on_a_full_disk_ends_are_recorded_and_nothing_begins() {
    let place = writer::folder();
    let folder = place.path().join("small");
    fs::create_dir_all(&folder).unwrap();
    let mut command = writer::other_process(&folder, "full::the_process_on_a_small_disk");
    command.env(FOLDER, &folder).env("SHIM_SPACE", SPACE.to_string());
    writer::finish(&mut command);
    assert!(folder.with_extension("trace").exists(), "the shim was loaded");
}
