//! # Purpose
//! What is reported of a task.
//!
//! # Invariants kept here
//! - Codes are a closed list; each has one status and says whether trying again can help.
//! - A removal never ends in a failure.
//!
//! # Not here
//! When a result is ready: `access`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// As asked.
    Success,
    /// Not as asked, and nothing is wrong; or only in part.
    Warning,
    /// Not done.
    Failure,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Warning => "Warning",
            Self::Failure => "Failure",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, retry: $retry:literal;)*) => {
        /// Why it went as it went.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status that goes with it.
            pub fn status(self) -> Status {
                match self { $(Self::$name => Status::$status,)* }
            }

            /// Whether asking again can help.
            pub fn retry_helps(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }
        }
    };
}

codes! {
    /// All as asked, of different kinds.
    Ok = "ok", Success, retry: false;
    /// The resources went different ways.
    Partial = "partial", Warning, retry: true;
    /// Added and seen.
    Granted = "granted", Success, retry: false;
    /// Was a member by another right; will not be removed.
    AlreadyMember = "already_member", Success, retry: false;
    /// Removed and seen to be gone.
    Revoked = "revoked", Success, retry: false;
    /// Was a member before the grant and still is.
    KeptStanding = "kept_standing", Success, retry: false;
    /// Another live grant holds the membership.
    KeptOtherGrant = "kept_other_grant", Success, retry: false;
    /// Was not a member.
    NotMember = "not_member", Success, retry: false;
    /// User or group no longer exists.
    Gone = "gone", Success, retry: false;
    /// A later revision, or the end of the grant, came first.
    Superseded = "superseded", Warning, retry: false;
    /// Came after its own expiry.
    Expired = "expired", Warning, retry: false;
    /// The operator's policy forbids it.
    RefusedPolicy = "refused_policy", Failure, retry: false;
    /// Not a group that Okta itself masters.
    RefusedGroupType = "refused_group_type", Failure, retry: false;
    /// A group rule fills the group.
    RefusedRuleManaged = "refused_rule_managed", Failure, retry: false;
    /// The group carries admin roles.
    RefusedAdminGroup = "refused_admin_group", Failure, retry: false;
    /// The connector cannot promise to end it now.
    RefusedDegraded = "refused_degraded", Failure, retry: true;
    /// No such user.
    UserNotFound = "user_not_found", Failure, retry: false;
    /// Several users have this name.
    UserAmbiguous = "user_ambiguous", Failure, retry: false;
    /// The user's account is not active.
    UserInactive = "user_inactive", Failure, retry: false;
    /// No such group.
    GroupNotFound = "group_not_found", Failure, retry: false;
    /// Okta did not let the connector do it.
    NotPermitted = "not_permitted", Failure, retry: false;
    /// Accepted by Okta, effect not seen in time; the duty to remove stands.
    Unverified = "unverified", Warning, retry: false;
    /// The question could not be answered now.
    Unavailable = "unavailable", Failure, retry: true;
    /// Not a kind of task that this connector knows.
    UnsupportedTask = "unsupported_task", Failure, retry: false;
    /// The task cannot be understood.
    MalformedTask = "malformed_task", Failure, retry: false;
    /// Not an integration of this connector.
    UnknownIntegration = "unknown_integration", Failure, retry: false;
}

/// What became of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceResult {
    /// The Okta group id.
    pub source_id: String,
    /// Goes with the code.
    pub status: Status,
    /// Why.
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
    /// Okta's ids of the requests that brought it about.
    pub okta_request_ids: Vec<String>,
}

impl ResourceResult {
    /// A result for one group.
    pub fn new(group: &str, code: Code, message: impl Into<String>, okta_request_ids: Vec<String>) -> Self {
        Self {
            source_id: group.to_owned(),
            status: code.status(),
            code,
            message: message.into(),
            okta_request_ids,
        }
    }
}

/// What became of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Of all resources together.
    pub status: Status,
    /// Of all resources together.
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
    /// When the work was done.
    pub finished_at: Timestamp,
    /// What the task asked to know.
    pub output: Value,
    /// Group by group.
    pub resources: Vec<ResourceResult>,
}

impl TaskResult {
    /// A result about the task as a whole.
    pub fn whole(code: Code, message: impl Into<String>, output: Value, now: Timestamp) -> Self {
        let (status, message) = (code.status(), message.into());
        Self { status, code, message, finished_at: now, output, resources: Vec::new() }
    }

    /// A result from what became of each resource.
    ///
    /// The status is `Success` when every resource's is, `Failure` when none succeeded in any part, else `Warning`;
    /// the code is the one that all share, `ok` for different successes, else `partial`.
    pub fn of_resources(resources: Vec<ResourceResult>, now: Timestamp) -> Self {
        let all = |status: Status| resources.iter().all(|resource| resource.status == status);
        let status = match (all(Status::Success), all(Status::Failure)) {
            (true, _) => Status::Success,
            (false, true) => Status::Failure,
            (false, false) => Status::Warning,
        };
        let first = resources.first().map_or(Code::Ok, |resource| resource.code);
        let code = if resources.iter().all(|resource| resource.code == first) {
            first
        } else if status == Status::Success {
            Code::Ok
        } else {
            Code::Partial
        };
        let message = summary(&resources);
        Self {
            status,
            code,
            message,
            finished_at: now,
            output: Value::Object(serde_json::Map::new()),
            resources,
        }
    }
}

/// One resource: its own message. Several: how many of each code.
fn summary(resources: &[ResourceResult]) -> String {
    if let [only] = resources {
        return only.message.clone();
    }
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for resource in resources {
        *counts.entry(resource.code.as_str()).or_default() += 1;
    }
    let parts: Vec<_> = counts.iter().map(|(code, count)| format!("{count} {code}")).collect();
    if parts.is_empty() { "nothing to do".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(codes: &[Code]) -> (Status, Code) {
        let resources = codes.iter().map(|code| ResourceResult::new("00g", *code, "m", Vec::new())).collect();
        let result = TaskResult::of_resources(resources, Timestamp::UNIX_EPOCH);
        (result.status, result.code)
    }

    #[test]
    fn a_task_is_the_sum_of_its_resources() {
        assert_eq!(result(&[]), (Status::Success, Code::Ok));
        assert_eq!(result(&[Code::Granted, Code::Granted]), (Status::Success, Code::Granted));
        assert_eq!(result(&[Code::Granted, Code::AlreadyMember]), (Status::Success, Code::Ok));
        assert_eq!(result(&[Code::Granted, Code::GroupNotFound]), (Status::Warning, Code::Partial));
        assert_eq!(result(&[Code::GroupNotFound, Code::NotPermitted]), (Status::Failure, Code::Partial));
        assert_eq!(result(&[Code::Unverified]), (Status::Warning, Code::Unverified));
        assert_eq!(result(&[Code::Unverified, Code::UserNotFound]), (Status::Warning, Code::Partial));
    }

    #[test]
    fn codes_are_written_as_they_are_named() {
        for code in Code::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
