//! Whatever a profile holds reaches the service as it is, or is named once; and it costs nobody anything.

use serde_json::{Value, json};
use simulator::okta::{NewGroup, NewUser};

use super::trio;
use crate::world::World;

const OWN: &str = "urn:example:params:scim:schemas:extension:badge:1.0:User";

fn mapped() -> (World, [String; 3], String) {
    let (mut world, users, group) = trio();
    let attributes = ["list", "numbers", "number", "half", "truth", "object", "objects", "deep"];
    let own: Vec<_> = attributes.iter().map(|name| format!("{name} = \"{OWN}:{name}\"")).collect();
    let own = own.join("\n");
    let table = format!("[okta.directory.attributes]\n{own}\ntags = \"nickName\"\nnickName = \"\"\n[state]");
    world.settings = world.settings.replace("[state]", &table);
    (world, users, group)
}

fn of(world: &World, name: &str) -> Value {
    world.people()[name].1.clone()
}

fn said(world: &World, what: &str) -> usize {
    world.warnings().iter().filter(|warning| warning.contains(what)).count()
}

#[tokio::test(start_paused = true)]
async fn a_value_of_any_type_reaches_the_service_as_it_is_or_is_named() {
    let (mut world, [ada, bob, cy], group) = mapped();
    let values = json!({
        "list": ["b", "a", "ü"], "numbers": [3, 1.5], "number": 7, "half": 0.5, "truth": false,
        "object": { "level": 2, "areas": ["x", "y"] }, "objects": [{ "id": 1 }, { "id": 2 }],
    });
    world.okta.update_profile(&ada, &values);
    world
        .okta
        .update_profile(&ada, &json!({ "deep": [["a"]], "tags": ["x"], "department": 42, "city": null }));
    world
        .okta
        .update_profile(&bob, &json!({ "deep": { "a": { "b": 1 } }, "tags": { "x": 1 }, "title": true }));
    // Right to left, combining, outside the first plane, control characters, markup, and a mebibyte of it.
    let odd = "שלום e\u{301} 👩‍💻 \u{202e}\u{0}\u{7f} <b>&amp;</b>\"\\' \u{feff}";
    let large = "x".repeat(1 << 20);
    world.okta.update_profile(
        &cy,
        &json!({ "title": odd, "firstName": odd, "streetAddress": large, "list": [odd] }),
    );
    let directory = json!({
        "samAccountName": "DOMAIN USERS", "dn": "CN=Domain Users,DC=x", "objectSid": null, "groupScope": ["Global"],
    });
    let mut windows = NewGroup::named("Domain Users \u{202e}👩‍💻").of_kind("APP_GROUP");
    windows.profile = directory.as_object().unwrap().clone();
    let windows = world.okta.add_group(windows);
    world.okta.add_member(&windows, &cy);

    let connector = world.start().await;
    world.sync().await;
    let told = said(&world, "attribute");
    let result = world.sync().await;
    assert_eq!(result["output"]["outcome"], "completed", "{result}");
    assert_eq!(said(&world, "attribute") - told, 2, "once for each attribute: {:?}", world.warnings());
    assert!(said(&world, "attribute tags of user") > 0 && said(&world, "attribute deep of user") > 0);
    assert_eq!(of(&world, "ada@example.com")[OWN], values);
    let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    assert_eq!(of(&world, "ada@example.com")[enterprise]["department"], "42", "the RFC's own are text");
    assert_eq!(of(&world, "ada@example.com").get("nickName"), None);
    assert_eq!(of(&world, "bob@example.com")["title"], "true");
    let shown = of(&world, "cy@example.com");
    assert_eq!(
        (&shown["title"], &shown["name"]["givenName"], &shown[OWN]["list"]),
        (&json!(odd), &json!(odd), &json!([odd]))
    );
    assert_eq!(shown["addresses"][0]["streetAddress"].as_str().unwrap().len(), 1 << 20);
    assert_eq!(world.teams().len(), 2);

    let written = world.apono.scim_writes();
    world.sync().await;
    assert_eq!(world.apono.scim_writes(), written, "and it is not written again");

    // What changes is written, and what is empty goes.
    world.okta.update_profile(&ada, &json!({ "list": ["c"], "numbers": [], "object": null, "truth": true }));
    world.sync().await;
    let expected = json!({ "list": ["c"], "number": 7, "half": 0.5, "truth": true, "objects": [{ "id": 1 }, { "id": 2 }] });
    assert_eq!(of(&world, "ada@example.com")[OWN], expected);
    assert_eq!(world.teams()["Engineering"].len(), 2, "{group}");
    connector.stop().await;
}

/// A service that spells values in its own way gets each of them once.
#[tokio::test(start_paused = true)]
async fn what_a_service_spells_otherwise_is_not_written_again() {
    let (mut world, [ada, ..], _) = mapped();
    world.okta.update_profile(&ada, &json!({ "list": ["b", "a"], "number": 7, "truth": true }));
    let connector = world.start().await;
    world.sync().await;
    let id = of(&world, "ada@example.com")["id"].as_str().unwrap().to_owned();
    let theirs = json!({ OWN: { "list": ["a", "b"], "number": "7", "truth": "true" } });
    assert!(world.apono.merge_scim(crate::world::INTEGRATION, &id, theirs));
    let written = world.apono.scim_writes();
    world.sync().await;
    assert_eq!(world.apono.scim_writes(), written);
    connector.stop().await;
}

/// The same without PATCH: the custom schema is told of in `schemas`, as a service may demand.
#[tokio::test(start_paused = true)]
async fn values_of_any_type_go_with_a_put_too() {
    let mut own = World::with_scim(|scim| scim.patch = false);
    let settings = mapped().0.settings.clone();
    let table = settings.split_once("[okta.directory.attributes]").unwrap().1;
    let table = table.split_once("[state]").unwrap().0;
    own.settings = own.settings.replace("[state]", &format!("[okta.directory.attributes]{table}[state]"));
    let ada = own.okta.add_user(NewUser::active("ada@example.com", "Ada", "Example"));
    let connector = own.start().await;
    own.sync().await;
    own.okta.update_profile(&ada, &json!({ "list": ["a"], "number": 7 }));
    let result = own.sync().await;
    assert_eq!(result["output"]["outcome"], "completed", "{result}");
    assert_eq!(of(&own, "ada@example.com")[OWN], json!({ "list": ["a"], "number": 7 }));
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_unreadable_object_is_named_by_its_id_and_left_as_it_is() {
    let (mut world, [ada, bob, _], _) = mapped();
    let connector = world.start().await;
    world.sync().await;
    let before = (of(&world, "ada@example.com"), world.teams());
    // Deeper than any parser goes.
    let mut deep = json!("a");
    for _ in 0..200 {
        deep = json!([deep]);
    }
    world.okta.update_profile(&ada, &json!({ "deep": deep, "title": "Countess" }));
    world.okta.update_profile(&bob, &json!({ "title": "Earl" }));
    let result = world.sync().await;
    assert_eq!(result["output"]["outcome"], "completed", "{result}");
    assert!(said(&world, &format!("left as it is ({ada})")) > 0, "{:?}", world.warnings());
    assert_eq!((of(&world, "ada@example.com"), world.teams()), before);
    assert_eq!(of(&world, "bob@example.com")["title"], "Earl");
    world.okta.update_profile(&ada, &json!({ "deep": null }));
    world.sync().await;
    assert_eq!(of(&world, "ada@example.com")["title"], "Countess");
    connector.stop().await;
}
