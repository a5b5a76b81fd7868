//! Stop: everybody is sent away in good order.
//!
//! In:  SIGTERM or SIGINT, at the worst of moments.
//! Out: close code 1001 to all, exit code 0, a closed port, within the configured time.

use std::{io::Write, net::TcpStream, process::Command, thread};

use holdfast_testkit::{
    Daemon, eventually,
    peer::{CLOSE, Peer, close, request, text},
};
use rustix::process::Signal;

/// Nobody is cut off that could still be sent away.
const PATIENT: &str = "[shutdown]\ntimeout = '2m'";

/// Reads up to the close frame, answers it, and reads the end.
fn leave(mut peer: Peer) {
    let frame = std::iter::from_fn(|| peer.frame_or_end()).find(|frame| frame.opcode == CLOSE);
    assert_eq!(frame.expect("a close frame comes").close_code(), 1001);
    peer.send_if_heard(&close(1001));
    peer.expect_end();
}

#[test]
fn a_signal_sends_everybody_away_with_1001_and_ends_with_exit_code_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = Daemon::start(PATIENT);
        let address = daemon.address();
        let paths = ["/echo", "/broadcast"].into_iter().cycle();
        let peers: Vec<Peer> = paths.take(50).map(|path| Peer::open(&daemon, path)).collect();
        daemon.signal(signal);
        peers.into_iter().for_each(leave);
        assert_eq!(daemon.wait().code(), Some(0), "after {signal:?}");
        assert!(TcpStream::connect(address).is_err(), "the port is still open");
    }
}

#[test]
fn an_empty_daemon_stops() {
    Daemon::start("").stop();
}

#[test]
fn who_does_not_answer_or_does_not_read_delays_the_stop_no_longer_than_configured() {
    let config = "[client]\nclose_timeout = '10m'\nqueue_max_size = '64MiB'\nping_interval = '1h'\n\
                  [shutdown]\ntimeout = '1s'";
    let daemon = Daemon::start(config);
    let _deaf = Peer::open(&daemon, "/echo");
    let _asleep = Peer::connect_with_receive_buffer(16 * 1024, &daemon).upgraded("/broadcast");
    let mut publisher = Peer::open(&daemon, "/broadcast");
    for _ in 0..250 {
        publisher.send(&text(&"x".repeat(60_000)));
        publisher.frame();
    }
    // Were it not for the timeout, this would take ten minutes, and the test's patience ends sooner.
    daemon.stop();
}

#[test]
fn handshakes_that_are_half_done_do_not_delay_the_stop() {
    let daemon = Daemon::start("[client]\nstale_close_delay = '10m'\n[shutdown]\ntimeout = '10m'");
    let mut peers: Vec<Peer> = (0..20).map(|_| Peer::connect(&daemon)).collect();
    for peer in &mut peers[..10] {
        peer.send(&request("/echo").as_bytes()[..70]);
    }
    let mut open = Peer::open(&daemon, "/echo");
    open.expect_echo("all before me have been accepted");
    daemon.signal(Signal::TERM);
    leave(open);
    peers.iter_mut().for_each(Peer::expect_end);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_stop_in_the_middle_of_a_burst_says_goodbye_to_everybody() {
    let daemon =
        Daemon::start(&format!("[client]\nqueue_max_size = '64MiB'\nping_interval = '1h'\n{PATIENT}"));
    let members: Vec<Peer> = (0..30).map(|_| Peer::open(&daemon, "/broadcast")).collect();
    thread::scope(|scope| {
        for member in &members[..4] {
            let mut sender = member.sender();
            // It publishes until nobody listens any more.
            scope.spawn(move || while sender.write_all(&text("on and on")).is_ok() {});
        }
        let mut watcher = Peer::open(&daemon, "/broadcast");
        watcher.frame();
        daemon.signal(Signal::TERM);
        let goodbyes: Vec<_> =
            members.into_iter().chain([watcher]).map(|peer| scope.spawn(move || leave(peer))).collect();
        goodbyes.into_iter().for_each(|goodbye| goodbye.join().expect("it was said"));
        assert_eq!(daemon.wait().code(), Some(0));
    });
}

#[test]
fn no_other_signal_ends_the_daemon_and_the_log_says_what_each_does() {
    let daemon = Daemon::start("");
    let mut peer = Peer::open(&daemon, "/echo");
    for (signal, name) in [
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::VTALARM, "SIGVTALRM"),
        (Signal::PROF, "SIGPROF"),
        (Signal::IO, "SIGIO"),
        (Signal::POWER, "SIGPWR"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::STKFLT, "SIGSTKFLT"),
    ] {
        daemon.signal(signal);
        eventually(name, || {
            daemon.log().contains(&format!("the daemon ignores this signal; SIGTERM and SIGINT stop it, and SIGHUP reads the certificates again event=\"{name}\""))
        });
    }
    for number in [34, 50, 64] {
        let sent = Command::new("kill").args([format!("-{number}"), daemon.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
    eventually("one of them is told", || daemon.log().contains("a real-time signal"));
    daemon.signal(Signal::HUP);
    eventually("nothing is reloaded", || daemon.log().contains("nothing is reloaded: TLS is off"));
    peer.expect_echo("still here");
    daemon.stop();
}
