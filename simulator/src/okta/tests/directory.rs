//! Seeding: believable, reproducible, quick.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::Seed;
use super::World;

#[tokio::test(start_paused = true)]
async fn okta_seeded_world_is_reproducible_and_shows_every_kind_of_attribute() {
    let seed = Seed { users: 300, groups: 40, members_per_group: 30, seed: 7, inactive_per_thousand: 50 };
    let (world, twin) = (World::new(), World::new());
    let seeded = world.okta.seed(seed);
    assert_eq!(twin.okta.seed(seed), seeded);
    assert_eq!(twin.okta.memberships(), world.okta.memberships());
    assert_eq!(world.okta.membership_count(), 1200);

    let mut kinds = BTreeSet::new();
    let mut logins = BTreeSet::new();
    for user in &seeded.users {
        let shown = world.okta.user(user);
        assert_eq!(twin.okta.user(user), shown);
        logins.insert(shown["profile"]["login"].as_str().unwrap().to_owned());
        for value in shown["profile"].as_object().unwrap().values() {
            kinds.insert(match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(number) if number.is_f64() => "number",
                Value::Number(_) => "integer",
                Value::String(text) if text.contains('<') => "html",
                Value::String(_) => "string",
                Value::Array(values) if values.iter().all(Value::is_string) => "strings",
                Value::Array(values) if values.iter().all(Value::is_f64) => "numbers",
                Value::Array(_) => "integers",
                Value::Object(_) => "object",
            });
        }
    }
    assert_eq!(logins.len(), 300);
    let expected =
        ["boolean", "html", "integer", "integers", "null", "number", "numbers", "string", "strings"];
    assert_eq!(kinds, BTreeSet::from(expected));

    let second = world.okta.seed(Seed { users: 100, groups: 0, ..seed });
    let login = world.okta.user(&second.users[0])["profile"]["login"].as_str().unwrap().to_owned();
    assert!(!logins.contains(&login), "{login}");
}

#[tokio::test(start_paused = true)]
async fn okta_crawls_a_large_directory_completely() {
    let world = World::new();
    let seeded =
        world.okta.seed(Seed { users: 20_000, groups: 500, members_per_group: 200, ..Seed::default() });
    let token = world.token().await;
    assert_eq!(world.crawl("/api/v1/users?limit=200", &token).await.concat(), seeded.users);
    let mut memberships = 0;
    for group in seeded.groups.iter().step_by(25) {
        memberships += world.crawl(&format!("/api/v1/groups/{group}/users"), &token).await.concat().len();
    }
    assert_eq!(memberships, 20 * 200);
    assert_eq!(world.okta.call_count("list_users"), 100);
}
