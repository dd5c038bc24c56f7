//! A bug in the middle of a request: what the panic and the end of the process say, and what they must not say.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apono_connector::http::transport::{Request, Response, Transport, TransportError};
use apono_connector::runtime::Ending;
use futures_util::future::BoxFuture;
use simulator::okta::NewGroup;

use crate::world::{World, key};

/// Dies at a removal, and quotes whatever it has in its hands, as people do who look for a bug.
#[derive(Debug)]
struct Dying {
    network: Arc<dyn Transport>,
    /// The secrets that went through.
    secrets: Mutex<Vec<String>>,
}

impl Transport for Dying {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        for value in request.headers.values().filter(|value| value.is_sensitive()) {
            let word = value.to_str().unwrap().rsplit(' ').next().unwrap().to_owned();
            self.secrets.lock().unwrap().push(word);
        }
        let is_write = request.method == "PUT" && request.url.path().contains("/groups/");
        assert!(!is_write, "a bug at {request:?} with {:?}", request.headers);
        self.network.send(request, limit)
    }
}

/// In the folder of the process that dies.
const SECRETS: &str = "secrets";

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_process_and_shows_no_secret() {
    let (told, secrets) = dies().await;
    for secret in secrets {
        assert!(!told.contains(&secret), "{told}");
    }
}

/// What the hook of a panic says goes past the log, to the process's standard error.
#[test]
fn what_a_panic_says_on_standard_error_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(SECRETS), "").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "panics::the_process_that_dies", "--nocapture"])
        .env("RUST_BACKTRACE", "full")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("panicked at") && said.contains("a bug at PUT /api/v1/groups/"), "{said}");
    let secrets = fs::read_to_string(folder.path().join(SECRETS)).unwrap();
    assert!(secrets.lines().count() > 5, "tokens went through");
    for secret in secrets.lines() {
        assert!(!said.contains(secret), "{said}");
    }
}

#[tokio::test(start_paused = true)]
#[ignore = "is started by the test above, in a folder of its own"]
async fn the_process_that_dies() {
    // Whoever runs all tests that are ignored runs it without one.
    if Path::new(SECRETS).exists() {
        let (_, secrets) = dies().await;
        fs::write(SECRETS, secrets.join("\n")).unwrap();
    }
}

/// Everything that is told of the end, and the secrets that went through before.
async fn dies() -> (String, Vec<String>) {
    let mut world = World::new();
    world.okta.add_user(simulator::okta::NewUser::active("ada@example.com", "Ada", "Lovelace"));
    let group = world.okta.add_group(NewGroup::named("oncall"));
    let dying = Arc::new(Dying { network: world.network(), secrets: Mutex::default() });
    let (network, disk) = (Arc::clone(&dying) as Arc<dyn Transport>, world.disk());
    let settings = format!("{:?}", world.loaded(""));
    let connector = world.start_between(network, disk, "").await.unwrap();
    let grant = simulator::apono::Grant::new(crate::world::INTEGRATION, "ada@example.com", &[&group]);
    world.apono.grant(grant.until(world.after(Duration::from_hours(1))));
    world.until("the end", |_| connector.is_over().then_some(())).await;
    let ending = connector.stop().await;
    let Ending::Died { reason, .. } = &ending else { panic!("{ending:?}") };
    assert!(reason.contains("a bug at PUT /api/v1/groups/"), "{reason}");
    let told = [world.take_errors().join("\n"), world.warnings().join("\n"), format!("{ending:?}"), settings]
        .join("\n");
    let mut secrets = dying.secrets.lock().unwrap().clone();
    secrets.push(fs::read_to_string(world.token()).unwrap());
    let private: serde_json::Value = serde_json::from_str(key().0).unwrap();
    secrets.push(private["d"].as_str().unwrap().to_owned());
    assert!(secrets.len() > 5, "tokens went through");
    (told, secrets)
}
