use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::*;
use crate::access::journal::{MemoryJournal, Standing, contract};
use crate::access::machine::{EndReason, Ending, Event};
use crate::audit::{Kind, MemoryAudit};
use crate::clock::VirtualClock;
use crate::domain::OktaGroupId;

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
        move |_: &Book| vec![record.clone()]
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
    let ended = Event::Ended { group: "00g1".into(), how: Ending::NotMember, okta_request_ids: Vec::new() };
    ledger.record(&[], |_| vec![Record::Grant { id: id.clone(), event: ended.clone() }]).await.unwrap();
    assert!(ledger.read(|book| book.grant(&id).is_none()));
    let turn = ledger.turn(std::slice::from_ref(&subject)).await;
    turn.recall().await.unwrap();
    assert!(ledger.read(|book| book.grant(&id).is_some()));
    drop(turn);
    assert!(ledger.read(|book| book.grant(&id).is_none()));
}

/// A journal that others write too, and that does not say what.
#[derive(Debug, Default)]
struct Mute {
    inner: Slow,
    /// How often others were faster.
    behind: AtomicUsize,
    /// How often it was asked what is new.
    asked: AtomicUsize,
    /// How often that was taken in.
    taken_in: AtomicUsize,
    /// What they have written, once it is told.
    others: watch::Sender<Option<Vec<Entry>>>,
}

impl Journal for Mute {
    fn append(
        &self,
        entries: Vec<Entry>,
        standing: Vec<Standing>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        let takes_one = |behind: usize| behind.checked_sub(1);
        if self.behind.fetch_update(Ordering::SeqCst, Ordering::SeqCst, takes_one).is_ok() {
            return std::future::ready(Err(JournalError::Behind)).boxed();
        }
        self.inner.append(entries, standing)
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

    fn is_shared(&self) -> bool {
        true
    }

    fn news<'a>(
        &'a self,
        _: &'a (dyn Fn(&Subject) -> bool + Send + Sync),
    ) -> BoxFuture<'a, Result<Found, JournalError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let one_more = vec![contract::entry(9, contract::accepted(&"grt_of_others_later".into()))];
        let entries = if self.behind.load(Ordering::SeqCst) == 0 { one_more } else { Vec::new() };
        std::future::ready(Ok(Found { entries, last: None })).boxed()
    }

    fn go_on_from(&self, _: Option<Last>) {
        self.taken_in.fetch_add(1, Ordering::SeqCst);
    }

    fn read_anew<'a>(&'a self, _: &'a [Subject]) -> BoxFuture<'a, Result<Found, JournalError>> {
        async move {
            let mut told = self.others.subscribe();
            let others = told.wait_for(Option::is_some).await.unwrap().clone().unwrap_or_default();
            let mut entries = self.inner.open_entries().await?;
            entries.extend(others);
            Ok(Found { entries, last: None })
        }
        .boxed()
    }
}

