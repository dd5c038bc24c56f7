//! # Purpose
//! `demo`: the whole product in under a minute, against simulated Okta and Apono on loopback ports.
//!
//! # Invariants kept here
//! - No shortcut: the connector is this very program, run as `run` in a process of its own, with real sockets and real
//!   files.
//! - What is claimed is looked up in the simulators, not taken from the connector's word; what does not hold makes
//!   the exit code 70.
//!
//! # Not here
//! Anything that a production run needs.

mod screen;
mod stage;
mod story;

use clap::Args;

use super::runtime::threads;
use super::{Exit, color, say};
use crate::config::Sources;
use screen::Screen;
use stage::Stage;
use story::{Report, Story};

/// Size and behavior of the demonstration.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct DemoArgs {
    /// Users in the simulated organization
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    users: u32,
    /// Groups in the simulated organization
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(4..=10_000))]
    groups: u32,
    /// The same seed makes the same organization
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON document at the end, on standard output
    #[arg(long)]
    json: bool,
    /// Leave everything running until Ctrl-C and print where it is
    #[arg(long)]
    keep_running: bool,
}

pub(super) fn demo(arguments: &DemoArgs, sources: &Sources) -> Exit {
    let runtime = match threads() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let screen = Screen::new(color(sources));
    match runtime.block_on(perform(*arguments, &screen)) {
        Ok(report) => {
            if arguments.json {
                say(&report.json());
            }
            if report.holds() { Exit::Done } else { Exit::Bug }
        }
        Err(error) => {
            screen.failed(&format!("{error:#}"));
            Exit::Bug
        }
    }
}

async fn perform(arguments: DemoArgs, screen: &Screen) -> anyhow::Result<Report> {
    let stage = Stage::set(arguments.users as usize, arguments.groups as usize, arguments.seed).await?;
    let mut story = Story::new(stage, screen);
    let told = tokio::select! {
        told = story.tell() => told,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    if let Err(error) = told {
        screen.note(&format!("the connector's log, configuration and state are in {}", story.keep_folder()));
        return Err(error);
    }
    if arguments.keep_running {
        story.stay_open().await?;
    }
    story.finish().await
}
