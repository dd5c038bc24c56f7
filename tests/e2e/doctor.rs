//! `doctor` as the program that people and their scripts start: what it says where it cannot look at everything.

use std::fs;
use std::process::Output;

use serde_json::Value;

use crate::fresh::{err, out};
use crate::world::World;

fn findings(output: &Output) -> Vec<Value> {
    let text = out(output);
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(document["worst"], "FAIL", "{text}");
    document["findings"].as_array().unwrap().clone()
}

fn of<'a>(findings: &'a [Value], id: &str) -> &'a Value {
    findings.iter().find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("{id}: {findings:?}"))
}

#[tokio::test]
async fn a_bundle_that_cannot_be_used_is_a_finding_beside_all_others() {
    let world = World::new();
    fs::create_dir(world.path("state")).unwrap();
    for text in [None, Some("not a certificate")] {
        let bundle = world.path("ca.pem");
        if let Some(text) = text {
            fs::write(&bundle, text).unwrap();
        }
        let set = format!("http.ca_bundle_file={}", bundle.display());
        let output = world.run(&["doctor", "--json", "--set", &set]).await;
        assert_eq!(output.status.code(), Some(78), "{}", err(&output));
        let found = findings(&output);
        let finding = of(&found, "http.client");
        assert!(finding["verdict"] == "FAIL" && finding["code"] == "AOC-0130", "{finding}");
        assert!(finding["cure"].as_str().unwrap().contains("PEM certificates"), "{finding}");
        assert_eq!(of(&found, "state.folder")["verdict"], "PASS", "what needs no connection is looked at");
        assert_eq!(of(&found, "secret.key")["verdict"], "PASS");
        for id in ["okta.name", "okta.token", "apono.token", "scim.answers", "database.connect"] {
            assert_eq!(of(&found, id)["verdict"], "SKIP", "{id}");
        }
        let failed = found.iter().filter(|finding| finding["verdict"] == "FAIL").count();
        assert_eq!(failed, 1, "one fault is one failure: {found:?}");
        let table = world.run(&["doctor", "--quiet", "--set", &set]).await;
        assert_eq!(table.status.code(), Some(78));
        assert!(
            out(&table).contains("FAIL  http.client") && out(&table).contains("[AOC-0130]"),
            "{}",
            out(&table)
        );
    }
}

#[tokio::test]
async fn a_wrong_configuration_is_a_document_too() {
    let world = World::new();
    let good = world.configuration("");
    let admin = "https://example-admin.okta.com";
    let organization = format!("organization_url = \"{}\"", world.okta_server.url());
    assert!(good.contains(&organization), "{good}");
    let cases = [
        (
            good.replace(&organization, &format!("organization_url = \"{admin}\"")),
            "okta[0].organization_url",
            "use the one without -admin",
        ),
        (good.replace("[state]", "[state]\nurll = \"x\""), "state.urll", "there is no such key"),
        ("[apono".to_owned(), "configuration", ""),
    ];
    for (text, target, expected) in cases {
        world.write_configuration(&text);
        let output = world.run(&["doctor", "--json"]).await;
        assert_eq!(output.status.code(), Some(78), "{}", err(&output));
        let found = findings(&output);
        let finding =
            found.iter().find(|finding| finding["target"] == target).unwrap_or_else(|| panic!("{found:?}"));
        assert!(finding["id"] == "configuration" && finding["code"] == "AOC-0101", "{finding}");
        assert!(finding["detail"].as_str().unwrap().contains(expected), "{finding}");
        assert!(finding["cure"].as_str().is_some_and(|cure| !cure.is_empty()), "{finding}");
        let table = world.run(&["doctor"]).await;
        assert_eq!(table.status.code(), Some(78));
        assert!(out(&table).contains("FAIL  configuration"), "{}", out(&table));
    }
}
