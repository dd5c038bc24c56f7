//! # Purpose
//! The dictionary of the log: every field and every named event, for documents, the JSON schema and the journal's catalogue.
//!
//! # Invariants kept here
//! - A name keeps its meaning and its type; `tests/architecture.rs` fails on a field that is not listed, and on one that
//!   nothing writes.
//!
//! # Not here
//! Failures, which have codes: `catalogue`.

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number, not below zero.
    Count,
    /// A number.
    Number,
    /// Yes or no.
    Flag,
}

impl Kind {
    /// Its name in JSON schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Count => "integer",
            Self::Number => "number",
            Self::Flag => "boolean",
        }
    }
}

/// A field of the log.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As it stands in JSON and `key=value`; in the journal `grant.id` is `GRANT_ID`.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What that means.
    pub meaning: &'static str,
}

/// Something that happens and has a name, so that it can be counted and looked for.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// The value of the field `event`.
    pub name: &'static str,
    /// What has happened.
    pub meaning: &'static str,
    /// What it asks of a person; empty where it asks nothing.
    pub then: &'static str,
}

/// What every line has.
pub const COMMON: &[Field] = &[
    text("timestamp", "When, in RFC 3339 with microseconds and in UTC"),
    text("level", "ERROR, WARN, INFO, DEBUG or TRACE"),
    text("target", "The module that speaks: `apono_connector::` and its path"),
    text("message", "The sentence; it can be read alone"),
];

/// What a line can have beside that.
pub const FIELDS: &[Field] = &[
    text("admin.listen", "Where the admin listener listens"),
    text("attribute", "An attribute of a user, by its Okta or SCIM name"),
    text("call", "The request, by its name: `add_member`, `lease_tasks`"),
    count("caller.uid", "The user of this host who asks, by number"),
    text("change", "What somebody else has changed in Okta, as the metric names it"),
    text("code", "The failure, by its code: `apono-connector explain AOC-0123` tells cause and cure"),
    text("connector.id", "`apono.connector_id`"),
    text("custom_integration.listen", "Where calls of a custom integration are taken"),
    count("done", "Operations of a plan that were carried out"),
    count("duration_ms", "From the request to the whole answer, in milliseconds"),
    text("ending", "How the process ends"),
    text("error", "The failure and its causes, in one line"),
    text("event", "What has happened, where that has a name: see the next table"),
    text("event_type", "The kind of a task of Apono: `grant-access`"),
    count("exit", "The exit code"),
    count("failed", "Operations of a plan that failed"),
    count("failures", "How often the same has failed in a row"),
    text("daemon.host", "The host of a daemon that shares the state"),
    text("daemon.id", "A daemon that shares the state, by one run of its process"),
    text("daemon.version", "The version of a daemon that shares the state"),
    text("file", "A file of this host"),
    text("grant.id", "The grant, as Apono names it"),
    count("groups", "Groups that Okta shows"),
    count("held", "Operations of a plan that the breaker holds"),
    count("http.status", "The status of an answer"),
    text("integration.id", "The Okta organization, by Apono's id of its integration"),
    text("key.id", "A public key, by its `kid`"),
    text("lane", "The class of a request in a rate limit budget: removals come first"),
    count("members", "Members of a group"),
    count("memberships", "Memberships that Okta shows"),
    text("okta.actor_id", "Who did something in Okta, by Okta's id"),
    text("okta.bucket", "A rate limit bucket of Okta"),
    text("okta.group_id", "A group, by Okta's id"),
    text("okta.id", "A user or group, by Okta's id"),
    text("okta.request_id", "Okta's `X-Okta-Request-Id`, by which its System Log finds the request"),
    text("okta.status", "A user's status, as Okta says it"),
    text("okta.user_id", "A user, by Okta's id"),
    text("operation", "The kind of an operation of a plan: `update_user`"),
    count("operations", "Operations of a plan"),
    count("organizations", "Okta organizations that are configured"),
    text("outcome", "What came of a directory run"),
    text("peer", "Who is at the other end: `okta`, `apono` or `scim`"),
    text("plan.hash", "A plan, by its hash"),
    text("reach", "Whether a run read everything or what has changed"),
    text("reason", "Why, in a sentence"),
    count("repeats", "How often the same line was held back since it was written last"),
    text("result.code", "What came of a task or a membership, as Apono is told"),
    text("result.status", "`Success`, `Warning` or `Failure`, as Apono is told"),
    count("retry_seconds", "After how long it is tried again"),
    text("scopes", "OAuth scopes that Okta did not grant"),
    number("seconds", "How long it took"),
    text("secret", "Which secret: its kind, never its content"),
    text("signal", "A signal of the operating system"),
    text("task", "A part of this process"),
    text("task.id", "A task of Apono, by its id"),
    count("tasks", "Parts of this process that did not end in time"),
    count("untold", "Events that the audit trail was not told of"),
    text("until", "When it ends by itself"),
    count("users", "Users that Okta shows"),
    flag("verified", "Whether Okta was seen to show what was done"),
    text("version", "This program's version"),
    count("wait_seconds", "How long a request will wait"),
    count("waited_seconds", "How long a request has waited"),
];

