//! # Purpose
//! Which of what the book asks for is this daemon's to do, where several share one journal.
//!
//! # Invariants kept here
//! - Alone, everything is ours: no question is asked and nothing is waited for.
//!
//! # Not here
//! How daemons know of each other: [`crate::fleet`]. What the claims are in the database: `journal::postgres`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::journal::JournalError;
use super::machine::Step;
use crate::domain::{GrantId, IntegrationId, OktaGroupId, SessionId};

/// A grant in a group: what one step is about.
pub type Key = (GrantId, OktaGroupId);

/// The daemons that share the journal.
pub trait Fleet: Send + Sync + fmt::Debug {
    /// This daemon, where there may be others.
    fn me(&self) -> Option<SessionId>;

    /// Whether what `by` has begun is this daemon's to carry on: it is that daemon, or that one is gone and `key` falls to
    /// this one.
    fn is_mine(&self, by: Option<&SessionId>, key: &str) -> bool;

    /// How long the one to whom something falls has it to itself.
    fn grace(&self) -> Duration;

    /// Whether what one daemon does for an organization is this one's: its directory, the listing of its grants, the looks
    /// at its memberships.
    fn owns(&self, integration: &IntegrationId) -> bool;

    /// Claims a step, unless another daemon that lives has it. An error is a database that is away: what is removed then
    /// is removed by whoever knows of it.
    fn claim<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<bool, JournalError>>;

    /// Gives a claim back.
    fn give_back<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, ()>;

    /// Asked right before something is changed in Okta: whether the claim still stands. A daemon that was paused finds out
    /// here that it was taken for dead.
    fn may_act<'a>(&'a self, key: &'a Key, step: Step) -> BoxFuture<'a, Result<(), JournalError>>;
}

/// The only daemon.
#[derive(Debug)]
pub struct Alone;

impl Alone {
    /// As it is shared.
    pub fn shared() -> Arc<dyn Fleet> {
        Arc::new(Self)
    }
}

impl Fleet for Alone {
    fn me(&self) -> Option<SessionId> {
        None
    }

    fn is_mine(&self, _: Option<&SessionId>, _: &str) -> bool {
        true
    }

    fn grace(&self) -> Duration {
        Duration::ZERO
    }

    fn owns(&self, _: &IntegrationId) -> bool {
        true
    }

    fn claim<'a>(&'a self, _: &'a Key) -> BoxFuture<'a, Result<bool, JournalError>> {
        ready(Ok(true)).boxed()
    }

    fn give_back<'a>(&'a self, _: &'a Key) -> BoxFuture<'a, ()> {
        ready(()).boxed()
    }

    fn may_act<'a>(&'a self, _: &'a Key, _: Step) -> BoxFuture<'a, Result<(), JournalError>> {
        ready(Ok(())).boxed()
    }
}
