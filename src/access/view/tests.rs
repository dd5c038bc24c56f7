use super::*;
use crate::access::machine::Event;
use crate::access::tasks::TaskEvent;
use crate::apono::Lease;
use crate::domain::Grant;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn accepted(id: &str, user: &str) -> Record {
    let grant = Grant {
        id: id.into(),
        revision: Revision(1),
        integration: "int".into(),
        username: user.to_owned(),
        groups: ["00g1".into(), "00g2".into()].into(),
        expires_at: Some(at(3600)),
        request: None,
    };
    Record::Grant { id: id.into(), event: Event::Accepted { grant, by: Source::Task } }
}

fn of(id: &str, event: Event) -> Record {
    Record::Grant { id: id.into(), event }
}

fn given(id: &str, user: &str) -> Vec<Record> {
    let group = || OktaGroupId::from("00g1");
    vec![
        accepted(id, user),
        of(id, Event::UserResolved { user: "00u1".into() }),
        of(id, Event::GrantIntended { group: group() }),
        of(id, Event::Granted { group: group(), verified: true, okta_request_ids: vec!["r1".to_owned()] }),
        of(id, Event::StandingFound { group: "00g2".into(), okta_request_ids: vec!["r2".to_owned()] }),
    ]
}

fn over(id: &str) -> Record {
    let by = Some("user id 0: left the team".to_owned());
    of(id, Event::EndRequested { reason: EndReason::Operator, due: at(60), by })
}

#[test]
fn a_story_has_a_line_for_every_event_and_oktas_ids() {
    let lease = Lease { token: "opaque".to_owned(), expires_at: None };
    let ask = Ask::Grant { grant: "grt_1".into(), revision: Revision(1), groups: Vec::new() };
    let mut records = vec![Record::Task {
        id: "tsk_1".into(),
        event: TaskEvent::Taken { ask, lease: lease.clone(), by: None },
    }];
    records.extend(given("grt_1", "ada@example.com"));
    records.push(Record::Task { id: "tsk_1".into(), event: TaskEvent::Closed { why: Closure::Delivered } });
    records.push(over("grt_1"));
    let entries: Vec<_> = records.iter().map(|record| Entry { at: at(1), record: record.clone() }).collect();
    let Story { grant, lines } = story(&"grt_1".into(), &entries).unwrap();
    let said: Vec<_> = lines.iter().map(|line| line.what.as_str()).collect();
    assert_eq!(
        said,
        [
            "task tsk_1 to give access was leased",
            "accepted by a task: revision 1, 00g1, 00g2 for ada@example.com until 2026-01-01T01:00:00Z",
            "the name means Okta user 00u1",
            "00g1: the user is no member; will be added",
            "00g1: added, and seen",
            "00g2: the user is a member already; kept at the end",
            "task tsk_1: Apono has the answer",
            "over: an operator of this host ended it (user id 0: left the team); removals are due since 2026-01-01T00:01:00Z",
        ]
    );
    assert_eq!(
        (&lines[4].okta_request_ids, &lines[5].okta_request_ids),
        (&vec!["r1".into()], &vec!["r2".into()])
    );
    assert_eq!(grant.over, Some(Over { reason: EndReason::Operator, due: at(60) }));
    let now: Vec<_> = grant.groups.iter().map(|group| (group.state.as_str(), group.owes_removal)).collect();
    assert_eq!(now, [("member", true), ("standing before the grant", false)]);
    assert!(grant.groups.iter().all(|group| group.next.is_some()), "both have still to be let go of");
    assert!(story(&"grt_2".into(), &entries).is_none());
    let text = serde_json::to_string(&Story { grant: grant.clone(), lines: lines.clone() }).unwrap();
    assert_eq!(serde_json::from_str::<Story>(&text).unwrap(), Story { grant, lines });
}

#[test]
fn a_listing_is_filtered_and_goes_on_where_it_stopped() {
    let mut book = Book::default();
    for number in 0..PAGE + 3 {
        book.apply(&given(&format!("grt_{number:04}"), &format!("user{}@example.com", number % 2))).unwrap();
    }
    book.apply(&[over("grt_0001")]).unwrap();
    let mut filter = Filter::default();
    let mut seen = Vec::new();
    loop {
        let listing = list(&book, &filter);
        assert!(listing.items.len() <= PAGE);
        seen.extend(listing.items.into_iter().map(|grant| grant.grant_id));
        match listing.next {
            None => break,
            next => filter.after = next,
        }
    }
    assert_eq!(seen.len(), PAGE + 3);
    assert!(seen.is_sorted());
    let count = |filter: Filter| list(&book, &filter).items.len();
    let user = |user: &str| Filter { user: Some(user.to_owned()), ..Filter::default() };
    assert_eq!(count(user("USER1@example.com")), 101);
    assert_eq!(count(user("00u1")), PAGE);
    assert_eq!(count(user("nobody")), 0);
    assert_eq!(count(Filter { due: true, ..Filter::default() }), 1);
    assert_eq!(count(Filter { group: Some("00g3".into()), ..Filter::default() }), 0);
    assert_eq!(count(Filter { integration: Some("other".into()), ..Filter::default() }), 0);
}
