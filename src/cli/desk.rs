//! # Purpose
//! Where commands learn about grants: from the daemon that runs, else from its journal.
//!
//! # Invariants kept here
//! - While a daemon has the journal, it is asked; without one nothing is written.
//!
//! # Not here
//! The daemon's end: `app::desk`. What is printed: `grants`, `explain`.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::runtime::wait_for;
use super::{Exit, complain};
use crate::access::book::{Book, IllegalRecord};
use crate::access::journal::{Inspection, JournalError, OpenError, Salvaged, holder_beside};
use crate::access::view::{self, Filter, Listing, Story};
use crate::catalogue::ErrorCode;
use crate::config::{Sources, State, load};
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
    path: PathBuf,
    inspection: Option<Inspection>,
    book: OnceCell<Book>,
}

/// Nothing was learned.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeskError {
    #[error("the state cannot be opened")]
    State(#[source] OpenError),
    #[error("the journal cannot be read")]
    Journal(#[source] JournalError),
    #[error("the journal's records do not follow each other")]
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
    #[error("the connector cannot be asked")]
    Base(#[source] BaseError),
    #[error("there is no journal at the configured place [{code}]", code = ErrorCode::NotRunning)]
    NoJournal,
    #[error("the connector answered {status}: {message} [{code}]", code = ErrorCode::DaemonRefused)]
    Refused { status: StatusCode, message: String },
    #[error("the connector's answer cannot be read; is it another version than this one? [{code}]", code = ErrorCode::DaemonRefused)]
    Unreadable(#[source] serde_json::Error),
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
            DeskError::Deaf { .. } | DeskError::NotRunning => Self::Unavailable,
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
        let desk = Desk::find(&state.file, state.socket())?;
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
    pub(super) fn find(state: &Path, socket: PathBuf) -> Result<Self, DeskError> {
        match Inspection::open(state) {
            Ok(inspection) => {
                let path = state.to_owned();
                Ok(Self::Stopped(Stopped { path, inspection, book: OnceCell::new() }))
            }
            Err(OpenError::InUse { by, .. }) => Client::new(by, socket).map(Self::Running),
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
        let path = state.to_owned();
        Ok((Self::Stopped(Stopped { path, inspection: None, book: OnceCell::from(book) }), lost))
    }

    /// Says once where an answer comes from, when that is not the daemon.
    fn note(&self) {
        match self {
            Self::Running(_) => {}
            Self::Stopped(Stopped { inspection: None, path, .. }) => {
                complain(&format!("there is no journal {}", path.display()));
            }
            Self::Stopped(Stopped { path, .. }) => {
                complain(&format!(
                    "the connector does not run; this is what its journal {} says",
                    path.display()
                ));
            }
        }
    }

    /// Open grants, a page of them.
    pub(super) async fn list(&self, filter: &Filter) -> Result<Listing, DeskError> {
        match self {
            Self::Running(client) => client.read(&["grants"], &query(filter)).await,
            Self::Stopped(stopped) => Ok(view::list(stopped.book()?, filter)),
        }
    }

    /// All that is known of a grant; nothing when it was never heard of.
    pub(super) async fn story(&self, id: &GrantId) -> Result<Option<Story>, DeskError> {
        match self {
            Self::Running(client) => match client.read(&["grants", id.as_str()], &[]).await {
                Err(DeskError::Refused { status: StatusCode::NOT_FOUND, .. }) => Ok(None),
                read => read.map(Some),
            },
            Self::Stopped(Stopped { inspection: None, .. }) => Ok(None),
            Self::Stopped(Stopped { inspection: Some(inspection), .. }) => {
                let entries = inspection.about(id).map_err(DeskError::Journal)?;
                Ok(view::story(id, &entries))
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
            Self::Stopped(_) => Err(DeskError::NotRunning),
        }
    }
}

impl Stopped {
    /// What the journal's open entries make.
    fn book(&self) -> Result<&Book, DeskError> {
        if let Some(book) = self.book.get() {
            return Ok(book);
        }
        let open = self.inspection.as_ref().map(Inspection::open_entries).transpose();
        let open = open.map_err(DeskError::Journal)?.unwrap_or_default();
        let book = Book::replay(open).map_err(DeskError::Illegal)?;
        Ok(self.book.get_or_init(|| book))
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
            let holder = holder_beside(&state.file).map_err(DeskError::State)?;
            return holder.map(|by| Self::new(by, state.socket())).transpose();
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
