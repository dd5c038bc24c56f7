//! # Purpose
//! The two hash functions behind everything that must look random and yet be reproducible.
//!
//! # Invariants kept here
//! - Nothing here reads ambient randomness.
//!
//! # Not here
//! Secrecy in earnest: a simulator has none.

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::ThumbprintHash;

/// A well-mixed function of two numbers.
pub(super) fn mix(seed: u64, value: u64) -> u64 {
    let mut state = seed ^ value.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x2545_F491_4F6C_DD1D);
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    state ^ (state >> 31)
}

/// SHA-256, from the library that verifies signatures here anyway.
pub(super) fn sha256(bytes: &[u8]) -> Vec<u8> {
    (DEFAULT_PROVIDER.key_utils.compute_digest)(bytes, ThumbprintHash::SHA256).unwrap_or_default()
}
