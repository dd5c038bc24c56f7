use std::fs;

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::tests::{bare, batch, connector, instant, record};
use super::super::{Audit, AuditTrail, Kind};
use super::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Writes batches of these sizes and gives all files of the trail.
fn write_trail(folder: &Path, batches: &[usize], rotate_at: u64) -> PathBuf {
    let path = folder.join("audit.jsonl");
    block_on(async {
        let trail = AuditTrail::open(&path, connector(), instant(0)).await.unwrap().rotating_at(rotate_at);
        let mut kinds = Kind::ALL.iter().cycle();
        for (second, size) in (1..).zip(batches) {
            let one = |kind: &Kind| if second % 2 == 0 { record(*kind) } else { bare(*kind) };
            let records = kinds.by_ref().take(*size).map(|kind| (instant(second), one(kind))).collect();
            trail.append(records).await.unwrap();
        }
    });
    path
}

#[derive(Clone, Debug)]
enum Mutation {
    Flip { at: Index, with: u8 },
    Drop { line: Index },
    Swap { one: Index, other: Index },
    Repeat { line: Index, before: Index },
    Truncate { at: Index },
    DropFile,
    Head { at: Index, with: u8 },
    DropHead,
}

fn any_mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        6 => (any::<Index>(), 1..=u8::MAX).prop_map(|(at, with)| Mutation::Flip { at, with }),
        2 => any::<Index>().prop_map(|line| Mutation::Drop { line }),
        2 => any::<(Index, Index)>().prop_map(|(one, other)| Mutation::Swap { one, other }),
        2 => any::<(Index, Index)>().prop_map(|(line, before)| Mutation::Repeat { line, before }),
        4 => any::<Index>().prop_map(|at| Mutation::Truncate { at }),
        1 => Just(Mutation::DropFile),
        2 => (any::<Index>(), 1..=u8::MAX).prop_map(|(at, with)| Mutation::Head { at, with }),
        1 => Just(Mutation::DropHead),
    ]
}

/// The file with the change, or `None` for none at all.
fn mutate(content: &[u8], mutation: &Mutation) -> Option<Vec<u8>> {
    let mut lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    match mutation {
        Mutation::Flip { at, with } | Mutation::Head { at, with } => {
            let mut changed = content.to_vec();
            changed[at.index(content.len())] ^= with;
            return Some(changed);
        }
        Mutation::Truncate { at } => return Some(content[..at.index(content.len())].to_vec()),
        Mutation::DropFile | Mutation::DropHead => return None,
        Mutation::Drop { line } => {
            lines.remove(line.index(lines.len()));
        }
        Mutation::Swap { one, other } => {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
        }
        Mutation::Repeat { line, before } => {
            let again = lines[line.index(lines.len())];
            lines.insert(before.index(lines.len() + 1), again);
        }
    }
    Some(lines.concat())
}

proptest! {
    // Writing is what takes the time, so each trail is mutated many times.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_change_of_a_trail_is_found(
        batches in proptest::collection::vec(1_usize..6, 1..10),
        rotate_at in 2_000_u64..30_000,
        mutations in proptest::collection::vec((any::<Index>(), any_mutation()), 40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = write_trail(folder.path(), &batches, rotate_at);
        let whole = verify(&path, 0).unwrap();
        prop_assert!(whole.is_whole(), "{:#?}", whole.findings);
        let paths = Paths::new(&path);
        for (which, mutation) in mutations {
            let target = match &mutation {
                Mutation::Head { .. } | Mutation::DropHead => paths.head(),
                Mutation::Flip { .. }
                | Mutation::Drop { .. }
                | Mutation::Swap { .. }
                | Mutation::Repeat { .. }
                | Mutation::Truncate { .. }
                | Mutation::DropFile => {
                    let files = paths.all().unwrap();
                    files[which.index(files.len())].clone()
                }
            };
            let before = fs::read(&target).unwrap();
            match mutate(&before, &mutation) {
                Some(after) if after == before => continue,
                Some(after) => fs::write(&target, after).unwrap(),
                None => fs::remove_file(&target).unwrap(),
            }
            let report = verify(&path, 0).unwrap();
            prop_assert!(!report.is_whole(), "{mutation:?} in {}", target.display());
            for finding in &report.findings {
                prop_assert!(!finding.to_string().contains('\n'));
            }
            fs::write(&target, before).unwrap();
        }
    }
}

