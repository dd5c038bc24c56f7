use std::time::Duration;

use super::*;
use crate::access::conditions::Obstacle;
use crate::access::machine::Ending;
use crate::access::policy::Globs;
use crate::domain::OktaUserId;

const HOURS: i64 = 12;

fn instant(hours: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + hours * 3600).unwrap()
}

fn at(hours: i64) -> Conditions {
    Conditions::good(instant(hours))
}

fn integration() -> IntegrationId {
    "int".into()
}

fn policy() -> Policy {
    Policy {
        enabled: true,
        allow_groups: Globs::new(&["*".to_owned()]).unwrap(),
        max_duration: Duration::from_hours(HOURS.unsigned_abs()),
        max_live_grants: 10,
        ..Policy::nothing()
    }
}

fn access(username: &str, groups: &[&str]) -> Access {
    let groups = groups.iter().map(|group| (*group).into()).collect();
    Access { username: username.to_owned(), groups, grant_id: Some("3f2a".to_owned()) }
}

fn ada(groups: &[&str]) -> Access {
    access("ada@example.com", groups)
}

/// Decides, and takes the records in.
fn given(book: &mut Book, access: &Access, policy: &Policy, conditions: &Conditions) -> Decision {
    let mut next = book.grants().count();
    let fresh = || {
        next += 1;
        format!("{ID_PREFIX}{next}").into()
    };
    let decision = give(book, &integration(), access, policy, conditions, fresh);
    book.apply(&decision.records).unwrap();
    decision
}

fn taken(book: &mut Book, access: &Access) -> Decision {
    let decision = take(book, &integration(), access, instant(1));
    book.apply(&decision.records).unwrap();
    decision
}

fn of(id: &str, event: Event) -> Record {
    Record::Grant { id: id.into(), event }
}

/// Everything that follows until the membership is seen.
fn added(book: &mut Book, id: &str, group: &str) {
    let group = OktaGroupId::from(group);
    book.apply(&[
        of(id, Event::UserResolved { user: OktaUserId::from("00u1") }),
        of(id, Event::GrantIntended { group: group.clone() }),
        of(id, Event::Granted { group, verified: true, okta_request_ids: Vec::new() }),
    ])
    .unwrap();
}

/// A grant of the same user and group that came by a task.
fn by_task(book: &mut Book) {
    let grant = Grant {
        id: "grt_1".into(),
        revision: Revision(1),
        integration: integration(),
        username: "ada@example.com".to_owned(),
        groups: ["00g1".into()].into(),
        expires_at: Some(instant(5)),
        request: None,
    };
    book.apply(&[of("grt_1", Event::Accepted { grant, by: Source::Task })]).unwrap();
    added(book, "grt_1", "00g1");
}

fn ids(decision: &Decision) -> Vec<&str> {
    decision.waits.iter().filter_map(|wait| wait.grant()).map(GrantId::as_str).collect()
}

#[test]
fn each_group_of_a_call_is_a_grant_of_its_own_bounded_by_the_policy() {
    let mut book = Book::default();
    let decision = given(&mut book, &ada(&["00g1", "00g2"]), &policy(), &at(0));
    assert_eq!(ids(&decision), ["call_1", "call_2"]);
    for (_, state) in book.grants() {
        assert_eq!((state.by, state.terms.groups.len()), (Source::Call, 1));
        assert_eq!(state.terms.expires_at, Some(instant(HOURS)));
        assert_eq!(state.terms.request.as_ref().unwrap().id.as_deref(), Some("3f2a"), "for the auditor");
    }
    assert_eq!(outcome(&book, &decision.waits[0], instant(0)), Outcome::Pending);
    added(&mut book, "call_1", "00g1");
    let Outcome::Known(known) = outcome(&book, &decision.waits[0], instant(0)) else { panic!() };
    assert_eq!(known.code, Code::Granted);
}

