//! Random directories at random services: applying the plan makes the service equal to the selection, a second run has
//! nothing to do, and nothing that is somebody else's is touched.
//!
//! `PROPTEST_CASES` sets how many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use simulator::apono::ScimSettings;
use simulator::okta::{NewGroup, NewUser};

use super::cut::Cut;
use crate::world::{INTEGRATION, Running, World};

const USERS: usize = 8;
const GROUPS: usize = 4;
const INTERVAL: Duration = Duration::from_secs(15 * 60 + 30);

/// What the service has before the connector ever runs.
#[derive(Clone, Copy, Debug)]
enum There {
    /// Somebody with the login of this user, in other letters.
    Namesake(usize),
    /// Somebody with nothing to do with Okta.
    Stranger(usize),
}

/// What somebody does in Okta.
#[derive(Clone, Debug)]
enum Change {
    Title(usize, &'static str),
    Status(usize, &'static str),
    Login(usize),
    Delete(usize),
    Join(usize, usize),
    Leave(usize, usize),
    Rename(usize),
    DeleteGroup(usize),
    /// A run, for which somebody asked or not.
    Run(bool),
    /// A run whose process is killed at this call, which arrives or does not.
    Killed(usize, bool),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    // User and group 0 stay as they are: an organization without anybody is held, and rightly so.
    let (user, group) = (1..USERS, 1..GROUPS);
    let status = prop_oneof![Just("ACTIVE"), Just("SUSPENDED"), Just("DEPROVISIONED"), Just("STAGED")];
    let title = prop_oneof![Just("One"), Just("Two"), Just("")];
    let change = prop_oneof![
        (user.clone(), title).prop_map(|(user, title)| Change::Title(user, title)),
        (user.clone(), status).prop_map(|(user, status)| Change::Status(user, status)),
        user.clone().prop_map(Change::Login),
        user.clone().prop_map(Change::Delete),
        (user.clone(), 0..GROUPS).prop_map(|(user, group)| Change::Join(user, group)),
        (user, 0..GROUPS).prop_map(|(user, group)| Change::Leave(user, group)),
        group.clone().prop_map(Change::Rename),
        group.prop_map(Change::DeleteGroup),
        any::<bool>().prop_map(Change::Run),
        (0..40_usize, any::<bool>()).prop_map(|(calls, arrives)| Change::Killed(calls, arrives)),
    ];
    proptest::collection::vec(change, 0..14)
}

fn there() -> impl Strategy<Value = Vec<There>> {
    let one = prop_oneof![(0..USERS).prop_map(There::Namesake), (0..3_usize).prop_map(There::Stranger)];
    proptest::collection::vec(one, 0..6)
}

type Habit = fn(&mut ScimSettings);

/// Habits that can be had together.
const HABITS: [Habit; 22] = [
    |scim| scim.patch = false,
    |scim| scim.user_patch_echo = false,
    |scim| scim.group_patch_echo = true,
    |scim| scim.filter = false,
    |scim| scim.etag = true,
    |scim| scim.string_booleans = true,
    |scim| scim.lists_without_members = true,
    |scim| scim.conflict_without_scim_type = true,
    |scim| scim.max_results = 3,
    |scim| scim.max_members_per_write = Some(2),
    |scim| scim.ignores_patch = true,
    |scim| scim.refuses_paths = true,
    |scim| scim.unique_external_ids = true,
    |scim| scim.ignores_member_filter_removal = true,
    |scim| scim.ignores_member_list_removal = true,
    |scim| scim.member_list_removal_removes_all = true,
    |scim| scim.ignores_member_replacement = true,
    |scim| scim.hides_members = true,
    |scim| scim.omits_member_type = true,
    |scim| scim.ignores_filter = true,
    |scim| scim.forgets_external_id = true,
    |scim| scim.string_numbers = true,
];

/// Habits (by their place) with which together nobody could make the service equal.
const HOPELESS: [&[usize]; 5] = [
    // Without PATCH a group is written whole: a service that takes two members at most can have no larger group.
    &[0, 9],
    &[10, 9],
    // Where PATCH is passed over in silence, or not there, and members are never shown, nothing tells that somebody was
    // not added, and a group that is written whole could lose whom nobody sees.
    &[10, 17],
    &[0, 17],
    // Where members are never shown, they are removed by the one form that names them alone: nothing tells that it was
    // passed over in silence, and every other form could take along whom nobody sees.
    &[13, 17],
];

fn habits() -> impl Strategy<Value = BTreeSet<usize>> {
    let any = proptest::collection::btree_set(0..HABITS.len(), 0..4);
    any.prop_map(|mut habits| {
        for together in HOPELESS {
            if together.iter().all(|habit| habits.contains(habit)) {
                habits.remove(&together[0]);
            }
        }
        habits
    })
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn whatever_there_is_the_service_becomes_equal_and_strangers_stay_as_they_are(
        there in there(), habits in habits(), selected in any::<bool>(), changes in changes()
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        prop_assert_eq!(runtime.block_on(lived(&there, &habits, selected, &changes)), Vec::<String>::new());
    }
}

/// As `PROPTEST_CASES` says; where it says nothing, fewer than proptest would take.
fn config() -> ProptestConfig {
    const PROPTESTS_OWN: u32 = 256;
    let asked = ProptestConfig::default();
    let cases = if asked.cases == PROPTESTS_OWN { 24 } else { asked.cases };
    ProptestConfig { cases, ..asked }
}

/// Okta as it should be by now.
struct Okta {
    world: World,
    connector: Option<Running>,
    users: Vec<Option<(String, String)>>,
    groups: Vec<Option<(String, String)>>,
    logins: usize,
}

async fn lived(there: &[There], habits: &BTreeSet<usize>, selected: bool, changes: &[Change]) -> Vec<String> {
    let mut okta = Okta::new(habits, selected);
    let strangers = okta.furnish(there);
    okta.connector = Some(okta.world.start().await);
    okta.world.sync().await;
    for change in changes {
        okta.change(change).await;
    }
    let mut wrong = Vec::new();
    // What a change of login did not get past the last holder of the name, the next run does.
    for _ in 0..2 {
        okta.world.sync().await;
    }
    let result = okta.world.sync().await;
    if result["output"]["outcome"] != "completed" {
        wrong.push(format!("{result}"));
    }
    wrong.extend(okta.differences(selected));
    let writes = okta.world.apono.scim_writes();
    okta.world.sync().await;
    okta.world.pass(INTERVAL).await;
    if okta.world.apono.scim_writes() != writes {
        wrong.push("runs without a change write something".to_owned());
    }
    let now: BTreeMap<_, _> = okta.everything_there();
    for (id, was) in strangers {
        if now.get(&id) != Some(&was) {
            wrong.push(format!("{id} is somebody else's: {was} became {:?}", now.get(&id)));
        }
    }
    if let Some(connector) = okta.connector.take() {
        connector.stop().await;
    }
    wrong
}

fn login(n: usize) -> String {
    format!("u{n}@example.com")
}

impl Okta {
    fn new(habits: &BTreeSet<usize>, selected: bool) -> Self {
        let mut world = World::quiet();
        let mut scim = ScimSettings::default();
        for habit in habits {
            HABITS[*habit](&mut scim);
        }
        world.apono.set_scim(scim);
        if selected {
            let table = "[okta.directory]\ngroups = [\"Group *\"]\n[state]";
            world.settings = world.settings.replace("[state]", table);
        }
        let user = |n| {
            let id = world.okta.add_user(NewUser::active(&login(n), &format!("U{n}"), "Example"));
            Some((id, login(n)))
        };
        let users: Vec<_> = (0..USERS).map(user).collect();
        let group = |n| {
            let name = format!("Group {n}");
            Some((world.okta.add_group(NewGroup::named(&name)), name))
        };
        let groups: Vec<_> = (0..GROUPS).map(group).collect();
        for (n, user) in users.iter().enumerate() {
            let (group, user) = (groups[n % GROUPS].as_ref().unwrap(), user.as_ref().unwrap());
            world.okta.add_member(&group.0, &user.0);
        }
        Self { world, connector: None, users, groups, logins: USERS }
    }

    /// Everything there that is not to be touched, by its id.
    fn furnish(&self, there: &[There]) -> BTreeMap<String, Value> {
        let apono = &self.world.apono;
        let mut namesakes = BTreeSet::new();
        for (n, one) in there.iter().enumerate() {
            match *one {
                There::Namesake(user) => {
                    if namesakes.insert(user) {
                        let name = login(user).to_uppercase();
                        apono.add_scim_user(INTEGRATION, json!({ "userName": name, "active": true }));
                    }
                }
                There::Stranger(kind) => {
                    let mut stranger =
                        json!({ "userName": format!("s{n}@elsewhere.org"), "active": kind != 1 });
                    if kind == 2 {
                        stranger["externalId"] = json!(format!("00uelsewhere{n}"));
                    }
                    let id = apono.add_scim_user(INTEGRATION, stranger);
                    let members = json!([{ "value": id }]);
                    apono.add_scim_group(
                        INTEGRATION,
                        json!({ "displayName": format!("S{n}"), "members": members }),
                    );
                }
            }
        }
        let is_strange = |(_, object): &(String, Value)| {
            let name = object["userName"].as_str().or(object["displayName"].as_str()).unwrap_or_default();
            name.starts_with('s') || name.starts_with('S')
        };
        self.everything_there().into_iter().filter(is_strange).collect()
    }

    fn everything_there(&self) -> BTreeMap<String, Value> {
        let apono = &self.world.apono;
        let all = apono.scim_users(INTEGRATION).into_iter().chain(apono.scim_groups(INTEGRATION));
        all.map(|object| (object["id"].as_str().unwrap().to_owned(), object)).collect()
    }

    async fn change(&mut self, change: &Change) {
        let okta = &self.world.okta;
        let user = |n: &usize| self.users[*n].as_ref().map(|(id, _)| id.clone());
        let group = |n: &usize| self.groups[*n].as_ref().map(|(id, _)| id.clone());
        match change {
            Change::Title(n, title) => {
                if let Some(user) = user(n) {
                    okta.update_profile(&user, &json!({ "title": title }));
                }
            }
            Change::Status(n, status) => {
                if let Some(user) = user(n) {
                    okta.set_status(&user, status);
                }
            }
            Change::Login(n) => {
                if let Some((user, name)) = &mut self.users[*n] {
                    *name = login(self.logins);
                    self.logins += 1;
                    okta.update_profile(user, &json!({ "login": name, "email": name }));
                }
            }
            Change::Delete(n) => {
                if let Some((user, _)) = self.users[*n].take() {
                    okta.delete_user(&user);
                }
            }
            Change::Join(n, m) => {
                if let (Some(user), Some(group)) = (user(n), group(m)) {
                    okta.add_member(&group, &user);
                }
            }
            Change::Leave(n, m) => {
                if let (Some(user), Some(group)) = (user(n), group(m)) {
                    okta.remove_member(&group, &user);
                }
            }
            Change::Rename(n) => {
                if let Some((group, name)) = &mut self.groups[*n] {
                    name.push_str(" renamed");
                    okta.rename_group(group, name);
                }
            }
            Change::DeleteGroup(n) => {
                if let Some((group, _)) = self.groups[*n].take() {
                    okta.delete_group(&group);
                }
            }
            Change::Run(true) => {
                self.world.sync().await;
            }
            Change::Run(false) => self.world.pass(INTERVAL).await,
            Change::Killed(calls, arrives) => self.killed(*calls, *arrives).await,
        }
    }

    async fn killed(&mut self, calls: usize, arrives: bool) {
        if let Some(connector) = self.connector.take() {
            connector.stop().await;
        }
        let cut = Cut::after(self.world.network(), calls, arrives);
        let disk = self.world.disk();
        let connector = self.world.start_between(Arc::new(cut.clone()), disk, "").await.unwrap();
        tokio::select! {
            () = cut.fallen() => {}
            () = self.world.pass(INTERVAL) => {}
        }
        connector.crash().await;
        self.connector = Some(self.world.start().await);
    }

    /// What the service should show and does not.
    fn differences(&self, selected: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let people = self.world.people();
        let mut expected_teams = BTreeMap::new();
        let mut in_a_group = BTreeSet::new();
        let status = |id: &str| self.world.okta.user(id)["status"].as_str().unwrap().to_owned();
        let is_pushed = |id: &str| selected || status(id) != "DEPROVISIONED";
        for (group, name) in self.groups.iter().flatten() {
            let members = self.users.iter().flatten().filter(|(id, _)| self.world.okta.is_member(group, id));
            let members: Vec<_> = members.filter(|(id, _)| is_pushed(id)).collect();
            in_a_group.extend(members.iter().map(|(id, _)| id.clone()));
            let mut logins: Vec<_> = members.into_iter().map(|(_, login)| login.clone()).collect();
            logins.sort();
            expected_teams.insert(name.clone(), logins);
        }
        let teams = self.world.teams().into_iter().filter(|(name, _)| name.starts_with("Group"));
        let lower = |names: Vec<String>| {
            let mut names: Vec<_> = names.iter().map(|name| name.to_lowercase()).collect();
            names.sort();
            names
        };
        let teams: BTreeMap<_, _> = teams.map(|(name, members)| (name, lower(members))).collect();
        if teams != expected_teams {
            wrong.push(format!("groups are {teams:?} and should be {expected_teams:?}"));
        }
        let shown = |login: &str| people.iter().find(|(name, _)| name.to_lowercase() == login);
        for (id, login) in self.users.iter().flatten() {
            let wanted = is_pushed(id) && (!selected || in_a_group.contains(id));
            let active = wanted && matches!(status(id).as_str(), "ACTIVE");
            match shown(login) {
                Some((_, (is_active, _))) if *is_active == active => {}
                // Somebody of that name who was there before, and is not taken on.
                Some((_, (_, resource))) if !wanted && resource["externalId"].is_null() => {}
                Some((name, (is_active, _))) => {
                    wrong.push(format!("{name} is active: {is_active}, should be {active}"));
                }
                None if wanted => wrong.push(format!("{login} is not there")),
                None => {}
            }
        }
        wrong
    }
}
