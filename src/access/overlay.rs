//! # Purpose
//! What came into force here while a shared journal was away, laid over what others have written since.
//!
//! # Invariants kept here
//! - Pure: entries in, a book and what is still to be written out.
//! - Nothing is recorded twice, and what no longer fits is left out: the journal was first.
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
    let mut taken = Vec::new();
    for entry in waiting {
        if let Record::Grant { id, event: Event::Ended { group, how: Ending::Revoked, .. } } = &entry.record {
            taken.push((id.clone(), group.clone()));
        }
        match book.apply(std::slice::from_ref(&entry.record)) {
            Ok(()) => kept.push(entry),
            Err(_) => left_out.push(entry.record),
        }
    }
    for record in taken.iter().flat_map(|(id, group)| given_again(&book, id, group)).collect::<Vec<_>>() {
        book.apply(std::slice::from_ref(&record))?;
        kept.push(Entry { at: now, record });
    }
    let subjects =
        kept.iter().map(|entry| entry.record.subject()).chain(left_out.iter().map(Record::subject));
    let standing = subjects.map(|subject| Standing { open: book.is_open(&subject), subject }).collect();
    Ok(Overlay { book, entries: kept, standing, left_out })
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
