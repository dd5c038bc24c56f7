//! # Purpose
//! Which additions in Okta's System Log are somebody else's, made while a grant of ours held the membership.
//!
//! # Invariants kept here
//! - Pure. An addition counts only when it came after ours: by the log itself, where ours is in it, else because it is
//!   younger than a reading during which our grant held the membership already.
//! - An event that is read twice counts once.
//! - It knows no more than the memberships that grants hold, and the events of the overlap.
//!
//! # Not here
//! Reading the log: `patrol`. What follows: `executor::noticing`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::Membership;
use crate::okta::LogEvent;

/// See the module. Instants are Okta's.
#[derive(Clone, Debug, Default)]
pub(super) struct Additions {
    /// From when on somebody else's addition comes after ours.
    since: BTreeMap<Membership, Timestamp>,
    /// Events of the overlap that were taken in.
    seen: BTreeMap<String, Timestamp>,
    /// Up to where the log was read.
    read_to: Option<Timestamp>,
}

/// Somebody else has added this user while a grant held the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Other {
    /// To what.
    pub(super) membership: Membership,
    /// Who, by Okta's id.
    pub(super) by: Option<String>,
    /// The request that did it.
    pub(super) request_id: Option<String>,
}

/// A process reads the log so far back when it starts.
const AT_THE_START: Duration = Duration::from_hours(24);
/// Events appear in the log late, and not in order: so much is read again.
const OVERLAP: Duration = Duration::from_mins(5);

impl Additions {
    /// From when on the log is to be read next.
    pub(super) fn from(&self, now: Timestamp) -> Timestamp {
        match self.read_to {
            Some(read_to) => earlier(read_to, OVERLAP),
            None => earlier(now, AT_THE_START),
        }
    }

    /// Takes in an event while grants hold `live`.
    pub(super) fn take(&mut self, event: &LogEvent, live: &BTreeSet<Membership>) -> Option<Other> {
        let (Some(user), Some(group)) = (&event.user, &event.group) else {
            return None;
        };
        let membership = Membership { user: user.clone(), group: group.clone() };
        if !live.contains(&membership) || self.seen.insert(event.uuid.clone(), event.published).is_some() {
            return None;
        }
        if event.is_ours {
            self.since.entry(membership).or_insert(event.published);
            return None;
        }
        let ours = self.since.get(&membership)?;
        (event.published > *ours).then(|| Other {
            membership,
            by: event.actor.clone(),
            request_id: event.request_id.clone(),
        })
    }

    /// The log was read up to `until`, while grants held `live`.
    pub(super) fn read_to(&mut self, until: Timestamp, live: &BTreeSet<Membership>) {
        self.since.retain(|membership, _| live.contains(membership));
        for membership in live {
            self.since.entry(membership.clone()).or_insert(until);
        }
        let overlap = earlier(until, OVERLAP);
        self.seen.retain(|_, published| *published > overlap);
        self.read_to = Some(until);
    }
}

fn earlier(instant: Timestamp, by: Duration) -> Timestamp {
    instant.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{OktaGroupId, OktaUserId};
    use crate::okta::LogKind;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + second).unwrap()
    }

    fn membership() -> Membership {
        Membership { user: OktaUserId::from("u"), group: OktaGroupId::from("g") }
    }

    fn event(uuid: &str, second: i64, is_ours: bool) -> LogEvent {
        LogEvent {
            uuid: uuid.to_owned(),
            published: at(second),
            kind: LogKind::MemberAdded,
            is_ours,
            actor: Some(if is_ours { "us" } else { "admin" }.to_owned()),
            user: Some(OktaUserId::from("u")),
            group: Some(OktaGroupId::from("g")),
            request_id: Some(format!("request of {uuid}")),
        }
    }

    /// Who was found, by the events' uuids, reading after reading; each ends at its second.
    fn found(readings: &[(i64, bool, &[LogEvent])]) -> Vec<String> {
        let mut additions = Additions::default();
        let mut found = Vec::new();
        for (until, is_live, events) in readings {
            let live: BTreeSet<_> = is_live.then(membership).into_iter().collect();
            for event in *events {
                if let Some(other) = additions.take(event, &live) {
                    assert_eq!(other.by.as_deref(), Some("admin"));
                    assert_eq!(other.request_id, Some(format!("request of {}", event.uuid)));
                    found.push(event.uuid.clone());
                }
            }
            additions.read_to(at(*until), &live);
        }
        found
    }

    #[test]
    fn what_comes_after_ours_counts_once_and_what_came_before_does_not() {
        let (before, ours, after) =
            (event("before", 1, false), event("ours", 2, true), event("after", 3, false));
        assert_eq!(found(&[(10, true, &[before.clone(), ours.clone(), after.clone()])]), ["after"]);
        assert_eq!(
            found(&[(10, true, &[before.clone(), ours.clone()]), (20, true, &[before, ours])]).len(),
            0
        );
        assert_eq!(
            found(&[(10, true, &[event("ours", 2, true), after.clone()]), (20, true, &[after])]),
            ["after"]
        );
    }

    #[test]
    fn an_event_that_shows_late_is_judged_by_when_it_was_published() {
        // Ours is not in the log yet when it is read first; neither is what came before it.
        let late = [event("before", 1, false), event("ours", 2, true)];
        assert_eq!(found(&[(10, true, &[]), (20, true, &late)]).len(), 0);
        // Read long after ours was given: nothing older than the first reading counts, whatever is younger does.
        let all = [event("before", 1, false), event("after", 11, false)];
        assert_eq!(found(&[(10, true, &[]), (20, true, &all)]), ["after"]);
    }

    #[test]
    fn what_nobody_holds_is_nobodys_concern() {
        assert_eq!(found(&[(10, false, &[event("ours", 2, true), event("after", 3, false)])]).len(), 0);
        // Held, let go, and held again: a former grant's addition says nothing of this one's.
        let again = [event("between", 15, false), event("ours", 21, true)];
        assert_eq!(
            found(&[(10, true, &[event("one", 2, true)]), (20, false, &[]), (30, true, &again)]).len(),
            0
        );
    }

    #[test]
    fn the_log_is_read_with_an_overlap_and_a_day_back_at_the_start() {
        let mut additions = Additions::default();
        let day = 24 * 60 * 60;
        assert_eq!(additions.from(at(day)), at(0));
        additions.read_to(at(day), &BTreeSet::new());
        assert_eq!(additions.from(at(2 * day)), at(day - 5 * 60));
    }
}
