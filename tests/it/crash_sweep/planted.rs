//! Defects that are planted on purpose: each must be noticed, or the sweep proves nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apono_connector::access::journal::{Entry, Journal, JournalError, Record, Standing, Subject};
use apono_connector::access::machine::Event;
use apono_connector::domain::GrantId;
use apono_connector::http::transport::{Request, Response, Transport, TransportError};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::script::Part;
use super::{AT_ONCE, Defect, history};
use crate::stage::{Point, Side, membership};

/// Looks for a history in which the defect shows itself in these words.
async fn is_noticed(part: Part, defect: &dyn Defect, words: &str) -> bool {
    let whole = history(part, None, AT_ONCE, defect).await;
    if whole.breaches.iter().any(|breach| breach.contains(words)) {
        return true;
    }
    for nth in 1..=whole.effects {
        let cut = history(part, Some(Point { nth, side: Side::After }), AT_ONCE, defect).await;
        if cut.breaches.iter().any(|breach| breach.contains(words)) {
            return true;
        }
    }
    false
}

#[tokio::test(start_paused = true)]
async fn an_intent_that_is_not_on_disk_is_noticed() {
    assert!(is_noticed(Part::Ends, &NoIntents, "before the duty to remove it was on disk").await);
    assert!(is_noticed(Part::Ends, &NoIntents, "by a grant that is over").await, "after a crash");
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_only_seems_to_be_done_is_noticed() {
    assert!(is_noticed(Part::Ends, &SeemsRemoved::default(), "by a grant that is over").await);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_a_restart_forgets_is_noticed() {
    assert!(is_noticed(Part::Ends, &Forgets(what_is_last), "by a grant that is over").await);
    assert!(is_noticed(Part::Ends, &Forgets(what_is_first), "does not start again").await);
}

/// Says that intents are durable, and does not write them.
#[derive(Debug)]
struct NoIntents;

/// Loses one entry of a grant when the journal is read back: the entry that this function picks.
#[derive(Clone, Copy, Debug)]
struct Forgets(fn(&[Entry]) -> Option<usize>);

/// The intent that nothing follows: the addition may have happened.
fn what_is_last(entries: &[Entry]) -> Option<usize> {
    let intends =
        |entry: &Entry| matches!(&entry.record, Record::Grant { event: Event::GrantIntended { .. }, .. });
    let is_last = |at: &usize| {
        let subject = entries[*at].record.subject();
        intends(&entries[*at]) && entries[at + 1..].iter().all(|later| later.record.subject() != subject)
    };
    (0..entries.len()).find(is_last)
}

/// Where a grant began.
fn what_is_first(entries: &[Entry]) -> Option<usize> {
    let begins = |entry: &Entry| matches!(&entry.record, Record::Grant { event: Event::Accepted { .. }, .. });
    entries.iter().position(begins)
}

#[derive(Debug)]
struct Disk<D> {
    inner: Arc<dyn Journal>,
    defect: D,
}

/// What becomes of entries on their way.
trait Entries: Send + Sync + std::fmt::Debug + 'static {
    fn written(&self, entries: Vec<Entry>) -> Vec<Entry> {
        entries
    }
    fn read(&self, entries: Vec<Entry>) -> Vec<Entry> {
        entries
    }
}

impl Entries for NoIntents {
    fn written(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        entries.retain(|entry| {
            !matches!(&entry.record, Record::Grant { event: Event::GrantIntended { .. }, .. })
        });
        entries
    }
}

impl Entries for Forgets {
    fn read(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        if let Some(at) = self.0(&entries) {
            entries.remove(at);
        }
        entries
    }
}

impl Defect for NoIntents {
    fn disk(&self, inner: Arc<dyn Journal>) -> Arc<dyn Journal> {
        Arc::new(Disk { inner, defect: NoIntents })
    }
}

impl Defect for Forgets {
    fn disk(&self, inner: Arc<dyn Journal>) -> Arc<dyn Journal> {
        Arc::new(Disk { inner, defect: *self })
    }
}

impl<D: Entries> Journal for Disk<D> {
    fn append(
        &self,
        entries: Vec<Entry>,
        standing: Vec<Standing>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        self.inner.append(self.defect.written(entries), standing)
    }

    fn prove(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        self.inner.prove()
    }

    fn open_entries(&self) -> BoxFuture<'_, Result<Vec<Entry>, JournalError>> {
        Box::pin(async move { Ok(self.defect.read(self.inner.open_entries().await?)) })
    }

    fn history<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        self.inner.history(subject)
    }

    fn about<'a>(&'a self, grant: &'a GrantId) -> BoxFuture<'a, Result<Vec<Entry>, JournalError>> {
        self.inner.about(grant)
    }
}

/// Okta answers 204 to removals, does nothing, and goes on as if it had: to believe it is to leave access behind. (The
/// connector cannot see through this one; the oracle must.)
#[derive(Clone, Debug, Default)]
struct SeemsRemoved {
    removed: Arc<Mutex<BTreeSet<(String, String)>>>,
}

#[derive(Debug)]
struct Network {
    inner: Arc<dyn Transport>,
    defect: SeemsRemoved,
}

impl Defect for SeemsRemoved {
    fn network(&self, inner: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(Network { inner, defect: self.clone() })
    }
}

impl Transport for Network {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        let lock = || self.defect.removed.lock().unwrap();
        if request.method == Method::DELETE
            && let Some(pair) = membership(&request)
        {
            lock().insert(pair);
            let status = StatusCode::NO_CONTENT;
            let response = Response { status, headers: HeaderMap::new(), body: bytes::Bytes::new() };
            return Box::pin(std::future::ready(Ok(response)));
        }
        let removed = lock().clone();
        let path = request.url.path().to_owned();
        Box::pin(async move {
            let mut response = self.inner.send(request, limit).await?;
            let user = path.strip_prefix("/api/v1/users/").and_then(|rest| rest.strip_suffix("/groups"));
            if let Some(user) = user
                && let Ok(Value::Array(mut groups)) = serde_json::from_slice(&response.body)
            {
                let is_removed = |group: &Value| {
                    removed.contains(&(group["id"].as_str().unwrap_or_default().to_owned(), user.to_owned()))
                };
                groups.retain(|group| !is_removed(group));
                response.body = serde_json::to_vec(&groups).unwrap().into();
            }
            Ok(response)
        })
    }
}
