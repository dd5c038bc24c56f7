//! What the journal costs: opening and replaying it, and appending to it, measured on this machine's disk.
//!
//! `cargo bench --bench journal` fills journals of 1,000, 10,000 and 100,000 grants, with 1 % and with all of them open,
//! and opens each anew; a closed grant has seven entries, an open one six. Then it appends one record at a time, and ten
//! at a time, each append durable. It prints a table and one JSON line.
//! Other sizes: `cargo bench --bench journal -- GRANTS…`. `TMPDIR` says on which disk.
//!
//! It judges nothing; figures depend on the machine.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time and reads its arguments")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apono_connector::access::journal::{Entry, Journal, Owner, Record, SqliteJournal, Standing, Subject};
use apono_connector::access::ledger::Ledger;
use apono_connector::access::machine::{EndReason, Ending, Event, Source};
use apono_connector::audit::MemoryAudit;
use apono_connector::clock::SystemClock;
use apono_connector::domain::{Grant, GrantId, IntegrationId, OktaGroupId, OktaUserId, Revision};
use jiff::Timestamp;
use serde_json::json;

/// Appends for each measurement of writing.
const APPENDS: usize = 500;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if numbers.is_empty() { vec![1_000, 10_000, 100_000] } else { numbers };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    println!(
        "{:>8} {:>8} {:>9} {:>9} {:>9} {:>10}",
        "grants", "open", "entries", "MiB", "read s", "replay s"
    );
    let mut rows = Vec::new();
    for size in sizes {
        for share in [1, 100] {
            let open = (size * share / 100).max(1);
            let path = folder.path().join(format!("{size}-{open}.db"));
            let entries = runtime.block_on(fill(&path, size, open));
            let (read, replayed, live) = runtime.block_on(replay(&path));
            assert_eq!(live, open);
            let mib = mib(&path);
            println!(
                "{size:>8} {open:>8} {entries:>9} {mib:>9.1} {:>9.3} {:>10.3}",
                read.as_secs_f64(),
                replayed.as_secs_f64()
            );
            rows.push(json!({
                "grants": size, "open": open, "entries": entries, "mib": mib,
                "read_seconds": read.as_secs_f64(), "replay_seconds": replayed.as_secs_f64(),
            }));
            std::fs::remove_file(path).unwrap();
        }
    }
    let (single, batched) =
        (runtime.block_on(appends(folder.path(), 1)), runtime.block_on(appends(folder.path(), 10)));
    println!("appends a second: {single:.0} of one record, {batched:.0} of ten");
    println!(
        "{}",
        json!({ "journals": rows, "appends_per_second": { "of_one": single, "of_ten": batched } })
    );
}

fn open(path: &Path) -> SqliteJournal {
    let owner = Owner { connector: "okta-connector".to_owned(), organizations: Vec::new() };
    SqliteJournal::open(path, &owner, "bench").unwrap()
}

/// A journal of `size` grants, the last `open` of which are open. Says how many entries it has.
async fn fill(path: &Path, size: usize, open: usize) -> usize {
    let journal = self::open(path);
    journal.open_entries().await.unwrap();
    let mut written = 0;
    // Interleaved, as grants that run side by side are: a grant's entries are not neighbors.
    for first in (0..size).step_by(1000) {
        let some = first..(first + 1000).min(size);
        let lives: Vec<_> = some.clone().map(|number| life(number, number < size - open)).collect();
        let longest = lives.iter().map(Vec::len).max().unwrap_or(0);
        for step in 0..longest {
            let entries: Vec<_> = lives.iter().filter_map(|life| life.get(step).cloned()).collect();
            written += entries.len();
            let standing = some.clone().map(|number| Standing {
                subject: Subject::Grant(id(number)),
                open: number >= size - open || step + 1 < longest,
            });
            journal.append(entries, standing.collect()).await.unwrap();
        }
    }
    written
}

/// Opens and reads, then opens, reads and replays, as the connector does. How long each took, and how many grants are
/// there then.
async fn replay(path: &Path) -> (Duration, Duration, usize) {
    let began = Instant::now();
    let journal = Arc::new(open(path));
    journal.open_entries().await.unwrap();
    let read = began.elapsed();
    drop(journal);
    let began = Instant::now();
    let ledger = Ledger::open(Arc::new(open(path)), Arc::new(MemoryAudit::default()), SystemClock::shared())
        .await
        .unwrap();
    (read, began.elapsed(), ledger.read(|book| book.grants().count()))
}

async fn appends(folder: &Path, batch: usize) -> f64 {
    let journal = open(&folder.join(format!("appends-{batch}.db")));
    journal.open_entries().await.unwrap();
    let began = Instant::now();
    for append in 0..APPENDS {
        let ids = (append * batch..(append + 1) * batch).map(id);
        let standing = ids.map(|id| Standing { subject: Subject::Grant(id), open: true }).collect();
        let entries = (append * batch..(append + 1) * batch).map(|number| life(number, false).swap_remove(0));
        journal.append(entries.collect(), standing).await.unwrap();
    }
    f64::from(u32::try_from(APPENDS).unwrap()) / began.elapsed().as_secs_f64()
}

/// All that happens to a grant.
fn life(number: usize, to_its_end: bool) -> Vec<Entry> {
    let at = Timestamp::from_second(1_767_225_600 + i64::try_from(number).unwrap()).unwrap();
    let group = OktaGroupId::from(format!("00g{:017}", number % 500).as_str());
    let request = format!("req{number:020}");
    let grant = Grant {
        id: id(number),
        revision: Revision(1),
        integration: IntegrationId::from("069cf551-c124-43f6"),
        username: format!("person{number}@example.com"),
        groups: [group.clone()].into(),
        expires_at: Some(at),
        request: None,
    };
    let revised = Grant { revision: Revision(2), ..grant.clone() };
    let mut events = vec![
        Event::Accepted { grant, by: Source::Task },
        Event::UserResolved { user: OktaUserId::from(format!("00u{number:017}").as_str()) },
        Event::GrantIntended { group: group.clone() },
        Event::Granted { group: group.clone(), verified: true, okta_request_ids: vec![request.clone()] },
    ];
    if to_its_end {
        events.extend([
            Event::EndRequested { reason: EndReason::Expired, due: at, by: None },
            Event::RevokeIntended { group: group.clone() },
            Event::Ended { group, how: Ending::Revoked, okta_request_ids: vec![request] },
        ]);
    } else {
        let again = Grant { revision: Revision(3), ..revised.clone() };
        events.extend([
            Event::Revised { grant: revised, by: Source::Task },
            Event::Revised { grant: again, by: Source::Task },
        ]);
    }
    let id = id(number);
    events.into_iter().map(|event| Entry { at, record: Record::Grant { id: id.clone(), event } }).collect()
}

fn id(number: usize) -> GrantId {
    // Not in the order of their numbers, as Apono's are not.
    let spread = u64::try_from(number).unwrap().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    GrantId::from(format!("grt_{spread:016x}").as_str())
}

fn mib(path: &Path) -> f64 {
    let bytes = std::fs::metadata(path).unwrap().len();
    f64::from(u32::try_from(bytes / 1024).unwrap()) / 1024.0
}
