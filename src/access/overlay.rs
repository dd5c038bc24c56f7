//! # Purpose
//! What came into force here while a shared journal was away, laid over what others have written since.
//!
//! # Invariants kept here
//! - Pure: entries in, a book and what is still to be written out.
//! - Nothing is recorded twice, and what no longer fits is left out: the journal was first.
//! - An addition that came to be after others had ended its grant is a duty again.
//! - A membership that was taken while a grant that others had taken on meanwhile counted on it is given again.
//!
//! # Not here
//! When this is so: `ledger`.

use jiff::Timestamp;

use super::book::{Book, IllegalRecord};
use super::journal::{Entry, Record, Standing};
use super::machine::{Ending, Event, Holding};
use crate::domain::{GrantId, Membership, OktaGroupId};

/// See the module.
#[derive(Debug)]
pub(super) struct Overlay {
    /// What is so.
    pub(super) book: Book,
    /// What is to be written.
    pub(super) entries: Vec<Entry>,
    /// Of all subjects of what waited.
    pub(super) standing: Vec<Standing>,
    /// What no longer fits.
    pub(super) left_out: Vec<Record>,
    /// The additions that came to be after the end of their grant.
    pub(super) late: Vec<(GrantId, OktaGroupId)>,
}

/// Lays `waiting` over `entries`, which hold all there is about the open subjects and those of `waiting`.
pub(super) fn lay_over(
    entries: Vec<Entry>,
    waiting: &[Entry],
    now: Timestamp,
) -> Result<Overlay, IllegalRecord> {
    let waiting: Vec<_> = waiting.iter().filter(|entry| !entries.contains(entry)).cloned().collect();
    let mut book = Book::replay(entries)?;
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    let (mut taken, mut came_late) = (Vec::new(), Vec::new());
    for entry in waiting {
        if let Record::Grant { id, event: Event::Ended { group, how: Ending::Revoked, .. } } = &entry.record {
            taken.push((id.clone(), group.clone()));
        }
        let mut fits = |entry: &Entry| book.apply(std::slice::from_ref(&entry.record)).is_ok();
        if fits(&entry) {
            kept.push(entry);
        } else if let Some((addition, late)) = late(&entry).filter(|(_, late)| fits(late)) {
            // Its own addition came to be all the same.
            came_late.push(addition);
            kept.push(late);
        } else {
            left_out.push(entry.record);
        }
    }
    for record in taken.iter().flat_map(|(id, group)| given_again(&book, id, group)).collect::<Vec<_>>() {
        book.apply(std::slice::from_ref(&record))?;
        kept.push(Entry { at: now, record });
    }
    let subjects =
        kept.iter().map(|entry| entry.record.subject()).chain(left_out.iter().map(Record::subject));
    let standing = subjects.map(|subject| Standing { open: book.is_open(&subject), subject }).collect();
    Ok(Overlay { book, entries: kept, standing, left_out, late: came_late })
}

/// That an addition came to be after the end of its grant.
fn late(entry: &Entry) -> Option<((GrantId, OktaGroupId), Entry)> {
    let Record::Grant { id, event: Event::Granted { group, okta_request_ids, .. } } = &entry.record else {
        return None;
    };
    let event = Event::AddedLate { group: group.clone(), okta_request_ids: okta_request_ids.clone() };
    let record = Record::Grant { id: id.clone(), event };
    Some(((id.clone(), group.clone()), Entry { at: entry.at, record }))
}

