//! Lives through a history, move by move, and keeps a small model beside it of what must be so in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use apono_connector::access::journal::Journal;
use apono_connector::clock;
use apono_connector::http::transport::Transport;
use jiff::Timestamp;
use simulator::apono::Grant;
use simulator::fault::{Fault, Faults};
use simulator::okta::{NewGroup, NewUser};

use crate::moves::{APONO, GROUPS, Move, OKTA, USERS};
use crate::oracle::{Life, Pair, Promised, one_result, second_answers, told_without_an_end, too_early};
use crate::stage::{Stage, removed_standing, without_a_duty};
use crate::world::{INTEGRATION, Running, World};

/// What a history came to.
#[derive(Debug, Default)]
pub struct Lived {
    /// Must be empty.
    pub breaches: Vec<String>,
    /// How often something was in the way, by its name.
    pub mishaps: BTreeMap<String, usize>,
    /// How often the power went.
    pub crashes: usize,
}

/// Lives through a history in a world of its own, in virtual time.
pub fn live_through(moves: &[Move]) -> Lived {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut history = History::begin().await;
        for one in moves {
            history.make(one).await;
        }
        history.end().await
    })
}

/// The world, and the model of it.
struct History {
    world: World,
    stage: Stage,
    network: Arc<dyn Transport>,
    disk: Arc<dyn Journal>,
    connector: Option<Running>,
    users: Vec<String>,
    groups: Vec<String>,
    rules: Vec<String>,
    grants: Vec<Given>,
    /// What no grant gave.
    promised: Promised,
    /// Where an administrator added somebody whom a grant may have added at the same time: both outcomes are right.
    unsure: BTreeSet<Pair>,
    /// Where nobody but the connector could have changed anything.
    untouched: BTreeSet<Pair>,
    lived: Lived,
}

/// A grant as Apono knows it.
struct Given {
    id: String,
    user: usize,
    name: String,
    revision: u64,
    task: String,
    until: Timestamp,
    groups: Vec<usize>,
    /// Final: what Apono asks for afterwards under the same id may be refused, or taken back at any time.
    is_revoked: bool,
}

impl History {
    async fn begin() -> Self {
        let mut world = World::quiet();
        world.settings = world.settings.replace("[state]", "[okta.directory]\nenabled = false\n[state]");
        world.okta.configure(|settings| settings.visibility_lag = Duration::from_millis(700));
        // Somebody and something that nobody touches: the connector sees that it has its rights.
        world.okta.add_user(NewUser::active("bystander@example.com", "By", "Stander"));
        world.okta.add_group(NewGroup::named("bystanders"));
        let user = |number: usize| {
            let login = format!("user{number}@example.com");
            let email = format!("mail{number}@example.com");
            world.okta.add_user(NewUser { email, ..NewUser::active(&login, "User", &number.to_string()) })
        };
        let users: Vec<_> = (0..USERS).map(user).collect();
        let group = |number: usize| world.okta.add_group(NewGroup::named(&format!("group{number}")));
        let groups: Vec<_> = (0..GROUPS).map(group).collect();
        let mut promised = Promised::default();
        for number in 0..USERS {
            world.okta.add_member(&groups[number], &users[number]);
            promised.standing.insert((groups[number].clone(), users[number].clone()));
        }
        let stage = Stage::new(None);
        let (network, disk) = (stage.network(world.network()), stage.disk(world.disk()));
        let connector = world.start_between(Arc::clone(&network), Arc::clone(&disk), "").await.ok();
        Self {
            untouched: promised.standing.clone(),
            world,
            stage,
            network,
            disk,
            connector,
            users,
            groups,
            rules: Vec::new(),
            grants: Vec::new(),
            promised,
            unsure: BTreeSet::new(),
            lived: Lived::default(),
        }
    }

