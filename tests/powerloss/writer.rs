//! The process whose disk is looked at, and what it writes: numbered appends, the same at each run.
//!
//! This executable runs itself with the shim loaded. Before an append the writer notes `s17` in the file `acks`, after
//! it `a17` or `f17`; so the trace tells at each of its points what had been confirmed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use apono_connector::access::journal::{
    Damage, Entry, Journal, JournalError, OpenError, Owner, Record, SqliteJournal, Standing, Subject,
};
use apono_connector::access::machine::{Ending, Event};
use apono_connector::apono::Code;
use apono_connector::domain::{GrantId, OktaGroupId};
use jiff::Timestamp;

/// How many grants the appends are about.
pub const GRANTS: usize = 4;
/// Large enough to be noticed, small enough to be copied thousands of times.
const RESERVE: u64 = 16 * 1024;

/// What one run does.
#[derive(Clone, Debug)]
pub struct Run {
    /// The number of the first append.
    pub first: usize,
    /// How many appends there are before each restart of the journal; the last stop is one too.
    pub sessions: Vec<usize>,
    /// What fails: see the shim.
    pub fault: Option<String>,
}

/// Where the runs of one test are: in memory if the machine has such a place, since every loss of power is simulated.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("apono-powerloss-").tempdir_in(place).unwrap()
}

/// The state file in a folder of its own.
pub fn state_in(folder: &Path) -> PathBuf {
    folder.join("state.db")
}

/// Opens the journal of a folder.
pub fn open(folder: &Path) -> Result<SqliteJournal, OpenError> {
    let owner = Owner {
        connector: "okta-connector".to_owned(),
        organizations: vec![("int".to_owned(), "https://example.okta.com".to_owned())],
    };
    loop {
        match SqliteJournal::open_with_reserve(&state_in(folder), &owner, "the writer", RESERVE) {
            // A process that another test starts has our open files, and so our lock, until it is what it will be.
            Err(OpenError::InUse { .. }) => std::thread::yield_now(),
            other => return other,
        }
    }
}

/// What the append with this number writes. Every third closes its grant; some fill several pages.
pub fn append(number: usize) -> (Vec<Entry>, Vec<Standing>) {
    let entries = (0..=number % 3).map(|part| entry(number, part)).collect::<Vec<_>>();
    let subject = subject(number % GRANTS);
    let standing = Standing { subject, open: number % 3 != 2 };
    (entries, vec![standing])
}

fn entry(number: usize, part: usize) -> Entry {
    let group = OktaGroupId::from(format!("00g{part}").as_str());
    let length = if number % 7 == 3 { 9_000 } else { 60 };
    let text = format!("append {number}, part {part} {}", "x".repeat(length));
    // Of both kinds: what is refused on a full disk, and what only ends duties.
    let event = if number.is_multiple_of(2) {
        Event::Ended { group, how: Ending::Revoked, okta_request_ids: vec![text] }
    } else {
        Event::Refused { group, code: Code::NotPermitted, message: text, proven_absent: false }
    };
    let id = GrantId::from(format!("grt_{}", number % GRANTS).as_str());
    let at = Timestamp::from_second(1_767_225_600 + i64::try_from(number).unwrap()).unwrap();
    Entry { at, record: Record::Grant { id, event } }
}

/// One of the grants.
pub fn subject(grant: usize) -> Subject {
    Subject::Grant(GrantId::from(format!("grt_{grant}").as_str()))
}

/// All that a journal tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Of the open grants.
    pub open: Vec<Entry>,
    /// Of each grant.
    pub histories: Vec<Vec<Entry>>,
}

/// What a journal tells to which exactly these appends were made.
pub fn expected(numbers: &[usize]) -> Told {
    let mut histories = vec![Vec::new(); GRANTS];
    let mut is_open = [false; GRANTS];
    for number in numbers {
        let (entries, standing) = append(*number);
        histories[number % GRANTS].extend(entries);
        is_open[number % GRANTS] = standing[0].open;
    }
    let all = numbers.iter().filter(|number| is_open[**number % GRANTS]);
    Told { open: all.flat_map(|number| append(*number).0).collect(), histories }
}

