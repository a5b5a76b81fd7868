//! Slow: some subscribers stop reading for a while.

use std::{thread::sleep, time::Duration};

use rand::{Rng as _, rngs::StdRng};

use crate::world::World;

pub(super) fn come(world: &World, random: &mut StdRng, lasts: Duration) {
    let all = world.positions.len();
    let slow: Vec<usize> = (0..all / 4).map(|_| random.random_range(0..all)).collect();
    slow.iter().for_each(|&subscriber| world.set_slow(subscriber, true));
    sleep(lasts);
    slow.iter().for_each(|&subscriber| world.set_slow(subscriber, false));
}
