//! Compressing messages (RFC 7692 §7.2.1).
//!
//! In:  a payload; under context takeover, the window of what was sent before.
//! Out: its compressed form, without the tail.
//!
//! One deflater serves many connections: it starts afresh with every message. Memory: about 300 KB, whatever the window,
//! and as much as the longest message of late.

use flate2::{Compress, Compression, FlushCompress};

use super::{TAIL, Window, WindowBits};

/// A buffer longer than this is given back after use.
const KEPT_ROOM_BYTES: usize = 64 * 1024;

/// Compresses for all connections that agreed to the same size of window.
#[derive(Debug)]
pub struct Deflater {
    codec: Compress,
    room: Vec<u8>,
}

impl Deflater {
    /// `level` is that of zlib: 1 is fast, 9 is thorough. More than 9 counts as that.
    ///
    /// zlib makes no raw DEFLATE with a window of 256 bytes. Its window of 512 does as well: zlib refers back at most
    /// 262 bytes less than a window, which is 250 here.
    pub fn new(level: u8, window: WindowBits) -> Self {
        let level = Compression::new(u32::from(level.min(9)));
        let codec = Compress::new_with_window_bits(level, false, window.bits().max(9));
        Self { codec, room: Vec::new() }
    }

    /// The compressed form of `payload`. It may be longer than the payload, which is then better sent as it is.
    ///
    /// Who sends it under context takeover pushes `payload` to `window` after that.
    pub fn deflate(&mut self, payload: &[u8], window: Option<&Window>) -> &[u8] {
        self.room.clear();
        self.room.shrink_to(KEPT_ROOM_BYTES);
        if payload.is_empty() {
            // §7.2.3.6: a flush after nothing is nothing to zlib.
            return &[0];
        }
        self.codec.reset();
        if let Some(window) = window.filter(|window| !window.bytes().is_empty()) {
            self.codec.set_dictionary(window.bytes()).expect("a fresh raw stream takes a dictionary");
        }
        let mut rest = payload;
        // Literals of nine bits are the worst that any level makes of bytes.
        self.room.reserve(payload.len() + payload.len() / 8 + 32);
        loop {
            let read_before = self.codec.total_in();
            self.codec
                .compress_vec(rest, &mut self.room, FlushCompress::Sync)
                .expect("compressing has no input that is wrong");
            let read = self.codec.total_in() - read_before;
            rest = &rest[usize::try_from(read).expect("a part of a slice")..];
            if rest.is_empty() && self.room.len() < self.room.capacity() {
                break;
            }
            self.room.reserve(self.room.capacity());
        }
        self.room.strip_suffix(&TAIL).expect("a flush ends with an empty stored block")
    }

    /// The compressed form, if it is shorter than the payload.
    pub fn deflate_if_shorter(&mut self, payload: &[u8], window: Option<&Window>) -> Option<&[u8]> {
        let deflated = self.deflate(payload, window);
        (deflated.len() < payload.len()).then_some(deflated)
    }
}
