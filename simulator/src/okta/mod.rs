//! # Purpose
//! A stand-in for an Okta org: token endpoint, the part of the management API that a directory connector uses, and the
//! part by which an administrator sets it up, with Okta's limits, error texts and traps.
//!
//! # Invariants kept here
//! - The world is reproducible: ids, people, tokens and cursors follow from a seed, times from the clock handed in.
//! - Nothing but the arranging methods and the API changes the org.
//!
//! # Not here
//! Sign-in, app assignments, policies, event hooks, and asynchronous side effects of memberships.

mod answer;
mod api;
mod arrange;
mod budget;
mod cursor;
mod directory;
mod exchange;
pub mod faults;
mod filter;
mod hash;
mod ids;
mod journal;
mod json;
mod management;
mod oauth;
mod observe;
mod operation;
mod query;
mod settings;
mod system_log;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use axum::Router;
use axum::extract::{Request, State};
use tokio::sync::watch;

pub use self::arrange::{NewGroup, NewUser, Seed, Seeded};
pub use self::journal::{Call, MembershipWrite, WriteEffect};
pub use self::management::AdminRole;
pub use self::settings::{
    AbsentMember, Bucket, DpopRule, Limits, LinkStyle, PageSizes, RateHeaders, ReadOnlyGroups, Settings,
    SlowAnswer, SlowPages,
};

use self::budget::{Budgets, Slots};
use self::cursor::Cursors;
use self::directory::Directory;
use self::journal::Journal;
use self::oauth::Registry;
use crate::clock::SimClock;
use crate::fault::Faults;

/// A simulated Okta org. Clones are the same org.
#[derive(Clone)]
pub struct OktaSimulator(Arc<Org>);

struct Org {
    clock: SimClock,
    settings: RwLock<Arc<Settings>>,
    faults: Faults,
    directory: RwLock<Directory>,
    registry: Mutex<Registry>,
    budgets: Mutex<Budgets>,
    slots: Slots,
    journal: Mutex<Journal>,
    cursors: Cursors,
    serial: AtomicU64,
    membership_version: watch::Sender<u64>,
}

impl fmt::Debug for OktaSimulator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OktaSimulator").field("settings", &self.settings()).finish_non_exhaustive()
    }
}

impl OktaSimulator {
    /// An empty org.
    #[must_use]
    pub fn new(settings: Settings, clock: SimClock) -> Self {
        let seed = settings.seed;
        Self(Arc::new(Org {
            clock,
            settings: RwLock::new(Arc::new(settings)),
            faults: Faults::default(),
            directory: RwLock::new(Directory::new(seed)),
            registry: Mutex::new(Registry::new(seed)),
            budgets: Mutex::default(),
            slots: Slots::default(),
            journal: Mutex::default(),
            cursors: Cursors::new(seed),
            serial: AtomicU64::new(0),
            membership_version: watch::Sender::new(0),
        }))
    }

    /// The org's HTTP face, for [`crate::net::dispatch`] and [`crate::net::serve`].
    pub fn router(&self) -> Router {
        Router::new()
            .fallback(|State(org): State<Self>, request: Request| org.answer(request))
            .with_state(self.clone())
    }

    /// Faults by operation name: `token`, `list_users`, `get_user`, `list_user_groups`, `list_groups`, `get_group`,
    /// `list_group_members`, `add_member`, `remove_member`, `list_group_rules`, `list_group_roles`, `get_org`,
    /// `list_logs`, `well_known`, `keys`, and those of an administrator: `list_apps`, `create_app`, `get_app`,
    /// `list_app_keys`, `add_app_key`, `activate_app_key`, `deactivate_app_key`, `delete_app_key`, `list_app_grants`,
    /// `grant_app_scope`, `list_roles`, `create_role`, `list_role_permissions`, `add_role_permission`,
    /// `list_resource_sets`, `create_resource_set`, `list_resources`, `add_resources`, `list_client_roles`,
    /// `assign_client_role`, `revoke_api_token`.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// The clock everything here goes by.
    pub fn clock(&self) -> &SimClock {
        &self.0.clock
    }

    /// The current settings.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.0.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes settings; calls in flight keep the old ones. `seed` has no effect any more.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.0.settings.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut settings));
    }

    /// Sets the address, which is known only once a port is bound. A trailing slash is dropped.
    pub fn set_origin(&self, origin: impl Into<String>) {
        let mut origin = origin.into();
        origin.truncate(origin.trim_end_matches('/').len());
        self.configure(|settings| settings.origin = origin);
    }

    fn now_ms(&self) -> i64 {
        self.0.clock.now().as_millisecond()
    }

    fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.0.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.0.directory.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn budgets(&self) -> MutexGuard<'_, Budgets> {
        self.0.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.0.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slots(&self) -> &Slots {
        &self.0.slots
    }

    fn cursors(&self) -> &Cursors {
        &self.0.cursors
    }

    fn next_serial(&self) -> u64 {
        self.0.serial.fetch_add(1, Ordering::Relaxed)
    }

    fn note_membership_change(&self) {
        self.0.membership_version.send_modify(|version| *version += 1);
    }

    fn membership_versions(&self) -> watch::Receiver<u64> {
        self.0.membership_version.subscribe()
    }
}
