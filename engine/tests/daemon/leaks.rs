//! Leaks: what a connection took, it gives back.
//!
//! In:  waves of short connections that end in all ways.
//! Out: no connection, no more descriptors, and no more memory than after the first waves.

use std::thread;

use crate::{
    peer::{BINARY, Frame, Peer, binary, close, frame, request, text},
    support::{Daemon, eventually},
};

const THREADS: u8 = 4;
/// In these, allocators and tables find their sizes.
const FIRST_WAVES: u8 = 10;
const MORE_WAVES: u8 = 30;
/// Of each thread.
const PEERS_A_WAVE: usize = 1_000;
const PEERS_AT_ONCE: usize = 100;

/// User memory that may be gone for each connection of the later waves. Some is, for allocators go on finding better
/// places; it becomes less with every wave (0.7 bytes a connection after 600,000), and any leak would be more than this.
const GROWTH_MAX_BYTES: u64 = 50;

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
fn after_waves_of_short_connections_everything_is_back_where_it_was() {
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
    let (memory, descriptors) = (daemon.user_memory_bytes(), daemon.descriptors());
    (FIRST_WAVES..FIRST_WAVES + MORE_WAVES).for_each(wave);

    let peers = |waves: u8| PEERS_A_WAVE as u64 * u64::from(THREADS) * u64::from(waves);
    let metrics = daemon.metrics();
    assert_eq!(metrics.sum("holdfast_accepts_total", &[]), peers(FIRST_WAVES + MORE_WAVES));
    assert_eq!(metrics.sum("holdfast_closes_total", &[]), peers(FIRST_WAVES + MORE_WAVES));
    // Scrapes have descriptors too, for a moment.
    eventually("descriptors are given back", || daemon.descriptors() <= descriptors);
    let now = daemon.user_memory_bytes();
    println!("user memory: {memory} bytes, after {} more connections {now}", peers(MORE_WAVES));
    assert!(now <= memory + GROWTH_MAX_BYTES * peers(MORE_WAVES), "it grew too much");
    daemon.stop();
}
