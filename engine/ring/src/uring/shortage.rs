//! Shortage: a kernel that takes less than it is given, as one does that is short of memory.
//!
//! In:  how many entries a call is to hand over.
//! Out: how many it hands over. What it does not is left to the lane, just as the real kernel leaves it.
//!
//! The rest of the file is what a lane, and the sockets above it, must do about that on the real kernel.

use std::{cell::RefCell, rc::Rc, time::Duration};

use rand::{Rng as _, rngs::SmallRng};

/// What of `n` entries is taken.
type Takes = Rc<RefCell<dyn FnMut(u32) -> u32>>;

#[derive(Clone, Default)]
pub(crate) struct Shortage(Option<Takes>);

impl Shortage {
    fn that(takes: impl FnMut(u32) -> u32 + 'static) -> Self {
        Self(Some(Rc::new(RefCell::new(takes))))
    }

    /// Nothing is taken half of the time, else a part or all.
    fn at_random(mut random: SmallRng) -> Self {
        Self::that(move |count| if random.random_bool(0.5) { 0 } else { random.random_range(0..=count) })
    }

    /// A call that does not hand over all does not sleep.
    pub(crate) fn of(&self, count: u32, wait: Option<Duration>) -> (u32, Option<Duration>) {
        let takes = self.0.as_ref().filter(|_| count > 0);
        let taken = takes.map_or(count, |takes| (takes.borrow_mut())(count).min(count));
        (taken, wait.filter(|_| taken == count))
    }
}

mod tests {
    use std::{
        cell::Cell,
        fs,
        io::{ErrorKind, Read as _},
        net::{SocketAddr, TcpStream},
        sync::Arc,
        time::Instant,
    };

    use bytes::Bytes;
    use rand::SeedableRng as _;

    use super::*;
    use crate::{
        AcceptMode, CloseWhen, Completion, Doorbell, Event, Kernel, Op, Socket, Sockets, SocketsConfig,
        Uring, UringConfig, listener,
    };

    const PATIENCE: Duration = Duration::from_secs(20);

    fn uring(lanes: usize) -> Uring {
        let sizes = UringConfig {
            submission_entries: 16,
            receive_buffers: 64,
            receive_buffers_max: 64,
            ..UringConfig::default()
        };
        Uring::new(&UringConfig { lanes, slots_per_lane: 64, ..sizes }).expect("io_uring works here")
    }

    fn suffer(uring: &mut Uring, shortage: &Shortage) {
        uring.lanes.iter_mut().for_each(|lane| lane.shortage = shortage.clone());
    }

    /// A kernel with one connection in it.
    fn connected() -> (Uring, Socket, TcpStream) {
        let mut uring = uring(1);
        let (socket, address) = listener("127.0.0.1:0".parse().unwrap(), 64).unwrap();
        uring.listen(socket);
        let peer = TcpStream::connect(address).unwrap();
        uring.push(Op::Accept { lane: 0, mode: AcceptMode::SingleWithAddress });
        let (descriptor, from) = until(&mut uring, |completion| match completion {
            Completion::Accepted(descriptor, from) => Some((descriptor, from)),
            _ => None,
        });
        assert_eq!(from.as_deref(), peer.local_addr().ok().as_ref());
        (uring, Socket::new(descriptor, 0), peer)
    }

    fn until<T>(uring: &mut Uring, mut found: impl FnMut(Completion<crate::Buffer>) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut out = Vec::new();
        while Instant::now() < deadline {
            uring.turn(Some(Duration::from_millis(5)), &mut out).unwrap();
            if let Some(found) = out.drain(..).find_map(&mut found) {
                return found;
            }
        }
        panic!("what was waited for did not come");
    }

    fn turn(uring: &mut Uring) -> Vec<Completion<crate::Buffer>> {
        let mut out = Vec::new();
        uring.turn(None, &mut out).unwrap();
        out
    }

    #[test]
    fn what_was_not_taken_at_once_is_given_again_in_the_same_turn() {
        let (mut uring, socket, mut peer) = connected();
        let mut calls = 0;
        suffer(
            &mut uring,
            &Shortage::that(move |count| {
                calls += 1;
                if calls <= 2 { 0 } else { count }
            }),
        );
        uring.push(Op::Send(socket, Bytes::from_static(b"hello")));
        assert!(turn(&mut uring).is_empty(), "all is well");
        let mut came = [0; 5];
        peer.read_exact(&mut came).unwrap();
        assert_eq!((&came, uring.statistics().held), (b"hello", 0));
    }

