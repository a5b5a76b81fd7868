//! Streams: what is sent and received over one connection, and its end.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use holdfast_ring::{CloseWhen, Ended, Event, Socket, UringConfig};
use rand::{Rng, RngCore, SeedableRng, rngs::SmallRng};

use super::{At, Pair, small};

#[test]
fn bytes_come_back_whole_and_in_order_through_short_writes_and_too_few_buffers() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let few_buffers =
        UringConfig { receive_buffers: 4, receive_buffers_max: 4, submission_entries: 8, ..small() };
    let mut pair = Pair::new(&few_buffers, &few_buffers);
    let mut expected: HashMap<Socket, (Bytes, usize)> = HashMap::new();
    for _ in 0..8 {
        let socket = pair.connect();
        let mut bytes = vec![0; 6 << 20];
        random.fill_bytes(&mut bytes);
        expected.insert(socket, (Bytes::from(bytes), 0));
    }
    let mut complete = HashSet::new();
    let mut short_writes = 0;
    pair.run(|server, client, event| match event {
        Some((At::Client, Event::Connected(socket))) => {
            let bytes = &expected[&socket].0;
            let mut start = 0;
            while start < bytes.len() {
                let end = (start + random.random_range(1..200_000)).min(bytes.len());
                client.send(socket, bytes.slice(start..end));
                start = end;
            }
            false
        }
        Some((At::Server, Event::Received(socket, buffer))) => {
            server.send(socket, Bytes::copy_from_slice(&buffer));
            false
        }
        Some((At::Client, Event::Received(socket, buffer))) => {
            let (bytes, at) = expected.get_mut(&socket).unwrap();
            assert!(bytes[*at..*at + buffer.len()] == buffer[..], "other bytes came than were sent");
            *at += buffer.len();
            if *at == bytes.len() {
                complete.insert(socket);
            }
            false
        }
        Some((at, Event::Ended(socket, how))) => panic!("{at:?} {socket:?} ended: {how:?}"),
        Some(_) => false,
        None => {
            short_writes = server.statistics().short_writes + client.statistics().short_writes;
            complete.len() == 8
        }
    });
    assert!(short_writes > 0, "the test wants short writes");
    assert!(pair.server.sockets.statistics().buffers_exhausted > 0, "the test wants too few buffers");
}

#[test]
fn a_look_brings_what_is_unread_in_order_and_then_says_that_there_is_no_more() {
    const BYTES: usize = 300_000;
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let few_buffers = UringConfig { receive_buffers: 1, receive_buffers_max: 4, ..small() };
    let mut pair = Pair::new(&few_buffers, &small());
    let silent = pair.connect();
    let mut talking = Some(pair.connect());
    let mut bytes = vec![0; BYTES];
    random.fill_bytes(&mut bytes);
    let bytes = Bytes::from(bytes);
    let (mut at, mut looks, mut answers) = (0, HashMap::new(), HashMap::new());
    pair.run(|server, client, event| match event {
        Some((At::Client, Event::Connected(socket))) => {
            if talking.take_if(|talking| *talking == socket).is_some() {
                client.send(socket, bytes.clone());
            }
            false
        }
        Some((At::Server, Event::Accepted(socket, _))) => {
            assert!(server.look(socket), "it is open");
            looks.insert(socket, 1);
            false
        }
        Some((At::Server, Event::Received(socket, buffer))) => {
            assert!(bytes[at..at + buffer.len()] == buffer[..], "other bytes came than were sent");
            at += buffer.len();
            if random.random_bool(0.3) {
                server.look(socket);
                looks.insert(socket, at);
            }
            false
        }
        Some((At::Server, Event::Looked(socket))) => {
            answers.insert(socket, at);
            false
        }
        Some((at, Event::Ended(socket, how))) => panic!("{at:?} {socket:?} ended: {how:?}"),
        Some(_) => false,
        None => at == BYTES && looks.len() == 2 && answers.len() == 2,
    });
    // In the very turn that hands a look over, whatever else the kernel has to tell first.
    pair.client.sockets.send(silent, Bytes::from_static(b"here"));
    pair.client.turn();
    looks.keys().for_each(|&socket| assert!(pair.server.sockets.look(socket)));
    let events = pair.server.turn();
    let told: Vec<_> = events.iter().filter(|event| matches!(event, Event::Received(..))).collect();
    assert!(matches!(told[..], [Event::Received(_, buffer)] if buffer[..] == *b"here"), "{told:?}");
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Looked(_))).count(), 2);
}

