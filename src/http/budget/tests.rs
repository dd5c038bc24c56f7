use futures_util::FutureExt;
use http::HeaderValue;
use tokio::task::unconstrained;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::*;
use crate::clock::VirtualClock;
use crate::telemetry::log::json_line;

fn budget() -> Budget {
    let clock = VirtualClock::shared("1994-11-06T08:49:37Z".parse::<Timestamp>().unwrap());
    Budget::new(BudgetSettings::default(), "int", clock, Arc::default())
}

fn window(remaining: &'static str, resets_in: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("date", HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
    headers.insert("x-rate-limit-limit", HeaderValue::from_static("100"));
    headers.insert("x-rate-limit-remaining", HeaderValue::from_static(remaining));
    headers.insert("x-rate-limit-reset", HeaderValue::from(784_111_777 + resets_in));
    headers
}

#[tokio::test(start_paused = true)]
async fn a_removal_goes_at_once_where_the_directory_waits_for_the_window() {
    let budget = budget();
    budget.admit("groups", Lane::Directory).await.observe(&window("15", 19));
    let started = budget.clock.elapsed();
    assert!(budget.admit("groups", Lane::Directory).now_or_never().is_none());
    assert!(budget.admit("groups", Lane::Removal).now_or_never().is_some());
    assert!(budget.admit("users", Lane::Directory).now_or_never().is_some(), "another bucket");
    budget.admit("groups", Lane::Directory).await;
    assert_eq!(budget.clock.elapsed().saturating_sub(started).as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn what_is_seen_of_a_bucket_is_its_pace_and_how_long_answers_take_without_the_waiting() {
    let budget = budget();
    assert_eq!(budget.seen("groups"), Seen::default());
    let permit = budget.admit("groups", Lane::Directory).await;
    clock::sleep(Duration::from_millis(80)).await;
    permit.observe(&window("36", 19));
    drop(permit);
    let seen = budget.seen("groups");
    assert_eq!(seen.latency, Some(Duration::from_millis(80)));
    assert_eq!(seen.pace.map(|pace| (pace.a_window, pace.left)), Some((64, 0)));
    // This one waits for the window.
    let permit = budget.admit("groups", Lane::Directory).await;
    clock::sleep(Duration::from_millis(160)).await;
    permit.observe(&window("99", 59));
    assert_eq!(budget.seen("groups").latency, Some(Duration::from_millis(90)), "an eighth of the way");
}

#[tokio::test(start_paused = true)]
async fn the_directory_leaves_slots_for_the_other_lanes() {
    let budget = budget();
    let mut held = Vec::new();
    while let Some(permit) = budget.admit("groups", Lane::Directory).now_or_never() {
        held.push(permit);
    }
    assert_eq!(held.len(), 5);
    assert!(budget.admit("groups", Lane::Grant).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_removal_finds_a_slot_however_many_of_the_others_wait_or_are_on_their_way() {
    let budget = budget();
    budget.admit("groups", Lane::Grant).await.observe(&window("4", 50));
    // Four left are below the reserve of grants, so these wait for the window …
    let mut waiting =
        Box::pin(futures_util::future::join_all((0..20).map(|_| budget.admit("groups", Lane::Grant))));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert!(budget.admit("groups", Lane::Removal).now_or_never().is_some());
    // … and these are slow to be answered.
    let mut slow = Vec::new();
    while let Some(permit) = budget.admit("user groups", Lane::Verification).now_or_never() {
        slow.push(permit);
    }
    assert_eq!(slow.len(), 6);
    let removals = [(), ()].map(|()| budget.admit("groups", Lane::Removal).now_or_never());
    assert!(removals.iter().all(Option::is_some));
}

#[tokio::test(start_paused = true)]
async fn the_governor_keeps_the_directory_to_its_allowance_whatever_the_headers_say() {
    let budget = budget();
    budget.admit("groups", Lane::Directory).await.observe(&window("100", 10));
    let mut sent = 0;
    // Unconstrained: tokio would end the loop after so many polls without a pause.
    while let Some(permit) = unconstrained(budget.admit("groups", Lane::Directory)).now_or_never() {
        sent += 1;
        permit.observe(&window("100", 10 + 3 * sent));
    }
    assert!((60..=64).contains(&sent), "{sent}");
}

/// Sends requests of the directory until one waits; how many.
fn crawl(budget: &Budget) -> usize {
    // Unconstrained: tokio would end the loop after so many polls without a pause.
    std::iter::from_fn(|| unconstrained(budget.admit("groups", Lane::Directory)).now_or_never()).count()
}

/// Half of the window is over, so that nothing is kept for later.
async fn in_the_middle_of_a_window(budget: &Budget) {
    budget.admit("groups", Lane::Removal).await.observe(&window("99", 30));
}

#[tokio::test(start_paused = true)]
async fn the_whole_share_is_ours_until_a_slice_is_set() {
    let (first, second) = (budget(), budget());
    second.set_slice(1.0);
    for budget in [&first, &second] {
        in_the_middle_of_a_window(budget).await;
        assert_eq!(crawl(budget), 63, "80 of 100, less a fifth and one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slice_is_a_part_of_the_share() {
    let budget = budget();
    budget.set_slice(0.5);
    in_the_middle_of_a_window(&budget).await;
    assert_eq!(budget.seen("groups").pace.map(|pace| (pace.a_window, pace.left)), Some((32, 31)));
    assert_eq!(crawl(&budget), 29, "two are for late in the window");
    clock::sleep(Duration::from_secs(22)).await;
    assert_eq!(crawl(&budget), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slice_that_becomes_less_binds_who_waits_and_one_that_becomes_more_wakes_them() {
    let budget = budget();
    budget.set_slice(0.25);
    in_the_middle_of_a_window(&budget).await;
    assert_eq!(crawl(&budget), 14);
    let mut waiting = Box::pin(budget.admit("groups", Lane::Directory));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    budget.set_slice(0.1);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert!(budget.admit("groups", Lane::Grant).now_or_never().is_none(), "more than its slice is spent");
    assert!(budget.admit("groups", Lane::Removal).now_or_never().is_some());
    let before = budget.clock.elapsed();
    budget.set_slice(0.5);
    waiting.await;
    assert_eq!(budget.clock.elapsed(), before, "it was woken");
}

#[tokio::test(start_paused = true)]
async fn a_slice_scales_the_slots_too() {
    let budget = budget();
    budget.set_slice(0.5);
    let held: Vec<_> =
        std::iter::from_fn(|| budget.admit("groups", Lane::Directory).now_or_never()).collect();
    assert_eq!(held.len(), 2);
    let grant = budget.admit("groups", Lane::Grant).now_or_never();
    assert!(grant.is_some() && budget.admit("groups", Lane::Grant).now_or_never().is_none());
    budget.set_slice(0.01);
    assert!(budget.admit("groups", Lane::Removal).now_or_never().is_some());
    drop(grant);
    assert!(budget.admit("users", Lane::Directory).now_or_never().is_none(), "two are on their way");
    budget.set_slice(1.0);
    assert!(budget.admit("users", Lane::Directory).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_slice_that_was_lent_is_lost_in_time_whoever_sleeps_and_removals_go_all_the_same() {
    let budget = budget();
    in_the_middle_of_a_window(&budget).await;
    let now = budget.clock.elapsed();
    budget.lend(0.5, now + Duration::from_secs(8), 0.1);
    clock::sleep(Duration::from_secs(7)).await;
    assert_eq!(Some(budget.slice()), Some(0.5));
    clock::sleep(Duration::from_secs(1)).await;
    assert_eq!(crawl(&budget), 4, "a tenth of 80, less two, one for later, and one that was spent");
    assert!(budget.admit("groups", Lane::Removal).now_or_never().is_some());
    assert_eq!(Some(budget.slice()), Some(0.1));
    // What is lent again is had again, and less than the least is not more.
    budget.lend(0.5, budget.clock.elapsed() + Duration::from_secs(8), 0.1);
    assert_eq!(Some(budget.slice()), Some(0.5));
    budget.set_slice(0.0);
    clock::sleep(Duration::from_secs(8)).await;
    assert_eq!(Some(budget.slice()), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn without_a_slice_only_removals_go_as_ever() {
    let budget = budget();
    for absurd in [-1.0, f64::NAN, 0.0] {
        budget.set_slice(1.0);
        budget.set_slice(absurd);
        assert!(budget.admit("groups", Lane::Directory).now_or_never().is_none(), "{absurd}");
        assert!(budget.admit("groups", Lane::Removal).now_or_never().is_some(), "{absurd}");
    }
    budget.set_slice(7.0);
    assert!(budget.admit("groups", Lane::Directory).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_demand_is_who_waits_and_what_was_spent() {
    let budget = budget();
    assert_eq!(budget.demand(), Demand::default());
    budget.set_slice(0.25);
    in_the_middle_of_a_window(&budget).await;
    assert_eq!(budget.demand(), Demand { spent: 1, of: 80, ..Demand::default() });
    crawl(&budget);
    let directory = budget.admit("groups", Lane::Directory);
    let mut waiting =
        Box::pin(futures_util::future::join(directory, budget.admit("groups", Lane::Directory)));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    while budget.admit("groups", Lane::Grant).now_or_never().is_some() {}
    let mut grant = Box::pin(budget.admit("groups", Lane::Grant));
    assert!(futures_util::poll!(&mut grant).is_pending());
    assert_eq!(budget.demand(), Demand { directory_waiting: 2, access_waiting: 1, spent: 19, of: 80 });
    drop((waiting, grant));
    let given_up = Demand { spent: 19, of: 80, ..Demand::default() };
    assert_eq!(budget.demand(), given_up);
    clock::sleep(Duration::from_secs(80)).await;
    assert_eq!(budget.demand(), given_up, "of the last window");
    clock::sleep(Duration::from_mins(1)).await;
    assert_eq!(budget.demand(), Demand { of: 80, ..Demand::default() });
}

/// `reason`, `wait_seconds` and `waited_seconds`.
type Line = (Option<String>, Option<u64>, Option<u64>);

/// What is told of waits.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Line>>>);

impl<S: tracing::Subscriber> Layer<S> for Told {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let line: serde_json::Value = serde_json::from_str(&json_line(event, Timestamp::UNIX_EPOCH)).unwrap();
        if line["event"].as_str().is_some_and(|event| event.starts_with("budget_wait")) {
            let reason = line["reason"].as_str().map(ToOwned::to_owned);
            let seconds = |field: &str| line[field].as_u64();
            self.0.lock().unwrap().push((reason, seconds("wait_seconds"), seconds("waited_seconds")));
        }
    }
}

impl Told {
    fn by_everybody() -> (Self, DefaultGuard) {
        let told = Self::default();
        let subscriber = tracing_subscriber::registry().with(told.clone());
        (told, tracing::subscriber::set_default(subscriber))
    }

    /// One line at the beginning, and where it is over, one at the end.
    fn is(&self, reason: Reason, wait: Option<u64>, waited: Option<u64>) {
        let mut expected = vec![(Some(reason.as_str().to_owned()), wait, None)];
        expected.extend(waited.map(|waited| (None, None, Some(waited))));
        let told = self.0.lock().unwrap().clone();
        assert_eq!(told, expected);
    }
}

fn many(budget: &Budget, number: usize, lane: Lane) -> impl Future<Output = Vec<()>> {
    futures_util::future::join_all((0..number).map(move |_| budget.admit("groups", lane).map(drop)))
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_the_window_is_told_of_once_however_many_wait() {
    let budget = budget();
    in_the_middle_of_a_window(&budget).await;
    crawl(&budget);
    let (told, _guard) = Told::by_everybody();
    many(&budget, 7, Lane::Directory).await;
    told.is(Reason::Spent, Some(31), Some(31));
}

#[tokio::test(start_paused = true)]
async fn a_wait_after_a_429_is_told_of_as_that() {
    let (told, _guard) = Told::by_everybody();
    let budget = budget();
    budget.admit("groups", Lane::Grant).await.block(Duration::from_secs(45));
    many(&budget, 7, Lane::Removal).await;
    told.is(Reason::Refused, Some(45), Some(45));
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_slot_is_told_of_when_it_has_become_long() {
    let (told, _guard) = Told::by_everybody();
    let budget = budget();
    let hold = async |seconds| {
        let held =
            futures_util::future::join_all((0..5).map(|_| budget.admit("users", Lane::Directory))).await;
        clock::sleep(Duration::from_secs(seconds)).await;
        drop(held);
    };
    let (slow, waiting) = (hold(2), many(&budget, 7, Lane::Directory));
    futures_util::join!(slow, waiting);
    assert!(told.0.lock().unwrap().is_empty(), "not worth a line");
    futures_util::join!(hold(10), many(&budget, 7, Lane::Directory));
    told.is(Reason::Slots, None, Some(10));
}

/// The governor lets one go in a second, so each of these waits in many short steps.
#[tokio::test(start_paused = true)]
async fn many_short_waits_of_one_request_are_one_long_one() {
    let (told, _guard) = Told::by_everybody();
    let budget = budget();
    budget.admit("groups", Lane::Directory).await.observe(&window("100", 10));
    let mut sent = 0;
    while let Some(permit) = unconstrained(budget.admit("groups", Lane::Directory)).now_or_never() {
        sent += 1;
        permit.observe(&window("100", 10 + 3 * sent));
    }
    many(&budget, 3, Lane::Directory).await;
    assert!(told.0.lock().unwrap().is_empty(), "not worth a line");
    let started = budget.clock.elapsed();
    many(&budget, 12, Lane::Directory).await;
    let took = budget.clock.elapsed().saturating_sub(started).as_secs();
    assert!(took > 8, "{took}");
    told.is(Reason::Spent, Some(3), Some(took));
}

#[tokio::test(start_paused = true)]
async fn it_is_told_who_has_what_is_waited_for() {
    let (told, guard) = Told::by_everybody();
    let others = budget();
    others.admit("groups", Lane::Directory).await.observe(&window("15", 19));
    assert!(others.admit("groups", Lane::Directory).now_or_never().is_none());
    told.is(Reason::Others, Some(6), Some(0));
    drop(guard);

    let siblings = budget();
    siblings.set_slice(0.25);
    in_the_middle_of_a_window(&siblings).await;
    crawl(&siblings);
    let (told, _guard) = Told::by_everybody();
    let waiting = siblings.admit("groups", Lane::Directory).map(drop).shared();
    assert!(waiting.clone().now_or_never().is_none());
    told.is(Reason::Slice, Some(22), None);
    drop(waiting);
    told.is(Reason::Slice, Some(22), Some(0));
}
