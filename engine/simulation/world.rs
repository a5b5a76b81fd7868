//! World: shards, their clients, one clock.
//!
//! In:  a seed; what a course of events asks for (`course`).
//! Out: steps, rests and stops; at rest, a look at what everybody has heard.

use std::time::Duration;

use holdfast_ring::simulated::Network;
use rand::{Rng, rngs::SmallRng};

use super::{
    actor::{Actor, StepContext},
    caller::HalfClosingPeer,
    client::Client,
    cluster::{Cluster, millis},
    config::{SimConfig, channels},
    deflate,
    echo::Echo,
    member::Member,
    nuisance::FuzzPeer,
    operator::Operator,
    oracle::{Oracle, Stop},
    reluctance::{self, Reluctance},
};
use crate::{
    hub::message::Answer,
    mesh::StopOrder,
    metrics::{CloseReason, Metric, RefusalReason},
};

/// Rounds after which what was begun must have ended.
const ROUNDS_MAX: u32 = 20_000;

/// Rounds without a step in which nothing is under way any more.
const QUIET_ROUNDS: u32 = 60;

/// The longest life of a session that is waited for.
const OUTLIVED_MAX: Duration = Duration::from_secs(7);

/// The longest that passes between two rounds of a stop.
const STOP_ROUND_MAX: Duration = Duration::from_millis(20);

/// How long the daemon waits for its last words to go out, at least (`conn/write.rs`).
const LINGER: Duration = Duration::from_secs(1);

/// What a shard takes for now may be so much ago.
const TICK: Duration = Duration::from_millis(crate::time::TICK_MS);

/// What passes between two turns of a shard that serves: it is late for none of them.
const BETWEEN_TURNS: Duration = Duration::from_millis(90);

/// How often and how long time passes under load where something may expire: together less than what is waited for a pong.
const LAPSES_MAX: u32 = 3;
const LAPSE_MS_MAX: u64 = 2_000;

/// How much later than its deadline a stop may be over: some turns, of which each may be late.
const STOP_SLACK: Duration = Duration::from_secs(1);

pub(super) struct World {
    pub(super) random: SmallRng,
    pub(super) network: Network,
    pub(super) terms: SimConfig,
    pub(super) cluster: Cluster,
    reluctance: Reluctance,
    witness: Client,
    operator: Operator,
    pub(super) actors: Vec<Box<dyn Actor>>,
    pub(super) ledger: Oracle,
    /// A shard that seldom gets its turn, so that the others have to wait for it.
    lazy: Option<usize>,
    /// True exactly when the clock may jump.
    jumps: bool,
    /// How often some time may still pass under load.
    lapses: u32,
    is_ending: bool,
}

impl World {
    /// With the terms of the seed, changed by `change`.
    pub(super) fn new(mut random: SmallRng, network: Network, change: impl FnOnce(&mut SimConfig)) -> Self {
        deflate::begin();
        let mut terms = SimConfig::new(&mut random);
        change(&mut terms);
        if terms.secrets.is_some() {
            network.trace().ignore_carried_bytes();
        }
        let (cluster, reluctance) = reluctance::any(&terms, &network, &mut random);
        let mut ledger = Oracle::default();
        ledger.emptied.extend(terms.soon_empty());
        Self {
            operator: Operator::new(&mut ledger),
            jumps: random.random_bool(0.2),
            lapses: if terms.expires { LAPSES_MAX } else { 0 },
            lazy: random.random_bool(0.3).then_some(terms.shards - 1),
            random,
            network,
            terms,
            cluster,
            reluctance,
            witness: Client::witness(),
            actors: Vec::new(),
            ledger,
            is_ending: false,
        }
    }

    /// Before anybody publishes, somebody listens who will miss nothing.
    pub(super) fn bring_in_the_witness(&mut self) {
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

    pub(super) fn gather(&mut self) {
        for _ in 0..self.random.random_range(1..14) {
            let actor: Box<dyn Actor> = match self.random.random_range(0..12) {
                0..2 => Box::new(Echo::default()),
                2..4 => Box::new(Member::default()),
                4..10 => Box::new(Client::default()),
                10 => Box::new(HalfClosingPeer::default()),
                _ => Box::new(FuzzPeer::default()),
            };
            self.actors.push(actor);
        }
    }

    pub(super) fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..45 => {
                let shard = self.random.random_range(0..self.cluster.len());
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
            88..91 => self.act(None),
            91..93 => {
                self.operator.act(
                    &self.cluster,
                    &self.network,
                    &self.terms,
                    &mut self.ledger,
                    &mut self.random,
                );
            }
            93..99 => {
                let time = Duration::from_micros(self.random.random_range(0..4_000));
                self.pass(time);
            }
            _ if self.lapses > 0 && (!self.jumps || self.random.random_bool(0.3)) => {
                self.lapses -= 1;
                let time = Duration::from_millis(self.random.random_range(0..LAPSE_MS_MAX));
                self.serve(time);
            }
            _ if self.jumps => {
                let time = Duration::from_millis(self.random.random_range(10..40_000));
                self.ledger.has_jumped = true;
                self.network.trace().note("the clock jumps", 0, time.as_secs());
                self.pass(time);
                self.step_wall();
                let now = self.network.trace().now();
                self.ledger.clock.jumped(time, self.cluster.wall_ahead(), now);
            }
            _ => {}
        }
    }

