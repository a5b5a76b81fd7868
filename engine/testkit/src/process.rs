//! Process: the binary under test, and what the kernel tells about a process of it (proc(5)).
//!
//! In:  where the test's own executable is; a process id.
//! Out: the path of `holdfast`, and commands that run it; a process's memory and descriptors.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// The variable with which newer versions of cargo tell a test where the binary is, at run time.
const BINARY: &str = "CARGO_BIN_EXE_holdfast";

/// What the names of variables of the daemon's configuration begin with.
const PREFIX: &str = "HOLDFAST_";

/// The path of the `holdfast` that was built with this test.
///
/// Cargo builds it for every integration test of the package `holdfast`, into the folder above that of the test's
/// executable (`target/debug/deps/daemon-0123` is beside `target/debug/holdfast`).
///
/// # Panics
/// Where there is none: the test is not one of the package `holdfast`.
#[must_use]
pub fn binary() -> &'static Path {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
        let path = env::var_os(BINARY).map_or_else(
            || {
                let test = env::current_exe().expect("a test knows its own path");
                let profile = test.ancestors().nth(2).expect("it is in target/PROFILE/deps");
                profile.join("holdfast")
            },
            PathBuf::from,
        );
        assert!(path.is_file(), "{} is not built: cargo build -p holdfast", path.display());
        path
    });
    &PATH
}

/// A command that runs `holdfast`, without the environment's say in its configuration.
#[must_use]
pub fn command() -> Command {
    let mut command = Command::new(binary());
    forget_configuration(&mut command);
    command
}

/// Takes the variables of a configuration from a command's environment.
pub fn forget_configuration(command: &mut Command) {
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(PREFIX)) {
        command.env_remove(name);
    }
}

/// A folder in the target folder for files of tests, as `CARGO_TARGET_TMPDIR` is.
pub(crate) fn folder() -> PathBuf {
    let target = binary().ancestors().nth(2).expect("it is in target/PROFILE");
    let folder = target.join("tmp");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}

/// `RssAnon` of /proc/PID/status (proc_pid_status(5)): memory that the process itself has touched, without files.
pub(crate) fn user_memory_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    kilobytes(&status, "RssAnon:").expect("the kernel tells RssAnon") * 1024
}

/// Entries of its table of file descriptors.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count()
}

/// The number behind `key` in a text of lines like `MemAvailable:   1024 kB`.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
