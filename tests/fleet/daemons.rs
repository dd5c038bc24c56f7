//! Several daemons, one Apono, one Okta, one database; and what they have promised.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use apono_connector::clock;
use jiff::{SignedDuration, Timestamp};
use nix::sys::signal::Signal;
use serde_json::Value;
use simulator::apono::Grant;
use simulator::okta::{Limits, NewGroup, NewUser, WriteEffect};

use super::oracle::{Life, Promised, at_the_end, one_result, second_answers, too_early};
use super::postgres::Base;
use super::world::{Connector, INTEGRATION, LIMIT, World, in_time};

/// See the module.
pub struct Fleet {
    pub world: World,
    pub users: Vec<(String, String)>,
    pub groups: Vec<String>,
    pub promised: Promised,
    daemons: BTreeMap<usize, Connector>,
    given: usize,
}

impl Fleet {
    /// Nobody runs yet. Every user stands in one group.
    pub fn new(base: &Base, users: usize, groups: usize) -> Self {
        Self::at(&base.url, base, users, groups)
    }

    /// The same, with the database at another address.
    pub fn at(url: &str, base: &Base, users: usize, groups: usize) -> Self {
        Self::with(url, base, users, groups, Limits::unlimited(), "enabled = false")
    }

    /// The same as the first, with a directory that runs every second.
    pub fn with_a_directory(base: &Base, users: usize, groups: usize) -> Self {
        Self::with(&base.url, base, users, groups, Limits::unlimited(), "interval = \"1s\"")
    }

    /// The same, where Okta has these limits and the directory is read again and again.
    pub fn limited(base: &Base, users: usize, groups: usize, limits: Limits) -> Self {
        Self::with(
            &base.url,
            base,
            users,
            groups,
            limits,
            "interval = \"1s\"
full_interval = \"1s\"",
        )
    }

    fn with(url: &str, base: &Base, users: usize, groups: usize, limits: Limits, directory: &str) -> Self {
        let world = World::new();
        world.okta.configure(|settings| settings.limits = limits);
        let text = world.configuration(&format!("[okta.directory]\n{directory}\n"));
        let (before, after) = text.split_once("[state]").unwrap();
        let after = after.split_once("[audit]").unwrap().1;
        let shared = |directory: &str, audit: &str| {
            let after = after
                .replacen("state/audit.jsonl", audit, 1)
                .replace("level = \"debug\"", "level = \"info\"");
            format!(
                "{before}\n[state]\nurl = \"{}\"\npassword_file = \"{}\"\ndirectory = \"{directory}\"\n[audit]{after}",
                url,
                base.password_file.display()
            )
        };
        for n in 0..8 {
            let folder = world.path(&format!("host{n}"));
            fs::create_dir_all(&folder).unwrap();
            let text = shared(&folder.display().to_string(), &format!("host{n}/audit.jsonl"));
            fs::write(world.path(&format!("host{n}.toml")), text).unwrap();
        }
        let user = |n: usize| {
            let login = format!("user{n}@example.com");
            (world.okta.add_user(NewUser::active(&login, "User", "Number")), login)
        };
        let users: Vec<_> = (0..users).map(user).collect();
        let groups: Vec<_> =
            (0..groups).map(|n| world.okta.add_group(NewGroup::named(&format!("group{n}")))).collect();
        let mut promised = Promised::default();
        for (n, (user, _)) in users.iter().enumerate() {
            let group = &groups[n % groups.len()];
            world.okta.add_member(group, user);
            promised.standing.insert((group.clone(), user.clone()));
        }
        Self { world, users, groups, promised, daemons: BTreeMap::new(), given: 0 }
    }

    /// Starts the daemon of a host and waits until it is ready to take tasks.
    pub async fn start(&mut self, host: usize) {
        self.start_program(World::program(), host).await;
    }

    /// The same, of another program.
    pub async fn start_program(&mut self, program: &Path, host: usize) {
        let mut command = World::command_of(program, &["run"]);
        command.arg("--config").arg(self.world.path(&format!("host{host}.toml")));
        let mut daemon = self.world.start_command(command);
        daemon.admin().await;
        self.daemons.insert(host, daemon);
    }

    pub async fn kill(&mut self, host: usize) {
        self.daemons.remove(&host).unwrap().kill().await;
    }

