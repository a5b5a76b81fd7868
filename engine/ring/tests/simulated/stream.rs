//! Streams whose every byte is known from where it stands: eight bytes of a number, then what follows from it.

/// Bytes of the number at a stream's head.
pub(crate) const HEAD: u64 = 8;

/// The next `len` bytes of the stream `number`, from `at` on.
pub(crate) fn bytes(number: u64, at: u64, len: usize) -> Vec<u8> {
    (at..at + len as u64).map(|at| byte(number, at)).collect()
}

fn byte(number: u64, at: u64) -> u8 {
    match at {
        0..HEAD => number.to_le_bytes()[at as usize],
        _ => ((number ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8,
    }
}

/// A stream as it is received.
#[derive(Debug, Default)]
pub(crate) struct Received {
    head: Vec<u8>,
    /// Bytes that came.
    pub(crate) count: u64,
}

impl Received {
    /// Takes the next bytes, each of which must be the right one.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.count < HEAD {
                self.head.push(byte);
            }
            if let Some(number) = self.number().filter(|_| self.count >= HEAD) {
                assert_eq!(byte, self::byte(number, self.count), "byte {} of stream {number:#x}", self.count);
            }
            self.count += 1;
        }
    }

    /// Whose stream it is, once that is known.
    pub(crate) fn number(&self) -> Option<u64> {
        self.head.as_slice().try_into().ok().map(u64::from_le_bytes)
    }
}
