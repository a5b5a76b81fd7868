//! Running a target: over its corpus, then over changed inputs, so many or for so long.
//!
//! In:  a target, a seed, an end.
//! Out: how many inputs it stood; or the input that it did not, kept in a file.
//!
//! The same seed and the same corpus make the same inputs in the same order.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use rustix::time::{ClockId, clock_gettime};

use crate::{Target, corpus, mutate::mutate};

/// An input that takes more of the CPU's time than this is a finding too.
const SLOW: Duration = Duration::from_secs(2);

/// When a run ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// After so many inputs that are not the corpus's.
    Inputs(u64),
    /// After so much time.
    Time(Duration),
}

/// What a run did.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// Inputs, those of the corpus among them.
    pub inputs: u64,
}

/// An input that a target did not stand.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was wrong.
    pub what: String,
    /// Where the input lies.
    pub file: PathBuf,
}

/// The inputs of a folder, in the order of their names; none if there is no such folder.
///
/// # Errors
/// A file cannot be read.
pub fn read_inputs(folder: &Path) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    let read = |file: PathBuf| {
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok((file, bytes))
    };
    files.into_iter().map(read).collect()
}

/// Feeds one input. `Err` says what was wrong with that.
pub fn try_one(target: &Target, input: &[u8]) -> Result<(), String> {
    let began = cpu_time();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let taken = cpu_time() - began;
    match outcome {
        Ok(()) if taken > SLOW => Err(format!("it took {taken:?}")),
        Ok(()) => Ok(()),
        Err(panic) => Err(panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without words")
            .to_owned()),
    }
}

/// Runs to the `end`, the corpus first. What is found is kept in `findings`.
///
/// # Errors
/// The corpus cannot be read, or a finding not be written.
pub fn run(target: &Target, seed: u64, end: End, findings: &Path) -> anyhow::Result<Result<Done, Finding>> {
    let began = Instant::now();
    let mut inputs: Vec<Vec<u8>> =
        read_inputs(&corpus(target))?.into_iter().map(|(_, bytes)| bytes).collect();
    inputs.extend(target.words.iter().map(|word| word.to_vec()));
    inputs.push(Vec::new());
    let mut random = SmallRng::seed_from_u64(seed);
    let mut done = Done { inputs: 0 };
    let fixed_count = inputs.len() as u64;
    let mut fixed = inputs.clone().into_iter();
    loop {
        let input = fixed.next().unwrap_or_else(|| {
            let mut input = inputs[random.random_range(0..inputs.len())].clone();
            let other = &inputs[random.random_range(0..inputs.len())];
            mutate(&mut input, other, target.words, &mut random);
            input
        });
        if let Err(what) = try_one(target, &input) {
            return Ok(Err(Finding { what, file: keep(target, &input, findings)? }));
        }
        done.inputs += 1;
        let is_over = match end {
            End::Inputs(count) => done.inputs >= fixed_count + count,
            End::Time(duration) => began.elapsed() >= duration,
        };
        if is_over {
            return Ok(Ok(done));
        }
    }
}

/// What this thread has had of a CPU: other processes make no input slow.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it counts from zero")
}

fn keep(target: &Target, input: &[u8], folder: &Path) -> anyhow::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(format!("{}-{:016x}", target.name, hasher.finish()));
    fs::write(&file, input).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}
