//! Wire: two network namespaces, and a wire between them that can be bad.
//!
//! In:  which part of the packets is lost, how long the others take; whether the wire is cut.
//! Out: both sides' own network stacks of the kernel, with real TCP over it.
//!
//! Each side has a TUN device; packets from one are written to the other here, or are not. So no kernel module has to be
//! there for it, and nothing of the machine's own network is touched.

mod netlink;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    net::Ipv4Addr,
    os::fd::AsFd,
    panic::resume_unwind,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::chamber::Chamber;

/// The daemon's address, on a network of the wire's own.
pub(crate) const DAEMON: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

/// Packets that are under way in one direction, as a router's queue has an end too.
const UNDER_WAY_MAX: usize = 4096;

/// Packets that are taken from a device before others are handed on.
const TAKEN_AT_ONCE: usize = 64;

/// How long a thread sleeps that has nothing to do: by then it sees that the wire goes.
const IDLE: Duration = Duration::from_millis(20);

/// How good the wire is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quality {
    /// Lost packets of a thousand.
    pub(crate) lost: u64,
    /// How long each packet takes.
    pub(crate) delay: Duration,
    /// Packets of a thousand that take twice as long, so that others overtake them.
    pub(crate) late: u64,
}

/// The wire, and what is at its ends.
pub(crate) struct Wire {
    pub(crate) daemon_side: Side,
    pub(crate) clients_side: Side,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

/// A namespace at one end.
pub(crate) struct Side {
    chamber: Chamber,
}

#[derive(Debug)]
struct State {
    quality: Quality,
    is_cut: AtomicBool,
    is_over: AtomicBool,
    /// Packets, by direction.
    lost: [AtomicU64; 2],
}

impl Wire {
    /// Makes both namespaces and joins them. What is lost and late follows from the seed, as far as packets do.
    ///
    /// # Errors
    /// Why this machine does not allow it.
    pub(crate) fn make(quality: Quality, seed: u64) -> Result<Self, String> {
        println!("seed {seed}");
        // Otherwise it would be made, and that not in a namespace.
        if !Path::new("/dev/net/tun").exists() {
            return Err("there is no /dev/net/tun".to_owned());
        }
        let (daemon_side, clients_side) = (Side::make()?, Side::make()?);
        let ends = [daemon_side.plug(DAEMON)?, clients_side.plug(CLIENTS)?].map(Arc::new);
        let state = Arc::new(State {
            quality,
            is_cut: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            lost: Default::default(),
        });
        let carry = |direction: usize| {
            let (from, to) = (Arc::clone(&ends[direction]), Arc::clone(&ends[1 - direction]));
            let state = Arc::clone(&state);
            let random = SmallRng::seed_from_u64(seed + direction as u64);
            thread::spawn(move || Direction { number: direction, state, random }.carry(&from, &to))
        };
        Ok(Self { daemon_side, clients_side, threads: vec![carry(0), carry(1)], state })
    }

    /// From now on nothing gets through, or everything as before.
    pub(crate) fn cut(&self, is_cut: bool) {
        self.state.is_cut.store(is_cut, Ordering::Relaxed);
    }

    /// Packets lost from the daemon, and from the clients.
    pub(crate) fn lost(&self) -> [u64; 2] {
        [0, 1].map(|direction| self.state.lost[direction].load(Ordering::Relaxed))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Where it panicked, its test has lost its connections and says so.
            let _ = thread.join();
        }
    }
}

impl Side {
    fn make() -> Result<Self, String> {
        Chamber::make(&["--net"], "true").map(|chamber| Self { chamber })
    }

    /// Runs something in the namespace; what it starts and opens stays there.
    pub(crate) fn enter<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let namespace = File::open(self.chamber.own("ns/net")).expect("it is there as long as we are");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("who may make it may enter it");
            act()
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Makes this side's end of the wire.
    fn plug(&self, address: Ipv4Addr) -> Result<SyncDevice, String> {
        let plug = || -> io::Result<SyncDevice> {
            netlink::bring_up(netlink::LOOPBACK)?;
            let device = DeviceBuilder::new().name("wire").build_sync()?;
            let index = device.if_index()?;
            netlink::give_address(index, address)?;
            netlink::bring_up(index)?;
            rustix::io::ioctl_fionbio(&device, true)?;
            Ok(device)
        };
        self.enter(plug).map_err(|error| format!("no network device can be made: {error}"))
    }
}

/// One way over the wire.
struct Direction {
    number: usize,
    state: Arc<State>,
    random: SmallRng,
}

impl Direction {
    /// Carries packets until the wire goes.
    fn carry(mut self, from: &SyncDevice, to: &SyncDevice) {
        // By when they arrive, then by their order.
        let mut under_way: BTreeMap<(Instant, u64), Vec<u8>> = BTreeMap::new();
        let mut count = 0;
        let mut packet = [0; 2048];
        while !self.state.is_over.load(Ordering::Relaxed) {
            let next = under_way.first_key_value().map_or(IDLE, |((arrives, _), _)| {
                arrives.saturating_duration_since(Instant::now()).min(IDLE)
            });
            wait_for(from, next);
            for _ in 0..TAKEN_AT_ONCE {
                let Ok(length) = rustix::io::read(from, &mut packet) else { break };
                match self.arrival() {
                    Some(arrives) if under_way.len() < UNDER_WAY_MAX => {
                        count += 1;
                        under_way.insert((arrives, count), packet[..length].to_vec());
                    }
                    _ => drop(self.state.lost[self.number].fetch_add(1, Ordering::Relaxed)),
                }
            }
            let now = Instant::now();
            while let Some(first) = under_way.first_entry()
                && first.key().0 <= now
            {
                // One that the device has no room for is lost as well.
                let _ = rustix::io::write(to, &first.remove());
            }
        }
    }

    /// When a packet that comes now arrives; never, where it is lost.
    fn arrival(&mut self) -> Option<Instant> {
        let Quality { lost, delay, late } = self.state.quality;
        let is_lost = self.random.random_range(0..1000) < lost;
        let is_late = self.random.random_range(0..1000) < late;
        let is_cut = self.state.is_cut.load(Ordering::Relaxed);
        (!is_lost && !is_cut).then(|| Instant::now() + if is_late { delay * 2 } else { delay })
    }
}

/// Waits until there is a packet, but no longer.
fn wait_for(device: &SyncDevice, longest: Duration) {
    let timeout = Timespec::try_from(longest).expect("it is short");
    match poll(&mut [PollFd::new(device, PollFlags::IN)], Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => panic!("poll: {error}"),
    }
}
