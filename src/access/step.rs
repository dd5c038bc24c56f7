//! # Purpose
//! Why a step was not completed, and what that says about the next try.
//!
//! # Invariants kept here
//! - What one step meets is told apart from an outage of the organization: a step that can never succeed does not hold
//!   up the others.
//!
//! # Not here
//! Pauses: `reconciler`.

use super::journal::JournalError;
use super::ledger::LedgerError;
use crate::catalogue::ErrorCode;
use crate::http::Class;
use crate::okta::OktaError;

/// A step was not completed. It stays due.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Okta.
    #[error("cannot {doing}")]
    Okta {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        #[source]
        source: OktaError,
    },
    /// The journal.
    #[error("cannot record {what}")]
    Ledger {
        /// What was to be recorded.
        what: &'static str,
        /// Why not.
        #[source]
        source: LedgerError,
    },
    /// Another daemon is at it.
    #[error("another daemon does it [{}]", ErrorCode::OthersWereFaster)]
    Elsewhere,
    /// The claim cannot be had, or does not stand any more.
    #[error("cannot claim it")]
    Claim {
        /// Why not.
        #[source]
        source: JournalError,
    },
    /// Okta accepted the removal and goes on showing the membership.
    #[error("Okta accepted the removal, but still shows the membership [{}]", ErrorCode::RemovalNotSeen)]
    StillMember,
    /// Answers that cannot all be true.
    #[error(
        "Okta does not find what it has just shown, so nothing is concluded [{}]",
        ErrorCode::OktaContradicts
    )]
    Contradiction,
    /// Something is not found, and the connector's rights are in doubt.
    #[error(
        "Okta does not find the user or the group, and shows no users or groups at all: the connector's administrator role is missing, so nothing is proven [{}]",
        ErrorCode::RoleMissing
    )]
    RightsInDoubt,
    /// The membership may belong to a group rule now.
    #[error(
        "a group rule has come to fill the group; a removal would put the user on the rule's exclusion list, so a person must decide (remove the group from the rule, or the user from the group) [{}]",
        ErrorCode::RuleFillsGroup
    )]
    RuleManaged,
}

impl StepError {
    /// Whether trying again can help.
    pub fn class(&self) -> Class {
        match self {
            Self::Okta { source, .. } => source.class(),
            Self::Ledger { .. }
            | Self::Elsewhere
            | Self::Claim { .. }
            | Self::StillMember
            | Self::Contradiction => Class::Transient,
            Self::RightsInDoubt | Self::RuleManaged => Class::Misconfigured,
        }
    }

    /// Whether it may be an outage of the organization, and not a matter of this step.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Okta { source, .. } => source.is_outage(),
            Self::Ledger { .. }
            | Self::Elsewhere
            | Self::Claim { .. }
            | Self::StillMember
            | Self::Contradiction
            | Self::RightsInDoubt
            | Self::RuleManaged => false,
        }
    }

    /// Whether another daemon does it, or has taken it over: nothing is wrong.
    pub fn is_elsewhere(&self) -> bool {
        let taken_over = |error: &JournalError| matches!(error, JournalError::TakenOver);
        match self {
            Self::Elsewhere => true,
            Self::Claim { source } | Self::Ledger { source: LedgerError::Journal(source), .. } => {
                taken_over(source)
            }
            Self::Ledger { .. }
            | Self::Okta { .. }
            | Self::StillMember
            | Self::Contradiction
            | Self::RightsInDoubt
            | Self::RuleManaged => false,
        }
    }

    /// Whether Okta answered: then it is not away, whatever this step lacks.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Okta { source, .. } => source.answer().is_some() && !source.is_outage(),
            Self::StillMember | Self::Contradiction | Self::RightsInDoubt | Self::RuleManaged => true,
            Self::Ledger { .. } | Self::Elsewhere | Self::Claim { .. } => false,
        }
    }
}
