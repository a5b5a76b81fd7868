//! What receiving costs: microseconds of CPU a message, of the reader's thread alone.
//!
//! ```sh
//! cargo run --release -p holdfast-redis --example receive -- 100000 5
//! ```
//!
//! The arguments are messages a second (0: as fast as it goes) and seconds. It starts a `redis-server` of its own, and
//! publishes 158 bytes to 1,000 channels in batches of 100 from another thread. The owner takes the events on the reader's
//! thread, looks at each message, and drops it, so that its share is in the number.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command as Process, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_redis::receive::{
    connection::ConnectionOptions,
    event::Event,
    link::{Command, LinkOptions, link},
    queue::{QueueLimits, queue},
};
use rustix::time::{ClockId, clock_gettime};

const CHANNELS: usize = 1000;
const BATCH: usize = 100;
const PAYLOAD_BYTES: usize = 158;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().expect("a number"));
    let rate = arguments.next().unwrap_or(100_000);
    let seconds = arguments.next().unwrap_or(5);
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    let mut redis = Process::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(receive(port, rate, seconds));
    redis.kill().expect("it runs");
    redis.wait().expect("it ends");
}

async fn receive(port: u16, rate: u64, seconds: u64) {
    let (consumer, mut events) = queue(QueueLimits::default());
    let options = LinkOptions::new(ConnectionOptions::new("127.0.0.1", port));
    let (handle, link) = link(options, consumer, None);
    tokio::spawn(link.run());
    let channels = (0..CHANNELS).map(|channel| Arc::from(format!("channel:{channel}"))).collect();
    handle.send(Command::Want(channels)).await.expect("the link lives");
    while handle.health().confirmed < CHANNELS {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let publisher = std::thread::spawn(move || publish(port, rate, seconds));
    let (mut came, mut bytes, mut reads, mut lagging) = (0, 0, 0, 0);
    let (mut start, mut end) = (None, (Instant::now(), 0.0));
    while !publisher.is_finished() || came + lagging < handle.health().messages {
        let Ok(Some(first)) = tokio::time::timeout(Duration::from_millis(500), events.recv()).await else {
            continue;
        };
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                Event::Messages(messages) => {
                    start.get_or_insert_with(|| (Instant::now(), cpu()));
                    came += messages.len() as u64;
                    reads += 1;
                    bytes += messages
                        .iter()
                        .map(|message| message.payload.len() + message.channel.len())
                        .sum::<usize>();
                    end = (Instant::now(), cpu());
                }
                Event::Lagging { messages, .. } => lagging += messages,
                Event::Down(cause) => println!("down: {cause}"),
                _ => {}
            }
            next = events.try_recv();
        }
    }
    let sent = publisher.join().expect("the publisher ends");
    let (began, cpu_before) = start.expect("messages came");
    let (wall, cpu) = ((end.0 - began).as_secs_f64(), end.1 - cpu_before);
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let (count, per_read) = (came as f64, came as f64 / f64::from(reads));
    println!(
        "{came} of {sent} messages ({lagging} found no room, {bytes} bytes), {:.0}/s, {per_read:.0} a read: {:.3} us of CPU a message",
        count / wall,
        cpu * 1e6 / count,
    );
}

/// Seconds of CPU of this thread.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)).as_secs_f64()
}

/// Publishes at a rate. Returns how many.
fn publish(port: u16, rate: u64, seconds: u64) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("redis-server listens");
    stream.set_nodelay(true).expect("it is a socket");
    let payload = "x".repeat(PAYLOAD_BYTES);
    let batches: Vec<Vec<u8>> = (0..CHANNELS / BATCH)
        .map(|batch| {
            let command = |n: usize| {
                let channel = format!("channel:{}", batch * BATCH + n);
                format!(
                    "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${PAYLOAD_BYTES}\r\n{payload}\r\n",
                    channel.len()
                )
            };
            (0..BATCH).flat_map(|n| command(n).into_bytes()).collect()
        })
        .collect();
    // Each answer is `:1`.
    let mut answers = vec![0; BATCH * 4];
    let (start, mut sent) = (Instant::now(), 0);
    for batch in batches.iter().cycle() {
        if start.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
        stream.write_all(batch).expect("it is open");
        stream.read_exact(&mut answers).expect("it answers");
        sent += BATCH as u64;
        if rate > 0 {
            let due = start
                + Duration::from_secs_f64(
                    f64::from(u32::try_from(sent).unwrap_or(u32::MAX))
                        / f64::from(u32::try_from(rate).unwrap_or(u32::MAX)),
                );
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    sent
}