    /// Stops it in order.
    pub async fn stop(&mut self, host: usize) {
        let status = self.daemons.remove(&host).unwrap().stop().await;
        assert!(status.success(), "the daemon of host {host} did not stop well: {status}");
    }

    /// Of three daemons kills one every ten seconds, and starts it again four seconds later.
    pub async fn kill_one_after_the_other(&mut self, second: usize) {
        match second % 10 {
            4 => self.kill(second / 10 % 3).await,
            8 => self.start(second / 10 % 3).await,
            _ => {}
        }
    }

    pub fn signal(&self, host: usize, signal: Signal) {
        self.daemons[&host].signal(signal);
    }

    pub fn daemon(&mut self, host: usize) -> &mut Connector {
        self.daemons.get_mut(&host).unwrap()
    }

    /// Gives the next user of the next group access for so long. No two live grants are about the same.
    pub fn grant(&mut self, lasts: Duration) -> String {
        let n = self.given;
        self.given += 1;
        let (user, login) = &self.users[n % self.users.len()];
        let group = &self.groups[n / self.users.len() % self.groups.len()];
        let until =
            World::now().checked_add(SignedDuration::try_from(lasts).unwrap()).unwrap_or(Timestamp::MAX);
        let granted = self.world.apono.grant(Grant::new(INTEGRATION, login, &[group]).until(until));
        self.promised.tasks.insert(granted.task_id.clone(), Vec::new());
        self.promised.lives.push(Life {
            grant: granted.grant_id,
            task: granted.task_id.clone(),
            group: group.clone(),
            user: user.clone(),
            until,
        });
        granted.task_id
    }

    /// Gives so many grants a second, for so many seconds, each for three to six seconds. `then` is done after each second.
    pub async fn keep_giving(
        &mut self,
        seconds: usize,
        a_second: usize,
        mut then: impl AsyncFnMut(&mut Self, usize),
    ) {
        for second in 0..seconds {
            for n in 0..a_second {
                let extra = u64::try_from(3000 * n / a_second).unwrap();
                self.grant(Duration::from_millis(3000 + extra));
            }
            clock::sleep(Duration::from_secs(1)).await;
            then(self, second).await;
        }
    }

