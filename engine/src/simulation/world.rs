//! World: shards on simulated kernels, their clients, one clock; from the first connection to the last goodbye.

use std::{sync::Arc, time::Duration};

use holdfast_protocol::{
    http::HeadLimits,
    websocket::{DecoderConfig, Role},
};
use holdfast_ring::{
    Kernel as _, Sockets, SocketsConfig,
    simulated::{Faults, Network, Simulated, SimulatedConfig, Watch, listener},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    actor::{Actor, Scene},
    caller::Caller,
    client::{Client, HISTORY_SIZE},
    echo::Echo,
    ledger::Ledger,
    member::Member,
    nuisance::Nuisance,
};
use crate::{
    config::{Config, Namespace, NamespaceOptions},
    metrics::{CloseReason, Metric},
    peers::{Message, Peers, Shared},
    rules::Rules,
    shard::{Next, Settings, Shard, StopOrder},
};

/// Rounds after which what was begun must have ended.
const ROUNDS_MAX: u32 = 20_000;

/// Rounds without a step in which nothing is under way any more.
const QUIET_ROUNDS: u32 = 60;

/// A multishot accept is ended with so many places left: as many as may come in the turn before that is noticed and in
/// the one in which it takes effect.
const ACCEPT_RESERVE: u32 = 16;

struct World {
    random: SmallRng,
    network: Network,
    shared: Arc<Shared>,
    /// `None` when it is gone.
    shards: Vec<Option<Shard<Simulated>>>,
    witness: Client,
    actors: Vec<Box<dyn Actor>>,
    ledger: Ledger,
    buffers: u32,
    outbox_messages_max: usize,
    /// A shard that seldom gets its turn, so that the other one has to wait for it.
    lazy: Option<usize>,
    /// True exactly when the clock may jump.
    jumps: bool,
    /// Shards that have not been told to stop yet.
    stop_left: Vec<usize>,
    is_ending: bool,
}

/// One simulation: its hash, and how much was heard in it.
pub(super) fn run(seed: u64) -> (u64, u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let faults = Faults::any(&mut random);
    let network = Network::new(random.random(), faults, random.random_range(64..8192));
    let _watch = Watch::new(seed, network.trace());
    let mut world = World::new(random, network);
    world.bring_in_the_witness();
    world.gather();
    for _ in 0..world.random.random_range(300..2000) {
        world.step();
    }
    world.network.set_faults(Faults {
        late: faults.late,
        short_read: faults.short_read,
        ..Faults::default()
    });
    if world.random.random_bool(0.7) {
        world.settle();
        world.check_complete();
    }
    // Else the stop comes under load.
    world.stop();
    (world.network.trace().hash(), world.ledger.heard)
}

/// Clients of one core publish in channels whose home is the other one, which gets no turn meanwhile.
pub(super) fn flood(seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let network = Network::new(random.random(), Faults::default(), 4096);
    let _watch = Watch::new(seed, network.trace());
    let mut world = World::new(random, network);
    if world.shards.len() < 2 {
        return;
    }
    world.bring_in_the_witness();
    world.actors = (0..20).map(|_| Box::new(Client::default()) as Box<dyn Actor>).collect();
    for _ in 0..1_000 {
        (0..world.actors.len()).for_each(|actor| world.act(Some(actor)));
        world.turn(0);
        world.tell_time(Duration::from_micros(100));
    }
    world.settle();
    world.check_complete();
    world.stop();
}

