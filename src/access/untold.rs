//! # Purpose
//! What the audit trail could not be told when it happened, as the journal keeps it until the trail works again.
//!
//! # Invariants kept here
//! - Pure: events in, state out; the same at replay as live.
//! - What waits is in the order of events, each with the instant at which it happened.
//! - It is bounded by the duties at hand: each can end once, and what others wrote is cut as the trail cuts it. What was
//!   told is kept no longer, here and in what a start reads back: each outage is a subject of its own, which is closed
//!   when all of it was told.
//! - The form on disk only grows: what an older version wrote is read.
//!
//! # Not here
//! Telling it: `telling`. When it is recorded: `ledger`. What is told of an event of a grant: `audited`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::journal::Record;
use crate::audit::{AuditRecord, ocsf};

/// Something that has happened between the connector and its audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TrailEvent {
    /// The trail did not take what there was to tell. Recorded together with what it tells of.
    Untold {
        /// When that happened.
        happened: Timestamp,
        /// What was to be told of it.
        records: Vec<AuditRecord>,
    },
    /// The trail has taken all of it.
    Told,
}

/// All that waits to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// By the instant at which each outage was found. There is one at most, unless the journal says otherwise.
    outages: BTreeMap<Timestamp, Vec<(Timestamp, AuditRecord)>>,
}

/// How an outage was before an event.
#[derive(Debug)]
pub(super) enum Before {
    /// So many of what waits waited already.
    Shorter(usize),
    /// All of this waited.
    Waiting(Vec<(Timestamp, AuditRecord)>),
}

impl Untold {
    /// What waits, in the order of events.
    pub fn records(&self) -> Vec<(Timestamp, AuditRecord)> {
        self.outages.values().flatten().cloned().collect()
    }

    /// Whether something of this outage waits.
    pub fn is_open(&self, since: Timestamp) -> bool {
        self.outages.contains_key(&since)
    }

    /// That the trail did not take these: to be recorded.
    pub fn more(&self, happened: Timestamp, records: Vec<AuditRecord>) -> Record {
        let since = self.outages.keys().next_back().copied().unwrap_or(happened);
        let records = records.into_iter().map(ocsf::cut).collect();
        Record::Trail { since, event: TrailEvent::Untold { happened, records } }
    }

    /// That the trail has taken all that waits: to be recorded. From here on nothing waits.
    pub fn all_told(&mut self) -> Vec<Record> {
        let told = |since: Timestamp| Record::Trail { since, event: TrailEvent::Told };
        std::mem::take(&mut self.outages).into_keys().map(told).collect()
    }

    /// Takes in an event of the outage found at `since`. None is illegal: a trail that is odd must not keep the duties
    /// from being taken up.
    pub(super) fn apply(&mut self, since: Timestamp, event: &TrailEvent) -> Before {
        match event {
            TrailEvent::Untold { happened, records } => {
                let waiting = self.outages.entry(since).or_default();
                let before = waiting.len();
                waiting.extend(records.iter().map(|record| (*happened, record.clone())));
                Before::Shorter(before)
            }
            TrailEvent::Told => Before::Waiting(self.outages.remove(&since).unwrap_or_default()),
        }
    }

    /// Takes the latest event of an outage back.
    pub(super) fn restore(&mut self, since: Timestamp, before: Before) {
        let waiting = match before {
            Before::Waiting(waiting) => waiting,
            Before::Shorter(length) => {
                let mut waiting = self.outages.remove(&since).unwrap_or_default();
                waiting.truncate(length);
                waiting
            }
        };
        if !waiting.is_empty() {
            self.outages.insert(since, waiting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::book::Book;
    use crate::access::journal::contract;
    use crate::audit::{Kind, MemberState};
    use crate::domain::{GrantId, OktaUserId, RequestContext, Revision};

    fn instant(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    fn record(kind: Kind) -> AuditRecord {
        AuditRecord {
            kind,
            grant: "grt_1".into(),
            revision: Revision(3),
            integration: "int".into(),
            username: "ada@example.com".to_owned(),
            user: Some(OktaUserId::from("00u1")),
            group: "00g1".into(),
            expires_at: Some(instant(3600)),
            request: RequestContext { friendly_id: Some("AR-1".to_owned()), ..RequestContext::default() },
            code: Some("revoked".into()),
            detail: Some("its time ran out".to_owned()),
            verified: Some(true),
            before: MemberState::Member,
            after: MemberState::NotMember,
            okta_request_ids: vec!["req_1".to_owned()],
        }
    }

    /// What was written once must be understood for ever: change neither text.
    #[test]
    fn what_is_on_disk_is_read() {
        let untold = r#"{"of":"trail","since":"2026-01-01T00:00:00Z","event":"untold","happened":"2026-01-01T00:00:01.5Z","records":[{"kind":"removed","grant":"grt_1","revision":3,"integration":"int","username":"ada@example.com","user":"00u1","group":"00g1","expires_at":"2026-01-01T01:00:00Z","request":{"friendly_id":"AR-1"},"code":"revoked","detail":"its time ran out","verified":true,"before":"member","after":"not_member","okta_request_ids":["req_1"]},{"kind":"end_requested","grant":"grt_1","revision":3,"integration":"int","username":"ada@example.com","group":"00g1","request":{},"before":"unknown","after":"unknown"}]}"#;
        let told = r#"{"of":"trail","since":"2026-01-01T00:00:00Z","event":"told"}"#;
        let bare = AuditRecord {
            user: None,
            expires_at: None,
            request: RequestContext::default(),
            code: None,
            detail: None,
            verified: None,
            before: MemberState::Unknown,
            after: MemberState::Unknown,
            okta_request_ids: Vec::new(),
            ..record(Kind::EndRequested)
        };
        let event = TrailEvent::Untold {
            happened: instant(1) + jiff::SignedDuration::from_millis(500),
            records: vec![record(Kind::Removed), bare],
        };
        for (text, event) in [(untold, event), (told, TrailEvent::Told)] {
            let record = Record::Trail { since: instant(0), event };
            assert_eq!(serde_json::from_str::<Record>(text).unwrap(), record);
            assert_eq!(serde_json::to_string(&record).unwrap(), text);
        }
    }

    #[test]
    fn what_was_not_recorded_does_not_wait() {
        let mut book = Book::default();
        let wait = |book: &Book, second| book.untold().more(instant(second), vec![record(Kind::Removed)]);
        let first = wait(&book, 0);
        book.apply(std::slice::from_ref(&first)).unwrap();
        let second = wait(&book, 1);
        assert_eq!(second.subject(), first.subject(), "one outage");
        let before = book.clone();
        let illegal = contract::ended(&GrantId::from("grt_9"));
        let told = Record::Trail { since: instant(0), event: TrailEvent::Told };
        for refused in [vec![second.clone()], vec![told.clone()], vec![second.clone(), told, second.clone()]]
        {
            assert!(book.apply(&[refused, vec![illegal.clone()]].concat()).is_err());
            assert_eq!(book, before);
        }

        book.apply(&[second]).unwrap();
        let waiting = [0, 1].map(|second| (instant(second), record(Kind::Removed)));
        assert_eq!(book.untold().records(), waiting);
        let told = book.all_told();
        assert_eq!(told, [Record::Trail { since: instant(0), event: TrailEvent::Told }]);
        assert_eq!(book, Book::default());
        assert!(book.apply(&told).is_ok(), "told once more");
        assert_ne!(wait(&book, 2).subject(), first.subject(), "another outage");
    }
}
