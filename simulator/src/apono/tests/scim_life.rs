//! The life of users and groups: create, read, replace, delete, pages, and what the provider says of itself.

use serde_json::{Value, json};

use super::{Bench, ENTERPRISE, GROUP, INTEGRATION, USER, at, seconds};

fn ada() -> Value {
    json!({
        "schemas": [USER, ENTERPRISE],
        "userName": "ada@example.com",
        "externalId": "00u1",
        "name": {"givenName": "Ada", "familyName": "Lovelace"},
        "displayName": null,
        "emails": [{"value": "ada@example.com", "type": "work", "primary": true}],
        "active": false,
        ENTERPRISE: {"department": "Analysis", "manager": {"value": "00u2"}},
    })
}

#[tokio::test(start_paused = true)]
async fn a_user_is_created_read_replaced_and_deleted() {
    let bench = Bench::new();
    let created = bench.scim("POST", "/Users", Some(ada())).await;
    assert_eq!(created.status, 201);
    assert_eq!(created.headers["content-type"], "application/scim+json");
    let id = created.body["id"].as_str().unwrap().to_owned();
    let location = format!("/scim/v2/{INTEGRATION}/Users/{id}");
    assert_eq!(created.headers["location"], location.as_str());
    let meta = json!({"resourceType": "User", "created": at(0), "lastModified": at(0), "location": location});
    assert_eq!(created.body["meta"], meta);
    assert_eq!((&created.body["active"], created.body.get("displayName")), (&json!(false), None));
    assert_eq!(bench.scim("GET", &format!("/Users/{id}"), None).await.body, created.body);

    tokio::time::advance(seconds(5)).await;
    let mut replacement = ada();
    replacement["userName"] = json!("ADA@example.com");
    replacement.as_object_mut().unwrap().remove("emails");
    replacement["id"] = json!("ignored");
    let replaced = bench.scim("PUT", &format!("/Users/{id}"), Some(replacement)).await;
    assert_eq!((replaced.status, &replaced.body["id"]), (200, &json!(id)));
    assert_eq!(replaced.body.get("emails"), None);
    assert_eq!(
        (&replaced.body["meta"]["created"], &replaced.body["meta"]["lastModified"]),
        (&json!(at(0)), &json!(at(5)))
    );

    assert_eq!(bench.scim("DELETE", &format!("/Users/{id}"), None).await.status, 204);
    let gone = bench.scim("GET", &format!("/Users/{id}"), None).await;
    assert_eq!((gone.status, &gone.body["status"]), (404, &json!("404")));
    assert_eq!(bench.scim("DELETE", &format!("/Users/{id}"), None).await.status, 404);
    assert_eq!((bench.apono.scim_writes(), bench.apono.scim_reads()), (3, 1));
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_user_name_is_taken_whatever_its_case() {
    let bench = Bench::new();
    bench.make_user("ada@example.com").await;
    let other = bench.make_user("bob@example.com").await;
    let again = json!({"schemas": [USER], "userName": "Ada@Example.com"});
    let conflict = bench.scim("POST", "/Users", Some(again.clone())).await;
    assert_eq!((conflict.status, &conflict.body["scimType"]), (409, &json!("uniqueness")));
    assert_eq!(bench.scim("PUT", &format!("/Users/{other}"), Some(again)).await.status, 409);
    let rename = json!([{"op": "replace", "path": "userName", "value": "ADA@example.com"}]);
    assert_eq!(bench.patch(&format!("/Users/{other}"), rename).await.status, 409);
    assert_eq!(bench.apono.scim_users(INTEGRATION)[1]["userName"], "bob@example.com");
    assert_eq!(bench.apono.scim_writes(), 2);
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_given_up_can_be_taken() {
    let bench = Bench::new();
    let first = bench.make_user("ada@example.com").await;
    let rename =
        json!([{"op": "replace", "value": {"userName": "countess@example.com", "externalId": "00u9"}}]);
    assert_eq!(bench.patch(&format!("/Users/{first}"), rename).await.status, 200);
    bench.make_user("ada@example.com").await;
    let found = bench.scim("GET", "/Users?filter=externalId%20eq%20%2200u9%22", None).await;
    assert_eq!(found.body["Resources"][0]["id"], json!(first));
    bench.scim("DELETE", &format!("/Users/{first}"), None).await;
    bench.make_user("countess@example.com").await;
}

#[tokio::test(start_paused = true)]
async fn bad_resources_are_refused_by_attribute() {
    let bench = Bench::new();
    let cases = [
        ("/Users", json!({"userName": "ada"}), "schemas"),
        ("/Users", json!({"schemas": [USER]}), "userName"),
        ("/Users", json!({"schemas": [USER], "userName": " "}), "userName"),
        ("/Users", json!({"schemas": [USER], "userName": "ada", "active": "True"}), "active"),
        ("/Users", json!({"schemas": [USER], "userName": "ada", "emails": "a@b.c"}), "emails"),
        ("/Users", json!({"schemas": [USER], "userName": "ada", "externalId": 7}), "externalId"),
        ("/Users", json!({"schemas": [USER], "userName": "ada", "password": "x"}), "password"),
        ("/Users", json!({"schemas": [USER], "userName": "ada", ENTERPRISE: {"department": "x"}}), "schemas"),
        ("/Users", json!([]), "the body"),
        ("/Groups", json!({"schemas": [USER], "displayName": "x"}), "schemas"),
        ("/Groups", json!({"schemas": [GROUP]}), "displayName"),
        (
            "/Groups",
            json!({"schemas": [GROUP], "displayName": "x", "members": [{"type": "User"}]}),
            "members",
        ),
    ];
    let count = cases.len();
    for (path, body, attribute) in cases {
        let reply = bench.scim("POST", path, Some(body)).await;
        assert_eq!((reply.status, &reply.body["status"]), (400, &json!("400")));
        let detail = reply.body["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(attribute), "{detail}");
    }
    assert_eq!(bench.apono.violations().len(), count);
    assert_eq!((bench.apono.scim_size(INTEGRATION), bench.apono.scim_writes()), ((0, 0), 0));
    let unknown = json!({"schemas": [GROUP], "displayName": "x", "members": [{"value": "scu_00000099"}]});
    let reply = bench.scim("POST", "/Groups", Some(unknown)).await;
    assert_eq!((reply.status, &reply.body["scimType"]), (400, &json!("invalidValue")));
    assert_eq!(bench.apono.violations().len(), count);
    let mut request = Bench::request("POST", &format!("/scim/v2/{INTEGRATION}/Users"), Some(&ada()));
    request.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    assert_eq!(bench.send(request).await.unwrap().status, 415);
}

#[tokio::test(start_paused = true)]
async fn a_group_has_members_and_loses_those_that_are_deleted() {
    let bench = Bench::new();
    let (one, two) = (bench.make_user("one").await, bench.make_user("two").await);
    let inner = bench.make_group("Inner", &[&one]).await;
    let outer = bench.make_group("Outer", &[&inner, &two, &one]).await;
    let body = bench.scim("GET", &format!("/Groups/{outer}"), None).await.body;
    let members = json!([
        {"value": one, "type": "User"}, {"value": two, "type": "User"}, {"value": inner, "type": "Group"},
    ]);
    assert_eq!(body["members"], members);
    bench.scim("DELETE", &format!("/Users/{one}"), None).await;
    assert_eq!(bench.members(&outer).await, [two.clone(), inner.clone()]);
    assert!(bench.members(&inner).await.is_empty());
    bench.scim("DELETE", &format!("/Groups/{inner}"), None).await;
    assert_eq!(bench.members(&outer).await, std::slice::from_ref(&two));

    let put = json!({"schemas": [GROUP], "displayName": "Outer", "members": []});
    assert_eq!(bench.scim("PUT", &format!("/Groups/{outer}"), Some(put)).await.body["members"], json!([]));
    let put = json!({"schemas": [GROUP], "displayName": "Renamed", "members": [{"value": two}]});
    let body = bench.scim("PUT", &format!("/Groups/{outer}"), Some(put)).await.body;
    assert_eq!((&body["displayName"], &body["members"][0]["value"]), (&json!("Renamed"), &json!(two)));
    assert_eq!(bench.apono.scim_groups(INTEGRATION)[0], body);
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn pages_keep_their_order_and_their_bounds() {
    let bench = Bench::with_scim(super::ScimSettings { max_results: 3, ..super::ScimSettings::default() });
    for number in 0..7 {
        bench.make_user(&format!("user{number}")).await;
    }
    let page = async |query: &str| {
        let body = bench.scim("GET", &format!("/Users{query}"), None).await.body;
        let names: Vec<String> = body["Resources"]
            .as_array()
            .unwrap()
            .iter()
            .map(|user| user["userName"].as_str().unwrap().replace("user", ""))
            .collect();
        let numbers = ["totalResults", "startIndex", "itemsPerPage"].map(|name| body[name].as_u64().unwrap());
        (names.join(","), numbers)
    };
    assert_eq!(page("").await, ("0,1,2".into(), [7, 1, 3]));
    assert_eq!(page("?startIndex=4&count=100").await, ("3,4,5".into(), [7, 4, 3]));
    assert_eq!(page("?startIndex=7").await, ("6".into(), [7, 7, 1]));
    assert_eq!(page("?startIndex=8").await, (String::new(), [7, 8, 0]));
    assert_eq!(page("?startIndex=0&count=1").await, ("0".into(), [7, 1, 1]));
    assert_eq!(page("?startIndex=-3&count=-1").await, (String::new(), [7, 1, 0]));
    assert_eq!(page("?count=0").await, (String::new(), [7, 1, 0]));
    let third = bench.apono.scim_users(INTEGRATION)[2]["id"].as_str().unwrap().to_owned();
    bench.scim("DELETE", &format!("/Users/{third}"), None).await;
    assert_eq!(page("?startIndex=2&count=2").await, ("1,3".into(), [6, 2, 2]));
    bench.assert_no_violations();
    assert_eq!(bench.scim("GET", "/Users?startIndex=x", None).await.status, 400);
    assert_eq!(bench.scim("GET", "/Users?offset=1", None).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_caller_chooses_attributes() {
    let bench = Bench::new();
    let id = bench.scim("POST", "/Users", Some(ada())).await.body["id"].as_str().unwrap().to_owned();
    let get = async |query: &str| bench.scim("GET", &format!("/Users/{id}?{query}"), None).await.body;
    let base = json!({"schemas": [USER, ENTERPRISE], "id": id});
    let with = |extra: Value| {
        let mut expected = base.clone();
        expected.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        expected
    };
    assert_eq!(get("attributes=userName").await, with(json!({"userName": "ada@example.com"})));
    let names = get("attributes=USERNAME,%20name.givenName,emails.value").await;
    let expected = json!({
        "userName": "ada@example.com", "name": {"givenName": "Ada"}, "emails": [{"value": "ada@example.com"}],
    });
    assert_eq!(names, with(expected));
    let department = get(&format!("attributes={ENTERPRISE}:department")).await;
    assert_eq!(department, with(json!({ENTERPRISE: {"department": "Analysis"}})));
    let without = get(&format!("excludedAttributes=meta,emails,name.familyName,{ENTERPRISE},id")).await;
    let expected = json!({
        "userName": "ada@example.com", "externalId": "00u1", "name": {"givenName": "Ada"}, "active": false,
    });
    assert_eq!(without, with(expected));
    let group = bench.make_group("Team", &[&id]).await;
    let body = bench.scim("GET", &format!("/Groups/{group}?excludedAttributes=members"), None).await.body;
    assert_eq!(body.get("members"), None);
    let list = bench.scim("GET", "/Groups?attributes=displayName", None).await.body;
    assert_eq!(list["Resources"], json!([{"schemas": [GROUP], "id": group, "displayName": "Team"}]));
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn the_provider_describes_itself() {
    let bench = Bench::new();
    let config = bench.scim("GET", "/ServiceProviderConfig", None).await.body;
    assert_eq!((&config["patch"]["supported"], &config["filter"]["maxResults"]), (&json!(true), &json!(200)));
    assert_eq!(config["bulk"]["supported"], false);
    let types = bench.scim("GET", "/ResourceTypes", None).await.body;
    assert_eq!(types["totalResults"], 2);
    assert_eq!(bench.scim("GET", "/ResourceTypes/Group", None).await.body["endpoint"], "/Groups");
    assert_eq!(bench.scim("GET", "/Schemas", None).await.body["totalResults"], 3);
    let schema = bench.scim("GET", &format!("/Schemas/{USER}"), None).await.body;
    assert_eq!(schema["attributes"][0]["name"], "userName");
    assert_eq!(bench.scim("GET", "/Schemas/urn:none", None).await.status, 404);
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn integrations_do_not_share_a_directory() {
    let bench = Bench::new();
    bench.apono.add_integration("second");
    bench.make_user("ada").await;
    assert_eq!(bench.call("GET", "/scim/v2/second/Users", None).await.body["totalResults"], 0);
    bench.apono.remove_integration(INTEGRATION);
    assert_eq!(bench.scim("GET", "/Users", None).await.status, 404);
    bench.apono.add_integration(INTEGRATION);
    assert_eq!(bench.scim("GET", "/Users", None).await.body["totalResults"], 1);
}

#[tokio::test(start_paused = true)]
async fn others_may_work_in_the_directory_too() {
    let bench = Bench::new();
    let user = bench.apono.add_scim_user(INTEGRATION, json!({"userName": "stranger", "active": true}));
    let group =
        bench.apono.add_scim_group(INTEGRATION, json!({"displayName": "Theirs", "members": [user, "none"]}));
    assert_eq!(bench.members(&group).await, std::slice::from_ref(&user));
    assert!(bench.apono.merge_scim(INTEGRATION, &user, json!({"title": "Dr", "active": null})));
    assert!(bench.apono.merge_scim(INTEGRATION, &group, json!({"members": []})));
    assert!(!bench.apono.merge_scim(INTEGRATION, "scu_00000099", json!({})));
    let seen = bench.scim("GET", &format!("/Users/{user}"), None).await.body;
    assert_eq!((&seen["title"], seen.get("active")), (&json!("Dr"), None));
    assert!(bench.members(&group).await.is_empty());
    assert!(bench.apono.remove_scim(INTEGRATION, &user));
    assert!(!bench.apono.remove_scim(INTEGRATION, &user));
    assert_eq!((bench.apono.scim_writes(), bench.apono.scim_size(INTEGRATION)), (0, (0, 1)));
}