    /// The time of day is set, forward or back, by up to a month: nothing may go by it but tokens.
    fn step_wall(&mut self) {
        let step = Duration::from_secs(self.random.random_range(0..30 * 86_400));
        let wall_ms = self.cluster.wall_ms();
        let is_forward = self.random.random_bool(0.5);
        self.cluster.set_wall_ms(if is_forward { wall_ms + millis(step) } else { wall_ms - millis(step) });
    }

    pub(super) fn pass(&self, time: Duration) {
        self.network.trace().pass(time);
    }

    /// Lets time pass in which all shards have their turns, and clients read: who is refused has a second for that.
    pub(super) fn serve(&mut self, time: Duration) {
        let until = self.network.trace().now() + time;
        while self.network.trace().now() < until {
            self.act_all();
            self.turn_all();
            self.pass(BETWEEN_TURNS);
        }
    }

    /// The witness acts, or another one.
    pub(super) fn act(&mut self, actor: Option<usize>) {
        let Self { random, network, terms, ledger, .. } = self;
        let mut scene = StepContext { network, terms, random, ledger, is_ending: self.is_ending };
        match actor {
            Some(actor) => self.actors[actor].act(&mut scene),
            None => self.witness.act(&mut scene),
        }
    }

    pub(super) fn turn(&mut self, shard: usize) {
        self.reluctance.turn(&mut self.cluster, shard, &mut self.random);
    }

    pub(super) fn act_all(&mut self) {
        (0..self.actors.len()).for_each(|actor| self.act(Some(actor)));
        self.act(None);
    }

    pub(super) fn turn_all(&mut self) {
        (0..self.cluster.len()).for_each(|shard| self.turn(shard));
    }

    /// Everybody reads, nobody begins anything, until nothing moves.
    pub(super) fn settle(&mut self) {
        self.is_ending = true;
        self.reluctance.end();
        // Under TLS, a refusal is but an end, a second later; and then others are let in, or refused.
        loop {
            let refused = self.refused();
            self.come_to_rest();
            if self.terms.secrets.is_none() || self.refused() == refused {
                return;
            }
        }
    }

    /// Connections that were refused.
    fn refused(&self) -> u64 {
        let reasons = [RefusalReason::Capacity, RefusalReason::Request];
        reasons.into_iter().map(|reason| self.cluster.count(Metric::Refused(reason))).sum()
    }

    /// Time passes until all that has expired has ended.
    pub(super) fn outlive_leases(&mut self) {
        if !self.terms.expires {
            return;
        }
        let calm_since = self.network.trace().now();
        let time = Duration::from_millis(self.random.random_range(1_000..8_000));
        self.serve(time);
        self.come_to_rest();
        let Self { random, network, terms, ledger, .. } = self;
        let scene = StepContext { network, terms, random, ledger, is_ending: true };
        self.actors.iter().for_each(|actor| actor.check_overdue(calm_since, &scene));
        self.check_complete();
    }

    /// A second and more passes.
    fn come_to_rest(&mut self) {
        // Accepting goes on a second after an error.
        self.serve(Duration::from_millis(1_100));
        self.await_quiet();
    }

