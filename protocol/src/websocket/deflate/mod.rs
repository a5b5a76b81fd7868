//! permessage-deflate (RFC 7692): messages compressed one by one.
//!
//! In:  offers of a client, or the answer to ours; then payloads.
//! Out: an [`Agreement`]; then compressed payloads, and the payloads in them.
//!
//! What DEFLATE remembers from message to message, where both sides agreed to that (§7.1.1), is the end of the text: the
//! [`Window`]. So a connection owns at most two windows, each as long as what went through it and never longer than
//! agreed, and one [`Deflater`] and [`Inflater`] serve all connections of a thread. Without context takeover a connection
//! owns nothing.

mod deflater;
mod inflater;
mod negotiation;
mod window;

pub use deflater::Deflater;
pub use inflater::{InflateError, Inflater};
pub use negotiation::{Agreement, AnswerError, Offer, Preferences, accept, check_answer};
pub use window::{Window, WindowBits, Windows};

/// The extension's registered name (RFC 7692 §7).
pub const NAME: &str = "permessage-deflate";

/// What ends every compressed message and is not sent (RFC 7692 §7.2.1): the empty stored block of a flush, less its
/// first byte.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Where compressed messages of one peer are read.
#[derive(Debug)]
pub struct Inflation<'a> {
    /// Many connections' tool.
    pub inflater: &'a mut Inflater,
    /// This connection's memory of what came, under context takeover.
    pub window: Option<&'a mut Window>,
    /// The longest message, inflated.
    pub message_bytes_max: u64,
}
