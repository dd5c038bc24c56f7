//! Every shape of PATCH.

use serde_json::{Value, json};

use super::{Bench, ENTERPRISE, INTEGRATION, PATCH, USER, at, seconds};

/// A user after these operations, and the answer's status.
async fn patched(operations: Value) -> (u16, Value) {
    let bench = Bench::new();
    let body = json!({
        "schemas": [USER],
        "userName": "ada",
        "title": "Countess",
        "name": {"givenName": "Ada", "familyName": "Byron"},
        "emails": [
            {"value": "ada@work.test", "type": "work", "primary": true}, {"value": "ada@home.test", "type": "home"},
        ],
    });
    let id = bench.scim("POST", "/Users", Some(body)).await.body["id"].as_str().unwrap().to_owned();
    let reply = bench.patch(&format!("/Users/{id}"), operations).await;
    let mut user = bench.apono.scim_users(INTEGRATION).remove(0);
    if reply.status == 200 {
        assert_eq!(reply.body, user);
    }
    let fields = user.as_object_mut().unwrap();
    fields.remove("meta");
    fields.remove("id");
    (reply.status, user)
}

/// Checks one attribute of the user after one operation.
async fn after(operation: Value, pointer: &str, expected: Value) {
    let (status, user) = patched(json!([operation.clone()])).await;
    assert_eq!(status, 200, "{operation}");
    assert_eq!(user.pointer(pointer).cloned().unwrap_or_default(), expected, "{operation}");
}

#[tokio::test(start_paused = true)]
async fn single_attributes() {
    after(json!({"op": "replace", "path": "active", "value": false}), "/active", json!(false)).await;
    after(json!({"op": "replace", "value": {"active": false}}), "/active", json!(false)).await;
    after(json!({"op": "add", "path": "nickName", "value": "A"}), "/nickName", json!("A")).await;
    after(json!({"op": "replace", "path": "nickname", "value": "A"}), "/nickName", json!("A")).await;
    after(json!({"op": "remove", "path": "title"}), "/title", Value::Null).await;
    after(json!({"op": "remove", "path": "nickName"}), "/nickName", Value::Null).await;
    let path = format!("{USER}:title");
    after(json!({"op": "replace", "path": path, "value": "Dr"}), "/title", json!("Dr")).await;
}

#[tokio::test(start_paused = true)]
async fn complex_attributes() {
    let merged = json!({"givenName": "Augusta", "familyName": "Byron"});
    after(json!({"op": "replace", "path": "name.givenName", "value": "Augusta"}), "/name", merged.clone())
        .await;
    after(
        json!({"op": "replace", "path": "name", "value": {"givenName": "Augusta"}}),
        "/name",
        merged.clone(),
    )
    .await;
    after(json!({"op": "add", "value": {"name": {"givenName": "Augusta"}}}), "/name", merged.clone()).await;
    after(json!({"op": "replace", "value": {"name.givenName": "Augusta"}}), "/name", merged).await;
    after(json!({"op": "remove", "path": "name.familyName"}), "/name", json!({"givenName": "Ada"})).await;
}

#[tokio::test(start_paused = true)]
async fn lists() {
    let value = json!({"value": "ada@new.test", "type": "other", "primary": true});
    let added = json!([
        {"value": "ada@work.test", "type": "work", "primary": false}, {"value": "ada@home.test", "type": "home"}, value,
    ]);
    after(json!({"op": "add", "path": "emails", "value": [value]}), "/emails", added.clone()).await;
    after(json!({"op": "add", "path": "emails", "value": value}), "/emails", added.clone()).await;
    after(json!({"op": "add", "value": {"emails": [value]}}), "/emails", added).await;
    after(json!({"op": "replace", "path": "emails", "value": [value]}), "/emails", json!([value])).await;
    let filter = "emails[type eq \"work\"]";
    after(
        json!({"op": "remove", "path": filter}),
        "/emails",
        json!([{"value": "ada@home.test", "type": "home"}]),
    )
    .await;
    after(json!({"op": "remove", "path": "emails"}), "/emails", Value::Null).await;
    let work = "emails[type eq \"work\"].value";
    for op in ["add", "replace"] {
        after(json!({"op": op, "path": work, "value": "x@y.test"}), "/emails/0/value", json!("x@y.test"))
            .await;
    }
    after(json!({"op": "replace", "value": {work: "x@y.test"}}), "/emails/0/value", json!("x@y.test")).await;
    let whole = json!({"op": "replace", "path": filter, "value": {"value": "x@y.test"}});
    after(whole, "/emails/0", json!({"value": "x@y.test", "type": "work", "primary": true})).await;
    let other = "emails[type eq \"other\"].value";
    let made = json!({"value": "x@y.test", "type": "other"});
    after(json!({"op": "add", "path": other, "value": "x@y.test"}), "/emails/2", made).await;
    after(json!({"op": "remove", "path": other}), "/emails/1/value", json!("ada@home.test")).await;
    let primary = json!({"op": "replace", "path": "emails[type eq \"home\"].primary", "value": true});
    after(primary, "/emails/0/primary", json!(false)).await;
}