#[test]
fn what_was_queued_before_a_flushed_close_arrives_and_then_the_end() {
    let mut pair = Pair::new(&small(), &small());
    pair.connect();
    let bytes = Bytes::from(vec![7; 3 << 20]);
    let mut received = 0;
    let mut client_ended = None;
    let mut server_closed = false;
    pair.run(|server, client, event| {
        match event {
            Some((At::Server, Event::Accepted(socket, _))) => {
                server.send(socket, bytes.clone());
                server.close(socket, CloseWhen::Flushed);
                assert_eq!(server.send(socket, bytes.clone()), bytes.len(), "a closing socket takes no more");
            }
            Some((At::Server, Event::Closed(_))) => server_closed = true,
            Some((At::Client, Event::Received(_, buffer))) => received += buffer.len(),
            Some((At::Client, Event::Ended(socket, how))) => {
                client_ended = Some(how);
                client.close(socket, CloseWhen::Now);
            }
            _ => {}
        }
        server_closed && client_ended.is_some()
    });
    assert_eq!(received, bytes.len());
    assert_eq!(client_ended, Some(Ended::ByPeer));
}

#[test]
fn a_socket_closes_once_whatever_it_was_doing() {
    let mut pair = Pair::new(&small(), &small());
    let (silent, unread) = (pair.connect(), pair.connect());
    let refused = pair.client.sockets.connect(None, "127.0.0.1:1".parse().unwrap()).unwrap();
    let mut closed = Vec::new();
    let mut served = Vec::new();
    pair.run(|server, client, event| {
        match event {
            Some((At::Client, Event::Connected(socket))) if socket == silent => {
                client.close(socket, CloseWhen::Now);
                client.close(socket, CloseWhen::Flushed);
            }
            Some((At::Client, Event::Connected(socket))) => {
                // More than anybody reads, so that a write waits for room when the close comes.
                client.send(socket, Bytes::from(vec![1; 32 << 20]));
            }
            Some((At::Client, Event::Ended(socket, how))) => {
                assert_eq!(socket, refused);
                assert!(matches!(how, Ended::Failed(error) if error.0 == libc::ECONNREFUSED));
                client.close(socket, CloseWhen::Now);
            }
            Some((At::Server, Event::Accepted(socket, _))) => server.pause_receive(socket),
            Some((At::Server, Event::Received(socket, _))) => server.pause_receive(socket),
            Some((At::Client, Event::Closed(socket))) => closed.push(socket),
            Some((At::Server, Event::Closed(socket))) => served.push(socket),
            _ => {}
        }
        if client.statistics().short_writes > 0 {
            client.close(unread, CloseWhen::Now);
        }
        closed.len() == 3
    });
    closed.sort_unstable();
    let mut all = [silent, unread, refused];
    all.sort_unstable();
    assert_eq!(closed[..], all[..]);
    assert_eq!(pair.client.sockets.open_sockets(), 0);
}

#[test]
fn a_paused_socket_gives_nothing_until_it_is_resumed() {
    let mut pair = Pair::new(&small(), &small());
    pair.connect();
    let mut accepted = None;
    let mut received = 0;
    let mut turns_paused = 0;
    pair.run(|server, client, event| {
        match event {
            Some((At::Client, Event::Connected(socket))) => {
                client.send(socket, Bytes::from(vec![3; 1 << 20]));
            }
            Some((At::Server, Event::Accepted(socket, _))) => {
                server.pause_receive(socket);
                accepted = Some(socket);
            }
            // At most what was on its way when the pause was asked for.
            Some((At::Server, Event::Received(_, buffer))) => received += buffer.len(),
            None if accepted.is_some() => {
                turns_paused += 1;
                if turns_paused == 20 {
                    assert!(received <= 512, "{received} bytes came to a paused socket");
                    server.resume_receive(accepted.unwrap());
                }
            }
            _ => {}
        }
        received == 1 << 20
    });
    assert!(turns_paused >= 20);
}

