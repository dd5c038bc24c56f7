//! # Purpose
//! Goes round the memberships that live grants count on, so that what others do to them is noticed while the grants
//! live and not only at their end.
//!
//! # Invariants kept here
//! - It never hurries: one user a second at most, in the lane of verifications; nothing that ends access waits for it.
//! - What was told once is not told again, nor forgotten before its grant is.
//!
//! # Not here
//! What a look shows and what is recorded of it: `executor::noticing`. Whose an addition in the log is: `additions`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::additions::Additions;
use super::book::Book;
use super::executor::{Executor, StepError, is_worth_a_look};
use super::ledger::Ledger;
use super::machine::{Holding, Seen};
use crate::clock::{self, SharedClock};
use crate::domain::{GrantId, IntegrationId, Membership, OktaGroupId, OktaUserId};
use crate::http::Lane;
use crate::okta::{LogKind, PageError, SystemLog};
use crate::telemetry::chain;

/// One organization's rounds.
#[derive(Debug)]
pub struct Patrol {
    executor: Arc<Executor>,
    ledger: Arc<Ledger>,
    clock: SharedClock,
    interval: Duration,
    log: SystemLog,
    additions: Additions,
    /// Grants whose group was reported to be filled by a rule.
    reported: BTreeSet<(GrantId, OktaGroupId)>,
}

/// What to look at, user by user.
type Round = BTreeMap<OktaUserId, Vec<(GrantId, OktaGroupId)>>;

/// Between two users.
const PACE: Duration = Duration::from_secs(1);
/// Of the System Log, in one round; the next goes on where this one ended.
const MOST_PAGES: usize = 20;

/// The System Log was not read to its end.
#[derive(Debug, thiserror::Error)]
enum LogError {
    /// Okta.
    #[error("cannot read the System Log")]
    Page(#[source] PageError),
    /// The journal.
    #[error("cannot note what the System Log tells")]
    Step(#[source] StepError),
}

impl Patrol {
    /// A round begins every `interval`, or as soon as the one before it has ended.
    pub fn new(
        executor: Arc<Executor>,
        ledger: Arc<Ledger>,
        clock: SharedClock,
        interval: Duration,
        log: SystemLog,
    ) -> Self {
        let (additions, reported) = (Additions::default(), BTreeSet::new());
        Self { executor, ledger, clock, interval, log, additions, reported }
    }

    /// Goes round until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut wait = self.interval;
        while stop.run_until_cancelled(clock::sleep(wait)).await.is_some() {
            let begun = self.clock.elapsed();
            if !self.ledger.fleet().owns(self.executor.integration()) {
                continue;
            }
            let round = self.ledger.read(|book| round(book, self.executor.integration()));
            let live: BTreeSet<_> = round.values().flatten().cloned().collect();
            self.reported.retain(|told| live.contains(told));
            let before = self.additions.clone();
            if let Some(Err(error)) = stop.run_until_cancelled(self.read_log()).await {
                // The next round reads it again.
                self.additions = before;
                debug!(error = %chain(&error), "{}", chain(&error));
            }
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

    /// Looks in the System Log, where it is open to us, for additions by others.
    async fn read_log(&mut self) -> Result<(), LogError> {
        if !self.log.is_open() {
            return Ok(());
        }
        let mut until = self.executor.watch().oktas_now();
        let holders = self.ledger.read(|book| given(book, self.executor.integration()));
        let live: BTreeSet<_> = holders.keys().cloned().collect();
        let since = self.additions.from(until);
        let mut cursor = None;
        for page in 1.. {
            if live.is_empty() {
                break;
            }
            let (kind, lane) = (LogKind::MemberAdded, Lane::Verification);
            let read =
                self.log.page(kind, since, until, cursor.as_ref(), lane).await.map_err(LogError::Page)?;
            for event in &read.items {
                let Some(other) = self.additions.take(event, &live) else {
                    continue;
                };
                for id in holders.get(&other.membership).into_iter().flatten() {
                    let noted = self.executor.added_by_others(
                        id,
                        &other.membership,
                        other.by.as_deref(),
                        other.request_id.as_deref(),
                    );
                    noted.await.map_err(LogError::Step)?;
                }
            }
            cursor = read.next;
            if cursor.is_none() {
                break;
            }
            if page == MOST_PAGES {
                until = read.items.last().map_or(since, |last| last.published);
                break;
            }
        }
        self.additions.read_to(until, &live);
        Ok(())
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

/// What was given and seen, and by which grants.
fn given(book: &Book, integration: &IntegrationId) -> BTreeMap<Membership, Vec<GrantId>> {
    let mut given = BTreeMap::<_, Vec<_>>::new();
    for (id, state) in book.grants().filter(|(_, state)| state.terms.integration == *integration) {
        for (group, holding) in &state.holdings {
            if let (Some(user), Holding::Active { seen: Seen::There, .. }) = (&state.user, holding)
                && !state.releases(group)
            {
                let membership = Membership { group: group.clone(), user: user.clone() };
                given.entry(membership).or_default().push(id.clone());
            }
        }
    }
    given
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
