//! Paging, filters and projections of users and groups.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::{LinkStyle, NewGroup, NewUser, PageSizes, Seed, SlowAnswer, SlowPages};
use super::{World, body, header, ids, next};

#[tokio::test(start_paused = true)]
async fn okta_lists_every_user_once_while_users_come_and_go() {
    let world = World::new();
    let mut seeded = world.okta.seed(Seed { users: 1030, groups: 0, ..Seed::default() }).users;
    let token = world.token().await;

    let first = world.get("/api/v1/users?limit=500", &token).await;
    assert_eq!(ids(&first), seeded[..200]);
    assert!(header(&first, "link").contains("rel=\"self\""));
    // Gone: one that was shown, the last one that was shown, one that was not.
    for gone in [3, 199, 700] {
        world.okta.delete_user(&seeded[gone]);
    }
    let added = world.okta.add_user(NewUser::active("late@example.com", "Late", "Comer"));
    let mut shown = ids(&first);
    for page in world.crawl(&next(&first).unwrap(), &token).await {
        assert!(page.len() <= 200);
        shown.extend(page);
    }
    seeded.remove(700);
    seeded.push(added);
    assert_eq!(shown, seeded);
    assert_eq!(world.okta.user_count(), 1028);
}

#[tokio::test(start_paused = true)]
async fn okta_cursors_fit_their_own_list_only_and_survive_another_limit() {
    let world = World::new();
    world.okta.seed(Seed { users: 30, groups: 30, members_per_group: 0, ..Seed::default() });
    let token = world.token().await;
    let first = world.get("/api/v1/users?limit=10", &token).await;
    let link = next(&first).unwrap();
    assert_eq!(ids(&world.get(&link.replace("limit=10", "limit=5"), &token).await).len(), 5);

    let cursor = link.split("after=").nth(1).unwrap().to_owned();
    for target in [
        format!("/api/v1/groups?after={cursor}"),
        format!("/api/v1/users?filter=status%20eq%20%22ACTIVE%22&after={cursor}"),
        "/api/v1/users?after=10".to_owned(),
        "/api/v1/users?after=00u1234567890abcdefg".to_owned(),
    ] {
        let refused = world.get(&target, &token).await;
        assert_eq!(
            (refused.status().as_u16(), &body(&refused)["errorCode"]),
            (400, &json!("E0000031")),
            "{target}"
        );
    }
    world.okta.expire_cursors();
    world.okta.configure(|settings| settings.invalid_cursor_code = "E0000054");
    assert_eq!(body(&world.get(&link, &token).await)["errorCode"], "E0000054");
}

