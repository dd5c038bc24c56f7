//! Service providers that differ: each has to come to show the same.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use simulator::apono::ScimSettings;
use simulator::fault::Fault;
use simulator::okta::{NewGroup, NewUser};

use super::trio;
use crate::world::{INTEGRATION, Running, World};

/// Nine people, all of them in Engineering, and a stranger there whom the connector has no business with.
struct Nine {
    world: World,
    users: Vec<String>,
    group: String,
    connector: Running,
}

fn login(n: usize) -> String {
    format!("u{n}@example.com")
}

fn logins(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(login).collect()
}

impl Nine {
    async fn at(change: impl FnOnce(&mut ScimSettings)) -> Self {
        let mut world = World::with_scim(change);
        let group = world.okta.add_group(NewGroup::named("Engineering"));
        let mut users = Vec::new();
        for n in 0..9 {
            let user = world.okta.add_user(NewUser::active(&login(n), &format!("U{n}"), "Example"));
            world.okta.update_profile(&user, &json!({ "title": "Engineer", "department": "Engines" }));
            world.okta.add_member(&group, &user);
            users.push(user);
        }
        let connector = world.start().await;
        let nine = Self { world, users, group, connector };
        nine.settle("the first run").await;
        nine
    }

    /// A run that does what there is to do, and a second right after it that writes nothing.
    async fn settle(&self, when: &str) {
        let result = self.world.sync().await;
        assert_eq!(result["output"]["outcome"], "completed", "{when}: {result}");
        let before = self.world.apono.scim_writes();
        let again = self.world.sync().await;
        assert_eq!(again["output"]["planned"]["operations"], json!({}), "{when}: {again}");
        assert_eq!(self.world.apono.scim_writes(), before, "{when}");
    }

    /// Somebody at the provider puts a stranger into the group.
    fn add_stranger(&self) {
        let stranger = json!({ "userName": "stranger@example.com", "active": true });
        let stranger = self.world.apono.add_scim_user(INTEGRATION, stranger);
        let group = &self.world.apono.scim_groups(INTEGRATION)[0];
        let mut members = group["members"].as_array().unwrap().clone();
        members.push(json!({ "value": stranger }));
        let id = group["id"].as_str().unwrap();
        assert!(self.world.apono.merge_scim(INTEGRATION, id, json!({ "members": members })));
    }
}

/// What every service must come to show, whatever its habits.
async fn a_whole_life(name: &str, change: impl FnOnce(&mut ScimSettings), keeps_title: bool) {
    let nine = Nine::at(change).await;
    let Nine { world, users, group, .. } = &nine;
    assert_eq!(world.teams()["Engineering"], logins(0..9), "{name}");
    nine.add_stranger();

    world
        .okta
        .update_profile(&users[0], &json!({ "title": "Countess", "department": null, "city": "London" }));
    world.okta.update_profile(&users[1], &json!({ "email": "one@example.org", "mobilePhone": "+44 1" }));
    world.okta.set_status(&users[2], "SUSPENDED");
    world.okta.rename_group(group, "Engines");
    for user in [&users[3], &users[4], &users[5]] {
        world.okta.remove_member(group, user);
    }
    nine.settle(name).await;
    let mut expected = logins([0, 1, 2, 6, 7, 8]);
    expected.insert(0, "stranger@example.com".to_owned());
    assert_eq!(world.teams(), BTreeMap::from([("Engines".to_owned(), expected)]), "{name}");
    let people = world.people();
    let of = |n: usize| &people[&login(n)];
    if keeps_title {
        assert_eq!(of(0).1["title"], "Countess", "{name}");
    }
    assert_eq!(of(0).1["addresses"][0]["locality"], "London", "{name}");
    let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    assert_eq!(of(0).1.get(enterprise), None, "{name}");
    assert_eq!(of(1).1["emails"], json!([{ "type": "work", "value": "one@example.org", "primary": true }]));
    assert_eq!(of(1).1["phoneNumbers"][0]["value"], "+44 1", "{name}");
    assert!(!of(2).0, "{name}: suspended");
    assert!(people["stranger@example.com"].0, "{name}");

    world.okta.set_status(&users[2], "ACTIVE");
    world.okta.add_member(group, &users[3]);
    world.okta.delete_user(&users[8]);
    nine.settle(name).await;
    let people = world.people();
    assert!(people[&login(2)].0, "{name}: active again");
    assert!(!people[&login(8)].0, "{name}: gone from Okta");
    let mut expected = logins([0, 1, 2, 3, 6, 7]);
    expected.insert(0, "stranger@example.com".to_owned());
    assert_eq!(world.teams()["Engines"], expected, "{name}");
    nine.connector.stop().await;
}

