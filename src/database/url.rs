//! # Purpose
//! Where a database is, from its URL: `postgres://user@host[:port][,host…]/database[?sslmode=…]`.
//!
//! # Invariants kept here
//! - Pure. No text that might hold a password gets into a message or into `Debug`.
//! - A connection over a network is verified TLS, unless the URL says `sslmode=disable`.
//!
//! # Not here
//! Connecting: `connect`. The password: a mounted file, never the URL.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

/// PostgreSQL's own.
const PORT: u16 = 5432;
/// A URL of more is a mistake; each is tried for seconds.
const MOST_HOSTS: usize = 8;

/// Where a database is and as whom it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseUrl {
    hosts: Vec<Host>,
    user: String,
    database: String,
    tls: Tls,
    binding: Binding,
}

/// One server of several that take each other's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name or an address.
    Network {
        /// Without brackets.
        name: String,
        /// Its port.
        port: u16,
    },
    /// The folder with a Unix socket.
    Socket {
        /// Absolute.
        folder: PathBuf,
        /// The number in the socket's name.
        port: u16,
    },
}

/// `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    /// Over a network.
    Unsaid,
    Verified,
    Off,
}

/// `channel_binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    Prefer,
    Require,
    Disable,
}

/// This is no URL of a database, with what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("this is not postgres://user@host/database")]
    Scheme,
    /// A password.
    #[error(
        "there is a password in it, which everybody sees who sees the configuration; put it into a file and name that in state.password_file"
    )]
    Password,
    /// No user.
    #[error("it names no user; write postgres://user@host/database")]
    NoUser,
    /// No host.
    #[error(
        "it names no host; write postgres://user@host/database, or postgres://user@%2Frun%2Fpostgresql/database for a Unix socket"
    )]
    NoHost,
    /// No database.
    #[error("it names no database; write postgres://user@host/database")]
    NoDatabase,
    /// Too many hosts.
    #[error("it names {0} hosts; {MOST_HOSTS} are the most")]
    Hosts(usize),
    /// A port that is none.
    #[error("the port of host number {0} is no number from 1 to 65535")]
    Port(usize),
    /// A host that is none.
    #[error(
        "host number {0} is none: write a name, an address ([::1] for IPv6), or the folder of a Unix socket with %2F for each slash"
    )]
    Host(usize),
    /// Percent signs, or bytes that are no text.
    #[error("what is percent-encoded in it is no UTF-8 text")]
    Encoding,
    /// Weak TLS.
    #[error(
        "sslmode={0} does not make sure who answers; write sslmode=verify-full (or leave it out), and name the authority's certificate in http.ca_bundle_file if it is a private one; on a network that nobody else is on, sslmode=disable"
    )]
    WeakTls(String),
    /// A mode that is none.
    #[error("sslmode is none of verify-full, require and disable")]
    TlsMode,
    /// Roots of its own.
    #[error("sslrootcert is not read; name the file in http.ca_bundle_file")]
    Roots,
    /// A channel binding that is none.
    #[error("channel_binding is none of prefer, require and disable")]
    Binding,
    /// A server that cannot be written to.
    #[error(
        "target_session_attrs can be read-write only, which it is without being said: grants are written there"
    )]
    ReadOnly,
    /// What has a place of its own.
    #[error("{0} is not taken from the URL; leave it out ({1})")]
    Elsewhere(&'static str, &'static str),
    /// A parameter that is not known.
    #[error("it has a parameter that is not known; sslmode, channel_binding and host are")]
    Parameter,
}

/// Whether this is meant as the URL of a PostgreSQL database.
pub fn is_postgres(url: &str) -> bool {
    after_scheme(url).is_some()
}

fn after_scheme(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once(':')?;
    let is_known = scheme.eq_ignore_ascii_case("postgres") || scheme.eq_ignore_ascii_case("postgresql");
    is_known.then_some(rest)
}

impl DatabaseUrl {
    /// Reads it.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let rest = after_scheme(url).and_then(|rest| rest.strip_prefix("//")).ok_or(UrlError::Scheme)?;
        // Before anything is cut at a slash or a question mark, which a password may have in it.
        if rest.rsplit_once('@').is_some_and(|(before, _)| before.contains(':')) {
            return Err(UrlError::Password);
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let query = Query::parse(query)?;
        let user = decoded(user)?;
        if user.is_empty() {
            return Err(UrlError::NoUser);
        }
        let database = decoded(database)?;
        if database.is_empty() || database.contains('/') {
            return Err(UrlError::NoDatabase);
        }
        let hosts = match (hosts.is_empty(), &query.host) {
            (false, None) => read_hosts(hosts)?,
            (true, Some(host)) => read_hosts(host)?,
            (true, None) => return Err(UrlError::NoHost),
            (false, Some(_)) => return Err(UrlError::Elsewhere("host", "the URL names one already")),
        };
        Ok(Self { hosts, user, database, tls: query.tls, binding: query.binding })
    }

