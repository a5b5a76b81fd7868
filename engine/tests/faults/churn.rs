//! Churn: a million short connections.
//!
//! In:  waves of connections that end in all ways, some of them in the middle of a message.
//! Out: no connection, no more descriptors, and no more memory than after the first of them.

use std::thread;

use holdfast_testkit::{
    Daemon,
    peer::{BINARY, Frame, Peer, binary, close, frame, request, text},
};

use crate::base::Base;

const THREADS: u8 = 4;
const WAVES: u8 = 250;
/// In this tenth, buffers, tables and the allocator find their sizes.
const FIRST_WAVES: u8 = 25;
/// Of each thread.
const PEERS_A_WAVE: usize = 1_000;
const PEERS_AT_ONCE: usize = 100;

/// User memory that may be gone after the other nine tenths: less than 5 bytes a connection, so any leak would be more.
/// What was seen is a fifth to a half of it, nearly all in the first two tenths.
const GROWTH_MAX_BYTES: u64 = 4 << 20;

/// One thread's connections of one wave. Each has a source address of its own for each wave and thread, so that the
/// ports of ended ones need not be free again.
fn churn(daemon: &Daemon, wave: u8, thread: u8) {
    let mut number = 0;
    while number < PEERS_A_WAVE {
        let mut peers: Vec<Peer> =
            (0..PEERS_AT_ONCE).map(|_| Peer::connect_from([127, 20, wave, thread + 1], daemon)).collect();
        for peer in &mut peers {
            number += 1;
            peer.send(request(if number % 2 == 0 { "/echo" } else { "/broadcast" }).as_bytes());
        }
        for peer in &mut peers {
            peer.expect_upgrade();
            // Part of a message, for which the daemon has to keep something.
            peer.send(&frame(BINARY, &[1; 3_000]));
        }
        peers.into_iter().enumerate().for_each(|(place, peer)| end(peer, place));
    }
}

/// Ends a connection in one of many ways.
fn end(mut peer: Peer, way: usize) {
    match way % 6 {
        0 => peer.reset(),
        1 => drop(peer),
        2 => {
            peer.send(&close(1000));
            let last = std::iter::from_fn(|| peer.frame_or_end()).last();
            assert_eq!(last, Some(Frame { opcode: 0x8, payload: 1000_u16.to_be_bytes().to_vec() }));
        }
        3 => peer.finish_sending(),
        4 => peer.send(&text("a message inside a message")),
        _ => peer.send(&binary(&[0; 100])[..50]),
    }
}

#[test]
fn after_a_million_short_connections_everything_is_as_after_the_first_of_them() {
    let daemon = Daemon::start("[client]\nping_interval = '1h'");
    let wave = |wave: u8| {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let daemon = &daemon;
                scope.spawn(move || churn(daemon, wave, thread));
            }
        });
        daemon.await_empty();
    };
    (0..FIRST_WAVES).for_each(wave);
    let base = Base::of(&daemon);
    (FIRST_WAVES..WAVES).for_each(wave);

    let metrics = daemon.metrics();
    let peers = PEERS_A_WAVE as u64 * u64::from(THREADS) * u64::from(WAVES);
    assert_eq!(metrics.sum("holdfast_accepts_total", &[]), peers);
    assert_eq!(metrics.sum("holdfast_closes_total", &[]), peers);
    base.expect_back_within(&daemon, GROWTH_MAX_BYTES);
    daemon.stop();
}
