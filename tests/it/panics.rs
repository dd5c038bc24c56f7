//! A bug in the middle of a request: what the panic and the end of the process say, and what they must not say.

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

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_process_and_shows_no_secret() {
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
    secrets.push(std::fs::read_to_string(world.token()).unwrap());
    let private: serde_json::Value = serde_json::from_str(key().0).unwrap();
    secrets.push(private["d"].as_str().unwrap().to_owned());
    assert!(secrets.len() > 5, "tokens went through");
    for secret in secrets {
        assert!(!told.contains(&secret), "{told}");
    }
}
