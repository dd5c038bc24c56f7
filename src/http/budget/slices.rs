//! # Purpose
//! How the daemons of a fleet divide one organization's share: what each should hold, and what it may hold next.
//!
//! # Invariants kept here
//! - Pure, and the same for everybody: who is asked and in which order changes nothing.
//! - As long as what is held is read and changed in one step, the slices never come to more than one together, in whatever
//!   order the daemons act and whatever each of them wants.
//! - Who lives gets something, so that removals always go.
//! - Slices are whole quanta, so that their sums are exact.
//!
//! # Not here
//! What a slice means for a request: `claim`. Who lives, and what is held by whom: whoever keeps the state of the fleet.

use std::collections::BTreeMap;

/// What a daemon could use now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Requests of the directory that wait for a window.
    pub directory_waiting: u32,
    /// Requests of grants, removals and verifications that do.
    pub access_waiting: u32,
    /// Requests that were sent in the present or in the last window, whichever were more: to the bucket of which most was
    /// spent. Nothing after two windows without any.
    pub spent: u32,
    /// The requests of that window that all daemons may send together; zero before any limit is known.
    pub of: u32,
}

/// What each daemon should hold, in parts of the share. They come to one, less what rounding takes, as long as there is
/// anybody; each of them is at least [`floor`].
///
/// Who waits for a window gets what there is: by equal parts, double where grants or removals wait. Who does not gets what
/// it spends, and a little more. What nobody has a use for is divided equally.
///
/// What is `held` stays as it is where it is all given out, to those very daemons, and none of it is far from what it should
/// be: a slice that moves costs requests, because what one has spent of a window another cannot.
pub fn divide<Id: Ord + Clone>(demands: &[(Id, Demand)], held: &BTreeMap<Id, f64>) -> BTreeMap<Id, f64> {
    let demands: BTreeMap<_, _> = demands.iter().map(|(id, demand)| (id.clone(), *demand)).collect();
    let wanted = divided(&demands);
    let little = FLOORS / count(demands.len());
    let is_near =
        |(id, wanted): (&Id, &f64)| held.get(id).is_some_and(|held| (wanted - held).abs() <= little);
    let spare = 1.0 - held.values().sum::<f64>();
    let is_given_out = (0.0..=QUANTUM * count(demands.len())).contains(&spare);
    let is_enough = held.values().all(|held| *held >= floor(demands.len()));
    if is_given_out && is_enough && held.len() == wanted.len() && wanted.iter().all(is_near) {
        held.clone()
    } else {
        wanted
    }
}

/// What each of so many daemons gets whatever it asks for, in parts of the share.
pub fn floor(daemons: usize) -> f64 {
    whole_quanta(FLOORS / count(daemons))
}

/// What `me` may hold next, when all hold `current` and should hold `wanted`: less at once, more as far as nobody holds it.
///
/// `current` must tell of everybody who may still spend, also of daemons that are thought to be dead, until their slices
/// have run out; and must not change between being read and the answer being written.
pub fn grant_next<Id: Ord>(current: &BTreeMap<Id, f64>, wanted: &BTreeMap<Id, f64>, me: &Id) -> f64 {
    let of = |slices: &BTreeMap<Id, f64>| slices.get(me).copied().unwrap_or(0.0);
    let (mine, wanted) = (of(current), whole_quanta(of(wanted)));
    let free = whole_quanta(1.0 - current.values().sum::<f64>());
    if wanted <= mine { wanted } else { wanted.min(mine + free) }
}

