//! # Purpose
//! Goes round the memberships that live grants count on, so that what others do to them is noticed while the grants
//! live and not only at their end.
//!
//! # Invariants kept here
//! - It never hurries: one user a second at most, in the lane of verifications; nothing that ends access waits for it.
//! - What was told once is not told again, nor forgotten before its grant is.
//!
//! # Not here
//! What a look shows and what is recorded of it: `executor::noticing`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::book::Book;
use super::executor::{Executor, StepError, is_worth_a_look};
use super::ledger::Ledger;
use crate::clock::{self, SharedClock};
use crate::domain::{GrantId, IntegrationId, OktaGroupId, OktaUserId};
use crate::telemetry::chain;

/// One organization's rounds.
#[derive(Debug)]
pub struct Patrol {
    executor: Arc<Executor>,
    ledger: Arc<Ledger>,
    clock: SharedClock,
    interval: Duration,
    /// Grants whose group was reported to be filled by a rule.
    reported: BTreeSet<(GrantId, OktaGroupId)>,
}

/// What to look at, user by user.
type Round = BTreeMap<OktaUserId, Vec<(GrantId, OktaGroupId)>>;

/// Between two users.
const PACE: Duration = Duration::from_secs(1);

impl Patrol {
    /// A round begins every `interval`, or as soon as the one before it has ended.
    pub fn new(executor: Arc<Executor>, ledger: Arc<Ledger>, clock: SharedClock, interval: Duration) -> Self {
        Self { executor, ledger, clock, interval, reported: BTreeSet::new() }
    }

    /// Goes round until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut wait = self.interval;
        while stop.run_until_cancelled(clock::sleep(wait)).await.is_some() {
            let begun = self.clock.elapsed();
            let round = self.ledger.read(|book| round(book, self.executor.integration()));
            let live: BTreeSet<_> = round.values().flatten().cloned().collect();
            self.reported.retain(|told| live.contains(told));
            for (user, holdings) in round {
                if let Err(error) = self.look(&user, &holdings, &stop).await {
                    // The next round looks again. Whom one user's looks fail for, the others are looked at.
                    debug!(okta.user_id = %user, error = %chain(&error), "cannot look at {user}: {}", chain(&error));
                    if error.is_outage() {
                        break;
                    }
                }
                if stop.run_until_cancelled(clock::sleep(PACE)).await.is_none() {
                    return;
                }
            }
            wait = self.interval.saturating_sub(self.clock.elapsed().saturating_sub(begun));
        }
    }

    async fn look(
        &mut self,
        user: &OktaUserId,
        holdings: &[(GrantId, OktaGroupId)],
        stop: &CancellationToken,
    ) -> Result<(), StepError> {
        self.executor.notice(user, holdings, stop).await?;
        for (id, group) in holdings {
            let is_fed = self.executor.is_rule_fed(group, stop).await?;
            if is_fed && self.reported.insert((id.clone(), group.clone())) {
                self.executor.report_rule(id, group);
            }
        }
        Ok(())
    }
}

/// The holdings that count on a membership.
fn round(book: &Book, integration: &IntegrationId) -> Round {
    let mut round = Round::new();
    for (id, state) in book.grants().filter(|(_, state)| state.terms.integration == *integration) {
        let Some(user) = &state.user else {
            continue;
        };
        let worth = state.holdings.keys().filter(|group| is_worth_a_look(state, group));
        let worth: Vec<_> = worth.map(|group| (id.clone(), group.clone())).collect();
        if !worth.is_empty() {
            round.entry(user.clone()).or_default().extend(worth);
        }
    }
    round
}
