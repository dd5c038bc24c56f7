//! # Purpose
//! A progress bar while a command waits for a directory run.
//!
//! # Invariants kept here
//! - Where standard output or standard error is no terminal, and with JSON, nothing is shown: output stays as it was.
//! - When the command goes on, the bar is gone.
//!
//! # Not here
//! How far the run is: `directory::progress`.

use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock;
use crate::directory::progress::Progress;

/// Between two looks at the run.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

const COUNTED: &str = "{bar:30} {wide_msg}";
const COUNTLESS: &str = "{spinner} {wide_msg}";

/// Whether somebody watches.
pub(super) fn wanted(json: bool) -> bool {
    !json && io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// `work`, and meanwhile what `look` tells, where that is `wanted`.
pub(super) async fn while_waiting<T>(
    wanted: bool,
    look: impl AsyncFn() -> Option<Progress>,
    work: impl Future<Output = T>,
) -> T {
    if !wanted {
        return work.await;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let watching = async {
        loop {
            if let Some(progress) = look().await {
                show(&bar, &progress);
            } else {
                set_style(&bar, COUNTLESS);
                bar.set_message("waiting");
            }
            bar.tick();
            clock::sleep(BETWEEN_LOOKS).await;
        }
    };
    let (mut work, mut watching) = (pin!(work), pin!(watching));
    let done = tokio::select! {
        done = &mut work => done,
        never = &mut watching => never,
    };
    bar.finish_and_clear();
    done
}

fn show(bar: &ProgressBar, progress: &Progress) {
    set_style(bar, if progress.total.is_some() { COUNTED } else { COUNTLESS });
    bar.set_length(progress.total.unwrap_or(0));
    bar.set_position(progress.done);
    bar.set_message(progress.sentence());
}

fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
}