    fn await_quiet(&mut self) {
        let trace = self.network.trace();
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            let before = trace.steps();
            self.act_all();
            self.turn_all();
            self.pass(Duration::from_micros(10));
            quiet = if self.cluster.is_quiet_since(before) { quiet + 1 } else { 0 };
            if quiet == QUIET_ROUNDS {
                self.ledger.are_all_in = (0..self.cluster.len()).all(|host| self.network.backlog(host) == 0);
                return;
            }
        }
        panic!("it does not come to rest");
    }

    pub(super) fn check_complete(&mut self) {
        self.ask_who_is_there();
        while self.terms.expires {
            // Something may have expired while it was asked, and its client does not know yet.
            let before = self.ledger.members.clone();
            self.await_quiet();
            self.ask_who_is_there();
            if self.ledger.members == before {
                break;
            }
        }
        let everybody = || self.actors.iter().map(|actor| &**actor).chain([&self.witness as &dyn Actor]);
        let hearings: Vec<_> = everybody().flat_map(Actor::hearings).collect();
        everybody().for_each(|actor| actor.check_complete(&self.ledger, &hearings));
        self.ledger.check_acknowledged();
        self.cluster.check_at_rest();
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

    /// Asks the server API who is in which channel, of one after the other: a mailbox may have room for one message alone.
    fn ask_who_is_there(&mut self) {
        for channel in channels() {
            let mut answer = self.operator.ask_presence(&self.cluster, channel);
            self.turn_all();
            let Ok(Ok(Answer::Presence(members))) = answer.try_recv() else {
                panic!("who is in {channel} is not answered: {answer:?}")
            };
            let members = members.iter().map(|member| member.client.to_string());
            self.ledger.members.insert(channel, members.collect());
        }
    }

    /// Sessions whose clients have gone end, sooner or later; those whose clients poll go on.
    pub(super) fn outlive_polls(&mut self) {
        // A poll waits to its end, whether or not its connection lives.
        let longest = self.terms.poll_wait() + self.terms.poll_session_ttl();
        if longest > OUTLIVED_MAX {
            return;
        }
        let polling = |world: &Self| world.actors.iter().filter(|actor| actor.polls()).count();
        let before = polling(self);
        // It ends when all shards have been asked whether the next poll has come to them.
        let until = self.network.trace().now() + longest + Duration::from_secs(1);
        while self.network.trace().now() < until {
            self.come_to_rest();
        }
        // Of what has expired meanwhile, the last words are kept.
        let living = if self.terms.expires { before } else { polling(self) };
        let sessions = self.cluster.polls();
        assert!(sessions <= living, "{sessions} sessions are left, and {living} clients poll");
        self.check_complete();
    }

    /// Who is cut off without a word had it coming.
    fn check_ends(&self) {
        let slow = self.cluster.count(Metric::Closed(CloseReason::Slow));
        // Under TLS, nothing can be said to who has only just come.
        let has_words = self.terms.secrets.is_none();
        let refused = self.cluster.count(Metric::Refused(RefusalReason::Capacity));
        let explained = slow + if has_words { 0 } else { refused };
        let unexplained = self.ledger.unexplained;
        assert!(
            unexplained <= explained,
            "{unexplained} connections end without a word, and {explained} may"
        );
    }

    /// All are sent away, at once or at some pace, and nothing is left.
    pub(super) fn stop(&mut self) {
        let told_ms = if self.random.random_bool(0.5) { 0 } else { self.random.random_range(0..3_000) };
        let gone_ms = told_ms + self.random.random_range(500..3_000);
        let order = StopOrder {
            notify_within: Duration::from_millis(told_ms),
            close_within: Duration::from_millis(gone_ms),
            successors: self.random.random_range(0..3),
        };
        let patience = self.random.random_range(0..500);
        let mut round = 0;
        self.stop_by(order, |world| {
            round += 1;
            world.is_ending |= round > patience;
        });
    }

    pub(super) fn stop_by(&mut self, order: StopOrder, mut every_round: impl FnMut(&mut Self)) {
        let trace = self.network.trace();
        trace.note("stop", 0, u64::try_from(order.close_within.as_millis()).expect("soon"));
        // A turn of each side for every pipe that is full.
        let flush = STOP_ROUND_MAX
            * u32::try_from(
                self.terms.config.client.queue_max_size_bytes as usize / self.network.pipe_bytes(),
            )
            .expect("small");
        let patience = if flush > LINGER { LINGER.min(order.close_within) } else { order.close_within };
        self.ledger.stop = Some(Stop { cuts_from: trace.now() + patience - TICK });
        self.cluster.order_stop(order);
        let deadline = trace.now() + order.close_within + STOP_SLACK;
        for _ in 0..ROUNDS_MAX {
            every_round(self);
            self.act_all();
            self.turn_all();
            if self.cluster.is_empty() {
                return self.check_ends();
            }
            assert!(trace.now() < deadline, "the deadline is kept");
            let time = self.random.random_range(Duration::ZERO..STOP_ROUND_MAX);
            self.pass(time);
        }
        panic!("the shards do not stop");
    }
}
