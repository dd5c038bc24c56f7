//! Nothing leaves because a listing did not show it: each removal is borne out by a look of its own.

use std::time::Duration;

use simulator::fault::Fault;

use crate::world::{CLIENT, INTEGRATION, Running, World};

const INTERVAL: Duration = Duration::from_secs(15 * 60 + 30);
const PERIODIC: bool = false;
const ASKED: bool = true;

/// `200 []` with no link to another page: what Okta answers for want of rights, at any moment.
fn nothing() -> Fault {
    Fault::Answer {
        status: 200,
        headers: vec![("content-type".into(), "application/json".into())],
        body: "[]".to_owned(),
    }
}

async fn run(world: &World, asked: bool) {
    if asked {
        world.sync().await;
    } else {
        world.pass(INTERVAL).await;
    }
}

fn whole(world: &World) -> (usize, usize, usize) {
    let active = world.people().values().filter(|(active, _)| *active).count();
    (active, world.teams().len(), world.teams().values().map(Vec::len).sum())
}

fn world_of(settings: &str) -> World {
    let world = World::new();
    let seed = simulator::okta::Seed {
        users: 450,
        groups: 250,
        members_per_group: 3,
        seed: 7,
        ..Default::default()
    };
    let seeded = world.okta.seed(seed);
    // One group of several pages.
    for user in &seeded.users[..5] {
        world.okta.add_member(&seeded.groups[0], user);
    }
    let mut world = world;
    world.settings = world.settings.replace("[state]", &format!("[okta.directory]\n{settings}\n[state]"));
    world
}

async fn healthy(world: &mut World) -> Running {
    let connector = world.start().await;
    world.sync().await;
    connector
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_to_any_page_of_any_listing_removes_nobody() {
    // Without a selection, and with one: then people come with the members.
    for settings in ["users = \"all\"", "groups = [\"*\"]"] {
        let mut world = world_of(settings);
        let connector = healthy(&mut world).await;
        let before = whole(&world);
        let mut spoiled = 0;
        for operation in ["list_users", "list_groups", "list_group_members"] {
            for (skip, asked) in
                [(0, ASKED), (1, ASKED), (2, ASKED), (7, ASKED), (0, PERIODIC), (1, PERIODIC)]
            {
                let fired = world.okta.faults().fired(operation);
                world.okta.faults().after(operation, skip, 1, nothing());
                run(&world, asked).await;
                spoiled += world.okta.faults().fired(operation) - fired;
                world.okta.faults().clear();
                assert_eq!(whole(&world), before, "{settings}: page {skip} of {operation}, asked: {asked}");
                // And whatever was thought of it is mended.
                run(&world, ASKED).await;
                assert_eq!(whole(&world), before, "{settings}: after page {skip} of {operation}");
            }
        }
        assert!(spoiled >= 10, "only {spoiled} answers were empty");
        connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_removes_nobody_when_the_local_store_was_lost_either() {
    for operation in ["list_users", "list_groups", "list_group_members"] {
        for skip in [0, 1] {
            let mut world = world_of("users = \"all\"");
            let connector = healthy(&mut world).await;
            let before = whole(&world);
            connector.stop().await;
            for entry in std::fs::read_dir(world.folder.path()).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_string_lossy().starts_with("directory-") {
                    std::fs::remove_file(path).unwrap();
                }
            }
            world.okta.faults().after(operation, skip, 1, nothing());
            let connector = world.start().await;
            let ended = |_: &World| connector.facts().organizations[0].last_directory_run.clone();
            world.until("the end of the run", ended).await;
            assert_eq!(world.okta.faults().fired(operation), 1, "page {skip} of {operation}");
            assert_eq!(whole(&world), before, "page {skip} of {operation}");
            connector.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_taken_away_at_any_page_removes_nobody() {
    let mut world = world_of("users = \"all\"");
    let connector = healthy(&mut world).await;
    let before = whole(&world);
    for (operation, page) in [("list_users", 2), ("list_groups", 1), ("list_group_members", 9)] {
        let calls = world.okta.call_count(operation);
        let task = world.apono.enqueue("sync-directory", INTEGRATION, serde_json::json!({}));
        world
            .until("the page", |world| (world.okta.call_count(operation) >= calls + page).then_some(()))
            .await;
        world.okta.set_admin_role(CLIENT, false);
        let result = world.result(&task).await;
        assert_eq!(result["output"]["outcome"], "incomplete", "{result}");
        assert_eq!(whole(&world), before, "{operation}");
        world.okta.set_admin_role(CLIENT, true);
        let result = world.sync().await;
        assert_eq!(result["output"]["outcome"], "completed", "{result}");
        assert_eq!(whole(&world), before, "{operation}, mended");
    }
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_really_leaves_is_borne_out_and_leaves() {
    let mut world = world_of("users = \"all\"");
    let connector = healthy(&mut world).await;
    let before = whole(&world);
    let members = world.okta.memberships();
    let (group, user) = members.iter().next().unwrap();
    world.okta.remove_member(group, user);
    let asked = world.okta.call_count("list_user_groups");
    world.pass(INTERVAL).await;
    assert_eq!(whole(&world), (before.0, before.1, before.2 - 1));
    assert_eq!(world.okta.call_count("list_user_groups"), asked + 1, "by the user's own groups");
    connector.stop().await;
}
