//! Frozen: what the first seeds came to when somebody last looked.
//!
//! In:  the hashes of runs.
//! Out: a panic where a seed runs another course than the one in `frozen.txt`; with `SIM_FREEZE` in the environment, a new file.
//!
//! A hash covers every step, every byte that the shards sent and what they counted. A change of code that is not to change
//! what the daemon does leaves all of them alike. One that does says so in its commit: `make freeze`.

use std::{fmt::Write as _, path::Path, sync::Mutex};

/// A line a seed, from 0 on.
const FROZEN: &str = include_str!("frozen.txt");

#[derive(Default)]
pub(super) struct Frozen {
    changed: Mutex<Vec<(u64, u64)>>,
}

impl Frozen {
    /// Takes in what has come of a seed.
    pub(super) fn compare(&self, seed: u64, hash: u64) {
        let line = usize::try_from(seed).ok().and_then(|seed| FROZEN.lines().nth(seed));
        let is_alike = line.is_none_or(|line| u64::from_str_radix(line, 16) == Ok(hash));
        if !is_alike || Self::freezes() {
            self.changed.lock().expect("nobody panics with it").push((seed, hash));
        }
    }

    /// All seeds have been run.
    ///
    /// # Panics
    /// Where some came out different.
    pub(super) fn finish(self) {
        let mut changed = self.changed.into_inner().expect("nobody panics with it");
        changed.sort_unstable();
        if Self::freezes() {
            let mut text = String::new();
            for (line, (seed, hash)) in (0..).zip(changed) {
                assert_eq!(seed, line, "the first seeds are frozen, all of them");
                writeln!(text, "{hash:016x}").expect("a string takes anything");
            }
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("simulation/frozen.txt");
            std::fs::write(file, text).expect("the source can be written to");
            return;
        }
        let seeds: Vec<_> = changed.iter().take(10).map(|(seed, _)| seed).collect();
        assert!(
            changed.is_empty(),
            "{} seeds run another course than before, {seeds:?} among them. Where that was meant: make freeze",
            changed.len()
        );
    }

    fn freezes() -> bool {
        std::env::var_os("SIM_FREEZE").is_some()
    }
}
