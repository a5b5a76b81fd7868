//! Real sockets on the real kernel: every test has a serving and a connecting side in one thread, each with its own
//! rings, and runs their turns until something is true.

mod accepting;
mod streams;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use holdfast_ring::{Buffer, Event, Mailbox, Socket, Sockets, SocketsConfig, Uring, UringConfig, listener};

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
