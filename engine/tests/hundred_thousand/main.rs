//! A hundred thousand connections: one daemon, and one process that holds the other ends.
//!
//! In:  as many clients as this machine has room for, up to 100,000, whatever RLIMIT_NOFILE says.
//! Out: all are let in, live through heartbeats, get every broadcast in order, and are sent away with 1001.
//!
//! A test binary of its own, so that nothing runs beside it.
#![forbid(unsafe_code)]

mod crowd;
mod room;

use holdfast_testkit::Daemon;
use rustix::process::Signal;

use self::crowd::Crowd;

const CONNECTIONS: usize = 100_000;
const BROADCASTS: usize = 10;

/// Patient enough for a machine on which both sides share one busy core.
const HEARTBEAT: &str = "ping_interval = '20s'\npong_timeout = '18s'";

#[test]
fn a_hundred_thousand_connections_get_every_broadcast_and_a_goodbye() {
    let size = room::for_connections(CONNECTIONS);
    let daemon = Daemon::start(&format!(
        "[client]\nconnection_limit = {size}\n{HEARTBEAT}\n[shutdown]\ntimeout = '5m'"
    ));
    let memory_before = daemon.user_memory_bytes();
    let mut crowd = Crowd::new(daemon.address(), size);

    crowd.gather();
    assert_eq!(daemon.metric("holdfast_broadcast_members", &[]), size as u64);
    let grown = daemon.user_memory_bytes().saturating_sub(memory_before);
    println!("{size} connections; the daemon's user memory grew by {} bytes for each", grown / size as u64);

    for number in 0..BROADCASTS {
        crowd.publish(number);
    }
    crowd.run_until("every member has every broadcast", |crowd| crowd.deliveries() == size * BROADCASTS);
    crowd.run_until("every member has been pinged and has answered", |_| {
        daemon.metric("holdfast_pongs_total", &[]) >= size as u64
    });
    assert_eq!(daemon.metric("holdfast_sessions", &[]), size as u64, "some were lost");
    assert_eq!(daemon.metric("holdfast_closes_total", &[]), 0);

    daemon.signal(Signal::TERM);
    crowd.run_until("everybody is gone", |crowd| crowd.size() == 0);
    assert_eq!(crowd.goodbyes(), size, "some were cut off without a goodbye");
    assert_eq!(crowd.deliveries(), size * BROADCASTS, "some got more than was published");
    assert_eq!(daemon.wait().code(), Some(0));
}
