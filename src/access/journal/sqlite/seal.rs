//! # Purpose
//! What the journal's rows are sealed with, so that a flipped bit or a lost row is noticed.
//!
//! # Invariants kept here
//! - Pure. Every value goes into a seal with its length before it: no two rows run together to the same bytes.
//! - The entries of a subject are a chain: none can be lost, changed or swapped without breaking what follows.
//! - A seal tells damage, not tampering: it has no key.
//!
//! # Not here
//! Reading and writing the rows: `rows`.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The first half of a SHA-256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal([u8; 16]);

/// What is known of one subject. The default is of one without entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Whether it is read back at the next start.
    pub open: bool,
    /// How many entries it has.
    pub entries: u64,
    /// The seal of the latest.
    pub last: Seal,
}

/// What is known of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// How many appends there were.
    pub commit: u64,
    /// How many subjects there are.
    pub subjects: u64,
    /// How many entries there are. The latest has this number.
    pub entries: u64,
    /// The seals of all subjects, added up: whatever order they are read in.
    pub sum: Sum,
}

/// Seals, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum(u128);

/// One entry, as it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub seq: i64,
    pub subject: &'a str,
    pub at: &'a [u8],
    pub record: &'a [u8],
}

impl Seal {
    /// Of an entry that follows the one sealed with `before`.
    pub(super) fn of_entry(before: Self, row: Row<'_>) -> Self {
        let parts: [&[u8]; 5] =
            [&before.0, &row.seq.to_le_bytes(), row.subject.as_bytes(), row.at, row.record];
        Self::of("entry", &parts)
    }

    /// Of a subject's row.
    pub(super) fn of_subject(subject: &str, chain: &Chain) -> Self {
        let Chain { open, entries, last } = chain;
        let parts: [&[u8]; 4] = [subject.as_bytes(), &[u8::from(*open)], &entries.to_le_bytes(), &last.0];
        Self::of("subject", &parts)
    }

    /// Of the totals.
    pub(super) fn of_totals(totals: &Totals) -> Self {
        let Totals { commit, subjects, entries, sum } = totals;
        let parts: [&[u8]; 4] =
            [&commit.to_le_bytes(), &subjects.to_le_bytes(), &entries.to_le_bytes(), &sum.0.to_le_bytes()];
        Self::of("totals", &parts)
    }

    /// Of words that belong together.
    pub(super) fn of_words(kind: &str, words: &[&str]) -> Self {
        let parts: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
        Self::of(kind, &parts)
    }

    fn of(kind: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in std::iter::once(&kind.as_bytes()).chain(parts) {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part);
        }
        let whole = hash.finalize();
        Self(std::array::from_fn(|index| whole[index]))
    }

    /// As it is stored.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As it was stored.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// For a text.
    pub(super) fn hex(self) -> String {
        self.0.iter().fold(String::with_capacity(32), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl Sum {
    /// With one more.
    pub(super) fn plus(self, seal: Seal) -> Self {
        Self(self.0.wrapping_add(u128::from_le_bytes(seal.0)))
    }

    /// With one less.
    pub(super) fn minus(self, seal: Seal) -> Self {
        Self(self.0.wrapping_sub(u128::from_le_bytes(seal.0)))
    }

    /// As it is stored.
    pub(super) fn bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// As it was stored.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(u128::from_le_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(seq: i64, subject: &'a str, at: &'a str, record: &'a str) -> Row<'a> {
        Row { seq, subject, at: at.as_bytes(), record: record.as_bytes() }
    }

    #[test]
    fn every_part_counts_and_none_runs_into_the_next() {
        let none = Seal::default();
        let seal = Seal::of_entry(none, row(1, "grant:a", "now", "{}"));
        assert_eq!(seal, Seal::of_entry(none, row(1, "grant:a", "now", "{}")));
        let others = [
            Seal::of_entry(seal, row(1, "grant:a", "now", "{}")),
            Seal::of_entry(none, row(2, "grant:a", "now", "{}")),
            Seal::of_entry(none, row(1, "grant:b", "now", "{}")),
            Seal::of_entry(none, row(1, "grant:a", "now{", "}")),
            Seal::of_entry(none, row(1, "grant:an", "ow", "{}")),
        ];
        assert!(others.iter().all(|other| *other != seal));
        let chain = Chain { open: true, entries: 1, last: seal };
        let sealed = Seal::of_subject("grant:a", &chain);
        assert_ne!(sealed, Seal::of_subject("grant:a", &Chain { open: false, ..chain }));
        assert_ne!(sealed, Seal::of_subject("grant:a", &Chain { entries: 2, ..chain }));
        assert_ne!(sealed, Seal::of_subject("grant:a", &Chain { last: sealed, ..chain }));
    }

    #[test]
    fn a_sum_does_not_mind_the_order() {
        let [one, other] = ["one", "other"].map(|word| Seal::of_words("test", &[word]));
        let sum = Sum::default().plus(one).plus(other);
        assert_eq!(sum, Sum::default().plus(other).plus(one));
        assert_eq!(sum.minus(one), Sum::default().plus(other));
        assert_eq!(Sum::from_bytes(&sum.bytes()), Some(sum));
        assert_eq!(Seal::from_bytes(one.bytes()), Some(one));
        assert_eq!(Seal::from_bytes(&[1, 2]), None);
    }
}
