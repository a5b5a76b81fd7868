//! Cluster: shards in one thread, each on a simulated kernel, for the simulation and for tests of shards.
//!
//! In:  how many, and how they differ from ordinary ones; turns, in any order; scripted clients (`scripted`).
//! Out: the same, with all books checked after each turn; messages, as the control thread sends them; orders to stop; what is
//! left of a shard that has gone.
//!
//! Time passes where a test says so: between rounds, and on every read of a slow machine's clock.

use std::{sync::Arc, time::Duration};

use holdfast_ring::{
    Kernel as _, Sockets, SocketsConfig,
    simulated::{Faults, Network, Simulated, SimulatedConfig, listener},
};
use rustls::ServerConfig;
use tokio::sync::oneshot;

use super::{clock, scripted::ScriptedClient};
use crate::{
    backend::queue,
    config::Config,
    conn::TlsListener,
    hub::message::ToOwner,
    ids::ShardId,
    limits::Tables,
    memory::BudgetLimits,
    mesh::{MailboxLimits, StopOrder},
    metrics::{CATALOG, Kind, Metric},
    session::{
        calls::{ApiCall, ClientCommand, ClientSelector},
        message::{Message, Peers, Shared},
    },
    shard::{Next, Shard, ShardPolicy},
};

/// A multishot accept is ended with so many places left: as many as may come in the turn before that is noticed and in
/// the one in which it takes effect.
pub(super) const ACCEPT_RESERVE: u32 = 16;

/// What passes between two rounds, unless a test says otherwise.
const PAUSE: Duration = Duration::from_micros(50);

/// Rounds in which what a test waits for has to come.
const ROUNDS_MAX: u32 = 2_000;

/// Rounds without a step after which nothing is under way any more.
const QUIET_ROUNDS: u32 = 10;

/// How a cluster is made. What tests say nothing of is generous, and without chance.
pub(crate) struct Builder {
    pub(super) shards: usize,
    pub(super) network: Network,
    pub(super) kernel: SimulatedConfig,
    pub(super) sockets: SocketsConfig,
    pub(super) mailboxes: MailboxLimits,
    pub(super) budgets: BudgetLimits,
    pub(super) config: Config,
    /// Of each connection in a turn, where it is not a shard's own.
    pub(super) quantum_ns: Option<u64>,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) channel_secret: u128,
    /// What the randomness of each shard comes from.
    pub(super) seeds: Vec<[u8; 32]>,
    pub(super) outbox_messages_max: usize,
}

impl Builder {
    /// Changes how its daemon is configured.
    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Connections and receive buffers of each shard.
    pub(crate) fn room(mut self, slots_per_lane: u32, buffers: u32, buffer_bytes: usize) -> Self {
        self.kernel = SimulatedConfig { lanes: 1, slots_per_lane, buffers, buffer_bytes };
        self
    }

    /// What the network holds of each direction of a connection.
    pub(crate) fn pipe_bytes(mut self, bytes: usize) -> Self {
        self.network = Network::new(1, Faults::default(), bytes);
        self
    }

    /// What each mailbox holds.
    pub(crate) fn mailboxes(mut self, messages_max: usize, bytes_max: u64) -> Self {
        self.mailboxes = MailboxLimits { messages_max, bytes_max };
        self
    }

    /// How many messages of a shard may wait for others.
    pub(crate) fn outbox(mut self, messages_max: usize) -> Self {
        self.outbox_messages_max = messages_max;
        self
    }

    /// Makes it: all shards listen.
    pub(crate) fn start(self) -> Cluster {
        let Self { network, config, .. } = &self;
        let kernels: Vec<_> = (0..self.shards).map(|_| Simulated::new(network, &self.kernel)).collect();
        let bells = kernels.iter().map(Simulated::doorbell).collect();
        let tables = Tables::new(self.shards, 0);
        let shared = Shared::new(bells, self.mailboxes, self.channel_secret, tables, self.budgets);
        let shared = Arc::new(shared);
        let shards = kernels.into_iter().zip(&self.seeds).enumerate().map(|(index, (kernel, &seed))| {
            let mut sockets = Sockets::new(kernel, self.sockets.clone());
            sockets.listen(listener());
            let peers = Peers::new(Arc::clone(&shared), ShardId::new(index));
            let mut policy = ShardPolicy::new(config, self.budgets, self.kernel.buffers);
            policy.quantum_ns = self.quantum_ns.unwrap_or(policy.quantum_ns);
            let tls = self.tls.as_ref().map(|tls| TlsListener::new(Arc::clone(tls)));
            Some(Shard::new("node".into(), policy, sockets, peers, queue(1).0, tls, seed))
        });
        Cluster {
            shards: shards.collect(),
            network: network.clone(),
            shared,
            crowd: Vec::new(),
            pause: PAUSE,
            look: Duration::ZERO,
            check: |_, _| {},
            wall_ahead_ms: millis(clock::BEGAN),
            buffers: self.kernel.buffers,
            outbox_messages_max: self.outbox_messages_max,
            rounds: 0,
        }
    }
}

