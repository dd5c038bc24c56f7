//! # Purpose
//! What happens in the demonstration, and the proof of each step.
//!
//! # Invariants kept here
//! - Each step waits for a state in the simulators, with a limit, never for a fixed time.
//!
//! # Not here
//! Setting up: `stage`. Showing: `screen`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use simulator::apono::Grant;

use super::screen::Screen;
use super::stage::{INTEGRATION, Stage};
use crate::clock::{self, SharedClock, SystemClock};

/// What held, as numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    token: bool,
    users: usize,
    groups: usize,
    memberships: usize,
    grants: usize,
    ended: usize,
    ended_while_apono_was_down: usize,
    standing_kept: usize,
    second_run_writes: u64,
    leftover_memberships: usize,
    throttled: u64,
    seconds: f64,
    problems: Vec<String>,
}

impl Report {
    /// Whether all of it held.
    pub(super) fn holds(&self) -> bool {
        self.problems.is_empty()
    }

    /// One JSON document.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The story and what has come of it.
pub(super) struct Story<'a> {
    stage: Stage,
    screen: &'a Screen,
    clock: SharedClock,
    report: Report,
    before: BTreeSet<(String, String)>,
}

/// No single step takes longer.
const LIMIT: Duration = Duration::from_mins(1);
/// Simulators are looked at this often while something is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// How long the short grant lasts.
const SHORT: Duration = Duration::from_secs(4);

impl<'a> Story<'a> {
    pub(super) fn new(stage: Stage, screen: &'a Screen) -> Self {
        let before = stage.okta.memberships();
        Self { stage, screen, clock: SystemClock::shared(), report: Report::default(), before }
    }

    pub(super) async fn tell(&mut self) -> Result<()> {
        self.screen.title("apono-connector, against simulated Okta and Apono on this machine");
        for (what, place) in self.stage.addresses() {
            self.screen.note(&format!("{what:<16} {place}"));
        }
        self.token().await.context("the token")?;
        self.first_run().await.context("the first directory run")?;
        self.grant_and_revoke().await.context("the grant and its revocation")?;
        self.end_without_apono().await.context("the grant that ends while Apono is off")?;
        self.second_run().await.context("the second directory run")?;
        Ok(())
    }

    async fn token(&mut self) -> Result<()> {
        self.screen.title("Token");
        self.begin("the connector signs an assertion with its private key and asks Okta for a token");
        self.wait_for("a token", |stage| (stage.okta.tokens_issued() > 0).then_some(())).await?;
        self.report.token = true;
        self.done("Okta has verified the signature and granted a token for one hour");
        Ok(())
    }

    async fn first_run(&mut self) -> Result<()> {
        let (users, groups) = (self.stage.seeded.users.len(), self.stage.seeded.groups.len());
        self.screen.title("Directory");
        self.begin(&format!(
            "{users} users and {groups} groups are read from Okta and pushed to Apono by SCIM"
        ));
        let bar = self.screen.bar("users", users);
        let group_bar = self.screen.bar("groups", groups);
        // The more people, the longer it may take; what matters is that it goes on.
        let limit = LIMIT + Duration::from_millis(20) * u32::try_from(users + 100 * groups)?;
        let started = self.clock.elapsed();
        let run = loop {
            self.stage.check_alive()?;
            let (done_users, done_groups) = self.stage.apono.scim_size(INTEGRATION);
            bar.set_position(done_users as u64);
            group_bar.set_position(done_groups as u64);
            if let Some(run) = self.last_run().await {
                break run;
            }
            ensure!(self.clock.elapsed().saturating_sub(started) < limit, "it does not end");
            clock::sleep(LOOK).await;
        };
        bar.finish_and_clear();
        group_bar.finish_and_clear();
        ensure!(run["outcome"] == "completed", "it ended {}: {}", run["outcome"], run["message"]);
        let (pushed_users, pushed_groups) = self.stage.apono.scim_size(INTEGRATION);
        let members = |group: &Value| group["members"].as_array().map_or(0, Vec::len);
        let memberships: usize = self.stage.apono.scim_groups(INTEGRATION).iter().map(members).sum();
        ensure!(
            (pushed_users, pushed_groups) == (users, groups),
            "Apono has {pushed_users} users, {pushed_groups} groups"
        );
        ensure!(
            memberships == self.before.len(),
            "Apono has {memberships} of {} memberships",
            self.before.len()
        );
        (self.report.users, self.report.groups, self.report.memberships) =
            (pushed_users, pushed_groups, memberships);
        self.done(&format!(
            "Apono has {pushed_users} users, {pushed_groups} groups and {memberships} memberships ({} requests to Okta)",
            self.stage.okta.total_calls()
        ));
        Ok(())
    }