impl World {
    fn new(mut random: SmallRng, network: Network) -> Self {
        let count = random.random_range(1..=2);
        let buffers = random.random_range(2..24);
        let buffer_bytes = random.random_range(16..2048);
        let kernel = SimulatedConfig {
            lanes: random.random_range(1..=2),
            slots_per_lane: random.random_range(10..40),
            buffers,
            buffer_bytes,
        };
        let sockets_config = SocketsConfig {
            joined_bytes_max: random.random_range(64..8192),
            turn_writes_max: random.random_range(1..40),
            accept_reserve: ACCEPT_RESERVE,
        };
        let kernels: Vec<_> = (0..count).map(|_| Simulated::new(&network, &kernel)).collect();
        let bells = kernels.iter().map(Simulated::doorbell).collect();
        let mailbox_messages_max = random.random_range(1..64);
        let shared = Arc::new(Shared::new(
            bells,
            mailbox_messages_max,
            random.random(),
            crate::backend::queue(1).0,
            crate::limits::Tables::new(count, 0),
        ));
        let config = config();
        let settings = settings(&mut random);
        let shards = kernels.into_iter().enumerate().map(|(index, kernel)| {
            let mut sockets = Sockets::new(kernel, sockets_config.clone());
            sockets.listen(listener());
            let rules = Rules::new(&config, "node".into());
            let peers = Peers::new(Arc::clone(&shared));
            let began_wall = Duration::from_secs(1_700_000_000);
            Some(Shard::new(index, settings.clone(), rules, sockets, peers, began_wall, random.random()))
        });
        let shards: Vec<_> = shards.collect();
        Self {
            jumps: random.random_bool(0.2),
            lazy: random.random_bool(0.3).then_some(count - 1),
            random,
            network,
            shared,
            shards,
            witness: Client::witness(),
            actors: Vec::new(),
            ledger: Ledger::default(),
            buffers,
            // What one turn's receive buffers hold, at forty bytes a command, what waits in this core's mailbox, and the
            // answers to both.
            outbox_messages_max: 200 + 2 * buffers as usize * buffer_bytes / 40,
            stop_left: Vec::new(),
            is_ending: false,
        }
    }

