//! Membership writes: effects, refusals, rules, and lagging reads.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::json;

use super::super::{AbsentMember, NewGroup, NewUser, ReadOnlyGroups, WriteEffect};
use super::{CLIENT, World, body, header, ids};

struct Pair {
    world: World,
    token: String,
    group: String,
    user: String,
}

impl Pair {
    async fn new() -> Self {
        let world = World::new();
        let group = world.okta.add_group(NewGroup::named("Production"));
        let user = world.okta.add_user(NewUser::active("ada@example.com", "Ada", "Lovelace"));
        Self { token: world.token().await, world, group, user }
    }

    async fn write(&self, method: Method, group: &str, user: &str) -> (u16, String) {
        let target = format!("/api/v1/groups/{group}/users/{user}");
        let response = self.world.call(method, &target, &self.token).await;
        let code = if response.body().is_empty() {
            String::new()
        } else {
            body(&response)["errorCode"].as_str().unwrap().to_owned()
        };
        (response.status().as_u16(), code)
    }

    async fn put(&self) -> (u16, String) {
        self.write(Method::PUT, &self.group, &self.user).await
    }

    async fn delete(&self) -> (u16, String) {
        self.write(Method::DELETE, &self.group, &self.user).await
    }
}

fn outcome(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(start_paused = true)]
async fn okta_membership_writes_answer_alike_whether_or_not_they_change_anything() {
    let pair = Pair::new().await;
    let okta = &pair.world.okta;
    for _ in 0..2 {
        assert_eq!(pair.put().await, outcome(204, ""));
        assert!(okta.is_member(&pair.group, &pair.user));
    }
    for _ in 0..2 {
        assert_eq!(pair.delete().await, outcome(204, ""));
        assert!(!okta.is_member(&pair.group, &pair.user));
    }
    let effects: Vec<WriteEffect> = okta.membership_writes().iter().map(|write| write.effect).collect();
    let expected = [WriteEffect::Added, WriteEffect::Unchanged, WriteEffect::Removed, WriteEffect::Unchanged];
    assert_eq!(effects, expected);
    let requests: Vec<String> = okta.calls().into_iter().skip(1).map(|call| call.request_id).collect();
    let writes: Vec<String> = okta.membership_writes().into_iter().map(|write| write.request_id).collect();
    assert_eq!(writes, requests);
    okta.configure(|settings| settings.absent_member = AbsentMember::NotFound);
    assert_eq!(pair.delete().await, outcome(404, "E0000007"));
}

