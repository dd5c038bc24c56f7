use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// The whole of the share.
const ALL: Claim = Claim { share: 0.8, slice: 1.0 };

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn window(limit: u32, remaining: u32, resets_in: u64) -> Reading {
    Reading::Window { limit, remaining, resets_in: seconds(resets_in) }
}

fn spend_all(ledger: &mut Ledger, lane: Lane, now: Duration) -> u32 {
    let mut spent = 0;
    while ledger.check(lane, ALL, now) == Admission::Now {
        ledger.spend(now);
        ledger.settle();
        spent += 1;
    }
    spent
}

#[test]
fn a_small_share_is_slow_and_not_for_ever() {
    for (limit, share) in [(40, 0.02), (1, 0.8), (2, 0.4)] {
        let mut ledger = Ledger::default();
        ledger.observe(window(limit, limit, 60), ALL, seconds(0));
        for lane in [Lane::Removal, Lane::Grant, Lane::Verification, Lane::Directory] {
            assert_eq!(
                ledger.check(lane, Claim { share, slice: 1.0 }, seconds(1)),
                Admission::Now,
                "{share} of {limit} {lane:?}"
            );
        }
    }
}

#[test]
fn each_lane_leaves_a_reserve_for_the_more_urgent_ones() {
    let mut ledger = Ledger::default();
    ledger.observe(window(100, 100, 60), ALL, seconds(0));
    assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(1)), 16, "most of it is for later");
    assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(16)), 48, "80 % of 100, less a fifth");
    assert_eq!(spend_all(&mut ledger, Lane::Verification, seconds(16)), 8);
    assert_eq!(spend_all(&mut ledger, Lane::Grant, seconds(16)), 4);
    assert_eq!(spend_all(&mut ledger, Lane::Removal, seconds(16)), 24, "removals may spend to the last");
    assert_eq!(ledger.check(Lane::Removal, ALL, seconds(16)), Admission::NotBefore(seconds(60)));
}

#[test]
fn the_next_window_is_full_again() {
    let mut ledger = Ledger::default();
    ledger.observe(window(100, 15, 30), ALL, seconds(0));
    assert_eq!(ledger.check(Lane::Directory, ALL, seconds(29)), Admission::NotBefore(seconds(30)));
    assert_eq!(ledger.check(Lane::Directory, ALL, seconds(30)), Admission::Now);
}

#[test]
fn the_length_of_a_window_is_learned_when_one_follows_another() {
    let mut ledger = Ledger::default();
    ledger.observe(window(100, 40, 7), ALL, seconds(0));
    assert_eq!(ledger.window(), seconds(60), "it may have begun long ago");
    ledger.observe(window(100, 99, 61), ALL, seconds(3));
    assert_eq!(ledger.window(), seconds(60), "another end of a window that has not ended");
    ledger.observe(window(100, 99, 7), ALL, seconds(65));
    assert_eq!(ledger.window(), seconds(8));
    ledger.observe(window(100, 98, 3), ALL, seconds(69));
    assert_eq!(ledger.window(), seconds(8));
    ledger.observe(window(100, 99, 60), ALL, seconds(73));
    assert_eq!(ledger.window(), seconds(60));
}

#[test]
fn the_pace_is_what_the_directory_may_spend() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.pace(ALL, seconds(0)), None, "nothing is known yet");
    ledger.observe(window(100, 100, 60), ALL, seconds(0));
    let pace = |left, resets_in| Some(Pace { a_window: 64, left, resets_in: seconds(resets_in) });
    assert_eq!(ledger.pace(ALL, seconds(10)), pace(64, 50), "also what is kept for later");
    assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(10)), 16);
    assert_eq!(ledger.pace(ALL, seconds(10)), pace(48, 50));
    assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(20)), 48);
    assert_eq!(ledger.pace(ALL, seconds(20)), pace(0, 40));
    assert_eq!(ledger.pace(ALL, seconds(60)), pace(64, 61), "the next window is full");
    ledger.block(seconds(90));
    assert_eq!(ledger.pace(ALL, seconds(70)), pace(0, 20));
}