/// Shards, the network before them, and one clock.
pub(crate) struct Cluster {
    pub(crate) network: Network,
    pub(crate) shared: Arc<Shared>,
    /// Clients that act by themselves in every round.
    pub(crate) crowd: Vec<ScriptedClient>,
    /// What passes between two rounds.
    pub(crate) pause: Duration,
    /// What passes on every read of the clock.
    pub(crate) look: Duration,
    /// What else holds after each turn of a shard.
    pub(crate) check: fn(&mut Self, usize),
    /// Rounds that there were.
    pub(crate) rounds: u64,
    /// `None` when it is gone.
    shards: Vec<Option<Shard<Simulated>>>,
    /// By how much the time of day is ahead of the simulated one.
    wall_ahead_ms: i64,
    buffers: u32,
    outbox_messages_max: usize,
}

impl Cluster {
    /// So many shards. Clients need no token, and may do all that anybody may.
    pub(crate) fn of(shards: usize) -> Builder {
        let mut config = Config::default();
        config.client.allow_anonymous_connect_without_token = true;
        (config.echo.enabled, config.broadcast.enabled) = (Some(true), Some(true));
        let channels = &mut config.channel.without_namespace;
        channels.allow_subscribe_for_client = true;
        channels.allow_subscribe_for_anonymous = true;
        channels.allow_publish_for_client = true;
        channels.allow_publish_for_anonymous = true;
        Builder {
            shards,
            network: Network::new(1, Faults::default(), 64 * 1024),
            kernel: SimulatedConfig { lanes: 1, slots_per_lane: 64, buffers: 64, buffer_bytes: 4096 },
            sockets: SocketsConfig { accept_reserve: ACCEPT_RESERVE, ..SocketsConfig::default() },
            mailboxes: MailboxLimits { messages_max: 512, bytes_max: 256 * 1024 },
            budgets: BudgetLimits::all(1 << 30),
            config,
            quantum_ns: None,
            tls: None,
            channel_secret: 7,
            seeds: vec![[7; 32]; shards],
            outbox_messages_max: usize::MAX,
        }
    }

    /// A shard that has not gone.
    pub(crate) fn shard(&mut self, index: usize) -> &mut Shard<Simulated> {
        self.shards[index].as_mut().expect("it has not gone")
    }

    /// Ends a shard in the middle of anything.
    pub(crate) fn drop_shard(&mut self, index: usize) {
        self.shards[index] = None;
    }

    /// A connection to a shard, on which nothing was said yet.
    pub(crate) fn open(&self, shard: usize) -> ScriptedClient {
        ScriptedClient::new(self.network.connect(shard).expect("it listens"))
    }

    /// A WebSocket connection. `fields` are whole header lines.
    pub(crate) fn upgraded(&mut self, shard: usize, path: &str, fields: &str) -> ScriptedClient {
        let mut client = self.open(shard);
        client.upgrade(path, fields);
        self.run_until_heard(&mut client, "HTTP/1.1 101");
        client
    }