type Change = fn(&mut ScimSettings);

#[tokio::test(start_paused = true)]
async fn every_habit_of_a_service_comes_to_the_same() {
    let habits: [(&str, Change); 20] = [
        ("a service without habits", |_| {}),
        ("PATCH is answered with 204 everywhere", |scim| scim.user_patch_echo = false),
        ("PATCH is answered with 200 everywhere", |scim| scim.group_patch_echo = true),
        ("there is no PATCH", |scim| scim.patch = false),
        ("PATCH is announced, accepted and ignored", |scim| scim.ignores_patch = true),
        ("PATCH without a path only", |scim| scim.refuses_paths = true),
        ("a filter removes no member", |scim| scim.ignores_member_filter_removal = true),
        ("no PATCH removes a member", |scim| {
            scim.ignores_member_filter_removal = true;
            scim.ignores_member_replacement = true;
            scim.ignores_member_list_removal = true;
        }),
        ("only a list removes members", |scim| {
            scim.ignores_member_filter_removal = true;
            scim.ignores_member_replacement = true;
            scim.put = false;
        }),
        ("a list removes everybody, and PUT drops members", |scim| {
            scim.ignores_member_filter_removal = true;
            scim.member_list_removal_removes_all = true;
            scim.put_drops_members = true;
        }),
        ("there are no members in listings", |scim| scim.lists_without_members = true),
        ("three members at once", |scim| scim.max_members_per_write = Some(3)),
        ("three members at once, by 400", |scim| {
            (scim.max_members_per_write, scim.too_many_is_400) = (Some(3), true);
        }),
        ("versions", |scim| scim.etag = true),
        ("versions, and no PATCH", |scim| (scim.etag, scim.patch) = (true, false)),
        ("booleans and numbers are text", |scim| (scim.string_booleans, scim.string_numbers) = (true, true)),
        ("the same, and no PATCH", |scim| {
            (scim.string_booleans, scim.string_numbers, scim.patch) = (true, true, false);
        }),
        ("pages of two", |scim| scim.max_results = 2),
        ("externalId is forgotten", |scim| scim.forgets_external_id = true),
        ("members have no type, conflicts no scimType, and there are no filters", |scim| {
            (scim.omits_member_type, scim.conflict_without_scim_type, scim.filter) = (true, true, false);
        }),
    ];
    for (name, change) in habits {
        a_whole_life(name, change, true).await;
    }
    a_whole_life("titles are not kept", |scim| scim.drops = &["title"], false).await;
}

