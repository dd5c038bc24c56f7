//! # Purpose
//! How many requests are on their way at the same moment, by lane; a number that may change while they are.
//!
//! # Invariants kept here
//! - Each kind of lane has a slot in any slice, if it has one at all.
//! - Slots that are taken away while requests hold them are gone as soon as these end, and nobody gets one in between.
//!
//! # Not here
//! How many requests go in a window: `ledger`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{BudgetSettings, Lane};

/// The slots of one budget.
#[derive(Debug)]
pub(super) struct Slots(Arc<Pools>);

#[derive(Debug)]
struct Pools {
    /// For everybody.
    all: Arc<Semaphore>,
    /// Of these, for all but removals.
    shared: Arc<Semaphore>,
    /// Of these, for the directory.
    directory: Arc<Semaphore>,
    sizes: Mutex<Sizes>,
}

/// How many slots there are of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    all: Size,
    shared: Size,
    directory: Size,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    wanted: usize,
    /// Slots that are held, and not to be given back.
    owed: usize,
}

/// The slots that one request holds. The semaphores are never closed; a closed one would mean no limit rather than no
/// request.
pub(super) type Held = [Option<Taken>; 3];

#[derive(Clone, Copy, Debug)]
enum Kind {
    All,
    Shared,
    Directory,
}

impl Slots {
    pub(super) fn new(settings: &BudgetSettings) -> Self {
        let sizes = sizes(settings, 1.0);
        let [all, shared, directory] =
            [sizes.all, sizes.shared, sizes.directory].map(|size| Arc::new(Semaphore::new(size.wanted)));
        Self(Arc::new(Pools { all, shared, directory, sizes: Mutex::new(sizes) }))
    }

    /// From now on so many as this slice of them is.
    pub(super) fn resize(&self, settings: &BudgetSettings, slice: f64) {
        let (pools, wanted) = (&self.0, sizes(settings, slice));
        let mut sizes = pools.lock();
        sizes.directory.becomes(wanted.directory.wanted, &pools.directory);
        sizes.shared.becomes(wanted.shared.wanted, &pools.shared);
        // Who holds a slot too many must not hold that of a removal.
        let too_many = sizes.shared.owed;
        sizes.all.becomes(wanted.all.wanted + too_many, &pools.all);
    }

    /// The slots that a request of `lane` holds: the narrowest first, so that waiting for it holds no wider one.
    pub(super) async fn take(&self, lane: Lane) -> Held {
        let directory = match lane {
            Lane::Directory => self.take_one(Kind::Directory).await,
            Lane::Removal | Lane::Grant | Lane::Verification => None,
        };
        let shared = match lane {
            Lane::Directory | Lane::Grant | Lane::Verification => self.take_one(Kind::Shared).await,
            Lane::Removal => None,
        };
        [directory, shared, self.take_one(Kind::All).await]
    }

    async fn take_one(&self, kind: Kind) -> Option<Taken> {
        let pools = Arc::clone(&self.0);
        let free = match kind {
            Kind::All => &pools.all,
            Kind::Shared => &pools.shared,
            Kind::Directory => &pools.directory,
        };
        let permit = Arc::clone(free).acquire_owned().await.ok()?;
        Some(Taken { pools, kind, permit: Some(permit) })
    }
}

impl Pools {
    fn lock(&self) -> MutexGuard<'_, Sizes> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Size {
    fn of(wanted: usize) -> Self {
        Self { wanted, owed: 0 }
    }

    fn becomes(&mut self, wanted: usize, free: &Semaphore) {
        if let Some(fewer) = self.wanted.checked_sub(wanted) {
            self.owed += fewer - free.forget_permits(fewer);
        } else {
            let more = wanted - self.wanted;
            let kept = more.min(self.owed);
            self.owed -= kept;
            free.add_permits(more - kept);
        }
        self.wanted = wanted;
    }

    /// Whether a slot that is given back is one too many; then it is gone.
    fn takes_back(&mut self) -> bool {
        let is_owed = self.owed > 0;
        self.owed = self.owed.saturating_sub(1);
        is_owed
    }
}

/// A slot that is held.
#[derive(Debug)]
pub(super) struct Taken {
    pools: Arc<Pools>,
    kind: Kind,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut sizes = self.pools.lock();
        let is_gone = match self.kind {
            Kind::All => sizes.all.takes_back(),
            Kind::Directory => sizes.directory.takes_back(),
            Kind::Shared => {
                let is_gone = sizes.shared.takes_back();
                if is_gone {
                    let all = sizes.all.wanted.saturating_sub(1);
                    sizes.all.becomes(all, &self.pools.all);
                }
                is_gone
            }
        };
        if let Some(permit) = self.permit.take() {
            if is_gone { permit.forget() } else { drop(permit) }
        }
    }
}

