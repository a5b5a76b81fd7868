//! Queue: crossbeam's `ArrayQueue` for tests that try every order of threads' steps.
//!
//! It is the same algorithm (Vyukov's bounded queue), with weaker orders: what is sequentially consistent in crossbeam's
//! is relaxed here, but for a value's own release and acquire. What holds with this one holds with that one.

use loom::sync::{
    Mutex,
    atomic::{
        AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

#[derive(Debug)]
pub(crate) struct ArrayQueue<T> {
    slots: Vec<Slot<T>>,
    head: AtomicUsize,
    tail: AtomicUsize,
}

#[derive(Debug)]
struct Slot<T> {
    /// Whose turn it is: twice the number of who pushes, one more for who pops.
    turn: AtomicUsize,
    value: Mutex<Option<T>>,
}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let slot = |turn| Slot { turn: AtomicUsize::new(2 * turn), value: Mutex::new(None) };
        Self {
            slots: (0..capacity).map(slot).collect(),
            head: AtomicUsize::new(0),
            tail: AtomicUsize::new(0),
        }
    }

    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        loop {
            let tail = self.tail.load(Relaxed);
            let slot = &self.slots[tail % self.slots.len()];
            if slot.turn.load(Acquire) == 2 * tail {
                if self.tail.compare_exchange(tail, tail + 1, Relaxed, Relaxed).is_ok() {
                    *slot.value.lock().expect("no thread has failed") = Some(value);
                    slot.turn.store(2 * tail + 1, Release);
                    return Ok(());
                }
            } else if tail - self.head.load(Relaxed) >= self.slots.len() {
                return Err(value);
            }
            loom::thread::yield_now();
        }
    }

    /// Only one thread pops.
    pub(crate) fn pop(&self) -> Option<T> {
        let head = self.head.load(Relaxed);
        let slot = &self.slots[head % self.slots.len()];
        while slot.turn.load(Acquire) != 2 * head + 1 {
            if self.tail.load(Relaxed) == head {
                return None;
            }
            // Its value is on the way.
            loom::thread::yield_now();
        }
        let value = slot.value.lock().expect("no thread has failed").take();
        slot.turn.store(2 * (head + self.slots.len()), Release);
        self.head.store(head + 1, Relaxed);
        value
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.tail.load(Relaxed) - self.head.load(Relaxed)
    }
}
