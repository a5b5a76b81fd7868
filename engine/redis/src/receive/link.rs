//! Link: the supervisor of one connection, which never ends unless it is told to.
//!
//! In:  commands of the owner; a server that comes and goes.
//! Out: events, in their order; counts.
//!
//! ```text
//!            ┌───────────── backoff, full jitter <──────────────┐
//!            v                                                  │ any cause
//!        connecting ── HELLO, ROLE, PING ──> up: subscribe, read, probe
//!            ^  │ any cause                                     │ stop
//!            └──┘                                               v
//!                                                             (end)
//! ```
//!
//! The owner's commands are taken in every state. Even a panic of ours is only one more cause.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{info, warn};

use super::{
    backoff::Backoff,
    cause::Cause,
    connection::{Address, Connection, ConnectionOptions, Turn},
    event::Consumer,
    health::Counts,
    options::WantedOptions,
    outbox::Outbox,
    probe::{Probe, ProbeOptions},
    reader::{Item, Messages, Reply},
    wanted::{Note, Wanted},
};
pub use super::{
    backoff::BackoffOptions,
    handle::{Command, Gone, LinkHandle, NotTaken},
};

/// How often time is looked at.
const TICK: Duration = Duration::from_millis(100);
/// A tick that comes so late means that this process stood still.
const STILL: Duration = Duration::from_secs(1);
/// Commands wait for the kernel up to so many bytes; the rest waits for them.
const OUT_BYTES_MAX: usize = 256 << 10;
/// So many connections in a row may end because the server counts otherwise; then it is a server that does.
const MISCOUNTS_MAX: u32 = 3;

/// How a link lives.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Where to, and who we are.
    pub connection: ConnectionOptions,
    /// How channels are subscribed to.
    pub wanted: WantedOptions,
    /// When a connection is doubted.
    pub probe: ProbeOptions,
    /// How long to wait between connections.
    pub backoff: BackoffOptions,
    /// Subscribed to like any other channel; its messages are not passed on. Probes are published there: in a cluster
    /// its slot belongs to this node.
    pub service_channel: Option<Arc<str>>,
    /// Any command has its answer within this time, or the connection is given up. 10 s.
    pub answer_within: Duration,
    /// How often the server is asked how many channels it counts. 30 s.
    pub count_every: Duration,
    /// Commands of the owner that may wait. 1,024.
    pub commands_max: usize,
}

impl LinkOptions {
    /// To that server; everything else as it is documented.
    pub fn new(connection: ConnectionOptions) -> Self {
        Self {
            connection,
            wanted: WantedOptions::default(),
            probe: ProbeOptions::default(),
            backoff: BackoffOptions::default(),
            service_channel: None,
            answer_within: Duration::from_secs(10),
            count_every: Duration::from_secs(30),
            commands_max: 1024,
        }
    }
}

/// A probe that the owner shall publish, by a connection of his own.
#[derive(Debug)]
pub struct ProbeRequest {
    /// Where: the service channel. What is published does not matter.
    pub channel: Arc<str>,
    /// Takes whether the server took it. Dropped: nobody knows.
    pub published: oneshot::Sender<bool>,
}

/// Has probes published. It is called by the link's task and must not wait.
pub type Publisher = Box<dyn FnMut(ProbeRequest) + Send>;

/// One link: the future of [`Self::run`], to be spawned on a tokio runtime with I/O and time.
pub struct Link<C> {
    options: LinkOptions,
    commands: mpsc::Receiver<Command>,
    publisher: Option<Publisher>,
    wanted: Wanted,
    outbox: Outbox<C>,
    counts: Arc<Counts>,
    backoff: Backoff,
    random: SmallRng,
    /// Since when there is a connection.
    up_at: Option<Instant>,
    /// Connections in a row that ended because the server counts otherwise.
    miscounts: u32,
    /// Kept between turns for its room.
    notes: Vec<Note>,
}

/// A link to one server, and the owner's end of it. A server that cannot be reached is no error.
pub fn link<C: Consumer>(
    options: LinkOptions,
    consumer: C,
    publisher: Option<Publisher>,
) -> (LinkHandle, Link<C>) {
    let (sender, commands) = mpsc::channel(options.commands_max.max(1));
    let counts = Arc::new(Counts::new(Instant::now()));
    let handle = LinkHandle::of_one(sender, counts.clone());
    let mut random = SmallRng::from_os_rng();
    let mut wanted = Wanted::new(options.wanted.clone(), random.random());
    let mut notes = Vec::new();
    if let Some(channel) = &options.service_channel {
        wanted.want(channel.clone(), &mut notes);
    }
    let (outbox, backoff) = (Outbox::new(consumer), Backoff::new(options.backoff));
    let (up_at, miscounts) = (None, 0);
    let link = Link {
        options,
        commands,
        publisher,
        wanted,
        outbox,
        counts,
        backoff,
        random,
        up_at,
        miscounts,
        notes,
    };
    (handle, link)
}

