//! Buffers: as many as there are, counted.
//!
//! In:  received bytes.
//! Out: [`Buffer`]s, which count themselves back when they are dropped.

use std::{
    cell::Cell,
    ops::{Deref, DerefMut},
    rc::Rc,
};

/// How many buffers are free.
#[derive(Clone, Debug)]
pub(super) struct Pool(Rc<Cell<u32>>);

impl Pool {
    pub(super) fn new(count: u32) -> Self {
        Self(Rc::new(Cell::new(count)))
    }

    pub(super) fn free(&self) -> u32 {
        self.0.get()
    }

    /// A buffer with these bytes. There must be a free one.
    pub(super) fn take(&self, bytes: Vec<u8>) -> Buffer {
        let free = self.free().checked_sub(1).expect("a buffer is free");
        self.0.set(free);
        Buffer { bytes, pool: self.clone() }
    }
}

/// Received bytes.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    pool: Pool,
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.0.set(self.pool.free() + 1);
    }
}
