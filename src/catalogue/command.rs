//! # Purpose
//! What keeps a command from being done.
//!
//! # Invariants kept here
//! - In the order of the numbers.
//!
//! # Not here
//! What a command meets at a peer or in the configuration: the other areas.

use super::{Again, Entry, ErrorCode};

/// Somebody runs the command again; nothing else tries.
const fn entry(
    code: ErrorCode,
    title: &'static str,
    cause: &'static str,
    cure: &'static str,
    again: Again,
) -> Entry {
    Entry { code, title, cause, cure, page: None, again, said: &[] }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(
        ErrorCode::NotRunning,
        "The connector does not run",
        "The command asks the running connector, and none has this state.",
        "Start the connector, and run the command again.",
        Again::Never,
    ),
    entry(
        ErrorCode::Deaf,
        "The running connector does not answer",
        "Its socket beside the state cannot be used: it is for root and the connector's user alone.",
        "Run the command as root or as the connector's user, on the same host and with the same state.url.",
        Again::Never,
    ),
    entry(
        ErrorCode::DaemonRefused,
        "The running connector does not do that",
        "It is another version than the command, or what was asked for does not exist.",
        "Read the message; use the command of the version that runs.",
        Again::Never,
    ),
    entry(
        ErrorCode::PlanFile,
        "The file is no plan that can be used",
        "It was not written by `sync --plan --out`, was changed, or cannot be read.",
        "Make it anew with `sync --plan --out FILE`.",
        Again::Never,
    ),
    entry(
        ErrorCode::WhichOrganization,
        "It is not clear which organization is meant",
        "Several are configured, or none of that name has its directory reconciled.",
        "Name one: with --integration, or as the message says.",
        Again::Never,
    ),
    entry(
        ErrorCode::FileInTheWay,
        "A file is in the way",
        "Nothing is overwritten, and there is a file of that name.",
        "Name another file, or move that one away.",
        Again::Never,
    ),
    entry(
        ErrorCode::FileNotWritten,
        "A file cannot be written",
        "The folder is missing, may not be written to, or has no room.",
        "See to the folder, and run the command again.",
        Again::Never,
    ),
    entry(
        ErrorCode::SetupObstacle,
        "Something in Okta is in the way of setting up",
        "An application, key or group of that name is there and is another than the one that is meant.",
        "Do what the message says, and run the command again: it goes on where it stopped.",
        Again::Never,
    ),
    entry(
        ErrorCode::AuditTrailBroken,
        "The audit trail is broken",
        "Records were edited, dropped, reordered, repeated or cut off.",
        "Keep its files as they are, and find out who could write to them.",
        Again::Never,
    ),
    entry(
        ErrorCode::AuditTrailUnreadable,
        "The audit trail cannot be read",
        "It is not there, may not be read, or is being rotated.",
        "Run the command as the connector's user, or on a copy of the whole folder.",
        Again::Never,
    ),
    entry(
        ErrorCode::LogSettings,
        "Logging cannot be set up",
        "The level is none, or the journal is not there.",
        "Correct log.level and log.format.",
        Again::Never,
    ),
    entry(
        ErrorCode::ProcessLimits,
        "The process cannot have what every process needs",
        "The system gives no threads, or no signals can be taken over.",
        "Raise the limits of the service (tasks, open files).",
        Again::Never,
    ),
    entry(
        ErrorCode::SecretHeldBack,
        "A part of the support bundle had a secret in it",
        "Before it is written, every part is searched for every secret of the configuration; one was found, which is a defect of this program.",
        "The part was left out and the rest is good to send. Report which part it was; nothing of the secret is in the bundle.",
        Again::Never,
    ),
    entry(
        ErrorCode::FileUnreadable,
        "A file that was named to a command cannot be read",
        "It is not there, may not be read, or is not of the kind that the command takes.",
        "Correct its name, run the command as a user who may read it, or give a file of the kind that the message names.",
        Again::Never,
    ),
    entry(
        ErrorCode::CommandLine,
        "The command line is wrong",
        "A command, an option, a value or an answer is unknown or missing, or does not fit the others.",
        "Do what the message says; --help after the command shows what it takes. What was done is not done again.",
        Again::Never,
    ),
    entry(
        ErrorCode::TaskDied,
        "A part of the process has died",
        "It ended unasked, by something that it could not cope with or by a defect of this program.",
        "Report it, with the log. The service manager starts the connector again, and that goes on where this one was.",
        Again::Never,
    ),
    entry(
        ErrorCode::StopCut,
        "A stop did not wait for everything",
        "It took longer than a stop may, or a second signal came.",
        "Nothing: what was begun is on disk, and the next start goes on with it.",
        Again::ByItself,
    ),
    entry(
        ErrorCode::MemoryReadable,
        "The process's memory may be read by others of its user",
        "The system does not let the process keep it private.",
        "Let nothing else run as the connector's user, and report it with the version of the system.",
        Again::Never,
    ),
    entry(
        ErrorCode::ManagerNotTold,
        "The service manager cannot be told anything",
        "The socket that NOTIFY_SOCKET names cannot be written to.",
        "Leave NotifyAccess and NOTIFY_SOCKET as the unit of the package has them.",
        Again::ByItself,
    ),
    entry(
        ErrorCode::GrantUnknown,
        "No such grant was ever heard of",
        "Its id is misspelt, or another connector has it.",
        "See the ids with `apono-connector grants list`, and ask where the state of that grant is.",
        Again::Never,
    ),
    entry(
        ErrorCode::Defect,
        "The program has a defect",
        "Something came about that its authors held to be impossible.",
        "Report the message and the connector's version; run the command again meanwhile.",
        Again::Never,
    ),
    entry(
        ErrorCode::RotationStep,
        "The rotation of a key stands at another step",
        "One waits to be finished, none does, or the old and the new file hold the same key.",
        "Do what the message says: `key rotate` puts a new key in, `key rotate --finish` ends the old one.",
        Again::Never,
    ),
];
