//! A host on which nothing was set up yet, beside a world that is ready.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use simulator::okta::AdminRole;

use crate::world::{Connector, INTEGRATION, World, read};

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub fn json_file(path: &Path) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

/// A world in which nothing was set up on this host, and a folder for what will be.
pub struct Fresh {
    pub world: World,
    pub group: String,
    pub user: String,
    pub token: String,
}

pub const CHANGES: [&str; 10] = [
    "create_app",
    "add_app_key",
    "deactivate_app_key",
    "delete_app_key",
    "grant_app_scope",
    "create_role",
    "add_role_permission",
    "create_resource_set",
    "add_resources",
    "assign_client_role",
];

impl Fresh {
    pub fn new() -> Self {
        let (world, user, group) = World::with_ada();
        fs::create_dir(world.path("fresh")).unwrap();
        let mut fresh = Self { world, group, user, token: String::new() };
        fresh.give_token(AdminRole::SuperAdmin);
        fresh
    }

    pub fn give_token(&mut self, role: AdminRole) {
        self.token = self.world.okta.create_admin_token(role);
        let file = self.world.path("admin-token");
        fs::write(&file, format!("{}\n", self.token)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn text(&self, name: &str) -> String {
        self.world.path(name).display().to_string()
    }

    /// The arguments of `okta setup` by a file.
    pub fn arguments(&self, more: &[&str]) -> Vec<String> {
        let mut arguments: Vec<String> = ["okta", "setup", "--non-interactive", "--organization-url"]
            .into_iter()
            .map(ToOwned::to_owned)
            .collect();
        arguments.push(self.world.okta_server.url());
        arguments.extend(["--config".into(), self.text("fresh/connector.toml")]);
        arguments.extend(["--integration-id".into(), INTEGRATION.into()]);
        arguments.extend(["--admin-token-file".into(), self.text("admin-token")]);
        arguments.extend(more.iter().map(|one| (*one).to_owned()));
        arguments
    }

    pub async fn run(&self, arguments: &[String]) -> Output {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut command = World::bare_command(&arguments);
        command
            .env("APONO_URL", self.world.apono_url())
            .env("APONO_CONNECTOR_ID", "okta-connector")
            .env("APONO_TOKEN_FILE", self.world.path("token"));
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().await.unwrap();
        for text in [out(&output), err(&output)] {
            assert!(!text.contains(&self.token), "the administrator's token is in the output:\n{text}");
            for private in self.private_members() {
                assert!(!text.contains(&private), "the private key is in the output:\n{text}");
            }
        }
        // What the parser of the command line refuses is said in its own words.
        if !matches!(output.status.code(), Some(0 | 2)) && !err(&output).starts_with("error: ") {
            assert!(err(&output).contains("AOC-"), "a failure without its code:\n{}", err(&output));
        }
        output
    }

    pub async fn setup(&self, more: &[&str]) -> Output {
        self.run(&self.arguments(more)).await
    }

    /// The private members of every key in the folder, whose files are their owner's alone.
    pub fn private_members(&self) -> Vec<String> {
        let mut members = Vec::new();
        for file in fs::read_dir(self.world.path("fresh")).unwrap() {
            let path = file.unwrap().path();
            let Ok(value) = serde_json::from_str::<Value>(&read(&path)) else { continue };
            let key = value.get("private_key").unwrap_or(&value);
            if let Some(private) = key["d"].as_str() {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                members.push(private.to_owned());
            }
        }
        members
    }

    pub fn files(&self) -> Vec<String> {
        let files = fs::read_dir(self.world.path("fresh")).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files
    }

    pub fn changes(&self) -> u64 {
        CHANGES.iter().map(|operation| self.world.okta.call_count(operation)).sum()
    }

    /// Runs the command that setting up ended with.
    pub fn start(&mut self, next: &str) -> Connector {
        let mut arguments: Vec<String> = next.split(' ').skip(2).map(ToOwned::to_owned).collect();
        for (key, value) in [
            ("state.url", format!("sqlite:{}", self.text("state/state.db"))),
            ("audit.file", self.text("state/audit.jsonl")),
            ("admin.listen", "127.0.0.1:0".to_owned()),
            ("log.format", "json".to_owned()),
            ("log.level", "debug".to_owned()),
        ] {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        self.world.start_command(World::bare_command(&arguments))
    }

    pub async fn key(&self, more: &[&str]) -> Output {
        let url = self.world.okta_server.url();
        let arguments = [&["key"], more].concat();
        let arguments: Vec<String> = arguments
            .into_iter()
            .map(|one| if one == "URL" { url.clone() } else { one.to_owned() })
            .collect();
        self.run(&arguments).await
    }

    /// The arguments without an administrator.
    pub fn by_hand(&self, more: &[&str]) -> Vec<String> {
        let mut arguments = self.arguments(more);
        let at = arguments.iter().position(|argument| argument == "--admin-token-file").unwrap();
        arguments.drain(at..at + 2);
        arguments
    }
}
