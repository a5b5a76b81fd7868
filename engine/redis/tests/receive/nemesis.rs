//! A link under everything at once: kills, pauses, restarts, channels that come and go, a consumer that is slow.
//!
//! Each channel's messages are numbered. The ledger allows a gap only where the owner was told that there may be one.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use holdfast_redis::receive::{event::Event, link::Command, queue::QueueLimits};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::support::{Owner, Server};

const CHANNELS: usize = 40;

fn name(channel: usize) -> Arc<str> {
    format!("n{channel}").into()
}

/// What the owner may believe.
#[derive(Default)]
struct Ledger {
    wanted: BTreeSet<Arc<str>>,
    /// Channels that are heard, and their last number where there may be no gap after it.
    heard: BTreeMap<Arc<str>, Option<u64>>,
    received: u64,
    /// What was told, by kind.
    told: BTreeMap<&'static str, u64>,
}

impl Ledger {
    fn take(&mut self, event: Event) {
        let kind = match event {
            Event::Up { .. } => "up",
            Event::Down(_) => {
                self.heard.clear();
                "down"
            }
            Event::Confirmed(channels) => {
                self.heard.extend(channels.into_iter().map(|channel| (channel, None)));
                "confirmed"
            }
            Event::Refused(channels) => panic!("{channels:?}"),
            Event::Lost(channels) => {
                self.heard.retain(|channel, _| !channels.contains(channel));
                "lost"
            }
            Event::Lagging { channels, .. } => {
                for channel in channels {
                    self.heard.entry(channel).and_modify(|last| *last = None);
                }
                "lagging"
            }
            Event::Messages(messages) => {
                for message in messages.iter() {
                    let channel = std::str::from_utf8(message.channel).unwrap();
                    let number = u64::from_be_bytes(message.payload.try_into().unwrap());
                    self.received += 1;
                    // What is not wanted any more may come for a while.
                    let Some(last) = self.heard.get_mut(channel) else { continue };
                    if let Some(last) = *last {
                        assert_eq!(number, last + 1, "{channel} lost messages in silence");
                    }
                    *last = Some(number);
                }
                "messages"
            }
        };
        *self.told.entry(kind).or_default() += 1;
    }
}

/// Publishes to all channels in turn until it is told to stop, whatever becomes of the server. Returns the numbers.
fn publish(port: u16, is_over: &AtomicBool) -> Vec<u64> {
    let mut numbers = vec![0_u64; CHANNELS];
    while !is_over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        while !is_over.load(Ordering::Relaxed) {
            let mut batch = Vec::new();
            for (channel, number) in numbers.iter_mut().enumerate() {
                *number += 1;
                let name = name(channel);
                write!(batch, "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{name}\r\n$8\r\n", name.len()).unwrap();
                batch.extend(number.to_be_bytes());
                batch.extend(b"\r\n");
            }
            // Each answer is `:0` or `:1`, or `:2` for a moment after a reconnect.
            let mut answers = [0; CHANNELS * 4];
            if stream.write_all(&batch).and_then(|()| stream.read_exact(&mut answers)).is_err() {
                break;
            }
        }
    }
    numbers
}

#[tokio::test]
async fn whatever_happens_no_message_is_missing_without_a_word() {
    let seed: u64 = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let Some(mut server) = Server::start(&[]) else { return };
    let limits = QueueLimits { events_max: 32, bytes_max: 256 << 10 };
    let mut owner = Owner::with(&server, limits, None, |options| {
        options.backoff.max = Duration::from_millis(100);
        options.wanted.linger = Duration::from_millis(20)..Duration::from_millis(60);
        options.count_every = Duration::from_millis(300);
        options.probe.idle_after = Duration::from_millis(500);
        options.probe.answer_within = Duration::from_millis(500);
    });
    let is_over = Arc::new(AtomicBool::new(false));
    let publisher = std::thread::spawn({
        let (port, is_over) = (server.port, is_over.clone());
        move || publish(port, &is_over)
    });
    let mut ledger = Ledger::default();
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        let channel = name(random.random_range(0..CHANNELS));
        match random.random_range(0..100) {
            0..40 => {
                ledger.wanted.insert(channel.clone());
                owner.send(Command::Want(vec![channel])).await;
            }
            40..60 => {
                ledger.wanted.remove(&channel);
                ledger.heard.remove(&channel);
                owner.send(Command::Unwant(vec![channel])).await;
            }
            60..63 => drop(server.client().ask(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"])),
            63..65 => drop(server.client().ask(&[b"CLIENT", b"PAUSE", b"50"])),
            65 => {
                server.stand_still();
                std::thread::sleep(Duration::from_millis(random.random_range(0..100)));
                server.go_on();
            }
            66 if random.random_bool(0.3) => {
                server.end();
                server.restart();
            }
            67 => owner.send(Command::Rebuild(None)).await,
            // Nothing is taken meanwhile, and then nothing is read.
            68..72 => tokio::time::sleep(Duration::from_millis(random.random_range(0..50))).await,
            72 => std::thread::sleep(Duration::from_millis(random.random_range(0..100))),
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
        while random.random_bool(0.95)
            && let Some(event) = owner.try_next()
        {
            ledger.take(event);
        }
    }
    // It ends well: everything that is wanted is heard, up to the last message.
    let until = Instant::now() + Duration::from_secs(20);
    while ledger.wanted.iter().any(|channel| !ledger.heard.contains_key(channel)) {
        assert!(Instant::now() < until, "{:?}", owner.handle.health());
        ledger.take(owner.next().await);
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(200) {
        ledger.take(owner.next().await);
    }
    is_over.store(true, Ordering::Relaxed);
    let numbers = publisher.join().unwrap();
    let last = |channel: &Arc<str>| Some(numbers[channel[1..].parse::<usize>().unwrap()]);
    while ledger.wanted.iter().any(|channel| ledger.heard.get(channel).copied().flatten() != last(channel)) {
        assert!(Instant::now() < until, "{:?}", owner.handle.health());
        ledger.take(owner.next().await);
    }
    println!("{} messages; told: {:?}", ledger.received, ledger.told);
    assert!(ledger.received > 1000 && ledger.told["down"] > 3);
}
