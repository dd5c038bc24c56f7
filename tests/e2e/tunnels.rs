//! An HTTP proxy that takes each name to a server of a test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub struct Tunnels {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    targets: Vec<(String, SocketAddr)>,
    /// `user:password` that are let through; none: everybody.
    wanted: Mutex<Vec<String>>,
    /// The heads of all requests that came.
    heads: Mutex<Vec<String>>,
}

impl Tunnels {
    /// Any port of those names; other names are refused.
    pub async fn to(targets: &[(&str, SocketAddr)], wanted: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            targets: targets.iter().map(|(name, target)| ((*name).to_owned(), *target)).collect(),
            wanted: Mutex::new(wanted.iter().map(|&wanted| wanted.to_owned()).collect()),
            heads: Mutex::default(),
        });
        let serving_for = Arc::clone(&shared);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut tunnels = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tunnels.spawn(tunnel(client, Arc::clone(&serving_for)));
            }
        });
        Self { address, shared, _serving: serving }
    }

    /// The heads of the requests since the last call.
    pub fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.heads.lock().unwrap())
    }

    /// From now on only these are let through.
    pub fn want(&self, wanted: &[&str]) {
        *self.shared.wanted.lock().unwrap() = wanted.iter().map(|&wanted| wanted.to_owned()).collect();
    }
}

async fn tunnel(client: TcpStream, shared: Arc<Shared>) {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && client.read_line(&mut head).await.unwrap() > 0 {}
    let name = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(':').next()).unwrap_or_default();
    let target = shared.targets.iter().find(|(known, _)| known == name).map(|(_, target)| *target);
    let shown = head.lines().find_map(|line| line.strip_prefix("proxy-authorization: Basic "));
    let shown = shown.map(|shown| String::from_utf8(STANDARD.decode(shown).unwrap()).unwrap());
    let is_known = {
        let wanted = shared.wanted.lock().unwrap();
        wanted.is_empty() || shown.is_some_and(|shown| wanted.contains(&shown))
    };
    shared.heads.lock().unwrap().push(head);
    let (Some(target), true) = (target, is_known) else {
        let status = if is_known { "403 Forbidden" } else { "407 Proxy Authentication Required" };
        let refusal = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        // The client may be gone.
        let _ = client.write_all(refusal.as_bytes()).await;
        return;
    };
    let mut server = TcpStream::connect(target).await.unwrap();
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    // Either end may go away at any time.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
