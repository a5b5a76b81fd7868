//! Daemon: `holdfast serve` as a child process.
//!
//! In:  the text of a configuration file (TOML).
//! Out: the addresses it listens on, its numbers, its end.
//!
//! No daemon outlives the test that started it, and none is left out of sight: one that panics fails its test.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Metrics, PATIENCE, eventually, process};

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    listen: SocketAddr,
    control: SocketAddr,
    files: Files,
    is_to_fail: bool,
}

/// What a daemon is started with, beside its configuration file.
#[derive(Debug, Default)]
pub struct Launch {
    /// 0: two, where there are two CPUs.
    pub shards: usize,
    /// RLIMIT_NOFILE, where it is not to be this process's own.
    pub nofile: Option<u32>,
    /// Where clients connect, where that is not to be a free port of 127.0.0.1.
    pub listen: Option<SocketAddr>,
    /// Where its log goes, where that is not to be seen.
    pub log: Option<Stdio>,
    /// The control group that it is to be in: the path of its `cgroup.procs`.
    pub group: Option<PathBuf>,
    /// Variables of its environment.
    pub environment: Vec<(&'static str, String)>,
    /// True exactly when it is meant to fail.
    pub is_to_fail: bool,
}

impl Launch {
    /// The daemon's command line up to its own arguments, without the environment's say in its configuration.
    pub fn command(&self) -> Command {
        // What a process can set for itself alone, and its children inherit.
        let mut script = String::new();
        if let Some(nofile) = self.nofile {
            script += &format!("ulimit -n {nofile} && ");
        }
        if let Some(group) = &self.group {
            script += &format!("echo $$ > '{}' && ", group.display());
        }
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{script}exec \"$@\""), "sh"]).arg(process::binary());
        process::forget_configuration(&mut command);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Daemon {
    /// Starts a daemon with two shards, where there are two CPUs.
    pub fn start(config: &str) -> Self {
        Self::launch(config, Launch::default())
    }

    /// Starts a daemon with one shard.
    pub fn start_on_one_core(config: &str) -> Self {
        Self::launch(config, Launch { shards: 1, ..Launch::default() })
    }

    /// Starts a daemon and waits until it is ready.
    pub fn launch(config: &str, mut launch: Launch) -> Self {
        let files = Files::create(config);
        let shards = match launch.shards {
            0 => thread::available_parallelism().map_or(1, usize::from).min(2),
            shards => shards,
        };
        let mut command = launch.command();
        let listen = launch.listen.map_or("127.0.0.1:0".to_owned(), |address| address.to_string());
        command.args(["serve", "--listen", &listen, "--control", "127.0.0.1:0", "--config"]);
        command.arg(&files.config).args(["--shards", &shards.to_string()]);
        if !config.contains("[shutdown]") {
            // Most tests end with clients that do not answer the close frame.
            command.env("HOLDFAST_SHUTDOWN_TIMEOUT", "200ms");
        }
        if !config.contains("[echo]") && !config.contains("[broadcast]") {
            // Many tests talk to these, whatever else they configure.
            command.env("HOLDFAST_ECHO_ENABLED", "true").env("HOLDFAST_BROADCAST_ENABLED", "true");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let log = launch
            .log
            .take()
            .unwrap_or_else(|| File::create(&files.log).expect("the log can be made").into());
        command.stderr(log);
        let mut child = command.spawn().expect("the daemon can be started");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        output.read_line(&mut line).expect("its output can be read");
        let Some((listen, control)) = ready(&line) else {
            let _ = child.wait();
            panic!("the daemon is not ready: {line:?}\n{}", files.log());
        };
        Self { child, listen, control, files, is_to_fail: launch.is_to_fail }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Where the control plane answers.
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.files.log()
    }

    /// Waits for its end. Answers with its exit code and what it has logged.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let mut ended = None;
        eventually("the daemon ends", || {
            ended = self.child.try_wait().expect("it is our child");
            ended.is_some()
        });
        (ended.and_then(|status| status.code()), self.log())
    }

    /// The answer of the control plane to `GET path`: head and body.
    pub fn ask(&self, path: &str) -> (String, String) {
        self.request("GET", path, "", "")
    }

    /// The answer of the control plane: head and body. `fields` are whole header lines. What is sent is JSON, unless they
    /// say otherwise.
    pub fn request(&self, method: &str, path: &str, fields: &str, content: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.control).expect("the control plane listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        // What is sent in two parts waits for no acknowledgment of the first.
        stream.set_nodelay(true).expect("it is TCP");
        let length = content.len();
        let host =
            if fields.contains("Host: ") { String::new() } else { format!("Host: {}\r\n", self.control) };
        let is_typed = method != "POST" || fields.contains("Content-Type: ");
        let kind = if is_typed { "" } else { "Content-Type: application/json\r\n" };
        let head = format!("{method} {path} HTTP/1.1\r\n{host}{kind}Connection: close\r\n{fields}");
        let head = format!("{head}Content-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("the request goes out");
        // What is too long is answered before it is read.
        let _ = stream.write_all(content.as_bytes());
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer is text and complete");
        let (head, body) = answer.split_once("\r\n\r\n").expect("the answer has a head");
        (head.to_owned(), body.to_owned())
    }

    /// All its numbers, as of now.
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.ask("/metrics").1)
    }

    /// One of its numbers: the sum over all samples of that name that have these labels.
    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.metrics().sum(name, labels)
    }

    /// How many connections it has closed for this reason.
    pub fn closes(&self, reason: &str) -> u64 {
        self.metric("holdfast_closes_total", &[("reason", reason)])
    }

    /// Waits until it has closed so many connections for this reason.
    pub fn await_closes(&self, reason: &str, count: u64) {
        eventually(&format!("{count} closed as {reason}"), || self.closes(reason) >= count);
        assert_eq!(self.closes(reason), count, "closed as {reason}");
    }

    /// Waits until every connection is forgotten: no socket, no session, no member.
    pub fn await_empty(&self) {
        eventually("the daemon holds no connection", || {
            let metrics = self.metrics();
            ["connections", "sessions", "broadcast_members"]
                .iter()
                .all(|name| metrics.sum(&format!("holdfast_{name}"), &[]) == 0)
        });
    }

    /// Its anonymous resident memory.
    pub fn user_memory_bytes(&self) -> u64 {
        process::user_memory_bytes(self.pid())
    }

    /// How many file descriptors its process table holds.
    pub fn descriptors(&self) -> usize {
        process::descriptors(self.pid())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the daemon runs");
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        let mut ended = None;
        eventually("the daemon ends", || {
            ended = self.child.try_wait().expect("it is our child");
            ended.is_some()
        });
        ended.expect("it has ended")
    }

    /// Asks it to stop, and expects that it does so in good order.
    pub fn stop(self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait().code(), Some(0));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.files.log();
        if thread::panicking() {
            eprintln!("the daemon's log:\n{log}");
        } else {
            assert!(self.is_to_fail || !log.contains("panicked"), "the daemon panicked:\n{log}");
        }
    }
}

/// The addresses in `ready listen=ADDR control=ADDR shards=N`.
fn ready(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.split_whitespace();
    let is_ready = words.next() == Some("ready");
    let mut value = |key: &str| words.next()?.strip_prefix(key)?.parse().ok();
    let addresses = (value("listen=")?, value("control=")?);
    is_ready.then_some(addresses)
}

/// A daemon's configuration and its log.
#[derive(Debug)]
struct Files {
    config: PathBuf,
    log: PathBuf,
}

impl Files {
    fn create(config: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = process::folder().join(format!("{}-{number}", std::process::id()));
        let files = Self { config: path.with_extension("toml"), log: path.with_extension("log") };
        fs::write(&files.config, config).expect("the configuration can be written");
        files
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.config);
        let _ = fs::remove_file(&self.log);
    }
}
