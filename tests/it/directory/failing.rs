//! An object that an operation fails for stops no other, is tried by each run, and is to be seen until it succeeds.

use apono_connector::directory::Outcome;
use apono_connector::directory::store::{Failing, FailingObject};
use serde_json::json;
use simulator::fault::Fault;
use simulator::okta::{NewGroup, NewUser};

use super::trio;
use crate::world::{Running, World};

fn failing(connector: &Running) -> Failing {
    connector.facts().organizations[0].directory.clone().unwrap().failing
}

fn only(connector: &Running) -> FailingObject {
    let failing = failing(connector);
    assert_eq!((failing.total, failing.listed.len()), (1, 1), "{failing:?}");
    failing.listed[0].clone()
}

/// Every form of a write to this object.
fn refuse(world: &World, kind: &str, id: &str, status: u16) {
    for form in ["patch", "replace"] {
        world.apono.faults().on_path(&format!("scim_{form}_{kind}"), id, Fault::status(status));
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_whom_the_service_refuses_is_shown_until_a_run_succeeds_and_stops_nobody_else() {
    for status in [400, 500] {
        let (mut world, [ada, bob, cy], _) = trio();
        let connector = world.start().await;
        world.sync().await;
        assert_eq!(failing(&connector), Failing::default());
        let id = world.people()["ada@example.com"].1["id"].as_str().unwrap().to_owned();
        refuse(&world, "user", &id, status);
        for user in [&ada, &bob, &cy] {
            world.okta.update_profile(user, &json!({ "title": "Countess" }));
        }
        let run = world.sync().await;
        assert_eq!(run["output"]["outcome"], "partial", "{run}");
        assert_eq!(
            (&run["output"]["applied"]["done"], &run["output"]["applied"]["failed"]),
            (&json!(2), &json!(1))
        );
        let people = world.people();
        assert_eq!(people["bob@example.com"].1["title"], "Countess");
        assert_eq!(people["cy@example.com"].1["title"], "Countess");
        assert!(people["ada@example.com"].1.get("title").is_none());
        let first = only(&connector);
        assert_eq!(
            (first.okta_id.as_str(), first.operation.as_str(), first.runs),
            (ada.as_str(), "update_user", 1)
        );
        assert!(first.error.contains(&status.to_string()) && first.error.contains("cannot "), "{first:?}");

        let run = world.sync().await;
        assert_eq!(run["output"]["outcome"], "partial", "what fails again is not done: {run}");
        assert_eq!(
            only(&connector),
            FailingObject { runs: 2, error: only(&connector).error, ..first.clone() }
        );
        let ended = |connector: &Running| connector.facts().organizations[0].last_directory_run.clone();
        if status == 400 {
            connector.stop().await;
        } else {
            connector.crash().await;
        }

        let connector = world.start().await;
        assert_eq!(only(&connector).runs, 2, "known before the first run");
        let run = world.until("a run", |_| ended(&connector)).await;
        assert_eq!(run.outcome, Outcome::Partial);
        let third = only(&connector);
        assert_eq!(
            (third.runs, third.since, third.okta_id),
            (3, first.since, ada),
            "as if it had never stopped"
        );

        world.apono.faults().clear();
        let run = world.sync().await;
        assert_eq!(run["output"]["outcome"], "completed", "{run}");
        assert_eq!(world.people()["ada@example.com"].1["title"], "Countess");
        assert_eq!(failing(&connector), Failing::default());
        connector.stop().await;
        let connector = world.start().await;
        world.until("a run", |_| ended(&connector)).await;
        assert_eq!(failing(&connector), Failing::default(), "nor does it come back");
        connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_to_be_done_any_more_fails_no_longer() {
    let (mut world, [ada, ..], _) = trio();
    let connector = world.start().await;
    world.sync().await;
    let id = world.people()["ada@example.com"].1["id"].as_str().unwrap().to_owned();
    refuse(&world, "user", &id, 400);
    world.okta.update_profile(&ada, &json!({ "title": "Countess" }));
    world.sync().await;
    assert_eq!(only(&connector).okta_id, ada);
    world.okta.update_profile(&ada, &json!({ "title": null }));
    let run = world.sync().await;
    assert_eq!(run["output"]["outcome"], "completed", "{run}");
    assert_eq!(failing(&connector), Failing::default());
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_did_not_come_to_a_plan_leaves_what_fails_as_it_was() {
    let (mut world, [ada, ..], _) = trio();
    let connector = world.start().await;
    world.sync().await;
    let id = world.people()["ada@example.com"].1["id"].as_str().unwrap().to_owned();
    refuse(&world, "user", &id, 400);
    world.okta.update_profile(&ada, &json!({ "title": "Countess" }));
    world.sync().await;
    let before = only(&connector);
    world.okta.faults().always("list_groups", Fault::status(403));
    let run = world.sync().await;
    assert_eq!(run["output"]["outcome"], "incomplete", "{run}");
    assert_eq!(only(&connector), before);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_part_of_the_members_that_fails_is_the_groups_failure_once_a_run() {
    let mut world = World::new();
    let group = world.okta.add_group(NewGroup::named("Everyone else"));
    // Three parts of a plan: 500, 500 and 100.
    for n in 0..1_100 {
        let user = world.okta.add_user(NewUser::active(&format!("u{n}@example.com"), "U", "X"));
        world.okta.add_member(&group, &user);
    }
    let refuse_all_but_the_first = |world: &World| {
        world.apono.faults().after("scim_patch_group", 1, 10_000, Fault::status(500));
    };
    refuse_all_but_the_first(&world);
    let connector = world.start().await;
    let ended = |_: &World| connector.facts().organizations[0].last_directory_run.clone();
    let run = world.until("a run", ended).await;
    let applied = run.applied.unwrap();
    assert_eq!((run.outcome, applied.failed), (Outcome::Partial, 2), "{}", run.message);
    let there = world.teams()["Everyone else"].len();
    assert!([100, 500].contains(&there), "one of the parts, whichever came first, and not {there}");
    let first = only(&connector);
    assert_eq!(
        (first.okta_id.as_str(), first.operation.as_str(), first.runs),
        (group.as_str(), "add_members", 1)
    );

    // One part is done and one fails: the group still does.
    world.apono.faults().clear();
    refuse_all_but_the_first(&world);
    let run = world.sync().await;
    assert_eq!(run["output"]["applied"]["failed"], 1, "{run}");
    assert_eq!(only(&connector).runs, 2);

    world.apono.faults().clear();
    let run = world.sync().await;
    assert_eq!(run["output"]["outcome"], "completed", "{run}");
    assert_eq!(world.teams()["Everyone else"].len(), 1_100);
    assert_eq!(failing(&connector), Failing::default());
    connector.stop().await;
}
