//! # Purpose
//! Every failure that a person can meet, under one stable code: what it is, why, what to do, where, and whether waiting
//! helps. Logs, results, `doctor`, `explain`, the man page and docs/errors.md take their words from here.
//!
//! # Invariants kept here
//! - A number never changes its meaning and is never given again.
//! - Every answer of a peer has a code, also one that nobody has seen yet.
//!
//! # Not here
//! What the program does about a failure: the module that meets it decides by its own types.

mod command;
mod directory;
mod local;
mod network;
mod okta;
mod others;
mod results;
mod token;

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

pub use self::code::ErrorCode;

mod code;

/// One failure.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its code.
    pub code: ErrorCode,
    /// What it is, in a few words.
    pub title: &'static str,
    /// Why it comes.
    pub cause: &'static str,
    /// What a person does about it.
    pub cure: &'static str,
    /// Where: the page of a console, where there is one.
    pub page: Option<&'static str>,
    /// Whether trying again helps.
    pub again: Again,
    /// How peers say it.
    pub said: &'static [Said],
}

/// Whether trying again helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The connector does so, and nobody has to do anything.
    ByItself,
    /// The connector does so, slowly; it works once the cure is done.
    AfterCure,
    /// The connector does not, and whoever asked for it can.
    WhenAskedAgain,
    /// Not with the same request.
    Never,
}

impl Again {
    /// For a table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ByItself => "yes, and the connector does",
            Self::AfterCure => "after the cure; the connector notices",
            Self::WhenAskedAgain => "yes, when it is asked for again",
            Self::Never => "no",
        }
    }
}

/// What a peer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Okta's token endpoint: `error`, and a part of `error_description`.
    Token(&'static str, &'static str),
    /// Okta's API: `errorCode`.
    Okta(&'static str),
    /// Okta's API: `error` of a challenge.
    OktaChallenge(&'static str),
    /// Okta's API, where it names no code of these.
    OktaStatus(u16),
    /// A SCIM service: `scimType`.
    Scim(&'static str),
    /// A SCIM service, where it names no type of these.
    ScimStatus(u16),
    /// Apono: `code`.
    Apono(&'static str),
    /// Apono, where it names no code of these.
    AponoStatus(u16),
    /// A result of ours, to Apono: `code`.
    Result(&'static str),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(error, "") => write!(f, "Okta's token endpoint: {error}"),
            Self::Token(error, text) => write!(f, "Okta's token endpoint: {error}, \"… {text} …\""),
            Self::Okta(code) => write!(f, "Okta: {code}"),
            Self::OktaChallenge(error) => write!(f, "Okta: a challenge with {error}"),
            Self::OktaStatus(status) => write!(f, "Okta: status {status}"),
            Self::Scim(kind) => write!(f, "SCIM: {kind}"),
            Self::ScimStatus(status) => write!(f, "SCIM: status {status}"),
            Self::Apono(code) => write!(f, "Apono: {code}"),
            Self::AponoStatus(status) => write!(f, "Apono: status {status}"),
            Self::Result(code) => write!(f, "a result to Apono: {code}"),
        }
    }
}

/// All of them, by number.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    let areas: [&'static [Entry]; 8] = [
        local::ENTRIES,
        network::ENTRIES,
        token::ENTRIES,
        okta::ENTRIES,
        others::ENTRIES,
        directory::ENTRIES,
        command::ENTRIES,
        results::ENTRIES,
    ];
    areas.into_iter().flatten()
}