#[tokio::test(start_paused = true)]
async fn extensions() {
    let pointer = format!("/{ENTERPRISE}");
    let holds = json!({"department": "Engines"});
    let path = format!("{ENTERPRISE}:department");
    after(json!({"op": "add", "path": path, "value": "Engines"}), &pointer, holds.clone()).await;
    after(json!({"op": "add", "value": {path.clone(): "Engines"}}), &pointer, holds.clone()).await;
    after(json!({"op": "add", "value": {ENTERPRISE: holds}}), &pointer, holds.clone()).await;
    after(
        json!({"op": "replace", "path": ENTERPRISE, "value": holds}),
        "/schemas",
        json!([USER, ENTERPRISE]),
    )
    .await;
    let manager = format!("{ENTERPRISE}:manager.value");
    after(
        json!({"op": "replace", "path": manager, "value": "00u2"}),
        &format!("{pointer}/manager/value"),
        json!("00u2"),
    )
    .await;
    let both = json!([
        {"op": "add", "path": path, "value": "Engines"}, {"op": "remove", "path": path},
    ]);
    let (_, user) = patched(both).await;
    assert_eq!((user.get(ENTERPRISE), &user["schemas"]), (None, &json!([USER])));
    let foreign = "urn:example:params:scim:schemas:acme:2.0:User";
    after(json!({"op": "add", "value": {foreign: {"badge": "7"}}}), &format!("/{foreign}/badge"), json!("7"))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_patch_changes_nothing() {
    let (_, before) = patched(json!([{"op": "remove", "path": "nickName"}])).await;
    for (operation, scim_type) in [
        (json!({"op": "remove"}), "noTarget"),
        (json!({"op": "replace", "path": "emails[type eq \"other\"].value", "value": "x"}), "noTarget"),
        (json!({"op": "Replace", "path": "title", "value": "x"}), "invalidSyntax"),
        (json!({"op": "move", "path": "title"}), "invalidSyntax"),
        (json!({"op": "replace", "path": "title"}), "invalidValue"),
        (json!({"op": "replace", "value": "x"}), "invalidValue"),
        (json!({"op": "replace", "path": "active", "value": "False"}), "invalidValue"),
        (json!({"op": "replace", "path": "userName", "value": ""}), "invalidValue"),
        (json!({"op": "remove", "path": "userName"}), "mutability"),
        (json!({"op": "replace", "path": "id", "value": "x"}), "mutability"),
        (json!({"op": "replace", "value": {"id": "x"}}), "mutability"),
        (json!({"op": "replace", "path": "emails[type eq]", "value": "x"}), "invalidPath"),
        (json!({"op": "replace", "path": "emails[type eq \"work\"", "value": "x"}), "invalidPath"),
        (json!({"op": "replace", "path": "a b", "value": "x"}), "invalidPath"),
        (json!({"op": "replace", "path": 7, "value": "x"}), "invalidPath"),
    ] {
        let bench = Bench::new();
        let id = bench.make_user("ada").await;
        let fine = json!({"op": "replace", "path": "title", "value": "changed"});
        let reply = bench.patch(&format!("/Users/{id}"), json!([fine, operation])).await;
        assert_eq!((reply.status, reply.body["scimType"].as_str()), (400, Some(scim_type)), "{operation}");
        assert_eq!(bench.apono.scim_users(INTEGRATION)[0].get("title"), None);
        let (status, user) =
            patched(json!([{"op": "replace", "path": "title", "value": "x"}, operation])).await;
        assert_eq!((status, user), (400, before.clone()));
    }
    let bench = Bench::new();
    let id = bench.make_user("ada").await;
    for body in [json!({"Operations": []}), json!({"schemas": [PATCH], "Operations": []}), json!([])] {
        assert_eq!(bench.scim("PATCH", &format!("/Users/{id}"), Some(body)).await.status, 400);
    }
    let fine = json!([{"op": "replace", "path": "title", "value": "x"}]);
    assert_eq!(bench.patch("/Users/scu_00000099", fine).await.status, 404);
}

/// The members (as letters) of a group of a and b after these operations, where `{a}` stands for the id of a.
async fn members_after(operations: Value) -> (u16, String) {
    let bench = Bench::new();
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(bench.make_user(name).await);
    }
    let group = bench.make_group("Team", &[&ids[0], &ids[1]]).await;
    let mut text = operations.to_string();
    for (name, id) in ["{a}", "{b}", "{c}"].iter().zip(&ids) {
        text = text.replace(name, id);
    }
    let reply = bench.patch(&format!("/Groups/{group}"), serde_json::from_str(&text).unwrap()).await;
    let members = bench.members(&group).await;
    let letters = members.iter().map(|id| ["a", "b", "c"][ids.iter().position(|known| known == id).unwrap()]);
    (reply.status, letters.collect())
}