/// The bug that this would find: access that must end waits for a database that takes a minute to say what others wrote.
#[tokio::test(start_paused = true)]
async fn nobody_waits_while_what_others_wrote_is_read() {
    let journal = Arc::new(Mute::default());
    let clock = VirtualClock::shared("2026-01-01T00:00:00Z".parse().unwrap());
    let seam: Arc<dyn Journal> = Arc::clone(&journal) as _;
    let ledger = Ledger::open(seam, Arc::<MemoryAudit>::default(), clock).await.unwrap();
    let [first, second] = ["grt_1", "grt_2"].map(GrantId::from);
    give(&ledger, &first).await;
    give(&ledger, &second).await;
    journal.inner.inner.break_writes(true);
    ledger.record(&[], |_| vec![over(&first)]).await.unwrap();
    journal.inner.inner.break_writes(false);
    // Others are faster before and after it is read.
    journal.behind.store(2, Ordering::SeqCst);
    let check = ledger.check();
    tokio::pin!(check);
    while journal.others.receiver_count() == 0 {
        assert!(check.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    let ended = clock::timeout(Duration::from_mins(1), ledger.record(&[], |_| vec![over(&second)]));
    ended.await.expect("it does not wait").unwrap();
    assert_eq!(ledger.health(), Health { works: false, complete: false, audited: true });

    let others = GrantId::from("grt_of_others");
    let theirs = contract::entry(8, contract::accepted(&others));
    journal.others.send_replace(Some(vec![theirs]));
    check.await;
    assert_eq!(ledger.health(), Health { works: true, complete: true, audited: true });
    let written: Vec<_> =
        journal.inner.inner.entries().into_iter().skip(8).map(|entry| entry.record).collect();
    assert_eq!(written, [over(&first), over(&second)]);
    for grant in [others, "grt_of_others_later".into()] {
        assert!(ledger.read(|book| book.grant(&grant).is_some()), "{grant}");
    }
}

/// The bug that this would find: what cannot be is passed over, and what is written next counts on it.
#[tokio::test]
async fn what_does_not_follow_from_what_is_known_is_an_outage() {
    let journal = Arc::new(Mute::default());
    let clock = VirtualClock::shared("2026-01-01T00:00:00Z".parse().unwrap());
    let seam: Arc<dyn Journal> = Arc::clone(&journal) as _;
    let ledger = Ledger::open(seam, Arc::<MemoryAudit>::default(), clock).await.unwrap();
    ledger.catch_up().await;
    assert_eq!((journal.taken_in.load(Ordering::SeqCst), ledger.health().works), (1, true));
    // It was accepted before.
    ledger.catch_up().await;
    assert_eq!((journal.taken_in.load(Ordering::SeqCst), ledger.health().works), (1, false));
}

/// The bug that this would find: what is new is added to a book that is ahead of the journal, and never laid under it.
#[tokio::test]
async fn nothing_new_is_taken_in_by_a_turn_that_waited_while_the_journal_failed() {
    let inner = Slow { permits: Some(Semaphore::new(1)), ..Slow::default() };
    let journal = Arc::new(Mute { inner, ..Mute::default() });
    let clock = VirtualClock::shared("2026-01-01T00:00:00Z".parse().unwrap());
    let seam: Arc<dyn Journal> = Arc::clone(&journal) as _;
    let ledger = Ledger::open(seam, Arc::<MemoryAudit>::default(), clock).await.unwrap();
    let id = GrantId::from("grt_1");
    ledger.record(&[], |_| vec![contract::accepted(&id)]).await.unwrap();
    let ends = ledger.record(&[], |_| vec![over(&id)]);
    tokio::pin!(ends);
    let tries = journal.inner.tries.load(Ordering::SeqCst);
    while journal.inner.tries.load(Ordering::SeqCst) == tries {
        assert!(ends.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    let catches_up = ledger.catch_up();
    tokio::pin!(catches_up);
    assert!(catches_up.as_mut().now_or_never().is_none(), "it waits for its turn");
    journal.inner.inner.break_writes(true);
    journal.inner.permits.as_ref().unwrap().add_permits(1);
    ends.await.unwrap();
    catches_up.await;
    assert_eq!(journal.asked.load(Ordering::SeqCst), 0);
}

/// On a disk that fails, an end must cost the same whether ten or ten thousand wait.
#[tokio::test]
async fn what_waits_for_a_failing_disk_is_not_carried_to_it_by_every_end() {
    const MANY: usize = 2_000;
    let journal = Arc::new(Slow::default());
    let ledger = ledger(&journal).await;
    let ids: Vec<_> = (0..MANY).map(|number| GrantId::from(format!("grt_{number}"))).collect();
    let accepted: Vec<_> = ids.iter().map(contract::accepted).collect();
    ledger.record(&[], |_| accepted.clone()).await.unwrap();
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
        let taken = Record::Task { id: "tsk_1".into(), event: TaskEvent::Taken { ask, lease, by: None } };
        ledger.record(&[], |_| vec![taken.clone()]).await.unwrap();
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

/// What processes share that come one after the other.
#[derive(Debug, Default)]
struct Disks {
    journal: Arc<MemoryJournal>,
    trail: Arc<MemoryAudit>,
}

impl Disks {
    /// A process that starts so many minutes after the first.
    async fn start(&self, minutes: i64) -> Ledger {
        let journal: Arc<dyn Journal> = Arc::clone(&self.journal) as _;
        let clock = VirtualClock::shared(minute(minutes));
        Ledger::open(journal, Arc::clone(&self.trail) as Arc<dyn Audit>, clock).await.unwrap()
    }

    /// All that was told: when it happened, and what.
    fn told(&self) -> Vec<(Timestamp, Kind)> {
        self.trail.records().into_iter().map(|(at, record)| (at, record.kind)).collect()
    }

    async fn still_open(&self) -> usize {
        self.journal.open_entries().await.unwrap().len()
    }
}

fn minute(minutes: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start + jiff::SignedDuration::from_mins(minutes)
}

/// Records events of a grant, one after the other.
async fn record(ledger: &Ledger, id: &GrantId, events: impl IntoIterator<Item = Event>) {
    for event in events {
        let record = Record::Grant { id: id.clone(), event };
        ledger.record(&[], |_| vec![record.clone()]).await.unwrap();
    }
}

async fn give(ledger: &Ledger, id: &GrantId) {
    ledger.record(&[], |_| vec![contract::accepted(id)]).await.unwrap();
    let group = OktaGroupId::from("00g1");
    let added = Event::Granted { group: group.clone(), verified: true, okta_request_ids: Vec::new() };
    let user = Event::UserResolved { user: "00u1".into() };
    record(ledger, id, [user, Event::GrantIntended { group }, added]).await;
}

async fn end(ledger: &Ledger, id: &GrantId) {
    ledger.record(&[], |_| vec![over(id)]).await.unwrap();
    record(ledger, id, removal()).await;
}

fn removal() -> [Event; 2] {
    let group = OktaGroupId::from("00g1");
    let (how, okta_request_ids) = (Ending::Revoked, vec!["req_1".to_owned()]);
    [Event::RevokeIntended { group: group.clone() }, Event::Ended { group, how, okta_request_ids }]
}

const GIVEN: [Kind; 3] = [Kind::Requested, Kind::AdditionIntended, Kind::Added];
const ENDED: [Kind; 3] = [Kind::EndRequested, Kind::RemovalIntended, Kind::Removed];

fn at(minutes: i64, kinds: [Kind; 3]) -> Vec<(Timestamp, Kind)> {
    kinds.map(|kind| (minute(minutes), kind)).to_vec()
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_told_is_told_by_the_next_process() {
    let disks = Disks::default();
    let [first, second, third] = ["grt_1", "grt_2", "grt_3"].map(GrantId::from);
    let ledger = disks.start(0).await;
    give(&ledger, &first).await;
    give(&ledger, &second).await;
    disks.trail.break_writes(true);
    end(&ledger, &first).await;
    assert_eq!(disks.told(), [at(0, GIVEN), at(0, GIVEN)].concat());
    drop(ledger);

    // One that finds the trail as it was, and ends something more.
    let ledger = disks.start(10).await;
    assert_eq!(ledger.health(), Health { works: true, complete: true, audited: false });
    let refused = ledger.record(&[], |_| vec![contract::accepted(&third)]).await;
    assert!(matches!(refused, Err(LedgerError::AuditFails)));
    end(&ledger, &second).await;
    drop(ledger);

    disks.trail.break_writes(false);
    let ledger = disks.start(20).await;
    let all = [at(0, GIVEN), at(0, GIVEN), at(0, ENDED), at(10, ENDED)].concat();
    assert_eq!(disks.told(), all, "in the order of events, each with its instant");
    let last = disks.trail.records().pop().unwrap().1;
    assert_eq!((last.grant.as_str(), &last.okta_request_ids[..]), ("grt_2", &["req_1".to_owned()][..]));
    give(&ledger, &third).await;
    drop(ledger);
    disks.start(30).await;
    assert_eq!(disks.told(), [all, at(20, GIVEN)].concat(), "once");
}

/// The warning of a stop is not the end of it, and a process that lives on tells by itself.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_told_is_told_by_the_same_process_or_after_its_last_word() {
    let disks = Disks::default();
    let [first, second] = ["grt_1", "grt_2"].map(GrantId::from);
    let ledger = disks.start(0).await;
    give(&ledger, &first).await;
    give(&ledger, &second).await;
    disks.trail.break_writes(true);
    end(&ledger, &first).await;
    disks.trail.break_writes(false);
    ledger.check().await;
    let mut all = [at(0, GIVEN), at(0, GIVEN), at(0, ENDED)].concat();
    assert_eq!(disks.told(), all);
    assert_eq!(disks.still_open().await, 4, "the second grant alone");

    disks.trail.break_writes(true);
    end(&ledger, &second).await;
    ledger.close().await;
    drop(ledger);
    disks.trail.break_writes(false);
    disks.start(10).await;
    all.extend(at(0, ENDED));
    assert_eq!(disks.told(), all);
}

#[tokio::test(start_paused = true)]
async fn what_neither_disk_took_is_told_once_the_journal_has_it() {
    let (disks, id) = (Disks::default(), GrantId::from("grt_1"));
    let ledger = disks.start(0).await;
    give(&ledger, &id).await;
    disks.trail.break_writes(true);
    disks.journal.break_writes(true);
    end(&ledger, &id).await;
    assert_eq!(ledger.health(), Health { works: false, complete: false, audited: false });
    drop(ledger);

    // A crash takes back the ends and what was to be told of them, together.
    let ledger = disks.start(10).await;
    assert!(ledger.read(|book| book.grant(&id).unwrap().end.is_none()));
    end(&ledger, &id).await;
    disks.journal.break_writes(false);
    ledger.check().await;
    assert_eq!(ledger.health(), Health { works: true, complete: true, audited: false });
    drop(ledger);

    disks.trail.break_writes(false);
    disks.start(20).await;
    let all = [at(0, GIVEN), at(10, ENDED)].concat();
    assert_eq!(disks.told(), all);
    disks.start(30).await;
    assert_eq!(disks.told(), all);
}

/// What is told is told before it is noted: a crash in between tells twice, and never not at all.
#[tokio::test(start_paused = true)]
async fn a_crash_between_telling_and_noting_it_may_tell_twice() {
    let (disks, id) = (Disks::default(), GrantId::from("grt_1"));
    let ledger = disks.start(0).await;
    give(&ledger, &id).await;
    disks.trail.break_writes(true);
    end(&ledger, &id).await;
    disks.trail.break_writes(false);
    disks.journal.break_writes(true);
    ledger.check().await;
    let once = [at(0, GIVEN), at(0, ENDED)].concat();
    assert_eq!(disks.told(), once);
    assert_eq!(ledger.health(), Health { works: false, complete: false, audited: true });
    ledger.check().await;
    assert_eq!(disks.told(), once, "this process knows");
    drop(ledger);

    // The next one does not, nor can it note it.
    let ledger = disks.start(10).await;
    let twice = [once, at(0, ENDED)].concat();
    assert_eq!(disks.told(), twice);
    assert_eq!(ledger.health(), Health { works: false, complete: false, audited: true });
    disks.journal.break_writes(false);
    ledger.check().await;
    assert_eq!(ledger.health(), Health { works: true, complete: true, audited: true });
    drop(ledger);
    disks.start(20).await;
    assert_eq!(disks.told(), twice);
}

/// What began an outage ago is of no concern to the next start, however many there were.
#[tokio::test(start_paused = true)]
async fn an_outage_that_was_told_is_not_read_back() {
    let disks = Disks::default();
    for round in 0..3 {
        let ledger = disks.start(10 * round).await;
        let id = GrantId::from(format!("grt_{round}"));
        give(&ledger, &id).await;
        disks.trail.break_writes(true);
        end(&ledger, &id).await;
        drop(ledger);
        assert_eq!(disks.still_open().await, 3, "what one outage left");
        disks.trail.break_writes(false);
        drop(disks.start(10 * round + 5).await);
        assert_eq!(disks.still_open().await, 0);
    }
    let rounds = (0..3).map(|round| [at(10 * round, GIVEN), at(10 * round, ENDED)].concat());
    assert_eq!(disks.told(), rounds.collect::<Vec<_>>().concat());
}

/// A batch that begins something is refused, and so is what it would have told.
#[tokio::test(start_paused = true)]
async fn nothing_of_what_was_refused_is_told_later() {
    let (disks, id) = (Disks::default(), GrantId::from("grt_1"));
    let ledger = disks.start(0).await;
    give(&ledger, &id).await;
    let written = disks.journal.entries().len();
    disks.trail.break_writes(true);
    let another = GrantId::from("grt_2");
    for _ in 0..2 {
        let refused = ledger.record(&[], |_| vec![over(&id), contract::accepted(&another)]).await;
        assert!(matches!(refused, Err(LedgerError::Audit(_) | LedgerError::AuditFails)));
    }
    assert_eq!(disks.journal.entries().len(), written);
    disks.trail.break_writes(false);
    ledger.check().await;
    drop(ledger);
    disks.start(10).await;
    assert_eq!(disks.told(), at(0, GIVEN));
}
