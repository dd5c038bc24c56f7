//! # Purpose
//! The part of the management API by which an administrator sets up a service app: apps and their keys, scope grants,
//! custom admin roles, resource sets, and the assignment of a role to a client.
//!
//! # Invariants kept here
//! - Only an administrator's API token gets here, and each call needs the standard role that Okta asks for.
//! - An app that was created here is a client of the token endpoint, with these keys, scopes and rights.
//!
//! # Not here
//! Updating or deleting apps, roles and resource sets; conditions on permissions.

mod apps;
mod assignments;
mod grants;
mod iam;
mod input;
mod keys;
mod operation;
mod paging;
pub(super) mod rights;
mod state;

use axum::response::Response;
use jiff::Timestamp;

pub(super) use self::operation::{Managed, NoSuch};
pub use self::state::AdminRole;
pub(super) use self::state::{Administrator, Assignment, Management, OtherApp};

use self::input::Input;
use super::OktaSimulator;
use super::answer::{Refusal, bare};
use super::exchange::Exchange;
use super::oauth::Registry;

/// What every call here works on.
struct Desk<'a> {
    registry: &'a mut Registry,
    exchange: &'a Exchange,
    input: Input,
    now_ms: i64,
}

impl Desk<'_> {
    fn origin(&self) -> &str {
        &self.exchange.settings.origin
    }

    fn fresh_id(&mut self, prefix: &str) -> String {
        self.registry.management.fresh_id(self.exchange.settings.seed, prefix)
    }
}

/// Carries out a call for the administrator whose token it carries.
pub(super) fn perform(
    okta: &OktaSimulator,
    exchange: &Exchange,
    managed: &Managed,
    administrator: &Administrator,
    now: Timestamp,
) -> Result<Response, Refusal> {
    if !administrator.role.may(managed) {
        return Err(Refusal::forbidden());
    }
    // Taken before the registry: whoever needs both locks takes them in this order.
    let groups = okta.directory();
    let group_exists = |id: &str| groups.group_number(id).is_some();
    let mut registry = okta.registry();
    let input = Input::read(exchange, managed.has_body())?;
    let mut desk = Desk { registry: &mut registry, exchange, input, now_ms: now.as_millisecond() };
    match managed {
        Managed::ListApps => apps::list(&desk),
        Managed::CreateApp => apps::create(&mut desk),
        Managed::GetApp { app } => apps::get(&desk, app),
        Managed::ListKeys { app } => keys::list(&desk, app),
        Managed::AddKey { app } => keys::add(&mut desk, app),
        Managed::ActivateKey { app, key } => keys::set_active(&mut desk, app, key, true),
        Managed::DeactivateKey { app, key } => keys::set_active(&mut desk, app, key, false),
        Managed::DeleteKey { app, key } => keys::delete(&mut desk, app, key),
        Managed::ListGrants { app } => grants::list(&desk, app),
        Managed::Grant { app } => grants::grant(&mut desk, app),
        Managed::ListRoles => Ok(iam::roles(&desk)),
        Managed::CreateRole => iam::create_role(&mut desk),
        Managed::ListPermissions { role } => iam::permissions(&desk, role),
        Managed::AddPermission { role, permission } => iam::add_permission(&mut desk, role, permission),
        Managed::ListResourceSets => Ok(iam::sets(&desk)),
        Managed::CreateResourceSet => iam::create_set(&mut desk, &group_exists),
        Managed::ListResources { set } => iam::resources(&desk, set),
        Managed::AddResources { set } => iam::add_resources(&mut desk, set, &group_exists),
        Managed::ListAssignments { client } => assignments::list(&desk, client),
        Managed::Assign { client } => assignments::assign(&mut desk, client),
        Managed::RevokeToken => {
            desk.registry.management.tokens.remove(&administrator.token);
            Ok(bare(204))
        }
    }
}
