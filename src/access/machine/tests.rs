use proptest::prelude::*;

use super::*;
use crate::domain::{GrantId, IntegrationId, Revision};

fn instant(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn grant(revision: u64, groups: &[&str]) -> Grant {
    Grant {
        id: GrantId::from("grt_1"),
        revision: Revision(revision),
        integration: IntegrationId::from("int"),
        username: "ada@example.com".to_owned(),
        groups: groups.iter().map(|group| OktaGroupId::from(*group)).collect(),
        expires_at: Some(instant(3600)),
        request: None,
    }
}

fn group(name: &str) -> OktaGroupId {
    OktaGroupId::from(name)
}

fn replay(events: &[Event]) -> Result<GrantState, IllegalEvent> {
    let mut state = None;
    for event in events {
        state = Some(apply(state.as_ref(), event)?);
    }
    Ok(state.unwrap())
}

fn accepted() -> Event {
    Event::Accepted { grant: grant(1, &["a"]), by: Source::Task }
}

fn intended() -> Event {
    Event::GrantIntended { group: group("a") }
}

fn granted() -> Event {
    Event::Granted { group: group("a"), verified: true, okta_request_ids: vec!["r1".to_owned()] }
}

fn ended(reason: EndReason) -> Event {
    Event::EndRequested { reason, due: instant(3600), by: None }
}

fn others() -> Event {
    Event::AddedByOthers { group: group("a"), by: Some("00u9".to_owned()), okta_request_ids: Vec::new() }
}

fn refused(proven_absent: bool) -> Event {
    let message = "no".to_owned();
    Event::Refused { group: group("a"), code: Code::NotPermitted, message, proven_absent }
}

fn over(how: Ending) -> Event {
    Event::Ended { group: group("a"), how, okta_request_ids: Vec::new() }
}

fn revoking() -> Event {
    Event::RevokeIntended { group: group("a") }
}

#[test]
fn a_grant_lives_and_ends() {
    let mut events = vec![accepted(), intended(), granted()];
    let state = replay(&events).unwrap();
    assert!(state.holdings[&group("a")].owes_removal());
    assert_eq!(state.step(&group("a")), None);
    assert!(!state.is_overdue(instant(3599)));
    assert!(state.is_overdue(instant(3600)));

    events.push(ended(EndReason::Expired));
    assert_eq!(replay(&events).unwrap().step(&group("a")), Some(Step::Remove));
    events.extend([revoking(), over(Ending::Revoked)]);
    let state = replay(&events).unwrap();
    assert!(!state.is_open());
    assert_eq!(state.step(&group("a")), None);
}

#[test]
fn an_addition_in_doubt_owes_a_removal() {
    let state = replay(&[accepted(), intended()]).unwrap();
    assert!(state.holdings[&group("a")].owes_removal());
    assert_eq!(state.step(&group("a")), Some(Step::Grant), "after a crash the addition is asked for again");
    let state = replay(&[accepted(), intended(), ended(EndReason::Revoked)]).unwrap();
    assert_eq!(state.step(&group("a")), Some(Step::Remove));
}

#[test]
fn a_standing_membership_cannot_be_removed() {
    let standing = [
        accepted(),
        Event::StandingFound { group: group("a"), okta_request_ids: Vec::new() },
        ended(EndReason::Expired),
    ];
    let state = replay(&standing).unwrap();
    assert_eq!(state.step(&group("a")), Some(Step::Release));
    assert!(apply(Some(&state), &revoking()).is_err());
    assert!(apply(Some(&state), &over(Ending::Revoked)).is_err());
    assert!(apply(Some(&state), &over(Ending::KeptStanding)).is_ok());
}

#[test]
fn nothing_is_removed_before_the_grant_is_over() {
    let state = replay(&[accepted(), intended(), granted()]).unwrap();
    assert!(apply(Some(&state), &revoking()).is_err());
    assert!(apply(Some(&state), &over(Ending::NotMember)).is_err());
}

#[test]
fn a_removal_is_intended_before_it_is_done() {
    let state = replay(&[accepted(), intended(), granted(), ended(EndReason::Expired)]).unwrap();
    assert!(apply(Some(&state), &over(Ending::Revoked)).is_err());
    assert!(
        apply(Some(&state), &over(Ending::KeptStanding)).is_err(),
        "a membership of ours never becomes standing"
    );
}

#[test]
fn the_end_is_final() {
    let state = replay(&[accepted(), ended(EndReason::Revoked)]).unwrap();
    assert!(apply(Some(&state), &intended()).is_err());
    assert!(apply(Some(&state), &Event::Revised { grant: grant(2, &["a"]), by: Source::Task }).is_err());
    assert!(apply(Some(&state), &ended(EndReason::Expired)).is_err());
}

#[test]
fn only_a_higher_revision_revises() {
    let state = replay(&[Event::Accepted { grant: grant(3, &["a"]), by: Source::Task }]).unwrap();
    for (revision, legal) in [(2, false), (3, false), (4, true)] {
        let event = Event::Revised { grant: grant(revision, &["a"]), by: Source::Task };
        assert_eq!(apply(Some(&state), &event).is_ok(), legal, "{revision}");
    }
}

#[test]
fn a_revision_adds_and_drops_groups() {
    let events =
        [accepted(), intended(), granted(), Event::Revised { grant: grant(2, &["b"]), by: Source::Task }];
    let state = replay(&events).unwrap();
    assert_eq!(state.step(&group("a")), Some(Step::Remove));
    assert_eq!(state.step(&group("b")), Some(Step::Grant));

    // Dropped, the removal begun, and wanted again: the duty stays and the addition is asked for anew.
    let state = apply(Some(&state), &revoking()).unwrap();
    let state =
        apply(Some(&state), &Event::Revised { grant: grant(3, &["a", "b"]), by: Source::Task }).unwrap();
    assert_eq!(state.holdings[&group("a")], Holding::Granting);
    assert_eq!(state.step(&group("a")), Some(Step::Grant));
}

#[test]
fn a_refusal_closes_and_a_later_revision_is_a_new_chance() {
    let state = replay(&[accepted(), refused(false)]).unwrap();
    assert!(!state.is_open());
    let state = apply(Some(&state), &Event::Revised { grant: grant(2, &["a"]), by: Source::Task }).unwrap();
    assert_eq!(state.step(&group("a")), Some(Step::Grant));
}

#[test]
fn a_refusal_without_proof_leaves_a_possible_addition_alone() {
    let state = replay(&[accepted(), intended()]).unwrap();
    assert!(apply(Some(&state), &refused(false)).is_err());
    let state = apply(Some(&state), &refused(true)).unwrap();
    assert!(!state.holdings[&group("a")].owes_removal());
}

#[test]
fn events_survive_being_written_down() {
    for event in [
        accepted(),
        Event::Revised { grant: grant(2, &["a", "b"]), by: Source::Task },
        Event::Declined { revision: Revision(3) },
        Event::UserResolved { user: OktaUserId::from("00u1") },
        refused(false),
        refused(true),
        Event::StandingFound { group: group("a"), okta_request_ids: Vec::new() },
        intended(),
        granted(),
        Event::FoundMissing { group: group("a"), okta_request_ids: vec!["x".to_owned()] },
        others(),
        Event::AddedByOthers { group: group("a"), by: None, okta_request_ids: Vec::new() },
        ended(EndReason::Withdrawn),
        Event::EndRequested {
            reason: EndReason::Operator,
            due: instant(3600),
            by: Some("uid 0: left the team".to_owned()),
        },
        revoking(),
        over(Ending::KeptOtherGrant),
    ] {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
    }
}

#[test]
fn what_the_first_version_wrote_is_read() {
    let standing = r#"{"event":"standing_found","group":"a"}"#;
    let over = r#"{"event":"end_requested","reason":"expired","due":"2026-01-01T00:00:00Z"}"#;
    assert!(matches!(serde_json::from_str(standing).unwrap(), Event::StandingFound { .. }));
    assert!(matches!(serde_json::from_str(over).unwrap(), Event::EndRequested { by: None, .. }));
}

#[test]
fn what_somebody_else_removed_is_not_asked_for_again_until_a_later_revision() {
    let missing = || Event::FoundMissing { group: group("a"), okta_request_ids: Vec::new() };
    let standing = || Event::StandingFound { group: group("a"), okta_request_ids: Vec::new() };
    let revised = || Event::Revised { grant: grant(2, &["a"]), by: Source::Task };
    for (events, owes, again) in [
        (vec![accepted(), intended(), granted(), missing()], true, Holding::Granting),
        (vec![accepted(), standing(), missing()], false, Holding::Wanted),
    ] {
        let state = replay(&events).unwrap();
        assert_eq!(state.step(&group("a")), None);
        assert_eq!(state.holdings[&group("a")].owes_removal(), owes, "one look is no proof for ever");
        assert!(apply(Some(&state), &missing()).is_err(), "told once");
        let state = apply(Some(&state), &revised()).unwrap();
        assert_eq!(state.holdings[&group("a")], again);
    }
    for events in [vec![accepted()], vec![accepted(), intended()], vec![accepted(), refused(false)]] {
        assert!(apply(Some(&replay(&events).unwrap()), &missing()).is_err());
    }
}

#[test]
fn what_somebody_else_has_added_as_well_is_told_once_and_ends_with_the_grant() {
    let missing = || Event::FoundMissing { group: group("a"), okta_request_ids: Vec::new() };
    for before in [vec![], vec![missing()]] {
        let events = [vec![accepted(), intended(), granted()], before, vec![others()]].concat();
        let state = replay(&events).unwrap();
        assert_eq!(state.step(&group("a")), None);
        assert!(apply(Some(&state), &others()).is_err(), "told once");
        let over = apply(Some(&state), &ended(EndReason::Expired)).unwrap();
        assert_eq!(over.step(&group("a")), Some(Step::Remove));
        assert!(apply(Some(&state), &missing()).is_ok(), "somebody can remove it again");
    }
    let standing = Event::StandingFound { group: group("a"), okta_request_ids: Vec::new() };
    let state = replay(&[accepted(), standing, missing(), others()]).unwrap();
    assert_eq!(state.holdings[&group("a")], Holding::Standing { missing: false });
}

/// One holding of each kind, under the name that the diagram gives it.
fn holdings() -> Vec<(&'static str, Holding)> {
    let active = |seen| Holding::Active { seen, okta_request_ids: Vec::new() };
    let all = vec![
        ("Wanted", Holding::Wanted),
        ("Refused", Holding::Refused { code: Code::NotPermitted, message: String::new() }),
        ("Standing", Holding::Standing { missing: false }),
        ("StandingMissing", Holding::Standing { missing: true }),
        ("Granting", Holding::Granting),
        ("Unseen", active(Seen::NotYet)),
        ("Active", active(Seen::There)),
        ("Missing", active(Seen::Missing)),
        ("ByOthers", active(Seen::ByOthers)),
        ("Removing", Holding::Removing),
        ("Ended", Holding::Ended { how: Ending::Revoked, okta_request_ids: Vec::new() }),
    ];
    for (name, holding) in &all {
        assert_eq!(state_name(holding), *name, "each kind once");
    }
    all
}

fn state_name(holding: &Holding) -> &'static str {
    match holding {
        Holding::Wanted => "Wanted",
        Holding::Refused { .. } => "Refused",
        Holding::Standing { missing: false } => "Standing",
        Holding::Standing { missing: true } => "StandingMissing",
        Holding::Granting => "Granting",
        Holding::Active { seen: Seen::Missing, .. } => "Missing",
        Holding::Active { seen: Seen::NotYet, .. } => "Unseen",
        Holding::Active { seen: Seen::There, .. } => "Active",
        Holding::Active { seen: Seen::ByOthers, .. } => "ByOthers",
        Holding::Removing => "Removing",
        Holding::Ended { .. } => "Ended",
    }
}

