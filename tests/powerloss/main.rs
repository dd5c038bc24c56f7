//! What a loss of power, a failing disk and a flipped bit leave of the journal: all that was confirmed, or a word of
//! damage. What they leave of the audit trail is in `trail`.
//!
//! The journal runs in a process of its own, over a shim that notes what is done to its files and fails on demand
//! (`shim.c`). From the trace come the disks that a loss of power may leave at each point (`disk`); the real code opens
//! them. `POWERLOSS_SEED` repeats a run's chances.

#![expect(unreachable_pub, reason = "one binary, no library")]
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![expect(clippy::disallowed_methods, reason = "reads its seed, and what it is told as the other process")]

mod disk;
mod full;
mod trail;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;

use disk::{Disk, Image, Operation, Random, lay_out, read_trace};
use writer::{Run, Told, expected};

/// What had been said at a point of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    /// These were confirmed, in this order.
    confirmed: Vec<usize>,
    /// This one was sent last and is not confirmed: it may be there.
    sent: Option<usize>,
}

impl Said {
    fn hear(&mut self, operation: &Operation) {
        let Some(line) = operation.said() else { return };
        let (verb, number) = line.split_at(1);
        let number = number.parse().unwrap();
        match verb {
            "s" => self.sent = Some(number),
            "a" => {
                self.confirmed.push(number);
                self.sent = None;
            }
            // It failed; a loss of power right now may bring it back all the same.
            "f" => {}
            other => panic!("the writer said {other}"),
        }
    }

    /// What the journal may tell.
    fn allows(&self) -> Vec<Told> {
        let with = self.sent.map(|sent| [&self.confirmed[..], &[sent]].concat());
        std::iter::once(expected(&self.confirmed)).chain(with.as_deref().map(expected)).collect()
    }
}

fn seed() -> u64 {
    let given = std::env::var("POWERLOSS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ (now.as_secs() << 20)
    });
    println!("POWERLOSS_SEED={seed}");
    seed
}

fn traced(folder: &Path, first: usize, sessions: &[usize]) -> Vec<Operation> {
    let run = Run { first, sessions: sessions.to_vec(), fault: None };
    std::fs::create_dir_all(folder).unwrap();
    let operations = read_trace(&writer::run(folder, &run));
    assert!(operations.iter().any(|operation| operation.writes_to("state.db-wal")), "the shim sees SQLite");
    operations
}

/// Opens what a loss of power left, with the real code, and holds it against what had been said.
fn check(image: &Image, said: &Said, folder: &Path, what: &str) {
    lay_out(image, folder);
    let told = writer::told(folder).unwrap_or_else(|damage| panic!("{what}: {damage}"));
    let allowed = said.allows();
    assert!(
        allowed.contains(&told),
        "{what}: after {said:?} the journal tells {} open entries and histories of {:?}",
        told.open.len(),
        told.histories.iter().map(Vec::len).collect::<Vec<_>>()
    );
    // It goes on from there.
    let journal = writer::open(folder).unwrap();
    assert_eq!(writer::read(&journal).unwrap(), told, "{what}");
}

#[test]
fn power_lost_at_any_moment_loses_nothing_that_was_confirmed() {
    let place = writer::folder();
    let mut random = Random(seed());
    let operations = traced(&place.path().join("run"), 0, &[6, 0, 5]);
    let after = place.path().join("after");
    let (mut disk, mut said) = (Disk::default(), Said::default());
    let mut points = 0;
    for (point, operation) in operations.iter().enumerate() {
        disk.apply(operation);
        said.hear(operation);
        if operation.said().is_some() {
            continue;
        }
        points += 1;
        check(&disk.all(), &said, &after, &format!("all of {point}"));
        check(&disk.synced(), &said, &after, &format!("what was synced of {point}"));
        for part in 0..2 {
            check(&disk.torn(&mut random), &said, &after, &format!("part {part} of {point}"));
        }
    }
    assert_eq!(said, Said { confirmed: (0..11).collect(), sent: None });
    println!("{points} points");
}

#[test]
fn power_lost_while_the_log_is_folded_in_loses_nothing_that_was_confirmed() {
    let place = writer::folder();
    let mut random = Random(seed());
    let operations = traced(&place.path().join("run"), 0, &[70, 20]);
    let after = place.path().join("after");
    let (mut disk, mut said) = (Disk::default(), Said::default());
    let folded = operations.iter().filter(|operation| operation.writes_to("state.db")).count();
    assert!(folded > 50, "the log was folded in: {folded}");
    for (point, operation) in operations.iter().enumerate() {
        disk.apply(operation);
        said.hear(operation);
        // Seldom between appends, often while the database itself is written.
        let seldom = if operation.writes_to("state.db") { 4 } else { 24 };
        if random.below(seldom) == 0 {
            check(&disk.synced(), &said, &after, &format!("what was synced of {point}"));
            check(&disk.torn(&mut random), &said, &after, &format!("part of {point}"));
        }
    }
    assert_eq!(said.confirmed.len(), 90);
}

