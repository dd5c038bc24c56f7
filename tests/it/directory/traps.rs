//! The traps on the way from page to page, one test each: a run that meets one recovers or is incomplete, takes nobody
//! away, and the next good run comes to what Okta has.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use simulator::fault::Fault;
use simulator::okta::faults::{empty_unauthorized, error};
use simulator::okta::{LinkStyle, NewGroup, NewUser, Seed, SlowAnswer, SlowPages};

use crate::world::{CLIENT, INTEGRATION, Running, World};

/// `okta.directory.interval`, and a moment for the run.
const INTERVAL: Duration = Duration::from_secs(15 * 60 + 30);
const LISTINGS: [&str; 3] = ["list_users", "list_groups", "list_group_members"];

/// Three pages of users, two of groups, and a group with three of members.
fn crowd() -> (World, String) {
    let world = World::quiet();
    let seed = Seed { users: 450, groups: 210, members_per_group: 1, seed: 7, ..Seed::default() };
    let seeded = world.okta.seed(seed);
    let big = seeded.groups[0].clone();
    for user in &seeded.users[..10] {
        world.okta.add_member(&big, user);
    }
    world.okta.configure(|settings| {
        settings.page_sizes.members = 4;
        settings.latency = Duration::from_millis(100);
    });
    (world, big)
}

async fn healthy(world: &mut World) -> Running {
    let connector = world.start().await;
    assert_eq!(world.sync().await["output"]["outcome"], "completed");
    connector
}

/// Everybody who is active and every membership, as the service shows them.
fn present(world: &World) -> BTreeSet<String> {
    let people = world.people().into_iter().filter(|(_, (active, _))| *active).map(|(name, _)| name);
    let teams = world.teams().into_iter();
    let members = teams
        .flat_map(|(team, members)| members.into_iter().map(move |member| format!("{member} in {team}")));
    people.chain(members).collect()
}

fn outcome(result: &Value) -> &str {
    result["output"]["outcome"].as_str().unwrap_or("none")
}

/// A run meets a trap. It ends as `expected`, nobody has gone by it, and the next run comes to what Okta has.
async fn meets(world: &World, what: &str, expected: &str, trap: impl FnOnce(&World)) {
    let before = present(world);
    let news = world.okta.add_user(NewUser::active(&format!("{}@example.com", before.len()), "N", "E"));
    trap(world);
    let result = world.sync().await;
    assert_eq!(outcome(&result), expected, "{what}: {result}");
    let gone: Vec<_> = before.difference(&present(world)).cloned().collect();
    assert_eq!(gone, Vec::<String>::new(), "{what}");
    world.okta.faults().clear();
    converges(world, what).await;
    let login = world.okta.user(&news)["profile"]["login"].as_str().unwrap().to_owned();
    assert!(present(world).contains(&login), "{what}: {login} has come");
}

async fn converges(world: &World, what: &str) {
    let result = world.sync().await;
    assert_eq!(outcome(&result), "completed", "{what}, and then: {result}");
    let okta = &result["output"]["okta"];
    assert_eq!(okta["users"], world.okta.user_count(), "{what}: {result}");
    assert_eq!(okta["memberships"], world.okta.membership_count(), "{what}: {result}");
    assert_eq!(present(world).len(), world.okta.user_count() + world.okta.membership_count(), "{what}");
}

/// The first run of all meets a trap. Nothing is known yet that a second look could be taken at: the listing alone must
/// tell that it is not whole.
async fn meets_at_first(operation: &str, skip: usize, fault: Fault) {
    let (mut world, _) = crowd();
    world.okta.faults().after(operation, skip, 1, fault.clone());
    let connector = world.start().await;
    let ended = |_: &World| connector.facts().organizations[0].last_directory_run.clone();
    let run = world.until("the end of the first run", ended).await;
    let what = format!("{fault:?} at the first page but {skip} of {operation}");
    assert_eq!((run.outcome.as_str(), world.people().len()), ("incomplete", 0), "{what}: {}", run.message);
    converges(&world, &what).await;
    connector.stop().await;
}

/// A run that is under way; `page` more calls of `operation` have been made.
async fn under_way(world: &World, operation: &str, page: u64) -> String {
    let calls = world.okta.call_count(operation);
    let task = world.apono.enqueue("sync-directory", INTEGRATION, json!({}));
    world.until("the page", |world| (world.okta.call_count(operation) >= calls + page).then_some(())).await;
    task
}

