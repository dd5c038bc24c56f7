use MemberState::{Member, NotMember, NotStanding, Unknown};
use jiff::Timestamp;

use super::*;
use crate::access::machine::apply;
use crate::domain::{OktaUserId, RequestContext, Revision};

fn grant(revision: u64, groups: &[&str]) -> Grant {
    Grant {
        id: "g".into(),
        revision: Revision(revision),
        integration: "i".into(),
        username: "ada@example.com".to_owned(),
        groups: groups.iter().map(|group| (*group).into()).collect(),
        expires_at: Some(instant()),
        request: Some(RequestContext { id: Some("r".to_owned()), ..RequestContext::default() }),
    }
}

fn instant() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn group() -> OktaGroupId {
    "a".into()
}

/// The records of the last of these events, after all before it.
fn last(events: &[Event]) -> Vec<AuditRecord> {
    let id = GrantId::from("g");
    let mut state: Option<GrantState> = None;
    let mut records = Vec::new();
    for event in events {
        let next = apply(state.as_ref(), event).unwrap();
        records = project(&id, state.as_ref(), &next, event);
        state = Some(next);
    }
    records
}

fn accepted() -> Event {
    Event::Accepted { grant: grant(1, &["a", "b"]), by: Source::Task }
}

fn resolved() -> Event {
    Event::UserResolved { user: OktaUserId::from("00u") }
}

fn intended() -> Event {
    Event::GrantIntended { group: group() }
}

fn added(verified: bool) -> Event {
    Event::Granted { group: group(), verified, okta_request_ids: vec!["x".to_owned()] }
}

fn over() -> Event {
    Event::EndRequested { reason: EndReason::Expired, due: instant(), by: None }
}

fn removing() -> Event {
    Event::RevokeIntended { group: group() }
}

fn done(how: Ending) -> Event {
    Event::Ended { group: group(), how, okta_request_ids: vec!["y".to_owned()] }
}

fn standing() -> Event {
    Event::StandingFound { group: group(), okta_request_ids: Vec::new() }
}

fn others() -> Event {
    Event::AddedByOthers {
        group: group(),
        by: Some("00uadmin".to_owned()),
        okta_request_ids: vec!["w".to_owned()],
    }
}

fn missing() -> Event {
    Event::FoundMissing { group: group(), okta_request_ids: vec!["z".to_owned()] }
}

fn refused(proven_absent: bool) -> Event {
    Event::Refused { group: group(), code: Code::NotPermitted, message: "no".to_owned(), proven_absent }
}

#[test]
fn an_addition_by_others_says_who_and_what_becomes_of_it() {
    let ours = [accepted(), resolved(), intended(), added(true)];
    let theirs = [accepted(), resolved(), standing()];
    let cases = [
        ([&ours[..], &[others()]].concat(), Member, "ends with the grant"),
        ([&ours[..], &[missing(), others()]].concat(), NotMember, "ends with the grant"),
        ([&theirs[..], &[missing(), others()]].concat(), NotMember, "stands again"),
    ];
    for (events, before, rule) in cases {
        let records = last(&events);
        let [record] = &records[..] else {
            panic!("{records:?}");
        };
        assert_eq!((record.kind, record.before, record.after), (Kind::AdditionNoticed, before, Member));
        let detail = record.detail.as_deref().unwrap();
        assert!(detail.contains("00uadmin") && detail.contains(rule), "{detail}");
    }
}

