//! # Purpose
//! The clients an administrator registered, and the tokens they hold.
//!
//! # Invariants kept here
//! - A `jti` that was once presented stays used, whether its request succeeded or not.
//! - Scopes are fixed in a token when it is issued; taking a grant away does not shrink it.
//!
//! # Not here
//! The rules by which tokens are issued and accepted.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use serde_json::Value;

use super::super::hash::sha256;
use super::super::management::{Assignment, Management};

/// Seconds that a proof can be replayed in; older ones are refused for their age.
const PROOF_MEMORY: i64 = 600;
const NONCE_PERIOD: i64 = 24 * 3600;

/// A registered service app.
#[derive(Clone, Debug)]
pub(in super::super) struct Client {
    pub(in super::super) keys: Vec<Key>,
    pub(in super::super) scopes: BTreeSet<String>,
    pub(in super::super) active: bool,
    pub(in super::super) admin_role: bool,
    pub(in super::super) super_admin: bool,
    /// Shown name of the app.
    pub(in super::super) label: String,
    /// Milliseconds since the epoch.
    pub(in super::super) created: i64,
    /// Admin roles that were assigned through the API.
    pub(in super::super) assignments: Vec<Assignment>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            scopes: BTreeSet::new(),
            active: true,
            admin_role: true,
            super_admin: false,
            label: "Service App".into(),
            created: 0,
            assignments: Vec::new(),
        }
    }
}

/// A public key of a client.
#[derive(Clone, Debug)]
pub(in super::super) struct Key {
    /// By which the API addresses it.
    pub(in super::super) id: String,
    pub(in super::super) kid: Option<String>,
    pub(in super::super) jwk: Value,
    pub(in super::super) active: bool,
    /// Milliseconds since the epoch.
    pub(in super::super) created: i64,
}

/// An access token that was issued.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) client: String,
    pub(super) scopes: BTreeSet<String>,
    /// Milliseconds since the epoch.
    pub(super) expires: i64,
    /// Thumbprint of the key it is bound to.
    pub(super) bound_to: Option<String>,
}

/// Clients, tokens, and what was already used.
#[derive(Debug)]
pub(in super::super) struct Registry {
    pub(in super::super) clients: HashMap<String, Client>,
    pub(super) tokens: HashMap<String, Token>,
    pub(in super::super) management: Management,
    used_assertions: HashSet<(String, String)>,
    used_proofs: HashSet<Arc<str>>,
    /// In the order in which they came, with when.
    proofs_by_age: VecDeque<(i64, Arc<str>)>,
    random: ChaCha8Rng,
    nonce_generation: u64,
    seed: u64,
    pub(in super::super) assertions_seen: u64,
    pub(in super::super) tokens_issued: u64,
}

impl Registry {
    pub(in super::super) fn new(seed: u64) -> Self {
        Self {
            clients: HashMap::new(),
            tokens: HashMap::new(),
            management: Management::default(),
            used_assertions: HashSet::new(),
            used_proofs: HashSet::new(),
            proofs_by_age: VecDeque::new(),
            random: ChaCha8Rng::seed_from_u64(seed),
            nonce_generation: 0,
            seed,
            assertions_seen: 0,
            tokens_issued: 0,
        }
    }

    /// Marks an assertion as used. Tells whether it was new.
    pub(super) fn burn_assertion(&mut self, client: &str, jti: &str) -> bool {
        self.used_assertions.insert((client.into(), jti.into()))
    }

    /// Marks a proof as used. Tells whether it was new.
    pub(super) fn burn_proof(&mut self, jti: &str, now: i64) -> bool {
        while let Some((_, old)) = self.proofs_by_age.pop_front_if(|(seen, _)| *seen <= now - PROOF_MEMORY) {
            self.used_proofs.remove(&old);
        }
        let jti: Arc<str> = jti.into();
        let is_new = self.used_proofs.insert(jti.clone());
        if is_new {
            self.proofs_by_age.push_back((now, jti));
        }
        is_new
    }

    /// Issues a token.
    pub(super) fn issue(&mut self, token: Token, now: i64) -> String {
        self.tokens.retain(|_, issued| issued.expires > now);
        let mut bytes = [0_u8; 96];
        self.random.fill_bytes(&mut bytes);
        let text = format!("eyJraWQi{}", URL_SAFE_NO_PAD.encode(bytes));
        self.tokens.insert(text.clone(), token);
        self.tokens_issued += 1;
        text
    }

    /// Makes every token that was issued so far unknown.
    pub(in super::super) fn revoke_tokens(&mut self) {
        self.tokens.clear();
    }

    /// Makes every nonce that was handed out so far invalid.
    pub(in super::super) fn rotate_nonce(&mut self) {
        self.nonce_generation += 1;
    }

    /// The nonce to hand out at `now` (seconds).
    pub(super) fn nonce(&self, now: i64) -> String {
        self.nonce_of(now.div_euclid(NONCE_PERIOD))
    }

    /// Whether a nonce is still good: it is renewed daily, and works for three days.
    pub(super) fn accepts_nonce(&self, nonce: &str, now: i64) -> bool {
        let period = now.div_euclid(NONCE_PERIOD);
        (period - 2..=period).any(|candidate| self.nonce_of(candidate) == nonce)
    }

    fn nonce_of(&self, period: i64) -> String {
        let mut text = URL_SAFE_NO_PAD
            .encode(sha256(format!("nonce {} {} {period}", self.seed, self.nonce_generation).as_bytes()));
        text.truncate(32);
        text
    }
}

impl Client {
    /// Adds a key, or replaces the one with the same `kid`. `null` is no key.
    pub(in super::super) fn put_key(&mut self, id: String, jwk: Value) {
        if jwk.is_null() {
            return;
        }
        let kid = jwk.get("kid").and_then(Value::as_str).map(str::to_owned);
        self.keys.retain(|key| key.kid != kid);
        self.keys.push(Key { id, kid, jwk, active: true, created: 0 });
    }
}
