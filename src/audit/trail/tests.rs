mod mishaps;

use std::os::unix::fs::PermissionsExt;

use super::super::tests::{batch, connector, instant, kinds, lines};
use super::super::{Kind, What, verify};
use super::*;

use Kind::{Added, AdditionIntended, Removed};

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a folder where the head was.
    fn hide_head(&self) -> Vec<u8> {
        let head = self.beside("audit.jsonl.head");
        let text = fs::read(&head).unwrap();
        fs::remove_file(&head).unwrap();
        fs::create_dir(head).unwrap();
        text
    }

    fn put_head(&self, text: &[u8]) {
        let head = self.beside("audit.jsonl.head");
        fs::remove_dir(&head).unwrap();
        fs::write(head, text).unwrap();
    }

    async fn open(&self) -> AuditTrail {
        AuditTrail::open(&self.path(), connector(), instant(0)).await.unwrap()
    }

    fn is_whole(&self) -> bool {
        let report = verify(&self.path(), 0).unwrap();
        assert!(report.is_whole(), "{:#?}", report.findings);
        report.head_lags == 0 && report.torn == 0
    }
}

fn half(file: &mut File, batch: &[u8]) -> io::Result<()> {
    file.write_all(&batch[..batch.len() / 2])?;
    Err(io::Error::from(io::ErrorKind::StorageFull))
}

/// As a disk that takes nothing back either: the next cut goes to a file that is open for reading only.
fn half_and_stuck(file: &mut File, batch: &[u8]) -> io::Result<()> {
    file.write_all(&batch[..batch.len() / 2])?;
    *file = File::open("/dev/null")?;
    Err(io::Error::from(io::ErrorKind::StorageFull))
}

