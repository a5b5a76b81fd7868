//! Deflate: a client's side of permessage-deflate (RFC 7692).
//!
//! In:  what was agreed to; messages to compress.
//! Out: compressed messages; what received ones are inflated with.

use std::cell::RefCell;

use holdfast_protocol::websocket::{
    Role,
    deflate::{Agreement, Deflater, Inflater, Inflation, Offer, WindowBits, Windows},
};
use rand::{Rng, rngs::SmallRng};

/// The longest message that a client of these takes.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// Compressors keep nothing between two messages that a reader would notice, so all clients of a simulation share them.
#[derive(Default)]
struct Tools {
    inflater: Inflater,
    /// By window bits.
    deflaters: [Option<Box<Deflater>>; 16],
}

thread_local! {
    static TOOLS: RefCell<Tools> = RefCell::default();
}

/// A simulation begins. How long a compressed message is depends a little on what its compressor has seen before.
pub(super) fn begin() {
    TOOLS.take();
}

pub(super) struct Deflating {
    sends: WindowBits,
    windows: Option<Windows>,
}

impl Deflating {
    pub(super) fn new(agreement: &Agreement) -> Self {
        Self { sends: agreement.client_window(), windows: Windows::of(agreement, Role::Client) }
    }

    /// A message, compressed.
    pub(super) fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let window = self.windows.as_mut().and_then(|windows| windows.sent.as_mut());
        let deflated = TOOLS.with_borrow_mut(|tools| {
            let deflater = &mut tools.deflaters[usize::from(self.sends.bits())];
            let deflater = deflater.get_or_insert_with(|| Box::new(Deflater::new(1, self.sends)));
            deflater.deflate(payload, window.as_deref()).to_vec()
        });
        if let Some(window) = window {
            window.push(payload);
        }
        deflated
    }

    /// Lends out what received messages are inflated with.
    pub(super) fn inflate_with<R>(&mut self, read: impl FnOnce(Inflation<'_>) -> R) -> R {
        TOOLS.with_borrow_mut(|tools| {
            read(Inflation {
                inflater: &mut tools.inflater,
                window: self.windows.as_mut().and_then(|windows| windows.received.as_mut()),
                message_bytes_max: MESSAGE_BYTES_MAX,
            })
        })
    }
}

/// What a client offers, if anything.
pub(super) fn any_offer(random: &mut SmallRng) -> Option<Offer> {
    let mut bits = || WindowBits::new(random.random_range(9..=15));
    let (server_bits, client_bits) = (bits(), bits());
    random.random_bool(0.7).then(|| Offer {
        server_no_context_takeover: random.random_bool(0.3),
        client_no_context_takeover: random.random_bool(0.3),
        server_max_window_bits: server_bits.filter(|_| random.random_bool(0.3)),
        client_max_window_bits: random
            .random_bool(0.5)
            .then(|| client_bits.filter(|_| random.random_bool(0.5))),
    })
}
