//! # Purpose
//! To which of several daemons something falls.
//!
//! # Invariants kept here
//! - Pure. All who know the same daemons agree, whatever their order.
//! - When one comes or goes, only what falls to it moves (rendezvous hashing).
//!
//! # Not here
//! Who lives: `members`.

use sha2::{Digest, Sha256};

/// Among `daemons`, the one to whom `key` falls.
pub(super) fn falls_to<'a>(daemons: impl Iterator<Item = &'a str>, key: &str) -> Option<&'a str> {
    daemons.max_by_key(|daemon| {
        let mut hash = Sha256::new();
        hash.update(daemon.as_bytes());
        hash.update([0]);
        hash.update(key.as_bytes());
        hash.finalize()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn all_agree_and_only_what_falls_to_the_one_who_leaves_moves() {
        let all = ["a", "b", "c"];
        let mut shares = BTreeMap::<_, usize>::new();
        for n in 0..3000 {
            let key = format!("grt_{n}");
            let before = falls_to(all.into_iter(), &key).unwrap();
            assert_eq!(falls_to(all.into_iter().rev(), &key), Some(before));
            let after = falls_to(["a", "c"].into_iter(), &key).unwrap();
            assert!(before == "b" || before == after);
            *shares.entry(before).or_default() += 1;
        }
        assert!(shares.values().all(|share| (850..1150).contains(share)), "{shares:?}");
        assert_eq!(falls_to(std::iter::empty(), "x"), None);
    }
}
