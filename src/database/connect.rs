//! # Purpose
//! Makes connections: to the server that can be written to, with the password as its file has it now.
//!
//! # Invariants kept here
//! - A server that says nothing takes its own time and not that of the next one.
//! - No connection is handed out before its limits are in force: no statement and no lock is waited for without end.
//!
//! # Not here
//! How many connections there are: the pool in `database`. Which passwords are tried: `password`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinSet;
use tokio_postgres::config::{ChannelBinding, SslMode, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use super::error::{DatabaseError, Place, Silence};
use super::password::Passwords;
use super::tls::tls;
use super::url::{Binding, Host};
use super::{DatabaseSettings, DatabaseUrl};
use crate::clock;
use crate::secrets::Reloading;
use crate::telemetry::chain;

/// The limits of a session, and what its statements count on: who was waited for is seen. The server's keepalives are for a daemon whose host is gone: what it had locked is free
/// within seconds.
const SESSION: &str = "\
    SET statement_timeout = '5s'; \
    SET lock_timeout = '3s'; \
    SET idle_in_transaction_session_timeout = '5s'; \
    SET synchronous_commit = 'on'; \
    SET default_transaction_isolation = 'read committed'; \
    SET search_path = apono_connector; \
    SET tcp_keepalives_idle = 5; \
    SET tcp_keepalives_interval = 2; \
    SET tcp_keepalives_count = 3";

/// A server that has gone silent is noticed after this.
const SILENCE: Duration = Duration::from_secs(5);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(3);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVES: u32 = 2;

/// Makes connections for the pool.
pub(super) struct Connector {
    url: DatabaseUrl,
    place: Place,
    limit: Duration,
    passwords: Option<Passwords>,
    tls: Option<Reloading<MakeRustlsConnect>>,
    /// The server to begin with: the one that took us last, or the one after that which did not.
    first: AtomicUsize,
}

/// A connection. Dropping it closes it at once, whatever is under way on it.
pub(super) struct Session {
    pub(super) client: Client,
    /// Moves the bytes.
    _driver: JoinSet<()>,
}

impl Connector {
    pub(super) fn new(settings: &DatabaseSettings, place: Place) -> Result<Self, DatabaseError> {
        let passwords = settings.password_file.clone().map(|file| Passwords::new(file, place.clone()));
        let passwords = passwords.transpose()?;
        let url = settings.url.clone();
        let tls = if url.uses_tls() { Some(tls(settings.ca_bundle.as_ref())?) } else { None };
        let (limit, first) = (settings.connect_timeout, AtomicUsize::new(0));
        Ok(Self { url, place, limit, passwords, tls, first })
    }

    /// At the first server that takes us and can be written to.
    pub(super) async fn open(&self) -> Result<Session, DatabaseError> {
        let hosts = self.url.hosts();
        let first = self.first.load(Ordering::Relaxed);
        let mut told: Option<DatabaseError> = None;
        for at in (0..hosts.len()).map(|n| (first + n) % hosts.len()) {
            // Whoever asked may give up before this one has; the next attempt is not to begin with it again.
            self.first.store(at + 1, Ordering::Relaxed);
            let opened = clock::timeout(self.limit, self.open_at(&hosts[at])).await;
            match opened.unwrap_or_else(|| self.silent()) {
                Ok(session) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(session);
                }
                // What passes counts for more: the server that is away may be the one that would take us.
                Err(error) if told.as_ref().is_none_or(|told| !told.is_away()) => told = Some(error),
                Err(_) => {}
            }
        }
        told.map_or_else(|| self.silent(), Err)
    }

    fn silent<T>(&self) -> Result<T, DatabaseError> {
        Err(DatabaseError::silent(&self.place, Silence::Connecting(self.limit)))
    }

    async fn open_at(&self, host: &Host) -> Result<Session, DatabaseError> {
        let Some(passwords) = &self.passwords else { return self.open_with(host, None).await };
        let (mut tried, mut refusal) = (Vec::new(), None);
        while let Some(password) = passwords.next(&tried) {
            match self.open_with(host, Some(&password)).await {
                Err(error) if error.is_about_the_password() => {
                    refusal.get_or_insert(error);
                }
                opened => {
                    passwords.answered(&tried, refusal.as_ref(), opened.is_ok().then_some(&*password));
                    return opened;
                }
            }
            tried.push(password);
        }
        passwords.answered(&tried, refusal.as_ref(), None);
        refusal.map_or_else(|| self.silent(), Err)
    }

    /// Whether there is a password that the database has yet to be asked about.
    pub(super) fn has_a_new_password(&self) -> bool {
        self.passwords.as_ref().is_some_and(Passwords::is_due)
    }

    async fn open_with(
        &self,
        host: &Host,
        password: Option<&SecretString>,
    ) -> Result<Session, DatabaseError> {
        let mut config = self.config(host);
        if let Some(password) = password {
            config.password(password.expose_secret());
        }
        match &self.tls {
            Some(tls) if self.url.is_encrypted(host) => {
                let tls = MakeRustlsConnect::clone(&tls.current());
                self.session(config.ssl_mode(SslMode::Require), tls).await
            }
            Some(_) | None => self.session(config.ssl_mode(SslMode::Disable), NoTls).await,
        }
        .map_err(|error| DatabaseError::of_connecting(&self.place, error))
    }

    fn config(&self, host: &Host) -> Config {
        let mut config = Config::new();
        match host {
            Host::Network { name, port } => config.host(name).port(*port),
            Host::Socket { folder, port } => config.host_path(folder).port(*port),
        };
        config
            .user(self.url.user())
            .dbname(self.url.database())
            .application_name("apono-connector")
            .connect_timeout(self.limit)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVES)
            .tcp_user_timeout(SILENCE)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .channel_binding(match self.url.binding() {
                Binding::Prefer => ChannelBinding::Prefer,
                Binding::Require => ChannelBinding::Require,
                Binding::Disable => ChannelBinding::Disable,
            });
        config
    }

    async fn session<T>(&self, config: &Config, tls: T) -> Result<Session, tokio_postgres::Error>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let (client, connection) = config.connect(tls).await?;
        let mut driver = JoinSet::new();
        let place = self.place.clone();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                debug!(error = %chain(&error), "a connection to {place} has ended: {}", chain(&error));
            }
        });
        client.batch_execute(SESSION).await?;
        Ok(Session { client, _driver: driver })
    }
}

impl Manager for Connector {
    type Type = Session;
    type Error = DatabaseError;

    async fn create(&self) -> Result<Session, DatabaseError> {
        // A handshake has a large future, and most callers find a connection that is there.
        Box::pin(self.open()).await
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<DatabaseError> {
        if let Some(passwords) = &self.passwords {
            passwords.look();
        }
        if session.client.is_closed() {
            return Err(RecycleError::message("it was closed"));
        }
        Ok(())
    }
}