/// By weights up to what each could use, beyond a floor for everybody; then the rest equally.
fn divided<Id: Ord + Clone>(demands: &BTreeMap<Id, Demand>) -> BTreeMap<Id, f64> {
    let floor = FLOORS / count(demands.len());
    let mut rest = 1.0 - FLOORS;
    let mut open: Vec<(&Id, Want)> = demands.iter().map(|(id, demand)| (id, want(demand, floor))).collect();
    // Who could use the least for its weight is served first: nobody is then left with less than the others' level.
    open.sort_by(|(_, one), (_, other)| one.level().total_cmp(&other.level()));
    let mut weights: f64 = open.iter().map(|(_, want)| want.weight).sum();
    let mut beyond = BTreeMap::new();
    for (id, want) in open {
        let gets = want.most.min(rest * want.weight / weights);
        (rest, weights) = (rest - gets, weights - want.weight);
        beyond.insert(id.clone(), gets);
    }
    let equally = rest.max(0.0) / count(demands.len());
    beyond.into_iter().map(|(id, beyond)| (id, whole_quanta(floor + beyond + equally))).collect()
}

/// What a daemon could use beyond its floor.
#[derive(Clone, Copy, Debug)]
struct Want {
    weight: f64,
    most: f64,
}

impl Want {
    fn level(&self) -> f64 {
        self.most / self.weight
    }
}

fn want(demand: &Demand, floor: f64) -> Want {
    let Demand { directory_waiting, access_waiting, spent, of } = *demand;
    match (access_waiting, directory_waiting) {
        (0, 0) => {
            let used = f64::from(spent) / f64::from(of.max(1));
            Want { weight: 1.0, most: (used * HEADROOM - floor).clamp(0.0, 1.0) }
        }
        (0, _) => Want { weight: 1.0, most: 1.0 },
        (_, _) => Want { weight: ACCESS_WEIGHT, most: ACCESS_WEIGHT },
    }
}

/// No slice is less than nothing or more than all, whatever is said of it.
fn whole_quanta(slice: f64) -> f64 {
    let slice = if slice.is_nan() { 0.0 } else { slice.clamp(0.0, 1.0) };
    (slice / QUANTUM).floor() * QUANTUM
}

fn count(daemons: usize) -> f64 {
    u32::try_from(daemons).map_or(f64::MAX, f64::from).max(1.0)
}

