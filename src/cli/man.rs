//! # Purpose
//! `man` and `completions`: what a shell and a terminal need, out of the program itself.
//!
//! # Invariants kept here
//! - Keys, exit codes and errors stand in the page as the program has them; none is written down twice.
//!
//! # Not here
//! Where packages put these files: `deploy`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::{Cli, Exit, complain};
use crate::catalogue::{Entry, ErrorCode, entries};
use crate::config::DEFAULT_FILE;
use crate::config::schema::KEYS;

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Which section: 1 the command, 5 its configuration, 7 its errors
    #[arg(default_value = "1", value_parser = ["1", "5", "7"])]
    section: String,
    /// Writes the page of every command into this folder, instead of the first one to standard output
    #[arg(long, value_name = "FOLDER")]
    out_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

pub(super) fn man(arguments: &ManArgs) -> Exit {
    let written = match &arguments.out_dir {
        Some(folder) => write_all(folder),
        None => match arguments.section.as_str() {
            "5" => configuration_page(),
            "7" => errors_page(),
            _ => main_page(),
        }
        .and_then(|page| print(&page)),
    };
    ended(written)
}

pub(super) fn completions(arguments: &CompletionsArgs) -> Exit {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    ended(print(&script))
}

fn print(text: &[u8]) -> io::Result<()> {
    match io::stdout().lock().write_all(text) {
        // A closed pipe is the reader's wish.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn ended(written: io::Result<()>) -> Exit {
    match written {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&format!("it cannot be written: {error} [{}]", ErrorCode::FileNotWritten));
            Exit::Io
        }
    }
}

fn write_all(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command(), folder)?;
    std::fs::write(folder.join("apono-connector.1"), main_page()?)?;
    std::fs::write(folder.join("apono-connector.toml.5"), configuration_page()?)?;
    std::fs::write(folder.join("apono-connector-errors.7"), errors_page()?)
}

fn command() -> Command {
    Cli::command().version(env!("CARGO_PKG_VERSION"))
}

fn main_page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let man = Man::new(command());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    for section in [files(), exit_status(), see_also()] {
        section.to_writer(&mut page)?;
    }
    Ok(page)
}

/// Section 5.
fn configuration_page() -> io::Result<Vec<u8>> {
    page("apono-connector.toml", "5", "configuration of apono-connector", configuration())
}

/// Section 7.
fn errors_page() -> io::Result<Vec<u8>> {
    page("apono-connector-errors", "7", "what the codes of apono-connector mean, and what to do", errors())
}

fn page(name: &str, section: &str, about: &str, body: Roff) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let mut head = Roff::new();
    head.control("TH", [name, section, "", concat!("apono-connector ", env!("CARGO_PKG_VERSION"))]);
    head.control("SH", ["NAME"]);
    head.text([roman(format!("{name} - {about}"))]);
    for part in [head, body, see_also()] {
        part.to_writer(&mut page)?;
    }
    Ok(page)
}

fn files() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["FILES"]);
    section.control("TP", []);
    section.text([bold(DEFAULT_FILE)]);
    section.text([roman("The configuration: "), bold("apono-connector.toml"), roman("(5).")]);
    section
}

fn configuration() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["DESCRIPTION"]);
    section.text([
        roman("A TOML file. A key can also be set by "),
        bold("APONO_CONNECTOR__TABLE__KEY"),
        roman(" in the environment, or by "),
        bold("--set"),
        roman(". Flag beats environment beats file beats default."),
    ]);
    for key in KEYS {
        section.control("TP", []);
        let default = key.default.map(|default| format!(" (default {default})")).unwrap_or_default();
        section.text([bold(key.path), roman(default)]);
        let also = key.env.map(|name| format!(" Also {name}.")).unwrap_or_default();
        section.text([roman(format!("{}{also}", key.doc))]);
    }
    section
}

fn exit_status() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["EXIT STATUS"]);
    for exit in Exit::ALL {
        section.control("TP", []);
        section.text([bold(exit.code().to_string())]);
        section.text([roman(exit.meaning())]);
    }
    section
}

fn errors() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["DESCRIPTION"]);
    section.text([
        roman("Messages carry a code; "),
        bold("apono-connector explain "),
        italic("CODE"),
        roman(" tells of it as here, and how peers say it."),
    ]);
    for Entry { code, title, cause, cure, page, again, said: _ } in entries() {
        section.control("TP", []);
        section.text([bold(code.to_string()), roman(format!(" {title}"))]);
        section.text([roman(format!("{cause} {cure}"))]);
        if let Some(page) = page {
            section.text([italic("Where: "), roman(*page)]);
        }
        section.text([italic("Does trying again help? "), roman(format!("{}.", again.as_str()))]);
    }
    section
}

fn see_also() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["SEE ALSO"]);
    let pages = [
        ("apono-connector", "1"),
        ("apono-connector.toml", "5"),
        ("apono-connector-errors", "7"),
        ("journalctl", "1"),
    ];
    for (n, (name, number)) in pages.iter().enumerate() {
        let end = if n + 1 < pages.len() { ", " } else { "" };
        section.text([bold(*name), roman(format!("({number}){end}"))]);
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_have_every_key_exit_code_and_error() {
        let text = |page: io::Result<Vec<u8>>| String::from_utf8(page.unwrap()).unwrap().replace("\\-", "-");
        let page = text(configuration_page());
        for key in KEYS {
            assert!(page.contains(key.path), "{}", key.path);
        }
        let page = text(errors_page());
        for entry in entries() {
            assert!(page.contains(&entry.code.to_string()), "{}", entry.code);
        }
        let page = text(main_page());
        for exit in Exit::ALL {
            let meaning = exit.meaning().replace('\'', "\\*(Aq");
            assert!(page.contains(&format!("\\fB{}\\fR\n{meaning}", exit.code())), "{exit:?}");
        }
    }

    #[test]
    fn every_command_has_a_page_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        write_all(folder.path()).unwrap();
        let mut names = vec!["apono-connector".to_owned()];
        for command in Cli::command().get_subcommands() {
            names.push(format!("apono-connector-{}", command.get_name()));
        }
        for name in names {
            let page = std::fs::read_to_string(folder.path().join(format!("{name}.1"))).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{name}");
        }
        let main = std::fs::read_to_string(folder.path().join("apono-connector.1")).unwrap();
        assert!(main.contains("EXIT STATUS"));
    }
}