#[test]
fn a_window_that_no_answer_speaks_of_ends_all_the_same() {
    let mut ledger = Ledger::default();
    ledger.observe(window(100, 100, 60), ALL, seconds(0));
    assert_eq!(spend_all(&mut ledger, Lane::Removal, seconds(60)), 100);
    assert_eq!(ledger.check(Lane::Removal, ALL, seconds(120)), Admission::NotBefore(seconds(121)));
    assert_eq!(spend_all(&mut ledger, Lane::Removal, seconds(121)), 100);
    // A guess gives way to what an answer says.
    ledger.observe(window(100, 70, 20), ALL, seconds(122));
    assert_eq!(spend_all(&mut ledger, Lane::Removal, seconds(122)), 70);
}

#[test]
fn what_other_clients_take_is_noticed() {
    let mut ledger = Ledger::default();
    ledger.observe(window(100, 90, 30), ALL, seconds(0));
    ledger.observe(window(100, 5, 20), ALL, seconds(10));
    for second in 10..30 {
        let admission = ledger.check(Lane::Directory, ALL, seconds(second));
        assert!(matches!(admission, Admission::NotBefore(_)), "at {second} s: {admission:?}");
    }
}

#[test]
fn others_who_take_more_than_their_share_are_yielded_to_and_grants_keep_their_reserve() {
    // Somebody takes half of the bucket, evenly; the crawl takes what it may, whenever it may.
    let mut ledger = Ledger::default();
    let (limit, mut used, mut ours) = (240, 0, 0);
    for second in 0..600_u64 {
        let now = seconds(second);
        if second % 60 == 0 {
            (used, ours) = (0, 0);
        }
        used += 2;
        while ledger.check(Lane::Directory, ALL, now) == Admission::Now {
            ledger.spend(now);
            (used, ours) = (used + 1, ours + 1);
            ledger.observe(window(limit, limit.saturating_sub(used), 60 - second % 60), ALL, now);
            ledger.settle();
        }
        assert!(used <= limit, "{used} at {second} s");
        assert_eq!(ledger.check(Lane::Grant, ALL, now), Admission::Now, "{used} at {second} s");
        if second >= 120 && second % 60 == 59 {
            assert!((75..=95).contains(&ours), "{ours} in a window");
        }
    }
}

#[test]
fn others_who_take_everything_leave_a_little_of_the_next_window() {
    let mut ledger = Ledger::default();
    ledger.observe(window(100, 30, 20), ALL, seconds(0));
    assert_eq!(ledger.check(Lane::Directory, ALL, seconds(0)), Admission::NotBefore(seconds(6)));
    assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(20)), 10);
}

/// Okta counts the groups of a user with the listing of users: there the crawl is somebody else, who spends what it may
/// at once, and looks as if it went on like that.
#[test]
fn our_own_crawl_under_another_name_holds_up_no_grant() {
    for second in 16..60_u64 {
        let mut ledger = Ledger::default();
        let now = seconds(second);
        let left = 116 - u32::try_from(second).unwrap();
        ledger.observe(window(300, left, 60 - second), ALL, now);
        for lane in [Lane::Removal, Lane::Grant, Lane::Verification] {
            assert_eq!(ledger.check(lane, ALL, now), Admission::Now, "{lane:?} at {second} s");
        }
    }
}

#[test]
fn whoever_spends_less_than_their_share_keeps_it() {
    let mut ledger = Ledger::default();
    ledger.observe(window(100, 95, 40), ALL, seconds(0));
    assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(0)), 64);
}

#[test]
fn a_concurrency_answer_says_nothing_about_the_window() {
    let mut ledger = Ledger::default();
    ledger.observe(window(100, 50, 30), ALL, seconds(0));
    let before = ledger.clone();
    ledger.observe(Reading::Concurrency, ALL, seconds(1));
    assert_eq!(ledger, before);
}