/// What is not seen cannot be taken away: only those whom the connector has added are removed.
#[tokio::test(start_paused = true)]
async fn where_members_are_never_shown_only_what_was_added_is_removed() {
    let mut nine = Nine::at(|scim| scim.hides_members = true).await;
    nine.add_stranger();
    nine.world.okta.remove_member(&nine.group, &nine.users[4]);
    nine.world.okta.rename_group(&nine.group, "Engines");
    nine.settle("one has left").await;
    let mut left = logins([0, 1, 2, 3, 5, 6, 7, 8]);
    left.push("stranger@example.com".to_owned());
    left.sort();
    assert_eq!(nine.world.teams()["Engines"], left);

    // It is known after a restart as well, and forgotten when the service begins to show members.
    nine.connector.stop().await;
    let before = nine.world.apono.scim_writes();
    nine.connector = nine.world.start().await;
    nine.settle("after a restart").await;
    assert_eq!(nine.world.apono.scim_writes(), before);
    nine.world.apono.set_scim(ScimSettings::default());
    nine.world.okta.remove_member(&nine.group, &nine.users[5]);
    nine.settle("members are shown").await;
    assert!(!nine.world.teams()["Engines"].contains(&login(5)));
    // Emptied by somebody else, it is filled again: nothing is taken for hidden any more.
    let id = nine.world.apono.scim_groups(INTEGRATION)[0]["id"].as_str().unwrap().to_owned();
    nine.world.apono.merge_scim(INTEGRATION, &id, json!({ "members": [] }));
    nine.settle("emptied by somebody else").await;
    assert_eq!(nine.world.teams()["Engines"].len(), 7);
    nine.connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_is_never_written_whole_where_its_members_are_not_seen() {
    let nine = Nine::at(|scim| scim.hides_members = true).await;
    nine.add_stranger();
    nine.world.apono.set_scim(ScimSettings { hides_members: true, patch: false, ..ScimSettings::default() });
    nine.world.okta.rename_group(&nine.group, "Engines");
    nine.world.okta.remove_member(&nine.group, &nine.users[0]);
    let result = nine.world.sync().await;
    assert_eq!(result["output"]["outcome"], "partial", "{result}");
    assert_eq!(nine.world.teams()["Engineering"].len(), 10, "all of them are still there");
    nine.connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deactivation_that_no_request_achieves_is_a_failure() {
    let nine = Nine::at(|_| {}).await;
    nine.world.apono.set_scim(ScimSettings { ignores_patch: true, put: false, ..ScimSettings::default() });
    nine.world.okta.set_status(&nine.users[0], "SUSPENDED");
    let result = nine.world.sync().await;
    assert_eq!(result["output"]["outcome"], "partial", "{result}");
    assert_eq!(result["output"]["planned"]["operations"], json!({ "deactivate_user": 1 }));
    nine.world.apono.set_scim(ScimSettings::default());
    nine.settle("mended").await;
    assert!(!nine.world.people()[&login(0)].0);
    nine.connector.stop().await;
}

/// The limit is found by halving, and remembered.
#[tokio::test(start_paused = true)]
async fn members_go_in_as_many_parts_as_the_service_wants() {
    let mut world = World::with_scim(|scim| scim.max_members_per_write = Some(100));
    let group = world.okta.add_group(NewGroup::named("Engineering"));
    for n in 0..450 {
        let user = world.okta.add_user(NewUser::active(&login(n), "U", "X"));
        world.okta.add_member(&group, &user);
    }
    let connector = world.start().await;
    world.sync().await;
    assert_eq!(world.teams()["Engineering"].len(), 450);
    // 450, 225 and 112 are too many; then 56 at a time.
    assert_eq!(world.apono.call_count("scim_patch_group"), 3 + 450_u64.div_ceil(56));
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_has_passed_is_read_again_once() {
    let conflict = || Fault::Answer { status: 412, headers: vec![], body: String::new() };
    for (patch, operation) in [(true, "scim_patch_user"), (false, "scim_replace_user")] {
        let nine = Nine::at(|scim| (scim.etag, scim.patch) = (true, patch)).await;
        nine.world.okta.update_profile(&nine.users[0], &json!({ "title": "Countess" }));
        nine.world.apono.faults().once(operation, conflict());
        let before = nine.world.apono.call_count(operation);
        nine.settle("once").await;
        assert_eq!(nine.world.people()[&login(0)].1["title"], "Countess");
        assert_eq!(nine.world.apono.call_count(operation), before + 2, "{operation}");

        nine.world.okta.update_profile(&nine.users[0], &json!({ "title": "Lady" }));
        nine.world.apono.faults().times(operation, 2, conflict());
        let result = nine.world.sync().await;
        assert_eq!(result["output"]["outcome"], "partial", "twice is left to the next run: {result}");
        nine.settle("the next run").await;
        assert_eq!(nine.world.people()[&login(0)].1["title"], "Lady");
        nine.connector.stop().await;
    }
}

/// Who is written to was read with a version, and that goes with the request.
#[tokio::test(start_paused = true)]
async fn what_changed_since_it_was_read_is_not_overwritten_unseen() {
    for patch in [true, false] {
        let nine = Nine::at(|scim| (scim.etag, scim.patch) = (true, patch)).await;
        nine.world.okta.update_profile(&nine.users[0], &json!({ "title": "Countess" }));
        nine.world.apono.set_exchange_log(1000);
        nine.settle("an update").await;
        let sent = nine.world.apono.exchanges();
        let operation = if patch { "scim_patch_user" } else { "scim_replace_user" };
        let update = sent.iter().find(|exchange| exchange.operation == operation).unwrap();
        assert!(update.if_match.as_ref().is_some_and(|version| version.starts_with("W/")), "{update:?}");
        nine.connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn totals_that_drift_during_a_listing_are_counted_again() {
    let nine = Nine::at(|scim| scim.max_results = 5).await;
    // Once: the next walk is complete.
    let other = json!({ "totalResults": 12, "Resources": [] }).to_string();
    nine.world.apono.faults().after("scim_list_users", 1, 1, Fault::ReplaceBody(other));
    nine.settle("once").await;
    // Always: nothing is believed, and nothing is removed.
    nine.world.okta.remove_member(&nine.group, &nine.users[0]);
    let drifting = ScimSettings { max_results: 5, drifting_totals: true, ..ScimSettings::default() };
    nine.world.apono.set_scim(drifting);
    let result = nine.world.sync().await;
    assert_eq!(result["output"]["outcome"], "incomplete", "{result}");
    assert_eq!(nine.world.teams()["Engineering"].len(), 9);
    nine.connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pages_are_as_large_as_the_service_says() {
    for (most, calls) in [(10, 13), (1000, 1)] {
        let mut world = World::with_scim(|scim| scim.max_results = most);
        for n in 0..121 {
            world.okta.add_user(NewUser::active(&login(n), "U", "X"));
        }
        let connector = world.start().await;
        world.sync().await;
        let before = world.apono.call_count("scim_list_users");
        world.sync().await;
        assert_eq!(world.apono.call_count("scim_list_users") - before, calls, "{most}");
        connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_says_how_long_to_wait() {
    let nine = Nine::at(|_| {}).await;
    nine.world.okta.update_profile(&nine.users[0], &json!({ "title": "Countess" }));
    let headers = vec![("retry-after".to_owned(), "30".to_owned())];
    let busy = Fault::Answer { status: 429, headers, body: String::new() };
    nine.world.apono.faults().once("scim_patch_user", busy);
    let began = nine.world.clock.now();
    let result = nine.world.sync().await;
    assert_eq!(result["output"]["outcome"], "completed", "{result}");
    assert!(nine.world.since(began).as_secs() >= 30);
    nine.connector.stop().await;
}

/// What comes into being between the listing and the creation is met by a conflict.
#[tokio::test(start_paused = true)]
async fn a_conflict_leads_to_adoption_whatever_the_service_can_be_asked() {
    let services: [(&str, Change); 4] = [
        ("with scimType", |_| {}),
        ("without", |scim| scim.conflict_without_scim_type = true),
        ("no filters", |scim| (scim.filter, scim.conflict_without_scim_type) = (false, true)),
        ("filters are ignored", |scim| scim.ignores_filter = true),
    ];
    for (name, change) in services {
        let mut world = World::with_scim(|scim| {
            scim.max_results = 2;
            change(scim);
        });
        world.okta.add_user(NewUser::active(&login(0), "U", "X"));
        let connector = world.start().await;
        world.sync().await;
        for n in 1..5 {
            world.okta.add_user(NewUser::active(&login(n), "U", "X"));
            let user = json!({ "userName": login(n).to_uppercase(), "active": true });
            world.apono.add_scim_user(INTEGRATION, user);
        }
        // The listing shows nobody: whoever is there comes to light by a conflict.
        let nobody = json!({ "totalResults": 0, "Resources": [] }).to_string();
        world.apono.faults().once("scim_list_users", Fault::ReplaceBody(nobody));
        let created = world.apono.call_count("scim_create_user");
        let result = world.sync().await;
        assert_eq!(result["output"]["outcome"], "completed", "{name}: {result}");
        assert_eq!(world.apono.call_count("scim_create_user") - created, 5, "{name}: never a loop");
        let people = world.apono.scim_users(INTEGRATION);
        assert_eq!(people.len(), 5, "{name}: {people:?}");
        assert!(people.iter().all(|user| user["externalId"].is_string()), "{name}: {people:?}");
        let before = world.apono.scim_writes();
        world.sync().await;
        assert_eq!(world.apono.scim_writes(), before, "{name}");
        connector.stop().await;
    }
}

/// Somebody changes at the provider what is not kept anyway, and what is.
#[tokio::test(start_paused = true)]
async fn what_somebody_changes_at_a_forgetful_service_is_mended() {
    let nine = Nine::at(|scim| (scim.forgets_external_id, scim.drops) = (true, &["title"])).await;
    let user = nine.world.people()[&login(0)].1["id"].as_str().unwrap().to_owned();
    let before = nine.world.apono.scim_writes();
    nine.world.apono.merge_scim(INTEGRATION, &user, json!({ "nickName": "Nought", "displayName": "Other" }));
    nine.settle("a name").await;
    assert_eq!(nine.world.people()[&login(0)].1["displayName"], "U0 Example");
    assert!(nine.world.apono.scim_writes() > before);
    nine.connector.stop().await;
}

/// Deleted in Okta and created anew with the same login: the person keeps the object, and its memberships are mended.
#[tokio::test(start_paused = true)]
async fn whoever_comes_back_under_the_same_login_takes_over_the_old_object() {
    for forgets in [false, true] {
        let mut world = World::with_scim(|scim| scim.forgets_external_id = forgets);
        let group = world.okta.add_group(NewGroup::named("Engineering"));
        let other = world.okta.add_group(NewGroup::named("Other"));
        let old = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Example"));
        let bob = world.okta.add_user(NewUser::active("bob@example.com", "Bob", "Example"));
        world.okta.add_member(&group, &old);
        world.okta.add_member(&other, &bob);
        let connector = world.start().await;
        world.sync().await;
        let hers: Value = world.people()["ada@example.com"].1["id"].clone();

        world.okta.delete_user(&old);
        let new = world.okta.add_user(NewUser::active("ADA@example.com", "Ada", "Lovelace"));
        world.okta.add_member(&other, &new);
        let result = world.sync().await;
        assert_eq!(result["output"]["outcome"], "completed", "{result}");
        let people = world.apono.scim_users(INTEGRATION);
        assert_eq!(people.len(), 2, "{people:?}");
        let ada = people.iter().find(|user| user["id"] == hers).unwrap();
        assert_eq!(ada["active"], true);
        assert_eq!(ada["name"]["familyName"], "Lovelace");
        if !forgets {
            assert_eq!(ada["externalId"], json!(new));
        }
        assert_eq!(world.teams()["Engineering"], Vec::<String>::new());
        assert_eq!(world.teams()["Other"].len(), 2);
        let before = world.apono.scim_writes();
        world.sync().await;
        assert_eq!(world.apono.scim_writes(), before);
        connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_login_makes_a_new_object_where_it_is_to_be_recreated() {
    let mut world = World::with_scim(|scim| scim.fixed_user_names = true);
    world.settings =
        world.settings.replace("[state]", "[okta.scim]\nuser_name_change = \"recreate\"\n[state]");
    let group = world.okta.add_group(NewGroup::named("Engineering"));
    let ada = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Example"));
    let bob = world.okta.add_user(NewUser::active("bob@example.com", "Bob", "Example"));
    world.okta.add_member(&group, &ada);
    world.okta.add_member(&group, &bob);
    // Bob is there before the connector: adopted, so not the connector's to delete.
    world.apono.add_scim_user(INTEGRATION, json!({ "userName": "bob@example.com", "active": true }));
    let connector = world.start().await;
    world.sync().await;
    world.okta.update_profile(&ada, &json!({ "login": "ada.l@example.com" }));
    world.okta.update_profile(&bob, &json!({ "login": "robert@example.com" }));
    let result = world.sync().await;
    assert_eq!(result["output"]["outcome"], "completed", "{result}");
    assert_eq!(result["output"]["planned"]["operations"]["recreate_user"], 2, "{result}");
    let people = world.people();
    assert_eq!(
        people.keys().collect::<Vec<_>>(),
        ["ada.l@example.com", "bob@example.com", "robert@example.com"]
    );
    assert_eq!(people["ada.l@example.com"].1["externalId"], json!(ada));
    assert_eq!(people["robert@example.com"].1["externalId"], json!(bob));
    assert!(people["ada.l@example.com"].0 && people["robert@example.com"].0);
    assert!(!people["bob@example.com"].0, "let go, and inactive");
    let members = &world.teams()["Engineering"];
    assert!(members.contains(&"ada.l@example.com".to_owned()), "at once: {members:?}");
    assert!(members.contains(&"robert@example.com".to_owned()), "{members:?}");
    assert!(!members.contains(&"bob@example.com".to_owned()), "{members:?}");
    let before = world.apono.scim_writes();
    let again = world.sync().await;
    assert_eq!(again["output"]["planned"]["operations"], json!({}), "{again}");
    assert_eq!(world.apono.scim_writes(), before);
    // A difference in case alone makes nobody anew.
    world.okta.update_profile(&ada, &json!({ "login": "Ada.L@example.com" }));
    let again = world.sync().await;
    assert_eq!(again["output"]["planned"]["operations"], json!({}), "{again}");
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn making_many_anew_is_held_by_the_breaker_and_takes_no_membership_away() {
    let (mut world, seeded) = World::peopled(100, 4);
    world.settings =
        world.settings.replace("[state]", "[okta.scim]\nuser_name_change = \"recreate\"\n[state]");
    let connector = world.start().await;
    world.sync().await;
    let teams = world.teams();
    for (n, user) in seeded.users[..40].iter().enumerate() {
        world.okta.update_profile(user, &json!({ "login": format!("renamed{n}@example.com") }));
    }
    let result = world.sync().await;
    assert_eq!(result["output"]["outcome"], "held", "{result}");
    assert_eq!(world.teams(), teams);
    assert_eq!(world.people().values().filter(|(active, _)| !active).count(), 0);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_login_is_changed_in_place_by_default() {
    let (mut world, [ada, ..], _) = trio();
    let connector = world.start().await;
    world.sync().await;
    let id = world.people()["ada@example.com"].1["id"].clone();
    world.okta.update_profile(&ada, &json!({ "login": "ada.l@example.com" }));
    world.sync().await;
    assert_eq!(world.people()["ada.l@example.com"].1["id"], id);
    connector.stop().await;
}
