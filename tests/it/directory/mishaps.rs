//! What could take something away by accident, one mishap at a time.

use std::time::Duration;

use apono_connector::server::readiness;
use serde_json::{Value, json};
use simulator::apono::Grant;
use simulator::fault::Fault;
use simulator::okta::{NewGroup, NewUser};

use super::trio;
use crate::world::{CLIENT, INTEGRATION, Running, World};

/// With a selection of groups, whose members are the people.
fn only(world: &mut World, directory: &str) {
    world.settings = world.settings.replace("[state]", &format!("[okta.directory]\n{directory}\n[state]"));
}

async fn synced(world: &mut World) -> Running {
    let connector = world.start().await;
    world.sync().await;
    connector
}

fn inactive(world: &World) -> usize {
    world.people().values().filter(|(active, _)| !active).count()
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_grant_deactivates_nobody() {
    let (mut world, [_, _, cy], group) = trio();
    only(&mut world, "groups = [\"Engineering\"]");
    // Cy is at Apono already, not through us: that is how Cy can ask for access at all.
    world.apono.add_scim_user(INTEGRATION, json!({ "userName": "cy@example.com", "active": true }));
    let connector = synced(&mut world).await;
    let grant = Grant::new(INTEGRATION, "cy@example.com", &[&group]);
    let granted = world.apono.grant(grant.until(world.after(Duration::from_mins(30))));
    world.result(&granted.task_id).await;
    assert!(world.okta.is_member(&group, &cy));
    world.sync().await;
    assert_eq!(world.people()["cy@example.com"].1["externalId"], json!(null), "not taken on for a grant");
    world.until_member(&group, &cy, false).await;
    world.sync().await;
    assert_eq!(inactive(&world), 0);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_begins_and_ends_during_a_crawl_is_not_pushed() {
    let (mut world, seeded) = World::peopled(600, 150);
    world.okta.configure(|settings| settings.limits = simulator::okta::Limits::per_minute(100));
    let connector = synced(&mut world).await;
    let group = &seeded.groups[100];
    let outsider = seeded.users.iter().find(|user| !world.okta.is_member(group, user)).unwrap();
    let login = world.okta.user(outsider)["profile"]["login"].as_str().unwrap().to_owned();
    let before: usize = world.teams().values().map(Vec::len).sum();
    let crawl = world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
    world.pass(Duration::from_secs(5)).await;
    let grant = Grant::new(INTEGRATION, &login, &[group]);
    world.apono.grant(grant.until(world.after(Duration::from_secs(150))));
    world.until_member(group, outsider, true).await;
    world.until_member(group, outsider, false).await;
    assert!(world.apono.result_posts(&crawl) == 0, "the crawl must still go on");
    world.result(&crawl).await;
    assert_eq!(world.teams().values().map(Vec::len).sum::<usize>(), before);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_unreadable_person_is_spared() {
    let (mut world, [ada, bob, cy], _) = trio();
    let connector = synced(&mut world).await;
    for broken in [json!("not a profile"), json!(null), json!({ "firstName": "Ada" })] {
        let page = json!([
            { "id": ada, "status": "ACTIVE", "profile": broken },
            { "id": bob, "status": "ACTIVE", "profile": { "login": "bob@example.com", "firstName": "Robert" } },
            { "id": cy, "status": "ACTIVE", "profile": { "login": "cy@example.com" } },
        ]);
        world.okta.faults().once("list_users", Fault::ReplaceBody(page.to_string()));
        let before = world.people()["ada@example.com"].clone();
        let result = world.sync().await;
        assert_eq!(result["output"]["outcome"], "completed", "{result}");
        assert_eq!(
            world.people()["bob@example.com"].1["name"]["givenName"],
            "Robert",
            "the run did its work"
        );
        assert_eq!(world.people()["ada@example.com"], before);
        assert!(world.teams()["Engineering"].contains(&"ada@example.com".to_owned()));
    }
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_people_of_an_unreadable_group_are_spared_too() {
    let (mut world, [_, _, cy], group) = trio();
    let oncall = world.okta.add_group(NewGroup::named("oncall"));
    world.okta.add_member(&oncall, &cy);
    only(&mut world, "groups = [\"Engineering\", \"oncall\"]");
    let connector = synced(&mut world).await;
    let page = json!([
        { "id": group, "type": "OKTA_GROUP", "profile": "not a profile" },
        { "id": oncall, "type": "OKTA_GROUP", "profile": { "name": "oncall" } },
    ]);
    world.okta.faults().once("list_groups", Fault::ReplaceBody(page.to_string()));
    let result = world.sync().await;
    assert_eq!(result["output"]["outcome"], "completed", "{result}");
    assert_eq!(inactive(&world), 0);
    assert_eq!(world.teams()["Engineering"].len(), 2);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_of_which_too_little_is_told_has_not_left() {
    let (mut world, _, group) = trio();
    let other = world.okta.add_group(NewGroup::named("Other"));
    only(&mut world, "groups = [\"Engineering\", \"Other\"]\nusers = \"all\"");
    let connector = synced(&mut world).await;
    for told in [
        json!({ "id": group, "profile": { "name": "Engineers" } }),
        json!({ "id": group, "type": "NEW_KIND", "profile": { "name": "Engineers" } }),
        json!({ "id": group, "type": "OKTA_GROUP" }),
    ] {
        let page = json!([told, { "id": other, "type": "OKTA_GROUP", "profile": { "name": "Other" } }]);
        world.okta.faults().once("list_groups", Fault::ReplaceBody(page.to_string()));
        let result = world.sync().await;
        assert_eq!(world.teams()["Engineering"].len(), 2, "{result}");
    }
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_breaker_counts_every_way_of_losing_people() {
    let (mut world, seeded) = World::peopled(100, 4);
    let connector = synced(&mut world).await;
    for user in &seeded.users {
        world.okta.set_status(user, "SUSPENDED");
    }
    let result = world.sync().await;
    assert_eq!(result["output"]["outcome"], "held", "{result}");
    assert_eq!(inactive(&world), 0);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_breaker_counts_the_members_of_a_group_that_leaves() {
    let mut world = World::new();
    let big = world.okta.add_group(NewGroup::named("oncall-eu"));
    let small = world.okta.add_group(NewGroup::named("oncall-us"));
    for n in 0..60 {
        let user = world.okta.add_user(NewUser::active(&format!("u{n}@example.com"), "U", "X"));
        world.okta.add_member(if n == 0 { &small } else { &big }, &user);
    }
    only(&mut world, "groups = [\"oncall-*\"]\nusers = \"all\"");
    let connector = synced(&mut world).await;
    world.okta.rename_group(&big, "on-call-eu");
    let result = world.sync().await;
    assert_eq!(result["output"]["outcome"], "held", "{result}");
    assert_eq!(world.teams()["oncall-eu"].len(), 59);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_listing_whose_links_are_lost_or_damaged_is_not_complete() {
    let set = |value: &str| Fault::SetHeader("link".to_owned(), value.to_owned());
    for fault in [
        Fault::DropHeader("link".to_owned()),
        set("https://example.okta.com/api/v1/users?after=x>; rel=\"next\""),
        set("<https://example.okta.com/api/v1/users?after=x&li"),
    ] {
        let (mut world, _) = World::peopled(209, 5);
        let connector = synced(&mut world).await;
        world.okta.faults().once("list_users", fault);
        let result = world.sync().await;
        assert_eq!(result["output"]["outcome"], "incomplete", "{result}");
        assert_eq!(inactive(&world), 0);
        connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_empty_listing_of_members_removes_nobody() {
    let (mut world, [_, _, cy], _) = trio();
    let second = world.okta.add_group(NewGroup::named("Second"));
    world.okta.add_member(&second, &cy);
    let connector = synced(&mut world).await;
    let before = world.teams();
    world.okta.faults().once("list_group_members", Fault::ReplaceBody("[]".to_owned()));
    let result = world.sync().await;
    assert_eq!(result["output"]["outcome"], "incomplete", "{result}");
    assert_eq!(world.teams(), before);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_response_that_counts_nothing_is_not_complete() {
    let (mut world, _) = World::peopled(30, 5);
    let connector = synced(&mut world).await;
    world.apono.faults().once("scim_list_groups", Fault::ReplaceBody("{}".to_owned()));
    let result = world.sync().await;
    assert_eq!(result["output"]["outcome"], "incomplete", "{result}");
    assert_eq!(world.apono.scim_size(INTEGRATION), (30, 5));
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_carries_anothers_id_is_left_alone() {
    let (mut world, _, _) = trio();
    let theirs = json!({ "userName": "bob@example.com", "externalId": "00u-of-another", "active": true });
    world.apono.add_scim_user(INTEGRATION, theirs);
    let connector = synced(&mut world).await;
    let result = world.sync().await;
    assert_eq!(result["code"], "unavailable", "{result}");
    assert!(result["message"].as_str().unwrap().contains("belongs to somebody else"), "{result}");
    assert_eq!(world.people()["bob@example.com"].1["externalId"], "00u-of-another");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_login_that_is_given_to_somebody_else_hands_over_no_person() {
    let (mut world, [ada, ..], _) = trio();
    let connector = synced(&mut world).await;
    let hers = world.people()["ada@example.com"].1["id"].clone();
    world.okta.update_profile(&ada, &json!({ "login": "ada.l@example.com" }));
    let newcomer = world.okta.add_user(NewUser::active("ada@example.com", "Adam", "Example"));
    world.apono.faults().times("scim_patch_user", 5, Fault::status(503));
    world.sync().await;
    let of_ada = world.apono.scim_users(INTEGRATION).into_iter().find(|user| user["id"] == hers).unwrap();
    assert_eq!(of_ada["externalId"], json!(ada));
    world.sync().await;
    let people = world.people();
    assert_eq!(people["ada@example.com"].1["externalId"], json!(newcomer), "sorted out by the next run");
    assert_eq!(people["ada.l@example.com"].1["id"], hers);
    connector.stop().await;
}

/// Five in a group at a service with these habits; one of them leaves in Okta.
async fn one_leaves(world: &mut World, spoil: impl FnOnce(&World)) -> Vec<String> {
    let group = world.okta.add_group(NewGroup::named("Engineering"));
    let mut users = Vec::new();
    for n in 0..5 {
        let user = world.okta.add_user(NewUser::active(&format!("u{n}@example.com"), "U", "X"));
        world.okta.add_member(&group, &user);
        users.push(user);
    }
    let connector = synced(world).await;
    spoil(world);
    world.okta.remove_member(&group, &users[0]);
    world.sync().await;
    let left = world.teams()["Engineering"].clone();
    connector.stop().await;
    left
}

/// By RFC 7644 the removal of `members` with a list of values removes everybody.
#[tokio::test(start_paused = true)]
async fn the_removal_of_one_member_never_empties_a_group() {
    let mut world = World::with_scim(|scim| {
        scim.ignores_member_filter_removal = true;
        scim.member_list_removal_removes_all = true;
    });
    assert_eq!(one_leaves(&mut world, |_| {}).await.len(), 4);

    let mut world = World::with_scim(|scim| scim.member_list_removal_removes_all = true);
    let spoil = |world: &World| {
        let body: Value = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": "400", "scimType": "noTarget", "detail": "no such member"
        });
        let refusal = Fault::Answer { status: 400, headers: vec![], body: body.to_string() };
        world.apono.faults().once("scim_patch_group", refusal);
    };
    assert_eq!(one_leaves(&mut world, spoil).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_goes_down_ends_the_run_and_is_not_called_a_success() {
    let (mut world, seeded) = World::peopled(500, 5);
    let connector = synced(&mut world).await;
    for user in &seeded.users {
        world.okta.update_profile(user, &json!({ "title": "New" }));
    }
    world.apono.faults().always("scim_patch_user", Fault::status(503));
    let before = world.apono.call_count("scim_patch_user");
    let result = world.sync().await;
    assert_eq!(result["code"], "unavailable", "{result}");
    let calls = world.apono.call_count("scim_patch_user") - before;
    assert!(calls < 250, "{calls} calls");
    world.apono.faults().clear();
    assert_eq!(world.sync().await["output"]["outcome"], "completed");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_status_fails_no_run() {
    let (mut world, _, group) = trio();
    let dee = world.okta.add_user(NewUser::active("dee@example.com", "Dee", "Example"));
    world.okta.set_status(&dee, "ACTIVATING");
    world.okta.add_member(&group, &dee);
    let connector = synced(&mut world).await;
    let result = world.sync().await;
    assert_eq!(result["output"]["outcome"], "completed", "{result}");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_its_administrator_role_the_connector_is_not_ready_and_does_not_crawl_on() {
    let (mut world, _, _) = trio();
    world.okta.set_admin_role(CLIENT, false);
    let connector = world.start().await;
    world.pass(Duration::from_mins(10)).await;
    let verdict = readiness(&connector.facts());
    assert!(!verdict.ready, "{verdict:?}");
    assert!(world.okta.call_count("list_users") < 5, "{}", world.okta.call_count("list_users"));
    connector.stop().await;
}
