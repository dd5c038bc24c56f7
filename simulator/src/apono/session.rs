//! # Purpose
//! Who is connected: the sessions of the connector.
//!
//! # Invariants kept here
//! - A session is live from its first PUT until its DELETE or three silent heartbeat intervals, whichever is first.
//!
//! # Not here
//! Leases: a task stays leased when its session ends, until the lease runs out.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::AponoSimulator;
use super::answer::Answer;
use super::shape::{Fields, Malformed, is_uuid};

const STATES: [&str; 4] = ["INITIALIZING", "ACTIVE", "WARNING", "ERROR"];
const CAPABILITIES: [&str; 5] =
    ["grant-access", "revoke-access", "list-resources", "get-status", "sync-directory"];

#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// In the order of their first PUT.
    known: BTreeMap<u64, Session>,
    numbers: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Session {
    id: String,
    body: Value,
    seen: Timestamp,
    ended: bool,
}

impl Session {
    fn is_live(&self, now: Timestamp, silence: SignedDuration) -> bool {
        !self.ended && now.duration_since(self.seen) <= silence
    }

    /// The last body, with the session's own id beside it.
    fn shown(&self) -> Value {
        let mut shown = self.body.clone();
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("session_id".into(), self.id.clone().into());
            fields.insert("last_seen_at".into(), self.seen.to_string().into());
        }
        shown
    }
}

impl Sessions {
    fn put(&mut self, id: &str, body: Value, now: Timestamp) {
        let next = self.numbers.len() as u64;
        let number = *self.numbers.entry(id.into()).or_insert(next);
        self.known.insert(number, Session { id: id.into(), body, seen: now, ended: false });
    }

    pub(super) fn has_ended(&self, id: &str) -> bool {
        self.numbers.get(id).and_then(|number| self.known.get(number)).is_some_and(|session| session.ended)
    }

    pub(super) fn live(&self, now: Timestamp, silence: SignedDuration) -> Vec<String> {
        self.known
            .values()
            .filter(|session| session.is_live(now, silence))
            .map(|session| session.id.clone())
            .collect()
    }
}

impl AponoSimulator {
    /// The live sessions in the order of their first appearance: the last body each, with `session_id` and
    /// `last_seen_at` added.
    #[must_use]
    pub fn sessions(&self) -> Vec<Value> {
        let (now, silence) = (self.inner.clock.now(), self.inner.silence());
        let plane = self.inner.plane();
        plane
            .sessions
            .known
            .values()
            .filter(|session| session.is_live(now, silence))
            .map(Session::shown)
            .collect()
    }

    /// The sessions that said goodbye, like [`AponoSimulator::sessions`].
    #[must_use]
    pub fn ended_sessions(&self) -> Vec<Value> {
        let plane = self.inner.plane();
        plane.sessions.known.values().filter(|session| session.ended).map(Session::shown).collect()
    }
}

impl super::Inner {
    /// How long a session may be silent and still count as live.
    pub(super) fn silence(&self) -> SignedDuration {
        let seconds = i64::try_from(self.heartbeat_interval_sec).unwrap_or(i64::MAX);
        SignedDuration::from_secs(seconds.saturating_mul(3))
    }
}

fn check(body: &Value) -> Result<(), Malformed> {
    let session = Fields::of(body, "")?;
    session.only(&["connector_version", "started_at", "metadata", "integrations", "capabilities"])?;
    session.text("connector_version")?;
    session.instant("started_at")?;
    session.object("metadata")?;
    for capability in session.texts("capabilities")? {
        if !CAPABILITIES.contains(&capability) {
            return Err(session.wrong("capabilities", &format!("{capability:?} is not a capability")));
        }
    }
    for integration in session.objects("integrations")? {
        integration.only(&["id", "type", "status", "message", "last_sync_time"])?;
        integration.text("id")?;
        integration.text("type")?;
        integration.one_of("status", &STATES)?;
        if integration.optional("message").is_some() {
            integration.string("message")?;
        }
        if integration.optional("last_sync_time").is_some() {
            integration.instant("last_sync_time")?;
        }
    }
    Ok(())
}

fn check_id(session_id: &str) -> Result<(), Malformed> {
    if is_uuid(session_id) { Ok(()) } else { Err(Malformed("session_id: must be a UUID".into())) }
}

pub(super) fn put(apono: &AponoSimulator, session_id: &str, body: &Value) -> Result<Answer, Malformed> {
    check_id(session_id)?;
    check(body)?;
    let now = apono.inner.clock.now();
    let had_ended = {
        let mut plane = apono.inner.plane();
        let had_ended = plane.sessions.has_ended(session_id);
        plane.sessions.put(session_id, body.clone(), now);
        had_ended
    };
    let answer = Answer::json(
        200,
        &json!({"heartbeat_interval_sec": apono.inner.heartbeat_interval_sec, "server_time": now.to_string()}),
    );
    Ok(if had_ended { answer.blaming("a heartbeat came after the session's goodbye") } else { answer })
}

pub(super) fn delete(apono: &AponoSimulator, session_id: &str) -> Result<Answer, Malformed> {
    check_id(session_id)?;
    {
        let mut plane = apono.inner.plane();
        let number = plane.sessions.numbers.get(session_id).copied();
        if let Some(session) = number.and_then(|number| plane.sessions.known.get_mut(&number)) {
            session.ended = true;
        }
    }
    apono.inner.bump_work();
    Ok(Answer::empty(204))
}