#[tokio::test(start_paused = true)]
async fn members() {
    for (operations, expected) in [
        (json!([{"op": "add", "path": "members", "value": [{"value": "{c}"}]}]), "abc"),
        (json!([{"op": "add", "path": "members", "value": {"value": "{c}", "type": "User"}}]), "abc"),
        (json!([{"op": "add", "value": {"members": [{"value": "{c}"}]}}]), "abc"),
        (json!([{"op": "add", "path": "members", "value": [{"value": "{a}"}]}]), "ab"),
        (json!([{"op": "remove", "path": "members[value eq \"{a}\"]"}]), "b"),
        (json!([{"op": "remove", "path": "members[value eq \"{c}\"]"}]), "ab"),
        (json!([{"op": "remove", "path": "members[value eq \"{a}\" or value eq \"{b}\"]"}]), ""),
        (json!([{"op": "remove", "path": "members[type eq \"Group\"]"}]), "ab"),
        (json!([{"op": "remove", "path": "members[type eq \"User\" and not (value eq \"{b}\")]"}]), "b"),
        (json!([{"op": "remove", "path": "members", "value": [{"value": "{a}"}]}]), "b"),
        (json!([{"op": "remove", "path": "members", "value": [{"value": "scu_00000099"}]}]), "ab"),
        (json!([{"op": "remove", "path": "members"}]), ""),
        (json!([{"op": "replace", "path": "members", "value": [{"value": "{c}"}]}]), "c"),
        (json!([{"op": "replace", "path": "members", "value": []}]), ""),
        (json!([{"op": "replace", "value": {"members": [{"value": "{b}"}, {"value": "{c}"}]}}]), "bc"),
        (
            json!([
                {"op": "remove", "path": "members"},
                {"op": "add", "path": "members", "value": [{"value": "{c}"}, {"value": "{a}"}]},
                {"op": "remove", "path": "members[value eq \"{a}\"]"},
            ]),
            "c",
        ),
        (
            json!([
                {"op": "remove", "path": "members[value eq \"{a}\"]"},
                {"op": "add", "path": "members", "value": [{"value": "{a}"}]},
            ]),
            "ab",
        ),
    ] {
        assert_eq!(members_after(operations.clone()).await, (204, expected.to_owned()), "{operations}");
    }
    for operations in [
        json!([{"op": "add", "path": "members", "value": [{"value": "{c}"}, {"value": "scu_00000099"}]}]),
        json!([{"op": "remove", "path": "members[value eq \"{a}\"]"}, {"op": "remove", "path": "displayName"}]),
        json!([{"op": "replace", "path": "members[value eq \"{a}\"].display", "value": "x"}]),
        json!([{"op": "add", "path": "members[value eq \"{c}\"]", "value": [{"value": "{c}"}]}]),
        json!([{"op": "add", "path": "members", "value": [{"type": "User"}]}]),
    ] {
        assert_eq!(members_after(operations.clone()).await, (400, "ab".to_owned()), "{operations}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rename_leaves_the_members() {
    let bench = Bench::new();
    let user = bench.make_user("a").await;
    let group = bench.make_group("Team", &[&user]).await;
    let path = format!("/Groups/{group}");
    let rename = json!([{"op": "replace", "value": {"displayName": "Crew"}}]);
    assert_eq!(bench.patch(&path, rename).await.status, 204);
    let body = bench.scim("GET", &path, None).await.body;
    assert_eq!((&body["displayName"], &body["members"][0]["value"]), (&json!("Crew"), &json!(user)));
}

#[tokio::test(start_paused = true)]
async fn only_a_change_is_a_modification() {
    let bench = Bench::new();
    let user = bench.make_user("a").await;
    let group = bench.make_group("Team", &[&user]).await;
    tokio::time::advance(seconds(5)).await;
    let path = format!("/Groups/{group}");
    let add = json!([{"op": "add", "path": "members", "value": [{"value": user}]}]);
    bench.patch(&path, add).await;
    assert_eq!(bench.scim("GET", &path, None).await.body["meta"]["lastModified"], at(0));
    bench.patch(&path, json!([{"op": "remove", "path": "members"}])).await;
    assert_eq!(bench.scim("GET", &path, None).await.body["meta"]["lastModified"], at(5));
}
