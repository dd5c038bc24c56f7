//! # Purpose
//! Asks the person at the terminal.
//!
//! # Invariants kept here
//! - Where nobody is to be asked, what is missing is an error that names its flag.
//! - A secret is asked for without an echo.
//!
//! # Not here
//! What is asked.

use std::io::{self, BufRead, IsTerminal, Write};

use secrecy::SecretString;

use super::trouble::Trouble;

/// Somebody, or nobody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    interactive: bool,
}

impl Terminal {
    /// Somebody only where standard input is a terminal.
    pub(super) fn new(non_interactive: bool) -> Self {
        Self { interactive: !non_interactive && io::stdin().is_terminal() }
    }

    pub(super) fn is_interactive(self) -> bool {
        self.interactive
    }

    /// One line.
    pub(super) fn line(self, question: &str, flag: &str) -> Result<String, Trouble> {
        if !self.interactive {
            return Err(Trouble::usage(format!("{flag} is missing, and there is nobody to ask")));
        }
        note_without_end(&format!("{question}: "));
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        let line = line.trim();
        match read {
            Ok(_) if !line.is_empty() => Ok(line.to_owned()),
            Ok(_) | Err(_) => Err(Trouble::usage(format!("there was no answer; {flag} gives it"))),
        }
    }

    /// Yes or no; no, where nobody is asked.
    pub(super) fn agrees(self, question: &str) -> bool {
        self.line(&format!("{question} [y/N]"), "")
            .is_ok_and(|answer| ["y", "yes"].iter().any(|yes| answer.eq_ignore_ascii_case(yes)))
    }

    /// A secret.
    pub(super) fn secret(self, question: &str, flag: &str) -> Result<SecretString, Trouble> {
        if !self.interactive {
            return Err(Trouble::usage(format!("{flag} is missing, and there is nobody to ask")));
        }
        let answer = rpassword::prompt_password(format!("{question}: "));
        match answer.map(SecretString::from) {
            Ok(secret) if !secrecy::ExposeSecret::expose_secret(&secret).trim().is_empty() => Ok(secret),
            Ok(_) | Err(_) => Err(Trouble::usage(format!("there was no answer; {flag} gives it"))),
        }
    }
}

/// A line on standard error that is no complaint: what is going on.
pub(super) fn note(text: &str) {
    // Nothing can be done about a standard error that is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn note_without_end(text: &str) {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{text}");
    let _ = err.flush();
}
