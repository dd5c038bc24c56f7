//! # Purpose
//! The only door to randomness: unique ids and jitter.
//!
//! # Invariants kept here
//! - No other file draws randomness (`clippy.toml` bans it), so that a test can repeat a run exactly.
//!
//! # Not here
//! Keys: their generation takes the operating system's generator directly (`secrets::signing_key`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::{Builder, Uuid};

/// Draws randomness. One instance is shared by the whole program.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Sixteen random bytes.
    fn bytes(&self) -> [u8; 16];

    /// A version 4 UUID.
    fn uuid(&self) -> Uuid {
        Builder::from_random_bytes(self.bytes()).into_uuid()
    }

    /// A number in `0.0..1.0`, for jitter.
    fn unit(&self) -> f64 {
        let bytes = self.bytes();
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        f64::from(word) / (f64::from(u32::MAX) + 1.0)
    }
}

/// An entropy source to hand around.
pub type SharedEntropy = Arc<dyn Entropy>;

/// The operating system's generator.
#[derive(Debug)]
pub struct SystemEntropy;

impl SystemEntropy {
    /// The source of a running process.
    pub fn shared() -> SharedEntropy {
        Arc::new(Self)
    }
}

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the entropy source")]
    #[expect(
        clippy::panic,
        reason = "without randomness no assertion can be signed safely; the process ends"
    )]
    fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        if let Err(error) = getrandom::fill(&mut bytes) {
            panic!("the operating system gives no randomness: {error}");
        }
        bytes
    }
}

/// A reproducible source for tests: the same seed gives the same sequence.
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// Starts the sequence of `seed`.
    pub fn shared(seed: u64) -> SharedEntropy {
        Arc::new(Self(AtomicU64::new(seed)))
    }

    /// `SplitMix64` (Steele, Lea, Flood 2014).
    fn word(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.word().to_le_bytes());
        bytes[8..].copy_from_slice(&self.word().to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_repeats_and_units_stay_below_one() {
        let (a, b) = (SeededEntropy::shared(7), SeededEntropy::shared(7));
        for _ in 0..1000 {
            assert_eq!(a.bytes(), b.bytes());
            assert!((0.0..1.0).contains(&a.unit()));
            b.unit();
        }
        assert_ne!(SystemEntropy.uuid(), SystemEntropy.uuid());
    }
}
