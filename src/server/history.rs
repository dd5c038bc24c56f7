//! # Purpose
//! How a few numbers have gone over the last hours, for charts.
//!
//! # Invariants kept here
//! - Pure, and no more than [`MOST`] samples.
//!
//! # Not here
//! When a sample is taken: `app`.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;

use super::readiness::Facts;

/// The numbers at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Sample {
    /// When.
    pub at: Timestamp,
    /// Memberships that grants hold.
    pub live: usize,
    /// Removals that are due.
    pub due: usize,
    /// What is left of each organization's scarcest rate limit, as a share of its limit.
    pub budget_left: BTreeMap<String, f64>,
}

/// The last samples, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct History(VecDeque<Sample>);

/// Four hours of minutes.
const MOST: usize = 4 * 60;

impl History {
    /// One more.
    pub fn add(&mut self, facts: &Facts, at: Timestamp) {
        self.0.push_back(sample(facts, at));
        while self.0.len() > MOST {
            self.0.pop_front();
        }
    }
}

fn sample(facts: &Facts, at: Timestamp) -> Sample {
    let scarcest = |budget: &[(&'static str, u32, u32)]| {
        let shares = budget.iter().filter(|(_, limit, _)| *limit > 0);
        shares.map(|(_, limit, left)| f64::from(*left) / f64::from(*limit)).reduce(f64::min)
    };
    let organizations = &facts.organizations;
    Sample {
        at,
        live: organizations.iter().map(|one| one.live_memberships).sum(),
        due: organizations.iter().map(|one| one.removals_due).sum(),
        budget_left: organizations
            .iter()
            .filter_map(|one| Some((one.integration_id.clone(), scarcest(&one.budget)?)))
            .collect(),
    }
}
