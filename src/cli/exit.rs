//! # Purpose
//! How the process ends, as a number.
//!
//! # Invariants kept here
//! - The numbers never change: service managers act on them. They are `sysexits.h`'s, but for 2, which is for a
//!   command that compares, as `diff` and `grep` use it.
//!
//! # Not here
//! Explaining: the message goes before it, on standard error.

use std::process::ExitCode;

use crate::access::journal::{OpenError, SharedOpenError, TransferError};
use crate::app::StartError;
use crate::runtime::Ending;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 2: something differs from what it should be.
    Differs,
    /// 64: the arguments are wrong.
    Usage,
    /// 69: what is needed cannot be reached.
    Unavailable,
    /// 70: a bug, or a demonstration that did not hold.
    Bug,
    /// 74: a file, a disk or a socket failed.
    Io,
    /// 75: in use by another process; try later.
    TryLater,
    /// 77: not permitted, or another organization's state.
    NotPermitted,
    /// 78: the configuration is wrong.
    Config,
}

impl Exit {
    /// All of them, by number.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Differs,
        Self::Usage,
        Self::Unavailable,
        Self::Bug,
        Self::Io,
        Self::TryLater,
        Self::NotPermitted,
        Self::Config,
    ];

    /// What it tells.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Differs => {
                "something differs: the audit trail is broken, a plan has changes, `doctor` warns, or another state is where one is to be copied to"
            }
            Self::Usage => {
                "the arguments are wrong, an answer was missing, or they name a grant that was never heard of"
            }
            Self::Unavailable => "the daemon is needed and does not answer, or a peer does not",
            Self::Bug => "a task of the process died, or a demonstration did not hold",
            Self::Io => "a file, a disk or a socket failed",
            Self::TryLater => {
                "the state is in use by another process, which is named, or its database is away or does not take the password; a grant is over and something of it is still to be removed; the breaker holds something; or a plan is not what there is to do any more"
            }
            Self::NotPermitted => {
                "the state belongs to another connector or organization; Okta refuses what an administrator's token or a key is for, or gives a connection less than it needs"
            }
            Self::Config => "the configuration or a secret file is wrong",
        }
    }

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Differs => 2,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Bug => 70,
            Self::Io => 74,
            Self::TryLater => 75,
            Self::NotPermitted => 77,
            Self::Config => 78,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<&StartError> for Exit {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::Shared(error) if error.may_pass() => Self::TryLater,
            StartError::State(OpenError::InUse { .. }) | StartError::Shared(SharedOpenError::Half { .. }) => {
                Self::TryLater
            }
            StartError::Config(_)
            | StartError::Https(_)
            | StartError::Shared(SharedOpenError::Database(_)) => Self::Config,
            StartError::State(OpenError::ForeignState { .. })
            | StartError::Shared(SharedOpenError::Foreign { .. })
            | StartError::Stranded { .. } => Self::NotPermitted,
            StartError::Store(error) if error.is_foreign() => Self::NotPermitted,
            StartError::State(
                OpenError::File { .. }
                | OpenError::Database { .. }
                | OpenError::Damaged(_)
                | OpenError::TooNew { .. },
            )
            | StartError::Ledger(_)
            | StartError::Store(_)
            | StartError::Listen { .. }
            | StartError::Endpoint(_)
            | StartError::Signals(_) => Self::Io,
        }
    }
}

impl From<&TransferError> for Exit {
    fn from(error: &TransferError) -> Self {
        match error {
            TransferError::Open(OpenError::InUse { .. })
            | TransferError::InUse { .. }
            | TransferError::Moved { .. }
            | TransferError::Shared(SharedOpenError::Half { .. }) => Self::TryLater,
            TransferError::Open(OpenError::ForeignState { .. })
            | TransferError::Shared(SharedOpenError::Foreign { .. }) => Self::NotPermitted,
            TransferError::Shared(SharedOpenError::Database(error)) => {
                if error.is_away() {
                    Self::Unavailable
                } else {
                    Self::Config
                }
            }
            TransferError::InTheWay { .. } => Self::Differs,
            TransferError::Open(
                OpenError::File { .. }
                | OpenError::Database { .. }
                | OpenError::Damaged(_)
                | OpenError::TooNew { .. },
            )
            | TransferError::Journal(_)
            | TransferError::Illegal(_)
            | TransferError::Nothing { .. }
            | TransferError::Differs { .. } => Self::Io,
        }
    }
}

impl From<&Ending> for Exit {
    fn from(ending: &Ending) -> Self {
        match ending {
            Ending::Stopped | Ending::Again | Ending::Cut => Self::Done,
            Ending::Died { .. } => Self::Bug,
        }
    }
}