/// A fifth of the share is divided equally whatever anybody asks for.
const FLOORS: f64 = 0.2;
/// Who waits with grants or removals weighs as much as two who read the directory.
const ACCESS_WEIGHT: f64 = 2.0;
/// A quarter more than what is spent: a fifth of a slice is a reserve that is not spent.
const HEADROOM: f64 = 1.25;
/// About a millionth, and a power of two.
const QUANTUM: f64 = 1.0 / 1_048_576.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDLE: Demand = Demand { directory_waiting: 0, access_waiting: 0, spent: 0, of: 40 };
    const CRAWLS: Demand = Demand { directory_waiting: 5, spent: 32, ..IDLE };
    const GRANTS: Demand = Demand { access_waiting: 3, spent: 10, ..IDLE };
    const SPENDS: Demand = Demand { spent: 8, ..IDLE };

    fn percent(demands: &[Demand], held: &[f64]) -> Vec<f64> {
        let demands: Vec<_> = demands.iter().copied().enumerate().collect();
        let held = held.iter().copied().enumerate().collect();
        divide(&demands, &held).into_values().map(|slice| (slice * 1000.0).round() / 10.0).collect()
    }

    #[test]
    fn who_waits_gets_what_the_others_do_not_use() {
        let table: [(&str, &[Demand], &[f64]); 9] = [
            ("nobody", &[], &[]),
            ("one alone", &[IDLE], &[100.0]),
            ("none asks", &[IDLE; 4], &[25.0; 4]),
            ("all ask", &[CRAWLS; 4], &[25.0; 4]),
            ("one crawls", &[IDLE, CRAWLS, IDLE, IDLE], &[5.0, 85.0, 5.0, 5.0]),
            ("two crawl", &[CRAWLS, IDLE, IDLE, CRAWLS], &[45.0, 5.0, 5.0, 45.0]),
            ("what is spent is left to it", &[SPENDS, CRAWLS], &[25.0, 75.0]),
            ("grants that wait weigh double", &[GRANTS, CRAWLS], &[63.3, 36.7]),
            ("no more is left than there is", &[Demand { spent: 39, ..IDLE }, CRAWLS], &[50.0, 50.0]),
        ];
        for (what, demands, wanted) in table {
            assert_eq!(percent(demands, &[]), wanted, "{what}");
        }
    }

    #[test]
    fn small_changes_move_nothing_and_whoever_comes_or_goes_moves_everything() {
        let little_more = Demand { spent: 9, ..IDLE };
        assert_eq!(percent(&[little_more, CRAWLS], &[0.25, 0.75]), [25.0, 75.0]);
        assert_eq!(percent(&[CRAWLS, CRAWLS], &[0.25, 0.75]), [50.0, 50.0]);
        assert_eq!(percent(&[CRAWLS, CRAWLS], &[0.45, 0.45]), [50.0, 50.0], "some is nobody's");
        assert_eq!(percent(&[CRAWLS, CRAWLS], &[0.45, 0.45, 0.1]), [50.0, 50.0], "the third is gone");
        assert_eq!(percent(&[CRAWLS; 3], &[0.5, 0.5]), [33.3; 3], "a third has come");
    }

    #[test]
    fn less_is_held_at_once_and_more_when_it_is_free() {
        let slices = |slices: &[f64]| slices.iter().copied().enumerate().collect::<BTreeMap<_, _>>();
        let wanted = slices(&[0.25, 0.75]);
        let table: [(&str, &[f64], usize, f64); 6] = [
            ("less", &[0.5, 0.5], 0, 0.25),
            ("nothing is free", &[0.5, 0.5], 1, 0.5),
            ("more", &[0.25, 0.5], 1, 0.75),
            ("a dead one still holds it", &[0.25, 0.5, 0.125], 1, 0.625),
            ("one that has just come", &[0.25], 1, 0.75),
            ("nobody's", &[0.25, 0.5], 7, 0.0),
        ];
        for (what, current, me, next) in table {
            assert_eq!(Some(grant_next(&slices(current), &wanted, &me)), Some(next), "{what}");
        }
        for absurd in [f64::NAN, -1.0, 7.0, f64::INFINITY] {
            let next = grant_next(&slices(&[absurd, 0.5]), &slices(&[0.5, absurd]), &1);
            assert!((0.0..=1.0).contains(&next), "{next} after {absurd}");
        }
    }

    /// What one daemon does, or what becomes of it.
    #[derive(Clone, Debug)]
    enum Step {
        /// Reads what all hold and ask for, and takes what it may.
        Acts(u8),
        /// Takes what it may towards a division that is its own and of another time.
        ActsOn(u8, Vec<Demand>),
        Asks(u8, Demand),
        /// Is not counted any more, and holds its slice still.
        Dies(u8),
        /// Its slice has run out.
        RunsOut(u8),
        Comes(u8, Demand),
    }

    fn demand() -> impl Strategy<Value = Demand> {
        (0_u32..3, 0_u32..3, 0_u32..50, 0_u32..60).prop_map(
            |(directory_waiting, access_waiting, spent, of)| Demand {
                directory_waiting,
                access_waiting,
                spent,
                of,
            },
        )
    }

    fn step() -> impl Strategy<Value = Step> {
        let who = 0_u8..8;
        prop_oneof![
            6 => who.clone().prop_map(Step::Acts),
            2 => (who.clone(), proptest::collection::vec(demand(), 8)).prop_map(|(who, all)| Step::ActsOn(who, all)),
            2 => (who.clone(), demand()).prop_map(|(who, demand)| Step::Asks(who, demand)),
            1 => who.clone().prop_map(Step::Dies),
            2 => who.clone().prop_map(Step::RunsOut),
            1 => (who, demand()).prop_map(|(who, demand)| Step::Comes(who, demand)),
        ]
    }

    #[derive(Default)]
    struct Fleet {
        alive: BTreeMap<u8, Demand>,
        held: BTreeMap<u8, f64>,
    }

    impl Fleet {
        fn demands(&self) -> Vec<(u8, Demand)> {
            self.alive.iter().map(|(id, demand)| (*id, *demand)).collect()
        }

        fn takes(&mut self, who: u8, wanted: &BTreeMap<u8, f64>) {
            if self.alive.contains_key(&who) {
                let next = grant_next(&self.held, wanted, &who);
                self.held.insert(who, next);
            }
        }

        fn acts(&mut self, who: u8) {
            let wanted = divide(&self.demands(), &self.held);
            self.takes(who, &wanted);
        }

        fn goes_on(&mut self, step: Step) {
            match step {
                Step::Acts(who) => self.acts(who),
                Step::ActsOn(who, demands) => {
                    let demands: Vec<_> = (0..).zip(demands).collect();
                    self.takes(who, &divide(&demands, &BTreeMap::new()));
                }
                Step::Asks(who, demand) => {
                    self.alive.entry(who).and_modify(|asked| *asked = demand);
                }
                Step::Dies(who) => {
                    self.alive.remove(&who);
                }
                Step::RunsOut(who) => {
                    if !self.alive.contains_key(&who) {
                        self.held.remove(&who);
                    }
                }
                Step::Comes(who, demand) => {
                    self.alive.insert(who, demand);
                }
            }
        }

        fn sum(&self) -> f64 {
            self.held.values().sum()
        }
    }

    proptest! {
        #[test]
        fn a_division_gives_out_everything_and_something_to_everybody(
            demands in proptest::collection::vec(demand(), 1..40),
        ) {
            let demands: Vec<_> = demands.into_iter().enumerate().collect();
            let slices = divide(&demands, &BTreeMap::new());
            let (sum, least) = (slices.values().sum::<f64>(), floor(demands.len()));
            prop_assert!(slices.values().all(|slice| *slice >= least), "{slices:?}");
            prop_assert!(sum <= 1.0 && sum >= 1.0 - QUANTUM * count(demands.len()), "{sum}");
            let mut shuffled = demands.clone();
            shuffled.reverse();
            prop_assert_eq!(&divide(&shuffled, &BTreeMap::new()), &slices, "the order says nothing");
            prop_assert_eq!(&divide(&demands, &slices), &slices, "what it should be, it is");
        }

        #[test]
        fn never_is_more_than_one_held_and_what_is_wanted_is_held_after_two_rounds(
            steps in proptest::collection::vec(step(), 1..200),
            order in Just((0_u8..8).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut fleet = Fleet::default();
            for step in steps {
                fleet.goes_on(step.clone());
                prop_assert!(fleet.sum() <= 1.0, "{} after {step:?}", fleet.sum());
            }
            // Nothing changes any more: the dead have lost what they held, and the living act in some order.
            fleet.held.retain(|id, _| fleet.alive.contains_key(id));
            for who in order.iter().chain(&order) {
                fleet.acts(*who);
                prop_assert!(fleet.sum() <= 1.0, "{}", fleet.sum());
            }
            let number = fleet.alive.len();
            let wanted = divide(&fleet.demands(), &BTreeMap::new());
            for (id, wanted) in &wanted {
                let little = FLOORS / count(number);
                prop_assert!((fleet.held[id] - wanted).abs() <= little, "{:?} and not {wanted:?}", fleet.held);
                prop_assert!(fleet.held[id] >= floor(number), "{:?}", fleet.held);
            }
            if number > 0 {
                prop_assert!(fleet.sum() >= 1.0 - QUANTUM * count(number), "{}", fleet.sum());
            }
        }

        #[test]
        fn a_fixed_division_is_held_exactly_after_two_rounds(
            before in proptest::collection::vec(demand(), 2..12),
            after in proptest::collection::vec(demand(), 2..12),
        ) {
            let numbered = |demands: Vec<Demand>| demands.into_iter().enumerate().collect::<Vec<_>>();
            let (before, after) = (numbered(before), numbered(after));
            let mut held = divide(&before, &BTreeMap::new());
            held.retain(|id, _| *id < after.len());
            let wanted = divide(&after, &BTreeMap::new());
            for _ in 0..2 {
                for (me, _) in &after {
                    let next = grant_next(&held, &wanted, me);
                    held.insert(*me, next);
                }
            }
            prop_assert_eq!(held, wanted);
        }
    }
}
