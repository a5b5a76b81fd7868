//! Real sockets on the real kernel: every test has a serving and a connecting side in one thread, each with its own
//! rings, and runs their turns until something is true.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use holdfast_ring::{
    Buffer, CloseWhen, Ended, Event, Mailbox, Socket, Sockets, SocketsConfig, Uring, UringConfig, listener,
};
use rand::{Rng, RngCore, SeedableRng, rngs::SmallRng};

/// Turns without an event after which a test gives up.
const IDLE_TURNS_MAX: usize = 500;

struct Side {
    sockets: Sockets<Uring>,
    events: Vec<Event<Buffer>>,
}

impl Side {
    fn new(uring: &UringConfig, config: SocketsConfig) -> Self {
        let uring = Uring::new(uring).expect("io_uring works here");
        Self { sockets: Sockets::new(uring, config), events: Vec::new() }
    }

    fn turn(&mut self) -> Vec<Event<Buffer>> {
        self.sockets.turn(Duration::from_millis(5), &mut self.events).expect("the ring works");
        std::mem::take(&mut self.events)
    }
}

struct Pair {
    server: Side,
    client: Side,
    address: SocketAddr,
}

impl Pair {
    fn new(server: &UringConfig, client: &UringConfig) -> Self {
        Self::with(server, client, SocketsConfig { accept_reserve: 16, ..SocketsConfig::default() })
    }

    fn with(server: &UringConfig, client: &UringConfig, config: SocketsConfig) -> Self {
        let (socket, address) = listener("127.0.0.1:0".parse().unwrap(), 1024).unwrap();
        let mut server = Side::new(server, config.clone());
        server.sockets.listen(socket);
        Self { server, client: Side::new(client, config), address }
    }

    fn connect(&mut self) -> Socket {
        self.client.sockets.connect(None, self.address).expect("there is room")
    }

    /// Runs both sides until `done` says so, which sees each event with its side.
    fn run(
        &mut self,
        mut done: impl FnMut(&mut Sockets<Uring>, &mut Sockets<Uring>, Option<(At, Event<Buffer>)>) -> bool,
    ) {
        let mut idle_turns = 0;
        loop {
            let mut events: Vec<_> =
                self.server.turn().into_iter().map(|event| (At::Server, event)).collect();
            events.extend(self.client.turn().into_iter().map(|event| (At::Client, event)));
            idle_turns = if events.is_empty() { idle_turns + 1 } else { 0 };
            assert!(idle_turns < IDLE_TURNS_MAX, "nothing happens any more");
            for event in events {
                done(&mut self.server.sockets, &mut self.client.sockets, Some(event));
            }
            if done(&mut self.server.sockets, &mut self.client.sockets, None) {
                return;
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Server,
    Client,
}

fn small() -> UringConfig {
    UringConfig {
        lanes: 1,
        slots_per_lane: 256,
        submission_entries: 64,
        receive_buffers: 64,
        receive_buffers_max: 64,
        receive_buffer_bytes: 512,
    }
}

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
        let (mut was_behind, mut drained, mut closed) = (false, false, false);
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
            if let Some(socket) = sent_to.filter(|&socket| !was_behind && server.is_behind(socket)) {
                was_behind = true;
                let before = server.queued_bytes(socket);
                assert_eq!(server.behind(), (1, before as u64));
                server.send(socket, Bytes::from_static(b"one more"));
                assert_eq!(server.behind(), (1, before as u64 + 8));
                assert_eq!(server.furthest_behind(), [(socket, before + 8)]);
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
        assert!(pair.server.sockets.furthest_behind().is_empty());
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

#[test]
fn a_bell_ends_a_sleep_from_a_thread_and_from_another_ring() {
    let mut side = Side::new(&small(), SocketsConfig::default());
    let mailbox = Arc::new(Mailbox::new(8, side.sockets.doorbell()));
    let sleep = |side: &mut Side, mailbox: &Mailbox<u32>| {
        mailbox.bell().about_to_sleep();
        for _ in 0..10 {
            if !mailbox.is_empty() {
                break;
            }
            // Much longer than the test may take: only the bell can end it in time.
            side.sockets.turn(Duration::from_secs(60), &mut side.events).unwrap();
        }
        mailbox.bell().awake();
        mailbox.pop()
    };

    let from_thread = Arc::clone(&mailbox);
    let thread = std::thread::spawn(move || {
        from_thread.push(1).unwrap();
        from_thread.bell().ring();
    });
    assert_eq!(sleep(&mut side, &mailbox), Some(1));
    thread.join().unwrap();

    let from_ring = Arc::clone(&mailbox);
    let thread = std::thread::spawn(move || {
        let mut other = Side::new(&small(), SocketsConfig::default());
        from_ring.push(2).unwrap();
        while !from_ring.is_empty() {
            other.sockets.wake(from_ring.bell());
            other.turn();
        }
    });
    assert_eq!(sleep(&mut side, &mailbox), Some(2));
    thread.join().unwrap();
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