#[tokio::test(start_paused = true)]
async fn okta_shows_what_long_listings_show() {
    let world = World::new();
    let users = world.okta.seed(Seed { users: 9, groups: 0, ..Seed::default() }).users;
    let token = world.token().await;
    let page = |numbers: std::ops::Range<usize>| users[numbers].to_vec();

    world.okta.configure(|settings| settings.page_overlap = 1);
    let overlapping = world.crawl("/api/v1/users?limit=4", &token).await;
    assert_eq!(overlapping, [page(0..4), page(3..7), page(6..9)]);
    world.okta.configure(|settings| (settings.page_overlap, settings.blank_pages) = (0, 2));
    let blank = world.crawl("/api/v1/users?limit=5", &token).await;
    assert_eq!(blank, [page(0..5), vec![], vec![], page(5..9)]);
    world.okta.configure(|settings| (settings.blank_pages, settings.next_link_loses) = (0, vec!["limit"]));
    let first = world.get("/api/v1/users?limit=5&fields=id", &token).await;
    let link = next(&first).unwrap();
    assert!(!link.contains("limit=") && link.contains("fields=id"), "{link}");

    for (answer, status) in [(SlowAnswer::InternalError, 500), (SlowAnswer::Gateway(504), 504)] {
        world.okta.configure(|settings| settings.slow_pages = Some(SlowPages { over: 4, answer }));
        assert_eq!(world.get("/api/v1/users?limit=5", &token).await.status(), status);
        assert_eq!(ids(&world.get("/api/v1/users?limit=4", &token).await), page(0..4));
        assert_eq!(ids(&world.get(&link, &token).await), page(5..9), "what is on the page counts");
    }
    let never = SlowPages { over: 4, answer: SlowAnswer::Never };
    world.okta.configure(|settings| settings.slow_pages = Some(never));
    let waited = tokio::time::timeout(Duration::from_hours(1), world.get("/api/v1/users?limit=5", &token));
    assert!(waited.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn okta_leaves_deactivated_users_out_unless_an_expression_is_given() {
    let world = World::new();
    let seed = Seed { users: 400, groups: 0, inactive_per_thousand: 300, seed: 9, ..Seed::default() };
    let users = world.okta.seed(seed).users;
    let token = world.token().await;
    let all: BTreeSet<String> = users.iter().cloned().collect();
    let crawl = async |target: &str| -> BTreeSet<String> {
        world.crawl(target, &token).await.into_iter().flatten().collect()
    };
    let plain = crawl("/api/v1/users?limit=150").await;
    let gone = crawl("/api/v1/users?filter=status%20eq%20%22DEPROVISIONED%22").await;
    let suspended = crawl("/api/v1/users?search=status+eq+%22suspended%22").await;
    assert!(!gone.is_empty() && !suspended.is_empty());
    assert!(plain.is_disjoint(&gone) && suspended.is_subset(&plain));
    assert_eq!(plain.union(&gone).cloned().collect::<BTreeSet<_>>(), all);
    world.okta.set_status(&users[0], "QUANTUM");
    assert_eq!(body(&world.get(&format!("/api/v1/users/{}", users[0]), &token).await)["status"], "QUANTUM");
}

#[tokio::test(start_paused = true)]
async fn okta_finds_users_by_expression_by_prefix_and_in_order() {
    let world = World::new();
    let add = |login: &str, first: &str, profile: Value| {
        let profile = profile.as_object().unwrap().clone();
        world.okta.add_user(NewUser { profile, ..NewUser::active(login, first, "Tester") })
    };
    let ada = add("ada@example.com", "Ada", json!({ "level": 3, "skills": ["SQL"], "note": "a \"b\"" }));
    let bob = add("bob@example.com", "Bob", json!({ "level": 5, "skills": [], "note": null }));
    let token = world.token().await;
    let find = async |query: &str| ids(&world.get(&format!("/api/v1/users?{query}"), &token).await);
    assert_eq!(find("filter=profile.login%20eq%20%22ada@example.com%22").await, [ada.as_str()]);
    assert_eq!(find("search=profile.level%20gt%203").await, [bob.as_str()]);
    assert_eq!(find("search=profile.skills%20eq%20%22sql%22").await, [ada.as_str()]);
    assert_eq!(find("search=profile.note%20eq%20%22a%20%5C%22b%5C%22%22").await, [ada.as_str()]);
    assert_eq!(find("q=bo").await, [bob.as_str()]);
    let sorted = "search=profile.lastName%20eq%20%22Tester%22&sortBy=profile.level&sortOrder=desc&limit=1";
    let pages = world.crawl(&format!("/api/v1/users?{sorted}"), &token).await;
    assert_eq!(pages, [[bob.clone()], [ada.clone()]]);
    tokio::time::advance(Duration::from_secs(10)).await;
    world.okta.update_profile(&ada, &json!({ "title": "Countess" }));
    assert_eq!(find("search=lastUpdated%20gt%20%222026-01-01T00:00:05Z%22").await, [ada.as_str()]);

    for query in ["filter=profile.level%20eq%203", "search=nonsense", "filter=status", "limit=0", "limit=x"] {
        let refused = world.get(&format!("/api/v1/users?{query}"), &token).await;
        assert_eq!(refused.status(), 400, "{query}");
    }
    let both = world.get("/api/v1/users?filter=id%20eq%20%22x%22&search=id%20eq%20%22x%22", &token).await;
    assert_eq!(body(&both)["errorCode"], "E0000033");
}

#[tokio::test(start_paused = true)]
async fn okta_looks_users_up_by_id_login_or_short_name() {
    let world = World::new();
    let seeded = world.okta.seed(Seed { users: 20, groups: 0, ..Seed::default() }).users;
    let slash = world.okta.add_user(NewUser::active("a/b@example.com", "Slash", "Login"));
    let own = world.okta.add_user(NewUser::active("Own@example.com", "Own", "Profile"));
    let token = world.token().await;
    let find = async |name: &str| {
        let response = world.get(&format!("/api/v1/users/{name}"), &token).await;
        assert_eq!(response.status() == 200, !header(&response, "etag").is_empty());
        body(&response)["id"].as_str().map(str::to_owned)
    };
    let login = world.okta.user(&seeded[7])["profile"]["login"].as_str().unwrap().to_owned();
    assert_eq!(find(&login).await.as_ref(), Some(&seeded[7]));
    assert_eq!(find(login.split_once('@').unwrap().0).await.as_ref(), Some(&seeded[7]));
    assert_eq!(find("own%40EXAMPLE.com").await.as_ref(), Some(&own));
    assert_eq!(find("own").await.as_ref(), Some(&own));
    assert_eq!(find("a%2Fb%40example.com").await, None);
    assert_eq!(find(&slash).await.as_ref(), Some(&slash));
    world.okta.update_profile(&seeded[7], &json!({ "login": "renamed@example.com" }));
    assert_eq!(find(&login).await, None);
    assert_eq!(find("renamed").await.as_ref(), Some(&seeded[7]));
    world.okta.delete_user(&own);
    let gone = world.get(&format!("/api/v1/users/{own}"), &token).await;
    assert_eq!((gone.status().as_u16(), &body(&gone)["errorCode"]), (404, &json!("E0000007")));
    assert_eq!(body(&gone)["errorSummary"], format!("Not found: Resource not found: {own} (User)"));
}

#[tokio::test(start_paused = true)]
async fn okta_users_can_be_asked_for_in_part() {
    let world = World::new();
    world.okta.seed(Seed { users: 3, groups: 0, ..Seed::default() });
    let token = world.token().await;
    let part = world.get("/api/v1/users?fields=status,profile:(login,email,nothing)", &token).await;
    for user in body(&part).as_array().unwrap() {
        let mut members: Vec<&String> = user.as_object().unwrap().keys().collect();
        members.sort_unstable();
        assert_eq!(members, ["id", "profile", "status"]);
        assert_eq!(user["profile"].as_object().unwrap().len(), 2);
        assert_eq!(user["profile"]["login"], user["profile"]["email"]);
    }
    let whole = world.get("/api/v1/users?limit=1", &token).await;
    let user = &body(&whole)[0];
    assert_eq!(user["credentials"]["provider"]["type"], "OKTA");
    assert!(user["_links"]["self"]["href"].as_str().unwrap().starts_with(super::ORIGIN));
    assert!(user["lastUpdated"].as_str().unwrap().ends_with('Z'));
    assert_eq!(user["lastUpdated"].as_str().unwrap().len(), 24);
}

#[tokio::test(start_paused = true)]
async fn okta_lists_groups_with_filters_statistics_and_types() {
    let world = World::new();
    let seeded = world.okta.seed(Seed { users: 50, groups: 450, members_per_group: 4, ..Seed::default() });
    let ad = world.okta.add_group(NewGroup::named("DOMAIN Admins").of_kind("APP_GROUP"));
    let everyone = world.okta.add_everyone();
    let admins = world.okta.add_group(NewGroup { admin_privilege: true, ..NewGroup::named("Help desk") });
    let token = world.token().await;

    let pages = world.crawl("/api/v1/groups", &token).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [200, 200, 53]);
    assert_eq!(pages.concat()[..450], seeded.groups[..]);
    let okta_only =
        world.crawl("/api/v1/groups?limit=10000&filter=type%20eq%20%22OKTA_GROUP%22", &token).await;
    assert_eq!(okta_only.concat().len(), 451);
    assert_eq!(world.get("/api/v1/groups?limit=10001", &token).await.status(), 400);
    assert_eq!(ids(&world.get("/api/v1/groups?q=domain", &token).await), [ad.as_str()]);
    let found = world.get("/api/v1/groups?search=profile.name%20eq%20%22help%20DESK%22", &token).await;
    assert_eq!(ids(&found), [admins.as_str()]);

    let stats = async |group: &str| {
        let target = format!("/api/v1/groups?expand=stats&filter=id%20eq%20%22{group}%22");
        let group = body(&world.get(&target, &token).await)[0].clone();
        group["_embedded"]["stats"].clone()
    };
    assert_eq!(stats(&admins).await["hasAdminPrivilege"], true);
    assert_eq!(stats(&everyone).await["usersCount"], 50);
    assert_eq!(stats(&seeded.groups[0]).await["usersCount"], 4);
    world.okta.configure(|settings| settings.admin_stats_member = "hasAdminPrivlege".into());
    assert_eq!(stats(&admins).await["hasAdminPrivlege"], true);
    let app = body(&world.get(&format!("/api/v1/groups/{ad}"), &token).await);
    assert_eq!(app["objectClass"][0], "okta:windows_security_principal");
    assert_eq!(app["profile"]["windowsDomainQualifiedName"], "EXAMPLE\\DOMAIN Admins");

    tokio::time::advance(Duration::from_mins(1)).await;
    world.okta.add_member(&seeded.groups[5], &seeded.users[0]);
    world.okta.remove_member(&seeded.groups[5], &seeded.users[0]);
    world.okta.rename_group(&seeded.groups[6], "Renamed");
    let since = "%222026-01-01T00:00:30.000Z%22";
    let filter = format!("lastUpdated%20gt%20{since}%20or%20lastMembershipUpdated%20gt%20{since}");
    let changed = world.get(&format!("/api/v1/groups?filter={filter}"), &token).await;
    assert_eq!(ids(&changed), seeded.groups[5..=6]);
}

#[tokio::test(start_paused = true)]
async fn okta_pages_members_and_groups_of_a_user() {
    let world = World::with(|settings| {
        settings.limits = super::Limits::unlimited();
        settings.page_sizes = PageSizes { members: 40, groups_of_user: 10, ..PageSizes::default() };
    });
    let seeded = world.okta.seed(Seed { users: 100, groups: 25, members_per_group: 90, ..Seed::default() });
    let everyone = world.okta.add_everyone();
    let token = world.token().await;
    let group = &seeded.groups[3];
    world.okta.set_status(&world.okta.members(group)[0], "DEPROVISIONED");
    let members = world.crawl(&format!("/api/v1/groups/{group}/users"), &token).await;
    assert_eq!(members.iter().map(Vec::len).collect::<Vec<_>>(), [40, 40, 10]);
    assert_eq!(members.concat(), world.okta.members(group));
    let all = world.crawl(&format!("/api/v1/groups/{everyone}/users"), &token).await;
    assert_eq!(all.concat(), seeded.users);

    let user = &seeded.users[42];
    let groups = world.crawl(&format!("/api/v1/users/{user}/groups"), &token).await.concat();
    let expected: Vec<String> =
        seeded.groups.iter().filter(|group| world.okta.is_member(group, user)).cloned().collect();
    assert_eq!(groups[..groups.len() - 1], expected[..]);
    assert_eq!(groups.last(), Some(&everyone));
    assert_eq!(world.okta.membership_count(), 25 * 90);
    assert_eq!(world.okta.memberships().len(), 25 * 90);
    let missing = world.get("/api/v1/groups/00gnothing/users", &token).await;
    assert_eq!(body(&missing)["errorSummary"], "Not found: Resource not found: 00gnothing (UserGroup)");
}

#[tokio::test(start_paused = true)]
async fn okta_links_can_be_joined_or_name_an_alias_host() {
    let world = World::new();
    world.okta.seed(Seed { users: 3, groups: 0, ..Seed::default() });
    let token = world.token().await;
    let links = async || {
        let response = world.get("/api/v1/users?limit=2", &token).await;
        let all = response.headers().get_all("link").iter();
        all.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(links().await.len(), 2);
    world.okta.configure(|settings| {
        settings.links = LinkStyle::Joined;
        settings.next_link_origin = Some("https://alias.okta.com".into());
    });
    let joined = links().await;
    assert_eq!(joined.len(), 1);
    assert!(joined[0].contains("<https://alias.okta.com/api/v1/users?"), "{joined:?}");
}

#[tokio::test(start_paused = true)]
async fn okta_lists_group_rules() {
    let world = World::new();
    let group = world.okta.add_group(NewGroup::named("Engineers"));
    let rules: Vec<String> = (0..3)
        .map(|number| world.okta.add_group_rule(&format!("Rule {number}"), &[&group], "ACTIVE"))
        .collect();
    let token = world.token().await;
    let listed = world.crawl("/api/v1/groups/rules?limit=2", &token).await;
    assert_eq!(listed, [rules[..2].to_vec(), rules[2..].to_vec()]);
    let target = "/api/v1/groups/rules?search=rule%201&expand=groupIdToGroupNameMap";
    let found = body(&world.get(target, &token).await);
    assert_eq!(found[0]["actions"]["assignUserToGroups"]["groupIds"], json!([group]));
    assert_eq!(found[0]["_embedded"]["groupIdToGroupNameMap"][&group], "Engineers");
}