/// What the journal of a folder tells, or how it is damaged.
pub fn told(folder: &Path) -> Result<Told, Damage> {
    let journal = match open(folder) {
        Ok(journal) => journal,
        Err(OpenError::Damaged(damage)) => return Err(damage),
        Err(error) => panic!("it opens, or tells of damage: {error}: {error:?}"),
    };
    read(&journal)
}

/// The same of one that is open.
pub fn read(journal: &SqliteJournal) -> Result<Told, Damage> {
    let damage = |error| match error {
        JournalError::Damaged(damage) => damage,
        JournalError::Write(_)
        | JournalError::Full { .. }
        | JournalError::Read(_)
        | JournalError::Unsure(_)
        | JournalError::Behind
        | JournalError::Rewound
        | JournalError::TakenOver
        | JournalError::Entry { .. } => {
            panic!("it is read, or tells of damage: {error}: {error:?}")
        }
    };
    wait(async {
        let mut told = Told { open: journal.open_entries().await.map_err(damage)?, histories: Vec::new() };
        for grant in 0..GRANTS {
            told.histories.push(journal.history(&subject(grant)).await.map_err(damage)?);
        }
        Ok(told)
    })
}

/// Waits for the journal, which does its work on a thread of its own.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

const RUN: &str = "POWERLOSS_RUN";
const FIRST: &str = "POWERLOSS_FIRST";

/// Runs the writer on `folder` in a process of its own, and returns the trace.
pub fn run(folder: &Path, run: &Run) -> Vec<u8> {
    let sessions: Vec<_> = run.sessions.iter().map(usize::to_string).collect();
    let mut command = other_process(folder, "writer::the_other_process");
    command.env(RUN, sessions.join(",")).env(FIRST, run.first.to_string());
    if let Some(fault) = &run.fault {
        command.env("SHIM_FAULT", fault);
    }
    finish(&mut command);
    let trace = folder.with_extension("trace");
    let bytes = fs::read(&trace).expect("the shim was loaded and wrote a trace");
    fs::remove_file(trace).unwrap();
    bytes
}

/// This executable again, with the shim over `folder`, for the test of this name.
pub fn other_process(folder: &Path, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env("LD_PRELOAD", shim())
        .env("SHIM_FOLDER", folder)
        .env("SHIM_TRACE", folder.with_extension("trace"));
    command
}

/// Waits for a process that must end well.
pub fn finish(command: &mut Command) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

/// The shim, compiled once.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/powerloss/shim.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("powerloss-shim.so");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
            .arg(&library)
            .arg(source)
            .args(["-ldl", "-lpthread"]);
        assert!(compiler.status().expect("there is a C compiler").success());
        library
    })
}

/// Not a test of its own: the process that [`run`] starts.
#[test]
#[ignore = "run by the other tests, with a folder and the shim"]
fn the_other_process() {
    let (Some(folder), Some(run)) = (std::env::var_os("SHIM_FOLDER"), std::env::var_os(RUN)) else {
        return;
    };
    let folder = PathBuf::from(folder);
    let acks = File::options().create(true).append(true).open(folder.join("acks")).unwrap();
    let say = |line: String| (&acks).write_all(line.as_bytes()).unwrap();
    let first = std::env::var(FIRST).unwrap().parse().unwrap();
    let mut numbers = first..;
    for session in run.to_str().unwrap().split(',') {
        let journal = patiently(|| open(&folder));
        patiently(|| wait(journal.open_entries()));
        for number in numbers.by_ref().take(session.parse().unwrap()) {
            say(format!("s{number}\n"));
            let (entries, standing) = append(number);
            if wait(journal.append(entries, standing)).is_ok() {
                say(format!("a{number}\n"));
            } else {
                say(format!("f{number}\n"));
                patiently(|| wait(journal.prove()));
            }
        }
    }
}

/// Tries a few times: what fails by the shim's will does not fail for ever.
pub fn patiently<T, E: std::fmt::Debug>(mut attempt: impl FnMut() -> Result<T, E>) -> T {
    for _ in 0..40 {
        if let Ok(done) = attempt() {
            return done;
        }
    }
    attempt().unwrap()
}
