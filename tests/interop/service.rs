//! A SCIM server of somebody else's on a port of its own, and a door in front of it that counts.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apono_connector::http::transport::{HttpsSettings, HttpsTransport, Request, Response, Transport};
use axum::Router;
use axum::body::{Body, to_bytes};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use simulator::net::{Server, serve};
use tempfile::TempDir;
use tokio::process::{Child, Command};

pub const TOKEN: &str = "placeholder-scim-token";
/// Nothing here may take longer; generous, because this is not a measurement.
const LIMIT: Duration = Duration::from_mins(2);

/// Which server.
#[derive(Clone, Copy, Debug)]
pub enum Make {
    /// scim2-server: strict, with everything that the RFC has.
    Scim2Server,
    /// The same, which says that it has no PATCH, and answers one so.
    Scim2ServerWithoutPatch,
    /// django-scim2 as it comes: four attributes of a user, half of PATCH, a PUT that does not set members.
    DjangoScim2,
}

/// A running server.
pub struct Service {
    /// The door: what the connector is told.
    pub door: String,
    /// The server itself.
    own: String,
    writes: Arc<AtomicU64>,
    transport: HttpsTransport,
    log: PathBuf,
    _door: Server,
    process: Child,
    _folder: TempDir,
}

impl Make {
    fn command(self, port: u16, folder: &Path) -> (Command, &'static str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let installed = |name: &str, program: &str| {
            let path = root.join("target/interop").join(name).join("bin").join(program);
            assert!(path.exists(), "{} is missing: run tests/interop/setup.sh first", path.display());
            path
        };
        match self {
            Self::Scim2Server | Self::Scim2ServerWithoutPatch => {
                let mut command = Command::new(installed("scim2-server", "scim2-server"));
                command.args(["--port", &port.to_string(), "--bearer-token", TOKEN]);
                if matches!(self, Self::Scim2ServerWithoutPatch) {
                    let path = folder.join("config.json");
                    fs::write(&path, without_patch().to_string()).unwrap();
                    command.arg("--service-provider-config").arg(path);
                }
                (command, "v2")
            }
            Self::DjangoScim2 => {
                let mut command = Command::new(installed("django-scim2", "python"));
                command.current_dir(root.join("tests/interop/django")).env("PYTHONDONTWRITEBYTECODE", "1");
                command.args(["serve.py", &port.to_string(), TOKEN]).arg(folder.join("people.db"));
                (command, "scim/v2")
            }
        }
    }
}

fn without_patch() -> Value {
    let no = json!({ "supported": false });
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": no, "changePassword": no, "sort": no, "etag": no,
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": 10 },
    })
}

impl Service {
    /// Starts a server with nobody in it, and waits until it answers.
    pub async fn start(make: Make) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let (mut command, path) = make.command(free, folder.path());
        let log = folder.path().join("server.log");
        let output = fs::File::create(&log).unwrap();
        let process = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let own = format!("http://127.0.0.1:{free}/{path}");
        let writes = Arc::new(AtomicU64::new(0));
        let door = door(format!("http://127.0.0.1:{free}"), Arc::clone(&writes));
        let transport = transport();
        let mut service = Self {
            door: format!("{}/{path}", door.url()),
            own,
            writes,
            transport,
            log,
            _door: door,
            process,
            _folder: folder,
        };
        let ready = async {
            while service.send(Method::GET, "ServiceProviderConfig", None).await.is_none() {
                if let Some(status) = service.process.try_wait().unwrap() {
                    panic!("{make:?} ended with {status}:\n{}", service.output());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let reached = tokio::time::timeout(LIMIT, ready).await;
        assert!(reached.is_ok(), "{make:?} does not answer:\n{}", service.output());
        service
    }

    /// How many POST, PUT, PATCH and DELETE the connector has sent.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// Everything of a kind, as the server itself shows it.
    pub async fn all(&self, kind: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let page = self.json(Method::GET, &format!("{kind}?startIndex={}", all.len() + 1), None).await;
            let found = page["Resources"].as_array().cloned().unwrap_or_default();
            let total = page["totalResults"].as_u64().unwrap();
            all.extend(found);
            if all.len() as u64 >= total {
                return all;
            }
        }
    }

    /// Puts something there, not through the connector.
    pub async fn create(&self, kind: &str, body: &Value) -> Value {
        self.json(Method::POST, kind, Some(body)).await
    }

    /// What the server has printed.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let response = self.send(method, path, body).await.expect("the server answers");
        assert!(response.status.is_success(), "{path}: {} {}", response.status, response.excerpt());
        serde_json::from_slice(&response.body).unwrap()
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Option<Response> {
        let mut request = Request::new(method, format!("{}/{path}", self.own).parse().unwrap());
        let token = HeaderValue::from_str(&format!("Bearer {TOKEN}")).unwrap();
        request.headers.insert(AUTHORIZATION, token);
        if let Some(body) = body {
            request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/scim+json"));
            request.body = body.to_string().into();
        }
        self.transport.send(request, LIMIT).await.ok()
    }
}

/// Passes everything on, and counts what writes.
fn door(to: String, writes: Arc<AtomicU64>) -> Server {
    let transport = Arc::new(transport());
    let pass = move |request: axum::extract::Request| {
        let (transport, writes, to) = (Arc::clone(&transport), Arc::clone(&writes), to.clone());
        async move {
            let (parts, body) = request.into_parts();
            if parts.method != Method::GET {
                writes.fetch_add(1, Ordering::SeqCst);
            }
            let url = format!("{to}{}", parts.uri).parse().unwrap();
            let mut onward = Request::new(parts.method, url);
            onward.headers = parts.headers;
            onward.headers.remove(HOST);
            onward.body = to_bytes(body, usize::MAX).await.unwrap();
            let answer = transport.send(onward, LIMIT).await.unwrap();
            let mut response = http::Response::new(Body::from(answer.body));
            *response.status_mut() = answer.status;
            for (name, value) in &answer.headers {
                if !["connection", "content-length", "transfer-encoding"].contains(&name.as_str()) {
                    response.headers_mut().insert(name, value.clone());
                }
            }
            response
        }
    };
    serve(Router::new().fallback(pass), SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
}

fn transport() -> HttpsTransport {
    HttpsTransport::new(&HttpsSettings::plain(LIMIT)).unwrap()
}