/// Every event of one group, in every form that makes a difference, and what the diagram calls it.
fn events_of_a_group() -> Vec<(String, Event)> {
    let (group, ids) = (|| group("a"), Vec::new);
    let refused = |proven_absent| Event::Refused {
        group: group(),
        code: Code::NotPermitted,
        message: String::new(),
        proven_absent,
    };
    let granted = |verified| Event::Granted { group: group(), verified, okta_request_ids: ids() };
    let mut events = vec![
        ("refused".to_owned(), refused(false)),
        ("refused, proven absent".to_owned(), refused(true)),
        ("found standing".to_owned(), Event::StandingFound { group: group(), okta_request_ids: ids() }),
        ("grant intended".to_owned(), Event::GrantIntended { group: group() }),
        ("added late".to_owned(), Event::AddedLate { group: group(), okta_request_ids: Vec::new() }),
        ("granted, seen".to_owned(), granted(true)),
        ("granted, unseen".to_owned(), granted(false)),
        ("found missing".to_owned(), Event::FoundMissing { group: group(), okta_request_ids: ids() }),
        ("added by others".to_owned(), others()),
        ("revoke intended".to_owned(), Event::RevokeIntended { group: group() }),
    ];
    for how in [
        Ending::Revoked,
        Ending::KeptStanding,
        Ending::LeftToRule,
        Ending::KeptOtherGrant,
        Ending::NotMember,
        Ending::Gone,
    ] {
        let word = serde_json::to_value(how).unwrap().as_str().unwrap().replace('_', " ");
        events
            .push((format!("ended: {word}"), Event::Ended { group: group(), how, okta_request_ids: ids() }));
    }
    events
}