#[test]
fn every_event_of_one_group_has_its_record() {
    let given = [accepted(), resolved(), intended(), added(true)];
    let after = |events: &[Event], last: &[Event]| [events, last].concat();
    let begun = &given[..2];
    let cases = [
        (after(begun, &[intended()]), Kind::AdditionIntended, None, None, NotStanding, Unknown),
        (after(begun, &[intended(), intended()]), Kind::AdditionIntended, None, None, Unknown, Unknown),
        (
            after(begun, &[intended(), added(true)]),
            Kind::Added,
            Some("granted"),
            Some(true),
            NotStanding,
            Member,
        ),
        (
            after(begun, &[intended(), added(false)]),
            Kind::Added,
            Some("unverified"),
            Some(false),
            NotStanding,
            Unknown,
        ),
        (
            after(begun, &[intended(), added(false), added(true)]),
            Kind::AdditionVerified,
            Some("granted"),
            Some(true),
            Unknown,
            Member,
        ),
        (after(begun, &[standing()]), Kind::StandingNoticed, Some("already_member"), None, Member, Member),
        (after(&given, &[missing()]), Kind::MissingNoticed, None, None, Member, NotMember),
        (after(begun, &[standing(), missing()]), Kind::MissingNoticed, None, None, Member, NotMember),
        (after(begun, &[refused(false)]), Kind::Refused, Some("not_permitted"), None, Unknown, Unknown),
        (
            after(begun, &[intended(), refused(true)]),
            Kind::Refused,
            Some("not_permitted"),
            None,
            NotMember,
            NotMember,
        ),
        (after(&given, &[over(), removing()]), Kind::RemovalIntended, None, None, Member, Unknown),
        (
            after(begun, &[intended(), added(false), over(), removing()]),
            Kind::RemovalIntended,
            None,
            None,
            Unknown,
            Unknown,
        ),
        (
            after(&given, &[over(), removing(), done(Ending::Revoked)]),
            Kind::Removed,
            Some("revoked"),
            Some(true),
            Unknown,
            NotMember,
        ),
        (
            after(&given, &[over(), done(Ending::KeptOtherGrant)]),
            Kind::Released,
            Some("kept_other_grant"),
            None,
            Member,
            Unknown,
        ),
        (
            after(&given, &[over(), done(Ending::NotMember)]),
            Kind::Released,
            Some("not_member"),
            None,
            Member,
            NotMember,
        ),
        (after(&given, &[over(), done(Ending::Gone)]), Kind::Released, Some("gone"), None, Member, NotMember),
        (
            after(begun, &[standing(), over(), done(Ending::KeptStanding)]),
            Kind::Released,
            Some("kept_standing"),
            None,
            Member,
            Member,
        ),
    ];
    for (events, kind, code, verified, before, after) in cases {
        let records = last(&events);
        let [record] = &records[..] else {
            panic!("{records:?}");
        };
        let found = (record.kind, record.code.as_deref(), record.verified, record.before, record.after);
        assert_eq!(found, (kind, code, verified, before, after), "{events:?}");
        assert_eq!((record.group.as_str(), record.grant.as_str()), ("a", "g"));
        assert_eq!(record.user, Some(OktaUserId::from("00u")));
        assert_eq!((record.request.id.as_deref(), record.expires_at), (Some("r"), Some(instant())));
    }
}

#[test]
fn requests_are_told_group_by_group() {
    let told = |events: &[Event]| -> Vec<(String, Kind, String)> {
        let short =
            |record: AuditRecord| (record.group.to_string(), record.kind, record.detail.unwrap_or_default());
        last(events).into_iter().map(short).collect()
    };
    let line = |group: &str, kind, detail: &str| (group.to_owned(), kind, detail.to_owned());
    assert_eq!(
        told(&[accepted()]),
        [line("a", Kind::Requested, "by a task"), line("b", Kind::Requested, "by a task")]
    );
    assert_eq!(told(&[accepted(), resolved()]), []);
    let revised = Event::Revised { grant: grant(2, &["b", "c"]), by: Source::Listing };
    let wanted = "wanted; revision 1 before; by the listing of desired grants";
    assert_eq!(
        told(&[accepted(), resolved(), intended(), revised.clone()]),
        [
            line("b", Kind::Revised, wanted),
            line("c", Kind::Revised, wanted),
            line("a", Kind::Revised, "left out; revision 1 before; by the listing of desired grants"),
        ]
    );
    // What is over already has nothing more to end.
    assert_eq!(
        told(&[accepted(), resolved(), refused(false), over()]),
        [line("b", Kind::EndRequested, "its time ran out; due since 2026-01-01T00:00:00Z")]
    );
    let events =
        [accepted(), resolved(), intended(), added(true), revised, removing(), done(Ending::Revoked)];
    assert_eq!(told(&events), [line("a", Kind::Removed, "left out by a later revision")]);
}

#[test]
fn effects_carry_oktas_request_ids_and_refusals_their_reason() {
    let given = [accepted(), resolved(), intended(), added(true), over(), removing(), done(Ending::Revoked)];
    assert_eq!(last(&given[..4])[0].okta_request_ids, ["x"]);
    assert_eq!(last(&given)[0].okta_request_ids, ["y"]);
    assert_eq!(last(&[accepted(), refused(false)])[0].detail.as_deref(), Some("no"));
}
