//! # Purpose
//! Finds out what is so now: the kill switch, the journal, the clocks.
//!
//! # Invariants kept here
//! - What cannot be looked at leaves things as they are: a kill switch that is on stays on.
//!
//! # Not here
//! What follows from it: `policy` for grants that would begin, `reconciler` for those that live.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use tracing::warn;

use super::conditions::{Conditions, MOST_SKEW_SECONDS, Obstacle};
use super::ledger::Ledger;
use super::policy::Policy;
use crate::catalogue::ErrorCode;
use crate::clock::SharedClock;
use crate::http::Budget;

/// Whether grants may begin in one organization: its rules, and what is so now.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The rules.
    pub policy: Policy,
    /// What is so now.
    pub watch: Arc<Watch>,
}

/// Finds out.
#[derive(Debug)]
pub struct Watch {
    ledger: Arc<Ledger>,
    budget: Arc<Budget>,
    clock: SharedClock,
    kill_switch: Option<PathBuf>,
    switched_off: AtomicBool,
}

impl Watch {
    /// Of one organization.
    pub fn new(
        ledger: Arc<Ledger>,
        budget: Arc<Budget>,
        clock: SharedClock,
        kill_switch: Option<PathBuf>,
    ) -> Self {
        Self { ledger, budget, clock, kill_switch, switched_off: AtomicBool::new(false) }
    }

    /// What is so now.
    pub fn conditions(&self) -> Conditions {
        let now = self.clock.now();
        let ahead_seconds = self.budget.skew_seconds().unwrap_or(0);
        let obstacle = match &self.kill_switch {
            Some(file) if self.is_switched_off() => Some(Obstacle::KillSwitch { file: file.clone() }),
            Some(_) | None if !self.ledger.health().works => Some(Obstacle::Journal),
            Some(_) | None if !self.ledger.health().audited => Some(Obstacle::AuditTrail),
            Some(_) | None if ahead_seconds.unsigned_abs() > MOST_SKEW_SECONDS => {
                Some(Obstacle::Clock { ahead_seconds })
            }
            Some(_) | None => None,
        };
        Conditions { now, obstacle }
    }

    /// Whether the kill switch is on, as of the last [`Self::look`].
    pub fn is_switched_off(&self) -> bool {
        self.switched_off.load(Ordering::SeqCst)
    }

    /// Looks for the kill switch's file. Only "not there" is off: what cannot be looked at leaves things as they are.
    pub async fn look(&self) {
        let Some(file) = &self.kill_switch else {
            return;
        };
        match tokio::fs::try_exists(file).await {
            Ok(on) => {
                if self.switched_off.swap(on, Ordering::SeqCst) != on {
                    let path = file.display();
                    if on {
                        warn!(
                            event = "kill_switch",
                            "{path} exists: every live grant is ended and none begins (kill_switch_file)"
                        );
                    } else {
                        warn!(
                            event = "kill_switch",
                            "{path} is gone: grants may begin again (kill_switch_file)"
                        );
                    }
                }
            }
            Err(error) => {
                warn!(
                    error = %error,
                    "cannot look for {} (kill_switch_file) [{}]: {error}",
                    file.display(),
                    ErrorCode::KillSwitchUnseen
                );
            }
        }
    }

    /// Okta's clock, or our own until it is known.
    pub fn oktas_now(&self) -> Timestamp {
        self.budget.peers_now().unwrap_or_else(|| self.clock.now())
    }

    /// The wall clock, or Okta's where that is ahead: a clock that is behind lets no grant last longer.
    pub fn latest(&self) -> Timestamp {
        let now = self.clock.now();
        self.budget.peers_now().map_or(now, |theirs| theirs.max(now))
    }
}
