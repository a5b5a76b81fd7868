//! The LZ77 window: how far back compressed data may refer, and what a message of the past is remembered by.
//!
//! In:  payloads, after they were sent or received compressed.
//! Out: the end of all of them in a row.
//!
//! Memory: as much as was pushed, up to the agreed size; 256 bytes to 32 KiB.

use super::Agreement;
use crate::websocket::Role;

/// The base-2 logarithm of a window's size in bytes, 8 to 15 (RFC 7692 §7.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowBits(u8);

impl WindowBits {
    /// 256 bytes.
    pub const MIN: Self = Self(8);
    /// 32 KiB: what is meant where nothing is said.
    pub const MAX: Self = Self(15);

    /// None where the number is not between 8 and 15.
    pub const fn new(bits: u8) -> Option<Self> {
        if bits >= Self::MIN.0 && bits <= Self::MAX.0 { Some(Self(bits)) } else { None }
    }

    /// 8 to 15.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// 256 to 32,768.
    pub const fn bytes(self) -> usize {
        1 << self.0
    }
}

/// The end of what was compressed in one direction of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    bits: WindowBits,
    bytes: Vec<u8>,
}

impl Window {
    /// An empty one, which owns no memory.
    pub const fn new(bits: WindowBits) -> Self {
        Self { bits, bytes: Vec::new() }
    }

    /// Goes on behind a payload that went over the wire compressed; others are not part of the window.
    pub fn push(&mut self, payload: &[u8]) {
        let bytes_max = self.bits.bytes();
        let new = &payload[payload.len().saturating_sub(bytes_max)..];
        let kept = self.bytes.len().min(bytes_max - new.len());
        self.bytes.drain(..self.bytes.len() - kept);
        // Doubling, as vectors do by themselves, but never past the size.
        if self.bytes.capacity() < kept + new.len() {
            let room = (2 * (kept + new.len())).min(bytes_max);
            self.bytes.reserve_exact(room - kept);
        }
        self.bytes.extend_from_slice(new);
    }

    /// Memory held beside the window itself.
    pub fn buffered_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What a connection keeps under context takeover. A side without it has no window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Of what we send.
    pub sent: Option<Window>,
    /// Of what we receive.
    pub received: Option<Window>,
}

impl Windows {
    /// None where both sides start every message afresh.
    pub fn of(agreement: &Agreement, role: Role) -> Option<Self> {
        let server = agreement.server_context_takeover.then(|| Window::new(agreement.server_window()));
        let client = agreement.client_context_takeover.then(|| Window::new(agreement.client_window()));
        let (sent, received) = match role {
            Role::Server => (server, client),
            Role::Client => (client, server),
        };
        (sent.is_some() || received.is_some()).then_some(Self { sent, received })
    }

    /// Memory held beside the windows themselves.
    pub fn buffered_bytes(&self) -> usize {
        [&self.sent, &self.received].into_iter().flatten().map(Window::buffered_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_the_end_of_what_was_pushed_and_never_longer_than_agreed() {
        let text: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let mut window = Window::new(WindowBits::MIN);
        let mut pushed = 0;
        for len in [0, 1, 100, 155, 0, 2, 255, 256, 257, 1000, 3] {
            window.push(&text[pushed..pushed + len]);
            pushed += len;
            assert_eq!(window.bytes(), &text[pushed.saturating_sub(256)..pushed]);
            assert!(window.buffered_bytes() <= 256, "{}", window.buffered_bytes());
            assert!(window.buffered_bytes() <= 2 * pushed);
        }
    }

    #[test]
    fn window_bits_are_between_8_and_15() {
        assert_eq!((0..=255).filter_map(WindowBits::new).count(), 8);
        assert_eq!((WindowBits::MIN.bytes(), WindowBits::MAX.bytes()), (256, 32_768));
    }
}
