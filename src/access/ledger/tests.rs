use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::*;
use crate::access::journal::{MemoryJournal, Standing, contract};
use crate::access::machine::{EndReason, Event};
use crate::audit::MemoryAudit;
use crate::clock::VirtualClock;

/// A disk on which each append waits for a permit.
#[derive(Debug, Default)]
struct Slow {
    inner: MemoryJournal,
    permits: Option<Semaphore>,
    tries: AtomicUsize,
}

impl Journal for Slow {
    fn append(
        &self,
        entries: Vec<Entry>,
        standing: Vec<Standing>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        async move {
            self.tries.fetch_add(entries.len(), Ordering::SeqCst);
            if let Some(permits) = &self.permits {
                permits.acquire().await.unwrap().forget();
            }
            self.inner.append(entries, standing).await
        }
        .boxed()
    }

    fn prove(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        self.inner.prove()
    }

    fn open_entries(&self) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        self.inner.open_entries()
    }

    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        self.inner.history(subject)
    }

    fn about<'a>(&'a self, grant: &'a GrantId) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        self.inner.about(grant)
    }
}

async fn ledger(journal: &Arc<Slow>) -> Ledger {
    let clock = VirtualClock::shared("2026-01-01T00:00:00Z".parse().unwrap());
    let journal: Arc<dyn Journal> = Arc::clone(journal) as _;
    Ledger::open(journal, Arc::<MemoryAudit>::default(), clock).await.unwrap()
}

fn over(id: &GrantId) -> Record {
    let due = "2026-01-01T00:00:00Z".parse().unwrap();
    Record::Grant { id: id.clone(), event: Event::EndRequested { reason: EndReason::Expired, due, by: None } }
}

/// The bug that this would find: the record is written, its waiter is gone, and the next batch writes it once more. The
/// next start then refuses the journal.
#[tokio::test]
async fn what_nobody_waits_for_any_more_is_recorded_once() {
    let journal = Arc::new(Slow { permits: Some(Semaphore::new(0)), ..Slow::default() });
    let ledger = ledger(&journal).await;
    let (first, second) = (GrantId::from("grt_1"), GrantId::from("grt_2"));
    let accept = |id: &GrantId| {
        let record = contract::accepted(id);
        move |_: &Book| vec![record]
    };
    // Given up while the disk writes.
    assert!(ledger.record(&[], accept(&first)).now_or_never().is_none());
    while journal.tries.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    journal.permits.as_ref().unwrap().add_permits(10);
    ledger.record(&[], accept(&second)).await.unwrap();
    let recorded: Vec<_> = journal.inner.entries().into_iter().map(|entry| entry.record).collect();
    assert_eq!(recorded, [contract::accepted(&first), contract::accepted(&second)]);
    assert!(ledger.read(|book| book.grant(&first).is_some()));
    let journal: Arc<dyn Journal> = Arc::clone(&journal) as _;
    let clock = VirtualClock::shared("2026-01-01T00:00:00Z".parse().unwrap());
    Ledger::open(journal, Arc::<MemoryAudit>::default(), clock).await.unwrap();
}

#[tokio::test]
async fn a_turn_that_is_given_up_leaves_no_closed_subject_in_the_book() {
    let journal = Arc::new(Slow::default());
    let ledger = ledger(&journal).await;
    let id = GrantId::from("grt_1");
    let subject = Subject::Grant(id.clone());
    let (entry, standing) =
        (contract::entry(0, contract::accepted(&id)), contract::standing(subject.clone(), false));
    journal.inner.append(vec![entry], vec![standing]).await.unwrap();
    let turn = ledger.turn(std::slice::from_ref(&subject)).await;
    turn.recall().await.unwrap();
    assert!(ledger.read(|book| book.grant(&id).is_some()));
    drop(turn);
    // It is not terminal, so it stays; what is closed goes.
    ledger.record(&[], |_| vec![over(&id)]).await.unwrap();
    let ended = Event::Ended {
        group: "00g1".into(),
        how: crate::access::machine::Ending::NotMember,
        okta_request_ids: Vec::new(),
    };
    ledger.record(&[], |_| vec![Record::Grant { id: id.clone(), event: ended }]).await.unwrap();
    assert!(ledger.read(|book| book.grant(&id).is_none()));
    let turn = ledger.turn(std::slice::from_ref(&subject)).await;
    turn.recall().await.unwrap();
    assert!(ledger.read(|book| book.grant(&id).is_some()));
    drop(turn);
    assert!(ledger.read(|book| book.grant(&id).is_none()));
}

