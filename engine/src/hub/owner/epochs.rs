//! Epochs: epochs for all channels in a fixed amount of memory.
//!
//! In:  the hash of a channel's name; the epoch of a dropped position.
//! Out: the epoch of a channel without a stored position.
//!
//! A channel without publications is at offset 0 of an epoch derived from its name, and nothing is stored for it. Its
//! first publication keeps that epoch. When a position is dropped, all names that share its epoch get a new one: a
//! client that returns with the old one is told that its position is lost, even if nothing was. With 16,384 epochs that
//! affects one name in as many.

use std::fmt::Write as _;

use crate::hub::history::Epoch;

/// The hash of a name. Outsiders cannot construct collisions.
pub(super) type NameHash = u32;

/// The number of epochs. Worst case: 4 bytes each, 64 KiB per shard.
const EPOCHS: usize = 16_384;

#[derive(Debug)]
pub(super) struct Epochs {
    /// Makes epochs differ between shards and daemons.
    seed: u64,
    /// How often each was dropped.
    generations: Box<[u32]>,
}

impl Epochs {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, generations: vec![0; EPOCHS].into() }
    }

    /// The epoch of a channel without a stored position.
    pub(super) fn current(&self, hash: NameHash) -> Epoch {
        let at = hash as usize % EPOCHS;
        // Six letters unique to this shard, short like Centrifugo's epochs; then the generation, which never repeats.
        let mut text = String::with_capacity(12);
        let mut rest = mixed(self.seed ^ at as u64);
        for _ in 0..6 {
            text.push(char::from(b'a' + u8::try_from(rest % 26).expect("below 26")));
            rest /= 26;
        }
        let generation = self.generations[at];
        if generation > 0 {
            write!(text, "{generation}").expect("a text takes all");
        }
        text.into()
    }

    /// Drops a position of this epoch.
    pub(super) fn give_up(&mut self, hash: NameHash, epoch: &str) {
        if *self.current(hash) == *epoch {
            let generation = &mut self.generations[hash as usize % EPOCHS];
            *generation = generation.wrapping_add(1);
        }
    }
}

/// SplitMix64's last step: spreads neighboring numbers.
fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_that_was_given_up_does_not_come_again_and_others_stay() {
        let mut epochs = Epochs::new(7);
        let (here, there) = (epochs.current(1), epochs.current(2));
        assert_ne!(here, there);
        let mut seen = vec![here.clone()];
        for _ in 0..30 {
            let now = epochs.current(1);
            epochs.give_up(1, &now);
            assert!(!seen.contains(&epochs.current(1)));
            seen.push(epochs.current(1));
        }
        assert_eq!(epochs.current(2), there);
        epochs.give_up(1, &here);
        assert_eq!(epochs.current(1), seen[30], "one that nobody gets any more ends without a trace");
        assert_ne!(Epochs::new(8).current(1), here);
    }

    #[test]
    fn numbers_are_mixed_as_splitmix64_does() {
        // The first three numbers of the authors' code for the seed 1234567.
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let states = [1, 2, 3].map(|step: u64| step.wrapping_mul(STEP).wrapping_add(1_234_567));
        let given = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(states.map(mixed), given);
    }
}