#[test]
fn a_repeated_call_renews_the_end_and_never_makes_a_second_holding() {
    let mut book = Book::default();
    by_task(&mut book);
    given(&mut book, &ada(&["00g1"]), &policy(), &at(0));
    let again = given(&mut book, &access("ADA@example.com", &["00g1"]), &policy(), &at(3));
    assert_eq!(ids(&again), ["call_2"], "before it is given, too");
    added(&mut book, "call_2", "00g1");
    let again = given(&mut book, &ada(&["00g1"]), &policy(), &at(6));
    assert_eq!(ids(&again), ["call_2"]);
    let state = book.grant(&"call_2".into()).unwrap();
    assert_eq!((state.terms.revision, state.terms.expires_at), (Revision(3), Some(instant(6 + HOURS))));
    assert_eq!(book.grants().count(), 2);
    let task = book.grant(&"grt_1".into()).unwrap();
    assert_eq!((task.by, task.terms.expires_at), (Source::Task, Some(instant(5))), "as it was");
    // What has run out, or was ended, is over: the next call begins anew.
    let anew = given(&mut book, &ada(&["00g1"]), &policy(), &at(6 + HOURS));
    assert_ne!(ids(&anew), ["call_2"]);
}

#[test]
fn a_revoke_ends_what_came_by_calls_and_nothing_else() {
    let mut book = Book::default();
    by_task(&mut book);
    given(&mut book, &ada(&["00g1", "00g2"]), &policy(), &at(0));
    given(&mut book, &access("bob@example.com", &["00g1"]), &policy(), &at(0));
    added(&mut book, "call_2", "00g1");
    let decision = taken(&mut book, &access("Ada@Example.com", &["00g1"]));
    assert_eq!(ids(&decision), ["call_2"]);
    let live: Vec<_> =
        book.grants().filter(|(_, state)| state.end.is_none()).map(|(id, _)| id.as_str()).collect();
    assert_eq!(live, ["call_3", "call_4", "grt_1"]);
    assert_eq!(outcome(&book, &decision.waits[0], instant(1)), Outcome::Pending);

    let again = taken(&mut book, &ada(&["00g1"]));
    assert!(again.records.is_empty(), "it is over already");
    assert_eq!(ids(&again), ["call_2"], "and not done yet");
    let group = OktaGroupId::from("00g1");
    let how = Ending::KeptOtherGrant;
    book.apply(&[of("call_2", Event::Ended { group, how, okta_request_ids: Vec::new() })]).unwrap();
    let Outcome::Known(known) = outcome(&book, &again.waits[0], instant(1)) else { panic!() };
    assert_eq!(answer(&known.resources), Answer::Done);
    assert_eq!(taken(&mut book, &ada(&["00g1"])), Decision::default(), "nothing is left to do");
}

#[test]
fn after_a_revoke_the_next_call_begins_anew_while_the_removal_goes_on() {
    let mut book = Book::default();
    given(&mut book, &ada(&["00g1"]), &policy(), &at(0));
    added(&mut book, "call_1", "00g1");
    taken(&mut book, &ada(&["00g1"]));
    let anew = given(&mut book, &ada(&["00g1"]), &policy(), &at(1));
    assert_eq!(ids(&anew), ["call_2"]);
    let revoked = taken(&mut book, &ada(&["00g1"]));
    assert_eq!(ids(&revoked), ["call_1", "call_2"]);
    assert_eq!(revoked.records.len(), 1);
}

