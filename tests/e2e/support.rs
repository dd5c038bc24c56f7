//! What a support bundle of the real binary has, and what it has not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use serde_json::Value;

use crate::world::{World, read};

/// The parts of a new bundle, and how the command ended.
async fn bundle(world: &World, name: &str) -> (BTreeMap<String, String>, Option<i32>) {
    let path = world.path(name);
    let output = world.run(&["support-bundle", "--out", path.to_str().unwrap()]).await;
    let mut parts = BTreeMap::new();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(&path).unwrap()));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        parts.insert(name, text);
    }
    (parts, output.status.code())
}

#[tokio::test]
async fn a_bundle_tells_what_happened_and_names_nobody() {
    let (mut world, ada, group) = World::with_ada();
    let connector = world.start();
    let granted = world.grant(&group, Duration::from_mins(5));
    assert_eq!(world.result(&granted.task_id).await["code"], "granted");

    let (parts, ended) = bundle(&world, "up.tar.gz").await;
    assert_eq!(ended, Some(0), "{}", parts["missing.txt"]);
    for (name, text) in &parts {
        for gone in [ada.as_str(), group.as_str(), "ada@example.com"] {
            assert!(!text.to_lowercase().contains(&gone.to_lowercase()), "{gone} is in {name}: {text}");
        }
    }
    let line = parts["log.jsonl"].lines().find(|line| line.contains("\"membership_given\"")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let user = line["okta.user_id"].as_str().unwrap();
    assert!(user.starts_with("00u-") && line["grant.id"] == granted.grant_id.as_str(), "{line}");
    // Whoever helps can follow one person through all parts.
    assert!(parts["grants.json"].contains(user) && parts["status.json"].contains(user), "{user}");
    let journal: Value = serde_json::from_str(&parts["journal.json"]).unwrap();
    assert!(journal["open_grants"] == 1 && journal["owe_a_removal"] == 1, "{journal}");
    assert!(parts["configuration.txt"].contains("connector.toml") && parts["metrics.txt"].contains("_total"));
    let manifest: Value = serde_json::from_str(&parts["manifest.json"]).unwrap();
    assert_eq!(manifest["held_back"], Value::Array(Vec::new()));
    assert!(manifest["pseudonyms"]["users"].as_u64().unwrap() > 0, "{manifest}");
    let listed = manifest["parts"].as_array().unwrap();
    assert_eq!(listed.len() + 1, parts.len(), "but for the manifest itself");
    for part in listed {
        let text = &parts[part["name"].as_str().unwrap()];
        assert_eq!(part["bytes"], text.len());
    }
    let listing = world.run(&["support-bundle", "--dry-run"]).await;
    let text = String::from_utf8(listing.stdout).unwrap();
    assert!(
        listing.status.success() && text.contains("log.jsonl: ") && text.contains("manifest.json: "),
        "{text}"
    );
    assert!(connector.stop().await.success());

    let (parts, ended) = bundle(&world, "down.tar.gz").await;
    assert_eq!(ended, Some(0));
    let journal: Value = serde_json::from_str(&parts["journal.json"]).unwrap();
    assert!(journal["open_grants"] == 1 && !parts.contains_key("log.jsonl"), "{journal}");
    assert!(
        parts["missing.txt"].contains("log.jsonl: the connector does not run"),
        "{}",
        parts["missing.txt"]
    );
}

#[tokio::test]
async fn a_part_with_a_secret_in_it_is_left_out_and_told_of() {
    let world = World::new();
    let token = read(&world.path("token"));
    let token = token.trim();
    let careless = read(&world.path("connector.toml"))
        .replace("connector_id = \"okta-connector\"", &format!("connector_id = \"{token}\""));
    assert!(careless.contains(token));
    world.write_configuration(&careless);
    let (parts, ended) = bundle(&world, "careless.tar.gz").await;
    assert_eq!(ended, Some(70));
    assert!(!parts.contains_key("configuration.txt"));
    for (name, text) in &parts {
        assert!(!text.contains(token), "{name}: {text}");
    }
    let manifest: Value = serde_json::from_str(&parts["manifest.json"]).unwrap();
    assert_eq!(manifest["held_back"][0], "configuration.txt");
}