impl ErrorCode {
    /// What is known about it.
    pub fn entry(self) -> Option<&'static Entry> {
        entries().find(|entry| entry.code == self)
    }

    /// Its cure, or nothing.
    pub fn cure(self) -> &'static str {
        self.entry().map_or("", |entry| entry.cure)
    }

    /// What it is.
    pub fn title(self) -> &'static str {
        self.entry().map_or("", |entry| entry.title)
    }

    /// The text with the code behind it, unless it says it already.
    pub fn told_with(self, text: String) -> String {
        let code = self.to_string();
        if text.contains(&code) { text } else { format!("{text} [{code}]") }
    }

    /// Whether it is about a private key, and not about the file that it is in.
    pub fn is_about_a_key(self) -> bool {
        (Self::KeyDamaged..=Self::KeyFails).contains(&self)
    }

    /// What a refusal of Okta's token endpoint means. Where several texts fit, the longest decides.
    pub fn of_token(error: Option<&str>, description: &str) -> Self {
        let fits = |said: &Said| match said {
            Said::Token(known, part) if error == Some(known) && description.contains(part) => {
                Some(part.len())
            }
            Said::Token(..)
            | Said::Okta(_)
            | Said::OktaChallenge(_)
            | Said::OktaStatus(_)
            | Said::Scim(_)
            | Said::ScimStatus(_)
            | Said::Apono(_)
            | Said::AponoStatus(_)
            | Said::Result(_) => None,
        };
        let found =
            entries().filter_map(|entry| Some((entry.said.iter().filter_map(fits).max()?, entry.code)));
        found.max_by_key(|(length, _)| *length).map_or(Self::TokenRefused, |(_, code)| code)
    }

    /// What an answer of Okta's API means.
    pub fn of_okta(code: Option<&str>, challenge: Option<&str>, status: u16) -> Self {
        by_said(|said| matches!(said, Said::Okta(known) if code == Some(known)))
            .or_else(|| {
                by_said(|said| matches!(said, Said::OktaChallenge(known) if challenge == Some(known)))
            })
            .or_else(|| by_said(|said| *said == Said::OktaStatus(status)))
            .unwrap_or(if status >= 500 { Self::OktaTrouble } else { Self::OktaRefused })
    }

    /// What an answer of a SCIM service means.
    pub fn of_scim(kind: Option<&str>, status: u16) -> Self {
        by_said(|said| matches!(said, Said::Scim(known) if kind == Some(known)))
            .or_else(|| by_said(|said| *said == Said::ScimStatus(status)))
            .unwrap_or(if status >= 500 { Self::ScimTrouble } else { Self::ScimRefused })
    }

    /// What an answer of Apono's means.
    pub fn of_apono(code: Option<&str>, status: u16) -> Self {
        by_said(|said| matches!(said, Said::Apono(known) if code == Some(known)))
            .or_else(|| by_said(|said| *said == Said::AponoStatus(status)))
            .unwrap_or(if status >= 500 { Self::AponoTrouble } else { Self::AponoRefused })
    }

    /// What the code of a result to Apono means.
    pub fn of_result(code: &str) -> Option<Self> {
        by_said(|said| matches!(said, Said::Result(known) if *known == code))
    }
}

fn by_said(fits: impl Fn(&Said) -> bool) -> Option<ErrorCode> {
    entries().find(|entry| entry.said.iter().any(&fits)).map(|entry| entry.code)
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AOC-{:04}", self.number())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Not a code of this catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a code of this version; codes look like AOC-0302 [{code}]", code = ErrorCode::CommandLine)]
pub struct UnknownCode(String);

impl FromStr for ErrorCode {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let upper = text.trim().to_ascii_uppercase();
        let found = entries().find(|entry| entry.code.to_string() == upper);
        found.map(|entry| entry.code).ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

/// Whether this looks like a code, of this version or of another.
pub fn looks_like_a_code(text: &str) -> bool {
    let text = text.trim().to_ascii_uppercase();
    text.strip_prefix("AOC-")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_one_entry_and_entries_stand_in_order() {
        let numbers: Vec<_> = entries().map(|entry| entry.code.number()).collect();
        let sorted: Vec<_> = numbers.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        assert_eq!(numbers, sorted, "each once, by number");
        let all: Vec<_> = ErrorCode::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers, all);
    }

