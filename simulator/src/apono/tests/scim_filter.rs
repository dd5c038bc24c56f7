//! Filters, by index and by looking at everybody.

use serde_json::json;

use super::{Bench, ENTERPRISE, USER};

async fn people() -> Bench {
    let bench = Bench::new();
    for (number, name, active, department) in
        [(1, "Ada", true, "Analysis"), (2, "Bob", false, "Building"), (3, "Cy", true, "Building")]
    {
        let mail = format!("{}@example.com", name.to_lowercase());
        let body = json!({
            "schemas": [USER, ENTERPRISE],
            "userName": mail,
            "externalId": format!("00u{number}"),
            "displayName": name,
            "active": active,
            "emails": [{"value": mail, "type": "work"}, {"value": format!("{name}@home.test"), "type": "home"}],
            ENTERPRISE: {"department": department},
        });
        assert_eq!(bench.scim("POST", "/Users", Some(body)).await.status, 201);
    }
    bench
}

impl Bench {
    async fn find(&self, plural: &str, filter: &str) -> String {
        let encoded = percent_encoding::utf8_percent_encode(filter, percent_encoding::NON_ALPHANUMERIC);
        let reply = self.scim("GET", &format!("/{plural}?filter={encoded}"), None).await;
        if reply.status != 200 {
            return format!("{} {}", reply.status, reply.body["scimType"].as_str().unwrap_or_default());
        }
        let found = reply.body["Resources"].as_array().unwrap().clone();
        assert_eq!(reply.body["totalResults"], found.len());
        let names: Vec<&str> = found.iter().map(|one| one["displayName"].as_str().unwrap()).collect();
        names.join(",")
    }
}

#[tokio::test(start_paused = true)]
async fn users_are_found() {
    let bench = people().await;
    let ids: Vec<String> = bench
        .apono
        .scim_users(super::INTEGRATION)
        .iter()
        .map(|user| user["id"].as_str().unwrap().to_owned())
        .collect();
    let by_id = format!("id eq \"{}\"", ids[1]);
    let by_department = format!("{ENTERPRISE}:department eq \"building\"");
    let full_name = format!("{USER}:userName eq \"cy@example.com\"");
    for (filter, expected) in [
        ("userName eq \"ada@example.com\"", "Ada"),
        ("USERNAME EQ \"ADA@EXAMPLE.COM\"", "Ada"),
        ("userName eq \"nobody\"", ""),
        ("externalId eq \"00u2\"", "Bob"),
        ("externalId eq \"00U2\"", ""),
        (&by_id, "Bob"),
        ("displayName eq \"cy\"", "Cy"),
        ("emails.value eq \"bob@HOME.test\"", "Bob"),
        ("emails eq \"bob@home.test\"", "Bob"),
        ("emails[type eq \"work\" and value sw \"ada\"]", "Ada"),
        ("emails[type eq \"work\" and value ew \"home.test\"]", ""),
        ("active eq true", "Ada,Cy"),
        ("active eq false", "Bob"),
        ("active eq \"true\"", ""),
        ("active eq true and userName eq \"cy@example.com\"", "Cy"),
        ("active eq false and externalId eq \"00u1\"", ""),
        ("userName eq \"cy@example.com\" or externalId eq \"00u1\"", "Ada,Cy"),
        ("userName eq \"cy@example.com\" or active eq false", "Bob,Cy"),
        ("active eq true and (displayName eq \"bob\" or displayName eq \"cy\")", "Cy"),
        ("displayName eq \"ada\" or displayName eq \"bob\" and active eq true", "Ada"),
        ("not (active eq true)", "Bob"),
        ("externalId pr", "Ada,Bob,Cy"),
        ("title pr", ""),
        ("title eq null", "Ada,Bob,Cy"),
        ("displayName ne \"ada\"", "Bob,Cy"),
        ("displayName co \"B\"", "Bob"),
        ("externalId gt \"00u1\"", "Bob,Cy"),
        ("externalId le \"00u2\"", "Ada,Bob"),
        ("meta.created ge \"2026-03-01T13:00:00+01:00\"", "Ada,Bob,Cy"),
        ("meta.created gt \"2026-03-01T12:00:00Z\"", ""),
        (&by_department, "Bob,Cy"),
        (&full_name, "Cy"),
    ] {
        assert_eq!(bench.find("Users", filter).await, expected, "{filter}");
    }
    bench.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn what_is_no_filter_is_refused() {
    let bench = people().await;
    let deep = format!("{}active eq true{}", "(".repeat(2000), ")".repeat(2000));
    let wrong = [
        "userName",
        "userName eq",
        "userName eq ada",
        "userName like \"a\"",
        "eq \"a\"",
        "userName eq \"a",
        "userName eq \"a\" and",
        "userName eq \"a\" active eq true",
        "(active eq true",
        "emails[type eq \"work\"",
        "user name eq \"a\"",
        "",
        &deep,
    ];
    for filter in wrong {
        assert_eq!(bench.find("Users", filter).await, "400 invalidFilter", "{filter}");
    }
    assert_eq!(bench.apono.violations().len(), wrong.len());
}

#[tokio::test(start_paused = true)]
async fn groups_are_found_by_name_and_by_member() {
    let bench = people().await;
    let ids: Vec<String> = bench
        .apono
        .scim_users(super::INTEGRATION)
        .iter()
        .map(|user| user["id"].as_str().unwrap().to_owned())
        .collect();
    let (one, two) = (ids[0].as_str(), ids[1].as_str());
    let first = bench.make_group("First", &[one, two]).await;
    bench.make_group("Second", &[two]).await;
    bench.make_group("second", &[]).await;
    for (filter, expected) in [
        ("displayName eq \"SECOND\"".to_owned(), "Second,second"),
        (format!("members.value eq \"{one}\""), "First"),
        (format!("members eq \"{two}\""), "First,Second"),
        (format!("members[value eq \"{two}\"]"), "First,Second"),
        (format!("id eq \"{first}\" and members eq \"{one}\""), "First"),
        (format!("id eq \"{first}\" and members eq \"{}\"", ids[2]), ""),
        ("not (members pr)".to_owned(), "second"),
    ] {
        assert_eq!(bench.find("Groups", &filter).await, expected, "{filter}");
    }
    bench.assert_no_violations();
}
