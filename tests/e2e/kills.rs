//! `kill -9`, again and again, at random instants, while grants come and go. The instants are counted in requests that
//! arrive at the simulators, so that every run of a seed is killed at the same places, as far as two processes allow.

use std::collections::BTreeSet;
use std::time::Duration;

use apono_connector::entropy::{SeededEntropy, SharedEntropy};
use jiff::{SignedDuration, Timestamp};
use simulator::apono::Grant;
use simulator::okta::{NewGroup, NewUser};

use super::oracle::{Life, Promised, at_the_end, one_result, second_answers, too_early};
use super::world::{Connector, INTEGRATION, World, in_time};

const USERS: usize = 3;
const GROUPS: usize = 4;
/// A connector lives for at most so many requests.
const LONGEST: usize = 24;
/// Milliseconds that a grant lasts at most.
const LIFE: usize = 1500;

#[tokio::test]
async fn access_ends_through_two_hundred_kills() {
    const SEED: u64 = 20_260_101;
    const KILLS: usize = 200;
    const GRANTS: usize = 40;
    println!("seed {SEED}");
    let killed = Killing::begin(SEED).kill(KILLS, GRANTS).await;
    assert_eq!(killed.breaches, Vec::<String>::new(), "seed {SEED}");
    assert_eq!((killed.kills, killed.grants), (KILLS, GRANTS));
}

/// What it came to.
#[derive(Debug)]
pub struct Killed {
    /// Must be empty.
    pub breaches: Vec<String>,
    pub kills: usize,
    pub grants: usize,
}

/// A world in which the connector is killed.
pub struct Killing {
    world: World,
    entropy: SharedEntropy,
    users: Vec<String>,
    groups: Vec<String>,
    promised: Promised,
    given: Vec<String>,
    revoked: BTreeSet<String>,
}

impl Killing {
    /// Everything that is drawn follows from `seed`.
    pub fn begin(seed: u64) -> Self {
        let world = World::new();
        let text = world.configuration("[okta.directory]\nenabled = false\n");
        world.write_configuration(&text.replace("level = \"debug\"", "level = \"info\""));
        let user = |number: usize| {
            world.okta.add_user(NewUser::active(&format!("user{number}@example.com"), "User", "Number"))
        };
        let users: Vec<_> = (0..USERS).map(user).collect();
        let group = |number: usize| world.okta.add_group(NewGroup::named(&format!("group{number}")));
        let groups: Vec<_> = (0..GROUPS).map(group).collect();
        let mut promised = Promised::default();
        for (group, user) in groups.iter().zip(&users) {
            world.okta.add_member(group, user);
            promised.standing.insert((group.clone(), user.clone()));
        }
        Self {
            world,
            entropy: SeededEntropy::shared(seed),
            users,
            groups,
            promised,
            given: Vec::new(),
            revoked: BTreeSet::new(),
        }
    }

    /// Kills so often, while so many grants come and go; then lets a last connector finish.
    pub async fn kill(mut self, kills: usize, grants: usize) -> Killed {
        for nth in 0..kills {
            let connector = self.world.start();
            // The grants are spread over the kills; more of them when everything is over.
            if self.given.len() * kills <= nth * grants || self.is_over() && self.given.len() < grants {
                self.grant();
            }
            let requests = 1 + self.draw(LONGEST);
            in_time("requests come, or all is over", self.until(|_| false, requests)).await;
            connector.kill().await;
            // What nobody has taken on is handed out again; it need not wait for the lease of a dead process.
            self.redeliver();
        }
        while self.given.len() < grants {
            self.grant();
        }
        let last = self.world.start();
        self.redeliver();
        let finished =
            tokio::time::timeout(Duration::from_mins(2), self.until(Self::is_over, usize::MAX)).await;
        self.judge(last, finished.is_ok(), kills).await
    }

    /// Waits until `enough` holds, or so many requests have arrived, or all is over and no more would.
    async fn until(&self, enough: impl Fn(&Self) -> bool, requests: usize) {
        let mut arrived = self.world.requests.clone();
        let first = *arrived.borrow_and_update();
        let last = first.saturating_add(u64::try_from(requests).unwrap_or(u64::MAX));
        loop {
            let (changed, member) = (self.world.apono.changed(), self.world.okta.membership_changed());
            let now = *arrived.borrow_and_update();
            if enough(self) || now >= last || now > first && self.is_over() {
                return;
            }
            tokio::select! {
                _ = arrived.changed() => {}
                () = changed => {}
                () = member => {}
            }
        }
    }