fn findings(change: impl Fn(&mut Vec<String>)) -> Vec<(Option<u64>, Option<u64>, What)> {
    let folder = tempfile::tempdir().unwrap();
    let path = write_trail(folder.path(), &[5], u64::MAX);
    let mut lines: Vec<_> =
        fs::read_to_string(&path).unwrap().lines().map(|line| format!("{line}\n")).collect();
    change(&mut lines);
    fs::write(&path, lines.concat()).unwrap();
    let report = verify(&path, 0).unwrap();
    report.findings.into_iter().map(|finding| (finding.line, finding.seq, finding.what)).collect()
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let at = |line, seq, what| vec![(Some(line), Some(seq), what)];
    assert_eq!(findings(|_| ()), []);
    let edit = |lines: &mut Vec<String>| lines[2] = lines[2].replace("00g1", "00g2");
    assert_eq!(findings(edit), at(3, 3, What::Edited));
    assert_eq!(findings(|lines| drop(lines.remove(2))), at(3, 4, What::Missing { from: 3, to: 3 }));
    assert_eq!(findings(|lines| drop(lines.remove(0))), at(1, 2, What::Missing { from: 1, to: 1 }));
    assert_eq!(
        findings(|lines| lines.swap(2, 3)),
        [
            (Some(3), Some(4), What::Missing { from: 3, to: 3 }),
            (Some(4), Some(3), What::OutOfOrder { after: 4 }),
        ]
    );
    assert_eq!(findings(|lines| lines.insert(1, lines[0].clone())), at(2, 1, What::OutOfOrder { after: 1 }));
    assert_eq!(findings(|lines| drop(lines.pop())), [(None, None, What::CutOff { known: 6, last: 5 })]);
    assert_eq!(findings(Vec::clear), [(None, None, What::CutOff { known: 6, last: 0 })]);
    let garble = |lines: &mut Vec<String>| lines[2].truncate(20);
    assert_eq!(findings(garble)[0], (Some(3), Some(3), What::Malformed));
    // Resealed by somebody who knows how, from line 3 on: the head remembers.
    let reseal = |lines: &mut Vec<String>| {
        let mut end = chain::claim(lines[1].trim_end().as_bytes()).unwrap().link;
        for line in &mut lines[2..] {
            let mut members = serde_json::from_str::<serde_json::Value>(line).unwrap();
            let members = members.as_object_mut().unwrap();
            for ours in ["seq", "prev", "hash"] {
                members.remove(ours);
            }
            members["group"]["uid"] = "00g9".into();
            (*line, end) = chain::seal(&end, members.clone());
        }
    };
    assert_eq!(findings(reseal), at(6, 6, What::NotAtHead));
}

#[test]
fn what_is_longer_than_any_line_is_no_unfinished_write() {
    let junk = |lines: &mut Vec<String>| lines.insert(2, "x".repeat(usize::try_from(LONGEST_LINE).unwrap()));
    assert_eq!(findings(junk), [(Some(3), Some(3), What::Malformed)]);
    let junk = |lines: &mut Vec<String>| lines.push("x".repeat(usize::try_from(2 * LONGEST_LINE).unwrap()));
    assert_eq!(findings(junk), [(Some(7), Some(7), What::Malformed)]);
}

/// A file that grows after its end was reached.
struct Growing(Vec<Vec<u8>>);

impl io::Read for Growing {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let Some(part) = self.0.first_mut() else {
            return Ok(0);
        };
        let count = part.len().min(to.len());
        to[..count].copy_from_slice(&part[..count]);
        part.drain(..count);
        if count == 0 {
            self.0.remove(0);
        }
        Ok(count)
    }
}

#[test]
fn half_a_line_at_the_end_is_the_end_even_if_the_rest_comes_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_trail(folder.path(), &[3], u64::MAX);
    let text = fs::read(&path).unwrap();
    let half = text.len() - 100;
    let mut walk = Walk::new(0, None);
    let growing = Growing(vec![text[..half].to_vec(), text[half..].to_vec()]);
    walk.read(&path, Lines::new(io::BufReader::new(growing)), true).unwrap();
    assert_eq!((walk.report.findings, walk.report.end.seq), (Vec::new(), 3));
    assert!(walk.report.torn > 0);
}

#[test]
fn a_damaged_place_of_the_head_is_found_and_the_other_one_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_trail(folder.path(), &[2, 2], u64::MAX);
    let head = Paths::new(&path).head();
    let mut text = fs::read(&head).unwrap();
    text[20] ^= 1;
    fs::write(&head, text).unwrap();
    let report = verify(&path, 0).unwrap();
    assert_eq!(report.findings.iter().map(|finding| &finding.what).collect::<Vec<_>>(), [&What::BadHead]);
    assert!(report.head_lags <= 2, "{report:?}");
}

#[test]
fn files_that_were_taken_away_on_purpose_are_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_trail(folder.path(), &[5, 5, 5], 3_000);
    let first = Paths::new(&path).rotated(1, 7);
    assert!(first.exists());
    fs::remove_file(first).unwrap();
    assert_eq!(verify(&path, 0).unwrap().findings[0].what, What::Missing { from: 1, to: 7 });
    assert!(verify(&path, 7).unwrap().is_whole());
    assert!(!verify(&path, 6).unwrap().is_whole());
    assert!(!verify(&path, 8).unwrap().is_whole());
}

#[test]
fn nothing_and_what_cannot_be_read_are_errors_and_no_findings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    assert!(matches!(verify(&path, 0), Err(VerifyError::Nothing { .. })));
    assert!(matches!(verify(&folder.path().join("none/audit.jsonl"), 0), Err(VerifyError::Nothing { .. })));
    write_trail(folder.path(), &[1], u64::MAX);
    fs::write(folder.path().join("audit.jsonl.2.gz"), b"").unwrap();
    assert!(matches!(verify(&path, 0), Err(VerifyError::Compressed { .. })));
}

#[test]
fn findings_without_end_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_trail(folder.path(), &[1], u64::MAX);
    fs::write(&path, "nothing\n".repeat(1_000)).unwrap();
    let report = verify(&path, 0).unwrap();
    assert_eq!((report.findings.len(), report.more), (MOST_FINDINGS, 980));
}

#[test]
fn a_trail_that_grows_is_not_taken_for_a_broken_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        let trail = AuditTrail::open(&path, connector(), instant(0)).await.unwrap().rotating_at(20_000);
        let reader = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || (0..30).map(|_| verify(&path, 0)).collect::<Vec<_>>())
        };
        let mut second = 0;
        while !reader.is_finished() {
            second += 1;
            trail.append(batch(&[Kind::AdditionIntended, Kind::Added], second)).await.unwrap();
        }
        for verified in reader.await.unwrap() {
            match verified {
                Ok(report) => assert!(report.is_whole(), "{:#?}", report.findings),
                Err(error) => assert!(matches!(error, VerifyError::Restless { .. }), "{error}"),
            }
        }
    });
}
