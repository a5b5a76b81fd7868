//! Trace: what has happened in a simulation, in order.
//!
//! In:  steps.
//! Out: the last of them in words, and a hash over all, which two runs of one seed share.

use std::{cell::RefCell, collections::VecDeque, fmt, rc::Rc, time::Duration};

/// Steps that are kept for showing.
const STEPS_KEPT: usize = 400;

/// FNV-1a, 64 bits (Fowler, Noll, Vo).
const HASH_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_PRIME: u64 = 0x0000_0100_0000_01b3;

/// One thing that has happened.
#[derive(Clone, Copy, Debug)]
struct Step {
    at: Duration,
    what: &'static str,
    who: u64,
    count: u64,
}

/// What has happened. Its clones are the same one.
#[derive(Clone, Debug)]
pub struct Trace(Rc<RefCell<Steps>>);

#[derive(Debug)]
struct Steps {
    now: Duration,
    hash: u64,
    /// False where what connections carry is drawn anew in each run.
    has_own_bytes: bool,
    count: u64,
    last: VecDeque<Step>,
}

impl Trace {
    pub(super) fn new() -> Self {
        let last = VecDeque::with_capacity(STEPS_KEPT);
        Self(Rc::new(RefCell::new(Steps {
            now: Duration::ZERO,
            hash: HASH_BASIS,
            has_own_bytes: true,
            count: 0,
            last,
        })))
    }

    /// The simulated time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.borrow().now
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.0.borrow_mut().now += time;
    }

    /// Connections carry what is encrypted with keys that are drawn in each run: only how much they carry is hashed.
    /// Whoever decrypts it has [`Trace::note_bytes`].
    pub fn ignore_carried_bytes(&self) {
        self.0.borrow_mut().has_own_bytes = false;
    }

    /// Has the bytes that a connection carries in the hash, unless they are not the same in each run.
    pub(super) fn note_carried_bytes(&self, bytes: &[u8]) {
        if self.0.borrow().has_own_bytes {
            self.note_bytes(bytes);
        }
    }

    /// Has bytes in the hash, without a step of their own.
    pub fn note_bytes(&self, bytes: &[u8]) {
        self.0.borrow_mut().hash_bytes(bytes.iter().copied());
    }

    /// Writes a step down: what has happened, to whom, and how much of it.
    pub fn note(&self, what: &'static str, who: u64, count: u64) {
        let steps = &mut *self.0.borrow_mut();
        let numbers = [who, count, u64::try_from(steps.now.as_nanos()).unwrap_or(u64::MAX)];
        steps.hash_bytes(what.bytes().chain(numbers.into_iter().flat_map(u64::to_le_bytes)));
        steps.count += 1;
        if steps.last.len() == STEPS_KEPT {
            steps.last.pop_front();
        }
        steps.last.push_back(Step { at: steps.now, what, who, count });
    }

    /// A number that two runs share exactly when all their steps were the same.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.0.borrow().hash
    }

    /// How many steps there were.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.0.borrow().count
    }
}

impl Steps {
    fn hash_bytes(&mut self, bytes: impl Iterator<Item = u8>) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(HASH_PRIME);
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.0.borrow();
        writeln!(f, "the last {} of {} steps (hash {:016x}):", steps.last.len(), steps.count, steps.hash)?;
        for Step { at, what, who, count } in &steps.last {
            writeln!(f, "{:>12.6} s  {what} {who:#x} {count}", at.as_secs_f64())?;
        }
        Ok(())
    }
}