    /// A connected client of the Centrifuge protocol, without a token where that is empty.
    pub(crate) fn connected(&mut self, shard: usize, token: &str) -> ScriptedClient {
        let mut client = self.open(shard);
        client.connect(token);
        self.run_until_heard(&mut client, r#""connect":{"client""#);
        client
    }

    /// A channel of this owner.
    pub(crate) fn channel_of(&self, owner: usize) -> String {
        let mut names = (0..).map(|number| format!("c{number}"));
        names.find(|name| self.shared.shard_for(name).index() == owner).expect("names do not run out")
    }

    /// The crowd acts, these shards have a turn each, and time passes.
    pub(crate) fn round(&mut self, shards: &[usize]) {
        self.act();
        shards.iter().for_each(|&shard| self.turn(shard));
        self.rounds += 1;
        self.network.trace().pass(self.pause);
    }

    /// A round in which all shards have a turn.
    pub(crate) fn round_of_all(&mut self) {
        let all: Vec<_> = (0..self.len()).collect();
        self.round(&all);
    }

    /// Time passes, of which some shards have their turns.
    pub(crate) fn serve_some(&mut self, time: Duration, shards: &[usize]) {
        let until = self.network.trace().now() + time;
        while self.network.trace().now() < until {
            self.round(shards);
        }
    }

    /// Time passes, of which all shards have their turns.
    pub(crate) fn serve(&mut self, time: Duration) {
        let all: Vec<_> = (0..self.len()).collect();
        self.serve_some(time, &all);
    }

    /// Time passes in which no shard has a turn.
    pub(crate) fn stall(&mut self, time: Duration) {
        self.network.trace().pass(time);
        self.act();
    }

    /// Rounds of all until something is so. Answers with how many.
    pub(crate) fn run_until(
        &mut self,
        client: &mut ScriptedClient,
        mut is_so: impl FnMut(&mut Self, &ScriptedClient) -> bool,
    ) -> u32 {
        for rounds in 0..ROUNDS_MAX {
            client.step();
            if is_so(self, client) {
                return rounds;
            }
            self.round_of_all();
        }
        panic!("it does not come: {}", client.heard());
    }

    /// Rounds of all until a client has heard a text. Answers with how many.
    pub(crate) fn run_until_heard(&mut self, client: &mut ScriptedClient, text: &str) -> u32 {
        self.run_until(client, |_, client| client.count(text) > 0)
    }

    /// Rounds of all, in which these clients write and read, until nothing is under way any more.
    pub(crate) fn run_until_idle(&mut self, clients: &mut [&mut ScriptedClient]) {
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            let before = self.network.trace().steps();
            clients.iter_mut().for_each(|client| client.step());
            self.round_of_all();
            quiet = if self.is_quiet_since(before) { quiet + 1 } else { 0 };
            if quiet == QUIET_ROUNDS {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// True exactly when one turn of each shard is all that there was since so many steps, and nothing waits in a mailbox.
    pub(super) fn is_quiet_since(&self, steps: u64) -> bool {
        self.network.trace().steps() == steps + self.len() as u64 && self.is_idle()
    }

    fn act(&mut self) {
        self.crowd.iter_mut().for_each(ScriptedClient::act);
    }

    /// Sends a message as the control thread does, if there is room for it.
    pub(super) fn call(&self, message: ToOwner) {
        let home = self.shared.shard_for(message.channel());
        drop(self.shared.mailboxes(home).push_control(Message::ToOwner(message)));
    }

    /// Has something happen to some clients, as the control thread does. True exactly when all shards will know.
    pub(super) fn wish(&self, whom: ClientSelector, wish: ClientCommand) -> bool {
        let (whom, wish) = (Arc::new(whom), Arc::new(wish));
        let pushed = self.shared.all_mailboxes().iter().map(|mailboxes| {
            let (whom, wish, done) = (Arc::clone(&whom), Arc::clone(&wish), oneshot::channel().0);
            mailboxes.push_control(Message::Api(ApiCall::Clients { whom, wish, done })).is_ok()
        });
        // Whatever one has no room for, the others get theirs.
        pushed.filter(|is_pushed| !is_pushed).count() == 0
    }

    /// Sets the time of day, which may be one before 1970.
    pub(crate) fn set_wall_ms(&mut self, since_1970_ms: i64) {
        self.wall_ahead_ms = since_1970_ms - millis(self.network.trace().now());
    }

    /// The time of day.
    pub(super) fn wall_ms(&self) -> i64 {
        millis(self.network.trace().now()) + self.wall_ahead_ms
    }

    /// By how much the time of day is ahead of the simulated one, where that is after 1970.
    pub(super) fn wall_ahead(&self) -> Duration {
        Duration::from_millis(self.wall_ahead_ms.try_into().expect("it is after 1970"))
    }

    /// Shards, those that have gone among them.
    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(Option::is_none)
    }

    /// True exactly when a shard has stopped.
    pub(super) fn is_gone(&self, index: usize) -> bool {
        self.shards[index].is_none()
    }

    /// One turn of a shard, and a look at its books.
    pub(crate) fn turn(&mut self, index: usize) {
        let Some(shard) = &mut self.shards[index] else { return };
        let trace = self.network.trace();
        let next = shard.turn(
            || {
                trace.pass(self.look);
                trace.now()
            },
            || wall(trace.now(), self.wall_ahead_ms),
        );
        let next = next.expect("a simulated ring does not break");
        shard.audit();
        let waiting = u32::try_from(shard.waiting_buffers()).expect("few buffers");
        let free = self.network.buffers_free(index);
        assert!(free + waiting >= self.buffers, "buffers are free or wait: {free}, {waiting}");
        let outbox_messages = shard.outbox_messages();
        assert!(
            outbox_messages <= self.outbox_messages_max,
            "{outbox_messages} messages wait for other shards"
        );
        trace.note("turn", index as u64, u64::from(waiting));
        if next == Next::Gone {
            shard.audit_stopped();
            assert_eq!(self.network.descriptors_held(index), 0, "all descriptors are free");
            assert_eq!(free, self.buffers, "all buffers are free");
            self.shards[index] = None;
        } else {
            (self.check)(self, index);
        }
    }

    /// Bytes that the ledgers have, that mailboxes hold or that go out in the next turns, and connections.
    pub(super) fn accounts(&mut self) -> (u64, u64) {
        let inlets = self.shared.all_mailboxes().iter().flat_map(|mailboxes| mailboxes.inlets());
        let mailboxes = inlets.map(|inlet| inlet.bytes()).sum();
        let shards = self.shards.iter_mut().flatten();
        shards.map(Shard::accounts).fold((mailboxes, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    }

    /// True exactly when no message is on its way between shards.
    pub(super) fn is_idle(&self) -> bool {
        let mut shards = self.shards.iter().flatten();
        shards.all(|shard| shard.outbox_messages() == 0)
            && self.shared.all_mailboxes().iter().all(|mailboxes| mailboxes.is_empty())
    }

    /// Nothing is under way: what is counted on one shard for clients of others is right.
    pub(super) fn check_at_rest(&self) {
        let leases = self.shards.iter().flatten().map(Shard::leases);
        let (taken, held) = leases.fold((0, 0), |sum, leases| (sum.0 + leases.0, sum.1 + leases.1));
        assert_eq!(taken, held, "whoever is counted holds a lease");
    }

    /// Sessions of polls.
    pub(super) fn polls(&mut self) -> usize {
        self.shards.iter_mut().flatten().map(Shard::poll_sessions).sum()
    }

    /// Has all shards told to stop.
    pub(super) fn order_stop(&self, order: StopOrder) {
        self.shared.stop(order);
    }

    /// Writes what all shards have counted into the trace, by name: a counter that is new or moves changes nothing.
    pub(super) fn note_counters(&self) {
        let counters = CATALOG.iter().filter(|family| family.kind == Kind::Counter);
        let mut counters: Vec<_> = counters
            .flat_map(|of| of.metrics.iter().map(|&(metric, label)| (of.name, label, metric)))
            .collect();
        counters.sort_unstable_by_key(|&(name, label, _)| (name, label));
        let trace = self.network.trace();
        for (name, label, metric) in counters {
            for (shard, published) in (0..).zip(self.shared.metrics()) {
                let count = published.get(metric);
                if count > 0 {
                    trace.note_bytes(name.as_bytes());
                    trace.note_bytes(label.as_bytes());
                    trace.note("counted", shard, count);
                }
            }
        }
    }

    /// A number of all shards together.
    pub(crate) fn count(&self, metric: Metric) -> u64 {
        self.shared.metrics().iter().map(|published| published.get(metric)).sum()
    }
}

/// The time of day; before 1970 it is 1970.
fn wall(now: Duration, ahead_ms: i64) -> Duration {
    let ahead = Duration::from_millis(ahead_ms.unsigned_abs());
    if ahead_ms < 0 { now.saturating_sub(ahead) } else { now + ahead }
}

/// Whole milliseconds.
pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).expect("some thousand years")
}
