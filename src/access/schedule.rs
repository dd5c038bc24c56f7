//! # Purpose
//! What is due, in which order.
//!
//! # Invariants kept here
//! - Pure: the book and the time in, a list out.
//! - Removals before anything else, the most overdue first (invariants 3 and 11).
//!
//! # Not here
//! When grants run out: `deadlines`. How many at once, and when to try again: `reconciler`.

use std::time::Duration;

use jiff::Timestamp;

use super::book::Book;
use super::machine::{GrantState, Holding, Step};
use crate::domain::{GrantId, IntegrationId, OktaGroupId};

/// One step that a holding asks for. Ordered by urgency.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// What.
    pub step: Step,
    /// Since when; for an addition, the end of time.
    pub since: Timestamp,
    /// For which grant.
    pub grant: GrantId,
    /// In which group.
    pub group: OktaGroupId,
}

/// The steps that are due now, the most urgent first, as long as `wanted` says of one that it will be taken.
///
/// `wanted` answers `None` when nothing more is wanted.
pub fn due(
    book: &Book,
    integration: &IntegrationId,
    rank: impl Fn(&GrantId, &OktaGroupId) -> Rank,
    mut wanted: impl FnMut(Step, Timestamp, &GrantId, &OktaGroupId) -> Option<bool>,
) -> Vec<Due> {
    let mut due: Vec<(Rank, Step, Timestamp, &GrantId, &OktaGroupId)> = Vec::new();
    for (id, state) in of_integration(book, integration) {
        let since = state.due().unwrap_or(Timestamp::MAX);
        let elsewhere = book.is_elsewhere(id, state);
        for (group, holding) in &state.holdings {
            let step = state.step(group);
            let left_to_another = elsewhere && *holding == Holding::Wanted && step == Some(Step::Grant);
            due.extend(
                step.filter(|_| !left_to_another).map(|step| (rank(id, group), step, since, id, group)),
            );
        }
    }
    // Borrowed until here: of thousands that are due, a few are taken.
    due.sort_unstable();
    let mut taken = Vec::new();
    for (_, step, since, grant, group) in due {
        match wanted(step, since, grant, group) {
            Some(true) => taken.push(Due { step, since, grant: grant.clone(), group: group.clone() }),
            Some(false) => {}
            None => break,
        }
    }
    taken
}

/// Comes before urgency: `None` first. While the organization is away, when a step was last tried.
pub type Rank = Option<Duration>;

/// How many memberships grants hold, and how many removals are due and not proven done.
pub fn counts(book: &Book, integration: &IntegrationId) -> (usize, usize) {
    let mut counts = (0, 0);
    for (_, state) in of_integration(book, integration) {
        for (group, holding) in &state.holdings {
            counts.0 += usize::from(holding.owes_removal());
            counts.1 += usize::from(state.step(group) == Some(Step::Remove));
        }
    }
    counts
}

fn of_integration<'a>(
    book: &'a Book,
    integration: &'a IntegrationId,
) -> impl Iterator<Item = (&'a GrantId, &'a GrantState)> {
    book.grants().filter(move |(_, state)| state.terms.integration == *integration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::journal::Record;
    use crate::access::machine::{EndReason, Event, Source};
    use crate::domain::{Grant, Revision};

    fn instant(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn accepted(id: &str, expires_at: i64) -> Record {
        let grant = Grant {
            id: GrantId::from(id),
            revision: Revision(1),
            integration: IntegrationId::from("int"),
            username: "ada@example.com".to_owned(),
            groups: [OktaGroupId::from("00g1")].into(),
            expires_at: Some(instant(expires_at)),
            request: None,
        };
        Record::Grant { id: GrantId::from(id), event: Event::Accepted { grant, by: Source::Task } }
    }

    fn event(id: &str, event: Event) -> Record {
        Record::Grant { id: GrantId::from(id), event }
    }

    #[test]
    fn removals_come_first_and_the_most_overdue_first_of_all() {
        let group = OktaGroupId::from("00g1");
        let int = IntegrationId::from("int");
        let mut book = Book::default();
        for (id, expires_at) in [("a", 50), ("b", 20), ("c", 10), ("d", 99)] {
            book.apply(&[accepted(id, expires_at)]).unwrap();
            if id != "d" {
                book.apply(&[event(id, Event::GrantIntended { group: group.clone() })]).unwrap();
            }
        }
        for (id, due) in [("b", instant(20)), ("c", instant(10))] {
            book.apply(&[event(id, Event::EndRequested { reason: EndReason::Expired, due, by: None })])
                .unwrap();
        }
        let all = |integration: &IntegrationId| due(&book, integration, |_, _| None, |_, _, _, _| Some(true));
        let order: Vec<_> =
            all(&int).into_iter().map(|due| (due.step, due.grant.as_str().to_owned())).collect();
        let expected = [(Step::Remove, "c"), (Step::Remove, "b"), (Step::Grant, "a"), (Step::Grant, "d")];
        assert_eq!(order, expected.map(|(step, id)| (step, id.to_owned())));
        assert_eq!(counts(&book, &int), (3, 2));
        assert!(all(&IntegrationId::from("other")).is_empty());
    }
}