#[tokio::test(start_paused = true)]
async fn okta_put_needs_a_content_length() {
    let pair = Pair::new().await;
    let request = Request::put(format!("/api/v1/groups/{}/users/{}", pair.group, pair.user))
        .header("authorization", format!("Bearer {}", pair.token))
        .body(Bytes::new())
        .unwrap();
    let response = pair.world.send(request).await;
    assert_eq!(response.status(), 411);
    assert!(!header(&response, "date").is_empty());
    assert_eq!(pair.world.okta.membership_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn okta_refuses_writes_to_what_cannot_be_written() {
    let pair = Pair::new().await;
    let okta = &pair.world.okta;
    let imported = okta.add_group(NewGroup::named("Domain Users").of_kind("APP_GROUP"));
    let everyone = okta.add_everyone();
    let admins = okta.add_group(NewGroup { admin_privilege: true, ..NewGroup::named("Admins") });
    let user = pair.user.as_str();
    let forbidden = outcome(403, "E0000006");
    for group in [&imported, &everyone, &admins] {
        assert_eq!(pair.write(Method::PUT, group, user).await, forbidden);
        assert_eq!(pair.write(Method::DELETE, group, user).await, forbidden);
    }
    okta.set_super_admin(CLIENT, true);
    assert_eq!(pair.write(Method::PUT, &admins, user).await, outcome(204, ""));
    assert_eq!(pair.write(Method::PUT, &imported, user).await, forbidden);
    okta.configure(|settings| settings.read_only_groups = ReadOnlyGroups::Unsupported);
    assert_eq!(pair.write(Method::PUT, &imported, user).await, outcome(501, "E0000060"));

    let missing = outcome(404, "E0000007");
    assert_eq!(pair.write(Method::PUT, "00gnothing", user).await, missing);
    assert_eq!(pair.write(Method::DELETE, &pair.group, "00unobody").await, missing);
    assert_eq!(pair.write(Method::PUT, &pair.group, "ada@example.com").await, missing);

    assert_eq!(pair.put().await, outcome(204, ""));
    okta.set_status(user, "DEPROVISIONED");
    assert!(okta.is_member(&pair.group, user));
    assert_eq!(pair.put().await, outcome(403, "E0000038"));
    assert_eq!(pair.delete().await, outcome(204, ""));
    okta.set_status(user, "SUSPENDED");
    assert_eq!(pair.put().await, outcome(204, ""));
    okta.delete_group(&pair.group);
    assert_eq!(pair.delete().await, missing);
}

#[tokio::test(start_paused = true)]
async fn okta_removing_a_rule_managed_member_excludes_them_from_the_rule() {
    let pair = Pair::new().await;
    let okta = &pair.world.okta;
    let rule = okta.add_group_rule("Engineers", &[&pair.group], "ACTIVE");
    assert!(okta.add_rule_member(&rule, &pair.group, &pair.user));
    assert!(okta.is_member(&pair.group, &pair.user));
    assert_eq!(pair.delete().await, outcome(204, ""));
    assert_eq!(okta.rule_exclusions(&rule), [pair.user.as_str()]);
    assert!(!okta.add_rule_member(&rule, &pair.group, &pair.user));
    let rules = body(&pair.world.get("/api/v1/groups/rules", &pair.token).await);
    assert_eq!(rules[0]["conditions"]["people"]["users"]["exclude"], json!([pair.user]));

    // A membership that was made by hand is no business of the rule, until the rule takes it over.
    let other = okta.add_user(NewUser::active("bob@example.com", "Bob", "Tester"));
    okta.add_member(&pair.group, &other);
    assert_eq!(pair.write(Method::DELETE, &pair.group, &other).await, outcome(204, ""));
    assert_eq!(okta.rule_exclusions(&rule).len(), 1);
    okta.add_member(&pair.group, &other);
    assert!(okta.add_rule_member(&rule, &pair.group, &other));
    assert_eq!(pair.write(Method::DELETE, &pair.group, &other).await, outcome(204, ""));
    assert_eq!(okta.rule_exclusions(&rule).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn okta_reads_lag_behind_membership_writes() {
    let pair = Pair::new().await;
    let okta = &pair.world.okta;
    okta.configure(|settings| settings.visibility_lag = Duration::from_millis(1500));
    let shown = async || {
        let members = format!("/api/v1/groups/{}/users", pair.group);
        let members = ids(&pair.world.get(&members, &pair.token).await).len();
        let groups = format!("/api/v1/users/{}/groups", pair.user);
        let groups = ids(&pair.world.get(&groups, &pair.token).await).len();
        assert_eq!(members, groups);
        members
    };
    pair.put().await;
    assert!(okta.is_member(&pair.group, &pair.user));
    assert_eq!(shown().await, 0);
    tokio::time::advance(Duration::from_millis(1499)).await;
    assert_eq!(shown().await, 0);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(shown().await, 1);
    pair.delete().await;
    assert_eq!(shown().await, 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(shown().await, 0);
    okta.add_member(&pair.group, &pair.user);
    assert_eq!(shown().await, 1);
}

#[tokio::test(start_paused = true)]
async fn okta_membership_changes_can_be_waited_for() {
    let pair = Pair::new().await;
    let okta = &pair.world.okta;
    let write = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        pair.put().await
    };
    let ((), (), written) = tokio::join!(
        okta.membership_changed(),
        okta.until(|okta| okta.is_member(&pair.group, &pair.user)),
        write
    );
    assert_eq!(written, outcome(204, ""));
}
