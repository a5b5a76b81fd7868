//! Parts: each thread and task of the daemon fails, in each state.
//!
//! In:  a part that panics, or that ends with an error, while the daemon starts, serves, drains, or has handed over.
//! Out: the end of the process, by itself, with exit code 70 and a line that names the part, its state and the cause;
//! clients that are cut rather than left hanging; a port that takes nobody any more.
//!
//! Parts fail by `FAULT_FOR_TESTS`, which only debug builds know.

use std::{
    fs::{self, File},
    io,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use holdfast_testkit::{Daemon, Launch, eventually, peer::Peer};
use rustix::process::Signal;

use crate::{
    certificate,
    disk::{fill, full},
};

/// What goes wrong, and when.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    part: &'static str,
    state: &'static str,
    how: &'static str,
    /// It goes wrong once this is there.
    file: PathBuf,
}

impl Fault {
    pub(crate) fn new(part: &'static str, state: &'static str, how: &'static str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("fault-{}-{number}", std::process::id());
        Self { part, state, how, file: Path::new(env!("CARGO_TARGET_TMPDIR")).join(name) }
    }

    pub(crate) fn launch(&self) -> Launch {
        let Self { part, state, how, file } = self;
        let fault = format!("{part},{state},{how},{}", file.display());
        Launch {
            shards: 2,
            environment: vec![("FAULT_FOR_TESTS", fault)],
            is_to_fail: true,
            ..Launch::default()
        }
    }

    /// From here on it goes wrong.
    pub(crate) fn begin(&self) {
        File::create(&self.file).expect("it can be made");
    }

    /// From here on it does not.
    pub(crate) fn end(&self) {
        let _ = fs::remove_file(&self.file);
    }

    /// One line says what has happened.
    fn expect_told(&self, log: &str) {
        let Self { part, state, how, .. } = self;
        let failed =
            "a part of the daemon failed: the process ends, and the service manager should start it again";
        let line =
            log.lines().find(|line| line.contains(failed)).unwrap_or_else(|| panic!("{self:?}: {log}"));
        assert!(line.contains("ERROR"), "{line}");
        // The others go on while the log's thread fails.
        let state = if line.contains("part=\"log\" state=\"serving\"") { "serving" } else { state };
        let named = format!("part=\"{part}\" state=\"{state}\" cause=");
        assert!(line.contains(&named), "{self:?}: {line}");
        let cause = if *how == "panic" { "fault.rs:" } else { "" };
        assert!(line.contains(cause) && line.contains("code=70"), "{self:?}: {line}");
        assert_eq!(line.contains("panicked at "), *how == "panic", "{line}");
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        self.end();
    }
}

const HOWS: [&str; 2] = ["panic", "error"];

/// All that a daemon with this configuration consists of, but for what is only there while it drains, and for
/// `certificates`, which is there where a listener speaks TLS.
const PARTS: [&str; 9] =
    ["shard-0", "shard-1", "control", "signals", "backend", "memory", "keys", "pulse", "log"];

const CONFIG: &str = "[client.token]\njwks_public_endpoint = 'http://127.0.0.1:1/keys'\n\
     [shutdown]\ntimeout = '1h'\ndrain_time = '10m'";

/// Clients of both shards, if the kernel wants it so.
fn clients(daemon: &Daemon) -> Vec<Peer> {
    (0..8).map(|_| Peer::open(daemon, "/echo")).collect()
}

/// The process ends, and nobody is left hanging.
fn expect_end(mut daemon: Daemon, fault: &Fault, clients: Vec<Peer>) {
    let began = Instant::now();
    fault.begin();
    let (code, log) = daemon.end();
    println!("{} {} {}: ended after {:?}", fault.part, fault.state, fault.how, began.elapsed());
    assert_eq!(code, Some(70), "{fault:?}: {log}");
    fault.expect_told(&log);
    for mut client in clients {
        // What went out before is read; then the stream has an end.
        while client.frame_or_cut().is_some() {}
    }
}

