//! World: shards, their clients, one clock; from the first connection to the last goodbye.

use std::time::Duration;

use holdfast_protocol::client::Format;
use holdfast_ring::simulated::{Faults, Network, Watch};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    actor::{Actor, Scene},
    caller::Caller,
    client::{Client, Transport},
    echo::Echo,
    house::House,
    ledger::{Ledger, Stop},
    member::Member,
    nuisance::Nuisance,
    terms::Terms,
};
use crate::{
    metrics::{CloseReason, Metric, RefusalReason},
    shard::StopOrder,
};

/// Rounds after which what was begun must have ended.
const ROUNDS_MAX: u32 = 20_000;

/// Rounds without a step in which nothing is under way any more.
const QUIET_ROUNDS: u32 = 60;

/// The longest life of a session that is waited for.
const OUTLIVED_MAX: Duration = Duration::from_secs(4);

/// How much later than its deadline a stop may be over: some turns, of which each may be late.
const STOP_SLACK: Duration = Duration::from_secs(1);

struct World {
    random: SmallRng,
    network: Network,
    terms: Terms,
    house: House,
    witness: Client,
    actors: Vec<Box<dyn Actor>>,
    ledger: Ledger,
    /// A shard that seldom gets its turn, so that the others have to wait for it.
    lazy: Option<usize>,
    /// True exactly when the clock may jump.
    jumps: bool,
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
        world.outlive_polls();
    }
    // Else the stop comes under load.
    world.stop();
    (world.network.trace().hash(), world.ledger.heard)
}

/// Clients of one core publish in channels whose home is another one, which gets no turn meanwhile.
pub(super) fn flood(seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let network = Network::new(random.random(), Faults::default(), 4096);
    let _watch = Watch::new(seed, network.trace());
    let mut world = World::new(random, network);
    if world.house.len() < 2 {
        return;
    }
    world.bring_in_the_witness();
    world.actors = (0..20).map(|_| Box::new(Client::default()) as Box<dyn Actor>).collect();
    for _ in 0..1_000 {
        (0..world.actors.len()).for_each(|actor| world.act(Some(actor)));
        world.turn(0);
        world.pass(Duration::from_micros(100));
    }
    world.settle();
    world.check_complete();
    world.stop();
}

/// Clients of one core leave at some pace, while nobody is left on the others, which are the homes of their channels.
pub(super) fn drain(seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let network = Network::new(random.random(), Faults::default(), 4096);
    let _watch = Watch::new(seed, network.trace());
    let mut world = World::new(random, network);
    world.terms.hosts = 1;
    world.bring_in_the_witness();
    let client = || Client::over(Transport::WebSocket(Format::Protobuf)).steady();
    world.actors = (0..2).map(|_| Box::new(client()) as Box<dyn Actor>).collect();
    for _ in 0..300 {
        world.act_all();
        world.turn_all();
        world.pass(Duration::from_millis(1));
    }
    let (told, gone) = (Duration::from_secs(6), Duration::from_secs(8));
    world.stop_by(StopOrder { told_within: told, gone_within: gone, successors: 0 }, |world| {
        let now = world.network.trace().now();
        world.actors.iter().for_each(|actor| actor.check_prompt(now, Duration::from_secs(2)));
    });
}

impl World {
    fn new(mut random: SmallRng, network: Network) -> Self {
        let terms = Terms::new(&mut random);
        let house = House::new(&terms, &network, &mut random);
        Self {
            jumps: random.random_bool(0.2),
            lazy: random.random_bool(0.3).then_some(terms.shards - 1),
            random,
            network,
            terms,
            house,
            witness: Client::witness(),
            actors: Vec::new(),
            ledger: Ledger::default(),
            is_ending: false,
        }
    }