#[test]
fn a_block_holds_every_lane_until_it_ends() {
    let mut ledger = Ledger::default();
    ledger.block(seconds(10));
    assert_eq!(ledger.check(Lane::Removal, ALL, seconds(9)), Admission::NotBefore(seconds(10)));
    assert_eq!(ledger.check(Lane::Removal, ALL, seconds(10)), Admission::Now);
}

proptest! {
    /// Against a window that counts exactly and answers that take up to a second, nothing is ever refused.
    #[test]
    fn never_spends_more_than_the_window_has(
        limit in 10_u32..300,
        steps in proptest::collection::vec((0_u64..900, 0_u64..1_000), 1..600),
    ) {
        let mut ledger = Ledger::default();
        let (mut now, mut window_ends, mut used) = (Duration::ZERO, Duration::ZERO, 0_u32);
        let mut answers: Vec<(Duration, Reading)> = Vec::new();
        for (pause, latency) in steps {
            now += Duration::from_millis(pause);
            answers.sort_by_key(|(due, _)| *due);
            while answers.first().is_some_and(|(due, _)| *due <= now) {
                let (due, reading) = answers.remove(0);
                ledger.observe(reading, ALL, due);
                ledger.settle();
            }
            if answers.len() < 8 && ledger.check(Lane::Removal, Claim { share: 1.0, slice: 1.0 }, now) == Admission::Now {
                ledger.spend(now);
                if now >= window_ends {
                    (window_ends, used) = (now + seconds(60), 0);
                }
                used += 1;
                prop_assert!(used <= limit, "request {used} of {limit}");
                // Both header and Date are cut to whole seconds.
                let resets_in = seconds(window_ends.as_secs() - now.as_secs() + 1);
                answers.push((
                    now + Duration::from_millis(latency),
                    Reading::Window { limit, remaining: limit - used, resets_in },
                ));
            }
        }
    }
}

fn slice(slice: f64) -> Claim {
    Claim { slice, ..ALL }
}

/// Daemons, each with its ledger, and a client that is none of ours, before one bucket that counts exactly.
struct Fleet {
    daemons: Vec<(Ledger, Claim)>,
    limit: u32,
    /// Requests of the other client, a second.
    foreign: u32,
    used: u32,
    ours: u32,
    refused: u32,
}

impl Fleet {
    fn new(limit: u32, foreign: u32, claims: impl IntoIterator<Item = Claim>) -> Self {
        let daemons = claims.into_iter().map(|claim| (Ledger::default(), claim)).collect();
        Self { daemons, limit, foreign, used: 0, ours: 0, refused: 0 }
    }

    fn spend(&mut self, requests: u32) {
        self.used += requests;
        self.refused += self.used.saturating_sub(self.limit).min(requests);
    }

    /// One request of a lane of a daemon, if it may go.
    fn ask(&mut self, daemon: usize, lane: Lane, second: u64) -> bool {
        let (ledger, claim) = &mut self.daemons[daemon];
        if ledger.check(lane, *claim, seconds(second)) != Admission::Now {
            return false;
        }
        ledger.spend(seconds(second));
        (self.used, self.ours) = (self.used + 1, self.ours + 1);
        self.refused += u32::from(self.used > self.limit);
        let answer = window(self.limit, self.limit.saturating_sub(self.used), 60 - second % 60);
        ledger.observe(answer, *claim, seconds(second));
        ledger.settle();
        true
    }

    /// A second, in which the directories of the first so many daemons take turns and spend what they may.
    fn crawl(&mut self, second: u64, daemons: usize) {
        if second.is_multiple_of(60) {
            (self.used, self.ours) = (0, 0);
        }
        self.spend(self.foreign);
        while (0..daemons).filter(|daemon| self.ask(*daemon, Lane::Directory, second)).count() > 0 {}
    }

    fn reslice(&mut self, daemon: usize, to: f64, second: u64) {
        let (ledger, claim) = &mut self.daemons[daemon];
        let before = std::mem::replace(claim, slice(to));
        ledger.reslice(before, *claim, seconds(second));
    }
}

