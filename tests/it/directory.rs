//! The provider becomes equal to the selection of Okta, and nothing is taken away by accident.

mod changes;
mod cut;
mod evidence;
mod failing;
mod killed;
mod limits;
mod mishaps;
mod progress;
mod providers;
mod random;
mod resumed;
mod traps;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use simulator::apono::Grant;
use simulator::fault::Fault;
use simulator::okta::{NewGroup, NewUser};

use crate::world::{INTEGRATION, World};

impl World {
    /// A directory run now; its result.
    async fn sync(&self) -> Value {
        let task = self.apono.enqueue("sync-directory", INTEGRATION, json!({}));
        self.result(&task).await
    }

    /// The provider's people: user name → (active, resource).
    fn people(&self) -> BTreeMap<String, (bool, Value)> {
        let one = |user: Value| {
            let name = user["userName"].as_str().unwrap().to_owned();
            (name, (user["active"].as_bool().unwrap(), user))
        };
        self.apono.scim_users(INTEGRATION).into_iter().map(one).collect()
    }

    /// The provider's groups: name → user names of members.
    fn teams(&self) -> BTreeMap<String, Vec<String>> {
        let names: BTreeMap<String, String> = self
            .apono
            .scim_users(INTEGRATION)
            .iter()
            .map(|user| {
                (user["id"].as_str().unwrap().to_owned(), user["userName"].as_str().unwrap().to_owned())
            })
            .collect();
        let one = |group: Value| {
            let members = group["members"].as_array().cloned().unwrap_or_default();
            let mut members: Vec<_> =
                members.iter().map(|member| names[member["value"].as_str().unwrap()].clone()).collect();
            members.sort();
            (group["displayName"].as_str().unwrap().to_owned(), members)
        };
        let groups = self.apono.scim_groups(INTEGRATION);
        let teams: BTreeMap<_, _> = groups.iter().cloned().map(one).collect();
        assert_eq!(teams.len(), groups.len(), "two groups of one name: {groups:?}");
        teams
    }
}

/// Ada and Bob in Engineering, Cy in nothing.
fn trio() -> (World, [String; 3], String) {
    let world = World::new();
    let user = |login: &str, first: &str| world.okta.add_user(NewUser::active(login, first, "Example"));
    let users =
        [user("ada@example.com", "Ada"), user("bob@example.com", "Bob"), user("cy@example.com", "Cy")];
    let group = world.okta.add_group(NewGroup::named("Engineering"));
    world.okta.add_member(&group, &users[0]);
    world.okta.add_member(&group, &users[1]);
    (world, users, group)
}