    /// Before anybody publishes, somebody listens who will miss nothing.
    fn bring_in_the_witness(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if self.witness.hears_histories() {
                return;
            }
            self.act(None);
            (0..self.shards.len()).for_each(|shard| self.turn(shard));
            self.tell_time(Duration::from_millis(1));
        }
        panic!("the witness does not get in");
    }

    fn gather(&mut self) {
        for _ in 0..self.random.random_range(1..14) {
            let actor: Box<dyn Actor> = match self.random.random_range(0..10) {
                0..2 => Box::new(Echo::default()),
                2..5 => Box::new(Member::default()),
                5..8 => Box::new(Client::default()),
                8 => Box::new(Caller::default()),
                _ => Box::new(Nuisance::default()),
            };
            self.actors.push(actor);
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..45 => {
                let shard = self.random.random_range(0..self.shards.len());
                if self.lazy != Some(shard) || self.random.random_bool(0.01) {
                    self.turn(shard);
                }
            }
            45..88 => {
                for _ in 0..self.random.random_range(1..5) {
                    let actor = self.random.random_range(0..self.actors.len());
                    self.act(Some(actor));
                }
            }
            88..92 => self.act(None),
            92..99 => {
                let time = Duration::from_micros(self.random.random_range(0..4_000));
                self.tell_time(time);
            }
            _ if self.jumps => {
                let time = Duration::from_millis(self.random.random_range(10..40_000));
                self.ledger.has_jumped = true;
                self.network.trace().note("the clock jumps", 0, time.as_secs());
                self.tell_time(time);
            }
            _ => {}
        }
    }

    fn tell_time(&self, time: Duration) {
        self.network.trace().pass(time);
    }

    /// The witness acts, or another one.
    fn act(&mut self, actor: Option<usize>) {
        let Self { random, network, ledger, .. } = self;
        let hosts = self.shards.len();
        let mut scene = Scene { network, hosts, random, ledger, is_ending: self.is_ending };
        match actor {
            Some(actor) => self.actors[actor].act(&mut scene),
            None => self.witness.act(&mut scene),
        }
    }

    fn turn(&mut self, index: usize) {
        let Some(shard) = &mut self.shards[index] else { return };
        let trace = self.network.trace();
        let next = shard.turn(|| {
            trace.pass(Duration::from_micros(7));
            trace.now()
        });
        let next = next.expect("a simulated ring does not break");
        shard.audit();
        let waiting = u32::try_from(shard.waiting_events()).expect("few events");
        let free = self.network.buffers_free(index);
        assert!(free + waiting >= self.buffers, "buffers are free or in an event: {free}, {waiting}");
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
        }
    }

    /// Everybody reads, nobody begins anything, until nothing moves.
    fn settle(&mut self) {
        self.is_ending = true;
        // Accepting goes on a second after an error.
        self.tell_time(Duration::from_millis(1_100));
        let trace = self.network.trace();
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            let before = trace.steps();
            (0..self.actors.len()).for_each(|actor| self.act(Some(actor)));
            self.act(None);
            (0..self.shards.len()).for_each(|shard| self.turn(shard));
            self.tell_time(Duration::from_micros(10));
            let turns = self.shards.len() as u64;
            quiet = if trace.steps() == before + turns { quiet + 1 } else { 0 };
            if quiet == QUIET_ROUNDS {
                self.ledger.are_all_in = (0..self.shards.len()).all(|host| self.network.backlog(host) == 0);
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn check_complete(&self) {
        let everybody = || self.actors.iter().map(|actor| &**actor).chain([&self.witness as &dyn Actor]);
        let hearings: Vec<_> = everybody().flat_map(Actor::hearings).collect();
        everybody().for_each(|actor| actor.check_complete(&self.ledger, &hearings));
        self.ledger.check_acknowledged();
        let slow = self.closed(CloseReason::Slow);
        let unexplained = self.ledger.unexplained;
        assert!(unexplained <= slow, "{unexplained} connections end without a word, {slow} of them as slow");
    }

    fn closed(&self, reason: CloseReason) -> u64 {
        self.shared.metrics.iter().map(|published| published.get(Metric::Closed(reason))).sum()
    }

    /// All are sent away, and nothing is left.
    fn stop(&mut self) {
        self.ledger.is_stopping = true;
        self.network.trace().note("stop", 0, 0);
        self.stop_left = (0..self.shards.len()).collect();
        let patience = self.random.random_range(0..500);
        for round in 0..ROUNDS_MAX {
            self.stop_left.retain(|&shard| {
                let message = Message::Stop(StopOrder::at_once(Duration::from_secs(2)));
                self.shared.mailboxes[shard].push(message).is_err()
            });
            self.is_ending |= round > patience;
            (0..self.actors.len()).for_each(|actor| self.act(Some(actor)));
            self.act(None);
            (0..self.shards.len()).for_each(|shard| self.turn(shard));
            self.tell_time(Duration::from_millis(1));
            if self.shards.iter().all(Option::is_none) {
                return;
            }
        }
        panic!("the shards do not stop");
    }
}

fn settings(random: &mut SmallRng) -> Settings {
    let queue_bytes_max = random.random_range(4_000..200_000);
    Settings {
        handshake_ms: 10_000,
        ping_interval_ms: 25_000,
        pong_ms: 8_000,
        close_ms: 3_000,
        connections_max: 1_000,
        paused_queue_bytes: queue_bytes_max / 4,
        queue_bytes_max,
        history_bytes_max: 64 << 20,
        idempotency_ms: 60_000,
        head: HeadLimits::default(),
        decoder: DecoderConfig { role: Role::Server, message_bytes_max: 65_536, frame_bytes_max: 65_536 },
        deflate: None,
        queue_pieces_max: 10_000,
        queue_budget_bytes: 64 << 20,
        receive_budget_bytes: 64 << 20,
    }
}

/// Anybody may do anything; channels of `hist` keep a history.
fn config() -> Config {
    let mut config = Config::default();
    config.client.allow_anonymous_connect_without_token = true;
    let plain = NamespaceOptions {
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_client: true,
        allow_publish_for_anonymous: true,
        ..config.channel.without_namespace.clone()
    };
    let history = NamespaceOptions {
        history_publications_max: u32::try_from(HISTORY_SIZE).expect("a small number"),
        history_ttl_ms: 3_600_000,
        allow_recovery: true,
        ..plain.clone()
    };
    config.channel.without_namespace = plain;
    config.channel.namespaces = vec![Namespace { name: "hist".into(), options: history }];
    config
}
