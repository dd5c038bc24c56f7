//! The process's memory, where keys and tokens are, is shown to nobody.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::geteuid;
use tokio::process::Command;

use super::aviary::Aviary;

const NOBODY: u32 = 65_534;
/// Whatever this host's limit is, a core may be as large as it can get.
const WITH_CORES: &str = "ulimit -S -c \"$(ulimit -H -c)\" && exec \"$0\" \"$@\"";

/// The same command, which may leave a core, as a user who is not root: root looks into everybody.
fn with_cores(command: &Command) -> Command {
    let command = command.as_std();
    let mut within = Command::new("sh");
    within.args(["-c", WITH_CORES]).arg(command.get_program()).args(command.get_args()).env_clear();
    within.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if geteuid().is_root() {
        within.uid(NOBODY).gid(NOBODY);
    }
    within
}

/// The user whom the system gives the process's files to: root, where nobody may look into it.
fn owner(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid()
}

fn core_limit(pid: u32) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

fn files_in(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn give_to_nobody(path: &Path) {
    if !geteuid().is_root() {
        return;
    }
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_to_nobody(&entry.unwrap().path());
        }
    }
}

/// Beside it another program dies in the same way, of which a core is left. Where this host hands cores to a program, or lets
/// nobody write one, none is left of either, and the limits and the owner are what is known.
#[tokio::test]
async fn no_core_is_left_though_one_was_allowed_and_nobody_can_look_into_the_process() {
    let mut aviary = Aviary::new().await;
    for folder in ["cwd", "control"] {
        fs::create_dir(aviary.world.path(folder)).unwrap();
    }
    give_to_nobody(aviary.world.folder.path());

    let mut control = Command::new("sleep");
    control.arg("1000");
    let mut control =
        with_cores(&control).current_dir(aviary.world.path("control")).kill_on_drop(true).spawn().unwrap();
    let pid = control.id().unwrap();
    while fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() != "sleep\n" {
        tokio::task::yield_now().await;
    }
    let (everybodys, may_be_written) = (owner(pid), core_limit(pid)[0] != "0");
    assert_ne!(everybodys, 0, "of another program the user's own");
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGABRT).unwrap();
    control.wait().await.unwrap();
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let is_left_here = !pattern.starts_with(['|', '@', '/']);
    if may_be_written && is_left_here {
        assert_eq!(files_in(&aviary.world.path("control")), 1, "a core of the other program");
    }

    let command = aviary.command(&["run"]);
    let mut command = with_cores(&command);
    command.current_dir(aviary.world.path("cwd"));
    let connector = aviary.world.start_command(command);
    aviary.granted().await;
    assert_eq!(core_limit(connector.pid()), ["0", "0", "bytes"]);
    assert_eq!(owner(connector.pid()), 0, "whoever runs it cannot look into it");
    connector.signal(Signal::SIGABRT);
    let (status, log) = connector.wait().await;
    assert!(!status.success());
    aviary.keep("log", log);
    assert_eq!(files_in(&aviary.world.path("cwd")), 0, "no core");
    aviary.keep_files();
    aviary.assert_nothing_is_seen();
}