/// The intents to give a membership again that was taken for `id`, while others count on it.
fn given_again(book: &Book, id: &GrantId, group: &OktaGroupId) -> Vec<Record> {
    let Some((state, user)) = book.grant(id).and_then(|state| Some((state, state.user.clone()?))) else {
        return Vec::new();
    };
    let membership = Membership { group: group.clone(), user };
    let counts_on_it = |other: &&GrantId| {
        *other != id
            && book.grant(other).is_some_and(|other| {
                !other.releases(group) && matches!(other.holdings.get(group), Some(Holding::Active { .. }))
            })
    };
    let others = book.holders(&state.terms.integration, &membership).filter(counts_on_it);
    let intent = |other: &GrantId| Record::Grant {
        id: other.clone(),
        event: Event::GrantIntended { group: group.clone() },
    };
    others.map(intent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::journal::contract;
    use crate::access::machine::{EndReason, Seen, Source, Step};
    use crate::domain::{Grant, IntegrationId, OktaUserId, Revision};

    fn group() -> OktaGroupId {
        OktaGroupId::from("00g1")
    }

    fn of(grant: &str, event: Event) -> Entry {
        contract::entry(0, Record::Grant { id: grant.into(), event })
    }

    fn given(grant: &str) -> Vec<Entry> {
        let terms = Grant {
            id: grant.into(),
            revision: Revision(1),
            integration: IntegrationId::from("int"),
            username: "ada@example.com".to_owned(),
            groups: [group()].into(),
            expires_at: None,
            request: None,
        };
        let added = Event::Granted { group: group(), verified: true, okta_request_ids: Vec::new() };
        [
            Event::Accepted { grant: terms, by: Source::Task },
            Event::UserResolved { user: OktaUserId::from("00u1") },
            Event::GrantIntended { group: group() },
            added,
        ]
        .map(|event| of(grant, event))
        .into()
    }

    fn taken(grant: &str) -> Vec<Entry> {
        [
            Event::EndRequested { reason: EndReason::Expired, due: Timestamp::UNIX_EPOCH, by: None },
            Event::RevokeIntended { group: group() },
            Event::Ended { group: group(), how: Ending::Revoked, okta_request_ids: Vec::new() },
        ]
        .map(|event| of(grant, event))
        .into()
    }

    fn events(entries: &[Entry]) -> Vec<String> {
        let name = |entry: &Entry| match &entry.record {
            Record::Grant { id, event } => format!("{id} {}", event.name()),
            Record::Task { .. } | Record::Trail { .. } => String::new(),
        };
        entries.iter().map(name).collect()
    }

    #[test]
    fn what_waits_is_laid_over_what_is_there_and_nothing_twice() {
        let waiting = taken("g1");
        let laid = lay_over(given("g1"), &waiting, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(laid.entries, waiting);
        assert!(!laid.book.grant(&"g1".into()).unwrap().is_open());
        assert_eq!(laid.standing, vec![contract::standing(waiting[0].record.subject(), false); 3]);

        // It was written after all, and the answer was lost.
        let laid =
            lay_over([given("g1"), waiting.clone()].concat(), &waiting, Timestamp::UNIX_EPOCH).unwrap();
        assert!(laid.entries.is_empty() && laid.left_out.is_empty());
    }

    #[test]
    fn others_who_were_first_are_right() {
        let others: Vec<_> =
            taken("g1").into_iter().map(|entry| Entry { at: Timestamp::MIN, ..entry }).collect();
        let laid = lay_over([given("g1"), others].concat(), &taken("g1"), Timestamp::UNIX_EPOCH).unwrap();
        assert!(laid.entries.is_empty());
        assert_eq!(laid.left_out.len(), 3);
    }

    #[test]
    fn an_addition_that_came_to_be_after_the_end_is_a_duty_again() {
        let mut log = [given("g1"), taken("g1")].concat();
        let late = log.remove(3);
        log.splice(3..3, [of("g1", Event::GrantIntended { group: group() })]);
        let laid = lay_over(log, &[late], Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(events(&laid.entries), ["g1 AddedLate"]);
        assert_eq!(laid.late, [(GrantId::from("g1"), group())]);
        assert_eq!(laid.book.grant(&"g1".into()).unwrap().step(&group()), Some(Step::Remove));
        assert!(laid.standing[0].open);
    }

    #[test]
    fn what_was_taken_while_another_grant_counted_on_it_is_given_again() {
        let log = [given("g1"), given("g2")].concat();
        let laid = lay_over(log, &taken("g1"), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(events(&laid.entries).last().unwrap(), "g2 GrantIntended");
        let other = laid.book.grant(&"g2".into()).unwrap();
        assert_eq!(other.step(&group()), Some(Step::Grant));

        let still_there = laid.book.grant(&"g1".into()).unwrap();
        assert!(!matches!(still_there.holdings[&group()], Holding::Active { seen: Seen::There, .. }));
    }
}
