//! One suite for every kind of journal. It names this crate as the tests beside it do, which need a server: `tests/fleet`
//! takes this file in.

use std::sync::Arc;

use apono_connector::access::journal::{Entry, Journal, Record, Standing, Subject};
use apono_connector::access::machine::{EndReason, Event, Source};
use apono_connector::access::tasks::{Ask, TaskEvent};
use apono_connector::access::untold::TrailEvent;
use apono_connector::apono::{Code, Lease, TaskResult};
use apono_connector::audit::{AuditRecord, Kind, MemberState};
use apono_connector::domain::{Grant, GrantId, IntegrationId, OktaGroupId, RequestContext, Revision, TaskId};
use futures_util::future::BoxFuture;
use jiff::Timestamp;

/// Checks the journal that `open` opens. It is opened again in between, as after a restart.
pub(crate) async fn check(open: &(dyn Fn() -> BoxFuture<'static, Arc<dyn Journal>> + Sync)) {
    let (first, second) = (GrantId::from("grt_1"), GrantId::from("grt_2"));
    let task = TaskId::from("tsk_1");

    let journal = open().await;
    assert!(journal.open_entries().await.unwrap().is_empty());
    journal
        .append(
            vec![entry(0, accepted(&first)), entry(0, taken(&task)), entry(1, accepted(&second))],
            vec![
                standing(Subject::Grant(first.clone()), true),
                standing(Subject::Task(task.clone()), true),
                standing(Subject::Grant(second.clone()), true),
            ],
        )
        .await
        .unwrap();
    journal
        .append(vec![entry(2, ended(&second))], vec![standing(Subject::Grant(second.clone()), false)])
        .await
        .unwrap();
    journal.prove().await.unwrap();
    drop(journal);

    let journal = open().await;
    assert_eq!(
        journal.open_entries().await.unwrap(),
        [entry(0, accepted(&first)), entry(0, taken(&task))],
        "closed subjects are left out, the order is kept"
    );
    assert_eq!(
        journal.history(&Subject::Grant(second.clone())).await.unwrap(),
        [entry(1, accepted(&second)), entry(2, ended(&second))]
    );
    assert!(journal.history(&Subject::Grant(GrantId::from("grt_9"))).await.unwrap().is_empty());

    journal
        .append(vec![entry(3, answered(&task))], vec![standing(Subject::Task(task.clone()), false)])
        .await
        .unwrap();
    journal
        .append(vec![entry(4, taken(&task))], vec![standing(Subject::Task(task.clone()), true)])
        .await
        .unwrap();
    assert_eq!(
        journal.open_entries().await.unwrap(),
        [
            entry(0, accepted(&first)),
            entry(0, taken(&task)),
            entry(3, answered(&task)),
            entry(4, taken(&task))
        ],
        "a subject that is open again comes back whole"
    );

    let asking = TaskId::from("tsk_2");
    journal
        .append(
            vec![entry(5, asked(&asking, &second)), entry(6, answered(&asking))],
            vec![standing(Subject::Task(asking.clone()), false)],
        )
        .await
        .unwrap();
    assert_eq!(
        journal.about(&second).await.unwrap(),
        [
            entry(1, accepted(&second)),
            entry(2, ended(&second)),
            entry(5, asked(&asking, &second)),
            entry(6, answered(&asking))
        ],
        "a grant and the tasks that asked about it, closed or not"
    );
    assert_eq!(journal.about(&first).await.unwrap(), [entry(0, accepted(&first))]);
    assert!(journal.about(&GrantId::from("grt_9")).await.unwrap().is_empty());

    let still_open = journal.open_entries().await.unwrap();
    let outage = Subject::Trail(instant(7));
    journal.append(vec![entry(7, untold(&second))], vec![standing(outage.clone(), true)]).await.unwrap();
    drop(journal);
    let journal = open().await;
    assert_eq!(
        journal.open_entries().await.unwrap(),
        [still_open.clone(), vec![entry(7, untold(&second))]].concat(),
        "what the audit trail was not told"
    );
    assert_eq!(journal.about(&second).await.unwrap().len(), 4, "which is no part of a grant's story");
    journal.append(vec![entry(8, told())], vec![standing(outage.clone(), false)]).await.unwrap();
    assert_eq!(journal.open_entries().await.unwrap(), still_open);
    assert_eq!(journal.history(&outage).await.unwrap(), [entry(7, untold(&second)), entry(8, told())]);
}

fn instant(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

pub(crate) fn entry(second: i64, record: Record) -> Entry {
    Entry { at: instant(second), record }
}

pub(crate) fn standing(subject: Subject, open: bool) -> Standing {
    Standing { subject, open }
}

pub(crate) fn accepted(id: &GrantId) -> Record {
    let grant = Grant {
        id: id.clone(),
        revision: Revision(1),
        integration: IntegrationId::from("int"),
        username: "ada@example.com".to_owned(),
        groups: [OktaGroupId::from("00g1")].into(),
        expires_at: Some("2026-01-01T01:00:00.123456789Z".parse().unwrap()),
        request: None,
    };
    Record::Grant { id: id.clone(), event: Event::Accepted { grant, by: Source::Task } }
}

pub(crate) fn ended(id: &GrantId) -> Record {
    let due = "2026-01-01T01:00:00Z".parse().unwrap();
    Record::Grant { id: id.clone(), event: Event::EndRequested { reason: EndReason::Expired, due, by: None } }
}

/// Of the outage that the second 7 began.
fn untold(grant: &GrantId) -> Record {
    let record = AuditRecord {
        kind: Kind::Removed,
        grant: grant.clone(),
        revision: Revision(1),
        integration: IntegrationId::from("int"),
        username: "ada@example.com".to_owned(),
        user: Some("00u1".into()),
        group: OktaGroupId::from("00g1"),
        expires_at: None,
        request: RequestContext::default(),
        code: Some("revoked".into()),
        detail: None,
        verified: Some(true),
        before: MemberState::Member,
        after: MemberState::NotMember,
        okta_request_ids: vec!["req_1".to_owned()],
    };
    let event = TrailEvent::Untold { happened: instant(7), records: vec![record] };
    Record::Trail { since: instant(7), event }
}

fn told() -> Record {
    Record::Trail { since: instant(7), event: TrailEvent::Told }
}

fn taken(id: &TaskId) -> Record {
    let event = TaskEvent::Taken {
        ask: Ask::Other,
        lease: Lease { token: "opaque".to_owned(), expires_at: None },
        by: None,
    };
    Record::Task { id: id.clone(), event }
}

fn asked(id: &TaskId, grant: &GrantId) -> Record {
    let ask = Ask::Revoke { grant: grant.clone(), groups: Vec::new() };
    let event =
        TaskEvent::Taken { ask, lease: Lease { token: "opaque".to_owned(), expires_at: None }, by: None };
    Record::Task { id: id.clone(), event }
}

fn answered(id: &TaskId) -> Record {
    let result = TaskResult::whole(Code::MalformedTask, "no", serde_json::json!({}), Timestamp::UNIX_EPOCH);
    Record::Task { id: id.clone(), event: TaskEvent::Answered { result } }
}