impl<C: Consumer> Link<C> {
    /// Begins with another server than that of the options: behind Sentinel it is known only later.
    pub fn at(&mut self, address: Address) {
        self.options.connection.address = address;
    }

    /// Lives until it is told to stop, or nobody is left who could.
    pub async fn run(mut self) {
        // What ends is worth a line each time; what does not come about, once a kind.
        let mut logged = 0_u32;
        loop {
            let cause = guard(self.connection()).await.unwrap_or(Cause::Panicked);
            let lived = self.up_at.take().map(|up_at| up_at.elapsed());
            if lived.is_some() {
                logged = 0;
            }
            let (kind, is_asked) = (1 << cause.index(), matches!(cause, Cause::Asked));
            let is_stopped = matches!(cause, Cause::Stopped);
            if logged & kind == 0 && !is_stopped {
                let (address, channels) = (&self.options.connection.address, self.wanted.len());
                warn!(%address, channels, "no connection to Redis for what is published: {cause}; trying again");
            }
            logged |= kind;
            let is_to_be_told = lived.is_some() || matches!(cause, Cause::Panicked);
            self.down(cause, is_to_be_told);
            if is_stopped {
                break;
            }
            let delay = self.backoff.next(lived.unwrap_or_default(), &mut self.random);
            if is_asked {
                continue;
            }
            match guard(self.meanwhile(sleep(delay))).await {
                Some(Ok(()) | Err(Cause::Asked)) => {}
                Some(Err(cause)) => {
                    self.down(cause, false);
                    break;
                }
                None => {
                    // What the consumer failed on may have been the news of the last end.
                    self.down(Cause::Panicked, true);
                    sleep(delay).await;
                }
            }
        }
        guard(async { self.outbox.flush() }).await;
    }