    async fn make(&mut self, one: &Move) {
        match one {
            Move::Grant { user, by_email, groups, lasts } => {
                let name = if *by_email { format!("mail{user}") } else { format!("user{user}") };
                let id = format!("grt_{}", self.grants.len());
                let given = Given {
                    id,
                    user: *user,
                    name: format!("{name}@example.com"),
                    revision: 0,
                    task: String::new(),
                    until: self.world.after(*lasts),
                    groups: groups.clone(),
                    is_revoked: false,
                };
                self.grants.push(given);
                self.ask(self.grants.len() - 1, groups, *lasts);
            }
            Move::Revise { grant, groups, lasts } => {
                if let Some(grant) = self.numbered(*grant) {
                    self.ask(grant, groups, *lasts);
                }
            }
            Move::Revoke { grant } => {
                if let Some(grant) = self.numbered(*grant) {
                    let task = self.world.apono.revoke(&self.grants[grant].id);
                    self.promised.tasks.insert(task, Vec::new());
                    self.grants[grant].is_revoked = true;
                    self.supersede(grant, &[], self.world.clock.now());
                }
            }
            Move::Redeliver { grant } => {
                if let Some(grant) = self.numbered(*grant) {
                    self.world.apono.redeliver(&self.grants[grant].task);
                }
            }
            Move::Pass(duration) => self.world.pass(*duration).await,
            Move::Crash(dark) => self.crash(*dark).await,
            Move::OktaFault { operation, kind, times } => {
                self.count(&format!("Okta {kind:?}, prepared"), *times);
                self.world.okta.faults().times(operation, *times, kind.at_okta());
            }
            Move::AponoFault { operation, kind, times } => {
                self.count(&format!("Apono {kind:?}, prepared"), *times);
                self.world.apono.faults().times(operation, *times, kind.at_apono());
            }
            Move::OktaIs { up } => self.okta_is(*up),
            Move::AponoIs { up } => self.apono_is(*up),
            Move::DiskIs { up } => self.disk_is(*up),
            Move::TrailIs { up } => self.trail_is(*up),
            Move::Status { user, status } => self.world.okta.set_status(&self.users[*user], status),
            Move::DeleteUser { user } => {
                let gone = self.users[*user].clone();
                self.world.okta.delete_user(&gone);
                self.forget(|pair| pair.1 == gone);
            }
            Move::DeleteGroup { group } => {
                let gone = self.groups[*group].clone();
                self.world.okta.delete_group(&gone);
                self.forget(|pair| pair.0 == gone);
            }
            Move::Rule { group } => {
                let rule = self.world.okta.add_group_rule("rule", &[&self.groups[*group]], "ACTIVE");
                self.rules.push(rule);
            }
            Move::Outsider { group, user, member } => self.intervene(*group, *user, *member),
        }
    }

    fn ask(&mut self, number: usize, groups: &[usize], lasts: Duration) {
        let until = self.world.after(lasts);
        self.supersede(number, groups, until);
        let ids: Vec<&str> = groups.iter().map(|group| self.groups[*group].as_str()).collect();
        let given = &mut self.grants[number];
        given.revision += 1;
        let grant = Grant::new(INTEGRATION, &given.name, &ids).until(until);
        let grant = Grant { grant_id: Some(given.id.clone()), revision: given.revision, ..grant };
        given.task = self.world.apono.grant(grant).task_id;
        given.until = given.until.max(until);
        given.groups.extend(groups);
        self.promised.tasks.insert(given.task.clone(), Vec::new());
        for group in ids.into_iter().filter(|_| !given.is_revoked) {
            self.promised.lives.push(Life {
                grant: given.id.clone(),
                task: given.task.clone(),
                group: group.to_owned(),
                user: self.users[given.user].clone(),
                until,
            });
        }
    }

    /// What an earlier revision promised holds until now where the group is dropped, and no longer than the new one.
    fn supersede(&mut self, number: usize, groups: &[usize], until: Timestamp) {
        let now = self.world.clock.now();
        let kept: BTreeSet<&str> = groups.iter().map(|group| self.groups[*group].as_str()).collect();
        let grant = &self.grants[number].id;
        for life in self.promised.lives.iter_mut().filter(|life| life.grant == *grant) {
            let end = if kept.contains(life.group.as_str()) { until } else { now };
            life.until = life.until.min(end);
        }
    }

    fn intervene(&mut self, group: usize, user: usize, member: bool) {
        let pair = (self.groups[group].clone(), self.users[user].clone());
        let is_granted = self.grants.iter().any(|given| given.user == user && given.groups.contains(&group));
        self.untouched.remove(&pair);
        if !member {
            self.world.okta.remove_member(&pair.0, &pair.1);
            self.promised.standing.remove(&pair);
        } else if !self.world.okta.is_member(&pair.0, &pair.1) {
            self.world.okta.add_member(&pair.0, &pair.1);
            if is_granted {
                self.unsure.insert(pair);
            } else if self.world.okta.is_member(&pair.0, &pair.1) {
                self.promised.standing.insert(pair);
            }
        }
    }

