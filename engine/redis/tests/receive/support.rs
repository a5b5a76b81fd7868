//! The owner of a link.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_redis::receive::{
    cause::Cause,
    connection::{Address, ConnectionOptions},
    event::Event,
    link::{Command, LinkHandle, LinkOptions, Publisher, link},
    queue::{Queue, QueueLimits, QueueSender, queue},
    slots::{Parts, SlotOptions, slot_links},
};

pub(crate) use holdfast_testkit::redis::{Certificate, Server};

/// Channels c0, c1, …
pub(crate) fn names(count: usize) -> Vec<Arc<str>> {
    (0..count).map(|n| format!("c{n}").into()).collect()
}

/// All links have one queue, and nobody publishes probes.
struct Same {
    sender: QueueSender,
    panics: u32,
}

impl Parts for Same {
    type Consumer = QueueSender;

    fn consumer(&mut self) -> QueueSender {
        if self.panics > 0 {
            self.panics -= 1;
            panic!("on purpose");
        }
        self.sender.clone()
    }

    fn publisher(&mut self) -> Option<Publisher> {
        None
    }
}

/// Whose link it is.
pub(crate) struct Owner {
    pub(crate) handle: LinkHandle,
    events: Queue,
    task: tokio::task::JoinHandle<()>,
    /// Messages that came together with one that was asked for.
    messages: std::collections::VecDeque<(String, Vec<u8>)>,
}

impl Owner {
    pub(crate) fn of(server: &Server, change: impl FnOnce(&mut LinkOptions)) -> Self {
        Self::with(server, QueueLimits::default(), None, change)
    }

    pub(crate) fn with(
        server: &Server,
        limits: QueueLimits,
        publisher: Option<Publisher>,
        change: impl FnOnce(&mut LinkOptions),
    ) -> Self {
        Self::at("127.0.0.1", server.port, limits, publisher, change)
    }

    pub(crate) fn at(
        host: &str,
        port: u16,
        limits: QueueLimits,
        publisher: Option<Publisher>,
        change: impl FnOnce(&mut LinkOptions),
    ) -> Self {
        let mut options = LinkOptions::new(ConnectionOptions::new(host, port));
        change(&mut options);
        let (sender, events) = queue(limits);
        let (handle, link) = link(options, sender, publisher);
        Self { handle, events, task: tokio::spawn(link.run()), messages: std::collections::VecDeque::new() }
    }

    /// By slot, in a cluster of which these are the service channels.
    pub(crate) fn of_slots(seeds: &[&Server], service_channels: Vec<Arc<str>>) -> Self {
        Self::of_slots_that_panics(seeds, service_channels, 0)
    }

    /// The same; for so many new links it panics where it is asked for its part.
    pub(crate) fn of_slots_that_panics(
        seeds: &[&Server],
        service_channels: Vec<Arc<str>>,
        panics: u32,
    ) -> Self {
        let mut link = LinkOptions::new(ConnectionOptions::new("127.0.0.1", 1));
        link.connection.step_within = Duration::from_millis(500);
        link.backoff.max = Duration::from_millis(200);
        let seeds = seeds.iter().map(|seed| Address { host: "127.0.0.1".into(), port: seed.port }).collect();
        let options = SlotOptions { link, seeds, service_channels, look_every: Duration::from_secs(30) };
        let (sender, events) = queue(QueueLimits::default());
        let (handle, links) = slot_links(options, Same { sender, panics });
        Self { handle, events, task: tokio::spawn(links.run()), messages: std::collections::VecDeque::new() }
    }

    pub(crate) async fn send(&self, command: Command) {
        self.handle.send(command).await.unwrap();
    }

    pub(crate) async fn want<const N: usize>(&self, channels: [&str; N]) {
        self.send(Command::Want(channels.map(Arc::from).to_vec())).await;
    }

    pub(crate) async fn next(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(30), self.events.recv())
            .await
            .unwrap_or_else(|_| panic!("nothing happened: {:?}", self.handle.health()))
            .expect("the link lives")
    }

    pub(crate) fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv()
    }

    /// Waits until so many channels are confirmed, whatever else happens.
    pub(crate) async fn confirmed(&mut self, count: usize) {
        let mut confirmed = 0;
        while confirmed < count {
            if let Event::Confirmed(channels) = self.next().await {
                confirmed += channels.len();
            }
        }
        assert_eq!(confirmed, count);
    }

    /// Waits until the connection is gone.
    pub(crate) async fn down(&mut self) -> Arc<Cause> {
        loop {
            if let Event::Down(cause) = self.next().await {
                return cause;
            }
        }
    }

    pub(crate) async fn message(&mut self) -> (String, Vec<u8>) {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return message;
            }
            if let Event::Messages(messages) = self.next().await {
                self.messages.extend(messages.iter().map(|message| {
                    (String::from_utf8(message.channel.to_vec()).unwrap(), message.payload.to_vec())
                }));
            }
        }
    }

    /// Waits until a connection ended, or did not come about, by that cause. Returns its words.
    pub(crate) async fn until_cause(&mut self, name: &str) -> String {
        let index = (0..).find(|&index| Cause::name_of(index) == name).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let health = self.handle.health();
            if health.causes[index] > 0 {
                return health.last_cause.unwrap();
            }
            assert!(Instant::now() < until, "it ends otherwise: {health:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// True exactly when the link's task ended by itself.
    pub(crate) async fn ended(&mut self) -> bool {
        let ended = tokio::time::timeout(Duration::from_secs(10), &mut self.task).await;
        matches!(ended, Ok(Ok(())))
    }
}