#[test]
fn what_is_refused_is_remembered_answered_and_leaves_nothing_open() {
    let mut book = Book::default();
    let one = Policy { max_live_grants: 1, ..policy() };
    let decision = given(&mut book, &ada(&["00g1", "00g2"]), &one, &at(0));
    assert_eq!(ids(&decision), ["call_1"], "those that begin together are counted");
    assert_eq!(decision.answered[0].code, Code::RefusedPolicy);
    assert!(!book.grant(&"call_2".into()).unwrap().is_open());
    let Answer::Failed { again, message } = answer(&decision.answered) else { panic!() };
    assert!(!again && message.ends_with("(refused_policy)"), "{message}");

    let switched_off = Conditions { obstacle: Some(Obstacle::Clock { ahead_seconds: 90 }), ..at(1) };
    let renewal = given(&mut book, &ada(&["00g1"]), &policy(), &switched_off);
    assert_eq!(renewal.answered[0].code, Code::RefusedDegraded);
    let kept = book.grant(&"call_1".into()).unwrap();
    assert_eq!(kept.terms.expires_at, Some(instant(HOURS)), "the terms stay what they were");
    assert!(matches!(answer(&renewal.answered), Answer::Failed { again: true, .. }));
    let nothing = given(&mut book, &ada(&["00g3"]), &Policy::nothing(), &at(1));
    assert!(nothing.waits.is_empty());
}

#[test]
fn what_came_by_a_call_gets_no_other_terms_by_a_task_or_a_listing() {
    let mut book = Book::default();
    given(&mut book, &ada(&["00g1"]), &policy(), &at(0));
    let terms = Grant { revision: Revision(9), ..book.grant(&"call_1".into()).unwrap().terms.clone() };
    for by in [Source::Task, Source::Listing] {
        let reviewed = review(&book, &terms, by, 0, &policy(), &at(0));
        assert!(matches!(reviewed, Review::Answer(Code::MalformedTask, _)));
    }
    assert_eq!(crate::access::intake::withdraw(&book, &"call_1".into(), instant(1)), []);
}

#[test]
fn an_answer_names_every_reason_once_and_says_whether_asking_again_can_help() {
    let result = |group: &str, code: Code, message: &str| result(&group.into(), code, message.to_owned());
    assert_eq!(answer(&[]), Answer::Done);
    assert_eq!(answer(&[result("a", Code::AlreadyMember, "in")]), Answer::Done);
    let alike = [result("a", Code::UserNotFound, "nobody"), result("b", Code::UserNotFound, "nobody")];
    assert_eq!(
        answer(&alike),
        Answer::Failed { again: false, message: "nobody (user_not_found)".to_owned() }
    );
    let mixed = [
        result("a", Code::Granted, "in"),
        result("b", Code::GroupNotFound, "no group"),
        result("c", Code::RefusedDegraded, "no disk"),
    ];
    let message = "1 of 3 groups are as asked; group b: no group (group_not_found); group c: no disk (refused_degraded)";
    assert_eq!(answer(&mixed), Answer::Failed { again: true, message: message.to_owned() });
    let many: Vec<_> =
        (0..9).map(|n| result(&n.to_string(), Code::GroupNotFound, &format!("no {n}"))).collect();
    let Answer::Failed { message, .. } = answer(&many) else { panic!() };
    assert!(message.ends_with("group 4: no 4 (group_not_found); and 4 more"), "{message}");
    let wait = Ask::Grant { grant: "g".into(), revision: Revision(1), groups: vec!["a".into()] };
    let Answer::Failed { again: true, message } = answer(&unfinished(&wait)) else { panic!() };
    assert!(message.contains("that goes on; ask again (unavailable)"), "{message}");
}

#[test]
fn a_journal_from_before_there_were_calls_reads_as_it_was_written() {
    let old = r#"{"of":"grant","id":"grt_1","event":"accepted","grant":{"id":"grt_1","revision":1,
        "integration":"int","username":"ada@example.com","groups":["00g1"],"expires_at":null},"by":"listing"}"#;
    let Record::Grant { event: Event::Accepted { by, .. }, .. } = serde_json::from_str(old).unwrap() else {
        panic!()
    };
    assert_eq!(by, Source::Listing);
    let mut book = Book::default();
    let decision = given(&mut book, &ada(&["00g1"]), &policy(), &at(0));
    let text = serde_json::to_string(&decision.records).unwrap();
    assert!(text.contains(r#""by":"call""#), "{text}");
    assert_eq!(serde_json::from_str::<Vec<Record>>(&text).unwrap(), decision.records);
}