#[tokio::test]
async fn a_trail_goes_on_where_the_last_process_ended() {
    let place = Place::new();
    let trail = place.open().await;
    trail.append(batch(&[AdditionIntended, Added], 1)).await.unwrap();
    trail.close(instant(3)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for file in ["audit.jsonl", "audit.jsonl.head", "audit.jsonl.lock"] {
        assert_eq!(mode(&place.beside(file)), 0o600, "{file}");
    }
    drop(trail);
    let trail = place.open().await;
    trail.append(batch(&[Removed], 4)).await.unwrap();
    assert_eq!(kinds(&place.path()), ["begun", "addition_intended", "added", "checkpoint", "removed"]);
    assert!(place.is_whole());
    let report = verify(&place.path(), 0).unwrap();
    assert_eq!(
        (report.lines, report.first, report.last),
        (5, Some(instant(0).to_string()), Some(instant(4).to_string()))
    );
    assert_eq!(report.recovered, Vec::<u64>::new());
}

#[tokio::test]
async fn a_failed_batch_leaves_nothing_and_the_next_one_follows() {
    let place = Place::new();
    let trail = place.open().await;
    trail.append(batch(&[Added], 1)).await.unwrap();
    let before = fs::read(place.path()).unwrap();
    trail.lock().write = half;
    assert!(matches!(trail.append(batch(&[Removed], 2)).await, Err(AuditError::Write { .. })));
    assert_eq!(fs::read(place.path()).unwrap(), before);
    trail.lock().write = write_and_sync;
    trail.append(batch(&[Removed], 3)).await.unwrap();
    assert_eq!(kinds(&place.path()), ["begun", "added", "removed"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn what_cannot_be_taken_back_stops_the_trail_until_it_can() {
    let place = Place::new();
    let trail = place.open().await;
    trail.append(batch(&[Added], 1)).await.unwrap();
    trail.lock().write = half_and_stuck;
    assert!(trail.append(batch(&[Removed], 2)).await.is_err());
    trail.lock().write = write_and_sync;
    // The cut still fails.
    assert!(matches!(trail.append(batch(&[Removed], 3)).await, Err(AuditError::Write { .. })));
    assert!(trail.prove(instant(3)).await.is_err());
    // A new process finds what is torn.
    drop(trail);
    let trail = place.open().await;
    trail.append(batch(&[Removed], 4)).await.unwrap();
    assert_eq!(kinds(&place.path()), ["begun", "added", "recovered", "removed"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn a_torn_line_is_moved_aside_and_told_of() {
    let place = Place::new();
    place.open().await.append(batch(&[Added], 1)).await.unwrap();
    let mut text = fs::read(place.path()).unwrap();
    text.extend_from_slice(b"{\"seq\":3,\"prev");
    fs::write(place.path(), &text).unwrap();
    let report = verify(&place.path(), 0).unwrap();
    assert!(report.is_whole() && report.torn == 14, "{report:?}");

    place.open().await;
    assert_eq!(fs::read(place.beside("audit.jsonl.after-2.torn")).unwrap(), b"{\"seq\":3,\"prev");
    let told = &lines(&place.path())[2]["unmapped"];
    assert_eq!((&told["kind"], &told["torn"][0]["bytes"]), (&"recovered".into(), &14.into()));
    assert_eq!(told["torn"][0]["file"], "audit.jsonl.after-2.torn");
    assert!(place.is_whole());
    assert_eq!(verify(&place.path(), 0).unwrap().recovered, [3]);
    // Once is enough.
    place.open().await;
    assert_eq!(kinds(&place.path()), ["begun", "added", "recovered"]);
}

#[tokio::test]
async fn lines_that_the_head_does_not_know_yet_stay_as_far_as_they_fit() {
    let place = Place::new();
    let trail = place.open().await;
    trail.append(batch(&[Added], 1)).await.unwrap();
    let head = fs::read(place.beside("audit.jsonl.head")).unwrap();
    trail.append(batch(&[AdditionIntended, Removed], 2)).await.unwrap();
    // The crash came after the write and before the head; of the second line the disk has other bytes.
    fs::write(place.beside("audit.jsonl.head"), head).unwrap();
    let report = verify(&place.path(), 0).unwrap();
    assert!(report.is_whole() && report.head_lags == 2, "{report:?}");
    let text = fs::read_to_string(place.path()).unwrap();
    let (good, last) = text.trim_end().rsplit_once('\n').unwrap();
    fs::write(place.path(), format!("{good}\n{}\n", "\0".repeat(last.len()))).unwrap();
    drop(trail);
    place.open().await;
    assert_eq!(kinds(&place.path()), ["begun", "added", "addition_intended", "recovered"]);
    assert_eq!(
        fs::read(place.beside("audit.jsonl.after-3.torn")).unwrap(),
        vec![0; last.len()].into_iter().chain(*b"\n").collect::<Vec<_>>()
    );
    assert!(place.is_whole());
}

#[tokio::test]
async fn a_head_that_cannot_be_written_costs_no_record_and_stops_the_next_batch() {
    let place = Place::new();
    let trail = place.open().await;
    let head = place.hide_head();
    trail.append(batch(&[Added], 1)).await.unwrap();
    for _ in 0..2 {
        let failed = trail.append(batch(&[Removed], 2)).await;
        assert!(matches!(failed, Err(AuditError::Head { .. })), "{failed:?}");
    }
    assert!(trail.prove(instant(2)).await.is_err());
    place.put_head(&head);
    let report = verify(&place.path(), 0).unwrap();
    assert!(report.is_whole() && report.head_lags == 1, "{report:?}");
    trail.append(batch(&[Removed], 3)).await.unwrap();
    assert_eq!(kinds(&place.path()), ["begun", "added", "removed"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn a_full_file_is_closed_and_the_next_one_names_it() {
    let place = Place::new();
    let trail = place.open().await.rotating_at(2_500);
    for second in 1..=4 {
        trail.append(batch(&[AdditionIntended, Added], second)).await.unwrap();
    }
    let closed = place.beside("audit-1-4.jsonl");
    assert_eq!(kinds(&closed), ["begun", "addition_intended", "added", "checkpoint"]);
    let end = lines(&closed)[3]["hash"].clone();
    let next = &lines(&place.beside("audit-5-8.jsonl"))[0]["unmapped"];
    assert_eq!((&next["kind"], &next["previous"]["file"]), (&"continued".into(), &"audit-1-4.jsonl".into()));
    assert_eq!((&next["previous"]["hash"], &next["previous"]["seq"]), (&end, &4.into()));
    assert!(place.is_whole());
    let mode = fs::metadata(place.path()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // A crash right after the renaming.
    drop(trail);
    fs::rename(place.path(), place.beside("audit-13-15.jsonl")).unwrap();
    place.open().await;
    assert_eq!(lines(&place.path())[0]["unmapped"]["previous"]["file"], "audit-13-15.jsonl");
    assert!(place.is_whole());
}

#[tokio::test]
async fn a_rotation_that_would_overwrite_is_put_off() {
    let place = Place::new();
    fs::write(place.beside("audit-1-2.jsonl"), b"precious").unwrap();
    let trail = place.open().await.rotating_at(1);
    trail.append(batch(&[Added], 1)).await.unwrap();
    trail.append(batch(&[Removed], 2)).await.unwrap();
    assert_eq!(fs::read(place.beside("audit-1-2.jsonl")).unwrap(), b"precious");
    assert_eq!(kinds(&place.path()), ["begun", "checkpoint", "added", "removed"]);
}

#[tokio::test]
async fn a_file_that_others_rename_is_followed() {
    for creates in [false, true] {
        let place = Place::new();
        let trail = place.open().await;
        trail.append(batch(&[Added], 1)).await.unwrap();
        fs::rename(place.path(), place.beside("audit.jsonl.1")).unwrap();
        if creates {
            fs::write(place.path(), b"").unwrap();
        }
        trail.append(batch(&[Removed], 2)).await.unwrap();
        assert_eq!(kinds(&place.path()), ["continued", "removed"]);
        assert_eq!(lines(&place.path())[0]["unmapped"]["previous"]["file"], "audit.jsonl.1");
        // And while the connector does not run.
        trail.close(instant(3)).await.unwrap();
        drop(trail);
        fs::rename(place.beside("audit.jsonl.1"), place.beside("audit.jsonl.2")).unwrap();
        fs::rename(place.path(), place.beside("audit.jsonl.1")).unwrap();
        place.open().await.append(batch(&[Added], 4)).await.unwrap();
        assert_eq!(kinds(&place.path()), ["continued", "added"]);
        assert!(place.is_whole());
        assert_eq!(verify(&place.path(), 0).unwrap().files, 3);
    }
}

#[tokio::test]
async fn copying_and_truncating_keeps_the_chain_too() {
    let place = Place::new();
    let trail = place.open().await;
    trail.append(batch(&[Added], 1)).await.unwrap();
    fs::copy(place.path(), place.beside("audit.jsonl.1")).unwrap();
    File::options().write(true).open(place.path()).unwrap().set_len(0).unwrap();
    trail.append(batch(&[Removed], 2)).await.unwrap();
    assert_eq!(kinds(&place.path()), ["continued", "removed"]);
    assert!(place.is_whole());
}

#[tokio::test]
async fn a_gap_stays_to_be_seen_after_a_restart() {
    let place = Place::new();
    place.open().await.append(batch(&[AdditionIntended, Added, Removed], 1)).await.unwrap();
    let text = fs::read_to_string(place.path()).unwrap();
    let cut: String = text.split_inclusive('\n').take(2).collect();
    fs::write(place.path(), cut).unwrap();
    place.open().await.append(batch(&[Added], 5)).await.unwrap();
    assert_eq!(kinds(&place.path()), ["begun", "addition_intended", "recovered", "added"]);
    let told = &lines(&place.path())[2]["unmapped"]["head"];
    assert_eq!((&told["found"], &told["known"]), (&2.into(), &4.into()));
    let report = verify(&place.path(), 0).unwrap();
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert_eq!(report.findings[0].what, What::Missing { from: 3, to: 4 });
    assert_eq!((report.findings[0].line, report.findings[0].seq), (Some(3), Some(5)));
}

#[tokio::test]
async fn a_trail_whose_folder_fails_opens_when_it_works() {
    let place = Place::new();
    let blocked = place.beside("below");
    fs::write(&blocked, b"").unwrap();
    let path = blocked.join("audit.jsonl");
    let trail = AuditTrail::new(&path, connector());
    let failed = trail.append(batch(&[Added], 1)).await;
    assert!(matches!(failed, Err(AuditError::Open { .. })), "{failed:?}");
    fs::remove_file(&blocked).unwrap();
    trail.append(batch(&[Added], 2)).await.unwrap();
    assert_eq!(kinds(&path), ["begun", "added"]);
    assert!(verify(&path, 0).unwrap().is_whole());
}

#[tokio::test]
async fn every_hundredth_line_is_a_checkpoint() {
    let place = Place::new();
    let trail = place.open().await;
    trail.append(batch(&[Added; 150], 1)).await.unwrap();
    trail.append(batch(&[Removed; 60], 200)).await.unwrap();
    let kinds = kinds(&place.path());
    let at: Vec<_> = (1..).zip(&kinds).filter(|(_, kind)| *kind == "checkpoint").map(|(at, _)| at).collect();
    assert_eq!(at, [100, 200]);
    let (line, told) = (&lines(&place.path())[98], &lines(&place.path())[99]["unmapped"]);
    assert_eq!((&told["count"], &told["hash"]), (&99.into(), &line["hash"]));
    assert!(place.is_whole());
}

#[tokio::test]
async fn a_lost_head_stays_to_be_seen_after_a_restart() {
    for content in [None, Some("{}")] {
        let place = Place::new();
        place.open().await.append(batch(&[AdditionIntended, Added], 1)).await.unwrap();
        let head = place.beside("audit.jsonl.head");
        match content {
            None => fs::remove_file(&head).unwrap(),
            Some(text) => fs::write(&head, text).unwrap(),
        }
        assert_eq!(verify(&place.path(), 0).unwrap().findings.len(), 1);
        place.open().await.append(batch(&[Removed], 5)).await.unwrap();
        assert_eq!(kinds(&place.path()), ["begun", "addition_intended", "added", "recovered", "removed"]);
        let report = verify(&place.path(), 0).unwrap();
        assert_eq!(report.findings.len(), 1, "{report:?}");
        assert_eq!((report.findings[0].seq, &report.findings[0].what), (Some(4), &What::HeadWasLost));
    }
}

#[tokio::test]
async fn a_crash_before_or_after_the_first_line_is_no_finding() {
    let place = Place::new();
    let lines = {
        place.open().await;
        fs::read(place.path()).unwrap()
    };
    let (first, head) = (Link::start(), place.beside("audit.jsonl.head"));
    for content in [&lines[..], &[]] {
        head::replace(&Paths::new(&place.path()), &first).unwrap();
        fs::write(place.path(), content).unwrap();
        assert!(verify(&place.path(), 0).unwrap().is_whole());
        place.open().await;
        assert_eq!(kinds(&place.path()), ["begun"]);
        assert!(place.is_whole());
    }
    fs::remove_file(head).unwrap();
    fs::remove_file(place.path()).unwrap();
    place.open().await;
    assert!(place.is_whole());
}
