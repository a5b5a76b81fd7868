//! Echo under pressure: more at once than fits anywhere.
//!
//! In:  clients that send more than they read, and many that talk at the same time.
//! Out: every byte back, in order; a fast sender is slowed down to the pace at which it reads.

use std::{
    io::Write,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, sleep},
    time::Duration,
};

use holdfast_testkit::{
    Daemon, eventually,
    peer::{Frame, Peer, binary},
};
use rand::{Rng, RngCore, SeedableRng, rngs::SmallRng, seq::SliceRandom};

/// No pings: clients here do not answer any while they are busy.
const QUIET: &str = "[client]\nping_interval = '1h'";

#[test]
fn who_sends_more_than_it_reads_is_slowed_down_and_loses_nothing() {
    const MESSAGES: usize = 800;
    const BYTES: usize = 64_000;
    let message = |number: usize| -> Vec<u8> {
        let mut payload = vec![u8::try_from(number % 251).expect("it is below 251"); BYTES];
        payload[..8].copy_from_slice(&(number as u64).to_be_bytes());
        payload
    };
    let daemon = Daemon::start_on_one_core(QUIET);
    let mut neighbor = Peer::open(&daemon, "/echo");
    let mut peer = Peer::connect_with_receive_buffer(64 * 1024, &daemon).upgraded("/echo");
    let mut sender = peer.sender();
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..MESSAGES {
                sender.write_all(&binary(&message(number))).expect("it is slowed down, not cut off");
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut before = 0;
        eventually("the sender is held up", || {
            sleep(Duration::from_millis(300));
            let now = sent.load(Ordering::Relaxed);
            now > 0 && now == std::mem::replace(&mut before, now)
        });
        assert!(before < MESSAGES, "all {} MB went into queues", MESSAGES * BYTES / 1_000_000);
        for round in 0..100 {
            neighbor.expect_echo(&format!("round {round}"));
        }
        for number in 0..MESSAGES {
            let frame = peer.frame();
            assert!(frame == Frame::binary(&message(number)), "message {number} is not what was sent");
        }
    });
    assert_eq!(daemon.metric("holdfast_messages_total", &[("direction", "out")]), MESSAGES as u64 + 100);
    daemon.stop();
}

#[test]
fn many_clients_at_once_each_get_their_own_messages_back() {
    const PEERS: usize = 200;
    const ROUNDS: usize = 8;
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    // Buffers so few and small that they run out, and messages that need many of them.
    let daemon =
        Daemon::start(&format!("{QUIET}\n[engine]\nreceive_buffers = 32\nreceive_buffer_size = '512B'"));
    let mut peers: Vec<Peer> = (0..PEERS).map(|_| Peer::open(&daemon, "/echo")).collect();
    let mut order: Vec<usize> = (0..PEERS).collect();
    for _ in 0..ROUNDS {
        let messages: Vec<Vec<Vec<u8>>> = peers.iter().map(|_| some_messages(&mut random)).collect();
        order.shuffle(&mut random);
        for &number in &order {
            let bytes: Vec<u8> = messages[number].iter().flat_map(|message| binary(message)).collect();
            peers[number].send(&bytes);
        }
        order.shuffle(&mut random);
        for &number in &order {
            for message in &messages[number] {
                assert!(peers[number].frame() == Frame::binary(message), "peer {number} got something else");
            }
        }
    }
    daemon.stop();
}

/// One to four messages, most of them short, 140 KB in all at most: a client may send them without reading.
fn some_messages(random: &mut SmallRng) -> Vec<Vec<u8>> {
    (0..random.random_range(1..=4))
        .map(|_| {
            let longest = [10, 200, 5_000, 35_000][random.random_range(0..4)];
            let mut message = vec![0; random.random_range(0..=longest)];
            random.fill_bytes(&mut message);
            message
        })
        .collect()
}