    /// The servers, in the order in which they are tried; at least one.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// As whom.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Its name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Whether what is written there crosses a network for everybody to read.
    pub fn is_plain(&self) -> bool {
        self.hosts.iter().any(|host| !host.is_local() && !self.is_encrypted(host))
    }

    /// Whether any connection is over TLS.
    pub fn uses_tls(&self) -> bool {
        self.hosts.iter().any(|host| self.is_encrypted(host))
    }

    pub(super) fn is_encrypted(&self, host: &Host) -> bool {
        match (host, self.tls) {
            (Host::Socket { .. }, _) | (_, Tls::Off) => false,
            (Host::Network { .. }, Tls::Verified) => true,
            (Host::Network { .. }, Tls::Unsaid) => !host.is_local(),
        }
    }

    pub(super) fn binding(&self) -> Binding {
        self.binding
    }
}

/// For messages: `grants at db1.example.com:5432, db2.example.com:5432`.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at ", self.database)?;
        for (n, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Host {
    /// Whether it is this very host.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Socket { .. } => true,
            Self::Network { name, .. } => match name.parse::<IpAddr>() {
                Ok(address) => address.is_loopback(),
                Err(_) => name.eq_ignore_ascii_case("localhost"),
            },
        }
    }

    fn parse(text: &str, number: usize) -> Result<Self, UrlError> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']').ok_or(UrlError::Host(number))?;
                (name, if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or("")) })
            }
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        let port = match port {
            None => PORT,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port(number))?,
        };
        let name = decoded(name)?;
        if name.starts_with('/') {
            return Ok(Self::Socket { folder: PathBuf::from(name), port });
        }
        let is_address = name.parse::<IpAddr>().is_ok();
        let is_name = name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
        if name.is_empty() || !(is_address || is_name) {
            return Err(UrlError::Host(number));
        }
        Ok(Self::Network { name, port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { name, port } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Network { name, port } => write!(f, "{name}:{port}"),
            Self::Socket { folder, port } => write!(f, "{}/.s.PGSQL.{port}", folder.display()),
        }
    }
}

fn read_hosts(text: &str) -> Result<Vec<Host>, UrlError> {
    let texts: Vec<_> = text.split(',').collect();
    if texts.len() > MOST_HOSTS {
        return Err(UrlError::Hosts(texts.len()));
    }
    texts.into_iter().enumerate().map(|(n, text)| Host::parse(text, n + 1)).collect()
}

struct Query {
    tls: Tls,
    binding: Binding,
    host: Option<String>,
}

impl Query {
    fn parse(text: &str) -> Result<Self, UrlError> {
        let mut query = Self { tls: Tls::Unsaid, binding: Binding::Prefer, host: None };
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value)?;
            match name {
                "sslmode" => query.tls = tls_mode(&value)?,
                "sslrootcert" => return Err(UrlError::Roots),
                "channel_binding" => {
                    query.binding = match value.as_str() {
                        "prefer" => Binding::Prefer,
                        "require" => Binding::Require,
                        "disable" => Binding::Disable,
                        _ => return Err(UrlError::Binding),
                    }
                }
                "target_session_attrs" if matches!(value.as_str(), "read-write" | "primary") => {}
                "target_session_attrs" => return Err(UrlError::ReadOnly),
                "host" if query.host.is_none() => query.host = Some(value),
                "password" => return Err(UrlError::Password),
                "connect_timeout" => {
                    return Err(UrlError::Elsewhere("connect_timeout", "http.connect_timeout is the limit"));
                }
                "application_name" => {
                    return Err(UrlError::Elsewhere("application_name", "it is apono-connector"));
                }
                "options" => return Err(UrlError::Elsewhere("options", "set them for the role: ALTER ROLE")),
                _ => return Err(UrlError::Parameter),
            }
        }
        Ok(query)
    }
}

fn tls_mode(value: &str) -> Result<Tls, UrlError> {
    match value {
        "verify-full" | "require" => Ok(Tls::Verified),
        "disable" => Ok(Tls::Off),
        "prefer" | "allow" | "verify-ca" => Err(UrlError::WeakTls(value.to_owned())),
        _ => Err(UrlError::TlsMode),
    }
}

