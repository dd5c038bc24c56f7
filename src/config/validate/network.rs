//! # Purpose
//! Rules of `[http]`, of the client certificate, and of the environment's proxy.
//!
//! # Invariants kept here
//! - Pure. No proxy's password gets into a message.
//!
//! # Not here
//! What the variables mean: `http::proxy`.

use std::collections::BTreeMap;

use super::Reader;
use crate::config::Problem;
use crate::config::settings::Http;
use crate::http::proxy::Proxies;
use crate::http::transport::{ClientCertificate, HttpsSettings};
use crate::http::url::Base;

const CERTIFICATE: &str = "apono.client_certificate_file";
const KEY: &str = "apono.client_key_file";
const CREDENTIALS: &str = "http.proxy_credentials_file";

impl Reader<'_> {
    pub(super) fn http(&mut self, apono: Option<&Base>, environment: &BTreeMap<String, String>) -> Http {
        let proxies = self.proxies(environment);
        let proxy_credentials = self.file(CREDENTIALS);
        if proxy_credentials.is_some() && proxies.shown().is_none() {
            self.warnings.push(format!("{CREDENTIALS} is set and HTTPS_PROXY is not; no proxy is used"));
        }
        if proxy_credentials.is_none() && proxies.have_password() {
            self.warnings.push(format!(
                "HTTPS_PROXY puts the proxy's password into the process environment; write user:password to a file and name it in {CREDENTIALS}"
            ));
        }
        let connection = HttpsSettings {
            connect_timeout: self.duration("http.connect_timeout"),
            ca_bundle: self.file("http.ca_bundle_file"),
            proxies,
            proxy_credentials,
            client_certificate: self.client_certificate(apono),
        };
        Http { connection, request_timeout: self.duration("http.request_timeout") }
    }

    fn proxies(&mut self, environment: &BTreeMap<String, String>) -> Proxies {
        match Proxies::from_environment(environment) {
            Ok((proxies, meaningless)) => {
                for entry in meaningless {
                    self.warnings.push(format!(
                        "NO_PROXY: {entry:?} is neither a name, an address, nor a network, and is passed over"
                    ));
                }
                proxies
            }
            Err(error) => {
                let place = format!("environment {}", error.variable);
                self.problems.push(Problem { key: String::new(), place, message: error.to_string() });
                Proxies::default()
            }
        }
    }

    fn client_certificate(&mut self, apono: Option<&Base>) -> Option<ClientCertificate> {
        match (self.file(CERTIFICATE), self.file(KEY)) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                Some(ClientCertificate { origin: apono?.origin(), certificate, key })
            }
            (Some(_), None) => {
                self.problem(KEY, format!("{CERTIFICATE} needs {KEY} beside it"));
                None
            }
            (None, Some(_)) => {
                self.problem(CERTIFICATE, format!("{KEY} needs {CERTIFICATE} beside it"));
                None
            }
        }
    }
}
