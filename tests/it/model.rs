//! Random histories against a small model of what must be so in the end: whatever happens, and in whatever order, every
//! access that a grant gave has ended, every other membership is there, and every task has one answer.
//!
//! `PROPTEST_CASES` sets how many histories are lived through. `cargo bench --bench torture` lives through more.

use proptest::prelude::*;

use crate::history::live_through;
use crate::moves::histories;

proptest! {
    #![proptest_config(config())]
    #[test]
    fn access_ends_in_every_history(moves in histories(30)) {
        prop_assert_eq!(live_through(&moves).breaches, Vec::<String>::new());
    }
}

/// As `PROPTEST_CASES` says; where it says nothing, fewer than proptest would take, because each is a whole history.
fn config() -> ProptestConfig {
    const PROPTESTS_OWN: u32 = 256;
    let asked = ProptestConfig::default();
    let cases = if asked.cases == PROPTESTS_OWN { 100 } else { asked.cases };
    ProptestConfig { cases, ..asked }
}