/// The states and events of a holding, as the transition function has them.
fn diagram() -> String {
    let mut edges: BTreeMap<(&str, &str), BTreeMap<&str, Vec<String>>> = BTreeMap::new();
    for (from, holding) in holdings() {
        for (word, event) in events_of_a_group() {
            let [wanted, released] = [false, true].map(|released| follow(&holding, &event, released));
            let when = match (&wanted, &released) {
                (Some(one), Some(other)) => {
                    assert_eq!(one, other);
                    ""
                }
                (Some(_), None) => " (while wanted)",
                (None, _) => " (once let go)",
            };
            if let Some(next) = wanted.or(released) {
                edges.entry((from, state_name(&next))).or_default().entry(when).or_default().push(word);
            }
        }
        let mut state = GrantState::begin(&grant(1, &["a"]), Source::Task);
        state.holdings.insert(group("a"), holding.clone());
        let next =
            apply(Some(&state), &Event::Revised { grant: grant(2, &["a"]), by: Source::Task }).unwrap();
        let next = &next.holdings[&group("a")];
        if *next != holding {
            let labels = edges.entry((from, state_name(next))).or_default();
            labels.entry("").or_default().push("revised".to_owned());
        }
    }
    let mut lines = vec!["stateDiagram-v2".to_owned(), "    [*] --> Wanted: accepted".to_owned()];
    for ((from, to), labels) in edges {
        let labels = labels.iter().map(|(when, words)| format!("{}{when}", words.join(", ")));
        lines.push(format!("    {from} --> {to}: {}", labels.collect::<Vec<_>>().join(", ")));
    }
    lines.push(String::new());
    let owing = holdings().into_iter().filter(|(_, holding)| holding.owes_removal());
    lines.extend(owing.map(|(name, _)| format!("    class {name} owing")));
    lines.push("    classDef owing font-weight:bold\n".to_owned());
    lines.join("\n")
}