fn decoded(text: &str) -> Result<String, UrlError> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| UrlError::Encoding)?;
    if decoded.contains(char::is_control) {
        return Err(UrlError::Encoding);
    }
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        DatabaseUrl::parse(url).unwrap_err().to_string()
    }

    #[test]
    fn servers_users_and_names_are_read() {
        let shown = |url: &str| DatabaseUrl::parse(url).unwrap().to_string();
        assert_eq!(shown("postgres://u@db.example.com/grants"), "grants at db.example.com:5432");
        assert_eq!(shown("PostgreSQL://u@a,b:6432/g"), "g at a:5432, b:6432");
        assert_eq!(shown("postgres://u@[2001:db8::1]:99,[::1]/g"), "g at [2001:db8::1]:99, [::1]:5432");
        assert_eq!(shown("postgres://u@%2Frun%2Fpg/g"), "g at /run/pg/.s.PGSQL.5432");
        assert_eq!(shown("postgres://u@/g?host=/run/pg"), "g at /run/pg/.s.PGSQL.5432");
        let url = DatabaseUrl::parse("postgres://j%40corp@h/a%20b?channel_binding=require").unwrap();
        assert_eq!((url.user(), url.database(), url.binding()), ("j@corp", "a b", Binding::Require));
    }

    #[test]
    fn what_crosses_a_network_is_encrypted_unless_it_is_said_otherwise() {
        for (url, uses_tls, is_plain) in [
            ("postgres://u@db.example.com/g", true, false),
            ("postgres://u@db.example.com/g?sslmode=require", true, false),
            ("postgres://u@db.example.com/g?sslmode=verify-full", true, false),
            ("postgres://u@db.example.com/g?sslmode=disable", false, true),
            ("postgres://u@localhost,127.0.0.1,[::1]/g", false, false),
            ("postgres://u@localhost/g?sslmode=require", true, false),
            ("postgres://u@localhost,db.example.com/g", true, false),
            ("postgres://u@%2Frun%2Fpg/g?sslmode=verify-full", false, false),
            ("postgres://u@localhost.example.com/g", true, false),
        ] {
            let parsed = DatabaseUrl::parse(url).unwrap();
            assert_eq!((parsed.uses_tls(), parsed.is_plain()), (uses_tls, is_plain), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_cure_and_without_a_password() {
        for (url, expected) in [
            ("mysql://u@h/g", "this is not postgres://"),
            ("postgres:u@h/g", "this is not postgres://"),
            ("postgres://h/g", "names no user"),
            ("postgres://u@/g", "names no host"),
            ("postgres://u@h", "names no database"),
            ("postgres://u@h/", "names no database"),
            ("postgres://u@h/a/b", "names no database"),
            ("postgres://u@h:none/g", "port of host number 1"),
            ("postgres://u@h,:5432/g", "host number 2"),
            ("postgres://u@a b/g", "host number 1"),
            ("postgres://u@a,b,c,d,e,f,g,h,i/g", "9 hosts"),
            ("postgres://u@h/%ff", "no UTF-8"),
            ("postgres://u@h/g?sslmode=prefer", "sslmode=prefer does not make sure"),
            ("postgres://u@h/g?sslmode=verify-ca", "http.ca_bundle_file"),
            ("postgres://u@h/g?sslmode=maybe", "sslmode is none of"),
            ("postgres://u@h/g?sslrootcert=/ca.pem", "http.ca_bundle_file"),
            ("postgres://u@h/g?target_session_attrs=any", "read-write only"),
            ("postgres://u@h/g?connect_timeout=3", "http.connect_timeout"),
            ("postgres://u@h/g?application_name=x", "application_name is not taken"),
            ("postgres://u@h/g?channel_binding=x", "channel_binding is none of"),
            ("postgres://u@h/g?host=b", "host is not taken"),
            ("postgres://u@h/g?nonsense=1", "not known"),
        ] {
            assert!(refused(url).contains(expected), "{url}: {}", refused(url));
        }
        for url in [
            "postgres://u:hunter2@h/g",
            "postgres://u:hun/ter2@h/g",
            "postgres://u:hun?ter2@h/g",
            "postgres://u:hun@ter2@h/g",
            "postgres://u@h/g?password=hunter2",
        ] {
            let message = refused(url);
            assert!(message.contains("state.password_file") && !message.contains("ter2"), "{message}");
        }
    }
}
