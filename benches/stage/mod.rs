//! Both simulators on loopback ports, and a connector's files.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use apono_connector::secrets::generate_rsa;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use simulator::apono::{self, AponoSimulator};
use simulator::clock::SimClock;
use simulator::net::{Server, serve};
use simulator::okta::{self, OktaSimulator};
use tempfile::TempDir;

pub(crate) const INTEGRATION: &str = "069cf551-c124-43f6";
const CLIENT: &str = "0oaconnector00000001";

/// Both servers live as long as it.
pub(crate) struct Stage {
    pub(crate) okta: OktaSimulator,
    pub(crate) apono: AponoSimulator,
    pub(crate) folder: TempDir,
    pub(crate) okta_server: Server,
    apono_server: Server,
}

impl Stage {
    pub(crate) fn new(settings: okta::Settings) -> Self {
        let clock = SimClock::system();
        let okta = OktaSimulator::new(settings, clock.clone());
        let apono = AponoSimulator::new(apono::Settings::default(), clock);
        apono.set_exchange_log(0);
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let okta_server = serve(okta.router(), any_port).unwrap();
        okta.set_origin(okta_server.url());
        let apono_server = serve(apono.router(), any_port).unwrap();
        Self { okta, apono, folder: tempfile::tempdir().unwrap(), okta_server, apono_server }
    }

    /// Registers the connector and writes its files; `more` goes into the organization's table. The configuration.
    pub(crate) fn configure(&self, more: &str) -> PathBuf {
        let key = generate_rsa(2048).unwrap();
        self.okta.register_client(CLIENT, key.public_jwk, &["okta.users.read", "okta.groups.manage"]);
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let write = |name: &str, text: &str| std::fs::write(self.folder.path().join(name), text).unwrap();
        write("token", &apono::Settings::default().token);
        let private: Value = serde_json::from_str(key.private_jwk.expose_secret()).unwrap();
        write("okta.json", &json!({ "client_id": CLIENT, "private_key": private }).to_string());
        let configuration = format!(
            "[apono]\nurl = \"{}\"\nconnector_id = \"okta-connector\"\ntoken_file = \"{}\"\n\
             [[okta]]\nintegration_id = \"{INTEGRATION}\"\norganization_url = \"{}\"\ncredentials_file = \"{}\"\n{more}\
             [state]\nurl = \"sqlite:{}\"\n[audit]\nfile = \"{}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n",
            self.apono_server.url(),
            at("token"),
            self.okta_server.url(),
            at("okta.json"),
            at("state.db"),
            at("audit.jsonl"),
        );
        write("connector.toml", &configuration);
        self.folder.path().join("connector.toml")
    }
}