/// The diagram in docs/grants.md is what the code does. `UPDATE_DOCS=1 cargo test --lib` writes it anew.
#[test]
#[expect(clippy::disallowed_methods, reason = "a switch for whoever runs the tests")]
fn the_diagram_is_what_the_code_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/grants.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("```mermaid\n", "```\n<!-- diagram: end -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (shown, after) = rest.split_once(end).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{begin}{}{end}{after}", diagram())).unwrap();
    } else {
        assert_eq!(shown, diagram(), "run UPDATE_DOCS=1 cargo test --lib");
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let group = || prop_oneof![Just(group("a")), Just(group("b"))];
    let how = prop_oneof![
        Just(Ending::Revoked),
        Just(Ending::KeptStanding),
        Just(Ending::KeptOtherGrant),
        Just(Ending::NotMember),
        Just(Ending::Gone)
    ];
    prop_oneof![
        (1_u64..5, prop_oneof![Just(vec!["a"]), Just(vec!["b"]), Just(vec!["a", "b"])]).prop_map(
            |(revision, groups)| Event::Revised { grant: grant(revision, &groups), by: Source::Task }
        ),
        (1_u64..6).prop_map(|revision| Event::Declined { revision: Revision(revision) }),
        Just(Event::UserResolved { user: OktaUserId::from("00u1") }),
        (group(), any::<bool>()).prop_map(|(group, proven_absent)| Event::Refused {
            group,
            code: Code::GroupNotFound,
            message: String::new(),
            proven_absent
        }),
        group().prop_map(|group| Event::FoundMissing { group, okta_request_ids: Vec::new() }),
        group().prop_map(|group| Event::AddedByOthers { group, by: None, okta_request_ids: Vec::new() }),
        group().prop_map(|group| Event::StandingFound { group, okta_request_ids: Vec::new() }),
        group().prop_map(|group| Event::GrantIntended { group }),
        (group(), any::<bool>()).prop_map(|(group, verified)| Event::Granted {
            group,
            verified,
            okta_request_ids: Vec::new()
        }),
        Just(ended(EndReason::Revoked)),
        group().prop_map(|group| Event::RevokeIntended { group }),
        group().prop_map(|group| Event::AddedLate { group, okta_request_ids: Vec::new() }),
        (group(), how).prop_map(|(group, how)| Event::Ended { group, how, okta_request_ids: Vec::new() }),
    ]
}

