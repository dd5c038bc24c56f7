//! # Purpose
//! Which connections go through the customer's proxy: `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
//!
//! # Invariants kept here
//! - Pure: the environment comes in as a value.
//! - Loopback addresses and `localhost` are reached directly, whatever the variables say.
//! - A password in a proxy's address is never shown.
//!
//! # Not here
//! Speaking to the proxy: `transport`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

use crate::catalogue::ErrorCode;

/// The proxy of this host, and who is reached without it.
#[derive(Clone, Default)]
pub struct Proxies {
    proxy: Option<Url>,
    direct: Vec<Exception>,
}

/// One entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq)]
struct Exception {
    hosts: Hosts,
    /// Any, where none is named.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq)]
enum Hosts {
    All,
    /// `example.com`: itself and all below it.
    Domain(String),
    /// `*.example.com`: all below it.
    Below(String),
    /// `10.0.0.0/8`, `2001:db8::/32`, or one address.
    Network(IpNet),
}

/// The proxy's address is not usable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{variable} is not the address of an HTTP proxy; write http://host:port [{}]",
    ErrorCode::ProxyAddress
)]
pub struct ProxyError {
    /// Which variable of the environment; its value may hold a password.
    pub variable: &'static str,
}

impl Proxies {
    /// Reads the variables, in either case; the second value is what in `NO_PROXY` means nothing.
    pub fn from_environment(
        environment: &BTreeMap<String, String>,
    ) -> Result<(Self, Vec<String>), ProxyError> {
        let set = |names: &[&'static str]| {
            let values = names.iter().filter_map(|name| Some((*name, environment.get(*name)?.trim())));
            values.into_iter().find(|(_, value)| !value.is_empty())
        };
        let proxy = match set(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]) {
            Some((variable, value)) => Some(address(value).ok_or(ProxyError { variable })?),
            None => None,
        };
        let mut proxies = Self { proxy, direct: Vec::new() };
        let mut meaningless = Vec::new();
        let (_, entries) = set(&["NO_PROXY", "no_proxy"]).unwrap_or_default();
        let separators = |c: char| c == ',' || c.is_ascii_whitespace();
        for entry in entries.split(separators).filter(|entry| !entry.is_empty()) {
            match exception(entry) {
                Some(exception) => proxies.direct.push(exception),
                None => meaningless.push(entry.to_owned()),
            }
        }
        Ok((proxies, meaningless))
    }

    /// The proxy that `url` is asked through, with what its address says about user and password.
    pub fn of(&self, url: &Url) -> Option<&Url> {
        let port = url.port_or_known_default();
        let is_direct = match url.host()? {
            Host::Domain(name) => {
                let name = name.trim_end_matches('.');
                is_at_or_below(name, "localhost") || self.excepts(port, |hosts| hosts.have_name(name))
            }
            Host::Ipv4(address) => self.reaches(IpAddr::V4(address), port),
            Host::Ipv6(address) => self.reaches(IpAddr::V6(address), port),
        };
        if is_direct { None } else { self.proxy.as_ref() }
    }

    /// The proxy's origin, to be shown.
    pub fn shown(&self) -> Option<String> {
        self.proxy.as_ref().map(|proxy| proxy.origin().ascii_serialization())
    }

    /// Whether a password stands in the environment.
    pub fn have_password(&self) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.password().is_some())
    }

    fn reaches(&self, address: IpAddr, port: Option<u16>) -> bool {
        address.is_loopback() || self.excepts(port, |hosts| hosts.have_address(address))
    }

    fn excepts(&self, port: Option<u16>, matches: impl Fn(&Hosts) -> bool) -> bool {
        self.direct.iter().any(|entry| (entry.port.is_none() || entry.port == port) && matches(&entry.hosts))
    }
}

impl Hosts {
    fn have_name(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Domain(domain) => is_at_or_below(name, domain),
            Self::Below(domain) => name != domain && is_at_or_below(name, domain),
            Self::Network(_) => false,
        }
    }

    fn have_address(&self, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Domain(_) | Self::Below(_) => false,
            Self::Network(network) => network.contains(&address),
        }
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").field("proxy", &self.shown()).field("direct", &self.direct).finish()
    }
}

fn is_at_or_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn address(text: &str) -> Option<Url> {
    let absolute = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&absolute).ok()?;
    let is_http = url.scheme() == "http" || url.scheme() == "https";
    (is_http && url.has_host()).then_some(url)
}

fn exception(entry: &str) -> Option<Exception> {
    if entry == "*" {
        return Some(Exception { hosts: Hosts::All, port: None });
    }
    if let Some(network) = network(entry) {
        return Some(Exception { hosts: Hosts::Network(network), port: None });
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (entry, None),
    };
    let hosts = match network(host) {
        Some(network) => Hosts::Network(network),
        None => named(&host.to_ascii_lowercase())?,
    };
    Some(Exception { hosts, port })
}

/// An address, in brackets or not, or a network.
fn network(text: &str) -> Option<IpNet> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| bare.parse::<IpAddr>().ok().map(IpNet::from))
}

