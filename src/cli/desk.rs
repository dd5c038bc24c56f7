//! # Purpose
//! Where commands learn about grants: from the daemon that runs here, else from its journal, in a file or in a database.
//!
//! # Invariants kept here
//! - While a daemon has the journal, it is asked; without one nothing is written.
//! - A command that looks at a database joins no fleet: nothing falls to it.
//!
//! # Not here
//! The daemon's end: `app::desk`. What is printed: `grants`, `explain`.

use std::cell::OnceCell;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::runtime::wait_for;
use super::{Exit, complain};
use crate::access::book::{Book, IllegalRecord};
use crate::access::journal::{Inspection, JournalError, OpenError, Salvaged, SharedLog};
use crate::access::view::{self, Filter, Listing, Story};
use crate::catalogue::ErrorCode;
use crate::config::{Sources, State, load};
use crate::database::{Database, DatabaseError, DatabaseSettings};
use crate::domain::GrantId;
use crate::http::transport::{HttpsError, HttpsTransport, Request, Response, Transport, TransportError};
use crate::http::url::{Base, BaseError};
use crate::telemetry::chain;

/// A daemon, or a journal that none has open.
pub(super) enum Desk {
    Running(Client),
    Stopped(Stopped),
}

/// The way to a daemon.
pub(super) struct Client {
    transport: HttpsTransport,
    base: Base,
    /// What the daemon has written about itself, and its socket.
    daemon: (String, PathBuf),
}

/// A journal, where there is one.
pub(super) struct Stopped {
    kept: Kept,
    book: OnceCell<Book>,
}

/// Where it is.
enum Kept {
    File(PathBuf, Option<Inspection>),
    /// With the daemons that live on other hosts.
    Database(SharedLog, Vec<String>),
}

