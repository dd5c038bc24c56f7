//! Between two runs that read everything, a run reads what has changed.

use std::time::Duration;

use serde_json::json;
use simulator::apono::Grant;
use simulator::okta::{NewGroup, NewUser};

use super::trio;
use crate::world::{CLIENT, INTEGRATION, Running, World};

/// `okta.directory.interval`, and a moment for the run.
const INTERVAL: Duration = Duration::from_secs(15 * 60 + 30);

async fn started(world: &mut World) -> Running {
    let connector = world.start().await;
    world.sync().await;
    connector
}

/// What the last run read.
fn reach(connector: &Running) -> String {
    let run = connector.facts().organizations[0].last_directory_run.clone().unwrap();
    serde_json::to_value(run.reach).unwrap().as_str().unwrap_or("nothing").to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_run_that_finds_nothing_new_reads_a_page_of_each_and_writes_nothing() {
    let (mut world, _) = World::peopled(1_000, 120);
    world.pass(Duration::from_hours(1)).await;
    let connector = started(&mut world).await;
    let calls =
        |world: &World| (world.okta.total_calls(), world.apono.scim_reads(), world.apono.scim_writes());
    let members = world.okta.call_count("list_group_members");
    let before = calls(&world);
    world.pass(INTERVAL).await;
    let after = calls(&world);
    assert_eq!(reach(&connector), "changes");
    assert_eq!(world.okta.call_count("list_group_members"), members, "nobody's members are read");
    // A page of users, one of groups, and two to see that the role holds.
    assert_eq!((after.0 - before.0, after.1 - before.1, after.2 - before.2), (4, 1, 0));
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_change_in_the_very_instant_of_a_run_is_not_missed() {
    let (mut world, [_, _, cy], group) = trio();
    let connector = started(&mut world).await;
    // Time stands still: Okta shows the group as changed when it was read.
    world.okta.add_member(&group, &cy);
    world.pass(INTERVAL).await;
    assert_eq!(world.teams()["Engineering"].len(), 3);
    let members = world.okta.call_count("list_group_members");
    world.pass(INTERVAL).await;
    assert_eq!(world.okta.call_count("list_group_members"), members, "read once more, and then no more");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn changes_reach_the_provider_without_reading_everything() {
    let (mut world, [ada, bob, cy], group) = trio();
    for n in 0..30 {
        world.okta.add_user(NewUser::active(&format!("u{n}@example.com"), "U", "X"));
    }
    let second = world.okta.add_group(NewGroup::named("Second"));
    world.okta.add_member(&second, &ada);
    let connector = started(&mut world).await;
    world.okta.update_profile(&ada, &json!({ "title": "Countess" }));
    world.okta.set_status(&bob, "DEPROVISIONED");
    world.okta.set_status(&cy, "SUSPENDED");
    world.okta.rename_group(&group, "Engines");
    world.okta.add_member(&group, &cy);
    let dee = world.okta.add_user(NewUser::active("dee@example.com", "Dee", "Example"));
    let third = world.okta.add_group(NewGroup::named("Third"));
    world.okta.add_member(&third, &dee);
    world.okta.delete_group(&second);
    world.pass(INTERVAL).await;
    assert_eq!(reach(&connector), "changes");
    let people = world.people();
    assert_eq!(people["ada@example.com"].1["title"], "Countess");
    assert!(!people["bob@example.com"].0 && !people["cy@example.com"].0);
    assert!(people["dee@example.com"].0);
    let teams = world.teams();
    assert_eq!(teams.keys().collect::<Vec<_>>(), ["Engines", "Third"]);
    assert_eq!(teams["Engines"], ["ada@example.com", "cy@example.com"]);
    assert_eq!(teams["Third"], ["dee@example.com"]);

    world.okta.set_status(&bob, "ACTIVE");
    world.okta.remove_member(&group, &ada);
    world.pass(INTERVAL).await;
    let people = world.people();
    assert!(people["bob@example.com"].0, "reactivated");
    let engines = world.teams()["Engines"].clone();
    assert_eq!(engines, ["bob@example.com", "cy@example.com"], "who comes back is in the groups as before");
    let written = world.apono.scim_writes();
    world.pass(INTERVAL).await;
    assert_eq!(world.apono.scim_writes(), written, "and then there is nothing to do");
    let checked = world.sync().await;
    assert_eq!(
        checked["output"]["planned"]["operations"],
        json!({}),
        "a full run finds nothing more: {checked}"
    );
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_was_deleted_for_good_is_noticed_in_the_system_log_or_by_the_next_full_run() {
    for log in [true, false] {
        let (mut world, [_, bob, _], _) = trio();
        if log {
            let scopes = ["okta.users.read", "okta.groups.manage", "okta.logs.read"];
            world.okta.set_granted_scopes(CLIENT, &scopes);
        }
        let connector = started(&mut world).await;
        world.okta.delete_user(&bob);
        world.pass(INTERVAL).await;
        assert_eq!(reach(&connector), "changes");
        assert_eq!(world.people()["bob@example.com"].0, !log, "the log is open: {log}");
        world.pass(Duration::from_hours(24)).await;
        assert!(!world.people()["bob@example.com"].0);
        connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_read_when_its_time_comes_and_when_the_selection_changes() {
    let (mut world, [ada, ..], _) = trio();
    let connector = started(&mut world).await;
    let scim = world.people()["ada@example.com"].1["id"].as_str().unwrap().to_owned();
    assert!(world.apono.merge_scim(INTEGRATION, &scim, json!({ "title": "Drifted" })));
    world.okta.update_profile(&ada, &json!({ "title": "Countess" }));
    world.sync().await;
    assert!(world.apono.merge_scim(INTEGRATION, &scim, json!({ "title": "Drifted" })));
    world.pass(INTERVAL).await;
    assert_eq!(world.people()["ada@example.com"].1["title"], "Drifted", "nobody looks between full runs");
    world.pass(Duration::from_hours(24)).await;
    assert_eq!(world.people()["ada@example.com"].1["title"], "Countess");
    connector.stop().await;

    // A restart begins with what has changed; another selection with everything.
    let connector = world.start().await;
    world.pass(Duration::from_mins(1)).await;
    assert_eq!(reach(&connector), "changes");
    connector.stop().await;
    world.settings =
        world.settings.replace("[state]", "[okta.directory]\ngroups = [\"Engineering\"]\n[state]");
    let connector = world.start().await;
    world.pass(Duration::from_mins(1)).await;
    assert_eq!(reach(&connector), "everything");
    assert!(!world.people()["cy@example.com"].0, "not in the selection any more");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_membership_that_outlives_its_grant_is_pushed_although_its_group_has_not_changed_since() {
    let (mut world, [_, _, cy], group) = trio();
    let policy = "[okta.access.policy]\nrule_managed = \"leave\"\n[state]";
    world.settings = world.settings.replace("[state]", policy);
    let connector = started(&mut world).await;
    let grant =
        Grant::new(INTEGRATION, "cy@example.com", &[&group]).until(world.after(Duration::from_mins(40)));
    world.apono.grant(grant);
    world.until_member(&group, &cy, true).await;
    world.pass(INTERVAL).await;
    assert_eq!(world.teams()["Engineering"].len(), 2, "a grant is not pushed");
    let rule = world.okta.add_group_rule("everybody", &[&group], "ACTIVE");
    world.okta.add_rule_member(&rule, &group, &cy);
    world.pass(Duration::from_hours(1)).await;
    assert!(world.okta.is_member(&group, &cy), "left to the rule");
    assert_eq!(world.teams()["Engineering"].len(), 3, "what stays is pushed");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn another_mapping_is_read_and_written_whole() {
    let (mut world, [ada, ..], _) = trio();
    world.okta.update_profile(&ada, &json!({ "title": "Countess", "badgeNumber": 7, "tags": ["a"] }));
    let connector = started(&mut world).await;
    assert_eq!(world.people()["ada@example.com"].1["title"], "Countess");
    connector.stop().await;
    let badge = "urn:example:params:scim:schemas:extension:badge:1.0:User";
    let table =
        format!("[okta.directory.attributes]\nbadgeNumber = \"{badge}:number\"\ntitle = \"\"\n[state]");
    world.settings = world.settings.replace("[state]", &table);
    let connector = world.start().await;
    world.pass(Duration::from_mins(1)).await;
    assert_eq!(reach(&connector), "everything");
    let ada = world.people()["ada@example.com"].1.clone();
    assert_eq!(ada[badge]["number"], 7, "{ada}");
    assert_eq!(ada["title"], "Countess", "what is not mapped any more is left as it is: {ada}");
    let written = world.apono.scim_writes();
    world.sync().await;
    assert_eq!(world.apono.scim_writes(), written);
    connector.stop().await;
}