proptest! {
    /// Whatever happens in whatever order: once an addition was intended, the holding owes a removal until an ending, or
    /// a refusal with the proof that there is no membership, is recorded.
    #[test]
    fn a_duty_is_never_forgotten(events in proptest::collection::vec(any_event(), 0..60)) {
        let mut state = apply(None, &Event::Accepted { grant: grant(1, &["a", "b"]), by: Source::Task }).unwrap();
        let mut owed = std::collections::BTreeSet::new();
        for event in &events {
            let Ok(next) = apply(Some(&state), event) else { continue };
            match event {
                Event::GrantIntended { group } | Event::AddedLate { group, .. } => { owed.insert(group.clone()); }
                Event::Refused { group, proven_absent: true, .. } | Event::Ended { group, .. } => {
                    owed.remove(group);
                }
                Event::Refused { .. }
                | Event::Accepted { .. }
                | Event::Revised { .. }
                | Event::Declined { .. }
                | Event::UserResolved { .. }
                | Event::StandingFound { .. }
                | Event::FoundMissing { .. }
                | Event::AddedByOthers { .. }
                | Event::Granted { .. }
                | Event::EndRequested { .. }
                | Event::RevokeIntended { .. } => {}
            }
            state = next;
            for (group, holding) in &state.holdings {
                prop_assert_eq!(holding.owes_removal(), owed.contains(group), "{:?} after {:?}", group, event);
                if state.end.is_some() && !holding.is_terminal() {
                    prop_assert!(state.step(group).is_some(), "an ended grant always has a next step");
                }
            }
        }
    }
}
