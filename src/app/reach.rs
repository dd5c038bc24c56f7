//! # Purpose
//! While Apono cannot be reached, finds out whether Okta can: only if nobody can, the connector itself is cut off.
//!
//! # Invariants kept here
//! - Nothing is asked while Apono answers, and nobody more often than needed to notice a change within ten seconds.
//!
//! # Not here
//! The verdict: `server::readiness`.

use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::clock::{self, SharedClock};
use crate::http::contact::{Contact, Contacts};
use crate::okta::Reach;

/// See the module.
pub(super) struct Reaching {
    pub(super) contacts: Contacts,
    pub(super) clock: SharedClock,
    /// Apono's origin.
    pub(super) apono: String,
    pub(super) organizations: Vec<Reach>,
}

/// A peer that did not answer is asked again this soon.
const AGAIN: Duration = Duration::from_secs(4);
/// One that answered is believed this long while Apono is away: its rate limits are its customers'.
const BELIEVED: Duration = Duration::from_secs(30);

impl Reaching {
    pub(super) async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(clock::sleep(AGAIN)).await.is_some() {
            if self.contacts.last(&self.apono).is_none_or(|last| last.answered) {
                continue;
            }
            let now = self.clock.elapsed();
            let due = self.organizations.iter().filter(|one| is_due(self.contacts.last(&one.origin()), now));
            let asked = join_all(due.map(Reach::ask));
            let _ = stop.run_until_cancelled(asked).await;
        }
    }
}

fn is_due(last: Option<Contact>, now: Duration) -> bool {
    last.is_none_or(|last| !last.answered || now.saturating_sub(last.at) >= BELIEVED)
}
