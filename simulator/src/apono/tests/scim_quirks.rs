//! The ways in which a provider may be unlike the RFC.

use serde_json::{Value, json};

use super::{Bench, GROUP, INTEGRATION, ScimSettings, USER};

async fn with(set: impl FnOnce(&mut ScimSettings)) -> (Bench, String, String) {
    let mut settings = ScimSettings::default();
    set(&mut settings);
    let bench = Bench::with_scim(settings);
    let user = bench.make_user("ada").await;
    let group = bench.make_group("Team", &[&user]).await;
    (bench, user, group)
}

fn stored_members(bench: &Bench) -> usize {
    bench.apono.scim_groups(INTEGRATION)[0]["members"].as_array().unwrap().len()
}

fn by_filter(user: &str) -> Value {
    json!([{"op": "remove", "path": format!("members[value eq \"{user}\"]")}])
}

fn by_list(user: &str) -> Value {
    json!([{"op": "remove", "path": "members", "value": [{"value": user}]}])
}

#[tokio::test(start_paused = true)]
async fn without_patch_or_filter() {
    let (bench, user, group) = with(|scim| (scim.patch, scim.filter) = (false, false)).await;
    let path = format!("/Groups/{group}");
    assert_eq!(bench.patch(&path, by_filter(&user)).await.status, 501);
    let found = bench.scim("GET", "/Users?filter=userName%20eq%20%22ada%22", None).await;
    assert_eq!((found.status, &found.body["scimType"]), (400, &json!("invalidFilter")));
    let config = bench.scim("GET", "/ServiceProviderConfig", None).await.body;
    assert_eq!(
        (&config["patch"]["supported"], &config["filter"]["supported"]),
        (&json!(false), &json!(false))
    );
}

