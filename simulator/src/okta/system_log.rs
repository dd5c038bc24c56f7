//! # Purpose
//! The org's System Log: what changed, when, and by whom.
//!
//! # Invariants kept here
//! - Events are numbered in the order of their publication; the oldest are dropped beyond a cap.
//!
//! # Not here
//! Reading it over HTTP.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::hash::mix;
use super::json::instant;

const KEPT: usize = 200_000;

/// Who made a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Actor {
    /// A person in the admin console: whatever a test arranges.
    Administrator,
    /// An API client.
    Client(String),
    /// Okta itself, for instance a group rule.
    System,
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    kind: &'static str,
    id: String,
    alternate: Option<String>,
    name: String,
}

impl Target {
    pub(super) fn new(kind: &'static str, id: String, name: String) -> Self {
        Self { kind, id, alternate: None, name }
    }

    pub(super) fn with_alternate(mut self, alternate: String) -> Self {
        self.alternate = Some(alternate);
        self
    }
}

/// One event.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) number: u64,
    pub(super) published: i64,
    kind: &'static str,
    actor: Actor,
    targets: Vec<Target>,
    dice: u64,
}

impl Event {
    /// The event as the API shows it.
    pub(super) fn json(&self) -> Value {
        let actor = match &self.actor {
            Actor::Administrator => {
                ("00uadministrator1d7a", "User", "admin@example.com", "Org Administrator")
            }
            Actor::Client(client) => (client.as_str(), "PublicClientApp", client.as_str(), "API client"),
            Actor::System => ("system@okta.com", "SystemPrincipal", "system@okta.com", "Okta System"),
        };
        let targets: Vec<Value> = self
            .targets
            .iter()
            .map(|target| {
                json!({
                    "id": target.id,
                    "type": target.kind,
                    "alternateId": target.alternate.as_deref().unwrap_or("unknown"),
                    "displayName": target.name,
                    "detailEntry": null,
                })
            })
            .collect();
        let low = mix(self.dice, 1);
        json!({
            "actor": {
                "id": actor.0, "type": actor.1, "alternateId": actor.2, "displayName": actor.3, "detailEntry": null,
            },
            "client": {
                "userAgent": null, "zone": "null", "device": "Unknown", "id": null, "ipAddress": null,
                "geographicalContext": null,
            },
            "device": null,
            "authenticationContext": {
                "authenticationProvider": null, "credentialProvider": null, "credentialType": null, "issuer": null,
                "interface": null, "authenticationStep": 0, "rootSessionId": "unknown", "externalSessionId": "unknown",
            },
            "displayMessage": self.kind.replace(['.', '_'], " "),
            "eventType": self.kind,
            "outcome": { "result": "SUCCESS", "reason": null },
            "published": instant(self.published),
            "securityContext": { "asNumber": null, "asOrg": null, "isp": null, "domain": null, "isProxy": null },
            "severity": "INFO",
            "debugContext": { "debugData": {} },
            "legacyEventType": null,
            "transaction": { "type": "WEB", "id": format!("{low:016x}"), "detail": {} },
            "uuid": format!(
                "{:08x}-{:04x}-11f1-{:04x}-{:012x}",
                self.dice >> 32,
                (self.dice >> 16) & 0xFFFF,
                0x8000 | (self.dice & 0x3FFF),
                low & 0xFFFF_FFFF_FFFF
            ),
            "version": "0",
            "request": { "ipChain": [] },
            "target": targets,
        })
    }
}

/// All events that are still kept.
#[derive(Debug)]
pub(super) struct SystemLog {
    seed: u64,
    events: VecDeque<Event>,
    next: u64,
}

impl SystemLog {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed: mix(seed, 0x5106), events: VecDeque::new(), next: 1 }
    }

    /// Notes a change.
    pub(super) fn record(&mut self, now: i64, kind: &'static str, actor: Actor, mut targets: Vec<Target>) {
        let number = self.next;
        self.next += 1;
        let dice = mix(self.seed, number);
        // Okta promises no order among targets, so readers must look at their types.
        if dice & 1 == 1 {
            targets.reverse();
        }
        if self.events.len() >= KEPT {
            self.events.pop_front();
        }
        self.events.push_back(Event { number, published: now, kind, actor, targets, dice });
    }

    /// Events after number `after` that were published by `until`.
    pub(super) fn since(&self, after: u64, until: i64) -> impl DoubleEndedIterator<Item = &Event> {
        let from = self.events.partition_point(|event| event.number <= after);
        self.events.range(from..).filter(move |event| event.published <= until)
    }

    /// The number of the last event that was published at `instant` or earlier.
    pub(super) fn number_at(&self, instant: i64) -> u64 {
        let position = self.events.partition_point(|event| event.published <= instant);
        position.checked_sub(1).and_then(|last| self.events.get(last)).map_or(0, |event| event.number)
    }
}
