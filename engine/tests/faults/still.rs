//! Still: a part of the daemon hangs, or the whole process stands still for a while.
//!
//! In:  a shard or the control thread that does not go on; SIGSTOP; a service manager that listens (sd_notify(3)).
//! Out: readiness that fails with the part's name, numbers, lines; a watchdog that is not fed; an end in time all the same.
//! Nobody is blamed for time in which the whole process stood still.

use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use holdfast_testkit::{Daemon, Launch, PATIENCE, comes_to_pass, eventually, peer::Peer};
use rustix::process::Signal;

use crate::parts::Fault;

const CONFIG: &str = "[engine]\nstall_timeout = '1s'\n[shutdown]\ntimeout = '500ms'";

fn is_ready(daemon: &Daemon) -> Result<(), String> {
    let (head, body) = daemon.ask("/health/ready");
    if head.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(body) }
}

#[test]
fn a_shard_that_stands_still_makes_the_daemon_unready_by_its_name_until_it_goes_on() {
    let fault = Fault::new("shard-1", "serving", "stall");
    let daemon = Daemon::launch(CONFIG, Launch { is_to_fail: false, ..fault.launch() });
    assert_eq!(is_ready(&daemon), Ok(()));
    let age = |thread: &str| {
        let metrics = daemon.metrics();
        metrics
            .select("holdfast_beat_age_seconds", &[("thread", thread)])
            .map(|sample| sample.value)
            .sum::<f64>()
    };

    fault.begin();
    eventually("it is not ready", || is_ready(&daemon).is_err());
    assert_eq!(is_ready(&daemon), Err(r#"{"stalled":["shard-1"]}"#.to_owned()));
    assert!(daemon.ask("/health/live").0.starts_with("HTTP/1.1 200 "), "it is alive");
    assert!(age("shard-1") >= 1.0 && age("shard-0") < 1.0 && age("control") < 1.0);
    let line =
        || daemon.log().lines().any(|line| line.contains("is stalled") && line.contains("part=shard-1"));
    eventually("a line says so", line);

    fault.end();
    eventually("it is ready again", || is_ready(&daemon).is_ok());
    eventually("a line says so", || daemon.log().contains("a stalled part of the daemon runs again"));
    daemon.stop();
}

#[test]
fn a_shard_that_stands_still_does_not_keep_a_daemon_that_is_to_end() {
    let fault = Fault::new("shard-0", "serving", "stall");
    let mut daemon = Daemon::launch(CONFIG, fault.launch());
    let _clients: Vec<Peer> = (0..8).map(|_| Peer::open(&daemon, "/echo")).collect();
    fault.begin();
    eventually("it is not ready", || is_ready(&daemon).is_err());
    daemon.signal(Signal::TERM);
    let (code, log) = daemon.end();
    assert_eq!(code, Some(70), "{log}");
    assert!(log.contains(r#"part="shard-0" state="serving" cause="it has not beaten"#), "{log}");
}

#[test]
fn a_process_that_was_stopped_as_a_whole_is_ready_when_it_goes_on() {
    let daemon = Daemon::launch(CONFIG, Launch { shards: 2, ..Launch::default() });
    for _ in 0..3 {
        daemon.signal(Signal::STOP);
        sleep(Duration::from_millis(1_500));
        daemon.signal(Signal::CONT);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(600) {
            assert_eq!(is_ready(&daemon), Ok(()));
        }
    }
    assert!(!daemon.log().contains("is stalled"));
    daemon.stop();
}

/// A service manager, as far as a daemon knows it.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn listen(of: &str) -> Self {
        let name = format!("holdfast-{of}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("it is short");
        let socket = UnixDatagram::bind_addr(&address).expect("nobody has this name");
        Self { socket, name }
    }

    fn environment(&self) -> [(&'static str, String); 2] {
        [("NOTIFY_SOCKET", format!("@{}", self.name)), ("WATCHDOG_USEC", "1500000".to_owned())]
    }

    /// What is said next; nothing where that takes longer.
    fn next_within(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).expect("it is not zero");
        let mut said = [0; 512];
        let length = self.socket.recv(&mut said).ok()?;
        Some(String::from_utf8_lossy(&said[..length]).trim().to_owned())
    }

    fn expect(&self, wanted: &str) {
        let began = Instant::now();
        let mut heard = Vec::new();
        while heard.last().is_none_or(|said| said != wanted) {
            assert!(began.elapsed() < PATIENCE, "{wanted} never came: {heard:?}");
            heard.extend(self.next_within(PATIENCE));
        }
    }

    /// True exactly when nothing feeds the watchdog from some moment on.
    fn starves(&self) -> bool {
        comes_to_pass(|| {
            // Twice the time in which one feeds it.
            let ends = Instant::now() + Duration::from_secs(1);
            while let Some(left) = ends.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            {
                if self.next_within(left).is_some_and(|said| said == "WATCHDOG=1") {
                    return false;
                }
            }
            true
        })
    }
}

#[test]
fn the_service_manager_hears_when_clients_can_connect_that_all_is_well_and_when_it_ends() {
    let manager = Manager::listen("well");
    let launch = Launch { shards: 2, environment: manager.environment().into(), ..Launch::default() };
    let daemon = Daemon::launch("", launch);
    manager.expect("READY=1");
    (0..3).for_each(|_| manager.expect("WATCHDOG=1"));
    daemon.signal(Signal::TERM);
    manager.expect("STOPPING=1");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn the_watchdog_starves_while_a_shard_or_the_control_thread_stands_still() {
    for part in ["shard-1", "control"] {
        let manager = Manager::listen(part);
        let fault = Fault::new(part, "serving", "stall");
        let mut launch = fault.launch();
        launch.environment.extend(manager.environment());
        let daemon = Daemon::launch(CONFIG, Launch { is_to_fail: false, ..launch });
        manager.expect("WATCHDOG=1");
        fault.begin();
        assert!(manager.starves(), "{part}");
        fault.end();
        manager.expect("WATCHDOG=1");
        daemon.stop();
    }
}