#[tokio::test(start_paused = true)]
async fn a_second_run_right_after_the_first_writes_nothing() {
    let (mut world, seeded) = World::peopled(450, 30);
    let connector = world.start().await;
    let first = world.sync().await;
    assert_eq!(first["code"], "ok", "{first}");
    let (users, groups) = world.apono.scim_size(INTEGRATION);
    assert_eq!((users, groups), (seeded.users.len(), seeded.groups.len()));
    let members: usize = world.teams().values().map(Vec::len).sum();
    assert_eq!(members, world.okta.membership_count());
    let written = world.apono.scim_writes();
    let second = world.sync().await;
    assert_eq!(second["output"]["planned"]["operations"], json!({}), "{second}");
    assert_eq!(world.apono.scim_writes(), written);
    assert_eq!(world.okta.throttled(), 0);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn changes_in_okta_reach_the_provider() {
    let (mut world, [ada, bob, cy], group) = trio();
    let connector = world.start().await;
    world.sync().await;
    assert_eq!(world.teams()["Engineering"], ["ada@example.com", "bob@example.com"]);
    let (active, resource) = &world.people()["ada@example.com"];
    assert!(*active);
    assert_eq!(resource["externalId"], json!(ada));
    assert_eq!(resource["name"]["givenName"], "Ada");
    assert_eq!(resource["emails"][0]["value"], "ada@example.com");

    world.okta.update_profile(&ada, &json!({ "title": "Countess", "department": "Engines" }));
    world.okta.set_status(&bob, "DEPROVISIONED");
    world.okta.set_status(&cy, "SUSPENDED");
    world.okta.rename_group(&group, "Engines");
    world.okta.add_member(&group, &cy);
    let second = world.okta.add_group(NewGroup::named("Second"));
    world.okta.add_member(&second, &ada);
    world.sync().await;
    let people = world.people();
    assert_eq!(people["ada@example.com"].1["title"], "Countess");
    let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    assert_eq!(people["ada@example.com"].1[enterprise]["department"], "Engines");
    assert!(!people["bob@example.com"].0, "deactivated, not deleted");
    assert!(!people["cy@example.com"].0);
    assert_eq!(
        world.teams(),
        BTreeMap::from([
            ("Engines".to_owned(), vec!["ada@example.com".to_owned(), "cy@example.com".to_owned()]),
            ("Second".to_owned(), vec!["ada@example.com".to_owned()]),
        ])
    );

    world.okta.update_profile(&ada, &json!({ "title": null }));
    world.okta.set_status(&bob, "ACTIVE");
    world.okta.remove_member(&group, &cy);
    world.okta.delete_group(&second);
    world.okta.delete_user(&cy);
    world.sync().await;
    let people = world.people();
    assert!(people["ada@example.com"].1.get("title").is_none());
    assert!(people["bob@example.com"].0, "active again");
    assert!(!people["cy@example.com"].0, "a person is never deleted");
    assert_eq!(world.teams()["Engines"], ["ada@example.com", "bob@example.com"]);
    assert!(!world.teams().contains_key("Second"), "a group that the connector created is deleted");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_adopted_by_id_or_by_name_and_others_are_left_alone() {
    let (mut world, [ada, _, cy], group) = trio();
    let apono = &world.apono;
    apono
        .add_scim_user(INTEGRATION, json!({ "userName": "ADA@example.com", "active": true, "title": "Old" }));
    apono.add_scim_user(INTEGRATION, json!({ "userName": "stranger@example.com", "active": true }));
    apono.add_scim_group(
        INTEGRATION,
        json!({ "displayName": "Old name", "externalId": group, "members": [] }),
    );
    let foreign = apono.add_scim_group(INTEGRATION, json!({ "displayName": "Foreign", "members": [] }));
    let connector = world.start().await;
    world.sync().await;
    let people = world.people();
    assert_eq!(people.len(), 4, "{people:?}");
    assert_eq!(people["ADA@example.com"].1["externalId"], json!(ada));
    assert!(people["stranger@example.com"].0);
    assert_eq!(world.teams()["Engineering"].len(), 2);
    assert!(world.teams().contains_key("Foreign"));

    // What was adopted is let go, not deleted; what is foreign stays.
    world.okta.delete_group(&group);
    let other = world.okta.add_group(NewGroup::named("Other"));
    world.okta.add_member(&other, &cy);
    world.sync().await;
    assert_eq!(world.teams()["Engineering"], Vec::<String>::new());
    assert!(world.apono.scim_groups(INTEGRATION).iter().any(|group| group["id"] == json!(foreign)));
    let before = world.apono.scim_writes();
    world.sync().await;
    assert_eq!(world.apono.scim_writes(), before);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn only_the_selection_is_pushed_and_who_leaves_it_is_deactivated() {
    let (mut world, [_, _, cy], _) = trio();
    let oncall = world.okta.add_group(NewGroup::named("oncall-eu"));
    world.okta.add_member(&oncall, &cy);
    world.settings = world
        .settings
        .replace("[state]", "[okta.directory]\ngroups = [\"Engineering\", \"oncall-*\"]\n[state]");
    world.okta.add_group(NewGroup::named("Sales"));
    world.okta.add_user(NewUser::active("dee@example.com", "Dee", "Example"));
    let connector = world.start().await;
    world.sync().await;
    assert_eq!(world.people().len(), 3, "members of the selected groups only");
    assert_eq!(world.teams().keys().collect::<Vec<_>>(), ["Engineering", "oncall-eu"]);
    assert!(
        world.okta.call_count("list_users") <= 2,
        "nobody else is even read, but one at the end of each run"
    );
    connector.stop().await;

    world.settings = world.settings.replace(", \"oncall-*\"", "");
    let connector = world.start().await;
    world.sync().await;
    assert!(!world.people()["cy@example.com"].0);
    assert_eq!(world.teams().keys().collect::<Vec<_>>(), ["Engineering"]);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_removes_nobody() {
    let (mut world, _) = World::peopled(60, 5);
    let connector = world.start().await;
    world.sync().await;
    let (people, teams) = (world.people(), world.teams());
    // The role is taken away: Okta answers 200 with empty lists from now on.
    world.okta.set_admin_role(crate::world::CLIENT, false);
    let result = world.sync().await;
    assert_eq!(result["output"]["outcome"], "incomplete", "{result}");
    assert!(result["message"].as_str().unwrap().contains("administrator role is missing"), "{result}");
    assert_eq!((world.people(), world.teams()), (people, teams));
    connector.stop().await;
}

fn okta_error(status: u16) -> Fault {
    simulator::okta::faults::error(status, "E0000001", "Api validation failed")
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_breaks_off_changes_nothing() {
    let next = r#"<https://example.okta.com/api/v1/users?limit=200>; rel="next""#;
    let faults: [(&str, usize, Fault); 5] = [
        ("list_users", 1, okta_error(400)),
        ("list_users", 2, Fault::CutBody(1000)),
        ("list_users", 1, Fault::SetHeader("link".to_owned(), next.to_owned())),
        ("list_group_members", 2, okta_error(404)),
        ("list_groups", 0, Fault::ReplaceBody("[{\"profile\":{}}]".to_owned())),
    ];
    for (operation, skip, fault) in faults {
        let (mut world, seeded) = World::peopled(450, 5);
        let connector = world.start().await;
        world.sync().await;
        let (people, teams) = (world.people(), world.teams());
        // Something that a complete run would remove.
        world.okta.delete_group(&seeded.groups[0]);
        let times = if matches!(fault, Fault::SetHeader(..) | Fault::CutBody(_)) { 100 } else { 1 };
        world.okta.faults().after(operation, skip, times, fault.clone());
        let result = world.sync().await;
        assert_eq!(result["output"]["outcome"], "incomplete", "{fault:?}: {result}");
        assert_eq!((&world.people(), &world.teams()), (&people, &teams), "{fault:?}");
        world.okta.faults().clear();
        world.sync().await;
        assert_eq!(world.teams().len(), 4, "and a complete run removes it");
        connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_breaker_holds_a_mass_removal_and_lets_the_rest_through() {
    let (mut world, seeded) = World::peopled(100, 4);
    let connector = world.start().await;
    world.sync().await;
    for user in &seeded.users[..40] {
        world.okta.delete_user(user);
    }
    world.okta.add_user(NewUser::active("new@example.com", "New", "Comer"));
    let result = world.sync().await;
    assert_eq!(result["output"]["outcome"], "held", "{result}");
    let people = world.people();
    assert_eq!(people.values().filter(|(active, _)| !active).count(), 0);
    assert!(people.contains_key("new@example.com"));
    let again = world.sync().await;
    assert_eq!(again["output"]["outcome"], "held", "it stays held: {again}");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_live_grant_is_not_part_of_what_is_pushed() {
    let (mut world, [_, _, cy], group) = trio();
    let connector = world.start().await;
    let grant = Grant::new(INTEGRATION, "cy@example.com", &[&group]);
    let granted = world.apono.grant(grant.until(world.after(Duration::from_mins(30))));
    world.result(&granted.task_id).await;
    assert!(world.okta.is_member(&group, &cy));
    let result = world.sync().await;
    assert_eq!(result["output"]["okta"]["memberships"], 2, "{result}");
    assert_eq!(world.teams()["Engineering"], ["ada@example.com", "bob@example.com"]);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crawl_stays_within_its_share_without_a_single_429() {
    let (mut world, _) = World::peopled(600, 150);
    world.okta.configure(|settings| settings.limits = simulator::okta::Limits::per_minute(100));
    let connector = world.start().await;
    let started = world.clock.now();
    world.sync().await;
    let took = world.since(started).as_secs();
    assert_eq!(world.okta.throttled(), 0);
    // Two runs (the one at the start and the one asked for) of 151 requests to the groups bucket, 64 a minute.
    assert!((235..260).contains(&took), "took {took} s");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_throttled_or_broken_page_is_read_again() {
    let (mut world, _) = World::peopled(450, 5);
    let faults = world.okta.faults();
    faults.after("list_users", 1, 1, simulator::okta::faults::rate_limited(20));
    faults.after("list_groups", 0, 1, simulator::okta::faults::concurrency());
    faults.after("list_group_members", 1, 2, Fault::status(503));
    faults.after("list_group_members", 4, 1, Fault::Disconnect);
    faults.after("list_users", 2, 1, simulator::okta::faults::empty_unauthorized());
    let connector = world.start().await;
    let result = world.sync().await;
    assert_eq!(result["code"], "ok", "{result}");
    assert_eq!(world.apono.scim_size(INTEGRATION), (450, 5));
    connector.stop().await;
}