    /// Runs a command on a host until it ends.
    pub async fn outcome(&self, host: usize, arguments: &[&str]) -> Output {
        let mut command = World::bare_command(arguments);
        command.arg("--config").arg(self.world.path(&format!("host{host}.toml")));
        let ended = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).output();
        in_time("the command ends", ended).await.unwrap()
    }

    /// Runs a command on a host; what it printed.
    pub async fn command(&self, host: usize, arguments: &[&str]) -> String {
        let output = self.outcome(host, arguments).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until a daemon's status fits.
    pub async fn until_status(&mut self, host: usize, fits: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            loop {
                let (_, text) = self.daemon(host).ask("/status").await;
                let status: Value = serde_json::from_str(&text).unwrap();
                if fits(&status) {
                    return status;
                }
                clock::sleep(Duration::from_millis(50)).await;
            }
        };
        in_time("the status fits", look).await
    }

    /// Waits until a fault of this operation has fired.
    pub async fn until_asked(&self, operation: &str) {
        let mut requests = self.world.requests.clone();
        let asked = async {
            while self.world.okta.faults().fired(operation) == 0 {
                requests.changed().await.unwrap();
            }
        };
        in_time("Okta is asked", asked).await;
    }

    /// Waits until nothing is left of what grants gave, answered or not.
    pub async fn until_ended(&self) {
        let ended = self.world.okta.until(|okta| okta.memberships() == self.promised.standing);
        in_time("what grants gave ends", ended).await;
    }

    pub fn is_over(&self) -> bool {
        let is_answered = |task: &String| self.world.apono.result(task).is_some();
        self.promised.tasks.keys().all(is_answered)
            && self.promised.lives.iter().all(|life| life.until < World::now())
            && self.world.okta.memberships() == self.promised.standing
    }

    /// Waits until everything is over.
    pub async fn until_over(&self) {
        let waiting = async {
            while !self.is_over() {
                let (changed, member) = (self.world.apono.changed(), self.world.okta.membership_changed());
                let last = self.promised.lives.iter().map(|life| life.until).max();
                let expiry = last.map_or(Duration::ZERO, |last| clock::until(World::now(), last));
                tokio::select! {
                    () = changed => {}
                    () = member => {}
                    () = clock::sleep(expiry), if !expiry.is_zero() => {}
                }
            }
        };
        // What is not over then is told below.
        let _ = tokio::time::timeout(LIMIT, waiting).await;
    }

    /// How late each removal was that a grant owed, sorted.
    pub fn lags(&self) -> Vec<Duration> {
        let removed: Vec<_> = self.world.okta.membership_writes();
        let removed: Vec<_> = removed.iter().filter(|write| write.effect == WriteEffect::Removed).collect();
        let lag = |(n, life): (usize, &Life)| {
            let is_it = |group: &str, user: &str| group == life.group && user == life.user;
            let of_life = removed.iter().filter(|write| is_it(&write.group, &write.user));
            let end = of_life.map(|write| write.at).find(|at| *at >= life.until)?;
            // One that was never given ends with no other.
            let next = self.promised.lives.iter().skip(n + 1).find(|next| is_it(&next.group, &next.user));
            next.is_none_or(|next| end < next.until).then(|| clock::until(life.until, end))
        };
        let mut lags: Vec<_> = self.promised.lives.iter().enumerate().filter_map(lag).collect();
        lags.sort();
        lags
    }

    /// In words: how many ended, and how late.
    pub fn lateness(&self) -> String {
        let lags = self.lags();
        let at = |part: usize| lags.get(lags.len() * part / 100);
        let refused = self.promised.tasks.keys().filter(|task| {
            self.world.apono.result(task).is_some_and(|result| result["code"] == "refused_degraded")
        });
        format!(
            "{} grants, {} refused while the database was away, {} memberships ended; late: half {:?}, 99 % {:?}, the last {:?}",
            self.promised.lives.len(),
            refused.count(),
            lags.len(),
            at(50).unwrap_or(&Duration::ZERO),
            at(99).unwrap_or(&Duration::ZERO),
            lags.last().unwrap_or(&Duration::ZERO)
        )
    }

    /// What was broken; stops everybody.
    pub async fn judge(mut self) -> Vec<String> {
        let (okta, apono) = (self.world.okta.clone(), self.world.apono.clone());
        let mut breaches = second_answers(&apono);
        at_the_end(&okta, &self.promised, &mut breaches);
        for task in self.promised.tasks.keys() {
            one_result(&apono, task, &[], &mut breaches);
        }
        too_early(&okta, &apono, &self.promised, &mut breaches);
        for write in okta.membership_writes() {
            let stands = self.promised.standing.contains(&(write.group.clone(), write.user.clone()));
            if stands && write.operation == "remove_member" {
                breaches
                    .push(format!("{} was removed from {}, where it stood before", write.user, write.group));
            }
        }
        breaches.extend(apono.violations());
        for (host, daemon) in std::mem::take(&mut self.daemons) {
            if !daemon.stop().await.success() {
                breaches.push(format!("the daemon of host {host} did not stop well"));
            }
        }
        breaches.extend(self.told_of(&breaches));
        breaches
    }

    /// What the daemons have logged of those who are named, and of the database.
    fn told_of(&self, breaches: &[String]) -> Vec<String> {
        let concerned = |life: &&Life| {
            breaches.iter().any(|breach| breach.contains(&life.user) || breach.contains(&life.task))
        };
        let lives: Vec<_> = self.promised.lives.iter().filter(concerned).collect();
        if lives.is_empty() {
            return Vec::new();
        }
        let names = lives.iter().flat_map(|life| [life.user.as_str(), &life.task, &life.grant]);
        let words: Vec<_> = names.chain(["journal", "fleet_"]).collect();
        let logs = (1..).map(|n| format!("connector-{n}.log"));
        let logs = logs.map_while(|log| Some((fs::read_to_string(self.world.path(&log)).ok()?, log)));
        let of_log = |(text, log): (String, String)| {
            let is_told = |line: &&str| words.iter().any(|word| line.contains(word));
            text.lines().filter(is_told).map(|line| format!("{log}: {line}")).collect::<Vec<_>>()
        };
        logs.flat_map(of_log).collect()
    }
}