/// Of these, what is written as a warning and is no failure, so that it has no code.
pub const NOTICES: &[&str] =
    &["companion_lost", "grant_withdrawn", "kill_switch", "log_level", "membership_late", "outside_change"];

/// The events that have a name.
pub const EVENTS: &[Named] = &[
    named("apono_connected", "Apono accepts this connector's session.", ""),
    named(
        "apono_lost",
        "Apono cannot be reached. Grants end on time without it; none begins.",
        "Nothing, if Apono or the network is known to be down; else see the error, and run `apono-connector doctor`.",
    ),
    named(
        "apono_refuses",
        "Apono refuses this connector.",
        "Correct apono.token_file or apono.connector_id; the connector notices.",
    ),
    named(
        "breaker_holds",
        "A directory run would have taken away more than it may, and held that back.",
        "Look with `apono-connector sync --plan`, and let it through with `sync --approve HASH` if it is right.",
    ),
    named(
        "budget_wait",
        "Requests of one lane wait for their turn at one of Okta's rate limits; `reason` says for what.",
        "",
    ),
    named("budget_wait_over", "The last of them goes on, or is given up.", ""),
    named(
        "companion_lost",
        "A daemon that shares the state is gone. What it had falls to the others.",
        "See what has become of its host.",
    ),
    named("companion_seen", "Another daemon shares the state.", ""),
    named(
        "directory_anew",
        "Another daemon has run this organization's directory since this host did: the local store is made anew, and everything is read.",
        "",
    ),
    named(
        "directory_left",
        "An organization's directory is another daemon's from now on, or this one cannot know; a run that was under way here is over.",
        "",
    ),
    named("directory_run_begins", "A directory run begins.", ""),
    named(
        "directory_run_ends",
        "A directory run has ended: `outcome` says how.",
        "Where it is not `completed`, the message says why.",
    ),
    named("fleet_back", "The database that daemons share answers again.", ""),
    named(
        "fleet_lost",
        "The database that daemons share does not answer. Grants that this daemon knows of end on time; none begins.",
        "See to the database, and run `apono-connector doctor`.",
    ),
    named("grant_withdrawn", "Apono no longer lists a grant, which is ended.", ""),
    named(
        "kill_switch",
        "The file of kill_switch_file has come or gone. While it is there, every grant is ended and none begins.",
        "Remove the file when access may be given again.",
    ),
    named(
        "log_level",
        "An operator of this host has changed the level of the log for a while, or that while is over.",
        "",
    ),
    named("membership_ended", "A user was removed from a group, and seen to be gone.", ""),
    named("membership_given", "A user was added to a group because of a grant.", ""),
    named(
        "membership_kept",
        "A grant is over, and its membership stays because another live grant holds it.",
        "",
    ),
    named(
        "membership_late",
        "A daemon was stopped in the middle of an addition, and the others have ended the grant meanwhile; what came to be is taken back.",
        "See why the process was stopped (a suspended machine, a debugger).",
    ),
    named("membership_refused", "A grant's membership in a group is not given: `result.code` says why.", ""),
    named("okta_back", "Okta answers again.", ""),
    named(
        "okta_lost",
        "Okta is not to be had. What is due is done as soon as it answers.",
        "See Okta's status page (https://status.okta.com), and run `apono-connector doctor`.",
    ),
    named(
        "operator_applies_plan",
        "An operator of this host carries out a plan, or lets held removals through.",
        "",
    ),
    named("operator_ends_grant", "An operator of this host ends a grant.", ""),
    named(
        "outside_change",
        "Somebody else has changed a membership in Okta that a live grant counts on.",
        "Ask who did it, in Okta's System Log: the grant ends on time all the same.",
    ),
    named(
        "reload_refused",
        "A new configuration cannot be used; the former one goes on.",
        "Correct it and reload again.",
    ),
    named("reloading", "Another configuration is taken up; what was begun is finished first.", ""),
    named(
        "secret_refused",
        "A mounted secret has changed and cannot be used; the last good one goes on.",
        "Correct the file; the connector notices.",
    ),
    named("secret_renewed", "A mounted secret has changed and is used from now on.", ""),
    named(
        "standing_noticed",
        "A user was in a group before a grant, which will therefore not remove the membership.",
        "",
    ),
    named("started", "The connector runs.", ""),
    named("stopped", "The connector has stopped.", ""),
    named("stopping", "The connector stops; what was begun is finished first.", ""),
    named("task_answered", "Apono has taken the result of a task.", ""),
    named(
        "task_died",
        "A part of the process has died, and the process ends with a failure.",
        "Report it, with the log.",
    ),
    named("task_refused", "A task of Apono was refused: `result.code` says why.", ""),
    named("task_taken", "A task of Apono was taken on.", ""),
];

const fn text(name: &'static str, meaning: &'static str) -> Field {
    Field { name, kind: Kind::Text, meaning }
}

const fn count(name: &'static str, meaning: &'static str) -> Field {
    Field { name, kind: Kind::Count, meaning }
}

const fn number(name: &'static str, meaning: &'static str) -> Field {
    Field { name, kind: Kind::Number, meaning }
}

const fn flag(name: &'static str, meaning: &'static str) -> Field {
    Field { name, kind: Kind::Flag, meaning }
}

const fn named(name: &'static str, meaning: &'static str, then: &'static str) -> Named {
    Named { name, meaning, then }
}
