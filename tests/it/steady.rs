//! Days of an organization at work, in virtual time: people come, move and go, access is given and ends, and the
//! directory is read all the while. Shared by a test of a small organization and by `benches/limits.rs` of larger ones.

use std::time::Duration;

use simulator::apono::Grant;
use simulator::okta::{self, Limits, NewUser};

use crate::world::{INTEGRATION, World};

/// Who there is, what Okta allows, and for how long it goes on.
pub struct Organization {
    pub days: usize,
    pub users: usize,
    pub groups: usize,
    pub members_per_group: usize,
    pub limits: Limits,
}

/// What happened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Worked {
    /// At Okta.
    pub requests: u64,
    pub throttled: u64,
    /// Directory runs that ended, and those that did not read everything or apply it.
    pub runs: u64,
    pub broken_runs: u64,
    pub grants: u64,
    pub refused_grants: u64,
    /// Memberships of grants that are still there a while after the last has ended.
    pub left_over: u64,
}

const QUARTER: Duration = Duration::from_mins(15);
const QUARTERS_A_DAY: usize = 96;

/// Runs a connector through those days.
pub async fn work(organization: Organization) -> Worked {
    let mut world = World::quiet();
    world.okta.configure(|settings| settings.limits = organization.limits.clone());
    let Organization { days, users, groups, members_per_group, .. } = organization;
    let seeded =
        world.okta.seed(okta::Seed { users, groups, members_per_group, seed: 7, ..okta::Seed::default() });
    let connector = world.start().await;
    let last_run = || connector.facts().organizations[0].last_directory_run.clone();
    world.until("the first run ends", |_| last_run()).await;
    let mut worked = Worked::default();
    let (mut seen, mut given) = (None, Vec::new());
    for quarter in 0..days * QUARTERS_A_DAY {
        let group = &seeded.groups[quarter % groups];
        // Somebody comes, somebody moves, somebody goes.
        let new = world.okta.add_user(NewUser::active(&format!("new{quarter}@example.com"), "New", "Here"));
        world.okta.add_member(group, &new);
        if let Some(member) = world.okta.members(group).first() {
            world.okta.remove_member(group, member);
        }
        if quarter.is_multiple_of(4) {
            world.okta.set_status(&seeded.users[quarter / 4 % users], "DEPROVISIONED");
        }
        // Two are given access for less than the quarter, and end in it.
        for (number, lasts) in [(1, 5), (2, 10)] {
            let user = &seeded.users[(users / 2 + quarter * number) % users];
            let group = &seeded.groups[(quarter + number) % groups];
            let known = world.okta.user(user);
            if known["status"] == "DEPROVISIONED" || world.okta.is_member(group, user) {
                continue;
            }
            let login = known["profile"]["login"].as_str().unwrap().to_owned();
            let grant =
                Grant::new(INTEGRATION, &login, &[group]).until(world.after(Duration::from_mins(lasts)));
            let granted = world.apono.grant(grant);
            let code = world.result(&granted.task_id).await["code"].clone();
            worked.grants += 1;
            if code != "granted" {
                worked.refused_grants += 1;
            }
            given.push((group.clone(), user.clone()));
        }
        world.pass(QUARTER).await;
        worked.left_over +=
            given.drain(..).filter(|(group, user)| world.okta.is_member(group, user)).count() as u64;
        let run = last_run();
        if run.as_ref().map(|run| run.started_at) != seen {
            worked.runs += 1;
            worked.broken_runs +=
                u64::from(run.as_ref().is_some_and(|run| run.outcome.as_str() != "completed"));
            seen = run.map(|run| run.started_at);
        }
        worked.requests += world.okta.total_calls();
        worked.throttled += world.okta.throttled();
        world.okta.reset_counters();
    }
    connector.stop().await;
    worked
}
