//! A run that is killed at any of its calls, to either side, before or after the call has arrived, and is started again:
//! the same end as without the kill.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use simulator::fault::Fault;
use simulator::okta::{NewGroup, NewUser};

use super::cut::Cut;
use crate::world::{INTEGRATION, World};

/// What a run of changes does all of: create, adopt, update, rename, deactivate, take out, delete.
struct Scene {
    world: World,
    users: Vec<String>,
    groups: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let world = World::quiet();
        let users: Vec<_> = (0..7)
            .map(|n| {
                world.okta.add_user(NewUser::active(
                    &format!("u{n}@example.com"),
                    &format!("U{n}"),
                    "Example",
                ))
            })
            .collect();
        let groups: Vec<_> =
            (0..3).map(|n| world.okta.add_group(NewGroup::named(&format!("Group {n}")))).collect();
        for (n, user) in users.iter().enumerate() {
            world.okta.add_member(&groups[n % 3], user);
        }
        world.apono.add_scim_user(INTEGRATION, json!({ "userName": "U1@EXAMPLE.COM", "active": true }));
        let stranger = json!({ "userName": "stranger@elsewhere.org", "active": true });
        let stranger = world.apono.add_scim_user(INTEGRATION, stranger);
        let group = json!({ "displayName": "Strangers", "members": [{ "value": stranger }] });
        world.apono.add_scim_group(INTEGRATION, group);
        Self { world, users, groups }
    }

    fn change(&self) {
        let Self { world, users, groups } = self;
        let okta = &world.okta;
        okta.update_profile(&users[0], &json!({ "title": "Countess" }));
        okta.set_status(&users[1], "SUSPENDED");
        okta.set_status(&users[2], "DEPROVISIONED");
        okta.delete_user(&users[3]);
        okta.remove_member(&groups[1], &users[4]);
        okta.add_member(&groups[0], &users[5]);
        okta.rename_group(&groups[0], "Renamed");
        okta.delete_group(&groups[2]);
        let new = okta.add_user(NewUser::active("new@example.com", "New", "Example"));
        let group = okta.add_group(NewGroup::named("New"));
        okta.add_member(&group, &new);
    }

    async fn settled(&mut self) {
        let connector = self.world.start().await;
        // What is left is done by the next runs; one that reads everything finds who was deleted for good, and the last
        // nothing to do.
        self.world.pass(Duration::from_mins(70)).await;
        self.world.sync().await;
        let result = self.world.sync().await;
        assert_eq!(result["output"]["outcome"], "completed", "{result}");
        assert_eq!(result["output"]["planned"]["operations"], json!({}), "{result}");
        connector.stop().await;
    }

    /// Without ids, which depend on the order of creation.
    fn end(&self) -> (BTreeMap<String, Value>, BTreeMap<String, Vec<String>>) {
        let facts = |(name, (active, resource)): (String, (bool, Value))| {
            let kept = ["externalId", "title", "emails", "name"].map(|key| resource[key].clone());
            (name, json!([active, kept]))
        };
        (self.world.people().into_iter().map(facts).collect(), self.world.teams())
    }
}

/// Kills the run at each of its calls in turn; how many there were.
async fn kill_everywhere(before: impl AsyncFn(&mut Scene), arrives: bool) -> usize {
    let mut control = Scene::new();
    before(&mut control).await;
    control.settled().await;
    let expected = control.end();
    let mut calls = 0;
    loop {
        let mut scene = Scene::new();
        before(&mut scene).await;
        let cut = Cut::after(scene.world.network(), calls, arrives);
        let disk = scene.world.disk();
        let connector = scene.world.start_between(Arc::new(cut.clone()), disk, "").await.unwrap();
        let ended = scene.world.until("the run ends", |_| {
            connector.facts().organizations[0].last_directory_run.clone().map(|_| ())
        });
        let was_killed = tokio::select! {
            () = cut.fallen() => true,
            () = ended => false,
        };
        connector.crash().await;
        scene.settled().await;
        assert_eq!(scene.end(), expected, "killed at call {calls}, which arrives: {arrives}");
        if !was_killed {
            return calls;
        }
        calls += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_run_that_is_killed_at_any_call_ends_as_without_the_kill() {
    for arrives in [false, true] {
        let calls = kill_everywhere(async |_| (), arrives).await;
        assert!(calls > 15, "{calls}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_of_changes_that_is_killed_at_any_call_ends_as_without_the_kill() {
    let first = async |scene: &mut Scene| {
        scene.settled().await;
        scene.change();
    };
    for arrives in [false, true] {
        let calls = kill_everywhere(first, arrives).await;
        assert!(calls > 15, "{calls}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_creation_had_no_answer_is_not_created_again() {
    let mut scene = Scene::new();
    scene.settled().await;
    scene.world.okta.add_group(NewGroup::named("New"));
    let connector = scene.world.start().await;
    scene.world.apono.faults().once("scim_create_group", Fault::DisconnectAfterEffect);
    let outcome = |outcome: &str| {
        let last = connector.facts().organizations[0].last_directory_run.clone();
        last.filter(|run| run.outcome.as_str() == outcome).map(|_| ())
    };
    scene.world.until("the creation fails", |_| outcome("partial")).await;
    scene.world.until("the next run ends well", |_| outcome("completed")).await;
    let (_, teams) = scene.end();
    assert_eq!(teams["New"], Vec::<String>::new());
    connector.stop().await;
}