#[tokio::test(start_paused = true)]
async fn removals_that_do_nothing() {
    let (bench, user, group) = with(|scim| scim.ignores_member_filter_removal = true).await;
    let path = format!("/Groups/{group}");
    assert_eq!((bench.patch(&path, by_filter(&user)).await.status, stored_members(&bench)), (204, 1));
    assert_eq!((bench.patch(&path, by_list(&user)).await.status, stored_members(&bench)), (204, 0));

    let (bench, user, group) = with(|scim| scim.ignores_member_list_removal = true).await;
    let path = format!("/Groups/{group}");
    assert_eq!((bench.patch(&path, by_list(&user)).await.status, stored_members(&bench)), (204, 1));
    assert_eq!((bench.patch(&path, by_filter(&user)).await.status, stored_members(&bench)), (204, 0));
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_does_too_much() {
    let (bench, user, group) = with(|scim| scim.member_list_removal_removes_all = true).await;
    let other = bench.make_user("bob").await;
    let path = format!("/Groups/{group}");
    bench.patch(&path, json!([{"op": "add", "path": "members", "value": [{"value": other}]}])).await;
    bench.patch(&path, by_list(&user)).await;
    assert_eq!(stored_members(&bench), 0);
}

#[tokio::test(start_paused = true)]
async fn members_that_are_not_shown_or_not_stored() {
    let (bench, _, group) = with(|scim| scim.hides_members = true).await;
    let body = bench.scim("GET", &format!("/Groups/{group}"), None).await.body;
    assert_eq!((body.get("members"), stored_members(&bench)), (None, 1));

    let (bench, user, group) = with(|scim| scim.put_drops_members = true).await;
    let put = json!({"schemas": [GROUP], "displayName": "Team", "members": [{"value": user}]});
    bench.scim("PUT", &format!("/Groups/{group}"), Some(put)).await;
    assert_eq!(stored_members(&bench), 0);

    let (bench, user, group) = with(|scim| scim.omits_member_type = true).await;
    let body = bench.scim("GET", &format!("/Groups/{group}"), None).await.body;
    assert_eq!(body["members"], json!([{"value": user}]));
}

#[tokio::test(start_paused = true)]
async fn too_many_members_at_once() {
    let (bench, user, group) = with(|scim| scim.max_members_per_write = Some(1)).await;
    let other = bench.make_user("bob").await;
    let both = json!([{"value": user}, {"value": other}]);
    let path = format!("/Groups/{group}");
    let add = json!([{"op": "add", "path": "members", "value": both}]);
    assert_eq!(bench.patch(&path, add).await.status, 413);
    let put = json!({"schemas": [GROUP], "displayName": "Team", "members": both});
    assert_eq!(bench.scim("PUT", &path, Some(put)).await.status, 413);
    assert_eq!(stored_members(&bench), 1);
}

#[tokio::test(start_paused = true)]
async fn listings_that_mislead() {
    let (bench, ..) = with(|scim| {
        (scim.ignores_filter, scim.filter) = (true, false);
        (scim.ignores_start_index, scim.max_results) = (true, 1);
    })
    .await;
    bench.make_user("bob").await;
    let found = bench.scim("GET", "/Users?filter=userName%20eq%20%22none%22&startIndex=2", None).await.body;
    assert_eq!((&found["totalResults"], &found["startIndex"]), (&json!(2), &json!(1)));
    assert_eq!(found["Resources"][0]["userName"], "ada");
}

#[tokio::test(start_paused = true)]
async fn values_of_the_wrong_type() {
    let (bench, user, _) = with(|scim| (scim.string_booleans, scim.string_numbers) = (true, true)).await;
    let list = bench.scim("GET", "/Users", None).await.body;
    assert_eq!((&list["totalResults"], &list["Resources"][0]["active"]), (&json!("1"), &json!("True")));
    assert_eq!(bench.scim("GET", &format!("/Users/{user}"), None).await.body["active"], "True");
}

#[tokio::test(start_paused = true)]
async fn uniqueness_beyond_user_names() {
    let (bench, ..) = with(|scim| {
        (scim.unique_group_names, scim.unique_external_ids) = (true, true);
        scim.conflict_without_scim_type = true;
    })
    .await;
    let group = json!({"schemas": [GROUP], "displayName": "TEAM"});
    let conflict = bench.scim("POST", "/Groups", Some(group)).await;
    assert_eq!((conflict.status, conflict.body.get("scimType")), (409, None));
    let user = json!({"schemas": [USER], "userName": "other", "externalId": "00u-ada"});
    assert_eq!(bench.scim("POST", "/Users", Some(user)).await.status, 409);
}

#[tokio::test(start_paused = true)]
async fn an_external_id_that_is_forgotten() {
    let (bench, user, _) = with(|scim| scim.forgets_external_id = true).await;
    assert_eq!(bench.apono.scim_users(INTEGRATION)[0].get("externalId"), None);
    let set = json!([{"op": "add", "path": "externalId", "value": "00u1"}]);
    assert_eq!(bench.patch(&format!("/Users/{user}"), set).await.body.get("externalId"), None);
}

#[tokio::test(start_paused = true)]
async fn echoes() {
    let (bench, user, group) =
        with(|scim| (scim.user_patch_echo, scim.group_patch_echo) = (false, true)).await;
    let title = json!([{"op": "replace", "path": "title", "value": "Dr"}]);
    let silent = bench.patch(&format!("/Users/{user}"), title).await;
    assert_eq!((silent.status, silent.body), (204, Value::Null));
    let echoed = bench.patch(&format!("/Groups/{group}"), by_filter(&user)).await;
    assert_eq!((echoed.status, &echoed.body["members"]), (200, &json!([])));
}

#[tokio::test(start_paused = true)]
async fn versions_hold_writers() {
    let (bench, user, _) = with(|scim| scim.etag = true).await;
    let path = format!("/scim/v2/{INTEGRATION}/Users/{user}");
    let first = bench.call("GET", &path, None).await;
    assert_eq!(
        (first.headers["etag"].to_str().unwrap(), &first.body["meta"]["version"]),
        ("W/\"1\"", &json!("W/\"1\""))
    );
    let put = |version: &str| {
        let body = json!({"schemas": [USER], "userName": "ada", "title": "Dr"});
        let mut request = Bench::request("PUT", &path, Some(&body));
        request.headers_mut().insert("if-match", version.parse().unwrap());
        request
    };
    let second = bench.send(put("W/\"1\"")).await.unwrap();
    assert_eq!((second.status, &second.body["meta"]["version"]), (200, &json!("W/\"2\"")));
    assert_eq!(bench.send(put("W/\"1\"")).await.unwrap().status, 412);
    assert_eq!(bench.send(put("*")).await.unwrap().status, 200);
}

#[tokio::test(start_paused = true)]
async fn quirks_can_be_switched_while_it_runs() {
    let (bench, user, group) = with(|_| {}).await;
    bench.apono.set_scim(ScimSettings { patch: false, ..ScimSettings::default() });
    let path = format!("/Groups/{group}");
    assert_eq!(bench.patch(&path, by_filter(&user)).await.status, 501);
    bench.apono.set_scim(ScimSettings::default());
    assert_eq!(bench.patch(&path, by_filter(&user)).await.status, 204);
}
