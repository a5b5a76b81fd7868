//! Flood: attackers of the table of fairness.

use std::{thread::sleep, time::Duration};

use holdfast_fairness::{Attack, Attackers, Target};

use crate::world::World;

const ATTACKERS: usize = 4;

/// Which path is attacked.
pub(super) fn attack(seed: u64) -> Attack {
    let attacks: Vec<Attack> = Attack::ALL.into_iter().filter(|attack| *attack != Attack::Tls).collect();
    attacks[usize::try_from(seed % attacks.len() as u64).expect("it is small")]
}

pub(super) fn come(world: &World, seed: u64, lasts: Duration) {
    let Some(control) = world.control() else { return };
    let target = Target { clients: world.address(), control, tls: None };
    let attackers = Attackers::start(attack(seed), &target, ATTACKERS);
    sleep(lasts);
    attackers.end();
}
