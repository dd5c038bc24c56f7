//! # Purpose
//! Crashes, full disks, two processes and logrotate at the wrong moment.
//!
//! # Invariants kept here
//! - After each of them the trail is whole again, or says why not.
//!
//! # Not here
//! Losses of power: `tests/powerloss`.

use std::os::unix::fs::symlink;

use super::*;

fn names(place: &Place, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(place.folder.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

/// As a kill in the middle of a write.
fn tear(path: &Path) {
    File::options().append(true).open(path).unwrap().write_all(b"{\"seq\":3,\"prev").unwrap();
}

/// As a disk with some room in the last block of the file, and none elsewhere.
fn little_room(file: &mut File, batch: &[u8]) -> io::Result<()> {
    if batch.len() > 1_500 { half(file, batch) } else { write_and_sync(file, batch) }
}

#[tokio::test]
async fn a_rotation_without_its_head_is_put_off_and_costs_no_record() {
    let place = Place::new();
    let trail = place.open().await;
    trail.append(batch(&[Added], 1)).await.unwrap();
    trail.prove(instant(1)).await.unwrap();
    trail.lock().rotate_at = 1;
    let head = place.hide_head();
    let failed = trail.append(batch(&[Removed], 2)).await;
    assert!(matches!(failed, Err(AuditError::Head { .. })), "{failed:?}");
    assert_eq!(names(&place, "-3.jsonl"), Vec::<String>::new());
    place.put_head(&head);
    trail.append(batch(&[Removed], 3)).await.unwrap();
    drop(trail);
    place.open().await;
    assert_eq!(kinds(&place.path()), ["begun", "added", "checkpoint", "removed"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn a_rotation_that_fails_and_cannot_be_taken_back_stops_the_trail() {
    let place = Place::new();
    let trail = place.open().await.rotating_at(1);
    let stuck = |file: &mut File, batch: &[u8]| {
        let failed = half_and_stuck(file, batch);
        assert!(batch.windows(10).any(|part| part == b"checkpoint"), "nothing is written after it");
        failed
    };
    trail.lock().write = stuck;
    let failed = trail.append(batch(&[Added], 1)).await;
    assert!(matches!(failed, Err(AuditError::Write { .. })), "{failed:?}");
    drop(trail);
    place.open().await;
    assert_eq!(kinds(&place.path()), ["begun", "recovered"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn lines_after_a_rotation_that_the_head_does_not_know_of_stay() {
    let place = Place::new();
    let trail = place.open().await.rotating_at(2_500);
    trail.append(batch(&[Added; 3], 1)).await.unwrap();
    let head = fs::read(place.beside("audit.jsonl.head")).unwrap();
    trail.append(batch(&[Removed], 2)).await.unwrap();
    drop(trail);
    assert_eq!(kinds(&place.path()), ["continued", "removed"]);
    fs::write(place.beside("audit.jsonl.head"), head).unwrap();
    place.open().await;
    assert_eq!(kinds(&place.path()), ["continued", "removed"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn the_first_lines_of_a_file_that_a_loss_of_power_has_spoilt_are_torn() {
    let place = Place::new();
    let trail = place.open().await.rotating_at(2_500);
    trail.append(batch(&[Added; 3], 1)).await.unwrap();
    trail.append(batch(&[Removed], 2)).await.unwrap();
    drop(trail);
    let end = files::last_claim(&place.beside("audit-1-5.jsonl")).unwrap().unwrap().link;
    head::replace(&Paths::new(&place.path()), &end).unwrap();
    let mut text = fs::read(place.path()).unwrap();
    text[..512].fill(0);
    fs::write(place.path(), text).unwrap();
    place.open().await;
    assert_eq!(kinds(&place.path()), ["continued", "recovered"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn lines_that_a_killed_process_left_are_synced_before_the_head_knows_them() {
    let place = Place::new();
    let trail = place.open().await;
    let before = fs::read(place.beside("audit.jsonl.head")).unwrap();
    trail.append(batch(&[Added], 1)).await.unwrap();
    drop(trail);
    fs::write(place.beside("audit.jsonl.head"), &before).unwrap();
    let trail = AuditTrail::new(&place.path(), connector());
    trail.lock().sync = |_| Err(io::Error::from(io::ErrorKind::StorageFull));
    let failed = trail.prove(instant(2)).await;
    assert!(matches!(failed, Err(AuditError::Open { .. })), "{failed:?}");
    assert_eq!(fs::read(place.beside("audit.jsonl.head")).unwrap(), before);
    trail.lock().sync = File::sync_data;
    trail.append(batch(&[Removed], 3)).await.unwrap();
    assert_eq!(kinds(&place.path()), ["begun", "added", "removed"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn a_second_process_is_told_whose_the_trail_is_and_goes_on_when_it_is_free() {
    let place = Place::new();
    let first = place.open().await;
    let second = AuditTrail::new(&place.path(), connector());
    for second in [second.append(batch(&[Added], 1)).await, second.prove(instant(1)).await] {
        let Err(error @ AuditError::InUse { .. }) = second else {
            panic!("{second:?}");
        };
        let said = error.to_string();
        assert!(said.contains(place.path().to_str().unwrap()) && said.contains("audit.file"), "{said}");
    }
    first.append(batch(&[AdditionIntended], 1)).await.unwrap();
    drop(first);
    second.append(batch(&[Removed], 2)).await.unwrap();
    assert_eq!(kinds(&place.path()), ["begun", "addition_intended", "removed"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn what_is_torn_in_a_file_that_was_renamed_before_the_start_is_moved_aside() {
    for creates in [false, true] {
        let place = Place::new();
        place.open().await.append(batch(&[Added], 1)).await.unwrap();
        tear(&place.path());
        fs::rename(place.path(), place.beside("audit.jsonl.1")).unwrap();
        if creates {
            fs::write(place.path(), b"").unwrap();
        }
        let report = verify(&place.path(), 0).unwrap();
        assert!(report.is_whole() && report.torn == 14, "{report:?}");
        place.open().await;
        assert_eq!(kinds(&place.path()), ["continued", "recovered"]);
        let told = &lines(&place.path())[1]["unmapped"]["torn"][0];
        assert_eq!((&told["bytes"], &told["file"]), (&14.into(), &"audit.jsonl.after-2.torn".into()));
        assert_eq!(fs::read(place.beside("audit.jsonl.after-2.torn")).unwrap(), b"{\"seq\":3,\"prev");
        assert!(place.is_whole());
    }
}

#[tokio::test]
async fn lines_that_do_not_fit_in_a_renamed_file_are_moved_aside_too() {
    let place = Place::new();
    let trail = place.open().await;
    trail.append(batch(&[Added], 1)).await.unwrap();
    let head = fs::read(place.beside("audit.jsonl.head")).unwrap();
    trail.append(batch(&[AdditionIntended, Removed], 2)).await.unwrap();
    drop(trail);
    // Of the last batch the disk has the second line and not the first.
    fs::write(place.beside("audit.jsonl.head"), head).unwrap();
    let text = fs::read_to_string(place.path()).unwrap();
    let mut lines: Vec<_> = text.split_inclusive('\n').map(str::to_owned).collect();
    lines[2] = format!("{}\n", "\0".repeat(lines[2].len() - 1));
    fs::write(place.path(), lines.concat()).unwrap();
    fs::rename(place.path(), place.beside("audit.jsonl.1")).unwrap();
    place.open().await;
    assert_eq!(kinds(&place.beside("audit.jsonl.1")), ["begun", "added"]);
    assert_eq!(kinds(&place.path()), ["continued", "recovered"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn a_try_to_move_aside_that_fails_leaves_no_file_and_names_the_full_disk() {
    let place = Place::new();
    place.open().await.append(batch(&[Added], 1)).await.unwrap();
    tear(&place.path());
    let before = fs::read(place.path()).unwrap();
    let trail = AuditTrail::new(&place.path(), connector());
    for _ in 0..3 {
        // A disk without room.
        symlink("/dev/full", place.beside("audit.jsonl.torn.new")).unwrap();
        let Err(error @ AuditError::Aside { .. }) = trail.prove(instant(2)).await else {
            panic!("it was moved aside");
        };
        assert!(error.to_string().contains("the disk is full"), "{error}");
        for ending in [".new", ".torn", ".untold"] {
            assert_eq!(names(&place, ending), Vec::<String>::new());
        }
        assert_eq!(fs::read(place.path()).unwrap(), before);
    }
    trail.prove(instant(3)).await.unwrap();
    assert_eq!(kinds(&place.path()), ["begun", "added", "recovered"]);
    assert_eq!(names(&place, ".torn"), ["audit.jsonl.after-2.torn"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn a_crash_between_moving_aside_and_telling_is_told_of_too() {
    let place = Place::new();
    place.open().await.append(batch(&[Added], 1)).await.unwrap();
    fs::write(place.beside("audit.jsonl.after-2.torn.untold"), b"{\"seq").unwrap();
    // And the telling is torn as well.
    tear(&place.path());
    place.open().await;
    assert_eq!(kinds(&place.path()), ["begun", "added", "recovered"]);
    let told = &lines(&place.path())[2]["unmapped"]["torn"];
    assert_eq!((told[0]["bytes"].as_u64(), told[1]["bytes"].as_u64()), (Some(14), Some(5)));
    let files = ["audit.jsonl.after-2.2.torn", "audit.jsonl.after-2.torn"];
    assert_eq!(names(&place, ".torn"), files);
    assert_eq!((&told[0]["file"], &told[1]["file"]), (&files[0].into(), &files[1].into()));
    assert!(place.is_whole());
    // A crash after the telling: it only gets its name.
    fs::rename(place.beside(files[1]), place.beside("audit.jsonl.after-2.torn.untold")).unwrap();
    place.open().await;
    assert_eq!(kinds(&place.path()), ["begun", "added", "recovered"]);
    assert_eq!(names(&place, ".torn"), files);
}

#[tokio::test]
async fn what_an_earlier_trail_has_told_of_is_not_told_again() {
    let place = Place::new();
    fs::write(place.beside("audit.jsonl.after-2.torn"), b"{\"seq").unwrap();
    place.open().await.append(batch(&[Added], 1)).await.unwrap();
    place.open().await;
    assert_eq!(kinds(&place.path()), ["begun", "added"]);
    tear(&place.path());
    place.open().await;
    let told = &lines(&place.path())[2]["unmapped"]["torn"];
    assert_eq!((told.as_array().unwrap().len(), &told[0]["bytes"]), (1, &14.into()));
    assert_eq!(told[0]["file"], "audit.jsonl.after-2.2.torn");
    assert!(place.is_whole());
}

#[tokio::test]
async fn after_a_refusal_the_trail_works_when_it_has_taken_as_much() {
    let place = Place::new();
    let trail = place.open().await;
    trail.lock().write = little_room;
    assert!(trail.append(batch(&[Added, Removed], 1)).await.is_err());
    for second in 2..4 {
        let proven = trail.prove(instant(second)).await;
        assert!(matches!(proven, Err(AuditError::Write { .. })), "{proven:?}");
    }
    assert_eq!(kinds(&place.path()), ["begun"]);
    trail.lock().write = write_and_sync;
    trail.prove(instant(4)).await.unwrap();
    let told = kinds(&place.path());
    assert!(told.len() > 2 && told[1..].iter().all(|kind| kind == "checkpoint"), "{told:?}");
    // Once is enough.
    trail.prove(instant(5)).await.unwrap();
    assert_eq!(kinds(&place.path()), told);
    trail.append(batch(&[Added, Removed], 6)).await.unwrap();
    assert!(place.is_whole());
}

#[tokio::test]
async fn a_file_that_is_renamed_while_nothing_happens_is_followed_by_one_with_a_line() {
    let place = Place::new();
    let trail = place.open().await;
    trail.append(batch(&[Added], 1)).await.unwrap();
    fs::rename(place.path(), place.beside("audit.jsonl.1")).unwrap();
    trail.prove(instant(2)).await.unwrap();
    assert_eq!(kinds(&place.path()), ["continued"]);
    assert!(place.is_whole());
    trail.append(batch(&[Removed], 3)).await.unwrap();
    assert_eq!(kinds(&place.path()), ["continued", "removed"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn the_head_is_durable_at_the_next_batch_and_lags_by_one_at_most() {
    let place = Place::new();
    let trail = place.open().await;
    let is_behind = || trail.lock().open.as_ref().unwrap().is_head_behind;
    assert!(!is_behind());
    trail.append(batch(&[Added], 1)).await.unwrap();
    assert!(is_behind());
    trail.prove(instant(2)).await.unwrap();
    assert!(!is_behind());
    let length = fs::metadata(place.beside("audit.jsonl.head")).unwrap().len();
    assert_eq!(length, 1024);
    trail.append(batch(&[Removed], 3)).await.unwrap();
    assert!(place.is_whole(), "the head on this machine knows it at once");
}

#[tokio::test]
async fn a_damaged_head_is_told_of_and_the_rest_of_it_is_believed() {
    let place = Place::new();
    place.open().await.append(batch(&[AdditionIntended, Added], 1)).await.unwrap();
    let known = verify(&place.path(), 0).unwrap().end;
    let paths = Paths::new(&place.path());
    head::replace(&paths, &Link { seq: 7, ..known }).unwrap();
    let mut text = fs::read(paths.head()).unwrap();
    text[700] ^= 1;
    fs::write(paths.head(), text).unwrap();
    place.open().await;
    let told = &lines(&place.path())[3]["unmapped"]["head"];
    assert_eq!((&told["flaw"], &told["found"], &told["known"]), (&"ahead".into(), &3.into(), &7.into()));
    assert_eq!(verify(&place.path(), 0).unwrap().findings[0].what, What::Missing { from: 4, to: 7 });
}
