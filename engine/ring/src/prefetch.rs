//! Prefetch: has a value fetched from memory before it is read.
//!
//! In:  a value that is read soon, but not next.
//! Out: its first and last cache lines, on their way.
//!
//! Thousands of connections share a core's cache, so each of them is cold when its turn comes, and waiting for its memory
//! is most of what a small message costs in user code. Whoever works through a list knows who comes after the next few.

/// How many entries of a list ahead of the one in hand are fetched: what takes about as long as memory does.
pub const PREFETCH_AHEAD: usize = 4;

/// Has `value` fetched into the cache. A hint: it changes nothing, cannot fail, and does nothing on processors other than
/// `x86_64`.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

        let first: *const i8 = std::ptr::from_ref(value).cast();
        let last = first.wrapping_add(size_of::<T>().saturating_sub(1));
        // SAFETY: a prefetch reads nothing that the program sees, and does not fault, whatever the address (Intel SDM, PREFETCHh).
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(first);
            _mm_prefetch::<_MM_HINT_T0>(last);
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}