#[tokio::test(start_paused = true)]
async fn trap_a_next_link_that_leads_to_its_own_page() {
    meets_at_first("list_users", 1, Fault::NextIsSelf).await;
    let (mut world, big) = crowd();
    let connector = healthy(&mut world).await;
    // Where the first page leads to itself, it is read once more, and then leads on.
    for (operation, skip, times, expected) in [
        ("list_users", 0, 1, "completed"),
        ("list_users", 1, 1, "incomplete"),
        ("list_users", 0, 50, "incomplete"),
        ("list_groups", 0, 50, "incomplete"),
        ("list_group_members", 0, 1000, "incomplete"),
    ] {
        let before = world.okta.call_count(operation);
        meets(&world, &format!("page {skip} of {operation}"), expected, |world| {
            world.okta.faults().after(operation, skip, times, Fault::NextIsSelf);
        })
        .await;
        assert!(world.okta.call_count(operation) < before + 700, "it is not followed for ever");
    }
    // The same, where a removal is looked at a second time: a circle proves nothing.
    for user in &world.okta.members(&big)[..4] {
        world.okta.remove_member(&big, user);
    }
    let task = under_way(&world, "list_groups", 2).await;
    let listed = world.okta.call_count("list_group_members");
    let groups = u64::try_from(world.okta.group_count()).unwrap() + 1;
    let read = |world: &World| (world.okta.call_count("list_group_members") >= listed + groups).then_some(());
    world.until("all members are read", read).await;
    world.okta.faults().on_path("list_group_members", &big, Fault::NextIsSelf);
    let before = present(&world);
    let result = world.result(&task).await;
    assert_eq!(outcome(&result), "incomplete", "{result}");
    assert_eq!(present(&world), before);
    world.okta.faults().clear();
    converges(&world, "a circle at the second look").await;
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn trap_a_next_link_that_is_lost() {
    for operation in ["list_users", "list_groups"] {
        meets_at_first(operation, 0, Fault::DropHeader("link".to_owned())).await;
    }
    let (mut world, _) = crowd();
    let connector = healthy(&mut world).await;
    // With the other links or without them; a page of members is not full, so that only the second look tells.
    for fault in [Fault::NoNext, Fault::DropHeader("link".to_owned())] {
        for (operation, times) in [("list_users", 1), ("list_groups", 1), ("list_group_members", 200)] {
            meets(&world, &format!("{fault:?} of {operation}"), "incomplete", |world| {
                world.okta.faults().times(operation, times, fault.clone());
            })
            .await;
        }
    }
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn trap_an_empty_page_with_a_next_link() {
    let (mut world, _) = crowd();
    let blank = |world: &World, pages| world.okta.configure(|settings| settings.blank_pages = pages);
    blank(&world, 3);
    let connector = world.start().await;
    converges(&world, "three blank pages between any two").await;
    for operation in ["list_users", "list_group_members"] {
        let before = (present(&world), world.okta.call_count(operation));
        blank(&world, u32::MAX);
        let result = world.sync().await;
        assert_eq!(outcome(&result), "incomplete", "{result}");
        assert!(world.okta.call_count(operation) < before.1 + 1_000, "it ends");
        assert_eq!(present(&world), before.0);
        blank(&world, 0);
        converges(&world, "blank pages without end").await;
    }
    connector.stop().await;
}

/// The network of these tests panics when anything is sent to another host.
#[tokio::test(start_paused = true)]
async fn trap_a_next_link_on_another_host() {
    for (origin, links) in [
        ("https://example-admin.okta.com", LinkStyle::Separate),
        ("https://login.example.com:8443", LinkStyle::Joined),
        ("http://169.254.169.254", LinkStyle::Separate),
    ] {
        let (mut world, _) = crowd();
        world.okta.configure(|settings| {
            settings.next_link_origin = Some(origin.to_owned());
            settings.links = links;
        });
        let connector = world.start().await;
        converges(&world, origin).await;
        connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn trap_a_next_link_to_another_listing() {
    let (mut world, _) = crowd();
    let connector = healthy(&mut world).await;
    for target in ["/api/v1/groups?after=x", "/oauth2/v1/token", "//evil.example/api/v1/users/../groups"] {
        let link = format!("<https://example.okta.com{target}>; rel=\"next\"");
        meets(&world, target, "incomplete", |world| {
            world.okta.faults().once("list_users", Fault::SetHeader("link".to_owned(), link));
        })
        .await;
    }
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn trap_a_next_link_that_has_lost_its_parameters() {
    let (mut world, _) = crowd();
    world.okta.configure(|settings| settings.next_link_loses = vec!["limit", "fields", "filter"]);
    world.pass(Duration::from_hours(1)).await;
    let connector = healthy(&mut world).await;
    converges(&world, "everything").await;
    // What has changed is listed with a filter. Without it those who were deactivated are on no page.
    world.pass(Duration::from_hours(1)).await;
    let users: Vec<_> = world.people().into_values().map(|(_, user)| user["externalId"].clone()).collect();
    for user in &users {
        world.okta.update_profile(user.as_str().unwrap(), &json!({ "title": "New" }));
    }
    for user in &users[users.len() - 3..] {
        world.okta.set_status(user.as_str().unwrap(), "DEPROVISIONED");
    }
    world.pass(INTERVAL).await;
    let run = connector.facts().organizations[0].last_directory_run.clone().unwrap();
    assert_eq!((run.outcome.as_str(), format!("{:?}", run.reach)), ("completed", "Some(Changes)".to_owned()));
    let people = world.people();
    assert_eq!(people.values().filter(|(active, _)| !active).count(), 3);
    assert_eq!(people.values().filter(|(active, user)| *active && user["title"] == "New").count(), 447);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn trap_the_same_ids_on_two_pages() {
    let (mut world, _) = crowd();
    world.okta.configure(|settings| settings.page_overlap = 2);
    let connector = world.start().await;
    converges(&world, "overlapping pages").await;
    let written = world.apono.scim_writes();
    converges(&world, "overlapping pages again").await;
    assert_eq!(world.apono.scim_writes(), written);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn trap_a_page_that_is_cut_in_its_json_or_is_none() {
    let (mut world, _) = crowd();
    let connector = healthy(&mut world).await;
    let page = "<!doctype html><html><body>Sign in to the proxy</body></html>".to_owned();
    for fault in [Fault::CutBody(700), Fault::CutBody(0), Fault::ReplaceBody(page), Fault::html(503)] {
        for operation in LISTINGS {
            meets(&world, &format!("{fault:?} once at {operation}"), "completed", |world| {
                world.okta.faults().once(operation, fault.clone());
            })
            .await;
            meets(&world, &format!("{fault:?} for ever at {operation}"), "incomplete", |world| {
                world.okta.faults().always(operation, fault.clone());
            })
            .await;
        }
    }
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn trap_a_cursor_that_expires_in_the_middle() {
    let (mut world, _) = crowd();
    let connector = healthy(&mut world).await;
    for code in ["E0000031", "E0000054"] {
        world.okta.configure(|settings| settings.invalid_cursor_code = code);
        for (operation, page) in [("list_users", 1), ("list_users", 2), ("list_groups", 1)] {
            let before = present(&world);
            let task = under_way(&world, operation, page).await;
            world.okta.expire_cursors();
            let result = world.result(&task).await;
            assert_eq!(outcome(&result), "incomplete", "page {page} of {operation}: {result}");
            assert_eq!(present(&world), before);
            converges(&world, operation).await;
        }
    }
    // While what has changed is read.
    world.pass(Duration::from_hours(1)).await;
    for (_, (_, user)) in world.people() {
        let user = user["externalId"].as_str().unwrap();
        world.okta.update_profile(user, &json!({ "title": "New" }));
    }
    let calls = world.okta.call_count("list_users");
    let begun = |world: &World| (world.okta.call_count("list_users") > calls).then_some(());
    world.until("the changes", begun).await;
    world.okta.expire_cursors();
    world.pass(INTERVAL * 2).await;
    assert_eq!(world.people().values().filter(|(_, user)| user["title"] == "New").count(), 450);
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn trap_a_400_in_the_middle_of_a_listing() {
    let (mut world, _) = crowd();
    let connector = healthy(&mut world).await;
    for operation in LISTINGS {
        meets(&world, operation, "incomplete", |world| {
            let refusal = error(400, "E0000001", "Api validation failed");
            world.okta.faults().after(operation, 1, 1, refusal);
        })
        .await;
    }
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn trap_a_401_without_a_body_in_the_middle_of_a_listing() {
    let (mut world, _) = crowd();
    let connector = healthy(&mut world).await;
    for operation in LISTINGS {
        let tokens = world.okta.tokens_issued();
        meets(&world, &format!("once at {operation}"), "completed", |world| {
            world.okta.faults().after(operation, 1, 1, empty_unauthorized());
        })
        .await;
        assert!(world.okta.tokens_issued() > tokens, "another token, and the same page again");
        meets(&world, &format!("for ever at {operation}"), "incomplete", |world| {
            world.okta.faults().after(operation, 1, 1_000, empty_unauthorized());
        })
        .await;
    }
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn trap_an_empty_answer_at_page_three_of_nine_because_a_role_was_taken_away() {
    let (mut world, _) = crowd();
    world.okta.configure(|settings| settings.page_sizes.users = 50);
    let connector = healthy(&mut world).await;
    for comes_back in [false, true] {
        let before = present(&world);
        let task = under_way(&world, "list_users", 2).await;
        world.okta.set_admin_role(CLIENT, false);
        let calls = world.okta.call_count("list_users");
        let third = |world: &World| (world.okta.call_count("list_users") > calls).then_some(());
        world.until("the third page", third).await;
        // Given back before the run looks whether it still sees anything.
        world.okta.set_admin_role(CLIENT, comes_back);
        let result = world.result(&task).await;
        assert_eq!(outcome(&result), "incomplete", "{result}");
        assert_eq!(present(&world), before);
        world.okta.set_admin_role(CLIENT, true);
        converges(&world, "the role is back").await;
    }
    connector.stop().await;
}

#[tokio::test(start_paused = true)]
async fn trap_a_group_that_is_deleted_while_its_members_are_to_be_read() {
    let (mut world, _) = crowd();
    let doomed = world.okta.add_group(NewGroup::named("Doomed"));
    world.okta.add_member(&doomed, &world.okta.members(&world.okta.memberships().first().unwrap().0)[0]);
    let connector = healthy(&mut world).await;
    assert!(world.teams().contains_key("Doomed"));
    let task = under_way(&world, "list_groups", 2).await;
    let calls = world.okta.call_count("list_users");
    let listed = |world: &World| (world.okta.call_count("list_users") > calls).then_some(());
    world.until("all groups are listed", listed).await;
    world.okta.delete_group(&doomed);
    let result = world.result(&task).await;
    assert_eq!(outcome(&result), "completed", "{result}");
    assert!(!world.teams().contains_key("Doomed"));
    converges(&world, "a group has gone").await;
    connector.stop().await;
}

/// The `limit`s of the calls of one operation after the first `before`, in order.
fn limits(world: &World, operation: &str, before: usize) -> Vec<u32> {
    let calls = world.okta.calls();
    let of_it = calls.iter().filter(|call| call.operation == operation);
    let limit = |query: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix("limit="));
        found.and_then(|limit| limit.parse().ok())
    };
    of_it.filter_map(|call| limit(&call.query)).filter(|limit| *limit > 1).skip(before).collect()
}

fn slow(world: &World, slow_pages: Option<SlowPages>) {
    world.okta.configure(|settings| settings.slow_pages = slow_pages);
}

#[tokio::test(start_paused = true)]
async fn trap_pages_that_take_okta_too_long_are_asked_for_in_halves() {
    for answer in [
        SlowAnswer::InternalError,
        SlowAnswer::Gateway(502),
        SlowAnswer::Gateway(504),
        SlowAnswer::Never,
        SlowAnswer::Cut(3_000),
    ] {
        let (mut world, big) = crowd();
        world.okta.configure(|settings| settings.page_sizes.members = 1000);
        for user in world.okta.memberships().into_iter().map(|(_, user)| user).take(120).collect::<Vec<_>>() {
            world.okta.add_member(&big, &user);
        }
        let connector = healthy(&mut world).await;
        let before = LISTINGS.map(|operation| limits(&world, operation, 0).len());
        slow(&world, Some(SlowPages { over: 60, answer }));
        // What leaves is looked at a second time, through pages of the same size.
        for user in &world.okta.members(&big)[..5] {
            world.okta.remove_member(&big, user);
        }
        converges(&world, &format!("{answer:?}")).await;
        for (operation, before, smallest, pages) in
            [("list_users", before[0], 50, 9), ("list_groups", before[1], 50, 5)]
        {
            let asked = limits(&world, operation, before);
            let at = asked.iter().position(|limit| *limit == smallest).unwrap();
            assert!(asked[..at].is_sorted_by(|left, right| left >= right), "{answer:?}: {asked:?}");
            assert!(asked[..at].len() <= 5 + 2, "no storm at {operation}, {answer:?}: {asked:?}");
            let kept = asked[at..].iter().take_while(|limit| **limit == smallest).count();
            assert!(kept >= pages, "{operation}, {answer:?}: {asked:?}");
        }
        let asked = limits(&world, "list_group_members", before[2]);
        assert!(asked.contains(&31) || asked.contains(&62), "{answer:?}: {asked:?}");
        assert!(asked.len() < 250 + 5 * 20, "no storm, {answer:?}: {}", asked.len());

        slow(&world, None);
        let before = limits(&world, "list_users", 0).len();
        converges(&world, "fast again").await;
        assert_eq!(
            limits(&world, "list_users", before),
            [200, 200, 200],
            "the next run asks for whole pages"
        );
        connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn trap_pages_that_are_too_much_in_every_size_are_given_up() {
    for answer in [SlowAnswer::InternalError, SlowAnswer::Never, SlowAnswer::Cut(100)] {
        let (mut world, _) = crowd();
        let connector = healthy(&mut world).await;
        let before = (present(&world), world.okta.total_calls());
        slow(&world, Some(SlowPages { over: 20, answer }));
        let result = world.sync().await;
        assert_eq!(outcome(&result), "incomplete", "{result}");
        assert_eq!(present(&world), before.0);
        let calls = world.okta.total_calls() - before.1;
        assert!(calls <= 5 + 3 * 2 + 2, "{answer:?}: {calls} calls");
        slow(&world, None);
        converges(&world, "fast again").await;
        connector.stop().await;
    }
}
