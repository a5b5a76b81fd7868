//! World: an owner with its sockets, peers far away, and the end of it all.

use std::time::Duration;

use holdfast_ring::{
    CloseWhen, Sockets, SocketsConfig,
    simulated::{Faults, Network, Peer, Simulated, SimulatedConfig, StreamEnd, Watch, listener},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{
    owner::Owner,
    stream::{self, Received},
};

/// Turns after which what was begun must have ended.
const TURNS_MAX: u32 = 20_000;

/// Turns without a step in which nothing is under way any more.
const QUIET_TURNS: u32 = 80;

/// The only host.
const HOST: usize = 0;

/// A multishot accept is ended with so many places left: as many as may come in the turn before that is noticed and in
/// the one in which it takes effect.
const ACCEPT_RESERVE: u32 = 16;

/// A peer and its streams.
struct Far {
    peer: Peer,
    written: u64,
    received: Received,
    /// True exactly when it reads.
    reads: bool,
    is_done: bool,
    bytes: Vec<u8>,
}

struct World {
    random: SmallRng,
    network: Network,
    owner: Owner,
    peers: Vec<Far>,
    connects: bool,
    buffers: u32,
}

/// One simulation, whose hash this is.
pub(crate) fn run(seed: u64) -> u64 {
    let mut random = SmallRng::seed_from_u64(seed);
    let faults = Faults::any(&mut random);
    let pipe_bytes = random.random_range(16..4096);
    let network = Network::new(random.random(), faults, pipe_bytes);
    let _watch = Watch::new(seed, network.trace());
    let buffers = random.random_range(1..32);
    let config = SimulatedConfig {
        lanes: random.random_range(1..=3),
        slots_per_lane: random.random_range(1..40),
        buffers,
        buffer_bytes: random.random_range(1..600),
    };
    let sockets_config = SocketsConfig {
        joined_bytes_max: random.random_range(1..2000),
        turn_writes_max: random.random_range(1..20),
        turn_bytes_max: 1 << random.random_range(4..16),
        accept_reserve: ACCEPT_RESERVE,
        peer_addresses: random.random_bool(0.5),
    };
    let wants_addresses = sockets_config.peer_addresses;
    let mut sockets = Sockets::new(Simulated::new(&network, &config), sockets_config);
    // A table's places are given out by the kernel or by us, not by both.
    let connects = random.random_bool(0.3);
    if !connects {
        sockets.listen(listener());
    }
    let owner = Owner::new(sockets, wants_addresses, network.trace());
    let mut world = World { random, network, owner, peers: Vec::new(), connects, buffers };
    let turns = world.random.random_range(50..400);
    for _ in 0..turns {
        world.step();
    }
    world.network.set_faults(Faults {
        late: faults.late,
        short_read: faults.short_read,
        ..Faults::default()
    });
    world.settle();
    world.check_complete();
    world.end();
    world.network.trace().hash()
}

impl World {
    fn step(&mut self) {
        if self.random.random_bool(0.3) {
            self.somebody_comes();
        }
        for _ in 0..self.random.random_range(0..6) {
            self.a_peer_acts();
        }
        for _ in 0..self.random.random_range(0..4) {
            self.owner.act(&mut self.random);
        }
        self.turn();
        self.check_queues();
    }

    fn turn(&mut self) {
        self.network.trace().pass(Duration::from_millis(1));
        self.owner.turn(&mut self.random);
        assert_eq!(self.network.buffers_free(HOST), self.buffers, "all buffers are back");
        for peer in self.network.take_opened() {
            self.peers.push(Far::new(peer));
        }
    }

    fn somebody_comes(&mut self) {
        if self.connects {
            let to = "127.0.0.1:1".parse().expect("an address");
            if let Ok(socket) = self.owner.sockets.connect(None, to) {
                self.owner.links.entry(socket).or_default().is_connecting = true;
            }
        } else {
            for _ in 0..self.random.random_range(1..8) {
                if self.network.backlog(HOST) < 8 {
                    let peer = self.network.connect(HOST).expect("it listens");
                    self.peers.push(Far::new(peer));
                }
            }
        }
    }

    fn a_peer_acts(&mut self) {
        if self.peers.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.peers.len());
        let far = &mut self.peers[at];
        match self.random.random_range(0..100) {
            0..45 => far.write(self.random.random_range(1..500)),
            45..80 => far.read(self.random.random_range(1..2000)),
            80..86 => far.reads = !far.reads,
            86..88 => {
                far.is_done = true;
                far.peer.finish();
            }
            88..89 => {
                far.is_done = true;
                far.peer.reset();
            }
            89..90 => {
                far.is_done = true;
                far.peer.close();
            }
            _ => {}
        }
    }

    /// Nobody begins anything; what is under way comes to its end.
    fn settle(&mut self) {
        // Two ticks: accepting goes on after an error, and who was busy is quiet.
        self.owner.sockets.tick();
        let paused: Vec<_> = self.owner.links.keys().copied().collect();
        for socket in paused {
            self.owner.links.get_mut(&socket).expect("it was there").is_paused = false;
            self.owner.sockets.resume_receive(socket);
        }
        let trace = self.network.trace();
        let mut quiet = 0;
        let (mut turns, mut received_bytes) = (0, 0);
        while turns < TURNS_MAX {
            let before = trace.steps();
            // Where all have to share a buffer of one byte, it takes a turn a byte.
            let bytes = self.owner.sockets.statistics().received_bytes;
            turns = if bytes > received_bytes { 0 } else { turns + 1 };
            received_bytes = bytes;
            for far in &mut self.peers {
                far.reads = true;
                far.read(usize::MAX);
            }
            self.turn();
            self.check_queues();
            quiet = if trace.steps() == before { quiet + 1 } else { 0 };
            if quiet == QUIET_TURNS {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// What the owner has queued is what it was given less what the network took.
    fn check_queues(&mut self) {
        let Self { owner, peers, .. } = self;
        for far in peers {
            // The head of the stream tells who is at the other end.
            let Some(number) = far.received.number() else { continue };
            let found = owner.links.iter().find(|(socket, _)| Owner::number(**socket) == number);
            let Some((&socket, link)) = found else { continue };
            if link.closing.is_none() && !far.peer.is_broken() {
                let queued_bytes = owner.sockets.queued_bytes(socket) as u64;
                assert_eq!(link.sent, far.peer.taken_bytes() + queued_bytes, "bytes given to {socket:?}");
            }
        }
    }

    /// On connections that live, all has arrived; on those that were closed when flushed, all that was sent.
    fn check_complete(&mut self) {
        for far in &self.peers {
            let Some(number) = far.received.number() else { continue };
            let link = self.owner.links.iter().find(|(socket, _)| Owner::number(**socket) == number);
            if let Some((socket, link)) = link
                && link.closing.is_none()
                && (far.is_done || far.peer.is_broken())
            {
                assert!(link.has_ended, "the end of {socket:?} is told");
            }
            if far.peer.is_broken() {
                continue;
            }
            if let Some(&sent) = self.owner.flushed.get(&number) {
                assert_eq!(far.received.count, sent, "all of a flushed stream arrives");
                assert_eq!(far.peer.end(), Some(StreamEnd::Finished));
            }
            let link = self.owner.links.iter().find(|(socket, _)| Owner::number(**socket) == number);
            if let Some((socket, link)) = link
                && link.closing.is_none()
            {
                assert_eq!(far.received.count, link.sent, "all that {socket:?} sent arrives");
                let is_answered = link.looks == 0 || link.has_ended;
                assert!(is_answered, "the looks for something of {socket:?} are answered");
                assert!(!link.awaits_drained, "who paused {socket:?} is told of its empty queue");
                if let Some(theirs) = link.received.number() {
                    assert_eq!(theirs, far.peer.number());
                    assert!(link.from.is_none_or(|from| from == far.peer.address()), "{socket:?} is its own");
                    assert_eq!(link.received.count, far.written, "all that was sent to {socket:?} arrives");
                }
            }
        }
    }

    fn end(&mut self) {
        self.owner.sockets.stop_listening();
        let sockets: Vec<_> = self.owner.links.keys().copied().collect();
        for socket in sockets {
            let when = if self.random.random_bool(0.5) { CloseWhen::Now } else { CloseWhen::Flushed };
            self.owner.close(socket, when);
        }
        for _ in 0..TURNS_MAX {
            if self.owner.links.is_empty() && !self.owner.sockets.is_listening() {
                break;
            }
            for far in &mut self.peers {
                far.read(usize::MAX);
            }
            self.turn();
        }
        assert!(self.owner.links.is_empty(), "sockets stay open: {:?}", self.owner.links);
        assert!(!self.owner.sockets.is_listening(), "the listening socket stays open");
        assert_eq!(self.network.descriptors_held(HOST), 0, "all descriptors are free");
        assert_eq!(self.owner.sockets.statistics().accepts_lost, 0, "nobody is accepted in vain");
        for far in &self.peers {
            assert!(far.peer.end().is_some(), "connection {} stays open behind our back", far.peer.number());
        }
    }
}

impl Far {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            written: 0,
            received: Received::default(),
            reads: true,
            is_done: false,
            bytes: Vec::new(),
        }
    }

    fn write(&mut self, len: usize) {
        if self.is_done || self.peer.is_broken() {
            return;
        }
        let bytes = stream::bytes(self.peer.number(), self.written, len);
        self.written += self.peer.write(&bytes) as u64;
    }

    fn read(&mut self, max: usize) {
        if self.reads {
            self.peer.read(max, &mut self.bytes);
            self.received.take(&self.bytes);
            self.bytes.clear();
        }
    }
}
