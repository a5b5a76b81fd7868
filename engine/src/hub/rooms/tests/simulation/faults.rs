//! Faults: how likely each is in a step, and how fast all else goes.
//!
//! In:  a seed's random numbers.
//! Out: thousandths, some of them 0, because a fault may hide another; numbers of moves.

use super::*;

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// A command or its reply is lost.
    pub(super) cut: u32,
    /// A connection of pub/sub is lost.
    pub(super) link: u32,
    /// The replica becomes the primary.
    pub(super) failover: u32,
    /// Redis forgets everything.
    pub(super) restart: u32,
    /// Redis forgets the position of a channel.
    pub(super) evict: u32,
    /// A node cannot take messages.
    pub(super) full: u32,
    /// Redis stands still.
    pub(super) pause: u32,
    /// A history is removed.
    pub(super) remove: u32,
    /// A broker takes nothing.
    pub(super) busy: u32,
    /// A node dies, and another one takes its place.
    pub(super) death: u32,
    /// All clients of a node go to others.
    pub(super) storm: u32,
}

impl Faults {
    pub(super) fn draw(random: &mut SmallRng) -> Self {
        let mut one = |most: u32| if random.random_bool(0.5) { random.random_range(1..=most) } else { 0 };
        Self {
            cut: one(150),
            link: one(60),
            failover: one(30),
            restart: one(8),
            evict: one(8),
            full: one(40),
            pause: one(20),
            remove: one(15),
            busy: one(50),
            death: one(10),
            storm: one(10),
        }
    }
}

/// How many moves at most are made at once.
#[derive(Debug)]
pub(super) struct Paces {
    /// Of commands and their replies.
    pub(super) commands: u32,
    /// Of subscribing.
    pub(super) link: u32,
    /// Of what is heard.
    pub(super) events: u32,
    /// Of mail between rooms and shards.
    pub(super) mail: u32,
    /// Of replication.
    pub(super) replication: usize,
    /// How likely it is, in thousandths, that a client whose turn it is leaves.
    pub(super) leaves: u32,
    /// How likely it is, in thousandths, that a failure ends or is noticed.
    pub(super) heals: u32,
}

impl Paces {
    pub(super) fn draw(random: &mut SmallRng) -> Self {
        Self {
            commands: random.random_range(1..=12),
            link: random.random_range(1..=6),
            events: random.random_range(1..=8),
            mail: random.random_range(4..=40),
            replication: random.random_range(1..=6),
            leaves: random.random_range(50..500),
            heals: random.random_range(20..300),
        }
    }
}
