//! The smallest world in which access can be given: Ada, and a group that she is not in.

use std::time::Duration;

use serde_json::Value;
use simulator::apono::{Grant, Granted};
use simulator::okta::{NewGroup, NewUser};

use crate::world::{INTEGRATION, Running, World};

/// See the module. The directory is switched off, so that every call to Okta is about a grant.
pub struct Scene {
    pub world: World,
    pub user: String,
    pub login: String,
    pub group: String,
}

impl Scene {
    pub fn new() -> Self {
        Self::within(World::new())
    }

    /// The same without a log.
    pub fn quiet() -> Self {
        Self::within(World::quiet())
    }

    fn within(mut world: World) -> Self {
        world.settings = world.settings.replace("[state]", "\n[okta.directory]\nenabled = false\n[state]");
        let login = "ada@example.com".to_owned();
        let user = world.okta.add_user(NewUser::active(&login, "Ada", "Lovelace"));
        let group = world.okta.add_group(NewGroup::named("oncall"));
        Self { world, user, login, group }
    }

    /// Adds `[okta.access.policy]`.
    pub fn with_policy(mut self, policy: &str) -> Self {
        let table = format!("[okta.access.policy]\n{policy}\n[okta.directory]");
        self.world.settings = self.world.settings.replace("[okta.directory]", &table);
        self
    }

    /// Another group.
    pub fn another_group(&self, name: &str) -> String {
        self.world.okta.add_group(NewGroup::named(name))
    }

    /// Apono grants Ada the group.
    pub fn grant(&self, lasts: Duration) -> Granted {
        let grant = Grant::new(INTEGRATION, &self.login, &[&self.group]);
        self.world.apono.grant(grant.until(self.world.after(lasts)))
    }

    /// Apono grants Ada these groups, as a revision of a grant.
    pub fn grant_revision(&self, id: &str, revision: u64, groups: &[&str], lasts: Duration) -> Granted {
        let grant = Grant::new(INTEGRATION, &self.login, groups).until(self.world.after(lasts));
        self.world.apono.grant(Grant { grant_id: Some(id.to_owned()), revision, ..grant })
    }

    /// Grants, and waits until it is given.
    pub async fn given(&self, lasts: Duration) -> Granted {
        let granted = self.grant(lasts);
        let result = self.world.result(&granted.task_id).await;
        assert_eq!(result["code"], "granted", "{result}");
        granted
    }

    /// Revokes, and waits for the result.
    pub async fn revoked(&self, grant: &str) -> Value {
        let task = self.world.apono.revoke(grant);
        self.world.result(&task).await
    }

    /// Whether Ada is in the group.
    pub fn is_member(&self) -> bool {
        self.world.okta.is_member(&self.group, &self.user)
    }

    /// Lets hours pass, after which nothing may be left of any grant; then stops the connector.
    pub async fn nothing_is_left(self, connector: Running) {
        self.world.okta.faults().clear();
        self.world.pass(Duration::from_hours(3)).await;
        assert!(!self.is_member(), "the membership outlived its grant");
        assert_eq!(connector.facts().organizations[0].removals_due, 0);
        connector.stop().await;
    }
}
