//! Buffers: memory that the kernel fills with received bytes (a provided-buffer ring).
//!
//! In:  how many at first and at last, and their size; buffer numbers out of completions.
//! Out: [`Buffer`]s, which give themselves back when they are dropped.
//!
//! An idle connection owns no buffer: the kernel takes one when bytes are there. It takes them in turn, so each one that
//! it was ever given becomes resident sooner or later. Therefore it is given few at first, and one more each time that
//! one is missing. Worst case: `count × bytes`, plus 16 bytes an entry.

use std::{
    cell::Cell,
    io,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    rc::Rc,
    sync::atomic::{AtomicU16, Ordering},
};

use io_uring::{IoUring, types::BufRingEntry};

/// The only buffer group of a ring.
pub(crate) const GROUP: u16 = 0;

/// The kernel's limit on the entries of a buffer ring.
pub(crate) const BUFFERS_MAX: u32 = 1 << 15;

/// One lane's buffers.
pub(crate) struct Pool {
    /// `count` entries, shared with the kernel; then the buffers.
    map: Map,
    count: u16,
    bytes: u32,
    /// Buffers that the kernel has been given at least once: those with smaller numbers.
    known: Cell<u16>,
    /// The next entry to fill. The kernel reads its copy in the first entry; this is ours.
    tail: Cell<u16>,
}

impl Pool {
    /// Makes room for `count` buffers (a power of two) of `bytes` each, registers it with `ring`, and gives it the `first`
    /// ones.
    pub(crate) fn register<S, C>(
        ring: &IoUring<S, C>,
        first: u32,
        count: u32,
        bytes: u32,
    ) -> io::Result<Rc<Self>>
    where
        S: io_uring::squeue::EntryMarker,
        C: io_uring::cqueue::EntryMarker,
    {
        assert!(
            count.is_power_of_two() && count <= BUFFERS_MAX,
            "a buffer ring holds a power of two up to 32,768"
        );
        let count = u16::try_from(count).expect("at most 32,768");
        let map = Map::new(Self::entries_bytes(count) + count as usize * bytes as usize)?;
        let pool = Rc::new(Self { map, count, bytes, known: Cell::new(0), tail: Cell::new(0) });
        // SAFETY: the address is that of a live, page-aligned mapping with room for `count` entries. It stays mapped
        // until `unregister` has run: a `Lane` holds this `Rc` and unregisters before it lets go of it.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(pool.map.start.as_ptr() as u64, count, GROUP, 0)?;
        }
        for _ in 0..first {
            pool.give_one_more();
        }
        Ok(pool)
    }

    /// Hands the kernel a buffer that it has never had, if there is one.
    pub(crate) fn give_one_more(&self) {
        let id = self.known.get();
        if id < self.count {
            self.known.set(id + 1);
            self.give(id);
        }
    }

    /// The buffer that a completion names, `len` bytes of it filled.
    ///
    /// # Safety
    /// `id` must come from a completion of the ring that these buffers are registered with, once for each completion:
    /// the kernel has then taken the buffer out of its ring, and will not touch it until it is given back.
    pub(crate) unsafe fn take(self: &Rc<Self>, id: u16, len: u32) -> Buffer {
        assert!(id < self.count && len <= self.bytes, "the kernel names buffers that it was given");
        // SAFETY: `id < count`, so the buffer lies inside the mapping, which lives as long as the `Rc` in the result.
        let start = unsafe { self.buffer_start(id) };
        Buffer { start, len, id, pool: Rc::clone(self) }
    }

    fn entries_bytes(count: u16) -> usize {
        (count as usize * size_of::<BufRingEntry>()).next_multiple_of(4096)
    }

    /// # Safety
    /// `id < count`.
    unsafe fn buffer_start(&self, id: u16) -> NonNull<u8> {
        let offset = Self::entries_bytes(self.count) + id as usize * self.bytes as usize;
        // SAFETY: the mapping was made `entries_bytes + count × bytes` long, and `id < count`.
        unsafe { self.map.start.add(offset) }
    }

    /// Hands a buffer to the kernel.
    fn give(&self, id: u16) {
        let tail = self.tail.get();
        let entries = self.map.start.cast::<BufRingEntry>().as_ptr();
        // SAFETY: `id` is below `count`: it comes from `give_one_more`, which has checked that, or from a `Buffer`, made by `take`.
        let start = unsafe { self.buffer_start(id) };
        // SAFETY: the index is masked to the ring's size, a power of two, so the entry lies in the mapping, which is
        // zeroed or holds an earlier entry. The kernel does not read entries beyond the tail that it has seen, and it
        // has given this one up: there are as many entries as buffers, and this buffer is not in the ring.
        let entry = unsafe { &mut *entries.add((tail & (self.count - 1)) as usize) };
        entry.set_addr(start.as_ptr() as u64);
        entry.set_len(self.bytes);
        entry.set_bid(id);
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: the ring's tail is a u16 in the first entry, aligned, inside the mapping. The kernel only reads it;
        // the release store orders the entry's fields before it.
        unsafe {
            let tail_field = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(tail_field).store(self.tail.get(), Ordering::Release);
        }
    }
}

/// Received bytes. Goes back to the kernel when dropped.
pub struct Buffer {
    start: NonNull<u8>,
    len: u32,
    id: u16,
    pool: Rc<Pool>,
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `take` made this from a filled buffer of at least `len` bytes in a mapping that the `Rc` keeps alive.
        // The kernel does not write to it before `drop` gives it back, and no other `Buffer` has this id until then.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len as usize) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len as usize) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give(self.id);
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer").field("id", &self.id).field("len", &self.len).finish()
    }
}

/// An anonymous private mapping: page-aligned, zeroed, resident only where it was touched.
struct Map {
    start: NonNull<u8>,
    bytes: usize,
}

impl Map {
    fn new(bytes: usize) -> io::Result<Self> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory that is in use.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("mmap never maps page 0 unless told to");
        Ok(Self { start, bytes })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made, unmapped once. `Pool` owns it and every `Buffer` holds the
        // `Pool`, so nothing points into it any more; the kernel let go of it when the group was unregistered.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}