    #[test]
    fn every_entry_can_be_read_by_itself() {
        for entry in entries() {
            let Entry { code, title, cause, cure, .. } = entry;
            assert!(title.starts_with(char::is_uppercase) && !title.ends_with('.'), "{code}: {title}");
            for text in [cause, cure] {
                assert!(text.starts_with(char::is_uppercase) && text.ends_with('.'), "{code}: {text}");
            }
            assert_eq!(code.to_string().parse::<ErrorCode>().unwrap(), *code);
        }
    }

    #[test]
    fn nothing_that_a_peer_says_stands_in_two_entries() {
        let mut seen: Vec<Said> = Vec::new();
        for said in entries().flat_map(|entry| entry.said) {
            assert!(!seen.contains(said), "{said}");
            seen.push(*said);
        }
    }

    #[test]
    fn an_answer_that_nobody_has_seen_yet_has_a_code() {
        assert_eq!(ErrorCode::of_token(Some("something_new"), "?"), ErrorCode::TokenRefused);
        assert_eq!(ErrorCode::of_token(Some("invalid_client"), "?"), ErrorCode::TokenRefused);
        assert_eq!(ErrorCode::of_okta(Some("E0009999"), None, 418), ErrorCode::OktaRefused);
        assert_eq!(ErrorCode::of_okta(None, None, 599), ErrorCode::OktaTrouble);
        assert_eq!(ErrorCode::of_scim(Some("odd"), 418), ErrorCode::ScimRefused);
        assert_eq!(ErrorCode::of_apono(None, 599), ErrorCode::AponoTrouble);
    }

    #[test]
    fn oktas_own_code_counts_for_more_than_the_status() {
        let cases = [
            (Some("E0000006"), None, 403, ErrorCode::NoPermission),
            (None, Some("insufficient_scope"), 403, ErrorCode::InsufficientScope),
            (None, None, 403, ErrorCode::NoPermission),
            (Some("E0000007"), None, 404, ErrorCode::NotFound),
            (Some("E0000260"), None, 403, ErrorCode::OrganizationDeactivated),
            (None, None, 429, ErrorCode::OktaThrottled),
            (Some("E0000249"), None, 409, ErrorCode::RulesBusy),
            (Some("E0000157"), None, 409, ErrorCode::ChangesMeet),
            (None, None, 409, ErrorCode::ChangesMeet),
            (Some("E0000031"), None, 400, ErrorCode::RequestRefused),
            (Some("E0000053"), None, 400, ErrorCode::RequestRefused),
            (Some("E0000054"), None, 400, ErrorCode::CursorExpired),
        ];
        for (code, challenge, status, expected) in cases {
            assert_eq!(ErrorCode::of_okta(code, challenge, status), expected, "{code:?} {status}");
        }
    }

    /// RFC 7644 section 3.12, table 9.
    #[test]
    fn every_word_of_a_scim_service_for_a_failure_has_an_entry() {
        let words = [
            "invalidFilter",
            "tooMany",
            "uniqueness",
            "mutability",
            "invalidSyntax",
            "invalidPath",
            "noTarget",
            "invalidValue",
            "invalidVers",
            "sensitive",
        ];
        let mut known: Vec<_> = entries()
            .flat_map(|entry| entry.said)
            .filter_map(|said| if let Said::Scim(word) = said { Some(*word) } else { None })
            .collect();
        known.sort_unstable();
        let mut all = words.to_vec();
        all.sort_unstable();
        assert_eq!(known, all);
    }

    #[test]
    fn a_code_is_told_from_a_grant() {
        for text in ["AOC-0302", "aoc-302", " AOC-9999 "] {
            assert!(looks_like_a_code(text), "{text}");
        }
        for text in ["grt_1", "AOC", "AOC-", "AOC-12x"] {
            assert!(!looks_like_a_code(text), "{text}");
        }
        assert!("AOC-9999".parse::<ErrorCode>().is_err());
    }
}
