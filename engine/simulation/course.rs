//! Course: what happens in a simulation, from the first connection to the last goodbye.
//!
//! In:  seeds.
//! Out: a panic, where something does not hold.

use std::time::Duration;

use holdfast_protocol::client::Format;
use holdfast_ring::simulated::{Faults, Network, Watch};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    actor::Actor,
    client::{Client, Transport},
    config::{LOSSY, SimConfig},
    world::World,
};
use crate::{
    mesh::StopOrder,
    metrics::{CloseReason, Metric},
};

/// What has come of a seed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) hash: u64,
    /// How much was heard in it, and how much of that came as patches.
    pub(super) heard: u64,
    pub(super) patches: u64,
}

/// Anything, at random.
pub(super) fn run(seed: u64) -> Run {
    let mut random = SmallRng::seed_from_u64(seed);
    let faults = Faults::any(&mut random);
    let network = Network::new(random.random(), faults, random.random_range(64..8192));
    let _watch = Watch::new(seed, network.trace());
    let mut world = World::new(random, network, |_| {});
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
        world.outlive_leases();
        world.outlive_polls();
    }
    // Else the stop comes under load.
    world.stop();
    world.cluster.note_counters();
    Run { hash: world.network.trace().hash(), heard: world.ledger.heard, patches: world.ledger.patches }
}

/// A world without faults, in which nothing expires, and the witness listens.
fn with_world(seed: u64, change: impl FnOnce(&mut SimConfig), happen: impl FnOnce(&mut World)) {
    let mut random = SmallRng::seed_from_u64(seed);
    let network = Network::new(random.random(), Faults::default(), 4096);
    let _watch = Watch::new(seed, network.trace());
    let calm = |terms: &mut SimConfig| {
        terms.expire_nothing();
        change(terms);
    };
    let mut world = World::new(random, network, calm);
    world.bring_in_the_witness();
    happen(&mut world);
}

fn some(count: usize, client: impl Fn() -> Client) -> Vec<Box<dyn Actor>> {
    (0..count).map(|_| Box::new(client()) as Box<dyn Actor>).collect()
}

/// Clients publish in channels whose home gets no turn meanwhile.
pub(super) fn flood(seed: u64) {
    let several = |terms: &mut SimConfig| terms.share_out(2 + usize::from(seed.is_multiple_of(2)));
    with_world(seed, several, |world| {
        world.actors = some(20, Client::default);
        for _ in 0..1_000 {
            world.act_all();
            world.turn(0);
            world.pass(Duration::from_micros(100));
        }
        world.settle();
        world.check_complete();
        world.stop();
    });
}

/// What steady clients ask is answered in this time while others leave: some of these cores have little room for what waits,
/// and their turns come seldom.
const PROMPT_MAX: Duration = Duration::from_secs(4);

/// Clients of one core leave at some pace, while nobody is left on the other, which is the home of half of their
/// channels.
pub(super) fn drain(seed: u64) {
    let one_of_two = |terms: &mut SimConfig| {
        terms.share_out(2);
        terms.hosts = 1;
    };
    let over = |transport| move || Client::over(transport);
    let speakers = || over(Transport::WebSocket(Format::Protobuf))().steady();
    for (steady, polling) in [(2, 0), (0, 3)] {
        with_world(seed, one_of_two, |world| {
            world.actors = some(steady, speakers);
            world.actors.extend(some(polling, over(Transport::Poll)));
            for _ in 0..300 {
                world.act_all();
                world.turn_all();
                world.pass(Duration::from_millis(1));
            }
            let (told, gone) = (Duration::from_secs(6), Duration::from_secs(8));
            world.stop_by(StopOrder { notify_within: told, close_within: gone, successors: 0 }, |world| {
                let now = world.network.trace().now();
                world.actors.iter().for_each(|actor| actor.check_prompt(now, PROMPT_MAX));
            });
        });
    }
}

/// Readers stall in channels that may leave something out, with compression and without. Answers with how much was left
/// out.
pub(super) fn stall(seed: u64, compresses: bool) -> u64 {
    let mut left_out = 0;
    with_world(
        seed,
        |terms| terms.leave_out(compresses),
        |world| {
            world.actors = some(8, || Client::over(Transport::WebSocket(Format::Json)).only_in(&LOSSY));
            for _ in 0..1_500 {
                world.act_all();
                world.turn_all();
                world.pass(Duration::from_micros(100));
            }
            world.settle();
            world.check_complete();
            assert_eq!(
                world.cluster.count(Metric::Closed(CloseReason::Slow)),
                0,
                "nobody is sent away as slow"
            );
            left_out =
                world.cluster.count(Metric::OldestLeftOut) + world.cluster.count(Metric::OutdatedLeftOut);
            world.stop();
        },
    );
    left_out
}