    async fn grant_and_revoke(&mut self) -> Result<()> {
        self.screen.title("A grant, and its revocation");
        let (user, login, group, name) = self.outsider(0)?;
        self.begin(&format!("Apono asks: {login} into \"{name}\" for 30 minutes"));
        let granted = self.grant(&login, &group, Duration::from_mins(30));
        let result = self.result(&granted.task_id).await?;
        ensure!(result["code"] == "granted", "the result is {result}");
        ensure!(self.stage.okta.is_member(&group, &user), "Okta does not have the membership");
        self.report.grants += 1;
        self.done(&format!("{login} is in \"{name}\" in Okta; Apono has the result {}", result["code"]));

        self.begin("Apono revokes it");
        let task = self.stage.apono.revoke(&granted.grant_id);
        let result = self.result(&task).await?;
        ensure!(result["code"] == "revoked", "the result is {result}");
        ensure!(!self.stage.okta.is_member(&group, &user), "Okta still has the membership");
        self.report.ended += 1;
        self.done("the membership is gone from Okta, and seen to be gone");
        Ok(())
    }

    async fn end_without_apono(&mut self) -> Result<()> {
        self.screen.title("A grant that ends by itself while Apono is switched off");
        let (user, login, group, name) = self.outsider(1)?;
        let (standing_user, standing_login, standing_group, standing_name) = self.insider()?;
        self.begin(&format!(
            "two grants of {} s: {login} into \"{name}\", and {standing_login} into \"{standing_name}\"",
            SHORT.as_secs()
        ));
        let expiry = clock::after(self.clock.now(), SHORT);
        let granted = self.grant_until(&login, &group, expiry);
        let standing = self.grant_until(&standing_login, &standing_group, expiry);
        let result = self.result(&granted.task_id).await?;
        ensure!(result["code"] == "granted", "the result is {result}");
        let standing_result = self.result(&standing.task_id).await?;
        ensure!(standing_result["code"] == "already_member", "the result is {standing_result}");
        self.report.grants += 2;
        self.done(&format!(
            "{login} was added; {standing_login} was in \"{standing_name}\" already, and Apono is told so"
        ));

        self.stage.switch_apono_off().await;
        self.begin("Apono is switched off: its port is closed, every connection is cut");
        ensure!(self.stage.okta.is_member(&group, &user), "the grant ended too early");
        self.wait_for("the end of the grant", |stage| (!stage.okta.is_member(&group, &user)).then_some(()))
            .await?;
        let late = self.clock.now().duration_since(expiry).as_secs_f64();
        ensure!(late >= 0.0, "the grant ended {:.1} s before its expiry", -late);
        self.report.ended += 1;
        self.report.ended_while_apono_was_down += 1;
        self.done(&format!("{login} was removed {late:.1} s after the grant's expiry, without Apono"));
        self.wait_for_quiet().await?;
        ensure!(
            self.stage.okta.is_member(&standing_group, &standing_user),
            "a standing membership was taken away"
        );
        self.report.standing_kept += 1;
        self.done(&format!(
            "{standing_login} is still in \"{standing_name}\": what was there before is never taken away"
        ));

        self.stage.switch_apono_on()?;
        let asked = self.stage.apono.call_count("lease_tasks");
        self.wait_for("the connector", |stage| (stage.apono.call_count("lease_tasks") > asked).then_some(()))
            .await?;
        self.done("Apono is switched on again and the connector is back");
        Ok(())
    }

    async fn second_run(&mut self) -> Result<()> {
        self.screen.title("A second directory run");
        let before = self.stage.apono.scim_writes();
        self.begin("Apono asks for a directory run now");
        let task = self.stage.apono.enqueue("sync-directory", INTEGRATION, json!({}));
        let result = self.result(&task).await?;
        ensure!(result["output"]["outcome"] == "completed", "the result is {result}");
        self.report.second_run_writes = self.stage.apono.scim_writes() - before;
        self.done(&format!("nothing to do: {} writes", self.report.second_run_writes));
        Ok(())
    }

    /// Leaves everything up until Ctrl-C.
    pub(super) async fn stay_open(&mut self) -> Result<()> {
        self.screen.title("Everything stays up until Ctrl-C");
        for (what, place) in self.stage.addresses() {
            self.screen.note(&format!("{what:<16} {place}"));
        }
        tokio::signal::ctrl_c().await?;
        Ok(())
    }