    fn is_over(&self) -> bool {
        let is_answered = |task: &String| self.world.apono.result(task).is_some();
        self.promised.tasks.keys().all(is_answered)
            && self.promised.lives.iter().all(|life| life.until < World::now())
            && self.world.okta.memberships() == self.promised.standing
    }

    /// A new grant; now and then a change of an earlier one as well, or its end.
    fn grant(&mut self) {
        let (user, group) = (self.draw(USERS), self.draw(GROUPS));
        let lasts = 200 + self.draw(LIFE);
        let id = format!("grt_{}", self.given.len());
        self.given.push(id.clone());
        self.ask(&id, 1, user, group, lasts);
        let earlier = self.draw(self.given.len());
        let id = self.given[earlier].clone();
        if self.revoked.contains(&id) {
            return;
        }
        match self.draw(5) {
            0 => {
                let task = self.world.apono.revoke(&id);
                self.revoked.insert(id.clone());
                self.expect(&task);
                self.cut(&id, World::now());
            }
            1 => {
                let Some(life) = self.promised.lives.iter().rev().find(|life| life.grant == id).cloned()
                else {
                    return;
                };
                let number =
                    |ids: &[String], id: &str| ids.iter().position(|known| known == id).unwrap_or_default();
                let (user, group) = (number(&self.users, &life.user), number(&self.groups, &life.group));
                let lasts = 200 + self.draw(LIFE);
                let revisions = self.promised.lives.iter().filter(|life| life.grant == id).count();
                self.ask(&id, u64::try_from(revisions).unwrap_or_default() + 1, user, group, lasts);
            }
            _ => {}
        }
    }

    fn ask(&mut self, id: &str, revision: u64, user: usize, group: usize, lasts: usize) {
        let lasts = SignedDuration::from_millis(i64::try_from(lasts).unwrap_or_default());
        let until = World::now().checked_add(lasts).unwrap_or(Timestamp::MAX);
        self.cut(id, until);
        let name = format!("user{user}@example.com");
        let grant = Grant::new(INTEGRATION, &name, &[&self.groups[group]]).until(until);
        let granted = self.world.apono.grant(Grant { grant_id: Some(id.to_owned()), revision, ..grant });
        self.expect(&granted.task_id);
        self.promised.lives.push(Life {
            grant: id.to_owned(),
            task: granted.task_id,
            group: self.groups[group].clone(),
            user: self.users[user].clone(),
            until,
        });
    }

    /// Nothing that the grant has promised so far lasts longer.
    fn cut(&mut self, grant: &str, until: Timestamp) {
        for life in self.promised.lives.iter_mut().filter(|life| life.grant == grant) {
            life.until = life.until.min(until);
        }
    }

    fn expect(&mut self, task: &str) {
        self.promised.tasks.insert(task.to_owned(), Vec::new());
    }

    fn redeliver(&self) {
        for task in self.promised.tasks.keys().filter(|task| self.world.apono.result(task).is_none()) {
            self.world.apono.redeliver(task);
        }
    }

    async fn judge(self, mut last: Connector, is_finished: bool, kills: usize) -> Killed {
        let (okta, apono) = (&self.world.okta, &self.world.apono);
        let mut breaches = second_answers(apono);
        if !is_finished {
            breaches.push("it was not over in two minutes".to_owned());
        }
        at_the_end(okta, &self.promised, &mut breaches);
        for task in self.promised.tasks.keys() {
            one_result(apono, task, &[], &mut breaches);
        }
        too_early(okta, apono, &self.promised, &mut breaches);
        for (group, user) in &self.promised.standing {
            let path = format!("/groups/{group}/users/{user}");
            if okta.calls().iter().any(|call| call.operation == "remove_member" && call.path.ends_with(&path))
            {
                breaches.push(format!("Okta was asked to remove {user} from {group}, where it stood before"));
            }
        }
        breaches.extend(apono.violations());
        // Before that it may not have taken over its signals.
        last.admin().await;
        if !last.stop().await.success() {
            breaches.push("the last connector did not stop well".to_owned());
        }
        Killed { breaches, kills, grants: self.given.len() }
    }

    /// A number below `below`.
    fn draw(&self, below: usize) -> usize {
        let bytes = self.entropy.bytes();
        usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % below.max(1)
    }
}