fn named(text: &str) -> Option<Hosts> {
    let (below, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text.strip_prefix('.').unwrap_or(text)),
    };
    let name = name.trim_end_matches('.');
    // `10.0.0.0/33`, `192.168.*`: whoever wrote them meant addresses.
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    let is_number =
        name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_name || is_number {
        return None;
    }
    Some(if below { Hosts::Below(name.to_owned()) } else { Hosts::Domain(name.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<(Proxies, Vec<String>), ProxyError> {
        let pairs = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Proxies::from_environment(&pairs.collect())
    }

    fn goes_through(no_proxy: &str, url: &str) -> bool {
        let (proxies, meaningless) =
            read(&[("HTTPS_PROXY", "http://proxy.example.com:3128"), ("NO_PROXY", no_proxy)]).unwrap();
        assert_eq!(meaningless, Vec::<String>::new());
        proxies.of(&Url::parse(url).unwrap()).is_some()
    }

    #[test]
    fn no_proxy_knows_names_ports_networks_and_ipv6() {
        let direct = [
            ("*", "https://example.okta.com"),
            ("okta.com", "https://example.okta.com"),
            ("OKTA.com", "https://EXAMPLE.okta.COM"),
            (".okta.com", "https://example.okta.com"),
            (".okta.com", "https://okta.com"),
            ("*.okta.com", "https://example.okta.com"),
            ("example.okta.com.", "https://example.okta.com"),
            ("a.com, example.okta.com", "https://example.okta.com"),
            ("a.com example.okta.com", "https://example.okta.com"),
            ("okta.com:8443", "https://example.okta.com:8443"),
            ("okta.com:443", "https://example.okta.com"),
            ("10.0.0.0/8", "https://10.1.2.3"),
            ("10.1.2.3", "https://10.1.2.3:8443"),
            ("10.1.2.3:8443", "https://10.1.2.3:8443"),
            ("10.0.0.0/8:8443", "https://10.1.2.3:8443"),
            ("2001:db8::/32", "https://[2001:db8::7]"),
            ("2001:db8::7", "https://[2001:db8::7]"),
            ("[2001:db8::7]", "https://[2001:db8::7]:8443"),
            ("[2001:db8::7]:8443", "https://[2001:db8::7]:8443"),
            ("", "https://localhost:8443"),
            ("", "https://okta.localhost"),
            ("", "https://127.0.0.2"),
            ("", "https://[::1]:8443"),
        ];
        for (no_proxy, url) in direct {
            assert!(!goes_through(no_proxy, url), "{url} with {no_proxy:?}");
        }
        let through = [
            ("", "https://example.okta.com"),
            ("ta.com", "https://example.okta.com"),
            ("*.okta.com", "https://okta.com"),
            ("example.okta.com", "https://okta.com"),
            ("okta.com:8443", "https://example.okta.com"),
            ("10.0.0.0/8", "https://11.1.2.3"),
            ("10.1.2.3:8443", "https://10.1.2.3"),
            ("10.0.0.0/8", "https://ten.example.com"),
            ("2001:db8::/32", "https://[2001:db9::7]"),
            ("[2001:db8::7]:8443", "https://[2001:db8::7]"),
        ];
        for (no_proxy, url) in through {
            assert!(goes_through(no_proxy, url), "{url} with {no_proxy:?}");
        }
    }

    #[test]
    fn what_means_nothing_is_told_and_the_rest_counts() {
        let (proxies, meaningless) = read(&[
            ("https_proxy", "proxy.example.com:3128"),
            ("no_proxy", "10.0.0.0/33,192.168.*,okta.com,a:b:c,host:port"),
        ])
        .unwrap();
        assert_eq!(meaningless, ["10.0.0.0/33", "192.168.*", "a:b:c", "host:port"]);
        assert_eq!(proxies.of(&Url::parse("https://x.okta.com").unwrap()), None);
        assert_eq!(proxies.shown().unwrap(), "http://proxy.example.com:3128");
    }

    #[test]
    fn the_first_variable_that_is_set_counts_and_a_wrong_one_is_named_without_its_value() {
        let (proxies, _) = read(&[("HTTPS_PROXY", " "), ("ALL_PROXY", "http://all.example.com:1")]).unwrap();
        assert_eq!(proxies.shown().unwrap(), "http://all.example.com:1");
        assert!(read(&[]).unwrap().0.shown().is_none());
        for wrong in ["socks5://proxy.example.com", "http://", "http://user:placeholder@:80"] {
            let error = read(&[("HTTPS_PROXY", wrong)]).unwrap_err().to_string();
            assert!(error.starts_with("HTTPS_PROXY is not"), "{error}");
            assert!(!error.contains("placeholder"), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let (proxies, _) = read(&[("HTTPS_PROXY", "http://user:placeholder@proxy.example.com")]).unwrap();
        assert!(proxies.have_password());
        assert!(!format!("{proxies:?}").contains("placeholder"), "{proxies:?}");
        let through = proxies.of(&Url::parse("https://example.okta.com").unwrap()).unwrap();
        assert_eq!(through.password(), Some("placeholder"), "the proxy is to be shown it");
    }
}