/// Nothing was learned.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeskError {
    #[error("the state cannot be opened")]
    State(#[source] OpenError),
    #[error("the journal cannot be read")]
    Journal(#[source] JournalError),
    #[error("the journal's records do not follow each other [{code}]", code = ErrorCode::StateDamaged)]
    Illegal(#[source] IllegalRecord),
    #[error(
        "a connector has the state ({by}), but its socket {} does not answer; run this as root or as its user [{code}]",
        socket.display(), code = ErrorCode::Deaf)]
    Deaf {
        by: String,
        socket: PathBuf,
        #[source]
        source: TransportError,
    },
    #[error("the connector cannot be asked")]
    Client(#[source] HttpsError),
    #[error("the connector cannot be asked [{code}]", code = ErrorCode::Deaf)]
    Base(#[source] BaseError),
    #[error("the state cannot be opened")]
    Database(#[source] DatabaseError),
    #[error("{} [{code}]", elsewhere(.0), code = ErrorCode::NotRunning)]
    Elsewhere(Vec<String>),
    #[error("the state is in a database, which has no damaged file to read; leave --salvage out [{code}]", code = ErrorCode::NotRunning)]
    NoFile,
    #[error("there is no journal at the configured place [{code}]", code = ErrorCode::NotRunning)]
    NoJournal,
    #[error("the connector answered {status}: {message} [{code}]", code = ErrorCode::DaemonRefused)]
    Refused { status: StatusCode, message: String },
    #[error("the connector's answer cannot be read; is it another version than this one? [{code}]", code = ErrorCode::DaemonRefused)]
    Unreadable(#[source] serde_json::Error),
    #[error("the connector does not run [{code}]", code = ErrorCode::NotRunning)]
    NotHere,
    #[error("nobody can end a grant while the connector does not run; start it, and ask again [{code}]", code = ErrorCode::NotRunning)]
    NotRunning,
}

/// A daemon answers from memory and its own disk.
const PATIENCE: Duration = Duration::from_secs(30);
/// A plan reads an organization whole.
const A_CRAWL: Duration = Duration::from_hours(48);

impl From<&DeskError> for Exit {
    fn from(error: &DeskError) -> Self {
        match error {
            DeskError::State(_) | DeskError::Journal(_) | DeskError::Illegal(_) | DeskError::Client(_) => {
                Self::Io
            }
            DeskError::Refused { status, .. } if *status == StatusCode::FORBIDDEN => Self::NotPermitted,
            DeskError::Deaf { .. } | DeskError::NotRunning | DeskError::NotHere | DeskError::Elsewhere(_) => {
                Self::Unavailable
            }
            DeskError::Database(error) if error.is_away() => Self::Unavailable,
            DeskError::Database(_) => Self::Config,
            DeskError::NoFile => Self::Usage,
            DeskError::Refused { .. } | DeskError::NoJournal => Self::Io,
            DeskError::Base(_) | DeskError::Unreadable(_) => Self::Bug,
        }
    }
}

/// Runs `work` with the desk of the configured state.
pub(super) fn at_the_desk(
    sources: &Sources,
    work: impl AsyncFnOnce(Desk) -> Result<Exit, DeskError>,
) -> Exit {
    with_state(sources, async |state| {
        let desk = Desk::find(&state).await?;
        desk.note();
        work(desk).await
    })
}

/// Runs `work` with what can be read of a damaged journal.
pub(super) fn at_the_ruins(
    sources: &Sources,
    work: impl AsyncFnOnce(Desk) -> Result<Exit, DeskError>,
) -> Exit {
    with_state(sources, async |state| {
        if state.database.is_some() {
            return Err(DeskError::NoFile);
        }
        let (desk, lost) = Desk::salvage(&state.file)?;
        complain(&format!(
            "nothing of this was checked, and {lost} entries at least could not be used; look at each of these memberships in Okta"
        ));
        work(desk).await
    })
}

/// Runs `work` with the configured state.
pub(super) fn with_state(
    sources: &Sources,
    work: impl AsyncFnOnce(State) -> Result<Exit, DeskError>,
) -> Exit {
    let state = match load(sources) {
        Ok(loaded) => loaded.settings.state,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Config;
        }
    };
    match wait_for(work(state)) {
        Ok(Ok(exit)) | Err(exit) => exit,
        Ok(Err(error)) => {
            complain(&chain(&error).to_string());
            Exit::from(&error)
        }
    }
}

impl Desk {
    pub(super) async fn find(state: &State) -> Result<Self, DeskError> {
        if let Some(database) = &state.database {
            if let Some(client) = Client::to_daemon(state)? {
                return Ok(Self::Running(client));
            }
            let (log, others) = look(database).await?;
            if !log.exists().await.map_err(DeskError::Database)? {
                return Err(DeskError::NoJournal);
            }
            return Ok(Self::Stopped(Stopped { kept: Kept::Database(log, others), book: OnceCell::new() }));
        }
        match Inspection::open(&state.file) {
            Ok(inspection) => {
                let kept = Kept::File(state.file.clone(), inspection);
                Ok(Self::Stopped(Stopped { kept, book: OnceCell::new() }))
            }
            Err(OpenError::InUse { by, .. }) => Client::new(by, state.socket()).map(Self::Running),
            Err(error) => Err(DeskError::State(error)),
        }
    }

    /// Over a damaged journal: whatever can be read of it, unchecked, and how many entries at least could not be used.
    fn salvage(state: &Path) -> Result<(Self, usize), DeskError> {
        let salvaged = Inspection::salvage(state).map_err(DeskError::State)?;
        let Salvaged { entries, mut lost } = salvaged.ok_or(DeskError::NoJournal)?;
        let mut book = Book::default();
        for entry in entries {
            // One that does not follow what is known is the trace of one that was lost.
            lost += usize::from(book.apply(&[entry.record]).is_err());
        }
        let kept = Kept::File(state.to_owned(), None);
        Ok((Self::Stopped(Stopped { kept, book: OnceCell::from(book) }), lost))
    }

    /// Says once where an answer comes from, when that is not the daemon.
    fn note(&self) {
        let Self::Stopped(stopped) = self else { return };
        complain(&match &stopped.kept {
            Kept::File(path, None) => format!("there is no journal {}", path.display()),
            Kept::File(path, Some(_)) => {
                format!("the connector does not run; this is what its journal {} says", path.display())
            }
            Kept::Database(log, others) => {
                format!("{}; this is what {} says", elsewhere(others), log.place())
            }
        });
    }

    /// Open grants, a page of them.
    pub(super) async fn list(&self, filter: &Filter) -> Result<Listing, DeskError> {
        match self {
            Self::Running(client) => client.read(&["grants"], &query(filter)).await,
            Self::Stopped(stopped) => Ok(view::list(stopped.book().await?, filter)),
        }
    }

    /// All that is known of a grant; nothing when it was never heard of.
    pub(super) async fn story(&self, id: &GrantId) -> Result<Option<Story>, DeskError> {
        match self {
            Self::Running(client) => match client.read(&["grants", id.as_str()], &[]).await {
                Err(DeskError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
                read => read.map(Some),
            },
            Self::Stopped(stopped) => {
                let entries = match &stopped.kept {
                    Kept::File(_, None) => return Ok(None),
                    Kept::File(_, Some(inspection)) => inspection.about(id),
                    Kept::Database(log, _) => log.about(id).await,
                };
                Ok(view::story(id, &entries.map_err(DeskError::Journal)?))
            }
        }
    }

    /// Ends a grant. Whether there is one of this id.
    pub(super) async fn end(&self, id: &GrantId, reason: &str) -> Result<bool, DeskError> {
        match self {
            Self::Running(client) => {
                let body = json!({ "reason": reason }).to_string();
                let path = ["grants", id.as_str(), "end"];
                match client.send(Method::POST, &path, &[], Some(body), PATIENCE).await {
                    Ok(_) => Ok(true),
                    Err(DeskError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            }
            Self::Stopped(Stopped { kept: Kept::Database(_, others), .. }) if !others.is_empty() => {
                Err(DeskError::Elsewhere(others.clone()))
            }
            Self::Stopped(_) => Err(DeskError::NotRunning),
        }
    }
}

impl Stopped {
    /// What the journal's open entries make.
    async fn book(&self) -> Result<&Book, DeskError> {
        if let Some(book) = self.book.get() {
            return Ok(book);
        }
        let open = match &self.kept {
            Kept::File(_, None) => Ok(Vec::new()),
            Kept::File(_, Some(inspection)) => inspection.open_entries(),
            Kept::Database(log, _) => log.open_entries().await,
        };
        let book = Book::replay(open.map_err(DeskError::Journal)?).map_err(DeskError::Illegal)?;
        Ok(self.book.get_or_init(|| book))
    }
}

/// The log in a database, and the daemons that live; none where the database has no such table yet.
async fn look(database: &DatabaseSettings) -> Result<(SharedLog, Vec<String>), DeskError> {
    let log = SharedLog::new(Database::new(database).map_err(DeskError::Database)?);
    let exists = log.exists().await.map_err(DeskError::Database)?;
    let living = if exists { log.living().await.map_err(DeskError::Database)? } else { Vec::new() };
    Ok((log, living))
}

/// Why the connector that runs here is not asked.
pub(super) async fn not_here(state: &State) -> DeskError {
    match &state.database {
        None => DeskError::NotHere,
        Some(database) => match look(database).await {
            Ok((_, others)) => DeskError::Elsewhere(others),
            Err(error) => error,
        },
    }
}

fn elsewhere(others: &[String]) -> String {
    if others.is_empty() {
        "no connector runs on this host, nor on another one that shares its state; start it".to_owned()
    } else {
        format!(
            "no connector runs on this host; those that share its state run on {}: ask there, or start it here",
            others.join(", ")
        )
    }
}

type Pairs = [(&'static str, String)];

fn query(filter: &Filter) -> Vec<(&'static str, String)> {
    let Filter { integration, user, group, due, after } = filter;
    let given = [
        ("integration", integration.as_ref().map(ToString::to_string)),
        ("user", user.clone()),
        ("group", group.as_ref().map(ToString::to_string)),
        ("due", Some(due.to_string())),
        ("after", after.as_ref().map(ToString::to_string)),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

impl Client {
    /// The way to the daemon that has this state, if one has.
    pub(super) fn to_daemon(state: &State) -> Result<Option<Self>, DeskError> {
        if state.database.is_some() {
            // No file of this host says who has the state; whoever runs here listens.
            return match UnixStream::connect(state.socket()) {
                Err(error)
                    if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused]
                        .contains(&error.kind()) =>
                {
                    Ok(None)
                }
                // One that cannot be used is told when it is.
                Ok(_) | Err(_) => Self::new("on this host".to_owned(), state.socket()).map(Some),
            };
        }
        match Inspection::open(&state.file) {
            Ok(_) => Ok(None),
            Err(OpenError::InUse { by, .. }) => Self::new(by, state.socket()).map(Some),
            Err(error) => Err(DeskError::State(error)),
        }
    }

    /// Asks for something that takes its time.
    pub(super) async fn ask<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, DeskError> {
        let response = self.send(Method::POST, path, &[], None, A_CRAWL).await?;
        serde_json::from_slice(&response.body).map_err(DeskError::Unreadable)
    }

    /// Sets something.
    pub(super) async fn put<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, DeskError> {
        let response = self.send(Method::PUT, path, &[], Some(body.to_string()), PATIENCE).await?;
        serde_json::from_slice(&response.body).map_err(DeskError::Unreadable)
    }

    /// Takes back what was set.
    pub(super) async fn delete<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, DeskError> {
        let response = self.send(Method::DELETE, path, &[], None, PATIENCE).await?;
        serde_json::from_slice(&response.body).map_err(DeskError::Unreadable)
    }

    fn new(by: String, socket: PathBuf) -> Result<Self, DeskError> {
        let transport = HttpsTransport::through(&socket).map_err(DeskError::Client)?;
        let base = Base::parse("http://localhost").map_err(DeskError::Base)?;
        Ok(Self { transport, base, daemon: (by, socket) })
    }

    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &Pairs,
    ) -> Result<T, DeskError> {
        let response = self.send(Method::GET, path, query, None, PATIENCE).await?;
        serde_json::from_slice(&response.body).map_err(DeskError::Unreadable)
    }

    /// An answer that is no JSON.
    pub(super) async fn text(&self, path: &[&str]) -> Result<String, DeskError> {
        let response = self.send(Method::GET, path, &[], None, PATIENCE).await?;
        Ok(String::from_utf8_lossy(&response.body).into_owned())
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &Pairs,
        body: Option<String>,
        patience: Duration,
    ) -> Result<Response, DeskError> {
        let query: Vec<_> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut request = Request::new(method, self.base.url(path, &query));
        if let Some(body) = body {
            request.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request.body = Bytes::from(body);
        }
        let response = self.transport.send(request, patience).await.map_err(|source| {
            let (by, socket) = self.daemon.clone();
            DeskError::Deaf { by, socket, source }
        })?;
        if response.status.is_success() {
            return Ok(response);
        }
        let said = serde_json::from_slice::<Value>(&response.body).ok();
        let said = said.and_then(|body| body["error"].as_str().map(ToOwned::to_owned));
        Err(DeskError::Refused {
            status: response.status,
            message: said.unwrap_or_else(|| response.excerpt()),
        })
    }
}
