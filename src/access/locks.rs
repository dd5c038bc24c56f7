//! # Purpose
//! One turn at a time for each key.
//!
//! # Invariants kept here
//! - A key that nobody waits for takes no memory.
//!
//! # Not here
//! What the turn is for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Locks by key.
#[derive(Debug)]
pub(super) struct Locks<K> {
    held: Mutex<BTreeMap<K, Weak<tokio::sync::Mutex<()>>>>,
}

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self { held: Mutex::default() }
    }
}

impl<K: Ord + Clone> Locks<K> {
    /// Waits for the turn on `key`; it lasts as long as the guard.
    pub(super) async fn lock(&self, key: &K) -> OwnedMutexGuard<()> {
        let lock = {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.retain(|_, lock| lock.strong_count() > 0);
            held.get(key).and_then(Weak::upgrade).unwrap_or_else(|| {
                let lock = Arc::new(tokio::sync::Mutex::new(()));
                held.insert(key.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_turn_a_key_and_no_memory_of_the_past() {
        let locks = Locks::default();
        let first = locks.lock(&"a").await;
        assert!(locks.lock(&"a").now_or_never().is_none());
        assert!(locks.lock(&"b").now_or_never().is_some());
        drop(first);
        assert!(locks.lock(&"a").now_or_never().is_some());
        assert_eq!(locks.held.lock().unwrap().len(), 1);
    }
}
