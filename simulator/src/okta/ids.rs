//! # Purpose
//! Okta's 20-character ids, made from running numbers and turned back into them.
//!
//! # Invariants kept here
//! - Same seed, same ids. No two numbers share an id, and an id that was not made here belongs to no number.
//! - No table is kept, so a million ids cost no memory.
//!
//! # Not here
//! What the numbers stand for.

use super::hash::mix;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BODY: usize = 11;
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
const INVERSE: u64 = 0xF1DE_83E1_9937_733D;

/// What an id names; it shows in the first three characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    User,
    Group,
    Rule,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::User => "00u",
            Self::Group => "00g",
            Self::Rule => "0pr",
        }
    }
}

/// The ids of one org.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    key: u64,
}

impl Ids {
    pub(super) fn new(seed: u64) -> Self {
        Self { key: mix(seed, 0x1D5) }
    }

    /// The id of number `index`.
    pub(super) fn id(self, kind: Kind, index: u32) -> String {
        let scrambled = (u64::from(index) ^ self.key).wrapping_mul(FACTOR);
        let scrambled = scrambled ^ (scrambled >> 32);
        let mut id = String::with_capacity(20);
        id.push_str(kind.prefix());
        push_base62(&mut id, scrambled, BODY);
        push_base62(&mut id, mix(self.key, u64::from(index)), 3);
        id.push_str("1d7");
        id
    }

    /// The number that `id` was made from.
    pub(super) fn index(self, kind: Kind, id: &str) -> Option<u32> {
        let body = id.strip_prefix(kind.prefix())?.get(..BODY)?;
        let scrambled = body.bytes().try_fold(0_u64, |number, byte| {
            let digit = DIGITS.iter().position(|candidate| *candidate == byte)?;
            number.checked_mul(62)?.checked_add(u64::try_from(digit).ok()?)
        })?;
        let unmixed = (scrambled ^ (scrambled >> 32)).wrapping_mul(INVERSE) ^ self.key;
        let index = u32::try_from(unmixed).ok()?;
        (self.id(kind, index) == id).then_some(index)
    }
}

/// Appends `number`, cut or padded to `width` digits.
pub(super) fn push_base62(text: &mut String, mut number: u64, width: usize) {
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(number % 62).unwrap_or(0)];
        number /= 62;
    }
    text.extend(digits.into_iter().map(char::from));
}

#[cfg(test)]
mod tests {
    use super::{FACTOR, INVERSE, Ids, Kind};

    #[test]
    fn okta_ids_turn_back_into_their_numbers_and_nothing_else_does() {
        assert_eq!(FACTOR.wrapping_mul(INVERSE), 1);
        let ids = Ids::new(7);
        for index in [0, 1, 2, 4096, 999_999, u32::MAX] {
            let id = ids.id(Kind::User, index);
            assert_eq!(id.len(), 20, "{id}");
            assert_eq!(ids.index(Kind::User, &id), Some(index));
            assert_eq!(ids.index(Kind::Group, &id), None);
            assert_eq!(ids.index(Kind::User, &id.replace("1d7", "1d8")), None);
        }
        assert_eq!(ids.index(Kind::User, "00u"), None);
        assert_eq!(ids.index(Kind::User, "someone@example.com"), None);
        assert_ne!(Ids::new(8).id(Kind::User, 0), ids.id(Kind::User, 0));
    }
}
