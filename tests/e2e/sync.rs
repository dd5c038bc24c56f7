//! What an operator does with the directory on the connector's host: look at a plan, carry out that one, approve what is
//! held.

use std::process::Output;

use serde_json::{Value, json};
use simulator::fault::Fault;
use simulator::okta::NewUser;

use crate::world::World;

const INTEGRATION: &str = "069cf551-c124-43f6";

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn plan(world: &World) -> (Option<i32>, Value) {
    let output = world.run(&["sync", "--plan", "--json"]).await;
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
    (output.status.code(), document)
}

#[tokio::test]
async fn a_plan_is_shown_and_carried_out_exactly_before_the_connector_ever_runs() {
    let (world, ada, group) = World::with_ada();
    world.okta.add_member(&group, &ada);
    let file = world.path("plan.json").display().to_string();
    let shown = world.run(&["sync", "--plan", "--out", &file]).await;
    assert_eq!(shown.status.code(), Some(2), "{}", text(&shown));
    for said in ["users to create", "ada@example.com", "groups that gain members", "plan "] {
        assert!(text(&shown).contains(said), "{said} is not in\n{}", text(&shown));
    }
    assert_eq!(world.apono.scim_writes(), 0, "looking changes nothing");

    // The world moves: what was looked at is not what there is to do.
    world.okta.update_profile(&ada, &json!({ "title": "Countess" }));
    let moved = world.run(&["sync", "--apply", &file]).await;
    assert_eq!(moved.status.code(), Some(75), "{}", text(&moved));
    assert!(text(&moved).contains("the world has moved"), "{}", text(&moved));
    assert_eq!(world.apono.scim_writes(), 0);

    let shown = world.run(&["sync", "--plan", "--out", &file]).await;
    assert_eq!(shown.status.code(), Some(2), "{}", text(&shown));
    // An Okta that cannot be read is not a world that has moved.
    world.okta.faults().always("list_groups", Fault::status(403));
    let unread = world.run(&["sync", "--apply", &file]).await;
    assert_eq!(unread.status.code(), Some(69), "{}", text(&unread));
    world.okta.faults().clear();

    let applied = world.run(&["sync", "--apply", &file]).await;
    assert_eq!(applied.status.code(), Some(0), "{}", text(&applied));
    assert_eq!(world.apono.scim_users(INTEGRATION)[0]["title"], "Countess");
    let (exit, nothing) = plan(&world).await;
    assert_eq!((exit, &nothing["plan"]), (Some(0), &json!([])));

    // A file that somebody has edited is no plan.
    let edited = std::fs::read_to_string(&file).unwrap().replace("ada@example.com", "eve@example.com");
    std::fs::write(&file, edited).unwrap();
    let refused = world.run(&["sync", "--apply", &file]).await;
    assert_eq!(refused.status.code(), Some(64), "{}", text(&refused));
}

#[tokio::test]
async fn what_the_breaker_holds_waits_for_the_approval_of_that_very_plan() {
    let (mut world, ..) = World::with_ada();
    let users: Vec<_> = (0..60)
        .map(|n| world.okta.add_user(NewUser::active(&format!("u{n}@example.com"), "U", "X")))
        .collect();
    let connector = world.start();
    let active = |world: &World| {
        world.apono.scim_users(INTEGRATION).iter().filter(|user| user["active"] == json!(true)).count()
    };
    let synced = world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
    world.result(&synced).await;
    assert_eq!(active(&world), 61);

    for user in &users[..30] {
        world.okta.delete_user(user);
    }
    let (exit, held) = plan(&world).await;
    assert_eq!(exit, Some(75), "{held}");
    let hash = held["held_hash"].as_str().unwrap().to_owned();
    assert!(held["plan"].as_array().unwrap().iter().all(|one| one["held"] == json!(true)));

    // One more is another plan: what was approved is not it.
    world.okta.delete_user(&users[30]);
    let other = world.run(&["sync", "--approve", &hash]).await;
    assert_eq!(other.status.code(), Some(75), "{}", text(&other));
    assert_eq!(active(&world), 61);

    let (_, held) = plan(&world).await;
    let hash = held["held_hash"].as_str().unwrap().to_owned();
    let approved = world.run(&["sync", "--approve", &hash]).await;
    assert_eq!(approved.status.code(), Some(0), "{}", text(&approved));
    assert_eq!(active(&world), 30);
    let (exit, _) = plan(&world).await;
    assert_eq!(exit, Some(0), "and the breaker measures by what is left");
    assert!(connector.stop().await.success());
}