#[test]
fn power_lost_again_while_it_is_opened_loses_nothing_that_was_confirmed() {
    let place = writer::folder();
    let mut random = Random(seed());
    let operations = traced(&place.path().join("run"), 0, &[5]);
    let (after, again) = (place.path().join("after"), place.path().join("again"));
    let (mut disk, mut said) = (Disk::default(), Said::default());
    for (point, operation) in operations.iter().enumerate() {
        disk.apply(operation);
        said.hear(operation);
        if random.below(20) > 0 {
            continue;
        }
        // What the first loss left decides what is there from now on.
        let image = disk.torn(&mut random);
        check(&image, &said, &after, &format!("part of {point}"));
        lay_out(&image, &again);
        let told = writer::told(&after).unwrap();
        let with = said.sent.map(|sent| [&said.confirmed[..], &[sent]].concat());
        let known = with.filter(|with| expected(with) == told).unwrap_or_else(|| said.confirmed.clone());
        let mut second = (Disk::of(&again), Said { confirmed: known, sent: None });
        for (later, operation) in traced(&again, 100, &[2]).iter().enumerate() {
            second.0.apply(operation);
            second.1.hear(operation);
            let what = format!("{later} after part of {point}");
            check(&second.0.synced(), &second.1, &after, &what);
            check(&second.0.torn(&mut random), &second.1, &after, &what);
        }
    }
}

/// Checks that flipping a bit is told of, or changes nothing.
fn check_flips(
    image: &Image,
    whole: &Told,
    folder: &Path,
    random: &mut Random,
) -> BTreeMap<String, (usize, usize)> {
    let mut counts = BTreeMap::new();
    for (name, header) in [("state.db", 100 * 8), ("state.db-wal", 100 * 8), ("state.db.mark", 0)] {
        let Some(content) = image.get(name) else { continue };
        let bits = content.len() * 8;
        // Each bit of the header, which is read first, then one of each 500 bytes.
        let others = (0..bits / 4000).map(|part| part * 4000 + random.below(4000));
        let (mut damaged, mut harmless) = (0, 0);
        for bit in (0..header).chain(others) {
            let mut flipped = image.clone();
            flipped.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            lay_out(&flipped, folder);
            match flip_told(folder) {
                None => damaged += 1,
                Some(told) => {
                    harmless += 1;
                    assert_eq!(told, *whole, "bit {bit} of {name} is not noticed");
                }
            }
        }
        counts.insert(name.to_owned(), (damaged, harmless));
    }
    counts
}

/// What is told, if it is told without a word of damage.
fn flip_told(folder: &Path) -> Option<Told> {
    use apono_connector::access::journal::OpenError;
    match writer::open(folder) {
        Ok(journal) => writer::read(&journal).ok(),
        // Another format number: told in words of its own.
        Err(OpenError::Damaged(_) | OpenError::TooNew { .. } | OpenError::Database { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_flipped_bit_is_told_of_or_harmless() {
    let place = writer::folder();
    let mut random = Random(seed());
    let operations = traced(&place.path().join("run"), 0, &[12]);
    let (mut disk, mut said) = (Disk::default(), Said::default());
    let mut running = Image::new();
    for operation in &operations {
        disk.apply(operation);
        said.hear(operation);
        if operation.writes_to("state.db.mark") {
            running = disk.all();
        }
    }
    let closed = disk.all();
    assert!(!closed.contains_key("state.db-wal") && running.contains_key("state.db-wal"));
    let whole = expected(&said.confirmed);
    for (what, image) in [("closed", closed), ("running", running)] {
        let counts = check_flips(&image, &whole, &place.path().join("after"), &mut random);
        println!("{what}: (told, harmless) of each file: {counts:?}");
        let told: usize = counts.values().map(|(told, _)| told).sum();
        assert!(told > 100, "{counts:?}");
    }
}

/// One fault in a run, at each operation that can fail.
fn check_faults(kind: &str, count: u32, errno: i32) {
    let place = writer::folder();
    let folder = place.path().join("run");
    let operations = traced(&folder, 0, &[4, 3]);
    let last = operations.iter().map(|operation| operation.number).max().unwrap();
    let mut failures = 0;
    for first in 1..=last {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let fault = Some(format!("{first},{count},{errno},{kind}"));
        let run = Run { first: 0, sessions: vec![4, 3], fault };
        let mut said = Said::default();
        for operation in &read_trace(&writer::run(&folder, &run)) {
            said.hear(operation);
        }
        failures += 7 - said.confirmed.len();
        // A failure at the very end is followed by a stop, not by a loss of power: it is not there.
        let told = writer::told(&folder).unwrap_or_else(|damage| panic!("{run:?}: {damage}"));
        assert_eq!(told, expected(&said.confirmed), "{run:?}: {said:?}");
    }
    assert!(failures > 0, "something failed");
    println!("{last} operations, {failures} appends refused");
}

#[test]
fn a_write_that_fails_is_told_and_loses_nothing() {
    check_faults("e", 1, 5);
}

#[test]
fn a_write_that_is_cut_short_is_told_and_loses_nothing() {
    check_faults("s", 2, 28);
}

#[test]
fn a_disk_that_fails_for_a_while_loses_nothing() {
    check_faults("e", 6, 28);
}
