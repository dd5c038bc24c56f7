//! What others do in Okta while grants live: noticed, told, and not undone.

use std::time::Duration;

use apono_connector::access::journal::Record;
use apono_connector::access::machine::Event;
use simulator::apono::Grant;
use simulator::fault::Fault;
use simulator::okta::NewUser;

use crate::scene::Scene;
use crate::world::{CLIENT, INTEGRATION, World};

const HOUR: Duration = Duration::from_hours(1);

fn scene() -> Scene {
    let mut scene = Scene::new();
    let table = "[okta.access]\nlook_interval = \"5m\"\n[okta.directory]";
    scene.world.settings = scene.world.settings.replace("[okta.directory]", table);
    scene
}

/// The requests under which the missing membership of a grant was seen.
fn missing(scene: &Scene, grant: &str) -> Option<Vec<String>> {
    scene.world.journal.entries().into_iter().find_map(|entry| match entry.record {
        Record::Grant { id, event: Event::FoundMissing { okta_request_ids, .. } } if id.as_str() == grant => {
            Some(okta_request_ids)
        }
        Record::Grant { .. } | Record::Task { .. } | Record::Trail { .. } => None,
    })
}

#[tokio::test(start_paused = true)]
async fn a_granted_membership_that_somebody_removes_is_noticed_and_not_given_again() {
    let mut scene = scene();
    let connector = scene.world.start().await;
    let granted = scene.given(4 * HOUR).await;
    scene.world.okta.remove_member(&scene.group, &scene.user);
    let seen = scene.world.until("it is noticed", |_| missing(&scene, &granted.grant_id)).await;
    assert!(!seen.is_empty(), "with Okta's request ids");
    scene.world.pass(HOUR).await;
    assert!(!scene.is_member(), "what a person has taken away in Okta is not given again");
    let told = scene.world.audit.records();
    assert_eq!(told.iter().filter(|(_, record)| record.kind.as_str() == "missing_noticed").count(), 1);

    let longer = scene.grant_revision(&granted.grant_id, 2, &[&scene.group], 6 * HOUR);
    assert_eq!(
        scene.world.result(&longer.task_id).await["code"],
        "granted",
        "a later revision is a new request"
    );
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "revoked");
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_standing_membership_that_somebody_removes_is_noticed_and_nothing_is_given_or_taken() {
    let mut scene = scene();
    scene.world.okta.add_member(&scene.group, &scene.user);
    let connector = scene.world.start().await;
    let granted = scene.grant(4 * HOUR);
    assert_eq!(scene.world.result(&granted.task_id).await["code"], "already_member");
    let evidence = scene.world.journal.entries().into_iter().any(|entry| match entry.record {
        Record::Grant { event: Event::StandingFound { okta_request_ids, .. }, .. } => {
            !okta_request_ids.is_empty()
        }
        Record::Grant { .. } | Record::Task { .. } | Record::Trail { .. } => false,
    });
    assert!(evidence, "a standing membership is recorded with the request that showed it");

    scene.world.okta.remove_member(&scene.group, &scene.user);
    scene.world.until("it is noticed", |_| missing(&scene, &granted.grant_id)).await;
    scene.world.pass(HOUR).await;
    assert!(!scene.is_member());
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "not_member");
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_membership_that_is_there_is_left_alone_whatever_one_look_shows() {
    let mut scene = scene();
    let connector = scene.world.start().await;
    let granted = scene.given(4 * HOUR).await;
    let other = scene.world.okta.add_user(NewUser::active("bob@example.com", "Bob", "Babbage"));
    let bobs = Grant::new(INTEGRATION, "bob@example.com", &[&scene.group]).until(scene.world.after(4 * HOUR));
    let bobs = scene.world.apono.grant(bobs);
    assert_eq!(scene.world.result(&bobs.task_id).await["code"], "granted");
    // Out for a moment, between two looks.
    let looks = scene.world.okta.call_count("list_user_groups");
    scene.world.okta.remove_member(&scene.group, &scene.user);
    scene
        .world
        .until("a look", |world| (world.okta.call_count("list_user_groups") > looks).then_some(()))
        .await;
    scene.world.okta.add_member(&scene.group, &scene.user);
    scene.world.pass(2 * HOUR).await;
    assert_eq!((missing(&scene, &granted.grant_id), missing(&scene, &bobs.grant_id)), (None, None));
    assert!(scene.is_member() && scene.world.okta.is_member(&scene.group, &other));
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_rule_that_comes_while_a_grant_lives_is_told_once() {
    let mut scene = scene();
    let connector = scene.world.start().await;
    scene.given(4 * HOUR).await;
    let told = |world: &World| {
        let warnings = world.warnings();
        warnings.iter().filter(|warning| warning.contains("a group rule has come to fill group")).count()
    };
    scene.world.pass(HOUR).await;
    assert_eq!(told(&scene.world), 0);
    let rule = scene.world.okta.add_group_rule("everybody", &[&scene.group], "ACTIVE");
    scene.world.until("it is told", |world| (told(world) > 0).then_some(())).await;
    scene.world.pass(HOUR).await;
    assert_eq!(told(&scene.world), 1);
    assert!(scene.is_member(), "its end is the policy's matter");
    scene.world.okta.set_group_rule_status(&rule, "INACTIVE");
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn an_addition_that_shows_late_is_verified_and_one_that_never_showed_is_nobodys_removal() {
    let mut scene = scene();
    let connector = scene.world.start().await;
    scene.world.okta.configure(|settings| settings.visibility_lag = Duration::from_mins(20));
    let granted = scene.grant(2 * HOUR);
    assert_eq!(scene.world.result(&granted.task_id).await["code"], "unverified");
    let is_verified = |scene: &Scene| {
        scene.world.journal.entries().into_iter().any(|entry| match entry.record {
            Record::Grant { event: Event::Granted { verified, .. }, .. } => verified,
            Record::Grant { .. } | Record::Task { .. } | Record::Trail { .. } => false,
        })
    };
    scene.world.pass(10 * Duration::from_mins(1)).await;
    assert!(!is_verified(&scene));
    scene.world.until("it is verified", |_| is_verified(&scene).then_some(())).await;
    assert_eq!(missing(&scene, &granted.grant_id), None, "what had not shown yet was not removed by anybody");
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn one_user_who_cannot_be_looked_at_hides_nobody_else() {
    let mut scene = scene();
    let connector = scene.world.start().await;
    let bob = scene.world.okta.add_user(NewUser::active("bob@example.com", "Bob", "Babbage"));
    let adas = scene.given(2 * HOUR).await;
    let bobs = Grant::new(INTEGRATION, "bob@example.com", &[&scene.group]).until(scene.world.after(2 * HOUR));
    let bobs = scene.world.apono.grant(bobs);
    assert_eq!(scene.world.result(&bobs.task_id).await["code"], "granted");
    // In the order of their ids.
    let (hidden, other, others) =
        if bob < scene.user { (&bob, &scene.user, &adas) } else { (&scene.user, &bob, &bobs) };
    scene.world.okta.faults().on_path("list_user_groups", hidden, Fault::status(403));
    scene.world.okta.remove_member(&scene.group, other);
    scene.world.until("it is noticed", |_| missing(&scene, &others.grant_id)).await;
    scene.nothing_is_left(connector).await;
}

/// Who was seen to have added the user of a grant as well, and by which requests.
fn added_by_others(scene: &Scene, grant: &str) -> Vec<(Option<String>, Vec<String>)> {
    let of_grant = |record| match record {
        Record::Grant { id, event: Event::AddedByOthers { by, okta_request_ids, .. } }
            if id.as_str() == grant =>
        {
            Some((by, okta_request_ids))
        }
        Record::Grant { .. } | Record::Task { .. } | Record::Trail { .. } => None,
    };
    scene.world.journal.entries().into_iter().filter_map(|entry| of_grant(entry.record)).collect()
}

fn grant_the_log(scene: &Scene) {
    let scopes = ["okta.users.read", "okta.groups.manage", "okta.logs.read"];
    scene.world.okta.set_granted_scopes(CLIENT, &scopes);
}

#[tokio::test(start_paused = true)]
async fn who_makes_a_granted_membership_permanent_is_noticed_in_the_system_log_and_it_ends_all_the_same() {
    let mut scene = scene();
    grant_the_log(&scene);
    // Read late, as Okta shows events late.
    scene.world.okta.configure(|settings| settings.log_lag = Duration::from_secs(25));
    // In and out again before the grant: nobody's concern.
    scene.world.okta.add_member(&scene.group, &scene.user);
    scene.world.okta.remove_member(&scene.group, &scene.user);
    let connector = scene.world.start().await;
    let granted = scene.given(4 * HOUR).await;
    scene.world.pass(HOUR).await;
    assert_eq!(added_by_others(&scene, &granted.grant_id), []);
    // Between two looks, neither of which can show it.
    scene.world.okta.remove_member(&scene.group, &scene.user);
    scene.world.okta.add_member(&scene.group, &scene.user);
    scene.world.pass(2 * HOUR).await;
    let noticed = added_by_others(&scene, &granted.grant_id);
    assert!(
        matches!(&noticed[..], [(Some(by), ids)] if by.starts_with("00u") && ids.len() == 1),
        "{noticed:?}"
    );
    let told = scene.world.audit.records();
    assert_eq!(told.iter().filter(|(_, record)| record.kind.as_str() == "addition_noticed").count(), 1);
    assert!(scene.world.warnings().iter().any(|warning| warning.contains("ends with it all the same")));
    assert_eq!(missing(&scene, &granted.grant_id), None);
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn the_system_log_tells_of_what_happened_while_the_connector_was_down() {
    let mut scene = scene();
    grant_the_log(&scene);
    let connector = scene.world.start().await;
    let granted = scene.given(4 * HOUR).await;
    scene.world.pass(Duration::from_mins(30)).await;
    connector.stop().await;
    scene.world.okta.remove_member(&scene.group, &scene.user);
    scene.world.okta.add_member(&scene.group, &scene.user);
    let connector = scene.world.start().await;
    scene.world.pass(HOUR).await;
    assert_eq!(added_by_others(&scene, &granted.grant_id).len(), 1);
    scene.nothing_is_left(connector).await;
}

#[tokio::test(start_paused = true)]
async fn without_the_system_log_a_membership_that_is_there_again_is_noticed() {
    let mut scene = scene();
    let connector = scene.world.start().await;
    let granted = scene.given(4 * HOUR).await;
    scene.world.okta.remove_member(&scene.group, &scene.user);
    scene.world.until("it is noticed", |_| missing(&scene, &granted.grant_id)).await;
    scene.world.okta.add_member(&scene.group, &scene.user);
    scene.world.pass(HOUR).await;
    assert_eq!(scene.world.okta.call_count("list_logs"), 0, "the log is not open to us");
    let noticed = added_by_others(&scene, &granted.grant_id);
    assert!(matches!(&noticed[..], [(None, ids)] if !ids.is_empty()), "{noticed:?}");
    assert_eq!(scene.revoked(&granted.grant_id).await["code"], "revoked");
    scene.nothing_is_left(connector).await;
}
