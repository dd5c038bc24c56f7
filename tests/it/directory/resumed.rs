//! A run that was cut off goes on at its page, and comes to the same end.

use std::time::Duration;

use serde_json::json;
use simulator::okta::Limits;

use crate::world::World;

const USERS: usize = 2_000;
const GROUPS: usize = 60;

fn slow() -> World {
    let (world, _) = World::peopled(USERS, GROUPS);
    world.okta.configure(|settings| settings.limits = Limits::per_minute(12));
    world
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_killed_anywhere_goes_on_at_its_page_and_ends_as_without_the_kill() {
    let mut world = slow();
    let connector = world.start().await;
    world.sync().await;
    connector.stop().await;
    let undisturbed = (world.people(), world.teams());
    let read = world.okta.call_count("list_users") + world.okta.call_count("list_groups");
    let pages = read / 2;

    for (operation, calls) in [
        ("list_groups", 1),
        ("list_users", 1),
        ("list_users", 4),
        ("list_users", 10),
        ("list_group_members", 1),
        ("list_group_members", 30),
        ("list_group_members", 50),
    ] {
        let mut world = slow();
        let connector = world.start().await;
        world.until("the call", |world| (world.okta.call_count(operation) >= calls).then_some(())).await;
        connector.crash().await;
        let connector = world.start().await;
        let ended = |_: &World| connector.facts().organizations[0].last_directory_run.clone();
        let run = world.until("the end", ended).await;
        assert_eq!((run.outcome.as_str(), run.resumed), ("completed", true), "killed at {operation} {calls}");
        assert_eq!(
            without_ids(&world.people()),
            without_ids(&undisturbed.0),
            "killed at {operation} {calls}"
        );
        assert_eq!(world.teams(), undisturbed.1, "killed at {operation} {calls}");
        let read = world.okta.call_count("list_users") + world.okta.call_count("list_groups");
        assert!(read <= pages + 4, "killed at {operation} {calls}: {read} pages for {pages}");
        assert!(world.okta.call_count("list_group_members") <= GROUPS as u64 + 6);
        connector.stop().await;
    }
}

/// Which provider id somebody has depends on the order in which they were created.
fn without_ids(
    people: &std::collections::BTreeMap<String, (bool, serde_json::Value)>,
) -> Vec<serde_json::Value> {
    let facts = |(name, (active, resource)): (&String, &(bool, serde_json::Value))| json!({ "name": name, "active": active, "externalId": resource["externalId"], "emails": resource["emails"] });
    people.iter().map(facts).collect()
}

#[tokio::test(start_paused = true)]
async fn a_place_that_okta_has_forgotten_costs_one_listing_and_not_the_run() {
    let mut world = slow();
    let connector = world.start().await;
    world.until("half of it", |world| (world.okta.call_count("list_users") >= 5).then_some(())).await;
    connector.crash().await;
    world.okta.expire_cursors();
    let connector = world.start().await;
    let run = world.until("the end", |_| connector.facts().organizations[0].last_directory_run.clone()).await;
    assert_eq!((run.outcome.as_str(), run.resumed), ("completed", true));
    assert_eq!(world.people().len(), USERS);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_has_changed_while_the_connector_was_down_is_read_soon_after() {
    let (mut world, seeded) = World::peopled(USERS, GROUPS);
    world.okta.configure(|settings| settings.limits = Limits::per_minute(12));
    let connector = world.start().await;
    world
        .until("most of it", |world| (world.okta.call_count("list_group_members") >= 40).then_some(()))
        .await;
    connector.crash().await;
    // Read already, all of it.
    world.okta.update_profile(&seeded.users[0], &json!({ "title": "Countess" }));
    world.okta.rename_group(&seeded.groups[0], "Renamed");
    let connector = world.start().await;
    world.pass(Duration::from_mins(30)).await;
    assert!(world.teams().contains_key("Renamed"));
    let login = world.okta.user(&seeded.users[0])["profile"]["login"].as_str().unwrap().to_owned();
    assert_eq!(world.people()[&login].1["title"], "Countess");
    connector.stop().await;
}
