//! Load: one run of `holdfast-bench` against a running server.
//!
//! In:  a scenario, the server's address and process, the core of the load tool.
//! Out: the load tool's report, or why there is none.
//!
//! A report with losses is a report: the load tool then exits with an error and its counts say why. A run without a
//! report is a failure, with the tool's last words.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::cores::{Core, spawn_on};
use crate::report::LoadReport;
use crate::scenario::Scenario;
use crate::server::Server;

/// How long connecting, settling and closing may take beside the measured window.
const OVERHEAD_MAX: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// The load tool and how it is run.
pub(crate) struct LoadTool<'a> {
    pub(crate) program: &'a Path,
    pub(crate) core: Core,
    /// What each scenario's measured window is a multiple of.
    pub(crate) unit: Duration,
    /// Where the tool writes its report; overwritten by each run.
    pub(crate) json: PathBuf,
}

impl LoadTool<'_> {
    /// Runs `scenario` against `server`.
    pub(crate) fn run(&self, scenario: &Scenario, server: &Server) -> anyhow::Result<LoadReport> {
        // An old report must not pass for this run's.
        if self.json.exists() {
            fs::remove_file(&self.json).context("cannot remove the last report")?;
        }
        let window = scenario.window(self.unit);
        let mut command = Command::new(self.program);
        command
            .args(scenario.arguments(server.address, server.pid(), window, &self.json))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let (status, words) = wait(spawn_on(self.core, &mut command)?, window + OVERHEAD_MAX)?;
        match fs::read(&self.json) {
            Ok(bytes) => serde_json::from_slice(&bytes).context("the load tool's report cannot be read"),
            Err(_) => bail!("the load tool left no report ({status}): {}", last_line(&words)),
        }
    }
}

/// How the load tool ended, and what it said on stderr.
fn wait(mut child: Child, patience: Duration) -> anyhow::Result<(ExitStatus, String)> {
    let mut stderr = child.stderr.take().context("the load tool's stderr was taken twice")?;
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, reader.join().unwrap_or_default()));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("the load tool did not end within {patience:?}");
        }
        thread::sleep(POLL);
    }
}

fn last_line(words: &str) -> &str {
    words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_last_line_that_is_not_empty() {
        assert_eq!(last_line("warning: a\nerror: b\n\n"), "error: b");
        assert_eq!(last_line("\n"), "it said nothing");
    }
}
