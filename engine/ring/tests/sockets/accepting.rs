//! Accepting: who comes in, from where, and how listening ends.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use holdfast_ring::{CloseWhen, Ended, Event, SocketsConfig, UringConfig, listener};

use super::{At, Pair, Side, small};

#[test]
fn every_descriptor_of_every_lane_takes_a_connection_and_none_is_lost() {
    fill_and_empty(false);
    fill_and_empty(true);
}

fn fill_and_empty(peer_addresses: bool) {
    let lanes = UringConfig { lanes: 3, slots_per_lane: 48, ..small() };
    let clients = UringConfig { lanes: 2, slots_per_lane: 200, ..small() };
    let config = SocketsConfig { accept_reserve: 16, peer_addresses, ..SocketsConfig::default() };
    let mut pair = Pair::with(&lanes, &clients, config);
    for round in 0..3 {
        // More than there is room for: the rest waits in the backlog until somebody goes.
        // They ask eight a turn, fewer than the reserve, as a backlog bounds them in earnest.
        let address = pair.address;
        let mut ours = HashSet::new();
        let mut echoed = HashSet::new();
        let mut open = HashSet::new();
        let mut most_open = 0;
        let mut closed = 0;
        pair.run(|server, client, event| {
            match event {
                Some((At::Server, Event::Accepted(socket, _))) => {
                    assert!(open.insert(socket));
                    most_open = most_open.max(open.len());
                }
                Some((At::Server, Event::Received(socket, buffer))) => {
                    server.send(socket, Bytes::copy_from_slice(&buffer));
                }
                Some((At::Server, Event::Ended(socket, Ended::ByPeer))) => {
                    server.close(socket, CloseWhen::Now);
                }
                Some((At::Server, Event::Closed(socket))) => assert!(open.remove(&socket)),
                Some((At::Client, Event::Connected(socket))) => {
                    client.send(socket, Bytes::from_static(b"hello"));
                }
                Some((At::Client, Event::Received(socket, buffer))) => {
                    assert_eq!(&buffer[..], b"hello");
                    assert!(echoed.insert(socket), "an echo came twice");
                    // All that have room are there before the first one goes.
                    if echoed.len() >= 144 {
                        echoed.iter().for_each(|&socket| client.close(socket, CloseWhen::Now));
                    }
                }
                Some((At::Client, Event::Closed(_))) => closed += 1,
                None if ours.len() < 160 => {
                    ours.extend((0..8).map(|_| client.connect(None, address).expect("there is room")));
                }
                Some((_, Event::Ended(socket, how))) => panic!("{socket:?} ended: {how:?}"),
                _ => {}
            }
            closed == 160 && open.is_empty()
        });
        assert_eq!(echoed, ours, "round {round}");
        assert_eq!(most_open, 144, "round {round}");
        assert_eq!(pair.server.sockets.open_sockets(), 0);
        assert_eq!(pair.client.sockets.open_sockets(), 0);
    }
    assert_eq!(pair.server.sockets.statistics().accepts_lost, 0);
}

#[test]
fn each_connection_comes_with_its_own_peers_address() {
    let config = SocketsConfig { accept_reserve: 16, peer_addresses: true, ..SocketsConfig::default() };
    let mut pair = Pair::with(&UringConfig { lanes: 2, slots_per_lane: 100, ..small() }, &small(), config);
    let mut expected = HashSet::new();
    for number in 1..=180 {
        let from = std::net::Ipv4Addr::new(127, 0, 3, number).into();
        pair.client.sockets.connect(Some(from), pair.address).unwrap();
        expected.insert(from);
    }
    let mut came = HashSet::new();
    let mut sockets = HashSet::new();
    pair.run(|_, _, event| {
        if let Some((At::Server, Event::Accepted(socket, from))) = event {
            assert!(came.insert(from.expect("it was asked for").ip()));
            assert!(sockets.insert(socket));
        }
        came.len() == expected.len()
    });
    assert_eq!(came, expected);
    let lanes: HashSet<_> = sockets.iter().map(|socket| socket.lane()).collect();
    assert_eq!(lanes.len(), 2, "more came than one lane holds");
}

#[test]
fn an_address_that_is_asked_for_is_the_peers_even_of_one_that_is_closed_with_the_question() {
    let mut pair = Pair::new(&small(), &small());
    let mut expected = HashSet::new();
    for number in 1..=120 {
        let from = std::net::Ipv4Addr::new(127, 0, 4, number).into();
        pair.client.sockets.connect(Some(from), pair.address).unwrap();
        expected.insert(from);
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (mut came, mut asked, mut closed) = (HashSet::new(), HashSet::new(), HashSet::new());
    pair.run(|server, _, event| {
        match event {
            Some((At::Server, Event::Accepted(socket, _))) => {
                assert!(server.ask_peer_address(socket) && asked.insert(socket));
                if asked.len() % 2 == 0 {
                    server.close(socket, CloseWhen::Now);
                }
            }
            Some((At::Server, Event::PeerAddress(socket, address))) => {
                let address = address.expect("the kernel tells it").ip();
                assert!(asked.contains(&socket) && came.insert(address), "{socket:?} {address}");
            }
            Some((At::Server, Event::Closed(socket))) => assert!(closed.insert(socket)),
            _ => {}
        }
        came.len() == expected.len() && closed.len() == expected.len() / 2
    });
    assert_eq!(came, expected);
    // The rings of both sides, their bells, what the test itself has; and none of the 120.
    assert!(descriptors() < 100, "{} are open", descriptors());
}

#[test]
fn whoever_comes_while_a_ring_ends_is_not_left_waiting() {
    for _ in 0..20 {
        let config = SocketsConfig { peer_addresses: true, ..SocketsConfig::default() };
        let (socket, address) = listener("127.0.0.1:0".parse().unwrap(), 1024).unwrap();
        let mut server = Side::new(&small(), config);
        server.sockets.listen(socket);
        server.turn();
        // Some of them have been accepted when the ring ends, some have not.
        let peers: Vec<_> = (0..10).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        drop(server);
        for mut peer in peers {
            peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            match std::io::Read::read_to_end(&mut peer, &mut Vec::new()) {
                Ok(count) => assert_eq!(count, 0),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
            }
        }
    }
}

#[test]
fn listening_ends_and_open_connections_stay() {
    let mut pair = Pair::new(&small(), &small());
    let ours = pair.connect();
    let mut echoed = false;
    let mut refused = false;
    let mut late = None;
    let mut turns = 0;
    let address = pair.address;
    pair.run(|server, client, event| {
        match event {
            Some((At::Server, Event::Accepted(..))) => server.stop_listening(),
            Some((At::Server, Event::Received(socket, buffer))) => {
                server.send(socket, Bytes::copy_from_slice(&buffer));
            }
            Some((At::Client, Event::Received(..))) => echoed = true,
            Some((At::Client, Event::Ended(socket, how))) => {
                assert_eq!(Some(socket), late, "{how:?}");
                refused = true;
            }
            None => {
                turns += 1;
                if turns == 20 {
                    late = Some(client.connect(None, address).unwrap());
                    client.send(ours, Bytes::from_static(b"still here"));
                }
            }
            _ => {}
        }
        echoed && refused
    });
}
