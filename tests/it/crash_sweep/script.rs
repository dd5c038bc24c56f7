//! What Apono asks for while the power goes: every kind of grant, close together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use apono_connector::clock::{self, SharedClock};
use jiff::Timestamp;
use simulator::apono::{AponoSimulator, Grant};
use simulator::okta::{NewGroup, NewUser};

use crate::oracle::{Life, Promised};
use crate::world::{INTEGRATION, World};

const LOGIN: &str = "ada@example.com";
const EMAIL: &str = "a.lovelace@example.com";
const GROUPS: [&str; 12] = [
    "plain",
    "revoked",
    "standing",
    "shared",
    "extended",
    "shortened",
    "left",
    "kept",
    "entered",
    "first",
    "second",
    "handed",
];
const NO_GROUP: &str = "00gnone0000000000000";
const HOUR: u64 = 3600;
/// After this second Apono asks for nothing more, and every grant is over.
pub const END: u64 = 50;

/// The script is cut in four, because every point is a history of its own.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    Ends,
    Overlaps,
    Revisions,
    Order,
}

/// What a grant may be answered where nothing is in the way.
const GIVEN: &[&str] = &["granted"];
/// What a power cut may make of it: it came too late, or after what undid it.
const LATE: [&str; 2] = ["expired", "superseded"];

/// Ada, her groups, and Apono.
pub struct Cast {
    pub promised: RefCell<Promised>,
    apono: AponoSimulator,
    clock: SharedClock,
    began: Timestamp,
    user: String,
    groups: BTreeMap<&'static str, String>,
    may_be_late: bool,
    delivery: Delivery,
}

/// To whom tasks go.
#[derive(Clone, Copy, Debug)]
pub enum Delivery {
    /// To whoever asks first.
    Once,
    /// To whoever asks first, and once more to whoever asks next.
    Twice,
    /// To everybody who is connected, at the same time.
    ToAll,
}

impl Cast {
    /// In a world that has nobody else but somebody who is never touched. `may_be_late`: the power will go.
    pub fn enter(world: &World, may_be_late: bool) -> Self {
        let ada = NewUser { email: EMAIL.to_owned(), ..NewUser::active(LOGIN, "Ada", "Lovelace") };
        let user = world.okta.add_user(ada);
        let other = world.okta.add_user(NewUser::active("eve@example.com", "Eve", "Else"));
        let groups: BTreeMap<_, _> =
            GROUPS.into_iter().map(|name| (name, world.okta.add_group(NewGroup::named(name)))).collect();
        let mut promised = Promised::default();
        for (group, member) in [("standing", &user), ("plain", &other), ("shared", &other)] {
            world.okta.add_member(&groups[group], member);
            promised.standing.insert((groups[group].clone(), member.clone()));
        }
        Self {
            promised: RefCell::new(promised),
            apono: world.apono.clone(),
            clock: world.clock.clone(),
            began: world.clock.now(),
            user,
            groups,
            may_be_late,
            delivery: Delivery::Once,
        }
    }

    /// The same, with tasks that are delivered like this.
    pub fn delivering(self, delivery: Delivery) -> Self {
        Self { delivery, ..self }
    }

    /// Asks for everything of `part`, at its time; ends when all of it is over.
    pub async fn play(&self, part: Part) {
        match part {
            Part::Ends => self.ends().await,
            Part::Overlaps => self.overlaps().await,
            Part::Revisions => self.revisions().await,
            Part::Order => self.order().await,
        }
        self.at(END).await;
    }

    /// By its expiry, by a revoke, and never: a standing membership.
    async fn ends(&self) {
        self.grant("plain", 1, LOGIN, &["plain"], 40, GIVEN);
        let revoked = self.grant("revoked", 1, LOGIN, &["revoked"], HOUR, GIVEN);
        self.grant("standing", 1, LOGIN, &["standing"], 35, &["already_member"]);
        self.at(20).await;
        self.revoke(&revoked, &["revoked"]);
        let kept = self.grant("standing-too", 1, EMAIL, &["standing"], HOUR, &["already_member"]);
        self.at(30).await;
        self.revoke(&kept, &["kept_standing"]);
    }

    /// Two grants of one membership, by login and by email; and one that begins in the instant in which another ends.
    async fn overlaps(&self) {
        self.grant("shared-short", 1, LOGIN, &["shared"], 15, GIVEN);
        self.grant("shared-long", 1, EMAIL, &["shared"], 30, GIVEN);
        self.grant("handed-over", 1, LOGIN, &["handed"], 25, GIVEN);
        self.at(25).await;
        self.grant("taken-over", 1, EMAIL, &["handed"], 45, GIVEN);
    }

