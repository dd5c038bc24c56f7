//! Between a connector and everything outside it: counts what it does, keeps the order of it, and takes the power away
//! at a chosen point.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use apono_connector::access::journal::{Entry, Journal, JournalError, Record, Standing, Subject};
use apono_connector::access::machine::Event;
use apono_connector::domain::GrantId;
use apono_connector::http::transport::{Request, Response, Transport, TransportError};
use futures_util::future::BoxFuture;
use http::Method;
use tokio::sync::watch;

/// See the module. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Stage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    powered: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    effects: usize,
    point: Option<Point>,
    fired: Option<String>,
    happened: Vec<Happening>,
}

/// Where the power goes: at the `nth` effect, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub nth: usize,
    pub side: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The effect does not happen.
    Before,
    /// The effect has happened, and its answer never arrives.
    After,
}

/// What went out of the connector, in the order in which it did.
#[derive(Clone, Debug)]
pub enum Happening {
    /// This is on disk now.
    Recorded(Box<Record>),
    /// Okta is asked to add the user to the group.
    Add { group: String, user: String },
    /// Okta is asked to remove the user from the group.
    Remove { group: String, user: String },
}

impl Stage {
    /// The power goes at `point`, or never.
    pub fn new(point: Option<Point>) -> Self {
        let state = Mutex::new(State { point, ..State::default() });
        Self(Arc::new(Inner { state, powered: watch::Sender::new(true) }))
    }

    /// `network`, seen from here.
    pub fn network(&self, network: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(Watched { stage: self.clone(), inner: network })
    }

    /// `disk`, seen from here.
    pub fn disk(&self, disk: Arc<dyn Journal>) -> Arc<dyn Journal> {
        Arc::new(Watched { stage: self.clone(), inner: disk })
    }

    /// Effects so far.
    pub fn effects(&self) -> usize {
        self.lock().effects
    }

    /// At which effect the power went, if it did.
    pub fn fired(&self) -> Option<String> {
        self.lock().fired.clone()
    }

    /// Everything so far, in order.
    pub fn happened(&self) -> Vec<Happening> {
        self.lock().happened.clone()
    }

    /// Resolves when the power has gone.
    pub async fn dark(&self) {
        let mut powered = self.0.powered.subscribe();
        let _ = powered.wait_for(|powered| !powered).await;
    }

    /// The power goes now.
    pub fn darken(&self) {
        self.0.powered.send_replace(false);
    }

    /// The power is back, for good.
    pub fn light(&self) {
        self.lock().point = None;
        self.0.powered.send_replace(true);
    }

    /// Does `work` as the next effect, unless the power is gone, or goes here.
    async fn effect<T>(&self, name: &str, work: impl Future<Output = T>) -> T {
        let nth = {
            let mut state = self.lock();
            state.effects += 1;
            state.effects
        };
        self.go_dark_at(nth, Side::Before, name);
        self.while_lit().await;
        let done = work.await;
        self.go_dark_at(nth, Side::After, name);
        self.while_lit().await;
        done
    }

    fn go_dark_at(&self, nth: usize, side: Side, name: &str) {
        let mut state = self.lock();
        if state.point == Some(Point { nth, side }) {
            state.point = None;
            state.fired = Some(format!("{side:?} effect {nth}, {name}"));
            self.darken();
        }
    }

    async fn while_lit(&self) {
        if !*self.0.powered.borrow() {
            pending::<()>().await;
        }
    }

    fn note(&self, happened: impl IntoIterator<Item = Happening>) {
        self.lock().happened.extend(happened);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }
}

#[derive(Debug)]
struct Watched<T: ?Sized> {
    stage: Stage,
    inner: Arc<T>,
}

impl Transport for Watched<dyn Transport> {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        let name = format!("{request:?}");
        let write = membership_write(&request);
        Box::pin(async move {
            let send = async {
                self.stage.note(write);
                self.inner.send(request, limit).await
            };
            self.stage.effect(&name, send).await
        })
    }
}

impl Journal for Watched<dyn Journal> {
    fn append(
        &self,
        entries: Vec<Entry>,
        standing: Vec<Standing>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let records: Vec<_> = entries.iter().map(|entry| entry.record.clone()).collect();
            let append = async {
                let appended = self.inner.append(entries, standing).await;
                if appended.is_ok() {
                    let records = records.iter().cloned().map(Box::new);
                    self.stage.note(records.map(Happening::Recorded));
                }
                appended
            };
            self.stage.effect(&format!("append {records:?}"), append).await
        })
    }

    fn prove(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            self.stage.while_lit().await;
            self.inner.prove().await
        })
    }

    fn open_entries(&self) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        self.inner.open_entries()
    }

    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        self.inner.history(subject)
    }

    fn about<'a>(&'a self, grant: &'a GrantId) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        self.inner.about(grant)
    }
}

fn membership_write(request: &Request) -> Option<Happening> {
    let (group, user) = membership(request)?;
    if request.method == Method::DELETE {
        Some(Happening::Remove { group, user })
    } else {
        Some(Happening::Add { group, user })
    }
}

/// The group and the user whose membership a request would change.
pub fn membership(request: &Request) -> Option<(String, String)> {
    let segments: Vec<_> = request.url.path_segments()?.collect();
    match segments.as_slice() {
        ["api", "v1", "groups", group, "users", user]
            if [Method::PUT, Method::DELETE].contains(&request.method) =>
        {
            Some(((*group).to_owned(), (*user).to_owned()))
        }
        _ => None,
    }
}

/// Every addition was sent under a durable intent whose duty was not over.
pub fn without_a_duty(happened: &[Happening], breaches: &mut Vec<String>) {
    let mut users = BTreeMap::new();
    let mut duties: BTreeSet<(String, String)> = BTreeSet::new();
    for happening in happened {
        match happening {
            Happening::Recorded(record) => note_duty(record, &mut users, &mut duties),
            Happening::Remove { .. } => {}
            Happening::Add { group, user } => {
                let is_owed = duties.iter().any(|(grant, of)| of == group && users.get(grant) == Some(user));
                if !is_owed {
                    breaches.push(format!(
                        "{user} was added to {group} before the duty to remove it was on disk"
                    ));
                }
            }
        }
    }
}

fn note_duty(record: &Record, users: &mut BTreeMap<String, String>, duties: &mut BTreeSet<(String, String)>) {
    let Record::Grant { id, event } = record else { return };
    match event {
        Event::UserResolved { user } => {
            users.insert(id.to_string(), user.to_string());
        }
        Event::GrantIntended { group } | Event::AddedLate { group, .. } => {
            duties.insert((id.to_string(), group.to_string()));
        }
        Event::Ended { group, .. } | Event::Refused { group, .. } => {
            duties.remove(&(id.to_string(), group.to_string()));
        }
        Event::Accepted { .. }
        | Event::Revised { .. }
        | Event::Declined { .. }
        | Event::StandingFound { .. }
        | Event::FoundMissing { .. }
        | Event::AddedByOthers { .. }
        | Event::Granted { .. }
        | Event::EndRequested { .. }
        | Event::RevokeIntended { .. } => {}
    }
}

/// Okta was never asked to take away what stood before.
pub fn removed_standing(
    happened: &[Happening],
    standing: &BTreeSet<(String, String)>,
    breaches: &mut Vec<String>,
) {
    for happening in happened {
        if let Happening::Remove { group, user } = happening
            && standing.contains(&(group.clone(), user.clone()))
        {
            breaches.push(format!("Okta was asked to remove {user} from {group}, where it stood before"));
        }
    }
}