#[test]
fn a_thread_that_fails_before_the_daemon_is_ready_ends_it() {
    for part in ["shard-0", "shard-1", "control", "log"] {
        for how in HOWS {
            let fault = Fault::new(part, "starting", how);
            fault.begin();
            let mut serve = fault.launch().command();
            serve.args(["serve", "--shards", "2", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
            let ended =
                serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it can be started");
            let output = ended.wait_with_output().expect("it ends");
            let log = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(70), "{fault:?}: {log}");
            fault.expect_told(&log);
        }
    }
}

#[test]
fn whichever_part_fails_while_it_serves_the_process_ends_and_its_clients_know() {
    for part in PARTS {
        for how in HOWS {
            let fault = Fault::new(part, "serving", how);
            let daemon = Daemon::launch(CONFIG, fault.launch());
            let (address, clients) = (daemon.address(), clients(&daemon));
            let (head, body) = daemon.ask("/health/ready");
            assert!(head.starts_with("HTTP/1.1 200 ") && body == "{}", "{head}{body}");
            expect_end(daemon, &fault, clients);
            eventually("nobody is accepted", || TcpStream::connect(address).is_err());
        }
    }
}

#[test]
fn a_failure_that_nobody_reads_of_ends_the_process_too() {
    let (_reader, mut stuck) = io::pipe().expect("a descriptor is free");
    fill(&mut stuck);
    for (part, log) in [("shard-0", Stdio::from(stuck)), ("memory", full().into()), ("log", full().into())] {
        let fault = Fault::new(part, "serving", "panic");
        let mut daemon = Daemon::launch("", Launch { log: Some(log), ..fault.launch() });
        fault.begin();
        assert_eq!(daemon.end().0, Some(70), "{fault:?}");
    }
}

#[test]
fn a_request_to_the_control_port_that_panics_costs_that_request_alone() {
    let fault = Fault::new("request", "serving", "panic");
    let daemon = Daemon::launch("", fault.launch());
    let mut client = Peer::open(&daemon, "/echo");
    fault.begin();
    assert!(daemon.ask("/health").0.starts_with("HTTP/1.1 500 "));
    fault.end();
    assert!(daemon.ask("/health").0.starts_with("HTTP/1.1 200 "));
    client.expect_echo("nobody else has noticed");
    eventually("it is in the log", || {
        daemon.log().contains(
            "a request to the control port panicked: this is a bug, please report it with this line",
        )
    });
    drop(client);
    daemon.stop();
}

#[test]
fn where_nothing_is_to_be_logged_a_failure_is_told_all_the_same() {
    let fault = Fault::new("memory", "serving", "error");
    let mut daemon = Daemon::launch("[log]\nlevel = 'none'", fault.launch());
    fault.begin();
    let (code, log) = daemon.end();
    assert_eq!(code, Some(70), "{log}");
    fault.expect_told(&log);
}

#[test]
fn whichever_part_fails_while_it_drains_the_process_ends_and_its_clients_know() {
    for (part, how) in PARTS.into_iter().chain(["progress"]).zip(HOWS.into_iter().cycle()) {
        let fault = Fault::new(part, "draining", how);
        let daemon = Daemon::launch(CONFIG, fault.launch());
        let clients = clients(&daemon);
        daemon.signal(Signal::TERM);
        let draining = || daemon.metrics().select("holdfast_draining", &[]).all(|core| core.value > 0.0);
        eventually("every core drains", draining);
        expect_end(daemon, &fault, clients);
    }
}

#[test]
fn where_certificates_cannot_be_renewed_any_more_the_process_ends_in_each_state() {
    let config = format!("{CONFIG}\n{}", certificate::section("internal_tls"));
    for (state, how) in ["serving", "draining", "handed over"].into_iter().zip(HOWS.into_iter().cycle()) {
        let fault = Fault::new("certificates", state, how);
        let daemon = Daemon::launch(&config, fault.launch());
        let (address, clients) = (daemon.address(), clients(&daemon));
        let next = (state == "handed over")
            .then(|| Daemon::launch("", Launch { listen: Some(address), shards: 2, ..Launch::default() }));
        if state != "serving" {
            daemon.signal(Signal::TERM);
            eventually("it drains", || daemon.log().contains("draining: "));
        }
        expect_end(daemon, &fault, clients);
        drop(next);
    }
    // The same of the clients' listener.
    let fault = Fault::new("certificates", "serving", "error");
    let mut daemon = Daemon::launch(&certificate::section("tls"), fault.launch());
    fault.begin();
    let (code, log) = daemon.end();
    assert_eq!(code, Some(70), "{log}");
    fault.expect_told(&log);
}

#[test]
fn whichever_part_fails_after_a_handover_the_process_ends_and_the_successor_serves() {
    for (part, how) in PARTS.into_iter().chain(["progress"]).zip(HOWS.into_iter().rev().cycle()) {
        let fault = Fault::new(part, "handed over", how);
        let daemon = Daemon::launch(CONFIG, fault.launch());
        let (address, clients) = (daemon.address(), clients(&daemon));
        let next = Daemon::launch("", Launch { listen: Some(address), shards: 2, ..Launch::default() });
        daemon.signal(Signal::TERM);
        // It fails as soon as it has come so far.
        expect_end(daemon, &fault, clients);
        (0..8).for_each(|_| Peer::open(&next, "/echo").expect_echo("the other one serves"));
    }
}