    /// One connection from its first step to its end.
    async fn connection(&mut self) -> Cause {
        let options = self.options.connection.clone();
        let mut connection = match self.meanwhile(Connection::open(&options)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(cause)) | Err(cause) => return cause,
        };
        self.up(&connection, Instant::now());
        self.outbox.flush();
        self.session(&mut connection).await
    }

    /// Waits for what is done without a connection, and takes commands meanwhile. One of them may end the waiting.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Cause> {
        let mut work = pin!(work);
        let mut ticks = interval(TICK);
        loop {
            tokio::select! {
                output = &mut work => return Ok(output),
                command = self.commands.recv() => self.command(command)?,
                _ = ticks.tick() => drop(self.outbox.flush()),
            }
        }
    }

    fn up(&mut self, connection: &Connection, now: Instant) {
        let (address, protocol) = (connection.address, connection.protocol);
        info!(%address, ?protocol, channels = self.wanted.len(), "connected to Redis for what is published");
        self.wanted.connect(now);
        self.outbox.up(address, protocol);
        self.up_at = Some(now);
        self.counts.up(now);
        self.count();
    }

    /// There is no connection. Calls nobody, so that it cannot fail.
    fn down(&mut self, cause: Cause, is_to_be_told: bool) {
        self.miscounts = if matches!(cause, Cause::Miscounted { .. }) { self.miscounts + 1 } else { 0 };
        let cause = Arc::new(cause);
        self.wanted.disconnect();
        self.notes.clear();
        if is_to_be_told {
            self.outbox.down(cause.clone());
        }
        self.counts.down(cause, Instant::now());
        self.count();
    }

    fn count(&self) {
        self.counts.is_settled.store(self.wanted.is_settled(), Ordering::Relaxed);
        self.counts.wanted.store(self.wanted.len(), Ordering::Relaxed);
        self.counts.confirmed.store(self.wanted.confirmed(), Ordering::Relaxed);
    }

    /// Takes a command; none: nobody is left who could stop us.
    ///
    /// # Errors
    ///
    /// It ends the connection.
    fn command(&mut self, command: Option<Command>) -> Result<(), Cause> {
        match command {
            Some(Command::Want(channels)) => {
                channels.into_iter().for_each(|channel| self.wanted.want(channel, &mut self.notes));
                self.outbox.tell(&mut self.notes);
            }
            Some(Command::Unwant(channels)) => {
                let now = Instant::now();
                let is_ours = |channel: &Arc<str>| self.options.service_channel.as_ref() == Some(channel);
                let wanted = &mut self.wanted;
                channels
                    .iter()
                    .filter(|channel| !is_ours(channel))
                    .for_each(|channel| wanted.unwant(channel, now));
            }
            Some(Command::Rebuild(address)) => {
                if let Some(address) = address {
                    self.options.connection.address = address;
                }
                return Err(Cause::Asked);
            }
            Some(Command::Serve(channel)) => {
                if let Some(before) = self.options.service_channel.replace(channel.clone()) {
                    self.wanted.unwant(&before, Instant::now());
                }
                self.wanted.want(channel, &mut self.notes);
                self.outbox.tell(&mut self.notes);
            }
            Some(Command::Stop) | None => return Err(Cause::Stopped),
        }
        self.counts.wanted.store(self.wanted.len(), Ordering::Relaxed);
        Ok(())
    }

    /// Reads, writes and doubts a connection until its end.
    async fn session(&mut self, connection: &mut Connection) -> Cause {
        let start = Instant::now();
        let mut session = Session {
            probe: Probe::new(self.options.probe, start),
            published: None,
            ticked_at: start,
            // Links that came up together do not ask together.
            count_at: start + self.options.count_every.mul_f64(self.random.random()),
            items: Vec::new(),
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.wanted.write(Instant::now(), connection.out(), OUT_BYTES_MAX);
            let done = tokio::select! {
                turn = connection.turn() => match turn {
                    Ok(Turn::Read) => self.read(connection, &mut session),
                    Ok(Turn::Written) => Ok(()),
                    Err(cause) => Err(cause),
                },
                command = self.commands.recv() => self.command(command),
                _ = ticks.tick() => self.tick(connection, &mut session),
            };
            if let Err(cause) = done {
                return cause;
            }
        }
    }

    /// Passes on what was read, in its order.
    fn read(&mut self, connection: &mut Connection, session: &mut Session) -> Result<(), Cause> {
        let now = Instant::now();
        // What came before an error counts.
        let taken = connection.take(&mut session.items);
        session.probe.bytes(now);
        let mut replied = Ok(());
        for item in session.items.drain(..) {
            match item {
                Item::Messages(messages) => {
                    session.probe.message(now);
                    self.outbox.tell(&mut self.notes);
                    self.messages(messages);
                }
                Item::Reply(reply) => {
                    replied = self.wanted.reply(&reply, now, &mut self.notes);
                    if replied.is_err() {
                        break;
                    }
                    if reply == Reply::Pong {
                        session.probe.pong(now);
                    }
                }
            }
        }
        if !self.notes.is_empty() {
            self.count();
            self.outbox.tell(&mut self.notes);
        }
        replied.and(taken)
    }

    fn messages(&mut self, messages: Messages) {
        let messages = match &self.options.service_channel {
            Some(channel) => messages.without(channel.as_bytes()),
            None => Some(messages),
        };
        let Some(messages) = messages else { return };
        self.counts.messages.fetch_add(messages.len() as u64, Ordering::Relaxed);
        self.counts.bytes.fetch_add(messages.bytes() as u64, Ordering::Relaxed);
        let wanted = &self.wanted;
        let dropped = self.outbox.messages(messages, |channel| wanted.name(channel));
        self.counts.dropped.fetch_add(dropped as u64, Ordering::Relaxed);
    }

    /// Does what is due by time.
    fn tick(&mut self, connection: &mut Connection, session: &mut Session) -> Result<(), Cause> {
        let now = Instant::now();
        if now - std::mem::replace(&mut session.ticked_at, now) > STILL {
            session.probe.forgive(now);
            self.wanted.forgive(now);
        }
        self.outbox.flush();
        self.wanted.expire(now);
        if let Some(mut answer) = session.published.take() {
            match answer.try_recv() {
                Ok(is_published) => session.probe.published(is_published, now),
                Err(oneshot::error::TryRecvError::Closed) => session.probe.published(false, now),
                Err(oneshot::error::TryRecvError::Empty) => session.published = Some(answer),
            }
        }
        let publisher = self.publisher.as_mut().zip(self.options.service_channel.as_ref());
        let publisher = publisher.filter(|(_, channel)| self.wanted.is_heard(channel));
        if session.probe.is_due(publisher.is_some(), now) {
            self.counts.probes.fetch_add(1, Ordering::Relaxed);
            self.wanted.ping(now, connection.out());
            session.published = publisher.map(|(publish, channel)| {
                let (published, answer) = oneshot::channel();
                publish(ProbeRequest { channel: channel.clone(), published });
                answer
            });
        }
        if self.miscounts < MISCOUNTS_MAX && now >= session.count_at {
            session.count_at = now + self.options.count_every;
            self.wanted.count(now, connection.out());
        }
        self.count();
        session.probe.check(now)?;
        if self.wanted.is_overdue(now, self.options.answer_within) {
            return Err(Cause::Unanswered);
        }
        Ok(())
    }
}

/// What belongs to one connection.
struct Session {
    probe: Probe,
    /// Whether the last probe was published.
    published: Option<oneshot::Receiver<bool>>,
    ticked_at: Instant,
    count_at: Instant,
    /// Kept between reads for its room.
    items: Vec<Item>,
}

/// Turns a panic into none. What it left half done is not looked at again: the caller starts anew.
pub(super) async fn guard<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_) => std::task::Poll::Ready(None),
    })
    .await
}
