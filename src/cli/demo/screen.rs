//! # Purpose
//! The timeline that a person watches: colored lines and progress bars on a terminal, plain lines elsewhere.
//!
//! # Invariants kept here
//! - Everything goes to standard error; standard output has the JSON document to itself.
//! - Colors only where they are wanted (`NO_COLOR`); bars only on a terminal.
//!
//! # Not here
//! What happens: `story`.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use owo_colors::{OwoColorize, Style};

/// Where the timeline goes.
#[derive(Debug)]
pub(super) struct Screen {
    color: bool,
    terminal: bool,
}

impl Screen {
    pub(super) fn new(color: bool) -> Self {
        Self { color, terminal: io::stderr().is_terminal() }
    }

    /// A heading.
    pub(super) fn title(&self, text: &str) {
        self.line(&format!("\n{}", self.paint(text, Style::new().bold())));
    }

    /// Something that has happened and was looked up.
    pub(super) fn done(&self, at: Duration, text: &str) {
        let mark = self.paint("✔", Style::new().green().bold());
        self.line(&format!("{} {mark} {text}", self.stamp(at)));
    }

    /// Something that begins.
    pub(super) fn begin(&self, at: Duration, text: &str) {
        let mark = self.paint("▸", Style::new().cyan());
        self.line(&format!("{} {mark} {text}", self.stamp(at)));
    }

    /// Something that does not hold.
    pub(super) fn failed(&self, text: &str) {
        let mark = self.paint("✘", Style::new().red().bold());
        self.line(&format!("         {mark} {text}"));
    }

    /// A remark.
    pub(super) fn note(&self, text: &str) {
        self.line(&format!("           {}", self.paint(text, Style::new().dimmed())));
    }

    /// A bar for something that is counted.
    pub(super) fn bar(&self, what: &'static str, total: usize) -> ProgressBar {
        let target = if self.terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let style = ProgressStyle::with_template("           {msg:<12} {bar:30} {pos}/{len}  {eta}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_message(what);
        bar
    }

    fn stamp(&self, at: Duration) -> String {
        self.paint(&format!("{:>7.2}s", at.as_secs_f64()), Style::new().dimmed())
    }

    fn paint(&self, text: &str, style: Style) -> String {
        if self.color { text.style(style).to_string() } else { text.to_owned() }
    }

    #[expect(clippy::unused_self, reason = "the screen is where lines go")]
    fn line(&self, text: &str) {
        // Nothing can be done about a standard error that is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}