#[test]
fn siblings_who_spend_all_of_theirs_at_once_are_no_strangers() {
    for (number, each) in [(1, 1.0), (2, 0.5), (3, 1.0 / 3.0), (4, 0.25), (8, 0.125)] {
        let mut fleet = Fleet::new(240, 0, vec![slice(each); number]);
        for second in 0..600 {
            fleet.crawl(second, number);
            if second % 60 == 59 && second > 60 {
                assert!((146..=162).contains(&fleet.ours), "{} in a window by {number}", fleet.ours);
            }
            if second % 60 == 20 {
                let granted = (0..number).filter(|daemon| fleet.ask(*daemon, Lane::Grant, second)).count();
                assert_eq!(granted, number, "at {second} s");
            }
        }
        assert_eq!(fleet.refused, 0);
    }
}

#[test]
fn a_slice_of_whose_siblings_nothing_is_seen_is_all_that_is_spent() {
    let mut fleet = Fleet::new(240, 0, [slice(0.25)]);
    for second in 0..600 {
        fleet.crawl(second, 1);
        if second % 60 == 59 && second > 60 {
            assert_eq!(fleet.ours, 38, "a quarter of 192, less ten");
        }
    }
}

#[test]
fn others_who_take_more_than_their_share_are_yielded_to_by_a_fleet_too() {
    for (number, each) in [(1, 1.0), (2, 0.5), (4, 0.25), (8, 0.125)] {
        for crawling in BTreeSet::from([1, (number / 2).max(1), number]) {
            for (foreign, least) in [(1, 20), (2, 15), (3, 4)] {
                let mut fleet = Fleet::new(240, foreign, vec![slice(each); number]);
                for second in 0..1200 {
                    fleet.crawl(second, crawling);
                    let what = format!("{foreign} a second, {crawling} of {number} crawl, at {second} s");
                    let asks = |one: &usize| fleet.ask(*one, Lane::Grant, second);
                    let granted = if second % 20 == 19 { (0..number).filter(asks).count() } else { number };
                    // Three windows, and a few more where hardly anything is left, teach it.
                    if second < if foreign < 3 { 180 } else { 600 } {
                        fleet.refused = 0;
                        continue;
                    }
                    assert_eq!((fleet.refused, granted), (0, number), "{what}");
                    if second % 60 == 59 {
                        assert!(fleet.ours >= least, "{what}: {}", fleet.ours);
                    }
                }
            }
        }
    }
}

/// What was learned in one crawl is known in the next, however long nothing but grants goes on in between.
#[test]
fn others_who_take_half_are_yielded_to_from_the_first_window_of_the_next_crawl() {
    for number in [2_u8, 4] {
        let mut fleet = Fleet::new(240, 2, vec![slice(1.0 / f64::from(number)); number.into()]);
        for second in 0..3000 {
            let is_crawling = second % 900 < 300;
            let crawling = if is_crawling { number.into() } else { 0 };
            fleet.crawl(second, crawling);
            let granted = second % 10 != 9 || fleet.ask(0, Lane::Grant, second);
            if second < 300 {
                fleet.refused = 0;
                continue;
            }
            assert_eq!((fleet.refused, granted), (0, true), "at {second} s by {number}");
        }
    }
}

#[test]
fn what_was_spent_of_a_slice_is_not_spent_again_by_the_one_that_gets_it() {
    let mut fleet = Fleet::new(240, 0, [slice(1.0), slice(0.0)]);
    for second in 0..300 {
        fleet.crawl(second, 2);
        // Back and forth, in the middle of each window.
        if second % 60 == 30 {
            let (loses, wins) = if second % 120 == 30 { (0, 1) } else { (1, 0) };
            fleet.reslice(loses, 0.1, second);
            fleet.reslice(wins, 0.9, second);
            assert!(fleet.ask(loses, Lane::Removal, second) && fleet.ask(wins, Lane::Grant, second));
        }
        assert!(fleet.used <= 192, "{} at {second} s: the share is 192", fleet.used);
        if second % 60 == 59 && second > 60 {
            assert!(fleet.used > 130, "{} at {second} s", fleet.used);
        }
    }
}

