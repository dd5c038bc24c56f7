//! The audit trail over the same shim: what it has accepted is there after any loss of power, once, in order, and the
//! chain is whole as soon as it was opened again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use apono_connector::audit::{Audit, AuditRecord, AuditTrail, Kind, MemberState, verify};
use apono_connector::domain::{ConnectorId, RequestContext, Revision};
use jiff::Timestamp;

use crate::disk::{Disk, Image, Operation, Random, lay_out, read_trace};
use crate::seed;
use crate::writer::{self, patiently, wait};

/// How many appends there are before each restart.
const SESSIONS: &str = "POWERLOSS_TRAIL";
/// The number of the first of them.
const FIRST: &str = "POWERLOSS_TRAIL_FIRST";
/// Small enough that a few appends fill a file.
const ROTATE_AT: u64 = 6_000;

fn trail_in(folder: &Path) -> AuditTrail {
    AuditTrail::new(&folder.join("audit.jsonl"), ConnectorId::from("okta-connector")).rotating_at(ROTATE_AT)
}

/// What the append with this number writes: one to three records.
fn append(number: usize) -> Vec<(Timestamp, AuditRecord)> {
    let at = Timestamp::from_second(1_790_000_000 + i64::try_from(number).unwrap()).unwrap();
    let record = |part: usize| AuditRecord {
        kind: Kind::Added,
        grant: name(number, part).as_str().into(),
        revision: Revision(1),
        integration: "int".into(),
        username: "ada@example.com".to_owned(),
        user: None,
        group: "00g1".into(),
        expires_at: None,
        request: RequestContext::default(),
        code: None,
        detail: None,
        verified: None,
        before: MemberState::Unknown,
        after: MemberState::Unknown,
        okta_request_ids: Vec::new(),
    };
    (0..=number % 3).map(|part| (at, record(part))).collect()
}

fn name(number: usize, part: usize) -> String {
    format!("grt_{number}.{part}")
}

/// Not a test of its own: the process that the others run over the shim.
#[test]
#[ignore = "run by the other tests, with a folder and the shim"]
fn the_process_with_a_trail() {
    let (Some(folder), Some(sessions)) = (std::env::var_os("SHIM_FOLDER"), std::env::var_os(SESSIONS)) else {
        return;
    };
    let folder = PathBuf::from(folder);
    let acks = File::options().create(true).append(true).open(folder.join("acks")).unwrap();
    let say = |line: String| (&acks).write_all(line.as_bytes()).unwrap();
    let first: usize = std::env::var(FIRST).unwrap().parse().unwrap();
    let mut numbers = first..;
    for (index, session) in sessions.to_str().unwrap().split(',').enumerate() {
        let trail = trail_in(&folder);
        patiently(|| wait(trail.prove(Timestamp::UNIX_EPOCH)));
        for number in numbers.by_ref().take(session.parse().unwrap()) {
            say(format!("s{number}\n"));
            if wait(trail.append(append(number))).is_ok() {
                say(format!("a{number}\n"));
            } else {
                say(format!("f{number}\n"));
                patiently(|| wait(trail.prove(Timestamp::UNIX_EPOCH)));
            }
        }
        if index % 2 == 1 {
            patiently(|| wait(trail.close(Timestamp::UNIX_EPOCH)));
        }
    }
}

/// Runs that process, and says whether it came to its end.
fn run(folder: &Path, first: usize, sessions: &str, fault: Option<String>) -> bool {
    let mut command = writer::other_process(folder, "trail::the_process_with_a_trail");
    command.env(SESSIONS, sessions).env(FIRST, first.to_string());
    let kills = fault.as_ref().is_some_and(|fault| fault.ends_with('k'));
    if let Some(fault) = fault {
        command.env("SHIM_FAULT", fault);
    }
    if kills {
        return command.output().unwrap().status.code() != Some(9);
    }
    writer::finish(&mut command);
    true
}

fn take_trace(folder: &Path) -> Vec<Operation> {
    let trace = folder.with_extension("trace");
    let operations = read_trace(&fs::read(&trace).unwrap());
    fs::remove_file(trace).unwrap();
    operations
}

/// What was said of the appends, in their order: whether each must be there, as a whole. Of the others there may be a
/// beginning.
#[derive(Clone, Debug, Default)]
struct Said(Vec<(usize, bool)>);

impl Said {
    fn hear(&mut self, operation: &Operation) {
        let Some(line) = operation.said() else { return };
        let (verb, number) = line.split_at(1);
        match verb {
            "s" => self.0.push((number.parse().unwrap(), false)),
            "a" => self.0.last_mut().unwrap().1 = true,
            // A loss of power right now may bring it back all the same.
            "f" => {}
            other => panic!("the writer said {other}"),
        }
    }

    fn check(&self, told: &[String], what: &str) {
        let mut rest = told;
        for (number, is_accepted) in &self.0 {
            for part in 0..append(*number).len() {
                match rest.split_first() {
                    Some((first, after)) if *first == name(*number, part) => rest = after,
                    Some(_) | None if *is_accepted => {
                        panic!("{what}: {} is lost: {told:?}", name(*number, part))
                    }
                    Some(_) | None => break,
                }
            }
        }
        assert!(rest.is_empty(), "{what}: after {self:?} the trail tells {told:?}");
    }
}