    #[test]
    fn a_send_that_the_turn_could_not_hand_over_says_so_and_goes_with_a_later_one() {
        let (mut uring, socket, mut peer) = connected();
        let is_short = Rc::new(Cell::new(true));
        let short = Rc::clone(&is_short);
        suffer(&mut uring, &Shortage::that(move |count| if short.get() { 0 } else { count }));
        let before = uring.statistics();
        uring.push(Op::Send(socket, Bytes::from_static(b"hello")));
        assert!(
            matches!(turn(&mut uring)[..], [Completion::SendHeld { socket: held, len: 5 }] if held == socket)
        );
        assert!(turn(&mut uring).is_empty(), "that is said once");
        peer.set_nonblocking(true).unwrap();
        assert_eq!(peer.read(&mut [0; 5]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(uring.statistics().submitted, before.submitted);
        assert_eq!(uring.statistics().held, 2);
        is_short.set(false);
        assert!(
            matches!(turn(&mut uring)[..], [Completion::SendTaken { socket: taken, len: 5 }] if taken == socket)
        );
        let mut came = [0; 8];
        assert_eq!(peer.read(&mut came).unwrap(), 5);
    }

    #[test]
    fn who_may_sleep_does_not_sleep_long_on_what_is_held_in_any_lane() {
        for lane in 0..2 {
            let mut uring = uring(2);
            turn(&mut uring);
            uring.lanes[lane].shortage = Shortage::that(|_| 0);
            uring.push(Op::CancelAccepts { lane });
            let began = Instant::now();
            let calls = uring.statistics().enters;
            uring.turn(Some(PATIENCE), &mut Vec::new()).unwrap();
            assert!(began.elapsed() < PATIENCE / 4, "lane {lane}: slept {:?}", began.elapsed());
            assert!(uring.statistics().enters - calls < 20, "lane {lane}: gives up trying in this turn");
        }
    }

    #[test]
    fn a_thread_that_could_not_be_woken_by_its_ring_is_woken_by_its_bell_however_late_that_shows() {
        let mut uring = uring(1);
        // A ring that takes no messages: an eventfd is none.
        let deaf = |_| Arc::new(Doorbell::new(Some(fs::File::open("/dev/null").unwrap().into())).unwrap());
        let bells: Vec<_> = (0..3).map(deaf).collect();
        let is_short = Rc::new(Cell::new(true));
        let short = Rc::clone(&is_short);
        suffer(&mut uring, &Shortage::that(move |count| if short.get() { 0 } else { count }));
        for bell in &bells {
            uring.push(Op::Wake(Arc::clone(bell)));
            turn(&mut uring);
        }
        assert!(bells.iter().all(|bell| !bell.was_rung()));
        is_short.set(false);
        turn(&mut uring);
        assert!(bells.iter().all(|bell| bell.was_rung()));
    }

    /// The byte at this place of every stream.
    fn byte(place: usize) -> u8 {
        u8::try_from(place % 251).unwrap()
    }

    /// A peer that reads little at a time.
    struct Peer {
        stream: TcpStream,
        read: usize,
        is_over: bool,
    }

    impl Peer {
        fn connect(address: SocketAddr) -> Self {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(&address.into()).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { stream: socket.into(), read: 0, is_over: false }
        }

        fn read(&mut self, bytes_max: usize) {
            let mut bytes = vec![0; bytes_max];
            match self.stream.read(&mut bytes) {
                Ok(0) => self.is_over = true,
                Ok(len) => {
                    for (at, &came) in bytes[..len].iter().enumerate() {
                        assert_eq!(came, byte(self.read + at), "at byte {}", self.read + at);
                    }
                    self.read += len;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }

    fn streams_survive(seed: u64) {
        const PEERS: usize = 6;
        const BYTES: usize = 1_500_000;
        let mut random = SmallRng::seed_from_u64(seed);
        let mut uring = uring(2);
        suffer(&mut uring, &Shortage::at_random(SmallRng::from_rng(&mut random)));
        let mut sockets = Sockets::new(
            uring,
            SocketsConfig {
                accept_reserve: 8,
                peer_addresses: seed.is_multiple_of(2),
                ..SocketsConfig::default()
            },
        );
        let (socket, address) = listener("127.0.0.1:0".parse().unwrap(), 64).unwrap();
        // What is accepted inherits it: writes are to be short.
        socket2::SockRef::from(&socket).set_send_buffer_size(16 * 1024).unwrap();
        sockets.listen(socket);
        let mut peers: Vec<_> = (0..PEERS).map(|_| Peer::connect(address)).collect();
        let mut sent: Vec<(Socket, usize)> = Vec::new();
        let mut closed = 0;
        let mut events = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while closed < PEERS || !peers.iter().all(|peer| peer.is_over) {
            assert!(Instant::now() < deadline, "seed {seed}: it takes too long");
            sockets.turn(Duration::from_micros(200), &mut events).unwrap();
            for event in events.drain(..) {
                match event {
                    Event::Accepted(socket, from) => {
                        assert_eq!(from.is_some(), seed.is_multiple_of(2), "seed {seed}");
                        sent.push((socket, 0));
                    }
                    Event::Closed(_) => closed += 1,
                    Event::Ended(socket, how) => panic!("seed {seed}: {socket:?} has ended: {how:?}"),
                    _ => {}
                }
            }
            for (socket, sent) in &mut sent {
                if *sent < BYTES && sockets.queued_bytes(*socket) < 200_000 {
                    let len = random.random_range(1..100_000).min(BYTES - *sent);
                    sockets.send(*socket, (*sent..*sent + len).map(byte).collect::<Vec<_>>().into());
                    *sent += len;
                    if *sent == BYTES {
                        sockets.close(*socket, CloseWhen::Flushed);
                    }
                }
            }
            for peer in &mut peers {
                if random.random_bool(0.7) {
                    peer.read(random.random_range(1..50_000));
                }
            }
        }
        assert!(peers.iter().all(|peer| peer.read == BYTES), "seed {seed}");
        let statistics = sockets.statistics();
        assert!(statistics.kernel.held > 0 && statistics.short_writes > 0, "seed {seed}: {statistics:?}");
        assert_eq!(sockets.behind(), (0, 0), "seed {seed}");
    }

    #[test]
    fn streams_stay_whole_and_in_order_while_the_kernel_is_short_of_memory() {
        (0..8).for_each(streams_survive);
    }
}