#[test]
fn a_smaller_slice_binds_at_once_and_removals_go_all_the_same() {
    let mut fleet = Fleet::new(100, 0, [slice(1.0)]);
    fleet.daemons[0].0.observe(window(100, 100, 60), ALL, seconds(0));
    for _ in 0..10 {
        assert!(fleet.ask(0, Lane::Directory, 1));
    }
    fleet.reslice(0, 0.1, 2);
    for lane in [Lane::Grant, Lane::Verification, Lane::Directory] {
        assert!(!fleet.ask(0, lane, 2), "{lane:?}");
    }
    assert!(fleet.ask(0, Lane::Removal, 2));
    fleet.reslice(0, 1.0, 3);
    assert!(fleet.ask(0, Lane::Directory, 3));
}

#[test]
fn without_a_slice_the_directory_waits_even_where_nothing_is_known() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.check(Lane::Directory, slice(0.0), seconds(0)), Admission::NotBefore(seconds(60)));
    assert_eq!(ledger.check(Lane::Removal, slice(0.0), seconds(0)), Admission::Now);
}

#[test]
fn what_was_spent_lately_is_forgotten_after_two_windows() {
    let mut ledger = Ledger::default();
    ledger.observe(window(100, 100, 60), ALL, seconds(0));
    assert_eq!(spend_all(&mut ledger, Lane::Directory, seconds(20)), 64);
    assert_eq!(ledger.spent_lately(seconds(59)), 64);
    assert_eq!(ledger.spent_lately(seconds(70)), 64, "the window is over, and nobody has looked since");
    assert_eq!(ledger.check(Lane::Directory, ALL, seconds(70)), Admission::Now);
    assert_eq!(ledger.spent_lately(seconds(70)), 64);
    assert_eq!(ledger.spent_lately(seconds(120)), 0);
}

proptest! {
    /// Whoever spends and however long answers take: slices that come to one never spend more than the window has.
    #[test]
    fn slices_together_never_spend_more_than_the_window_has(
        limit in 20_u32..300,
        parts in proptest::collection::vec(1_u32..10, 2..6),
        steps in proptest::collection::vec((0_u64..700, 0_u64..1_000, 0_usize..6, 0_usize..3), 1..900),
    ) {
        let whole = f64::from(parts.iter().sum::<u32>());
        let claims = parts.iter().map(|part| Claim { share: 1.0, slice: f64::from(*part) / whole });
        let mut daemons: Vec<_> = claims.map(|claim| (Ledger::default(), claim, 0)).collect();
        let (mut now, mut window_ends, mut used) = (Duration::ZERO, Duration::ZERO, 0_u32);
        let mut answers: Vec<(Duration, usize, Reading)> = Vec::new();
        for (pause, latency, daemon, lane) in steps {
            now += Duration::from_millis(pause);
            answers.sort_by_key(|(due, ..)| *due);
            while answers.first().is_some_and(|(due, ..)| *due <= now) {
                let (due, of, reading) = answers.remove(0);
                let (ledger, claim, on_their_way) = &mut daemons[of];
                ledger.observe(reading, *claim, due);
                ledger.settle();
                *on_their_way -= 1;
            }
            let daemon = daemon % daemons.len();
            let (ledger, claim, on_their_way) = &mut daemons[daemon];
            let lane = [Lane::Grant, Lane::Verification, Lane::Directory][lane];
            if *on_their_way < 3 && ledger.check(lane, *claim, now) == Admission::Now {
                ledger.spend(now);
                *on_their_way += 1;
                if now >= window_ends {
                    (window_ends, used) = (now + seconds(60), 0);
                }
                used += 1;
                prop_assert!(used <= limit, "request {used} of {limit}");
                let resets_in = seconds(window_ends.as_secs() - now.as_secs() + 1);
                let reading = Reading::Window { limit, remaining: limit - used, resets_in };
                answers.push((now + Duration::from_millis(latency), daemon, reading));
            }
        }
    }
}