/// Each kind of lane is scaled by itself: rounded together, small ones would vanish.
fn sizes(settings: &BudgetSettings, slice: f64) -> Sizes {
    let BudgetSettings { concurrency, directory_concurrency, removal_concurrency, share: _ } = *settings;
    let shared = concurrency.saturating_sub(removal_concurrency).max(1);
    let of_directory = directory_concurrency.min(shared);
    let directory = part(directory_concurrency, slice);
    let sliced = part(of_directory, slice) + part(shared - of_directory, slice);
    let removals = part(concurrency.saturating_sub(shared), slice);
    let all = (sliced + removals).min(concurrency);
    Sizes { all: Size::of(all), shared: Size::of(sliced), directory: Size::of(directory) }
}

fn part(slots: usize, slice: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative; saturates")]
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let scaled = (slots as f64 * slice).floor() as usize;
    scaled.clamp(slots.min(1), slots)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn each_kind_of_lane_keeps_a_slot_in_any_slice() {
        let settings = BudgetSettings::default();
        let of = |slice| {
            let sizes = sizes(&settings, slice);
            (sizes.all.wanted, sizes.shared.wanted, sizes.directory.wanted)
        };
        assert_eq!(of(1.0), (8, 6, 5));
        assert_eq!(of(0.5), (4, 3, 2));
        assert_eq!(of(0.25), (3, 2, 1));
        assert_eq!(of(0.0), (3, 2, 1));
        let narrow =
            BudgetSettings { concurrency: 1, directory_concurrency: 1, removal_concurrency: 1, ..settings };
        assert_eq!(sizes(&narrow, 0.1), sizes(&narrow, 1.0), "it has one for all of them");
    }

    /// What docs/fleet.md says of the size of a fleet.
    #[test]
    fn so_many_daemons_stay_below_oktas_limits_however_they_divide_the_share() {
        let settings = BudgetSettings::default();
        let all =
            |slices: &[f64]| slices.iter().map(|slice| sizes(&settings, *slice).all.wanted).sum::<usize>();
        for (daemons, most, limit) in [(4, 15, 17), (11, 36, 37)] {
            let floor = 0.2 / f64::from(daemons);
            let rest = usize::try_from(daemons - 1).unwrap();
            // What is beyond the floors goes to one, or to two by any parts.
            let worst = (0..=100).map(|percent| {
                let part = 0.8 * f64::from(percent) / 100.0;
                let mut slices = vec![floor; rest - 1];
                slices.extend([floor + part, floor + 0.8 - part]);
                all(&slices)
            });
            let worst = worst.max().unwrap_or(0);
            assert_eq!(worst, most, "{daemons} daemons");
            assert!(worst <= limit);
            assert!(all(&vec![1.0 / f64::from(daemons); rest + 1]) <= worst);
        }
    }

    #[tokio::test]
    async fn what_is_taken_away_while_it_is_held_is_not_given_to_anybody_else() {
        let settings = BudgetSettings::default();
        let slots = Slots::new(&settings);
        let take = |lane| slots.take(lane).now_or_never();
        let mut held: Vec<_> = std::iter::from_fn(|| take(Lane::Grant)).collect();
        assert_eq!(held.len(), 6);
        slots.resize(&settings, 0.25);
        let removal = take(Lane::Removal);
        assert!(removal.is_some(), "however many are held");
        assert!(take(Lane::Removal).is_none(), "a quarter of two is still one");
        held.truncate(2);
        assert!(take(Lane::Grant).is_none(), "two are held still, and there are two");
        assert!(take(Lane::Removal).is_none(), "none of those that are gone is one for a removal");
        slots.resize(&settings, 0.5);
        assert!(take(Lane::Grant).is_some(), "there are three");
        held.truncate(1);
        slots.resize(&settings, 0.25);
        assert!(take(Lane::Grant).is_some(), "there are two, and one is held");
        drop((held, removal));
        slots.resize(&settings, 1.0);
        let all: Vec<_> = std::iter::from_fn(|| take(Lane::Removal)).collect();
        assert_eq!(all.len(), 8, "after all of it there are as many as before");
    }
}