/// On a disk that fails, an end must cost the same whether ten or ten thousand wait.
#[tokio::test]
async fn what_waits_for_a_failing_disk_is_not_carried_to_it_by_every_end() {
    const MANY: usize = 2_000;
    let journal = Arc::new(Slow::default());
    let ledger = ledger(&journal).await;
    let ids: Vec<_> = (0..MANY).map(|number| GrantId::from(format!("grt_{number}"))).collect();
    let accepted: Vec<_> = ids.iter().map(contract::accepted).collect();
    ledger.record(&[], |_| accepted).await.unwrap();
    journal.tries.store(0, Ordering::SeqCst);
    journal.inner.break_writes(true);
    for id in &ids {
        ledger.record(&[], |_| vec![over(id)]).await.unwrap();
    }
    assert_eq!(journal.tries.load(Ordering::SeqCst), 1, "the first finds out");
    let refused = ledger.record(&[], |_| vec![contract::accepted(&"grt_new".into())]).await;
    assert!(matches!(refused, Err(LedgerError::JournalFails)));
    assert_eq!(ledger.health(), Health { works: false, complete: false, audited: true });
    ledger.check().await;
    assert_eq!(journal.tries.load(Ordering::SeqCst), 1 + MANY);
    journal.inner.break_writes(false);
    ledger.check().await;
    assert_eq!(ledger.health(), Health { works: true, complete: true, audited: true });
    assert_eq!(journal.inner.entries().len(), 2 * MANY);
    let order: Vec<_> = journal.inner.entries()[MANY..].iter().map(|entry| entry.record.clone()).collect();
    assert_eq!(order, ids.iter().map(over).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_task_that_is_handed_out_again_and_again_waits_once() {
    use crate::access::tasks::{Ask, TaskEvent};
    use crate::apono::Lease;
    let journal = Arc::new(Slow::default());
    let ledger = ledger(&journal).await;
    let id = GrantId::from("grt_1");
    ledger.record(&[], |_| vec![contract::accepted(&id)]).await.unwrap();
    journal.inner.break_writes(true);
    for number in 0..50 {
        let lease = Lease { token: format!("lease {number}"), expires_at: None };
        let ask = Ask::Revoke { grant: id.clone(), groups: Vec::new() };
        let taken = Record::Task { id: "tsk_1".into(), event: TaskEvent::Taken { ask, lease } };
        ledger.record(&[], |_| vec![taken]).await.unwrap();
    }
    journal.inner.break_writes(false);
    ledger.check().await;
    assert_eq!(journal.inner.entries().len(), 2);
    let entries = ledger.about(&id).await.unwrap();
    assert!(serde_json::to_string(&entries[1]).unwrap().contains("lease 49"));
}

#[test]
fn a_replay_makes_the_book_that_was_there() {
    let ids = ["grt_1", "grt_2"].map(GrantId::from);
    let of = |id: &GrantId, event: Event| Record::Grant { id: id.clone(), event };
    let mut records = Vec::new();
    for id in &ids {
        records.push(contract::accepted(id));
        records.push(of(id, Event::UserResolved { user: "00u1".into() }));
        records.push(of(id, Event::GrantIntended { group: "00g1".into() }));
    }
    records.push(over(&ids[0]));
    let mut live = Book::default();
    for record in &records {
        live.apply(std::slice::from_ref(record)).unwrap();
    }
    let entries: Vec<_> = records.iter().map(|record| contract::entry(1, record.clone())).collect();
    assert_eq!(Book::replay(entries.clone()).unwrap(), live);
    let twice = [entries.clone(), entries].concat();
    assert!(Book::replay(twice).is_err(), "what does not follow is told");
}
