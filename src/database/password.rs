//! # Purpose
//! Which password a connection is made with: the one in the file, or one that the file held before.
//!
//! # Invariants kept here
//! - What the file has held is tried, the latest first, until the database takes one; only then is what came before it
//!   forgotten (invariant 14). No more than [`MOST`] are kept.
//! - A new one is tried while the former still serves, not when the last connection has gone.
//!
//! # Not here
//! Connections: `connect`. Noticing that the file has changed: `secrets::Reloading`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tracing::{info, warn};

use super::error::{DatabaseError, Place};
use crate::catalogue::ErrorCode;
use crate::clock::Stopwatch;
use crate::secrets::{MountedFile, Reloading, SecretSource};
use crate::telemetry::chain;

/// Passwords that are kept: as often may the file be replaced before the database takes one of them. Not more, since
/// each is a failure at the server while none is taken.
const MOST: usize = 4;
/// A new one that the database did not take is tried again after this long.
const AGAIN: Duration = Duration::from_mins(1);

/// See the module.
pub(super) struct Passwords {
    file: Reloading<SecretString>,
    known: Mutex<Known>,
    place: Place,
}

/// What the file has held since the password that the database took last.
#[derive(Default)]
struct Known {
    /// The latest first; the last is the one that was taken last, if any was.
    kept: VecDeque<Arc<SecretString>>,
    latest: Latest,
}

/// What is known of the latest one.
#[derive(Clone, Copy, Default)]
enum Latest {
    #[default]
    Untried,
    Taken,
    /// Since when it was tried last.
    Refused(Stopwatch),
}

impl Passwords {
    pub(super) fn new(file: MountedFile, place: Place) -> Result<Self, DatabaseError> {
        let read = file.clone();
        let read = move || read.read().map_err(DatabaseError::Password);
        let file = Reloading::new("database password", Some(file), read)?;
        Ok(Self { file, known: Mutex::default(), place })
    }

    /// Looks into the file, so that nothing is missed that it holds for a while.
    pub(super) fn look(&self) {
        drop(self.seen());
    }

    /// The latest one that was not `tried`.
    pub(super) fn next(&self, tried: &[Arc<SecretString>]) -> Option<Arc<SecretString>> {
        self.seen().next(tried)
    }

    /// Whether the latest one is to be tried although no connection is wanted.
    pub(super) fn is_due(&self) -> bool {
        self.seen().is_due()
    }

    /// The database refused those that were `tried`, the first of them for this reason, and took `taken`, if any.
    pub(super) fn answered(
        &self,
        tried: &[Arc<SecretString>],
        refusal: Option<&DatabaseError>,
        taken: Option<&SecretString>,
    ) {
        let mut known = self.lock();
        let before = known.latest;
        known.answered(tried, taken);
        let (after, place) = (known.latest, &self.place);
        drop(known);
        match (before, after, refusal) {
            (Latest::Untried, Latest::Refused(_), Some(refusal)) if taken.is_some() => warn!(
                error = %chain(refusal),
                "{place} does not take the new password yet; the former one goes on being used [{}]: {}",
                ErrorCode::NewTokenNotTaken,
                chain(refusal)
            ),
            (Latest::Refused(_), Latest::Taken, _) => info!("{place} takes the new password"),
            (Latest::Untried | Latest::Taken | Latest::Refused(_), _, _) => {}
        }
    }

    fn seen(&self) -> MutexGuard<'_, Known> {
        let current = self.file.current();
        let mut known = self.lock();
        known.see(current);
        known
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn see(&mut self, current: Arc<SecretString>) {
        if self.kept.front().is_some_and(|latest| is_same(latest, &current)) {
            return;
        }
        self.kept.retain(|kept| !is_same(kept, &current));
        if self.kept.len() == MOST {
            // Not the last, which has worked.
            self.kept.remove(MOST - 2);
        }
        self.kept.push_front(current);
        self.latest = Latest::Untried;
    }

    fn next(&self, tried: &[Arc<SecretString>]) -> Option<Arc<SecretString>> {
        let is_untried =
            |kept: &&Arc<SecretString>| tried.len() < MOST && tried.iter().all(|tried| !is_same(tried, kept));
        self.kept.iter().find(is_untried).cloned()
    }

    fn is_due(&self) -> bool {
        match self.latest {
            Latest::Untried => true,
            Latest::Taken => false,
            Latest::Refused(last) => last.elapsed() >= AGAIN,
        }
    }

    fn answered(&mut self, refused: &[Arc<SecretString>], taken: Option<&SecretString>) {
        if let Some(at) = taken.and_then(|taken| self.kept.iter().position(|kept| is_same(kept, taken))) {
            self.kept.truncate(at + 1);
        }
        // One that was mounted meanwhile is neither.
        let Some(latest) = self.kept.front() else { return };
        if taken.is_some_and(|taken| is_same(taken, latest)) {
            self.latest = Latest::Taken;
        } else if refused.iter().any(|refused| is_same(refused, latest)) {
            self.latest = Latest::Refused(Stopwatch::started());
        }
    }
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Arc<SecretString> {
        Arc::new(text.into())
    }

    /// What would be tried, one after the other.
    fn tried(known: &Known) -> Vec<String> {
        let mut tried = Vec::new();
        while let Some(next) = known.next(&tried) {
            tried.push(next);
        }
        tried.iter().map(|password| password.expose_secret().to_owned()).collect()
    }

    #[test]
    fn what_the_file_has_held_is_kept_until_the_database_takes_what_came_later() {
        let mut known = Known::default();
        let see = |known: &mut Known, text: &str| known.see(password(text));
        see(&mut known, "first");
        known.answered(&[], Some(&password("first")));
        for text in ["second", "third", "third"] {
            see(&mut known, text);
        }
        assert_eq!(tried(&known), ["third", "second", "first"]);
        known.answered(&[password("third")], Some(&password("second")));
        assert_eq!(tried(&known), ["third", "second"], "the first is over, the third may come");
        see(&mut known, "second");
        assert_eq!(tried(&known), ["second", "third"], "put back");
        known.answered(&[], Some(&password("second")));
        assert_eq!(tried(&known), ["second"]);
        for n in 0..10 {
            see(&mut known, &n.to_string());
        }
        assert_eq!(tried(&known), ["9", "8", "7", "second"], "the one that has worked is not pushed out");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_one_is_tried_at_once_and_then_now_and_then() {
        let mut known = Known::default();
        known.see(password("first"));
        assert!(known.is_due());
        known.answered(&[], Some(&password("first")));
        assert!(!known.is_due());
        known.see(password("second"));
        assert!(known.is_due());
        known.answered(&[password("second")], Some(&password("first")));
        assert!(!known.is_due(), "it was refused");
        crate::clock::sleep(AGAIN).await;
        assert!(known.is_due());
        known.answered(&[], Some(&password("second")));
        crate::clock::sleep(AGAIN).await;
        assert!(!known.is_due());
        known.see(password("third"));
        known.see(password("fourth"));
        known.answered(&[password("third")], Some(&password("second")));
        assert!(known.is_due(), "mounted while the one before it was tried");
    }
}
