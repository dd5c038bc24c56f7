//! # Purpose
//! Fills the directory with a believable company in one go.
//!
//! # Invariants kept here
//! - Same seed and clock, same company. A million users cost well under a hundred bytes each.
//! - Seeding is not an event: the System Log stays empty.
//!
//! # Not here
//! What people look like (`person`).

use serde_json::{Map, Value};

use super::super::arrange::Seed;
use super::super::hash::mix;
use super::membership::Pair;
use super::person::Batch;
use super::user::{Profile, User};
use super::words::{LEVELS, SYSTEMS};
use super::{Directory, Group, Status, number};

const DAY: i64 = 86_400_000;
const INACTIVE: [&str; 6] =
    ["DEPROVISIONED", "SUSPENDED", "STAGED", "PROVISIONED", "LOCKED_OUT", "PASSWORD_EXPIRED"];

impl Directory {
    /// Adds what `seed` asks for. Returns the numbers of the users and of the groups.
    pub(in super::super) fn seed(&mut self, seed: &Seed, now: i64) -> (Vec<u32>, Vec<u32>) {
        let users = self.seed_users(seed, now);
        let groups = self.seed_groups(seed, now);
        let mut pairs: Vec<Pair> = Vec::with_capacity(seed.groups.saturating_mul(seed.members_per_group));
        for group in &groups {
            let dice = mix(seed.seed, u64::from(*group) ^ 0x6E0F);
            spread(users.len(), seed.members_per_group, dice, |position| {
                pairs.push((*group, users[position]));
            });
        }
        self.memberships.add_all(&pairs);
        (users, groups)
    }

    fn seed_users(&mut self, seed: &Seed, now: i64) -> Vec<u32> {
        let batch = Batch {
            first: number(self.users.len()),
            count: number(seed.users),
            round: self.batches.last().map_or(0, Batch::next_round),
            seed: mix(seed.seed, 0xBA7C),
        };
        let position = self.batches.len();
        self.batches.push(batch);
        let numbers = batch.first..batch.first.saturating_add(batch.count);
        self.users.reserve(seed.users);
        for index in numbers.clone() {
            let dice = mix(batch.seed, u64::from(index) ^ 0x7155);
            let created = now - DAY * (30 + below(dice, 1800)) - below(dice, 86_400_000);
            let status = if dice % 1000 < u64::from(seed.inactive_per_thousand) {
                let name = INACTIVE.get(usize::try_from(dice / 1000 % 6).unwrap_or(0));
                Status::of(name.copied().unwrap_or("STAGED"))
            } else {
                Status::Active
            };
            self.users.push(User {
                profile: Profile::Seeded { batch: position },
                status,
                created,
                last_updated: now - DAY - below(dice / 7, 20 * DAY),
                status_changed: created,
                deleted: false,
            });
        }
        self.live_users += seed.users;
        numbers.collect()
    }

    fn seed_groups(&mut self, seed: &Seed, now: i64) -> Vec<u32> {
        let first = number(self.groups.len());
        let numbers = first..first.saturating_add(number(seed.groups));
        let combinations = SYSTEMS.len() * LEVELS.len();
        for index in numbers.clone() {
            let position = usize::try_from(index).unwrap_or(0);
            let system = SYSTEMS[position % SYSTEMS.len()];
            let level = LEVELS[position / SYSTEMS.len() % LEVELS.len()];
            let name = match position / combinations {
                0 => format!("{system} {level}"),
                round => format!("{system} {level} {}", round + 1),
            };
            let mut profile = Map::new();
            let description =
                (index % 7 != 0).then(|| Value::from(format!("{level} of {system}, granted on request")));
            profile.insert("description".into(), description.unwrap_or(Value::Null));
            profile.insert("name".into(), name.into());
            let created = now - DAY * (10 + below(mix(seed.seed, u64::from(index)), 900));
            self.groups.push(Group {
                profile,
                kind: "OKTA_GROUP".into(),
                admin_privilege: false,
                everyone: false,
                created,
                last_updated: created,
                last_membership_updated: now - DAY,
                deleted: false,
            });
        }
        self.live_groups += seed.groups;
        numbers.collect()
    }
}

/// Picks `wanted` different positions below `size`, seemingly at random.
fn spread(size: usize, wanted: usize, dice: u64, mut pick: impl FnMut(usize)) {
    let Some(modulus) = u64::try_from(size).ok().filter(|size| *size > 0) else { return };
    let mut stride = 1 + dice % modulus;
    while gcd(stride, modulus) != 1 {
        stride += 1;
    }
    let mut position = (dice >> 20) % modulus;
    for _ in 0..wanted.min(size) {
        pick(usize::try_from(position).unwrap_or(0));
        position = (position + stride) % modulus;
    }
}

fn gcd(left: u64, right: u64) -> u64 {
    if right == 0 { left } else { gcd(right, left % right) }
}

fn below(dice: u64, bound: i64) -> i64 {
    i64::try_from(dice % u64::try_from(bound).unwrap_or(1)).unwrap_or(0)
}
