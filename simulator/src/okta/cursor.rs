//! # Purpose
//! Opaque cursors: where a listing goes on, sealed so that a client can only hand them back.
//!
//! # Invariants kept here
//! - A cursor that was not made here, or was made for another listing, is refused.
//! - A cursor has characters that a URL must escape: whoever takes it out of its link and puts it into another finds out.
//! - Nothing is stored, so an unfinished crawl costs nothing.
//!
//! # Not here
//! What a position means.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::hash::{mix, sha256};

const TAG: usize = 12;

/// Where a listing goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Number of the last object shown.
    pub(super) number: u64,
    /// Its sort key, in sorted listings.
    pub(super) key: String,
}

/// Seals and opens cursors.
#[derive(Debug)]
pub(super) struct Cursors {
    seed: u64,
    generation: AtomicU64,
}

impl Cursors {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, generation: AtomicU64::new(0) }
    }

    /// Makes every cursor handed out so far invalid.
    pub(super) fn expire(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Seals a position of `listing`, which names the path and whatever selects its objects.
    pub(super) fn seal(&self, listing: &str, position: &Position) -> String {
        let mut payload = position.number.to_be_bytes().to_vec();
        payload.extend_from_slice(position.key.as_bytes());
        let mut sealed = self.tag(listing, &payload);
        self.veil(&sealed.clone(), &mut payload);
        sealed.extend_from_slice(&payload);
        STANDARD.encode(sealed)
    }

    /// Opens a cursor of `listing`.
    pub(super) fn open(&self, listing: &str, cursor: &str) -> Option<Position> {
        let sealed = STANDARD.decode(cursor).ok()?;
        let (tag, payload) = sealed.split_at_checked(TAG)?;
        let mut payload = payload.to_vec();
        self.veil(tag, &mut payload);
        if self.tag(listing, &payload) != tag {
            return None;
        }
        let (number, key) = payload.split_at_checked(8)?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        Some(Position { number, key: String::from_utf8(key.to_vec()).ok()? })
    }

    fn secret(&self) -> [u8; 8] {
        mix(self.seed ^ 0xC0_4502, self.generation.load(Ordering::Relaxed)).to_be_bytes()
    }

    fn tag(&self, listing: &str, payload: &[u8]) -> Vec<u8> {
        let mut hashed = self.secret().to_vec();
        hashed.extend_from_slice(listing.as_bytes());
        hashed.push(0);
        hashed.extend_from_slice(payload);
        let mut tag = sha256(&hashed);
        tag.truncate(TAG);
        tag
    }

    fn veil(&self, tag: &[u8], payload: &mut [u8]) {
        for (block, bytes) in payload.chunks_mut(32).enumerate() {
            let mut hashed = self.secret().to_vec();
            hashed.extend_from_slice(tag);
            hashed.extend_from_slice(&block.to_be_bytes());
            for (byte, mask) in bytes.iter_mut().zip(sha256(&hashed)) {
                *byte ^= mask;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursors, Position};

    #[test]
    fn okta_cursor_opens_only_for_its_own_listing() {
        let cursors = Cursors::new(5);
        let position = Position { number: 199, key: "2026-01-01T00:00:00.000Z and then some".into() };
        let cursor = cursors.seal("/api/v1/users", &position);
        assert_eq!(cursors.open("/api/v1/users", &cursor), Some(position.clone()));
        assert_eq!(cursors.open("/api/v1/groups", &cursor), None);
        assert_eq!(cursors.open("/api/v1/users", "200"), None);
        assert_eq!(cursors.open("/api/v1/users", &cursor.to_lowercase()), None);
        assert!(!cursor.contains("199"));
        cursors.expire();
        assert_eq!(cursors.open("/api/v1/users", &cursor), None);
    }
}