/// The grants that are told of in the trail of a folder, in the order of its lines.
fn told(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<serde_json::Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            files.push((lines.first().map(|line| line["seq"].as_u64().unwrap()), lines));
        }
    }
    files.sort_by_key(|(first, _)| *first);
    let grant = |line: serde_json::Value| line["unmapped"]["grant"]["id"].as_str().map(str::to_owned);
    files.into_iter().flat_map(|(_, lines)| lines).filter_map(grant).collect()
}

/// Opens what a loss of power left, with the real code, and holds it against what had been said.
fn check(image: &Image, said: &Said, folder: &Path, what: &str) {
    lay_out(image, folder);
    let trail = trail_in(folder);
    wait(trail.prove(Timestamp::UNIX_EPOCH)).unwrap_or_else(|error| panic!("{what}: {error}: {error:?}"));
    let report = verify(&folder.join("audit.jsonl"), 0).unwrap();
    assert!(report.is_whole(), "{what}: {:#?}", report.findings);
    assert_eq!(report.torn, 0, "{what}");
    said.check(&told(folder), what);
}

#[test]
fn power_lost_at_any_moment_costs_the_trail_nothing_that_it_accepted() {
    let place = writer::folder();
    let mut random = Random(seed());
    let (folder, after) = (place.path().join("run"), place.path().join("after"));
    fs::create_dir_all(&folder).unwrap();
    assert!(run(&folder, 0, "5,0,4,3", None));
    let operations = take_trace(&folder);
    assert!(operations.iter().filter(|operation| operation.writes_to("audit.jsonl")).count() > 12);
    let (mut disk, mut said) = (Disk::default(), Said::default());
    for (point, operation) in operations.iter().enumerate() {
        disk.apply(operation);
        said.hear(operation);
        if operation.said().is_none_or(|line| line.starts_with('a')) {
            check(&disk.all(), &said, &after, &format!("all of {point}"));
            check(&disk.synced(), &said, &after, &format!("what was synced of {point}"));
            for part in 0..3 {
                check(&disk.torn(&mut random), &said, &after, &format!("part {part} of {point}"));
            }
        }
    }
    assert_eq!(said.0, (0..12).map(|number| (number, true)).collect::<Vec<_>>());
}

#[test]
fn power_lost_after_a_kill_costs_the_trail_nothing_that_it_accepted() {
    let place = writer::folder();
    let mut random = Random(seed());
    let (folder, after) = (place.path().join("run"), place.path().join("after"));
    let mut kills = 0;
    for number in 1.. {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let is_done = run(&folder, 0, "4", Some(format!("{number},1,0,k")));
        let killed = take_trace(&folder);
        if is_done {
            break;
        }
        kills += 1;
        assert!(run(&folder, 100, "2", None));
        let (mut disk, mut said) = (Disk::default(), Said::default());
        for operation in &killed {
            disk.apply(operation);
            said.hear(operation);
        }
        for (point, operation) in take_trace(&folder).iter().enumerate() {
            disk.apply(operation);
            said.hear(operation);
            let what = format!("{point} after a kill at {number}");
            check(&disk.synced(), &said, &after, &format!("what was synced of {what}"));
            if random.below(3) == 0 {
                check(&disk.torn(&mut random), &said, &after, &format!("part of {what}"));
            }
        }
    }
    assert!(kills > 20, "{kills}");
}

#[test]
fn an_append_to_the_trail_waits_for_two_syncs() {
    let place = writer::folder();
    let folder = place.path().join("run");
    fs::create_dir_all(&folder).unwrap();
    assert!(run(&folder, 0, "8", None));
    let operations = take_trace(&folder);
    let mut appends =
        operations.split(|operation| operation.said().is_some_and(|line| line.starts_with('s')));
    // What comes before the first one.
    appends.next();
    let mut plain = 0;
    for append in appends.filter(|append| !append.iter().any(Operation::is_naming)) {
        let syncs = append.iter().filter(|operation| operation.is_sync()).count();
        assert!((1..=2).contains(&syncs), "{append:?}");
        plain += 1;
    }
    assert!(plain > 4, "{plain}");
}

/// One fault in a run, at each operation that can fail.
fn check_faults(kind: &str, count: u32, errno: i32) {
    let place = writer::folder();
    let folder = place.path().join("run");
    let mut failures = 0;
    let mut last = u32::MAX;
    let mut first = 1;
    while first <= last {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        run(&folder, 0, "4,3", Some(format!("{first},{count},{errno},{kind}")));
        let operations = take_trace(&folder);
        last = last.min(operations.iter().map(|operation| operation.number).max().unwrap());
        let mut said = Said::default();
        for operation in &operations {
            said.hear(operation);
        }
        failures += said.0.iter().filter(|(_, is_accepted)| !is_accepted).count();
        // What was refused is not there: no power was lost.
        said.0.retain(|(_, is_accepted)| *is_accepted);
        let report = verify(&folder.join("audit.jsonl"), 0).unwrap();
        assert!(report.is_whole(), "fault at {first}: {:#?}", report.findings);
        said.check(&told(&folder), &format!("fault at {first}"));
        first += 1;
    }
    assert!(failures > 0, "something failed");
}

#[test]
fn a_write_of_the_trail_that_fails_is_told_and_loses_nothing() {
    check_faults("e", 1, 5);
}

#[test]
fn a_write_of_the_trail_that_is_cut_short_is_told_and_loses_nothing() {
    check_faults("s", 2, 28);
}

#[test]
fn a_trail_on_a_disk_that_fails_for_a_while_loses_nothing() {
    check_faults("e", 6, 28);
}