    /// Before anybody publishes, somebody listens who will miss nothing.
    fn bring_in_the_witness(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if self.witness.hears_all() {
                return;
            }
            self.act(None);
            self.turn_all();
            self.pass(Duration::from_millis(1));
        }
        panic!("the witness does not get in");
    }

    fn gather(&mut self) {
        for _ in 0..self.random.random_range(1..14) {
            let actor: Box<dyn Actor> = match self.random.random_range(0..12) {
                0..2 => Box::new(Echo::default()),
                2..4 => Box::new(Member::default()),
                4..10 => Box::new(Client::default()),
                10 => Box::new(Caller::default()),
                _ => Box::new(Nuisance::default()),
            };
            self.actors.push(actor);
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..45 => {
                let shard = self.random.random_range(0..self.house.len());
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
                self.pass(time);
            }
            _ if self.jumps => {
                let time = Duration::from_millis(self.random.random_range(10..40_000));
                self.ledger.has_jumped = true;
                self.network.trace().note("the clock jumps", 0, time.as_secs());
                self.pass(time);
            }
            _ => {}
        }
    }

    fn pass(&self, time: Duration) {
        self.network.trace().pass(time);
    }

    /// The witness acts, or another one.
    fn act(&mut self, actor: Option<usize>) {
        let Self { random, network, terms, ledger, .. } = self;
        let mut scene = Scene { network, terms, random, ledger, is_ending: self.is_ending };
        match actor {
            Some(actor) => self.actors[actor].act(&mut scene),
            None => self.witness.act(&mut scene),
        }
    }

    fn turn(&mut self, shard: usize) {
        self.house.turn(shard, &mut self.random);
    }

    fn act_all(&mut self) {
        (0..self.actors.len()).for_each(|actor| self.act(Some(actor)));
        self.act(None);
    }

    fn turn_all(&mut self) {
        (0..self.house.len()).for_each(|shard| self.turn(shard));
    }

    /// Everybody reads, nobody begins anything, until nothing moves.
    fn settle(&mut self) {
        self.is_ending = true;
        self.house.be_ready();
        self.come_to_rest();
        if self.terms.secrets.is_some() {
            // Under TLS, a refusal is but an end, a second later.
            self.come_to_rest();
        }
    }

    /// A second and more passes.
    fn come_to_rest(&mut self) {
        // Accepting goes on a second after an error.
        self.pass(Duration::from_millis(1_100));
        let trace = self.network.trace();
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            let before = trace.steps();
            self.act_all();
            self.turn_all();
            self.pass(Duration::from_micros(10));
            let turns = self.house.len() as u64;
            quiet = if trace.steps() == before + turns { quiet + 1 } else { 0 };
            if quiet == QUIET_ROUNDS {
                self.ledger.are_all_in = (0..self.house.len()).all(|host| self.network.backlog(host) == 0);
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
        self.house.check_at_rest();
        let users: Vec<_> = everybody().filter_map(Actor::user).collect();
        for user in &users {
            let connections = users.iter().filter(|other| *other == user).count();
            let max = self.terms.user_connections_max();
            assert!(connections <= max, "user {user} has {connections} connections, and may have {max}");
        }
        if !self.ledger.has_lost_witness {
            self.ledger.orders.check();
        }
        self.check_ends();
    }

    /// Sessions whose clients have gone end, sooner or later; those whose clients poll go on.
    fn outlive_polls(&mut self) {
        let ttl = self.terms.poll_session_ttl();
        if ttl > OUTLIVED_MAX {
            return;
        }
        let until = self.network.trace().now() + ttl;
        while self.network.trace().now() < until {
            self.come_to_rest();
        }
        let living = self.actors.iter().filter(|actor| actor.polls()).count();
        let sessions = self.house.polls();
        assert!(sessions <= living, "{sessions} sessions are left, and {living} clients poll");
        self.check_complete();
    }

    /// Who is cut off without a word had it coming.
    fn check_ends(&self) {
        let slow = self.house.count(Metric::Closed(CloseReason::Slow));
        // Under TLS, nothing can be said to who has only just come.
        let has_words = self.terms.secrets.is_none();
        let refused = self.house.count(Metric::Refused(RefusalReason::Capacity));
        let explained = slow + if has_words { 0 } else { refused };
        let unexplained = self.ledger.unexplained;
        assert!(
            unexplained <= explained,
            "{unexplained} connections end without a word, and {explained} may"
        );
    }

    /// All are sent away, at once or at some pace, and nothing is left.
    fn stop(&mut self) {
        let told_ms = if self.random.random_bool(0.5) { 0 } else { self.random.random_range(0..3_000) };
        let gone_ms = told_ms + self.random.random_range(500..3_000);
        let order = StopOrder {
            told_within: Duration::from_millis(told_ms),
            gone_within: Duration::from_millis(gone_ms),
            successors: self.random.random_range(0..3),
        };
        let patience = self.random.random_range(0..500);
        let mut round = 0;
        self.stop_by(order, |world| {
            round += 1;
            world.is_ending |= round > patience;
        });
    }

    fn stop_by(&mut self, order: StopOrder, mut every_round: impl FnMut(&mut Self)) {
        let trace = self.network.trace();
        trace.note("stop", 0, u64::try_from(order.gone_within.as_millis()).expect("soon"));
        self.ledger.stop = Some(Stop { deadline: trace.now() + order.gone_within });
        let mut stop_left: Vec<usize> = (0..self.house.len()).collect();
        let mut deadline = trace.now();
        for _ in 0..ROUNDS_MAX {
            every_round(self);
            if !stop_left.is_empty() {
                stop_left.retain(|&shard| !self.house.order_stop(shard, order));
                deadline = trace.now() + order.gone_within + STOP_SLACK;
            }
            self.act_all();
            self.turn_all();
            if self.house.is_empty() {
                return self.check_ends();
            }
            assert!(trace.now() < deadline, "the deadline is kept");
            let time = Duration::from_micros(self.random.random_range(100..20_000));
            self.pass(time);
        }
        panic!("the shards do not stop");
    }
}
