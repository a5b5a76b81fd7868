//! A link against peers that follow a script, and owners that fail.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use holdfast_redis::receive::{
    cause::Cause,
    connection::ConnectionOptions,
    event::{Consumer, Event},
    health::Health,
    link::{Command, LinkOptions, link},
    queue::{QueueLimits, QueueSender, queue},
};

use crate::support::{Owner, Server};

fn count(health: &Health, name: &str) -> u64 {
    (0..health.causes.len())
        .find(|&index| Cause::name_of(index) == name)
        .map_or(0, |index| health.causes[index])
}

/// Waits for bytes that end so.
fn expect(socket: &mut TcpStream, end: &str) {
    let mut received = Vec::new();
    while !received.ends_with(end.as_bytes()) {
        let mut bytes = [0; 4096];
        let count = socket.read(&mut bytes).unwrap();
        assert!(count > 0, "{end} did not come: {}", String::from_utf8_lossy(&received));
        received.extend_from_slice(&bytes[..count]);
    }
}

/// Takes a connection up to its PONG, as Redis does.
fn accept(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = listener.accept().unwrap();
    expect(&mut socket, "HELLO\r\n$1\r\n3\r\n");
    socket.write_all(b"%1\r\n$5\r\nproto\r\n:3\r\n").unwrap();
    expect(&mut socket, "ROLE\r\n");
    socket.write_all(b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n").unwrap();
    expect(&mut socket, "PING\r\n");
    socket.write_all(b"+PONG\r\n").unwrap();
    socket
}

fn scripted(script: impl FnOnce(TcpListener) + Send + 'static) -> (u16, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, std::thread::spawn(move || script(listener)))
}

#[tokio::test]
async fn peers_that_are_no_redis_are_named_and_end_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let peers = std::thread::spawn(move || {
        let answers: [&[u8]; 4] = [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            &b"*1\r\n".repeat(100_000),
            b"$99999999999\r\n",
            b"-ERR max number of clients reached\r\n",
        ];
        for answer in answers {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 1000]);
            let _ = socket.write_all(answer);
            // Whoever closes with bytes unread resets the connection before its peer has read.
            let _ = socket.read(&mut [0; 1000]);
        }
        // Says nothing, and does not close.
        let (silent, _) = listener.accept().unwrap();
        std::thread::sleep(Duration::from_secs(3));
        drop(silent);
    });
    let mut owner = Owner::at("127.0.0.1", port, QueueLimits::default(), None, |options| {
        options.connection.step_within = Duration::from_millis(500);
        options.backoff.max = Duration::from_millis(50);
    });
    owner.until_cause("deadline").await;
    let health = owner.handle.health();
    assert_eq!((count(&health, "protocol"), count(&health, "handshake")), (3, 1));
    assert!(!health.is_up && owner.try_next().is_none());
    owner.send(Command::Stop).await;
    assert!(owner.ended().await);
    peers.join().unwrap();
}

#[tokio::test]
async fn a_name_without_an_address_is_looked_up_again_and_again() {
    let mut owner = Owner::at("no-such-host.invalid", 6379, QueueLimits::default(), None, |options| {
        options.backoff.max = Duration::from_millis(20);
    });
    owner.until_cause("resolve").await;
    let first = owner.handle.health().causes.iter().sum::<u64>();
    while owner.handle.health().causes.iter().sum::<u64>() < first + 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let handle = owner.handle.clone();
    drop(owner);
    assert!(
        handle.send(Command::Want(vec![Arc::from("a")])).await.is_ok(),
        "it lives while somebody can stop it"
    );
}

/// CLUSTER failure 3: what is asked and not answered is neither believed in nor forgotten.
#[tokio::test]
async fn a_subscription_that_is_not_answered_is_asked_for_again() {
    let (port, peer) = scripted(|listener| {
        let mut first = accept(&listener);
        expect(&mut first, "SUBSCRIBE\r\n$1\r\na\r\n");
        let mut second = accept(&listener);
        expect(&mut second, "SUBSCRIBE\r\n$1\r\na\r\n");
        second.write_all(b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n").unwrap();
        let _ = second.read(&mut [0; 1000]);
    });
    let mut owner = Owner::at("127.0.0.1", port, QueueLimits::default(), None, |options| {
        options.answer_within = Duration::from_millis(300);
        options.backoff.max = Duration::from_millis(20);
    });
    owner.want(["a"]).await;
    assert!(matches!(owner.next().await, Event::Up { .. }));
    let Event::Down(cause) = owner.next().await else { panic!("nothing was confirmed") };
    assert!(matches!(*cause, Cause::Unanswered), "{cause}");
    owner.confirmed(1).await;
    owner.send(Command::Stop).await;
    assert!(owner.ended().await);
    peer.join().unwrap();
}

#[tokio::test]
async fn a_reply_that_was_not_asked_for_is_not_believed() {
    let replies: [&[u8]; 4] = [
        b">3\r\n$9\r\nsubscribe\r\n$1\r\nz\r\n:1\r\n",
        b"+PONG\r\n",
        b"+OK\r\n",
        b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n-ERR one more\r\n",
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        let (port, peer) = scripted(move |listener| {
            let mut socket = accept(&listener);
            expect(&mut socket, "SUBSCRIBE\r\n$1\r\na\r\n");
            socket.write_all(reply).unwrap();
            let _ = socket.read(&mut [0; 1000]);
        });
        let mut owner = Owner::at("127.0.0.1", port, QueueLimits::default(), None, |_| {});
        owner.want(["a"]).await;
        assert!(matches!(owner.next().await, Event::Up { .. }));
        let mut event = owner.next().await;
        if number == 3 {
            assert!(matches!(event, Event::Confirmed(_)), "what came before the error counts");
            event = owner.next().await;
        }
        let Event::Down(cause) = event else { panic!("{event:?} after {number}") };
        assert!(matches!(*cause, Cause::Unasked(_)), "{cause}");
        peer.join().unwrap();
    }
}

/// Fails at its first confirmation, and at its first news of an end.
struct Fragile {
    queue: QueueSender,
    failures: usize,
}

impl Consumer for Fragile {
    fn offer(&mut self, event: Event) -> Result<(), Event> {
        let fails = matches!((&event, self.failures), (Event::Confirmed(_), 0) | (Event::Down(_), 1));
        self.failures += usize::from(fails);
        assert!(!fails, "the owner's bug");
        self.queue.offer(event)
    }
}

#[tokio::test]
async fn even_a_panic_is_only_one_more_reason_to_connect_again() {
    let Some(server) = Server::start(&[]) else { return };
    let (sender, mut events) = queue(QueueLimits::default());
    let consumer = Fragile { queue: sender, failures: 0 };
    let (handle, link) =
        link(LinkOptions::new(ConnectionOptions::new("127.0.0.1", server.port)), consumer, None);
    let task = tokio::spawn(link.run());
    handle.send(Command::Want(vec!["a".into()])).await.unwrap();
    let mut downs = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap() {
            Event::Down(cause) => downs.push(cause.name()),
            Event::Confirmed(_) => break,
            _ => {}
        }
    }
    assert_eq!(downs, ["panicked"]);
    assert_eq!(count(&handle.health(), "panicked"), 2);
    drop(handle);
    tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    assert!(
        matches!(events.recv().await, Some(Event::Down(_))),
        "it ends when nobody is left who could stop it"
    );
    assert!(events.recv().await.is_none());
}
