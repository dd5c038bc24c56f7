//! The whole life of users and groups at a server, whichever it is.

use serde_json::{Value, json};
use simulator::okta::{NewGroup, NewUser};

use crate::service::Make;
use crate::world::World;

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

fn names(of: &[&str]) -> Vec<String> {
    of.iter().map(|name| format!("{name}@example.com")).collect()
}

/// What every server must come to show. `whole`: it keeps every attribute that it is sent.
async fn the_life_of_users_and_groups(make: Make, whole: bool) {
    let mut world = World::new(make).await;
    let user = |world: &World, name: &str| {
        world.okta.add_user(NewUser::active(&format!("{name}@example.com"), name, "Example"))
    };
    let [ada, bob, cy, dee] = ["ada", "bob", "cy", "dee"].map(|name| user(&world, name));
    for n in 0..25 {
        user(&world, &format!("many{n:02}"));
    }
    world.okta.update_profile(
        &ada,
        &json!({ "title": "Countess", "department": "Engines", "mobilePhone": "+44 1", "city": "London",
                 "employeeNumber": "7", "manager": "Babbage" }),
    );
    let group = |world: &World, name: &str| world.okta.add_group(NewGroup::named(name));
    let [blue, red, green] = ["team-blue", "team-red", "team-green"].map(|name| group(&world, name));
    for (group, user) in [(&blue, &ada), (&blue, &bob), (&blue, &dee), (&red, &cy), (&green, &ada)] {
        world.okta.add_member(group, user);
    }
    // Both are there before the connector is: one is the same person, the other is none of its business.
    let strangers = ["bob@example.com", "stranger@example.com"];
    for name in strangers {
        let body = json!({ "schemas": [USER], "userName": name, "active": true, "displayName": name });
        world.service.create("Users", &body).await;
    }
    let before = world.people().await;

    // Creation, adoption, members.
    world.settle().await;
    let people = world.people().await;
    assert_eq!(people.len(), 4 + 25 + 1, "{:?}", people.keys());
    assert_eq!(people["bob@example.com"]["id"], before["bob@example.com"]["id"], "adopted");
    assert_eq!(people["bob@example.com"]["externalId"], json!(bob));
    assert_eq!(people["stranger@example.com"], before["stranger@example.com"], "left alone");
    let shown = &people["ada@example.com"];
    assert_eq!(shown["externalId"], json!(ada));
    assert_eq!(shown["name"]["givenName"], "ada");
    assert_eq!(shown["emails"][0]["value"], "ada@example.com");
    assert_eq!(shown["active"], true);
    if whole {
        assert_eq!(shown["title"], "Countess");
        assert_eq!(shown[ENTERPRISE]["department"], "Engines");
        assert_eq!(shown["phoneNumbers"][0]["value"], "+44 1");
        assert_eq!(shown["addresses"][0]["locality"], "London");
    }
    let teams = world.teams().await;
    assert_eq!(teams.len(), 3);
    assert_eq!(teams["team-blue"], names(&["ada", "bob", "dee"]));
    assert_eq!(teams["team-red"], names(&["cy"]));
    assert_eq!(teams["team-green"], names(&["ada"]));

    // Attributes, login, status; group name, members come and go, a group leaves the selection.
    world.okta.update_profile(
        &ada,
        &json!({ "lastName": "Lovelace", "email": "lovelace@example.com", "title": null,
                 "department": "Notes", "mobilePhone": "+44 2", "state": "Kent" }),
    );
    world.okta.update_profile(&dee, &json!({ "login": "deirdre@example.com" }));
    world.okta.set_status(&cy, "SUSPENDED");
    world.okta.rename_group(&blue, "team-navy");
    world.okta.remove_member(&blue, &bob);
    world.okta.add_member(&blue, &cy);
    world.okta.rename_group(&green, "elsewhere");
    world.settle().await;
    let people = world.people().await;
    let shown = &people["ada@example.com"];
    assert_eq!(shown["name"]["familyName"], "Lovelace");
    assert_eq!(shown["emails"][0]["value"], "lovelace@example.com");
    assert_eq!(shown["emails"].as_array().unwrap().len(), 1);
    if whole {
        assert_eq!(shown.get("title"), None);
        assert_eq!(shown[ENTERPRISE]["department"], "Notes");
        assert_eq!(shown["phoneNumbers"][0]["value"], "+44 2");
        assert_eq!(shown["addresses"][0]["region"], "Kent");
        assert_eq!(shown["addresses"][0]["locality"], "London");
    }
    assert_eq!(people["deirdre@example.com"]["externalId"], json!(dee));
    assert!(!people.contains_key("dee@example.com"));
    assert_eq!(people["cy@example.com"]["active"], false, "suspended");
    let teams = world.teams().await;
    assert_eq!(teams["team-navy"], names(&["ada", "cy", "deirdre"]));
    assert_eq!(teams.len(), 2, "a group that the connector made goes with the selection: {teams:?}");

    // Back again; somebody is gone for good; everybody leaves a group.
    world.okta.set_status(&cy, "ACTIVE");
    world.okta.delete_user(&bob);
    world.okta.remove_member(&red, &cy);
    world.settle().await;
    let people = world.people().await;
    assert_eq!(people["cy@example.com"]["active"], true, "reactivated");
    assert_eq!(people["bob@example.com"]["active"], false, "never deleted");
    assert_eq!(people["stranger@example.com"], before["stranger@example.com"], "left alone");
    assert_eq!(world.teams().await["team-red"], Vec::<String>::new());
    world.stop().await;
}

#[tokio::test]
async fn scim2_server() {
    the_life_of_users_and_groups(Make::Scim2Server, true).await;
}

#[tokio::test]
async fn scim2_server_without_patch() {
    the_life_of_users_and_groups(Make::Scim2ServerWithoutPatch, true).await;
}

#[tokio::test]
async fn django_scim2() {
    the_life_of_users_and_groups(Make::DjangoScim2, false).await;
}

/// A group that was there before is known by its `externalId`, and is let go, not deleted.
#[tokio::test]
async fn a_group_that_was_there_before_is_let_go() {
    let mut world = World::new(Make::Scim2Server).await;
    let ada = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Example"));
    let other = world.okta.add_group(NewGroup::named("team-other"));
    let blue = world.okta.add_group(NewGroup::named("team-blue"));
    world.okta.add_member(&blue, &ada);
    world.okta.add_member(&other, &ada);
    let schema = "urn:ietf:params:scim:schemas:core:2.0:Group";
    let user = json!({ "schemas": [USER], "userName": "guest@example.com", "active": true });
    let guest = world.service.create("Users", &user).await;
    let group: Value = json!({
        "schemas": [schema], "displayName": "Old", "externalId": blue, "members": [{ "value": guest["id"] }]
    });
    world.service.create("Groups", &group).await;
    world.settle().await;
    assert_eq!(world.teams().await["team-blue"], names(&["ada", "guest"]));
    world.okta.delete_group(&blue);
    world.settle().await;
    assert_eq!(world.teams().await["team-blue"], names(&["guest"]));
    world.stop().await;
}