#[test]
fn what_waits_for_readers_that_do_not_keep_up_is_counted_while_it_waits() {
    for reads_on in [true, false] {
        let mut pair = Pair::new(&small(), &small());
        let reader = pair.connect();
        let mut sent_to = None;
        let (mut was_backlogged, mut drained, mut closed) = (false, false, false);
        pair.run(|server, client, event| {
            match event {
                Some((At::Client, Event::Connected(socket))) => client.pause_receive(socket),
                Some((At::Server, Event::Accepted(socket, _))) => {
                    server.send(socket, Bytes::from(vec![1; 16 << 20]));
                    sent_to = Some(socket);
                }
                Some((At::Server, Event::Drained(_))) => drained = true,
                Some((At::Server, Event::Closed(_))) => closed = true,
                _ => {}
            }
            if let Some(socket) = sent_to.filter(|&socket| !was_backlogged && server.is_backlogged(socket)) {
                was_backlogged = true;
                let before = server.queued_bytes(socket);
                assert_eq!(server.behind(), (1, before as u64));
                server.send(socket, Bytes::from_static(b"one more"));
                assert_eq!(server.behind(), (1, before as u64 + 8));
                assert_eq!(server.by_backlog(), [(socket, before + 8)]);
                assert_eq!(server.queued_messages(socket), 2);
                if reads_on {
                    client.resume_receive(reader);
                } else {
                    server.close(socket, CloseWhen::Now);
                    assert_eq!(server.behind().1, 0);
                }
            }
            drained || closed
        });
        assert_eq!((drained, closed), (reads_on, !reads_on));
        assert_eq!(pair.server.sockets.behind(), (0, 0));
        assert!(pair.server.sockets.by_backlog().is_empty());
    }
}

#[test]
fn a_quiet_socket_is_demoted_and_still_gives_what_comes() {
    let mut pair = Pair::new(&small(), &small());
    let ours = pair.connect();
    let mut rounds = 0u32;
    pair.run(|server, client, event| {
        match event {
            Some((At::Client, Event::Connected(socket))) => {
                client.send(socket, Bytes::from_static(b"ping"));
            }
            Some((At::Server, Event::Received(socket, buffer))) => {
                server.send(socket, Bytes::copy_from_slice(&buffer));
            }
            Some((At::Client, Event::Received(..))) => {
                rounds += 1;
                if rounds.is_multiple_of(10) {
                    for _ in 0..2 {
                        server.tick();
                        client.tick();
                    }
                }
                client.send(ours, Bytes::from_static(b"ping"));
            }
            _ => {}
        }
        rounds == 100
    });
}

#[test]
fn an_end_that_comes_with_bytes_or_after_them_is_told_after_them() {
    use std::io::Write as _;

    let mut pair = Pair::new(&small(), &small());
    // In one piece or in two, with a FIN or with a reset.
    let ways = [(false, false), (false, true), (true, false), (true, true)];
    let mut peers: Vec<_> = ways
        .iter()
        .map(|_| {
            let mut peer = std::net::TcpStream::connect(pair.address).unwrap();
            peer.write_all(b"0").unwrap();
            peer
        })
        .collect();
    let mut by_port = HashMap::new();
    let mut greeted = 0;
    pair.run(|_, _, event| {
        greeted += usize::from(matches!(event, Some((At::Server, Event::Received(..)))));
        greeted == ways.len()
    });
    // All wait in their polls now.
    pair.server.turn();
    pair.server.turn();
    for (number, (in_two, is_reset)) in ways.into_iter().enumerate() {
        let mut peer = peers.remove(0);
        let digit = b'1' + u8::try_from(number).unwrap();
        peer.write_all(&[digit; 700]).unwrap();
        if in_two {
            pair.server.turn().into_iter().for_each(|event| {
                if let Event::Received(socket, buffer) = event {
                    by_port.entry(socket).or_insert_with(Vec::new).extend_from_slice(&buffer);
                }
            });
        }
        if is_reset {
            socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(peer);
    }
    let mut ended = 0;
    pair.run(|_, _, event| {
        match event {
            Some((At::Server, Event::Received(socket, buffer))) => {
                by_port.entry(socket).or_insert_with(Vec::new).extend_from_slice(&buffer);
            }
            Some((At::Server, Event::Ended(..))) => ended += 1,
            _ => {}
        }
        ended == ways.len()
    });
    // A reset may take what was not read with it; a FIN may not.
    for digit in [b'1', b'3'] {
        assert!(by_port.values().any(|bytes| *bytes == [digit; 700]), "all bytes before the FIN came");
    }
}