    async fn crash(&mut self, dark: Duration) {
        self.lived.crashes += 1;
        if let Some(connector) = self.connector.take() {
            connector.crash().await;
        }
        self.world.pass(dark).await;
        self.start().await;
    }

    async fn start(&mut self) {
        let started = self.world.start_between(Arc::clone(&self.network), Arc::clone(&self.disk), "").await;
        match started {
            Ok(connector) => self.connector = Some(connector),
            Err(problem) => {
                self.lived.breaches.push(format!("the connector does not start again: {problem}"));
            }
        }
    }

    fn okta_is(&mut self, up: bool) {
        self.world.okta.faults().clear();
        if !up {
            self.count("Okta away", 1);
            for operation in OKTA {
                self.world.okta.faults().always(operation, Fault::status(503));
            }
        }
    }

    fn apono_is(&mut self, up: bool) {
        self.world.apono.faults().clear();
        if !up {
            self.count("Apono away", 1);
            for operation in APONO {
                self.world.apono.faults().always(operation, Fault::Disconnect);
            }
        }
    }

    fn disk_is(&mut self, up: bool) {
        self.count("disk fails", usize::from(!up));
        self.world.journal.break_writes(!up);
    }

    fn trail_is(&mut self, up: bool) {
        self.count("audit trail fails", usize::from(!up));
        self.world.audit.break_writes(!up);
    }

    fn count(&mut self, mishap: &str, times: usize) {
        *self.lived.mishaps.entry(mishap.to_owned()).or_default() += times;
    }

    fn numbered(&self, grant: usize) -> Option<usize> {
        grant.checked_rem(self.grants.len())
    }

    fn forget(&mut self, gone: impl Fn(&Pair) -> bool) {
        for pairs in [&mut self.promised.standing, &mut self.untouched, &mut self.unsure] {
            pairs.retain(|pair| !gone(pair));
        }
    }

    /// Everything is mended, every grant runs out; then the model is asked.
    async fn end(mut self) -> Lived {
        self.okta_is(true);
        self.apono_is(true);
        self.disk_is(true);
        self.trail_is(true);
        for rule in &self.rules {
            self.world.okta.set_group_rule_status(rule, "INACTIVE");
        }
        let now = self.world.clock.now();
        let last = self.grants.iter().map(|given| given.until).max().unwrap_or(now);
        // Pauses of up to five minutes, leases and two listings come on top.
        self.world.pass(clock::until(now, last) + Duration::from_mins(20)).await;
        // Not all that was prepared has met a call.
        let struck = |faults: &Faults, operations: &[&str]| {
            operations.iter().map(|operation| faults.fired(operation)).sum::<usize>()
        };
        self.count("calls to Okta that went wrong", struck(self.world.okta.faults(), &OKTA));
        self.count("calls to Apono that went wrong", struck(self.world.apono.faults(), &APONO));
        self.judge();
        if let Some(connector) = self.connector.take() {
            let facts = connector.facts();
            if facts.organizations[0].removals_due > 0 {
                self.lived.breaches.push(format!("{} removals are due", facts.organizations[0].removals_due));
            }
            connector.crash().await;
        }
        self.lived
    }

    fn judge(&mut self) {
        let breaches = &mut self.lived.breaches;
        let there = self.world.okta.memberships();
        for pair in there.difference(&self.promised.standing).filter(|pair| !self.unsure.contains(*pair)) {
            breaches.push(format!("{} is left in {}, by a grant that is over", pair.1, pair.0));
        }
        for pair in self.promised.standing.difference(&there).filter(|pair| !self.unsure.contains(*pair)) {
            breaches.push(format!("{} is no longer in {}, where it stood before", pair.1, pair.0));
        }
        for task in self.promised.tasks.keys() {
            one_result(&self.world.apono, task, &[], breaches);
        }
        breaches.extend(second_answers(&self.world.apono));
        too_early(&self.world.okta, &self.world.apono, &self.promised, breaches);
        let happened = self.stage.happened();
        without_a_duty(&happened, breaches);
        removed_standing(&happened, &self.untouched, breaches);
        told_without_an_end(&self.world.audit.records(), breaches);
        breaches.extend(self.world.apono.violations());
        breaches.extend(self.world.take_errors());
    }
}
