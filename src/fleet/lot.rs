//! # Purpose
//! To which of several daemons something falls, and what one that has too much lets go of.
//!
//! # Invariants kept here
//! - Pure. All who know the same daemons agree, whatever their order.
//! - When one comes or goes, only what falls to it moves (rendezvous hashing).
//! - What is let go of falls to somebody else, who has lived for a while: it does not come back, and not to one that comes and
//!   goes.
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

/// A daemon that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Living<'a> {
    pub(super) id: &'a str,
    /// Whether it has lived for a while.
    pub(super) is_settled: bool,
}

/// Which of the keys that are `mine` the daemon `me` lets go of, where all daemons have `total` together: of what it has beyond
/// an equal share, that which falls to another. `may` says of each whether it can be let go of now.
pub(super) fn surplus<'a>(
    mine: &[&'a str],
    me: &str,
    total: usize,
    living: &[Living<'_>],
    may: impl Fn(&str) -> bool,
) -> Vec<&'a str> {
    if living.is_empty() {
        return Vec::new();
    }
    let beyond = mine.len().saturating_sub(total.div_ceil(living.len()));
    let goes = |key: &&&str| {
        let heir = falls_to(living.iter().map(|daemon| daemon.id), key);
        heir != Some(me)
            && living.iter().any(|daemon| Some(daemon.id) == heir && daemon.is_settled)
            && may(key)
    };
    mine.iter().filter(goes).take(beyond).copied().collect()
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

    fn settled<'a>(ids: &[&'a str]) -> Vec<Living<'a>> {
        ids.iter().map(|id| Living { id, is_settled: true }).collect()
    }

    #[test]
    fn who_has_too_much_lets_go_until_all_have_their_share_or_what_falls_to_them() {
        let keys: Vec<String> = (0..40).map(|n| format!("organization:{n}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let ids = ["a", "b", "c"];
        let living = settled(&ids);
        let mut owners: BTreeMap<&str, &str> = keys.iter().map(|key| (*key, "a")).collect();
        let of = |owners: &BTreeMap<&str, &str>, id: &str| -> Vec<&str> {
            keys.iter().filter(|key| owners[**key] == id).copied().collect()
        };
        let let_go = surplus(&of(&owners, "a"), "a", keys.len(), &living, |_| true);
        assert!(!let_go.is_empty());
        for key in let_go {
            let heir = falls_to(ids.into_iter(), key).unwrap();
            assert_ne!(heir, "a");
            owners.insert(key, heir);
        }
        for id in ids {
            let mine = of(&owners, id);
            assert_eq!(surplus(&mine, id, keys.len(), &living, |_| true), Vec::<&str>::new(), "it stays so");
        }
        assert!(
            of(&owners, "a").len()
                <= 14.max(keys.iter().filter(|key| falls_to(ids.into_iter(), key) == Some("a")).count())
        );
    }

    #[test]
    fn nobody_lets_go_of_what_is_in_hand_or_to_one_who_has_just_come_or_of_what_falls_to_itself() {
        let keys = ["organization:1", "organization:2", "organization:3", "organization:4"];
        let living = settled(&["a", "b"]);
        let to_b: Vec<&str> =
            keys.into_iter().filter(|key| falls_to(["a", "b"].into_iter(), key) == Some("b")).collect();
        assert!(to_b.len() >= 2, "{to_b:?}");
        assert_eq!(surplus(&keys, "a", 4, &living, |_| true), to_b[..2]);
        assert_eq!(surplus(&keys, "a", 4, &living, |key| key != to_b[0]), to_b[1..3.min(to_b.len())]);
        assert_eq!(surplus(&keys[..2], "a", 4, &living, |_| true), Vec::<&str>::new(), "its share");
        let newcomer = [Living { id: "a", is_settled: true }, Living { id: "b", is_settled: false }];
        assert_eq!(surplus(&keys, "a", 4, &newcomer, |_| true), Vec::<&str>::new());
        assert_eq!(surplus(&keys, "a", 4, &settled(&["a"]), |_| true), Vec::<&str>::new(), "alone");
        assert_eq!(surplus(&keys, "a", 4, &[], |_| true), Vec::<&str>::new());
    }
}