    /// Stops the connector and adds up.
    pub(super) async fn finish(mut self) -> Result<Report> {
        let status = self.stage.stop_connector().await?;
        let after = self.stage.okta.memberships();
        let report = &mut self.report;
        report.leftover_memberships = after.difference(&self.before).count();
        report.throttled = self.stage.okta.throttled();
        report.seconds = (self.clock.elapsed().as_secs_f64() * 100.0).round() / 100.0;
        let lost = self.before.difference(&after).count();
        let violations = self.stage.apono.violations();
        let checks = [
            (status.success(), format!("the connector ended with {status}")),
            (
                report.leftover_memberships == 0,
                format!("{} memberships are left over", report.leftover_memberships),
            ),
            (lost == 0, format!("{lost} memberships that were there before are gone")),
            (
                report.second_run_writes == 0,
                format!("the second run wrote {} times", report.second_run_writes),
            ),
            (report.throttled == 0, format!("Okta answered 429 {} times", report.throttled)),
            (self.stage.apono.sessions().is_empty(), "the session was not ended".to_owned()),
            (violations.is_empty(), format!("the contract was broken: {violations:?}")),
        ];
        report.problems =
            checks.into_iter().filter(|(holds, _)| !holds).map(|(_, problem)| problem).collect();
        let report = self.report.clone();
        if report.holds() {
            let text = "the connector drained and said goodbye; no membership is left over, none is lost, no request was throttled";
            self.done(text);
        }
        for problem in &report.problems {
            self.screen.failed(problem);
        }
        Ok(report)
    }

    /// Leaves the folder behind for a look; returns its path.
    pub(super) fn keep_folder(&mut self) -> String {
        self.stage.keep_folder()
    }

    /// Somebody who is not in some group: (user, login, group, name of the group).
    fn outsider(&self, nth: usize) -> Result<(String, String, String, String)> {
        let seeded = &self.stage.seeded;
        let pairs = seeded.groups.iter().zip(seeded.users.iter().cycle().skip(7 * nth));
        let mut free = pairs.filter(|(group, user)| {
            self.is_active(user) && !self.before.contains(&((*group).clone(), (*user).clone()))
        });
        let (group, user) = free.nth(nth).context("everybody is in every group; take fewer memberships")?;
        Ok((user.clone(), self.login(user), group.clone(), self.group_name(group)))
    }

    /// Somebody who is in some group.
    fn insider(&self) -> Result<(String, String, String, String)> {
        let mut members = self.before.iter().filter(|(_, user)| self.is_active(user));
        let (group, user) = members.next().context("nobody is in any group")?;
        Ok((user.clone(), self.login(user), group.clone(), self.group_name(group)))
    }

    fn is_active(&self, user: &str) -> bool {
        self.stage.okta.user(user)["status"] == "ACTIVE"
    }

    fn login(&self, user: &str) -> String {
        self.stage.okta.user(user)["profile"]["login"].as_str().unwrap_or_default().to_owned()
    }

    fn group_name(&self, group: &str) -> String {
        let groups = self.stage.apono.scim_groups(INTEGRATION);
        let found = groups.iter().find(|known| known["externalId"] == group);
        found.and_then(|group| group["displayName"].as_str()).unwrap_or(group).to_owned()
    }

    fn grant(&self, login: &str, group: &str, lasts: Duration) -> simulator::apono::Granted {
        self.grant_until(login, group, clock::after(self.clock.now(), lasts))
    }

    fn grant_until(&self, login: &str, group: &str, expiry: Timestamp) -> simulator::apono::Granted {
        self.stage.apono.grant(Grant::new(INTEGRATION, login, &[group]).until(expiry))
    }

    async fn result(&mut self, task: &str) -> Result<Value> {
        let task = task.to_owned();
        self.wait_for("a result", move |stage| stage.apono.result(&task)).await
    }

    async fn last_run(&self) -> Option<Value> {
        let status = self.stage.status().await?;
        let run = status["facts"]["organizations"][0]["last_directory_run"].clone();
        (!run.is_null()).then_some(run)
    }

    /// Waits until the connector owes nothing.
    async fn wait_for_quiet(&mut self) -> Result<()> {
        let started = self.clock.elapsed();
        while self.clock.elapsed().saturating_sub(started) < LIMIT {
            let status = self.stage.status().await.unwrap_or_default();
            let organization = &status["facts"]["organizations"][0];
            if organization["removals_due"] == 0 && organization["live_memberships"] == 0 {
                return Ok(());
            }
            clock::sleep(LOOK).await;
        }
        bail!("the connector still owes removals")
    }

    async fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(&Stage) -> Option<T>) -> Result<T> {
        let started = self.clock.elapsed();
        while self.clock.elapsed().saturating_sub(started) < LIMIT {
            if let Some(found) = look(&self.stage) {
                return Ok(found);
            }
            self.stage.check_alive()?;
            clock::sleep(LOOK).await;
        }
        bail!("{what} did not come within {} s", LIMIT.as_secs())
    }

    fn begin(&self, text: &str) {
        self.screen.begin(self.clock.elapsed(), text);
    }

    fn done(&self, text: &str) {
        self.screen.done(self.clock.elapsed(), text);
    }
}