    /// Longer, shorter, other groups.
    async fn revisions(&self) {
        self.grant("extended", 1, LOGIN, &["extended"], 20, GIVEN);
        self.grant("shortened", 1, LOGIN, &["shortened"], HOUR, GIVEN);
        self.grant("swapped", 1, LOGIN, &["left", "kept"], 45, GIVEN);
        self.at(10).await;
        self.grant("extended", 2, LOGIN, &["extended"], 40, GIVEN);
        self.grant("swapped", 2, LOGIN, &["kept", "entered"], 45, GIVEN);
        self.grant("shortened", 2, LOGIN, &["shortened"], 30, GIVEN);
    }

    /// Several groups of which one does not exist; and a revoke that overtakes its grant, while another grant holds the
    /// group.
    async fn order(&self) {
        self.grant("several", 1, LOGIN, &["first", "second", NO_GROUP], 40, &["partial"]);
        self.at(5).await;
        let group = self.groups["first"].as_str();
        let grant = Grant::new(INTEGRATION, LOGIN, &[group]).until(self.second(45));
        let grant = Grant { grant_id: Some("overtaken".to_owned()), ..grant };
        self.apono.desire_grant(grant);
        self.revoke("overtaken", &["kept_other_grant"]);
        self.at(10).await;
        let params = self.apono.grant_params("overtaken").unwrap_or_default();
        let late = self.apono.enqueue("grant-access", INTEGRATION, params);
        // After a cut the grant may be the first of the two all the same.
        let codes: &[_] =
            if self.may_be_late { &["superseded", "granted", "expired"] } else { &["superseded"] };
        self.expect(&late, codes);
    }

    fn grant(
        &self,
        id: &str,
        revision: u64,
        name: &str,
        groups: &[&'static str],
        until: u64,
        codes: &[&'static str],
    ) -> String {
        let ids: Vec<&str> =
            groups.iter().map(|name| self.groups.get(name).map_or(*name, String::as_str)).collect();
        let grant = Grant::new(INTEGRATION, name, &ids).until(self.second(until));
        let granted = self.apono.grant(Grant { grant_id: Some(id.to_owned()), revision, ..grant });
        let mut codes = codes.to_vec();
        if self.may_be_late {
            codes.extend(LATE);
            // Of several groups, some may have been given before the grant was over.
            codes.push("partial");
        }
        self.expect(&granted.task_id, &codes);
        self.supersede(id, &ids, self.second(until));
        let mut promised = self.promised.borrow_mut();
        for group in ids.into_iter().filter(|id| *id != NO_GROUP && *id != self.groups["standing"]) {
            promised.lives.push(Life {
                grant: id.to_owned(),
                task: granted.task_id.clone(),
                group: group.to_owned(),
                user: self.user.clone(),
                until: self.second(until),
            });
        }
        granted.grant_id
    }

    fn revoke(&self, grant: &str, codes: &[&'static str]) {
        let task = self.apono.revoke(grant);
        let mut codes = codes.to_vec();
        if self.may_be_late {
            // Some other grant, or the grant itself, may have come or gone meanwhile.
            codes.extend(["revoked", "not_member", "kept_other_grant"]);
        }
        self.expect(&task, &codes);
        self.supersede(grant, &[], self.clock.now());
    }

    /// What an earlier revision promised holds until now where the group is dropped, and no longer than the new one.
    fn supersede(&self, grant: &str, groups: &[&str], until: Timestamp) {
        let now = self.clock.now();
        for life in self.promised.borrow_mut().lives.iter_mut().filter(|life| life.grant == grant) {
            let end = if groups.contains(&life.group.as_str()) { until } else { now };
            life.until = life.until.min(end);
        }
    }

    fn expect(&self, task: &str, codes: &[&'static str]) {
        match self.delivery {
            Delivery::Once => {}
            Delivery::Twice => self.apono.redeliver(task),
            Delivery::ToAll => self.apono.deliver_to_all(task),
        }
        self.promised.borrow_mut().tasks.insert(task.to_owned(), codes.to_vec());
    }

    async fn at(&self, second: u64) {
        clock::sleep(clock::until(self.clock.now(), self.second(second))).await;
    }

    fn second(&self, second: u64) -> Timestamp {
        clock::after(self.began, Duration::from_secs(second))
    }
}
