//! Server: one contestant's process, from start to stop.
//!
//! In:  a contestant and a core.
//! Out: its address and process number; how it ended.
//!
//! A server says `ready` on stdout when it accepts. It is always gone after `stop` or a drop, by force if need be;
//! whatever it writes on stderr lands in a log.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::contestant::Peer;
use crate::cores::{Core, spawn_on};

const START_MAX: Duration = Duration::from_secs(20);
const STOP_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// A server that accepts connections.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts `contestant` on `core` and waits until it is ready.
    pub(crate) fn start(contestant: &Peer, core: Core, log: &Path) -> anyhow::Result<Self> {
        let [address, control] = free_addresses()?;
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = contestant.command(address, control, core);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut server = Self { child: spawn_on(core, &mut command)?, address };
        server.wait_until_ready()?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the server to stop and waits for it.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("was gone before it was stopped")?;
        let deadline = Instant::now() + STOP_MAX;
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "stopped with {status}");
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "did not stop within {STOP_MAX:?}");
            thread::sleep(POLL);
        }
    }

    /// The reading thread outlives the wait, so that a talkative server never blocks on a full pipe.
    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let stdout = self.child.stdout.take().context("the server's stdout was taken twice")?;
        let (first, line) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut text = String::new();
            let result = stdout.read_line(&mut text).map(|_| text);
            // The waiting side has gone only after its deadline, and has reported that.
            let _ = first.send(result);
            let mut sink = [0; 4096];
            while matches!(stdout.read(&mut sink), Ok(count) if count > 0) {}
        });
        match line.recv_timeout(START_MAX) {
            Ok(Ok(text)) if text.starts_with("ready") => Ok(()),
            Ok(Ok(text)) if text.is_empty() => bail!("ended before it was ready"),
            Ok(Ok(text)) => bail!("said {:?} instead of `ready`", text.trim_end()),
            Ok(Err(error)) => Err(error).context("its stdout cannot be read"),
            Err(_) => bail!("was not ready within {START_MAX:?}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two loopback addresses that nobody listens on. Someone could take them before the server does; then the server
/// says so and the run counts as failed.
fn free_addresses() -> anyhow::Result<[SocketAddr; 2]> {
    let first = TcpListener::bind("127.0.0.1:0")?;
    let second = TcpListener::bind("127.0.0.1:0")?;
    Ok([first.local_addr()?, second.local_addr()?])
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cores::tests::some_core;

    /// Any program serves as a contestant that never gets ready.
    fn start(program: &str) -> anyhow::Result<Server> {
        let contestant = Peer { name: "program", program: PathBuf::from(program) };
        Server::start(&contestant, some_core(), Path::new("/dev/null"))
    }

    #[test]
    fn server_that_ends_at_once_is_reported_and_not_waited_for() {
        let error = start("/bin/false").err().unwrap();
        assert_eq!(error.to_string(), "ended before it was ready");
    }

    #[test]
    fn server_that_says_something_else_is_quoted() {
        let error = start("/bin/echo").err().unwrap();
        assert!(error.to_string().contains("--listen"), "{error}");
    }

    #[test]
    fn server_that_cannot_be_started_is_named() {
        let error = start("/nowhere/server").err().unwrap();
        assert!(error.to_string().contains("/nowhere/server"), "{error}");
    }
}
