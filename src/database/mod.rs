//! # Purpose
//! PostgreSQL: connections to the database that a fleet of daemons shares, and the format of what is in it.
//!
//! # Invariants kept here
//! - Nothing waits without end: not for a place in the pool, not for a server, not for a statement.
//! - A connection on which something was given up, or that has failed, is closed and never used again.
//!
//! # Not here
//! What is written there: `access::journal`. What is done while it is away: whoever asked.

mod connect;
mod error;
mod format;
mod password;
mod tls;
mod url;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Object, Pool, PoolError, TimeoutType};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock;
use crate::secrets::MountedFile;
use crate::telemetry::chain;
use connect::Connector;
use error::Silence;

pub use error::{DatabaseError, Place, Source};
pub use url::{DatabaseUrl, Host, UrlError, is_postgres};

/// What is enough for one daemon: its loops, its listing, and somebody who looks.
const CONNECTIONS: usize = 6;
/// Between looks at the password's file while no connection is wanted.
const LOOK: Duration = Duration::from_secs(5);
/// For one of them to be free.
const FREE: Duration = Duration::from_secs(3);

/// How a database is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// Where it is.
    pub url: DatabaseUrl,
    /// The password; followed when its file is replaced. None where the server knows the user otherwise.
    pub password_file: Option<MountedFile>,
    /// PEM certificates to trust beside the system's and Mozilla's; followed when the file is replaced.
    pub ca_bundle: Option<MountedFile>,
    /// For one server to take a connection, from the first packet to the last of its settings.
    pub connect_timeout: Duration,
}

/// A database, by a small pool of connections. Clones share it.
#[derive(Clone)]
pub struct Database {
    pool: Pool<Connector>,
    url: DatabaseUrl,
    place: Place,
}

impl Database {
    /// Reads the password and the authorities. Nothing is connected yet.
    pub fn new(settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        let place = Place::new(&settings.url);
        let connector = Connector::new(settings, place.clone())?;
        let pool = Pool::builder(connector).max_size(CONNECTIONS).wait_timeout(Some(FREE));
        let pool = pool.runtime(Runtime::Tokio1).build();
        let pool =
            pool.map_err(|error| DatabaseError::Away { place: place.clone(), source: error.into() })?;
        Ok(Self { pool, url: settings.url.clone(), place })
    }

    /// One that nobody else uses until it is dropped. Whatever has to end in time goes through [`Database::run`].
    pub async fn connection(&self) -> Result<Connection, DatabaseError> {
        match self.pool.get().await {
            Ok(object) => Ok(Connection(object)),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Timeout(TimeoutType::Wait)) => {
                Err(DatabaseError::silent(&self.place, Silence::Busy(CONNECTIONS)))
            }
            Err(
                error @ (PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle)
                | PoolError::Closed
                | PoolError::NoRuntimeSpecified
                | PoolError::PostCreateHook(_)),
            ) => Err(DatabaseError::Away { place: self.place.clone(), source: error.to_string().into() }),
        }
    }

    /// Does `work` on a connection, all of it within `limit`. When it takes longer, or the database went away meanwhile,
    /// the connection is closed: what was not committed is undone, and whether a commit under way took effect is not
    /// known.
    ///
    /// The closure is written `async |client: &mut Client| { … }`; `?` sorts a `tokio_postgres::Error`.
    pub async fn run<T>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let done = clock::timeout(limit, async {
            let mut held = Held(Some(self.connection().await?));
            let Some(connection) = &mut held.0 else { return Err(self.silent(limit)) };
            let done = Box::pin(work(connection)).await;
            if !done.as_ref().is_err_and(DatabaseError::is_away) {
                // Back into the pool.
                drop(held.0.take());
            }
            done
        });
        done.await.unwrap_or_else(|| Err(self.silent(limit))).map_err(|error| error.at(&self.place))
    }

    /// Tries each new password until `stop` while connections with the former are there: a wrong one is told when it is
    /// mounted, and not when the last connection is gone.
    pub async fn follow_password(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(clock::sleep(LOOK)).await.is_some() {
            if !self.pool.manager().has_a_new_password() {
                continue;
            }
            debug!("{} is asked whether it takes the new password", self.place);
            let opened = stop.run_until_cancelled(Box::pin(self.pool.manager().open())).await;
            if let Some(Err(error)) = opened {
                // Whoever wants a connection tells of a database that is away.
                debug!(error = %chain(&error), "no password was taken: {}", chain(&error));
            }
        }
    }

    fn silent(&self, limit: Duration) -> DatabaseError {
        DatabaseError::silent(&self.place, Silence::Answer(limit))
    }

    /// The same error, sorted and with this database's name in it.
    pub fn explain(&self, error: tokio_postgres::Error) -> DatabaseError {
        DatabaseError::from(error).at(&self.place)
    }

    /// Whether what is written there crosses a network for everybody to read (`sslmode=disable`).
    pub fn is_plain(&self) -> bool {
        self.url.is_plain()
    }

    /// Which it is, for messages: the database's name and its servers.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Closes the connections that nobody uses. Who asks for one afterwards gets a new one.
    pub fn close_idle(&self) {
        self.pool.retain(|_, _| false);
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A connection, ours alone; it goes back into the pool when it is dropped. It is used as the `tokio_postgres::Client`
/// that it holds.
pub struct Connection(Object<Connector>);

impl Connection {
    /// Closes it, whatever is under way on it.
    pub fn discard(self) {
        drop(Object::take(self.0));
    }
}

/// What is left in it was given up, by its limit or by whoever waited.
struct Held(Option<Connection>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.discard();
        }
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0.client
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.0.client
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;

    /// What a seam of ours needs: work that borrows, in a future that moves between threads.
    fn insert<'a>(database: &'a Database, name: &'a str) -> BoxFuture<'a, Result<u64, DatabaseError>> {
        Box::pin(async move {
            database
                .run(Duration::from_secs(1), async |client: &mut Client| {
                    let transaction = client.transaction().await?;
                    let count = transaction.execute("INSERT INTO names VALUES ($1)", &[&name]).await?;
                    transaction.commit().await?;
                    Ok(count)
                })
                .await
        })
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_away_and_named() {
        let settings = DatabaseSettings {
            url: DatabaseUrl::parse("postgres://u@%2Fnowhere/grants").unwrap(),
            password_file: None,
            ca_bundle: None,
            connect_timeout: Duration::from_secs(1),
        };
        let database = Database::new(&settings).unwrap();
        let error = insert(&database, "x").await.unwrap_err();
        let message = chain(&error).to_string();
        assert!(error.is_away() && message.contains("grants at /nowhere/.s.PGSQL.5432"), "{message}");
        let migrating: BoxFuture<'_, _> = Box::pin(database.migrate());
        assert!(migrating.await.unwrap_err().is_away());
    }
}
