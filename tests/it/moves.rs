//! What can happen in a history, and how histories are made.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use simulator::fault::Fault;
use simulator::okta::faults::{empty_unauthorized, error, rate_limited};

/// People and groups of a history; moves name them by number.
pub const USERS: usize = 3;
pub const GROUPS: usize = 4;

/// One thing that happens. Grants are named by the order in which they began, modulo how many there are.
#[derive(Clone, Debug)]
pub enum Move {
    /// Apono gives a user some groups.
    Grant { user: usize, by_email: bool, groups: Vec<usize>, lasts: Duration },
    /// Apono changes a grant: longer, shorter, other groups.
    Revise { grant: usize, groups: Vec<usize>, lasts: Duration },
    /// Apono takes a grant back.
    Revoke { grant: usize },
    /// Apono hands out the latest task of a grant once more.
    Redeliver { grant: usize },
    /// Time goes by.
    Pass(Duration),
    /// The power goes, and is back after a while.
    Crash(Duration),
    /// The next calls of one kind to Okta go wrong.
    OktaFault { operation: &'static str, kind: Kind, times: usize },
    /// The next calls of one kind to Apono go wrong.
    AponoFault { operation: &'static str, kind: Kind, times: usize },
    /// Okta answers 503, or answers again.
    OktaIs { up: bool },
    /// Apono is away, or back.
    AponoIs { up: bool },
    /// The disk fails, or works again.
    DiskIs { up: bool },
    /// The audit trail cannot be written, or can be again.
    TrailIs { up: bool },
    /// An administrator changes a user's status.
    Status { user: usize, status: &'static str },
    /// An administrator deletes a user.
    DeleteUser { user: usize },
    /// An administrator deletes a group.
    DeleteGroup { group: usize },
    /// An administrator lets a rule fill a group.
    Rule { group: usize },
    /// An administrator adds somebody to a group, or removes somebody.
    Outsider { group: usize, user: usize, member: bool },
}

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Unauthorized,
    Forbidden,
    NotFound,
    Conflict,
    Throttled,
    ServerError,
    /// The call has its effect, and no answer comes.
    LostAnswer,
    /// No answer comes, and the call had no effect.
    LostCall,
    EmptyBody,
    CutBody,
}

impl Kind {
    pub const ALL: [Self; 10] = [
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::Throttled,
        Self::ServerError,
        Self::LostAnswer,
        Self::LostCall,
        Self::EmptyBody,
        Self::CutBody,
    ];

    pub fn at_okta(self) -> Fault {
        match self {
            Self::Unauthorized => empty_unauthorized(),
            Self::Forbidden => error(403, "E0000006", "You do not have permission"),
            Self::NotFound => error(404, "E0000007", "Not found: Resource not found"),
            Self::Conflict => error(409, "E0000157", "Conflict"),
            Self::Throttled => rate_limited(7),
            Self::ServerError => error(500, "E0000009", "Internal Server Error"),
            Self::LostAnswer => Fault::DisconnectAfterEffect,
            Self::LostCall => Fault::Disconnect,
            Self::EmptyBody => Fault::ReplaceBody(String::new()),
            Self::CutBody => Fault::CutBody(7),
        }
    }

    /// A conflict is left out: from Apono it means that another's result stands, and nobody could know better.
    pub fn at_apono(self) -> Fault {
        match self {
            Self::Unauthorized => Fault::status(401),
            Self::Forbidden => Fault::status(403),
            Self::NotFound => Fault::status(404),
            Self::Throttled => Fault::status(429),
            Self::Conflict | Self::ServerError => Fault::status(500),
            Self::LostAnswer => Fault::DisconnectAfterEffect,
            Self::LostCall => Fault::Disconnect,
            Self::EmptyBody => Fault::ReplaceBody(String::new()),
            Self::CutBody => Fault::CutBody(7),
        }
    }
}

pub const OKTA: [&str; 9] = [
    "add_member",
    "remove_member",
    "list_user_groups",
    "get_user",
    "list_users",
    "list_groups",
    "get_group",
    "list_group_rules",
    "token",
];
pub const APONO: [&str; 5] = ["lease_tasks", "put_result", "extend_lease", "list_grants", "put_session"];

/// Histories of up to `longest` moves.
pub fn histories(longest: usize) -> impl Strategy<Value = Vec<Move>> {
    vec(any_move(), 1..longest)
}

fn any_move() -> impl Strategy<Value = Move> {
    let user = 0..USERS;
    let group = 0..GROUPS;
    let fault = |operations: &'static [&'static str]| {
        (proptest::sample::select(operations), proptest::sample::select(&Kind::ALL[..]), 1..4_usize)
    };
    prop_oneof![
        8 => (user.clone(), any::<bool>(), some_groups(), a_life()).prop_map(|(user, by_email, groups, lasts)| {
            Move::Grant { user, by_email, groups, lasts }
        }),
        3 => (any::<usize>(), some_groups(), a_life())
            .prop_map(|(grant, groups, lasts)| Move::Revise { grant, groups, lasts }),
        2 => any::<usize>().prop_map(|grant| Move::Revoke { grant }),
        1 => any::<usize>().prop_map(|grant| Move::Redeliver { grant }),
        8 => a_while().prop_map(Move::Pass),
        3 => a_while().prop_map(Move::Crash),
        8 => fault(&OKTA)
            .prop_map(|(operation, kind, times)| Move::OktaFault { operation, kind, times }),
        2 => fault(&APONO)
            .prop_map(|(operation, kind, times)| Move::AponoFault { operation, kind, times }),
        2 => any::<bool>().prop_map(|up| Move::OktaIs { up }),
        2 => any::<bool>().prop_map(|up| Move::AponoIs { up }),
        2 => any::<bool>().prop_map(|up| Move::DiskIs { up }),
        2 => any::<bool>().prop_map(|up| Move::TrailIs { up }),
        1 => (user.clone(), proptest::sample::select(&["ACTIVE", "SUSPENDED", "DEPROVISIONED"][..]))
            .prop_map(|(user, status)| Move::Status { user, status }),
        1 => user.clone().prop_map(|user| Move::DeleteUser { user }),
        1 => group.clone().prop_map(|group| Move::DeleteGroup { group }),
        1 => group.clone().prop_map(|group| Move::Rule { group }),
        2 => (group, user, any::<bool>())
            .prop_map(|(group, user, member)| Move::Outsider { group, user, member }),
    ]
}

fn some_groups() -> impl Strategy<Value = Vec<usize>> {
    proptest::sample::subsequence((0..GROUPS).collect::<Vec<_>>(), 1..=2)
}

fn a_life() -> impl Strategy<Value = Duration> {
    (1..600_u64).prop_map(Duration::from_secs)
}

/// Mostly the moments in which a step is on its way.
fn a_while() -> impl Strategy<Value = Duration> {
    prop_oneof![
        3 => (0..3000_u64).prop_map(Duration::from_millis),
        2 => (1..300_u64).prop_map(Duration::from_secs),
    ]
}
